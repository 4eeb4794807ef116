#include "daemon/spool_io.h"
#include <errno.h>
#include <limits.h>
#include <unistd.h>

static int write_at(int fd, struct iovec *iov, size_t count, uint64_t offset)
{
	while (count > 0) {
		ssize_t put =
			pwritev(fd, iov, count < IOV_MAX ? (int)count : IOV_MAX,
				(off_t)offset);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -1;
		offset += (uint64_t)put;
		while (count > 0 && (size_t)put >= iov->iov_len) {
			put -= (ssize_t)iov->iov_len;
			iov++;
			count--;
		}
		if (count > 0) {
			iov->iov_base = (char *)iov->iov_base + put;
			iov->iov_len -= (size_t)put;
		}
	}
	return 0;
}

const struct spool_io spool_io_kernel = {
	.write_at = write_at,
	.sync = fdatasync,
};

static const struct spool_io *now = &spool_io_kernel;

const struct spool_io *spool_io_now(void)
{
	return now;
}

void spool_io_set(const struct spool_io *io)
{
	now = io;
}
