/*
 * cutover.h - one plan under way
 *
 * Has the phase and the journal, asks DNS and the systems on a schedule,
 * judges gates, decides each domain's valve and drives the replays.  What
 * opens something is journalled first and happens second; what closes
 * something happens first.  The journal alone says, after a crash, which phase
 * it is.
 *
 *   cutover.c         its life, and its phase
 *   cutover_past.c    what the journal and the index say of earlier starts
 *   cutover_wish.c    what an operator asks for that needs a gate, or waives one
 *   cutover_stop.c    what keeps valves closed: pauses, windows, breakers
 *   cutover_watch.c   surveys, observations, gates
 *   cutover_health.c  whether the systems are well, and for which domains
 *   cutover_release.c valves, ramp, breaker, drained
 *   cutover_status.c  the status and report documents
 *
 * All on the loop.
 */
#ifndef DAEMON_CUTOVER_H
#define DAEMON_CUTOVER_H

#include "cutover/canary.h"
#include "cutover/check.h"
#include "cutover/journal.h"
#include "cutover/survey.h"
#include "cutover/watch.h"
#include "cutover/window.h"
#include "daemon/queue.h"
#include "daemon/rate.h"
#include "plan/recipients.h"
#include "daemon/replay.h"
#include "daemon/valve.h"

struct cutover;

struct cutover_env {
	struct loop *loop;
	struct store *store;
	struct queue *queue;
	const char *state_dir;
	struct keyring *keyring;
	enum supervisor_kind supervisor;
	int64_t started_ms; /* wall, of this process */
	enum tls_floor tls_floor;
	const char *sandbox; /* what holds, in words */
	/* Adds what is wrong with this node, whatever the plan. */
	void (*alerts)(void *ctx, struct json *all);
	/* What the node's other plans are to bring, an hour. */
	void (*others)(void *ctx, const struct cutover *but, double *per_hour,
		       double *bytes_per_hour);
	void *ctx;
};

struct cutover_target {
	struct cutover *cutover;
	struct target target;
	struct trust *trust;
	char *refused; /* why no session with it would do (DANE), or NULL */
	struct replay *replay;
};

/* What a system must prove for one domain's mail, and whether it does. */
struct cutover_proof {
	bool known;    /* what that is was found out once */
	bool asking;   /* it is being asked again */
	char *refused; /* why it could not, whatever it shows; or NULL */
	struct health health;
};

struct cutover_domain {
	struct cutover *cutover;
	const struct plan_domain *plan;
	struct queue_domain *queue;
	struct cutover_target *targets[2];
	struct valve valve;
	int64_t valve_since_ms;
	char *breaker; /* why it closed, or NULL */
	char *unknown; /* what a standby's target says of the domain, or NULL */
	struct cutover_proof proofs[2]; /* of a standby plan's systems */
	/* The ramp of this release. */
	size_t ramp_stage; /* stages begun */
	size_t ramp_size;  /* mailboxes of this stage */
	size_t ramp_took;  /* of them those that came so far */
	size_t ramp_lines; /* mailboxes that wait, as the index says; 0: ask */
	unsigned stage_refused;
	const char *stage_remedy; /* of its last refusal, or NULL */
	bool ramp_done;
	/* Since the valve opened. */
	uint64_t outcomes, refused;
	/* The breaker's: without deferrals, and halved now and then, so that an
	 * old past does not count. */
	uint64_t lately, lately_refused;
	/* Without a list a refused mailbox may be nobody's; somebody looked at
	 * those, and they count no more. */
	bool unlisted_seen;
	/* wall, 0 never: the provider said "slower", "over the limit" */
	int64_t slowed_ms, limited_ms;
};

/* What keeps one domain's valve closed until somebody says otherwise; the
 * journal remembers it. */
struct cutover_stop {
	char *paused;  /* an operator's reason, or NULL */
	char *breaker; /* why it closed before this start, or NULL */
};

struct cutover_sample {
	int64_t at_ms;
	uint64_t accepted, waiting, held, delivered;
};

enum {
	CUTOVER_SAMPLES = 2000
};

struct cutover {
	struct cutover_env env;
	struct plan *plan;
	char *dir; /* STATE/plans/NAME */
	struct journal *journal;
	enum phase phase;
	int64_t since_ms;
	unsigned coming;	    /* transactions that bring it mail */
	char *paused;		    /* an operator's reason, or NULL */
	struct cutover_stop *stops; /* a domain each */
	size_t stop_count;
	struct recipients recipients;

