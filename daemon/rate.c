#include "daemon/rate.h"

static void advance(struct rate *rate, int64_t mono_ms)
{
	int64_t second = mono_ms / 1000;

	if (rate->first_ms == 0) {
		rate->first_ms = mono_ms;
		rate->second = second;
	}
	for (int i = 0; rate->second < second && i < RATE_SECONDS; i++) {
		rate->second++;
		rate->bucket[rate->second % RATE_SECONDS] = 0;
	}
	rate->second = second;
}

void rate_add(struct rate *rate, uint32_t count, int64_t mono_ms)
{
	advance(rate, mono_ms);
	rate->bucket[rate->second % RATE_SECONDS] += count;
}

double rate_per_minute(struct rate *rate, int64_t mono_ms)
{
	double sum = 0, known;

	advance(rate, mono_ms);
	for (int i = 0; i < RATE_SECONDS; i++)
		sum += rate->bucket[i];
	known = (double)(mono_ms - rate->first_ms) / 1000;
	if (known >= RATE_SECONDS)
		return sum;
	return known < 1 ? sum * RATE_SECONDS : sum * RATE_SECONDS / known;
}
