/*
 * bench_sink - a target that takes all, and judges it at the end
 *
 * usage: bench_sink HOST [RULE]...
 *
 * Behaves as the rules say (lib/lab/lab_script.h), or takes everything.
 *
 * Prints its address, then one line of JSON on SIGTERM: messages, mailboxes,
 * lost, twice, reordered, by the numbers of bench_load.  SIGUSR1: the domain
 * is unknown here (550); SIGUSR2: it is known.  SIGHUP: one line of JSON, how
 * many messages have come so far, and how many 4yz were said.
 */
#include "base/json.h"
#include "base/map.h"
#include "lab/lab_mx.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct sink {
	struct loop *loop;
	struct lab_mx *mx;
	uint64_t deferred;
};

/* One mailbox: how many came, and the highest number so far. */
struct line {
	uint64_t count, next;
};

struct verdict {
	uint64_t lost, twice, reordered, mailboxes;
};

static void stop(void *ctx)
{
	struct sink *sink = ctx;

	loop_stop(sink->loop);
}

static void unknown(void *ctx)
{
	struct sink *sink = ctx;

	lab_mx_play_preset(sink->mx, "custom-detached");
}

static void known(void *ctx)
{
	struct sink *sink = ctx;

	lab_mx_play_preset(sink->mx, "custom");
}

static void count(void *ctx)
{
	struct sink *sink = ctx;

	printf("{\"messages\":%zu,\"deferred\":%llu}\n",
	       sink->mx->arrival_count, (unsigned long long)sink->deferred);
	fflush(stdout);
}

static void replied(void *ctx, const struct lab_mx_event *event)
{
	struct sink *sink = ctx;

	sink->deferred += event->code / 100 == 4;
}

static int play(struct sink *sink, char *const *rules, struct err *err)
{
	struct buf script = BUF_INIT;
	int result;

	if (!*rules)
		return 0;
	for (; *rules; rules++)
		buf_addf(&script, "%s\n", *rules);
	result = lab_mx_play(sink->mx, buf_slice(&script), err);
	buf_release(&script);
	return result;
}

/* Numbers begin at 0: as many as the highest says must have come. */
static void add_line(void *ctx, struct slice key, void *value)
{
	struct verdict *verdict = ctx;
	struct line *line = value;

	verdict->mailboxes++;
	if (line->count < line->next)
		verdict->lost += line->next - line->count;
	if (line->count > line->next)
		verdict->twice += line->count - line->next;
	free(line);
}

static void judge(const struct lab_mx *mx, struct verdict *verdict)
{
	struct map lines = { 0 };

	for (size_t i = 0; i < mx->arrival_count; i++) {
		const struct lab_mx_arrival *arrival = &mx->arrivals[i];
		struct line *line = map_get(&lines, slice(arrival->mailbox));

		if (!line) {
			line = mem_alloc(sizeof(*line));
			map_put(&lines, slice(arrival->mailbox), line);
		}
		line->count++;
		if (arrival->number + 1 < line->next)
			verdict->reordered++;
		else
			line->next = arrival->number + 1;
	}
	map_each(&lines, add_line, verdict);
	map_release(&lines);
}

int main(int argc, char **argv)
{
	struct sink sink = { 0 };
	struct err err = ERR_INIT;
	struct verdict verdict = { 0 };

	if (argc < 2) {
		fputs("usage: bench_sink HOST [RULE]...\n", stderr);
		return 2;
	}
	sink.loop = loop_new(&err);
	if (sink.loop)
		sink.mx = lab_mx_new(sink.loop, argv[1], argv[1], 0, &err);
	if (!sink.mx || play(&sink, argv + 2, &err) < 0 ||
	    loop_signal(sink.loop, SIGTERM, stop, &sink, &err) < 0 ||
	    loop_signal(sink.loop, SIGHUP, count, &sink, &err) < 0 ||
	    loop_signal(sink.loop, SIGUSR1, unknown, &sink, &err) < 0 ||
	    loop_signal(sink.loop, SIGUSR2, known, &sink, &err) < 0) {
		fprintf(stderr, "bench_sink: %s\n", err.text);
		return 1;
	}
	sink.mx->tell = replied;
	sink.mx->tell_ctx = &sink;
	printf("%s\n", sink.mx->address);
	fflush(stdout);
	loop_run(sink.loop);
	judge(sink.mx, &verdict);
	printf("{\"messages\":%zu,\"mailboxes\":%llu,\"lost\":%llu,"
	       "\"twice\":%llu,\"reordered\":%llu}\n",
	       sink.mx->arrival_count, (unsigned long long)verdict.mailboxes,
	       (unsigned long long)verdict.lost,
	       (unsigned long long)verdict.twice,
	       (unsigned long long)verdict.reordered);
	lab_mx_free(sink.mx);
	loop_free(sink.loop);
	return 0;
}
