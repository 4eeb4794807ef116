/*
 * init: a plan to edit, with what DNS says about the domain filled in.
 *
 * What only a tenant knows (the MX name that it gives the domain, the host of
 * its initial domain) is never built from a pattern: it is a name under
 * .invalid and a $comment that says where to read it.
 */

#include "base/clock.h"
#include "base/file.h"
#include "cli/output.h"
#include "dns/dns_idn.h"
#include "dns/dns_mx.h"
#include "plan/provider.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	LOW_TTL_S = 300,
	HIGH_TTL_S = 3600
};

struct init {
	struct command_call *call;
	const struct provider *from, *to; /* to NULL: a standby plan */
	char domain[DNS_NAME];
	const char *resolver;
	struct loop *loop;
	struct dns_domain found;
};

static void asked(void *ctx, const struct dns_domain *domains, size_t count)
{
	struct init *init = ctx;

	dns_domain_copy(&init->found, &domains[0]);
	loop_stop(init->loop);
}

static int ask(struct init *init, struct err *err)
{
	const char *domains[] = { init->domain };
	const char *resolvers[] = { init->resolver };
	struct dns_survey *survey;

	init->loop = loop_new(err);
	if (!init->loop)
		return -1;
	survey = dns_survey_start(init->loop,
				  &(struct dns_survey_plan){
					  .domains = domains,
					  .domain_count = 1,
					  .resolvers = resolvers,
					  .resolver_count = 1,
				  },
				  asked, init, err);
	if (survey)
		loop_run(init->loop);
	loop_free(init->loop);
	return survey ? 0 : -1;
}

/* Authorities come first, and their TTL is the whole one. */
static const struct dns_vantage *best_answer(const struct init *init)
{
	for (size_t i = 0; i < init->found.vantage_count; i++) {
		const struct dns_vantage *at = &init->found.vantages[i];

		if (!at->error[0] && at->mx.count > 0)
			return at;
	}
	return NULL;
}

static uint32_t largest_ttl(const struct init *init)
{
	uint32_t ttl = 0;

	for (size_t i = 0; i < init->found.vantage_count; i++)
		if (!init->found.vantages[i].error[0] &&
		    init->found.vantages[i].mx.ttl > ttl)
			ttl = init->found.vantages[i].mx.ttl;
	return ttl;
}

static void comment(struct json *object, const char *text)
{
	json_put_text(object, "$comment", text);
}

static struct json *mx_of(const struct dns_mx_set *set)
{
	struct json *mx = json_array();

	for (size_t i = 0; i < set->count; i++)
		json_add_text(mx, set->at[i].host);
	return mx;
}

static const char deliver_comment_m365[] =
	"deliver_to: the MX host of the tenant's initial domain "
	"(TENANT.onmicrosoft.com): never the moving domain's own MX.";

static struct json *old_system(const struct init *init,
			       const struct dns_vantage *answer)
{
	struct json *system = json_object();
	char *deliver;

	if (strcmp(init->from->name, "m365") == 0) {
		comment(system, deliver_comment_m365);
		deliver = mem_dup("old-tenant.invalid:25");
	} else {
		deliver = mem_printf("%s:25", answer->mx.at[0].host);
	}
	json_put_text(system, "provider", init->from->name);
	json_put(system, "mx", mx_of(&answer->mx));
	json_put_text(system, "deliver_to", deliver);
	free(deliver);
	return system;
}

static struct json *new_system(const struct init *init)
{
	struct json *system = json_object(), *mx = json_array();
	const char *deliver = "new-mail-server.invalid:25";
	const char *host = "new-mail-server.invalid";

	if (strcmp(init->to->name, "m365") == 0) {
		comment(system,
			"mx: read it in the Microsoft 365 admin center, "
			"Settings, Domains, DNS records. deliver_to: the MX "
			"host of the tenant's initial domain "
			"(TENANT.onmicrosoft.com).");
		host = "read-it-in-the-tenant.invalid";
		deliver = "new-tenant.invalid:25";
	} else if (strcmp(init->to->name, "workspace") == 0) {
		host = "smtp.google.com";
		deliver = "smtp.google.com:25";
	} else {
		comment(system, "The MX host of the new system, and where it "
				"takes mail for the domain already.");
	}
	json_put_text(system, "provider", init->to->name);
	json_add_text(mx, host);
	json_put(system, "mx", mx);
	json_put_text(system, "deliver_to", deliver);
	/* The old tenant's record looks the same. */
	if (init->to == init->from && strcmp(init->to->name, "custom") != 0)
		json_put_text(
			system, "verify_txt",
			"the TXT that the new tenant shows, to the letter");
	return system;
}

