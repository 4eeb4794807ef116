#include "smtp/smtp_dialogue.h"
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#define TEXT_MAX 500 /* a reply line has 512 (RFC 5321, 4.5.3.1.5) */

struct smtp_server *smtp_server_new(const struct smtp_server_owner *owner,
				    void *ctx, const char *hostname,
				    const struct smtp_server_limits *limits,
				    bool offer_starttls)
{
	struct smtp_server *server = mem_alloc(sizeof(*server));

	server->owner = owner;
	server->ctx = ctx;
	server->hostname = mem_dup(hostname);
	server->limits = *limits;
	server->max_size = limits->max_size;
	server->offer_starttls = offer_starttls;
	return server;
}

void smtp_server_free(struct smtp_server *server)
{
	if (!server)
		return;
	if (server->busy) {
		server->doomed = true;
		server->state = CLOSED;
		return;
	}
	free(server->hostname);
	free(server->farewell);
	free(server->chunk_text);
	buf_release(&server->out);
	smtp_line_release(&server->line);
	free(server);
}

static void enter(struct smtp_server *server)
{
	server->busy++;
}

static void leave(struct smtp_server *server)
{
	if (--server->busy == 0 && server->doomed)
		smtp_server_free(server);
}

void smtp_dialogue_say(struct smtp_server *server, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	buf_vaddf(&server->out, format, args);
	va_end(args);
	buf_adds(&server->out, "\r\n");
}

static bool is_printable(char c)
{
	return c >= ' ' && c <= '~';
}

/* A text of the owner's may quote somebody: it must stay one line. */
void smtp_dialogue_say_text(struct smtp_server *server, int code,
			    const char *text)
{
	const char digits[] = { (char)('0' + code / 100),
				(char)('0' + code / 10 % 10),
				(char)('0' + code % 10), ' ' };
	struct slice line = slice(text);
	size_t start;

	if (line.len > TEXT_MAX)
		line.len = TEXT_MAX;
	buf_add(&server->out, slice_of(digits, sizeof(digits)));
	start = server->out.len;
	buf_add(&server->out, line);
	for (size_t i = start; i < server->out.len; i++)
		if (!is_printable(server->out.p[i]))
			server->out.p[i] = '?';
	buf_adds(&server->out, "\r\n");
}

void smtp_dialogue_forget(struct smtp_server *server)
{
	bool open = server->open;

	server->open = server->mail = server->utf8 = false;
	server->tried = server->accepted = 0;
	server->max_size = server->limits.max_size;
	server->chunks = NO_CHUNKS;
	if (open && !server->doomed)
		server->owner->on_reset(server->ctx);
}

void smtp_dialogue_close(struct smtp_server *server)
{
	if (server->state == CLOSED)
		return;
	server->state = CLOSED;
	smtp_dialogue_forget(server);
	if (!server->doomed)
		server->owner->on_close(server->ctx);
}

void smtp_dialogue_part(struct smtp_server *server, const char *text)
{
	/* After our 220 to STARTTLS plain bytes would only break the start. */
	if (server->state != TLS)
		smtp_dialogue_say_text(server, 421, text);
	smtp_dialogue_close(server);
}

/* Whether the farewell may come now, when nothing was asked. */
static bool may_part(const struct smtp_server *server)
{
	/* A chunk without a transaction was refused: its end may be far. */
	return !server->draining || server->state == TLS ||
	       ((server->state == COMMAND || server->state == CHUNK) &&
		!server->mail);
}

void smtp_dialogue_end(struct smtp_server *server, enum smtp_server_limit limit,
		       const char *text)
{
	if (server->state == CLOSED)
		return;
	server->limit = limit;
	smtp_dialogue_part(server, text);
}

/* A 5xx was said: too many of them, and the session ends. */
void smtp_dialogue_error(struct smtp_server *server)
{
	server->errors++;
	if (server->limits.max_errors &&
	    server->errors >= server->limits.max_errors)
		smtp_dialogue_end(server, SMTP_LIMIT_ERRORS,
				  "4.7.0 too many errors");
}

void smtp_dialogue_junk(struct smtp_server *server)
{
	server->junk++;
	if (server->limits.max_junk && server->junk >= server->limits.max_junk)
		smtp_dialogue_end(server, SMTP_LIMIT_JUNK,
				  "4.7.0 too many commands without a message");
}

void smtp_dialogue_refuse(struct smtp_server *server, int code,
			  const char *text)
{
	smtp_dialogue_say_text(server, code, text);
	smtp_dialogue_error(server);
}

static size_t feed_state(struct smtp_server *server, struct slice in)
{
	switch (server->state) {
	case DATA:
		return smtp_dialogue_feed_data(server, in);
	case CHUNK:
		return smtp_dialogue_feed_chunk(server, in);
	default:
		return smtp_dialogue_feed_command(server, in);
	}
}

static bool can_feed(const struct smtp_server *server)
{
	return server->question == NOTHING &&
	       (server->state == COMMAND || server->state == DATA ||
		server->state == CHUNK);
}

size_t smtp_server_feed(struct smtp_server *server, struct slice in)
{
	size_t done = 0;

	assert(!server->feeding);
	enter(server);
	server->feeding = true;
	while (done < in.len && can_feed(server)) {
		done += feed_state(server, slice_from(in, done));
		if (server->farewell && server->question == NOTHING &&
		    may_part(server))
			smtp_dialogue_part(server, server->farewell);
	}
	server->feeding = false;
	leave(server);
	return done;
}

/* The answers. */

