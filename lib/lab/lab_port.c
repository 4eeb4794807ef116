#include "lab/lab_port.h"
#include "base/list.h"
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#define HEADER	    12
#define MESSAGE_MAX 65535
#define UDP_PLAIN   512
#define CONNS_MAX   64
/* The OPT record of our answers: root name, type, the size we take. */
#define OPT_SIZE 11

struct conn {
	struct list link;
	struct lab_port *port;
	int fd;
	struct loop_watch *watch;
	struct buf in;
};

struct lab_asker {
	struct list link;
	struct lab_port *port;
	struct conn *conn; /* NULL: UDP, or the connection has gone */
	bool udp;
	struct addr peer;
	struct lab_query query;
	struct buf question;
};

struct lab_port {
	struct loop *loop;
	struct addr addr;
	int udp_fd, tcp_fd;
	struct loop_watch *udp_watch, *tcp_watch;
	struct list conns, askers;
	lab_port_fn *on_query;
	void *ctx;
};

static unsigned get16(const char *p)
{
	return (unsigned)(unsigned char)p[0] << 8 | (unsigned char)p[1];
}

static void put16(char *p, unsigned value)
{
	p[0] = (char)(value >> 8);
	p[1] = (char)value;
}

/* Askers. */

static struct lab_asker *asker_new(struct lab_port *port, struct conn *conn,
				   const struct addr *peer,
				   const struct lab_query *query)
{
	struct lab_asker *asker = mem_alloc(sizeof(*asker));

	asker->port = port;
	asker->conn = conn;
	asker->udp = !conn;
	if (peer)
		asker->peer = *peer;
	asker->query = *query;
	buf_add(&asker->question, query->question);
	asker->query.question = buf_slice(&asker->question);
	list_append(&port->askers, &asker->link);
	return asker;
}

void lab_asker_drop(struct lab_asker *asker)
{
	list_remove(&asker->link);
	buf_release(&asker->question);
	free(asker);
}

static void send_message(const struct lab_asker *asker, struct slice message)
{
	struct buf framed = BUF_INIT;
	char size[2];

	if (asker->udp) {
		sendto(asker->port->udp_fd, message.p, message.len, 0,
		       (const struct sockaddr *)&asker->peer.sa,
		       asker->peer.len);
		return;
	}
	if (!asker->conn)
		return;
	put16(size, (unsigned)message.len);
	buf_add(&framed, slice_of(size, sizeof(size)));
	buf_add(&framed, message);
	/* One answer fits in a socket's buffer; a peer that stuffs it loses
	 * its answers. */
	send(asker->conn->fd, framed.p, framed.len, MSG_NOSIGNAL);
	buf_release(&framed);
}

static void add_opt(struct buf *message)
{
	static const char opt[OPT_SIZE] = { 0, 0, DNS_OPT, 4096 >> 8, 0 };

	buf_add(message, slice_of(opt, sizeof(opt)));
	put16(message->p + 10, get16(message->p + 10) + 1);
}

void lab_asker_answer(struct lab_asker *asker, struct slice message)
{
	const struct lab_query *query = &asker->query;
	struct buf out = BUF_INIT;
	size_t max = asker->udp ? query->udp_max : MESSAGE_MAX;

	buf_add(&out, message);
	if (message.len + (query->edns ? OPT_SIZE : 0) > max) {
		out.len = HEADER + query->question.len;
		out.p[2] |= 0x02;
		memset(out.p + 6, 0, 6);
	}
	put16(out.p, query->id);
	out.p[2] = (char)((out.p[2] & ~0x01) | query->recurse);
	memcpy(out.p + HEADER, query->question.p, query->question.len);
	if (query->edns)
		add_opt(&out);
	send_message(asker, buf_slice(&out));
	buf_release(&out);
	lab_asker_drop(asker);
}

/* Queries. */

