/*
 * canary.h - messages of our own, and what became of them
 *
 * A plan names mailboxes of the new system (`canary`); each gets a message on
 * the way that the replay will take.  Here is what is known of each, from the
 * journal's lines "canary" (it leaves now) and "canary-reply" (what came of
 * it), as they are written and after a restart alike.  A line counts for the
 * mailbox, target and plan that it was written for, and what a rehearsal wrote
 * for a rehearsal alone.
 *
 * Pure: the caller passes the time.  Who sends is daemon/canary_sender.h.
 */
#ifndef CUTOVER_CANARY_H
#define CUTOVER_CANARY_H

#include "base/id.h"
#include "plan/plan.h"

enum canary_state {
	CANARY_NONE,
	CANARY_UNDER_WAY,
	CANARY_ACCEPTED,
	CANARY_REFUSED,
	CANARY_DEFERRED /* or no answer came */
};

struct canary {
	const char *address;		  /* borrowed of the plan */
	bool initial;			  /* at the tenant's initial domain */
	const struct plan_domain *domain; /* whose new system gets it */
	char *target;			  /* "host:port" of that */
	char fingerprint[DIGEST_TEXT];	  /* of what a line counts for */
	enum canary_state state;	  /* of the last one */
	/* Wall; 0: never.  since: the first after the last accepted one. */
	int64_t sent_ms, answered_ms, accepted_ms, since_ms;
	struct id accepted_id;	   /* of the last accepted one */
	struct json *sent, *reply; /* data of their lines, or NULL */
};

struct canaries {
	const struct plan *plan; /* borrowed */
	struct canary *at;	 /* the initial ones first */
	size_t count;
};

void canaries_init(struct canaries *canaries, const struct plan *plan);
void canaries_release(struct canaries *canaries);
/* A line of the journal; one that is of no canary of ours changes nothing. */
void canaries_take(struct canaries *canaries, const char *event,
		   const struct json *data, int64_t at_ms);
/* After a start: answers that did not come until then come no more. */
void canaries_settle(struct canaries *canaries);

/* Accepted, and not so long ago that it must be shown again. */
bool canary_stands(const struct canary *canary, const struct plan *plan,
		   int64_t now_ms);
/* Wall: no mailbox gets more than one a minute; a rehearsal's lab does. */
int64_t canary_next_ms(const struct canary *canary, const struct plan *plan);
bool canary_may_go(const struct canary *canary, const struct plan *plan,
		   int64_t now_ms);

struct canary_answer {
	enum smtp_stage stage;
	const struct smtp_reply *reply;
	bool lacks_tls; /* no reply: the target's TLS is not as demanded */
	/* The address that was connected to, and what tls_terms_describe() has;
	 * each "" if there was none. */
	const char *peer, *tls;
};

/* Data of the two lines. */
struct json *canary_sent_json(const struct canary *canary, const struct id *id,
			      const char *by);
struct json *canary_reply_json(const struct canary *canary,
			       const struct canary_answer *answer);
/* What is known, as docs/control.md has it: evidence. */
struct json *canary_json(const struct canary *canary, const struct plan *plan);

#endif
