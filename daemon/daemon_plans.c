#include "daemon/daemon.h"
#include "base/file.h"
#include "base/log.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOG_MODULE "daemon"

struct cutover *daemon_find(struct daemon *daemon, const char *plan)
{
	for (size_t i = 0; i < daemon->cutover_count; i++)
		if (strcmp(daemon->cutovers[i]->plan->name, plan) == 0)
			return daemon->cutovers[i];
	return NULL;
}

struct cutover *daemon_find_domain(struct daemon *daemon, struct slice domain)
{
	for (size_t i = 0; i < daemon->cutover_count; i++)
		if (cutover_domain(daemon->cutovers[i], domain))
			return daemon->cutovers[i];
	return NULL;
}

int daemon_listen(struct daemon *daemon, struct cutover *cutover,
		  struct err *err)
{
	const struct plan_strings *listen = &cutover->plan->queue_mx.listen;

	for (size_t i = 0; i < listen->count; i++) {
		if (listeners_open(daemon->listeners, listen->at[i],
				   cutover->plan->queue_mx.host,
				   cutover->tls_server, err) == 0)
			continue;
		while (i-- > 0)
			listeners_close(daemon->listeners, listen->at[i],
					cutover->tls_server);
		return -1;
	}
	return 0;
}

static void add_cutover(struct daemon *daemon, struct cutover *cutover)
{
	daemon->cutovers =
		mem_grow(daemon->cutovers, (daemon->cutover_count + 1) *
						   sizeof(struct cutover *));
	daemon->cutovers[daemon->cutover_count++] = cutover;
}

static void node_alerts(void *ctx, struct json *all)
{
	const struct daemon *daemon = ctx;
	char *text = listeners_overload(daemon->listeners);

	if (text)
		json_add_text(all, text);
	free(text);
	if (daemon->space_short)
		json_add_text(all,
			      daemon->inodes_short ?
				      "inodes are below the reserve: new mail "
				      "gets 452: remove files from the disk of "
				      "the state folder" :
				      "disk space is below the reserve: new "
				      "mail gets 452: give the state folder "
				      "more");
	if (daemon->damaged == 0)
		return;
	text = mem_printf("the spool is damaged in %llu places: what was kept "
			  "there could not be read when tideoverd started, and "
			  "is copied to quarantine: ask `tideover spool "
			  "verify` what is missing",
			  (unsigned long long)daemon->damaged);
	json_add_text(all, text);
	free(text);
}

static void others_inflow(void *ctx, const struct cutover *but,
			  double *per_hour, double *bytes_per_hour)
{
	const struct daemon *daemon = ctx;

	*per_hour = *bytes_per_hour = 0;
	for (size_t i = 0; i < daemon->cutover_count; i++) {
		const struct cutover *other = daemon->cutovers[i];
		double messages, bytes;

		if (other == but || !phase_accepts(other->phase) ||
		    !check_inflow(other->facts, &messages, &bytes))
			continue;
		*per_hour += messages;
		*bytes_per_hour += bytes;
	}
}

static struct cutover_env env_of(struct daemon *daemon)
{
	return (struct cutover_env){
		.loop = daemon->loop,
		.store = &daemon->store,
		.queue = daemon->queue,
		.state_dir = daemon->state_dir,
		.keyring = daemon->store.keyring,
		.supervisor = daemon->supervisor,
		.started_ms = daemon->started_ms,
		.tls_floor = daemon->config->tls_floor,
		.sandbox = daemon->sandbox,
		.alerts = node_alerts,
		.others = others_inflow,
		.ctx = daemon,
	};
}

static void reload_plan(struct daemon *daemon, const char *name)
{
	char *path =
		mem_printf("%s/plans/%s/plan.json", daemon->state_dir, name);
	struct cutover_env env = env_of(daemon);
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;
	struct cutover *cutover = NULL;
	struct plan *plan = NULL;
	char *origin =
		mem_printf("%s/plans/%s/origin", daemon->state_dir, name);
	struct buf from = BUF_INIT;

	/* Relative files of a plan are beside the file it was loaded from. */
	if (file_read(path, PLAN_MAX_BYTES, &text, &err) == 0 &&
	    file_read(origin, 4096, &from, &err) == 0)
		plan = plan_parse(buf_slice(&text), buf_text(&from), &err);
	if (plan)
		cutover = cutover_new(&env, plan, &err);
	if (cutover)
		add_cutover(daemon, cutover);
	else {
		log_error("plan %s is not under way: %s", name, err.text);
		plan_free(plan);
	}
	buf_release(&text);
	buf_release(&from);
	free(path);
	free(origin);
}

void daemon_reload_plans(struct daemon *daemon)
{
	char *path = mem_printf("%s/plans", daemon->state_dir);
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char *plan = mem_printf("%s/%s/plan.json", path, entry->d_name);

		if (entry->d_name[0] != '.' && file_exists(plan)) {
			reload_plan(daemon, entry->d_name);
			/* Its mail lives, be it under way or not. */
			backlog_load(daemon->backlog, entry->d_name,
				     daemon->sequence);
		}
		free(plan);
	}
	if (dir)
		closedir(dir);
	free(path);
}

static int check_conflicts(struct daemon *daemon, const struct plan *plan,
			   struct err *err)
{
	for (size_t i = 0; i < plan->domain_count; i++) {
		const struct cutover *other = daemon_find_domain(
			daemon, slice(plan->domains[i].name));

		if (other && other->phase != PHASE_FINISHED)
			return err_set(err,
				       "domain %s is in the active plan "
				       "'%s' already: finish that one first",
				       plan->domains[i].name,
				       other->plan->name);
	}
	return 0;
}

