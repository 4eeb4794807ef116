/*
 * facts.h - what is known at one moment, for the checks to judge
 *
 * Filled by whoever runs the checks: `plan` in the command, gates in the
 * daemon.  What was not asked stays unasked and its checks are `unknown`.
 */
#ifndef CUTOVER_FACTS_H
#define CUTOVER_FACTS_H

#include "base/file.h"
#include "cutover/phase.h"
#include "cutover/probe.h"
#include "cutover/records.h"
#include "cutover/sts_kept.h"
#include "cutover/supervisor.h"
#include "cutover/tenant.h"
#include "dns/dns_propagation.h"
#include "mail/mta_sts.h"
#include "net/http.h"

/* MTA-STS of a domain: the record and the policy as a sender would get them. */
struct facts_sts {
	bool asked;	/* _mta-sts TXT was answered */
	size_t records; /* of MTA-STS; exactly one counts (RFC 8461 3.1) */
	char id[MTA_STS_ID];
	struct mta_sts *policy; /* NULL: it could not be fetched or read */
	char error[256];	/* why not */
	char from[300];		/* "mta-sts.acme.example at 192.0.2.7" */
	int64_t at_ms;
	struct sts_kept kept;  /* over surveys and restarts */
	struct http_date date; /* of the answer that had the policy, or none */
};

/* The Date that one of the plan's clocks answered with. */
struct facts_date {
	char of[300];	 /* "time.example.org at 192.0.2.7" */
	char error[160]; /* no answer came; "" one did */
	struct http_date date;
};

enum {
	FACTS_RESOLVERS = 8,
	FACTS_AUTHORITIES = 64,
	FACTS_DATES = 8,
	FACTS_LISTED_MAX = 64, /* of a domain: eight sessions */
	FACTS_NAMES_MAX = 4
};

enum facts_signer {
	SIGNED_RESOLVER,
	SIGNED_AUTHORITY,
	SIGNED_OWN /* libunbound, where no resolver validates */
};

/* What somebody says of the zone's SOA or the domain's MX set, with DO. */
struct facts_signed {
	enum facts_signer who;
	char of[DNS_NAME + ADDR_TEXT]; /* "ns1.example (192.0.2.1:53)" */
	unsigned type;		       /* DNS_SOA, DNS_MX */
	char error[160];	       /* no answer came; "" one did */
	bool bogus;		       /* no answer: libunbound says so */
	unsigned rcode;
	bool ad;	/* it validated (RFC 4035 section 3.2.3) */
	bool unchecked; /* an answer came with CD, after a SERVFAIL without */
	bool is_signed; /* a signature came along */
	int64_t begins_s, ends_s; /* of the signature; 0: none came */
	int64_t asked_ms;	  /* wall */
};

/* What a system says of the recipients that the plan lists. */
struct facts_listed {
	bool asked;
	enum plan_system_id system;
	size_t listed;	/* of this domain */
	size_t sampled; /* of them: to be asked about */
	size_t accepted, refused;
	char names[FACTS_NAMES_MAX][256]; /* of the first refused */
	char of[300];			  /* "host:port" */
	int64_t at_ms;
};

struct facts_domain {
	struct facts_sts sts;
	struct facts_signed *dnssec; /* owned */
	size_t dnssec_count;	     /* 0: unsigned, or the DS was not asked */
	struct dns_domain dns;	     /* latest survey */
	bool surveyed;
	struct facts_listed listed;
	struct dns_horizon horizon; /* for the old set */
	struct {
		bool probed; /* probe holds a result */
		struct probe_result probe;
		/* What the TLSA of its host or a policy demand of a session, for
		 * the next probe; a share, or NULL: nothing that is known. */
		struct tls_terms *terms;
		/* first and last of the unbroken row of good rcpt probes, by
		 * the wall clock and by CLOCK_BOOTTIME, which nobody sets */
		int64_t good_since_ms, good_last_ms;
		int64_t good_since_boot_ms, good_last_boot_ms;
		unsigned good_count;
	} systems[2];
	uint64_t accepted, waiting, held, delivered, bounced, discarded;
	int64_t oldest_ms; /* wall: the oldest that waits or is held; 0 none */
	/* Of the present release. */
	uint64_t outcomes, refused; /* refused: of whole mailboxes */
	char breaker[256];	    /* why the valve closed, or "" */
	/* wall, 0 never: a provider said "slower", "over the limit" */
	int64_t slowed_ms, limited_ms;
};

