/*
 * What only the tenants' administrators can say: attested by a person, or
 * judged from the files that the plan names as evidence (tenant.h).
 */

#include "cutover/check_parts.h"
#include "dns/dns_vantage.h"
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define HOUR_MS	  ((int64_t)3600 * 1000)
#define SETTLE_MS (24 * HOUR_MS) /* trust is told to every front end */
#define STALE_MS  (7 * 24 * HOUR_MS)

/* Evidence files. */

struct judge {
	const struct facts *facts;
	const struct plan_domain *domain;
	struct tally *tally;
	const char *ip; /* that the queue replays from */
};

static const char *queue_ip(const struct facts *facts, size_t at)
{
	const struct dns_domain *dns = &facts->domains[at].dns;

	for (size_t i = 0; i < dns->host_count; i++)
		if (strcmp(dns->hosts[i].name, facts->plan->queue_mx.host) ==
			    0 &&
		    dns->hosts[i].first[0])
			return dns->hosts[i].first;
	return NULL;
}

static void add_objects(struct judge *judge, enum tenant_kind kind)
{
	const struct tenant *tenant = &judge->facts->tenant;
	struct json *json;

	if (!tenant->of[kind])
		return;
	json = json_object();
	json_put_time(json, "at", tenant->at_ms[kind]);
	json_put(json, "objects", json_copy(tenant->of[kind]));
	json_add(judge->tally->evidence, json);
}

static void say(struct judge *judge, enum verdict verdict, const char *what,
		char *remedy)
{
	tally_add(judge->tally, verdict,
		  mem_printf("%s: %s", judge->domain->name, what), remedy);
}

static bool is_provider(const struct plan_domain *domain, const char *name)
{
	return strcmp(domain->systems[SYSTEM_NEW].provider->name, name) == 0;
}

/* An export that nobody made, that is broken, or that is of last month. */
static bool is_usable(struct judge *judge, enum tenant_kind kind,
		      const char *command)
{
	const struct tenant *tenant = &judge->facts->tenant;

	if (tenant->error[0]) {
		say(judge, VERDICT_UNKNOWN, "an evidence file cannot be read",
		    mem_printf("%s", tenant->error));
		return false;
	}
	if (!tenant->of[kind]) {
		say(judge, VERDICT_UNKNOWN, "nothing is known of it here",
		    mem_printf("name the JSON of %s under \"evidence\" in the "
			       "plan, or look and attest",
			       command));
		return false;
	}
	/* An hour is what clocks and their zones are wrong by. */
	if (tenant->at_ms[kind] > judge->facts->now.wall_ms + HOUR_MS) {
		say(judge, VERDICT_UNKNOWN,
		    "the evidence file is of a time to come",
		    mem_printf("so its age is not known: export it again: %s",
			       command));
		return false;
	}
	if (judge->facts->now.wall_ms - tenant->at_ms[kind] > STALE_MS) {
		say(judge, VERDICT_UNKNOWN,
		    "the evidence file is older than 7 days",
		    mem_printf("export it again: %s", command));
		return false;
	}
	return true;
}

bool check_initial(const struct plan_system *system, char name[DNS_NAME])
{
	static const char suffix[] = ".mail.protection.outlook.com";
	const char *host = system->deliver_host;

	if (!host || !slice_ends_nocase(slice(host), suffix))
		return false;
	snprintf(name, DNS_NAME, "%.*s.onmicrosoft.com",
		 (int)(strlen(host) - strlen(suffix)), host);
	return true;
}

static bool has_initial(const struct judge *judge, enum tenant_kind kind,
			enum plan_system_id id)
{
	char name[DNS_NAME];

	return check_initial(&judge->domain->systems[id], name) &&
	       tenant_domain(&judge->facts->tenant, kind, name);
}

/* Whose an export is, as far as it says. */
struct whose {
	bool old, new, strange;
	const char *how; /* to export it so that it says that */
};

/* Every tenant lists its initial domain. */
static struct whose whose_list(const struct judge *judge, enum tenant_kind kind)
{
	return (struct whose){
		.old = has_initial(judge, kind, SYSTEM_OLD),
		.new = has_initial(judge, kind, SYSTEM_NEW),
		.strange = tenant_has_initial(&judge->facts->tenant, kind),
		.how = "export every domain of it, not this one alone",
	};
}

static bool is_initial_of(const struct judge *judge, enum plan_system_id id,
			  const char *name)
{
	char initial[DNS_NAME];

	return check_initial(&judge->domain->systems[id], initial) &&
	       strcasecmp(initial, name) == 0;
}

