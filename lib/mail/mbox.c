#include "mail/mbox.h"
#include <time.h>

void mbox_begin(const char *reverse_path, int64_t accepted_ms, struct buf *out)
{
	time_t seconds = (time_t)(accepted_ms / 1000);
	struct tm tm;
	char date[32]; /* asctime's form is part of the format */

	gmtime_r(&seconds, &tm);
	strftime(date, sizeof(date), "%a %b %e %H:%M:%S %Y", &tm);
	buf_adds(out, "From ");
	if (!*reverse_path)
		buf_adds(out, "MAILER-DAEMON");
	for (; *reverse_path; reverse_path++)
		buf_addc(out, (unsigned char)*reverse_path <= ' ' ?
				      '-' :
				      *reverse_path);
	buf_addf(out, " %s\n", date);
}

/* '>' any number of times needs no memory: they pass, "From " is what waits. */
static void flush_held(struct mbox_state *state, struct buf *out)
{
	buf_add(out, slice_of(state->held, state->held_count));
	state->held_count = 0;
}

static void add_byte(struct mbox_state *state, char c, struct buf *out)
{
	static const char from[] = "From ";

	state->line_open = c != '\n';
	if (c == '\n') {
		flush_held(state, out);
		buf_addc(out, c);
		state->in_line = false;
		return;
	}
	if (!state->in_line && state->held_count == 0 && c == '>') {
		buf_addc(out, c);
		return;
	}
	if (!state->in_line && c == from[state->held_count]) {
		state->held[state->held_count++] = c;
		if (!from[state->held_count]) {
			buf_addc(out, '>');
			flush_held(state, out);
			state->in_line = true;
		}
		return;
	}
	flush_held(state, out);
	state->in_line = true;
	buf_addc(out, c);
}

void mbox_add(struct mbox_state *state, struct slice bytes, struct buf *out)
{
	for (size_t i = 0; i < bytes.len; i++) {
		char c = bytes.p[i];

		if (state->is_cr && c != '\n')
			add_byte(state, '\r', out);
		state->is_cr = c == '\r';
		if (!state->is_cr)
			add_byte(state, c, out);
	}
}

void mbox_end(struct mbox_state *state, struct buf *out)
{
	if (state->is_cr)
		add_byte(state, '\r', out);
	flush_held(state, out);
	if (state->line_open)
		buf_addc(out, '\n');
	buf_addc(out, '\n');
	*state = (struct mbox_state){ 0 };
}
