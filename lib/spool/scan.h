/*
 * scan.h - read a spool back, cutting nothing
 *
 * Reads every segment of a folder in order, skips bytes that are no record,
 * resynchronises only on nonce + matching offset + header CRC, and calls for
 * every valid record.  Bad ranges are reported: `torn` above the highest
 * offset known synced, `damaged` below it.  Pure reading: works on a copy on
 * another machine as well.
 */
#ifndef SPOOL_SCAN_H
#define SPOOL_SCAN_H

#include "spool/record.h"

struct scan_record {
	enum record_kind kind;
	uint32_t segment;
	uint64_t offset;      /* of the record in its segment */
	uint64_t body;	      /* offset of an inline body (MESSAGE), or 0 */
	struct slice payload; /* borrowed for the call; body included */
};

struct scan_bad {
	uint32_t segment;
	uint64_t offset, length;
	bool damaged;	    /* else torn */
	struct slice bytes; /* borrowed; for the quarantine */
};

struct scan_result {
	uint32_t next_segment; /* number for the next new segment */
	uint64_t records, bad_ranges, damaged_ranges;
	uint64_t bytes;
};

struct scan_visitor {
	int (*on_record)(void *ctx, const struct scan_record *record,
			 struct err *err);
	void (*on_bad)(void *ctx, const struct scan_bad *bad);
};

/* One segment's bytes; `offset` 0: from its first record on. */
int scan_segment(struct slice bytes, uint32_t number, uint64_t offset,
		 const struct scan_visitor *visitor, void *ctx,
		 struct scan_result *result, struct err *err);

/* The same with a file; an empty one has nothing. */
int scan_file(const char *path, uint32_t number, uint64_t offset,
	      const struct scan_visitor *visitor, void *ctx,
	      struct scan_result *result, struct err *err);

/*
 * From `segment`/`offset` on (0/0: everything).  -1 only if a file cannot be
 * read or the visitor fails; bad bytes are no error.
 */
int scan_dir(const char *dir, uint32_t segment, uint64_t offset,
	     const struct scan_visitor *visitor, void *ctx,
	     struct scan_result *result, struct err *err);

#endif
