#include "cutover/facts.h"
#include <stdlib.h>

struct facts *facts_new(const struct plan *plan)
{
	struct facts *facts = mem_alloc(sizeof(*facts));

	facts->plan = plan;
	facts->domains =
		mem_alloc(plan->domain_count * sizeof(*facts->domains));
	dns_now(&facts->now);
	return facts;
}

void facts_free(struct facts *facts)
{
	if (!facts)
		return;
	for (size_t i = 0; i < facts->plan->domain_count; i++)
		dns_domain_release(&facts->domains[i].dns);
	records_free(facts->records);
	tls_client_free(facts->probe_tls);
	free(facts->domains);
	free(facts);
}
