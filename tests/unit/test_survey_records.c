#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cutover/survey_records.h"
#include "cutover/survey_trust.h"
#include "lab/lab_dns.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char plan_text[] =
	"{\"tideover\":1,\"name\":\"t\",\"strategy\":\"standby\","
	"\"domains\":[{\"name\":\"acme.example\"}],"
	"\"old\":{\"provider\":\"workspace\",\"mx\":[\"smtp.google.com\"],"
	"\"deliver_to\":\"smtp.google.com:25\"},"
	"\"new\":{\"provider\":\"m365\","
	"\"mx\":[\"acme-example.k-v1.mx.microsoft\"],"
	"\"deliver_to\":\"acmenew.mail.protection.outlook.com:25\"},"
	"\"queue_mx\":{\"host\":\"%s\",\"priority\":20,"
	"\"listen\":[\"192.0.2.9:25\"]},"
	"\"dns\":{\"resolvers\":[\"192.0.2.1\"],\"ttl\":300,\"old_ttl\":3600},"
	"\"recipients\":{\"policy\":\"any\"}}";

#define SOA(zone) zone " 300 SOA ns." zone " 1 60\n"

/* What the domain's own server has. */
static const char own[] = SOA(
	"acme.example") "acme.example 300 TXT v=spf1 include:a.example include:_s.acme.example "
			"-all\n"
			"_s.acme.example 300 TXT v=spf1 -all\n"
			"selector1._domainkey.acme.example 300 CNAME s1.tenant.example\n"
			"hold.acme.example 300 A 192.0.2.9\n"
			"hold.acme.example 300 CAA 0 issue letsencrypt.org\n"
			"_25._tcp.hold.acme.example 300 TLSA 3 1 1 c0ffee\n"
			"_dmarc.acme.example 300 TXT v=DMARC1; p=none; "
			"rua=mailto:a@reports.example!10m, mailto:b@acme.example,"
			"mailto:c@bare.example\n";
/* And what a resolver gives of the rest of the world. */
static const char others[] = SOA("example") SOA("net") SOA("microsoft") SOA(
	"in-addr.arpa") "a.example 300 TXT v=spf1 include:b.example -all\n"
			"b.example 300 TXT v=spf1 -all\n"
			"s1.tenant.example 300 TXT v=DKIM1; p=a2V5\n"
			"reports.example 300 MX 10 mx.reports.example\n"
			"acme.example._report._dmarc.reports.example 300 TXT v=DMARC1;\n"
			"bare.example 300 A 192.0.2.7\n"
			"acme.example 300 DS 12345 13 2 c0ffee\n"
			"hold.example.net 300 A 192.0.2.9\n"
			"hold.example.net 300 A 192.0.2.10\n"
			"9.2.0.192.in-addr.arpa 300 PTR hold.example.net\n"
			"_25._tcp.acme-example.k-v1.mx.microsoft 300 TLSA 3 1 1 c0ffee\n";

struct world {
	struct loop *loop;
	struct plan *plan;
	struct facts *facts;
	struct lab_dns *authority, *resolver;
	struct dns_desk *desk;
	unsigned done;
};

static void world_make(struct world *w, const char *queue_host)
{
	char *text = mem_printf(plan_text, queue_host);
	struct err err = ERR_INIT;
	struct dns_domain *dns;
	struct addr any;

	*w = (struct world){ .loop = loop_new(&err) };
	assert_int_equal(addr_parse(slice("127.0.0.1:0"), 0, &any, NULL), 0);
	w->plan = plan_parse(slice(text), NULL, &err);
	if (!w->plan)
		fail_msg("%s", err.text);
	free(text);
	w->authority = lab_dns_new(w->loop, &any, &err);
	w->resolver = lab_dns_new(w->loop, &any, &err);
	assert_non_null(w->authority);
	assert_non_null(w->resolver);
	if (lab_dns_add(w->authority, own, &err) < 0 ||
	    lab_dns_add(w->resolver, others, &err) < 0)
		fail_msg("%s", err.text);
	w->facts = facts_new(w->plan);
	w->facts->domains[0].surveyed = true;
	dns = &w->facts->domains[0].dns;
	dns->vantage_count = 1;
	dns->vantages = mem_alloc(sizeof(*dns->vantages));
	dns->vantages[0].authority = true;
	addr_format(lab_dns_addr(w->authority), dns->vantages[0].address);
}

static void world_release(struct world *w)
{
	facts_free(w->facts);
	plan_free(w->plan);
	lab_dns_free(w->authority);
	dns_desk_free(w->desk);
	lab_dns_free(w->resolver);
	loop_free(w->loop);
}

