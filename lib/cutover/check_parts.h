/*
 * check_parts.h - between the files that hold the check functions
 *
 * A check looks at every domain of the plan and reports the worst that it
 * found.  A tally gathers: sentences and remedies of the worst verdict so far,
 * evidence of everything.
 */
#ifndef CUTOVER_CHECK_PARTS_H
#define CUTOVER_CHECK_PARTS_H

#include "base/buf.h"
#include "base/clock.h"
#include "cutover/check.h"

struct tally {
	enum verdict worst;
	struct buf summary, remedy;
	size_t said;	       /* sentences of the worst verdict */
	size_t unknown;	       /* sentences that something is not known */
	struct buf unknowns;   /* the first of them */
	struct buf blocks;     /* every sentence that blocks, a line each */
	struct json *evidence; /* array */
};

void tally_init(struct tally *tally);
/* Takes `summary` and `remedy` (NULL: none), both from mem_printf(). */
void tally_add(struct tally *tally, enum verdict verdict, char *summary,
	       char *remedy);
/* Takes what one part of the check came to, which is then empty. */
void tally_finding(struct tally *tally, struct finding *part);
/* Ends it: `all_well` is the summary when nothing was added. */
void tally_end(struct tally *tally, struct finding *finding,
	       const char *all_well);

struct dns_wanted check_wanted(const struct plan *plan, size_t domain);
/* What a TLSA set is worth for a certificate that was shown. */
struct tlsa_count {
	size_t all, usable, matching;
};
struct tlsa_count check_count_tlsa(const struct record_answer *answer,
				   const struct tls_chain *chain);
/* The preference that the provider documents for its i-th MX host. */
unsigned check_mx_preference(const struct plan_system *system, size_t i);
/* One vantage point's answer, raw. */
struct json *check_vantage_json(const struct dns_vantage *vantage);
/* "2026-12-05 22:00 UTC" */
const char *check_time(int64_t wall_ms, char text[CLOCK_TEXT]);

/* Whether any listener can be reached from elsewhere. */
bool check_is_public(const struct plan *plan);
/*
 * Says that something is not known: `unknown`, or a warning with the reason on
 * a rehearsal, which nobody can attest anything about.
 */
void check_not_known(const struct facts *facts, struct finding *finding,
		     const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same for a finding that is there: its unknown becomes that warning. */
void check_excuse(const struct facts *facts, struct finding *finding);

/* What a check filled in; the finding itself stays. */
void finding_clear(struct finding *finding);

typedef void check_run_fn(const struct facts *facts, enum gate gate,
			  struct finding *finding);

/* check_dns.c */
check_run_fn check_dns_authority, check_mx_baseline, check_mx_sanity,
	check_ttl_lowered;
/* check_mx.c */
check_run_fn check_mx_horizon, check_parked, check_mx_not_old, check_mx_final;
/* check_system.c */
check_run_fn check_rcpt_probe, check_rollback_target, check_no_open_relay;
/* check_queue.c */
check_run_fn check_queue_capacity, check_ledger_balance, check_held_empty;
/* check_straggler.c */
check_run_fn check_straggler_rate;
/* check_window.c */
check_run_fn check_detach_safe, check_stragglers_end, check_daemon_supervised;
/* Evidence of the queue's own arrivals. */
struct json *check_arrivals_json(const struct facts *facts);
/* check_mail.c */
check_run_fn check_negative_cache, check_verify_txt, check_spf, check_dkim,
	check_autodiscover;
/* A TXT, which somebody else may keep behind a CNAME; NULL after a sentence
 * that it is not known. */
const struct record_answer *check_ask_text(const struct facts *facts,
					   struct tally *tally,
					   const char *prefix,
					   const char *domain);
/* check_reports.c */
check_run_fn check_dmarc, check_tls_rpt;
/* check_release.c */
check_run_fn check_ttl_elapsed, check_retention_clock, check_pacing, check_ramp,
	check_signoff, check_standby_health;
/* check_ready.c */
check_run_fn check_queue_cert, check_mta_sts_union;
/* check_recipients.c */
check_run_fn check_recipients;
/* Evidence of the list itself. */
struct json *check_list_json(const struct facts *facts);
/* check_proven.c */
check_run_fn check_recipients_proven;
/* check_clock.c */
check_run_fn check_clock;
/* check_dnssec.c */
check_run_fn check_dnssec;
/* check_trust.c */
check_run_fn check_queue_tlsa, check_dane_standby;
/* check_host.c */
check_run_fn check_caa, check_queue_identity;
/* The initial domain of the tenant that a system's deliver_to is of,
 * "acmenew.onmicrosoft.com"; false: that host is of no tenant. */
bool check_initial(const struct plan_system *system, char name[DNS_NAME]);
/* Whose recipients the export under `evidence` has, as far as their addresses
 * in initial domains tell. */
enum check_whose {
	WHOSE_NEW,
	WHOSE_OLD,
	WHOSE_BOTH,
	WHOSE_NEITHER
};
enum check_whose check_whose_recipients(const struct facts *facts);
/* That export is older than 7 days, or of a time to come: it counts for nothing. */
bool check_recipients_are_stale(const struct facts *facts);
/* Evidence of what a system was asked of them; whom it refuses, as a remedy has
 * it. */
struct json *check_listed_json(const struct facts *facts, size_t at);
void check_listed_names(const struct facts_listed *listed, struct buf *names);
/* Evidence of the old system's trace. */
struct json *check_trace_json(const struct trace *trace);
/*
 * How many listed recipients the new tenant's export lacks; 0 where either is
 * not known.  The first few go to `names`, all as objects to `all` (or NULL).
 */
size_t check_missing(const struct facts *facts, struct buf *names,
		     struct json *all);
/*
 * The certificate that the queue shows: at its i-th listener, or, where none
 * could be asked yet, the one of the plan's file.  false: there is no i-th.
 */
struct shown {
	bool known; /* the listener answered, or it is the file's */
	const struct tls_info *tls;
	const struct tls_chain *chain;
};
bool check_shown(const struct facts *facts, size_t i, struct shown *shown);
/* Evidence of it: the probe, or the file. */
struct json *check_shown_json(const struct facts *facts, size_t i);
/* check_outside.c */
check_run_fn check_queue_reachable;
/* Nobody outside of its own network reaches such an address. */
bool check_is_private(const char *ip);
/* check_source.c */
check_run_fn check_source_blockers;
/* check_tenant.c */
check_run_fn check_target_trust, check_domain_verified, check_accepted_type;
/* check_canary.c */
check_run_fn check_canary_initial, check_canary_domain;

#endif