	struct cutover_domain *domains; /* plan->domain_count */
	struct cutover_target **targets;
	size_t target_count;
	struct dns_resolver *resolver;
	struct policies *policies;
	struct dns_validator *validator; /* replay.tls is dane; or NULL, */
	struct err no_validator;	 /* and why */
	struct tls_client *tls, *probe_tls;
	/* Counts of replies, or NULL; of when (wall), and good until then
	 * (mono). */
	struct json *replies;
	int64_t replies_at_ms, replies_until_ms;
	struct reply_count *reply_count; /* under way (control_status.c) */
	struct tls_server *tls_server;	 /* the queue's certificate, or NULL */

	struct facts *facts;
	struct survey *survey;
	unsigned surveying;
	struct gate_run *surveyed; /* that it answers; those after it: gates */
	int64_t next_dns_ms, next_probe_ms; /* mono */
	struct loop_timer *tick;
	bool ending;	  /* no delivery begins any more */
	int64_t ahead_ms; /* the wall clock, of the monotonic, at the last */
	struct cutover_recall *recall; /* under way, or NULL */
	struct cutover_count *count;   /* the same */
	struct list wishes;	       /* that wait for a gate */
	struct gate_run *gates;	       /* waiting to be judged */
	struct gate_run *closing;      /* they wait for the index as well */
	struct map views;	       /* vantage -> view + 1 */
	struct findings last_gate;     /* what blocks, for the status */
	struct watch watch;

	struct canaries canaries;
	struct canary_sender *canary_sender;

	struct windows windows; /* of a standby plan */
	struct waiver *waivers;
	size_t waiver_count;

	uint64_t release_mark; /* sequence; 0: valves not open yet */
	uint64_t release_total, release_done;
	bool drained;
	struct rate arrivals, replays;
	uint64_t arrival_count, arrival_bytes;
	int64_t loaded_ms, loaded_boot_ms;
	uint64_t last_sequence; /* of this plan */
	int64_t last_arrival_ms;

	struct cutover_sample samples[CUTOVER_SAMPLES];
	size_t sample_count;
	int64_t sample_every_ms, next_sample_ms;
	int64_t next_ledger_ms;

	uint64_t damaged; /* ranges of the spool, at the worst start */
	/* A domain each: accepted, as the journal vouches for it. */
	uint64_t *vouched;
};

/*
 * Takes `plan` over.  Opens or makes STATE/plans/NAME with the plan's text and
 * its journal, and goes on in the phase that the journal ends in.
 */
struct cutover *cutover_new(const struct cutover_env *env, struct plan *plan,
			    struct err *err);
void cutover_free(struct cutover *cutover);
/* Both systems (of a plain plan the one) offered SMTPUTF8 in their last probe;
 * a finished plan does not mind. */
bool cutover_targets_take_utf8(const struct cutover *cutover);
/* Begins to watch: after the queue was loaded. */
void cutover_run(struct cutover *cutover);

/* Verdict of a gate, or why it could not be judged (err). */
typedef void cutover_gate_fn(void *ctx, struct cutover *cutover,
			     const struct findings *findings,
			     const struct err *err);
/* Asks everything afresh, then judges; journals the verdict unless `only`. */
void cutover_judge(struct cutover *cutover, enum gate gate, const char *only,
		   cutover_gate_fn *done, void *ctx);

/* What an operator asks for; `done` once, findings NULL where no gate was
 * needed.  Each goes on by itself when the client leaves. */
void cutover_start(struct cutover *cutover, const char *by,
		   cutover_gate_fn *done, void *ctx);
void cutover_finish(struct cutover *cutover, const char *by, bool now,
		    cutover_gate_fn *done, void *ctx);
void cutover_rollback(struct cutover *cutover, const char *by,
		      cutover_gate_fn *done, void *ctx);
int cutover_abort(struct cutover *cutover, const char *by, struct err *err);
void cutover_waive(struct cutover *cutover, const char *check, enum gate gate,
		   const char *by, const char *reason, bool attest,
		   cutover_gate_fn *done, void *ctx);
/*
 * Planned maintenance of the primary: from window.h, for standby plans alone.
 * Added: NULL with err if it may not be.  Both are journalled.
 */
