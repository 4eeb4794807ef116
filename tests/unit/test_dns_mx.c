#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "dns/dns_mx.h"
#include "lab/lab_dns.h"
#include "lab/lab_resolver.h"

#include <stdio.h>
#include <stdlib.h>

#define ZONES                                          \
	"acme.example 300 SOA ns1.acme.example 7 60\n" \
	"acme.example 300 NS ns1.acme.example\n"       \
	"acme.example 300 MX 20 mx2.old.example\n"     \
	"acme.example 120 MX 10 mx1.acme.example\n"    \
	"ns1.acme.example 300 A 127.0.0.1\n"           \
	"mx1.acme.example 300 A 192.0.2.1\n"           \
	"mx1.acme.example 300 AAAA 2001:db8::1\n"      \
	"alias.acme.example 300 CNAME acme.example\n"  \
	"below.acme.example 300 TXT no mail here\n"    \
	"null.acme.example 300 MX 0 .\n"               \
	"old.example 300 SOA ns1.acme.example 1 60\n"  \
	"mx2.old.example 300 CNAME real.old.example\n" \
	"real.old.example 300 A 192.0.2.2\n"           \
	"example.net 300 SOA ns1.acme.example 1 60\n"  \
	"hold.example.net 300 A 192.0.2.3\n"

/* An authority and a resolver before it, on a real loop. */
struct world {
	struct loop *loop;
	struct loop_timer *guard;
	struct lab_dns *authority;
	struct lab_resolver *resolver;
	char at_authority[ADDR_TEXT], at_resolver[ADDR_TEXT];
	struct dns_domain *domains; /* of the last survey */
	size_t count, runs;
};

static void gave_up(void *ctx)
{
	fail_msg("the loop ran for a minute");
}

static void world_make(struct world *world, const char *zones)
{
	struct err err = ERR_INIT;
	struct addr any;

	*world = (struct world){ .loop = loop_new(&err) };
	assert_non_null(world->loop);
	world->guard = loop_timer_new(world->loop, gave_up, NULL);
	loop_timer_arm(world->guard, 60000);
	assert_int_equal(addr_from_ip(slice("127.0.0.1"), 0, &any, &err), 0);
	world->authority = lab_dns_new(world->loop, &any, &err);
	assert_non_null(world->authority);
	if (lab_dns_add(world->authority, zones, &err) < 0)
		fail_msg("%s", err.text);
	world->resolver = lab_resolver_new(
		world->loop, &any, lab_dns_addr(world->authority), 0, &err);
	assert_non_null(world->resolver);
	addr_format(lab_dns_addr(world->authority), world->at_authority);
	addr_format(lab_resolver_addr(world->resolver), world->at_resolver);
}

static void forget(struct world *world)
{
	for (size_t i = 0; i < world->count; i++)
		dns_domain_release(&world->domains[i]);
	free(world->domains);
	world->domains = NULL;
	world->count = 0;
}

static void world_end(struct world *world)
{
	forget(world);
	lab_resolver_free(world->resolver);
	lab_dns_free(world->authority);
	loop_timer_free(world->guard);
	loop_free(world->loop);
}

static void surveyed(void *ctx, const struct dns_domain *domains, size_t count)
{
	struct world *world = ctx;

	forget(world);
	world->domains = mem_alloc((count + 1) * sizeof(*world->domains));
	world->count = count;
	for (size_t i = 0; i < count; i++)
		dns_domain_copy(&world->domains[i], &domains[i]);
	world->runs++;
	loop_stop(world->loop);
}

static const struct dns_domain *survey_plan(struct world *world,
					    const struct dns_survey_plan *plan)
{
	size_t runs = world->runs;
	struct err err = ERR_INIT;

	if (!dns_survey_start(world->loop, plan, surveyed, world, &err))
		fail_msg("%s", err.text);
	assert_int_equal(world->runs, runs);
	loop_run(world->loop);
	assert_int_equal(world->runs, runs + 1);
	return world->domains;
}

static const struct dns_domain *survey(struct world *world, const char *domain)
{
	const char *resolver = world->at_resolver;
	const char *authority = world->at_authority;

	return survey_plan(world, &(struct dns_survey_plan){
					  .domains = &domain,
					  .domain_count = 1,
					  .resolvers = &resolver,
					  .resolver_count = 1,
					  .authorities = &authority,
					  .authority_count = 1,
					  .queue_host = "Hold.Example.Net.",
				  });
}

