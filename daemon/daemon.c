#include "daemon/daemon.h"
#include "base/clock.h"
#include "base/log.h"
#include "spool/evidence.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define LOG_MODULE "daemon"

enum {
	STATE_VERSION = 1,
	STATE_SEALED = 2, /* cutover.c: has sealed records */
	SPACE_EVERY_MS = 2000,
	SHUTDOWN_MS = 3000, /* for transactions under way */
	SHUTDOWN_LOOK_MS = 50,
	CERTIFICATE_EVERY_MS = 10000,
	OUR_FIELDS = 64 * 1024, /* kept free below a target's limit */
	INODES_RESERVE = 1000,
};

/* 5 % of the disk, at least 64 MiB, at most 2 GiB. */
static uint64_t reserve_for(uint64_t total_bytes)
{
	uint64_t reserve = total_bytes / 20;

	if (reserve < 64ull << 20)
		reserve = 64ull << 20;
	return reserve < 2ull << 30 ? reserve : 2ull << 30;
}

/* What sessions ask. */

static struct cutover *cutover_for(struct daemon *daemon, struct slice domain)
{
	for (size_t i = 0; i < daemon->cutover_count; i++)
		if (cutover_domain(daemon->cutovers[i], domain))
			return daemon->cutovers[i];
	return NULL;
}

static void answer(struct acceptance_answer *to, int code, const char *text)
{
	*to = (struct acceptance_answer){ .code = code };
	snprintf(to->text, sizeof(to->text), "%s", text);
}

static void look_at_space(struct daemon *daemon);

/* Who says how large it is need not send it first. */
static bool has_space_for(struct daemon *daemon, uint64_t size)
{
	if (size > daemon->space_left)
		look_at_space(daemon);
	return !daemon->space_short && (size <= daemon->space_left ||
					spool_space_can_free(daemon->space));
}

static void admit(void *ctx, uint64_t size, struct acceptance_answer *to)
{
	struct daemon *daemon = ctx;

	if (!daemon->accepting)
		answer(to, 451, "4.3.2 still starting, try again");
	else if (spool_writer_broken(daemon->store.spool))
		answer(to, 451, "4.3.0 mail cannot be kept now, try again");
	else if (!has_space_for(daemon, size))
		answer(to, 452, "4.3.1 not enough space, try again later");
	else
		answer(to, 250, "");
}

static uint64_t plan_max_bytes(const struct cutover *cutover)
{
	uint64_t most = UINT64_MAX;

	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		const struct plan_system *systems =
			cutover->plan->domains[i].systems;

		for (int s = 0; s < (cutover->plan->plain ? 1 : 2); s++)
			if (systems[s].max_bytes < most)
				most = systems[s].max_bytes;
	}
	return most > OUR_FIELDS ? most - OUR_FIELDS : most;
}

static uint64_t max_bytes(void *ctx)
{
	const struct daemon *daemon = ctx;
	uint64_t most = 0;

	for (size_t i = 0; i < daemon->cutover_count; i++) {
		uint64_t one = plan_max_bytes(daemon->cutovers[i]);

		if (one > most)
			most = one;
	}
	return most;
}

static bool utf8(void *ctx)
{
	const struct daemon *daemon = ctx;

	for (size_t i = 0; i < daemon->cutover_count; i++)
		if (!cutover_targets_take_utf8(daemon->cutovers[i]))
			return false;
	return daemon->cutover_count > 0;
}

static void recipient(void *ctx, const struct smtp_path *path,
		      struct slice address, const char *plan, uint64_t size,
		      struct acceptance_answer *to)
{
	struct daemon *daemon = ctx;
	struct cutover *cutover;
	const char *postmaster = daemon->config->postmaster;
	struct smtp_mailbox mailbox = path->mailbox;
	char domain[SMTP_DOMAIN];

