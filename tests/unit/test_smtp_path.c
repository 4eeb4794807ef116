#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "smtp/smtp_command.h"
#include "smtp/smtp_param.h"
#include "smtp/smtp_path.h"

#define X10 "xxxxxxxxxx"
#define X60 X10 X10 X10 X10 X10 X10
#define X63 X60 "xxx"
#define X64 X60 "xxxx"

static const struct {
	const char *in, *want;
} accepted[] = {
	{ "<user@example.org>", "user@example.org" },
	{ "<User.Name+tag@Example.ORG>", "User.Name+tag@Example.ORG" },
	{ "<!#$%&'*+-/=?^_`{|}~@a.b>", "!#$%&'*+-/=?^_`{|}~@a.b" },
	{ "<\"a b\"@example.org>", "\"a b\"@example.org" },
	{ "<\"a@b>\\\"c\"@example.org>", "\"a@b>\\\"c\"@example.org" },
	{ "<\"\"@example.org>", "\"\"@example.org" },
	{ "<u@localhost>", "u@localhost" },
	{ "<u@[192.0.2.1]>", "u@[192.0.2.1]" },
	{ "<u@[IPv6:2001:db8::1]>", "u@[IPv6:2001:db8::1]" },
	{ "<u@x-1.3com.example>", "u@x-1.3com.example" },
	{ "<" X64 "@example.org>", X64 "@example.org" },
	{ "<u@" X63 ".org>", "u@" X63 ".org" },
	/* RFC 5321, appendix C: source routes are dropped. */
	{ "<@relay.example:u@example.org>", "u@example.org" },
	{ "<@a.example,@[IPv6:::1]:u@example.org>", "u@example.org" },
	{ "<postmaster>", "postmaster" },
	{ "<PostMaster>", "postmaster" },
	{ "<j\xc3\xb6rg@b\xc3\xbc"
	  "cher.example>",
	  "j\xc3\xb6rg@b\xc3\xbc"
	  "cher.example" },
};

static const struct {
	const char *local;
	bool routes;
} locals[] = {
	{ "anna", false },
	{ "anna+tag", false },
	{ "prvs=1234=anna", false },
	{ "SRS0=HHH=TT=b.example=anna", false },
	{ "IMCEAEX-_o=x_ou=y_cn=z", false },
	{ "\"a b\"", false },
	{ "anna%b.example", true },
	{ "b.example!anna", true },
	{ "\"anna@b.example\"", true },
	{ "\"anna%b.example\"", true },
};

static void a_local_part_that_names_a_further_host_is_known(void **state)
{
	for (size_t i = 0; i < COUNT(locals); i++)
		if (smtp_local_routes(slice(locals[i].local)) !=
		    locals[i].routes)
			fail_msg("%s", locals[i].local);
}

static const struct {
	const char *in, *want;
} domains[] = {
	{ "Acme.Example", "acme.example" },
	{ "b\xc3\xbc"
	  "cher.example",
	  "xn--bcher-kva.example" },
	{ "[192.0.2.1]", "" },
	{ "", "" },
};

static void a_domain_is_the_one_that_dns_has(void **state)
{
	for (size_t i = 0; i < COUNT(domains); i++) {
		char name[SMTP_DOMAIN];

		assert_int_equal(smtp_domain_normal(slice(domains[i].in), name),
				 *domains[i].want != '\0');
		assert_string_equal(name, domains[i].want);
	}
}

static void forward_path_accepts_what_rfc_5321_accepts(void **state)
{
	for (size_t i = 0; i < COUNT(accepted); i++) {
		struct err err = ERR_INIT;
		struct smtp_path path;
		struct buf address = BUF_INIT;

		if (smtp_path_parse(slice(accepted[i].in), SMTP_FORWARD_PATH,
				    &path, &err) < 0)
			fail_msg("%s: %s", accepted[i].in, err.text);
		smtp_path_address(&path, &address);
		assert_string_equal(buf_text(&address), accepted[i].want);
		buf_release(&address);
	}
}