static const struct dns_host *host_of(const struct dns_domain *domain,
				      const char *name)
{
	for (size_t i = 0; i < domain->host_count; i++)
		if (strcmp(domain->hosts[i].name, name) == 0)
			return &domain->hosts[i];
	fail_msg("%s is not among the hosts", name);
	return NULL;
}

static void assert_set(const struct dns_mx_set *set, const char *want)
{
	struct buf text = BUF_INIT;

	dns_mx_set_text(set, &text);
	assert_string_equal(buf_text(&text), want);
	buf_release(&text);
}

static void authority_and_resolver_both_show_the_set(void **state)
{
	const struct dns_domain *domain;
	const struct dns_vantage *at;
	struct world world;

	world_make(&world, ZONES);
	domain = survey(&world, "ACME.example");
	assert_string_equal(domain->name, "acme.example");
	assert_string_equal(domain->error, "");
	assert_int_equal(domain->vantage_count, 2);
	at = &domain->vantages[0];
	assert_true(at->authority);
	assert_true(at->aa);
	assert_string_equal(at->address, world.at_authority);
	assert_string_equal(at->error, "");
	assert_true(at->has_serial);
	assert_int_equal(at->serial, 7);
	assert_int_equal(at->soa_minimum, 60);
	assert_int_equal(at->mx.ttl, 120);
	assert_set(&at->mx, "10 mx1.acme.example, 20 mx2.old.example");
	at = &domain->vantages[1];
	assert_false(at->authority);
	assert_false(at->aa);
	assert_string_equal(at->name, "resolver");
	assert_string_equal(at->error, "");
	assert_set(&at->mx, "10 mx1.acme.example, 20 mx2.old.example");
	world_end(&world);
}

static void hosts_are_named_with_addresses_and_aliases(void **state)
{
	const struct dns_domain *domain;
	const struct dns_host *host;
	struct world world;

	world_make(&world, ZONES);
	domain = survey(&world, "acme.example");
	assert_int_equal(domain->host_count, 3);
	host = host_of(domain, "mx1.acme.example");
	assert_true(host->asked);
	assert_false(host->cname);
	assert_int_equal(host->addresses, 2);
	assert_string_equal(host->error, "");
	host = host_of(domain, "mx2.old.example");
	assert_true(host->cname);
	assert_int_equal(host->addresses, 1);
	host = host_of(domain, "hold.example.net");
	assert_true(host->asked);
	assert_string_equal(host->first, "192.0.2.3");
	world_end(&world);
}

static void host_that_does_not_exist_is_asked_and_has_none(void **state)
{
	static const char *const value[] = { "10 gone.acme.example" };
	const struct dns_host *host;
	struct world world;

	world_make(&world, ZONES);
	lab_dns_set(world.authority, "acme.example", DNS_MX, 300, value, 1,
		    NULL);
	host = host_of(survey(&world, "acme.example"), "gone.acme.example");
	assert_true(host->asked);
	assert_int_equal(host->addresses, 0);
	assert_string_equal(host->error, "NXDOMAIN");
	world_end(&world);
}

/* What an authority says, in one line a case. */
static const struct {
	const char *domain;
	enum lab_dns_mood mood;
	const char *error, *set;
	unsigned rcode;
} answers[] = {
	{ "acme.example", LAB_DNS_SERVFAIL, "SERVFAIL", "none", DNS_SERVFAIL },
	{ "acme.example", LAB_DNS_REFUSED, "REFUSED", "none", DNS_REFUSED },
	{ "acme.example", LAB_DNS_LAME, "not authoritative (lame)", "none",
	  DNS_NOERROR },
	{ "gone.acme.example", LAB_DNS_WELL,
	  "NXDOMAIN: gone.acme.example does not exist", "none", DNS_NXDOMAIN },
	{ "below.acme.example", LAB_DNS_WELL, "", "none", DNS_NOERROR },
	{ "null.acme.example", LAB_DNS_WELL, "", "0 .", DNS_NOERROR },
	{ "alias.acme.example", LAB_DNS_WELL, "CNAME at alias.acme.example",
	  "none", DNS_NOERROR },
	{ "other.example", LAB_DNS_WELL, "REFUSED", "none", DNS_REFUSED },
};

