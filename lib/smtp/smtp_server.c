#include "smtp/smtp_server.h"

#include "smtp/smtp_command.h"
#include "smtp/smtp_data.h"
#include "smtp/smtp_line.h"
#include "smtp/smtp_param.h"
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

/* A peer that sends this much without ending its line does not speak SMTP. */
#define COMMAND_FLOOD 65536
#define TEXT_MAX      500 /* a reply line has 512 (RFC 5321, 4.5.3.1.5) */
/* A refused chunk is read to its end, but not one that is larger than this:
 * whoever announces it does not read our SIZE either. */
#define CHUNK_SKIP_MAX (UINT64_C(1) << 30)

enum state {
	GREETING,
	COMMAND,
	DATA,
	CHUNK,
	TLS,
	CLOSED
};

/* What the owner was asked. */
enum question {
	NOTHING,
	HELO,
	EHLO,
	MAIL,
	RCPT,
	DATA_BEGIN,
	CHUNK_BEGIN,
	DATA_END
};

/* What BDAT has made of the transaction. */
enum chunks {
	NO_CHUNKS,
	CHUNKS,
	CHUNKS_REFUSED /* it is over; more chunks may be under way */
};

struct smtp_server {
	const struct smtp_server_owner *owner;
	void *ctx;
	char *hostname;
	struct smtp_server_limits limits;
	bool offer_starttls;

	enum state state;
	enum question question;
	bool in_tls;
	bool greeted, extended; /* HELO or EHLO; EHLO */
	char *farewell;		/* 421 once the answer is there */
	bool draining;		/* and no transaction is open */
	struct buf out;

	struct smtp_line line;
	uint64_t lines;
	bool open; /* MAIL was asked: on_reset is owed */
	bool mail; /* and accepted */
	bool utf8;
	unsigned tried, accepted; /* recipients */
	uint64_t max_size;	  /* of this message; 0: no limit */
	struct smtp_data data;

	enum chunks chunks;
	uint64_t chunk_size, chunk_left; /* bytes; what is still to come */
	bool chunk_last;
	int chunk_code; /* 0, or the refusal to say at its end */
	char *chunk_text;

	unsigned messages, errors, junk;
	unsigned refused_recipients;  /* beyond the limit */
	enum smtp_server_limit limit; /* that ended it */
	bool feeding;
	unsigned busy; /* calls under way */
	bool doomed;   /* freed when the last one returns */
};

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

