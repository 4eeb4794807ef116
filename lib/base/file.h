/*
 * file.h - files as a whole, and the syncs that make them stay
 *
 * Nothing here is for the spool's hot path.  Blocking; not for the loop after
 * start except for small files.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/buf.h"
#include "base/err.h"

/* Appends the whole file; more than `max_bytes` is an error. */
int file_read(const char *path, size_t max_bytes, struct buf *out,
	      struct err *err);
/*
 * Replaces `path` so that a reader or a crash sees the old or the new bytes,
 * never a mixture: temporary file in the same folder, fsync, rename, fsync of
 * the folder.
 */
int file_write(const char *path, struct slice bytes, unsigned mode,
	       struct err *err);
/* mkdir -p; mode is for what it creates.  An existing folder is fine. */
int file_make_dirs(const char *path, unsigned mode, struct err *err);
/* fsync of the folder that holds `path`'s entry. */
int file_sync_parent(const char *path, struct err *err);
/* fsync of a folder. */
int file_sync_dir(const char *path, struct err *err);
/* All of it or -1 (EINTR and short writes handled). */
int file_write_all(int fd, struct slice bytes, struct err *err);
bool file_exists(const char *path);
/* Appends a line that is another once the file is: which one it is, its size and
 * time; zeros for none. */
void file_state(const char *path, struct buf *out);

struct file_space {
	uint64_t free_bytes; /* for us, not for root */
	uint64_t total_bytes;
	uint64_t free_inodes;
	uint64_t total_inodes;
};
int file_space(const char *path, struct file_space *space, struct err *err);
/* What the queue leaves free of it, below which new mail gets 452: 5 %, at least
 * 64 MiB, at most 2 GiB. */
uint64_t file_space_reserve(const struct file_space *space);

#endif
