#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "mail/mta_sts.h"

#define HEAD "version: STSv1\n"
#define GOOD HEAD "mode: enforce\nmx: mx.example.net\nmax_age: 604800\n"

static const struct {
	const char *text;
	int is;
	const char *says; /* the id, or the error */
} records[] = {
	{ "v=STSv1; id=20160831085700Z;", 1, "20160831085700Z" },
	{ "v=STSv1;id=1", 1, "1" },
	{ "v=STSv1 ; x=y; id=a1 ;", 1, "a1" },
	{ "v=STSv1; id=1; id=2", 1, "1" },
	{ "v=STSv1; id=12345678901234567890123456789012;", 1,
	  "12345678901234567890123456789012" },
	/* Not of MTA-STS: these do not count. */
	{ "", 0, "" },
	{ "v=spf1 -all", 0, "" },
	{ "v=STSv1", 0, "" },
	{ " v=STSv1; id=1", 0, "" },
	{ "v=STSv2; id=1;", 0, "" },
	{ "id=1; v=STSv1;", 0, "" },
	{ "v=STSv1;", -1, "it has no id" },
	{ "v=STSv1; ID=1", -1, "it has no id" },
	{ "v=STSv1; id=", -1, "id is not 1 to 32 letters and digits" },
	{ "v=STSv1; id=a-b", -1, "id is not 1 to 32 letters and digits" },
	{ "v=STSv1; id=\xc3\xa9", -1, "id is not 1 to 32 letters and digits" },
	{ "v=STSv1; id=123456789012345678901234567890123", -1,
	  "id is not 1 to 32 letters and digits" },
};

static void a_record_is_told_from_others_and_has_an_id(void **state)
{
	for (size_t i = 0; i < COUNT(records); i++) {
		char id[MTA_STS_ID] = "";
		struct err err = ERR_INIT;

		assert_int_equal(mta_sts_txt_parse(slice(records[i].text), id,
						   &err),
				 records[i].is);
		assert_string_equal(records[i].is < 0 ? err.text : id,
				    records[i].says);
	}
}

static const struct {
	const char *text;
	enum mta_sts_mode mode;
	int64_t max_age_s;
	size_t mx_count;
} accepted[] = {
	{ GOOD, MTA_STS_ENFORCE, 604800, 1 },
	{ "version: STSv1\r\nmode: testing\r\nmx: *.example.net\r\n"
	  "mx: mx.example.org\r\nmax_age: 1\r\n\r\n",
	  MTA_STS_TESTING, 1, 2 },
	/* Section 3.2: the order is free, the last line needs no end. */
	{ "max_age:31557600\nmx:\tmx.example.net\nmode :enforce\n"
	  "version:STSv1",
	  MTA_STS_ENFORCE, 31557600, 1 },
	{ HEAD "mode: none\nmax_age: 0\n", MTA_STS_NONE, 0, 0 },
	/* Unknown fields are skipped; of two the first counts. */
	{ HEAD "mode: testing\nmode: enforce\nx-y.z_1: any: thing\n"
	       "mx: a.example\nmax_age: 1\nmax_age: x\n",
	  MTA_STS_TESTING, 1, 1 },
};

static void a_policy_says_mode_age_and_hosts(void **state)
{
	for (size_t i = 0; i < COUNT(accepted); i++) {
		struct mta_sts policy = { 0 };
		struct err err = ERR_INIT;

		if (mta_sts_policy_parse(slice(accepted[i].text), &policy,
					 &err) < 0)
			fail_msg("case %zu: %s", i, err.text);
		assert_int_equal(policy.mode, accepted[i].mode);
		assert_int_equal(policy.max_age_s, accepted[i].max_age_s);
		assert_int_equal(policy.mx_count, accepted[i].mx_count);
	}
}

