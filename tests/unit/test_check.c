#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "cutover/canary.h"
#include "cutover/check.h"
#include "cutover/check_parts.h"
#include "cutover/timeline.h"
#include "plan/plan_parse.h"
#include <stdio.h>
#include <stdlib.h>
#include "tests/unit/zone.h"

#define NOW_MS	1780000000000
#define HOUR_MS ((int64_t)3600 * 1000)
#define DAY_MS	(24 * HOUR_MS)
#define RESERVE (2ull << 30) /* of a large disk */
#define OLD	"old.example.net"
#define NEW	"new.example.org"
#define QUEUE	"hold.example.com"

static const char park_text[] =
	"{\"tideover\":1,\"name\":\"t\",\"strategy\":\"park\","
	"\"domains\":[{\"name\":\"acme.example\"}],"
	"\"old\":{\"provider\":\"workspace\",\"mx\":[\"" OLD "\"],"
	"\"deliver_to\":\"old.example.net:25\"},"
	"\"new\":{\"provider\":\"m365\",\"mx\":[\"" NEW "\"],"
	"\"deliver_to\":\"tenant.example.org:25\"},"
	"\"queue_mx\":{\"host\":\"" QUEUE "\",\"priority\":20,"
	"\"listen\":[\"127.0.0.1:2525\"]},"
	"\"dns\":{\"resolvers\":[\"192.0.2.1\"],\"ttl\":300,\"old_ttl\":86400},"
	"\"expected\":{\"messages_per_day\":24000,\"mean_bytes\":100000},"
	"\"recipients\":{\"policy\":\"any\"}}";

static const struct supervisor good_unit = {
	.kind = SUPERVISOR_SYSTEMD,
	.unit = "tideoverd.service",
	.restart = "always",
	.enabled = "/etc/systemd/system/multi-user.target.wants/"
		   "tideoverd.service",
};

/* A mailbox of one domain, and none of the other, which has its own tenant. */
static const char canary_text[] =
	"{\"tideover\":1,\"name\":\"t\",\"strategy\":\"park\","
	"\"domains\":[{\"name\":\"acme.example\"},"
	"{\"name\":\"acme.example.net\","
	"\"new\":{\"deliver_to\":\"other.example.org:25\"}}],"
	"\"old\":{\"provider\":\"workspace\",\"mx\":[\"" OLD "\"],"
	"\"deliver_to\":\"old.example.net:25\"},"
	"\"new\":{\"provider\":\"m365\",\"mx\":[\"" NEW "\"],"
	"\"deliver_to\":\"tenant.example.org:25\"},"
	"\"queue_mx\":{\"host\":\"" QUEUE "\",\"priority\":20,"
	"\"listen\":[\"127.0.0.1:2525\"]},"
	"\"canary\":{\"initial\":[\"pilot@tenant.example\"],"
	"\"recipients\":[\"a@acme.example\"]}}";

static const char standby_text[] =
	"{\"tideover\":1,\"name\":\"t\",\"strategy\":\"standby\","
	"\"domains\":[{\"name\":\"acme.example\"}],"
	"\"old\":{\"provider\":\"custom\",\"mx\":[\"" OLD "\"],"
	"\"deliver_to\":\"old.example.net:25\"},"
	"\"new\":{\"provider\":\"m365\",\"mx\":[\"" NEW "\"],"
	"\"deliver_to\":\"tenant.example.org:25\"},"
	"\"queue_mx\":{\"host\":\"" QUEUE "\",\"priority\":20,"
	"\"listen\":[\"127.0.0.1:2525\"]},"
	"\"dns\":{\"resolvers\":[\"192.0.2.1\"],\"ttl\":300},"
	"\"recipients\":{\"policy\":\"any\"}}";

static const char plain_text[] =
	"{\"tideover\":1,\"name\":\"t\",\"strategy\":\"standby\","
	"\"domains\":[{\"name\":\"acme.example\"}],"
	"\"primary\":{\"provider\":\"custom\",\"mx\":[\"" OLD "\"],"
	"\"deliver_to\":\"old.example.net:25\"},"
	"\"queue_mx\":{\"host\":\"" QUEUE "\",\"priority\":20,"
	"\"listen\":[\"127.0.0.1:2525\"]},"
	"\"dns\":{\"resolvers\":[\"192.0.2.1\"],\"ttl\":300},"
	"\"recipients\":{\"policy\":\"any\"}}";

/* A world in which every check passes; a case changes what it is about. */
struct world {
	struct plan *plan;
	struct facts *facts;
	struct facts_domain *domain;
	struct dns_vantage *authority, *resolver; /* 2 and 3 of them */
	struct probe_result *old, *new;
};

static void set_mx(struct dns_vantage *vantage, const char *first,
		   const char *second)
{
	vantage->mx = (struct dns_mx_set){ .ttl = 300, .count = 1 };
	vantage->mx.at[0].preference = 10;
	snprintf(vantage->mx.at[0].host, DNS_NAME, "%s", first);
	if (!second)
		return;
	vantage->mx.count = 2;
	vantage->mx.at[1].preference = 20;
	snprintf(vantage->mx.at[1].host, DNS_NAME, "%s", second);
}

static void set_all(struct world *world, const char *first, const char *second)
{
	for (size_t i = 0; i < 5; i++)
		set_mx(&world->authority[i], first, second);
}

static void add_host(struct world *world, const char *name)
{
	struct dns_domain *dns = &world->domain->dns;
	struct dns_host *host;

	dns->hosts = mem_grow(dns->hosts,
			      (dns->host_count + 1) * sizeof(*dns->hosts));
	host = &dns->hosts[dns->host_count++];
	*host = (struct dns_host){ .asked = true, .addresses = 2 };
	snprintf(host->name, sizeof(host->name), "%s", name);
	snprintf(host->first, sizeof(host->first), "192.0.2.9");
}

static void good_reply(struct smtp_reply *reply, int code, const char *enhanced,
		       const char *text)
{
	*reply = (struct smtp_reply){ .code = code };
	snprintf(reply->enhanced, sizeof(reply->enhanced), "%s", enhanced);
	snprintf(reply->text, sizeof(reply->text), "%s %s", enhanced, text);
}

static void good_probe(struct probe_result *probe, const char *target)
{
	*probe = (struct probe_result){ .connected = true,
					.healthy = true,
					.rcpt_count = 2,
					.at_ms = NOW_MS,
					.stage = SMTP_STAGE_RCPT };
	snprintf(probe->target, sizeof(probe->target), "%s", target);
	probe->greeting.code = 220;
	probe->offers.starttls = true;
	probe->tls.active = probe->tls.trusted = true;
	snprintf(probe->rcpt[0].address, sizeof(probe->rcpt[0].address),
		 "postmaster@acme.example");
	good_reply(&probe->rcpt[0].reply, 250, "2.1.5", "ok");
	snprintf(probe->rcpt[1].address, sizeof(probe->rcpt[1].address),
		 "nobody-1@acme.example");
	probe->rcpt[1].random = true;
	good_reply(&probe->rcpt[1].reply, 550, "5.1.1", "nobody");
}

static void fill_dns(struct world *world)
{
	struct dns_domain *dns = &world->domain->dns;

	snprintf(dns->name, sizeof(dns->name), "acme.example");
	dns->vantage_count = 5;
	dns->vantages = mem_alloc(5 * sizeof(*dns->vantages));
	for (size_t i = 0; i < 5; i++) {
		struct dns_vantage *vantage = &dns->vantages[i];

		vantage->authority = i < 2;
		vantage->aa = i < 2;
		vantage->has_serial = i < 2;
		vantage->serial = 7;
		vantage->asked_ms = NOW_MS;
		snprintf(vantage->name, sizeof(vantage->name),
			 i < 2 ? "ns%zu.example" : "resolver", i + 1);
		snprintf(vantage->address, sizeof(vantage->address),
			 "192.0.2.%zu:53", i + 1);
	}
	world->authority = dns->vantages;
	world->resolver = dns->vantages + 2;
	add_host(world, OLD);
	add_host(world, NEW);
	add_host(world, QUEUE);
	world->domain->surveyed = true;
	world->domain->horizon = (struct dns_horizon){
		.max_ttl = 300,
		.first_ms = NOW_MS - 100 * HOUR_MS,
		.old_seen_ms = NOW_MS - 30 * HOUR_MS,
		.boot_id = "the boot before",
		.high_ttl = 86400,
		.low_since_ms = NOW_MS - 30 * HOUR_MS,
		.low_boot_id = "the boot before",
	};
}

/* Of a move to Microsoft 365; what it lacks is for test_check_mail.c. */
static const char good_zone[] =
	"acme.example TXT v=spf1 include:spf.protection.outlook.com -all\n"
	"acme.example TXT MS=ms1\n"
	"spf.protection.outlook.com TXT v=spf1 ip4:192.0.2.0/24 -all\n"
	"_dmarc.acme.example TXT v=DMARC1; p=reject\n"
	"_smtp._tls.acme.example TXT v=TLSRPTv1; rua=mailto:t@b.example\n"
	"selector1._domainkey.acme.example TXT v=DKIM1; p=a2V5\n"
	"selector2._domainkey.acme.example TXT v=DKIM1; p=a2V5\n"
	"autodiscover.acme.example CNAME autodiscover.outlook.com\n"
	"_autodiscover._tcp.acme.example SRV\n"
	"acme.example DS\n"
	"_25._tcp." QUEUE " TLSA\n" QUEUE " CAA 0 issue letsencrypt.org\n" QUEUE
	" A 192.0.2.9\n" QUEUE " AAAA\n"
	"9.2.0.192.in-addr.arpa PTR " QUEUE "\n";

static void world_make(struct world *world, const char *text)
{
	struct err err = ERR_INIT;

	*world = (struct world){ .plan = plan_parse(slice(text), NULL, &err) };
	if (!world->plan)
		fail_msg("%s", err.text);
	/* What only a tenant or a person knows is no matter there. */
	world->plan->rehearsal = true;
	world->facts = facts_new(world->plan);
	world->domain = &world->facts->domains[0];
	world->facts->now = (struct dns_now){ .wall_ms = NOW_MS };
	fill_dns(world);
	world->old = &world->domain->systems[SYSTEM_OLD].probe;
	world->new = &world->domain->systems[SYSTEM_NEW].probe;
	for (int s = SYSTEM_OLD; s <= SYSTEM_NEW; s++) {
		world->domain->systems[s].probed = true;
		world->domain->systems[s].good_count = 3;
		world->domain->systems[s].good_since_ms = NOW_MS - HOUR_MS;
		world->domain->systems[s].good_last_ms = NOW_MS;
		world->domain->systems[s].good_last_boot_ms = HOUR_MS;
	}
	good_probe(world->old, "old.example.net:25");
	good_probe(world->new, "tenant.example.org:25");
	world->facts->listeners[0].probed = true;
	good_probe(&world->facts->listeners[0].probe, "127.0.0.1:2525");
	world->facts->listeners[0].probe.rcpt_count = 1;
	world->facts->listeners[0].probe.tls.not_after_ms =
		NOW_MS + 60 * 24 * HOUR_MS;
	world->facts->clock_asked = true;
	world->facts->clock_error_ms = 20;
	world->domain->sts.asked = true;
	good_reply(&world->facts->listeners[0].probe.rcpt[0].reply, 550,
		   "5.7.1", "not here");
	world->facts->space_known = true;
	world->facts->space = (struct file_space){
		.free_bytes = 100000000000,
		.total_bytes = 200000000000,
		.free_inodes = 10000000,
		.total_inodes = 20000000,
	};
	world->facts->ledger_known = world->facts->ledger_balances = true;
	world->facts->journal_intact = true;
	world->facts->loaded_ms = NOW_MS;
	world->facts->exceptions = json_object();
	world->facts->since_ms = NOW_MS - 100 * HOUR_MS;
	world->facts->last_arrival_ms = NOW_MS - 80 * HOUR_MS;
	world->facts->supervisor = good_unit;
	world->facts->records = records_new();
	zone_lines(world->facts->records, good_zone);
	world->domain->oldest_ms = NOW_MS - 24 * HOUR_MS;
	world->domain->outcomes = 10000;
}

/* The plan's list: anna and bert. */
static struct map listed;
/* Of canary_text. */
static struct canaries canaries;

static void world_release(struct world *world)
{
	map_release(&listed);
	canaries_release(&canaries);
	facts_free(world->facts);
	plan_free(world->plan);
}

/* What each case changes; the MX set is parked before unless it says so. */
static void mx_old(struct world *w)
{
	set_all(w, OLD, NULL);
}
static void mx_new(struct world *w)
{
	set_all(w, NEW, NULL);
}
static void mx_mixed(struct world *w)
{
	set_all(w, OLD, QUEUE);
}
static void mx_other(struct world *w)
{
	set_all(w, "mx.other.example", NULL);
}
static void mx_old_queue(struct world *w)
{
	set_all(w, OLD, QUEUE);
}
static void mx_new_queue(struct world *w)
{
	set_all(w, NEW, QUEUE);
}
static void nothing(struct world *w)
{
}

static void answers_old(struct world *w)
{
	w->resolver[2].asked_ms = NOW_MS - 61000;
}
static void arrived_yesterday(struct world *w)
{
	w->facts->last_arrival_ms = NOW_MS - 24 * HOUR_MS;
}
static void two_still_send(struct world *w)
{
	arrived_yesterday(w);
	json_free(w->facts->exceptions);
	w->facts->exceptions = json_parse(
		slice("{\"stragglers\":{\"messages\":3,\"peers\":2,"
		      "\"named\":[{\"peer\":\"192.0.2.7\",\"messages\":1},"
		      "{\"peer\":\"2001:db8::7\",\"messages\":2}]}}"),
		NULL);
}
static void trail_begins(struct world *w)
{
	w->facts->since_ms = NOW_MS - HOUR_MS;
}
static void in_public(struct world *w)
{
	w->plan->rehearsal = false;
	snprintf(w->plan->queue_mx.listen.at[0],
		 strlen(w->plan->queue_mx.listen.at[0]) + 1, "[::]:25");
}
static void unsupervised(struct world *w)
{
	w->facts->supervisor = (struct supervisor){ 0 };
}
static void unsupervised_public(struct world *w)
{
	unsupervised(w);
	in_public(w);
}
static void other_supervisor(struct world *w)
{
	w->facts->supervisor = (struct supervisor){
		.kind = SUPERVISOR_OTHER,
		.why = "it is not systemd",
	};
}
static void other_supervisor_public(struct world *w)
{
	other_supervisor(w);
	in_public(w);
}
static void unit_unknown(struct world *w)
{
	snprintf(w->facts->supervisor.why, 40, "it was changed");
	in_public(w);
}
static void unit_not_enabled(struct world *w)
{
	w->facts->supervisor.enabled[0] = '\0';
}
static void unit_not_enabled_public(struct world *w)
{
	unit_not_enabled(w);
	in_public(w);
}
static void unit_restarts_at_times(struct world *w)
{
	snprintf(w->facts->supervisor.restart, 40, "on-abnormal");
	in_public(w);
}
static void unit_sets_no_restart(struct world *w)
{
	w->facts->supervisor.restart[0] = '\0';
}

static void unsurveyed(struct world *w)
{
	w->domain->surveyed = false;
}

static void silent(struct world *w)
{
	snprintf(w->authority[1].error, sizeof(w->authority[1].error),
		 "timeout");
}

static void lame(struct world *w)
{
	w->authority[1].aa = false;
}
static void serials(struct world *w)
{
	w->authority[1].serial = 8;
}

static void no_ipv6(struct world *w)
{
	w->authority[1] = w->authority[0];
	snprintf(w->authority[1].address, ADDR_TEXT, "[2001:db8::1]:53");
	silent(w);
}

