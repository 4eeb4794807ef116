#include "base/clock.h"
#include <ctype.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t clock_wall_ms(void)
{
	return now_ms(CLOCK_REALTIME);
}

int64_t clock_mono_ms(void)
{
	return now_ms(CLOCK_MONOTONIC);
}

struct timespec clock_mono_after(int64_t us)
{
	struct timespec at;
	int64_t ns;

	clock_gettime(CLOCK_MONOTONIC, &at);
	ns = at.tv_nsec + us * 1000;
	at.tv_sec += (time_t)(ns / 1000000000);
	at.tv_nsec = (long)(ns % 1000000000);
	return at;
}

int64_t clock_boot_ms(void)
{
	return now_ms(CLOCK_BOOTTIME);
}

/* By number: glibc asks through clock_adjtime(), which the sandbox denies as it
 * could set any clock. */
int clock_error_ms(int64_t *error_ms, struct err *err)
{
	struct timex timex = { .modes = 0 };
	long state = syscall(SYS_adjtimex, &timex);

	if (state < 0)
		return err_errno(err, "the kernel does not tell");
	if (state == TIME_ERROR || (timex.status & STA_UNSYNC))
		return err_set(err, "nothing disciplines the kernel's clock");
	*error_ms = (timex.maxerror + 999) / 1000;
	return 0;
}

static void break_down(int64_t wall_ms, struct tm *tm)
{
	time_t seconds = (time_t)(wall_ms / 1000);

	gmtime_r(&seconds, tm);
}

const char *clock_format(int64_t wall_ms, char text[CLOCK_TEXT])
{
	struct tm tm;

	break_down(wall_ms, &tm);
	strftime(text, CLOCK_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return text;
}

const char *clock_format_ms(int64_t wall_ms, char text[CLOCK_TEXT])
{
	struct tm tm;
	size_t len;

	break_down(wall_ms, &tm);
	len = strftime(text, CLOCK_TEXT, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + len, CLOCK_TEXT - len, ".%03dZ", (int)(wall_ms % 1000));
	return text;
}

const char *clock_format_mail(int64_t wall_ms, char text[CLOCK_TEXT])
{
	/* strftime's names follow the locale; mail's do not. */
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct tm tm;

	break_down(wall_ms, &tm);
	snprintf(text, CLOCK_TEXT, "%.3s, %02d %.3s %04d %02d:%02d:%02d +0000",
		 days + 3 * tm.tm_wday, tm.tm_mday % 100,
		 months + 3 * tm.tm_mon, (tm.tm_year + 1900) % 10000,
		 tm.tm_hour % 100, tm.tm_min % 100, tm.tm_sec % 100);
	return text;
}

static bool digits(struct slice *in, size_t count, int *value)
{
	uint64_t number;

	if (in->len < count || !slice_u64(slice_of(in->p, count), &number))
		return false;
	*value = (int)number;
	*in = slice_from(*in, count);
	return true;
}

static bool literal(struct slice *in, char c)
{
	/* RFC 3339 section 5.6: its letters may be small ones. */
	if (in->len == 0 || (in->p[0] != c && in->p[0] != tolower(c)))
		return false;
	*in = slice_from(*in, 1);
	return true;
}

static bool fraction(struct slice *in, int *ms)
{
	int scale = 100;

	*ms = 0;
	if (in->len == 0 || in->p[0] != '.')
		return true;
	*in = slice_from(*in, 1);
	if (in->len == 0 || in->p[0] < '0' || in->p[0] > '9')
		return false;
	while (in->len > 0 && in->p[0] >= '0' && in->p[0] <= '9') {
		*ms += (in->p[0] - '0') * scale;
		scale /= 10;
		*in = slice_from(*in, 1);
	}
	return true;
}

static bool offset(struct slice *in, int *minutes)
{
	int hours, mins, sign;

	if (literal(in, 'Z')) {
		*minutes = 0;
		return true;
	}
	if (in->len == 0 || (in->p[0] != '+' && in->p[0] != '-'))
		return false;
	sign = in->p[0] == '-' ? -1 : 1;
	*in = slice_from(*in, 1);
	if (!digits(in, 2, &hours) || !literal(in, ':') ||
	    !digits(in, 2, &mins) || hours > 23 || mins > 59)
		return false;
	*minutes = sign * (hours * 60 + mins);
	return true;
}

int clock_parse(struct slice text, int64_t *wall_ms, struct err *err)
{
	struct slice in = text;
	struct tm tm = { 0 }, check;
	int year, month, ms, minutes;
	time_t seconds;

	if (!digits(&in, 4, &year) || !literal(&in, '-') ||
	    !digits(&in, 2, &month) || !literal(&in, '-') ||
	    !digits(&in, 2, &tm.tm_mday) || !literal(&in, 'T') ||
	    !digits(&in, 2, &tm.tm_hour) || !literal(&in, ':') ||
	    !digits(&in, 2, &tm.tm_min) || !literal(&in, ':') ||
	    !digits(&in, 2, &tm.tm_sec) || !fraction(&in, &ms) ||
	    !offset(&in, &minutes) || in.len > 0)
		return err_set(err,
			       "'%.*s' is not a time with its zone, like "
			       "2026-12-05T22:00:00+01:00",
			       (int)text.len, text.p);
	tm.tm_year = year - 1900;
	tm.tm_mon = month - 1;
	check = tm;
	seconds = timegm(&check);
	if (check.tm_mday != tm.tm_mday || check.tm_mon != tm.tm_mon ||
	    check.tm_hour != tm.tm_hour || check.tm_min != tm.tm_min ||
	    check.tm_sec != tm.tm_sec)
		return err_set(err, "'%.*s' is no date of the calendar",
			       (int)text.len, text.p);
	*wall_ms = ((int64_t)seconds - minutes * 60) * 1000 + ms;
	return 0;
}

static const struct unit {
	const char *name;
	int64_t ms;
} units[] = {
	{ "ms", 1 },	      { "s", 1000 },	     { "m", 60000 },
	{ "h", 3600 * 1000 }, { "d", 86400 * 1000 },
};

int clock_parse_duration(struct slice text, int64_t *ms, struct err *err)
{
	size_t len = 0;
	uint64_t number;

	while (len < text.len && text.p[len] >= '0' && text.p[len] <= '9')
		len++;
	if (!slice_u64(slice_of(text.p, len), &number) || number > 1000000000)
		goto bad;
	for (size_t i = 0; i < COUNT(units); i++) {
		if (!slice_is(slice_from(text, len), units[i].name))
			continue;
		*ms = (int64_t)number * units[i].ms;
		return 0;
	}
bad:
	return err_set(err,
		       "'%.*s' is not a duration like 90s, 15m, 72h or "
		       "30d",
		       (int)text.len, text.p);
}

const char *clock_format_duration(int64_t ms, char text[CLOCK_TEXT])
{
	long long s = ms / 1000;

	if (ms < 0)
		snprintf(text, CLOCK_TEXT, "0s");
	else if (ms < 1000)
		snprintf(text, CLOCK_TEXT, "%dms", (int)ms);
	else if (s < 60)
		snprintf(text, CLOCK_TEXT, "%llds", s);
	else if (s < 3600)
		snprintf(text, CLOCK_TEXT, "%lldm %02llds", s / 60, s % 60);
	else if (s < 86400)
		snprintf(text, CLOCK_TEXT, "%lldh %02lldm %02llds", s / 3600,
			 s / 60 % 60, s % 60);
	else
		snprintf(text, CLOCK_TEXT, "%lldd %lldh", s / 86400,
			 s / 3600 % 24);
	return text;
}