/* What comes before the plan can be another. */
static char *way_out(const struct cutover *cutover)
{
	const char *name = cutover->plan->name;

	switch (cutover->phase) {
	case PHASE_PLANNED:
	case PHASE_FINISHED:
		return mem_printf("tideover remove %s", name);
	case PHASE_OPENING:
		return mem_printf("tideover start %s --abort, then tideover "
				  "remove %s",
				  name, name);
	default:
		return mem_dup("finish it");
	}
}

static struct cutover *load_again(struct cutover *cutover,
				  const struct plan *plan, bool *known,
				  int *status, struct err *err)
{
	struct buf diff = BUF_INIT;
	char *out;

	plan_diff(cutover->plan, plan, &diff);
	if (diff.len == 0) {
		*known = true;
		return cutover;
	}
	while (diff.len && diff.p[diff.len - 1] == '\n')
		diff.p[--diff.len] = '\0';
	for (size_t i = 0; i < diff.len; i++)
		if (diff.p[i] == '\n')
			diff.p[i] = ';';
	out = way_out(cutover);
	err_set(err,
		"plan '%s' is %s with other contents (%s): keep the plan "
		"as it was started, or first %s",
		plan->name, phase_name(cutover->phase), buf_text(&diff), out);
	free(out);
	buf_release(&diff);
	*status = 409;
	return NULL;
}

static int keep_origin(struct daemon *daemon, const struct plan *plan,
		       struct err *err)
{
	char *path =
		mem_printf("%s/plans/%s/origin", daemon->state_dir, plan->name);
	int result = file_write(path, slice(plan->path), 0600, err);

	free(path);
	return result;
}

struct cutover *daemon_load(struct daemon *daemon, struct slice text,
			    const char *path, bool *known, int *status,
			    struct err *err)
{
	struct cutover_env env = env_of(daemon);
	struct plan *plan = plan_parse(text, path, err);
	struct cutover *cutover;

	*known = false;
	*status = 400;
	if (!plan)
		return NULL;
	*status = 409;
	if (!daemon->ready) {
		err_set(err, "tideoverd is still starting");
		goto fail;
	}
	cutover = daemon_find(daemon, plan->name);
	if (cutover) {
		cutover = load_again(cutover, plan, known, status, err);
		plan_free(plan);
		return cutover;
	}
	if (check_conflicts(daemon, plan, err) < 0)
		goto fail;
	/* From here on it is the machine that says no, not the plan. */
	*status = 503;
	cutover = cutover_new(&env, plan, err);
	if (!cutover)
		goto fail;
	if (keep_origin(daemon, plan, err) < 0 ||
	    daemon_listen(daemon, cutover, err) < 0) {
		cutover_free(cutover);
		return NULL;
	}
	cutover->last_sequence = daemon->sequence;
	add_cutover(daemon, cutover);
	cutover_run(cutover);
	return cutover;
fail:
	plan_free(plan);
	return NULL;
}

static void remove_dir(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char *file = mem_printf("%s/%s", path, entry->d_name);

		if (entry->d_name[0] != '.' && unlink(file) < 0)
			log_warn("cannot remove %s: %m", file);
		free(file);
	}
	if (dir)
		closedir(dir);
	if (rmdir(path) < 0)
		log_warn("cannot remove %s: %m", path);
}

/* First: a plan without it is not taken up again, should we end half-way. */
static void remove_plan_file(const char *dir)
{
	char *path = mem_printf("%s/plan.json", dir);

	if (unlink(path) < 0 || file_sync_dir(dir, NULL) < 0)
		log_warn("cannot remove %s: %m", path);
	free(path);
}

static bool key_is_held(struct daemon *daemon, const char *plan)
{
	struct data_key *key = keyring_find(daemon->store.keyring, plan);

	return key && data_key_holds(key) > 0;
}

int daemon_remove(struct daemon *daemon, struct cutover *cutover,
		  struct err *err)
{
	const struct plan *plan = cutover->plan;
	const struct job *job;
	char *dir;

	if (cutover->phase == PHASE_OPENING)
		return err_set(err,
			       "plan '%s' is opening: tideover start %s "
			       "--abort first",
			       plan->name, plan->name);
	if (cutover->phase != PHASE_FINISHED && cutover->phase != PHASE_PLANNED)
		return err_set(err, "plan '%s' is %s: finish it first",
			       plan->name, phase_name(cutover->phase));
	for (size_t i = 0; i < plan->domain_count; i++) {
		const struct queue_ledger *ledger =
			&cutover->domains[i].queue->ledger;

		if (ledger->waiting + ledger->held > 0)
			return err_set(err,
				       "%s still has mail: release or "
				       "discard it first",
				       plan->domains[i].name);
	}
	job = job_find(&daemon->jobs, plan->name, NULL);
	if (job)
		return err_set(err, "%s of plan '%s' is under way", job->what,
			       plan->name);
	if (cutover->coming > 0 || key_is_held(daemon, plan->name))
		return err_set(err,
			       "mail of plan '%s' is on its way in: try again "
			       "in a moment",
			       plan->name);
	for (size_t i = 0; i < plan->queue_mx.listen.count; i++)
		listeners_close(daemon->listeners, plan->queue_mx.listen.at[i],
				cutover->tls_server);
	for (size_t i = 0; i < daemon->cutover_count; i++)
		if (daemon->cutovers[i] == cutover)
			daemon->cutovers[i] =
				daemon->cutovers[--daemon->cutover_count];
	backlog_forget(daemon->backlog, plan->name);
	index_remove_plan(daemon->store.index, plan->name);
	keyring_forget(daemon->store.keyring, plan->name);
	dir = mem_dup(cutover->dir);
	remove_plan_file(dir);
	queue_remove_plan(daemon->queue, plan->name);
	cutover_free(cutover);
	remove_dir(dir);
	free(dir);
	return 0;
}
