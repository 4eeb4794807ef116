#include "lab/lab_mx.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/list.h"
#include "lab/lab_sender.h"
#include "net/stream.h"
#include "smtp/smtp_server.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	MAX_MESSAGE = 64 * 1024 * 1024,
	MAX_SESSIONS = 1000,
	MAX_ARRIVALS = 8 * 1000 * 1000, /* ten minutes of a soak */
	FINISH_MS = 1000
};

struct session {
	struct list link;
	struct lab_mx *mx;
	struct stream *stream;
	struct smtp_server *server;
	struct loop_timer *over, *wait, *drip;
	struct lab_counts counts;
	uint64_t number;
	struct buf body, reverse_path;
	struct buf slow; /* what leaves byte by byte */
	int64_t byte_ms;
	char **paths;
	size_t path_count;
	/* What is asked now, and what happens after the delay. */
	enum lab_stage stage;
	struct lab_act act;
	char *address;
	bool closing, gone;
	bool starttls;	/* 220 has been said, byte by byte */
	bool tls_asked; /* its 220 stays in `out` until the delay is over */
};

static void forget(struct session *session)
{
	for (size_t i = 0; i < session->path_count; i++)
		free(session->paths[i]);
	session->path_count = 0;
	buf_clear(&session->body);
	buf_clear(&session->reverse_path);
}

static void session_free(struct session *session)
{
	forget(session);
	list_remove(&session->link);
	session->mx->session_count--;
	stream_free(session->stream);
	smtp_server_free(session->server);
	loop_timer_free(session->over);
	loop_timer_free(session->wait);
	loop_timer_free(session->drip);
	buf_release(&session->body);
	buf_release(&session->reverse_path);
	buf_release(&session->slow);
	free(session->address);
	free(session->paths);
	free(session);
}

static void over(void *ctx)
{
	struct session *session = ctx;

	if (!session->gone) {
		stream_finish(session->stream, FINISH_MS);
		session->stream = NULL;
	}
	session_free(session);
}

/* What was said leaves first, unless the peer is gone or was cut off. */
static void end(struct session *session)
{
	if (session->closing && !session->gone)
		return;
	session->closing = true;
	if (session->gone || session->slow.len == 0)
		loop_timer_arm(session->over, 0);
}

static void begin_tls(struct session *session)
{
	session->starttls = false;
	stream_starttls_server(session->stream, session->mx->tls);
}

static void drip(void *ctx)
{
	struct session *session = ctx;

	stream_write(session->stream, slice_of(session->slow.p, 1));
	buf_consume(&session->slow, 1);
	if (session->slow.len > 0)
		loop_timer_arm(session->drip, session->byte_ms);
	else if (session->closing)
		loop_timer_arm(session->over, 0);
	else if (session->starttls)
		begin_tls(session);
}

static void flush(struct session *session)
{
	struct buf *out = smtp_server_out(session->server);

	if (session->gone || session->tls_asked || out->len == 0)
		return;
	if (session->byte_ms == 0) {
		stream_write(session->stream, buf_slice(out));
	} else {
		if (session->slow.len == 0)
			loop_timer_arm(session->drip, session->byte_ms);
		buf_add(&session->slow, buf_slice(out));
	}
	buf_clear(out);
}

/* What was kept. */

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

static bool keep(struct session *session)
{
	struct lab_mx *mx = session->mx;
	struct slice body = without_trace(buf_slice(&session->body));

	if (mx->arrival_count + session->path_count > MAX_ARRIVALS)
		return false;
	for (size_t i = 0; i < session->path_count; i++)
		arrived(mx, session->paths[i], body);
	return true;
}

/* What is said. */

static void tell(struct session *session, int code, bool kept)
{
	struct lab_mx *mx = session->mx;
	struct lab_mx_event event = {
		.session = session->number,
		.stage = session->stage,
		.reaction = session->act.reaction,
		.code = code,
		.address = session->address ? session->address : "",
		.kept = kept,
	};

	if (!mx->tell)
		return;
	if (session->stage == LAB_DOT)
		event.number =
			number_of(without_trace(buf_slice(&session->body)));
	mx->tell(mx->tell_ctx, &event);
}

