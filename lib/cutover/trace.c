#include "cutover/trace.h"
#include "base/buf.h"
#include "base/clock.h"
#include "smtp/smtp_path.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	COLUMNS_MAX = 100
};

enum column {
	RECIPIENT,
	TIME,
	STATUS,
	COLUMNS
};

/* As headings_of() writes them. */
static const char *const names[COLUMNS][6] = {
	[RECIPIENT] = { "recipientaddress", "recipient", "recipients",
			"toenvelope", NULL },
	[TIME] = { "received", "startdate", "date", "datetime", "timestamp",
		   NULL },
	[STATUS] = { "status", "deliverystatus", NULL },
};

void trace_release(struct trace *trace)
{
	map_release(&trace->addresses);
	*trace = (struct trace){ 0 };
}

/* Fields. */

struct reader {
	struct slice rest;
	char comma;
	size_t line;
};

/* Holds anything, quotes doubled (RFC 4180 section 2). */
static int quoted_field(struct reader *reader, struct buf *field,
			struct err *err)
{
	struct slice *rest = &reader->rest;
	size_t at = 1, begins = reader->line;

	for (;;) {
		if (at == rest->len)
			return err_set(err, "line %zu: a quote is open",
				       begins);
		if (rest->p[at] == '"') {
			if (++at == rest->len || rest->p[at] != '"')
				break;
		} else if (rest->p[at] == '\n') {
			reader->line++;
		}
		buf_addc(field, rest->p[at++]);
	}
	*rest = slice_from(*rest, at);
	return 0;
}

/* The next field to `field`; *more if the row goes on behind it. */
static int next_field(struct reader *reader, struct buf *field, bool *more,
		      struct err *err)
{
	struct slice *rest = &reader->rest;
	size_t len = 0;

	buf_clear(field);
	if (rest->len > 0 && rest->p[0] == '"' &&
	    quoted_field(reader, field, err) < 0)
		return -1;
	while (len < rest->len && rest->p[len] != reader->comma &&
	       rest->p[len] != '\n')
		len++;
	buf_add(field, slice_of(rest->p, len));
	*more = len < rest->len && rest->p[len] == reader->comma;
	if (!*more)
		reader->line++;
	*rest = slice_from(*rest, len < rest->len ? len + 1 : len);
	while (field->len > 0 && field->p[field->len - 1] == '\r')
		field->p[--field->len] = '\0';
	return 0;
}

/* Headings. */

static bool is_named(struct slice heading, const char *const *of)
{
	struct buf name = BUF_INIT;
	bool found = false;

	for (size_t i = 0; i < heading.len; i++)
		if (isalnum((unsigned char)heading.p[i]))
			buf_addc(&name,
				 (char)tolower((unsigned char)heading.p[i]));
	for (; *of; of++)
		found |= strcmp(buf_text(&name), *of) == 0;
	buf_release(&name);
	return found;
}

/* Where each column is; -1: it is not there. */
static int read_headings(struct reader *reader, int at[COLUMNS],
			 struct err *err)
{
	struct buf field = BUF_INIT;
	bool more = true;
	int result = 0;

	for (int c = 0; c < COLUMNS; c++)
		at[c] = -1;
	for (int i = 0; more && i < COLUMNS_MAX && result == 0; i++) {
		result = next_field(reader, &field, &more, err);
		for (int c = 0; result == 0 && c < COLUMNS; c++)
			if (at[c] < 0 && is_named(buf_slice(&field), names[c]))
				at[c] = i;
	}
	buf_release(&field);
	return result;
}

/* Whichever of the usual ones parts the heading into columns that we know. */
static int find_comma(struct reader *reader, int at[COLUMNS], struct err *err)
{
	static const char commas[] = ",;\t";
	struct reader start = *reader;

	for (const char *comma = commas; *comma; comma++) {
		*reader = start;
		reader->comma = *comma;
		if (read_headings(reader, at, NULL) == 0 && at[RECIPIENT] >= 0)
			return 0;
	}
	return err_set(err, "line %zu: no column RecipientAddress", start.line);
}

/* Rows. */