static void ttl_hour(struct world *w)
{
	mx_old(w);
	w->authority[0].mx.ttl = 3600;
}

static void ttl_day(struct world *w)
{
	mx_old(w);
	w->authority[1].mx.ttl = 86400;
}

static void ttl_none(struct world *w)
{
	w->authority[0].mx.count = w->authority[1].mx.count = 0;
}

static void null_mx(struct world *w)
{
	set_mx(w->authority, "", NULL);
}
static void ip_mx(struct world *w)
{
	set_mx(w->authority, "192.0.2.7", NULL);
}

static void invalid_mx(struct world *w)
{
	set_mx(w->authority, QUEUE, "ms123.msv1.invalid");
	add_host(w, "ms123.msv1.invalid");
}

static void doubled_mx(struct world *w)
{
	set_mx(w->authority, "mx.acme.example.acme.example", NULL);
	add_host(w, "mx.acme.example.acme.example");
}

static void cname(struct world *w)
{
	w->domain->dns.hosts[2].cname = true;
}

static void one_address(struct world *w)
{
	w->domain->dns.hosts[2].addresses = 1;
}

static void no_address(struct world *w)
{
	w->domain->dns.hosts[2].addresses = 0;
}

static void host_unasked(struct world *w)
{
	w->domain->dns.hosts[2].asked = false;
}

static void seen_lately(struct world *w)
{
	w->domain->horizon.old_seen_ms = NOW_MS - HOUR_MS;
}

static void seen_long_ago(struct world *w)
{
	w->domain->horizon.old_seen_ms = NOW_MS - 50 * HOUR_MS;
}

static void ttl_unknown(struct world *w)
{
	w->plan->dns.old_ttl = -1;
	w->domain->horizon.first_ms = NOW_MS - HOUR_MS;
}

static void ttl_observed(struct world *w)
{
	w->plan->dns.old_ttl = -1;
}
static void resolver_old(struct world *w)
{
	set_mx(w->resolver, OLD, NULL);
}

static void one_authority_old(struct world *w)
{
	set_mx(w->authority + 1, OLD, NULL);
}

static void resolver_silent(struct world *w)
{
	snprintf(w->resolver->error, sizeof(w->resolver->error), "refused");
}

static void no_resolver(struct world *w)
{
	for (size_t i = 0; i < 3; i++)
		snprintf(w->resolver[i].error, sizeof(w->resolver[i].error),
			 "refused");
}

static void new_unresolved(struct world *w)
{
	mx_new(w);
	no_resolver(w);
}

static void new_resolver_lags(struct world *w)
{
	mx_new(w);
	resolver_old(w);
}

static void returned(struct world *w)
{
	w->facts->phase = PHASE_RETURNED;
	mx_old(w);
}

static void returned_resolver_lags(struct world *w)
{
	returned(w);
	set_mx(w->resolver, QUEUE, NULL);
}

static void returned_parked(struct world *w)
{
	w->facts->phase = PHASE_RETURNED;
}

static void returned_unresolved(struct world *w)
{
	returned(w);
	no_resolver(w);
}

/* Tenant to tenant: the hosts are the same, so none is left behind. */
static void same_hosts(struct world *w)
{
	snprintf(w->plan->domains[0].systems[SYSTEM_NEW].mx.at[0], sizeof(NEW),
		 "%s", OLD);
	mx_old(w);
	w->domain->horizon.old_seen_ms = NOW_MS;
}

static void queue_first(struct world *w)
{
	set_all(w, QUEUE, NEW);
}

static void unprobed(struct world *w)
{
	w->domain->systems[SYSTEM_NEW].probed = false;
	w->domain->systems[SYSTEM_OLD].probed = false;
}

static void unreachable(struct world *w)
{
	struct probe_result none = { .target = "tenant.example.org:25",
				     .error = "connect: refused",
				     .rcpt_count = 2 };

	none.rcpt[1].random = true;
	*w->new = *w->old = none;
}

static void greeted_no(struct world *w)
{
	unreachable(w);
	good_reply(&w->new->greeting, 554, "5.7.1", "go away");
	w->old->greeting = w->new->greeting;
}

static void refused(struct world *w)
{
	good_reply(&w->new->rcpt[0].reply, 550, "5.4.1",
		   "Recipient address rejected: Access denied.");
	w->old->rcpt[0].reply = w->new->rcpt[0].reply;
}

static void unlicensed(struct world *w)
{
	good_reply(&w->new->rcpt[0].reply, 451, "4.4.4",
		   "Mail received as unauthenticated ATTR5");
	w->old->rcpt[0].reply = w->new->rcpt[0].reply;
}

static void greylisted(struct world *w)
{
	good_reply(&w->new->rcpt[0].reply, 450, "4.7.1", "later");
	w->old->rcpt[0].reply = w->new->rcpt[0].reply;
}

static void accepts_all(struct world *w)
{
	good_reply(&w->new->rcpt[1].reply, 250, "2.1.5", "ok");
	w->old->rcpt[1].reply = w->new->rcpt[1].reply;
}

static void two_good(struct world *w)
{
	w->domain->systems[SYSTEM_NEW].good_count = 2;
}

static void too_quick(struct world *w)
{
	w->domain->systems[SYSTEM_NEW].good_since_ms = NOW_MS - 60000;
}

/* deliver_to leads to us. */
static void greets_as_queue(struct world *w)
{
	snprintf(w->old->greeting.text, sizeof(w->old->greeting.text),
		 "%s ESMTP", w->plan->queue_mx.host);
	snprintf(w->new->greeting.text, sizeof(w->new->greeting.text),
		 "%s ESMTP", w->plan->queue_mx.host);
}

static void banned_at_mail(struct world *w)
{
	w->new->healthy = false;
	w->new->rcpt_count = 0;
	w->new->stage = SMTP_STAGE_MAIL;
	good_reply(&w->new->ended, 550, "5.7.606", "banned sending IP");
}

static void quick_by_boot(struct world *w)
{
	w->domain->systems[SYSTEM_NEW].good_last_boot_ms = 60000;
}

/* The daemon has been up for two hours, and the clock was set ahead. */
static void clock_ahead(struct world *w)
{
	w->facts->loaded_ms = NOW_MS - 200 * HOUR_MS;
	w->facts->loaded_boot_ms = -2 * HOUR_MS;
}

static void tls_missing(struct world *w)
{
	w->plan->replay.tls = PLAN_TLS_REQUIRED;
	w->new->tls.active = w->old->tls.active = false;
}

static void tls_untrusted(struct world *w)
{
	w->plan->replay.tls = PLAN_TLS_VERIFIED;
	w->new->tls.trusted = w->old->tls.trusted = false;
}

static void policy_wants_trust(struct world *w)
{
	struct mta_sts *policy = mem_alloc(sizeof(*policy));

	tls_untrusted(w);
	w->plan->replay.tls = PLAN_TLS_OPPORTUNISTIC;
	policy->mode = MTA_STS_ENFORCE;
	policy->mx_count = 1;
	strcpy(policy->mx[0], "*.example.org");
	free(w->domain->sts.policy);
	w->domain->sts.policy = policy;
}

static void policy_tests(struct world *w)
{
	policy_wants_trust(w);
	w->domain->sts.policy->mode = MTA_STS_TESTING;
}

static void policy_of_others(struct world *w)
{
	policy_wants_trust(w);
	strcpy(w->domain->sts.policy->mx[0], "*.example.net");
}

/* The target shows a certificate of nobody, whose key has the hash ab..ab. */
static void dane(struct world *w, const char *zone, bool vouched)
{
	static const char name[] = "_25._tcp.tenant.example.org";
	struct record_answer *answer;

	tls_untrusted(w);
	w->plan->replay.tls = PLAN_TLS_DANE;
	w->new->chain.count = 1;
	memset(w->new->chain.at[0].key.sha256, 0xab, DIGEST_LEN);
	zone_lines(w->facts->records, zone);
	answer = (struct record_answer *)records_get(w->facts->records, name,
						     DNS_TLSA);
	if (answer)
		answer->answer.ad = vouched;
}

#define TLSA   "_25._tcp.tenant.example.org TLSA"
#define AB_16  "abababababababababababababababab"
#define CD_16  "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
#define ANY_11 " 3 1 1 " CD_16 CD_16

static void dane_matches(struct world *w)
{
	dane(w, TLSA ANY_11 "\n" TLSA " 3 1 1 " AB_16 AB_16 "\n", true);
}

static void dane_other_key(struct world *w)
{
	dane(w, TLSA ANY_11 "\n", true);
}

static void dane_unsigned(struct world *w)
{
	dane(w, TLSA " 3 1 1 " AB_16 AB_16 "\n", false);
}

static void dane_none(struct world *w)
{
	dane(w, TLSA "\n", true);
}

static void dane_of_no_use(struct world *w)
{
	dane(w, TLSA " 1 1 1 " AB_16 AB_16 "\n", true);
}

static void dane_unasked(struct world *w)
{
	dane(w, "", false);
}

static void old_refuses(struct world *w)
{
	w->domain->systems[SYSTEM_OLD].good_count = 0;
	refused(w);
}

static void relay_unasked(struct world *w)
{
	w->facts->listeners[0].probed = false;
}

static void relay(struct world *w)
{
	good_reply(&w->facts->listeners[0].probe.rcpt[0].reply, 250, "2.1.5",
		   "ok");
}

static void relay_defers(struct world *w)
{
	good_reply(&w->facts->listeners[0].probe.rcpt[0].reply, 451, "4.3.2",
		   "later");
}

static void relay_silent(struct world *w)
{
	w->facts->listeners[0].probe.rcpt[0].reply.code = 0;
}

/* The plain way is refused, another is not. */
static void relay_by_a_route(struct world *w)
{
	struct probe_result *probe = &w->facts->listeners[0].probe;

	probe->rcpt_count = 2;
	snprintf(probe->rcpt[1].address, sizeof(probe->rcpt[1].address),
		 "@acme.example:relay-probe@example.com");
	good_reply(&probe->rcpt[1].reply, 250, "2.1.5", "ok");
}

/* As many as the plan has, and another address is public. */
static void add_listener(struct world *w)
{
	size_t size = sizeof(*w->facts->listeners);

	w->facts->listeners = mem_grow(w->facts->listeners, 2 * size);
	w->facts->listeners[1] = w->facts->listeners[0];
	w->facts->listener_count = 2;
	plan_strings_add(&w->plan->queue_mx.listen, "127.0.0.1:2526");
	good_probe(&w->facts->listeners[1].probe, "127.0.0.1:2526");
	w->facts->listeners[1].probe.rcpt_count = 1;
}

static void relay_at_the_second(struct world *w)
{
	add_listener(w);
	good_reply(&w->facts->listeners[1].probe.rcpt[0].reply, 250, "2.1.5",
		   "ok");
}

static void second_unasked(struct world *w)
{
	add_listener(w);
	w->facts->listeners[1].probed = false;
}

static void second_without_tls(struct world *w)
{
	add_listener(w);
	w->facts->listeners[1].probe.tls.active = false;
}

/* No listener yet, but the file. */
static void cert_of_the_file(struct world *w)
{
	w->facts->listeners[0].probed = false;
	w->facts->certificate = (struct facts_certificate){
		.read = true,
		.tls = w->facts->listeners[0].probe.tls,
	};
}

static void untrusted_cert_of_the_file(struct world *w)
{
	cert_of_the_file(w);
	w->facts->certificate.tls.trusted = false;
}

static void cert_file_is_gone(struct world *w)
{
	w->facts->listeners[0].probed = false;
	snprintf(w->facts->certificate.error,
		 sizeof(w->facts->certificate.error),
		 "certificate file 'hold.pem': no certificate in PEM");
}

/* 24,000 a day of 100 kB over 72 h are 7.2 GB and 72,000 files. */
static void space_twice(struct world *w)
{
	w->facts->space.free_bytes = 14400000000 + RESERVE;
}

static void space_once(struct world *w)
{
	w->facts->space.free_bytes = 7200000000 + RESERVE;
}

/* Four times the mail of 72 h, and only half of it is above the reserve. */
static void below_the_reserve(struct world *w)
{
	w->plan->messages_per_day /= 14.4;
	w->facts->space.free_bytes = 2000000000;
	w->facts->space.total_bytes = 20000000000;
}

/* Each would have six times its room. */
static void plans_beside_it(struct world *w)
{
	w->facts->space.free_bytes = 45000000000;
	w->facts->others_per_hour = 5 * 1000;
	w->facts->others_bytes_per_hour = 5 * 1000.0 * 100000;
}

static void few_inodes(struct world *w)
{
	w->facts->space.free_inodes = 72000;
}

static void no_inodes(struct world *w)
{
	w->facts->space.free_inodes = w->facts->space.total_inodes = 0;
}

static void space_unknown(struct world *w)
{
	w->facts->space_known = false;
}
static void unexpected(struct world *w)
{
	w->plan->messages_per_day = 0;
}

static void measured(struct world *w)
{
	unexpected(w);
	w->facts->measured_per_hour = 1000;
	w->facts->measured_mean_bytes = 100000;
}

static void measured_more(struct world *w)
{
	w->facts->measured_per_hour = 20000;
	w->facts->measured_mean_bytes = 100000;
}

static void ledger_unknown(struct world *w)
{
	w->facts->ledger_known = false;
}
static void chain_broken(struct world *w)
{
	w->facts->journal_intact = false;
}

static void told_unbalanced(struct world *w)
{
	w->facts->ledger_balances = false;
}

static void one_lost(struct world *w)
{
	w->domain->accepted = 1;
}

static void one_held(struct world *w)
{
	w->domain->accepted = w->domain->held = 1;
}

static void one_waiting(struct world *w)
{
	w->domain->accepted = w->domain->waiting = 1;
}

static void low_minimum(struct world *w)
{
	for (size_t i = 0; i < 2; i++) {
		w->authority[i].soa_minimum = 3600;
		w->authority[i].soa_ttl = 86400;
	}
}

static void high_minimum(struct world *w)
{
	low_minimum(w);
	w->authority[1].soa_minimum = 86400;
}

static void no_minimum(struct world *w)
{
	for (size_t i = 0; i < 2; i++)
		w->authority[i].has_serial = false;
}

/* Messages of our own; their plan is canary_text. */

static void canary_unsent(struct world *w)
{
	canaries_init(&canaries, w->plan);
	w->facts->canaries = &canaries;
}

/* Each of the plan's got one so long ago, and that came of it. */
static void canary_came_to(struct world *w, int64_t ago_ms,
			   const struct canary_answer *answer)
{
	if (!w->facts->canaries)
		canary_unsent(w);
	for (size_t i = 0; i < canaries.count; i++) {
		struct id id = id_new(NOW_MS - ago_ms);
		struct canary *canary = &canaries.at[i];
		struct json *sent = canary_sent_json(canary, &id, "anna");
		struct json *reply;

		canaries_take(&canaries, "canary", sent, NOW_MS - ago_ms);
		reply = canary_reply_json(canary, answer);
		canaries_take(&canaries, "canary-reply", reply,
			      NOW_MS - ago_ms);
		json_free(sent);
		json_free(reply);
	}
}

static void canary_said(struct world *w, int64_t ago_ms, enum smtp_stage stage,
			int code, const char *enhanced, const char *text)
{
	struct smtp_reply reply;

	good_reply(&reply, code, enhanced, text);
	canary_came_to(w, ago_ms,
		       &(struct canary_answer){ .stage = stage,
						.reply = &reply,
						.peer = "192.0.2.3:25",
						.tls = "TLSv1.3" });
}

