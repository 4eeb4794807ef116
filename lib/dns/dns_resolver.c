#include "dns/dns_resolver.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/id.h"
#include "base/list.h"
#include <ares.h>
#include <stdlib.h>

/* 1.5 s, then 3 s more for the second try: one lost packet is forgiven. */
#define TIMEOUT_MS 1500
#define TRIES	   2
/* The size that crosses any path unfragmented (DNS flag day 2020). */
#define UDP_MAX	   1232
#define HOST_ADDRS 16

/* Bits of the fourth byte of a packet, and of the OPT record's flags. */
#define AD 0x20
#define CD 0x10
#define DO 0x80

struct question {
	struct list link; /* open: with c-ares; ready: its answer came */
	struct dns_resolver *resolver;
	char name[DNS_NAME];
	unsigned type;
	unsigned how;	 /* DNS_ASK_... */
	bool plain;	 /* without OPT, after a FORMERR */
	bool again;	 /* to be sent once more, not delivered */
	int64_t sent_ms; /* boot */
	dns_done_fn *done;
	void *ctx;
	bool answered;
	struct dns_answer answer;
	struct err why;
};

struct socket_watch {
	struct list link;
	struct dns_resolver *resolver;
	ares_socket_t fd;
	bool stream; /* TCP, after a truncated answer */
	struct loop_watch *watch;
};

/* A host whose addresses are being collected. */
struct host {
	struct list link;
	struct dns_resolver *resolver;
	char name[DNS_NAME];
	int port;
	struct addr addrs[HOST_ADDRS];
	size_t count;
	struct err why;
	dns_host_fn *done;
	void *ctx;
};

struct dns_resolver {
	struct loop *loop;
	ares_channel channel;
	struct loop_timer *timeout; /* c-ares wants to be called */
	struct loop_timer *deliver; /* something is ready */
	struct list open, ready, hosts, hosts_ready, sockets;
	uint64_t sent;
	bool by_stream; /* the answer that c-ares reads now came by TCP */
};

static void arm_timeout(struct dns_resolver *resolver)
{
	struct timeval tv, *next;

	next = ares_timeout(resolver->channel, NULL, &tv);
	if (!next) {
		loop_timer_stop(resolver->timeout);
		return;
	}
	/* Rounded up: a timer that is early would spin. */
	loop_timer_arm(resolver->timeout,
		       (int64_t)next->tv_sec * 1000 + next->tv_usec / 1000 + 1);
}

static void on_timeout(void *ctx)
{
	struct dns_resolver *resolver = ctx;

	ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	arm_timeout(resolver);
}

static void on_socket(void *ctx, int fd, int what)
{
	struct dns_resolver *resolver = ((struct socket_watch *)ctx)->resolver;

	resolver->by_stream = ((struct socket_watch *)ctx)->stream;
	/* From here the watch may be gone: c-ares may close its socket. */
	ares_process_fd(resolver->channel,
			what & LOOP_READ ? fd : ARES_SOCKET_BAD,
			what & LOOP_WRITE ? fd : ARES_SOCKET_BAD);
	resolver->by_stream = false;
	arm_timeout(resolver);
}

static bool is_stream(ares_socket_t fd)
{
	int type = 0;
	socklen_t size = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
	       type == SOCK_STREAM;
}

/* c-ares opens, closes or looks otherwise at a socket; one watch per fd. */
static void on_socket_state(void *ctx, ares_socket_t fd, int readable,
			    int writable)
{
	struct dns_resolver *resolver = ctx;
	struct socket_watch *found = NULL;

	list_each (it, next, &resolver->sockets) {
		struct socket_watch *watch =
			list_entry(it, struct socket_watch, link);

		if (watch->fd == fd)
			found = watch;
	}
	if (found) {
		loop_watch_free(found->watch);
		found->watch = NULL;
	}
	if (!readable && !writable) {
		if (found) {
			list_remove(&found->link);
			free(found);
		}
		return;
	}
	if (!found) {
		found = mem_alloc(sizeof(*found));
		found->resolver = resolver;
		found->fd = fd;
		found->stream = is_stream(fd);
		list_append(&resolver->sockets, &found->link);
	}
	found->watch = loop_watch_new(resolver->loop, fd,
				      (readable ? LOOP_READ : 0) |
					      (writable ? LOOP_WRITE : 0),
				      on_socket, found);
}

