#include "cli/spawn.h"
#include "base/clock.h"
#include "base/file.h"
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	START_MS = 60000,
	POLL_MS = 50,
	LOG_MAX = 64 * 1024 * 1024
};

char *spawn_daemon_path(void)
{
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *path;

	if (len > 0) {
		self[len] = '\0';
		path = mem_printf("%s/tideoverd", dirname(self));
		if (access(path, X_OK) == 0)
			return path;
		free(path);
	}
	return mem_dup("tideoverd");
}

static bool answers(const char *socket)
{
	struct json *answer = NULL;
	struct err err = ERR_INIT;
	bool ready = control_call(socket, "GET", "/v1/daemon", NULL, 5000,
				  &answer, &err) == CONTROL_OK &&
		     json_get_bool(answer, "ready");

	json_free(answer);
	return ready;
}

/* The last line of its log says why it ended. */
static int why_it_ended(const char *log, struct err *err)
{
	struct buf text = BUF_INIT;
	struct slice all;
	ptrdiff_t at;

	if (file_read(log, LOG_MAX, &text, err) < 0)
		return -1;
	while (text.len && text.p[text.len - 1] == '\n')
		text.p[--text.len] = '\0';
	all = buf_slice(&text);
	at = slice_rfind(all, '\n');
	all = slice_from(all, (size_t)(at + 1));
	/* "TIME tideoverd error: MODULE: sentence" */
	for (int colon = 0; colon < 2; colon++) {
		const char *p = memmem(all.p, all.len, ": ", 2);

		if (p)
			all = slice_from(all, (size_t)(p + 2 - all.p));
	}
	err_set(err, "tideoverd did not start: %.*s", (int)all.len, all.p);
	buf_release(&text);
	return -1;
}

static void become_daemon(const char *path, const char *state, const char *log,
			  const char *master_key)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	/* Whose service this command runs in does not restart what it leaves. */
	unsetenv("NOTIFY_SOCKET");
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
	}
	execlp(path, path, "--state", state, "--background-log", log,
	       master_key ? "--master-key" : (char *)NULL, master_key,
	       (char *)NULL);
	_exit(127);
}

int spawn_daemon(const struct command_call *call, struct err *err)
{
	int64_t until = clock_mono_ms() + START_MS;
	char *path, *log;
	int result = -1;
	pid_t pid;

	if (answers(call->socket))
		return 0;
	if (file_make_dirs(call->state_dir, 0700, err) < 0)
		return -1;
	path = spawn_daemon_path();
	log = mem_printf("%s/tideoverd.log", call->state_dir);
	pid = fork();
	if (pid == 0)
		become_daemon(path, call->state_dir, log,
			      call->value[OPT_MASTER_KEY]);
	if (pid < 0)
		err_errno(err, "cannot start tideoverd");
	while (pid > 0) {
		int status;

		if (answers(call->socket)) {
			result = 0;
			break;
		}
		if (waitpid(pid, &status, WNOHANG) == pid) {
			if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
				err_set(err,
					"%s cannot be run: put it beside "
					"tideover, or start it yourself",
					path);
			else
				why_it_ended(log, err);
			break;
		}
		if (clock_mono_ms() > until) {
			err_set(err, "tideoverd does not answer; see %s", log);
			break;
		}
		usleep(POLL_MS * 1000);
	}
	free(path);
	free(log);
	return result;
}