static void canary_without_tls(struct world *w)
{
	const struct smtp_reply none = { .text = "its certificate is refused" };

	canary_came_to(w, 1000,
		       &(struct canary_answer){ .stage = SMTP_STAGE_STARTTLS,
						.reply = &none,
						.lacks_tls = true,
						.peer = "192.0.2.3:25",
						.tls = "" });
}
static void canary_under_way(struct world *w)
{
	canary_said(w, HOUR_MS, SMTP_STAGE_DOT, 250, "2.0.0", "queued");
	for (size_t i = 0; i < canaries.count; i++) {
		canaries.at[i].state = CANARY_UNDER_WAY;
		canaries.at[i].accepted_ms = 0;
	}
}
static void canary_accepted(struct world *w)
{
	canary_said(w, HOUR_MS, SMTP_STAGE_DOT, 250, "2.0.0", "queued");
}
static void canary_of_the_day_before(struct world *w)
{
	canary_said(w, DAY_MS, SMTP_STAGE_DOT, 250, "2.0.0", "queued");
}
static void canary_refused(struct world *w)
{
	canary_said(w, HOUR_MS, SMTP_STAGE_RCPT, 550, "5.4.1",
		    "Recipient address rejected: Access denied");
}
static void canary_accepted_then_refused(struct world *w)
{
	canary_said(w, 2 * HOUR_MS, SMTP_STAGE_DOT, 250, "2.0.0", "queued");
	canary_refused(w);
}
static void canary_deferred(struct world *w)
{
	canary_said(w, 1000, SMTP_STAGE_DOT, 451, "4.7.1", "later");
}
static void canary_accepted_then_deferred(struct world *w)
{
	canary_accepted(w);
	canary_deferred(w);
}
static void canary_deferred_for_long(struct world *w)
{
	canary_said(w, HOUR_MS / 4, SMTP_STAGE_DOT, 451, "4.7.1", "later");
	canary_deferred(w);
}
static void canary_in_public(struct world *w)
{
	in_public(w);
	canary_accepted(w);
}
static void canary_without_daemon(struct world *w)
{
	in_public(w);
}

static void low_lately(struct world *w)
{
	in_public(w);
	w->domain->horizon.low_since_ms = NOW_MS - HOUR_MS;
}

static void low_lately_no_high(struct world *w)
{
	low_lately(w);
	w->domain->horizon.high_ttl = 0;
}

static void low_lately_private(struct world *w)
{
	w->domain->horizon.low_since_ms = NOW_MS - HOUR_MS;
	w->domain->horizon.high_ttl = 0;
}

static void low_never(struct world *w)
{
	in_public(w);
	w->domain->horizon.low_since_ms = 0;
}

static void low_unknown(struct world *w)
{
	low_lately_no_high(w);
	w->plan->dns.old_ttl = -1;
}

static void still_high(struct world *w)
{
	in_public(w);
	w->authority[1].mx.ttl = 3600;
}

/* The retention is 30 days. */
static void mail_of_16_days(struct world *w)
{
	w->domain->oldest_ms = NOW_MS - 16 * 24 * HOUR_MS;
}

static void mail_of_25_days(struct world *w)
{
	w->domain->oldest_ms = NOW_MS - 25 * 24 * HOUR_MS;
}

static void no_mail(struct world *w)
{
	w->domain->oldest_ms = 0;
}

static void slowed(struct world *w)
{
	w->domain->slowed_ms = NOW_MS - HOUR_MS / 2;
}

static void slowed_before(struct world *w)
{
	w->domain->slowed_ms = w->domain->limited_ms = NOW_MS - 2 * HOUR_MS;
}

static void limited(struct world *w)
{
	w->domain->limited_ms = NOW_MS - HOUR_MS / 2;
}

static void not_begun(struct world *w)
{
	w->domain->outcomes = 0;
}

static void few_refused(struct world *w)
{
	w->domain->refused = 10; /* of 10,000 */
}

static void some_refused(struct world *w)
{
	w->domain->refused = 100;
}

static void many_refused(struct world *w)
{
	w->domain->refused = 101;
}

static void breaker(struct world *w)
{
	snprintf(w->domain->breaker, sizeof(w->domain->breaker),
		 "stage 2 of the ramp: 3 of 9 mailboxes refused");
}

static struct waiver given = {
	.check = "mx-not-old",
	.gate = GATE_FINISH,
	.by = (char *)(uintptr_t) "alice",
	.reason = (char *)(uintptr_t) "known",
};
static struct waiver nameless = { .check = "spf",
				  .gate = GATE_CLOSE,
				  .reason = (char *)(uintptr_t) "known" };

static void one_waived(struct world *w)
{
	w->facts->waivers = &given;
	w->facts->waiver_count = 1;
}

static void exception(struct world *w, const char *kind, const char *text)
{
	json_free(w->facts->exceptions);
	w->facts->exceptions = json_parse(slice(text), NULL);
	assert_int_equal(json_get_number(w->facts->exceptions, kind, 0), 1);
}

static void perhaps_twice(struct world *w)
{
	exception(w, "uncertain",
		  "{\"uncertain\":1,\"named\":[{\"kind\":\"uncertain\","
		  "\"id\":\"4f2a\",\"envelope\":1}]}");
}

static void out_of_order(struct world *w)
{
	exception(w, "overtaken",
		  "{\"overtaken\":1,\"named\":[{\"kind\":\"overtaken\","
		  "\"id\":\"91cc\",\"envelope\":0}]}");
}

static void damaged_spool(struct world *w)
{
	w->facts->damaged = 1;
}

static void exceptions_unknown(struct world *w)
{
	json_free(w->facts->exceptions);
	w->facts->exceptions = NULL;
}

static void waived_by_nobody(struct world *w)
{
	w->facts->waivers = &nameless;
	w->facts->waiver_count = 1;
}

static void window_answers(struct world *w)
{
	w->facts->window_active = true;
}

static void window_refuses(struct world *w)
{
	unreachable(w);
	w->facts->window_active = w->old->refused = true;
}

static void window_swallows(struct world *w)
{
	unreachable(w);
	w->facts->window_active = true;
}

static void window_defers(struct world *w)
{
	window_answers(w);
	good_reply(&w->old->greeting, 421, "4.3.2", "closing");
}

static void window_bounces(struct world *w)
{
	greeted_no(w);
	w->facts->window_active = true;
}

/* After the release of a standby plan the new system is the primary. */
static void retired(struct world *w)
{
	w->facts->phase = PHASE_TRAILING;
	w->old->connected = w->old->healthy = true;
	good_reply(&w->old->greeting, 554, "5.3.2", "gone");
}

static void new_bounces(struct world *w)
{
	w->facts->phase = PHASE_TRAILING;
	w->new->healthy = false;
	good_reply(&w->new->greeting, 554, "5.3.2", "closed");
}

/* The files of an administrator. */

static void export_of(struct world *w, const char *text)
{
	struct err err = ERR_INIT;

	if (tenant_read(&w->facts->tenant, slice(text), NOW_MS - HOUR_MS,
			&err) < 0)
		fail_msg("%s", err.text);
}

/* The queue's host has 192.0.2.9; in_public: nothing is excused. */
static void connector(struct world *w, const char *change, const char *to)
{
	static const char good[] =
		"{\"Name\":\"tideover\",\"ConnectorType\":\"Partner\","
		"\"Enabled\":true,\"SenderIPAddresses\":[\"192.0.2.0/28\"],"
		"\"SenderDomains\":[\"smtp:*;1\"],"
		"\"RestrictDomainsToIPAddresses\":false,"
		"\"RestrictDomainsToCertificate\":false,"
		"\"TlsSenderCertificateName\":null,"
		"\"EFSkipIPs\":[\"192.0.2.9\"],\"EFSkipLastIP\":false,"
		"\"EFTestMode\":false,\"EFUsers\":[],"
		"\"WhenChangedUTC\":\"2026-05-20T10:00:00\"}";
	const char *at = change ? strstr(good, change) : NULL;
	char text[1000];

	in_public(w);
	snprintf(text, sizeof(text), "%.*s%s%s",
		 at ? (int)(at - good) : (int)sizeof(good), good, at ? to : "",
		 at ? at + strlen(change) : "");
	export_of(w, text);
}

static void sealer(struct world *w)
{
	export_of(w, "{\"ArcTrustedSealers\":\"other.example, example.com\"}");
}

static void trusted(struct world *w)
{
	connector(w, NULL, NULL);
	sealer(w);
}

static void trusted_by_certificate(struct world *w)
{
	connector(w,
		  "[\"192.0.2.0/28\"],"
		  "\"SenderDomains\":[\"smtp:*;1\"],"
		  "\"RestrictDomainsToIPAddresses\":false,"
		  "\"RestrictDomainsToCertificate\":false,"
		  "\"TlsSenderCertificateName\":null",
		  "[],\"SenderDomains\":[\"smtp:*;1\"],"
		  "\"RestrictDomainsToIPAddresses\":false,"
		  "\"RestrictDomainsToCertificate\":false,"
		  "\"TlsSenderCertificateName\":\"*.example.com\"");
	sealer(w);
	w->plan->replay.client_certificate_file = mem_dup("hold.pem");
}

/* The connector goes by a certificate that the replay does not show. */
static void certificate_unshown(struct world *w)
{
	trusted_by_certificate(w);
	free(w->plan->replay.client_certificate_file);
	w->plan->replay.client_certificate_file = NULL;
}

static void second_address(struct world *w)
{
	trusted(w);
	zone_lines(w->facts->records, QUEUE " A 198.51.100.7\n");
}

static void no_sealer(struct world *w)
{
	connector(w, NULL, NULL);
}

static void connector_of_today(struct world *w)
{
	/* NOW_MS is 2026-05-28T20:26:40Z */
	connector(w, "2026-05-20T10:00:00", "/Date(1779990000000)/");
	sealer(w);
}

static void connector_elsewhere(struct world *w)
{
	connector(w, "192.0.2.0/28", "192.0.2.16/28");
	sealer(w);
}

static void connector_for_a_partner(struct world *w)
{
	connector(w, "smtp:*;1", "smtp:partner.example;1");
	sealer(w);
}

static void connector_off(struct world *w)
{
	connector(w, "\"Enabled\":true", "\"Enabled\":false");
	sealer(w);
}

static void connector_on_premises(struct world *w)
{
	connector(w, "\"Partner\"", "\"OnPremises\"");
	sealer(w);
}

static void connector_restricts(struct world *w)
{
	connector(w, "IPAddresses\":false", "IPAddresses\":true");
	sealer(w);
}

static void connector_skips_not(struct world *w)
{
	connector(w, "[\"192.0.2.9\"]", "null");
	sealer(w);
}

static void connector_tests(struct world *w)
{
	connector(w, "EFTestMode\":false", "EFTestMode\":true");
	sealer(w);
}

static void connector_for_some(struct world *w)
{
	connector(w, "\"EFUsers\":[]", "\"EFUsers\":[\"a@acme.example\"]");
	sealer(w);
}

static void connector_of_last_month(struct world *w)
{
	trusted(w);
	w->facts->tenant.at_ms[TENANT_CONNECTOR] = NOW_MS - 8 * DAY_MS;
}

static void connector_without_address(struct world *w)
{
	trusted(w);
	w->domain->dns.hosts[2].first[0] = '\0';
}

static void evidence_broken(struct world *w)
{
	trusted(w);
	snprintf(w->facts->tenant.error, sizeof(w->facts->tenant.error),
		 "connector.json: line 3: it is UTF-16");
}

static void to_workspace(struct world *w)
{
	in_public(w);
	w->plan->domains[0].systems[SYSTEM_NEW].provider =
		provider_find("workspace");
}

static void gateway(struct world *w, const char *ip, bool rejects, bool detects)
{
	char text[300];

	to_workspace(w);
	snprintf(text, sizeof(text),
		 "{\"inbound_gateway\":{\"gateway_ips\":[\"%s\"],"
		 "\"reject_other\":%s,\"auto_detect_external_ip\":%s,"
		 "\"require_tls\":true}}",
		 ip, rejects ? "true" : "false", detects ? "true" : "false");
	export_of(w, text);
}

static void gateway_good(struct world *w)
{
	gateway(w, "192.0.2.9", false, true);
}

static void gateway_rejects(struct world *w)
{
	gateway(w, "192.0.2.9", true, true);
}

static void gateway_detects_not(struct world *w)
{
	gateway(w, "192.0.2.9", false, false);
}

static void gateway_elsewhere(struct world *w)
{
	gateway(w, "192.0.2.10", false, true);
}

static void to_custom(struct world *w)
{
	in_public(w);
	w->plan->domains[0].systems[SYSTEM_NEW].provider =
		provider_find("custom");
}

static void accepted_as(struct world *w, const char *type, const char *domain)
{
	char text[300];

	in_public(w);
	snprintf(text, sizeof(text),
		 "[{\"DomainName\":\"init.onmicrosoft.com\",\"DomainType\":"
		 "\"Authoritative\"},{\"DomainName\":\"%s\","
		 "\"DomainType\":\"%s\",\"PendingRemoval\":false}]",
		 domain, type);
	export_of(w, text);
}

static void relayed(struct world *w)
{
	accepted_as(w, "InternalRelay", "Acme.Example");
}

static void authoritative(struct world *w)
{
	accepted_as(w, "Authoritative", "acme.example");
}

static void external(struct world *w)
{
	accepted_as(w, "ExternalRelay", "acme.example");
}

static void accepted_other(struct world *w)
{
	accepted_as(w, "Authoritative", "other.example");
}

static void pending_removal(struct world *w)
{
	in_public(w);
	export_of(w, "{\"DomainName\":\"acme.example\",\"DomainType\":"
		     "\"Authoritative\",\"PendingRemoval\":true}");
}

/* Both tenants are Microsoft's, and the export is of one of them. */
static void between_tenants(struct world *w, const char *initial)
{
	struct plan_system *systems = w->plan->domains[0].systems;
	char text[400];

	in_public(w);
	free(systems[SYSTEM_OLD].deliver_host);
	free(systems[SYSTEM_NEW].deliver_host);
	systems[SYSTEM_OLD].deliver_host =
		mem_dup("acmeold.mail.protection.outlook.com");
	systems[SYSTEM_NEW].deliver_host =
		mem_dup("acmenew.mail.protection.outlook.com");
	snprintf(text, sizeof(text),
		 "[{\"DomainName\":\"acme.example\",\"DomainType\":"
		 "\"InternalRelay\"},{\"DomainName\":\"%s\",\"DomainType\":"
		 "\"Authoritative\"}]",
		 initial);
	export_of(w, text);
}

static void of_the_new_tenant(struct world *w)
{
	between_tenants(w, "AcmeNew.onmicrosoft.com");
}

static void of_the_old_tenant(struct world *w)
{
	between_tenants(w, "acmeold.onmicrosoft.com");
}

static void of_another_tenant(struct world *w)
{
	between_tenants(w, "else.onmicrosoft.com");
}

static void of_some_tenant(struct world *w)
{
	between_tenants(w, "shop.example");
}

static void of_both_tenants(struct world *w)
{
	of_the_old_tenant(w);
	export_of(w, "{\"DomainName\":\"acmenew.onmicrosoft.com\","
		     "\"DomainType\":\"Authoritative\"}");
}

static void of_tomorrow(struct world *w)
{
	of_the_new_tenant(w);
	w->facts->tenant.at_ms[TENANT_ACCEPTED] = NOW_MS + 24 * HOUR_MS;
}

static void graph(struct world *w, const char *verified, const char *services)
{
	char text[300];

	in_public(w);
	snprintf(text, sizeof(text),
		 "{\"value\":[{\"id\":\"acme.example\",\"isVerified\":%s,"
		 "\"supportedServices\":[%s]}]}",
		 verified, services);
	export_of(w, text);
}

static void graph_good(struct world *w)
{
	graph(w, "true", "\"Email\",\"OfficeCommunicationsOnline\"");
}

