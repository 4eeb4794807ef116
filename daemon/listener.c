#include "daemon/listener.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_MODULE "listener"

enum {
	BACKLOG = 4096,
	ACCEPT_BATCH = 64,
	MAX_SESSIONS = 15000,
	MAX_PER_PEER = 2000,
};

static const struct session_limits limits = {
	.max_recipients = 100, /* RFC 5321 section 4.5.3.1.8 */
	.max_messages = 100000,
	.max_errors = 20,
	.command_ms = 300000, /* RFC 5321 section 4.5.3.2.7 */
	.data_ms = 180000,
	.data_total_ms = 3600000,
};

struct listener {
	struct list link;
	struct listeners *listeners;
	char *address, *hostname;
	int fd;
	struct loop_watch *watch;
	struct tls_server *tls;
	size_t users;
};

struct open_session {
	struct list link;
	struct session *session;
	char peer[ADDR_TEXT];
};

struct listeners {
	struct acceptance *acceptance;
	const struct inherited *inherited;
	struct list all;
	struct list sessions;
	struct map by_session; /* pointer bytes -> open_session */
	struct map per_peer;   /* ip -> count as a pointer */
	size_t count;
	bool shutting;
};

struct listeners *listeners_new(struct acceptance *acceptance,
				const struct inherited *inherited)
{
	struct listeners *listeners = mem_alloc(sizeof(*listeners));

	listeners->acceptance = acceptance;
	listeners->inherited = inherited;
	list_init(&listeners->all);
	list_init(&listeners->sessions);
	return listeners;
}

static void listener_free(struct listener *listener)
{
	list_remove(&listener->link);
	loop_watch_free(listener->watch);
	close(listener->fd);
	tls_server_free(listener->tls);
	free(listener->hostname);
	free(listener->address);
	free(listener);
}

static struct slice key_of(void *const *session)
{
	return slice_of(session, sizeof(*session));
}

static void count_peer(struct listeners *listeners, const char *peer, int by)
{
	size_t now = (size_t)map_get(&listeners->per_peer, slice(peer));

	now = (size_t)((ptrdiff_t)now + by);
	if (now == 0)
		map_remove(&listeners->per_peer, slice(peer));
	else
		map_put(&listeners->per_peer, slice(peer), (void *)now);
}

void listeners_session_ended(struct listeners *listeners, void *session)
{
	struct open_session *open =
		map_remove(&listeners->by_session, key_of(&session));

	if (!open)
		return;
	count_peer(listeners, open->peer, -1);
	listeners->count--;
	list_remove(&open->link);
	free(open);
}

void listeners_free(struct listeners *listeners)
{
	if (!listeners)
		return;
	list_each (it, next, &listeners->all)
		listener_free(list_entry(it, struct listener, link));
	list_each (at, after, &listeners->sessions) {
		struct session *session =
			list_entry(at, struct open_session, link)->session;

		listeners_session_ended(listeners, session);
		session_free(session);
	}
	map_release(&listeners->by_session);
	map_release(&listeners->per_peer);
	free(listeners);
}

static void refuse(int fd)
{
	static const char text[] =
		"421 4.3.2 too many sessions, try again later\r\n";

	if (send(fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("a refused peer was gone already");
	close(fd);
}

static void take(struct listener *listener, int fd, const struct addr *peer)
{
	struct listeners *listeners = listener->listeners;
	struct open_session *open;
	char ip[ADDR_TEXT];
	void *session;

	addr_ip(peer, ip);
	if (listeners->count >= MAX_SESSIONS ||
	    (size_t)map_get(&listeners->per_peer, slice(ip)) >=
		    MAX_PER_PEER * (addr_is_loopback(peer) ? 10 : 1)) {
		refuse(fd);
		return;
	}
	session = session_new(listeners->acceptance, fd, listener->hostname,
			      &limits, listener->tls);
	open = mem_alloc(sizeof(*open));
	open->session = session;
	memcpy(open->peer, ip, sizeof(open->peer));
	list_append(&listeners->sessions, &open->link);
	map_put(&listeners->by_session, key_of(&session), open);
	count_peer(listeners, ip, 1);
	listeners->count++;
}

static void on_ready(void *ctx, int fd, int what)
{
	struct listener *listener = ctx;

	for (int i = 0; i < ACCEPT_BATCH; i++) {
		struct addr peer = { .len = sizeof(peer.sa) };
		int got = accept4(fd, (struct sockaddr *)&peer.sa, &peer.len,
				  SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (got < 0) {
			if (errno != EAGAIN && errno != EINTR &&
			    errno != ECONNABORTED)
				log_warn("accept on %s: %m", listener->address);
			return;
		}
		take(listener, got, &peer);
	}
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
	listener->tls = tls_server_share(tls);
	listener->users = 1;
	listener->watch = loop_watch_new(listeners->acceptance->loop, fd,
					 LOOP_READ, on_ready, listener);
	list_append(&listeners->all, &listener->link);
	log_info("accepting mail on %s%s", address, tls ? " (STARTTLS)" : "");
	return 0;
}

void listeners_close(struct listeners *listeners, const char *address)
{
	struct listener *listener = find(listeners, address);

	if (listener && --listener->users == 0)
		listener_free(listener);
}

bool listeners_has(const struct listeners *listeners, const char *address)
{
	return find(listeners, address) != NULL;
}

void listeners_shutdown(struct listeners *listeners)
{
	listeners->shutting = true;
	list_each (it, next, &listeners->all)
		listener_free(list_entry(it, struct listener, link));
	list_each (at, after, &listeners->sessions)
		session_shutdown(
			list_entry(at, struct open_session, link)->session,
			"4.3.2 shutting down, try again later");
}

size_t listeners_sessions(const struct listeners *listeners)
{
	return listeners->count;
}