static void on_done(void *ctx)
{
	struct world *w = ctx;

	w->done++;
	loop_stop(w->loop);
}

/* A new survey, that has asked for nothing yet. */
static struct dns_desk *new_desk(struct world *w, const struct addr *resolvers,
				 size_t count)
{
	dns_desk_free(w->desk);
	w->desk = dns_desk_new(w->loop);
	dns_desk_set_resolvers(w->desk, resolvers, count);
	return w->desk;
}

static void ask_records(struct world *w)
{
	survey_records_start(w->loop, w->facts,
			     new_desk(w, lab_dns_addr(w->resolver), 1), on_done,
			     w);
	assert_int_equal(w->done, 0);
	loop_run(w->loop);
	assert_int_equal(w->done, 1);
	w->done = 0;
}

static void ask_trust(struct world *w)
{
	survey_trust_start(w->loop, w->facts,
			   new_desk(w, lab_dns_addr(w->resolver), 1),
			   lab_dns_addr(w->resolver), 1, on_done, w);
	assert_int_equal(w->done, 0);
	loop_run(w->loop);
	assert_int_equal(w->done, 1);
	w->done = 0;
}

/* Asked, of whom, and how many of that type came. */
static void expect(const struct world *w, const char *name, unsigned type,
		   const char *of, size_t count)
{
	const struct record_answer *answer =
		records_get(w->facts->records, name, type);
	size_t found = 0;

	if (!answer)
		fail_msg("%s %s was not asked", name, dns_type_name(type));
	if (!strstr(answer->from, of))
		fail_msg("%s %s was asked of %s", name, dns_type_name(type),
			 answer->from);
	if (!answer->answered)
		fail_msg("%s %s: %s", name, dns_type_name(type), answer->error);
	assert_true(answer->asked_ms > 0);
	while (record_of(answer, type, found))
		found++;
	if (found != count)
		fail_msg("%s %s: %zu came", name, dns_type_name(type), found);
}

static void
own_names_are_asked_of_an_authority_and_others_of_a_resolver(void **state)
{
	struct world w;

	world_make(&w, "hold.example.net");
	ask_records(&w);
	expect(&w, "acme.example", DNS_TXT, "(authority)", 1);
	expect(&w, "_s.acme.example", DNS_TXT, "(authority)", 1);
	expect(&w, "_dmarc.acme.example", DNS_TXT, "(authority)", 1);
	/* Whom it reports to. */
	expect(&w, "reports.example", DNS_MX, "(resolver)", 1);
	expect(&w, "acme.example._report._dmarc.reports.example", DNS_TXT,
	       "(resolver)", 1);
	expect(&w, "acme.example", DNS_MX, "(authority)", 0);
	expect(&w, "bare.example", DNS_MX, "(resolver)", 0);
	expect(&w, "bare.example", DNS_A, "(resolver)", 1);
	assert_null(records_get(w.facts->records, "reports.example", DNS_A));
	expect(&w, "autodiscover.acme.example", DNS_CNAME, "(authority)", 0);
	expect(&w, "_autodiscover._tcp.acme.example", DNS_SRV, "(authority)",
	       0);
	expect(&w, "mta-sts.acme.example", DNS_CAA, "(authority)", 0);
	expect(&w, "acme.example", DNS_CAA, "(authority)", 0);
	/* Called, and called by what is called. */
	expect(&w, "a.example", DNS_TXT, "(resolver)", 1);
	expect(&w, "b.example", DNS_TXT, "(resolver)", 1);
	expect(&w, "s1.tenant.example", DNS_TXT, "(resolver)", 1);
	expect(&w, "example", DNS_CAA, "(resolver)", 0);
	expect(&w, "_25._tcp.acme-example.k-v1.mx.microsoft", DNS_TLSA,
	       "(resolver)", 1);
	world_release(&w);
}

static void
the_queue_host_is_asked_for_with_its_reverse_and_upwards(void **state)
{
	struct world w;

	world_make(&w, "hold.example.net");
	ask_records(&w);
	expect(&w, "hold.example.net", DNS_A, "(resolver)", 2);
	expect(&w, "hold.example.net", DNS_AAAA, "(resolver)", 0);
	expect(&w, "9.2.0.192.in-addr.arpa", DNS_PTR, "(resolver)", 1);
	expect(&w, "10.2.0.192.in-addr.arpa", DNS_PTR, "(resolver)", 0);
	expect(&w, "hold.example.net", DNS_CAA, "(resolver)", 0);
	expect(&w, "example.net", DNS_CAA, "(resolver)", 0);
	expect(&w, "net", DNS_CAA, "(resolver)", 0);
	ask_trust(&w);
	expect(&w, "_25._tcp.hold.example.net", DNS_TLSA, "(resolver)", 0);
	world_release(&w);
}