static struct json *queue_mx(const struct init *init, bool park)
{
	struct json *queue = json_object(), *listen = json_array();

	comment(queue, "host: a name outside of the moving domain, with "
		       "address and PTR record, on the machine that runs "
		       "tideoverd. A certificate for it: \"tls\": "
		       "{ \"certificate_file\": ..., \"key_file\": ... }");
	json_put_text(queue, "host", "queue-host.invalid");
	json_put_number(queue, "priority", park ? 20 : 100);
	json_add_text(listen, "0.0.0.0:25");
	json_put(queue, "listen", listen);
	return queue;
}

static struct json *dns(const struct init *init, bool park)
{
	/* Of Cloudflare, Google and Quad9: whom many senders ask. */
	static const char *const others[] = { "1.1.1.1", "8.8.8.8", "9.9.9.9" };
	struct json *dns = json_object(), *resolvers = json_array();
	uint32_t ttl = largest_ttl(init);

	comment(dns,
		park ? "old_ttl: what the MX records were served with when "
		       "this was written. Before the detach three resolvers "
		       "have to answer: take out whom you do not want to ask." :
		       "old_ttl: what the MX records were served with when "
		       "this was written. More resolvers see more.");
	json_add_text(resolvers, init->resolver);
	for (size_t i = 0; park && i < COUNT(others); i++)
		json_add_text(resolvers, others[i]);
	json_put(dns, "resolvers", resolvers);
	json_put_number(dns, "ttl",
			init->to && ttl > LOW_TTL_S ? LOW_TTL_S :
			ttl			    ? ttl :
						      LOW_TTL_S);
	json_put_number(dns, "old_ttl", ttl ? ttl : HIGH_TTL_S);
	return dns;
}

static void put_list(struct json *object, const char *key, const char *text)
{
	struct json *list = json_array();

	json_add_text(list, text);
	json_put(object, key, list);
}

/* Only a tenant has mailboxes that are none of the moving domain. */
static struct json *canary(const struct init *init, const char *postmaster)
{
	struct json *canary = json_object();

	comment(canary,
		strcmp(init->to->name, "custom") == 0 ?
			"recipients: mailboxes that the new system has and "
			"somebody reads. tideover canary PLAN sends a message "
			"to each." :
			"Mailboxes that the new system has and somebody "
			"reads; tideover canary PLAN sends a message to each. "
			"initial: at the tenant's initial domain "
			"(TENANT.onmicrosoft.com, DOMAIN.test-google-a.com).");
	if (strcmp(init->to->name, "custom") != 0)
		put_list(canary, "initial",
			 "pilot@tenant-initial-domain.invalid");
	put_list(canary, "recipients", postmaster);
	return canary;
}

static char *plan_name(const struct init *init)
{
	char *name = init->to ? mem_printf("%s-to-%s", init->domain,
					   init->to->name) :
				mem_printf("standby-%s", init->domain);

	for (char *c = name; *c; c++)
		if (*c == '.' || *c == '_')
			*c = '-';
	if (strlen(name) > 63)
		name[63] = '\0';
	return name;
}

