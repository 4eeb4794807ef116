/*
 * check_view.h - one domain under a check, as DNS shows it
 *
 * What the rows about the MX set share: which name servers and resolvers were
 * asked, which set an answer is, how it should be published, the evidence.  A
 * part of the checks, for lib/cutover/check_*.c alone.
 */
#ifndef CUTOVER_CHECK_VIEW_H
#define CUTOVER_CHECK_VIEW_H

#include "cutover/check_parts.h"

struct view {
	const struct facts *facts;
	const struct plan *plan;
	const struct plan_domain *domain;
	const struct facts_domain *known;
	struct dns_wanted wanted;
	bool skip_ipv6; /* none answers: this host has no IPv6 */
};

/* The next that was asked, or NULL. */
const struct dns_vantage *view_next(const struct view *view,
				    const struct dns_vantage *after,
				    bool authority);
#define each_authority(view, at)                  \
	for (const struct dns_vantage *at = NULL; \
	     (at = view_next(view, at, true));)
#define each_resolver(view, at)                   \
	for (const struct dns_vantage *at = NULL; \
	     (at = view_next(view, at, false));)

typedef void view_fn(const struct view *view, enum gate gate,
		     struct tally *tally);
/* `one` for every domain of the plan of which an authority is known; the others
 * are not known. */
void view_each(const struct facts *facts, enum gate gate,
	       struct finding *finding, view_fn *one, const char *all_well);

/* It does not answer. */
void view_say_silent(const struct view *view, struct tally *tally,
		     const struct dns_vantage *at);
bool view_serials_differ(const struct view *view);
/* A host of some MX set, or NULL: it was not looked up. */
const struct dns_host *view_host(const struct view *view, const char *name);

/* `is`: IS_OLD, IS_NEW, IS_PARKED or several.  Where the queue is an extra MX, a
 * set may have it beside its own hosts. */
bool view_set_is(const struct view *view, const struct dns_mx_set *set,
		 unsigned is);
const char *view_set_name(unsigned is);
/* The records of a set as the zone file should have them. */
void view_records(const struct view *view, unsigned is, struct buf *out);
/* What is to be published in place of what `at` answers; the caller frees it. */
char *view_publish_remedy(const struct view *view, unsigned is,
			  const struct dns_vantage *at);
/* "10 a.example, 20 b.example", in `text`. */
const char *view_mx_text(const struct dns_mx_set *set, char *text, size_t size);

#endif
