#include "cutover/supervisor.h"
#include "base/file.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	CGROUP_MAX = 16 * 1024,
	UNIT_MAX = 256 * 1024
};

/* systemd.unit(5), "Unit File Load Path"; the first that has a file wins. */
static const char *const folders[] = {
	"/etc/systemd/system.control", "/run/systemd/system.control",
	"/run/systemd/transient",      "/run/systemd/generator.early",
	"/etc/systemd/system",	       "/etc/systemd/system.attached",
	"/run/systemd/system",	       "/run/systemd/system.attached",
	"/run/systemd/generator",      "/usr/local/lib/systemd/system",
	"/lib/systemd/system",	       "/usr/lib/systemd/system",
	"/run/systemd/generator.late",
};

/* What is in /run is gone after the reboot that it should outlive. */
static const char *const lasting[] = {
	"/etc/systemd/system",
	"/usr/local/lib/systemd/system",
	"/lib/systemd/system",
	"/usr/lib/systemd/system",
};

struct reading {
	struct supervisor *found;
	const char *root;
	int64_t began_ms;
};

/*
 * systemd tells its service which process that is (systemd.exec(5)); whatever
 * runs in a terminal or a timer that it started has the rest of that service's
 * environment.  Other supervisors name a socket alone.
 */
enum supervisor_kind supervisor_kind(void)
{
	const char *pid = getenv("SYSTEMD_EXEC_PID");
	uint64_t of;

	if (!pid)
		return getenv("NOTIFY_SOCKET") ? SUPERVISOR_OTHER :
						 SUPERVISOR_NONE;
	return slice_u64(slice(pid), &of) && of == (uint64_t)getpid() ?
		       SUPERVISOR_SYSTEMD :
		       SUPERVISOR_NONE;
}

/* False where the rest is known to be unknown already. */
static bool not_known(struct reading *reading, const char *why,
		      const char *what)
{
	snprintf(reading->found->why, sizeof(reading->found->why), "%s%s", what,
		 why);
	return false;
}

/* Which unit. */

/* systemd's own hierarchy, beside others; "0::" where there is but one. */
static struct slice own_cgroup(struct slice text)
{
	struct slice one = slice("");

	while (text.len > 0) {
		struct slice line = slice_split(&text, '\n');

		slice_split(&line, ':');
		if (slice_is(slice_split(&line, ':'), "name=systemd"))
			return line;
		one = line;
	}
	return one;
}

/* Below its slices; what a service makes below its own cgroup is not it. */
static bool find_unit(struct reading *reading)
{
	struct supervisor *found = reading->found;
	char *path = mem_printf("%s/proc/self/cgroup", reading->root);
	struct buf text = BUF_INIT;
	struct slice left, part = slice("");

	if (file_read(path, CGROUP_MAX, &text, NULL) == 0) {
		left = own_cgroup(buf_slice(&text));
		snprintf(found->cgroup, sizeof(found->cgroup), "%.*s",
			 (int)left.len, left.p);
		while (left.len > 0) {
			part = slice_split(&left, '/');
			if (part.len > 0 && !slice_ends_nocase(part, ".slice"))
				break;
		}
	}
	if (slice_ends_nocase(part, ".service") && !slice_starts(part, "user@"))
		snprintf(found->unit, sizeof(found->unit), "%.*s",
			 (int)part.len, part.p);
	buf_release(&text);
	free(path);
	return found->unit[0] ||
	       not_known(reading, " is of no system service",
			 found->cgroup[0] ? found->cgroup : "its cgroup");
}

/* Files. */

/*
 * Drop-ins for "a-b@c.service" are under that name, "a-b@.service",
 * "a-.service" and "service"; false: there is none broader.
 */
