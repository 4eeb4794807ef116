#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/encode.h"
#include "spool/scan.h"
#include "spool/segment.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	RECORDS_MAX = 16
};

/* A segment as the writer lays it out, and what a scan of it finds. */
struct spool {
	struct segment_header header;
	struct buf bytes;
	uint64_t offsets[RECORDS_MAX];
	size_t count;
};

struct found {
	uint64_t offsets[RECORDS_MAX];
	size_t count;
	struct scan_result result;
};

static void spool_init(struct spool *spool)
{
	char header[SEGMENT_HEADER];

	*spool = (struct spool){ .header = { .number = 7 } };
	for (size_t i = 0; i < SEGMENT_NONCE; i++)
		spool->header.nonce[i] = (unsigned char)(i * 37 + 11);
	segment_header_encode(&spool->header, header);
	buf_add(&spool->bytes, slice_of(header, sizeof(header)));
}

/* `synced`: everything before the record was known to be on disk. */
static void add(struct spool *spool, enum record_kind kind,
		struct slice payload, bool synced)
{
	char header[SEGMENT_RECORD_HEADER];
	struct segment_record record = {
		.kind = kind,
		.offset = spool->bytes.len,
		.length = (uint32_t)payload.len,
		.synced = synced ? spool->bytes.len : 0,
		.payload_crc = crc32c(0, payload),
	};

	spool->offsets[spool->count++] = record.offset;
	segment_record_encode(&spool->header, &record, header);
	buf_add(&spool->bytes, slice_of(header, sizeof(header)));
	buf_add(&spool->bytes, payload);
	while (spool->bytes.len <
	       record.offset + segment_record_bytes(payload.len))
		buf_addc(&spool->bytes, '\0');
}

static void add_message(struct spool *spool, struct slice body, bool synced)
{
	struct slice paths[] = { slice("one@acme.example"),
				 slice("two@acme.example") };
	struct record_message message = {
		.id = id_new(1000 + (int64_t)spool->count),
		.sequence = spool->count + 1,
		.plan = slice("acme"),
		.reverse_path = slice("a@b.example"),
		.body_bytes = body.len,
		.envelope_count = COUNT(paths),
		.forward_paths = paths,
	};
	struct buf payload = BUF_INIT;

	record_message_encode(&message, &payload);
	buf_add(&payload, body);
	add(spool, RECORD_MESSAGE, buf_slice(&payload), synced);
	buf_release(&payload);
}

static void add_three(struct spool *spool, bool synced)
{
	add_message(spool, slice("Subject: one\r\n\r\nfirst\r\n"), synced);
	add_message(spool, slice("Subject: two\r\n\r\nsecond\r\n"), synced);
	add_message(spool, slice("Subject: three\r\n\r\nthird\r\n"), synced);
}

static int on_record(void *ctx, const struct scan_record *record,
		     struct err *err)
{
	struct found *found = ctx;

	assert_int_equal(record->segment, 7);
	assert_true(found->count < RECORDS_MAX);
	found->offsets[found->count++] = record->offset;
	return 0;
}

/* `synced`: what the next segment's header says. */
static void scan_vouched(struct slice bytes, uint64_t synced,
			 struct found *found)
{
	static const struct scan_visitor visitor = { .on_record = on_record };

	*found = (struct found){ 0 };
	assert_int_equal(scan_segment(bytes, 7, 0, synced, &visitor, found,
				      &found->result, NULL),
			 0);
	assert_int_equal(found->result.records, found->count);
}

static void scan(struct slice bytes, struct found *found)
{
	scan_vouched(bytes, 0, found);
}

static bool has(const struct found *found, uint64_t offset)
{
	for (size_t i = 0; i < found->count; i++)
		if (found->offsets[i] == offset)
			return true;
	return false;
}

