#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "cutover/supervisor.h"
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ETC  "/etc/systemd/system/"
#define RUN  "/run/systemd/system/"
#define USR  "/usr/lib/systemd/system/"
#define UNIT "tideoverd.service"
#define LINK ETC "multi-user.target.wants/" UNIT

#define CGROUP	 "/proc/self/cgroup", "0::/system.slice/" UNIT "\n"
#define ALWAYS	 "[Service]\nRestart=always\n"
#define NO	 "[Service]\nRestart=no\n"
#define INSTANCE "/proc/self/cgroup", "0::/system.slice/tideoverd@mx1.service\n"

enum {
	FILES_MAX = 8
};

struct file {
	const char *path, *text;
};

static const struct {
	const char *promise;
	struct file files[FILES_MAX];
	const char *restart, *from, *enabled; /* NULL: why is not "" */
	const char *why;
} roots[] = {
	{ "our unit, enabled",
	  { { CGROUP }, { USR UNIT, ALWAYS }, { LINK, "" } },
	  "always",
	  USR UNIT,
	  LINK,
	  NULL },
	{ "enabled by whoever packed it",
	  { { CGROUP },
	    { USR UNIT, ALWAYS },
	    { USR "multi-user.target.wants/" UNIT, "" } },
	  "always",
	  USR UNIT,
	  USR "multi-user.target.wants/" UNIT,
	  NULL },
	{ "a target that requires it",
	  { { CGROUP },
	    { USR UNIT, ALWAYS },
	    { ETC "mail.target.requires/" UNIT, "" } },
	  "always",
	  USR UNIT,
	  ETC "mail.target.requires/" UNIT,
	  NULL },
	{ "a link in /run is gone after a reboot",
	  { { CGROUP },
	    { USR UNIT, ALWAYS },
	    { RUN "multi-user.target.wants/" UNIT, "" } },
	  "always",
	  USR UNIT,
	  "",
	  NULL },
	{ "the link of another unit enables another",
	  { { CGROUP },
	    { USR UNIT, ALWAYS },
	    { ETC "multi-user.target.wants/other.service", "" } },
	  "always",
	  USR UNIT,
	  "",
	  NULL },
	{ "nothing is the default",
	  { { CGROUP }, { USR UNIT, "[Service]\nRestartSec=always\n" } },
	  "",
	  "",
	  "",
	  NULL },
	{ "a unit in /etc takes the place of the packed one",
	  { { CGROUP }, { USR UNIT, ALWAYS }, { ETC UNIT, NO }, { LINK, "" } },
	  "no",
	  ETC UNIT,
	  LINK,
	  NULL },
	{ "a drop-in goes before the unit",
	  { { CGROUP },
	    { ETC UNIT, ALWAYS },
	    { USR UNIT ".d/10-no.conf", NO },
	    { LINK, "" } },
	  "no",
	  USR UNIT ".d/10-no.conf",
	  LINK,
	  NULL },
	{ "the last drop-in by name counts, whatever its folder",
	  { { CGROUP },
	    { ETC UNIT, NO },
	    { ETC UNIT ".d/10-a.conf", NO },
	    { USR UNIT ".d/20-b.conf", ALWAYS } },
	  "always",
	  USR UNIT ".d/20-b.conf",
	  "",
	  NULL },
	{ "of one name the first folder counts",
	  { { CGROUP },
	    { ETC UNIT, ALWAYS },
	    { USR UNIT ".d/a.conf", NO },
	    { ETC UNIT ".d/a.conf", "[Service]\nNice=1\n" } },
	  "always",
	  ETC UNIT,
	  "",
	  NULL },
	{ "a drop-in for all services",
	  { { CGROUP }, { ETC UNIT, ALWAYS }, { ETC "service.d/a.conf", NO } },
	  "no",
	  ETC "service.d/a.conf",
	  "",
	  NULL },
	{ "what does not end in .conf is none",
	  { { CGROUP },
	    { ETC UNIT, ALWAYS },
	    { ETC UNIT ".d/a.conf.dpkg-old", NO } },
	  "always",
	  ETC UNIT,
	  "",
	  NULL },
	{ "an instance has its template's file and drop-ins",
	  { { INSTANCE },
	    { USR "tideoverd@.service", ALWAYS },
	    { ETC "tideoverd@.service.d/a.conf",
	      "[Service]\nRestart=on-failure\n" },
	    { ETC "multi-user.target.wants/tideoverd@mx1.service", "" } },
	  "on-failure",
	  ETC "tideoverd@.service.d/a.conf",
	  ETC "multi-user.target.wants/tideoverd@mx1.service",
	  NULL },
	{ "another instance's link is not its own",
	  { { INSTANCE },
	    { USR "tideoverd@.service", ALWAYS },
	    { ETC "multi-user.target.wants/tideoverd@mx2.service", "" } },
	  "always",
	  USR "tideoverd@.service",
	  "",
	  NULL },
	{ "a drop-in of a prefix",
	  { { "/proc/self/cgroup", "0::/system.slice/mx-tideoverd.service\n" },
	    { ETC "mx-tideoverd.service", ALWAYS },
	    { ETC "mx-.service.d/a.conf", NO } },
	  "no",
	  ETC "mx-.service.d/a.conf",
	  "",
	  NULL },
	{ "comments, other sections and continued lines say nothing",
	  { { CGROUP },
	    { ETC UNIT, "[Unit]\nRestart=always\n[Service]\n# Restart=always\n"
			";Restart=always\nExecStart=/bin/a \\\n"
			"# a comment between\nRestart=always\n"
			"Restart = on-success\n[Install]\nRestart=always\n" } },
	  "on-success",
	  ETC UNIT,
	  "",
	  NULL },
	{ "a masked unit is no unit",
	  { { CGROUP }, { ETC UNIT, "" }, { USR UNIT, ALWAYS } },
	  "",
	  "",
	  "",
	  NULL },
	{ "a cgroup below the service's own",
	  { { "/proc/self/cgroup",
	      "0::/system.slice/system-a.slice/" UNIT "/main\n" },
	    { ETC UNIT, ALWAYS } },
	  "always",
	  ETC UNIT,
	  "",
	  NULL },
	{ "several hierarchies",
	  { { "/proc/self/cgroup",
	      "9:name=systemd:/system.slice/" UNIT "\n1:cpu:/\n0::/\n" },
	    { ETC UNIT, ALWAYS } },
	  "always",
	  ETC UNIT,
	  "",
	  NULL },

	{ "a session of a person",
	  { { "/proc/self/cgroup",
	      "0::/user.slice/user-0.slice/session-1.scope\n" } },
	  NULL,
	  NULL,
	  NULL,
	  "session-1.scope is of no system service" },
	{ "a service of a person's, whose units are elsewhere",
	  { { "/proc/self/cgroup",
	      "0::/user.slice/user-7.slice/user@7.service/app.slice/" UNIT
	      "\n" },
	    { ETC UNIT, ALWAYS } },
	  NULL,
	  NULL,
	  NULL,
	  "is of no system service" },
	{ "a namespace shows nothing",
	  { { "/proc/self/cgroup", "0::/\n" } },
	  NULL,
	  NULL,
	  NULL,
	  "/ is of no system service" },
	{ "no cgroup can be read",
	  { { ETC UNIT, ALWAYS } },
	  NULL,
	  NULL,
	  NULL,
	  "its cgroup is of no system service" },
	{ "no file of it is found",
	  { { CGROUP } },
	  NULL,
	  NULL,
	  NULL,
	  UNIT " is in no folder of systemd" },
	{ "a drop-in cannot be read",
	  { { CGROUP }, { ETC UNIT, ALWAYS }, { ETC UNIT ".d/a.conf/x", "" } },
	  NULL,
	  NULL,
	  NULL,
	  "a.conf" },
};