static void graph_unverified(struct world *w)
{
	graph(w, "false", "\"Email\"");
}

static void graph_without_mail(struct world *w)
{
	graph(w, "true", "");
}

static void google_to_google(struct world *w)
{
	to_workspace(w);
	export_of(w, "{\"domainName\":\"acme.example\",\"verified\":true}");
}

static void microsoft_to_google(struct world *w)
{
	to_workspace(w);
	w->plan->domains[0].systems[SYSTEM_OLD].provider =
		provider_find("m365");
}

static void google_verified(struct world *w)
{
	microsoft_to_google(w);
	export_of(w, "{\"kind\":\"admin#directory#domains\",\"domains\":[{"
		     "\"domainName\":\"acme.example\",\"verified\":true}]}");
}

static void google_unverified(struct world *w)
{
	microsoft_to_google(w);
	export_of(w, "{\"domainName\":\"acme.example\",\"verified\":false}");
}

static void list_of(struct world *w, int64_t age_ms)
{
	in_public(w);
	w->plan->recipients.listed = true;
	map_put(&listed, slice("anna@acme.example"), w);
	map_put(&listed, slice("bert@acme.example"), w);
	w->facts->listed = &listed;
	w->facts->listed_at_ms = NOW_MS - age_ms;
}

static void new_has(struct world *w, const char *address)
{
	char text[300];

	snprintf(text, sizeof(text),
		 "[{\"PrimarySmtpAddress\":\"anna@acme.example\","
		 "\"EmailAddresses\":[\"SMTP:Anna@acme.example\","
		 "\"X500:/o=x\",\"smtp:%s\"]}]",
		 address);
	export_of(w, text);
}

static void list_fresh(struct world *w)
{
	list_of(w, HOUR_MS);
	new_has(w, "bert@acme.example");
}

static void list_of_two_days(struct world *w)
{
	list_of(w, 2 * DAY_MS);
	new_has(w, "bert@acme.example");
}

static void list_old(struct world *w)
{
	list_of(w, 8 * DAY_MS);
	new_has(w, "bert@acme.example");
}

static void list_of_tomorrow(struct world *w)
{
	list_of(w, -DAY_MS);
	new_has(w, "bert@acme.example");
}

static void list_not_compared(struct world *w)
{
	list_of(w, HOUR_MS);
}

static void list_differs(struct world *w)
{
	list_of(w, HOUR_MS);
	new_has(w, "cora@acme.example");
}

static void list_empty(struct world *w)
{
	static const struct map none = MAP_INIT;

	list_of(w, HOUR_MS);
	w->facts->listed = &none;
}

static void export_of_last_month(struct world *w)
{
	list_fresh(w);
	w->facts->tenant.at_ms[TENANT_RECIPIENT] = NOW_MS - 8 * DAY_MS;
}

static void list_of_another_domain(struct world *w)
{
	static struct map other;

	list_fresh(w);
	map_put(&other, slice("anna@other.example"), w);
	w->facts->listed = &other;
}

static void list_changed_and_broken(struct world *w)
{
	list_fresh(w);
	snprintf(w->facts->listed_why, sizeof(w->facts->listed_why),
		 "recipients file 'r.csv': it lists nobody");
}

static void taken(struct world *w)
{
	list_fresh(w);
	w->domain->listed = (struct facts_listed){
		.asked = true,
		.system = SYSTEM_NEW,
		.listed = 2,
		.sampled = 2,
		.accepted = 2,
	};
}

static void one_is_not_taken(struct world *w)
{
	taken(w);
	w->domain->listed.accepted = 1;
	w->domain->listed.refused = 1;
	snprintf(w->domain->listed.names[0], 256, "bert@acme.example");
}

static void one_is_deferred(struct world *w)
{
	taken(w);
	w->domain->listed.accepted = 1;
}

/* They were, of the other system. */
static void taken_by_the_old(struct world *w)
{
	taken(w);
	w->domain->listed.system = SYSTEM_OLD;
}

static void list_unread(struct world *w)
{
	list_of(w, HOUR_MS);
	w->facts->listed = NULL;
}

static void authoritative_whole(struct world *w)
{
	authoritative(w);
	list_fresh(w);
}

static void authoritative_missing(struct world *w)
{
	authoritative(w);
	list_differs(w);
}

static void authoritative_of_last_month(struct world *w)
{
	authoritative(w);
	export_of_last_month(w);
}

static void refuses_unknown(struct world *w)
{
	list_of(w, HOUR_MS);
	w->plan->recipients.unknown = UNKNOWN_REFUSE;
}

#define DAY_TEXT(day) "2026-05-" #day "T09:00:00Z"

/* All that is wanted: the old system was asked, and its trace is here. */
static void trace_of(struct world *w, const char *text)
{
	struct err err = ERR_INIT;

	refuses_unknown(w);
	w->domain->listed = (struct facts_listed){
		.asked = true, .listed = 2, .sampled = 2, .accepted = 2
	};
	if (trace_read(&w->facts->tenant.trace, slice(text), NOW_MS, &err) < 0)
		fail_msg("%s", err.text);
}

static void proven(struct world *w)
{
	trace_of(
		w,
		"Received,RecipientAddress,Status\n" DAY_TEXT(14) ",Anna@acme.example,Delivered\n" DAY_TEXT(20) ",nobody@acme.example,Failed\n" DAY_TEXT(
			21) ",x@other.example,Delivered\n" DAY_TEXT(28) ",postmaster@acme.example,Delivered\n");
}

static void trace_has_more(struct world *w)
{
	trace_of(
		w,
		"Received,RecipientAddress\n" DAY_TEXT(
			14) ",cora@acme.example\n" DAY_TEXT(28) ",anna@acme.example\n");
}

static void trace_of_last_month(struct world *w)
{
	trace_of(
		w,
		"Received,RecipientAddress\n" DAY_TEXT(
			01) ",anna@acme.example\n" DAY_TEXT(14) ",bert@acme.example\n");
}

static void trace_of_a_week(struct world *w)
{
	trace_of(
		w,
		"Received,RecipientAddress\n" DAY_TEXT(
			21) ",anna@acme.example\n" DAY_TEXT(28) ",bert@acme.example\n");
}

static void trace_of_tomorrow(struct world *w)
{
	trace_of(
		w,
		"Received,RecipientAddress\n" DAY_TEXT(
			14) ",anna@acme.example\n" DAY_TEXT(31) ",bert@acme.example\n");
}

static void trace_without_times(struct world *w)
{
	trace_of(w, "RecipientAddress\nanna@acme.example\n");
}

static void trace_of_another(struct world *w)
{
	trace_of(
		w,
		"Received,RecipientAddress\n" DAY_TEXT(14) ",anna@other.example\n" DAY_TEXT(
			28) ",anna@acme.example.org\n");
}

static void listed_refused(struct world *w)
{
	proven(w);
	w->domain->listed.accepted = 1;
	w->domain->listed.refused = 1;
	snprintf(w->domain->listed.names[0], 256, "bert@acme.example");
}

static void listed_unanswered(struct world *w)
{
	proven(w);
	w->domain->listed.accepted = 1;
}

static void listed_unasked(struct world *w)
{
	proven(w);
	w->domain->listed = (struct facts_listed){ 0 };
}

static void listed_of_another(struct world *w)
{
	proven(w);
	w->domain->listed = (struct facts_listed){ .asked = true };
}

static void random_deferred(struct world *w)
{
	proven(w);
	for (size_t i = 0; i < w->old->rcpt_count; i++)
		if (w->old->rcpt[i].random)
			good_reply(&w->old->rcpt[i].reply, 450, "4.2.0",
				   "greylisted");
}

static void old_unasked(struct world *w)
{
	proven(w);
	w->domain->systems[SYSTEM_OLD].probed = false;
}

static void refuses_old_accepts_all(struct world *w)
{
	refuses_unknown(w);
	accepts_all(w);
}

static void refuses_old_refuses(struct world *w)
{
	refuses_unknown(w);
	refused(w);
}

static void refuses_private(struct world *w)
{
	w->plan->recipients.listed = true;
	w->plan->recipients.unknown = UNKNOWN_REFUSE;
}

/* The clock. */

static void clock_two(struct world *w)
{
	w->facts->clock_error_ms = 2000;
}

static void clock_ten(struct world *w)
{
	w->facts->clock_error_ms = 10000;
}

static void clock_unknown(struct world *w)
{
	in_public(w);
	w->facts->clock_asked = false;
}

/* A server whose clock is `ahead_ms` of ours, asked at `at_ms` of a second of
 * ours; the answer took 40 ms. */
static void add_date(struct world *w, int64_t at_ms, int64_t ahead_ms)
{
	struct facts_date *date = &w->facts->dates[w->facts->date_count++];
	int64_t now = NOW_MS / 1000 * 1000 + at_ms;

	snprintf(date->of, sizeof(date->of), "time.example.org at 192.0.2.%zu",
		 w->facts->date_count);
	date->date.asked_ms = now;
	date->date.answered_ms = now + 40;
	date->date.date_ms = (now + 20 + ahead_ms) / 1000 * 1000;
}

static void date_right(struct world *w)
{
	w->facts->clock_asked = false;
	add_date(w, 500, 0);
}

static void date_over_the_turn(struct world *w)
{
	w->facts->clock_asked = false;
	add_date(w, 970, 0);
}

static void date_over_the_turn_in_sync(struct world *w)
{
	add_date(w, 970, 0);
}

static void date_within_two(struct world *w)
{
	w->facts->clock_asked = false;
	add_date(w, 500, 900);
}

static void date_two(struct world *w)
{
	add_date(w, 500, -2600);
}

static void date_ten(struct world *w)
{
	add_date(w, 500, 10000);
}

static void dates_of_two_minds(struct world *w)
{
	add_date(w, 500, 10000);
	add_date(w, 500, 0);
}

static void dates_of_two_minds_alone(struct world *w)
{
	clock_unknown(w);
	dates_of_two_minds(w);
}

/* A cache's Date is of when it stored the answer. */
static void date_of_a_cache(struct world *w)
{
	clock_unknown(w);
	snprintf(w->facts->clock_why, sizeof(w->facts->clock_why),
		 "nothing disciplines it");
	add_date(w, 500, -60000);
	w->facts->dates[0].date.stored = true;
}

static void date_of_the_policy(struct world *w)
{
	add_date(w, 500, 10000);
	w->facts->date_count = 0;
	w->facts->domains[0].sts.asked = true;
	w->facts->domains[0].sts.date = w->facts->dates[0].date;
}

static void clock_unknown_private(struct world *w)
{
	w->facts->clock_asked = false;
}

/* MTA-STS; the policy is freed with the facts. */

static void policy(struct world *w, enum mta_sts_mode mode, const char *third)
{
	struct facts_sts *sts = &w->domain->sts;
	const char *const mx[] = { OLD, third, "*.example.org" };

	in_public(w);
	sts->records = 1;
	sts->policy = mem_alloc(sizeof(*sts->policy));
	sts->policy->mode = mode;
	sts->policy->max_age_s = 7 * 24 * 3600;
	for (size_t i = 0; i < COUNT(mx); i++)
		snprintf(sts->policy->mx[sts->policy->mx_count++], DNS_NAME,
			 "%s", mx[i]);
	sts_kept_see(&sts->kept, sts->policy, "1", NOW_MS - 30 * DAY_MS);
}

static void sts_whole(struct world *w)
{
	policy(w, MTA_STS_ENFORCE, QUEUE);
}

static void sts_young(struct world *w)
{
	sts_whole(w);
	w->domain->sts.kept.since_ms = NOW_MS - HOUR_MS;
}

static void sts_unseen(struct world *w)
{
	sts_whole(w);
	sts_kept_release(&w->domain->sts.kept);
}

/* Seen an hour ago; what is served since has the same id. */
static void sts_changed(struct world *w)
{
	struct sts_kept *kept = &w->domain->sts.kept;
	struct mta_sts now;

	sts_whole(w);
	sts_kept_release(kept);
	now = *w->domain->sts.policy;
	snprintf(now.mx[1], DNS_NAME, "other.example");
	sts_kept_see(kept, &now, "1", NOW_MS - HOUR_MS);
	sts_kept_see(kept, w->domain->sts.policy, "1", NOW_MS);
}

static void sts_taken_away(struct world *w)
{
	sts_changed(w);
	sts_kept_release(&w->domain->sts.kept);
	snprintf(w->domain->sts.policy->mx[1], DNS_NAME, "other.example");
	sts_kept_see(&w->domain->sts.kept, w->domain->sts.policy, "1",
		     NOW_MS - HOUR_MS);
	sts_kept_see(&w->domain->sts.kept, NULL, "", NOW_MS);
	w->domain->sts.records = 0;
}

static void sts_taken_away_a_week_ago(struct world *w)
{
	sts_taken_away(w);
	w->domain->sts.kept.before_ms = NOW_MS - 8 * DAY_MS;
}

static void sts_lacks_queue(struct world *w)
{
	policy(w, MTA_STS_ENFORCE, "other.example");
}

static void sts_tests(struct world *w)
{
	policy(w, MTA_STS_TESTING, QUEUE);
}

static void sts_tests_without_queue(struct world *w)
{
	policy(w, MTA_STS_TESTING, "other.example");
}

static void sts_off(struct world *w)
{
	policy(w, MTA_STS_NONE, "other.example");
}

static void sts_two_records(struct world *w)
{
	sts_whole(w);
	w->domain->sts.records = 2;
}

static void sts_gone(struct world *w)
{
	in_public(w);
	w->domain->sts.records = 1;
	snprintf(w->domain->sts.error, sizeof(w->domain->sts.error),
		 "HTTP status 404");
}

static void sts_unasked(struct world *w)
{
	in_public(w);
	w->domain->sts.asked = false;
}

/* The queue's certificate. */

static void cert_ends_soon(struct world *w)
{
	w->facts->listeners[0].probe.tls.not_after_ms = NOW_MS + 29 * DAY_MS;
}

static void cert_ends_in_a_week(struct world *w)
{
	w->facts->listeners[0].probe.tls.not_after_ms = NOW_MS + 7 * DAY_MS;
}

static void cert_untrusted(struct world *w)
{
	in_public(w);
	w->facts->listeners[0].probe.tls.trusted = false;
	snprintf(w->facts->listeners[0].probe.tls.verdict,
		 sizeof(w->facts->listeners[0].probe.tls.verdict),
		 "self-signed certificate");
}

/* It listed all of them: who holds it wants their certificates all the same. */
static void cert_untrusted_and_sts_taken_away(struct world *w)
{
	sts_whole(w);
	sts_kept_release(&w->domain->sts.kept);
	sts_kept_see(&w->domain->sts.kept, w->domain->sts.policy, "1",
		     NOW_MS - HOUR_MS);
	sts_kept_see(&w->domain->sts.kept, NULL, "", NOW_MS);
	free(w->domain->sts.policy);
	w->domain->sts.policy = NULL;
	w->domain->sts.records = 0;
	cert_untrusted(w);
}

static void cert_has_ended(struct world *w)
{
	cert_untrusted(w);
	w->facts->listeners[0].probe.tls.not_after_ms = NOW_MS - DAY_MS;
}

static void own_cert_ends_in_a_week(struct world *w)
{
	cert_untrusted(w);
	cert_ends_in_a_week(w);
}

static void cert_untrusted_enforced(struct world *w)
{
	cert_untrusted(w);
	sts_whole(w);
}

static void cert_untrusted_unasked(struct world *w)
{
	cert_untrusted(w);
	sts_unasked(w);
}

static void no_starttls(struct world *w)
{
	w->facts->listeners[0].probe.tls.active = false;
}

