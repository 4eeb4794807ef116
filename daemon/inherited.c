#include "daemon/inherited.h"
#include "base/buf.h"
#include "base/log.h"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define LOG_MODULE "inherited"

enum {
	FIRST_FD = 3, /* SD_LISTEN_FDS_START */
	MAX_SOCKETS = 64
};

struct inherited {
	struct {
		int fd;
		struct addr addr;
	} sockets[MAX_SOCKETS];
	size_t count;
};

static uint64_t promised(void)
{
	uint64_t pid, count;

	if (!slice_u64(slice(getenv("LISTEN_PID")), &pid) ||
	    pid != (uint64_t)getpid() ||
	    !slice_u64(slice(getenv("LISTEN_FDS")), &count))
		return 0;
	return count;
}

static bool listens(int fd)
{
	int yes = 0;
	socklen_t len = sizeof(yes);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &len) == 0 &&
	       yes;
}

static void adopt(struct inherited *inherited, int fd)
{
	struct addr addr;
	char text[ADDR_TEXT];
	int flags = fcntl(fd, F_GETFL);

	if (!listens(fd) || addr_of_socket(fd, &addr, NULL) < 0 ||
	    (addr.sa.ss_family != AF_INET && addr.sa.ss_family != AF_INET6)) {
		log_warn("descriptor %d is not a listening TCP socket", fd);
		return;
	}
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
		log_warn("descriptor %d: %m", fd);
		return;
	}
	inherited->sockets[inherited->count].fd = fd;
	inherited->sockets[inherited->count++].addr = addr;
	log_info("a socket on %s was passed to us", addr_format(&addr, text));
}

struct inherited *inherited_new(void)
{
	struct inherited *inherited = mem_alloc(sizeof(*inherited));
	uint64_t count = promised();

	if (count > MAX_SOCKETS) {
		log_warn("LISTEN_FDS is %llu: only %d are looked at",
			 (unsigned long long)count, MAX_SOCKETS);
		count = MAX_SOCKETS;
	}
	for (int i = 0; i < (int)count; i++)
		adopt(inherited, FIRST_FD + i);
	return inherited;
}

void inherited_free(struct inherited *inherited)
{
	if (!inherited)
		return;
	for (size_t i = 0; i < inherited->count; i++)
		close(inherited->sockets[i].fd);
	free(inherited);
}

int inherited_socket(const struct inherited *inherited, const struct addr *addr)
{
	for (size_t i = 0; i < inherited->count; i++)
		if (addr_equal(&inherited->sockets[i].addr, addr))
			return fcntl(inherited->sockets[i].fd, F_DUPFD_CLOEXEC,
				     0);
	return -1;
}
