/* tideoverd: the queueing MX. */

#include "base/log.h"
#include "daemon/daemon.h"
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOG_MODULE "main"

static const char usage[] =
	"usage: tideoverd --state DIR [--background-log FILE] [--verbose]\n"
	"                 [--log-addresses]\n"
	"\n"
	"The queueing MX of tideover.  Plans are started with `tideover start`;\n"
	"plans that were under way in DIR are taken up again.\n"
	"\n"
	"  --state DIR            where spool, index, plans and journals live\n"
	"  --background-log FILE  append the log to FILE instead of stderr\n"
	"  --verbose              log more\n"
	"  --log-addresses        write recipients' addresses into the log\n"
	"  --version, --help\n"
	"\n"
	"Exit status: 0 stopped cleanly, 1 failed, 2 usage.\n";

enum {
	OPT_STATE = 1,
	OPT_LOG,
	OPT_VERBOSE,
	OPT_ADDRESSES,
	OPT_VERSION,
	OPT_HELP
};

static const struct option options[] = {
	{ "state", required_argument, NULL, OPT_STATE },
	{ "background-log", required_argument, NULL, OPT_LOG },
	{ "verbose", no_argument, NULL, OPT_VERBOSE },
	{ "log-addresses", no_argument, NULL, OPT_ADDRESSES },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "help", no_argument, NULL, OPT_HELP },
	{ 0 },
};

static int log_to(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (fd < 0) {
		perror(path);
		return -1;
	}
	if (dup2(fd, STDERR_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0) {
		perror(path);
		return -1;
	}
	close(fd);
	return 0;
}

/* Ten thousand sessions need as many descriptors. */
static void raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int main(int argc, char **argv)
{
	const char *state = NULL, *log = NULL;
	enum log_level level = LOG_LEVEL_INFO;
	struct err err = ERR_INIT;
	struct daemon *daemon;
	bool addresses = false;
	int option, result;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case OPT_STATE:
			state = optarg;
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
			puts("tideoverd " TIDEOVER_VERSION);
			return 0;
		case OPT_HELP:
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (!state || optind < argc) {
		fputs(usage, stderr);
		return 2;
	}
	if (log && log_to(log) < 0)
		return 1;
	log_setup("tideoverd", level, addresses);
	raise_limits();
	daemon = daemon_new(state, &err);
	if (!daemon) {
		log_error("%s", err.text);
		return 1;
	}
	result = daemon_run(daemon, &err);
	if (result < 0)
		log_error("%s", err.text);
	daemon_free(daemon);
	return result < 0 ? 1 : 0;
}
