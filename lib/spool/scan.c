#include "spool/scan.h"
#include "base/encode.h"
#include "spool/segment.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	PIECE = 1024 * 1024,
	SECTOR = 4096,
	FILE_MOST = 2 * SEGMENT_BYTES /* the rest is none of ours */
};

struct scan {
	struct slice bytes;
	struct segment_header segment;
	uint32_t number;
	const struct scan_visitor *visitor;
	void *ctx;
	struct scan_result *result;
	uint64_t synced; /* highest that somebody vouches for */
	struct {	 /* bad ranges wait until that is known */
		uint64_t from, to;
	} * bad;
	size_t bad_count;
};

static bool all_zero(struct slice s)
{
	return s.len == 0 ||
	       (s.p[0] == 0 && memcmp(s.p, s.p + 1, s.len - 1) == 0);
}

static void note_bad(struct scan *scan, uint64_t from, uint64_t to)
{
	if (scan->bad_count == 0)
		scan->result->whole = from;
	scan->bad =
		mem_grow(scan->bad, (scan->bad_count + 1) * sizeof(*scan->bad));
	scan->bad[scan->bad_count].from = from;
	scan->bad[scan->bad_count++].to = to;
}

/* Zeros behind what was synced are what the file was made of: nothing was
 * written there. */
static uint64_t end_of_bad(const struct scan *scan, uint64_t from, uint64_t to)
{
	while (to > from && to > scan->synced && scan->bytes.p[to - 1] == 0)
		to--;
	return to;
}

static void tell_bad(struct scan *scan)
{
	for (size_t i = 0; i < scan->bad_count; i++) {
		uint64_t from = scan->bad[i].from, there;
		uint64_t to = end_of_bad(scan, from, scan->bad[i].to);
		struct scan_bad bad = {
			.segment = scan->number,
			.offset = from,
			.length = to - from,
			.damaged = from < scan->synced ||
				   scan->visitor->files_are_whole,
		};

		scan->result->end = to;
		if (to == from)
			continue;
		there = to < scan->bytes.len ? to : scan->bytes.len;
		if (there > from)
			bad.bytes =
				slice_of(scan->bytes.p + from, there - from);
		scan->result->bad_ranges++;
		scan->result->damaged_ranges += bad.damaged;
		if (scan->visitor->on_bad)
			scan->visitor->on_bad(scan->ctx, &bad);
	}
	free(scan->bad);
}

/* The next place from `at` on that could begin a record, or the end. */
static uint64_t next_candidate(const struct scan *scan, uint64_t at)
{
	while (at + SEGMENT_RECORD_HEADER <= scan->bytes.len) {
		const char *p = memmem(scan->bytes.p + at, scan->bytes.len - at,
				       "tRec", 4);

		if (!p)
			break;
		at = (uint64_t)(p - scan->bytes.p);
		if (at % SEGMENT_ALIGN == 0)
			return at;
		at++;
	}
	return scan->bytes.len;
}

static void look_into(struct scan *scan, struct scan_record *record)
{
	struct slice *paths;
	struct record_message message;

	if (record->kind != RECORD_MESSAGE)
		return;
	paths = mem_alloc(RECORD_MAX_ENVELOPES * sizeof(*paths));
	if (record_message_decode(record->payload, &message, paths, NULL) ==
	    0) {
		if (!message.side_file)
			record->body =
				record->offset + SEGMENT_RECORD_HEADER +
				(uint64_t)(message.body.p - record->payload.p);
		if (message.sequence > scan->result->sequence)
			scan->result->sequence = message.sequence;
	}
	free(paths);
}

static int take_record(struct scan *scan, const struct segment_record *found,
		       struct err *err)
{
	struct scan_record record = {
		.kind = found->kind,
		.segment = scan->number,
		.offset = found->offset,
		.payload = slice_of(scan->bytes.p + found->offset +
					    SEGMENT_RECORD_HEADER,
				    found->length),
	};

	if (found->kind == SEGMENT_END)
		return 0;
	look_into(scan, &record);
	scan->result->records++;
	return scan->visitor->on_record(scan->ctx, &record, err);
}

static bool payload_is_whole(const struct scan *scan,
			     const struct segment_record *record)
{
	uint64_t start = record->offset + SEGMENT_RECORD_HEADER;

	return scan->bytes.len - start >= record->length &&
	       crc32c(0, slice_of(scan->bytes.p + start, record->length)) ==
		       record->payload_crc;
}

