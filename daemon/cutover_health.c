/*
 * Whether the systems are well, by what probes find.
 *
 * Of a standby plan a probe judges as a delivery would, or a valve would open
 * and shut again and again: not only by replay.tls, but by what TLSA of the host
 * and MTA-STS demand (trust.h).  What all mail to a system must be able to rely
 * on is a matter of the target's health; what a policy demands for one domain,
 * of a health of its own, so that the others go on.  A domain's mail goes when
 * both have recovered.
 */

#include "base/clock.h"
#include "base/log.h"
#include "daemon/cutover.h"
#include <stdio.h>

#define LOG_MODULE "health"

enum {
	ASKED_MAX = 32 /* policies at once: a plan may have 1000 domains */
};

static struct facts_domain *facts_of(const struct cutover_domain *domain)
{
	const struct cutover *cutover = domain->cutover;

	return &cutover->facts->domains[domain - cutover->domains];
}

static int systems(const struct cutover *cutover)
{
	return cutover->plan->plain ? 1 : 2;
}

/* What is seen. */

/* `domain` NULL: of all. */
static void note(struct cutover *cutover, const char *domain,
		 const struct target *target, const struct health *health)
{
	bool ill = health->state == HEALTH_UNHEALTHY;
	struct json *data = health_json(health, target->name);
	struct err err = ERR_INIT;

	log_info("%s%s%s is %s%s%s", target->name, domain ? " for " : "",
		 domain ? domain : "", health_name(health->state),
		 ill ? ": " : "", ill ? health->error : "");
	json_put_text(data, "domain", domain);
	if (journal_add(cutover->journal, "health", data, &err) < 0)
		log_error("journal: %s", err.text);
}

static void see_target(struct cutover_target *target, const char *why,
		       int64_t at_ms)
{
	struct health *health = &target->target.health;

	if (health_seen(health, why, at_ms, clock_mono_ms()))
		note(target->cutover, NULL, &target->target, health);
}

static void see_domain(struct cutover_domain *domain, int s, const char *why,
		       int64_t at_ms)
{
	const struct target *target = &domain->targets[s]->target;
	struct health *health = &domain->proofs[s].health;
	bool first = health->state == HEALTH_UNKNOWN;

	if (!health_seen(health, why, at_ms, clock_mono_ms()))
		return;
	if (!first || why) {
		note(domain->cutover, domain->plan->name, target, health);
		return;
	}
	/* It is what was demanded that was not known, not the proof. */
	health->error[0] = '\0';
	health->since_ms = target->health.since_ms;
	health->since_mono_ms = target->health.since_mono_ms;
}

/* What is demanded. */

/* As a delivery would find it.  False: that is being asked, and what was known
 * counts meanwhile. */
static bool ask(struct cutover_domain *domain, int s)
{
	struct cutover_target *target = domain->targets[s];
	struct cutover_proof *proof = &domain->proofs[s];
	struct tls_terms **terms = &facts_of(domain)->systems[s].terms;
	struct trust_answer answer =
		trust_look(target->trust, domain->plan->name);
	bool refused = answer.state != TRUST_KNOWN;

	proof->asking = answer.state == TRUST_ASKING;
	if (proof->asking)
		return false;
	if (refused && !answer.of_domain) {
		mem_replace(&target->refused, answer.why);
		return true;
	}
	mem_replace(&target->refused, NULL);
	mem_replace(&proof->refused, refused ? answer.why : NULL);
	proof->known = true;
	tls_terms_free(*terms);
	*terms = tls_terms_share(answer.terms);
	return true;
}

void cutover_health_ask(struct cutover *cutover)
{
	int asked = 0;

	if (cutover->plan->strategy != STRATEGY_STANDBY)
		return;
	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		for (int s = 0; s < systems(cutover); s++) {
			struct cutover_domain *domain = &cutover->domains[i];

			domain->proofs[s].asking = true;
			if (asked < ASKED_MAX)
				asked += !ask(domain, s);
		}
	}
}

/* What is lacking. */

static const char *plan_lacks(const struct plan *plan,
			      const struct probe_result *probe)
{
	if (plan->replay.tls == PLAN_TLS_OPPORTUNISTIC ||
	    plan->replay.tls == PLAN_TLS_DANE)
		return NULL;
	if (!probe->tls.active)
		return "it does not offer STARTTLS, which replay.tls requires";
	if (plan->replay.tls == PLAN_TLS_VERIFIED && !probe->tls.trusted)
		return "its certificate is not trusted, which replay.tls "
		       "requires";
	return NULL;
}

static const char *terms_lack(const struct tls_terms *terms, const char *host,
			      const struct tls_info *tls, char *text,
			      size_t size)
{
	if (tls_terms_met(terms, tls))
		return NULL;
	if (!tls->active)
		snprintf(text, size,
			 "it does not offer STARTTLS; demanded by %s: repair "
			 "one of the two",
			 terms->why);
	else if (terms->verified)
		snprintf(text, size,
			 "%s demands a certificate for %s: %s; repair one of "
			 "the two",
			 terms->why, host, tls->verdict);
	else
		snprintf(text, size,
			 "%s demands another certificate: %s; repair one of "
			 "the two",
			 terms->why, tls->verdict);
	return text;
}

