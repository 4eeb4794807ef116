/*
 * evidence.h - what stays of a segment whose bytes may go
 *
 * A segment without its bodies: the same records in the same order, in a file
 * of the same format and number, in a folder of its own.  An index that is
 * rebuilt reads the evidence first and the spool after it, so that ledger,
 * attempts and report outlive the mail.  A message that still lived when its
 * segment went follows in the spool as a MESSAGE of the same id.
 */
#ifndef SPOOL_EVIDENCE_H
#define SPOOL_EVIDENCE_H

#include "spool/scan.h"

/*
 * Writes the evidence of SPOOL_DIR/number.seg into DIR (made if missing),
 * synced and under its final name only when it is whole.  `message` is called
 * for every MESSAGE record on the way.  Reads and writes files: any thread.
 */
int evidence_write(const char *spool_dir, const char *dir, uint32_t number,
		   void (*message)(void *ctx, const struct scan_record *record,
				   const struct record_message *message),
		   void *ctx, struct err *err);
/* Removes evidence of segments that are still there: a crash came between.
 * To be called before either folder is scanned. */
int evidence_forget_unfinished(const char *spool_dir, const char *dir,
			       struct err *err);

#endif
