#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "dns/dns_tlsa.h"
#include "dns/dns_unbound.h"
#include "lab/lab_dns.h"
#include <stdio.h>
#include <stdlib.h>

#define HASH "000102030405060708090a0b0c0d0e0f"

static const char zone[] =
	"example 300 SOA ns.example 1 60\n"
	"mx.example 300 A 127.0.0.1\n"
	"_25._tcp.mx.example 40 TLSA 3 1 1 " HASH "\n"
	"_25._tcp.mx.example 40 TLSA 2 0 1 " HASH "\n"
	"alias.example 30 CNAME mx.example\n"
	"bare.example 300 A 127.0.0.1\n"
	"bare-alias.example 300 CNAME bare.example\n"
	"_25._tcp.bare-alias.example 300 TLSA 3 1 1 " HASH "\n";

struct world {
	struct loop *loop;
	struct lab_dns *dns;
	struct dns_validator *validator;
	struct dns_tlsa_ask *ask;
	unsigned told;
	struct dns_tlsa found;
	size_t records;
	char why[256];
};

static int world_make(void **state)
{
	struct world *w = mem_alloc(sizeof(*w));
	struct err err = ERR_INIT;
	struct addr any;

	w->loop = loop_new(&err);
	assert_int_equal(addr_from_ip(slice("127.0.0.1"), 0, &any, &err), 0);
	w->dns = lab_dns_new(w->loop, &any, &err);
	assert_non_null(w->dns);
	assert_int_equal(lab_dns_add(w->dns, zone, &err), 0);
	w->validator =
		dns_validator_new(w->loop, lab_dns_addr(w->dns), 1, &err);
	assert_non_null(w->validator);
	*state = w;
	return 0;
}

static int world_drop(void **state)
{
	struct world *w = *state;

	dns_tlsa_cancel(&w->ask);
	dns_validator_free(w->validator);
	lab_dns_free(w->dns);
	loop_free(w->loop);
	free(w);
	return 0;
}

static void came(void *ctx, const struct dns_tlsa *found)
{
	struct world *w = ctx;

	w->ask = NULL;
	w->told++;
	w->found = *found;
	w->records = found->answer ? found->answer->answer_count : 0;
	snprintf(w->why, sizeof(w->why), "%s", found->why ? found->why : "");
	loop_stop(w->loop);
}

static void find(struct world *w, enum lab_dns_mood mood, const char *host)
{
	lab_dns_set_mood(w->dns, mood);
	w->told = 0;
	w->ask = dns_tlsa_ask(w->validator, host, 25, came, w);
	assert_int_equal(w->told, 0);
	loop_run(w->loop);
	assert_int_equal(w->told, 1);
}

static void only_what_somebody_vouches_for_counts(void **state)
{
	static const struct {
		enum lab_dns_mood mood;
		const char *host;
		enum dns_tlsa_state want;
		const char *base;
		int64_t ttl_s;
	} cases[] = {
		{ LAB_DNS_SECURE, "mx.example", DNS_TLSA_THERE, "mx.example",
		  40 },
		/* RFC 7672 section 2.2.2: the name that it stands for. */
		{ LAB_DNS_SECURE, "alias.example", DNS_TLSA_THERE, "mx.example",
		  30 },
		/* ... and the name itself, if that has none. */
		{ LAB_DNS_SECURE, "bare-alias.example", DNS_TLSA_THERE,
		  "bare-alias.example", 60 },
		{ LAB_DNS_SECURE, "bare.example", DNS_TLSA_NONE, "bare.example",
		  60 },
		{ LAB_DNS_WELL, "mx.example", DNS_TLSA_INSECURE, "mx.example",
		  300 },
		{ LAB_DNS_WELL, "alias.example", DNS_TLSA_INSECURE,
		  "alias.example", 30 },
	};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT(cases); i++) {
		/* A build with libunbound would ask on. */
		if (cases[i].mood == LAB_DNS_WELL && dns_unbound_version())
			continue;
		find(w, cases[i].mood, cases[i].host);
		assert_int_equal(w->found.state, cases[i].want);
		assert_string_equal(w->found.base, cases[i].base);
		assert_int_equal(w->found.ttl_s, cases[i].ttl_s);
		assert_string_equal(w->why, "");
		assert_true((w->records > 0) ==
			    (cases[i].want == DNS_TLSA_THERE));
	}
}

static void no_answer_is_never_an_absence(void **state)
{
	struct world *w = *state;

	find(w, LAB_DNS_BOGUS, "mx.example");
	assert_int_equal(w->found.state, DNS_TLSA_FAILED);
	assert_string_equal(w->why, "SERVFAIL");
	assert_int_equal(w->found.ttl_s, 0);
	find(w, LAB_DNS_REFUSED, "mx.example");
	assert_int_equal(w->found.state, DNS_TLSA_FAILED);
	assert_string_equal(w->why, "REFUSED");
}

static void a_cancelled_ask_is_not_told(void **state)
{
	struct world *w = *state;

	w->ask = dns_tlsa_ask(w->validator, "mx.example", 25, came, w);
	dns_tlsa_cancel(&w->ask);
	assert_null(w->ask);
	find(w, LAB_DNS_SECURE, "mx.example");
}

static void a_resolver_elsewhere_does_not_vouch(void **state)
{
	struct world *w = *state;
	struct err err = ERR_INIT;
	struct addr far;

	if (dns_unbound_version())
		skip();
	assert_int_equal(addr_from_ip(slice("192.0.2.53"), 53, &far, &err), 0);
	assert_null(dns_validator_new(w->loop, &far, 1, &err));
	assert_non_null(strstr(err.text, "on this machine (127.0.0.1)"));
	assert_non_null(strstr(err.text, "UNBOUND=1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			only_what_somebody_vouches_for_counts, world_make,
			world_drop),
		cmocka_unit_test_setup_teardown(no_answer_is_never_an_absence,
						world_make, world_drop),
		cmocka_unit_test_setup_teardown(a_cancelled_ask_is_not_told,
						world_make, world_drop),
		cmocka_unit_test_setup_teardown(
			a_resolver_elsewhere_does_not_vouch, world_make,
			world_drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