/* Past a name without pointers; 0: there is none. */
static size_t skip_name(struct slice packet, size_t at)
{
	while (at < packet.len) {
		unsigned size = (unsigned char)packet.p[at++];

		if (size == 0)
			return at;
		if (size > 63)
			return 0;
		at += size;
	}
	return 0;
}

static bool read_name(struct slice wire, char name[DNS_NAME])
{
	char text[DNS_NAME];
	size_t len = 0;

	for (size_t at = 0; wire.p[at]; at += 1 + (size_t)wire.p[at]) {
		size_t size = (size_t)wire.p[at];

		if (len + size + 2 > sizeof(text))
			return false;
		if (len > 0)
			text[len++] = '.';
		memcpy(text + len, wire.p + at + 1, size);
		len += size;
	}
	return dns_name_normal(len ? slice_of(text, len) : slice("."), name);
}

/* Answers, authorities: none; additional: an OPT at most. */
static int parse_query(struct slice packet, struct lab_query *query)
{
	size_t end, opt = 0;

	if (get16(packet.p + 4) != 1 || get16(packet.p + 6) != 0 ||
	    get16(packet.p + 8) != 0 || get16(packet.p + 10) > 1)
		return -1;
	end = skip_name(packet, HEADER);
	if (end == 0 || end + 4 > packet.len ||
	    get16(packet.p + end + 2) != 1 ||
	    !read_name(slice_of(packet.p + HEADER, end - HEADER), query->name))
		return -1;
	query->type = get16(packet.p + end);
	query->question = slice_of(packet.p + HEADER, end + 4 - HEADER);
	query->recurse = packet.p[2] & 1;
	query->unchecked = packet.p[3] & 0x10;
	query->udp_max = UDP_PLAIN;
	if (get16(packet.p + 10) == 0)
		return end + 4 == packet.len ? 0 : -1;
	opt = end + 4;
	if (opt + OPT_SIZE > packet.len || packet.p[opt] != 0 ||
	    get16(packet.p + opt + 1) != DNS_OPT ||
	    opt + OPT_SIZE + get16(packet.p + opt + 9) != packet.len)
		return -1;
	query->edns = true;
	if (get16(packet.p + opt + 3) > UDP_PLAIN)
		query->udp_max = get16(packet.p + opt + 3);
	return 0;
}

static void refuse(struct lab_port *port, struct conn *conn,
		   const struct addr *peer, struct slice packet, unsigned rcode)
{
	struct lab_asker asker = { .port = port, .conn = conn, .udp = !conn };
	char header[HEADER] = { packet.p[0], packet.p[1],
				(char)(0x80 | (packet.p[2] & 0x79)),
				(char)rcode };

	if (peer)
		asker.peer = *peer;
	send_message(&asker, slice_of(header, sizeof(header)));
}

static void take_packet(struct lab_port *port, struct conn *conn,
			const struct addr *peer, struct slice packet)
{
	struct lab_query query = { 0 };

	/* Too short for an id, or an answer: answering could go in circles. */
	if (packet.len < HEADER || packet.p[2] & 0x80)
		return;
	query.id = (uint16_t)get16(packet.p);
	if (packet.p[2] & 0x78) {
		refuse(port, conn, peer, packet, 4);
		return;
	}
	if (parse_query(packet, &query) < 0) {
		refuse(port, conn, peer, packet, DNS_FORMERR);
		return;
	}
	port->on_query(port->ctx, &query, asker_new(port, conn, peer, &query));
}

/* Sockets. */

static void on_udp(void *ctx, int fd, int what)
{
	struct lab_port *port = ctx;
	char packet[4096];

	for (int i = 0; i < 64; i++) {
		struct addr peer = { .len = sizeof(peer.sa) };
		ssize_t n = recvfrom(fd, packet, sizeof(packet), 0,
				     (struct sockaddr *)&peer.sa, &peer.len);

		if (n < 0)
			return;
		take_packet(port, NULL, &peer, slice_of(packet, (size_t)n));
	}
}

