#include "daemon/sandbox.h"
#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Landlock.  The rights that our oldest headers do not know. */

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif

enum {
	READ = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
	STATE = READ | LANDLOCK_ACCESS_FS_WRITE_FILE |
		LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
		LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
		LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REFER |
		LANDLOCK_ACCESS_FS_TRUNCATE
};

/* What a kernel of this ABI can forbid: it refuses bits it does not know. */
static uint64_t rights_of(long abi)
{
	uint64_t rights = 2 * LANDLOCK_ACCESS_FS_MAKE_SYM - 1;

	if (abi >= 2)
		rights |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		rights |= LANDLOCK_ACCESS_FS_TRUNCATE;
	if (abi >= 5)
		rights |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
	return rights;
}

static int allow(int ruleset, const char *path, uint64_t rights,
		 struct err *err)
{
	struct landlock_path_beneath_attr rule = {
		.allowed_access = rights,
		.parent_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC),
	};
	int result = 0;

	if (rule.parent_fd < 0 ||
	    syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH,
		    &rule, 0) < 0)
		result = err_errno(err, "%s", path);
	if (rule.parent_fd >= 0)
		close(rule.parent_fd);
	return result;
}

int sandbox_landlock(const char *state_dir, struct err *err)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0,
			   LANDLOCK_CREATE_RULESET_VERSION);
	struct landlock_ruleset_attr attr = {
		.handled_access_fs = rights_of(abi),
	};
	int ruleset, result = -1;

	if (abi < 1)
		return err_set(err, "this kernel has none");
	if (file_make_dirs(state_dir, 0700, err) < 0)
		return -1;
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr),
			       0);
	if (ruleset < 0)
		return err_errno(err, "no ruleset");
	if (allow(ruleset, "/", READ, err) < 0 ||
	    allow(ruleset, state_dir, STATE & attr.handled_access_fs, err) < 0)
		goto out;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		err_errno(err, "refused");
	else
		result = 0;
out:
	close(ruleset);
	return result;
}

/* seccomp. */

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef OUR_ARCH

/* The calls of x32 have this bit; on aarch64 no call is that high. */
#define FOREIGN_ABI 0x40000000u

/* The first ones most often. */
/* clang-format off */
static const unsigned allowed[] = {
	SYS_read, SYS_write, SYS_epoll_pwait, SYS_epoll_ctl, SYS_futex,
	SYS_sendto, SYS_recvfrom, SYS_writev, SYS_pwritev, SYS_pwrite64,
	SYS_fdatasync, SYS_pread64, SYS_clock_gettime, SYS_close,
	SYS_accept4,
#ifdef __x86_64__
	SYS_epoll_wait,
#endif
	/* files; Landlock says which */
	SYS_readv, SYS_preadv, SYS_preadv2, SYS_pwritev2, SYS_lseek,
	SYS_openat, SYS_openat2, SYS_newfstatat, SYS_fstat, SYS_statx,
	SYS_statfs, SYS_fstatfs, SYS_truncate, SYS_ftruncate, SYS_fallocate,
	SYS_fadvise64, SYS_readahead, SYS_fsync, SYS_sync_file_range,
	SYS_syncfs, SYS_msync, SYS_flock, SYS_fcntl, SYS_ioctl, SYS_dup,
	SYS_dup3, SYS_close_range, SYS_faccessat, SYS_faccessat2,
	SYS_mkdirat, SYS_unlinkat, SYS_renameat, SYS_renameat2, SYS_linkat,
	SYS_readlinkat, SYS_getdents64, SYS_getcwd, SYS_umask, SYS_fchmod,
	SYS_fchmodat, SYS_fchown, SYS_utimensat, SYS_copy_file_range,
	SYS_sendfile, SYS_inotify_init1, SYS_inotify_add_watch,
	SYS_inotify_rm_watch,
	/* memory */
	SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise,
	SYS_mincore, SYS_mlock, SYS_mlock2, SYS_munlock, SYS_membarrier,
	/* sockets, but for socket() */
	SYS_socketpair, SYS_bind, SYS_listen, SYS_accept, SYS_connect,
	SYS_getsockname, SYS_getpeername, SYS_getsockopt, SYS_setsockopt,
	SYS_sendmsg, SYS_sendmmsg, SYS_recvmsg, SYS_recvmmsg, SYS_shutdown,
	SYS_epoll_create1, SYS_ppoll, SYS_pselect6, SYS_eventfd2, SYS_pipe2,
	/* threads, but for clone() */
	SYS_set_robust_list, SYS_get_robust_list, SYS_set_tid_address,
	SYS_rseq, SYS_exit, SYS_exit_group, SYS_sched_yield,
	SYS_sched_getaffinity, SYS_sched_getparam, SYS_sched_getscheduler,
	SYS_getcpu, SYS_gettid, SYS_setpriority, SYS_getpriority,
	/* signals */
	SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn,
	SYS_rt_sigpending, SYS_rt_sigtimedwait, SYS_rt_sigsuspend,
	SYS_sigaltstack, SYS_signalfd4, SYS_restart_syscall, SYS_tgkill,
	/* time: asked, never set (adjtimex sets nothing without CAP_SYS_TIME,
	 * which privilege_drop() took) */
	SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep,
	SYS_gettimeofday, SYS_adjtimex, SYS_times, SYS_timerfd_create,
	SYS_timerfd_settime, SYS_timerfd_gettime, SYS_timer_create,
	SYS_timer_settime, SYS_timer_gettime, SYS_timer_delete,
	SYS_setitimer, SYS_getitimer,
	/* what we are */
	SYS_getpid, SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid,
	SYS_getegid, SYS_getresuid, SYS_getresgid, SYS_getgroups, SYS_capget,
	SYS_prctl, SYS_uname, SYS_sysinfo, SYS_getrusage, SYS_prlimit64,
	SYS_getrandom,
#ifdef SYS_epoll_pwait2
	SYS_epoll_pwait2,
#endif
#ifdef SYS_futex_waitv
	SYS_futex_waitv,
#endif
#ifdef __x86_64__
	SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_poll, SYS_select,
	SYS_epoll_create, SYS_eventfd, SYS_pipe, SYS_dup2, SYS_mkdir,
	SYS_rmdir, SYS_unlink, SYS_rename, SYS_link, SYS_readlink, SYS_chmod,
	SYS_getdents, SYS_inotify_init, SYS_signalfd, SYS_pause, SYS_alarm,
	SYS_time, SYS_getrlimit, SYS_arch_prctl,
#endif
};
/* clang-format on */

