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
	FROM_IP,
	DIRECTION,
	COLUMNS
};

/*
 * As is_named() writes them.  RecipientAddress, Received, Status and FromIP are
 * properties of Get-MessageTraceV2 (learn.microsoft.com/powershell/module/
 * exchange/get-messagetracev2); "Recipient address", "Start date" and
 * "Direction" are columns of Email Log Search (Google Workspace Admin Help
 * 13828463, "Email log search export fields").
 */
static const char *const names[COLUMNS] = {
	[RECIPIENT] = "recipientaddress",
	[TIME] = "received",
	[STATUS] = "status",
	[FROM_IP] = "fromip",
	[DIRECTION] = "direction",
};
static const char google_time[] = "startdate";

static void free_domain(void *ctx, struct slice key, void *value)
{
	struct trace_domain *domain = value;

	free(domain->at_ms);
	free(domain);
}

void trace_release(struct trace *trace)
{
	map_each(&trace->domains, free_domain, NULL);
	map_release(&trace->domains);
	map_release(&trace->addresses);
	free(trace->spans);
	*trace = (struct trace){ 0 };
}

size_t trace_arrivals(const struct trace *trace, const char *domain,
		      int64_t from_ms, int64_t *last_ms)
{
	const struct trace_domain *at = map_get(&trace->domains, slice(domain));
	size_t count = 0;

	*last_ms = 0;
	for (size_t i = 0; at && i < at->count; i++) {
		count += at->at_ms[i] >= from_ms;
		if (at->at_ms[i] > *last_ms)
			*last_ms = at->at_ms[i];
	}
	return count;
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

static bool is_named(struct slice heading, enum column column)
{
	struct buf name = BUF_INIT;
	bool found;

	for (size_t i = 0; i < heading.len; i++)
		if (isalnum((unsigned char)heading.p[i]))
			buf_addc(&name,
				 (char)tolower((unsigned char)heading.p[i]));
	found = strcmp(buf_text(&name), names[column]) == 0 ||
		(column == TIME && strcmp(buf_text(&name), google_time) == 0);
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
			if (at[c] < 0 &&
			    is_named(buf_slice(&field), (enum column)c))
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

/* Exchange Online prints UTC without saying so; another zone is not guessed. */
static bool is_utc(const char *zone)
{
	struct slice name = slice_trim(slice(zone));

	return name.len == 0 || slice_is_nocase(name, "z") ||
	       slice_is_nocase(name, "utc") || slice_is_nocase(name, "gmt");
}

/* RFC 3339 as .ToString('o') prints it, or "2026/11/20 21:15:02 UTC". */
static bool time_of(struct slice text, int64_t *wall_ms)
{
	int year, month, day, hour, minute, second, used = 0;
	char *copy = slice_dup(slice_trim(text)), *form = NULL;
	bool good = clock_parse(slice(copy), wall_ms, NULL) == 0;

	if (!good &&
	    sscanf(copy, "%4d%*1[-/]%2d%*1[-/]%2d%*1[ T]%2d:%2d:%2d%n", &year,
		   &month, &day, &hour, &minute, &second, &used) == 6 &&
	    is_utc(copy + used)) {
		form = mem_printf("%04d-%02d-%02dT%02d:%02d:%02dZ", year, month,
				  day, hour, minute, second);
		good = clock_parse(slice(form), wall_ms, NULL) == 0;
	}
	free(form);
	free(copy);
	return good;
}

static void add_arrival(struct trace *trace, struct slice domain, int64_t at_ms)
{
	struct trace_domain *at = map_get(&trace->domains, domain);

	if (!at) {
		at = mem_alloc(sizeof(*at));
		map_put(&trace->domains, domain, at);
	}
	/* Doubles at each power of two. */
	if ((at->count & (at->count - 1)) == 0)
		at->at_ms =
			mem_grow(at->at_ms, (at->count ? 2 * at->count : 1) *
						    sizeof(*at->at_ms));
	at->at_ms[at->count++] = at_ms;
}

/* A row, as far as it counts. */
struct row {
	bool delivered, from_outside;
	int64_t at_ms; /* 0: not known */
};

/* What is no address to us, nobody can write to through the queue anyhow. */
static void add_address(struct trace *trace, const struct row *row,
			struct slice text)
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
	if (row->delivered)
		map_put(&trace->addresses, buf_slice(&key), trace);
	if (row->from_outside)
		add_arrival(
			trace,
			slice_from(buf_slice(&key),
				   (size_t)slice_rfind(buf_slice(&key), '@') +
					   1),
			row->at_ms);
	buf_release(&key);
}

/* Several recipients stand in one field, parted by what parts no address. */
static void add_addresses(struct trace *trace, const struct row *row,
			  struct slice text)
{
	char parts = slice_find(text, ';') >= 0 ? ';' : ',';

	while (text.len > 0)
		add_address(trace, row, slice_split(&text, parts));
}

static void span_add(struct trace_span *span, int64_t at_ms)
{
	span->undated += at_ms == 0;
	if (at_ms && (span->first_ms == 0 || at_ms < span->first_ms))
		span->first_ms = at_ms;
	if (at_ms > span->last_ms)
		span->last_ms = at_ms;
}

/*
 * Google says which way a message went.  Microsoft gives the address of who
 * brought it in, and none to what its own people send each other, of which
 * there is plenty until the domain moves.  Without either it is from outside.
 */
static bool is_from_outside(const int at[COLUMNS], const struct buf *kept)
{
	struct slice direction = slice_trim(buf_slice(&kept[DIRECTION]));

	if (at[DIRECTION] >= 0)
		return !slice_is_nocase(direction, "sent") &&
		       !slice_is_nocase(direction, "mixed");
	return at[FROM_IP] < 0 || slice_trim(buf_slice(&kept[FROM_IP])).len > 0;
}

static void add_row(struct trace *trace, const int at[COLUMNS],
		    const struct buf *kept)
{
	struct row row = {
		.delivered =
			!slice_is_nocase(buf_slice(&kept[STATUS]), "failed"),
		.from_outside = is_from_outside(at, kept),
	};

	if (kept[RECIPIENT].len == 0)
		return;
	if (!time_of(buf_slice(&kept[TIME]), &row.at_ms))
		row.at_ms = 0;
	span_add(&trace->spans[0], row.at_ms);
	add_addresses(trace, &row, buf_slice(&kept[RECIPIENT]));
	if (!row.delivered)
		return;
	trace->rows++;
	span_add(&trace->delivered, row.at_ms);
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
	if (result == 0)
		add_row(trace, at, kept);
	buf_release(&field);
	for (int c = 0; c < COLUMNS; c++)
		buf_release(&kept[c]);
	return result;
}

static void take_key(void *ctx, struct slice key, void *value)
{
	map_put(ctx, key, ctx);
}

static void take_arrivals(void *ctx, struct slice key, void *value)
{
	const struct trace_domain *domain = value;

	for (size_t i = 0; i < domain->count; i++)
		add_arrival(ctx, key, domain->at_ms[i]);
}

static void keep(struct trace *trace, const struct trace *fresh)
{
	if (fresh->delivered.first_ms) {
		span_add(&trace->delivered, fresh->delivered.first_ms);
		span_add(&trace->delivered, fresh->delivered.last_ms);
	}
	if (!trace->read || fresh->at_ms < trace->at_ms)
		trace->at_ms = fresh->at_ms;
	trace->spans = mem_grow(trace->spans, (trace->span_count + 1) *
						      sizeof(*trace->spans));
	trace->spans[trace->span_count++] = fresh->spans[0];
	trace->rows += fresh->rows;
	trace->delivered.undated += fresh->delivered.undated;
	trace->strange += fresh->strange;
	trace->read = true;
	map_each(&fresh->addresses, take_key, &trace->addresses);
	map_each(&fresh->domains, take_arrivals, trace);
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
	fresh.spans = mem_alloc(sizeof(*fresh.spans));
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
