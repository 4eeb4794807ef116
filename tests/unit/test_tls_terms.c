#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/tls.h"
#include "net/tls_terms.h"

/* RFC 7672 section 3.1: what a sender has no use for does not count. */
static void only_records_of_use_are_taken(void **state)
{
	static const char bytes[64];
	static const struct {
		unsigned usage, selector, matching;
		size_t len;
		bool want;
	} cases[] = {
		{ 3, 1, 1, 32, true },	{ 3, 0, 1, 32, true },
		{ 2, 0, 1, 32, true },	{ 3, 1, 2, 64, true },
		{ 0, 0, 1, 32, false }, /* PKIX-TA */
		{ 1, 1, 1, 32, false }, /* PKIX-EE */
		{ 4, 1, 1, 32, false }, { 3, 2, 1, 32, false },
		{ 3, 1, 3, 32, false }, { 3, 1, 1, 31, false },
		{ 3, 1, 2, 32, false }, { 3, 1, 0, 32, false }, /* no key */
		{ 2, 0, 0, 32, false }, { 3, 0, 0, 0, false },
	};
	struct tls_terms *terms = tls_terms_new("TLSA of x");
	size_t taken = 0;

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct slice data = slice_of(bytes, cases[i].len);

		assert_int_equal(tls_terms_add(terms, cases[i].usage,
					       cases[i].selector,
					       cases[i].matching, data),
				 cases[i].want);
		taken += cases[i].want;
		assert_int_equal(terms->tlsa_count, taken);
	}
	tls_terms_free(terms);
}

static void the_evidence_says_what_was_proven_and_for_whom(void **state)
{
	struct tls_terms *terms = tls_terms_new("MTA-STS of acme.example");
	struct tls_info info = { .active = true,
				 .version = "TLSv1.3",
				 .cipher = "TLS_AES_128_GCM_SHA256",
				 .verdict = "self-signed certificate" };
	char text[400];

	tls_terms_describe(NULL, &info, text, sizeof(text));
	assert_string_equal(text, "TLSv1.3 TLS_AES_128_GCM_SHA256, not "
				  "verified: self-signed certificate");
	info.proof = TLS_PROOF_PKIX;
	strcpy(info.name, "mx.example");
	strcpy(info.sni, "mx.example");
	tls_terms_describe(terms, &info, text, sizeof(text));
	assert_string_equal(text,
			    "TLSv1.3 TLS_AES_128_GCM_SHA256, verified by pkix "
			    "as mx.example, SNI mx.example; demanded by "
			    "MTA-STS of acme.example");
	tls_terms_free(terms);
}

/* A session that was opened for another domain carries what it has proven. */
static void a_session_meets_what_it_has_proven(void **state)
{
	enum {
		ANY,
		TLS,
		VERIFIED,
		TLSA
	};
	static const struct {
		int demand;
		bool active;
		enum tls_proof proof;
		bool want;
	} cases[] = {
		{ ANY, false, TLS_PROOF_NONE, true },
		{ ANY, true, TLS_PROOF_NONE, true },
		{ TLS, false, TLS_PROOF_NONE, false },
		{ TLS, true, TLS_PROOF_NONE, true },
		{ VERIFIED, false, TLS_PROOF_NONE, false },
		{ VERIFIED, true, TLS_PROOF_NONE, false },
		{ VERIFIED, true, TLS_PROOF_PKIX, true },
		{ VERIFIED, true, TLS_PROOF_DANE_EE, true },
		{ TLSA, false, TLS_PROOF_NONE, false },
		{ TLSA, true, TLS_PROOF_NONE, false },
		{ TLSA, true, TLS_PROOF_PKIX, false },
		{ TLSA, true, TLS_PROOF_DANE_EE, true },
		{ TLSA, true, TLS_PROOF_DANE_TA, true },
	};
	static const char digest[32];

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct tls_info info = { .active = cases[i].active,
					 .proof = cases[i].proof };
		struct tls_terms *terms = tls_terms_new("x");

		terms->verified = cases[i].demand == VERIFIED;
		if (cases[i].demand == TLSA)
			tls_terms_add(terms, TLSA_DANE_EE, 1, 1,
				      slice_of(digest, sizeof(digest)));
		assert_int_equal(tls_terms_met(cases[i].demand == ANY ? NULL :
									terms,
					       &info),
				 cases[i].want);
		tls_terms_free(terms);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_records_of_use_are_taken),
		cmocka_unit_test(
			the_evidence_says_what_was_proven_and_for_whom),
		cmocka_unit_test(a_session_meets_what_it_has_proven),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