static void write_root(const char *root, const struct file *files)
{
	struct err err = ERR_INIT;

	for (size_t i = 0; i < FILES_MAX && files[i].path; i++) {
		char *path = mem_printf("%s%s", root, files[i].path);
		char *copy = mem_dup(path);

		if (file_make_dirs(dirname(copy), 0755, &err) < 0 ||
		    file_write(path, slice(files[i].text), 0644, &err) < 0)
			fail_msg("%s", err.text);
		free(copy);
		free(path);
	}
}

static void remove_root(const char *root)
{
	char *command = mem_printf("rm -r '%s'", root);

	assert_int_equal(system(command), 0);
	free(command);
}

static void what_systemd_would_do_is_read_from_its_files(void **state)
{
	for (size_t i = 0; i < COUNT(roots); i++) {
		char root[] = "/tmp/tideover-root-XXXXXX";
		struct supervisor found;

		assert_non_null(mkdtemp(root));
		write_root(root, roots[i].files);
		supervisor_read(SUPERVISOR_SYSTEMD, root,
				clock_wall_ms() + 1000, &found);
		if (roots[i].why ? !strstr(found.why, roots[i].why) :
				   found.why[0] != '\0')
			fail_msg("%s: \"%s\"", roots[i].promise, found.why);
		if (!roots[i].why &&
		    (strcmp(found.restart, roots[i].restart) != 0 ||
		     strcmp(found.restart_from, roots[i].from) != 0 ||
		     strcmp(found.enabled, roots[i].enabled) != 0))
			fail_msg("%s: \"%s\" from \"%s\", enabled \"%s\"",
				 roots[i].promise, found.restart,
				 found.restart_from, found.enabled);
		remove_root(root);
	}
}

