/*
 * trace.h - whom the old system delivered to, from an exported trace (CSV)
 *
 *   Get-MessageTrace and Get-MessageTraceV2 of Exchange Online PowerShell,
 *   | Select-Object RecipientAddress,Status,@{n='Received';
 *     e={$_.Received.ToString('o')}} | Export-Csv -NoTypeInformation
 *   Email Log Search of Google's Admin console, exported as CSV
 *
 * RFC 4180 with a heading, comma, semicolon or tab between fields.  Columns are
 * known by name (any case, blanks and underscores apart): one of the recipient
 * must be there, one of the time and one of the status may be.  Rows of mail
 * that was not delivered ("Failed") count for nothing: spam is addressed to
 * people who never were.
 *
 * Pure.
 */
#ifndef CUTOVER_TRACE_H
#define CUTOVER_TRACE_H

#include "base/err.h"
#include "base/map.h"

struct trace {
	bool read;		   /* a file was */
	struct map addresses;	   /* by mailbox key */
	uint64_t rows;		   /* that counted */
	uint64_t undated;	   /* of them: no time that can be read */
	uint64_t strange;	   /* what stands for an address and is none */
	int64_t first_ms, last_ms; /* wall, of those with a time; 0: none */
	int64_t at_ms;		   /* wall, the oldest file */
};

void trace_release(struct trace *trace);
/* Adds one file's text, of time `at_ms`; all of it or nothing. */
int trace_read(struct trace *trace, struct slice text, int64_t at_ms,
	       struct err *err);

#endif