/* A connector does not list it; the directory that it is in has its name. */
static struct whose whose_connectors(const struct judge *judge)
{
	struct whose whose = { .new = true,
			       .how = "export it whole, with its "
				      "DistinguishedName" };

	for (const struct json *it =
		     json_first(judge->facts->tenant.of[TENANT_CONNECTOR]);
	     it; it = json_next(it)) {
		char name[DNS_NAME];
		bool known = tenant_named(it, name);

		if (known && is_initial_of(judge, SYSTEM_NEW, name))
			continue;
		whose.new = false;
		whose.strange |= known;
		whose.old |= known && is_initial_of(judge, SYSTEM_OLD, name);
	}
	return whose;
}

/*
 * Both tenants of a move have the domain at some time, and may have a
 * connector for the queue: an export of the wrong one would say yes.
 */
static bool is_new_tenants(struct judge *judge, struct whose whose)
{
	const struct plan_system *systems = judge->domain->systems;
	/* Only a tenant of the same kind exports the same. */
	bool alike = strcmp(systems[SYSTEM_OLD].provider->name,
			    systems[SYSTEM_NEW].provider->name) == 0;
	char wanted[DNS_NAME];
	bool known;

	if (whose.old) {
		say(judge, VERDICT_UNKNOWN,
		    "the evidence file is of the old tenant",
		    mem_printf("export it in the new one, and name that file "
			       "alone"));
		return false;
	}
	if (whose.new)
		return true;
	known = check_initial(&judge->domain->systems[SYSTEM_NEW], wanted);
	if (known && whose.strange) {
		say(judge, VERDICT_UNKNOWN,
		    "the evidence file is of another tenant than deliver_to",
		    mem_printf("export it in the tenant of %s", wanted));
		return false;
	}
	if (!known && !alike)
		return true;
	say(judge, alike ? VERDICT_UNKNOWN : VERDICT_WARN,
	    "of which tenant the evidence file is, cannot be told",
	    known ? mem_printf("%s: %s is in it", whose.how, wanted) :
		    mem_printf("look at it in the new one, and attest"));
	return !alike;
}

static bool flag(const struct json *object, const char *name)
{
	return json_bool(tenant_get(object, name));
}

/* "smtp:*;1": the connector is for mail of every sender. */
static bool is_for_all(const struct json *connector)
{
	const struct json *list = tenant_get(connector, "SenderDomains");

	for (const struct json *it = json_first(list); it; it = json_next(it)) {
		struct slice text = slice(json_text(it));

		if (slice_starts_nocase(text, "smtp:"))
			text = slice_from(text, 5);
		text = slice_split(&text, ';');
		if (slice_is(text, "*"))
			return true;
	}
	return false;
}

static bool is_by_ip(const struct judge *judge, const struct json *connector)
{
	return judge->ip &&
	       tenant_list_covers(tenant_get(connector, "SenderIPAddresses"),
				  judge->ip);
}

/* Only where the replay shows a certificate at all. */
static bool is_by_certificate(const struct judge *judge,
			      const struct json *connector)
{
	const struct plan *plan = judge->facts->plan;
	const char *name =
		json_text(tenant_get(connector, "TlsSenderCertificateName"));

	return name && plan->replay.client_certificate_file &&
	       tenant_certificate_is(name, plan->queue_mx.host);
}

/* Whoever else sends directly after the MX change gets 550 5.7.51. */
static bool restricts(const struct json *connector)
{
	return is_for_all(connector) &&
	       (flag(connector, "RestrictDomainsToIPAddresses") ||
		flag(connector, "RestrictDomainsToCertificate"));
}

static bool is_ours(const struct judge *judge, const struct json *connector)
{
	return is_by_ip(judge, connector) ||
	       is_by_certificate(judge, connector);
}

/* A partner's: mail of every other sender does not come by it. */
static void judge_senders(struct judge *judge, const struct json *connector)
{
	if (json_count(tenant_get(connector, "SenderDomains")) > 0 &&
	    !is_for_all(connector))
		say(judge, VERDICT_FAIL,
		    "the connector for the queue is for some senders alone",
		    mem_printf("Set-InboundConnector -SenderDomains *: the "
			       "queue brings mail of everybody"));
}