static void no_starttls_enforced(struct world *w)
{
	no_starttls(w);
	sts_whole(w);
}

static const struct {
	const char *check;
	const char *plan;
	enum gate gate;
	void (*change)(struct world *world);
	enum verdict want;
	const char *says; /* part of summary or remedy; NULL: any */
} cases[] = {
#define PARK  park_text
#define STBY  standby_text
#define PLAIN plain_text
#define P     GATE_PLAN
#define S     GATE_START
#define D     GATE_DETACH
#define F     GATE_FINISH
#define C     GATE_CLOSE
#define R     GATE_ROLLBACK
	{ "negative-cache", PARK, P, low_minimum, VERDICT_PASS, NULL },
	{ "negative-cache", PLAIN, P, high_minimum, VERDICT_WARN, "86400" },
	{ "negative-cache", PARK, P, no_minimum, VERDICT_UNKNOWN, "SOA" },
#define W GATE_WATCHED
	{ "dns-authority", PARK, P, nothing, VERDICT_PASS, NULL },
	{ "dns-authority", PARK, P, serials, VERDICT_WARN,
	  "different serials" },
	{ "dns-authority", PARK, P, no_ipv6, VERDICT_WARN, "over IPv4 alone" },
	{ "dns-authority", PARK, P, silent, VERDICT_FAIL,
	  "ns2.example (192.0.2.2:53)" },
	{ "dns-authority", PARK, P, lame, VERDICT_FAIL, "is lame" },
	{ "dns-authority", PARK, P, unsurveyed, VERDICT_UNKNOWN,
	  "was not asked" },

	{ "mx-baseline", PARK, P, mx_old, VERDICT_PASS, NULL },
	{ "mx-baseline", PARK, P, nothing, VERDICT_FAIL,
	  "'acme.example. MX 1 " OLD ".'" },
	{ "mx-baseline", PARK, P, mx_mixed, VERDICT_FAIL, NULL },
	{ "mx-baseline", STBY, P, mx_mixed, VERDICT_PASS, NULL },
	{ "mx-baseline", PARK, P, unsurveyed, VERDICT_UNKNOWN, NULL },

	{ "mx-sanity", PARK, P, nothing, VERDICT_PASS, NULL },
	{ "mx-sanity", PARK, P, one_address, VERDICT_WARN, QUEUE },
	{ "mx-sanity", PARK, S, no_address, VERDICT_FAIL,
	  "'" QUEUE ". A ADDRESS'" },
	{ "mx-sanity", PARK, S, cname, VERDICT_FAIL, "is a CNAME" },
	{ "mx-sanity", PARK, S, null_mx, VERDICT_FAIL, "null MX" },
	{ "mx-sanity", PARK, S, ip_mx, VERDICT_FAIL, "is an address" },
	{ "mx-sanity", PARK, F, invalid_mx, VERDICT_FAIL, "leftover" },
	{ "mx-sanity", PARK, F, doubled_mx, VERDICT_FAIL, "lacks the dot" },
	{ "mx-sanity", PARK, F, host_unasked, VERDICT_UNKNOWN, NULL },
	{ "mx-sanity", PARK, F, mx_other, VERDICT_UNKNOWN, "mx.other.example" },

	{ "ttl-lowered", PARK, P, mx_old, VERDICT_PASS, NULL },
	{ "ttl-lowered", PARK, P, ttl_hour, VERDICT_WARN, "3600 s" },
	{ "ttl-lowered", PARK, P, ttl_day, VERDICT_FAIL,
	  "earliest start is 2026-05-29 20:26 UTC" },
	{ "ttl-lowered", PARK, P, ttl_none, VERDICT_UNKNOWN, NULL },

	{ "mx-horizon", PARK, D, nothing, VERDICT_PASS, NULL },
	{ "mx-horizon", PARK, D, ttl_observed, VERDICT_PASS, NULL },
	{ "mx-horizon", PARK, D, seen_lately, VERDICT_FAIL, "wait until" },
	{ "mx-horizon", PARK, D, one_authority_old, VERDICT_FAIL,
	  "ns2.example" },
	{ "mx-horizon", PARK, D, serials, VERDICT_FAIL, "different serials" },
	{ "mx-horizon", PARK, D, mx_new, VERDICT_FAIL, "parked" },
	{ "mx-horizon", PARK, D, ttl_unknown, VERDICT_UNKNOWN, "dns.old_ttl" },
	{ "mx-horizon", PARK, D, silent, VERDICT_UNKNOWN, NULL },
	{ "mx-horizon", PARK, D, no_ipv6, VERDICT_PASS, NULL },
	{ "mx-horizon", PARK, C, mx_new, VERDICT_PASS, NULL },
	{ "mx-horizon", PARK, C, nothing, VERDICT_FAIL, "MX 0 " NEW },
	{ "mx-horizon", PARK, C, same_hosts, VERDICT_PASS, NULL },
	{ "mx-horizon", PARK, C, returned, VERDICT_PASS, NULL },
	{ "mx-horizon", PARK, C, returned_parked, VERDICT_FAIL, "old" },
	{ "mx-horizon", PARK, C, returned_resolver_lags, VERDICT_FAIL, NULL },
	{ "mx-horizon", PARK, C, returned_unresolved, VERDICT_UNKNOWN, NULL },
	{ "mx-horizon", STBY, C, ttl_observed, VERDICT_FAIL, NULL },
	{ "mx-horizon", PLAIN, C, mx_old, VERDICT_PASS, NULL },

	{ "parked", PARK, D, nothing, VERDICT_PASS, NULL },
	{ "parked", PARK, D, resolver_old, VERDICT_WARN, "for 5m" },
	{ "parked", PARK, D, mx_old, VERDICT_FAIL,
	  "'acme.example. MX 20 " QUEUE ".'" },
	{ "parked", PARK, D, mx_mixed, VERDICT_FAIL, NULL },
	{ "parked", PARK, D, no_address, VERDICT_FAIL, "has no address" },
	{ "parked", PARK, D, host_unasked, VERDICT_UNKNOWN, "no answer about" },
	{ "parked", PARK, D, resolver_silent, VERDICT_UNKNOWN, "fewer than 3" },
	{ "parked", PARK, D, silent, VERDICT_UNKNOWN, NULL },

	{ "mx-not-old", PARK, F, nothing, VERDICT_PASS, NULL },
	{ "mx-not-old", PARK, F, mx_new, VERDICT_PASS, NULL },
	{ "mx-not-old", STBY, F, mx_new_queue, VERDICT_PASS, NULL },
	{ "mx-not-old", PARK, F, resolver_old, VERDICT_WARN, NULL },
	{ "mx-not-old", PARK, F, mx_mixed, VERDICT_FAIL, "bounces" },
	{ "mx-not-old", PARK, F, mx_old, VERDICT_FAIL, "bounces" },
	{ "mx-not-old", STBY, F, mx_mixed, VERDICT_FAIL, "MX 0 " NEW },
	{ "mx-not-old", PARK, F, mx_other, VERDICT_FAIL, "neither" },
	{ "mx-not-old", PARK, F, silent, VERDICT_UNKNOWN, NULL },

	{ "mx-final", PARK, C, mx_new, VERDICT_PASS, NULL },
	{ "mx-final", STBY, C, mx_new_queue, VERDICT_PASS, NULL },
	{ "mx-final", PLAIN, C, mx_old, VERDICT_PASS, NULL },
	{ "mx-final", PLAIN, C, mx_old_queue, VERDICT_FAIL, "still an MX" },
	{ "mx-final", PARK, C, returned, VERDICT_PASS, NULL },
	{ "mx-final", PARK, C, new_resolver_lags, VERDICT_WARN, NULL },
	{ "mx-final", PARK, C, new_unresolved, VERDICT_WARN, NULL },
	{ "mx-final", PARK, C, mx_new_queue, VERDICT_FAIL,
	  "'acme.example. MX 0 " NEW ".'" },
	{ "mx-final", STBY, C, queue_first, VERDICT_FAIL, "not the last" },
	{ "mx-final", PARK, C, nothing, VERDICT_FAIL, NULL },
	{ "mx-final", PARK, C, unsurveyed, VERDICT_UNKNOWN, NULL },

	{ "rcpt-probe", PARK, F, nothing, VERDICT_PASS, NULL },
	{ "rcpt-probe", PARK, F, accepts_all, VERDICT_WARN, NULL },
	{ "rcpt-probe", PARK, F, refused, VERDICT_FAIL, "edge blocking" },
	{ "rcpt-probe", PARK, F, unlicensed, VERDICT_FAIL, "license" },
	{ "rcpt-probe", PARK, F, greeted_no, VERDICT_FAIL, "554" },
	{ "rcpt-probe", PARK, F, taken, VERDICT_PASS, NULL },
	{ "rcpt-probe", PARK, F, one_is_not_taken, VERDICT_FAIL,
	  "of 2 asked it refuses 1: bert@acme.example" },
	{ "rcpt-probe", PARK, W, one_is_not_taken, VERDICT_PASS, NULL },
	{ "rcpt-probe", PARK, F, one_is_deferred, VERDICT_UNKNOWN,
	  "1 of 2 were accepted" },
	{ "rcpt-probe", PARK, F, taken_by_the_old, VERDICT_UNKNOWN,
	  "ask again" },
	{ "rcpt-probe", PARK, F, tls_missing, VERDICT_FAIL, "STARTTLS" },
	{ "rcpt-probe", PARK, F, tls_untrusted, VERDICT_FAIL, "not trusted" },
	{ "rcpt-probe", PARK, F, policy_wants_trust, VERDICT_FAIL,
	  "which its MTA-STS policy requires" },
	{ "rcpt-probe", PARK, F, policy_tests, VERDICT_PASS, NULL },
	{ "rcpt-probe", PARK, F, policy_of_others, VERDICT_PASS, NULL },
	{ "rcpt-probe", PARK, F, dane_matches, VERDICT_PASS, NULL },
	{ "rcpt-probe", PARK, F, dane_other_key, VERDICT_FAIL,
	  "matches the certificate" },
	{ "rcpt-probe", PARK, F, dane_unsigned, VERDICT_FAIL, "vouches" },
	{ "rcpt-probe", PARK, F, dane_none, VERDICT_FAIL, "has no TLSA" },
	{ "rcpt-probe", PARK, F, dane_of_no_use, VERDICT_WARN, "of use" },
	{ "rcpt-probe", PARK, F, dane_unasked, VERDICT_UNKNOWN, "not known" },
	{ "rcpt-probe", PARK, F, greylisted, VERDICT_UNKNOWN, NULL },
	{ "rcpt-probe", PARK, F, two_good, VERDICT_UNKNOWN, "ask again at" },
	{ "rcpt-probe", PARK, F, too_quick, VERDICT_UNKNOWN, "over 15m" },
	{ "rcpt-probe", PARK, F, greets_as_queue, VERDICT_FAIL,
	  "the queue itself" },
	{ "rcpt-probe", PARK, F, banned_at_mail, VERDICT_FAIL,
	  "refuses with 550 5.7.606" },
	{ "rcpt-probe", PARK, F, quick_by_boot, VERDICT_UNKNOWN, "over 15m" },
	{ "rcpt-probe", PARK, F, unreachable, VERDICT_UNKNOWN,
	  "connect: refused" },
	{ "rcpt-probe", PARK, F, unprobed, VERDICT_UNKNOWN, NULL },

	{ "rollback-target", PARK, R, nothing, VERDICT_PASS, NULL },
	{ "rollback-target", PARK, R, accepts_all, VERDICT_WARN, NULL },
	{ "rollback-target", PARK, R, greets_as_queue, VERDICT_FAIL,
	  "the queue itself" },
	{ "rollback-target", PARK, R, old_refuses, VERDICT_FAIL,
	  "stay parked" },
	{ "rollback-target", PARK, R, tls_missing, VERDICT_FAIL, NULL },
	{ "rollback-target", PARK, R, unprobed, VERDICT_UNKNOWN, NULL },

	{ "no-open-relay", PARK, S, nothing, VERDICT_PASS, NULL },
	{ "no-open-relay", PARK, S, relay, VERDICT_FAIL, "accepts mail" },
	{ "no-open-relay", PARK, S, relay_defers, VERDICT_UNKNOWN, NULL },
	{ "no-open-relay", PARK, S, relay_silent, VERDICT_UNKNOWN, NULL },
	{ "no-open-relay", PARK, S, relay_unasked, VERDICT_UNKNOWN, NULL },
	{ "no-open-relay", PARK, S, relay_by_a_route, VERDICT_FAIL,
	  "as <@acme.example:relay-probe@example.com>" },
	{ "no-open-relay", PARK, S, relay_at_the_second, VERDICT_FAIL,
	  ":2526" },
	{ "no-open-relay", PARK, S, second_unasked, VERDICT_UNKNOWN, ":2526" },

	{ "queue-capacity", PARK, S, nothing, VERDICT_PASS, NULL },
	{ "queue-capacity", PARK, S, no_inodes, VERDICT_PASS, NULL },
	{ "queue-capacity", PARK, S, measured, VERDICT_PASS, NULL },
	{ "queue-capacity", PARK, S, space_twice, VERDICT_WARN, "144 hours" },
	{ "queue-capacity", PARK, S, space_once, VERDICT_FAIL, "72 hours" },
	{ "queue-capacity", PARK, S, few_inodes, VERDICT_FAIL, "inodes" },
	{ "queue-capacity", PARK, S, below_the_reserve, VERDICT_WARN,
	  "144 hours" },
	{ "queue-capacity", PARK, S, plans_beside_it, VERDICT_FAIL,
	  "6000 messages an hour, of all plans" },
	{ "queue-capacity", PARK, S, measured_more, VERDICT_FAIL, NULL },
	{ "queue-capacity", PARK, S, unexpected, VERDICT_UNKNOWN,
	  "messages_per_day" },
	{ "queue-capacity", PARK, S, space_unknown, VERDICT_UNKNOWN, NULL },

	{ "ledger-balance", PARK, C, nothing, VERDICT_PASS, NULL },
	{ "ledger-balance", PARK, C, one_held, VERDICT_PASS, NULL },
	{ "ledger-balance", PARK, C, one_lost, VERDICT_FAIL, "do not sign" },
	{ "ledger-balance", PARK, C, told_unbalanced, VERDICT_FAIL, NULL },
	{ "ledger-balance", PARK, C, chain_broken, VERDICT_FAIL, "journal" },
	{ "ledger-balance", PARK, C, ledger_unknown, VERDICT_UNKNOWN, NULL },

	{ "held-empty", PARK, C, nothing, VERDICT_PASS, NULL },
	{ "held-empty", PARK, C, one_held, VERDICT_FAIL, "1 held" },
	{ "held-empty", PARK, C, one_waiting, VERDICT_FAIL, "1 waiting" },
	{ "held-empty", PARK, C, ledger_unknown, VERDICT_UNKNOWN, NULL },

	/* Nobody but the old system knows: a person reads its trace. */
	{ "straggler-rate", PARK, D, nothing, VERDICT_UNKNOWN, "--attest" },

	{ "detach-safe", PARK, D, nothing, VERDICT_PASS, NULL },
	{ "detach-safe", PARK, D, mx_old, VERDICT_FAIL,
	  "parked does not pass" },
	{ "detach-safe", PARK, D, mx_mixed, VERDICT_FAIL, "cached answer" },
	{ "detach-safe", PARK, D, resolver_old, VERDICT_FAIL, "parked" },
	{ "detach-safe", PARK, D, answers_old, VERDICT_UNKNOWN, "a minute" },
	{ "detach-safe", PARK, D, unsurveyed, VERDICT_UNKNOWN, NULL },

	{ "stragglers-end", PARK, C, nothing, VERDICT_PASS, "3d" },
	{ "stragglers-end", PARK, C, arrived_yesterday, VERDICT_FAIL,
	  "still came" },
	{ "stragglers-end", PARK, C, two_still_send, VERDICT_FAIL,
	  "from 2 peers: 192.0.2.7, 2001:db8::7" },
	{ "stragglers-end", PARK, C, clock_ahead, VERDICT_FAIL, "not over" },
	{ "stragglers-end", PARK, C, trail_begins, VERDICT_FAIL, "not over" },
	{ "stragglers-end", PLAIN, C, arrived_yesterday, VERDICT_FAIL, NULL },
	{ "stragglers-end", PARK, C, ledger_unknown, VERDICT_UNKNOWN, NULL },

	{ "daemon-supervised", PARK, S, nothing, VERDICT_PASS,
	  "tideoverd.service is enabled" },
	{ "daemon-supervised", PARK, S, other_supervisor_public,
	  VERDICT_UNKNOWN, "not known" },
	{ "daemon-supervised", PARK, S, other_supervisor, VERDICT_WARN,
	  "in a rehearsal" },
	{ "daemon-supervised", PARK, S, unit_unknown, VERDICT_UNKNOWN,
	  "daemon-reload" },
	{ "daemon-supervised", PARK, S, unit_not_enabled, VERDICT_WARN,
	  "loopback" },
	{ "daemon-supervised", PARK, S, unit_not_enabled_public, VERDICT_FAIL,
	  "systemctl enable tideoverd.service" },
	{ "daemon-supervised", PARK, S, unit_restarts_at_times, VERDICT_FAIL,
	  "Restart=on-abnormal" },
	{ "daemon-supervised", PARK, S, unit_sets_no_restart, VERDICT_WARN,
	  "Restart=no" },
	{ "daemon-supervised", PARK, S, unsupervised, VERDICT_WARN,
	  "loopback" },
	{ "daemon-supervised", PARK, S, unsupervised_public, VERDICT_FAIL,
	  "systemctl" },
	{ "daemon-supervised", PARK, S, ledger_unknown, VERDICT_UNKNOWN, NULL },

	{ "ttl-elapsed", PARK, S, nothing, VERDICT_PASS, NULL },
	{ "ttl-elapsed", PARK, S, low_lately, VERDICT_FAIL, "wait until" },
	{ "ttl-elapsed", PARK, S, still_high, VERDICT_FAIL, "not lowered" },
	{ "ttl-elapsed", PARK, S, low_lately_no_high, VERDICT_UNKNOWN,
	  "on record for less" },
	{ "ttl-elapsed", PARK, S, low_lately_private, VERDICT_WARN,
	  "rehearsal" },
	{ "ttl-elapsed", PARK, S, low_never, VERDICT_UNKNOWN, "no low TTL" },
	{ "ttl-elapsed", PARK, S, low_unknown, VERDICT_UNKNOWN, "dns.old_ttl" },

	{ "retention-clock", PARK, W, nothing, VERDICT_PASS, NULL },
	{ "retention-clock", PARK, W, no_mail, VERDICT_PASS, NULL },
	{ "retention-clock", PARK, W, mail_of_16_days, VERDICT_WARN, "half" },
	{ "retention-clock", PLAIN, W, mail_of_25_days, VERDICT_FAIL,
	  "never bounced" },
	{ "retention-clock", PARK, W, ledger_unknown, VERDICT_UNKNOWN, NULL },

	{ "pacing", PARK, W, nothing, VERDICT_PASS, NULL },
	{ "pacing", PARK, W, slowed_before, VERDICT_PASS, NULL },
	{ "pacing", PARK, W, slowed, VERDICT_WARN, "less at once" },
	{ "pacing", PARK, W, limited, VERDICT_FAIL, "hourly limit" },
	{ "pacing", PARK, W, not_begun, VERDICT_UNKNOWN, NULL },

	{ "ramp", PARK, W, nothing, VERDICT_PASS, NULL },
	{ "ramp", PARK, W, few_refused, VERDICT_PASS, NULL },
	{ "ramp", PARK, W, some_refused, VERDICT_WARN, "0.1%" },
	{ "ramp", PARK, W, many_refused, VERDICT_FAIL, "nothing is bounced" },
	{ "ramp", PARK, W, breaker, VERDICT_FAIL, "stage 2 of the ramp" },
	{ "ramp", PARK, W, not_begun, VERDICT_UNKNOWN, NULL },

	{ "signoff", PARK, C, nothing, VERDICT_PASS, NULL },
	{ "signoff", PARK, C, one_waived, VERDICT_WARN, "mx-not-old" },
	{ "signoff", PARK, C, waived_by_nobody, VERDICT_FAIL, "by name" },
	{ "signoff", PARK, C, breaker, VERDICT_FAIL, "breaker" },
	{ "signoff", PARK, C, perhaps_twice, VERDICT_FAIL, "4f2a:1" },
	{ "signoff", PARK, C, out_of_order, VERDICT_FAIL, "a later one" },
	{ "signoff", PARK, C, damaged_spool, VERDICT_FAIL, "quarantine" },
	{ "signoff", PARK, C, exceptions_unknown, VERDICT_UNKNOWN, "twice" },
	{ "signoff", PARK, C, ledger_unknown, VERDICT_UNKNOWN, NULL },

	{ "standby-health", PARK, S, greeted_no, VERDICT_PASS, "only MX" },
	{ "standby-health", PLAIN, S, nothing, VERDICT_PASS, NULL },
	{ "standby-health", PLAIN, S, greeted_no, VERDICT_FAIL, "bounces" },
	{ "standby-health", PLAIN, W, window_refuses, VERDICT_PASS,
	  "refuses connections" },
	{ "standby-health", PLAIN, W, window_swallows, VERDICT_WARN,
	  "reject, not drop" },
	{ "standby-health", PLAIN, W, window_defers, VERDICT_WARN, "421" },
	{ "standby-health", PLAIN, W, window_answers, VERDICT_WARN,
	  "during the window" },
	{ "standby-health", STBY, W, window_bounces, VERDICT_FAIL, "554" },
	{ "standby-health", STBY, W, retired, VERDICT_PASS, NULL },
	{ "standby-health", STBY, W, new_bounces, VERDICT_FAIL,
	  "tenant.example.org" },
	{ "standby-health", PLAIN, S, unprobed, VERDICT_UNKNOWN, NULL },

	{ "queue-cert", PARK, S, nothing, VERDICT_PASS, NULL },
	{ "queue-cert", PARK, S, second_without_tls, VERDICT_WARN, "STARTTLS" },
	{ "queue-cert", PARK, S, second_unasked, VERDICT_UNKNOWN, NULL },
	{ "queue-cert", PARK, P, cert_of_the_file, VERDICT_PASS, NULL },
	{ "queue-cert", PARK, P, untrusted_cert_of_the_file, VERDICT_WARN,
	  "full chain" },
	{ "queue-cert", PARK, P, cert_file_is_gone, VERDICT_UNKNOWN,
	  "hold.pem" },
	{ "queue-cert", PARK, S, cert_ends_soon, VERDICT_WARN, "30 days" },
	{ "queue-cert", PARK, W, cert_ends_soon, VERDICT_WARN, "30 days" },
	{ "queue-cert", PARK, S, cert_ends_in_a_week, VERDICT_WARN, "30 days" },
	{ "queue-cert", PARK, W, cert_ends_in_a_week, VERDICT_FAIL, "14 days" },
	{ "queue-cert", PARK, S, cert_untrusted, VERDICT_WARN, "full chain" },
	{ "queue-cert", PARK, W, cert_untrusted, VERDICT_WARN, "full chain" },
	{ "queue-cert", PARK, S, cert_has_ended, VERDICT_WARN, "full chain" },
	{ "queue-cert", PARK, W, cert_has_ended, VERDICT_FAIL, "has ended" },
	{ "queue-cert", PARK, W, own_cert_ends_in_a_week, VERDICT_FAIL,
	  "14 days" },
	{ "queue-cert", PARK, S, no_starttls, VERDICT_WARN, "STARTTLS" },
	{ "queue-cert", PARK, S, cert_untrusted_enforced, VERDICT_FAIL,
	  "MTA-STS enforces" },
	{ "queue-cert", PARK, S, cert_untrusted_and_sts_taken_away,
	  VERDICT_FAIL, "enforces it" },
	{ "queue-cert", PARK, S, no_starttls_enforced, VERDICT_FAIL, NULL },
	{ "queue-cert", PARK, S, cert_untrusted_unasked, VERDICT_UNKNOWN,
	  "not known" },
	{ "queue-cert", PARK, S, relay_unasked, VERDICT_UNKNOWN, NULL },

	{ "clock", PARK, S, nothing, VERDICT_PASS, NULL },
	{ "clock", PARK, S, clock_two, VERDICT_WARN, "more than 1 s" },
	{ "clock", PARK, P, clock_ten, VERDICT_FAIL, "evidence" },
	{ "clock", PARK, S, clock_unknown, VERDICT_UNKNOWN, "attest" },
	{ "clock", PARK, S, date_right, VERDICT_PASS, NULL },
	{ "clock", PARK, S, date_over_the_turn, VERDICT_WARN, "a few seconds" },
	{ "clock", PARK, S, date_over_the_turn_in_sync, VERDICT_PASS, NULL },
	{ "clock", PARK, S, date_within_two, VERDICT_WARN, "a few seconds" },
	{ "clock", PARK, S, date_two, VERDICT_WARN, "more than 1 s" },
	{ "clock", PARK, S, date_ten, VERDICT_FAIL, "NTP sources" },
	{ "clock", PARK, S, dates_of_two_minds, VERDICT_WARN, "differ" },
	{ "clock", PARK, S, dates_of_two_minds_alone, VERDICT_UNKNOWN,
	  "differ" },
	{ "clock", PARK, S, date_of_a_cache, VERDICT_UNKNOWN, "disciplines" },
	{ "clock", PARK, P, date_of_the_policy, VERDICT_FAIL, "more than 5 s" },
	{ "clock", PARK, S, clock_unknown_private, VERDICT_WARN, "rehearsal" },

	{ "recipients", PARK, S, nothing, VERDICT_WARN, "no list" },
	{ "recipients", PARK, S, list_fresh, VERDICT_PASS, NULL },
	{ "recipients", PARK, S, list_of_two_days, VERDICT_WARN, "a day" },
	{ "recipients", PARK, S, list_not_compared, VERDICT_WARN,
	  "Get-Recipient" },
	{ "recipients", PARK, F, list_differs, VERDICT_FAIL,
	  "missing in the target: bert@acme.example" },
	{ "recipients", PARK, S, list_old, VERDICT_FAIL, "7 days" },
	{ "recipients", PARK, S, list_of_tomorrow, VERDICT_UNKNOWN,
	  "time to come" },
	{ "recipients", PARK, S, list_empty, VERDICT_FAIL, "empty" },
	{ "recipients", PARK, P, list_unread, VERDICT_UNKNOWN, NULL },
	{ "recipients", PARK, S, list_of_another_domain, VERDICT_FAIL,
	  "nobody of acme.example is listed" },
	{ "recipients", PARK, S, export_of_last_month, VERDICT_UNKNOWN,
	  "last week" },
	{ "recipients", PARK, S, list_changed_and_broken, VERDICT_UNKNOWN,
	  "it lists nobody" },

	{ "recipients-proven", PARK, S, nothing, VERDICT_PASS, NULL },
	{ "recipients-proven", PARK, S, list_fresh, VERDICT_PASS, NULL },
	{ "recipients-proven", PARK, S, refuses_unknown, VERDICT_UNKNOWN,
	  "trace" },
	{ "recipients-proven", PARK, S, proven, VERDICT_PASS, NULL },
	{ "recipients-proven", PARK, S, trace_has_more, VERDICT_FAIL,
	  "cora@acme.example" },
	{ "recipients-proven", PARK, S, trace_of_last_month, VERDICT_UNKNOWN,
	  "not of the last 14 days" },
	{ "recipients-proven", PARK, S, trace_of_a_week, VERDICT_UNKNOWN,
	  "not of the last 14 days" },
	{ "recipients-proven", PARK, S, trace_of_tomorrow, VERDICT_UNKNOWN,
	  "days to come" },
	{ "recipients-proven", PARK, S, trace_without_times, VERDICT_UNKNOWN,
	  "of which days" },
	{ "recipients-proven", PARK, S, trace_of_another, VERDICT_UNKNOWN,
	  "no mail for it" },
	{ "recipients-proven", PARK, S, listed_refused, VERDICT_FAIL,
	  "bert@acme.example" },
	{ "recipients-proven", PARK, S, listed_unanswered, VERDICT_UNKNOWN,
	  "1 of 2" },
	{ "recipients-proven", PARK, S, listed_unasked, VERDICT_UNKNOWN, NULL },
	{ "recipients-proven", PARK, S, listed_of_another, VERDICT_FAIL,
	  "nobody of it is listed" },
	{ "recipients-proven", PARK, S, random_deferred, VERDICT_UNKNOWN,
	  "nobody has" },
	{ "recipients-proven", PARK, S, old_unasked, VERDICT_UNKNOWN,
	  "nobody has" },
	{ "recipients-proven", PARK, S, refuses_private, VERDICT_WARN,
	  "rehearsal" },
	{ "recipients-proven", PARK, S, refuses_old_accepts_all, VERDICT_FAIL,
	  "defer" },
	{ "recipients-proven", PARK, S, refuses_old_refuses, VERDICT_FAIL,
	  "postmaster@acme.example" },

	{ "mta-sts-union", PARK, S, nothing, VERDICT_PASS, NULL },
	{ "mta-sts-union", PARK, S, sts_whole, VERDICT_PASS, NULL },
	{ "mta-sts-union", PARK, S, sts_off, VERDICT_PASS, NULL },
	{ "mta-sts-union", PLAIN, S, sts_whole, VERDICT_PASS, NULL },
	{ "mta-sts-union", PARK, S, sts_young, VERDICT_WARN, "younger" },
	{ "mta-sts-union", PARK, S, sts_changed, VERDICT_FAIL,
	  "bump the id of _mta-sts.acme.example" },
	{ "mta-sts-union", PARK, S, sts_taken_away, VERDICT_FAIL,
	  "senders may hold the policy of before" },
	{ "mta-sts-union", PARK, S, sts_taken_away_a_week_ago, VERDICT_PASS,
	  NULL },
	{ "mta-sts-union", PARK, S, sts_unseen, VERDICT_WARN, "younger" },
	{ "mta-sts-union", PARK, S, sts_tests, VERDICT_WARN, "testing" },
	{ "mta-sts-union", PARK, S, sts_tests_without_queue, VERDICT_WARN,
	  QUEUE },
	{ "mta-sts-union", PARK, S, sts_two_records, VERDICT_WARN, "several" },
	{ "mta-sts-union", PARK, C, sts_lacks_queue, VERDICT_FAIL, QUEUE },
	{ "mta-sts-union", PARK, F, sts_gone, VERDICT_FAIL, "404" },
	{ "mta-sts-union", PARK, S, sts_unasked, VERDICT_UNKNOWN, NULL },

	/* A person looks; in a rehearsal there is nothing to look at. */
	{ "queue-reachable", PARK, S, in_public, VERDICT_UNKNOWN, "--attest" },
	{ "queue-reachable", PARK, S, nothing, VERDICT_WARN, "rehearsal" },
	/* What a remedy says can be typed as it stands: no daemon knows the
	 * plan before its start, and "watched" is no gate of a waiver. */
	{ "queue-reachable", PARK, S, in_public, VERDICT_UNKNOWN,
	  "tideover waive t queue-reachable --gate start" },
	{ "queue-reachable", PARK, P, in_public, VERDICT_UNKNOWN,
	  "after the start, tideover waive t queue-reachable --gate start" },
	{ "target-trust", PARK, P, in_public, VERDICT_UNKNOWN,
	  "after the start, tideover waive t target-trust --gate start" },
	{ "domain-verified", PARK, W, in_public, VERDICT_UNKNOWN,
	  "tideover waive t domain-verified --gate finish" },
	{ "source-blockers", PARK, S, in_public, VERDICT_UNKNOWN, "--attest" },
	{ "source-blockers", PARK, S, nothing, VERDICT_WARN, "rehearsal" },
	{ "canary-initial", PARK, S, in_public, VERDICT_UNKNOWN, "--attest" },
	{ "canary-initial", PARK, S, nothing, VERDICT_WARN, "rehearsal" },
	{ "canary-domain", PARK, F, in_public, VERDICT_UNKNOWN, "--attest" },
	{ "canary-domain", PARK, F, nothing, VERDICT_WARN, "rehearsal" },

#define CANARY canary_text
	{ "canary-initial", CANARY, S, canary_unsent, VERDICT_UNKNOWN,
	  "tideover canary t --initial" },
	{ "canary-initial", CANARY, S, canary_accepted, VERDICT_WARN,
	  "look into the inbox of pilot@tenant.example (not junk)" },
	{ "canary-initial", CANARY, S, canary_refused, VERDICT_FAIL,
	  "550 5.4.1" },
	{ "canary-initial", CANARY, S, canary_in_public, VERDICT_UNKNOWN,
	  "acme.example.net: no canary goes to its new system" },
	{ "canary-initial", CANARY, S, canary_without_daemon, VERDICT_UNKNOWN,
	  "--attest" },
	{ "canary-domain", CANARY, F, canary_unsent, VERDICT_UNKNOWN,
	  "no canary was sent to a@acme.example yet" },
	{ "canary-domain", CANARY, F, canary_under_way, VERDICT_UNKNOWN,
	  "has not answered" },
	{ "canary-domain", CANARY, F, canary_accepted, VERDICT_WARN,
	  "nobody has said that it arrived" },
	{ "canary-domain", CANARY, F, canary_of_the_day_before, VERDICT_UNKNOWN,
	  "more than 1d" },
	{ "canary-domain", CANARY, F, canary_refused, VERDICT_FAIL,
	  "directory-based edge blocking" },
	{ "canary-domain", CANARY, F, canary_accepted_then_refused,
	  VERDICT_FAIL, "tideover finish sends it again" },
	{ "canary-domain", CANARY, F, canary_without_tls, VERDICT_FAIL,
	  "its TLS is not what is demanded of it" },
	{ "canary-domain", CANARY, F, canary_without_tls, VERDICT_FAIL,
	  "its certificate is refused: repair its TLS" },
	{ "canary-domain", CANARY, F, canary_deferred, VERDICT_UNKNOWN,
	  "451 4.7.1" },
	{ "canary-domain", CANARY, F, canary_deferred_for_long, VERDICT_FAIL,
	  "none was accepted in 15m" },
	{ "canary-domain", CANARY, F, canary_accepted_then_deferred,
	  VERDICT_WARN, NULL },
	{ "canary-domain", CANARY, F, canary_in_public, VERDICT_UNKNOWN,
	  "acme.example.net: no canary goes to a mailbox of it" },

	{ "target-trust", PARK, S, trusted, VERDICT_PASS, NULL },
	{ "target-trust", PARK, S, trusted_by_certificate, VERDICT_PASS, NULL },
	{ "target-trust", PARK, S, certificate_unshown, VERDICT_FAIL,
	  "no enabled" },
	{ "target-trust", PARK, S, second_address, VERDICT_WARN,
	  "198.51.100.7" },
	{ "target-trust", PARK, S, no_sealer, VERDICT_WARN, "ARC" },
	{ "target-trust", PARK, S, connector_of_today, VERDICT_WARN, "24 h" },
	{ "target-trust", PARK, S, connector_for_some, VERDICT_WARN,
	  "some users" },
	{ "target-trust", PARK, S, connector_elsewhere, VERDICT_FAIL,
	  "192.0.2.9" },
	{ "target-trust", PARK, S, connector_for_a_partner, VERDICT_FAIL,
	  "some senders alone" },
	{ "target-trust", PARK, S, connector_off, VERDICT_FAIL, "no enabled" },
	{ "target-trust", PARK, S, connector_on_premises, VERDICT_FAIL,
	  "Partner" },
	{ "target-trust", PARK, F, connector_restricts, VERDICT_FAIL,
	  "5.7.51" },
	{ "target-trust", PARK, S, connector_skips_not, VERDICT_FAIL,
	  "EFSkipIPs" },
	{ "target-trust", PARK, S, connector_tests, VERDICT_FAIL, "test mode" },
	{ "target-trust", PARK, S, connector_of_last_month, VERDICT_UNKNOWN,
	  "7 days" },
	{ "target-trust", PARK, S, connector_without_address, VERDICT_UNKNOWN,
	  "not known" },
	{ "target-trust", PARK, S, evidence_broken, VERDICT_UNKNOWN, "UTF-16" },
	{ "target-trust", PARK, S, in_public, VERDICT_UNKNOWN, "--attest" },
	{ "target-trust", PARK, S, nothing, VERDICT_WARN, "rehearsal" },
	{ "target-trust", PARK, S, gateway_good, VERDICT_PASS, NULL },
	{ "target-trust", PARK, S, gateway_rejects, VERDICT_FAIL, "421" },
	{ "target-trust", PARK, S, gateway_detects_not, VERDICT_FAIL, NULL },
	{ "target-trust", PARK, S, gateway_elsewhere, VERDICT_FAIL,
	  "192.0.2.9" },
	{ "target-trust", PARK, S, to_workspace, VERDICT_UNKNOWN, NULL },
	{ "target-trust", PARK, S, to_custom, VERDICT_UNKNOWN, NULL },

	{ "domain-verified", PARK, F, relayed, VERDICT_PASS, NULL },
	{ "domain-verified", PARK, F, of_the_new_tenant, VERDICT_PASS, NULL },
	{ "domain-verified", PARK, F, of_the_old_tenant, VERDICT_UNKNOWN,
	  "of the old tenant" },
	{ "domain-verified", PARK, F, of_both_tenants, VERDICT_UNKNOWN,
	  "of the old tenant" },
	{ "domain-verified", PARK, F, of_another_tenant, VERDICT_UNKNOWN,
	  "acmenew.onmicrosoft.com" },
	{ "domain-verified", PARK, F, of_some_tenant, VERDICT_WARN,
	  "cannot be told" },
	{ "domain-verified", PARK, F, of_tomorrow, VERDICT_UNKNOWN,
	  "time to come" },
	{ "accepted-type", PARK, F, of_the_old_tenant, VERDICT_UNKNOWN, NULL },
	{ "domain-verified", PARK, F, graph_good, VERDICT_PASS, NULL },
	{ "domain-verified", PARK, F, google_verified, VERDICT_PASS, NULL },
	{ "domain-verified", PARK, F, google_to_google, VERDICT_UNKNOWN,
	  "of which tenant" },
	{ "domain-verified", PARK, F, accepted_other, VERDICT_FAIL,
	  "does not have it" },
	{ "domain-verified", PARK, F, pending_removal, VERDICT_FAIL,
	  "removing" },
	{ "domain-verified", PARK, F, graph_unverified, VERDICT_FAIL,
	  "an hour" },
	{ "domain-verified", PARK, F, graph_without_mail, VERDICT_FAIL,
	  "Email" },
	{ "domain-verified", PARK, F, google_unverified, VERDICT_FAIL,
	  "Gmail" },
	{ "domain-verified", PARK, F, in_public, VERDICT_UNKNOWN, "--attest" },
	{ "domain-verified", PARK, F, to_custom, VERDICT_UNKNOWN, NULL },
	{ "domain-verified", PARK, F, nothing, VERDICT_WARN, "rehearsal" },

	{ "accepted-type", PARK, F, relayed, VERDICT_PASS, NULL },
	{ "accepted-type", PARK, F, authoritative_whole, VERDICT_PASS, NULL },
	{ "accepted-type", PARK, F, to_workspace, VERDICT_PASS, NULL },
	{ "accepted-type", PARK, F, authoritative, VERDICT_WARN,
	  "InternalRelay" },
	{ "accepted-type", PARK, F, authoritative_of_last_month,
	  VERDICT_UNKNOWN, "last week" },
	{ "accepted-type", PARK, F, authoritative_missing, VERDICT_FAIL,
	  "missing" },
	{ "accepted-type", PARK, F, external, VERDICT_FAIL, "neither" },
	{ "accepted-type", PARK, F, accepted_other, VERDICT_FAIL, NULL },
	{ "accepted-type", PARK, F, in_public, VERDICT_UNKNOWN, "--attest" },
	{ "accepted-type", PARK, F, nothing, VERDICT_WARN, "rehearsal" },
};