/*
 * A call that is not known here looks like one that the kernel does not know,
 * so that a libc newer than this list takes its older way.
 */
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, (value))
#define ALLOW	      RETURN(SECCOMP_RET_ALLOW)
#define UNKNOWN	      RETURN(SECCOMP_RET_ERRNO | ENOSYS)
#define REFUSE	      RETURN(SECCOMP_RET_ERRNO | EPERM)
#define LOAD(field) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define UNLESS(test, value, skip) \
	BPF_JUMP(BPF_JMP | (test) | BPF_K, (value), 0, (skip))

int sandbox_seccomp(struct err *err)
{
	static const struct sock_filter head[] = {
		LOAD(arch),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0),
		REFUSE,
		LOAD(nr),
		UNLESS(BPF_JGE, FOREIGN_ABI, 1),
		UNKNOWN,
	};
	/* Both of our processors have the low half of an argument first. */
	static const struct sock_filter tail[] = {
		/* Threads and no processes.  clone3() has its flags in memory,
		 * where no filter sees them: libc takes clone() then. */
		UNLESS(BPF_JEQ, SYS_clone, 4),
		LOAD(args[0]),
		UNLESS(BPF_JSET, CLONE_THREAD, 1),
		ALLOW,
		REFUSE,
		/* getaddrinfo(3) asks the kernel for our addresses. */
		UNLESS(BPF_JEQ, SYS_socket, 9),
		LOAD(args[0]),
		UNLESS(BPF_JEQ, AF_INET, 1),
		ALLOW,
		UNLESS(BPF_JEQ, AF_INET6, 1),
		ALLOW,
		UNLESS(BPF_JEQ, AF_UNIX, 1),
		ALLOW,
		UNLESS(BPF_JEQ, AF_NETLINK, 1),
		ALLOW,
		UNKNOWN,
	};
	/* A jump reaches 255 instructions: each call has a return of its own. */
	struct sock_filter
		filter[COUNT(head) + 2 * COUNT(allowed) + COUNT(tail)];
	struct sock_fprog program = { .filter = filter };

	memcpy(filter, head, sizeof(head));
	program.len = COUNT(head);
	for (size_t i = 0; i < COUNT(allowed); i++) {
		filter[program.len++] =
			(struct sock_filter)UNLESS(BPF_JEQ, allowed[i], 1);
		filter[program.len++] = (struct sock_filter)ALLOW;
	}
	memcpy(filter + program.len, tail, sizeof(tail));
	program.len += COUNT(tail);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
		return err_errno(err, "refused");
	return 0;
}

#else

int sandbox_seccomp(struct err *err)
{
	return err_set(err, "not known on this processor");
}

#endif

/* Both. */

#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
	__has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true /* its leak check needs ptrace */
#else
#define SANITIZED false
#endif

void sandbox_enter(const char *state_dir, struct sandbox *sandbox)
{
	struct err landlock = ERR_INIT, seccomp = ERR_INIT;

	/* SQLite's large sorts would go to /var/tmp. */
	setenv("SQLITE_TMPDIR", state_dir, 1);
	sandbox->landlock = sandbox_landlock(state_dir, &landlock) == 0;
	sandbox->seccomp =
		(SANITIZED ? err_set(&seccomp, "built with a sanitizer") :
			     sandbox_seccomp(&seccomp)) == 0;
	if (sandbox->landlock && sandbox->seccomp)
		snprintf(sandbox->text, sizeof(sandbox->text),
			 "landlock, seccomp");
	else if (sandbox->landlock)
		snprintf(sandbox->text, sizeof(sandbox->text),
			 "landlock; seccomp off: %.200s", seccomp.text);
	else if (sandbox->seccomp)
		snprintf(sandbox->text, sizeof(sandbox->text),
			 "seccomp; landlock off: %.200s", landlock.text);
	else
		snprintf(sandbox->text, sizeof(sandbox->text),
			 "off: landlock: %.200s; seccomp: %.200s",
			 landlock.text, seccomp.text);
}

void sandbox_none(struct sandbox *sandbox)
{
	*sandbox = (struct sandbox){ .text = "off: --no-sandbox" };
}