static void answer_helo(struct smtp_server *server, bool extended)
{
	bool again = server->greeted;

	server->greeted = true;
	server->extended = extended;
	if (!extended) {
		smtp_dialogue_say(server, "250 %s", server->hostname);
		if (again)
			smtp_dialogue_junk(server);
		return;
	}
	smtp_dialogue_say(server, "250-%s", server->hostname);
	smtp_dialogue_say(server, "250-PIPELINING");
	if (server->limits.max_size)
		smtp_dialogue_say(server, "250-SIZE %" PRIu64,
				  server->limits.max_size);
	else
		smtp_dialogue_say(server, "250-SIZE");
	smtp_dialogue_say(server, "250-8BITMIME");
	smtp_dialogue_say(server, "250-CHUNKING");
	if (server->offer_starttls && !server->in_tls)
		smtp_dialogue_say(server, "250-STARTTLS");
	if (server->limits.utf8)
		smtp_dialogue_say(server, "250-SMTPUTF8");
	smtp_dialogue_say(server, "250 ENHANCEDSTATUSCODES");
	if (again)
		smtp_dialogue_junk(server);
}

static void settle(struct smtp_server *server, enum question question, int code,
		   const char *text)
{
	bool yes = code >= 200 && code < 400;

	switch (question) {
	case MAIL:
		server->mail = yes;
		if (!yes)
			smtp_dialogue_forget(server);
		break;
	case RCPT:
		server->accepted += yes;
		break;
	case DATA_BEGIN:
		if (code == 354) {
			server->state = DATA;
			smtp_data_begin(&server->data, server->max_size);
		} else {
			smtp_dialogue_forget(server);
		}
		break;
	case CHUNK_BEGIN:
		smtp_dialogue_chunk_begin(server, code, text);
		break;
	case DATA_END:
		server->messages++;
		if (yes)
			server->errors = server->junk = 0;
		smtp_dialogue_forget(server);
		break;
	default:
		break;
	}
}

static void answer(struct smtp_server *server, enum question question, int code,
		   const char *text)
{
	if (server->state == CLOSED)
		return;
	if (server->farewell && question != DATA_END &&
	    !(server->draining && server->mail)) {
		smtp_dialogue_part(server, server->farewell);
		return;
	}
	if (code == 421) {
		smtp_dialogue_part(server, text);
		return;
	}
	if (code == 250 && (question == HELO || question == EHLO))
		answer_helo(server, question == EHLO);
	else if (question != CHUNK_BEGIN)
		smtp_dialogue_say_text(server, code, text);
	settle(server, question, code, text);
	/* An empty chunk may have led to the next question already. */
	if (server->state == CLOSED || server->question != NOTHING)
		return;
	if (server->farewell && may_part(server))
		smtp_dialogue_part(server, server->farewell);
	else if (code >= 500)
		smtp_dialogue_error(server);
	else if (code >= 400 && question == MAIL)
		smtp_dialogue_junk(server);
}

void smtp_server_answer(struct smtp_server *server, int code, const char *text)
{
	enum question question = server->question;

	assert(question != NOTHING);
	assert(code != 354 || question == DATA_BEGIN ||
	       question == CHUNK_BEGIN);
	server->question = NOTHING;
	enter(server);
	answer(server, question, code, text);
	leave(server);
}

void smtp_server_greet(struct smtp_server *server)
{
	if (server->state != GREETING)
		return;
	smtp_dialogue_say(server, "220 %s ESMTP tideover", server->hostname);
	server->state = COMMAND;
}

void smtp_server_max_size(struct smtp_server *server, uint64_t max_size)
{
	if (server->max_size == 0 || max_size < server->max_size)
		server->max_size = max_size;
}

bool smtp_server_waits(const struct smtp_server *server)
{
	return server->question != NOTHING;
}

unsigned smtp_server_refused_recipients(const struct smtp_server *server)
{
	return server->refused_recipients;
}

uint64_t smtp_server_lines(const struct smtp_server *server)
{
	return server->lines;
}

bool smtp_server_in_data(const struct smtp_server *server)
{
	return server->state == DATA || server->state == CHUNK;
}

void smtp_server_tls_started(struct smtp_server *server)
{
	server->in_tls = true;
	server->greeted = server->extended = false;
	smtp_line_reset(&server->line);
	if (server->state == TLS)
		server->state = COMMAND;
	enter(server);
	smtp_dialogue_forget(server);
	leave(server);
}

void smtp_server_shutdown(struct smtp_server *server, const char *text)
{
	if (server->state == CLOSED || (server->farewell && !server->draining))
		return;
	if (!server->farewell)
		server->farewell = mem_dup(text);
	server->draining = false;
	enter(server);
	if (server->question == NOTHING)
		smtp_dialogue_part(server, server->farewell);
	leave(server);
}

void smtp_server_drain(struct smtp_server *server, const char *text)
{
	if (server->state == CLOSED || server->farewell)
		return;
	server->farewell = mem_dup(text);
	server->draining = true;
	enter(server);
	if (server->question == NOTHING && may_part(server))
		smtp_dialogue_part(server, server->farewell);
	leave(server);
}

struct buf *smtp_server_out(struct smtp_server *server)
{
	return &server->out;
}

enum smtp_server_limit smtp_server_limit(const struct smtp_server *server)
{
	return server->limit;
}

/* RFC 3848 and RFC 6531, section 4.3; HELO has no name for TLS. */
const char *smtp_server_protocol(const struct smtp_server *server, bool tls,
				 bool utf8)
{
	if (utf8)
		return tls ? "UTF8SMTPS" : "UTF8SMTP";
	if (!server->extended)
		return "SMTP";
	return tls ? "ESMTPS" : "ESMTP";
}
