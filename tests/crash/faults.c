/*
 * faults.so - makes one call of a program fail, or all from one on
 *
 * Preloaded into tideoverd by tests/e2e/test_faults.py.  FAULT_AT=n: the n-th
 * call that touches a regular file (open, write, sync, allocate, rename ...),
 * or the n-th allocation with FAULT_KIND=nomem.  FAULT_KIND: eio, enospc,
 * emfile (of open alone), short (half of a write), nomem.  FAULT_LAST=n: so
 * many in a row (default 1).  What happened is told on FAULT_LOG.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;
static long from, last;
static const char *kind = "";

static void *next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

static __attribute__((constructor)) void read_wish(void)
{
	const char *at = getenv("FAULT_AT"), *count = getenv("FAULT_LAST");

	from = at ? atol(at) : 0;
	last = from + (count ? atol(count) : 1) - 1;
	if (getenv("FAULT_KIND"))
		kind = getenv("FAULT_KIND");
}

static bool is(const char *name)
{
	return strcmp(kind, name) == 0;
}

static void tell(const char *call, long number)
{
	const char *path = getenv("FAULT_LOG");
	int (*real)(const char *, int, ...) = next("open");
	char text[100];
	int fd, len;

	fd = path ? real(path, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
	if (fd < 0)
		return;
	len = snprintf(text, sizeof(text), "%s at %ld of %s\n", kind, number,
		       call);
	if (syscall(1 /* write */, fd, text, (size_t)len) < 0)
		abort();
	close(fd);
}

/* Whether this call is one that must fail; errno is set then. */
static bool fails(const char *call, bool opens)
{
	long number;

	if (from == 0 || is("nomem") || (is("emfile") && !opens) ||
	    (is("short") && opens))
		return false;
	number = atomic_fetch_add(&calls, 1) + 1;
	if (number < from || number > last)
		return false;
	tell(call, number);
	errno = is("eio") ? EIO : is("emfile") ? EMFILE : ENOSPC;
	return true;
}

static bool is_file(int fd)
{
	struct stat st;

	return fd > 2 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

#define OPEN(name)                                                         \
	int name(const char *path, int flags, ...)                         \
	{                                                                  \
		int (*real)(const char *, int, ...) = next(#name);         \
		mode_t mode = 0;                                           \
		va_list args;                                              \
                                                                           \
		va_start(args, flags);                                     \
		if (flags & (O_CREAT | O_TMPFILE))                         \
			mode = va_arg(args, mode_t);                       \
		va_end(args);                                              \
		if ((flags & O_ACCMODE) != O_RDONLY && fails(#name, true)) \
			return -1;                                         \
		return real(path, flags, mode);                            \
	}
OPEN(open)
OPEN(open64)

/* A short write is what a full disk may give. */
#define WRITE(name, declare, call, half)                  \
	ssize_t name declare                              \
	{                                                 \
		ssize_t(*real) declare = next(#name);     \
                                                          \
		if (is_file(fd) && fails(#name, false)) { \
			if (!is("short"))                 \
				return -1;                \
			half;                             \
		}                                         \
		return real call;                         \
	}
WRITE(write, (int fd, const void *p, size_t n), (fd, p, n), n = (n + 1) / 2)
WRITE(pwrite, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at),
      n = (n + 1) / 2)
WRITE(pwrite64, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at),
      n = (n + 1) / 2)
WRITE(writev, (int fd, const struct iovec *iov, int n), (fd, iov, n),
      n = (n + 1) / 2)
WRITE(pwritev, (int fd, const struct iovec *iov, int n, off_t at),
      (fd, iov, n, at), n = (n + 1) / 2)
WRITE(pwritev64, (int fd, const struct iovec *iov, int n, off_t at),
      (fd, iov, n, at), n = (n + 1) / 2)

#define CALL(name, declare, call)                                       \
	int name declare                                                \
	{                                                               \
		int(*real) declare = next(#name);                       \
                                                                        \
		if (is_file(fd) && !is("short") && fails(#name, false)) \
			return -1;                                      \
		return real call;                                       \
	}
CALL(fsync, (int fd), (fd))
CALL(fdatasync, (int fd), (fd))
CALL(ftruncate, (int fd, off_t size), (fd, size))
CALL(ftruncate64, (int fd, off_t size), (fd, size))
CALL(fallocate, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n))
CALL(fallocate64, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n))

int rename(const char *old, const char *new)
{
	int (*real)(const char *, const char *) = next("rename");

	if (!is("short") && fails("rename", false))
		return -1;
	return real(old, new);
}

static bool no_memory(void)
{
	long number;

	if (from == 0 || !is("nomem"))
		return false;
	number = atomic_fetch_add(&calls, 1) + 1;
	if (number < from || number > last)
		return false;
	tell("allocation", number);
	errno = ENOMEM;
	return true;
}

void *__libc_malloc(size_t n);
void *__libc_realloc(void *p, size_t n);
void *__libc_calloc(size_t n, size_t size);

void *malloc(size_t n)
{
	return no_memory() ? NULL : __libc_malloc(n);
}

void *realloc(void *p, size_t n)
{
	return no_memory() ? NULL : __libc_realloc(p, n);
}

void *calloc(size_t n, size_t size)
{
	return no_memory() ? NULL : __libc_calloc(n, size);
}
