/*
 * rehearsal.h - the world of a rehearsal, and what its steps need of it
 */
#ifndef CLI_REHEARSAL_H
#define CLI_REHEARSAL_H

#include "cli/output.h"
#include "dns/dns_mx.h"
#include "lab/lab_dns.h"
#include "lab/lab_mx.h"
#include "lab/lab_resolver.h"
#include "lab/lab_sender.h"
#include "plan/plan.h"
#include <stdio.h>

enum {
	REHEARSAL_RESOLVERS = 3,
	REHEARSAL_TTL_S = 2,
	REHEARSAL_STEP_MS = 30000,
	REHEARSAL_POLL_MS = 50,
};

/* What a domain's MX set can be made. */
enum rehearsal_mx {
	REHEARSAL_MX_OLD,
	REHEARSAL_MX_BOTH, /* old, and the queue behind it */
	REHEARSAL_MX_QUEUE,
	REHEARSAL_MX_NEW
};

struct step;

struct rehearsal {
	struct command_call *call;
	FILE *out; /* chatter: stdout, or stderr (--json) */
	struct loop *loop;
	struct loop_timer *timer;
	int64_t began_ms, step_ms;
	const struct step *steps;
	size_t at;
	bool begun;
	struct err err;

	struct plan *plan; /* the engineer's */
	char *dir, *plan_path, *report_path, *state, *socket;
	char *listen; /* the queue's "127.0.0.1:port" */
	const char *queue_host;
	struct lab_dns *dns;
	struct lab_resolver *resolvers[REHEARSAL_RESOLVERS];
	struct lab_mx *old, *new; /* plain: old alone */
	struct lab_sender *sender;
	struct lab_route *routes;
	size_t route_count;

	pid_t child;
	char *child_log;
	struct buf child_output;
	uint64_t mark;
	size_t canaries; /* to domains of the plan, accepted */
	int64_t shown_ms, asked_ms;
	char shown[256];
	struct json *status; /* the last one, or NULL */
};

struct rehearsal *rehearsal_new(struct command_call *call, const char *path,
				struct err *err);
/* Stops the daemon and everything else; removes what need not stay. */
void rehearsal_free(struct rehearsal *r);

/* Runs this very tideover with --json and the arguments up to NULL. */
int rehearsal_run(struct rehearsal *r, const char *command, ...);
/* -1 while it runs; else its exit status, its output in child_output. */
int rehearsal_child(struct rehearsal *r);
int rehearsal_send(struct rehearsal *r);
/*
 * A system behaves as its provider is known to (lab_script.h); `state` is ""
 * or "-detached".
 */
void rehearsal_behave(struct rehearsal *r, enum plan_system_id id,
		      const char *state);
/* The MX set of every domain becomes this one. */
int rehearsal_publish(struct rehearsal *r, enum rehearsal_mx mx);
/* 1 when every vantage sees `view` and no cache can hold the old set. */
int rehearsal_converged(struct rehearsal *r, const char *view, bool horizon);
/* Waiting and held, as the daemon says. */
uint64_t rehearsal_queued(struct rehearsal *r);
/* 1 when `tideover check` says the gate is open. */
int rehearsal_gate_opens(struct rehearsal *r, const char *gate);
/* 1 when `tideover canary` says that each is accepted, or there is none. */
int rehearsal_canaries_accepted(struct rehearsal *r);
void rehearsal_show_status(struct rehearsal *r);
void rehearsal_show_blocking(struct rehearsal *r);
/* One line per domain: accepted = waiting + held + ... */
void rehearsal_show_ledger(struct rehearsal *r);

struct rehearsal_verdict {
	uint64_t sent, queued, lost, changed, reordered, copies, bounced;
};
/* What the senders were told against what arrived. */
void rehearsal_judge(const struct rehearsal *r,
		     struct rehearsal_verdict *verdict);

#endif