static void judge_skip_list(struct judge *judge, const struct json *connector)
{
	const struct json *users = tenant_get(connector, "EFUsers");
	const char *ip = judge->ip ? judge->ip : "of the queue";

	if (!flag(connector, "EFSkipLastIP") &&
	    !(judge->ip &&
	      tenant_list_covers(tenant_get(connector, "EFSkipIPs"),
				 judge->ip)))
		say(judge, VERDICT_FAIL,
		    "the connector does not skip the queue's address",
		    mem_printf("Set-InboundConnector -EFSkipIPs with %s: else "
			       "SPF fails for every sender",
			       ip));
	else if (flag(connector, "EFTestMode"))
		say(judge, VERDICT_FAIL, "the skip list is in test mode",
		    mem_printf("Set-InboundConnector -EFTestMode $false"));
	if (json_count(users) > 0)
		say(judge, VERDICT_WARN, "the skip list is for some users only",
		    mem_printf("one other recipient reverts a whole message: "
			       "Set-InboundConnector -EFUsers $null"));
}

static void judge_age(struct judge *judge, const struct json *connector)
{
	const char *text = json_text(tenant_get(connector, "WhenChangedUTC"));
	int64_t changed_ms;

	if (!text || tenant_time(text, &changed_ms) < 0)
		say(judge, VERDICT_WARN,
		    "since when the connector is as it is, is not known",
		    mem_printf("export it with WhenChangedUTC"));
	else if (judge->facts->now.wall_ms - changed_ms < SETTLE_MS)
		say(judge, VERDICT_WARN,
		    "the connector was changed less than 24 h ago",
		    mem_printf("give it until 24 h, then a canary"));
}

/*
 * What seals ARC is named by a domain: the queue's host or one above it.
 * Without a sealer the skip list alone carries the trust.
 */
static void judge_sealer(struct judge *judge)
{
	const struct tenant *tenant = &judge->facts->tenant;
	const char *host = judge->facts->plan->queue_mx.host;

	for (const struct json *it = json_first(tenant->of[TENANT_ARC]); it;
	     it = json_next(it)) {
		const struct json *value = tenant_get(it, "ArcTrustedSealers");
		struct slice rest = slice(json_text(value));

		for (const struct json *one = json_first(value); one;
		     one = json_next(one))
			if (dns_name_is_in(host, json_text(one)))
				return;
		while (rest.len > 0) {
			struct slice one = slice_trim(slice_split(&rest, ','));
			char name[DNS_NAME];

			if (dns_name_normal(one, name) && *name &&
			    dns_name_is_in(host, name))
				return;
		}
	}
	say(judge, VERDICT_WARN,
	    "no ARC sealer of the queue is known to be trusted",
	    mem_printf("Set-ArcConfig -ArcTrustedSealers with the domain of "
		       "%s, and name the JSON of Get-ArcConfig under "
		       "\"evidence\"",
		       host));
}

/* A host with several addresses sends from whichever its routes say. */
static void judge_addresses(struct judge *judge, const struct json *list)
{
	const char *host = judge->facts->plan->queue_mx.host;
	const struct record_answer *answer =
		records_get(judge->facts->records, host, DNS_A);
	const struct dns_record *record;
	struct buf names = BUF_INIT;

	for (size_t i = 0; (record = record_of(answer, DNS_A, i)); i++)
		if (!tenant_list_covers(list, record->address))
			buf_addf(&names, "%s%s", names.len ? ", " : "",
				 record->address);
	if (names.len > 0)
		say(judge, VERDICT_WARN,
		    "not every address of the queue is trusted",
		    mem_printf("add %s too, if mail may leave from there",
			       buf_text(&names)));
	buf_release(&names);
}

static void judge_connectors(struct judge *judge)
{
	const struct json *all = judge->facts->tenant.of[TENANT_CONNECTOR];
	const struct json *ours = NULL;
	bool others = false;

	add_objects(judge, TENANT_CONNECTOR);
	add_objects(judge, TENANT_ARC);
	if (!is_usable(judge, TENANT_CONNECTOR, "Get-InboundConnector") ||
	    !is_new_tenants(judge, whose_connectors(judge)))
		return;
	for (const struct json *it = json_first(all); it; it = json_next(it)) {
		const char *type = json_text(tenant_get(it, "ConnectorType"));

		if (!flag(it, "Enabled") || strcmp(type, "Partner") != 0)
			continue;
		if (restricts(it))
			others = true;
		if (is_ours(judge, it) &&
		    (!ours || (is_for_all(it) && !is_for_all(ours))))
			ours = it;
	}
	if (others)
		say(judge, VERDICT_FAIL,
		    "a connector restricts every sender to its addresses",
		    mem_printf("after the MX change it rejects whoever sends "
			       "directly (550 5.7.51): set "
			       "RestrictDomainsToIPAddresses and "
			       "RestrictDomainsToCertificate to $false"));
	if (!ours && !judge->ip) {
		say(judge, VERDICT_UNKNOWN,
		    "the queue's address is not known, so no connector can be "
		    "told to be for it",
		    mem_printf("publish an address for %s",
			       judge->facts->plan->queue_mx.host));
		return;
	}
	if (!ours) {
		say(judge, VERDICT_FAIL,
		    "no enabled partner connector is for the queue",
		    mem_printf("create an inbound connector of type Partner "
			       "for %s",
			       judge->ip));
		return;
	}
	if (is_by_ip(judge, ours))
		judge_addresses(judge, tenant_get(ours, "SenderIPAddresses"));
	judge_senders(judge, ours);
	judge_skip_list(judge, ours);
	judge_age(judge, ours);
	judge_sealer(judge);
}

