/*
 * A spool as a damaged disk or a hostile message may leave it.  The first byte
 * says how the rest is used: as a whole segment, or laid over a valid one with
 * three records, at a place that two more bytes name.  Whatever comes, a scan
 * ends, reads nothing beyond, and finds no record that was not written there.
 */
#include "base/encode.h"
#include "spool/scan.h"
#include "spool/segment.h"
#include <assert.h>
#include <stdlib.h>

enum {
	RECORDS = 3
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t offsets[RECORDS];
static uint32_t crcs[RECORDS];

static void add(struct buf *segment, const struct segment_header *header,
		size_t index)
{
	struct slice path = slice("box@acme.example");
	struct record_message message = {
		.id = id_new((int64_t)index),
		.sequence = index,
		.plan = slice("acme"),
		.body_bytes = 64,
		.envelope_count = 1,
		.forward_paths = &path,
	};
	struct segment_record record = { .kind = RECORD_MESSAGE,
					 .offset = segment->len };
	struct buf payload = BUF_INIT;
	char head[SEGMENT_RECORD_HEADER];

	record_message_encode(&message, &payload);
	for (int i = 0; i < 64; i++)
		buf_addc(&payload, 'b');
	record.length = (uint32_t)payload.len;
	record.payload_crc = crc32c(0, buf_slice(&payload));
	offsets[index] = record.offset;
	crcs[index] = record.payload_crc;
	segment_record_encode(header, &record, head);
	buf_add(segment, slice_of(head, sizeof(head)));
	buf_add(segment, buf_slice(&payload));
	while (segment->len % SEGMENT_ALIGN)
		buf_addc(segment, '\0');
	buf_release(&payload);
}

static int on_record(void *ctx, const struct scan_record *record,
		     struct err *err)
{
	bool written = false;

	for (size_t i = 0; i < RECORDS; i++)
		written |= offsets[i] == record->offset &&
			   crcs[i] == crc32c(0, record->payload);
	/* With the nonce in hand (a whole segment) anything may be valid. */
	assert(written || *(bool *)ctx);
	return 0;
}

static void on_bad(void *ctx, const struct scan_bad *bad)
{
	/* Each byte of it is there. */
	static volatile char sum;

	for (size_t i = 0; i < bad->bytes.len; i++)
		sum = (char)(sum ^ bad->bytes.p[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct scan_visitor visitor = {
		.on_record = on_record,
		.on_bad = on_bad,
	};
	struct segment_header header = { .number = 1 };
	struct scan_result result = { 0 };
	struct buf segment = BUF_INIT;
	char head[SEGMENT_HEADER];
	bool whole;

	if (size < 3)
		return 0;
	whole = data[0] & 1;
	/* The nonce is what the peer does not know. */
	random_bytes(header.nonce, sizeof(header.nonce));
	segment_header_encode(&header, head);
	buf_add(&segment, slice_of(head, sizeof(head)));
	for (size_t i = 0; i < RECORDS; i++)
		add(&segment, &header, i);
	if (whole) {
		buf_clear(&segment);
		buf_add(&segment, slice_of(data + 1, size - 1));
	} else {
		size_t at = SEGMENT_HEADER +
			    get_u16(data + 1) % (segment.len - SEGMENT_HEADER);

		for (size_t i = 3; i < size; i++, at++) {
			if (at < segment.len)
				segment.p[at] = (char)data[i];
			else
				buf_addc(&segment, (char)data[i]);
		}
	}
	scan_segment(buf_slice(&segment), 1, 0, get_u16(data + 1), &visitor,
		     &whole, &result, NULL);
	buf_release(&segment);
	return 0;
}
