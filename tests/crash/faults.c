/*
 * faults.so - makes one call of a program fail, or kills it there
 *
 * Preloaded into tideoverd by tests/e2e/test_faults.py and test_kills.py.
 * FAULT_AT=n: the n-th call that FAULT_KIND can happen to; with FAULT_CALL the
 * n-th of that name alone; FAULT_LAST=n: so many in a row (default 1).
 *
 *   eio, enospc, emfile, enomem   the call fails so
 *   short                         half of a write
 *   nomem                         an allocation fails
 *   kill, after                   SIGKILL before or after a call that changes
 *                                 a file
 *   torn                          SIGKILL after half of a write
 *   stall                         the call waits while FAULT_WHILE, a file, is
 *                                 there
 *
 * What happened is told on FAULT_LOG.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* What can happen to a call. */
enum {
	IO = 1,
	SPACE = 2,
	FILES = 4,
	MEMORY = 8,
	HALF = 16,
	ALLOCATION = 32,
	CHANGE = 64, /* of a file: worth a kill */
	ANY_CHANGE = IO | SPACE | CHANGE
};

static const struct kind {
	const char *name;
	unsigned of;
	int error;
	bool before, after; /* SIGKILL */
	bool stall;
} kinds[] = {
	{ "eio", IO, EIO, false, false, false },
	{ "enospc", SPACE, ENOSPC, false, false, false },
	{ "emfile", FILES, EMFILE, false, false, false },
	{ "enomem", MEMORY, ENOMEM, false, false, false },
	{ "short", HALF, 0, false, false, false },
	{ "nomem", ALLOCATION, ENOMEM, false, false, false },
	{ "kill", CHANGE, 0, true, false, false },
	{ "after", CHANGE, 0, false, true, false },
	{ "torn", HALF, 0, false, true, false },
	{ "stall", CHANGE, 0, false, false, true },
};

static atomic_long calls;
static long from, last;
static const struct kind *kind;
static const char *only;

static void *next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

static __attribute__((constructor)) void read_wish(void)
{
	const char *at = getenv("FAULT_AT"), *count = getenv("FAULT_LAST");
	const char *name = getenv("FAULT_KIND");

	from = at ? atol(at) : 0;
	last = from + (count ? atol(count) : 1) - 1;
	only = getenv("FAULT_CALL");
	for (size_t i = 0; name && i < sizeof(kinds) / sizeof(*kinds); i++)
		if (strcmp(kinds[i].name, name) == 0)
			kind = &kinds[i];
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
	len = snprintf(text, sizeof(text), "%s at %ld of %s\n", kind->name,
		       number, call);
	if (syscall(SYS_write, fd, text, (size_t)len) < 0)
		abort();
	close(fd);
}

/* Whether this call is one that it happens to. */
static bool hit(const char *call, unsigned of)
{
	long number;

	if (!kind || !(kind->of & of) || (only && strcmp(only, call) != 0))
		return false;
	number = atomic_fetch_add(&calls, 1) + 1;
	if (number < from || number > last)
		return false;
	tell(call, number);
	return true;
}

static void kill_if(bool yes)
{
	if (yes)
		syscall(SYS_kill, getpid(), SIGKILL);
}

static void stall(void)
{
	const char *path = getenv("FAULT_WHILE");

	while (path && access(path, F_OK) == 0)
		nanosleep(&(struct timespec){ .tv_nsec = 10 * 1000 * 1000 },
			  NULL);
}

/* Whether the call must fail; errno is set then. */
static bool fails(void)
{
	kill_if(kind->before);
	if (kind->stall)
		stall();
	errno = kind->error;
	return kind->error != 0;
}

static bool is_file(int fd)
{
	struct stat st;

	return fd > 2 && fstat(fd, &st) == 0 &&
	       (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode));
}

/* Not the control socket. */
static bool is_tcp(int fd)
{
	struct sockaddr_storage own = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(own);

	return getsockname(fd, (struct sockaddr *)&own, &len) == 0 &&
	       own.ss_family != AF_UNIX;
}