static void judge_gateway(struct judge *judge)
{
	const struct json *all = judge->facts->tenant.of[TENANT_GATEWAY];

	add_objects(judge, TENANT_GATEWAY);
	if (!is_usable(judge, TENANT_GATEWAY, "the inbound gateway"))
		return;
	if (!judge->ip) {
		say(judge, VERDICT_UNKNOWN, "the queue's address is not known",
		    mem_printf("publish an address for %s",
			       judge->facts->plan->queue_mx.host));
		return;
	}
	for (const struct json *it = json_first(all); it; it = json_next(it)) {
		if (flag(it, "reject_other"))
			say(judge, VERDICT_FAIL,
			    "the gateway rejects mail that is not from its "
			    "addresses",
			    mem_printf("turn that off: senders that come "
				       "directly get 421 4.7.0"));
		if (!tenant_list_covers(tenant_get(it, "gateway_ips"),
					judge->ip))
			continue;
		if (!flag(it, "auto_detect_external_ip"))
			say(judge, VERDICT_FAIL,
			    "the gateway does not detect the external address",
			    mem_printf("turn on automatic detection: else SPF "
				       "is asked of the queue"));
		judge_addresses(judge, tenant_get(it, "gateway_ips"));
		return;
	}
	say(judge, VERDICT_FAIL, "the gateway does not list the queue",
	    mem_printf("add %s to the gateway's addresses", judge->ip));
}

static struct judge judge_of(const struct facts *facts, size_t at,
			     struct tally *tally)
{
	return (struct judge){ .facts = facts,
			       .domain = &facts->plan->domains[at],
			       .tally = tally,
			       .ip = queue_ip(facts, at) };
}

static void end(struct tally *tally, const struct facts *facts, enum gate gate,
		struct finding *finding, const char *all_well)
{
	if (json_count(tally->evidence) == 0) {
		struct json *json = json_object();

		json_put_text(json, "asked", "the plan's evidence files");
		json_put_time(json, "at", facts->now.wall_ms);
		json_add(tally->evidence, json);
	}
	tally_end(tally, finding, all_well);
	if (finding->verdict == VERDICT_UNKNOWN) {
		char *remedy = finding->remedy;
		char *command = check_attest_command(finding->check, gate);

		finding->remedy = NULL;
		finding_remedy(finding, "%s (%s)", remedy, command);
		free(command);
		free(remedy);
	}
	check_excuse(facts, finding);
}

void check_target_trust(const struct facts *facts, enum gate gate,
			struct finding *finding)
{
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		struct judge judge = judge_of(facts, i, &tally);

		if (is_provider(judge.domain, "m365"))
			judge_connectors(&judge);
		else if (is_provider(judge.domain, "workspace"))
			judge_gateway(&judge);
		else
			say(&judge, VERDICT_UNKNOWN,
			    "whether the new system trusts the queue is not "
			    "known",
			    mem_printf("let it skip SPF, DMARC and rate limits "
				       "for the queue's address, look, and "
				       "attest"));
	}
	end(&tally, facts, gate, finding,
	    "the new system trusts what the queue replays");
}

/* Verified, and enabled for mail. */

static bool has_text(const struct json *list, const char *text)
{
	for (const struct json *it = json_first(list); it; it = json_next(it))
		if (strcmp(json_text(it), text) == 0)
			return true;
	return false;
}

