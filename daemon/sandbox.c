#include "daemon/sandbox.h"
#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
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

static const unsigned denied[] = {
	/* other processes */
	SYS_ptrace,
	SYS_process_vm_readv,
	SYS_process_vm_writev,
	SYS_pidfd_getfd,
	SYS_kcmp,
	/* other programs */
	SYS_execve,
	SYS_execveat,
	/* other users and capabilities */
	SYS_setuid,
	SYS_setgid,
	SYS_setreuid,
	SYS_setregid,
	SYS_setresuid,
	SYS_setresgid,
	SYS_setfsuid,
	SYS_setfsgid,
	SYS_setgroups,
	SYS_capset,
	/* other views of the file system */
	SYS_mount,
	SYS_umount2,
	SYS_pivot_root,
	SYS_chroot,
	SYS_move_mount,
	SYS_open_tree,
	SYS_fsopen,
	SYS_fsconfig,
	SYS_fsmount,
	SYS_fspick,
	SYS_mount_setattr,
	SYS_unshare,
	SYS_setns,
	SYS_open_by_handle_at,
	SYS_mknodat,
	/* the kernel */
	SYS_init_module,
	SYS_finit_module,
	SYS_delete_module,
	SYS_kexec_load,
	SYS_kexec_file_load,
	SYS_bpf,
	SYS_perf_event_open,
	SYS_userfaultfd,
	SYS_io_uring_setup,
	SYS_io_uring_enter,
	SYS_io_uring_register,
	SYS_add_key,
	SYS_request_key,
	SYS_keyctl,
	SYS_personality,
	/* the machine */
	SYS_reboot,
	SYS_swapon,
	SYS_swapoff,
	SYS_acct,
	SYS_quotactl,
	SYS_settimeofday,
	SYS_clock_settime,
	SYS_clock_adjtime, /* adjtimex: asked, and it sets nothing without
			      CAP_SYS_TIME, which privilege_drop() took */
	SYS_sethostname,
	SYS_setdomainname,
	SYS_syslog,
#ifdef __x86_64__
	SYS_mknod,
	SYS_modify_ldt,
	SYS_iopl,
	SYS_ioperm,
#endif
};

/* A jump of BPF reaches 255 instructions: each call has a return of its own. */
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, (value))
#define REFUSE	      RETURN(SECCOMP_RET_ERRNO | EPERM)
#define LOAD(field) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define UNLESS(test, value) BPF_JUMP(BPF_JMP | (test) | BPF_K, (value), 0, 1)

int sandbox_seccomp(struct err *err)
{
	static const struct sock_filter head[] = {
		LOAD(arch),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0),
		REFUSE,
		LOAD(nr),
		UNLESS(BPF_JGE, FOREIGN_ABI),
		REFUSE,
	};
	struct sock_filter filter[COUNT(head) + 2 * COUNT(denied) + 1];
	struct sock_fprog program = { .filter = filter };

	memcpy(filter, head, sizeof(head));
	program.len = COUNT(head);
	for (size_t i = 0; i < COUNT(denied); i++) {
		filter[program.len++] =
			(struct sock_filter)UNLESS(BPF_JEQ, denied[i]);
		filter[program.len++] = (struct sock_filter)REFUSE;
	}
	filter[program.len++] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
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
