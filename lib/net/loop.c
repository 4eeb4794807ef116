#include "net/loop.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct post {
	struct post *next;
	loop_fn *fn;
	void *ctx;
};

struct loop {
	struct event_base *base;
	int wake_fd;
	struct event *wake;
	pthread_mutex_t lock; /* of the posts and `stopping` */
	struct post *first, **last;
	bool stopping;
	struct list signals;
	struct list leftovers; /* the oldest first */
	size_t leftover_count, leftover_most;
	char *scratch;
};

struct loop_timer {
	struct event *event;
	loop_fn *fn;
	void *ctx;
};

struct loop_watch {
	struct event *event;
	loop_fd_fn *fn;
	void *ctx;
};

struct loop_signal {
	struct list link;
	struct event *event;
	loop_fn *fn;
	void *ctx;
};

static void run_posts(evutil_socket_t fd, short what, void *ctx)
{
	struct loop *loop = ctx;
	struct post *post;
	eventfd_t count;
	bool stopping;

	eventfd_read(loop->wake_fd, &count);
	pthread_mutex_lock(&loop->lock);
	post = loop->first;
	loop->first = NULL;
	loop->last = &loop->first;
	stopping = loop->stopping;
	loop->stopping = false;
	pthread_mutex_unlock(&loop->lock);
	while (post) {
		struct post *next = post->next;

		post->fn(post->ctx);
		free(post);
		post = next;
	}
	if (stopping)
		event_base_loopbreak(loop->base);
}

struct loop *loop_new(struct err *err)
{
	struct loop *loop = mem_alloc(sizeof(*loop));

	signal(SIGPIPE, SIG_IGN);
	loop->last = &loop->first;
	list_init(&loop->signals);
	list_init(&loop->leftovers);
	pthread_mutex_init(&loop->lock, NULL);
	loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	loop->base = event_base_new();
	if (loop->wake_fd < 0 || !loop->base) {
		err_errno(err, "cannot make an event loop");
		loop_free(loop);
		return NULL;
	}
	loop->wake = event_new(loop->base, loop->wake_fd, EV_READ | EV_PERSIST,
			       run_posts, loop);
	event_add(loop->wake, NULL);
	return loop;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	while (loop->first) {
		struct post *post = loop->first;

		loop->first = post->next;
		free(post);
	}
	list_each (it, next, &loop->signals) {
		struct loop_signal *sig =
			list_entry(it, struct loop_signal, link);

		event_free(sig->event);
		free(sig);
	}
	list_each (it, next, &loop->leftovers) {
		struct loop_leftover *left =
			list_entry(it, struct loop_leftover, link);

		left->fn(left->ctx);
	}
	if (loop->wake)
		event_free(loop->wake);
	/* What libevent itself put off until the next turn. */
	if (loop->base)
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
	if (loop->base)
		event_base_free(loop->base);
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	pthread_mutex_destroy(&loop->lock);
	free(loop->scratch);
	free(loop);
}

void loop_run(struct loop *loop)
{
	event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
}

static void wake(struct loop *loop)
{
	/* Fails only when the counter is full: then it is awake anyway. */
	eventfd_write(loop->wake_fd, 1);
}

void loop_stop(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	loop->stopping = true;
	pthread_mutex_unlock(&loop->lock);
	wake(loop);
}

int64_t loop_now_ms(struct loop *loop)
{
	return clock_mono_ms();
}

void loop_post(struct loop *loop, loop_fn *fn, void *ctx)
{
	struct post *post = mem_alloc(sizeof(*post));
	bool was_empty;

	post->fn = fn;
	post->ctx = ctx;
	pthread_mutex_lock(&loop->lock);
	was_empty = !loop->first;
	*loop->last = post;
	loop->last = &post->next;
	pthread_mutex_unlock(&loop->lock);
	if (was_empty)
		wake(loop);
}

