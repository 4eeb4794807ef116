/*
 * survey_signed.h - asks whether a signed zone is right, of all who have a word
 *
 * The zone's SOA and the domain's MX set, with their signatures (DO):
 *
 *   of each of the plan's resolvers, and once more unchecked (CD) where that
 *   fails: what fails checked alone is bogus (RFC 4035 section 5.5);
 *   of each authority: one may have a copy without signatures, or an old one,
 *   and whoever validates refuses what it says;
 *   of libunbound, where none of the resolvers validates and this build has it.
 *
 * No resolver is asked for an MX set that no authority has, so that none keeps
 * a negative answer.  Bounded: what the desk keeps in flight, and libunbound's
 * answers are waited for so long and no longer.
 */
#ifndef CUTOVER_SURVEY_SIGNED_H
#define CUTOVER_SURVEY_SIGNED_H

#include "cutover/facts.h"
#include "dns/dns_desk.h"

struct survey_signed;

/*
 * The addresses are borrowed, the resolvers are the desk's.  `idle` runs on the
 * loop whenever the last open question was answered.
 */
struct survey_signed *survey_signed_new(struct loop *loop, struct facts *facts,
					struct dns_desk *desk,
					const struct addr *resolvers,
					size_t resolver_count, loop_fn *idle,
					void *ctx);
/* What was not answered by then has the error "timeout".  NULL is fine. */
void survey_signed_free(struct survey_signed *all);
/* Asks about one domain, whose DS was asked for; replaces what was known. */
void survey_signed_add(struct survey_signed *all, size_t domain);
bool survey_signed_is_idle(const struct survey_signed *all);

#endif
