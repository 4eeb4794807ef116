#include "daemon/session.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/session_data.h"
#include "smtp/smtp_server.h"
#include <stdio.h>
#include <stdlib.h>

#define LOG_MODULE "session"

enum {
	CLOSE_MS = 5000, /* for the last reply to leave */
	REPLIES_MAX = 64 * 1024
};

struct session {
	struct acceptance *acceptance;
	struct session_limits limits;
	const struct session_owner *owner;
	void *ctx; /* the owner's */
	struct tls_server *tls;
	struct stream *stream;
	struct smtp_server *server;
	struct session_data *data;
	struct loop_timer *over; /* frees the session, from the loop */
	char *hostname;
	char helo[256];
	char peer[ADDR_TEXT], peer_literal[ADDR_TEXT];
	char tls_text[96];
	bool in_tls, utf8, closing, paused, feeding;
	bool unheard;	       /* it does not take our replies */
	bool is_busy;	       /* from an accepted MAIL on */
	bool in_message;       /* from its first byte or chunk to its end */
	int64_t data_until_ms; /* mono: it must end by then; 0: not running */
	int64_t command_until_ms;
	uint64_t lines; /* commands when that was set */
	uint64_t declared, bytes;
};

static void end(struct session *session)
{
	if (session->closing)
		return;
	session->closing = true;
	loop_timer_arm(session->over, 0);
}

void session_free(struct session *session)
{
	session_data_free(session->data);
	stream_free(session->stream);
	smtp_server_free(session->server);
	loop_timer_free(session->over);
	tls_server_free(session->tls);
	free(session->hostname);
	free(session);
}

static void over(void *ctx)
{
	struct session *session = ctx;

	if (session->stream)
		stream_finish(session->stream, CLOSE_MS);
	session->stream = NULL;
	session->owner->counts->recipients +=
		smtp_server_refused_recipients(session->server);
	session->owner->on_ended(session->ctx);
	session_free(session);
}

static void flush(struct session *session)
{
	struct buf *out = smtp_server_out(session->server);

	if (out->len == 0 || !session->stream)
		return;
	stream_write(session->stream, buf_slice(out));
	buf_clear(out);
}

static void time_out(struct session *session)
{
	session->owner->counts->timeouts++;
	smtp_server_shutdown(session->server, "4.4.2 waited too long, closing");
	flush(session);
	end(session);
}

/* A command has its time once: bytes that do not end its line win none. */
static int64_t command_left(struct session *session, int64_t now)
{
	uint64_t lines = smtp_server_lines(session->server);

	if (session->command_until_ms == 0 || lines != session->lines)
		session->command_until_ms = now + session->limits.command_ms;
	session->lines = lines;
	return session->command_until_ms - now;
}

/*
 * Chunks and the commands between them share the time of one message.  A chunk
 * that belongs to no message is read to its end within the same time.
 */
static void set_deadline(struct session *session)
{
	int64_t ms, left;
	bool in_data = smtp_server_in_data(session->server);
	int64_t now = clock_mono_ms();

	if (!in_data && !session->in_message)
		session->data_until_ms = 0;
	else if (session->data_until_ms == 0)
		session->data_until_ms = now + session->limits.data_total_ms;
	if (in_data || smtp_server_waits(session->server)) {
		session->command_until_ms = 0;
		ms = session->limits.data_ms;
	} else {
		ms = command_left(session, now);
	}
	left = session->data_until_ms ? session->data_until_ms - now : ms;
	if (smtp_server_waits(session->server))
		stream_deadline(session->stream, 0); /* it is our turn */
	else if (left > 0 && ms > 0)
		stream_deadline(session->stream, left < ms ? left : ms);
	else
		time_out(session); /* now: a busy peer puts no timer off */
}

/* Who does not read what we say is not read either, until it does: its replies
 * would fill our memory. */
static bool is_heard(struct session *session)
{
	if (session->unheard || stream_unsent(session->stream) <= REPLIES_MAX)
		return !session->unheard;
	session->unheard = true;
	stream_pause(session->stream);
	stream_wish_drained(session->stream);
	return false;
}

/*
 * Gives the dialogue what has come, until it stands still.  Answers that come
 * at once call this again from inside; the outermost call does the work.
 */
static void feed(struct session *session)
{
	bool moved = true;

	if (session->feeding)
		return;
	session->feeding = true;
	while (moved && !session->closing && !session->paused &&
	       is_heard(session)) {
		struct slice in = stream_peek(session->stream);
		size_t used = smtp_server_feed(session->server, in);

		stream_consume(session->stream, used);
		moved = used > 0 && used < in.len &&
			!smtp_server_waits(session->server);
	}
	session->feeding = false;
	flush(session);
	if (!session->closing)
		set_deadline(session);
}