/* One call: if `when`, `what` can happen to it; `half` cuts what it writes. */
#define CALL(type, name, declare, call, when, what, half) \
	type name declare                                 \
	{                                                 \
		type(*real) declare = next(#name);        \
		bool now = (when) && hit(#name, what);    \
		type result;                              \
                                                          \
		if (now && fails())                       \
			return (type)-1;                  \
		if (now && (kind->of & HALF)) {           \
			half;                             \
		}                                         \
		result = real call;                       \
		kill_if(now && kind->after);              \
		return result;                            \
	}

#define HALVE	    n = (n + 1) / 2
#define WRITES	    (ANY_CHANGE | HALF)
#define NOT_A_WRITE (void)0

CALL(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n), is_file(fd),
     WRITES, HALVE)
CALL(ssize_t, pwrite, (int fd, const void *p, size_t n, off_t at),
     (fd, p, n, at), is_file(fd), WRITES, HALVE)
CALL(ssize_t, pwrite64, (int fd, const void *p, size_t n, off_t at),
     (fd, p, n, at), is_file(fd), WRITES, HALVE)
CALL(ssize_t, writev, (int fd, const struct iovec *iov, int n), (fd, iov, n),
     is_file(fd), WRITES, HALVE)
CALL(ssize_t, pwritev, (int fd, const struct iovec *iov, int n, off_t at),
     (fd, iov, n, at), is_file(fd), WRITES, HALVE)
CALL(ssize_t, pread, (int fd, void *p, size_t n, off_t at), (fd, p, n, at),
     is_file(fd), IO, NOT_A_WRITE)
CALL(ssize_t, pread64, (int fd, void *p, size_t n, off_t at), (fd, p, n, at),
     is_file(fd), IO, NOT_A_WRITE)
CALL(ssize_t, read, (int fd, void *p, size_t n), (fd, p, n), is_file(fd), IO,
     NOT_A_WRITE)
CALL(int, fsync, (int fd), (fd), is_file(fd), ANY_CHANGE, NOT_A_WRITE)
CALL(int, fdatasync, (int fd), (fd), is_file(fd), ANY_CHANGE, NOT_A_WRITE)
CALL(int, ftruncate, (int fd, off_t size), (fd, size), is_file(fd), ANY_CHANGE,
     NOT_A_WRITE)
CALL(int, ftruncate64, (int fd, off_t size), (fd, size), is_file(fd),
     ANY_CHANGE, NOT_A_WRITE)
CALL(int, rename, (const char *old, const char *new), (old, new), true,
     ANY_CHANGE, NOT_A_WRITE)
CALL(int, unlink, (const char *path), (path), true, ANY_CHANGE, NOT_A_WRITE)
CALL(int, mkdir, (const char *path, mode_t mode), (path, mode), true,
     ANY_CHANGE, NOT_A_WRITE)
CALL(void *, mmap64,
     (void *at, size_t n, int prot, int flags, int fd, off_t offset),
     (at, n, prot, flags, fd, offset), is_file(fd), IO | MEMORY, NOT_A_WRITE)
CALL(int, accept4, (int fd, struct sockaddr *to, socklen_t *len, int flags),
     (fd, to, len, flags), is_tcp(fd), FILES | MEMORY, NOT_A_WRITE)
CALL(int, socket, (int domain, int type, int protocol),
     (domain, type, protocol), true, FILES | MEMORY, NOT_A_WRITE)

/* Says what failed, not -1. */
int posix_fallocate(int fd, off_t at, off_t n)
{
	int (*real)(int, off_t, off_t) = next("posix_fallocate");
	bool now = hit("posix_fallocate", ANY_CHANGE);
	int result;

	if (now && fails())
		return errno;
	result = real(fd, at, n);
	kill_if(now && kind->after);
	return result;
}

#define OPEN(name)                                                           \
	int name(const char *path, int flags, ...)                           \
	{                                                                    \
		int (*real)(const char *, int, ...) = next(#name);           \
		bool writes = (flags & O_ACCMODE) != O_RDONLY;               \
		unsigned what = FILES | MEMORY | (writes ? ANY_CHANGE : IO); \
		mode_t mode = 0;                                             \
		va_list args;                                                \
		bool now;                                                    \
		int result;                                                  \
                                                                             \
		va_start(args, flags);                                       \
		if (flags & (O_CREAT | O_TMPFILE))                           \
			mode = va_arg(args, mode_t);                         \
		va_end(args);                                                \
		now = hit(#name, what);                                      \
		if (now && fails())                                          \
			return -1;                                           \
		result = real(path, flags, mode);                            \
		kill_if(now && kind->after);                                 \
		return result;                                               \
	}
OPEN(open)
OPEN(open64)

static bool no_memory(void)
{
	return hit("allocation", ALLOCATION) && fails();
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