static void what_was_changed_since_is_not_known(void **state)
{
	static const struct file files[FILES_MAX] = { { CGROUP },
						      { ETC UNIT, ALWAYS },
						      { LINK, "" } };
	char root[] = "/tmp/tideover-root-XXXXXX";
	int64_t before_ms = clock_wall_ms() - 1000;
	struct supervisor found;

	assert_non_null(mkdtemp(root));
	write_root(root, files);
	supervisor_read(SUPERVISOR_SYSTEMD, root, before_ms, &found);
	assert_non_null(strstr(found.why, ETC UNIT " was changed after"));
	assert_string_equal(found.enabled, "");
	remove_root(root);
}

static const struct {
	const char *restart;
	bool restarts;
} settings[] = {
	{ "always", true },	 { "on-failure", true },
	{ "", false },		 { "no", false },
	{ "on-success", false }, { "on-abnormal", false },
	{ "on-abort", false },	 { "on-watchdog", false },
	{ "\"always\"", false },
};

static void a_crash_and_a_failure_are_both_restarted(void **state)
{
	for (size_t i = 0; i < COUNT(settings); i++) {
		struct supervisor found = { 0 };

		snprintf(found.restart, sizeof(found.restart), "%s",
			 settings[i].restart);
		if (supervisor_restarts(&found) != settings[i].restarts)
			fail_msg("Restart=%s", settings[i].restart);
	}
}

static void who_started_us_the_environment_says(void **state)
{
	char *own = mem_printf("%d", getpid());

	unsetenv("SYSTEMD_EXEC_PID");
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(supervisor_kind(), SUPERVISOR_NONE);
	setenv("NOTIFY_SOCKET", "/run/notify", 1);
	assert_int_equal(supervisor_kind(), SUPERVISOR_OTHER);
	setenv("SYSTEMD_EXEC_PID", "1", 1);
	assert_int_equal(supervisor_kind(), SUPERVISOR_NONE);
	setenv("SYSTEMD_EXEC_PID", own, 1);
	assert_int_equal(supervisor_kind(), SUPERVISOR_SYSTEMD);
	free(own);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_systemd_would_do_is_read_from_its_files),
		cmocka_unit_test(what_was_changed_since_is_not_known),
		cmocka_unit_test(a_crash_and_a_failure_are_both_restarted),
		cmocka_unit_test(who_started_us_the_environment_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
