#include "base/log.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/hide.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum {
	TEXT_MAX = 2000
};

/* What the operator asked for at start; written before any thread runs. */
static struct {
	const char *program;
	enum log_level least;
	bool addresses;
} setup = { "tideover", LOG_LEVEL_INFO, false };

void log_setup(const char *program, enum log_level least, bool addresses)
{
	setup.program = program;
	setup.least = least;
	setup.addresses = addresses;
}

/* Texts of others name recipients: what a system replied, a reason. */
static void hide_addresses(const char *text, struct buf *out)
{
	size_t len = strlen(text), done = 0;

	for (size_t at = 0; at < len; at++) {
		size_t begin =
			text[at] == '@' ? hide_local_begins(text, at) : at;

		if (begin == at)
			continue;
		/* A quoted one may hold an '@' of its own. */
		if (begin < done)
			begin = done;
		buf_add(out, slice_of(text + done, begin - done));
		buf_adds(out, "***");
		done = at;
	}
	buf_adds(out, text + done);
}

/* A peer's words may be in here: one event stays one line. */
static void keep_one_line(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 127)
			*text = '?';
}

void log_line(enum log_level level, const char *module, const char *format, ...)
{
	static const char *const names[] = { "debug", "info", "warning",
					     "error" };
	char text[TEXT_MAX], when[CLOCK_TEXT];
	struct buf line = BUF_INIT;
	va_list args;

	if (level < setup.least)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	keep_one_line(text);
	buf_addf(&line,
		 "%s %s %s: %s: ", clock_format_ms(clock_wall_ms(), when),
		 setup.program, names[level], module);
	if (setup.addresses)
		buf_adds(&line, text);
	else
		hide_addresses(text, &line);
	buf_addc(&line, '\n');
	while (write(STDERR_FILENO, line.p, line.len) < 0 && errno == EINTR)
		; /* another error: there is nobody left to tell */
	buf_release(&line);
}