/* The lines of a reply but the last, each with its enhanced code. */
static const char *say_first_lines(struct session *session, int code,
				   const char *text)
{
	struct buf *out = smtp_server_out(session->server);
	struct slice rest = slice(text), copy = rest;
	struct slice enhanced = slice_split(&copy, ' ');
	bool first = true;

	if (memchr(enhanced.p, '.', enhanced.len) == NULL)
		enhanced.len = 0;
	while (slice_find(rest, '\n') >= 0) {
		struct slice line = slice_split(&rest, '\n');

		buf_addf(out, "%d-", code);
		if (!first && enhanced.len > 0)
			buf_addf(out, "%.*s ", (int)enhanced.len, enhanced.p);
		buf_addf(out, "%.*s\r\n", (int)line.len, line.p);
		first = false;
	}
	return rest.p;
}

static void reply(struct session *session, int code, const char *text)
{
	const char *last = say_first_lines(session, code, text);
	struct slice enhanced =
		slice_split(&(struct slice){ text, strlen(text) }, ' ');
	char line[512];

	if (last != text && memchr(enhanced.p, '.', enhanced.len))
		snprintf(line, sizeof(line), "%.*s %s", (int)enhanced.len,
			 enhanced.p, last);
	else
		snprintf(line, sizeof(line), "%s", last);
	smtp_server_answer(session->server, code, line);
}

/* Before there is a question, or instead of STARTTLS: say it and close. */
static void refuse(struct session *session)
{
	struct buf *out = smtp_server_out(session->server);

	buf_clear(out);
	buf_addf(out, "%d %s\r\n", session->act.code, session->act.text);
	flush(session);
	end(session);
}

static bool is_known(const struct session *session)
{
	/* The addresses of the lab: what lab_sender writes to, and
	 * postmaster.  Everything else nobody has. */
	bool usual =
		slice_starts_nocase(slice(session->address),
				    LAB_SENDER_LOCAL) ||
		slice_starts_nocase(slice(session->address), "postmaster@");

	return lab_script_has(session->mx->script, session->address, usual);
}

static void stand(struct session *session)
{
	session->paths =
		mem_grow(session->paths,
			 (session->path_count + 1) * sizeof(*session->paths));
	session->paths[session->path_count++] = mem_dup(session->address);
}

static int usual_code(struct session *session, const char **text)
{
	switch (session->stage) {
	case LAB_EHLO:
		*text = "hello";
		return 250;
	case LAB_MAIL:
		*text = "2.1.0 sender ok";
		return 250;
	case LAB_RCPT:
		*text = is_known(session) ?
				"2.1.5 recipient ok" :
				"5.1.1 nobody here has that address";
		return is_known(session) ? 250 : 550;
	case LAB_DATA:
		*text = "go on";
		return 354;
	default:
		*text = "2.0.0 delivered";
		return 250;
	}
}

/* The reply to EHLO, from `from` on, loses what the script takes away. */
static void take_away(struct session *session, size_t from)
{
	struct buf *out = smtp_server_out(session->server);
	struct slice rest = slice_from(buf_slice(out), from);
	struct buf left = BUF_INIT;
	size_t last = 0;

	while (rest.len > 0) {
		struct slice line = slice_split(&rest, '\n'), word = line;

		word = slice_from(word, line.len > 4 ? 4 : line.len);
		if (word.len > 0 && word.p[word.len - 1] == '\r')
			word.len--;
		if (lab_script_lacks(session->mx->script,
				     slice_split(&word, ' ')))
			continue;
		last = left.len;
		buf_add(&left, line);
		buf_addc(&left, '\n');
	}
	if (left.len > last + 3)
		left.p[last + 3] = ' ';
	out->len = from;
	buf_add(out, buf_slice(&left));
	buf_release(&left);
}

