#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mail/spf_record.h"

static const struct {
	const char *text;
	int terms;   /* -1: a permanent error */
	int lookups; /* of its own */
} table[] = {
	{ "v=spf1", 0, 0 },
	{ "V=SPF1 -ALL", 1, 0 },
	{ "v=spf1 -all", 1, 0 },
	{ "v=spf1  mx   ~all ", 2, 1 },
	{ "v=spf1 include:_spf.google.com include:spf.protection.outlook.com "
	  "ip4:192.0.2.0/24 ip6:2001:db8::/32 -all",
	  5, 2 },
	{ "v=spf1 a a/24 a:mail.example a:mail.example/24//64 a//64 ?all", 6,
	  5 },
	{ "v=spf1 mx mx:b.example/28 ptr ptr:example.com exists:%{i}.x.example",
	  5, 5 },
	{ "v=spf1 redirect=_spf.example.com", 1, 1 },
	{ "v=spf1 exp=why.%{d} +all x-future=whatever", 3, 0 },
	/* RFC 7208 section 4.6.1: syntax errors anywhere count. */
	{ "v=spf1 -all includes:x", -1, 0 },
	{ "v=spf1 include", -1, 0 },
	{ "v=spf1 include:", -1, 0 },
	{ "v=spf1 all:x", -1, 0 },
	{ "v=spf1 ip4", -1, 0 },
	{ "v=spf1 a:", -1, 0 },
	{ "v=spf1 mx/abc", -1, 0 },
	{ "v=spf1 axe", -1, 0 },
	{ "v=spf1 -redirect=x", -1, 0 },
	{ "v=spf1 192.0.2.1", -1, 0 },
	/* A missing space makes one name of two. */
	{ "v=spf1 include:a.example,include:b.example", 1, 1 },
	{ "v=spf1 a:foo:bar/baz.example.com/24", 1, 1 },
	{ "v=spf1 include:%{l1r+-}._spf.%{d2}", 1, 1 },
	{ "v=spf1 a:100%%.example.com", 1, 1 },
	{ "v=spf1 a:localhost", -1, 0 },
	{ "v=spf1 a:192.0.2.1", -1, 0 },
	{ "v=spf1 a:b.example/33", -1, 0 },
	{ "v=spf1 a:b.example/024", -1, 0 },
	{ "v=spf1 a:b.example//129", -1, 0 },
	{ "v=spf1 ptr/24", -1, 0 },
	{ "v=spf1 exists:%{i}.b.example/24", -1, 0 },
	{ "v=spf1 ip4:192.0.2.0/33", -1, 0 },
	{ "v=spf1 ip4:192.0.2", -1, 0 },
	{ "v=spf1 ip4:192.0.2.1:25", -1, 0 },
	{ "v=spf1 ip6:2001:db8::/129", -1, 0 },
	{ "v=spf1 ip6:192.0.2.1", -1, 0 },
	{ "v=spf1 a:%{a}.b.example", -1, 0 },
	{ "v=spf1 a:%{d0}.b.example", -1, 0 },
	{ "v=spf1 a:%d.b.example", -1, 0 },
	{ "v=spf1 a:b.example%", -1, 0 },
	{ "v=spf1 a:%{d}b-", -1, 0 },
	{ "v=spf1 exp=%{c}.b.example", -1, 0 },
	{ "v=spf1 redirect=a.b redirect=a.b", -1, 0 },
	{ "v=spf1 exp=a.b -all exp=a.b", -1, 0 },
	{ "v=spf1 x=\x01", -1, 0 },
	{ "v=spf1 a:b\xc3\xa9.example", -1, 0 },
};

static void records_are_read_as_rfc_7208_says(void **state)
{
	for (size_t i = 0; i < COUNT(table); i++) {
		struct spf_record record;
		struct err err = ERR_INIT;
		int lookups = 0;
		int result =
			spf_record_parse(slice(table[i].text), &record, &err);

		if (table[i].terms < 0) {
			if (result == 0)
				fail_msg("'%s' is taken", table[i].text);
			continue;
		}
		if (result < 0)
			fail_msg("'%s': %s", table[i].text, err.text);
		for (size_t t = 0; t < record.count; t++)
			lookups += record.terms[t].looks_up;
		if ((int)record.count != table[i].terms ||
		    lookups != table[i].lookups)
			fail_msg("'%s' has %zu terms, %d lookups",
				 table[i].text, record.count, lookups);
	}
}

static void a_record_is_told_from_other_texts(void **state)
{
	assert_true(spf_is_record(slice("v=spf1")));
	assert_true(spf_is_record(slice("v=spf1 -all")));
	assert_true(spf_is_record(slice("v=SPF1 -all")));
	assert_false(spf_is_record(slice("v=spf10 -all")));
	assert_false(spf_is_record(slice("v=spf2.0/pra -all")));
	assert_false(spf_is_record(slice("spf1 -all")));
	assert_false(spf_is_record(slice("")));
}

static void domains_and_macros_are_told(void **state)
{
	struct spf_record record;

	assert_int_equal(
		spf_record_parse(
			slice("v=spf1 a:mail.example/24 include:%{d}.x -all"),
			&record, NULL),
		0);
	assert_true(slice_is(record.terms[0].domain, "mail.example"));
	assert_false(record.terms[0].macro);
	assert_true(record.terms[1].macro);
	assert_true(record.has_all);
	assert_int_equal(record.terms[2].qualifier, '-');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_are_read_as_rfc_7208_says),
		cmocka_unit_test(a_record_is_told_from_other_texts),
		cmocka_unit_test(domains_and_macros_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