static void conn_free(struct conn *conn)
{
	list_each (it, next, &conn->port->askers) {
		struct lab_asker *asker =
			list_entry(it, struct lab_asker, link);

		if (asker->conn == conn)
			asker->conn = NULL;
	}
	list_remove(&conn->link);
	loop_watch_free(conn->watch);
	close(conn->fd);
	buf_release(&conn->in);
	free(conn);
}

static void on_conn(void *ctx, int fd, int what)
{
	struct conn *conn = ctx;
	char bytes[4096];
	ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_free(conn);
		return;
	}
	buf_add(&conn->in, slice_of(bytes, (size_t)n));
	while (conn->in.len >= 2) {
		size_t size = get16(conn->in.p);

		if (conn->in.len < 2 + size)
			return;
		take_packet(conn->port, conn, NULL,
			    slice_of(conn->in.p + 2, size));
		buf_consume(&conn->in, 2 + size);
	}
}

static void on_accept(void *ctx, int fd, int what)
{
	struct lab_port *port = ctx;
	int got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	size_t count = 0;
	struct conn *conn;

	if (got < 0)
		return;
	list_each (it, next, &port->conns)
		count++;
	if (count >= CONNS_MAX) {
		close(got);
		return;
	}
	conn = mem_alloc(sizeof(*conn));
	conn->port = port;
	conn->fd = got;
	list_append(&port->conns, &conn->link);
	conn->watch = loop_watch_new(port->loop, got, LOOP_READ, on_conn, conn);
}

/* UDP at the port that TCP got; with port 0 it may be taken: see below. */
static int open_sockets(struct lab_port *port, const struct addr *listen,
			struct err *err)
{
	char text[ADDR_TEXT];

	port->tcp_fd = addr_listen(listen, 16, err);
	if (port->tcp_fd < 0 ||
	    addr_of_socket(port->tcp_fd, &port->addr, err) < 0)
		return -1;
	port->udp_fd = socket(listen->sa.ss_family,
			      SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (port->udp_fd < 0 ||
	    bind(port->udp_fd, (const struct sockaddr *)&port->addr.sa,
		 port->addr.len) < 0)
		return err_errno(err, "cannot bind UDP %s",
				 addr_format(&port->addr, text));
	return 0;
}

static void close_sockets(struct lab_port *port)
{
	if (port->tcp_fd >= 0)
		close(port->tcp_fd);
	if (port->udp_fd >= 0)
		close(port->udp_fd);
	port->tcp_fd = port->udp_fd = -1;
}

struct lab_port *lab_port_new(struct loop *loop, const struct addr *listen,
			      lab_port_fn *on_query, void *ctx, struct err *err)
{
	struct lab_port *port = mem_alloc(sizeof(*port));
	int rc, tries = addr_port(listen) ? 1 : 8;

	port->loop = loop;
	port->on_query = on_query;
	port->ctx = ctx;
	list_init(&port->conns);
	list_init(&port->askers);
	port->tcp_fd = port->udp_fd = -1;
	while ((rc = open_sockets(port, listen, err)) < 0 && --tries > 0)
		close_sockets(port);
	if (rc < 0) {
		lab_port_free(port);
		return NULL;
	}
	port->udp_watch =
		loop_watch_new(loop, port->udp_fd, LOOP_READ, on_udp, port);
	port->tcp_watch =
		loop_watch_new(loop, port->tcp_fd, LOOP_READ, on_accept, port);
	return port;
}

void lab_port_free(struct lab_port *port)
{
	if (!port)
		return;
	list_each (it, next, &port->askers)
		lab_asker_drop(list_entry(it, struct lab_asker, link));
	list_each (it, next, &port->conns)
		conn_free(list_entry(it, struct conn, link));
	loop_watch_free(port->udp_watch);
	loop_watch_free(port->tcp_watch);
	close_sockets(port);
	free(port);
}

const struct addr *lab_port_addr(const struct lab_port *port)
{
	return &port->addr;
}