static void make_ready(struct question *question)
{
	struct dns_resolver *resolver = question->resolver;

	list_remove(&question->link);
	list_append(&resolver->ready, &question->link);
	loop_timer_arm(resolver->deliver, 0);
}

static const char *status_text(int status)
{
	switch (status) {
	case ARES_ETIMEOUT:
		return "timeout";
	case ARES_ECONNREFUSED:
		return "refused";
	case ARES_EBADNAME:
		return "not a DNS name";
	default:
		return ares_strerror(status);
	}
}

/* c-ares calls this also while a question is being sent or given up. */
static void on_answer(void *ctx, int status, int timeouts,
		      unsigned char *packet, int size)
{
	struct question *question = ctx;
	struct err why = ERR_INIT;

	if (status == ARES_EDESTRUCTION)
		return; /* the resolver goes and frees us */
	/* Every timeout but the last was followed by a second try, and a
	 * truncated answer by the same over TCP. */
	question->resolver->sent +=
		(uint64_t)timeouts - (status == ARES_ETIMEOUT && timeouts > 0) +
		(status == ARES_SUCCESS && question->resolver->by_stream);
	/* With NOCHECKRESP any rcode comes with ARES_SUCCESS. */
	if (status != ARES_SUCCESS || !packet) {
		err_set(&question->why, "%s", status_text(status));
	} else if (dns_answer_parse(slice_of(packet, (size_t)size),
				    &question->answer, &why) < 0) {
		err_set(&question->why, "a malformed answer: %s", why.text);
	} else if (question->answer.rcode == DNS_FORMERR && !question->plain) {
		/* RFC 6891, section 7: it may be too old for OPT. */
		dns_answer_release(&question->answer);
		question->plain = true;
		question->again = true;
	} else {
		question->answered = true;
		question->answer.came_ms = clock_boot_ms();
		question->answer.took_ms =
			question->answer.came_ms - question->sent_ms;
	}
	make_ready(question);
}

static void send_question(struct question *question)
{
	struct dns_resolver *resolver = question->resolver;
	unsigned char *packet;
	unsigned short id;
	int size, status;

	random_bytes(&id, sizeof(id));
	status = ares_create_query(question->name[0] ? question->name : ".", 1,
				   (int)question->type, id,
				   question->how & DNS_ASK_RECURSE, &packet,
				   &size, question->plain ? 0 : UDP_MAX);
	if (status != ARES_SUCCESS) {
		err_set(&question->why, "%s", status_text(status));
		make_ready(question);
		return;
	}
	if (question->how & DNS_ASK_RECURSE)
		packet[3] |= AD; /* RFC 6840 section 5.7 */
	if (question->how & DNS_ASK_UNCHECKED)
		packet[3] |= CD;
	/* c-ares ends the packet with the OPT: type, size, rcode and version,
	 * flags, no options. */
	if ((question->how & DNS_ASK_SIGNED) && !question->plain)
		packet[size - 4] |= DO;
	resolver->sent++;
	question->sent_ms = clock_boot_ms();
	ares_send(resolver->channel, packet, size, on_answer, question);
	ares_free_string(packet);
	arm_timeout(resolver);
}

static void question_free(struct question *question)
{
	list_remove(&question->link);
	dns_answer_release(&question->answer);
	free(question);
}

static void host_free(struct host *host)
{
	list_remove(&host->link);
	free(host);
}

static bool has_ready(const struct dns_resolver *resolver)
{
	return !list_is_empty(&resolver->ready) ||
	       !list_is_empty(&resolver->hosts_ready);
}