/* RFC 3339 as .ToString('o') prints it, or "2026/11/20 21:15:02 UTC". */
static bool time_of(struct slice text, int64_t *wall_ms)
{
	int year, month, day, hour, minute, second, used = 0;
	char *copy = slice_dup(slice_trim(text)), *form = NULL;
	bool good = clock_parse(slice(copy), wall_ms, NULL) == 0;

	if (!good &&
	    sscanf(copy, "%4d%*1[-/]%2d%*1[-/]%2d%*1[ T]%2d:%2d:%2d%n", &year,
		   &month, &day, &hour, &minute, &second, &used) == 6) {
		form = mem_printf("%04d-%02d-%02dT%02d:%02d:%02dZ", year, month,
				  day, hour, minute, second);
		good = clock_parse(slice(form), wall_ms, NULL) == 0;
	}
	free(form);
	free(copy);
	return good;
}

/* What is no address to us, nobody can write to through the queue anyhow. */
static void add_address(struct trace *trace, struct slice text)
{
	struct smtp_mailbox mailbox;
	struct buf key = BUF_INIT;

	text = slice_trim(text);
	if (text.len == 0)
		return;
	if (smtp_mailbox_parse(text, &mailbox, NULL) < 0) {
		trace->strange++;
		return;
	}
	smtp_mailbox_key(text, &key);
	map_put(&trace->addresses, buf_slice(&key), trace);
	buf_release(&key);
}

/* Several recipients stand in one field, parted by what parts no address. */
static void add_addresses(struct trace *trace, struct slice text)
{
	char parts = slice_find(text, ';') >= 0 ? ';' : ',';

	while (text.len > 0)
		add_address(trace, slice_split(&text, parts));
}

static void add_time(struct trace *trace, struct slice text)
{
	int64_t ms;

	if (!time_of(text, &ms)) {
		trace->undated++;
		return;
	}
	if (trace->first_ms == 0 || ms < trace->first_ms)
		trace->first_ms = ms;
	if (ms > trace->last_ms)
		trace->last_ms = ms;
}

static int read_row(struct trace *trace, struct reader *reader,
		    const int at[COLUMNS], struct err *err)
{
	struct buf field = BUF_INIT, kept[COLUMNS] = { BUF_INIT };
	bool more = true;
	int result = 0;

	for (int i = 0; more && result == 0; i++) {
		result = next_field(reader, &field, &more, err);
		for (int c = 0; result == 0 && c < COLUMNS; c++)
			if (at[c] == i)
				buf_add(&kept[c], buf_slice(&field));
	}
	if (result == 0 && kept[RECIPIENT].len > 0 &&
	    !slice_is_nocase(buf_slice(&kept[STATUS]), "failed")) {
		add_addresses(trace, buf_slice(&kept[RECIPIENT]));
		trace->rows++;
		add_time(trace, buf_slice(&kept[TIME]));
	}
	buf_release(&field);
	for (int c = 0; c < COLUMNS; c++)
		buf_release(&kept[c]);
	return result;
}

static void take_key(void *ctx, struct slice key, void *value)
{
	map_put(ctx, key, ctx);
}

static void keep(struct trace *trace, const struct trace *fresh)
{
	if (fresh->first_ms &&
	    (!trace->first_ms || fresh->first_ms < trace->first_ms))
		trace->first_ms = fresh->first_ms;
	if (fresh->last_ms > trace->last_ms)
		trace->last_ms = fresh->last_ms;
	if (!trace->read || fresh->at_ms < trace->at_ms)
		trace->at_ms = fresh->at_ms;
	trace->rows += fresh->rows;
	trace->undated += fresh->undated;
	trace->strange += fresh->strange;
	trace->read = true;
	map_each(&fresh->addresses, take_key, &trace->addresses);
}

int trace_read(struct trace *trace, struct slice text, int64_t at_ms,
	       struct err *err)
{
	struct trace fresh = { .at_ms = at_ms };
	struct reader reader = { .line = 1 };
	int at[COLUMNS], result = -1;

	if (slice_starts(text, "\xff\xfe") || slice_starts(text, "\xfe\xff"))
		return err_set(err, "it is UTF-16: write it with Export-Csv "
				    "-Encoding utf8");
	if (slice_starts(text, "\xef\xbb\xbf"))
		text = slice_from(text, 3);
	/* Windows PowerShell says what it printed. */
	if (slice_starts(text, "#TYPE")) {
		slice_split(&text, '\n');
		reader.line++;
	}
	reader.rest = text;
	if (find_comma(&reader, at, err) < 0)
		return -1;
	while (reader.rest.len > 0)
		if (read_row(&fresh, &reader, at, err) < 0)
			goto out;
	if (fresh.rows == 0) {
		err_set(err, "it lists nothing");
		goto out;
	}
	keep(trace, &fresh);
	result = 0;
out:
	trace_release(&fresh);
	return result;
}
