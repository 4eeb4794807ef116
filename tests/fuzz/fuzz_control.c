/*
 * The control socket against a client that says anything: the daemon goes on,
 * and no connection stays open without an answer.
 */
#include "daemon/daemon.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	INPUT_MAX = 64 * 1024,
	ANSWER_MS = 5000
};

/* %d: a free port. */
static const char plan[] =
	"{\"tideover\": 1, \"name\": \"p\", \"strategy\": \"park\","
	" \"rehearsal\": true, \"domains\": [{\"name\": \"acme.example\"}],"
	" \"old\": {\"provider\": \"custom\", \"mx\": [\"old.example\"],"
	" \"deliver_to\": \"127.0.0.1:9\"},"
	" \"new\": {\"provider\": \"custom\", \"mx\": [\"new.example\"],"
	" \"deliver_to\": \"127.0.0.2:9\"},"
	" \"queue_mx\": {\"host\": \"hold.example\","
	" \"listen\": [\"127.0.0.1:%d\"]},"
	" \"dns\": {\"resolvers\": [\"127.0.0.1:9\"],"
	" \"authorities\": [\"127.0.0.1:9\"]},"
	" \"recipients\": {\"policy\": \"any\"}}";

static struct fuzz {
	struct config config;
	struct keyring *keyring;
	struct daemon *daemon;
	char dir[64], socket[96];
	char plan[1024];
	bool ended, late;
} fuzz;

static void remove_all(void)
{
	char command[96];

	snprintf(command, sizeof(command), "rm -rf %s", fuzz.dir);
	if (system(command) != 0)
		abort();
}

static void too_late(void *ctx)
{
	fuzz.late = true;
	loop_stop(fuzz.daemon->loop);
}

static void on_answer(void *ctx, int fd, int what)
{
	char bytes[65536];
	ssize_t got;

	while ((got = read(fd, bytes, sizeof(bytes))) > 0)
		;
	if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
		fuzz.ended = true;
		loop_stop(fuzz.daemon->loop);
	}
}

static void poll_ready(void *ctx)
{
	if (fuzz.daemon->ready)
		loop_stop(fuzz.daemon->loop);
	else
		loop_timer_arm(*(struct loop_timer **)ctx, 5);
}

static void load_plan(void)
{
	struct err err = ERR_INIT;
	bool known;
	int status;

	if (!daemon_find(fuzz.daemon, "p") &&
	    !daemon_load(fuzz.daemon, slice(fuzz.plan), "p.json", &known,
			 &status, &err)) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
}

static int free_port(void)
{
	struct err err = ERR_INIT;
	struct addr addr;
	int fd;

	if (addr_from_ip(slice("127.0.0.1"), 0, &addr, &err) < 0)
		abort();
	fd = addr_listen(&addr, 1, &err);
	if (fd < 0 || addr_of_socket(fd, &addr, &err) < 0)
		abort();
	close(fd);
	return addr_port(&addr);
}

static void start(void)
{
	static struct loop_timer *timer;
	struct err err = ERR_INIT;

	strcpy(fuzz.dir, "/tmp/tideover-fuzz-XXXXXX");
	if (!mkdtemp(fuzz.dir))
		abort();
	atexit(remove_all);
	snprintf(fuzz.plan, sizeof(fuzz.plan), plan, free_port());
	config_default(&fuzz.config);
	fuzz.config.state = fuzz.dir;
	fuzz.keyring = keyring_new();
	fuzz.daemon = daemon_new(&fuzz.config, fuzz.keyring, &err);
	if (!fuzz.daemon)
		abort();
	snprintf(fuzz.socket, sizeof(fuzz.socket), "%s/control.sock", fuzz.dir);
	timer = loop_timer_new(fuzz.daemon->loop, poll_ready, &timer);
	loop_timer_arm(timer, 5);
	if (daemon_run(fuzz.daemon, &err) < 0)
		abort();
	loop_timer_free(timer);
}

static int connect_to(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		abort();
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct loop_watch *watch;
	struct loop_timer *late;
	int fd;

	if (size > INPUT_MAX || memmem(data, size, "stop", 4))
		return 0;
	if (!fuzz.daemon)
		start();
	load_plan();
	fd = connect_to(fuzz.socket);
	fuzz.ended = fuzz.late = false;
	if (send(fd, data, size, MSG_NOSIGNAL) != (ssize_t)size)
		abort();
	shutdown(fd, SHUT_WR);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	watch = loop_watch_new(fuzz.daemon->loop, fd, LOOP_READ, on_answer,
			       NULL);
	late = loop_timer_new(fuzz.daemon->loop, too_late, NULL);
	loop_timer_arm(late, ANSWER_MS);
	loop_run(fuzz.daemon->loop);
	if (!fuzz.ended)
		abort();
	loop_timer_free(late);
	loop_watch_free(watch);
	close(fd);
	return 0;
}
