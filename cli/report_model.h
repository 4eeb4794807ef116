/*
 * report_model.h - what a report says, whatever it is written in
 *
 * One model from the daemon's report data and its list of messages; HTML,
 * Markdown and JSON are only ways to write it down.  The list may be long, so
 * it is never held: it is read twice, once to count and to find what left its
 * order, once to write each message as it comes.
 *
 *   report_new -> report_count for each row -> report_build
 *   -> a writer's begin, message for each row, end -> report_free
 *
 * Pure: no clock, no files.  With a salt every local part is replaced by a
 * hash in everything that leaves the model; the salt is kept nowhere, so the
 * same address looks the same within one report and in no other.
 */
#ifndef CLI_REPORT_MODEL_H
#define CLI_REPORT_MODEL_H

#include "base/json.h"
#include "base/map.h"

#define REPORT_COLUMNS	 9
#define REPORT_ORDER_MAX 100000 /* exceptions that are listed one by one */

enum report_mark {
	MARK_NONE,
	MARK_GOOD,
	MARK_WARN,
	MARK_BAD,
	MARK_CODE
};
enum report_chart {
	CHART_NONE,
	CHART_QUEUE,
	CHART_MX
};

struct report_cell {
	char *text; /* lines apart by \n; NULL: empty */
	enum report_mark mark;
};

struct report_row {
	struct report_cell cells[REPORT_COLUMNS];
	char *detail; /* raw evidence, as JSON; or NULL */
};

struct report_table {
	char *caption;
	const char *columns[REPORT_COLUMNS]; /* ended by NULL if fewer */
	struct report_row *rows;
	size_t row_count;
};

struct report_section {
	const char *id, *title;
	char *text;	       /* paragraphs apart by \n, or NULL */
	enum report_mark mark; /* of the text */
	enum report_chart chart;
	struct report_table *tables;
	size_t table_count;
};

struct report_ledger {
	double accepted, waiting, held, delivered, bounced, discarded;
};

struct report {
	struct json *data; /* the daemon's, redacted if asked */
	char *salt;	   /* NULL: nothing is redacted */
	struct report_ledger total;
	bool balances;		     /* every domain, and the total */
	struct report_ledger listed; /* what the message list adds up to */
	struct map mailboxes;	     /* forward-path -> its line */
	struct json *order;	     /* exceptions, for all writers */
	size_t order_count;	     /* of them, listed or not */
	struct report_section *sections;
	size_t section_count;
	size_t messages_at; /* the section whose table the messages are */
};

/*
 * One way to write a report down: `begin`, `message` for each row of the list
 * in sequence, `end`.  Each adds to `out`, which the caller may empty between.
 */
struct report_writer {
	const char *format; /* "html": its name, and the suffix of its files */
	void (*begin)(const struct report *report, struct buf *out);
	void (*message)(const struct report *report, const struct json *row,
			bool first, struct buf *out);
	void (*end)(const struct report *report, struct buf *out);
};

/* `data` is copied. */
struct report *report_new(const struct json *data, const char *salt);
void report_free(struct report *report); /* NULL is fine */
/* Takes a row of the list into account; rows come in sequence. */
void report_count(struct report *report, const struct json *row);
/* Fills the sections, once everything is counted. */
void report_build(struct report *report);

/* A row of the list as the report shows it; the caller releases it. */
extern const char *const report_message_columns[REPORT_COLUMNS];
void report_message(const struct report *report, const struct json *row,
		    struct report_row *out);
void report_row_release(struct report_row *row);
/* The time that the charts span, from the data itself. */
void report_span(const struct report *report, int64_t *from_ms, int64_t *to_ms);

#endif
