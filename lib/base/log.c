#include "base/log.h"
#include "base/clock.h"
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

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

void log_line(enum log_level level, const char *module, const char *format, ...)
{
	static const char *const names[] = { "debug", "info", "warning",
					     "error" };
	char line[2048], when[CLOCK_TEXT];
	va_list args;
	int head, len;

	if (level < setup.least)
		return;
	head = snprintf(line, sizeof(line), "%s %s %s: %s: ",
			clock_format_ms(clock_wall_ms(), when), setup.program,
			names[level], module);
	va_start(args, format);
	len = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, format,
			args);
	va_end(args);
	if (len < 0)
		return;
	len += head;
	if ((size_t)len > sizeof(line) - 2)
		len = (int)sizeof(line) - 2;
	/* A peer's words may be in here: one event stays one line. */
	for (int i = head; i < len; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 127)
			line[i] = '?';
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)len) < 0)
		return; /* there is nobody left to tell */
}

const char *log_addr(struct slice address, char *text, size_t size)
{
	ptrdiff_t at = slice_rfind(address, '@');

	if (setup.addresses || at <= 0)
		snprintf(text, size, "%.*s", (int)address.len, address.p);
	else
		snprintf(text, size, "%c***%.*s", address.p[0],
			 (int)(address.len - (size_t)at), address.p + at);
	return text;
}