static const struct {
	const char *in, *want;
} rejected[] = {
	{ "user@example.org", "path is not enclosed in <>" },
	{ "<user@example.org", "path is not enclosed in <>" },
	{ "", "path is not enclosed in <>" },
	{ "<", "path is not enclosed in <>" },
	{ "<>", "forward-path is empty" },
	{ "<user>", "address has no domain" },
	{ "<@example.org>", "source route is malformed" },
	{ "<@a.example:>", "local part is malformed" },
	{ "<@a.example u@example.org>", "source route is malformed" },
	{ "<@[IPv6:::1:u@example.org>", "source route is malformed" },
	{ "<user@>", "domain is malformed" },
	{ "<user@example.org.>", "domain is malformed" },
	{ "<user@.example.org>", "domain is malformed" },
	{ "<user@a..b>", "domain is malformed" },
	{ "<user@-a.example>", "domain is malformed" },
	{ "<user@a-.example>", "domain is malformed" },
	{ "<user@a_b.example>", "domain is malformed" },
	{ "<user@a@b>", "domain is malformed" },
	{ "<user@[192.0.2.1>", "domain is malformed" },
	{ "<user@[192.0.2.256]>", "domain is malformed" },
	{ "<user@[IPv6:zz]>", "domain is malformed" },
	{ "<user@[]>", "domain is malformed" },
	{ "<.user@example.org>", "local part is malformed" },
	{ "<user.@example.org>", "local part is malformed" },
	{ "<us..er@example.org>", "local part is malformed" },
	{ "<us er@example.org>", "local part is malformed" },
	{ "<us,er@example.org>", "local part is malformed" },
	{ "<\"user@example.org>", "local part is malformed" },
	{ "<\"us\"er@example.org>", "local part is malformed" },
	{ "<\"us\ter\"@example.org>", "local part is malformed" },
	{ "<<user@example.org>>", "local part is malformed" },
	{ "<" X64 "x@example.org>", "local part is longer than 64 bytes" },
	{ "<u@" X64 ".org>", "domain is too long for DNS" },
	{ "<u@" X63 "." X63 "." X63 "." X63 ".org>",
	  "address is longer than 254 bytes" },
	{ "<\xff@example.org>", "address is not UTF-8" },
	{ "<\xc0\xaf@example.org>", "address is not UTF-8" },
	{ "<\xed\xa0\x80@example.org>", "address is not UTF-8" },
};

static void forward_path_rejects_what_rfc_5321_rejects(void **state)
{
	for (size_t i = 0; i < COUNT(rejected); i++) {
		struct err err = ERR_INIT;
		struct smtp_path path;

		if (smtp_path_parse(slice(rejected[i].in), SMTP_FORWARD_PATH,
				    &path, &err) == 0)
			fail_msg("accepted: %s", rejected[i].in);
		assert_string_equal(err.text, rejected[i].want);
	}
}

static void only_a_reverse_path_may_be_null(void **state)
{
	struct smtp_path path;
	struct buf address = BUF_INIT;

	assert_int_equal(smtp_path_parse(slice("<>"), SMTP_REVERSE_PATH, &path,
					 NULL),
			 0);
	smtp_path_address(&path, &address);
	assert_string_equal(buf_text(&address), "");
	assert_int_equal(smtp_path_parse(slice("<postmaster>"),
					 SMTP_REVERSE_PATH, &path, NULL),
			 -1);
	buf_release(&address);
}

/* VERP and SRS write a whole address into the local part. */
static void the_local_part_of_a_reverse_path_may_be_long(void **state)
{
	struct smtp_path path;
	struct err err = ERR_INIT;

	assert_int_equal(
		smtp_path_parse(slice("<" X64 X64 X64 "=a@example.org>"),
				SMTP_REVERSE_PATH, &path, &err),
		0);
	assert_int_equal(path.mailbox.local.len, 3 * 64 + 2);
	assert_int_equal(
		smtp_path_parse(slice("<" X64 X64 X64 X64 "@example.org>"),
				SMTP_REVERSE_PATH, &path, &err),
		-1);
	assert_string_equal(err.text, "address is longer than 254 bytes");
}

static void bytes_above_127_are_noticed(void **state)
{
	struct smtp_path path;

	assert_int_equal(smtp_path_parse(slice("<j\xc3\xb6@a.b>"),
					 SMTP_FORWARD_PATH, &path, NULL),
			 0);
	assert_true(path.utf8);
	assert_int_equal(smtp_path_parse(slice("<jo@a.b>"), SMTP_FORWARD_PATH,
					 &path, NULL),
			 0);
	assert_false(path.utf8);
}

static const struct {
	const char *in, *want;
} keys[] = {
	{ "User@Example.ORG", "user@example.org" },
	{ "User+Tag@example.org", "user+tag@example.org" },
	{ "\"User\"@example.org", "user@example.org" },
	{ "\"a \\\"b@c\"@Example.org", "a \"b@c@example.org" },
	{ "Postmaster", "postmaster" },
	{ "", "" },
	{ "u@[IPv6:2001:DB8::1]", "u@[ipv6:2001:db8::1]" },
	/* Names from RFC 3492, section 7.1 and the IDN test of IANA. */
	{ "u@B\xc3\xbc"
	  "cher.Example",
	  "u@xn--bcher-kva.example" },
	{ "u@m\xc3\xbcnchen.de", "u@xn--mnchen-3ya.de" },
	{ "u@\xe4\xbb\x96\xe4\xbb\xac\xe4\xb8\xba\xe4\xbb\x80\xe4\xb9\x88"
	  "\xe4\xb8\x8d\xe8\xaf\xb4\xe4\xb8\xad\xe6\x96\x87.test",
	  "u@xn--ihqwcrb4cv8a8dqg056pqjye.test" },
	{ "u@\xd0\xb8\xd1\x81\xd0\xbf\xd1\x8b\xd1\x82\xd0\xb0\xd0\xbd\xd0\xb8"
	  "\xd0\xb5",
	  "u@xn--80akhbyknj4f" },
	{ "u@xn--BCHER-KVA.example", "u@xn--bcher-kva.example" },
	{ "u@\xff.example", "u@\xff.example" },
};

