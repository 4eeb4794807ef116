/*
 * spool_io.h - the system calls that durability rests on
 *
 * Only so that a test can make them fail: ENOSPC, EIO, a short disk.
 */
#ifndef DAEMON_SPOOL_IO_H
#define DAEMON_SPOOL_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct spool_io {
	/* All of it at `offset`, or -1 with errno. */
	int (*write_at)(int fd, struct iovec *iov, size_t count,
			uint64_t offset);
	int (*sync)(int fd);
};

/* What writers made from now on use; the kernel's unless a test said other. */
const struct spool_io *spool_io_now(void);
void spool_io_set(const struct spool_io *io);
extern const struct spool_io spool_io_kernel;

#endif
