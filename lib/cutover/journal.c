#include "cutover/journal.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "cutover/journal_hide.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	RESERVE = 1024 * 1024, /* written as zeros ahead of the lines */
	RESERVE_LOW = RESERVE / 4,
	CHUNK = 64 * 1024,
	SECTOR = 512,
	LINE_MAX_BYTES = 64 * 1024 * 1024,
	HASH_TEXT = DIGEST_TEXT - 1,
};

#define HASH_KEY  ",\"hash\":\""
#define HASH_TAIL (sizeof(HASH_KEY) - 1 + HASH_TEXT + 2) /* and "} */

struct journal {
	char *path;
	int fd;
	off_t end;  /* where the next line goes */
	off_t size; /* of the file, zeros included */
	uint64_t count;
	char head[DIGEST_TEXT];
	bool failed; /* nothing after it can be trusted */
	bool hides;  /* addresses */
};

/* The chain up to here. */
struct chain {
	const char *path;
	int (*each)(void *ctx, const struct json *line);
	void *ctx;
	uint64_t count;
	char head[DIGEST_TEXT];
	off_t end; /* behind the last whole line */
};

static void chain_init(struct chain *chain, const char *path)
{
	*chain = (struct chain){ .path = path };
	memset(chain->head, '0', HASH_TEXT);
}

static void hash_of(struct slice text, char hash[DIGEST_TEXT])
{
	unsigned char digest[DIGEST_LEN];

	digest_sha256(text, digest);
	digest_text(digest, hash);
}

/* The bytes are as they were written: their own hash says so. */
static bool line_is_whole(struct slice line, char hash[DIGEST_TEXT])
{
	struct slice tail;

	if (line.len <= HASH_TAIL)
		return false;
	tail = slice_from(line, line.len - HASH_TAIL);
	line.len -= HASH_TAIL;
	if (!slice_starts(tail, HASH_KEY) || tail.p[HASH_TAIL - 2] != '"' ||
	    tail.p[HASH_TAIL - 1] != '}')
		return false;
	hash_of(line, hash);
	return memcmp(tail.p + sizeof(HASH_KEY) - 1, hash, HASH_TEXT) == 0;
}

static int chain_line(struct chain *chain, struct slice line, struct err *err)
{
	unsigned long long n = chain->count + 1;
	char hash[DIGEST_TEXT];
	const char *prev;
	struct json *json;
	int result = -1;

	if (!line_is_whole(line, hash))
		return err_set(err,
			       "line %llu: its hash does not fit: it was "
			       "changed after it was written",
			       n);
	json = json_parse(line, err);
	if (!json) {
		err_prefix(err, "line %llu", n);
		return -1;
	}
	prev = json_get_text(json, "prev");
	if (!prev || strcmp(prev, chain->head) != 0) {
		err_set(err,
			"line %llu: it does not follow the line before: "
			"a line is missing, added or moved",
			n);
	} else if (json_get_number(json, "n", 0) != (double)n) {
		err_set(err, "line %llu: it is numbered %.0f", n,
			json_get_number(json, "n", 0));
	} else if (chain->each && chain->each(chain->ctx, json) != 0) {
		err_set(err, "line %llu: reading stopped", n);
	} else {
		chain->count++;
		memcpy(chain->head, hash, DIGEST_TEXT);
		result = 0;
	}
	json_free(json);
	return result;
}

/*
 * A disk writes whole sectors, in any order.  So the zeros of a line that a
 * crash cut into begin and end with sectors; other zeros are damage.
 */
static bool holes_are_sectors(struct slice tail, off_t at)
{
	size_t i = 0;

	while (i < tail.len) {
		size_t from = i;

		while (i < tail.len && tail.p[i] == '\0')
			i++;
		if (i == from) {
			i++;
			continue;
		}
		if ((from > 0 && (at + (off_t)from) % SECTOR != 0) ||
		    (at + (off_t)i) % SECTOR != 0)
			return false;
	}
	return true;
}

/* One line is written at a time: behind a torn one there is none. */
static bool has_whole_line(struct slice tail)
{
	char hash[DIGEST_TEXT];

	while (tail.len > 0) {
		struct slice line = slice_split(&tail, '\n');

		while (line.len > 0 && *line.p == '\0')
			line = slice_from(line, 1);
		if (line_is_whole(line, hash))
			return true;
	}
	return false;
}

/* All but the line feed, which was to begin the next sector. */
static bool lacks_a_sector(struct slice tail, off_t at)
{
	char hash[DIGEST_TEXT];

	return line_is_whole(tail, hash) &&
	       (at + (off_t)tail.len) % SECTOR == 0;
}

static bool is_left_of(struct slice all, struct slice tail)
{
	if (tail.len > all.len)
		return false;
	for (size_t i = 0; i < tail.len; i++)
		if (tail.p[i] != '\0' && tail.p[i] != all.p[i])
			return false;
	return true;
}

/* By a start that ended while it wrote zeros over it: what is not zero yet
 * stands in the last that was set aside. */
