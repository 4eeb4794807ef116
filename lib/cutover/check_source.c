/* What in the old tenant still refers to the domain, so that it cannot be
 * removed there. */

#include "cutover/check_parts.h"
#include "dns/dns_vantage.h"
#include <stdlib.h>

#define HOUR_MS	 ((int64_t)3600 * 1000)
#define STALE_MS (7 * 24 * HOUR_MS)

enum {
	/* A forced removal of more ends with an error (Microsoft Graph, domain:
	 * forceDelete). */
	FORCED_MAX = 1000,
	NAMES_MAX = 10
};

/* What one export has of a domain. */
struct referring {
	size_t count;
	struct buf names; /* of the first few */
};

static void add(struct referring *found, const char *name)
{
	if (found->count++ < NAMES_MAX)
		buf_addf(&found->names, "%s%s", found->count > 1 ? ", " : "",
			 name ? name : "(no name)");
}

/* "smtp:anna@mail.acme.example" of acme.example; "SIP:" as well. */
static bool is_address_in(const char *text, const char *domain)
{
	const char *at = text ? strrchr(text, '@') : NULL;
	char name[DNS_NAME];

	return at && dns_name_normal(slice(at + 1), name) &&
	       dns_name_is_in(name, domain);
}

static struct referring recipients_of(const struct facts *facts,
				      const char *domain)
{
	struct referring found = { .names = BUF_INIT };

	for (const struct json *it =
		     json_first(facts->old_tenant.of[TENANT_RECIPIENT]);
	     it; it = json_next(it)) {
		const struct json *list = tenant_get(it, "EmailAddresses");
		bool refers = false;

		for (const struct json *one = json_first(list); one;
		     one = json_next(one))
			refers |= is_address_in(json_text(one), domain);
		if (refers)
			add(&found,
			    json_text(tenant_get(it, "PrimarySmtpAddress")));
	}
	return found;
}

/* One without an address may refer to any domain of the plan. */
static struct referring references_of(const struct facts *facts,
				      const char *domain)
{
	static const enum tenant_kind kinds[] = { TENANT_REFERENCE,
						  TENANT_REFERENCE_PS };
	static const char *const names[] = { "userPrincipalName", "mail" };
	struct referring found = { .names = BUF_INIT };

	for (size_t k = 0; k < COUNT(kinds); k++)
		for (const struct json *it =
			     json_first(facts->old_tenant.of[kinds[k]]);
		     it; it = json_next(it)) {
			const struct json *inner =
				tenant_get(it, "additionalProperties");
			const char *name = NULL;
			bool refers = false;

			for (size_t i = 0; i < COUNT(names); i++) {
				const char *text = json_text(tenant_get(
					inner ? inner : it, names[i]));

				refers |= is_address_in(text, domain);
				name = name ? name : text;
			}
			if (refers || !name)
				add(&found,
				    name ? name :
					   json_text(tenant_get(it, "id")));
		}
	return found;
}

static bool any_address_in(const struct json *list, const char *domain)
{
	for (const struct json *it = json_first(list); it; it = json_next(it))
		if (is_address_in(json_text(it), domain))
			return true;
	return false;
}

/* Google: each has to be deleted or renamed before the domain can be removed
 * (Google Workspace Admin Help 183028). */
static struct referring accounts_of(const struct facts *facts,
				    const char *domain)
{
	static const struct {
		enum tenant_kind kind;
		const char *address;
	} kinds[] = { { TENANT_GOOGLE_USER, "primaryEmail" },
		      { TENANT_GOOGLE_GROUP, "email" } };
	struct referring found = { .names = BUF_INIT };

	for (size_t k = 0; k < COUNT(kinds); k++)
		for (const struct json *it =
			     json_first(facts->old_tenant.of[kinds[k].kind]);
		     it; it = json_next(it)) {
			const char *address =
				json_text(tenant_get(it, kinds[k].address));

			if (is_address_in(address, domain) ||
			    any_address_in(tenant_get(it, "aliases"), domain) ||
			    any_address_in(tenant_get(it, "nonEditableAliases"),
					   domain))
				add(&found, address);
		}
	return found;
}

/* To another account it can only go once it is gone from this one; the same
 * page excludes the primary domain. */
static void judge_primary(const struct facts *facts, size_t at,
			  struct tally *tally)
{
	const struct plan_domain *domain = &facts->plan->domains[at];
	const struct json *own =
		tenant_domain(&facts->old_tenant, TENANT_GOOGLE, domain->name);

	if (strcmp(domain->systems[SYSTEM_NEW].provider->name, "workspace") !=
		    0 ||
	    !json_bool(tenant_get(own, "isPrimary")))
		return;
	tally_add(tally, VERDICT_FAIL,
		  mem_printf("%s: it is the primary domain of the old account, "
			     "and cannot be removed there",
			     domain->name),
		  mem_printf("make another domain of that account the primary "
			     "one"));
}