/* Where the segment ends, or should. */
static uint64_t end_of(const struct scan *scan)
{
	return scan->bytes.len > scan->synced ? scan->bytes.len : scan->synced;
}

static int scan_records(struct scan *scan, uint64_t at, struct err *err)
{
	uint64_t bad_from = UINT64_MAX;

	while (at + SEGMENT_RECORD_HEADER <= scan->bytes.len) {
		struct segment_record record;

		if (segment_record_decode(&scan->segment,
					  slice_from(scan->bytes, at), at,
					  &record) < 0 ||
		    !payload_is_whole(scan, &record)) {
			if (bad_from == UINT64_MAX)
				bad_from = at;
			at = next_candidate(scan, at + 1);
			continue;
		}
		if (bad_from != UINT64_MAX)
			note_bad(scan, bad_from, at);
		bad_from = UINT64_MAX;
		if (record.synced > scan->synced)
			scan->synced = record.synced;
		if (take_record(scan, &record, err) < 0)
			return -1;
		at += segment_record_bytes(record.length);
	}
	if (bad_from == UINT64_MAX)
		bad_from = at;
	note_bad(scan, bad_from, end_of(scan));
	return 0;
}

int scan_segment(struct slice bytes, uint32_t number, uint64_t offset,
		 uint64_t synced, const struct scan_visitor *visitor, void *ctx,
		 struct scan_result *result, struct err *err)
{
	struct scan scan = {
		.bytes = bytes,
		.number = number,
		.visitor = visitor,
		.ctx = ctx,
		.result = result,
		/* A segment without a record has lost none. */
		.synced = synced > SEGMENT_HEADER ? synced : 0,
	};
	int outcome = 0;

	result->bytes += bytes.len;
	/* A record was read there before. */
	if (offset > 0 && scan.synced <= offset)
		scan.synced = offset + 1;
	if (offset > bytes.len)
		offset = bytes.len;
	if (segment_header_decode(bytes, &scan.segment) < 0) {
		/* Without its nonce nothing in here can be trusted.  It was on
		 * disk before the first record: with one, this is damage. */
		if (bytes.len > SEGMENT_HEADER &&
		    !all_zero(slice_from(bytes, SEGMENT_HEADER)) &&
		    scan.synced < SEGMENT_HEADER)
			scan.synced = SEGMENT_HEADER;
		note_bad(&scan, 0, end_of(&scan));
	} else {
		if (offset < SEGMENT_HEADER)
			offset = SEGMENT_HEADER;
		outcome = scan_records(&scan, offset, err);
	}
	tell_bad(&scan);
	return outcome;
}

/* Reads ahead of the map, where what cannot be read is a SIGBUS. */
static bool can_read(int fd, size_t at, size_t end)
{
	char *piece = mem_alloc(PIECE);
	ssize_t got = 1;

	while (at < end && got > 0) {
		size_t n = end - at < PIECE ? end - at : PIECE;

		got = pread(fd, piece, n, (off_t)at);
		if (got > 0)
			at += (size_t)got;
		else if (got < 0 && errno == EINTR)
			got = 1;
	}
	free(piece);
	return got >= 0;
}

/* With `past` what the disk cannot read is bad bytes, like others that are
 * spoiled: not zeros, which behind the end mean nothing. */
static int read_from(int fd, char *bytes, size_t at, size_t end, bool past,
		     struct err *err)
{
	while (at < end) {
		size_t n = SECTOR - at % SECTOR;
		ssize_t got;

		if (n > end - at)
			n = end - at;
		got = pread(fd, bytes + at, n, (off_t)at);
		if (got == 0)
			return 0;
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno != EIO)
			return err_errno(err, "cannot read");
		if (got < 0 && !past)
			return err_errno(err,
					 "the disk cannot read it at byte %zu: "
					 "copy the state folder to a good disk "
					 "with a program that goes on behind "
					 "such places (ddrescue), and start "
					 "there",
					 at);
		if (got < 0) {
			memset(bytes + at, 0xff, n);
			got = (ssize_t)n;
		}
		at += (size_t)got;
	}
	return 0;
}

/* Of a segment that was read before only what is new matters. */
static size_t new_from(int fd, size_t len, uint64_t offset)
{
	char bytes[SEGMENT_HEADER];
	struct segment_header header;

	if (pread(fd, bytes, sizeof(bytes), 0) != sizeof(bytes) ||
	    segment_header_decode(slice_of(bytes, sizeof(bytes)), &header) < 0)
		return 0;
	return offset < len ? (size_t)offset : len;
}

