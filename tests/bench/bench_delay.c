/*
 * bench_delay - a longer way to a target
 *
 * usage: bench_delay PORT MILLISECONDS
 *
 * Prints its address; whoever connects there speaks to 127.0.0.1:PORT, and
 * every byte is so long under way, in either direction.  Ends on SIGTERM.
 * The delay is the kernel's timerfd, to some 0.1 ms: whole milliseconds, rounded
 * up by a loop, would lengthen the way by a tenth when it is busy.
 */
#include "base/buf.h"
#include "base/list.h"
#include "net/addr.h"
#include "net/loop.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
	NS_PER_MS = 1000000
};

struct relay {
	struct loop *loop;
	struct addr to;
	int64_t delay_ns;
	struct list parcels; /* of all, in the order of their time */
	int timer;
	int fd;
};

/* One direction. */
struct way {
	struct pair *pair;
	struct loop_watch *watch;
	int from, to;
	bool ended;
};

struct pair {
	struct relay *relay;
	struct way ways[2];
	size_t under_way; /* parcels */
	bool lost;
};

/* Bytes under way, or the end of them. */
struct parcel {
	struct list link;
	struct way *way;
	int64_t due_ns;
	size_t len; /* 0: the end */
	char bytes[];
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 * NS_PER_MS + now.tv_nsec;
}

static void wake_at(struct relay *relay, int64_t due_ns)
{
	struct itimerspec at = { 0 };

	at.it_value.tv_sec = due_ns / (1000 * NS_PER_MS);
	at.it_value.tv_nsec = due_ns % (1000 * NS_PER_MS);
	timerfd_settime(relay->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static void read_no_more(struct way *way)
{
	loop_watch_free(way->watch);
	way->watch = NULL;
}

static void pair_free_if_over(struct pair *pair)
{
	bool over = pair->lost || (pair->ways[0].ended && pair->ways[1].ended);

	if (!over || pair->under_way > 0)
		return;
	for (size_t i = 0; i < 2; i++) {
		read_no_more(&pair->ways[i]);
		close(pair->ways[i].from);
	}
	free(pair);
}

/* These are short: a socket's buffer takes them. */
static void parcel_arrives(struct parcel *parcel)
{
	struct way *way = parcel->way;
	struct pair *pair = way->pair;

	list_remove(&parcel->link);
	pair->under_way--;
	if (parcel->len == 0) {
		shutdown(way->to, SHUT_WR);
		way->ended = true;
	} else if (!pair->lost && send(way->to, parcel->bytes, parcel->len,
				       MSG_NOSIGNAL) != (ssize_t)parcel->len) {
		pair->lost = true;
		read_no_more(&pair->ways[0]);
		read_no_more(&pair->ways[1]);
	}
	free(parcel);
	pair_free_if_over(pair);
}

static void on_time(void *ctx, int fd, int what)
{
	struct relay *relay = ctx;
	int64_t now = now_ns();
	uint64_t times;

	if (read(fd, &times, sizeof(times)) < 0)
		return; /* moved meanwhile */
	while (!list_is_empty(&relay->parcels)) {
		struct parcel *first =
			list_entry(relay->parcels.next, struct parcel, link);

		if (first->due_ns > now) {
			wake_at(relay, first->due_ns);
			return;
		}
		parcel_arrives(first);
	}
}

static void depart(void *ctx, int fd, int what)
{
	struct way *way = ctx;
	struct relay *relay = way->pair->relay;
	char bytes[65536];
	ssize_t len = recv(fd, bytes, sizeof(bytes), 0);
	struct parcel *parcel;

	if (len <= 0) {
		len = 0;
		read_no_more(way);
	}
	parcel = mem_alloc(sizeof(*parcel) + (size_t)len);
	parcel->way = way;
	parcel->len = (size_t)len;
	parcel->due_ns = now_ns() + relay->delay_ns;
	memcpy(parcel->bytes, bytes, (size_t)len);
	if (list_is_empty(&relay->parcels))
		wake_at(relay, parcel->due_ns);
	list_append(&relay->parcels, &parcel->link);
	way->pair->under_way++;
}

static void way_init(struct pair *pair, size_t i, int from, int to)
{
	struct way *way = &pair->ways[i];
	int one = 1;

	/* A wire waits for no acknowledgement. */
	setsockopt(from, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	way->pair = pair;
	way->from = from;
	way->to = to;
	way->watch =
		loop_watch_new(pair->relay->loop, from, LOOP_READ, depart, way);
}

static void on_accept(void *ctx, int fd, int what)
{
	struct relay *relay = ctx;
	int here = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	int there = here < 0 ? -1 : socket(AF_INET, SOCK_STREAM, 0);
	struct pair *pair;

	if (there < 0 || connect(there, (const struct sockaddr *)&relay->to.sa,
				 relay->to.len) < 0) {
		if (here >= 0)
			close(here);
		if (there >= 0)
			close(there);
		return;
	}
	pair = mem_alloc(sizeof(*pair));
	pair->relay = relay;
	way_init(pair, 0, here, there);
	way_init(pair, 1, there, here);
}

static void stop(void *ctx)
{
	loop_stop(ctx);
}

int main(int argc, char **argv)
{
	struct relay relay = { 0 };
	struct err err = ERR_INIT;
	struct addr here;
	char address[64];

	if (argc != 3) {
		fputs("usage: bench_delay PORT MILLISECONDS\n", stderr);
		return 2;
	}
	relay.delay_ns = atol(argv[2]) * NS_PER_MS;
	list_init(&relay.parcels);
	relay.timer =
		timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	relay.loop = loop_new(&err);
	if (!relay.loop || relay.timer < 0 ||
	    addr_from_ip(slice("127.0.0.1"), (uint16_t)atol(argv[1]), &relay.to,
			 &err) < 0 ||
	    addr_from_ip(slice("127.0.0.1"), 0, &here, &err) < 0 ||
	    (relay.fd = addr_listen(&here, 512, &err)) < 0 ||
	    addr_of_socket(relay.fd, &here, &err) < 0 ||
	    loop_signal(relay.loop, SIGTERM, stop, relay.loop, &err) < 0) {
		fprintf(stderr, "bench_delay: %s\n", err.text);
		return 1;
	}
	loop_watch_new(relay.loop, relay.timer, LOOP_READ, on_time, &relay);
	loop_watch_new(relay.loop, relay.fd, LOOP_READ, on_accept, &relay);
	addr_format(&here, address);
	puts(address);
	fflush(stdout);
	loop_run(relay.loop);
	return 0; /* with whatever is under way */
}
