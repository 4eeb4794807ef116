#include "daemon/privilege.h"
#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* capset() of this version takes two words for 64 capabilities. */
enum {
	CAP_VERSION = _LINUX_CAPABILITY_VERSION_3,
	CAP_WORDS = _LINUX_CAPABILITY_U32S_3
};

int privilege_find(const char *name, struct privilege_user *user,
		   struct err *err)
{
	const struct passwd *found = getpwnam(name);

	if (!found)
		return err_set(err,
			       "there is no user '%s': make it (adduser "
			       "--system --group %s), or give another --user",
			       name, name);
	if (found->pw_uid == 0)
		return err_set(err,
			       "--user %s is root: give a user of tideoverd's "
			       "own",
			       name);
	if (geteuid() != 0 && geteuid() != found->pw_uid)
		return err_set(err, "only root can become user '%s'", name);
	*user = (struct privilege_user){ name, found->pw_uid, found->pw_gid };
	return 0;
}

/* Only what we made ourselves is given away, and no link is followed. */
static int make_state_dir(const struct privilege_user *user,
			  const char *state_dir, struct err *err)
{
	char *copy = mem_dup(state_dir);
	int fd = -1, result = -1;

	if (file_make_dirs(dirname(copy), 0755, err) < 0)
		goto out;
	if (mkdir(state_dir, 0700) < 0) {
		result = errno == EEXIST ?
				 0 :
				 err_errno(err, "cannot make folder %s",
					   state_dir);
		goto out;
	}
	fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fchown(fd, user->uid, user->gid) < 0)
		err_errno(err, "cannot give %s to %s", state_dir, user->name);
	else
		result = 0;
out:
	if (fd >= 0)
		close(fd);
	free(copy);
	return result;
}

static int change_user(const struct privilege_user *user, struct err *err)
{
	/* Else the capabilities would go with the user. */
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 ||
	    initgroups(user->name, user->gid) < 0 ||
	    setresgid(user->gid, user->gid, user->gid) < 0 ||
	    setresuid(user->uid, user->uid, user->uid) < 0 ||
	    prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		return err_errno(err, "cannot become user '%s'", user->name);
	return 0;
}

/* What execve() could give back; a kernel that forbids this gives nothing. */
static int close_the_way_back(struct err *err)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EPERM)
			return err_errno(err, "cannot drop capability %d", cap);
	return 0;
}

int privilege_become(const struct privilege_user *user, const char *state_dir,
		     struct err *err)
{
	if (geteuid() == 0 &&
	    (make_state_dir(user, state_dir, err) < 0 ||
	     close_the_way_back(err) < 0 || change_user(user, err) < 0))
		return -1;
	if (access(state_dir, R_OK | W_OK | X_OK) < 0 && errno == EACCES)
		return err_set(err,
			       "user '%s' may not write in %s: chown -R %s %s",
			       user->name, state_dir, user->name, state_dir);
	return 0;
}

static int keep_binding_alone(struct err *err)
{
	const uint32_t bind = BIT(CAP_NET_BIND_SERVICE);
	struct __user_cap_header_struct header = { .version = CAP_VERSION };
	struct __user_cap_data_struct caps[CAP_WORDS] = { 0 };

	if (syscall(SYS_capget, &header, caps) < 0)
		return err_errno(err, "cannot read our capabilities");
	caps[0].permitted &= bind;
	caps[0].effective = caps[0].permitted;
	caps[0].inheritable = 0;
	for (int i = 1; i < CAP_WORDS; i++)
		caps[i] = (struct __user_cap_data_struct){ 0 };
	if (syscall(SYS_capset, &header, caps) < 0)
		return err_errno(err, "cannot drop our capabilities");
	return 0;
}

int privilege_drop(struct err *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(err, "cannot refuse new privileges");
	return geteuid() == 0 ? 0 : keep_binding_alone(err);
}

int privilege_hide_memory(struct err *err)
{
	if (setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }) < 0 ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_errno(err, "cannot turn core dumps off");
	return 0;
}