static void every_record_is_found_in_order(void **state)
{
	struct spool spool;
	struct found found;

	spool_init(&spool);
	add_three(&spool, true);
	scan(buf_slice(&spool.bytes), &found);
	assert_int_equal(found.count, 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(found.offsets[i], spool.offsets[i]);
	assert_int_equal(found.result.bad_ranges, 0);
	buf_release(&spool.bytes);
}

static void zeros_after_the_last_record_are_nothing_bad(void **state)
{
	struct spool spool;
	struct found found;

	spool_init(&spool);
	add_three(&spool, true);
	for (int i = 0; i < 5000; i++)
		buf_addc(&spool.bytes, '\0');
	scan(buf_slice(&spool.bytes), &found);
	assert_int_equal(found.count, 3);
	assert_int_equal(found.result.bad_ranges, 0);
	buf_release(&spool.bytes);
}

/* A crash may leave any prefix of what was written. */
static void a_tail_torn_anywhere_takes_no_whole_record_along(void **state)
{
	struct spool spool;

	spool_init(&spool);
	add_three(&spool, false);
	for (size_t cut = SEGMENT_HEADER; cut < spool.bytes.len; cut++) {
		struct found found;
		size_t whole = 0;

		for (size_t i = 0; i < spool.count; i++) {
			struct segment_record record;

			assert_int_equal(
				segment_record_decode(
					&spool.header,
					slice_from(buf_slice(&spool.bytes),
						   spool.offsets[i]),
					spool.offsets[i], &record),
				0);
			whole += spool.offsets[i] + SEGMENT_RECORD_HEADER +
					 record.length <=
				 cut;
		}
		scan(slice_of(spool.bytes.p, cut), &found);
		assert_int_equal(found.count, whole);
		assert_int_equal(found.result.damaged_ranges, 0);
	}
	buf_release(&spool.bytes);
}

/* Of each byte of each record: the others stay, and nothing false appears. */
static void a_flipped_byte_costs_its_record_alone(void **state)
{
	struct spool spool;

	spool_init(&spool);
	add_three(&spool, true);
	for (size_t at = SEGMENT_HEADER; at < spool.bytes.len; at++) {
		struct found found;
		size_t hit = 0, missing = 0;

		while (hit + 1 < spool.count && spool.offsets[hit + 1] <= at)
			hit++;
		spool.bytes.p[at] ^= 0x40;
		scan(buf_slice(&spool.bytes), &found);
		spool.bytes.p[at] ^= 0x40;
		for (size_t i = 0; i < spool.count; i++) {
			bool there = has(&found, spool.offsets[i]);

			assert_true(there || i == hit);
			missing += !there;
		}
		assert_int_equal(found.count + missing, spool.count);
		/* Padding is nobody's; whatever else is bad is told. */
		if (missing)
			assert_int_equal(found.result.bad_ranges, 1);
		if (missing && hit + 1 < spool.count)
			assert_int_equal(found.result.damaged_ranges, 1);
	}
	buf_release(&spool.bytes);
}

/* The next segment began when all of this one was on disk. */
static void what_the_next_segment_vouches_for_is_no_torn_tail(void **state)
{
	struct spool spool;
	struct found found;
	uint64_t last, end;

	spool_init(&spool);
	add_three(&spool, false);
	end = spool.bytes.len;
	last = spool.offsets[2];
	scan_vouched(buf_slice(&spool.bytes), end, &found);
	assert_int_equal(found.result.bad_ranges, 0);
	assert_true(found.result.whole == end && found.result.end == end);
	for (size_t at = last; at < last + SEGMENT_RECORD_HEADER; at++) {
		spool.bytes.p[at] ^= 0x40;
		scan_vouched(buf_slice(&spool.bytes), end, &found);
		assert_int_equal(found.result.damaged_ranges, 1);
		assert_true(found.result.whole == last);
		/* Written, but never known to be on disk. */
		scan_vouched(buf_slice(&spool.bytes), last, &found);
		assert_int_equal(found.result.bad_ranges, 1);
		assert_int_equal(found.result.damaged_ranges, 0);
		spool.bytes.p[at] ^= 0x40;
	}
	for (size_t cut = 0; cut < last + SEGMENT_RECORD_HEADER; cut++) {
		scan_vouched(slice_of(spool.bytes.p, cut), end, &found);
		assert_int_equal(found.result.damaged_ranges, 1);
	}
	memset(spool.bytes.p + last, 0, end - last);
	for (int i = 0; i < 5000; i++)
		buf_addc(&spool.bytes, '\0');
	scan_vouched(buf_slice(&spool.bytes), end, &found);
	assert_int_equal(found.result.damaged_ranges, 1);
	scan_vouched(buf_slice(&spool.bytes), last, &found);
	assert_int_equal(found.result.bad_ranges, 0);
	assert_true(found.result.end == last);
	buf_release(&spool.bytes);
}

/* A header of before it said anything of another segment. */
static void an_older_header_vouches_for_nothing(void **state)
{
	struct segment_header header = { .number = 8,
					 .before = 7,
					 .before_synced = 1 << 20 };
	struct segment_header out;
	char bytes[SEGMENT_HEADER];

	segment_header_encode(&header, bytes);
	assert_int_equal(
		segment_header_decode(slice_of(bytes, sizeof(bytes)), &out), 0);
	assert_int_equal(out.before, 7);
	assert_true(out.before_synced == 1 << 20);
	memset(bytes + 36, 0, sizeof(bytes) - 36);
	assert_int_equal(
		segment_header_decode(slice_of(bytes, sizeof(bytes)), &out), 0);
	assert_int_equal(out.before, 0);
	assert_true(out.before_synced == 0);
}

static void without_its_header_nothing_of_a_segment_is_trusted(void **state)
{
	struct spool spool;

	spool_init(&spool);
	add_three(&spool, true);
	for (size_t at = 0; at < 36; at++) {
		struct found found;

		spool.bytes.p[at] ^= 1;
		scan(buf_slice(&spool.bytes), &found);
		spool.bytes.p[at] ^= 1;
		assert_int_equal(found.count, 0);
		assert_int_equal(found.result.bad_ranges, 1);
		assert_int_equal(found.result.damaged_ranges, 1);
	}
	buf_release(&spool.bytes);
}

/* A crash while the segment was made: no record counted yet. */
static void a_header_torn_before_the_first_record_is_no_damage(void **state)
{
	struct spool spool;

	spool_init(&spool);
	for (int i = 0; i < 5000; i++)
		buf_addc(&spool.bytes, '\0');
	for (size_t cut = 1; cut < 36; cut++) {
		struct found found;

		spool.bytes.p[36 - cut] = 0;
		scan(buf_slice(&spool.bytes), &found);
		assert_int_equal(found.count, 0);
		assert_int_equal(found.result.bad_ranges, 1);
		assert_int_equal(found.result.damaged_ranges, 0);
	}
	buf_release(&spool.bytes);
}

/*
 * Who sends a message chooses its bytes.  They may hold a record, even a true
 * copy of one of this very segment: damage before it must not make the scan
 * take it for one.
 */
static void a_body_cannot_forge_a_record(void **state)
{
	struct spool spool;
	struct buf body = BUF_INIT;
	struct found found;

	spool_init(&spool);
	add_message(&spool, slice("Subject: real\r\n\r\n"), true);
	for (size_t shift = 0; shift < SEGMENT_ALIGN; shift++) {
		buf_add(&body, slice_of("xxxxxxxx", 1));
		buf_add(&body, slice_of(spool.bytes.p + spool.offsets[0],
					spool.bytes.len - spool.offsets[0]));
	}
	add_message(&spool, buf_slice(&body), true);
	add_message(&spool, slice("Subject: after\r\n\r\n"), true);
	scan(buf_slice(&spool.bytes), &found);
	assert_int_equal(found.count, 3);
	/* Now the scan has to look for the next record inside of the body. */
	spool.bytes.p[spool.offsets[1]] ^= 1;
	scan(buf_slice(&spool.bytes), &found);
	assert_int_equal(found.count, 2);
	assert_true(has(&found, spool.offsets[0]));
	assert_true(has(&found, spool.offsets[2]));
	assert_int_equal(found.result.damaged_ranges, 1);
	buf_release(&body);
	buf_release(&spool.bytes);
}

/* The right offset without the nonce, which the peer cannot know. */
static void a_forged_record_at_its_own_offset_lacks_the_nonce(void **state)
{
	struct spool spool, other;
	struct buf body = BUF_INIT;
	struct found found;

	spool_init(&spool);
	spool_init(&other);
	memset(other.header.nonce, 0x5a, sizeof(other.header.nonce));
	add_message(&spool, slice("Subject: real\r\n\r\n"), true);
	/* Where the bytes of the next message's body will lie, aligned. */
	while (other.bytes.len < spool.bytes.len + 512)
		buf_addc(&other.bytes, '\0');
	add_message(&other, slice("Subject: forged\r\n\r\n"), true);
	add_message(&spool, slice(""), true);
	for (size_t i = spool.bytes.len; i < other.offsets[0] + 4096; i++)
		buf_addc(&body, 'x');
	spool.bytes.len = spool.offsets[1];
	spool.count = 1;
	add_message(&spool, buf_slice(&body), true);
	assert_true(spool.bytes.len > other.bytes.len);
	memcpy(spool.bytes.p + other.offsets[0],
	       other.bytes.p + other.offsets[0],
	       other.bytes.len - other.offsets[0]);
	scan(buf_slice(&spool.bytes), &found);
	assert_int_equal(found.count, 1);
	assert_false(has(&found, other.offsets[0]));
	buf_release(&body);
	buf_release(&spool.bytes);
	buf_release(&other.bytes);
}

static void records_come_back_as_they_went(void **state)
{
	struct slice paths[] = { slice("a@x.example"), slice("b@x.example") };
	struct slice room[RECORD_MAX_ENVELOPES];
	struct record_message message = {
		.id = id_new(123456),
		.sequence = UINT64_MAX - 1,
		.accepted_ms = 1795477297677,
		.plan = slice("acme"),
		.reverse_path = slice(""),
		.helo = slice("mail.example"),
		.peer = slice("192.0.2.1:4711"),
		.protocol = slice("ESMTPS"),
		.tls = slice("TLSv1.3"),
		.eightbit = true,
		.body_bytes = 5,
		.envelope_count = 2,
		.forward_paths = paths,
	};
	struct record_message out;
	struct buf payload = BUF_INIT;

	memset(message.sha256, 0xab, sizeof(message.sha256));
	record_message_encode(&message, &payload);
	buf_adds(&payload, "12345");
	assert_int_equal(record_message_decode(buf_slice(&payload), &out, room,
					       NULL),
			 0);
	assert_true(id_equal(&out.id, &message.id));
	assert_true(out.sequence == message.sequence);
	assert_true(out.accepted_ms == message.accepted_ms);
	assert_true(slice_is(out.plan, "acme"));
	assert_int_equal(out.reverse_path.len, 0);
	assert_true(slice_is(out.peer, "192.0.2.1:4711"));
	assert_true(out.eightbit && !out.utf8 && !out.side_file);
	assert_memory_equal(out.sha256, message.sha256, DIGEST_LEN);
	assert_int_equal(out.envelope_count, 2);
	assert_true(slice_is(room[1], "b@x.example"));
	assert_true(slice_is(out.body, "12345"));
	/* No prefix of it passes for a message, but for a missing body. */
	for (size_t cut = 0; cut + 5 < payload.len; cut++)
		assert_int_equal(record_message_decode(slice_of(payload.p, cut),
						       &out, room, NULL),
				 -1);
	buf_release(&payload);
}

static void attempts_and_states_come_back_as_they_went(void **state)
{
	struct record_attempt attempt = {
		.id = id_new(5),
		.envelope = 3,
		.number = 4,
		.at_ms = 99,
		.target = slice("192.0.2.9:25"),
		.stage = slice("dot"),
		.code = 451,
		.enhanced = slice("4.3.2"),
		.reply = slice("later"),
		.outcome = ENVELOPE_WAITING,
		.mailbox = true,
		.uncertain = true,
		.next_ms = 12345,
	};
	struct record_state held = {
		.id = id_new(6),
		.envelope = 1,
		.state = ENVELOPE_HELD,
		.mailbox = true,
		.by = slice("anna"),
		.reason = slice("look first"),
	};
	struct record_attempt attempt_out;
	struct record_state held_out;
	struct buf payload = BUF_INIT;

	record_attempt_encode(&attempt, &payload);
	assert_int_equal(record_attempt_decode(buf_slice(&payload),
					       &attempt_out, NULL),
			 0);
	assert_true(attempt_out.uncertain && !attempt_out.begin &&
		    attempt_out.mailbox);
	assert_int_equal(attempt_out.code, 451);
	assert_true(attempt_out.next_ms == 12345);
	assert_true(slice_is(attempt_out.reply, "later"));
	for (size_t cut = 0; cut < payload.len; cut++)
		assert_int_equal(record_attempt_decode(slice_of(payload.p, cut),
						       &attempt_out, NULL),
				 -1);
	buf_clear(&payload);
	record_state_encode(&held, &payload);
	assert_int_equal(
		record_state_decode(buf_slice(&payload), &held_out, NULL), 0);
	assert_int_equal(held_out.state, ENVELOPE_HELD);
	assert_true(held_out.mailbox);
	assert_true(slice_is(held_out.reason, "look first"));
	for (size_t cut = 0; cut < payload.len; cut++)
		assert_int_equal(record_state_decode(slice_of(payload.p, cut),
						     &held_out, NULL),
				 -1);
	buf_release(&payload);
}

/* A sector of the disk. */
static off_t unreadable_from, unreadable_to;

ssize_t pread(int fd, void *into, size_t n, off_t at)
{
	if (at < unreadable_to && at + (off_t)n > unreadable_from) {
		errno = EIO;
		return -1;
	}
	return syscall(SYS_pread64, fd, into, n, at);
}

static void scan_on_disk(const char *path, uint64_t offset, struct found *found)
{
	static const struct scan_visitor visitor = { .on_record = on_record,
						     .past_unreadable = true };

	*found = (struct found){ 0 };
	assert_int_equal(scan_file(path, 7, offset, 0, &visitor, found,
				   &found->result, NULL),
			 0);
}

/* A start must not take what it cannot read now for what is not there. */
static void stops_there(const char *path, off_t at)
{
	static const struct scan_visitor visitor = { .on_record = on_record };
	struct found found = { 0 };
	struct err err = ERR_INIT;
	char *place = mem_printf("cannot read it at byte %lld:", (long long)at);

	assert_int_equal(scan_file(path, 7, 0, 0, &visitor, &found,
				   &found.result, &err),
			 -1);
	assert_non_null(strstr(err.text, path));
	assert_non_null(strstr(err.text, place));
	assert_int_equal(found.count, 0);
	free(place);
}

static void a_sector_that_cannot_be_read_costs_its_records_alone(void **state)
{
	char path[] = "/tmp/test_spool.XXXXXX";
	int fd = mkstemp(path);
	struct spool spool;
	struct buf large = BUF_INIT;
	struct found found;

	spool_init(&spool);
	while (large.len < 40000)
		buf_adds(&large, "a line of a message that has many\r\n");
	for (int i = 0; i < 4; i++)
		add_message(&spool, buf_slice(&large), true);
	assert_true(fd >= 0 && write(fd, spool.bytes.p, spool.bytes.len) ==
				       (ssize_t)spool.bytes.len);
	unreadable_from = (off_t)(spool.offsets[1] + 20000) / 4096 * 4096;
	unreadable_to = unreadable_from + 4096;
	stops_there(path, unreadable_from);
	scan_on_disk(path, 0, &found);
	assert_int_equal(found.count, 3);
	assert_int_equal(found.offsets[1], spool.offsets[2]);
	assert_int_equal(found.result.damaged_ranges, 1);
	/* Of what was read before none is read. */
	scan_on_disk(path, spool.offsets[3], &found);
	assert_int_equal(found.count, 1);
	assert_int_equal(found.result.bad_ranges, 0);
	/* The end, which nothing vouches for. */
	unreadable_from = (off_t)spool.offsets[3] / 4096 * 4096 + 4096;
	unreadable_to = (off_t)spool.bytes.len;
	scan_on_disk(path, 0, &found);
	assert_int_equal(found.count, 3);
	assert_int_equal(found.result.bad_ranges, 1);
	unreadable_from = unreadable_to = 0;
	close(fd);
	unlink(path);
	buf_release(&large);
	buf_release(&spool.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_record_is_found_in_order),
		cmocka_unit_test(zeros_after_the_last_record_are_nothing_bad),
		cmocka_unit_test(
			a_tail_torn_anywhere_takes_no_whole_record_along),
		cmocka_unit_test(a_flipped_byte_costs_its_record_alone),
		cmocka_unit_test(
			what_the_next_segment_vouches_for_is_no_torn_tail),
		cmocka_unit_test(an_older_header_vouches_for_nothing),
		cmocka_unit_test(
			without_its_header_nothing_of_a_segment_is_trusted),
		cmocka_unit_test(
			a_header_torn_before_the_first_record_is_no_damage),
		cmocka_unit_test(a_body_cannot_forge_a_record),
		cmocka_unit_test(
			a_forged_record_at_its_own_offset_lacks_the_nonce),
		cmocka_unit_test(
			a_sector_that_cannot_be_read_costs_its_records_alone),
		cmocka_unit_test(records_come_back_as_they_went),
		cmocka_unit_test(attempts_and_states_come_back_as_they_went),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
