#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "dns/dns_idn.h"

static const struct {
	const char *in, *out;
} accepted[] = {
	{ "Acme.Example.", "acme.example" },
	{ "b\xc3\xbc"
	  "cher.example",
	  "xn--bcher-kva.example" },
	/* Capitals, and u with a combining diaeresis. */
	{ "B\xc3\x9c"
	  "CHER.Example",
	  "xn--bcher-kva.example" },
	{ "bu\xcc\x88"
	  "cher.example",
	  "xn--bcher-kva.example" },
	/* Kept since IDNA2008: not "ss". */
	{ "stra\xc3\x9f"
	  "e.example",
	  "xn--strae-oqa.example" },
	{ "xn--bcher-kva.example", "xn--bcher-kva.example" },
	/* An ideographic full stop parts labels (UTS 46). */
	{ "\xe4\xbe\x8b\xe3\x80\x82"
	  "example",
	  "xn--fsq.example" },
};

static void a_name_as_typed_becomes_what_dns_has(void **state)
{
	for (size_t i = 0; i < COUNT(accepted); i++) {
		struct err err = ERR_INIT;
		char out[DNS_NAME];

		if (dns_idn_alabels(accepted[i].in, out, &err) < 0)
			fail_msg("%s: %s", accepted[i].in, err.text);
		assert_string_equal(out, accepted[i].out);
	}
}

static const char *const rejected[] = {
	"",
	"a..b",
	"a b.example",
	"b\xc3.example",	/* no UTF-8 */
	"\xe2\x98\xba.example", /* a symbol: no letter of IDNA2008 */
	"a\xc3\xbc_.example",
};

static void what_no_registry_takes_is_refused(void **state)
{
	for (size_t i = 0; i < COUNT(rejected); i++) {
		struct err err = ERR_INIT;
		char out[DNS_NAME];

		if (dns_idn_alabels(rejected[i], out, &err) == 0)
			fail_msg("'%s' became %s", rejected[i], out);
		assert_non_null(strstr(err.text, "is no domain"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_as_typed_becomes_what_dns_has),
		cmocka_unit_test(what_no_registry_takes_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
