/*
 * scan.h - read a spool back, cutting nothing
 *
 * Reads every segment of a folder in order, skips bytes that are no record,
 * resynchronises only on nonce + matching offset + header CRC, and calls for
 * every valid record.  Bad ranges are reported: `torn` above the highest
 * offset known synced (by a record, or by the header of the next segment),
 * `damaged` below it, be it that the file ends too early.  The end of what was
 * kept before a crash has nothing behind it that says so: spoiled, it is `torn`.
 * Pure reading: works on a copy on another machine as well.
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
	struct slice bytes; /* what of it is there; borrowed */
};

struct scan_result {
	uint32_t next_segment; /* number for the next new segment */
	uint32_t last;	       /* segment; 0: there is none */
	uint64_t whole;	       /* bytes of it without a gap */
	uint64_t end;	       /* of it: nothing but zeros follows */
	uint64_t sequence;     /* the highest of a message */
	uint64_t records, bad_ranges, damaged_ranges;
	uint64_t bytes;
};

struct scan_visitor {
	int (*on_record)(void *ctx, const struct scan_record *record,
			 struct err *err);
	void (*on_bad)(void *ctx, const struct scan_bad *bad);
	/* A file has its name only since all of it is on disk: nothing bad in
	 * it is merely torn. */
	bool files_are_whole;
	/* What the disk cannot read (EIO) is bad bytes as well.  Else it is an
	 * error: another time, or another disk, may have them. */
	bool past_unreadable;
};

/* One segment's bytes; from a record at `offset` that was read before, or (0)
 * from the first one on.  `synced`: so many bytes were on disk, says the next
 * segment (0: it says nothing). */
int scan_segment(struct slice bytes, uint32_t number, uint64_t offset,
		 uint64_t synced, const struct scan_visitor *visitor, void *ctx,
		 struct scan_result *result, struct err *err);

/* The same with a file. */
int scan_file(const char *path, uint32_t number, uint64_t offset,
	      uint64_t synced, const struct scan_visitor *visitor, void *ctx,
	      struct scan_result *result, struct err *err);

/*
 * From `segment`/`offset` on (0/0: everything).  -1 only if a file cannot be
 * read or the visitor fails; bad bytes are no error.
 */
int scan_dir(const char *dir, uint32_t segment, uint64_t offset,
	     const struct scan_visitor *visitor, void *ctx,
	     struct scan_result *result, struct err *err);

#endif