/* What the dialogue asks. */

static void on_helo(void *ctx, struct slice name, bool extended)
{
	struct session *session = ctx;

	snprintf(session->helo, sizeof(session->helo), "%.*s",
		 (int)(name.len < 255 ? name.len : 255), name.p);
	/* 250 with the hostname and, for EHLO, the offers: the dialogue's. */
	smtp_server_answer(session->server, 250, session->hostname);
}

static void on_mail(void *ctx, const struct smtp_mail *mail)
{
	struct session *session = ctx;
	struct acceptance *acceptance = session->acceptance;
	struct acceptance_answer answer = { .code = 250 };

	if (session->limits.max_bytes &&
	    session->bytes >= session->limits.max_bytes) {
		session->owner->counts->bytes++;
		smtp_server_answer(session->server, 421,
				   "4.7.0 too many bytes in one session");
		return;
	}
	acceptance->admit(acceptance->ctx, mail->size, &answer);
	/* RFC 3463, 3.4: X.3.2 has "excessive load" among its examples; X.4.5 is
	 * for mail on its way further. */
	if (answer.code == 250 && !session->owner->may_begin(session->ctx)) {
		answer.code = 451;
		snprintf(answer.text, sizeof(answer.text),
			 "4.3.2 too much to do, try again later");
	}
	if (answer.code == 250) {
		session->utf8 = mail->utf8;
		session_data_free(session->data);
		session->data = session_data_new(acceptance, mail->reverse_path,
						 mail->utf8);
		session->declared = mail->size;
		session->is_busy = true;
		session->owner->on_busy(session->ctx);
		snprintf(answer.text, sizeof(answer.text), "2.1.0 sender ok");
	} else if (answer.code == 452) {
		session->owner->counts->space++;
	}
	smtp_server_answer(session->server, answer.code, answer.text);
}

static void on_rcpt(void *ctx, const struct smtp_path *path,
		    struct slice address)
{
	struct session *session = ctx;
	struct acceptance *acceptance = session->acceptance;
	struct acceptance_answer answer = { .code = 451,
					    .text = "4.3.0 try again" };

	acceptance->recipient(acceptance->ctx, path, address,
			      session_data_plan(session->data),
			      session->declared, &answer);
	if (answer.code == 250) {
		session_data_recipient(session->data, answer.plan,
				       answer.address ? slice(answer.address) :
							address);
		smtp_server_max_size(session->server, answer.max_bytes);
		snprintf(answer.text, sizeof(answer.text),
			 "2.1.5 recipient ok");
	}
	smtp_server_answer(session->server, answer.code, answer.text);
}

static void on_data_begin(void *ctx)
{
	struct session *session = ctx;
	struct session_origin origin = {
		.hostname = session->hostname,
		.helo = session->helo,
		.peer = session->peer,
		.peer_literal = session->peer_literal,
		.protocol = smtp_server_protocol(
			session->server, session->in_tls, session->utf8),
		.tls = session->tls_text,
	};

	session_data_begin(session->data, &origin);
	session->in_message = true;
	session->data_until_ms = 0;
	smtp_server_answer(session->server, 354, "end data with <CRLF>.<CRLF>");
}

static void resume(struct session *session)
{
	session->paused = false;
	if (!session->unheard)
		stream_resume(session->stream);
}

static void room(void *ctx)
{
	struct session *session = ctx;

	resume(session);
	feed(session);
}

static void on_data(void *ctx, struct slice bytes)
{
	struct session *session = ctx;

	session->bytes += bytes.len;
	session_data_bytes(session->data, bytes);
	if (!session_data_is_full(session->data)) {
		if (session->paused)
			resume(session);
	} else if (!session->paused) {
		session->paused = true;
		stream_pause(session->stream);
		session_data_on_room(session->data, room, session);
	}
}

static void answered(struct session *session, int code, const char *text)
{
	smtp_server_answer(session->server, code, text);
	feed(session);
}

static void kept(void *ctx, const struct id *id, const struct err *err)
{
	struct session *session = ctx;
	char text[128];

	if (err) {
		struct acceptance_answer answer;
		bool lacked_space = session_data_lacked_space(session->data);

		log_error("message not kept: %s", err->text);
		session_data_free(session->data);
		session->data = NULL;
		session->acceptance->admit(session->acceptance->ctx, 0,
					   &answer);
		session->owner->counts->space += lacked_space;
		if (lacked_space)
			answered(session, 452,
				 "4.3.1 not enough space, try again later");
		else if (answer.code == 250)
			answered(session, 451,
				 "4.3.0 cannot keep it now, try again");
		else
			answered(session, answer.code, answer.text);
		return;
	}
	snprintf(text, sizeof(text), "2.0.0 kept as %s", id->text);
	session_data_free(session->data);
	session->data = NULL;
	answered(session, 250, text);
}

