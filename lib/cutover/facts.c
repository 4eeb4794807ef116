#include "cutover/facts.h"
#include "base/clock.h"
#include "dns/dns_validator.h"
#include <stdio.h>
#include <stdlib.h>

struct facts *facts_new(const struct plan *plan)
{
	struct facts *facts = mem_alloc(sizeof(*facts));

	facts->plan = plan;
	facts->domains =
		mem_alloc(plan->domain_count * sizeof(*facts->domains));
	facts->listener_count = plan->queue_mx.listen.count;
	facts->listeners =
		mem_alloc(facts->listener_count * sizeof(*facts->listeners));
	dns_now(&facts->now);
	return facts;
}

void facts_free(struct facts *facts)
{
	if (!facts)
		return;
	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		dns_domain_release(&facts->domains[i].dns);
		free(facts->domains[i].sts.policy);
		sts_kept_release(&facts->domains[i].sts.kept);
		free(facts->domains[i].dnssec);
		tls_terms_free(facts->domains[i].systems[SYSTEM_OLD].terms);
		tls_terms_free(facts->domains[i].systems[SYSTEM_NEW].terms);
	}
	tenant_release(&facts->tenant);
	tenant_release(&facts->old_tenant);
	free(facts->evidence_state);
	records_free(facts->records);
	json_free(facts->asked);
	json_free(facts->exceptions);
	tls_client_free(facts->probe_tls);
	dns_validator_free(facts->validator);
	free(facts->listeners);
	free(facts->domains);
	free(facts);
}

const char *facts_zone(const struct facts *facts, size_t domain)
{
	const char *zone = facts->domains[domain].dns.delegation.zone;

	return *zone ? zone : facts->plan->domains[domain].name;
}

void facts_end_row(struct facts_domain *domain, enum plan_system_id id)
{
	domain->systems[id].good_count = 0;
	domain->systems[id].good_since_ms = 0;
	domain->systems[id].good_last_ms = 0;
}

void facts_read_certificate(struct facts *facts)
{
	struct facts_certificate *kept = &facts->certificate;
	const char *path = facts->plan->queue_mx.certificate_file;
	struct err err = ERR_INIT;

	*kept = (struct facts_certificate){ 0 };
	if (!path)
		return;
	kept->read =
		tls_chain_read(path, &kept->chain, &err) == 0 &&
		tls_chain_judge(path, facts->plan->queue_mx.host,
				facts->https_ca_file, &kept->tls, &err) == 0;
	snprintf(kept->error, sizeof(kept->error), "%.255s", err.text);
}

static void add_states(const struct plan_strings *files, struct buf *text)
{
	for (size_t i = 0; i < files->count; i++)
		file_state(files->at[i], text);
}

static char *evidence_state(const struct plan *plan)
{
	struct buf text = BUF_INIT;

	add_states(&plan->evidence, &text);
	add_states(&plan->old_evidence, &text);
	return buf_take(&text);
}

void facts_watch_evidence(struct facts *facts)
{
	char *now = evidence_state(facts->plan);

	if (!facts->evidence_state || strcmp(facts->evidence_state, now) != 0)
		facts_read_evidence(facts);
	free(now);
}

void facts_read_evidence(struct facts *facts)
{
	const struct plan_strings *files = &facts->plan->evidence;
	const struct plan_strings *old = &facts->plan->old_evidence;
	struct err err = ERR_INIT;

	/* Before they are read: what is written meanwhile is read again. */
	free(facts->evidence_state);
	facts->evidence_state = evidence_state(facts->plan);
	tenant_release(&facts->tenant);
	tenant_release(&facts->old_tenant);
	for (size_t i = 0; i < files->count; i++)
		tenant_read_file(&facts->tenant, files->at[i]);
	/* A trace is of the old system wherever it is named. */
	for (size_t i = 0; i < old->count; i++)
		tenant_read_file(tenant_is_trace(old->at[i]) ?
					 &facts->tenant :
					 &facts->old_tenant,
				 old->at[i]);
	facts->clock_asked = clock_error_ms(&facts->clock_error_ms, &err) == 0;
	snprintf(facts->clock_why, sizeof(facts->clock_why), "%.127s",
		 err.text);
}
