/* tideoverd: the queueing MX. */

#include "base/file.h"
#include "base/log.h"
#include "daemon/daemon.h"
#include "daemon/heap.h"
#include "daemon/privilege.h"
#include "daemon/sandbox.h"
#include "dns/dns_unbound.h"
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOG_MODULE "main"

static const char usage[] =
	"usage: tideoverd [--config FILE] [--state DIR] [--master-key FILE]\n"
	"                 [--user NAME] [--no-sandbox] [--background-log FILE]\n"
	"                 [--verbose] [--log-addresses]\n"
	"\n"
	"The queueing MX of tideover.  Plans are started with `tideover start`;\n"
	"plans that were under way in DIR are taken up again.\n"
	"\n"
	"  --config FILE          limits, TLS, postmaster, state folder\n"
	"  --state DIR            where spool, index, plans and journals live\n"
	"  --master-key FILE      opens the keys of plans with \"encrypt\"; without it\n"
	"                         the systemd credential tideover-master-key\n"
	"  --user NAME            become NAME; of root's rights only that to listen\n"
	"                         on ports below 1024 is kept\n"
	"  --no-sandbox           without Landlock and seccomp\n"
	"  --background-log FILE  append the log to FILE instead of stderr\n"
	"  --verbose              log more\n"
	"  --log-addresses        write recipients' addresses into the log\n"
	"  --version, --help\n"
	"\n"
	"Exit status: 0 stopped cleanly, 1 failed, 2 usage or an unknown user.\n";

enum {
	OPT_CONFIG = 1,
	OPT_STATE,
	OPT_MASTER_KEY,
	OPT_USER,
	OPT_NO_SANDBOX,
	OPT_LOG,
	OPT_VERBOSE,
	OPT_ADDRESSES,
	OPT_VERSION,
	OPT_HELP
};

enum {
	OWN_FILES = 64 /* at least */
};

static const struct option options[] = {
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "state", required_argument, NULL, OPT_STATE },
	{ "master-key", required_argument, NULL, OPT_MASTER_KEY },
	{ "user", required_argument, NULL, OPT_USER },
	{ "no-sandbox", no_argument, NULL, OPT_NO_SANDBOX },
	{ "background-log", required_argument, NULL, OPT_LOG },
	{ "verbose", no_argument, NULL, OPT_VERBOSE },
	{ "log-addresses", no_argument, NULL, OPT_ADDRESSES },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "help", no_argument, NULL, OPT_HELP },
	{ 0 },
};

static int log_to(const char *path, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_errno(err, "cannot open the log %s", path);
	if (dup2(fd, STDERR_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0) {
		err_errno(err, "cannot write the log to %s", path);
		close(fd);
		return -1;
	}
	close(fd);
	return 0;
}

/*
 * Ten thousand sessions need as many descriptors.  Where there are fewer, some
 * are kept for the spool, which gives up when it cannot open a segment, for
 * large bodies, and for what we connect to.  A quarter of them is for peers that
 * do not close: no session any more, they could take all the same.
 */
static void raise_limits(struct config *config)
{
	struct rlimit limit;
	rlim_t kept, most;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	kept = limit.rlim_max / 8 > OWN_FILES ? limit.rlim_max / 8 : OWN_FILES;
	most = limit.rlim_max > kept ? limit.rlim_max - kept : 1;
	if (most > config->network.sessions)
		kept = limit.rlim_max - config->network.sessions;
	config->leaving = (size_t)kept / 4;
	if (most >= config->network.sessions)
		return;
	log_warn("%llu open files are enough for %llu sessions, not for %u: "
		 "raise the limit of open files, or lower limits.sessions",
		 (unsigned long long)limit.rlim_max, (unsigned long long)most,
		 config->network.sessions);
	config->network.sessions = (unsigned)most;
}

/* Gives up what we do not need; the log is opened as the user we become. */
static int settle(const struct privilege_user *user, const char *state,
		  const char *log, struct err *err)
{
	if (user && privilege_become(user, state, err) < 0)
		return -1;
	if (log && log_to(log, err) < 0)
		return -1;
	if (geteuid() == 0)
		log_warn("running as root: give --user NAME, which keeps only "
			 "the right to listen on ports below 1024");
	if (privilege_drop(err) < 0)
		return -1;
	return privilege_hide_memory(err);
}

static void enter_sandbox(const char *state, bool wanted,
			  struct sandbox *sandbox)
{
	if (wanted)
		sandbox_enter(state, sandbox);
	else
		sandbox_none(sandbox);
	if (sandbox->landlock && sandbox->seccomp)
		log_info("sandbox: %s", sandbox->text);
	else
		log_warn("sandbox: %s", sandbox->text);
}

/* Which state folder: the option goes before the file. */
static int configure(const char *file, const char *state, struct config *config,
		     struct err *err)
{
	config_default(config);
	if (file && config_read(file, config, err) < 0)
		return -1;
	if (state)
		mem_replace(&config->state, state);
	if (!config->state)
		return err_set(err,
			       "%s names no state folder: give \"state\" in "
			       "it, or --state DIR",
			       file);
	return 0;
}

/* systemd.exec(5), LoadCredential=. */
static char *find_credential(void)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	char *path = dir ? mem_printf("%s/tideover-master-key", dir) : NULL;

	if (path && file_exists(path))
		return path;
	free(path);
	return NULL;
}