static const struct {
	const char *text, *says;
} refused[] = {
	{ "", "version is missing" },
	{ HEAD "mx: a.example\nmax_age: 1\n", "mode is missing" },
	{ HEAD "mode: enforce\nmx: a.example\n", "max_age is missing" },
	{ HEAD "mode: enforce\nmax_age: 1\n", "it lists no mx" },
	{ "version: STSv2\n", "line 1: version is not STSv1" },
	{ HEAD "mode: Enforce\n",
	  "line 2: mode is not enforce, testing or none" },
	{ HEAD "max_age: 31557601\n",
	  "line 2: max_age is not 0 to 31557600 seconds" },
	{ HEAD "max_age: -1\n",
	  "line 2: max_age is not 0 to 31557600 seconds" },
	{ HEAD "mx: *.*.example\n",
	  "line 2: mx is not a host or *. and a domain" },
	{ HEAD "mx: *\n", "line 2: mx is not a host or *. and a domain" },
	{ HEAD "mx: mx.example.\n",
	  "line 2: mx is not a host or *. and a domain" },
	{ HEAD "mx: \n", "line 2: mx is not a host or *. and a domain" },
	{ HEAD "\nmode: none\n", "line 2: no colon" },
	{ "<html>\n", "line 1: no colon" },
	{ HEAD ": x\n", "line 2: no name of a field before the colon" },
	{ HEAD "mo de: x\n", "line 2: no name of a field before the colon" },
	{ HEAD "x: a\rb\n", "line 2: a control character" },
};

static void a_policy_that_does_not_fit_is_refused(void **state)
{
	for (size_t i = 0; i < COUNT(refused); i++) {
		struct mta_sts policy = { .mx_count = 7 };
		struct err err = ERR_INIT;

		assert_int_equal(mta_sts_policy_parse(slice(refused[i].text),
						      &policy, &err),
				 -1);
		assert_string_equal(err.text, refused[i].says);
		assert_int_equal(policy.mx_count, 7);
	}
}

static void a_policy_has_bounds(void **state)
{
	struct buf text = BUF_INIT;
	struct mta_sts policy;
	struct err err = ERR_INIT;

	buf_adds(&text, HEAD);
	for (int i = 0; i <= MTA_STS_MX_MAX; i++)
		buf_adds(&text, "mx: a.example\n");
	assert_int_equal(mta_sts_policy_parse(buf_slice(&text), &policy, &err),
			 -1);
	assert_string_equal(err.text, "line 66: it lists more than 64 mx");
	while (text.len <= MTA_STS_MAX_BYTES)
		buf_adds(&text, "x: y\n");
	assert_int_equal(mta_sts_policy_parse(buf_slice(&text), &policy, &err),
			 -1);
	assert_non_null(strstr(err.text, "larger than 65536 bytes"));
	buf_release(&text);
}

static const struct {
	const char *host;
	bool listed;
} hosts[] = {
	{ "mx.example.net", true },    { "MX.Example.NET", true },
	{ "a.wild.example", true },    { "wild.example", false },
	{ "a.b.wild.example", false }, { ".wild.example", false },
	{ "a.example.net", false },    { "", false },
};

static void a_star_is_one_label(void **state)
{
	struct mta_sts policy;
	struct err err = ERR_INIT;

	assert_int_equal(
		mta_sts_policy_parse(slice(HEAD "mode: enforce\nmax_age: 1\n"
						"mx: mx.example.net\n"
						"mx: *.Wild.example\n"),
				     &policy, &err),
		0);
	for (size_t i = 0; i < COUNT(hosts); i++)
		if (mta_sts_lists(&policy, hosts[i].host) != hosts[i].listed)
			fail_msg("'%s'", hosts[i].host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_is_told_from_others_and_has_an_id),
		cmocka_unit_test(a_policy_says_mode_age_and_hosts),
		cmocka_unit_test(a_policy_that_does_not_fit_is_refused),
		cmocka_unit_test(a_policy_has_bounds),
		cmocka_unit_test(a_star_is_one_label),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