static void one_mailbox_has_one_key(void **state)
{
	for (size_t i = 0; i < COUNT(keys); i++) {
		struct buf key = BUF_INIT;

		smtp_mailbox_key(slice(keys[i].in), &key);
		assert_string_equal(buf_text(&key), keys[i].want);
		buf_release(&key);
	}
}

static const struct {
	const char *in;
	const char *path, *params; /* NULL: refused */
} arguments[] = {
	{ "FROM:<a@b>", "<a@b>", "" },
	{ "from: <a@b> SIZE=1  BODY=7BIT ", "<a@b>", "SIZE=1  BODY=7BIT" },
	{ "FROM:<\"> \\\">\"@b> X", "<\"> \\\">\"@b>", "X" },
	{ "FROM:<>", "<>", "" },
	{ "FROM:a@b", NULL, NULL },
	{ "FROM:<a@b", NULL, NULL },
	{ "FROM:<a@b>SIZE=1", NULL, NULL },
	{ "FROM <a@b>", NULL, NULL },
	{ "TO:<a@b>", NULL, NULL },
};

static void mail_argument_is_a_path_and_parameters(void **state)
{
	for (size_t i = 0; i < COUNT(arguments); i++) {
		struct slice path, params;
		int result = smtp_command_path(slice(arguments[i].in),
					       "FROM:", &path, &params, NULL);

		assert_int_equal(result, arguments[i].path ? 0 : -1);
		if (result < 0)
			continue;
		assert_true(slice_is(path, arguments[i].path));
		assert_true(slice_is(params, arguments[i].params));
	}
}

static const struct {
	const char *in;
	enum smtp_param_verdict want;
	uint64_t size;
	enum smtp_body body;
} params[] = {
	{ "", SMTP_PARAM_OK, 0, SMTP_BODY_7BIT },
	{ "SIZE=1000", SMTP_PARAM_OK, 1000, SMTP_BODY_7BIT },
	{ "body=8bitmime size=7", SMTP_PARAM_OK, 7, SMTP_BODY_8BITMIME },
	{ "BODY=7BIT SMTPUTF8", SMTP_PARAM_OK, 0, SMTP_BODY_7BIT },
	{ "SIZE", SMTP_PARAM_INVALID, 0, 0 },
	{ "SIZE=", SMTP_PARAM_INVALID, 0, 0 },
	{ "SIZE=-1", SMTP_PARAM_INVALID, 0, 0 },
	{ "SIZE=99999999999999999999", SMTP_PARAM_INVALID, 0, 0 },
	{ "SIZE=1 SIZE=1", SMTP_PARAM_INVALID, 0, 0 },
	{ "BODY=BINARYMIME", SMTP_PARAM_INVALID, 0, 0 },
	{ "BODY", SMTP_PARAM_INVALID, 0, 0 },
	{ "SMTPUTF8=", SMTP_PARAM_INVALID, 0, 0 },
	{ "RET=HDRS", SMTP_PARAM_UNKNOWN, 0, 0 },
	{ "=", SMTP_PARAM_UNKNOWN, 0, 0 },
};

static void unknown_and_wrong_parameters_are_told_apart(void **state)
{
	for (size_t i = 0; i < COUNT(params); i++) {
		struct smtp_params got = { 0 };
		struct err err = ERR_INIT;

		assert_int_equal(smtp_param_mail(slice(params[i].in), true,
						 &got, &err),
				 params[i].want);
		assert_int_equal(got.size, params[i].size);
		assert_int_equal(got.body, params[i].body);
		assert_true(err_is_set(&err) ==
			    (params[i].want != SMTP_PARAM_OK));
	}
}

static void smtputf8_is_unknown_where_it_is_not_offered(void **state)
{
	struct smtp_params got;

	assert_int_equal(smtp_param_mail(slice("SMTPUTF8"), false, &got, NULL),
			 SMTP_PARAM_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forward_path_accepts_what_rfc_5321_accepts),
		cmocka_unit_test(a_domain_is_the_one_that_dns_has),
		cmocka_unit_test(
			a_local_part_that_names_a_further_host_is_known),
		cmocka_unit_test(forward_path_rejects_what_rfc_5321_rejects),
		cmocka_unit_test(only_a_reverse_path_may_be_null),
		cmocka_unit_test(the_local_part_of_a_reverse_path_may_be_long),
		cmocka_unit_test(bytes_above_127_are_noticed),
		cmocka_unit_test(one_mailbox_has_one_key),
		cmocka_unit_test(mail_argument_is_a_path_and_parameters),
		cmocka_unit_test(unknown_and_wrong_parameters_are_told_apart),
		cmocka_unit_test(smtputf8_is_unknown_where_it_is_not_offered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