	if (path->postmaster &&
	    (!postmaster ||
	     smtp_mailbox_parse(slice(postmaster), &mailbox, NULL) < 0)) {
		answer(to, 450, "4.2.1 no postmaster is set for this host");
		return;
	}
	cutover = smtp_domain_normal(mailbox.domain, domain) ?
			  cutover_for(daemon, slice(domain)) :
			  NULL;
	if (!cutover) {
		answer(to, 550, "5.7.1 relaying denied: not a domain of ours");
		return;
	}
	if (smtp_local_routes(mailbox.local) &&
	    !(cutover->plan->recipients.listed &&
	      recipients_has(&cutover->recipients, address))) {
		answer(to, 550,
		       "5.7.1 relaying denied: the local part names "
		       "a further host");
		return;
	}
	if (!phase_accepts(cutover->phase)) {
		answer(to, 451,
		       "4.3.2 not accepting for this domain now, "
		       "ask DNS again");
		return;
	}
	if (cutover_sends_on(cutover, slice(domain))) {
		answer(to, 451, "4.3.2 the primary MX is well: deliver there");
		return;
	}
	if (plan && strcmp(plan, cutover->plan->name) != 0) {
		answer(to, 452, "4.5.3 send to this recipient separately");
		return;
	}
	if (size > plan_max_bytes(cutover)) {
		answer(to, 552, "5.3.4 too big for the destination");
		return;
	}
	if (cutover->plan->recipients.listed && !path->postmaster &&
	    !slice_is_nocase(path->mailbox.local, "postmaster") &&
	    !recipients_has(&cutover->recipients, address)) {
		if (cutover->plan->recipients.unknown == UNKNOWN_REFUSE)
			answer(to, 550, "5.1.1 no such recipient");
		else
			answer(to, 450, "4.1.1 recipient not known yet");
		return;
	}
	answer(to, 250, "");
	to->plan = cutover->plan->name;
	to->address = path->postmaster ? postmaster : NULL;
}

static uint64_t sequence(void *ctx)
{
	struct daemon *daemon = ctx;

	return ++daemon->sequence;
}

/* A mailbox that is held keeps what comes for it behind what it holds. */
static void hold_behind(struct daemon *daemon, struct queue_envelope *envelope)
{
	struct record_state state = {
		.id = envelope->message->id,
		.envelope = envelope->index,
		.state = ENVELOPE_HELD,
		.mailbox = true,
		.at_ms = clock_wall_ms(),
		.by = slice("tideoverd"),
		.reason = slice("behind older mail of a held mailbox"),
	};

	store_state(&daemon->store, envelope->mailbox->domain->plan, &state,
		    NULL, NULL);
	queue_hold(envelope, true);
}

static void accepted(void *ctx, const struct record_message *message,
		     const struct spool_place *place)
{
	struct daemon *daemon = ctx;
	char *plan = slice_dup(message->plan);
	struct cutover *cutover = daemon_find(daemon, plan);

	volume_add(&daemon->arrivals, message->body_bytes, clock_mono_ms());
	backlog_accept(daemon->backlog, message, place);
	if (cutover) {
		cutover_arrived(cutover, message->sequence, message->body_bytes,
				message->envelope_count);
		for (size_t i = 0; i < cutover->target_count; i++)
			replay_kick(cutover->targets[i]->replay);
	}
	free(plan);
}

static void ended(void *ctx, void *session)
{
	struct daemon *daemon = ctx;

	listeners_session_ended(daemon->listeners, session);
}

static void look_at_space(struct daemon *daemon)
{
	struct file_space space;
	bool was_short = daemon->space_short, is_short;
	uint64_t unwritten = spool_writer_unwritten(daemon->store.spool);

	if (file_space(daemon->state_dir, &space, NULL) < 0)
		return;
	space.free_bytes -=
		unwritten < space.free_bytes ? unwritten : space.free_bytes;
	daemon->reserve_bytes = reserve_for(space.total_bytes);
	daemon->space_left = space.free_bytes > daemon->reserve_bytes ?
				     space.free_bytes - daemon->reserve_bytes :
				     0;
	is_short =
		daemon->space_left == 0 ||
		(space.total_inodes > 0 && space.free_inodes < INODES_RESERVE);
	spool_space_is_short(daemon->space, is_short);
	/* Copies go first, as long as that is not a race against the disk. */
	daemon->space_short =
		is_short && (space.free_bytes < daemon->reserve_bytes / 2 ||
			     (space.total_inodes > 0 &&
			      space.free_inodes < INODES_RESERVE / 2) ||
			     !spool_space_can_free(daemon->space));
	if (daemon->space_short != was_short)
		log_warn(
			daemon->space_short ?
				"disk space is below the reserve: new mail gets 452" :
				"disk space is back: accepting again");
}