static void judge_verified(struct judge *judge, enum tenant_kind kind,
			   const char *command)
{
	const struct json *at;

	add_objects(judge, kind);
	if (!is_usable(judge, kind, command) ||
	    !is_new_tenants(judge, whose_list(judge, kind)))
		return;
	at = tenant_domain(&judge->facts->tenant, kind, judge->domain->name);
	if (!at)
		say(judge, VERDICT_FAIL, "the new tenant does not have it",
		    mem_printf("add and verify it there"));
	else if (kind == TENANT_ACCEPTED && flag(at, "PendingRemoval"))
		say(judge, VERDICT_FAIL, "the new tenant is removing it",
		    mem_printf("add it again once it is gone"));
	else if (kind == TENANT_GRAPH && !flag(at, "isVerified"))
		say(judge, VERDICT_FAIL, "the new tenant has not verified it",
		    mem_printf("verify it there; it can take an hour after "
			       "the old tenant let go"));
	else if (kind == TENANT_GRAPH &&
		 !has_text(tenant_get(at, "supportedServices"), "Email"))
		say(judge, VERDICT_FAIL, "the new tenant has no mail for it",
		    mem_printf("enable Email for the domain there"));
	else if (kind == TENANT_GOOGLE && !flag(at, "verified"))
		say(judge, VERDICT_FAIL, "the new account has not verified it",
		    mem_printf("verify it there and turn Gmail on"));
}

void check_domain_verified(const struct facts *facts, enum gate gate,
			   struct finding *finding)
{
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		struct judge judge = judge_of(facts, i, &tally);

		if (is_provider(judge.domain, "workspace"))
			judge_verified(&judge, TENANT_GOOGLE,
				       "the Directory API's domains.list");
		else if (!is_provider(judge.domain, "m365"))
			say(&judge, VERDICT_UNKNOWN,
			    "whether the new system has the domain is not "
			    "known",
			    mem_printf("look, and attest"));
		/* An accepted domain is a verified one, made for mail. */
		else if (facts->tenant.of[TENANT_ACCEPTED])
			judge_verified(&judge, TENANT_ACCEPTED,
				       "Get-AcceptedDomain");
		else
			judge_verified(&judge, TENANT_GRAPH,
				       "Get-AcceptedDomain or Get-MgDomain");
	}
	end(&tally, facts, gate, finding,
	    "the new tenant has the domain, enabled for mail");
}

/*
 * An authoritative domain rejects whom its directory does not have (directory
 * based edge blocking); an internal relay does not.
 */
static void judge_type(struct judge *judge)
{
	const struct facts *facts = judge->facts;
	const struct json *at;
	const char *type;

	add_objects(judge, TENANT_ACCEPTED);
	if (!is_usable(judge, TENANT_ACCEPTED, "Get-AcceptedDomain") ||
	    !is_new_tenants(judge, whose_list(judge, TENANT_ACCEPTED)))
		return;
	at = tenant_domain(&facts->tenant, TENANT_ACCEPTED,
			   judge->domain->name);
	type = at ? json_text(tenant_get(at, "DomainType")) : NULL;
	if (!type)
		say(judge, VERDICT_FAIL, "the new tenant does not have it",
		    mem_printf("add and verify it there"));
	else if (strcmp(type, "Authoritative") == 0) {
		size_t missing = check_missing(facts, NULL, NULL);

		if (check_recipients_are_stale(facts))
			say(judge, VERDICT_UNKNOWN,
			    "it is authoritative, and the export of recipients "
			    "is of last week, or of a time to come",
			    mem_printf("export Get-Recipient again"));
		else if (check_whose_recipients(facts) == WHOSE_OLD)
			say(judge, VERDICT_UNKNOWN,
			    "it is authoritative, and the recipients are those "
			    "of the old tenant",
			    mem_printf("export Get-Recipient in the new one"));
		else if (missing > 0)
			say(judge, VERDICT_FAIL,
			    "it is authoritative while listed recipients are "
			    "missing",
			    mem_printf("Set-AcceptedDomain -DomainType "
				       "InternalRelay until they are there"));
		else if (!facts->listed || !facts->tenant.of[TENANT_RECIPIENT])
			say(judge, VERDICT_WARN,
			    "it is authoritative, and whether every recipient "
			    "is there is not known",
			    mem_printf("name the JSON of Get-Recipient under "
				       "\"evidence\", or make it "
				       "InternalRelay until they are"));
	} else if (strcmp(type, "InternalRelay") != 0) {
		say(judge, VERDICT_FAIL,
		    "its type there is neither Authoritative nor "
		    "InternalRelay",
		    mem_printf("Set-AcceptedDomain -DomainType "
			       "InternalRelay"));
	}
}

void check_accepted_type(const struct facts *facts, enum gate gate,
			 struct finding *finding)
{
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		struct judge judge = judge_of(facts, i, &tally);

		/* Other systems have no such type: rcpt-probe asks them. */
		if (is_provider(judge.domain, "m365"))
			judge_type(&judge);
	}
	end(&tally, facts, gate, finding,
	    "the new tenant accepts mail for its recipients");
}