static void deliver_question(struct dns_resolver *resolver)
{
	struct question *question =
		list_entry(resolver->ready.next, struct question, link);

	list_remove(&question->link);
	if (has_ready(resolver))
		loop_timer_arm(resolver->deliver, 0);
	if (question->again) {
		question->again = false;
		list_append(&resolver->open, &question->link);
		send_question(question);
		return;
	}
	question->done(question->ctx,
		       question->answered ? &question->answer : NULL,
		       question->answered ? NULL : question->why.text);
	question_free(question);
}

static void deliver_host(struct dns_resolver *resolver)
{
	struct host *host =
		list_entry(resolver->hosts_ready.next, struct host, link);

	list_remove(&host->link);
	if (has_ready(resolver))
		loop_timer_arm(resolver->deliver, 0);
	host->done(host->ctx, host->addrs, host->count,
		   host->count ? NULL : host->why.text);
	host_free(host);
}

/*
 * One thing a turn, the rest re-armed before the callback: it may free the
 * resolver.
 */
static void on_deliver(void *ctx)
{
	struct dns_resolver *resolver = ctx;

	if (!list_is_empty(&resolver->ready))
		deliver_question(resolver);
	else if (!list_is_empty(&resolver->hosts_ready))
		deliver_host(resolver);
}

static int open_channel(struct dns_resolver *resolver,
			const struct addr *server, struct err *err)
{
	struct ares_options options = {
		.flags = ARES_FLAG_NOCHECKRESP | ARES_FLAG_NOSEARCH |
			 ARES_FLAG_NOALIASES,
		.timeout = TIMEOUT_MS,
		.tries = TRIES,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = resolver,
	};
	struct ares_addr_port_node node = {
		.family = server->sa.ss_family,
		.udp_port = addr_port(server),
		.tcp_port = addr_port(server),
	};
	char lookups[] = "b", ip[ADDR_TEXT];
	int status;

	options.lookups = lookups;
	if (!ares_inet_pton(node.family, addr_ip(server, ip), &node.addr))
		return err_set(err, "'%s' is no server address", ip);
	status = ares_init_options(&resolver->channel, &options,
				   ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS |
					   ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
					   ARES_OPT_SOCK_STATE_CB);
	if (status != ARES_SUCCESS) {
		resolver->channel = NULL;
		return err_set(err, "cannot ask DNS: %s",
			       ares_strerror(status));
	}
	status = ares_set_servers_ports(resolver->channel, &node);
	if (status != ARES_SUCCESS)
		return err_set(err, "cannot ask DNS at %s: %s", ip,
			       ares_strerror(status));
	return 0;
}

struct dns_resolver *
dns_resolver_new(struct loop *loop, const struct addr *server, struct err *err)
{
	struct dns_resolver *resolver = mem_alloc(sizeof(*resolver));

	resolver->loop = loop;
	list_init(&resolver->open);
	list_init(&resolver->ready);
	list_init(&resolver->hosts);
	list_init(&resolver->hosts_ready);
	list_init(&resolver->sockets);
	resolver->timeout = loop_timer_new(loop, on_timeout, resolver);
	resolver->deliver = loop_timer_new(loop, on_deliver, resolver);
	if (open_channel(resolver, server, err) < 0) {
		dns_resolver_free(resolver);
		return NULL;
	}
	return resolver;
}

void dns_resolver_free(struct dns_resolver *resolver)
{
	if (!resolver)
		return;
	/* Ends every open question with ARES_EDESTRUCTION, frees no one. */
	if (resolver->channel)
		ares_destroy(resolver->channel);
	list_each (it, next, &resolver->open)
		question_free(list_entry(it, struct question, link));
	list_each (it, next, &resolver->ready)
		question_free(list_entry(it, struct question, link));
	list_each (it, next, &resolver->hosts)
		host_free(list_entry(it, struct host, link));
	list_each (it, next, &resolver->hosts_ready)
		host_free(list_entry(it, struct host, link));
	loop_timer_free(resolver->timeout);
	loop_timer_free(resolver->deliver);
	free(resolver);
}

void dns_resolver_ask(struct dns_resolver *resolver, const char *name,
		      unsigned type, bool recurse, dns_done_fn *done, void *ctx)
{
	dns_resolver_ask_how(resolver, name, type,
			     recurse ? DNS_ASK_RECURSE : 0, done, ctx);
}

