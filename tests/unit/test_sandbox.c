#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "daemon/sandbox.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A sandbox cannot be left again: each one is a child's. */

enum {
	PASSED,
	FAILED,
	NO_KERNEL = 77
};

static char dir[64], state_dir[80];

static int setup(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/test_sandbox.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(state_dir, sizeof(state_dir), "%s/state", dir);
	return 0;
}

static int teardown(void **state)
{
	char *command = mem_printf("rm -r %s", dir);
	int status = system(command);

	free(command);
	return status;
}

static void in_a_child(int (*test)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(test());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_KERNEL)
		skip();
	assert_int_equal(WEXITSTATUS(status), PASSED);
}

/* 0, or what the call failed with. */
static int why(long result)
{
	return result < 0 ? errno : 0;
}

#define EXPECT(call, want)                                            \
	do {                                                          \
		int got = why(call);                                  \
                                                                      \
		if (got != (want)) {                                  \
			fprintf(stderr, "%s: %s\n", #call,            \
				got ? strerror(got) : "was allowed"); \
			return FAILED;                                \
		}                                                     \
	} while (0)

static int writes(void)
{
	struct err err = ERR_INIT;
	char *inside = mem_printf("%s/new", state_dir);
	char *sub = mem_printf("%s/sub", state_dir);
	char *moved = mem_printf("%s/sub/moved", state_dir);
	char *outside = mem_printf("%s/new", dir);
	char *old = mem_printf("%s/old", dir);

	if (file_write(old, slice("before"), 0600, &err) < 0)
		return FAILED;
	if (sandbox_landlock(state_dir, &err) < 0) {
		fprintf(stderr, "landlock: %s\n", err.text);
		return strstr(err.text, "none") ? NO_KERNEL : FAILED;
	}
	EXPECT(open(inside, O_RDWR | O_CREAT, 0600), 0);
	EXPECT(open(inside, O_RDWR | O_TRUNC), 0);
	EXPECT(mkdir(sub, 0700), 0);
	EXPECT(rename(inside, moved), 0);
	EXPECT(unlink(moved), 0);
	EXPECT(rmdir(sub), 0);

	EXPECT(open(outside, O_RDWR | O_CREAT, 0600), EACCES);
	EXPECT(mkdir(outside, 0700), EACCES);
	EXPECT(open(old, O_WRONLY), EACCES);
	EXPECT(open(old, O_WRONLY | O_TRUNC), EACCES);
	EXPECT(unlink(old), EACCES);
	EXPECT(symlink(old, inside), EACCES);
	EXPECT(mknod(inside, S_IFIFO | 0600, 0), EACCES);
	EXPECT(execl("/bin/true", "true", (char *)NULL), EACCES);

	EXPECT(open(old, O_RDONLY), 0);
	EXPECT(open("/etc/hosts", O_RDONLY), 0);
	return PASSED;
}

static void nothing_is_written_outside_of_the_state_folder(void **state)
{
	in_a_child(writes);
}

static void *runs(void *ctx)
{
	static char ran;

	return &ran;
}

static int calls(void)
{
	struct err err = ERR_INIT;
	int64_t error_ms;
	pthread_t thread;
	void *ran = NULL;

	if (sandbox_seccomp(&err) < 0) {
		fprintf(stderr, "seccomp: %s\n", err.text);
		return strstr(err.text, "processor") ? NO_KERNEL : FAILED;
	}
	/* Asking the clock is no attack; setting it is. */
	EXPECT(clock_error_ms(&error_ms, &err) < 0 &&
			       strstr(err.text, "not tell") ?
		       -1 :
		       0,
	       0);
	EXPECT(clock_settime(CLOCK_REALTIME, &(struct timespec){ 0 }), ENOSYS);
	EXPECT(ptrace(PTRACE_TRACEME, 0, NULL, NULL), ENOSYS);
	EXPECT(execl("/bin/true", "true", (char *)NULL), ENOSYS);
	EXPECT(syscall(SYS_setuid, getuid()), ENOSYS);
	EXPECT(syscall(SYS_setgroups, 0, NULL), ENOSYS);
	EXPECT(unshare(CLONE_NEWUSER), ENOSYS);
	EXPECT(mount("/", "/mnt", NULL, MS_BIND, NULL), ENOSYS);
	EXPECT(syscall(SYS_bpf, 0, NULL, 0), ENOSYS);
	EXPECT(syscall(SYS_userfaultfd, 0), ENOSYS);
	EXPECT(syscall(SYS_keyctl, 0, -3, 0), ENOSYS);
	EXPECT(syscall(SYS_io_uring_setup, 1, NULL), ENOSYS);
	EXPECT(kill(getpid(), 0), ENOSYS);
	EXPECT(socket(AF_PACKET, SOCK_RAW, 0), ENOSYS);
	EXPECT(socket(AF_INET6, SOCK_STREAM, 0), 0);
	EXPECT(fork(), EPERM);
	if (pthread_create(&thread, NULL, runs, NULL) != 0 ||
	    pthread_join(thread, &ran) != 0 || !ran)
		return FAILED;
#ifdef __x86_64__
	/* getppid of x32: another ABI is no way around the list. */
	EXPECT(syscall(0x40000000 | SYS_getppid), ENOSYS);
#endif
	EXPECT(syscall(SYS_getppid), 0);
	EXPECT(open("/dev/null", O_RDONLY), 0);
	return PASSED;
}

static void only_what_a_queue_calls_is_known(void **state)
{
	in_a_child(calls);
}

static int says(void)
{
	struct sandbox sandbox;

	sandbox_enter(state_dir, &sandbox);
	fprintf(stderr, "# sandbox: %s\n", sandbox.text);
	if (!strstr(sandbox.text, "landlock") ||
	    !strstr(sandbox.text, "seccomp"))
		return FAILED;
	if (strncmp(sandbox.text, "off: ", 5) == 0)
		return sandbox.landlock || sandbox.seccomp;
	if (sandbox.landlock == !!strstr(sandbox.text, "landlock off: "))
		return FAILED;
	return sandbox.seccomp == !!strstr(sandbox.text, "seccomp off: ");
}

static void what_is_off_is_said_with_its_reason(void **state)
{
	struct sandbox none;

	in_a_child(says);
	sandbox_none(&none);
	assert_string_equal(none.text, "off: --no-sandbox");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_written_outside_of_the_state_folder),
		TEST(only_what_a_queue_calls_is_known),
		TEST(what_is_off_is_said_with_its_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
