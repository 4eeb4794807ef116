/*
 * segment.h - how records lie in one file of the spool
 *
 * Pure.  A segment begins with a header that holds its number and a random
 * nonce.  Every record has a header that repeats the nonce and says where it
 * is, so that no bytes of a message can pass for a record, wherever they lie:
 * whoever wrote the message could not know the nonce, and a copy of a real
 * record lies at another offset.
 *
 *   segment  magic(8) version(4) number(4) nonce(16) crc(4)
 *            before(4) synced(8) crc(4) zeros(12)                     = 64
 *   record   magic(4) kind(1) zeros(3) nonce(16) offset(8) length(4)
 *            synced(8) payload crc(4) header crc(4)                   = 52
 *            payload, zeros up to a multiple of 8
 *
 * `synced` is the highest offset that was known to be on disk when the record
 * was written: bad bytes below it are damage, above it a torn tail.  For the
 * last records of a segment the next one tells: `before` is the segment that
 * was written before it, `synced` how much of that was on disk.  So does a mark
 * at the end of one that was closed in order: a record of kind SEGMENT_END,
 * without a payload.
 */
#ifndef SPOOL_SEGMENT_H
#define SPOOL_SEGMENT_H

#include "spool/record.h"

#define SEGMENT_BYTES	      (64u * 1024 * 1024)
#define SEGMENT_HEADER	      64
#define SEGMENT_NONCE	      16
#define SEGMENT_RECORD_HEADER 52
#define SEGMENT_ALIGN	      8
#define SEGMENT_END	      ((enum record_kind)(RECORD_STATE + 1))
/* Largest payload: a body kept inline and the most envelopes. */
#define SEGMENT_PAYLOAD_MAX (RECORD_BODY_INLINE * 2 + 512 * 1024)

struct segment_header {
	uint32_t number;
	unsigned char nonce[SEGMENT_NONCE];
	uint32_t before; /* 0: none, or nobody knows */
	uint64_t before_synced;
};

struct segment_record {
	enum record_kind kind;
	uint64_t offset; /* of the record's header */
	uint32_t length; /* of the payload */
	uint64_t synced;
	uint32_t payload_crc;
};

void segment_header_encode(const struct segment_header *header,
			   char out[SEGMENT_HEADER]);
/* What is said of the segment before has a checksum of its own: without it
 * (older ones have none) it counts as not known. */
int segment_header_decode(struct slice bytes, struct segment_header *header);

void segment_record_encode(const struct segment_header *segment,
			   const struct segment_record *record,
			   char out[SEGMENT_RECORD_HEADER]);
/* -1 unless `bytes` begin with a record header of this segment that says it
 * lies at `offset`. */
int segment_record_decode(const struct segment_header *segment,
			  struct slice bytes, uint64_t offset,
			  struct segment_record *record);
/* Bytes that a record with such a payload takes in all. */
uint64_t segment_record_bytes(uint64_t payload);

#endif