static void reply(struct smtp_server *server, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void reply(struct smtp_server *server, const char *format, ...)
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
static void reply_text(struct smtp_server *server, int code, const char *text)
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

static void forget_transaction(struct smtp_server *server)
{
	bool open = server->open;

	server->open = server->mail = server->utf8 = false;
	server->tried = server->accepted = 0;
	server->max_size = server->limits.max_size;
	server->chunks = NO_CHUNKS;
	if (open && !server->doomed)
		server->owner->on_reset(server->ctx);
}

static void close_session(struct smtp_server *server)
{
	if (server->state == CLOSED)
		return;
	server->state = CLOSED;
	forget_transaction(server);
	if (!server->doomed)
		server->owner->on_close(server->ctx);
}

static void say_farewell(struct smtp_server *server, const char *text)
{
	/* After our 220 to STARTTLS plain bytes would only break the start. */
	if (server->state != TLS)
		reply_text(server, 421, text);
	close_session(server);
}

/* Whether the farewell may come now, when nothing was asked. */
static bool may_part(const struct smtp_server *server)
{
	/* A chunk without a transaction was refused: its end may be far. */
	return !server->draining || server->state == TLS ||
	       ((server->state == COMMAND || server->state == CHUNK) &&
		!server->mail);
}

static void end_by_limit(struct smtp_server *server,
			 enum smtp_server_limit limit, const char *text)
{
	if (server->state == CLOSED)
		return;
	server->limit = limit;
	say_farewell(server, text);
}

/* A 5xx was said: too many of them, and the session ends. */
static void count_error(struct smtp_server *server)
{
	server->errors++;
	if (server->limits.max_errors &&
	    server->errors >= server->limits.max_errors)
		end_by_limit(server, SMTP_LIMIT_ERRORS,
			     "4.7.0 too many errors");
}

static void count_junk(struct smtp_server *server)
{
	server->junk++;
	if (server->limits.max_junk && server->junk >= server->limits.max_junk)
		end_by_limit(server, SMTP_LIMIT_JUNK,
			     "4.7.0 too many commands without a message");
}

static void refuse(struct smtp_server *server, int code, const char *text)
{
	reply_text(server, code, text);
	count_error(server);
}

/* `code` is the enhanced one, `err` the sentence. */
static void refuse_err(struct smtp_server *server, int code,
		       const char *enhanced, const struct err *err)
{
	char *text = mem_printf("%s %s", enhanced, err->text);

	refuse(server, code, text);
	free(text);
}

/* The commands. */

static void run_helo(struct smtp_server *server, struct slice name,
		     enum question question)
{
	/* The name is the owner's to judge; here it must only be one word. */
	for (size_t i = 0; i < name.len; i++) {
		if (is_printable(name.p[i]) && name.p[i] != ' ')
			continue;
		refuse(server, 501, "5.5.4 the name is malformed");
		return;
	}
	if (name.len > 255) {
		refuse(server, 501, "5.5.4 the name is too long");
		return;
	}
	forget_transaction(server);
	server->question = question;
	server->owner->on_helo(server->ctx, name, question == EHLO);
}

/* The address of a path stands in one piece behind its source route. */
static struct slice path_address(const struct smtp_path *path)
{
	const struct smtp_mailbox *mailbox = &path->mailbox;

	if (path->postmaster)
		return mailbox->local;
	if (mailbox->domain.len == 0)
		return slice("");
	return slice_of(mailbox->local.p,
			(size_t)(mailbox->domain.p + mailbox->domain.len -
				 mailbox->local.p));
}

static void refuse_param(struct smtp_server *server,
			 enum smtp_param_verdict verdict, const struct err *err)
{
	refuse_err(server, verdict == SMTP_PARAM_UNKNOWN ? 555 : 501, "5.5.4",
		   err);
}

static void run_mail(struct smtp_server *server, struct slice argument)
{
	const struct smtp_server_limits *limits = &server->limits;
	struct slice in, rest;
	struct smtp_params params;
	struct smtp_path path;
	struct err err = ERR_INIT;
	enum smtp_param_verdict verdict;

	if (server->mail) {
		refuse(server, 503, "5.5.1 a transaction is open already");
		return;
	}
	if (limits->max_messages && server->messages >= limits->max_messages) {
		end_by_limit(server, SMTP_LIMIT_MESSAGES,
			     "4.7.0 too many messages in one session");
		return;
	}
	if (smtp_command_path(argument, "FROM:", &in, &rest, &err) < 0) {
		refuse_err(server, 501, "5.5.4", &err);
		return;
	}
	if (smtp_path_parse(in, SMTP_REVERSE_PATH, &path, &err) < 0) {
		refuse_err(server, 501, "5.1.7", &err);
		return;
	}
	verdict = smtp_param_mail(rest, limits->utf8, &params, &err);
	if (verdict != SMTP_PARAM_OK) {
		refuse_param(server, verdict, &err);
		return;
	}
	if (path.utf8 && !params.utf8) {
		refuse(server, 553, "5.6.7 the address needs SMTPUTF8");
		return;
	}
	if (limits->max_size && params.size > limits->max_size) {
		reply(server, "552 5.3.4 more than %" PRIu64 " bytes",
		      limits->max_size);
		count_junk(server);
		return;
	}
	server->open = true;
	server->chunks = NO_CHUNKS;
	server->utf8 = params.utf8;
	server->question = MAIL;
	server->owner->on_mail(server->ctx,
			       &(struct smtp_mail){
				       .reverse_path = path_address(&path),
				       .size = params.size,
				       .body = params.body,
				       .utf8 = params.utf8,
			       });
}

static void run_rcpt(struct smtp_server *server, struct slice argument)
{
	struct slice in, rest;
	struct smtp_path path;
	struct err err = ERR_INIT;
	enum smtp_param_verdict verdict;

	if (!server->mail) {
		refuse(server, 503, "5.5.1 MAIL first");
		return;
	}
	if (server->chunks == CHUNKS) {
		refuse(server, 503, "5.5.1 the message has begun");
		return;
	}
	if (smtp_command_path(argument, "TO:", &in, &rest, &err) < 0) {
		refuse_err(server, 501, "5.5.4", &err);
		return;
	}
	server->tried++;
	if (smtp_path_parse(in, SMTP_FORWARD_PATH, &path, &err) < 0) {
		refuse_err(server, 501, "5.1.3", &err);
		return;
	}
	verdict = smtp_param_rcpt(rest, &err);
	if (verdict != SMTP_PARAM_OK) {
		refuse_param(server, verdict, &err);
		return;
	}
	if (path.utf8 && !server->utf8) {
		refuse(server, 553, "5.6.7 the address needs SMTPUTF8");
		return;
	}
	if (server->limits.max_recipients &&
	    (server->accepted >= server->limits.max_recipients ||
	     server->tried > 2 * server->limits.max_recipients)) {
		reply(server, "452 4.5.3 too many recipients");
		server->refused_recipients++;
		count_junk(server);
		return;
	}
	server->question = RCPT;
	server->owner->on_rcpt(server->ctx, &path, path_address(&path));
}

static void run_data(struct smtp_server *server)
{
	if (!server->mail || server->tried == 0) {
		refuse(server, 503,
		       server->mail ? "5.5.1 RCPT first" : "5.5.1 MAIL first");
	} else if (server->chunks == CHUNKS) {
		/* RFC 3030, section 2: never both in one transaction. */
		refuse(server, 503, "5.5.1 the message came with BDAT so far");
	} else if (server->accepted == 0) {
		/* RFC 2920 clients come here without a fault of their own. */
		reply(server, "554 5.5.1 no valid recipients");
		count_junk(server);
	} else {
		server->question = DATA_BEGIN;
		server->owner->on_data_begin(server->ctx);
	}
}

/* BDAT.  From here to end_chunk() the peer sends the bytes of the chunk. */

/* `text` is said once the chunk has passed. */
static void refuse_chunk(struct smtp_server *server, int code, const char *text)
{
	free(server->chunk_text);
	server->chunk_code = code;
	server->chunk_text = mem_dup(text);
}

/* Behind this BDAT nobody knows what is a chunk and what a command. */
static void close_at_chunk(struct smtp_server *server, int code,
			   const char *text)
{
	reply_text(server, code, text);
	close_session(server);
}

static bool chunk_fits(const struct smtp_server *server)
{
	uint64_t max = server->max_size;
	uint64_t have = server->chunks == CHUNKS ? server->data.size : 0;

	return max == 0 || server->chunk_size <= max - have;
}

static void judge_chunk(struct smtp_server *server)
{
	if (!server->greeted)
		refuse_chunk(server, 503, "5.5.1 EHLO first");
	else if (server->chunks == CHUNKS_REFUSED)
		refuse_chunk(server, 503, "5.5.1 an earlier chunk was refused");
	else if (!server->mail)
		refuse_chunk(server, 503, "5.5.1 MAIL first");
	else if (server->tried == 0)
		refuse_chunk(server, 503, "5.5.1 RCPT first");
	else if (server->accepted == 0)
		refuse_chunk(server, 554, "5.5.1 no valid recipients");
}

static void end_chunk(struct smtp_server *server);

static void begin_chunk(struct smtp_server *server)
{
	server->state = CHUNK;
	server->chunk_left = server->chunk_size;
	if (server->chunk_code == 0 && !server->data.bad && !chunk_fits(server))
		server->data.bad = smtp_data_too_big;
	if (server->chunk_left == 0)
		end_chunk(server);
}

static void run_bdat(struct smtp_server *server, struct slice argument)
{
	if (!smtp_command_chunk(argument, &server->chunk_size,
				&server->chunk_last)) {
		close_at_chunk(server, 501,
			       "5.5.4 syntax: BDAT size [LAST]; closing");
		return;
	}
	server->chunk_code = 0;
	judge_chunk(server);
	if (server->chunk_size > CHUNK_SKIP_MAX &&
	    (server->chunk_code || !chunk_fits(server))) {
		close_at_chunk(server, 552,
			       "5.3.4 the chunk is too big; closing");
	} else if (server->chunk_code == 0 && server->chunks == NO_CHUNKS) {
		server->question = CHUNK_BEGIN;
		server->owner->on_data_begin(server->ctx);
	} else {
		begin_chunk(server);
	}
}

static void run_starttls(struct smtp_server *server, struct slice behind)
{
	if (server->in_tls) {
		refuse(server, 503, "5.5.1 TLS is on already");
	} else if (!server->offer_starttls) {
		refuse(server, 502, "5.5.1 STARTTLS is not offered");
	} else if (behind.len > 0) {
		/* What was injected here must never run inside TLS. */
		reply(server, "554 5.5.0 input behind STARTTLS");
		close_session(server);
	} else {
		reply(server, "220 2.0.0 ready to start TLS");
		server->state = TLS;
		server->owner->on_starttls(server->ctx);
	}
}

static const struct rule {
	enum {
		NONE,
		OPTIONAL,
		REQUIRED
	} argument;
	bool after_helo;
} rules[] = {
	[SMTP_HELO] = { REQUIRED, false },
	[SMTP_EHLO] = { REQUIRED, false },
	[SMTP_MAIL] = { REQUIRED, true },
	[SMTP_RCPT] = { REQUIRED, true },
	[SMTP_DATA] = { NONE, true },
	[SMTP_BDAT] = { OPTIONAL, false }, /* run_bdat() asks for more */
	[SMTP_RSET] = { NONE, false },
	[SMTP_NOOP] = { OPTIONAL, false },
	[SMTP_QUIT] = { NONE, false },
	[SMTP_VRFY] = { REQUIRED, false },
	[SMTP_EXPN] = { OPTIONAL, false },
	[SMTP_HELP] = { OPTIONAL, false },
	[SMTP_STARTTLS] = { NONE, true },
	[SMTP_ABSENT] = { OPTIONAL, false },
	[SMTP_UNKNOWN] = { OPTIONAL, false },
};

/* `behind` is what came after the line in the same piece. */
static void run(struct smtp_server *server, const struct smtp_command *command,
		struct slice behind)
{
	const struct rule *rule = &rules[command->verb];
	struct slice argument = command->argument;

	if (rule->argument == NONE ?
		    argument.len > 0 :
		    rule->argument == REQUIRED && argument.len == 0) {
		refuse(server, 501,
		       rule->argument == NONE ?
			       "5.5.4 the command takes no argument" :
			       "5.5.4 the command needs an argument");
		return;
	}
	if (rule->after_helo && !server->greeted) {
		refuse(server, 503, "5.5.1 EHLO first");
		return;
	}
	switch (command->verb) {
	case SMTP_HELO:
		run_helo(server, argument, HELO);
		break;
	case SMTP_EHLO:
		run_helo(server, argument, EHLO);
		break;
	case SMTP_MAIL:
		run_mail(server, argument);
		break;
	case SMTP_RCPT:
		run_rcpt(server, argument);
		break;
	case SMTP_DATA:
		run_data(server);
		break;
	case SMTP_BDAT:
		run_bdat(server, argument);
		break;
	case SMTP_RSET:
		forget_transaction(server);
		reply(server, "250 2.0.0 ok");
		count_junk(server);
		break;
	case SMTP_NOOP:
		reply(server, "250 2.0.0 ok");
		count_junk(server);
		break;
	case SMTP_QUIT:
		reply(server, "221 2.0.0 %s closes", server->hostname);
		close_session(server);
		break;
	case SMTP_VRFY:
		reply(server, "252 2.5.0 not verified; send mail and see");
		count_junk(server);
		break;
	case SMTP_HELP:
		reply(server, "214 2.0.0 see RFC 5321");
		count_junk(server);
		break;
	case SMTP_STARTTLS:
		run_starttls(server, behind);
		break;
	case SMTP_EXPN:
	case SMTP_ABSENT:
		refuse(server, 502, "5.5.1 the command is not implemented");
		break;
	case SMTP_UNKNOWN:
		refuse(server, 500, "5.5.2 the command is unknown");
		break;
	}
}

/* The lines. */

static bool line_is_clean(struct slice line)
{
	return !memchr(line.p, '\r', line.len) &&
	       !memchr(line.p, '\n', line.len) &&
	       !memchr(line.p, '\0', line.len);
}

/* `length` counts the CRLF; beyond the limit `line` is empty. */
static void run_line(struct smtp_server *server, struct slice line,
		     size_t length, struct slice behind)
{
	struct smtp_command command;
	size_t max = SMTP_COMMAND_MAX;

	if (length > SMTP_COMMAND_EXTENDED_MAX) {
		refuse(server, 500, "5.5.6 the line is too long");
		return;
	}
	command = smtp_command_parse(line);
	if (!line_is_clean(line)) {
		refuse(server, 500,
		       "5.5.2 bare CR or LF: lines must end with CRLF");
		if (command.verb == SMTP_BDAT)
			close_session(server);
		return;
	}
	if (command.verb == SMTP_MAIL || command.verb == SMTP_RCPT)
		max = SMTP_COMMAND_EXTENDED_MAX;
	if (length > max) {
		refuse(server, 500, "5.5.6 the line is too long");
		if (command.verb == SMTP_BDAT)
			close_session(server);
		return;
	}
	run(server, &command, behind);
}

static size_t feed_command(struct smtp_server *server, struct slice in)
{
	struct slice line;
	size_t length;
	size_t n = smtp_line_take(&server->line, in, &line, &length);

	if (length > COMMAND_FLOOD)
		say_farewell(server, "4.7.0 no end of the line");
	else if (line.p && ++server->lines)
		run_line(server, line, length, slice_from(in, n));
	return n;
}

/* The message. */

static void take_data(void *ctx, struct slice bytes)
{
	struct smtp_server *server = ctx;

	if (server->state == DATA || server->state == CHUNK)
		server->owner->on_data(server->ctx, bytes);
}

static void end_bad_data(struct smtp_server *server, const char *bad)
{
	server->owner->on_data_end(server->ctx, bad);
	if (server->state == CLOSED)
		return;
	server->messages++;
	if (bad == smtp_data_too_big)
		reply(server, "552 5.3.4 more than %" PRIu64 " bytes",
		      server->max_size);
	else
		reply(server,
		      "550 5.6.0 %s in the message: lines must end "
		      "with CRLF and have at most %d bytes",
		      bad, SMTP_DATA_LINE_MAX);
	forget_transaction(server);
	count_error(server);
}

static size_t feed_data(struct smtp_server *server, struct slice in)
{
	size_t n = smtp_data_receive(&server->data, in, take_data, server);

	if (server->state != DATA || !smtp_data_is_whole(&server->data))
		return n;
	server->state = COMMAND;
	if (server->data.bad) {
		end_bad_data(server, server->data.bad);
	} else {
		server->question = DATA_END;
		server->owner->on_data_end(server->ctx, NULL);
	}
	return n;
}

static void end_refused_chunk(struct smtp_server *server)
{
	int code = server->chunk_code;
	/* Chunks in the pipeline behind a refused one are no fault (RFC 3030,
	 * section 2), and neither are those behind refused recipients. */
	bool fault = code == 503 && server->chunks != CHUNKS_REFUSED;

	reply_text(server, code, server->chunk_text);
	if (server->chunks == CHUNKS_REFUSED && server->chunk_last)
		server->chunks = NO_CHUNKS;
	if (fault)
		count_error(server);
	else
		count_junk(server);
}

static void end_bad_chunk(struct smtp_server *server)
{
	end_bad_data(server, server->data.bad);
	if (!server->chunk_last)
		server->chunks = CHUNKS_REFUSED;
}

static void end_chunk(struct smtp_server *server)
{
	server->state = COMMAND;
	if (server->chunk_code) {
		end_refused_chunk(server);
		return;
	}
	if (server->chunk_last)
		smtp_data_end_chunks(&server->data);
	if (server->data.bad) {
		end_bad_chunk(server);
	} else if (server->chunk_last) {
		server->question = DATA_END;
		server->owner->on_data_end(server->ctx, NULL);
	} else {
		reply(server, "250 2.0.0 %" PRIu64 " bytes, go on",
		      server->chunk_size);
		if (server->chunk_size == 0)
			count_junk(server);
	}
}

static size_t feed_chunk(struct smtp_server *server, struct slice in)
{
	if (in.len > server->chunk_left)
		in.len = (size_t)server->chunk_left;
	if (server->chunk_code == 0)
		smtp_data_receive(&server->data, in, take_data, server);
	server->chunk_left -= in.len;
	if (server->state == CHUNK && server->chunk_left == 0)
		end_chunk(server);
	return in.len;
}

static size_t feed_state(struct smtp_server *server, struct slice in)
{
	switch (server->state) {
	case DATA:
		return feed_data(server, in);
	case CHUNK:
		return feed_chunk(server, in);
	default:
		return feed_command(server, in);
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
			say_farewell(server, server->farewell);
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
		reply(server, "250 %s", server->hostname);
		if (again)
			count_junk(server);
		return;
	}
	reply(server, "250-%s", server->hostname);
	reply(server, "250-PIPELINING");
	if (server->limits.max_size)
		reply(server, "250-SIZE %" PRIu64, server->limits.max_size);
	else
		reply(server, "250-SIZE");
	reply(server, "250-8BITMIME");
	reply(server, "250-CHUNKING");
	if (server->offer_starttls && !server->in_tls)
		reply(server, "250-STARTTLS");
	if (server->limits.utf8)
		reply(server, "250-SMTPUTF8");
	reply(server, "250 ENHANCEDSTATUSCODES");
	if (again)
		count_junk(server);
}

/* What refuses the first chunk refuses the message. */
static void settle_chunk_begin(struct smtp_server *server, int code,
			       const char *text)
{
	if (code == 354) {
		server->chunks = CHUNKS;
		smtp_data_begin_chunks(&server->data, server->max_size);
	} else {
		refuse_chunk(server, code, text);
		forget_transaction(server);
		server->chunks = CHUNKS_REFUSED;
	}
	begin_chunk(server);
}

static void settle(struct smtp_server *server, enum question question, int code,
		   const char *text)
{
	bool yes = code >= 200 && code < 400;

	switch (question) {
	case MAIL:
		server->mail = yes;
		if (!yes)
			forget_transaction(server);
		break;
	case RCPT:
		server->accepted += yes;
		break;
	case DATA_BEGIN:
		if (code == 354) {
			server->state = DATA;
			smtp_data_begin(&server->data, server->max_size);
		} else {
			forget_transaction(server);
		}
		break;
	case CHUNK_BEGIN:
		settle_chunk_begin(server, code, text);
		break;
	case DATA_END:
		server->messages++;
		if (yes)
			server->errors = server->junk = 0;
		forget_transaction(server);
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
		say_farewell(server, server->farewell);
		return;
	}
	if (code == 421) {
		say_farewell(server, text);
		return;
	}
	if (code == 250 && (question == HELO || question == EHLO))
		answer_helo(server, question == EHLO);
	else if (question != CHUNK_BEGIN)
		reply_text(server, code, text);
	settle(server, question, code, text);
	/* An empty chunk may have led to the next question already. */
	if (server->state == CLOSED || server->question != NOTHING)
		return;
	if (server->farewell && may_part(server))
		say_farewell(server, server->farewell);
	else if (code >= 500)
		count_error(server);
	else if (code >= 400 && question == MAIL)
		count_junk(server);
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
	reply(server, "220 %s ESMTP tideover", server->hostname);
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
	forget_transaction(server);
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
		say_farewell(server, server->farewell);
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
		say_farewell(server, server->farewell);
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
