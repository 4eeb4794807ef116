#include "daemon/notify.h"
#include "base/buf.h"
#include "base/log.h"
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LOG_MODULE "notify"

struct notify {
	int fd; /* -1: nobody listens */
	struct loop_timer *watchdog;
	int64_t every_ms;
};

static void notify_send(const struct notify *notify, const char *state)
{
	if (notify->fd >= 0 &&
	    send(notify->fd, state, strlen(state), MSG_NOSIGNAL) < 0)
		log_warn("the supervisor did not hear %s: %m", state);
}

/* "/path", or "@name" in the abstract namespace. */
static int supervisor(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	int fd;

	if ((path[0] != '/' && path[0] != '@') || len >= sizeof(at.sun_path)) {
		log_warn("NOTIFY_SOCKET '%s' is no socket we know", path);
		return -1;
	}
	memcpy(at.sun_path, path, len);
	if (path[0] == '@')
		at.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 &&
	    connect(fd, (const struct sockaddr *)&at,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				len)) == 0)
		return fd;
	log_warn("NOTIFY_SOCKET '%s': %m", path);
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Half of what the supervisor waits; 0 if it does not watch us. */
static int64_t watchdog_ms(void)
{
	const char *pid = getenv("WATCHDOG_PID");
	uint64_t us, of;

	if (!slice_u64(slice(getenv("WATCHDOG_USEC")), &us) || us / 2000 == 0)
		return 0;
	if (pid && (!slice_u64(slice(pid), &of) || of != (uint64_t)getpid()))
		return 0;
	return (int64_t)(us / 2000);
}

static void alive(void *ctx)
{
	struct notify *notify = ctx;

	notify_send(notify, "WATCHDOG=1");
	loop_timer_arm(notify->watchdog, notify->every_ms);
}

struct notify *notify_new(struct loop *loop)
{
	struct notify *notify = mem_alloc(sizeof(*notify));
	const char *path = getenv("NOTIFY_SOCKET");

	notify->fd = path ? supervisor(path) : -1;
	notify->every_ms = watchdog_ms();
	if (notify->fd < 0 || notify->every_ms == 0)
		return notify;
	notify->watchdog = loop_timer_new(loop, alive, notify);
	loop_timer_arm(notify->watchdog, notify->every_ms);
	return notify;
}

void notify_free(struct notify *notify)
{
	if (!notify)
		return;
	loop_timer_free(notify->watchdog);
	if (notify->fd >= 0)
		close(notify->fd);
	free(notify);
}

void notify_ready(const struct notify *notify)
{
	notify_send(notify, "READY=1");
}

void notify_stopping(const struct notify *notify)
{
	notify_send(notify, "STOPPING=1");
}
