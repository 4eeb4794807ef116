/*
 * provider.h - what is known about a mail provider
 *
 * Facts, each with its source in provider.c.  A plan may override sizes and
 * limits; "custom" has the facts of an unknown RFC 5321 server.
 */
#ifndef PLAN_PROVIDER_H
#define PLAN_PROVIDER_H

#include "base/slice.h"
#include "smtp/smtp_client.h"

/* At most so many in any such span of time; a number of 0 is no limit. */
struct provider_rate {
	unsigned number;
	int64_t span_ms;
};

struct provider {
	const char *name; /* "m365", "workspace", "custom" */
	const char *title;
	const char *const *mx_suffixes; /* NULL-ended; how its MX names end */
	const char *spf_include;	/* NULL: none */
	const char *const *dkim_selectors;
	uint64_t max_bytes;	      /* inbound size limit */
	struct provider_rate mailbox; /* messages to one mailbox */
	struct provider_rate pair;    /* and of those from one sender */
	unsigned start_flight;	      /* connections to begin with */
};

const struct provider *provider_find(const char *name); /* or NULL */
/* The table, ended by a NULL name. */
extern const struct provider providers[];

/*
 * Whether an MX host is of Exchange Online's signed zone: a domain with such a
 * name may have inbound DANE, and has if the host has TLSA records (Microsoft
 * Learn, "How SMTP DANE works").
 */
bool provider_may_have_dane(const char *mx);

enum reply_act {
	ACT_DELIVERED,
	ACT_DEFER,
	ACT_HOLD,
	ACT_CLOSE
};
enum reply_scope {
	SCOPE_MESSAGE,
	SCOPE_MAILBOX,
	SCOPE_TARGET
};

struct reply_meaning {
	enum reply_act act;
	enum reply_scope scope;
	bool slow;	    /* narrow the flight sharply */
	const char *remedy; /* in words; never NULL */
};

/*
 * What a reply in a replay means: a table of (stage, code, enhanced code,
 * provider, text).  2xx to the dot is delivered (elsewhere it took over no
 * message, so it defers), 4xx defers, 5xx never bounces: it holds (message,
 * mailbox) or closes the valve (target); the few 5xx that are known rate limits
 * defer.  A code of 0 (no reply) defers.  What a refusal of scope mailbox means
 * when known-good recipients are refused too is the caller's to judge: one
 * reply cannot tell.
 */
struct reply_meaning provider_reply(const struct provider *provider,
				    enum smtp_stage stage,
				    const struct smtp_reply *reply);
const char *reply_act_name(enum reply_act act);
const char *reply_scope_name(enum reply_scope scope);

#endif