static bool broader(char name[256])
{
	char *dot = strrchr(name, '.'), *end = dot;
	char *at = strchr(name, '@');

	if (!dot)
		return false;
	if (at && at + 1 < dot) {
		memmove(at + 1, dot, strlen(dot) + 1);
		return true;
	}
	if (at)
		end = at;
	else if (end > name && end[-1] == '-')
		end--;
	while (end > name && end[-1] != '-')
		end--;
	memmove(end, end > name ? dot : dot + 1,
		strlen(end > name ? dot : dot + 1) + 1);
	return true;
}

/* The last Restart= of [Service] counts. */
static void read_restart(struct reading *reading, const char *path,
			 struct slice text)
{
	struct supervisor *found = reading->found;
	bool in_service = false, continues = false;

	while (text.len > 0) {
		struct slice line = slice_trim(slice_split(&text, '\n')), key;
		bool continued = continues;

		if (line.len == 0 || line.p[0] == '#' || line.p[0] == ';')
			continue;
		continues = line.p[line.len - 1] == '\\';
		if (continued)
			continue;
		if (line.p[0] == '[')
			in_service = slice_is(line, "[Service]");
		key = slice_trim(slice_split(&line, '='));
		if (!in_service || !slice_is(key, "Restart"))
			continue;
		line = slice_trim(line);
		snprintf(found->restart, sizeof(found->restart), "%.*s",
			 (int)line.len, line.p);
		snprintf(found->restart_from, sizeof(found->restart_from), "%s",
			 path);
	}
}

static bool read_file(struct reading *reading, const char *path)
{
	char *whole = mem_printf("%s%s", reading->root, path);
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;
	struct stat now;
	bool well = false;

	if (file_read(whole, UNIT_MAX, &text, &err) < 0)
		not_known(reading, "", err.text);
	else if (stat(whole, &now) < 0 ||
		 now.st_ctim.tv_sec * (int64_t)1000 +
				 now.st_ctim.tv_nsec / 1000000 >
			 reading->began_ms)
		not_known(reading,
			  " was changed after tideoverd began, and systemd may "
			  "not know it yet",
			  path);
	else
		well = true;
	if (well)
		read_restart(reading, path, buf_slice(&text));
	buf_release(&text);
	free(whole);
	return well;
}

static bool exists(const struct reading *reading, const char *path)
{
	char *whole = mem_printf("%s%s", reading->root, path);
	struct stat is;
	/* A link of `enable` may lead anywhere. */
	bool there = lstat(whole, &is) == 0;

	free(whole);
	return there;
}

static bool find_file_of(struct reading *reading, const char *name)
{
	for (size_t i = 0; i < COUNT(folders); i++) {
		snprintf(reading->found->file, sizeof(reading->found->file),
			 "%s/%s", folders[i], name);
		if (exists(reading, reading->found->file))
			return true;
	}
	reading->found->file[0] = '\0';
	return false;
}

/* That of the instance, or of its template. */
static bool find_file(struct reading *reading)
{
	char name[256];

	snprintf(name, sizeof(name), "%s", reading->found->unit);
	if (find_file_of(reading, name) ||
	    (strchr(name, '@') && broader(name) && find_file_of(reading, name)))
		return true;
	return not_known(reading, " is in no folder of systemd",
			 reading->found->unit);
}

/* Drop-ins. */

struct drop_ins {
	size_t count;
	char **at; /* paths */
};

static const char *base_name(const char *path)
{
	return strrchr(path, '/') + 1;
}

static int by_base_name(const void *left, const void *right)
{
	return strcmp(base_name(*(char *const *)left),
		      base_name(*(char *const *)right));
}

/* Of the same name the first that is found counts. */
static void add_drop_in(struct drop_ins *all, const char *folder,
			const char *name)
{
	if (!slice_ends_nocase(slice(name), ".conf"))
		return;
	for (size_t i = 0; i < all->count; i++)
		if (strcmp(base_name(all->at[i]), name) == 0)
			return;
	all->at = mem_grow(all->at, (all->count + 1) * sizeof(*all->at));
	all->at[all->count++] = mem_printf("%s/%s", folder, name);
}