static void each_check_judges_as_the_catalogue_says(void **state)
{
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct world world;
		struct findings found;
		const struct finding *finding;

		world_make(&world, cases[i].plan);
		set_all(&world, QUEUE, NULL);
		cases[i].change(&world);
		check_gate(world.facts, cases[i].gate, cases[i].check, NULL, 0,
			   &found);
		assert_int_equal(found.count, 1);
		finding = &found.at[0];
		if (finding->verdict != cases[i].want ||
		    (cases[i].says &&
		     !strstr(finding->summary, cases[i].says) &&
		     !strstr(finding->remedy, cases[i].says)))
			fail_msg("case %zu, %s: %s: %s / %s", i, cases[i].check,
				 verdict_name(finding->verdict),
				 finding->summary, finding->remedy);
		/* Whatever it says, it says on what grounds. */
		assert_true(json_count(finding->evidence) > 0 ||
			    finding->verdict == VERDICT_UNKNOWN);
		/* What blocks comes with what to do, warnings may. */
		if (finding->verdict == VERDICT_FAIL)
			assert_true(*finding->remedy != '\0');
		findings_release(&found);
		world_release(&world);
	}
}

/* Those of the records beside the MX have tables of their own:
 * test_check_mail.c and test_check_trust.c. */
static bool is_of_records(const char *id)
{
	static const char *const ids[] = {
		"verify-txt", "spf",	      "dkim",	       "dmarc",
		"tls-rpt",    "autodiscover", "dnssec",	       "queue-tlsa",
		"caa",	      "dane-standby", "queue-identity"
	};

	for (size_t i = 0; i < COUNT(ids); i++)
		if (strcmp(ids[i], id) == 0)
			return true;
	return false;
}

