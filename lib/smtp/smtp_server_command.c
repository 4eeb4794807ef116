#include "smtp/smtp_command.h"
#include "smtp/smtp_dialogue.h"
#include "smtp/smtp_param.h"
#include <inttypes.h>
#include <stdlib.h>

/* A peer that sends this much without ending its line does not speak SMTP. */
#define COMMAND_FLOOD 65536

/* `code` is the enhanced one, `err` the sentence. */
static void refuse_err(struct smtp_server *server, int code,
		       const char *enhanced, const struct err *err)
{
	char *text = mem_printf("%s %s", enhanced, err->text);

	smtp_dialogue_refuse(server, code, text);
	free(text);
}

static void run_helo(struct smtp_server *server, struct slice name,
		     enum question question)
{
	/* The name is the owner's to judge; here it must only be one word. */
	for (size_t i = 0; i < name.len; i++) {
		if (name.p[i] > ' ' && name.p[i] <= '~')
			continue;
		smtp_dialogue_refuse(server, 501,
				     "5.5.4 the name is malformed");
		return;
	}
	if (name.len > 255) {
		smtp_dialogue_refuse(server, 501, "5.5.4 the name is too long");
		return;
	}
	smtp_dialogue_forget(server);
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
		smtp_dialogue_refuse(server, 503,
				     "5.5.1 a transaction is open already");
		return;
	}
	if (limits->max_messages && server->messages >= limits->max_messages) {
		smtp_dialogue_end(server, SMTP_LIMIT_MESSAGES,
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
		smtp_dialogue_refuse(server, 553,
				     "5.6.7 the address needs SMTPUTF8");
		return;
	}
	if (limits->max_size && params.size > limits->max_size) {
		smtp_dialogue_say(server,
				  "552 5.3.4 more than %" PRIu64 " bytes",
				  limits->max_size);
		smtp_dialogue_junk(server);
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
		smtp_dialogue_refuse(server, 503, "5.5.1 MAIL first");
		return;
	}
	if (server->chunks == CHUNKS) {
		smtp_dialogue_refuse(server, 503,
				     "5.5.1 the message has begun");
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
		smtp_dialogue_refuse(server, 553,
				     "5.6.7 the address needs SMTPUTF8");
		return;
	}
	if (server->limits.max_recipients &&
	    (server->accepted >= server->limits.max_recipients ||
	     server->tried > 2 * server->limits.max_recipients)) {
		smtp_dialogue_say(server, "452 4.5.3 too many recipients");
		server->refused_recipients++;
		smtp_dialogue_junk(server);
		return;
	}
	server->question = RCPT;
	server->owner->on_rcpt(server->ctx, &path, path_address(&path));
}

static void run_starttls(struct smtp_server *server, struct slice behind)
{
	if (server->in_tls) {
		smtp_dialogue_refuse(server, 503, "5.5.1 TLS is on already");
	} else if (!server->offer_starttls) {
		smtp_dialogue_refuse(server, 502,
				     "5.5.1 STARTTLS is not offered");
	} else if (behind.len > 0) {
		/* What was injected here must never run inside TLS. */
		smtp_dialogue_say(server, "554 5.5.0 input behind STARTTLS");
		smtp_dialogue_close(server);
	} else {
		smtp_dialogue_say(server, "220 2.0.0 ready to start TLS");
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
	[SMTP_BDAT] = { OPTIONAL,
			false }, /* smtp_dialogue_bdat() asks for more */
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
		smtp_dialogue_refuse(
			server, 501,
			rule->argument == NONE ?
				"5.5.4 the command takes no argument" :
				"5.5.4 the command needs an argument");
		return;
	}
	if (rule->after_helo && !server->greeted) {
		smtp_dialogue_refuse(server, 503, "5.5.1 EHLO first");
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
		smtp_dialogue_data(server);
		break;
	case SMTP_BDAT:
		smtp_dialogue_bdat(server, argument);
		break;
	case SMTP_RSET:
		smtp_dialogue_forget(server);
		smtp_dialogue_say(server, "250 2.0.0 ok");
		smtp_dialogue_junk(server);
		break;
	case SMTP_NOOP:
		smtp_dialogue_say(server, "250 2.0.0 ok");
		smtp_dialogue_junk(server);
		break;
	case SMTP_QUIT:
		smtp_dialogue_say(server, "221 2.0.0 %s closes",
				  server->hostname);
		smtp_dialogue_close(server);
		break;
	case SMTP_VRFY:
		smtp_dialogue_say(server,
				  "252 2.5.0 not verified; send mail and see");
		smtp_dialogue_junk(server);
		break;
	case SMTP_HELP:
		smtp_dialogue_say(server, "214 2.0.0 see RFC 5321");
		smtp_dialogue_junk(server);
		break;
	case SMTP_STARTTLS:
		run_starttls(server, behind);
		break;
	case SMTP_EXPN:
	case SMTP_ABSENT:
		smtp_dialogue_refuse(server, 502,
				     "5.5.1 the command is not implemented");
		break;
	case SMTP_UNKNOWN:
		smtp_dialogue_refuse(server, 500,
				     "5.5.2 the command is unknown");
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
		smtp_dialogue_refuse(server, 500, "5.5.6 the line is too long");
		return;
	}
	command = smtp_command_parse(line);
	if (!line_is_clean(line)) {
		smtp_dialogue_refuse(
			server, 500,
			"5.5.2 bare CR or LF: lines must end with CRLF");
		if (command.verb == SMTP_BDAT)
			smtp_dialogue_close(server);
		return;
	}
	if (command.verb == SMTP_MAIL || command.verb == SMTP_RCPT)
		max = SMTP_COMMAND_EXTENDED_MAX;
	if (length > max) {
		smtp_dialogue_refuse(server, 500, "5.5.6 the line is too long");
		if (command.verb == SMTP_BDAT)
			smtp_dialogue_close(server);
		return;
	}
	run(server, &command, behind);
}

size_t smtp_dialogue_feed_command(struct smtp_server *server, struct slice in)
{
	struct slice line;
	size_t length;
	size_t n = smtp_line_take(&server->line, in, &line, &length);

	if (length > COMMAND_FLOOD)
		smtp_dialogue_part(server, "4.7.0 no end of the line");
	else if (line.p && ++server->lines)
		run_line(server, line, length, slice_from(in, n));
	return n;
}