struct dns_validator;
struct waiver;
struct canaries;

/* A listener of the queue, asked about recipients that are not its own. */
struct facts_listener {
	bool probed;
	struct probe_result probe;
};

/* The plan's certificate file, for where no listener can be asked yet. */
struct facts_certificate {
	bool read;
	char error[256]; /* why not; "" where the plan names none */
	struct tls_info tls;
	struct tls_chain chain;
};

struct facts {
	const struct plan *plan;
	enum phase phase;
	int64_t since_ms;	 /* wall: the phase began */
	int64_t last_arrival_ms; /* wall: mail for the plan; 0: none yet */
	/* When the daemon took up the plan: what is known of time before it,
	 * it knows by the wall clock alone; 0: no daemon. */
	int64_t loaded_ms, loaded_boot_ms;
	struct supervisor supervisor; /* of the daemon */
	bool window_active;	      /* maintenance of the primary, now */
	/* Every waiver that the plan was given; borrowed. */
	const struct waiver *waivers;
	size_t waiver_count;
	struct dns_now now;
	struct facts_domain *domains; /* plan->domain_count */
	struct records *records;      /* beside the MX; NULL: not asked */
	/* What the latest survey of DNS asked: dns_desk_json(), and "took_ms"
	 * of the whole survey; NULL: none yet. */
	struct json *asked;

	/* Each listener of the plan, in its order. */
	struct facts_listener *listeners;
	size_t listener_count;
	struct facts_certificate certificate;

	/* Messages of our own that the daemon sends; borrowed, NULL: none
	 * sends any. */
	const struct canaries *canaries;

	bool space_known;
	struct file_space space;
	double measured_per_hour; /* messages; 0: not known */
	double measured_mean_bytes;
	/* What the node's other plans are to bring, an hour. */
	double others_per_hour, others_bytes_per_hour;

	bool ledger_known; /* the daemon has one */
	bool ledger_balances;
	char ledger_why[256]; /* why not */
	bool journal_intact;
	/* For the gate close: {"uncertain","overtaken","named":[{"kind","id",
	 * "envelope"}],"stragglers":{"messages","peers","named":[{"peer",
	 * "messages"}]}}, the latter since check_trail_from(); NULL: not
	 * known. */
	struct json *exceptions;
	uint64_t damaged; /* ranges of the spool that could not be read again */

	/* How far off the wall clock may be, as the kernel says. */
	bool clock_asked; /* else clock_why says why not */
	int64_t clock_error_ms;
	char clock_why[128];
	struct facts_date dates[FACTS_DATES];
	size_t date_count; /* of plan->clocks, once they were asked */

	/* The list of the plan; `listed` is borrowed, NULL: not read. */
	const struct map *listed; /* by mailbox key */
	int64_t listed_at_ms;	  /* wall, its last change */
	char listed_why[256];	  /* why it was not read, or not again; "" */

	/* What the plan's evidence files say: facts_read_evidence(). */
	struct tenant tenant, old_tenant;
	char *evidence_state; /* of the files when they were read; owned */

	/* Where MTA-STS policies and dates come from; 0 and NULL: port 443,
	 * and whom the system trusts. */
	int https_port;
	const char *https_ca_file; /* borrowed */

	/* Trust for the probes, made by the first survey: loading the
	 * system's store every few seconds would be a waste. */
	struct tls_client *probe_tls;
	/* libunbound, made once it is needed; freed with the facts, before the
	 * loop. */
	struct dns_validator *validator;
};

struct facts *facts_new(const struct plan *plan);
void facts_free(struct facts *facts); /* NULL is fine */
/* The zone that holds a domain of the plan, as its authorities say; the domain
 * where they did not. */
const char *facts_zone(const struct facts *facts, size_t domain);
/* The row of good probes of a system of the domain is over. */
void facts_end_row(struct facts_domain *domain, enum plan_system_id id);
/* Reads the plan's certificate file: for whoever has no listener to ask. */
void facts_read_certificate(struct facts *facts);
/* Reads the plan's evidence files again, and asks for the clock's state. */
void facts_read_evidence(struct facts *facts);
/* The same, if one of the files is another than when they were read. */
void facts_watch_evidence(struct facts *facts);

#endif