static void add_drop_ins(const struct reading *reading, const char *folder,
			 struct drop_ins *all)
{
	char *whole = mem_printf("%s%s", reading->root, folder);
	DIR *dir = opendir(whole);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		add_drop_in(all, folder, entry->d_name);
	if (dir)
		closedir(dir);
	free(whole);
}

static bool read_drop_ins(struct reading *reading)
{
	struct drop_ins all = { 0 };
	char name[256];
	bool well = true;

	snprintf(name, sizeof(name), "%s", reading->found->unit);
	do {
		for (size_t i = 0; i < COUNT(folders); i++) {
			char *folder = mem_printf("%s/%s.d", folders[i], name);

			add_drop_ins(reading, folder, &all);
			free(folder);
		}
	} while (broader(name));
	if (all.count > 0)
		qsort(all.at, all.count, sizeof(*all.at), by_base_name);
	for (size_t i = 0; i < all.count; i++) {
		well = well && read_file(reading, all.at[i]);
		free(all.at[i]);
	}
	free(all.at);
	return well;
}

/* Links. */

static bool wants_it(struct reading *reading, const char *folder,
		     const char *name)
{
	struct supervisor *found = reading->found;

	if (!slice_ends_nocase(slice(name), ".wants") &&
	    !slice_ends_nocase(slice(name), ".requires"))
		return false;
	snprintf(found->enabled, sizeof(found->enabled), "%s/%s/%s", folder,
		 name, found->unit);
	if (exists(reading, found->enabled))
		return true;
	found->enabled[0] = '\0';
	return false;
}

static void find_link(struct reading *reading)
{
	for (size_t i = 0; i < COUNT(lasting) && !reading->found->enabled[0];
	     i++) {
		char *whole = mem_printf("%s%s", reading->root, lasting[i]);
		DIR *dir = opendir(whole);
		const struct dirent *entry;

		while (dir && (entry = readdir(dir)) &&
		       !wants_it(reading, lasting[i], entry->d_name))
			;
		if (dir)
			closedir(dir);
		free(whole);
	}
}

void supervisor_read(enum supervisor_kind kind, const char *root,
		     int64_t began_ms, struct supervisor *supervisor)
{
	struct reading reading = { supervisor, root, began_ms };

	*supervisor = (struct supervisor){ .kind = kind };
	if (kind == SUPERVISOR_OTHER)
		not_known(&reading, "", "it is not systemd");
	if (kind == SUPERVISOR_SYSTEMD && find_unit(&reading) &&
	    find_file(&reading) && read_file(&reading, supervisor->file) &&
	    read_drop_ins(&reading))
		find_link(&reading);
}

bool supervisor_restarts(const struct supervisor *supervisor)
{
	/* systemd.service(5), table 2: the others leave out an exit status. */
	return strcmp(supervisor->restart, "always") == 0 ||
	       strcmp(supervisor->restart, "on-failure") == 0;
}

static void put_known(struct json *json, const char *key, const char *text)
{
	json_put_text(json, key, *text ? text : NULL);
}

struct json *supervisor_json(const struct supervisor *supervisor)
{
	struct json *json = json_object();

	json_put_text(json, "asked",
		      "the environment of tideoverd (SYSTEMD_EXEC_PID, "
		      "NOTIFY_SOCKET), its cgroup and the files of its unit");
	json_put_bool(json, "supervised", supervisor->kind != SUPERVISOR_NONE);
	put_known(json, "cgroup", supervisor->cgroup);
	put_known(json, "unit", supervisor->unit);
	put_known(json, "file", supervisor->file);
	put_known(json, "restart", supervisor->restart);
	put_known(json, "restart_from", supervisor->restart_from);
	put_known(json, "enabled", supervisor->enabled);
	put_known(json, "error", supervisor->why);
	return json;
}
