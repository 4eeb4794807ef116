#include "dns/dns_tlsa.h"
#include <stdio.h>
#include <stdlib.h>

#define TTL_MAX_S 86400

struct dns_tlsa_ask {
	struct dns_validator *validator;
	struct dns_check *check;
	char host[DNS_NAME];
	char alias[DNS_NAME]; /* what the host stands for; "" for itself */
	int port;
	struct dns_tlsa found;
	dns_tlsa_fn *done;
	void *ctx;
};

static void end(struct dns_tlsa_ask *ask, enum dns_tlsa_state state,
		const char *why)
{
	ask->found.state = state;
	ask->found.why = why;
	if (why)
		ask->found.ttl_s = 0;
	ask->done(ask->ctx, &ask->found);
	free(ask);
}

/* What was seen holds as long as the shortest of it; of nothing, as long as the
 * zone says so (RFC 2308 section 5). */
static void keep_ttl(struct dns_tlsa_ask *ask, const struct dns_answer *answer)
{
	for (size_t i = 0; i < answer->answer_count; i++)
		if (answer->answers[i].ttl < ask->found.ttl_s)
			ask->found.ttl_s = answer->answers[i].ttl;
	for (size_t i = 0; i < answer->authority_count; i++) {
		const struct dns_record *record = &answer->authority[i];
		uint32_t ttl = record->ttl < record->minimum ? record->ttl :
							       record->minimum;

		if (record->type == DNS_SOA && ttl < ask->found.ttl_s)
			ask->found.ttl_s = ttl;
	}
}

static bool has(const struct dns_answer *answer, unsigned type)
{
	for (size_t i = 0; i < answer->answer_count; i++)
		if (answer->answers[i].type == type)
			return true;
	return false;
}

static void ask_tlsa(struct dns_tlsa_ask *ask, const char *base);

static void tlsa_came(void *ctx, const struct dns_answer *answer,
		      const char *why)
{
	struct dns_tlsa_ask *ask = ctx;

	ask->check = NULL;
	if (!answer) {
		end(ask, DNS_TLSA_FAILED, why);
		return;
	}
	keep_ttl(ask, answer);
	if (answer->ad && has(answer, DNS_TLSA)) {
		ask->found.answer = answer;
		end(ask, DNS_TLSA_THERE, NULL);
	} else if (ask->alias[0] && strcmp(ask->found.base, ask->host) != 0) {
		ask_tlsa(ask, ask->host);
	} else {
		end(ask, answer->ad ? DNS_TLSA_NONE : DNS_TLSA_INSECURE, NULL);
	}
}

static void ask_tlsa(struct dns_tlsa_ask *ask, const char *base)
{
	snprintf(ask->found.base, sizeof(ask->found.base), "%s", base);
	snprintf(ask->found.name, sizeof(ask->found.name), "_%d._tcp.%.240s",
		 ask->port, base);
	ask->check = dns_validator_ask(ask->validator, ask->found.name,
				       DNS_TLSA, tlsa_came, ask);
}

/* Where the name leads by the CNAMEs of the answer. */
static void take_alias(struct dns_tlsa_ask *ask,
		       const struct dns_answer *answer)
{
	for (size_t i = 0; i < answer->answer_count; i++)
		if (answer->answers[i].type == DNS_CNAME)
			snprintf(ask->alias, sizeof(ask->alias), "%s",
				 answer->answers[i].target);
}

/* The addresses are not what we want of it: whether its zone is signed, and
 * whether it is an alias. */
static void address_came(void *ctx, const struct dns_answer *answer,
			 const char *why)
{
	struct dns_tlsa_ask *ask = ctx;

	ask->check = NULL;
	if (!answer) {
		end(ask, DNS_TLSA_FAILED, why);
		return;
	}
	keep_ttl(ask, answer);
	take_alias(ask, answer);
	if (answer->ad)
		ask_tlsa(ask, ask->alias[0] ? ask->alias : ask->host);
	else if (ask->alias[0])
		ask_tlsa(ask, ask->host); /* its own zone may be signed */
	else
		end(ask, DNS_TLSA_INSECURE, NULL);
}

struct dns_tlsa_ask *dns_tlsa_ask(struct dns_validator *validator,
				  const char *host, int port, dns_tlsa_fn *done,
				  void *ctx)
{
	struct dns_tlsa_ask *ask = mem_alloc(sizeof(*ask));

	ask->validator = validator;
	ask->port = port;
	ask->done = done;
	ask->ctx = ctx;
	ask->found.ttl_s = TTL_MAX_S;
	snprintf(ask->host, sizeof(ask->host), "%s", host);
	snprintf(ask->found.base, sizeof(ask->found.base), "%s", host);
	snprintf(ask->found.name, sizeof(ask->found.name), "_%d._tcp.%.240s",
		 port, host);
	ask->check = dns_validator_ask(validator, ask->host, DNS_A,
				       address_came, ask);
	return ask;
}

void dns_tlsa_cancel(struct dns_tlsa_ask **ask)
{
	if (!*ask)
		return;
	dns_check_cancel(&(*ask)->check);
	free(*ask);
	*ask = NULL;
}