static struct json *make_plan(const struct init *init,
			      const struct dns_vantage *answer)
{
	struct json *plan = json_object(), *domains = json_array();
	struct json *domain = json_object(), *expected = json_object();
	struct json *recipients = json_object(), *replay = json_object();
	struct json *probe = json_object();
	/* Between two clouds the domain is in neither for a while. */
	bool park = init->to && strcmp(init->from->name, "custom") != 0 &&
		    strcmp(init->to->name, "custom") != 0;
	char *name = plan_name(init);
	char *postmaster = mem_printf("postmaster@%s", init->domain);

	comment(plan, "Written by tideover init from what DNS said. Names "
		      "under .invalid are yours to fill in; tideover plan "
		      "FILE says what is missing.");
	json_put_number(plan, "tideover", 1);
	json_put_text(plan, "name", name);
	json_put_text(plan, "strategy", park ? "park" : "standby");
	/* Whoever reads it knows the domain by its other name. */
	if (slice_has_8bit(slice(init->call->arguments[0])))
		comment(domain, init->call->arguments[0]);
	json_put_text(domain, "name", init->domain);
	json_add(domains, domain);
	json_put(plan, "domains", domains);
	json_put(plan, init->to ? "old" : "primary", old_system(init, answer));
	if (init->to)
		json_put(plan, "new", new_system(init));
	json_put(plan, "queue_mx", queue_mx(init, park));
	json_put(plan, "dns", dns(init, park));
	comment(expected, "How much mail comes: for the check of the disk.");
	json_put_number(expected, "messages_per_day", 1000);
	json_put_number(expected, "mean_bytes", 75000);
	json_put(plan, "expected", expected);
	comment(recipients, "Or \"listed\" with a \"file\" of addresses.");
	json_put_text(recipients, "policy", "any");
	json_put(plan, "recipients", recipients);
	json_put_text(replay, "tls", init->to ? "required" : "opportunistic");
	json_put(plan, "replay", replay);
	json_put_text(plan, "retention", "30d");
	comment(probe, "Addresses that exist in both systems.");
	put_list(probe, "recipients", postmaster);
	json_put(plan, "probe", probe);
	if (init->to)
		json_put(plan, "canary", canary(init, postmaster));
	free(name);
	free(postmaster);
	return plan;
}

static void tell_written(const struct command_call *call, const char *path)
{
	struct json *document = json_object();

	fprintf(stderr,
		"tideover: %s: fill in the names under .invalid, then "
		"tideover plan %s\n",
		path, path);
	json_put_text(document, "plan", path);
	if (call->json)
		output_json(document);
	json_free(document);
}

static int write_plan(struct command_call *call, const struct json *plan)
{
	const char *path = call->value[OPT_OUTPUT];
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;
	int status = EXIT_DONE;

	json_print_pretty(plan, &text);
	if (!path)
		fputs(buf_text(&text), stdout);
	else if (file_exists(path))
		status = output_error(call, EXIT_FAILED,
				      "%s is there already: move it away, or "
				      "give another --output",
				      path);
	else if (file_write(path, buf_slice(&text), 0644, &err) < 0)
		status = output_error(call, EXIT_FAILED, "%s", err.text);
	else
		tell_written(call, path);
	buf_release(&text);
	return status;
}

static bool providers_of(struct init *init, int *status)
{
	struct command_call *call = init->call;
	const char *from = call->value[OPT_FROM_SYSTEM];
	const char *to = call->value[OPT_TO_SYSTEM];

	init->from = provider_find(from ? from : "custom");
	init->to = to ? provider_find(to) : NULL;
	if (init->from && (init->to || !to))
		return true;
	*status = output_error(call, EXIT_USAGE,
			       "providers are m365, workspace and custom, not "
			       "'%s'",
			       init->from ? to : from);
	return false;
}

int cmd_init(struct command_call *call)
{
	struct init init = { .call = call };
	const struct dns_vantage *answer;
	struct err err = ERR_INIT;
	struct json *plan;
	int status = EXIT_DONE;

	if (!providers_of(&init, &status))
		return status;
	if (dns_idn_alabels(call->arguments[0], init.domain, &err) < 0)
		return output_error(call, EXIT_USAGE, "%s", err.text);
	init.resolver = call->value[OPT_RESOLVER] ? call->value[OPT_RESOLVER] :
						    "system";
	if (ask(&init, &err) < 0)
		return output_error(call, EXIT_FAILED, "%s", err.text);
	answer = best_answer(&init);
	if (answer) {
		plan = make_plan(&init, answer);
		status = write_plan(call, plan);
		json_free(plan);
	} else {
		status = output_error(
			call, EXIT_FAILED,
			"nobody names an MX host of %s%s%s: there is nothing "
			"to move, or DNS cannot be asked from here (give "
			"--resolver)",
			init.domain, init.found.error[0] ? ": " : "",
			init.found.error);
	}
	dns_domain_release(&init.found);
	return status;
}