static void authority_is_believed_only_where_it_answers(void **state)
{
	for (size_t i = 0; i < COUNT(answers); i++) {
		const struct dns_vantage *at;
		struct world world;

		world_make(&world, ZONES);
		lab_dns_set_mood(world.authority, answers[i].mood);
		at = survey(&world, answers[i].domain)->vantages;
		assert_string_equal(at->error, answers[i].error);
		assert_int_equal(at->rcode, answers[i].rcode);
		assert_set(&at->mx, answers[i].set);
		world_end(&world);
	}
}

static void soa_of_the_zone_above_gives_the_serial(void **state)
{
	const struct dns_vantage *at;
	struct world world;

	world_make(&world, ZONES);
	at = survey(&world, "null.acme.example")->vantages;
	assert_true(at->has_serial);
	assert_int_equal(at->serial, 7);
	world_end(&world);
}

static void no_negative_answer_is_planted_in_a_resolver(void **state)
{
	static const char *const value[] = { "10 hold.example.net" };
	const struct dns_domain *domain;
	struct world world;

	world_make(&world, ZONES);
	domain = survey(&world, "below.acme.example");
	assert_string_equal(domain->vantages[1].error,
			    "not asked: no authority has an MX, and its cache"
			    " would keep that");
	/* Published the next moment, it is seen at once. */
	lab_dns_set(world.authority, "below.acme.example", DNS_MX, 300, value,
		    1, NULL);
	domain = survey(&world, "below.acme.example");
	assert_string_equal(domain->vantages[1].error, "");
	assert_set(&domain->vantages[1].mx, "10 hold.example.net");
	world_end(&world);
}

static void resolver_keeps_the_old_set_for_the_ttl_that_is_left(void **state)
{
	static const char *const value[] = { "20 hold.example.net" };
	const struct dns_domain *domain;
	struct world world;

	world_make(&world, ZONES);
	survey(&world, "acme.example");
	assert_int_equal(lab_dns_set(world.authority, "acme.example", DNS_MX,
				     60, value, 1, NULL),
			 0);
	domain = survey(&world, "acme.example");
	assert_int_equal(domain->vantages[0].serial, 8);
	assert_set(&domain->vantages[0].mx, "20 hold.example.net");
	assert_int_equal(domain->vantages[0].mx.ttl, 60);
	assert_true(
		dns_mx_set_has(&domain->vantages[1].mx, "mx1.acme.example"));
	assert_in_range(domain->vantages[1].mx.ttl, 110, 120);
	lab_resolver_flush(world.resolver);
	domain = survey(&world, "acme.example");
	assert_set(&domain->vantages[1].mx, "20 hold.example.net");
	world_end(&world);
}

static void
silent_authority_is_a_timeout_and_the_resolver_still_asked(void **state)
{
	const struct dns_domain *domain;
	struct world world;

	world_make(&world, ZONES);
	survey(&world, "acme.example"); /* the resolver knows it now */
	lab_dns_set_mood(world.authority, LAB_DNS_SILENT);
	domain = survey(&world, "acme.example");
	assert_string_equal(domain->vantages[0].error, "timeout");
	assert_false(domain->vantages[0].has_serial);
	assert_string_equal(domain->vantages[1].error, "");
	assert_int_equal(domain->vantages[1].mx.count, 2);
	world_end(&world);
}

static void server_that_knows_no_opt_is_asked_without(void **state)
{
	const struct dns_domain *domain;
	struct world world;

	world_make(&world, ZONES);
	lab_dns_set_mood(world.authority, LAB_DNS_OLD);
	domain = survey(&world, "acme.example");
	assert_string_equal(domain->vantages[0].error, "");
	assert_int_equal(domain->vantages[0].mx.count, 2);
	world_end(&world);
}