const struct window *cutover_window_add(struct cutover *cutover,
					const struct window *window,
					struct err *err);
int cutover_window_cancel(struct cutover *cutover, unsigned id, const char *by,
			  struct err *err);
/*
 * Closes the valves until resumed, of one domain or (NULL) of all; a restart
 * does not open them.  Resumed as a whole no domain stays paused, and every
 * breaker is open again; of one domain, its own.
 */
int cutover_pause(struct cutover *cutover, const char *domain, const char *by,
		  const char *reason, struct err *err);
int cutover_resume(struct cutover *cutover, const char *domain, const char *by,
		   struct err *err);
/* Why an operator paused this domain (or all of them), or NULL. */
const char *cutover_paused(const struct cutover_domain *domain);
/* Journals an act on envelopes ("release", "discard", "hold"). */
int cutover_note(struct cutover *cutover, const char *event, struct json *data,
		 struct err *err);

/* The journal has these totals: nothing that was accepted may be gone later. */
void cutover_vouched(struct cutover *cutover, const struct json *totals);
/* So many ranges of the spool could not be read at a start. */
void cutover_recovered(struct cutover *cutover, uint64_t damaged);

/* A message of this plan was kept; `bytes` of its body. */
void cutover_arrived(struct cutover *cutover, uint64_t sequence, uint64_t bytes,
		     size_t envelopes);
struct cutover_domain *cutover_domain(struct cutover *cutover,
				      struct slice name);
/* The system that a domain's mail goes to now. */
struct cutover_target *cutover_target(struct cutover_domain *domain);
/* Whether mail for the domain is not for us now: when_primary_up is defer, and
 * the valve is open. */
bool cutover_sends_on(const struct cutover *cutover, struct slice domain);
/* tideoverd ends: no delivery begins any more, whatever the valves say. */
void cutover_end(struct cutover *cutover);
/* Whether some are under way still. */
bool cutover_is_sending(const struct cutover *cutover);
/* Ready to look again at valves and lines (a release, a change). */
void cutover_look(struct cutover *cutover);

/* Between the files of this module. */
int cutover_enter(struct cutover *cutover, enum phase phase, const char *by,
		  struct err *err);
/* Valves may open from now on. */
void cutover_begin(struct cutover *cutover);
/* A line of the journal, for journal_read(). */
int cutover_past_line(void *ctx, const struct json *line);
/* What was delivered since then counts for the limits of its target; then
 * cutover_begin(). */
void cutover_past_recall(struct cutover *cutover, int64_t since_ms);
void cutover_past_cancel(struct cutover *cutover);
void cutover_wish_cancel(struct cutover *cutover);
/* As a line of the journal has it. */
void cutover_stop_restore(struct cutover *cutover, const char *event,
			  const struct json *data);
void cutover_stop_end(struct cutover_stop *stop);
/* It begins to count anew; nothing is journalled. */
void cutover_stop_clear_breaker(struct cutover_domain *domain);
void cutover_watch_init(struct cutover *cutover);
void cutover_watch_free(struct cutover *cutover);
void cutover_watch_tick(struct cutover *cutover, int64_t mono_ms);
/* Before probes: on what terms they are made. */
void cutover_health_ask(struct cutover *cutover);
/* After them. */
void cutover_health_probed(struct cutover *cutover, unsigned asked);
void cutover_health_tick(struct cutover *cutover);
/* A session of the replay could not prove what the domain demands. */
void cutover_health_untrusted(struct cutover_domain *domain, const char *why);
/* Of a system, as this domain's mail would find it. */
const struct health *cutover_health(const struct cutover_domain *domain, int s);
void cutover_release_begin(struct cutover *cutover);
void cutover_release_tick(struct cutover *cutover);
void cutover_count_cancel(struct cutover *cutover);
struct waiver *cutover_waivers(struct cutover *cutover, size_t *count);
void cutover_add_waiver(struct cutover *cutover, const struct waiver *waiver);
extern const struct replay_owner cutover_replay_owner;

/* The status document (docs/control.md); `replies` is taken or NULL. */
struct json *cutover_status(struct cutover *cutover, struct json *replies);
/* The report's data; `uncertain` and `ledger` are taken. */
struct json *cutover_report(struct cutover *cutover, struct json *uncertain,
			    struct json *replies, struct json *ledger);

#endif
