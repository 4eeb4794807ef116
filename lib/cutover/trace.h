/*
 * trace.h - what mail the old system had, from an exported trace (CSV)
 *
 *   Get-MessageTrace and Get-MessageTraceV2 of Exchange Online PowerShell,
 *   | Select-Object RecipientAddress,Status,FromIP,@{n='Received';
 *     e={$_.Received.ToString('o')}} | Export-Csv -NoTypeInformation
 *   Email Log Search of Google's Admin console, exported as CSV
 *
 * RFC 4180 with a heading, comma, semicolon or tab between fields.  Columns are
 * known by name (any case, blanks and underscores apart): one of the recipient
 * must be there, the others may be.
 *
 * Whom it delivered to: rows of mail that was not delivered ("Failed") count for
 * nothing, as spam is addressed to people who never were.  What came to it from
 * outside: all rows count, but those that say that they are no incoming mail.
 *
 * Pure.
 */
#ifndef CUTOVER_TRACE_H
#define CUTOVER_TRACE_H

#include "base/err.h"
#include "base/map.h"

/* From the first row to the last. */
struct trace_span {
	int64_t first_ms, last_ms; /* wall; 0: none has a time */
	uint64_t undated;
};

/* What came from outside for one domain. */
struct trace_domain {
	int64_t *at_ms; /* wall; 0 where the row has no time */
	size_t count;
};

struct trace {
	bool read;		  /* a file was */
	struct trace_span *spans; /* of each file, all rows */
	size_t span_count;
	struct map domains;	     /* struct trace_domain by A-label */
	struct map addresses;	     /* by mailbox key */
	uint64_t rows;		     /* that were delivered */
	struct trace_span delivered; /* of those, over all files */
	uint64_t strange; /* what stands for an address and is none */
	int64_t at_ms;	  /* wall, the oldest file */
};

void trace_release(struct trace *trace);
/* How many rows of mail from outside for a domain are of that time or later;
 * the latest of all goes to *last_ms (0: none has a time). */
size_t trace_arrivals(const struct trace *trace, const char *domain,
		      int64_t from_ms, int64_t *last_ms);
/* Adds one file's text, of time `at_ms`; all of it or nothing. */
int trace_read(struct trace *trace, struct slice text, int64_t at_ms,
	       struct err *err);

#endif