static bool was_set_aside(const char *path, struct slice tail)
{
	char *name = mem_printf("%s.torn", path);
	struct buf kept = BUF_INIT;
	bool found = false;

	if (file_read(name, LINE_MAX_BYTES, &kept, NULL) == 0 && kept.len > 0)
		for (size_t at = kept.len - 1; !found && at-- > 0;)
			found = (at == 0 || kept.p[at - 1] == '\n') &&
				is_left_of(slice_of(kept.p + at,
						    kept.len - 1 - at),
					   tail);
	buf_release(&kept);
	free(name);
	return found;
}

/*
 * What is behind the last good line.  Zeros and blanks are the reserve.  A
 * line cut off by a crash was never told to anybody: `torn` gets it.  But a
 * whole line whose line feed alone is gone, or that stands behind damage, was.
 */
static int chain_tail(const struct chain *chain, struct slice tail,
		      struct buf *torn, struct err *err)
{
	char hash[DIGEST_TEXT];

	while (tail.len > 0 &&
	       (tail.p[tail.len - 1] == '\0' || tail.p[tail.len - 1] == ' '))
		tail.len--;
	if (tail.len == 0)
		return 0;
	if ((line_is_whole((struct slice){ tail.p, tail.len - 1 }, hash) ||
	     (has_whole_line(tail) && !lacks_a_sector(tail, chain->end)) ||
	     !holes_are_sectors(tail, chain->end)) &&
	    !was_set_aside(chain->path, tail))
		return err_set(err,
			       "line %llu: it was changed after it was "
			       "written",
			       (unsigned long long)chain->count + 1);
	if (torn)
		buf_add(torn, tail);
	return 0;
}

/* A crash may leave the sectors of one line in any order, holes between. */
static bool line_has_hole(struct slice line)
{
	return memchr(line.p, '\0', line.len) != NULL;
}

/* Takes whole lines off `text`.  1: a hole, so the rest is the tail. */
static int chain_lines(struct chain *chain, struct buf *text, struct err *err)
{
	struct slice rest = buf_slice(text);
	ptrdiff_t len;
	int result = 0;

	while (result == 0 && (len = slice_find(rest, '\n')) >= 0) {
		struct slice line = { rest.p, (size_t)len };

		if (line_has_hole(line)) {
			result = 1;
			break;
		}
		result = chain_line(chain, line, err);
		if (result == 0) {
			rest = slice_from(rest, (size_t)len + 1);
			chain->end += len + 1;
		}
	}
	buf_consume(text, text->len - rest.len);
	return result;
}

static int chain_read(struct chain *chain, int fd, struct buf *torn,
		      struct err *err)
{
	struct buf text = BUF_INIT;
	bool hole = false;
	int result = -1;

	for (;;) {
		ssize_t n;

		buf_reserve(&text, CHUNK + 1);
		n = read(fd, text.p + text.len, CHUNK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err_errno(err, "cannot read");
			goto out;
		}
		if (n == 0)
			break;
		text.len += (size_t)n;
		text.p[text.len] = '\0';
		if (!hole) {
			int lines = chain_lines(chain, &text, err);

			if (lines < 0)
				goto out;
			hole = lines > 0;
		}
		if (text.len > LINE_MAX_BYTES) {
			err_set(err, "line %llu: too long",
				(unsigned long long)chain->count + 1);
			goto out;
		}
	}
	result = chain_tail(chain, buf_slice(&text), torn, err);
out:
	buf_release(&text);
	return result;
}

int journal_read(const char *path,
		 int (*each)(void *ctx, const struct json *line), void *ctx,
		 char head[65], uint64_t *count, struct err *err)
{
	struct chain chain;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int result;

	if (fd < 0)
		return err_errno(err, "journal '%s'", path);
	chain_init(&chain, path);
	chain.each = each;
	chain.ctx = ctx;
	result = chain_read(&chain, fd, NULL, err);
	close(fd);
	if (result < 0)
		return err_prefix(err, "journal '%s'", path);
	memcpy(head, chain.head, DIGEST_TEXT);
	*count = chain.count;
	return 0;
}

/* Writing. */

static int write_at(int fd, struct slice bytes, off_t at, struct err *err)
{
	while (bytes.len > 0) {
		ssize_t n = pwrite(fd, bytes.p, bytes.len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, "cannot write");
		bytes = slice_from(bytes, (size_t)n);
		at += n;
	}
	return 0;
}

static int write_zeros(int fd, off_t from, off_t to, struct err *err)
{
	static const char zeros[CHUNK];

	while (from < to) {
		size_t n = to - from > CHUNK ? CHUNK : (size_t)(to - from);

		if (write_at(fd, slice_of(zeros, n), from, err) < 0)
			return -1;
		from += (off_t)n;
	}
	return 0;
}

/* Real zeros, not a promise of the file system, so that copy-on-write alone
 * could still run out of space. */
static int reserve(struct journal *journal, struct err *err)
{
	off_t to = journal->end + RESERVE;

	if (journal->size >= to)
		return 0;
	if (write_zeros(journal->fd, journal->size, to, err) < 0)
		return -1;
	if (fsync(journal->fd) < 0)
		return err_errno(err, "cannot sync");
	journal->size = to;
	return 0;
}

