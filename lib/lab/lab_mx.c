#include "lab/lab_mx.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/list.h"
#include "lab/lab_sender.h"
#include "net/stream.h"
#include "smtp/smtp_server.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	MAX_MESSAGE = 64 * 1024 * 1024,
	FINISH_MS = 1000
};

struct session {
	struct list link;
	struct lab_mx *mx;
	struct stream *stream;
	struct smtp_server *server;
	struct loop_timer *over;
	struct buf body;
	char **paths;
	size_t path_count;
	bool feeding, closing;
};

static void forget(struct session *session)
{
	for (size_t i = 0; i < session->path_count; i++)
		free(session->paths[i]);
	session->path_count = 0;
	buf_clear(&session->body);
}

static void session_free(struct session *session)
{
	forget(session);
	list_remove(&session->link);
	stream_free(session->stream);
	smtp_server_free(session->server);
	loop_timer_free(session->over);
	buf_release(&session->body);
	free(session->paths);
	free(session);
}

static void over(void *ctx)
{
	struct session *session = ctx;

	stream_finish(session->stream, FINISH_MS);
	session->stream = NULL;
	session_free(session);
}

static void end(struct session *session)
{
	if (session->closing)
		return;
	session->closing = true;
	loop_timer_arm(session->over, 0);
}

static void flush(struct session *session)
{
	struct buf *out = smtp_server_out(session->server);

	stream_write(session->stream, buf_slice(out));
	buf_clear(out);
}

static void on_helo(void *ctx, struct slice name, bool extended)
{
	struct session *session = ctx;

	smtp_server_answer(session->server, 250, "hello");
}

static void on_mail(void *ctx, const struct smtp_mail *mail)
{
	struct session *session = ctx;

	smtp_server_answer(session->server, 250, "2.1.0 sender ok");
}

static void on_rcpt(void *ctx, const struct smtp_path *path,
		    struct slice address)
{
	struct session *session = ctx;
	struct lab_mx *mx = session->mx;
	/* The addresses of this lab: what lab_sender writes to, and
	 * postmaster.  Everything else nobody has. */
	bool known = slice_starts_nocase(address, LAB_SENDER_LOCAL) ||
		     slice_starts_nocase(address, "postmaster@");

	if (mx->mode == LAB_MX_NO_DOMAIN) {
		mx->refused += slice_starts_nocase(address, LAB_SENDER_LOCAL);
		smtp_server_answer(session->server, 550,
				   "5.4.1 recipient "
				   "address rejected: access denied");
		return;
	}
	if (!known) {
		smtp_server_answer(session->server, 550,
				   "5.1.1 nobody here has that address");
		return;
	}
	session->paths =
		mem_grow(session->paths,
			 (session->path_count + 1) * sizeof(*session->paths));
	session->paths[session->path_count++] = slice_dup(address);
	smtp_server_answer(session->server, 250, "2.1.5 recipient ok");
}

static void on_data_begin(void *ctx)
{
	struct session *session = ctx;

	smtp_server_answer(session->server, 354, "go on");
}

static void on_data(void *ctx, struct slice bytes)
{
	struct session *session = ctx;

	buf_add(&session->body, bytes);
}

/* Everything from the sender's own first field on. */
static struct slice without_trace(struct slice body)
{
	const char *at = memmem(body.p, body.len, LAB_SENDER_FIELD,
				strlen(LAB_SENDER_FIELD));

	return at ? slice_from(body, (size_t)(at - body.p)) : body;
}

static uint64_t number_of(struct slice body)
{
	uint64_t number = 0;
	struct slice value;

	if (!slice_starts(body, LAB_SENDER_FIELD))
		return 0;
	value = slice_from(body, strlen(LAB_SENDER_FIELD));
	slice_u64(slice_trim(slice_split(&value, '\r')), &number);
	return number;
}

static void arrived(struct lab_mx *mx, const char *mailbox, struct slice body)
{
	struct lab_mx_arrival *arrival;
	unsigned char digest[DIGEST_LEN];
	char text[DIGEST_TEXT];

	mx->arrivals = mem_grow(mx->arrivals, (mx->arrival_count + 1) *
						      sizeof(*mx->arrivals));
	arrival = &mx->arrivals[mx->arrival_count++];
	digest_sha256(body, digest);
	*arrival = (struct lab_mx_arrival){
		.mailbox = mem_dup(mailbox),
		.number = number_of(body),
		.sha256 = mem_dup(digest_text(digest, text)),
		.at_ms = clock_wall_ms(),
	};
}