static void on_data_end(void *ctx, const char *bad)
{
	struct session *session = ctx;
	struct acceptance *acceptance = session->acceptance;
	struct acceptance_answer answer;
	const char *why;

	session->in_message = false;
	if (bad) {
		log_info("%s: message refused: %s", session->peer, bad);
		return;
	}
	if (!smtp_hops_are_few(session_data_hops(session->data), &why)) {
		log_info("%s: message refused: %s", session->peer, why);
		smtp_server_answer(session->server, 554, why);
		return;
	}
	acceptance->still(acceptance->ctx, session_data_plan(session->data),
			  &answer);
	if (answer.code != 250) {
		smtp_server_answer(session->server, answer.code, answer.text);
		return;
	}
	session_data_end(session->data, kept, session);
}

static void on_reset(void *ctx)
{
	struct session *session = ctx;

	session->in_message = false;
	session_data_free(session->data);
	session->data = NULL;
	if (session->is_busy)
		session->owner->on_idle(session->ctx);
	session->is_busy = false;
	if (session->paused)
		resume(session);
}

static void on_starttls(void *ctx)
{
	struct session *session = ctx;

	flush(session);
	stream_starttls_server(session->stream, session->tls);
}

static void count_limit(struct session *session)
{
	switch (smtp_server_limit(session->server)) {
	case SMTP_LIMIT_MESSAGES:
		session->owner->counts->messages++;
		break;
	case SMTP_LIMIT_ERRORS:
		session->owner->counts->errors++;
		break;
	case SMTP_LIMIT_JUNK:
		session->owner->counts->junk++;
		break;
	case SMTP_LIMIT_NONE:
		break;
	}
}

static void on_close(void *ctx)
{
	struct session *session = ctx;

	count_limit(session);
	flush(session);
	end(session);
}

static const struct smtp_server_owner server_owner = {
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

/* What the connection tells. */

static void on_input(void *ctx)
{
	feed(ctx);
}

static void on_drained(void *ctx)
{
	struct session *session = ctx;

	session->unheard = false;
	if (!session->paused)
		stream_resume(session->stream);
	feed(session);
}

static void on_tls(void *ctx)
{
	struct session *session = ctx;
	struct tls_info info;

	stream_tls_info(session->stream, &info);
	session->in_tls = true;
	snprintf(session->tls_text, sizeof(session->tls_text), "%s %s",
		 info.version, info.cipher);
	smtp_server_tls_started(session->server);
	set_deadline(session);
}

static void on_end(void *ctx, const char *why)
{
	struct session *session = ctx;

	if (why && strcmp(why, "timed out") == 0)
		time_out(session);
	else
		end(session);
}

static const struct stream_events stream_events = {
	.on_input = on_input,
	.on_drained = on_drained,
	.on_tls = on_tls,
	.on_end = on_end,
};

struct session *session_new(struct acceptance *acceptance, int fd,
			    const char *hostname,
			    const struct session_limits *limits,
			    struct tls_server *tls,
			    const struct session_owner *owner, void *ctx)
{
	struct session *session = mem_alloc(sizeof(*session));
	struct addr peer;

	session->acceptance = acceptance;
	session->limits = *limits;
	session->owner = owner;
	session->ctx = ctx;
	session->hostname = mem_dup(hostname);
	session->tls = tls_server_share(tls);
	session->over = loop_timer_new(acceptance->loop, over, session);
	session->stream =
		stream_accept(acceptance->loop, fd, &stream_events, session);
	stream_peer(session->stream, &peer);
	addr_format(&peer, session->peer);
	addr_literal(&peer, session->peer_literal);
	session->server = smtp_server_new(
		&server_owner, session, hostname,
		&(struct smtp_server_limits){
			.max_size = acceptance->max_bytes(acceptance->ctx),
			.max_recipients = limits->max_recipients,
			.max_messages = limits->max_messages,
			.max_errors = limits->max_errors,
			.max_junk = limits->max_junk,
			.utf8 = acceptance->utf8(acceptance->ctx),
		},
		tls != NULL);
	smtp_server_greet(session->server);
	flush(session);
	set_deadline(session);
	return session;
}

void session_shutdown(struct session *session, const char *text)
{
	if (session->closing)
		return;
	smtp_server_drain(session->server, text);
	flush(session);
}