void dns_resolver_ask_how(struct dns_resolver *resolver, const char *name,
			  unsigned type, unsigned how, dns_done_fn *done,
			  void *ctx)
{
	struct question *question = mem_alloc(sizeof(*question));

	question->resolver = resolver;
	question->type = type;
	question->how = how;
	question->done = done;
	question->ctx = ctx;
	list_append(&resolver->open, &question->link);
	if (!dns_name_normal(slice(name), question->name)) {
		err_set(&question->why, "not a DNS name");
		make_ready(question);
		return;
	}
	send_question(question);
}

uint64_t dns_resolver_sent(const struct dns_resolver *resolver)
{
	return resolver->sent;
}

int dns_system_server(struct addr *server, struct err *err)
{
	static const char path[] = "/etc/resolv.conf";
	struct buf text = BUF_INIT;
	struct slice rest;
	int rc = -1;

	if (file_read(path, 65536, &text, err) < 0)
		goto out;
	rest = buf_slice(&text);
	while (rc < 0 && rest.len > 0) {
		struct slice line = slice_trim(slice_split(&rest, '\n'));
		struct slice word;

		if (!slice_starts(line, "nameserver"))
			continue;
		word = slice_trim(slice_from(line, strlen("nameserver")));
		rc = addr_from_ip(word, 53, server, NULL);
	}
	if (rc < 0)
		err_set(err, "%s names no nameserver", path);
out:
	buf_release(&text);
	return rc;
}

static void host_ready(struct host *host)
{
	struct dns_resolver *resolver = host->resolver;

	list_remove(&host->link);
	list_append(&resolver->hosts_ready, &host->link);
	loop_timer_arm(resolver->deliver, 0);
}

size_t dns_answer_addresses(const struct dns_answer *answer, int port,
			    struct addr *addrs, size_t max)
{
	size_t count = 0;

	for (size_t i = 0; i < answer->answer_count && count < max; i++)
		count += answer->answers[i].address[0] &&
			 addr_from_ip(slice(answer->answers[i].address), port,
				      &addrs[count], NULL) == 0;
	return count;
}

static void take_addresses(struct host *host, const struct dns_answer *answer,
			   const char *why)
{
	if (!answer) {
		err_set(&host->why, "%s", why);
		return;
	}
	if (answer->rcode != DNS_NOERROR) {
		err_set(&host->why, "%s", dns_rcode_name(answer->rcode));
		return;
	}
	host->count += dns_answer_addresses(answer, host->port,
					    host->addrs + host->count,
					    HOST_ADDRS - host->count);
}

static void on_aaaa(void *ctx, const struct dns_answer *answer, const char *why)
{
	struct host *host = ctx;

	take_addresses(host, answer, why);
	if (host->count == 0 && !host->why.text[0])
		err_set(&host->why, "no address");
	host_ready(host);
}

static void on_a(void *ctx, const struct dns_answer *answer, const char *why)
{
	struct host *host = ctx;

	take_addresses(host, answer, why);
	if (answer && answer->rcode == DNS_NXDOMAIN) {
		host_ready(host); /* then there is no AAAA either */
		return;
	}
	dns_resolver_ask(host->resolver, host->name, DNS_AAAA, true, on_aaaa,
			 host);
}

void dns_resolve_host(struct dns_resolver *resolver, const char *host, int port,
		      dns_host_fn *done, void *ctx)
{
	struct host *asked = mem_alloc(sizeof(*asked));

	asked->resolver = resolver;
	asked->port = port;
	asked->done = done;
	asked->ctx = ctx;
	list_append(&resolver->hosts, &asked->link);
	if (addr_from_ip(slice(host), port, &asked->addrs[0], NULL) == 0) {
		asked->count = 1;
		host_ready(asked);
		return;
	}
	if (!dns_name_normal(slice(host), asked->name) || !asked->name[0]) {
		err_set(&asked->why, "not a DNS name");
		host_ready(asked);
		return;
	}
	dns_resolver_ask(resolver, asked->name, DNS_A, true, on_a, asked);
}