static void answer(struct session *session)
{
	struct lab_mx *mx = session->mx;
	const char *text = session->act.text;
	int code = session->act.code;
	bool kept = false;
	size_t before;

	if (session->act.reaction == LAB_USUAL)
		code = usual_code(session, &text);
	if (session->stage == LAB_RCPT && code / 100 == 2)
		stand(session);
	if (session->stage == LAB_RCPT && code / 100 == 5)
		mx->refused += slice_starts_nocase(slice(session->address),
						   LAB_SENDER_LOCAL);
	if (session->stage == LAB_DOT &&
	    (session->act.keep || code / 100 == 2)) {
		kept = keep(session);
		if (!kept && code / 100 == 2) {
			code = 452;
			text = "4.3.1 this lab keeps no more";
		}
	}
	tell(session, code, kept);
	before = smtp_server_out(session->server)->len;
	reply(session, code, text);
	if (session->stage == LAB_EHLO && code == 250)
		take_away(session, before);
	flush(session);
}

static void feed(struct session *session);
static void ask(struct session *session, enum lab_stage stage,
		const char *address, uint64_t bytes);

static void happen(struct session *session)
{
	bool greeting =
		session->stage == LAB_CONNECT || session->stage == LAB_BANNER;

	if (session->act.reaction != LAB_SILENCE)
		session->tls_asked = false;
	if (session->act.reaction == LAB_CUT ||
	    session->act.reaction == LAB_SILENCE) {
		bool kept = session->act.keep && keep(session);

		tell(session, 0, kept);
		if (session->act.reaction == LAB_SILENCE)
			return;
		session->gone = true;
		end(session);
	} else if (session->act.reaction == LAB_ANSWER &&
		   (session->stage == LAB_STARTTLS ||
		    (greeting && session->act.code != 220))) {
		tell(session, session->act.code, false);
		refuse(session);
	} else if (session->stage == LAB_STARTTLS) {
		flush(session);
		session->starttls = true;
		if (session->slow.len == 0)
			begin_tls(session);
	} else if (session->stage == LAB_CONNECT) {
		ask(session, LAB_BANNER, "", 0);
	} else if (greeting) {
		if (session->act.reaction == LAB_ANSWER)
			say_first_lines(session, 220, session->act.text);
		smtp_server_greet(session->server);
		tell(session, 220, false);
		flush(session);
		feed(session);
	} else {
		answer(session);
	}
}

static void waited(void *ctx)
{
	struct session *session = ctx;

	if (session->closing)
		return;
	happen(session);
	feed(session);
}

/* Asks the script, and does what it says now or after its delay. */
static void ask(struct session *session, enum lab_stage stage,
		const char *address, uint64_t bytes)
{
	struct lab_asked asked = {
		.stage = stage,
		.address = address,
		.reverse_path = buf_text(&session->reverse_path),
		.bytes = bytes,
		.together = session->mx->session_count,
		.session = &session->counts,
		.now_ms = clock_mono_ms(),
	};
	struct lab_act act;
	char *copy = mem_dup(address);

	free(session->address);
	session->address = copy;
	session->stage = stage;
	lab_script_ask(session->mx->script, &asked, &act);
	/* The dot is about each recipient: the first that differs decides. */
	for (size_t i = 1; stage == LAB_DOT && i < session->path_count &&
			   act.reaction == LAB_USUAL;
	     i++) {
		int64_t delay_ms = act.delay_ms;

		asked.address = session->paths[i];
		lab_script_ask(session->mx->script, &asked, &act);
		act.delay_ms += delay_ms;
	}
	session->act = act;
	if (act.byte_ms)
		session->byte_ms = act.byte_ms;
	if (act.delay_ms > 0)
		loop_timer_arm(session->wait, act.delay_ms);
	else
		happen(session);
}

/* What the dialogue asks. */

static void on_helo(void *ctx, struct slice name, bool extended)
{
	ask(ctx, LAB_EHLO, "", 0);
}

static void on_mail(void *ctx, const struct smtp_mail *mail)
{
	struct session *session = ctx;

	buf_clear(&session->reverse_path);
	buf_add(&session->reverse_path, mail->reverse_path);
	ask(session, LAB_MAIL, buf_text(&session->reverse_path), mail->size);
}