static void
a_queue_host_in_the_moving_domain_is_asked_of_its_authority(void **state)
{
	struct world w;

	world_make(&w, "hold.acme.example");
	ask_records(&w);
	ask_trust(&w);
	expect(&w, "hold.acme.example", DNS_A, "(authority)", 1);
	expect(&w, "hold.acme.example", DNS_CAA, "(authority)", 1);
	expect(&w, "_25._tcp.hold.acme.example", DNS_TLSA, "(authority)", 1);
	/* The parent's, which the domain's own server does not have. */
	expect(&w, "acme.example", DNS_DS, "(resolver)", 1);
	world_release(&w);
}

static void a_record_of_many_includes_is_asked_for_within_bounds(void **state)
{
	struct buf text = BUF_INIT;
	const char *value;
	struct world w;
	struct json *all;

	buf_adds(&text, "v=spf1");
	for (int i = 0; i < 200; i++)
		buf_addf(&text, " include:n%d.example", i);
	world_make(&w, "hold.example.net");
	value = buf_text(&text);
	assert_int_equal(lab_dns_set(w.authority, "acme.example", DNS_TXT, 300,
				     &value, 1, NULL),
			 0);
	ask_records(&w);
	all = records_json(w.facts->records);
	assert_true(json_count(all) <= 60);
	assert_true(json_count(all) > 50);
	json_free(all);
	buf_release(&text);
	world_release(&w);
}

/* DNSSEC, as one resolver and one authority have it. */

static const struct facts_signed *first_said(const struct world *w)
{
	return &w->facts->domains[0].dnssec[0];
}

static void
a_zone_is_asked_for_checked_and_where_that_fails_unchecked(void **state)
{
	struct world w;

	world_make(&w, "hold.example.net");
	assert_int_equal(lab_dns_add(w.resolver, SOA("acme.example"), NULL), 0);
	lab_dns_set_mood(w.resolver, LAB_DNS_SECURE);
	ask_trust(&w);
	assert_int_equal(w.facts->domains[0].dnssec_count, 3);
	assert_string_equal(first_said(&w)->error, "");
	assert_true(first_said(&w)->ad);
	assert_false(first_said(&w)->unchecked);
	lab_dns_set_mood(w.resolver, LAB_DNS_BOGUS);
	ask_trust(&w);
	assert_int_equal(first_said(&w)->rcode, DNS_SERVFAIL);
	assert_false(first_said(&w)->ad);
	assert_true(first_said(&w)->unchecked);
	/* Ill either way: not the signatures' fault. */
	lab_dns_set_mood(w.resolver, LAB_DNS_SERVFAIL);
	ask_trust(&w);
	assert_int_equal(first_said(&w)->rcode, DNS_SERVFAIL);
	assert_false(first_said(&w)->unchecked);
	lab_dns_set_mood(w.resolver, LAB_DNS_WELL);
	ask_trust(&w);
	assert_int_equal(first_said(&w)->rcode, DNS_NOERROR);
	assert_false(first_said(&w)->ad);
	world_release(&w);
}

/* The names that were asked for, and of whom. */
static void every_authority_is_asked_for_its_signatures(void **state)
{
	const struct facts_signed *said;
	struct dns_vantage *vantage;
	struct world w;

	world_make(&w, "hold.example.net");
	vantage = &w.facts->domains[0].dns.vantages[0];
	snprintf(vantage->name, sizeof(vantage->name), "ns.acme.example");
	ask_trust(&w);
	said = w.facts->domains[0].dnssec;
	assert_int_equal(said[0].who, SIGNED_RESOLVER);
	assert_int_equal(said[0].type, DNS_SOA);
	for (size_t i = 1; i < 3; i++) {
		assert_int_equal(said[i].who, SIGNED_AUTHORITY);
		assert_string_equal(said[i].error, "");
		assert_non_null(strstr(said[i].of, "ns.acme.example (127"));
		assert_false(said[i].is_signed);
	}
	assert_int_equal(said[1].type, DNS_SOA);
	assert_int_equal(said[2].type, DNS_MX);
	world_release(&w);
}

static void
an_mx_set_that_no_authority_has_is_asked_of_no_resolver(void **state)
{
	struct world w;

	world_make(&w, "hold.example.net");
	w.facts->domains[0].dns.vantages[0].mx.count = 1;
	ask_trust(&w);
	assert_int_equal(w.facts->domains[0].dnssec_count, 4);
	assert_int_equal(w.facts->domains[0].dnssec[1].type, DNS_MX);
	assert_int_equal(w.facts->domains[0].dnssec[1].who, SIGNED_RESOLVER);
	w.facts->domains[0].dns.vantages[0].mx.count = 0;
	ask_trust(&w);
	assert_int_equal(w.facts->domains[0].dnssec_count, 3);
	world_release(&w);
}

