/*
 * lab_target - a mail system that behaves as a script says, for end-to-end tests
 *
 *   lab_target HOST PORT SCRIPT
 *
 * Prints "ready 127.0.0.1:PORT", then a line of JSON for each reply (see struct
 * lab_mx_event) and for each message it kept, in order.  SCRIPT (lab_script.h)
 * is a file, read again on SIGHUP: "played", or "bad script" and why.  PORT 0
 * is a free one.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "lab/lab_mx.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	SCRIPT_MAX = 64 * 1024
};

struct target {
	struct loop *loop;
	struct lab_mx *mx;
	const char *script;
	size_t told; /* arrivals */
};

static void print(struct json *line)
{
	struct buf text = BUF_INIT;

	json_print(line, &text);
	printf("%s\n", buf_text(&text));
	fflush(stdout);
	buf_release(&text);
	json_free(line);
}

static void tell_arrivals(struct target *target)
{
	for (; target->told < target->mx->arrival_count; target->told++) {
		const struct lab_mx_arrival *arrival =
			&target->mx->arrivals[target->told];
		struct json *line = json_object();

		json_put_text(line, "event", "kept");
		json_put_text(line, "mailbox", arrival->mailbox);
		json_put_number(line, "number", (double)arrival->number);
		json_put_text(line, "sha256", arrival->sha256);
		json_put_number(line, "at", (double)arrival->at_ms);
		print(line);
	}
}

static void tell(void *ctx, const struct lab_mx_event *event)
{
	struct target *target = ctx;
	struct json *line = json_object();

	tell_arrivals(target);
	json_put_text(line, "event", lab_stage_name(event->stage));
	json_put_number(line, "session", (double)event->session);
	json_put_number(line, "code", event->code);
	json_put_text(line, "address", event->address);
	json_put_number(line, "number", (double)event->number);
	json_put_bool(line, "silence", event->reaction == LAB_SILENCE);
	json_put_bool(line, "cut", event->reaction == LAB_CUT);
	json_put_bool(line, "kept", event->kept);
	json_put_number(line, "at", (double)clock_wall_ms());
	print(line);
}

static void play(void *ctx)
{
	struct target *target = ctx;
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;
	struct json *line = json_object();

	if (file_read(target->script, SCRIPT_MAX, &text, &err) < 0 ||
	    lab_mx_play(target->mx, buf_slice(&text), &err) < 0) {
		json_put_text(line, "event", "bad script");
		json_put_text(line, "error", err.text);
	} else {
		json_put_text(line, "event", "played");
	}
	print(line);
	buf_release(&text);
}

static void stop(void *ctx)
{
	struct target *target = ctx;

	loop_stop(target->loop);
}

int main(int argc, char **argv)
{
	struct target target = { 0 };
	struct err err = ERR_INIT;
	uint64_t port;

	if (argc != 4 || !slice_u64(slice(argv[2]), &port) || port > 65535) {
		fputs("usage: lab_target HOST PORT SCRIPT\n", stderr);
		return 2;
	}
	target.script = argv[3];
	target.loop = loop_new(&err);
	if (target.loop)
		target.mx = lab_mx_new(target.loop, argv[1], argv[1],
				       (uint16_t)port, &err);
	if (!target.mx ||
	    loop_signal(target.loop, SIGTERM, stop, &target, &err) < 0 ||
	    loop_signal(target.loop, SIGHUP, play, &target, &err) < 0) {
		fprintf(stderr, "lab_target: %s\n", err.text);
		return 1;
	}
	target.mx->tell = tell;
	target.mx->tell_ctx = &target;
	play(&target);
	printf("ready %s\n", target.mx->address);
	fflush(stdout);
	loop_run(target.loop);
	tell_arrivals(&target);
	lab_mx_free(target.mx);
	loop_free(target.loop);
	return 0;
}