/* These a person attests; what files tell is in tests/verdicts, and in
 * test_check_straggler.c. */
static bool is_for_a_person(const char *id)
{
	static const char *const ids[] = { "straggler-rate", "queue-reachable",
					   "source-blockers", "canary-initial",
					   "canary-domain" };

	for (size_t i = 0; i < COUNT(ids); i++)
		if (strcmp(ids[i], id) == 0)
			return true;
	return false;
}

/* A warning is the worst that it says. */
static bool never_fails(const char *id)
{
	return strcmp(id, "negative-cache") == 0;
}

static void every_built_check_has_its_cases(void **state)
{
	for (const struct check *check = checks; check->id; check++) {
		unsigned seen = 0;

		if (is_of_records(check->id))
			continue;
		for (size_t i = 0; i < COUNT(cases); i++)
			if (strcmp(cases[i].check, check->id) == 0)
				seen |= BIT(cases[i].want);
		assert_true(seen & BIT(VERDICT_UNKNOWN));
		if (!is_for_a_person(check->id)) {
			assert_true(seen & BIT(VERDICT_PASS));
			assert_true(seen &
				    BIT(never_fails(check->id) ? VERDICT_WARN :
								 VERDICT_FAIL));
		}
		assert_ptr_equal(check_find(check->id), check);
	}
	assert_null(check_find("no-such-check"));
}

static void
gates_open_when_all_is_well_but_detach_waits_for_a_person(void **state)
{
	static const struct {
		enum gate gate;
		void (*change)(struct world *);
		bool open;
	} gates[] = {
		{ GATE_PLAN, mx_old, true },
		{ GATE_START, nothing, true },
		{ GATE_DETACH, nothing, false },
		{ GATE_FINISH, nothing, true },
		{ GATE_CLOSE, mx_new, true },
		{ GATE_ROLLBACK, nothing, true },
		{ GATE_START, relay, false },
		{ GATE_START, unexpected, false },
		{ GATE_FINISH, refused, false },
		{ GATE_CLOSE, one_held, false },
		{ GATE_ROLLBACK, refused, false },
	};

	for (size_t i = 0; i < COUNT(gates); i++) {
		struct world world;
		struct findings found;

		world_make(&world, park_text);
		set_all(&world, QUEUE, NULL);
		gates[i].change(&world);
		check_gate(world.facts, gates[i].gate, NULL, NULL, 0, &found);
		if (found.open != gates[i].open)
			fail_msg("case %zu: %s", i, gate_name(gates[i].gate));
		findings_release(&found);
		world_release(&world);
	}
}

/* What a real plan must be told, and by whom it was. */
static const struct {
	enum gate gate;
	void (*change)(struct world *);
	const char *blocking; /* in the order of the table */
} told[] = {
	{ GATE_START, in_public,
	  "queue-reachable source-blockers target-trust canary-initial " },
	{ GATE_START, trusted,
	  "queue-reachable source-blockers canary-initial " },
	{ GATE_FINISH, in_public,
	  "target-trust domain-verified accepted-type canary-domain " },
	{ GATE_ROLLBACK, in_public, "" },
};

static void a_public_plan_waits_for_what_nobody_saw(void **state)
{
	for (size_t i = 0; i < COUNT(told); i++) {
		struct world world;
		struct findings found;
		struct buf names = BUF_INIT;

		world_make(&world, park_text);
		set_all(&world, QUEUE, NULL);
		told[i].change(&world);
		check_gate(world.facts, told[i].gate, NULL, NULL, 0, &found);
		for (size_t f = 0; f < found.count; f++)
			if (finding_blocks(&found.at[f]))
				buf_addf(&names, "%s ", found.at[f].check->id);
		assert_string_equal(buf_text(&names), told[i].blocking);
		assert_int_equal(found.open, !*told[i].blocking);
		findings_release(&found);
		world_release(&world);
		buf_release(&names);
	}
}

static void give(struct world *world, const char *check, enum gate gate,
		 struct waiver *waiver);

static void detach_opens_with_the_attested_trace(void **state)
{
	struct world world;
	struct findings found;
	struct waiver waiver;

	world_make(&world, park_text);
	set_all(&world, QUEUE, NULL);
	give(&world, "straggler-rate", GATE_DETACH, &waiver);
	check_gate(world.facts, GATE_DETACH, NULL, &waiver, 1, &found);
	assert_true(found.open);
	findings_release(&found);
	/* It vouches for the trace, not for DNS. */
	set_mx(&world.resolver[1], OLD, NULL);
	check_gate(world.facts, GATE_DETACH, NULL, &waiver, 1, &found);
	assert_false(found.open);
	findings_release(&found);
	world_release(&world);
}

/* Waivers. */

static void give(struct world *world, const char *check, enum gate gate,
		 struct waiver *waiver)
{
	struct findings found;

	check_gate(world->facts, gate, check, NULL, 0, &found);
	assert_int_equal(found.count, 1);
	*waiver = (struct waiver){ .gate = gate,
				   .at_ms = NOW_MS - HOUR_MS,
				   .by = (char *)(uintptr_t) "alice",
				   .reason = (char *)(uintptr_t) "known" };
	snprintf(waiver->check, sizeof(waiver->check), "%s", check);
	finding_fingerprint(&found.at[0], waiver->fingerprint);
	findings_release(&found);
}

