/*
 * bench_delay - a longer way to a target
 *
 * usage: bench_delay PORT MILLISECONDS
 *
 * Prints its address; whoever connects there speaks to 127.0.0.1:PORT, and
 * every byte is so long under way, in either direction.  Ends on SIGTERM.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "net/addr.h"
#include "net/loop.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct relay {
	struct loop *loop;
	struct addr to;
	int64_t delay_ms;
	int fd;
};

/* Bytes under way, or the end of them. */
struct parcel {
	struct list link;
	int64_t due_ms;
	ssize_t len; /* 0: the end */
	char bytes[];
};

/* One direction. */
struct way {
	struct pair *pair;
	struct loop_watch *watch;
	struct loop_timer *timer;
	struct list parcels;
	int from, to;
	bool ended;
};

struct pair {
	struct relay *relay;
	struct way ways[2];
};

static void way_release(struct way *way)
{
	loop_watch_free(way->watch);
	loop_timer_free(way->timer);
	list_each (it, next, &way->parcels)
		free(list_entry(it, struct parcel, link));
	close(way->from);
}

static void pair_free(struct pair *pair)
{
	way_release(&pair->ways[0]);
	way_release(&pair->ways[1]);
	free(pair);
}

/* What is due goes out; these are short, a socket's buffer takes them. */
static void arrive(void *ctx)
{
	struct way *way = ctx;
	struct pair *pair = way->pair;
	int64_t now = clock_mono_ms();

	while (!list_is_empty(&way->parcels)) {
		struct parcel *parcel =
			list_entry(way->parcels.next, struct parcel, link);
		bool lost;

		if (parcel->due_ms > now) {
			loop_timer_arm(way->timer, parcel->due_ms - now);
			return;
		}
		lost = parcel->len > 0 &&
		       send(way->to, parcel->bytes, (size_t)parcel->len,
			    MSG_NOSIGNAL) != parcel->len;
		if (parcel->len == 0) {
			shutdown(way->to, SHUT_WR);
			way->ended = true;
		}
		list_remove(&parcel->link);
		free(parcel);
		if (lost || (pair->ways[0].ended && pair->ways[1].ended)) {
			pair_free(pair);
			return;
		}
	}
}

static void depart(void *ctx, int fd, int what)
{
	struct way *way = ctx;
	char bytes[65536];
	ssize_t len = recv(fd, bytes, sizeof(bytes), 0);
	struct parcel *parcel;

	if (len <= 0) {
		len = 0;
		loop_watch_free(way->watch);
		way->watch = NULL;
	}
	parcel = mem_alloc(sizeof(*parcel) + (size_t)len);
	parcel->len = len;
	parcel->due_ms = clock_mono_ms() + way->pair->relay->delay_ms;
	memcpy(parcel->bytes, bytes, (size_t)len);
	list_append(&way->parcels, &parcel->link);
	if (way->parcels.next == &parcel->link)
		loop_timer_arm(way->timer, way->pair->relay->delay_ms);
}

static void way_init(struct pair *pair, size_t i, int from, int to)
{
	struct way *way = &pair->ways[i];

	way->pair = pair;
	way->from = from;
	way->to = to;
	list_init(&way->parcels);
	way->timer = loop_timer_new(pair->relay->loop, arrive, way);
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
	relay.delay_ms = atol(argv[2]);
	relay.loop = loop_new(&err);
	if (!relay.loop ||
	    addr_from_ip(slice("127.0.0.1"), (uint16_t)atol(argv[1]), &relay.to,
			 &err) < 0 ||
	    addr_from_ip(slice("127.0.0.1"), 0, &here, &err) < 0 ||
	    (relay.fd = addr_listen(&here, 512, &err)) < 0 ||
	    addr_of_socket(relay.fd, &here, &err) < 0 ||
	    loop_signal(relay.loop, SIGTERM, stop, relay.loop, &err) < 0) {
		fprintf(stderr, "bench_delay: %s\n", err.text);
		return 1;
	}
	loop_watch_new(relay.loop, relay.fd, LOOP_READ, on_accept, &relay);
	addr_format(&here, address);
	puts(address);
	fflush(stdout);
	loop_run(relay.loop);
	return 0; /* with whatever is under way */
}
