#include "smtp/smtp_data.h"

const char smtp_data_too_big[] = "too big";

static const char bare_cr[] = "bare CR";
static const char hidden_dot[] = "lone dot behind NUL";

/* What one call works on. */
struct piece {
	struct smtp_data *data;
	const char *run; /* from here on the sink has not got it yet */
	const char *p;	 /* the next byte to look at */
	const char *end;
	smtp_data_sink *sink;
	void *ctx;
};

void smtp_data_begin(struct smtp_data *data, uint64_t max_size)
{
	*data = (struct smtp_data){ .at = SMTP_DATA_LINE,
				    .max_size = max_size };
}

void smtp_data_begin_chunks(struct smtp_data *data, uint64_t max_size)
{
	smtp_data_begin(data, max_size);
	data->chunks = true;
}

void smtp_data_end_chunks(struct smtp_data *data)
{
	if (data->at == SMTP_DATA_CR && !data->bad)
		data->bad = bare_cr;
	if (data->at == SMTP_DATA_NUL_DOT && !data->bad)
		data->bad = hidden_dot;
	data->at = SMTP_DATA_END;
}

bool smtp_data_is_whole(const struct smtp_data *data)
{
	return data->at == SMTP_DATA_END;
}

/* Gives the sink what is before `upto`; what follows starts a new run. */
static void deliver(struct piece *piece, const char *upto)
{
	struct smtp_data *data = piece->data;
	size_t len = (size_t)(upto - piece->run);
	struct slice bytes = slice_of(piece->run, len);

	piece->run = upto;
	if (data->bad || len == 0)
		return;
	if (data->max_size && len > data->max_size - data->size) {
		bytes.len = (size_t)(data->max_size - data->size);
		data->bad = smtp_data_too_big;
	}
	data->size += bytes.len;
	if (bytes.len > 0)
		piece->sink(piece->ctx, bytes);
}

static void spoil(struct piece *piece, const char *at, const char *why)
{
	deliver(piece, at);
	if (!piece->data->bad)
		piece->data->bad = why;
}

static void count_line(struct piece *piece, const char *upto)
{
	struct smtp_data *data = piece->data;

	data->line += (size_t)(upto - piece->p);
	if (data->line > SMTP_DATA_LINE_MAX && !data->bad)
		spoil(piece, upto - (data->line - SMTP_DATA_LINE_MAX),
		      "line too long");
}

/*
 * The ordinary path: from inside a line to behind its end, two memchr calls
 * and no copy.  Bare bytes are rare, so they may cost a second look.
 */
static void text(struct piece *piece)
{
	size_t left = (size_t)(piece->end - piece->p);
	const char *lf = memchr(piece->p, '\n', left);
	const char *stop = lf ? lf : piece->end;
	const char *cr = memchr(piece->p, '\r', (size_t)(stop - piece->p));

	count_line(piece, cr ? cr : stop);
	if (!cr && !lf) {
		piece->p = piece->end;
	} else if (cr && cr + 1 == stop) {
		piece->p = lf ? lf + 1 : piece->end;
		piece->data->at = lf ? SMTP_DATA_LINE : SMTP_DATA_CR;
		piece->data->line = 0;
	} else if (cr) {
		spoil(piece, cr + 1, bare_cr);
		piece->p = cr + 1;
	} else {
		spoil(piece, lf, "bare LF");
		piece->p = lf + 1;
	}
}

static void pass(struct piece *piece)
{
	count_line(piece, piece->p + 1);
	piece->p++;
}

static void step(struct piece *piece)
{
	struct smtp_data *data = piece->data;

	switch (data->at) {
	case SMTP_DATA_LINE:
		data->at = *piece->p ? SMTP_DATA_TEXT : SMTP_DATA_NUL;
		if (*piece->p == '.' && !data->chunks) {
			deliver(piece, piece->p);
			piece->run = ++piece->p;
			data->at = SMTP_DATA_DOT;
		}
		break;
	case SMTP_DATA_DOT:
		data->at = *piece->p ? SMTP_DATA_TEXT : SMTP_DATA_NUL;
		if (*piece->p == '\r') {
			piece->run = ++piece->p;
			data->at = SMTP_DATA_DOT_CR;
		}
		break;
	case SMTP_DATA_NUL:
		if (*piece->p == '.')
			data->at = SMTP_DATA_NUL_DOT;
		else if (*piece->p)
			data->at = SMTP_DATA_TEXT;
		if (data->at != SMTP_DATA_TEXT)
			pass(piece);
		break;
	case SMTP_DATA_NUL_DOT:
		if (*piece->p == '\0') {
			pass(piece);
			break;
		}
		if (*piece->p == '\r')
			spoil(piece, piece->p, hidden_dot);
		data->at = SMTP_DATA_TEXT;
		break;
	case SMTP_DATA_DOT_CR:
		if (*piece->p == '\n') {
			piece->run = ++piece->p;
			data->at = SMTP_DATA_END;
		} else {
			spoil(piece, piece->p, bare_cr);
			data->at = SMTP_DATA_TEXT;
		}
		break;
	case SMTP_DATA_CR:
		if (*piece->p == '\n') {
			piece->p++;
			data->at = SMTP_DATA_LINE;
		} else {
			spoil(piece, piece->p, bare_cr);
			data->at = SMTP_DATA_TEXT;
		}
		break;
	case SMTP_DATA_TEXT:
		text(piece);
		break;
	case SMTP_DATA_END:
		break;
	}
}

size_t smtp_data_receive(struct smtp_data *data, struct slice in,
			 smtp_data_sink *sink, void *ctx)
{
	struct piece piece = {
		.data = data,
		.run = in.p,
		.p = in.p,
		.end = in.p + in.len,
		.sink = sink,
		.ctx = ctx,
	};

	while (piece.p < piece.end && data->at != SMTP_DATA_END)
		step(&piece);
	deliver(&piece, piece.p);
	return (size_t)(piece.p - in.p);
}

/*
 * A dot after a bare LF is stuffed too: there is none in what we received, and
 * if there were, a lax receiver would take it for the end of the message.
 */
void smtp_data_stuff(struct smtp_data_out *data, struct slice bytes,
		     struct buf *out)
{
	const char *p = bytes.p, *run = p, *end = p + bytes.len;

	if (bytes.len == 0)
		return;
	if (*p == '.' && (!data->begun || data->last[1] == '\n'))
		buf_addc(out, '.');
	while ((p = memchr(p, '\n', (size_t)(end - p))) && ++p < end) {
		if (*p != '.')
			continue;
		buf_add(out, slice_of(run, (size_t)(p - run)));
		buf_addc(out, '.');
		run = p;
	}
	buf_add(out, slice_of(run, (size_t)(end - run)));
	data->begun = true;
	data->last[0] = bytes.len > 1 ? end[-2] : data->last[1];
	data->last[1] = end[-1];
}

void smtp_data_finish(struct smtp_data_out *data, struct buf *out)
{
	if (data->begun && memcmp(data->last, "\r\n", 2) != 0)
		buf_adds(out, "\r\n");
	buf_adds(out, ".\r\n");
}