static void stubborn_resolver_shows_more_than_the_ttl(void **state)
{
	static const char *const before[] = { "10 mx1.acme.example" };
	static const char *const after[] = { "20 hold.example.net" };
	const struct dns_vantage *at;
	struct world world;
	struct addr any;

	world_make(&world, ZONES);
	lab_resolver_free(world.resolver);
	assert_int_equal(addr_from_ip(slice("127.0.0.1"), 0, &any, NULL), 0);
	world.resolver = lab_resolver_new(
		world.loop, &any, lab_dns_addr(world.authority), 600000, NULL);
	addr_format(lab_resolver_addr(world.resolver), world.at_resolver);
	lab_dns_set(world.authority, "acme.example", DNS_MX, 0, before, 1,
		    NULL);
	survey(&world, "acme.example");
	lab_dns_set(world.authority, "acme.example", DNS_MX, 0, after, 1, NULL);
	at = &survey(&world, "acme.example")->vantages[1];
	assert_set(&at->mx, "10 mx1.acme.example");
	assert_in_range(at->mx.ttl, 590, 600);
	assert_true(lab_resolver_hits(world.resolver) > 0);
	world_end(&world);
}

static void closed_port_is_refused(void **state)
{
	const struct dns_domain *domain;
	struct world world;

	world_make(&world, ZONES);
	lab_dns_free(world.authority);
	world.authority = NULL;
	domain = survey(&world, "acme.example");
	assert_string_equal(domain->vantages[0].error, "refused");
	world_end(&world);
}