/*
 * The file in memory, to be unmapped: mapped where the disk has all of it, else
 * a copy, which takes as much memory.  NULL with err.
 */
static char *map_file(int fd, size_t len, uint64_t offset, bool past,
		      struct err *err)
{
	size_t from = new_from(fd, len, offset);
	bool whole = can_read(fd, from, len);
	char *map = mmap(NULL, len, PROT_READ | (whole ? 0 : PROT_WRITE),
			 MAP_PRIVATE | (whole ? 0 : MAP_ANONYMOUS),
			 whole ? fd : -1, 0);

	if (map == MAP_FAILED) {
		err_errno(err, "no memory for it");
		return NULL;
	}
	if (whole) {
		madvise(map, len, MADV_SEQUENTIAL);
		return map;
	}
	if (read_from(fd, map, 0, len < SEGMENT_HEADER ? len : SEGMENT_HEADER,
		      past, err) == 0 &&
	    read_from(fd, map, from, len, past, err) == 0)
		return map;
	munmap(map, len);
	return NULL;
}

int scan_file(const char *path, uint32_t number, uint64_t offset,
	      uint64_t synced, const struct scan_visitor *visitor, void *ctx,
	      struct scan_result *result, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	size_t len;
	char *map;
	int outcome = -1;

	if (fd < 0)
		return err_errno(err, "cannot open %s", path);
	if (fstat(fd, &st) < 0) {
		err_errno(err, "cannot ask about %s", path);
		goto out;
	}
	if (st.st_size == 0) {
		outcome = scan_segment(slice(""), number, offset, synced,
				       visitor, ctx, result, err);
		goto out;
	}
	len = st.st_size < FILE_MOST ? (size_t)st.st_size : FILE_MOST;
	map = map_file(fd, len, offset, visitor->past_unreadable, err);
	if (!map) {
		err_prefix(err, "%s", path);
		goto out;
	}
	outcome = scan_segment(slice_of(map, len), number, offset, synced,
			       visitor, ctx, result, err);
	munmap(map, len);
out:
	close(fd);
	return outcome;
}

static int by_number(const void *a, const void *b)
{
	uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;

	return (one > other) - (one < other);
}

/* How much of `number` was on disk when segment `next` began. */
static uint64_t vouched_by(const char *dir, uint32_t next, uint32_t number)
{
	char *path = mem_printf("%s/%08u.seg", dir, next);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct segment_header header;
	char bytes[SEGMENT_HEADER];
	uint64_t synced = 0;

	if (fd >= 0 && read(fd, bytes, sizeof(bytes)) == sizeof(bytes) &&
	    segment_header_decode(slice_of(bytes, sizeof(bytes)), &header) ==
		    0 &&
	    header.before == number)
		synced = header.before_synced;
	if (fd >= 0)
		close(fd);
	free(path);
	return synced;
}

int scan_dir(const char *dir, uint32_t segment, uint64_t offset,
	     const struct scan_visitor *visitor, void *ctx,
	     struct scan_result *result, struct err *err)
{
	DIR *entries = opendir(dir);
	struct dirent *entry;
	uint32_t *numbers = NULL;
	size_t count = 0;
	int outcome = 0;

	*result = (struct scan_result){ .next_segment = segment + 1 };
	if (!entries)
		return err_errno(err, "cannot read folder %s", dir);
	while ((entry = readdir(entries))) {
		struct slice name = slice(entry->d_name);
		uint64_t number;

		if (name.len != 12 || !slice_ends_nocase(name, ".seg") ||
		    !slice_u64(slice_of(name.p, 8), &number))
			continue;
		numbers = mem_grow(numbers, (count + 1) * sizeof(*numbers));
		numbers[count++] = (uint32_t)number;
	}
	closedir(entries);
	if (count)
		qsort(numbers, count, sizeof(*numbers), by_number);
	for (size_t i = 0; i < count && outcome == 0; i++) {
		uint32_t number = numbers[i];
		uint64_t synced = 0;
		char *path;

		if (number >= result->next_segment)
			result->next_segment = number + 1;
		if (number < segment)
			continue;
		if (i + 1 < count)
			synced = vouched_by(dir, numbers[i + 1], number);
		path = mem_printf("%s/%08u.seg", dir, number);
		outcome =
			scan_file(path, number, number == segment ? offset : 0,
				  synced, visitor, ctx, result, err);
		result->last = number;
		free(path);
	}
	free(numbers);
	return outcome;
}