static void on_rcpt(void *ctx, const struct smtp_path *path,
		    struct slice address)
{
	char *copy = slice_dup(address);

	ask(ctx, LAB_RCPT, copy, 0);
	free(copy);
}

static void on_data_begin(void *ctx)
{
	ask(ctx, LAB_DATA, "", 0);
}

static void on_data(void *ctx, struct slice bytes)
{
	struct session *session = ctx;

	buf_add(&session->body, bytes);
}

static void on_data_end(void *ctx, const char *bad)
{
	struct session *session = ctx;

	if (!bad)
		ask(session, LAB_DOT,
		    session->path_count ? session->paths[0] : "",
		    session->body.len);
}

static void on_reset(void *ctx)
{
	forget(ctx);
}

static void on_starttls(void *ctx)
{
	struct session *session = ctx;

	session->tls_asked = true;
	ask(session, LAB_STARTTLS, "", 0);
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

static void feed(struct session *session)
{
	size_t used;

	if (session->closing)
		return;
	do {
		struct slice in = stream_peek(session->stream);

		used = smtp_server_feed(session->server, in);
		stream_consume(session->stream, used);
	} while (used > 0 && !session->closing);
	flush(session);
}

static void on_input(void *ctx)
{
	feed(ctx);
}

static void on_tls(void *ctx)
{
	struct session *session = ctx;

	smtp_server_tls_started(session->server);
}

static void on_end(void *ctx, const char *why)
{
	struct session *session = ctx;

	session->gone = true;
	end(session);
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
	session = mem_alloc(sizeof(*session));
	session->mx = mx;
	session->number = ++mx->session_number;
	mx->session_count++;
	list_append(mx->sessions, &session->link);
	session->over = loop_timer_new(mx->loop, over, session);
	session->wait = loop_timer_new(mx->loop, waited, session);
	session->drip = loop_timer_new(mx->loop, drip, session);
	session->stream = stream_accept(mx->loop, fd, &events, session);
	session->server = smtp_server_new(
		&owner, session, mx->title,
		&(struct smtp_server_limits){ .max_size = MAX_MESSAGE,
					      .max_recipients = 1000,
					      .utf8 = true },
		true);
	if (mx->session_count > MAX_SESSIONS) {
		session->act = (struct lab_act){ .code = 421,
						 .text = "4.3.2 too many "
							 "sessions" };
		refuse(session);
		return;
	}
	ask(session, LAB_CONNECT, "", 0);
}

struct lab_mx *lab_mx_new(struct loop *loop, const char *title,
			  const char *host, uint16_t port, struct err *err)
{
	struct lab_mx *mx = mem_alloc(sizeof(*mx));
	struct addr addr;

	mx->loop = loop;
	mx->title = title;
	mx->fd = -1;
	mx->sessions = mem_alloc(sizeof(*mx->sessions));
	list_init(mx->sessions);
	lab_mx_play_preset(mx, "custom");
	mx->tls = tls_server_new_selfsigned(host, err);
	if (!mx->tls || addr_from_ip(slice("127.0.0.1"), port, &addr, err) < 0)
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
	lab_script_free(mx->script);
	free(mx);
}

int lab_mx_play(struct lab_mx *mx, struct slice script, struct err *err)
{
	struct lab_script *parsed = lab_script_parse(script, err);

	if (!parsed)
		return -1;
	/* A reply that waits may point into the old one. */
	list_each (it, next, mx->sessions) {
		struct session *session = list_entry(it, struct session, link);

		if (session->act.delay_ms > 0 && session->act.text)
			session->act = (struct lab_act){ 0 };
		session->act.text = NULL;
	}
	lab_script_free(mx->script);
	mx->script = parsed;
	return 0;
}

void lab_mx_play_preset(struct lab_mx *mx, const char *preset)
{
	struct err err = ERR_INIT;
	int result = lab_mx_play(mx, slice(lab_script_preset(preset)), &err);

	assert(result == 0);
	(void)result;
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