static void answer_too_large_for_udp_comes_over_tcp(void **state)
{
	/* 15 hosts of 115 bytes are more than the 1232 that we take. */
	static const char label[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
	const struct dns_domain *domain;
	struct world world;
	struct buf lines = BUF_INIT;

	for (int i = 0; i < 15; i++)
		buf_addf(&lines,
			 "big.acme.example 300 MX %d "
			 "m%02d.%s.%s.acme.example\n",
			 i, i, label, label);
	world_make(&world, ZONES);
	assert_int_equal(lab_dns_add(world.authority, buf_text(&lines), NULL),
			 0);
	domain = survey(&world, "big.acme.example");
	for (size_t i = 0; i < 2; i++) {
		assert_string_equal(domain->vantages[i].error, "");
		assert_int_equal(domain->vantages[i].mx.count, 15);
	}
	lab_dns_add(world.authority,
		    "big.acme.example 300 MX 98 a.example\n"
		    "big.acme.example 300 MX 99 b.example\n",
		    NULL);
	domain = survey(&world, "big.acme.example");
	assert_string_equal(domain->vantages[0].error, "more than 16 MX");
	buf_release(&lines);
	world_end(&world);
}

/*
 * Without the override the authorities are found through the resolver.  They
 * are asked at port 53, where nobody listens on this loopback address.
 */
#define FOUND                                            \
	"acme.example 300 SOA ns1.acme.example 7 60\n"   \
	"acme.example 300 NS ns1.acme.example\n"         \
	"acme.example 300 NS ns2.acme.example\n"         \
	"mail.acme.example 300 MX 10 mx1.acme.example\n" \
	"ns1.acme.example 300 A 127.83.7.1\n"            \
	"mx1.acme.example 300 A 192.0.2.1\n"

static void authorities_are_found_up_to_the_zone_cut(void **state)
{
	static const char *const names[] = { "acme.example",
					     "mail.acme.example",
					     "a.b.c.acme.example" };
	struct world world;

	world_make(&world, FOUND);
	for (size_t i = 0; i < COUNT(names); i++) {
		const char *resolver = world.at_resolver;
		const struct dns_domain *domain =
			survey_plan(&world, &(struct dns_survey_plan){
						    .domains = &names[i],
						    .domain_count = 1,
						    .resolvers = &resolver,
						    .resolver_count = 1,
					    });

		assert_string_equal(domain->error, "");
		assert_int_equal(domain->vantage_count, 3);
		assert_string_equal(domain->vantages[0].name,
				    "ns1.acme.example");
		assert_string_equal(domain->vantages[0].address,
				    "127.83.7.1:53");
		assert_true(domain->vantages[0].authority);
		assert_string_equal(domain->vantages[0].error, "refused");
		assert_string_equal(domain->vantages[1].name,
				    "ns2.acme.example");
		assert_string_equal(domain->vantages[1].error,
				    "no address: NXDOMAIN");
		assert_false(domain->vantages[2].authority);
	}
	world_end(&world);
}

static void authorities_that_cannot_be_found_are_named_why(void **state)
{
	const char *name = "acme.example", *resolver;
	const struct dns_domain *domain;
	struct world world;

	world_make(&world, FOUND);
	resolver = world.at_resolver;
	lab_dns_set_mood(world.authority, LAB_DNS_SERVFAIL);
	domain = survey_plan(&world, &(struct dns_survey_plan){
					     .domains = &name,
					     .domain_count = 1,
					     .resolvers = &resolver,
					     .resolver_count = 1,
				     });
	assert_string_equal(domain->error, "no authority was found: NS of "
					   "acme.example: SERVFAIL");
	assert_int_equal(domain->vantage_count, 1);
	assert_string_equal(domain->vantages[0].error, "SERVFAIL");
	domain = survey_plan(&world, &(struct dns_survey_plan){
					     .domains = &name,
					     .domain_count = 1,
				     });
	assert_string_equal(domain->error,
			    "no resolver to find the authorities with");
	assert_int_equal(domain->vantage_count, 0);
	world_end(&world);
}

static void many_domains_share_what_is_asked_of_hosts(void **state)
{
	enum {
		MANY = 300
	};
	static char texts[MANY][32];
	const char *names[MANY], *authority;
	struct buf lines = BUF_INIT;
	struct world world;

	for (int i = 0; i < MANY; i++) {
		snprintf(texts[i], sizeof(texts[i]), "d%d.example", i);
		names[i] = texts[i];
		buf_addf(&lines,
			 "%s 300 SOA ns.example 1 60\n"
			 "%s 300 MX 10 mx.acme.example\n",
			 names[i], names[i]);
	}
	world_make(&world, ZONES);
	authority = world.at_authority;
	assert_int_equal(lab_dns_add(world.authority, buf_text(&lines), NULL),
			 0);
	survey_plan(&world, &(struct dns_survey_plan){
				    .domains = names,
				    .domain_count = MANY,
				    .authorities = &authority,
				    .authority_count = 1,
			    });
	assert_int_equal(world.count, MANY);
	for (size_t i = 0; i < MANY; i++) {
		assert_string_equal(world.domains[i].name, names[i]);
		assert_string_equal(world.domains[i].vantages[0].error, "");
		assert_string_equal(world.domains[i].hosts[0].error,
				    "NXDOMAIN");
	}
	assert_int_equal(lab_dns_queries(world.authority), MANY * 2 + 2);
	buf_release(&lines);
	world_end(&world);
}

static void cancelled_survey_never_runs_done(void **state)
{
	const char *name = "acme.example";
	struct dns_survey *running;
	struct world world;
	const char *authority;

	world_make(&world, ZONES);
	authority = world.at_authority;
	running = dns_survey_start(world.loop,
				   &(struct dns_survey_plan){
					   .domains = &name,
					   .domain_count = 1,
					   .authorities = &authority,
					   .authority_count = 1,
				   },
				   surveyed, &world, NULL);
	assert_non_null(running);
	dns_survey_cancel(running);
	dns_survey_cancel(NULL);
	survey(&world, name);
	assert_int_equal(world.runs, 1);
	world_end(&world);
}

static void bad_plan_of_a_survey_is_named(void **state)
{
	const char *bad = "not a name", *resolver = "192.0.2.1:x";
	struct err err = ERR_INIT;
	struct world world;

	world_make(&world, ZONES);
	assert_null(dns_survey_start(
		world.loop,
		&(struct dns_survey_plan){ .domains = &bad, .domain_count = 1 },
		surveyed, &world, &err));
	assert_string_equal(err.text, "'not a name' is no DNS name");
	assert_null(dns_survey_start(
		world.loop,
		&(struct dns_survey_plan){ .resolvers = &resolver,
					   .resolver_count = 1 },
		surveyed, &world, &err));
	assert_string_equal(err.text, "resolver: 'x' is not a port");
	world_end(&world);
}

/* Hosts for those who connect to them. */

struct resolved {
	struct loop *loop;
	size_t count;
	char text[256];
};

static void on_resolved(void *ctx, const struct addr *addrs, size_t count,
			const char *why)
{
	struct resolved *resolved = ctx;
	struct buf all = BUF_INIT;
	char text[ADDR_TEXT];

	for (size_t i = 0; i < count; i++)
		buf_addf(&all, "%s%s", i ? " " : "",
			 addr_format(&addrs[i], text));
	resolved->count = count;
	snprintf(resolved->text, sizeof(resolved->text), "%s",
		 count ? buf_text(&all) : why);
	buf_release(&all);
	loop_stop(resolved->loop);
}

static const struct {
	const char *host, *want;
} hosts[] = {
	{ "mx1.acme.example", "192.0.2.1:25 [2001:db8::1]:25" },
	{ "mx2.old.example", "192.0.2.2:25" },
	{ "192.0.2.9", "192.0.2.9:25" },
	{ "2001:db8::9", "[2001:db8::9]:25" },
	{ "gone.acme.example", "NXDOMAIN" },
	{ "acme.example", "no address" },
	{ "a b", "not a DNS name" },
	{ "", "not a DNS name" },
};

static void host_becomes_addresses_or_a_reason(void **state)
{
	struct dns_resolver *resolver;
	struct world world;

	world_make(&world, ZONES);
	resolver = dns_resolver_new(world.loop,
				    lab_resolver_addr(world.resolver), NULL);
	assert_non_null(resolver);
	for (size_t i = 0; i < COUNT(hosts); i++) {
		struct resolved resolved = { .loop = world.loop };

		dns_resolve_host(resolver, hosts[i].host, 25, on_resolved,
				 &resolved);
		assert_string_equal(resolved.text, "");
		loop_run(world.loop);
		assert_string_equal(resolved.text, hosts[i].want);
	}
	dns_resolver_free(resolver);
	world_end(&world);
}

struct freeing {
	struct loop *loop;
	struct dns_resolver *resolver;
	size_t answers;
};

static void free_on_answer(void *ctx, const struct dns_answer *answer,
			   const char *why)
{
	struct freeing *freeing = ctx;

	freeing->answers++;
	assert_non_null(answer);
	dns_resolver_free(freeing->resolver);
	assert_int_equal(answer->rcode, DNS_NOERROR);
	loop_stop(freeing->loop);
}

static void resolver_may_be_freed_by_an_answer(void **state)
{
	struct freeing freeing = { 0 };
	struct world world;

	world_make(&world, ZONES);
	freeing.loop = world.loop;
	freeing.resolver = dns_resolver_new(
		world.loop, lab_dns_addr(world.authority), NULL);
	for (int i = 0; i < 5; i++)
		dns_resolver_ask(freeing.resolver, "acme.example", DNS_MX,
				 false, free_on_answer, &freeing);
	loop_run(world.loop);
	assert_int_equal(freeing.answers, 1);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(authority_and_resolver_both_show_the_set),
		cmocka_unit_test(hosts_are_named_with_addresses_and_aliases),
		cmocka_unit_test(
			host_that_does_not_exist_is_asked_and_has_none),
		cmocka_unit_test(authority_is_believed_only_where_it_answers),
		cmocka_unit_test(soa_of_the_zone_above_gives_the_serial),
		cmocka_unit_test(no_negative_answer_is_planted_in_a_resolver),
		cmocka_unit_test(
			resolver_keeps_the_old_set_for_the_ttl_that_is_left),
		cmocka_unit_test(
			silent_authority_is_a_timeout_and_the_resolver_still_asked),
		cmocka_unit_test(server_that_knows_no_opt_is_asked_without),
		cmocka_unit_test(stubborn_resolver_shows_more_than_the_ttl),
		cmocka_unit_test(closed_port_is_refused),
		cmocka_unit_test(answer_too_large_for_udp_comes_over_tcp),
		cmocka_unit_test(authorities_are_found_up_to_the_zone_cut),
		cmocka_unit_test(
			authorities_that_cannot_be_found_are_named_why),
		cmocka_unit_test(many_domains_share_what_is_asked_of_hosts),
		cmocka_unit_test(cancelled_survey_never_runs_done),
		cmocka_unit_test(bad_plan_of_a_survey_is_named),
		cmocka_unit_test(host_becomes_addresses_or_a_reason),
		cmocka_unit_test(resolver_may_be_freed_by_an_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