static void watch_space(void *ctx)
{
	struct daemon *daemon = ctx;

	loop_timer_arm(daemon->space_timer, SPACE_EVERY_MS);
	look_at_space(daemon);
}

/* A thousand large messages at once must not outrun the timer. */
static bool room(void *ctx, uint64_t bytes)
{
	struct daemon *daemon = ctx;

	if (daemon->space_left < bytes)
		look_at_space(daemon);
	daemon->space_left -=
		bytes < daemon->space_left ? bytes : daemon->space_left;
	return !daemon->space_short;
}

/* A certificate that was renewed on disk is taken up without a restart. */
static void reload_certificates(struct daemon *daemon, bool force)
{
	for (size_t i = 0; i < daemon->cutover_count; i++) {
		struct cutover *cutover = daemon->cutovers[i];
		struct err err = ERR_INIT;
		int got = cutover->tls_server ?
				  tls_server_reload(cutover->tls_server, force,
						    &err) :
				  0;

		if (got > 0)
			log_info("plan %s: the certificate was read again",
				 cutover->plan->name);
		else if (got < 0)
			log_error("plan %s: the old certificate stays: %s",
				  cutover->plan->name, err.text);
	}
}

static void watch_certificates(void *ctx)
{
	struct daemon *daemon = ctx;

	loop_timer_arm(daemon->certificate_timer, CERTIFICATE_EVERY_MS);
	reload_certificates(daemon, false);
}

static void hang_up(void *ctx)
{
	log_info("SIGHUP: reading the certificates again");
	reload_certificates(ctx, true);
}

/* The state folder. */

