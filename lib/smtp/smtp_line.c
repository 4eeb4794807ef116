#include "smtp/smtp_line.h"

#include "smtp/smtp_command.h"

void smtp_line_release(struct smtp_line *line)
{
	buf_release(&line->kept);
}

void smtp_line_reset(struct smtp_line *line)
{
	buf_clear(&line->kept);
	line->len = 0;
	line->cr = line->whole = false;
}

/* How much of `in` reaches to the end of the line, or 0. */
static size_t length_to_end(const struct smtp_line *line, struct slice in)
{
	size_t at = 0;

	while (at < in.len) {
		const char *lf = memchr(in.p + at, '\n', in.len - at);

		if (!lf)
			return 0;
		if (lf > in.p ? lf[-1] == '\r' : line->cr)
			return (size_t)(lf - in.p) + 1;
		at = (size_t)(lf - in.p) + 1;
	}
	return 0;
}

static void keep(struct smtp_line *line, struct slice in)
{
	line->len += in.len;
	line->cr = in.p[in.len - 1] == '\r';
	if (line->len <= SMTP_COMMAND_EXTENDED_MAX)
		buf_add(&line->kept, in);
	else
		buf_clear(&line->kept);
}

size_t smtp_line_take(struct smtp_line *line, struct slice in,
		      struct slice *whole, size_t *length)
{
	size_t n;

	if (line->whole)
		smtp_line_reset(line);
	n = length_to_end(line, in);
	*whole = (struct slice){ 0 };
	*length = line->len + n;
	if (n == 0) {
		keep(line, in);
		*length = line->len;
		return in.len;
	}
	if (line->len == 0) {
		*whole = slice_of(in.p, n - 2);
		return n;
	}
	keep(line, slice_of(in.p, n));
	*whole = line->kept.len >= 2 ?
			 slice_of(line->kept.p, line->kept.len - 2) :
			 slice("");
	line->whole = true;
	return n;
}