/* As whoever started us: the user we become need not be able to read it. */
static struct keyring *open_keyring(const struct config *config,
				    struct err *err)
{
	struct keyring *keyring = keyring_new();

	if (!config->master_key ||
	    keyring_read_master(keyring, config->master_key, err) == 0)
		return keyring;
	keyring_free(keyring);
	return NULL;
}

/* As daemon_run(). */
static int serve(const struct config *config, struct keyring *keyring,
		 const struct sandbox *sandbox, struct err *err)
{
	struct daemon *daemon = daemon_new(config, keyring, err);
	int result;

	if (!daemon)
		return -1;
	daemon->sandbox = sandbox->text;
	result = daemon_run(daemon, err);
	daemon_free(daemon);
	return result;
}

static int run(struct config *config, const char *name, const char *log,
	       bool sandboxed)
{
	struct err err = ERR_INIT;
	struct privilege_user user;
	struct sandbox sandbox;
	struct keyring *keyring;
	int result = 1;

	if (name && privilege_find(name, &user, &err) < 0) {
		log_error("%s", err.text);
		return 2;
	}
	heap_keep();
	keyring = open_keyring(config, &err);
	/* Without the keyring the log is opened all the same: it says why. */
	if (settle(name ? &user : NULL, config->state, log,
		   keyring ? &err : NULL) < 0 ||
	    !keyring) {
		log_error("%s", err.text);
		keyring_free(keyring);
		return 1;
	}
	raise_limits(config);
	enter_sandbox(config->state, sandboxed, &sandbox);
	/* A corrupt index is worth one more start, with a new one. */
	for (int i = 0; i < 2 && result == 1; i++)
		result = serve(config, keyring, &sandbox, &err);
	if (result < 0)
		log_error("%s", err.text);
	keyring_free(keyring);
	return result == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	const char *file = NULL, *state = NULL, *log = NULL, *name = NULL;
	const char *master_key = NULL;
	enum log_level level = LOG_LEVEL_INFO;
	bool addresses = false, sandboxed = true;
	struct config config;
	struct err err = ERR_INIT;
	int option, status = 2;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case OPT_CONFIG:
			file = optarg;
			break;
		case OPT_STATE:
			state = optarg;
			break;
		case OPT_MASTER_KEY:
			master_key = optarg;
			break;
		case OPT_USER:
			name = optarg;
			break;
		case OPT_NO_SANDBOX:
			sandboxed = false;
			break;
		case OPT_LOG:
			log = optarg;
			break;
		case OPT_VERBOSE:
			level = LOG_LEVEL_DEBUG;
			break;
		case OPT_ADDRESSES:
			addresses = true;
			break;
		case OPT_VERSION:
			printf("tideoverd " TIDEOVER_VERSION "%s%s\n",
			       dns_unbound_version() ? ", libunbound " : "",
			       dns_unbound_version() ? dns_unbound_version() :
						       "");
			return 0;
		case OPT_HELP:
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if ((!state && !file) || optind < argc) {
		fputs(usage, stderr);
		return 2;
	}
	log_setup("tideoverd", level, addresses);
	if (configure(file, state, &config, &err) == 0) {
		config.master_key =
			master_key ? mem_dup(master_key) : find_credential();
		status = run(&config, name, log, sandboxed);
	} else {
		log_error("%s", err.text);
	}
	config_release(&config);
	return status;
}
