#include "spool/segment.h"
#include "base/encode.h"

static const char segment_magic[8] = "TIDEOVER";
static const char record_magic[4] = "tRec";

enum {
	VERSION = 1
};

void segment_header_encode(const struct segment_header *header,
			   char out[SEGMENT_HEADER])
{
	memset(out, 0, SEGMENT_HEADER);
	memcpy(out, segment_magic, 8);
	put_u32(out + 8, VERSION);
	put_u32(out + 12, header->number);
	memcpy(out + 16, header->nonce, SEGMENT_NONCE);
	put_u32(out + 32, crc32c(0, slice_of(out, 32)));
	put_u32(out + 36, header->before);
	put_u64(out + 40, header->before_synced);
	put_u32(out + 48, crc32c(0, slice_of(out, 48)));
}

int segment_header_decode(struct slice bytes, struct segment_header *header)
{
	if (bytes.len < SEGMENT_HEADER ||
	    memcmp(bytes.p, segment_magic, 8) != 0 ||
	    get_u32(bytes.p + 8) != VERSION ||
	    get_u32(bytes.p + 32) != crc32c(0, slice_of(bytes.p, 32)))
		return -1;
	header->number = get_u32(bytes.p + 12);
	memcpy(header->nonce, bytes.p + 16, SEGMENT_NONCE);
	header->before = 0;
	header->before_synced = 0;
	if (get_u32(bytes.p + 48) == crc32c(0, slice_of(bytes.p, 48))) {
		header->before = get_u32(bytes.p + 36);
		header->before_synced = get_u64(bytes.p + 40);
	}
	return 0;
}

void segment_record_encode(const struct segment_header *segment,
			   const struct segment_record *record,
			   char out[SEGMENT_RECORD_HEADER])
{
	memset(out, 0, SEGMENT_RECORD_HEADER);
	memcpy(out, record_magic, 4);
	out[4] = (char)record->kind;
	memcpy(out + 8, segment->nonce, SEGMENT_NONCE);
	put_u64(out + 24, record->offset);
	put_u32(out + 32, record->length);
	put_u64(out + 36, record->synced);
	put_u32(out + 44, record->payload_crc);
	put_u32(out + 48, crc32c(0, slice_of(out, 48)));
}

int segment_record_decode(const struct segment_header *segment,
			  struct slice bytes, uint64_t offset,
			  struct segment_record *record)
{
	unsigned kind;

	if (bytes.len < SEGMENT_RECORD_HEADER ||
	    memcmp(bytes.p, record_magic, 4) != 0 ||
	    memcmp(bytes.p + 8, segment->nonce, SEGMENT_NONCE) != 0 ||
	    get_u64(bytes.p + 24) != offset ||
	    get_u32(bytes.p + 48) != crc32c(0, slice_of(bytes.p, 48)))
		return -1;
	kind = (unsigned char)bytes.p[4];
	if (kind < RECORD_MESSAGE || kind > SEGMENT_END)
		return -1;
	record->kind = (enum record_kind)kind;
	record->offset = offset;
	record->length = get_u32(bytes.p + 32);
	record->synced = get_u64(bytes.p + 36);
	record->payload_crc = get_u32(bytes.p + 44);
	return record->length <= SEGMENT_PAYLOAD_MAX ? 0 : -1;
}

uint64_t segment_record_bytes(uint64_t payload)
{
	uint64_t bytes = SEGMENT_RECORD_HEADER + payload;

	return (bytes + SEGMENT_ALIGN - 1) & ~(uint64_t)(SEGMENT_ALIGN - 1);
}