static void judge_referring(const char *domain, const struct referring *found,
			    const char *if_many, struct tally *tally)
{
	bool few = found->count < FORCED_MAX;

	tally_add(tally, few ? VERDICT_WARN : VERDICT_FAIL,
		  mem_printf("%s: %zu objects of the old tenant refer to it%s",
			     domain, found->count, few ? "" : if_many),
		  mem_printf("clear them before the domain is removed there: "
			     "%s%s",
			     buf_text(&found->names),
			     found->count > NAMES_MAX ? ", ..." : ""));
}

static void judge_source(const struct facts *facts, size_t at,
			 struct tally *tally)
{
	const char *domain = facts->plan->domains[at].name;
	struct referring recipients = recipients_of(facts, domain);
	struct referring references = references_of(facts, domain);
	struct referring accounts = accounts_of(facts, domain);
	const struct referring *most =
		references.count > recipients.count ? &references : &recipients;

	judge_primary(facts, at, tally);
	if (accounts.count > most->count)
		judge_referring(domain, &accounts,
				", and each has to be deleted or renamed",
				tally);
	else if (most->count > 0)
		judge_referring(domain, most, ", too many for a forced removal",
				tally);
	else
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: nothing in the export has an "
				     "address in it; what else refers to it in "
				     "the old tenant is not known",
				     domain),
			  NULL);
	buf_release(&recipients.names);
	buf_release(&references.names);
	buf_release(&accounts.names);
}

/* The age of the oldest export that counts here; false: there is none. */
static bool oldest(const struct tenant *tenant, int64_t *at_ms)
{
	static const enum tenant_kind kinds[] = {
		TENANT_RECIPIENT,   TENANT_REFERENCE,	 TENANT_REFERENCE_PS,
		TENANT_GOOGLE_USER, TENANT_GOOGLE_GROUP, TENANT_GOOGLE
	};
	bool any = false;

	for (size_t i = 0; i < COUNT(kinds); i++) {
		if (!tenant->of[kinds[i]])
			continue;
		if (!any || tenant->at_ms[kinds[i]] < *at_ms)
			*at_ms = tenant->at_ms[kinds[i]];
		any = true;
	}
	return any;
}

static const char *unusable(const struct facts *facts)
{
	int64_t at_ms = 0;

	if (facts->old_tenant.error[0])
		return "an evidence file of the old tenant cannot be read";
	if (!oldest(&facts->old_tenant, &at_ms))
		return "what still refers to the domain in the old tenant is "
		       "not known";
	if (at_ms > facts->now.wall_ms + HOUR_MS)
		return "the export of the old tenant is of a time to come";
	if (facts->now.wall_ms - at_ms > STALE_MS)
		return "the export of the old tenant is older than 7 days";
	return NULL;
}

static struct json *exports_json(const struct facts *facts)
{
	const struct tenant *tenant = &facts->old_tenant;
	struct json *json = json_object();
	int64_t at_ms = 0;

	json_put_text(json, "asked", "the exports under old_evidence");
	json_put_time(json, "at", facts->now.wall_ms);
	json_put_time(json, "exported", oldest(tenant, &at_ms) ? at_ms : 0);
	json_put_number(json, "recipients",
			(double)json_count(tenant->of[TENANT_RECIPIENT]));
	json_put_number(json, "references",
			(double)(json_count(tenant->of[TENANT_REFERENCE]) +
				 json_count(tenant->of[TENANT_REFERENCE_PS])));
	json_put_number(json, "accounts",
			(double)(json_count(tenant->of[TENANT_GOOGLE_USER]) +
				 json_count(tenant->of[TENANT_GOOGLE_GROUP])));
	return json;
}

static const char look[] =
	"list domainNameReferences and deletedItems (users, groups, contacts, "
	"applications, soft-deleted mailboxes; of Google users, groups, their "
	"aliases) and clear them, or name the JSON of Get-Recipient, "
	"Get-MgDomainNameReference, or of Google's users.list and groups.list "
	"under \"old_evidence\"";

/*
 * That something refers to it an export can show; that nothing does, it cannot:
 * applications and what was deleted softly are in none of them.
 */
void check_source_blockers(const struct facts *facts, enum gate gate,
			   struct finding *finding)
{
	const char *why = unusable(facts);
	struct buf remedy = BUF_INIT;
	struct tally tally;
	char *command;

	tally_init(&tally);
	json_add(tally.evidence, exports_json(facts));
	if (why)
		tally_add(&tally, VERDICT_UNKNOWN, mem_dup(why),
			  facts->old_tenant.error[0] ?
				  mem_dup(facts->old_tenant.error) :
				  NULL);
	for (size_t i = 0; !why && i < facts->plan->domain_count; i++)
		judge_source(facts, i, &tally);
	tally_end(&tally, finding, "");
	if (finding->verdict == VERDICT_UNKNOWN) {
		command = check_attest_command(finding->check, gate);
		buf_addf(&remedy, "%s%s%s; then %s", finding->remedy,
			 *finding->remedy ? "; " : "", look, command);
		free(command);
		finding_remedy(finding, "%s", buf_text(&remedy));
	}
	buf_release(&remedy);
	check_excuse(facts, finding);
}