static int take_state_dir(struct daemon *daemon, struct err *err)
{
	char *version = mem_printf("%s/VERSION", daemon->state_dir);
	char *lock = mem_printf("%s/lock", daemon->state_dir);
	struct buf text = BUF_INIT;
	uint64_t number;
	int result = -1;

	if (file_make_dirs(daemon->state_dir, 0700, err) < 0)
		goto out;
	daemon->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (daemon->lock_fd < 0) {
		err_errno(err, "cannot open %s", lock);
		goto out;
	}
	if (flock(daemon->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		err_set(err,
			"another tideoverd uses %s: stop it, or give "
			"another --state",
			daemon->state_dir);
		goto out;
	}
	if (!file_exists(version)) {
		result = file_write(version, slice("1\n"), 0600, err);
		goto out;
	}
	if (file_read(version, 64, &text, err) < 0)
		goto out;
	if (text.len && text.p[text.len - 1] == '\n')
		text.len--;
	if (!slice_u64(buf_slice(&text), &number) || number < STATE_VERSION ||
	    number > STATE_SEALED) {
		err_set(err,
			"%s is of state version '%.*s', this tideoverd "
			"knows versions %d and %d: use the tideoverd that made it, or "
			"another --state",
			daemon->state_dir, (int)text.len, buf_text(&text),
			STATE_VERSION, STATE_SEALED);
		goto out;
	}
	result = 0;
out:
	buf_release(&text);
	free(version);
	free(lock);
	return result;
}

/* Start: spool and index. */

static int scanned(void *ctx, const struct scan_record *record, struct err *err)
{
	struct daemon *daemon = ctx;

	index_put(daemon->store.index, record);
	return 0;
}

static void scanned_bad(void *ctx, const struct scan_bad *bad)
{
	struct daemon *daemon = ctx;
	char *dir = mem_printf("%s/quarantine", daemon->state_dir);
	char *path = mem_printf("%s/%08u-%llu", dir, bad->segment,
				(unsigned long long)bad->offset);
	struct err err = ERR_INIT;

	if (bad->damaged)
		daemon->damaged++;
	else
		daemon->torn++;
	if (file_make_dirs(dir, 0700, &err) < 0 ||
	    file_write(path, bad->bytes, 0600, &err) < 0)
		log_error("quarantine: %s", err.text);
	if (bad->damaged)
		log_error("segment %u: %llu bytes at %llu are damaged; a copy "
			  "is in %s",
			  bad->segment, (unsigned long long)bad->length,
			  (unsigned long long)bad->offset, path);
	else
		log_info("segment %u: %llu torn bytes at %llu, never answered "
			 "250",
			 bad->segment, (unsigned long long)bad->length,
			 (unsigned long long)bad->offset);
	free(dir);
	free(path);
}

static int open_spool(struct daemon *daemon, struct err *err)
{
	static const struct scan_visitor visitor = {
		.on_record = scanned,
		.on_bad = scanned_bad,
	};
	static const struct scan_visitor whole = {
		.on_record = scanned,
		.on_bad = scanned_bad,
		.files_are_whole = true,
	};
	char *spool = mem_printf("%s/spool", daemon->state_dir);
	char *evidence = mem_printf("%s/evidence", daemon->state_dir);
	struct scan_result result = { 0 }, old = { 0 };
	uint32_t segment;
	uint64_t offset;
	bool rebuilt = false;
	int outcome = -1;

	if (file_make_dirs(spool, 0700, err) < 0 ||
	    evidence_forget_unfinished(spool, evidence, err) < 0)
		goto out;
	daemon->store.loop = daemon->loop;
	daemon->store.index = index_open(daemon->loop, daemon->state_dir,
					 daemon->store.keyring, &rebuilt, err);
	if (!daemon->store.index)
		goto out;
	if (rebuilt)
		log_warn("the index is new: rebuilding it from the spool");
	index_indexed_up_to(daemon->store.index, &segment, &offset);
	if (rebuilt && file_exists(evidence) &&
	    scan_dir(evidence, 0, 0, &whole, daemon, &old, err) < 0)
		goto out;
	if (rebuilt)
		index_evidence_is_read(daemon->store.index);
	if (scan_dir(spool, segment, offset, &visitor, daemon, &result, err) <
	    0)
		goto out;
	if (old.next_segment > result.next_segment)
		result.next_segment = old.next_segment;
	/* What an index cannot take, for want of space, has a number too. */
	daemon->sequence =
		old.sequence > result.sequence ? old.sequence : result.sequence;
	if (result.records)
		log_info("%llu records read back from the spool",
			 (unsigned long long)result.records);
	daemon->store.spool =
		spool_writer_new(daemon->loop, spool, &result, err);
	outcome = daemon->store.spool ? 0 : -1;
	if (daemon->store.spool)
		spool_writer_use_keys(daemon->store.spool,
				      daemon->store.keyring);
out:
	free(spool);
	free(evidence);
	return outcome;
}

/* Start: the queue, once the index has everything. */

/* `number` is that of the attempt which began. */
static void settle_uncertain(struct daemon *daemon,
			     struct queue_envelope *envelope, uint32_t number)
{
	bool again = ++envelope->uncertain >= 2;
	struct record_attempt attempt = {
		.id = envelope->message->id,
		.envelope = envelope->index,
		.number = number,
		.at_ms = clock_wall_ms(),
		.stage = slice("dot"),
		.reply = slice("tideoverd ended before the outcome was kept"),
		.outcome = again ? ENVELOPE_HELD : ENVELOPE_WAITING,
		.uncertain = true,
	};

	if (number > envelope->attempts)
		envelope->attempts = number;
	store_attempt(&daemon->store, envelope->mailbox->domain->plan, &attempt,
		      NULL, NULL);
	if (!again)
		return;
	store_state(
		&daemon->store, envelope->mailbox->domain->plan,
		&(struct record_state){
			.id = envelope->message->id,
			.envelope = envelope->index,
			.state = ENVELOPE_HELD,
			.at_ms = clock_wall_ms(),
			.by = slice("tideoverd"),
			.reason = slice(
				"twice uncertain: it may have been delivered"),
		},
		NULL, NULL);
	queue_hold(envelope, false);
}

static void on_envelope(void *ctx, struct queue_envelope *envelope,
			const struct index_live *live)
{
	struct daemon *daemon = ctx;

	if (live) {
		envelope->attempts = live->attempts;
		envelope->uncertain = live->uncertain;
		if (live->next_ms > 0 && !envelope->held)
			queue_defer(envelope, live->next_ms);
		if (live->begin)
			settle_uncertain(daemon, envelope,
					 (uint32_t)live->begin);
	}
	if (!envelope->held && envelope->mailbox->is_held)
		hold_behind(daemon, envelope);
}

struct ledger_load {
	struct daemon *daemon;
	char *plan;
};

/* What came since the question counted itself. */
static void ledger_loaded(void *ctx, struct json *result, const struct err *err)
{
	struct ledger_load *load = ctx;

	if (err)
		log_error("ledger of %s: %s", load->plan, err->text);
	for (const struct json *row = json_first(result); row;
	     row = json_next(row)) {
		struct cutover *cutover = daemon_find(load->daemon, load->plan);
		struct queue_ledger *ledger =
			&queue_domain(load->daemon->queue, load->plan,
				      json_get_text(row, "domain"))
				 ->ledger;
		int64_t last;

		ledger->waiting += (uint64_t)json_get_number(row, "waiting", 0);
		ledger->held += (uint64_t)json_get_number(row, "held", 0);
		ledger->delivered +=
			(uint64_t)json_get_number(row, "delivered", 0);
		ledger->bounced += (uint64_t)json_get_number(row, "bounced", 0);
		ledger->discarded +=
			(uint64_t)json_get_number(row, "discarded", 0);
		ledger->accepted +=
			(uint64_t)json_get_number(row, "accepted", 0);
		last = (int64_t)json_get_number(row, "plan_last_ms", 0);
		if (cutover && last > cutover->last_arrival_ms)
			cutover->last_arrival_ms = last;
	}
	json_free(result);
	free(load->plan);
	free(load);
}

static void bytes_loaded(void *ctx, struct json *result, const struct err *err)
{
	struct ledger_load *load = ctx;

	if (err)
		log_error("bytes of %s: %s", load->plan, err->text);
	for (const struct json *row = json_first(result); row;
	     row = json_next(row))
		queue_domain(load->daemon->queue, load->plan,
			     json_get_text(row, "domain"))
			->bytes += (uint64_t)json_get_number(row, "bytes", 0);
	json_free(result);
	free(load->plan);
	free(load);
}

static struct ledger_load *load_new(struct daemon *daemon, const char *plan)
{
	struct ledger_load *load = mem_alloc(sizeof(*load));

	load->daemon = daemon;
	load->plan = mem_dup(plan);
	return load;
}

static int open_listeners(struct daemon *daemon, struct cutover *cutover,
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

static void note_recovered(struct daemon *daemon, struct cutover *cutover)
{
	struct err err = ERR_INIT;
	struct json *data = json_object();

	json_put_number(data, "damaged_ranges", (double)daemon->damaged);
	json_put_number(data, "torn_ranges", (double)daemon->torn);
	json_put_text(data, "sandbox", daemon->sandbox);
	cutover_recovered(cutover, daemon->damaged);
	if (cutover_note(cutover, "recovered", data, &err) < 0)
		log_error("journal: %s", err.text);
}

static void go(void *ctx)
{
	struct daemon *daemon = ctx;

	daemon->ready = true;
	for (size_t i = 0; i < daemon->cutover_count; i++) {
		note_recovered(daemon, daemon->cutovers[i]);
		cutover_run(daemon->cutovers[i]);
	}
	log_info("ready: %zu plans", daemon->cutover_count);
	notify_ready(daemon->notify);
	for (size_t i = 0; i < daemon->asked_count; i++)
		control_handle(daemon, daemon->asked[i]);
	free(daemon->asked);
	daemon->asked = NULL;
	daemon->asked_count = 0;
}

/* New mail needs the spool and the plans, and nothing of the old mail. */
static void accept_mail(struct daemon *daemon)
{
	daemon->accepting = true;
	for (size_t i = 0; i < daemon->cutover_count; i++) {
		struct cutover *cutover = daemon->cutovers[i];
		struct err err = ERR_INIT;

		cutover->last_sequence = daemon->sequence;
		if (open_listeners(daemon, cutover, &err) < 0)
			log_error("plan %s: %s", cutover->plan->name, err.text);
	}
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
	char *text;

	if (daemon->space_short)
		json_add_text(all, "disk space is below the reserve: new mail "
				   "gets 452: give the state folder more");
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

static struct cutover_env env_of(struct daemon *daemon)
{
	return (struct cutover_env){
		.loop = daemon->loop,
		.store = &daemon->store,
		.queue = daemon->queue,
		.state_dir = daemon->state_dir,
		.keyring = daemon->store.keyring,
		.supervised = daemon->supervised,
		.tls_floor = daemon->config->tls_floor,
		.sandbox = daemon->sandbox,
		.alerts = node_alerts,
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

static void reload_plans(struct daemon *daemon)
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

/* Copies of delivered mail. */

static bool keeps_copy(void *ctx, const char *plan, int64_t delivered_ms)
{
	struct cutover *cutover = daemon_find(ctx, plan);
	int64_t keep;

	if (!cutover)
		return false;
	keep = cutover->plan->keep_copies_ms;
	if (keep == PLAN_KEEP_FINISHED)
		return cutover->phase != PHASE_FINISHED;
	return clock_wall_ms() < delivered_ms + keep;
}

static void drops_copies(void *ctx, const char *plan, uint64_t count,
			 uint32_t segment)
{
	struct cutover *cutover = daemon_find(ctx, plan);
	struct json *data = json_object();
	struct err err = ERR_INIT;

	json_put_number(data, "copies", (double)count);
	json_put_number(data, "segment", segment);
	json_put_text(data, "reason", "disk space is below the reserve");
	log_warn("plan %s: %llu copies of delivered mail go, as the disk is "
		 "short",
		 plan, (unsigned long long)count);
	if (!cutover)
		json_free(data);
	else if (cutover_note(cutover, "copies-dropped", data, &err) < 0)
		log_error("journal: %s", err.text);
}

static const struct spool_space_owner space_owner = {
	.keeps = keeps_copy,
	.drops = drops_copies,
};

static void open_space(struct daemon *daemon)
{
	char *spool = mem_printf("%s/spool", daemon->state_dir);
	char *evidence = mem_printf("%s/evidence", daemon->state_dir);
	char *quarantine = mem_printf("%s/quarantine", daemon->state_dir);

	daemon->space =
		spool_space_new(&daemon->store, daemon->queue, daemon->backlog,
				spool, evidence, file_exists(quarantine),
				&space_owner, daemon);
	free(spool);
	free(evidence);
	free(quarantine);
}

static void give_up(struct daemon *daemon, const char *why)
{
	log_error("the queue cannot be loaded: %s; nothing is lost, the spool "
		  "has it",
		  why);
	daemon->failed = true;
	loop_stop(daemon->loop);
}

static void maybe_loaded(struct daemon *daemon)
{
	if (daemon->loaded || backlog_loading(daemon->backlog) > 0)
		return;
	daemon->loaded = true;
	spool_space_begin(daemon->space);
	/* Answers of the index come in order: the ledgers are in by then. */
	index_flush(daemon->store.index, go, daemon);
	/* Looks through all of it, so it comes last. */
	for (size_t i = 0; i < daemon->cutover_count; i++) {
		const char *plan = daemon->cutovers[i]->plan->name;

		index_live_bytes(daemon->store.index, plan, bytes_loaded,
				 load_new(daemon, plan));
	}
}

static void on_page(void *ctx, const char *plan)
{
	struct daemon *daemon = ctx;
	struct cutover *cutover = daemon_find(daemon, plan);

	maybe_loaded(daemon);
	if (!daemon->ready || !cutover)
		return;
	for (size_t i = 0; i < cutover->target_count; i++)
		replay_kick(cutover->targets[i]->replay);
	cutover_look(cutover);
}

static void on_page_error(void *ctx, const char *plan, bool first,
			  const struct err *err)
{
	struct daemon *daemon = ctx;

	if (first || index_health(daemon->store.index) == INDEX_CORRUPT)
		give_up(daemon, err->text);
	else
		log_error("plan %s: younger mail stays in the spool for now: "
			  "%s",
			  plan, err->text);
}

static const struct backlog_owner backlog_owner = {
	.on_envelope = on_envelope,
	.on_page = on_page,
	.on_error = on_page_error,
};

static void take_up(void *ctx, struct json *result, const struct err *err)
{
	struct daemon *daemon = ctx;
	uint64_t indexed = (uint64_t)json_get_number(result, "sequence", 0);

	if (indexed > daemon->sequence)
		daemon->sequence = indexed;
	json_free(result);
	if (err) {
		give_up(daemon, err->text);
		return;
	}
	reload_plans(daemon);
	/* Before new mail comes, which counts itself. */
	for (size_t i = 0; i < daemon->cutover_count; i++) {
		const char *plan = daemon->cutovers[i]->plan->name;

		index_ledger(daemon->store.index, plan, ledger_loaded,
			     load_new(daemon, plan));
	}
	open_space(daemon);
	accept_mail(daemon);
	maybe_loaded(daemon);
}

static void indexed(void *ctx)
{
	struct daemon *daemon = ctx;

	index_last(daemon->store.index, take_up, daemon);
}

static void stop(void *ctx)
{
	daemon_stop(ctx);
}

static void stopped(void *ctx)
{
	struct daemon *daemon = ctx;

	if (listeners_sessions(daemon->listeners) > 0 &&
	    clock_mono_ms() < daemon->stop_by_ms)
		loop_timer_arm(daemon->space_timer, SHUTDOWN_LOOK_MS);
	else
		loop_stop(daemon->loop);
}

void daemon_stop(struct daemon *daemon)
{
	log_info("stopping");
	notify_stopping(daemon->notify);
	if (daemon->listeners)
		listeners_shutdown(daemon->listeners);
	/* Replies and appends under way get a moment; nothing depends on it. */
	loop_timer_free(daemon->space_timer);
	daemon->space_timer = loop_timer_new(daemon->loop, stopped, daemon);
	daemon->stop_by_ms = clock_mono_ms() + SHUTDOWN_MS;
	loop_timer_arm(daemon->space_timer, SHUTDOWN_LOOK_MS);
}

struct daemon *daemon_new(const struct config *config, struct keyring *keyring,
			  struct err *err)
{
	struct daemon *daemon = mem_alloc(sizeof(*daemon));
	char *socket = mem_printf("%s/control.sock", config->state);

	daemon->config = config;
	daemon->store.keyring = keyring;
	list_init(&daemon->jobs);
	daemon->inherited = inherited_new();
	daemon->lock_fd = -1;
	daemon->state_dir = mem_dup(config->state);
	daemon->started_ms = clock_wall_ms();
	volume_begin(&daemon->arrivals, clock_mono_ms());
	daemon->supervised = getenv("NOTIFY_SOCKET") != NULL ||
			     getenv("INVOCATION_ID") != NULL;
	daemon->loop = loop_new(err);
	/* Without its keys, nothing here may be touched. */
	if (!daemon->loop || take_state_dir(daemon, err) < 0 ||
	    keyring_load_all(keyring, daemon->state_dir, err) < 0)
		goto fail;
	daemon->notify = notify_new(daemon->loop);
	daemon->queue = queue_new();
	if (open_spool(daemon, err) < 0)
		goto fail;
	daemon->backlog =
		backlog_new(daemon->loop, daemon->store.index, daemon->queue,
			    config->queue_in_memory, &backlog_owner, daemon);
	daemon->acceptance = (struct acceptance){
		.loop = daemon->loop,
		.store = &daemon->store,
		.ctx = daemon,
		.admit = admit,
		.room = room,
		.recipient = recipient,
		.sequence = sequence,
		.accepted = accepted,
		.max_bytes = max_bytes,
		.utf8 = utf8,
		.ended = ended,
	};
	daemon->listeners =
		listeners_new(&daemon->acceptance, daemon->inherited, config);
	daemon->space_timer = loop_timer_new(daemon->loop, watch_space, daemon);
	watch_space(daemon);
	daemon->certificate_timer =
		loop_timer_new(daemon->loop, watch_certificates, daemon);
	watch_certificates(daemon);
	daemon->control = http_server_unix(daemon->loop, socket, control_handle,
					   daemon, err);
	if (!daemon->control)
		goto fail;
	free(socket);
	return daemon;
fail:
	free(socket);
	daemon_free(daemon);
	return NULL;
}

int daemon_run(struct daemon *daemon, struct err *err)
{
	static const int signals[] = { SIGTERM, SIGINT };

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < COUNT(signals); i++)
		if (loop_signal(daemon->loop, signals[i], stop, daemon, err) <
		    0)
			return -1;
	if (loop_signal(daemon->loop, SIGHUP, hang_up, daemon, err) < 0)
		return -1;
	index_flush(daemon->store.index, indexed, daemon);
	loop_run(daemon->loop);
	if (!daemon->failed)
		return 0;
	if (index_health(daemon->store.index) == INDEX_CORRUPT)
		return 1;
	return err_set(err, "the queue is not loaded: look at disk and log, "
			    "then start again");
}

void daemon_free(struct daemon *daemon)
{
	if (!daemon)
		return;
	for (size_t i = 0; i < daemon->asked_count; i++)
		control_stopped(daemon->asked[i]);
	free(daemon->asked);
	jobs_cancel(&daemon->jobs); /* each answers its request */
	http_server_free(daemon->control);
	listeners_free(daemon->listeners);
	inherited_free(daemon->inherited);
	for (size_t i = 0; i < daemon->cutover_count; i++)
		cutover_free(daemon->cutovers[i]);
	free(daemon->cutovers);
	/* What becomes durable from here on only the index still learns. */
	daemon->cutovers = NULL;
	daemon->cutover_count = 0;
	if (daemon->store.spool)
		spool_writer_free(daemon->store.spool);
	if (daemon->store.index)
		index_close(daemon->store.index);
	backlog_free(daemon->backlog);
	spool_space_free(daemon->space);
	queue_free(daemon->queue);
	loop_timer_free(daemon->space_timer);
	loop_timer_free(daemon->certificate_timer);
	notify_free(daemon->notify);
	if (daemon->loop)
		loop_free(daemon->loop);
	if (daemon->lock_fd >= 0)
		close(daemon->lock_fd);
	free(daemon->state_dir);
	free(daemon);
}

/* Plans. */

struct cutover *daemon_find(struct daemon *daemon, const char *plan)
{
	for (size_t i = 0; i < daemon->cutover_count; i++)
		if (strcmp(daemon->cutovers[i]->plan->name, plan) == 0)
			return daemon->cutovers[i];
	return NULL;
}

static int check_conflicts(struct daemon *daemon, const struct plan *plan,
			   struct err *err)
{
	for (size_t i = 0; i < plan->domain_count; i++) {
		const struct cutover *other =
			cutover_for(daemon, slice(plan->domains[i].name));

		if (other && other->phase != PHASE_FINISHED)
			return err_set(err,
				       "domain %s is in the active plan "
				       "'%s' already: finish that one first",
				       plan->domains[i].name,
				       other->plan->name);
	}
	return 0;
}

static struct cutover *load_again(struct cutover *cutover,
				  const struct plan *plan, bool *known,
				  int *status, struct err *err)
{
	struct buf diff = BUF_INIT;

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
	err_set(err,
		"plan '%s' is %s with other contents (%s): keep the plan "
		"as it was started, or finish it first",
		plan->name, phase_name(cutover->phase), buf_text(&diff));
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
	    open_listeners(daemon, cutover, err) < 0) {
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

int daemon_remove(struct daemon *daemon, struct cutover *cutover,
		  struct err *err)
{
	const struct plan *plan = cutover->plan;
	const struct job *job;
	struct data_key *key;
	char *dir;

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
	key = keyring_find(daemon->store.keyring, plan->name);
	if (key && data_key_holds(key) > 0)
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