static void timer_fired(evutil_socket_t fd, short what, void *ctx)
{
	struct loop_timer *timer = ctx;

	timer->fn(timer->ctx);
}

struct loop_timer *loop_timer_new(struct loop *loop, loop_fn *fn, void *ctx)
{
	struct loop_timer *timer = mem_alloc(sizeof(*timer));

	timer->fn = fn;
	timer->ctx = ctx;
	timer->event = evtimer_new(loop->base, timer_fired, timer);
	if (!timer->event)
		abort();
	return timer;
}

void loop_timer_arm(struct loop_timer *timer, int64_t ms)
{
	struct timeval tv = { .tv_sec = ms / 1000,
			      .tv_usec = ms % 1000 * 1000 };

	event_add(timer->event, &tv);
}

void loop_timer_stop(struct loop_timer *timer)
{
	event_del(timer->event);
}

void loop_timer_free(struct loop_timer *timer)
{
	if (!timer)
		return;
	event_free(timer->event);
	free(timer);
}

static void signal_fired(evutil_socket_t fd, short what, void *ctx)
{
	struct loop_signal *sig = ctx;

	sig->fn(sig->ctx);
}

int loop_signal(struct loop *loop, int number, loop_fn *fn, void *ctx,
		struct err *err)
{
	struct loop_signal *sig = mem_alloc(sizeof(*sig));

	sig->fn = fn;
	sig->ctx = ctx;
	sig->event = evsignal_new(loop->base, number, signal_fired, sig);
	if (!sig->event || event_add(sig->event, NULL) < 0) {
		if (sig->event)
			event_free(sig->event);
		free(sig);
		return err_set(err, "cannot watch signal %d", number);
	}
	list_append(&loop->signals, &sig->link);
	return 0;
}

static void watch_fired(evutil_socket_t fd, short what, void *ctx)
{
	struct loop_watch *watch = ctx;
	int is = (what & EV_READ ? LOOP_READ : 0) |
		 (what & EV_WRITE ? LOOP_WRITE : 0);

	watch->fn(watch->ctx, fd, is);
}

struct loop_watch *loop_watch_new(struct loop *loop, int fd, int what,
				  loop_fd_fn *fn, void *ctx)
{
	struct loop_watch *watch = mem_alloc(sizeof(*watch));
	short events = EV_PERSIST | (what & LOOP_READ ? EV_READ : 0) |
		       (what & LOOP_WRITE ? EV_WRITE : 0);

	watch->fn = fn;
	watch->ctx = ctx;
	watch->event = event_new(loop->base, fd, events, watch_fired, watch);
	if (!watch->event || event_add(watch->event, NULL) < 0)
		abort();
	return watch;
}

void loop_watch_free(struct loop_watch *watch)
{
	if (!watch)
		return;
	event_free(watch->event);
	free(watch);
}

void loop_leftover(struct loop *loop, struct loop_leftover *leftover,
		   loop_fn *fn, void *ctx)
{
	leftover->loop = loop;
	leftover->fn = fn;
	leftover->ctx = ctx;
	list_append(&loop->leftovers, &leftover->link);
	loop->leftover_count++;
	if (loop->leftover_most == 0 ||
	    loop->leftover_count <= loop->leftover_most)
		return;
	leftover = list_entry(loop->leftovers.next, struct loop_leftover, link);
	leftover->fn(leftover->ctx);
}

void loop_leftovers_most(struct loop *loop, size_t most)
{
	loop->leftover_most = most;
}

void loop_leftover_done(struct loop_leftover *leftover)
{
	if (leftover->fn) {
		list_remove(&leftover->link);
		leftover->loop->leftover_count--;
	}
	leftover->fn = NULL;
}

struct event_base *loop_base(struct loop *loop)
{
	return loop->base;
}

char *loop_scratch(struct loop *loop)
{
	if (!loop->scratch)
		loop->scratch = mem_grow(NULL, LOOP_SCRATCH);
	return loop->scratch;
}