static void on_data_end(void *ctx, const char *bad)
{
	struct session *session = ctx;
	struct lab_mx *mx = session->mx;
	struct slice body = without_trace(buf_slice(&session->body));

	if (bad)
		return;
	if (mx->mode != LAB_MX_ACCEPTS) {
		smtp_server_answer(session->server, 451,
				   "4.3.2 system not accepting now");
		return;
	}
	for (size_t i = 0; i < session->path_count; i++)
		arrived(mx, session->paths[i], body);
	smtp_server_answer(session->server, 250, "2.0.0 delivered");
}

static void on_reset(void *ctx)
{
	forget(ctx);
}

static void on_starttls(void *ctx)
{
	struct session *session = ctx;

	flush(session);
	stream_starttls_server(session->stream, session->mx->tls);
}

static void on_close(void *ctx)
{
	struct session *session = ctx;

	flush(session);
	end(session);
}

static const struct smtp_server_owner owner = {
	.on_helo = on_helo,
	.on_mail = on_mail,
	.on_rcpt = on_rcpt,
	.on_data_begin = on_data_begin,
	.on_data = on_data,
	.on_data_end = on_data_end,
	.on_reset = on_reset,
	.on_starttls = on_starttls,
	.on_close = on_close,
};

static void on_input(void *ctx)
{
	struct session *session = ctx;
	size_t used;

	do {
		struct slice in = stream_peek(session->stream);

		used = smtp_server_feed(session->server, in);
		stream_consume(session->stream, used);
	} while (used > 0 && !session->closing);
	flush(session);
}

static void on_tls(void *ctx)
{
	struct session *session = ctx;

	smtp_server_tls_started(session->server);
}

static void on_end(void *ctx, const char *why)
{
	end(ctx);
}

static const struct stream_events events = {
	.on_input = on_input,
	.on_tls = on_tls,
	.on_end = on_end,
};

static void on_accept(void *ctx, int listening, int what)
{
	struct lab_mx *mx = ctx;
	struct session *session;
	int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (mx->mode == LAB_MX_DOWN) {
		close(fd);
		return;
	}
	session = mem_alloc(sizeof(*session));
	session->mx = mx;
	list_append(mx->sessions, &session->link);
	session->over = loop_timer_new(mx->loop, over, session);
	session->stream = stream_accept(mx->loop, fd, &events, session);
	session->server = smtp_server_new(
		&owner, session, mx->title,
		&(struct smtp_server_limits){ .max_size = MAX_MESSAGE,
					      .max_recipients = 1000,
					      .utf8 = true },
		true);
	smtp_server_greet(session->server);
	flush(session);
}

struct lab_mx *lab_mx_new(struct loop *loop, const char *title,
			  const char *host, struct err *err)
{
	struct lab_mx *mx = mem_alloc(sizeof(*mx));
	struct addr addr;

	mx->loop = loop;
	mx->title = title;
	mx->fd = -1;
	mx->sessions = mem_alloc(sizeof(*mx->sessions));
	list_init(mx->sessions);
	mx->tls = tls_server_new_selfsigned(host, err);
	if (!mx->tls || addr_from_ip(slice("127.0.0.1"), 0, &addr, err) < 0)
		goto fail;
	mx->fd = addr_listen(&addr, 128, err);
	if (mx->fd < 0 || addr_of_socket(mx->fd, &addr, err) < 0)
		goto fail;
	addr_format(&addr, mx->address);
	mx->watch = loop_watch_new(loop, mx->fd, LOOP_READ, on_accept, mx);
	return mx;
fail:
	lab_mx_free(mx);
	return NULL;
}

void lab_mx_free(struct lab_mx *mx)
{
	if (!mx)
		return;
	loop_watch_free(mx->watch);
	if (mx->fd >= 0)
		close(mx->fd);
	list_each (it, next, mx->sessions)
		session_free(list_entry(it, struct session, link));
	free(mx->sessions);
	for (size_t i = 0; i < mx->arrival_count; i++) {
		free(mx->arrivals[i].mailbox);
		free(mx->arrivals[i].sha256);
	}
	free(mx->arrivals);
	tls_server_free(mx->tls);
	free(mx);
}

unsigned lab_mx_copies(const struct lab_mx *mx, const char *mailbox,
		       uint64_t number)
{
	unsigned copies = 0;

	for (size_t i = 0; i < mx->arrival_count; i++)
		copies += mx->arrivals[i].number == number &&
			  strcmp(mx->arrivals[i].mailbox, mailbox) == 0;
	return copies;
}
