#include "daemon/daemon.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/metrics.h"
#include "spool/evidence.h"
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
	STATE_SEALED = 2,   /* cutover.c: has sealed records */
	SHUTDOWN_MS = 3000, /* for transactions under way, in and out */
	SHUTDOWN_LOOK_MS = 50,
	CERTIFICATE_EVERY_MS = 10000,
};

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
		log_info("segment %u: %llu torn bytes at %llu, as of a write "
			 "that was cut off before its 250",
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
	if (daemon->store.spool)
		daemon->store.reader = spool_reader_new(
			daemon->loop, spool, daemon->store.keyring, err);
	outcome = daemon->store.reader ? 0 : -1;
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

/* A time that is further away than any wait is of a clock that was ahead. */
static bool is_to_come(struct daemon *daemon, const char *plan, int64_t next_ms)
{
	const struct cutover *cutover = daemon_find(daemon, plan);

	return next_ms > 0 &&
	       (!cutover ||
		next_ms - clock_wall_ms() <= cutover->plan->timing.retry_max);
}

static void on_envelope(void *ctx, struct queue_envelope *envelope,
			const struct index_live *live)
{
	struct daemon *daemon = ctx;

	if (live) {
		envelope->attempts = live->attempts;
		envelope->uncertain = live->uncertain;
		envelope->data_deferrals = live->data_deferrals;
		envelope->stuck_since_ms = live->stuck_since_ms;
		if (!envelope->held &&
		    is_to_come(daemon, envelope->mailbox->domain->plan,
			       live->next_ms))
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
		if (daemon_listen(daemon, cutover, &err) < 0)
			log_error("plan %s: %s", cutover->plan->name, err.text);
	}
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

/* The rate of the last day, across the restart. */
static void remember_arrivals(struct daemon *daemon, const struct json *last)
{
	const struct json *hours = json_get(last, "arrived");
	int64_t wall = clock_wall_ms(), mono = clock_mono_ms();
	int64_t since = (int64_t)json_get_number(last, "since_ms", 0);

	for (size_t i = 0; i < json_count(hours); i++) {
		const struct json *hour = json_at(hours, i);

		volume_remember(&daemon->arrivals,
				(uint64_t)json_get_number(hour, "bytes", 0),
				wall - (int64_t)json_get_number(hour, "from_ms",
								0),
				mono);
	}
	if (since > 0)
		volume_known(&daemon->arrivals, wall - since, mono);
}

static void take_up(void *ctx, struct json *result, const struct err *err)
{
	struct daemon *daemon = ctx;
	uint64_t indexed = (uint64_t)json_get_number(result, "sequence", 0);

	if (indexed > daemon->sequence)
		daemon->sequence = indexed;
	remember_arrivals(daemon, result);
	json_free(result);
	if (err) {
		give_up(daemon, err->text);
		return;
	}
	daemon_reload_plans(daemon);
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

/* Whoever waits for an answer. */
static void tell_waiting(struct daemon *daemon)
{
	for (size_t i = 0; i < daemon->asked_count; i++)
		control_stopped(daemon->asked[i]);
	free(daemon->asked);
	daemon->asked = NULL;
	daemon->asked_count = 0;
	jobs_cancel(&daemon->jobs); /* each answers its request */
}

/* A delivery that is cut off is uncertain afterwards. */
static bool is_sending(const struct daemon *daemon)
{
	for (size_t i = 0; i < daemon->cutover_count; i++)
		if (cutover_is_sending(daemon->cutovers[i]))
			return true;
	return false;
}

static void stopped(void *ctx)
{
	struct daemon *daemon = ctx;

	if (daemon->told) {
		loop_stop(daemon->loop);
		return;
	}
	if ((listeners_sessions(daemon->listeners) == 0 &&
	     !is_sending(daemon)) ||
	    clock_mono_ms() >= daemon->stop_by_ms) {
		/* While the loop still takes answers to their sockets. */
		tell_waiting(daemon);
		daemon->told = true;
	}
	loop_timer_arm(daemon->space_timer, SHUTDOWN_LOOK_MS);
}

void daemon_stop(struct daemon *daemon)
{
	log_info("stopping");
	notify_stopping(daemon->notify);
	if (daemon->listeners)
		listeners_shutdown(daemon->listeners);
	for (size_t i = 0; i < daemon->cutover_count; i++)
		cutover_end(daemon->cutovers[i]);
	/* Replies and appends under way get a moment; nothing depends on it. */
	loop_timer_free(daemon->space_timer);
	daemon->space_timer = loop_timer_new(daemon->loop, stopped, daemon);
	daemon->stop_by_ms = clock_mono_ms() + SHUTDOWN_MS;
	loop_timer_arm(daemon->space_timer, SHUTDOWN_LOOK_MS);
}

static int open_metrics(struct daemon *daemon, struct err *err)
{
	const char *address = daemon->config->metrics;

	if (!address)
		return 0;
	daemon->metrics = http_server_tcp(daemon->loop, address, metrics_handle,
					  daemon, err);
	return daemon->metrics ? 0 : err_prefix(err, "metrics");
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
	daemon->supervisor = supervisor_kind();
	daemon->loop = loop_new(err);
	/* Without its keys, nothing here may be touched. */
	if (!daemon->loop || take_state_dir(daemon, err) < 0 ||
	    keyring_load_all(keyring, daemon->state_dir, err) < 0)
		goto fail;
	loop_leftovers_most(daemon->loop, config->leaving);
	daemon->notify = notify_new(daemon->loop);
	daemon->heap = heap_new(daemon->loop);
	daemon->queue = queue_new();
	if (open_spool(daemon, err) < 0)
		goto fail;
	daemon->backlog =
		backlog_new(daemon->loop, daemon->store.index, daemon->queue,
			    config->queue_in_memory, &backlog_owner, daemon);
	daemon_acceptance_init(daemon);
	daemon->listeners =
		listeners_new(&daemon->acceptance, daemon->inherited, config);
	daemon->certificate_timer =
		loop_timer_new(daemon->loop, watch_certificates, daemon);
	watch_certificates(daemon);
	daemon->control = http_server_unix(daemon->loop, socket, control_handle,
					   daemon, err);
	if (!daemon->control || open_metrics(daemon, err) < 0)
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
	tell_waiting(daemon);
	http_server_free(daemon->metrics);
	http_server_free(daemon->control);
	listeners_free(daemon->listeners);
	inherited_free(daemon->inherited);
	for (size_t i = 0; i < daemon->cutover_count; i++)
		cutover_free(daemon->cutovers[i]);
	free(daemon->cutovers);
	/* What becomes durable from here on only the index still learns. */
	daemon->cutovers = NULL;
	daemon->cutover_count = 0;
	spool_reader_free(daemon->store.reader);
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
	heap_free(daemon->heap);
	if (daemon->loop)
		loop_free(daemon->loop);
	if (daemon->lock_fd >= 0)
		close(daemon->lock_fd);
	free(daemon->state_dir);
	free(daemon);
}
