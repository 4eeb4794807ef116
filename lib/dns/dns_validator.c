#include "dns/dns_validator.h"
#include "base/list.h"
#include "dns/dns_unbound.h"
#include <stdio.h>
#include <stdlib.h>

struct dns_check {
	struct list link;
	struct dns_validator *validator;
	char name[DNS_NAME];
	unsigned type;
	dns_done_fn *done; /* NULL: nobody wants it any more */
	void *ctx;
};

struct dns_validator {
	struct dns_resolver *resolver; /* on loopback, or NULL */
	struct dns_unbound *unbound;   /* or NULL */
	struct list open;
	char name[ADDR_TEXT + 16];
};

static void end(struct dns_check *check, const struct dns_answer *answer,
		const char *why)
{
	dns_done_fn *done = check->done;
	void *ctx = check->ctx;

	list_remove(&check->link);
	free(check);
	if (done)
		done(ctx, answer, why);
}

/* A code other than these may hide anything. */
static void take(void *ctx, const struct dns_answer *answer, const char *why)
{
	struct dns_check *check = ctx;

	if (answer && answer->rcode != DNS_NOERROR &&
	    answer->rcode != DNS_NXDOMAIN)
		end(check, NULL, dns_rcode_name(answer->rcode));
	else
		end(check, answer, why);
}

static void resolver_said(void *ctx, const struct dns_answer *answer,
			  const char *why)
{
	struct dns_check *check = ctx;
	struct dns_unbound *unbound = check->validator->unbound;

	if (check->done && unbound && answer && !answer->ad &&
	    answer->rcode != DNS_SERVFAIL)
		dns_unbound_ask(unbound, check->name, check->type, take, check);
	else
		take(check, answer, why);
}

struct dns_check *dns_validator_ask(struct dns_validator *validator,
				    const char *name, unsigned type,
				    dns_done_fn *done, void *ctx)
{
	struct dns_check *check = mem_alloc(sizeof(*check));

	check->validator = validator;
	snprintf(check->name, sizeof(check->name), "%s", name);
	check->type = type;
	check->done = done;
	check->ctx = ctx;
	list_append(&validator->open, &check->link);
	if (validator->resolver)
		dns_resolver_ask(validator->resolver, name, type, true,
				 resolver_said, check);
	else
		dns_unbound_ask(validator->unbound, name, type, take, check);
	return check;
}

/* What it asks cannot be taken back, and comes to nobody. */
void dns_check_cancel(struct dns_check **check)
{
	if (*check)
		(*check)->done = NULL;
	*check = NULL;
}

struct dns_validator *dns_validator_new(struct loop *loop,
					const struct addr *resolvers,
					size_t count, struct err *err)
{
	struct dns_validator *validator = mem_alloc(sizeof(*validator));
	struct err none = ERR_INIT;
	char address[ADDR_TEXT];
	size_t i = 0;

	list_init(&validator->open);
	while (i < count && !addr_is_loopback(&resolvers[i]))
		i++;
	validator->unbound = dns_unbound_new(loop, &none);
	if (i < count)
		validator->resolver =
			dns_resolver_new(loop, &resolvers[i], err);
	else if (!validator->unbound)
		err_set(err,
			"DNSSEC is checked by nobody here: name a validating "
			"resolver on this machine (127.0.0.1) under "
			"dns.resolvers; %s",
			none.text);
	if (!validator->resolver && (i < count || !validator->unbound)) {
		dns_validator_free(validator);
		return NULL;
	}
	snprintf(validator->name, sizeof(validator->name), "%s%s%s",
		 i < count ? addr_format(&resolvers[i], address) : "",
		 i < count && validator->unbound ? ", " : "",
		 validator->unbound ? "libunbound" : "");
	return validator;
}

void dns_validator_free(struct dns_validator *validator)
{
	if (!validator)
		return;
	dns_resolver_free(validator->resolver);
	dns_unbound_free(validator->unbound);
	list_each (it, next, &validator->open) {
		struct dns_check *check =
			list_entry(it, struct dns_check, link);

		list_remove(&check->link);
		free(check);
	}
	free(validator);
}

const char *dns_validator_name(const struct dns_validator *validator)
{
	return validator->name;
}