static void late(struct waiver *waiver)
{
	waiver->at_ms -= 23 * HOUR_MS;
}
static void future(struct waiver *waiver)
{
	waiver->at_ms += 2 * HOUR_MS;
}
static void other_gate(struct waiver *waiver)
{
	waiver->gate = GATE_PLAN;
}
static void as_it_is(struct waiver *waiver)
{
}

static const struct {
	const char *check;
	enum gate gate;
	void (*before)(struct world *); /* when it was given */
	void (*now)(struct world *);
	void (*change)(struct waiver *);
	enum verdict want;
} waived[] = {
	{ "mx-not-old", F, mx_mixed, mx_mixed, as_it_is, VERDICT_WAIVED },
	{ "rcpt-probe", F, two_good, too_quick, as_it_is, VERDICT_WAIVED },
	{ "mx-not-old", F, mx_mixed, mx_other, as_it_is, VERDICT_FAIL },
	{ "mx-not-old", F, mx_mixed, nothing, as_it_is, VERDICT_PASS },
	{ "mx-not-old", F, mx_mixed, mx_mixed, late, VERDICT_FAIL },
	{ "mx-not-old", F, mx_mixed, mx_mixed, future, VERDICT_FAIL },
	{ "mx-not-old", F, mx_mixed, mx_mixed, other_gate, VERDICT_FAIL },
	{ "held-empty", C, one_held, one_held, as_it_is, VERDICT_WAIVED },
	{ "straggler-rate", D, nothing, nothing, as_it_is, VERDICT_WAIVED },
	{ "straggler-rate", D, seen_long_ago, seen_long_ago, as_it_is,
	  VERDICT_WAIVED },
	{ "straggler-rate", D, seen_long_ago, seen_lately, as_it_is,
	  VERDICT_UNKNOWN },
	{ "mx-horizon", D, seen_lately, seen_lately, as_it_is, VERDICT_FAIL },
	{ "mx-horizon", D, ttl_unknown, ttl_unknown, as_it_is,
	  VERDICT_UNKNOWN },
	{ "no-open-relay", S, relay, relay, as_it_is, VERDICT_FAIL },
	{ "ledger-balance", C, one_lost, one_lost, as_it_is, VERDICT_FAIL },
	{ "queue-capacity", S, space_once, space_once, as_it_is, VERDICT_FAIL },
	{ "queue-capacity", S, unexpected, unexpected, as_it_is,
	  VERDICT_WAIVED },
};

static void a_waiver_is_for_one_finding_and_one_day(void **state)
{
	for (size_t i = 0; i < COUNT(waived); i++) {
		struct world world;
		struct waiver waiver;
		struct findings found;

		world_make(&world, park_text);
		set_all(&world, QUEUE, NULL);
		waived[i].before(&world);
		give(&world, waived[i].check, waived[i].gate, &waiver);
		waived[i].change(&waiver);
		world_release(&world);

		world_make(&world, park_text);
		set_all(&world, QUEUE, NULL);
		waived[i].now(&world);
		check_gate(world.facts, waived[i].gate, waived[i].check,
			   &waiver, 1, &found);
		if (found.at[0].verdict != waived[i].want)
			fail_msg("case %zu, %s: %s", i, waived[i].check,
				 verdict_name(found.at[0].verdict));
		assert_int_equal(found.open,
				 waived[i].want == VERDICT_WAIVED ||
					 waived[i].want == VERDICT_PASS);
		if (waived[i].want == VERDICT_WAIVED)
			assert_string_equal(found.at[0].waived_by, "alice");
		findings_release(&found);
		world_release(&world);
	}
}

/* A summary names four of many, and the worst alone. */

static void add_sentence(struct tally *tally, enum verdict verdict,
			 const char *summary)
{
	tally_add(tally, verdict, mem_dup(summary), NULL);
}

static void print_of(const char *const *summaries, enum verdict last,
		     char print[DIGEST_TEXT])
{
	struct finding finding = { .check = check_find("rcpt-probe") };
	struct tally tally;

	tally_init(&tally);
	for (; summaries[1]; summaries++)
		add_sentence(&tally, VERDICT_FAIL, *summaries);
	add_sentence(&tally, last, *summaries);
	tally_end(&tally, &finding, "well");
	finding_fingerprint(&finding, print);
	finding_clear(&finding);
}

static void a_waiver_covers_no_sentence_that_was_not_there(void **state)
{
	static const char *const first[] = { "a", "b", "c", "d", "e", NULL };
	static const char *const second[] = { "a", "b", "c", "d", "f", NULL };
	char one[DIGEST_TEXT], two[DIGEST_TEXT];

	print_of(first, VERDICT_FAIL, one);
	print_of(first, VERDICT_FAIL, two);
	assert_string_equal(one, two);
	/* The fifth is ansecond. */
	print_of(second, VERDICT_FAIL, two);
	assert_string_not_equal(one, two);
	/* Beside failures, what is not known now. */
	print_of(first, VERDICT_UNKNOWN, one);
	print_of(second, VERDICT_UNKNOWN, two);
	assert_string_not_equal(one, two);
	/* A warning blocks nothing. */
	print_of(first, VERDICT_WARN, one);
	print_of(second, VERDICT_WARN, two);
	assert_string_equal(one, two);
}

static void a_waived_finding_keeps_its_fingerprint(void **state)
{
	struct world world;
	struct waiver waiver;
	struct findings found;
	char print[DIGEST_TEXT];

	world_make(&world, park_text);
	set_all(&world, OLD, NULL);
	give(&world, "mx-not-old", GATE_FINISH, &waiver);
	check_gate(world.facts, GATE_FINISH, "mx-not-old", &waiver, 1, &found);
	assert_int_equal(found.at[0].verdict, VERDICT_WAIVED);
	assert_int_equal(found.at[0].before_waiver, VERDICT_FAIL);
	finding_fingerprint(&found.at[0], print);
	assert_string_equal(print, waiver.fingerprint);
	findings_release(&found);
	world_release(&world);
}

static const struct {
	const char *check;
	enum gate gate;
	const char *refused; /* NULL: it may be attested */
} attested[] = {
	{ "straggler-rate", GATE_DETACH, NULL },
	{ "mx-not-old", GATE_FINISH, "waive it without --attest" },
	{ "mx-horizon", GATE_DETACH, "is never waived" },
	{ "clock", GATE_START, "nothing to waive" },
};

static void what_is_attested_was_not_known(void **state)
{
	for (size_t i = 0; i < COUNT(attested); i++) {
		struct err err = ERR_INIT;
		struct findings found;
		struct world world;

		world_make(&world, park_text);
		set_all(&world, OLD, NULL);
		check_gate(world.facts, attested[i].gate, attested[i].check,
			   NULL, 0, &found);
		assert_int_equal(waiver_may(&(struct waiver){ .attest = true },
					    &found.at[0], &err),
				 attested[i].refused ? -1 : 0);
		if (attested[i].refused)
			assert_non_null(strstr(err.text, attested[i].refused));
		findings_release(&found);
		world_release(&world);
	}
}

static void a_finding_does_not_change_with_the_time(void **state)
{
	struct world world;
	struct waiver before, after;

	world_make(&world, park_text);
	set_all(&world, OLD, NULL);
	refused(&world);
	give(&world, "rcpt-probe", GATE_FINISH, &before);
	world.facts->now.wall_ms += HOUR_MS;
	good_reply(&world.new->rcpt[0].reply, 550, "5.4.1",
		   "Recipient address rejected [X.example 2026-05-28T21]");
	give(&world, "rcpt-probe", GATE_FINISH, &after);
	assert_string_equal(before.fingerprint, after.fingerprint);
	world_release(&world);
}

static void what_passes_needs_no_waiver(void **state)
{
	struct world world;
	struct findings found;
	struct err err = ERR_INIT;

	world_make(&world, park_text);
	set_all(&world, QUEUE, NULL);
	check_gate(world.facts, GATE_FINISH, "mx-not-old", NULL, 0, &found);
	assert_int_equal(check_waivable(&found.at[0], &err), -1);
	assert_non_null(strstr(err.text, "nothing to waive"));
	findings_release(&found);
	world_release(&world);
}

static struct waiver attest(struct world *world)
{
	struct waiver waiver;

	give(world, "canary-domain", GATE_FINISH, &waiver);
	waiver.attest = true;
	return waiver;
}

static void a_quarter_later(struct world *w)
{
	w->facts->now.wall_ms += HOUR_MS / 4;
}

static void an_attestation_answers_what_was_not_seen(void **state)
{
	static const struct {
		void (*before)(struct world *), (*now)(struct world *);
		enum verdict want;
	} seen[] = {
		{ canary_accepted, canary_accepted, VERDICT_WAIVED },
		{ canary_accepted, canary_deferred, VERDICT_WAIVED },
		/* That is another message. */
		{ canary_accepted, canary_accepted_then_deferred,
		  VERDICT_WARN },
		{ canary_accepted, canary_accepted_then_refused, VERDICT_FAIL },
		{ canary_unsent, canary_unsent, VERDICT_WAIVED },
		{ canary_unsent, canary_refused, VERDICT_FAIL },
		{ canary_deferred, a_quarter_later, VERDICT_FAIL },
		/* It does not make good what is bad. */
		{ canary_refused, canary_refused, VERDICT_FAIL },
	};

	for (size_t i = 0; i < COUNT(seen); i++) {
		struct world world;
		struct findings found;
		struct waiver waiver;

		world_make(&world, canary_text);
		seen[i].before(&world);
		waiver = attest(&world);
		if (seen[i].now != seen[i].before)
			seen[i].now(&world);
		check_gate(world.facts, GATE_FINISH, "canary-domain", &waiver,
			   1, &found);
		if (found.at[0].verdict != seen[i].want)
			fail_msg("case %zu: %s", i,
				 verdict_name(found.at[0].verdict));
		if (seen[i].want == VERDICT_WAIVED)
			assert_string_equal(found.at[0].waived_by, "alice");
		findings_release(&found);
		world_release(&world);
	}
}

static void a_gate_document_names_what_blocks(void **state)
{
	struct world world;
	struct findings found;
	struct json *json;

	world_make(&world, park_text);
	set_all(&world, OLD, NULL);
	check_gate(world.facts, GATE_FINISH, NULL, NULL, 0, &found);
	json = findings_json(&found);
	assert_string_equal(json_get_text(json, "gate"), "finish");
	assert_false(json_get_bool(json, "open"));
	assert_int_equal(json_count(json_get(json, "blocking")), 1);
	assert_string_equal(json_text(json_at(json_get(json, "blocking"), 0)),
			    "mx-not-old");
	assert_int_equal(json_count(json_get(json, "findings")), found.count);
	json_free(json);
	findings_release(&found);
	world_release(&world);
}

static void gate_names_go_there_and_back(void **state)
{
	static const char *const names[] = { "plan",   "start", "detach",
					     "finish", "close", "rollback" };
	enum gate gate = GATE_PLAN;

	for (size_t i = 0; i < COUNT(names); i++) {
		assert_true(gate_parse(names[i], &gate));
		assert_int_equal(gate, BIT(i));
		assert_string_equal(gate_name(gate), names[i]);
	}
	assert_false(gate_parse("watched", &gate));
}

/* The timeline. */

static const struct json *step_confirmed_by(const struct json *steps,
					    const char *check)
{
	for (const struct json *it = json_first(steps); it; it = json_next(it))
		if (strcmp(json_get_text(it, "confirm"), check) == 0)
			return it;
	fail_msg("no step is confirmed by %s", check);
	return NULL;
}

static const char *first_record(const struct json *step)
{
	return json_text(json_at(json_get(step, "records"), 0));
}

static void a_park_timeline_waits_for_the_horizon_before_detaching(void **state)
{
	struct world world;
	struct json *steps;
	const struct json *detach;
	int64_t start_ms, detach_ms;
	size_t final = 0;

	world_make(&world, park_text);
	ttl_day(&world);
	steps = timeline_json(world.facts);
	assert_string_equal(
		first_record(step_confirmed_by(steps, "ttl-lowered")),
		"acme.example. 300 IN MX 10 " OLD ".");
	assert_string_equal(first_record(step_confirmed_by(steps, "parked")),
			    "acme.example. 300 IN MX 20 " QUEUE ".");
	assert_string_equal(first_record(step_confirmed_by(steps, "mx-final")),
			    "acme.example. 300 IN MX 0 " NEW ".");
	detach = step_confirmed_by(steps, "detach-safe");
	assert_true(json_get_bool(detach, "no_return"));
	for (const struct json *it = json_first(steps); it; it = json_next(it))
		final += json_get_bool(it, "no_return");
	assert_int_equal(final, 1);
	assert_int_equal(
		clock_parse(slice(json_get_text(
				    step_confirmed_by(steps, "no-open-relay"),
				    "earliest")),
			    &start_ms, NULL),
		0);
	assert_int_equal(clock_parse(slice(json_get_text(detach, "earliest")),
				     &detach_ms, NULL),
			 0);
	assert_int_equal(start_ms, NOW_MS + 24 * HOUR_MS);
	assert_int_equal(detach_ms, start_ms + 24 * HOUR_MS + 60000);
	json_free(steps);
	world_release(&world);
}

static void a_coexistence_timeline_changes_the_mx_before_finish(void **state)
{
	struct world world;
	struct json *steps;
	const struct json *flip, *finish;

	world_make(&world, standby_text);
	mx_old(&world);
	steps = timeline_json(world.facts);
	flip = step_confirmed_by(steps, "mx-not-old");
	finish = step_confirmed_by(steps, "rcpt-probe");
	assert_true(json_get_number(flip, "step", 0) <
		    json_get_number(finish, "step", 0));
	assert_string_equal(first_record(flip),
			    "acme.example. 300 IN MX 0 " NEW ".");
	assert_string_equal(json_text(json_at(json_get(flip, "records"), 1)),
			    "acme.example. 300 IN MX 20 " QUEUE ".");
	json_free(steps);
	world_release(&world);
}

static void a_plain_timeline_adds_the_queue_behind_the_primary(void **state)
{
	struct world world;
	struct json *steps;

	world_make(&world, plain_text);
	mx_old(&world);
	steps = timeline_json(world.facts);
	assert_string_equal(
		json_text(
			json_at(json_get(step_confirmed_by(steps, "mx-sanity"),
					 "records"),
				1)),
		"acme.example. 300 IN MX 20 " QUEUE ".");
	json_free(steps);
	world_release(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_check_judges_as_the_catalogue_says),
		cmocka_unit_test(every_built_check_has_its_cases),
		cmocka_unit_test(
			gates_open_when_all_is_well_but_detach_waits_for_a_person),
		cmocka_unit_test(a_public_plan_waits_for_what_nobody_saw),
		cmocka_unit_test(detach_opens_with_the_attested_trace),
		cmocka_unit_test(a_waiver_is_for_one_finding_and_one_day),
		cmocka_unit_test(
			a_waiver_covers_no_sentence_that_was_not_there),
		cmocka_unit_test(a_waived_finding_keeps_its_fingerprint),
		cmocka_unit_test(what_is_attested_was_not_known),
		cmocka_unit_test(a_finding_does_not_change_with_the_time),
		cmocka_unit_test(what_passes_needs_no_waiver),
		cmocka_unit_test(an_attestation_answers_what_was_not_seen),
		cmocka_unit_test(a_gate_document_names_what_blocks),
		cmocka_unit_test(gate_names_go_there_and_back),
		cmocka_unit_test(
			a_park_timeline_waits_for_the_horizon_before_detaching),
		cmocka_unit_test(
			a_coexistence_timeline_changes_the_mx_before_finish),
		cmocka_unit_test(
			a_plain_timeline_adds_the_queue_behind_the_primary),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
