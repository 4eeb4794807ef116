#include "daemon/listener.h"
#include "base/list.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_MODULE "listener"

enum {
	BACKLOG = 4096,
	ACCEPT_BATCH = 64,
	REST_MS = 100 /* after the kernel had nothing left for a peer */
};

struct listener {
	struct list link;
	struct listeners *listeners;
	char *address, *hostname;
	int fd;
	struct loop_watch *watch; /* NULL: it rests */
	struct loop_timer *again;
	/* The first is for who asks for a name that none of them has. */
	struct tls_server **certificates;
	size_t certificate_count, users;
};

struct listeners {
	struct acceptance *acceptance;
	const struct inherited *inherited;
	struct list all;
	struct sessions *sessions;
	int spare_fd; /* given up to turn somebody away when there is none */
	uint64_t no_descriptor;
	uint64_t no_accept; /* for another reason */
};

struct listeners *listeners_new(struct acceptance *acceptance,
				const struct inherited *inherited,
				const struct config *config)
{
	struct listeners *listeners = mem_alloc(sizeof(*listeners));

	listeners->acceptance = acceptance;
	listeners->inherited = inherited;
	listeners->sessions = sessions_new(acceptance, config);
	listeners->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	list_init(&listeners->all);
	return listeners;
}

static void add_certificate(struct listener *listener, struct tls_server *tls)
{
	if (!tls)
		return;
	listener->certificates = mem_grow(listener->certificates,
					  (listener->certificate_count + 1) *
						  sizeof(struct tls_server *));
	listener->certificates[listener->certificate_count++] =
		tls_server_share(tls);
	tls_server_also(listener->certificates[0], tls);
}

/* When the first one goes, the next is the first: nobody reads a certificate
 * again that belongs to no plan. */
static void drop_certificate(struct listener *listener, struct tls_server *tls)
{
	struct tls_server **all = listener->certificates;
	size_t count = 0;

	for (size_t i = 1; i < listener->certificate_count; i++)
		tls_server_without(all[0], all[i]);
	for (size_t i = 0; i < listener->certificate_count; i++)
		if (all[i] != tls)
			all[count++] = all[i];
	if (count < listener->certificate_count)
		tls_server_free(tls);
	listener->certificate_count = count;
	for (size_t i = 1; i < count; i++)
		tls_server_also(all[0], all[i]);
}

static void listener_free(struct listener *listener)
{
	list_remove(&listener->link);
	loop_watch_free(listener->watch);
	loop_timer_free(listener->again);
	close(listener->fd);
	while (listener->certificate_count > 0)
		drop_certificate(listener, listener->certificates[0]);
	free(listener->certificates);
	free(listener->hostname);
	free(listener->address);
	free(listener);
}

void listeners_free(struct listeners *listeners)
{
	if (!listeners)
		return;
	list_each (it, next, &listeners->all)
		listener_free(list_entry(it, struct listener, link));
	sessions_free(listeners->sessions);
	if (listeners->spare_fd >= 0)
		close(listeners->spare_fd);
	free(listeners);
}

/* Without a descriptor left a peer would wait, and the loop would spin. */
static bool turn_away(struct listener *listener)
{
	struct listeners *listeners = listener->listeners;
	int fd;

	close(listeners->spare_fd);
	fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		sessions_refuse(
			fd, "421 4.3.2 too many sessions, try again later\r\n");
	listeners->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (listeners->no_descriptor++ == 0)
		log_warn("no file descriptor is left: new peers get 421; raise "
			 "the limit of open files, or lower limits.sessions");
	return fd >= 0;
}

/* The peer is still there: to ask again at once would be to spin. */
static void rest(struct listener *listener)
{
	loop_watch_free(listener->watch);
	listener->watch = NULL;
	loop_timer_arm(listener->again, REST_MS);
}

static bool is_of_the_peer(int error)
{
	return error == EAGAIN || error == EINTR || error == ECONNABORTED;
}

static void on_ready(void *ctx, int fd, int what)
{
	struct listener *listener = ctx;

	for (int i = 0; i < ACCEPT_BATCH; i++) {
		struct addr peer = { .len = sizeof(peer.sa) };
		int got = accept4(fd, (struct sockaddr *)&peer.sa, &peer.len,
				  SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (got >= 0) {
			sessions_take(listener->listeners->sessions, got, &peer,
				      listener->hostname,
				      listener->certificate_count > 0 ?
					      listener->certificates[0] :
					      NULL);
			continue;
		}
		if (is_of_the_peer(errno) ||
		    ((errno == EMFILE || errno == ENFILE) &&
		     listener->listeners->spare_fd >= 0 && turn_away(listener)))
			return;
		if (listener->listeners->no_accept++ == 0)
			log_warn("accept on %s: %m", listener->address);
		rest(listener);
		return;
	}
}

static void watch(void *ctx)
{
	struct listener *listener = ctx;

	listener->watch =
		loop_watch_new(listener->listeners->acceptance->loop,
			       listener->fd, LOOP_READ, on_ready, listener);
}

static struct listener *find(const struct listeners *listeners,
			     const char *address)
{
	list_each (it, next, (struct list *)&listeners->all) {
		struct listener *listener =
			list_entry(it, struct listener, link);

		if (strcmp(listener->address, address) == 0)
			return listener;
	}
	return NULL;
}

int listeners_open(struct listeners *listeners, const char *address,
		   const char *hostname, struct tls_server *tls,
		   struct err *err)
{
	struct listener *listener = find(listeners, address);
	struct addr addr;
	int fd;

	if (listener) {
		listener->users++;
		add_certificate(listener, tls);
		return 0;
	}
	if (addr_parse(slice(address), 25, &addr, err) < 0)
		return -1;
	fd = inherited_socket(listeners->inherited, &addr);
	if (fd < 0)
		fd = addr_listen(&addr, BACKLOG, err);
	if (fd < 0)
		return -1;
	listener = mem_alloc(sizeof(*listener));
	listener->listeners = listeners;
	listener->address = mem_dup(address);
	listener->fd = fd;
	listener->hostname = mem_dup(hostname);
	add_certificate(listener, tls);
	listener->users = 1;
	listener->again =
		loop_timer_new(listeners->acceptance->loop, watch, listener);
	watch(listener);
	list_append(&listeners->all, &listener->link);
	log_info("accepting mail on %s%s", address, tls ? " (STARTTLS)" : "");
	return 0;
}

void listeners_close(struct listeners *listeners, const char *address,
		     struct tls_server *tls)
{
	struct listener *listener = find(listeners, address);

	if (!listener)
		return;
	if (--listener->users == 0)
		listener_free(listener);
	else
		drop_certificate(listener, tls);
}

bool listeners_has(const struct listeners *listeners, const char *address)
{
	return find(listeners, address) != NULL;
}

void listeners_shutdown(struct listeners *listeners)
{
	list_each (it, next, &listeners->all)
		listener_free(list_entry(it, struct listener, link));
	sessions_shutdown(listeners->sessions);
}

size_t listeners_sessions(const struct listeners *listeners)
{
	return sessions_count(listeners->sessions);
}

char *listeners_overload(const struct listeners *listeners)
{
	return sessions_overload(listeners->sessions);
}

struct json *listeners_json(const struct listeners *listeners)
{
	struct json *counts = json_object();

	json_put_number(counts, "no_descriptor",
			(double)listeners->no_descriptor);
	json_put_number(counts, "no_accept", (double)listeners->no_accept);
	return sessions_json(listeners->sessions, counts);
}
