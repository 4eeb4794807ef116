#include "spool/evidence.h"
#include "base/encode.h"
#include "base/file.h"
#include "spool/segment.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	FLUSH_BYTES = 1024 * 1024
};

struct evidence {
	struct segment_header header;
	int fd;
	uint64_t offset;
	struct buf out;
	struct slice *paths;
	void (*message)(void *ctx, const struct scan_record *record,
			const struct record_message *message);
	void *ctx;
};

static int flush(struct evidence *e, size_t above, struct err *err)
{
	if (e->out.len < above)
		return 0;
	if (file_write_all(e->fd, buf_slice(&e->out), err) < 0)
		return -1;
	buf_clear(&e->out);
	return 0;
}

static void add(struct evidence *e, enum record_kind kind, struct slice payload)
{
	char head[SEGMENT_RECORD_HEADER];
	struct segment_record record = {
		.kind = kind,
		.offset = e->offset,
		.length = (uint32_t)payload.len,
		/* The file has its name only when all of it is on disk. */
		.synced = e->offset,
		.payload_crc = crc32c(0, payload),
	};
	uint64_t end = e->offset + segment_record_bytes(payload.len);

	segment_record_encode(&e->header, &record, head);
	buf_add(&e->out, slice_of(head, sizeof(head)));
	buf_add(&e->out, payload);
	for (e->offset += sizeof(head) + payload.len; e->offset < end;
	     e->offset++)
		buf_addc(&e->out, '\0');
}

static int on_record(void *ctx, const struct scan_record *record,
		     struct err *err)
{
	struct evidence *e = ctx;
	struct slice payload = record->payload;
	struct record_message message;

	if (record->kind == RECORD_MESSAGE &&
	    record_message_decode(payload, &message, e->paths, NULL) == 0) {
		if (e->message)
			e->message(e->ctx, record, &message);
		payload.len -= message.body.len;
	}
	add(e, record->kind, payload);
	return flush(e, FLUSH_BYTES, err);
}

static int write_all(struct evidence *e, const char *from, uint32_t number,
		     struct err *err)
{
	static const struct scan_visitor visitor = { .on_record = on_record };
	char head[SEGMENT_HEADER];
	struct scan_result result = { 0 };

	e->header.number = number;
	random_bytes(e->header.nonce, sizeof(e->header.nonce));
	segment_header_encode(&e->header, head);
	buf_add(&e->out, slice_of(head, sizeof(head)));
	e->offset = SEGMENT_HEADER;
	if (scan_file(from, number, 0, 0, &visitor, e, &result, err) < 0 ||
	    flush(e, 1, err) < 0)
		return -1;
	if (fdatasync(e->fd) < 0)
		return err_errno(err, "cannot sync the evidence of segment %u",
				 number);
	return 0;
}

int evidence_write(const char *spool_dir, const char *dir, uint32_t number,
		   void (*message)(void *ctx, const struct scan_record *record,
				   const struct record_message *message),
		   void *ctx, struct err *err)
{
	char *from = mem_printf("%s/%08u.seg", spool_dir, number);
	char *path = mem_printf("%s/%08u.seg", dir, number);
	char *draft = mem_printf("%s.part", path);
	struct evidence e = { .fd = -1, .message = message, .ctx = ctx };
	int result = -1;

	e.paths = mem_alloc(RECORD_MAX_ENVELOPES * sizeof(*e.paths));
	if (file_make_dirs(dir, 0700, err) < 0)
		goto out;
	e.fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (e.fd < 0) {
		err_errno(err, "cannot create %s", draft);
		goto out;
	}
	if (write_all(&e, from, number, err) < 0) {
		unlink(draft);
		goto out;
	}
	if (rename(draft, path) < 0)
		err_errno(err, "cannot rename %s", draft);
	else
		result = file_sync_dir(dir, err);
out:
	if (e.fd >= 0)
		close(e.fd);
	buf_release(&e.out);
	free(e.paths);
	free(from);
	free(path);
	free(draft);
	return result;
}

int evidence_forget_unfinished(const char *spool_dir, const char *dir,
			       struct err *err)
{
	DIR *entries = opendir(dir);
	struct dirent *entry;
	int result = 0;

	if (!entries)
		return errno == ENOENT ?
			       0 :
			       err_errno(err, "cannot read folder %s", dir);
	while (result == 0 && (entry = readdir(entries))) {
		char *here = mem_printf("%s/%s", dir, entry->d_name);
		char *there = mem_printf("%s/%s", spool_dir, entry->d_name);

		if (entry->d_name[0] != '.' &&
		    (file_exists(there) ||
		     slice_ends_nocase(slice(here), ".part")) &&
		    unlink(here) < 0)
			result = err_errno(err, "cannot remove %s", here);
		free(here);
		free(there);
	}
	closedir(entries);
	return result;
}
