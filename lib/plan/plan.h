/*
 * plan.h - what the engineer wrote: the migration plan
 *
 * A plan is read once, strictly (plan_parse.c: language, plan_check.c: sense)
 * and never changes.  The file's text travels to the daemon as it is, so both
 * programs judge the same bytes; `hash` names them.  Relative file names in a
 * plan are relative to the plan file's folder.
 *
 * A plain standby plan ("primary" instead of "old" and "new") has one system;
 * it sits in systems[SYSTEM_OLD] and `plain` is true.
 */
#ifndef PLAN_PLAN_H
#define PLAN_PLAN_H

#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "plan/provider.h"

#define PLAN_MAX_BYTES	 (1024 * 1024)
#define PLAN_MAX_DOMAINS 1000

#define PLAN_KEEP_FINISHED (-1)

enum plan_strategy {
	STRATEGY_PARK,
	STRATEGY_STANDBY
};
enum plan_system_id {
	SYSTEM_OLD,
	SYSTEM_NEW
};
/* "when_primary_up": take mail and pass it on, or 451, so that the sender goes
 * to the better MX. */
enum plan_when_up {
	WHEN_UP_RELAY,
	WHEN_UP_DEFER
};

enum plan_tls {
	PLAN_TLS_OPPORTUNISTIC,
	PLAN_TLS_REQUIRED,
	PLAN_TLS_VERIFIED,
	PLAN_TLS_DANE
};
enum plan_unknown {
	UNKNOWN_DEFER,
	UNKNOWN_REFUSE
};

struct plan_strings {
	char **at;
	size_t count;
};

struct plan_rate {
	bool given;
	struct provider_rate rate; /* "none" is a number of 0 */
};

struct plan_system {
	const struct provider *provider; /* facts; never NULL */
	struct provider *own;		 /* those facts, if overridden */
	struct plan_strings mx;		 /* lower case, no final dot */
	char *deliver_host;		 /* NULL: not given */
	int deliver_port;		 /* 25 by default */
	uint64_t max_bytes;		 /* largest message it takes */
	char *verify_txt; /* the TXT that its tenant wants; NULL: not given */
};

struct plan_domain {
	char *name;		       /* A-label, lower case */
	struct plan_system systems[2]; /* the plan's, or overridden */
};

struct plan_timing {	       /* milliseconds; defaults as in docs/checks.md */
	int64_t recover_after; /* healthy this long -> open: 60 s */
	int64_t probe_every;   /* 15 s */
	int64_t watch_every;   /* MX set, every vantage: 30 s */
	int64_t horizon_margin;	      /* 60 s */
	int64_t observe;	      /* 48 h; less is unknown */
	int64_t rcpt_probe_span;      /* three good probes over: 15 min */
	int64_t trail;		      /* no arrivals from old caches: 72 h */
	int64_t drained_age;	      /* nothing due waits longer: 60 s */
	int64_t retry_min, retry_max; /* deferral: 60 s doubling to 15 min */
	int64_t stuck_after;	      /* 4 h */
	int64_t data_reply;	      /* wait after the dot: 10 min */
	int64_t capacity;	      /* queue-capacity looks ahead: 72 h */
	int64_t canary_valid;	      /* an accepted canary stands: 24 h */
	int64_t canary_wait; /* none accepted for so long fails: 15 min */
};

