/*
 * loop.h - the one thread that has all sockets, and its timers
 *
 * Wraps libevent's event_base.  Unless said otherwise a function here is
 * called from the loop's own thread and its callbacks run there, never before
 * the call that asked for them returns.
 */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include "base/err.h"
#include "base/list.h"
#include <stdint.h>

struct loop;
struct loop_timer;
struct loop_watch;
struct event_base;

typedef void loop_fn(void *ctx);

/* From now on a write to a peer that is gone is an error, and no signal. */
struct loop *loop_new(struct err *err);
/* Everything made on the loop must be freed before, but for leftovers. */
void loop_free(struct loop *loop);
/* Runs until loop_stop(). */
void loop_run(struct loop *loop);
/* Any thread, and safe in a signal callback of the loop. */
void loop_stop(struct loop *loop);
/* Monotonic milliseconds, cached per loop turn. */
int64_t loop_now_ms(struct loop *loop);

/* A one-shot timer; arming an armed one moves it. */
struct loop_timer *loop_timer_new(struct loop *loop, loop_fn *fn, void *ctx);
void loop_timer_arm(struct loop_timer *timer, int64_t ms);
void loop_timer_stop(struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer); /* NULL is fine */

/* From any thread: run fn(ctx) on the loop, in the order of the posts. */
void loop_post(struct loop *loop, loop_fn *fn, void *ctx);

/* A signal as a callback on the loop; lives as long as the loop. */
int loop_signal(struct loop *loop, int number, loop_fn *fn, void *ctx,
		struct err *err);

enum {
	LOOP_READ = 1,
	LOOP_WRITE = 2
};
typedef void loop_fd_fn(void *ctx, int fd, int what);
/* Level-triggered; `what` is LOOP_READ | LOOP_WRITE. */
struct loop_watch *loop_watch_new(struct loop *loop, int fd, int what,
				  loop_fd_fn *fn, void *ctx);
void loop_watch_free(struct loop_watch *watch); /* NULL is fine */

/*
 * For the modules of lib/net alone.  A leftover has no owner and frees itself
 * some day; if the loop is freed first, that calls `fn` to free it.  `fn`, or
 * whoever frees it earlier, takes it out with loop_leftover_done().
 */
struct loop_leftover {
	struct list link;
	struct loop *loop;
	loop_fn *fn;
	void *ctx;
};
void loop_leftover(struct loop *loop, struct loop_leftover *leftover,
		   loop_fn *fn, void *ctx);
void loop_leftover_done(struct loop_leftover *leftover); /* twice is fine */
/* One more than so many ends the oldest; 0: no limit. */
void loop_leftovers_most(struct loop *loop, size_t most);
struct event_base *loop_base(struct loop *loop);
/* LOOP_SCRATCH bytes for the callback that runs: the next one finds others.  Not
 * more: a thousand peers that send at once have so much each in one turn. */
enum {
	LOOP_SCRATCH = 64 * 1024
};
char *loop_scratch(struct loop *loop);

#endif