static int keep_torn(const struct journal *journal, struct slice torn,
		     struct err *err)
{
	char *path = mem_printf("%s.torn", journal->path);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	int result = -1;

	if (fd < 0) {
		err_errno(err, "cannot open '%s'", path);
		goto out;
	}
	if (file_write_all(fd, torn, err) < 0 ||
	    file_write_all(fd, slice("\n"), err) < 0)
		goto out;
	if (fsync(fd) < 0) {
		err_errno(err, "cannot sync '%s'", path);
		goto out;
	}
	if (file_sync_parent(path, err) < 0 ||
	    write_zeros(journal->fd, journal->end,
			journal->end + (off_t)torn.len, err) < 0)
		goto out;
	result = fdatasync(journal->fd) < 0 ? err_errno(err, "cannot sync") : 0;
out:
	if (fd >= 0)
		close(fd);
	free(path);
	return result;
}

static int open_chain(struct journal *journal, struct err *err)
{
	struct buf torn = BUF_INIT;
	struct chain chain;
	struct stat st;
	int result = -1;

	chain_init(&chain, journal->path);
	if (chain_read(&chain, journal->fd, &torn, err) < 0)
		goto out;
	if (fstat(journal->fd, &st) < 0) {
		err_errno(err, "cannot look at it");
		goto out;
	}
	journal->end = chain.end;
	journal->size = st.st_size;
	journal->count = chain.count;
	memcpy(journal->head, chain.head, DIGEST_TEXT);
	if (torn.len > 0 && keep_torn(journal, buf_slice(&torn), err) < 0)
		goto out;
	/* With a full disk what is left of the reserve must do. */
	if (reserve(journal, err) < 0 &&
	    journal->size - journal->end < RESERVE_LOW)
		goto out;
	err_clear(err);
	result = file_sync_parent(journal->path, err);
out:
	buf_release(&torn);
	return result;
}

struct journal *journal_open(const char *path, struct err *err)
{
	struct journal *journal = mem_alloc(sizeof(*journal));

	journal->path = mem_dup(path);
	journal->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (journal->fd < 0) {
		err_errno(err, "cannot open");
		goto fail;
	}
	/* Two writers would break the chain. */
	if (flock(journal->fd, LOCK_EX | LOCK_NB) < 0) {
		err_errno(err, "another process writes it");
		goto fail;
	}
	if (open_chain(journal, err) == 0)
		return journal;
fail:
	err_prefix(err, "journal '%s'", path);
	journal_close(journal);
	return NULL;
}

void journal_close(struct journal *journal)
{
	if (!journal)
		return;
	if (journal->fd >= 0)
		close(journal->fd);
	free(journal->path);
	free(journal);
}

void journal_hide_addresses(struct journal *journal)
{
	journal->hides = true;
}

static void line_make(const struct journal *journal, const char *event,
		      struct json *data, struct buf *line,
		      char hash[DIGEST_TEXT])
{
	struct json *json = json_object();

	if (journal->hides && data) {
		struct json *hidden = journal_hide(data);

		json_free(data);
		data = hidden;
	}
	json_put_number(json, "n", (double)(journal->count + 1));
	json_put_time(json, "at", clock_wall_ms());
	json_put_text(json, "event", event);
	json_put(json, "data", data ? data : json_object());
	json_put_text(json, "prev", journal->head);
	json_print(json, line);
	json_free(json);
	line->len--; /* the closing brace comes behind the hash */
	hash_of(buf_slice(line), hash);
	buf_addf(line, HASH_KEY "%s\"}\n", hash);
}

int journal_add(struct journal *journal, const char *event, struct json *data,
		struct err *err)
{
	struct buf line = BUF_INIT;
	char hash[DIGEST_TEXT];
	int result = -1;

	line_make(journal, event, data, &line, hash);
	if (journal->failed) {
		err_set(err, "a write failed before; nothing after it can be "
			     "trusted until a restart");
		goto out;
	}
	if (write_at(journal->fd, buf_slice(&line), journal->end, err) < 0) {
		/* What got there must not stand behind a shorter line. */
		if (write_zeros(journal->fd, journal->end, journal->size,
				NULL) < 0 ||
		    ftruncate(journal->fd, journal->size) < 0)
			journal->failed = true;
		goto out;
	}
	if (fdatasync(journal->fd) < 0) {
		journal->failed = true;
		err_errno(err, "cannot sync");
		goto out;
	}
	journal->end += (off_t)line.len;
	if (journal->size < journal->end)
		journal->size = journal->end;
	journal->count++;
	memcpy(journal->head, hash, DIGEST_TEXT);
	/* The line is safe; a reserve that cannot grow is no reason to fail. */
	if (journal->size - journal->end < RESERVE_LOW)
		reserve(journal, NULL);
	result = 0;
out:
	if (result < 0)
		err_prefix(err, "journal '%s'", journal->path);
	buf_release(&line);
	return result;
}

const char *journal_head(const struct journal *journal)
{
	return journal->head;
}

uint64_t journal_count(const struct journal *journal)
{
	return journal->count;
}