struct plan {
	char *path;		/* file, absolute; for messages */
	char *text;		/* its bytes */
	char hash[DIGEST_TEXT]; /* SHA-256 of text */
	char *name;		/* [a-z0-9-]{1,63} */
	bool rehearsal;
	bool plain;
	enum plan_strategy strategy;
	struct plan_domain *domains;
	size_t domain_count;
	struct {
		char *host;
		int priority;
		struct plan_strings listen;	   /* "ip:port" */
		char *certificate_file, *key_file; /* NULL: none */
	} queue_mx;
	int64_t opens_ms, closes_ms; /* schedule; 0: none */
	struct {
		struct plan_strings resolvers; /* "system" or "ip[:port]" */
		struct plan_strings
			authorities;  /* "ip[:port]": asked instead of
						   what the NS records name */
		int64_t ttl, old_ttl; /* seconds; old_ttl -1: unknown */
	} dns;
	double messages_per_day, mean_bytes; /* 0: not given */
	struct {
		bool listed; /* policy "listed" (else any) */
		char *file;
		enum plan_unknown unknown;
	} recipients;
	struct {
		enum plan_tls tls;
		char *client_certificate_file, *client_key_file;
		int max_flight; /* deliveries at once: 20 */
		/* In place of the provider's, where given. */
		struct plan_rate mailbox_limit, pair_limit;
		/* stages: a count (>=1) or a share as a fraction (<1) */
		double *ramp;
		size_t ramp_count;
	} replay;
	/* What a standby answers for a domain while its target is well. */
	enum plan_when_up when_up;
	int64_t retention_ms; /* 30 d */
	bool encrypt;	      /* what is kept is sealed under a data key */
	/* Delivered mail is kept this long for a resend; PLAN_KEEP_FINISHED:
	 * until the plan is finished (park); standby: 72 h. */
	int64_t keep_copies_ms;
	struct {
		char *host; /* relay for notifications; NULL: none */
		int port;
		char *from; /* their header From; NULL: MAILER-DAEMON@host */
		enum plan_tls tls;
	} bounce;
	struct plan_strings probe_recipients;
	/* Who gets messages of our own, to prove the way to the new system. */
	struct {
		struct plan_strings initial;	/* in no domain of the plan */
		struct plan_strings recipients; /* each in one of them */
	} canary;
	struct plan_strings clocks;   /* https URLs: plan_https_parse() */
	struct plan_strings evidence; /* files, absolute: cutover/tenant.h */
	struct plan_strings old_evidence; /* the same of the old tenant */
	struct plan_timing timing;
	/* What was given, is well formed, and has no effect in this version:
	 * sentences of static text. */
	const char *idle[2];
	size_t idle_count;
};

/*
 * NULL with err: "plan 'acme.json': line 12: old.mx[0]: ...".  The files that a
 * plan names are made absolute, but nothing looks whether they exist: that
 * depends on the machine, not on the plan.
 */
struct plan *plan_load(const char *path, struct err *err);
/*
 * The same from text; `path` names it in messages and anchors relative files
 * (NULL: the current folder, and no "plan '...'" in the message).
 */
struct plan *plan_parse(struct slice text, const char *path, struct err *err);
void plan_free(struct plan *plan); /* NULL is fine */

/*
 * All errors of a plan, not only the first: each as one line "line N: path:
 * sentence".  Returns their number; 0 means plan_parse() accepts it.
 */
size_t plan_errors(struct slice text, const char *path,
		   void (*each)(void *ctx, const char *sentence), void *ctx);

/* NULL if the plan has no such domain; any case. */
const struct plan_domain *plan_domain(const struct plan *plan,
				      struct slice name);
/* Where its mail goes: deliver_to, or else its first MX; "" if it has none. */
const char *plan_deliver_host(const struct plan_system *system);
const char *plan_strategy_name(enum plan_strategy strategy);
const char *plan_tls_name(enum plan_tls tls);
/*
 * What differs between two versions of a plan, a line each with the JSON path
 * ("old.deliver_to: 'a:25' became 'b:25'"); empty if only layout differs.
 */
void plan_diff(const struct plan *before, const struct plan *after,
	       struct buf *out);

/*
 * The plan that a rehearsal runs: the same domains, MX names and ramp, every
 * address in the rehearsal's world, short timings, "rehearsal": true.  TLS
 * "verified" and "dane" become "required", as nobody signs for a rehearsal, and nothing is
 * encrypted, as nobody gives it a master key.  Addresses
 * are "ip:port".  A valid plan, which the caller frees.
 */
/* So many canaries of a kind: the lab's new system can be told of no more
 * mailboxes (lab_script.h). */
#define PLAN_REHEARSAL_CANARIES 12

struct plan_rehearsal {
	const char *listen;    /* the queue */
	const char *authority; /* DNS */
	const char *const *resolvers;
	size_t resolver_count;
	const char *deliver_to[2];		 /* plain: the first alone */
	const char *certificate_file, *key_file; /* NULL: none */
};
char *plan_rehearsal_text(const struct plan *plan,
			  const struct plan_rehearsal *rehearsal);

#endif