/* A domain without a zone of its own has the DS of the zone that it is in. */
static void the_ds_is_asked_for_at_the_zone(void **state)
{
	struct dns_delegation *delegation;
	struct world w;

	world_make(&w, "hold.example.net");
	delegation = &w.facts->domains[0].dns.delegation;
	snprintf(delegation->zone, sizeof(delegation->zone), "example");
	assert_int_equal(
		lab_dns_add(w.resolver, "example 300 DS 1 13 2 c0\n", NULL), 0);
	ask_trust(&w);
	expect(&w, "example", DNS_DS, "(resolver)", 1);
	assert_null(records_get(w.facts->records, "acme.example", DNS_DS));
	assert_int_equal(w.facts->domains[0].dnssec_count, 3);
	world_release(&w);
}

static void an_unsigned_zone_costs_one_question(void **state)
{
	struct world w;

	world_make(&w, "hold.acme.example");
	assert_int_equal(lab_dns_set(w.resolver, "acme.example", DNS_DS, 300,
				     NULL, 0, NULL),
			 0);
	ask_trust(&w);
	assert_int_equal(w.facts->domains[0].dnssec_count, 0);
	assert_int_equal(lab_dns_queries(w.resolver), 1);
	world_release(&w);
}

static void a_resolver_that_is_away_leaves_it_to_the_next(void **state)
{
	struct addr resolvers[2];
	struct world w;
	int fd;

	world_make(&w, "hold.example.net");
	/* A port that is closed. */
	assert_int_equal(
		addr_parse(slice("127.0.0.1:0"), 0, &resolvers[0], NULL), 0);
	fd = addr_listen(&resolvers[0], 1, NULL);
	assert_true(fd >= 0);
	assert_int_equal(addr_of_socket(fd, &resolvers[0], NULL), 0);
	close(fd);
	resolvers[1] = *lab_dns_addr(w.resolver);
	survey_trust_start(w.loop, w.facts, new_desk(&w, resolvers, 2),
			   resolvers, 2, on_done, &w);
	loop_run(w.loop);
	assert_int_equal(w.done, 1);
	expect(&w, "acme.example", DNS_DS, "(resolver)", 1);
	expect(&w, "_25._tcp.hold.example.net", DNS_TLSA, "(resolver)", 0);
	assert_int_equal(w.facts->domains[0].dnssec_count, 4);
	assert_string_not_equal(w.facts->domains[0].dnssec[0].error, "");
	assert_string_equal(w.facts->domains[0].dnssec[1].error, "");
	world_release(&w);
}

static void what_was_cancelled_was_not_answered(void **state)
{
	const struct record_answer *answer;
	struct survey_records *records;
	struct survey_trust *trust;
	struct world w;

	world_make(&w, "hold.example.net");
	new_desk(&w, lab_dns_addr(w.resolver), 1);
	records = survey_records_start(w.loop, w.facts, w.desk, on_done, &w);
	trust = survey_trust_start(w.loop, w.facts, w.desk,
				   lab_dns_addr(w.resolver), 1, on_done, &w);
	survey_records_cancel(records);
	survey_trust_cancel(trust);
	survey_records_cancel(NULL);
	survey_trust_cancel(NULL);
	assert_int_equal(w.done, 0);
	answer = records_get(w.facts->records, "acme.example", DNS_DS);
	assert_non_null(answer);
	assert_false(answer->answered);
	assert_string_equal(answer->error, "timeout");
	world_release(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			own_names_are_asked_of_an_authority_and_others_of_a_resolver),
		cmocka_unit_test(
			the_queue_host_is_asked_for_with_its_reverse_and_upwards),
		cmocka_unit_test(
			a_queue_host_in_the_moving_domain_is_asked_of_its_authority),
		cmocka_unit_test(
			a_record_of_many_includes_is_asked_for_within_bounds),
		cmocka_unit_test(
			a_zone_is_asked_for_checked_and_where_that_fails_unchecked),
		cmocka_unit_test(every_authority_is_asked_for_its_signatures),
		cmocka_unit_test(
			an_mx_set_that_no_authority_has_is_asked_of_no_resolver),
		cmocka_unit_test(the_ds_is_asked_for_at_the_zone),
		cmocka_unit_test(an_unsigned_zone_costs_one_question),
		cmocka_unit_test(a_resolver_that_is_away_leaves_it_to_the_next),
		cmocka_unit_test(what_was_cancelled_was_not_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