/* Why no mail would go to a system that answers well, or NULL. */
static const char *target_lacks(const struct cutover_domain *domain, int s,
				const struct probe_result *probe, char *text,
				size_t size)
{
	const struct cutover_target *target = domain->targets[s];
	const struct tls_terms *terms = facts_of(domain)->systems[s].terms;
	const char *lack = plan_lacks(domain->cutover->plan, probe);

	if (target->refused || lack)
		return target->refused ? target->refused : lack;
	return terms && terms->verified ? NULL :
					  terms_lack(terms, target->target.host,
						     &probe->tls, text, size);
}

/* The same of this domain's mail alone. */
static const char *domain_lacks(const struct cutover_domain *domain, int s,
				const struct probe_result *probe, char *text,
				size_t size)
{
	const struct tls_terms *terms = facts_of(domain)->systems[s].terms;

	if (domain->proofs[s].refused)
		return domain->proofs[s].refused;
	return terms_lack(terms, domain->targets[s]->target.host, &probe->tls,
			  text, size);
}

static void judge_domain(struct cutover_domain *domain, int s)
{
	const struct probe_result *probe = &facts_of(domain)->systems[s].probe;
	char text[400];

	see_domain(domain, s,
		   domain_lacks(domain, s, probe, text, sizeof(text)),
		   probe->at_ms);
}

static void judge(struct cutover_domain *domain, int s)
{
	struct cutover_target *target = domain->targets[s];
	struct cutover_proof *proof = &domain->proofs[s];
	const struct probe_result *probe = &facts_of(domain)->systems[s].probe;
	const struct tls_terms *terms = facts_of(domain)->systems[s].terms;
	const char *why = probe->error;
	char text[400];

	if (probe->healthy)
		why = target_lacks(domain, s, probe, text, sizeof(text));
	see_target(target, why, probe->at_ms);
	if (!why && proof->known)
		judge_domain(domain, s);
	else if (!why && proof->health.state == HEALTH_UNKNOWN)
		snprintf(proof->health.error, sizeof(proof->health.error),
			 "what it must prove for %s is being asked",
			 domain->plan->name);
	/* Where they were being asked for, others may have come since. */
	if (probe->healthy && !proof->asking && terms &&
	    terms->tlsa_count > 0 && !tls_terms_met(terms, &probe->tls))
		trust_forget(target->trust);
}

/* A finished, plain or parked plan may not need both systems. */
void cutover_health_probed(struct cutover *cutover, unsigned asked)
{
	for (size_t i = 0; i < cutover->plan->domain_count; i++)
		for (int s = SYSTEM_OLD; s <= SYSTEM_NEW; s++)
			if ((asked & (s ? SURVEY_NEW : SURVEY_OLD)) &&
			    cutover->facts->domains[i].systems[s].probed)
				judge(&cutover->domains[i], s);
}

/* The next probe is judged by it; the last one as well, if it could not be. */
static bool ask_again(struct cutover_domain *domain, int s)
{
	const struct facts_domain *facts = facts_of(domain);
	const struct tls_terms *terms;
	bool known = domain->proofs[s].known;

	if (!ask(domain, s))
		return false;
	if (known || !domain->proofs[s].known || !facts->systems[s].probed)
		return true;
	/* TLSA are held against a session that was begun with them. */
	terms = facts->systems[s].terms;
	if (terms && terms->tlsa_count > 0)
		domain->cutover->next_probe_ms = 0;
	else if (facts->systems[s].probe.healthy)
		judge_domain(domain, s);
	return true;
}

void cutover_health_tick(struct cutover *cutover)
{
	int asked = 0;

	if (cutover->plan->strategy != STRATEGY_STANDBY || cutover->survey)
		return;
	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		for (int s = 0; s < systems(cutover); s++) {
			struct cutover_domain *domain = &cutover->domains[i];

			if (domain->proofs[s].asking && asked < ASKED_MAX)
				asked += !ask_again(domain, s);
		}
	}
}

void cutover_health_untrusted(struct cutover_domain *domain, const char *why)
{
	see_domain(domain,
		   (int)phase_target(domain->cutover->phase,
				     domain->cutover->plan),
		   why, clock_wall_ms());
}

const struct health *cutover_health(const struct cutover_domain *domain, int s)
{
	const struct health *all = &domain->targets[s]->target.health;
	const struct health *own = &domain->proofs[s].health;

	if (domain->cutover->plan->strategy != STRATEGY_STANDBY ||
	    all->state != HEALTH_HEALTHY)
		return all;
	return own->state != HEALTH_HEALTHY ||
			       own->since_mono_ms > all->since_mono_ms ?
		       own :
		       all;
}
