#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "dns/dns_record.h"

#include <stdlib.h>

#define BYTES(text)                    \
	{                              \
		text, sizeof(text) - 1 \
	}

/* acme.example, the question that all answers below repeat at offset 12. */
#define ACME      \
	"\x04"    \
	"acme"    \
	"\x07"    \
	"example" \
	"\0"
#define Q_MX	ACME "\0\x0f\0\x01"
#define AT_ACME "\xc0\x0c"
#define OPT	"\0\0\x29\x04\xd0\0\0\0\0\0\0"

struct packet {
	const char *p;
	size_t len;
};

static const struct packet mx =
	BYTES("\x12\x34\x84\0\0\x01\0\x02\0\0\0\x01" Q_MX AT_ACME
	      "\0\x0f\0\x01\0\0\x01\x2c\0\x08"
	      "\0\x0a\x03MX1" AT_ACME AT_ACME "\0\x0f\0\x01\0\0\0\x3c\0\x08"
	      "\0\x14\x03mx2" AT_ACME OPT);
static const struct packet null_mx =
	BYTES("\0\0\x84\0\0\x01\0\x01\0\0\0\0" Q_MX AT_ACME
	      "\0\x0f\0\x01\0\0\x01\x2c\0\x03"
	      "\0\0\0");
static const struct packet alias =
	BYTES("\0\0\x84\0\0\x01\0\x01\0\0\0\0" Q_MX AT_ACME
	      "\0\x05\0\x01\0\0\x01\x2c\0\x07"
	      "\x04"
	      "park" AT_ACME);
static const struct packet nodata =
	BYTES("\0\0\x84\0\0\x01\0\0\0\x01\0\0" Q_MX AT_ACME
	      "\0\x06\0\x01\0\0\x0e\x10\0\x1e"
	      "\x02ns" AT_ACME "\x02hm" AT_ACME "\0\0\0\x2a"
	      "\0\0\x0e\x10"
	      "\0\0\x02\x58"
	      "\0\x09\x3a\x80"
	      "\0\0\x01\x2c");
static const struct packet nxdomain =
	BYTES("\0\0\x85\x83\0\x01\0\0\0\x01\0\0" Q_MX "\xc0\x11"
	      "\0\x06\0\x01\0\0\x0e\x10\0\x1e"
	      "\x02ns" AT_ACME "\x02hm" AT_ACME "\0\0\0\x01"
	      "\0\0\x0e\x10"
	      "\0\0\x02\x58"
	      "\0\x09\x3a\x80"
	      "\0\0\0\x3c");
static const struct packet addresses =
	BYTES("\0\0\x80\xa0\0\x01\0\x02\0\0\0\0" Q_MX AT_ACME
	      "\0\x01\0\x01\0\0\0\x3c\0\x04"
	      "\xc0\0\x02\x35" AT_ACME "\0\x1c\0\x01\x80\0\0\0\0\x10"
	      "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01");
static const struct packet text =
	BYTES("\0\0\x84\0\0\x01\0\x01\0\0\0\0" Q_MX AT_ACME
	      "\0\x10\0\x01\0\0\0\x3c\0\x0e"
	      "\x07v=spf1 \x05-a\0ll");
/* BADVERS is 16: its upper bits are in the OPT record. */
static const struct packet badvers = BYTES("\0\0\x80\0\0\x01\0\0\0\0\0\x01" Q_MX
					   "\0\0\x29\x04\xd0\x01\0\0\0\0\0");
/* A label that holds a dot is not two labels. */
static const struct packet dotted =
	BYTES("\0\0\x84\0\0\x01\0\x01\0\0\0\0" Q_MX AT_ACME
	      "\0\x0f\0\x01\0\0\0\x3c\0\x0c"
	      "\0\x0a\x08"
	      "a.b\\c\0 d"
	      "\0");

/* Two TLSA, a DS. */
static const struct packet hashes =
	BYTES("\0\0\x84\0\0\x01\0\x03\0\0\0\0" Q_MX AT_ACME
	      "\0\x34\0\x01\0\0\0\x3c\0\x05"
	      "\x03\x01\x01\xab\x0f" AT_ACME "\0\x34\0\x01\0\0\0\x3c\0\x03"
	      "\x02\0\0" AT_ACME "\0\x2b\0\x01\0\0\0\x3c\0\x06"
	      "\x12\x34\x08\x02\xbe\xef");
/* Of a tag in capitals, and one without a value. */
static const struct packet caa =
	BYTES("\0\0\x84\0\0\x01\0\x02\0\0\0\0" Q_MX AT_ACME
	      "\x01\x01\0\x01\0\0\0\x3c\0\x11"
	      "\x80\x05ISSUEca.example" AT_ACME "\x01\x01\0\x01\0\0\0\x3c\0\x07"
	      "\0\x05issue");
static const struct packet srv =
	BYTES("\0\0\x84\0\0\x01\0\x01\0\0\0\0" Q_MX AT_ACME
	      "\0\x21\0\x01\0\0\0\x3c\0\x08"
	      "\0\x0a\0\x05\x01\xbb" AT_ACME);
static const struct packet rrsig =
	BYTES("\0\0\x84\0\0\x01\0\x01\0\0\0\0" Q_MX AT_ACME
	      "\0\x2e\0\x01\0\0\0\x3c\0\x17"
	      "\0\x06\x08\x02\0\0\x0e\x10"
	      "\x6a\0\0\0\x69\0\0\0\x12\x34" AT_ACME "sig");

static const struct packet *const valid[] = {
	&mx,	  &null_mx, &alias,  &nodata, &nxdomain, &addresses, &text,
	&badvers, &dotted,  &hashes, &caa,    &srv,	 &rrsig,
};

static struct dns_answer parse(const struct packet *packet)
{
	struct dns_answer answer;
	struct err err = ERR_INIT;

	if (dns_answer_parse(slice_of(packet->p, packet->len), &answer, &err) <
	    0)
		fail_msg("%s", err.text);
	return answer;
}

static void mx_answer_keeps_hosts_ttls_and_aa(void **state)
{
	struct dns_answer answer = parse(&mx);

	assert_int_equal(answer.rcode, DNS_NOERROR);
	assert_true(answer.aa);
	assert_false(answer.tc);
	assert_int_equal(answer.answer_count, 2);
	assert_string_equal(answer.answers[0].name, "acme.example");
	assert_int_equal(answer.answers[0].type, DNS_MX);
	assert_int_equal(answer.answers[0].preference, 10);
	assert_string_equal(answer.answers[0].target, "mx1.acme.example");
	assert_int_equal(answer.answers[0].ttl, 300);
	assert_int_equal(answer.answers[1].preference, 20);
	assert_string_equal(answer.answers[1].target, "mx2.acme.example");
	assert_int_equal(answer.answers[1].ttl, 60);
	dns_answer_release(&answer);
}

static void null_mx_is_the_root(void **state)
{
	struct dns_answer answer = parse(&null_mx);

	assert_int_equal(answer.answer_count, 1);
	assert_string_equal(answer.answers[0].target, "");
	assert_int_equal(answer.answers[0].preference, 0);
	dns_answer_release(&answer);
}

static void cname_is_kept_with_its_target(void **state)
{
	struct dns_answer answer = parse(&alias);

	assert_int_equal(answer.answers[0].type, DNS_CNAME);
	assert_string_equal(answer.answers[0].target, "park.acme.example");
	dns_answer_release(&answer);
}

static void nodata_brings_the_soa(void **state)
{
	struct dns_answer answer = parse(&nodata);

	assert_int_equal(answer.rcode, DNS_NOERROR);
	assert_int_equal(answer.answer_count, 0);
	assert_int_equal(answer.authority_count, 1);
	assert_int_equal(answer.authority[0].type, DNS_SOA);
	assert_string_equal(answer.authority[0].target, "ns.acme.example");
	assert_int_equal(answer.authority[0].serial, 42);
	assert_int_equal(answer.authority[0].minimum, 300);
	assert_int_equal(answer.authority[0].ttl, 3600);
	dns_answer_release(&answer);
}

static void nxdomain_names_the_zone_that_says_so(void **state)
{
	struct dns_answer answer = parse(&nxdomain);

	assert_int_equal(answer.rcode, DNS_NXDOMAIN);
	assert_string_equal(answer.authority[0].name, "example");
	assert_int_equal(answer.authority[0].minimum, 60);
	dns_answer_release(&answer);
}

static void addresses_are_text_and_a_negative_ttl_is_none(void **state)
{
	struct dns_answer answer = parse(&addresses);

	assert_false(answer.aa);
	assert_true(answer.ad);
	assert_string_equal(answer.answers[0].address, "192.0.2.53");
	assert_string_equal(answer.answers[1].address, "2001:db8::1");
	assert_int_equal(answer.answers[1].ttl, 0);
	dns_answer_release(&answer);
}

static void txt_strings_are_joined_and_no_nul_cuts_them(void **state)
{
	struct dns_answer answer = parse(&text);

	assert_string_equal(answer.answers[0].text, "v=spf1 -a?ll");
	dns_answer_release(&answer);
}

static void hashes_are_hex_beside_what_they_are_of(void **state)
{
	struct dns_answer answer = parse(&hashes), copy;

	assert_int_equal(answer.answers[0].type, DNS_TLSA);
	assert_int_equal(answer.answers[0].usage, 3);
	assert_int_equal(answer.answers[0].selector, 1);
	assert_int_equal(answer.answers[0].matching, 1);
	assert_string_equal(answer.answers[0].text, "ab0f");
	assert_string_equal(answer.answers[1].text, "");
	assert_int_equal(answer.answers[2].type, DNS_DS);
	assert_string_equal(answer.answers[2].text, "beef");
	dns_answer_copy(&copy, &answer);
	dns_answer_release(&answer);
	assert_string_equal(copy.answers[0].text, "ab0f");
	dns_answer_release(&copy);
}

static void caa_has_its_tag_in_lower_case_and_its_value(void **state)
{
	struct dns_answer answer = parse(&caa);

	assert_int_equal(answer.answers[0].flags, 128);
	assert_string_equal(answer.answers[0].text, "issue ca.example");
	assert_int_equal(answer.answers[1].flags, 0);
	assert_string_equal(answer.answers[1].text, "issue ");
	dns_answer_release(&answer);
}

static void srv_and_rrsig_keep_what_is_judged(void **state)
{
	struct dns_answer answer = parse(&srv);

	assert_int_equal(answer.answers[0].preference, 10);
	assert_int_equal(answer.answers[0].port, 443);
	assert_string_equal(answer.answers[0].target, "acme.example");
	dns_answer_release(&answer);
	answer = parse(&rrsig);
	assert_int_equal(answer.answers[0].covers, DNS_SOA);
	assert_int_equal(answer.answers[0].ends_s, 0x6a000000);
	assert_int_equal(answer.answers[0].begins_s, 0x69000000);
	assert_null(answer.answers[0].text);
	dns_answer_release(&answer);
}

static void an_address_names_its_place_in_the_reverse_tree(void **state)
{
	char name[DNS_NAME] = "untouched";

	assert_false(dns_reverse_name("mx.example", name));
	assert_string_equal(name, "untouched");
	assert_true(dns_reverse_name("192.0.2.1", name));
	assert_string_equal(name, "1.2.0.192.in-addr.arpa");
	assert_true(dns_reverse_name("2001:db8::567:89ab", name));
	assert_string_equal(name, "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0."
				  "0.0.8.b.d.0.1.0.0.2.ip6.arpa");
}

static void times_of_signatures_go_on_past_32_bits(void **state)
{
	assert_int_equal(dns_signature_time(1780000000, 1779999999),
			 1780000000);
	assert_int_equal(dns_signature_time(5, 4294967290), 4294967301);
	assert_int_equal(dns_signature_time(4294967290, 4294967301),
			 4294967290);
}

static void upper_bits_of_the_rcode_come_from_opt(void **state)
{
	struct dns_answer answer = parse(&badvers);

	assert_int_equal(answer.rcode, 16);
	assert_string_equal(dns_rcode_name(answer.rcode), "BADVERS");
	dns_answer_release(&answer);
}

static void strange_label_bytes_are_escaped(void **state)
{
	struct dns_answer answer = parse(&dotted);

	assert_string_equal(answer.answers[0].target,
			    "a\\046b\\092c\\000\\032d");
	dns_answer_release(&answer);
}

static void packet_cut_at_any_length_is_an_error(void **state)
{
	for (size_t i = 0; i < COUNT(valid); i++) {
		for (size_t len = 0; len < valid[i]->len; len++) {
			/* On the heap, so that a read past it is seen. */
			char *copy = malloc(len ? len : 1);
			struct dns_answer answer;
			struct err err = ERR_INIT;

			memcpy(copy, valid[i]->p, len);
			assert_int_equal(dns_answer_parse(slice_of(copy, len),
							  &answer, &err),
					 -1);
			assert_true(err_is_set(&err));
			free(copy);
		}
	}
}

static const struct {
	struct packet packet;
	const char *want;
} rejected[] = {
	{ BYTES("\0\0\0\0\0\x01\0\0\0\0\0\0" Q_MX),
	  "a query came instead of an answer" },
	{ BYTES("\0\0\xa8\0\0\x01\0\0\0\0\0\0" Q_MX), "an answer to opcode 5" },
	/* A pointer to itself, and two that point at each other. */
	{ BYTES("\0\0\x80\0\0\x01\0\0\0\0\0\0"
		"\xc0\x0c\0\x0f\0\x01"),
	  "a compression pointer does not point back" },
	{ BYTES("\0\0\x80\0\0\x01\0\0\0\0\0\0"
		"\x01"
		"a\xc0\x0c\0\x0f\0\x01"),
	  "a compression pointer does not point back" },
	{ BYTES("\0\0\x80\0\0\x01\0\0\0\0\0\0"
		"\xc0\x0e\xc0\x0c\0\x0f\0\x01"),
	  "a compression pointer does not point back" },
	{ BYTES("\0\0\x80\0\0\x01\0\0\0\0\0\0"
		"\x40"
		"a\0\0\x0f\0\x01"),
	  "a label has a reserved type" },
	{ BYTES("\0\0\x80\0\0\x01\0\x01\0\0\0\0" Q_MX AT_ACME
		"\0\x01\0\x01\0\0\0\x3c\0\x05"
		"\xc0\0\x02\x35\0"),
	  "the data of a A record have the wrong length" },
	{ BYTES("\0\0\x80\0\0\x01\0\x01\0\0\0\0" Q_MX AT_ACME
		"\0\x0f\0\x01\0\0\0\x3c\0\x04"
		"\0\x0a\x01\0"),
	  "a name runs past the end" },
	{ BYTES("\0\0\x80\0\0\x01\0\x01\0\0\0\0" Q_MX AT_ACME
		"\0\x10\0\x01\0\0\0\x3c\0\x02"
		"\x02"
		"a"),
	  "a TXT string runs past its record" },
	{ BYTES("\0\0\x80\0\0\x01\0\x01\0\0\0\0" Q_MX AT_ACME
		"\x01\x01\0\x01\0\0\0\x3c\0\x04"
		"\0\x05is"),
	  "a CAA tag runs past its record" },
	{ BYTES("\0\0\x80\0\0\x01\0\x01\0\0\0\0" Q_MX AT_ACME
		"\x01\x01\0\x01\0\0\0\x3c\0\x04"
		"\0\x02i "),
	  "a CAA tag is not of letters and digits" },
	{ BYTES("\0\0\x80\0\0\x01\0\x01\0\0\0\0" Q_MX AT_ACME
		"\0\x34\0\x01\0\0\0\x3c\0\x02"
		"\x03\x01"),
	  "the data of a TLSA record have the wrong length" },
	{ BYTES("\0\0\x80\0\0\x01\0\x01\0\0\0\0" Q_MX AT_ACME
		"\0\x2e\0\x01\0\0\0\x3c\0\x0c"
		"\0\x06\x08\x02\0\0\x0e\x10\x6a\0\0\0"),
	  "a name runs past the end" },
	{ BYTES("\0\0\x80\0\0\x01\0\x01\0\0\0\0" Q_MX AT_ACME
		"\0\x01\0\x03\0\0\0\x3c\0\x04"
		"\xc0\0\x02\x35"),
	  "a record of class 3" },
	{ BYTES("\0\0\x80\0\0\x01\0\0\0\0\0\0" Q_MX "x"),
	  "1 bytes follow the last record" },
	{ BYTES("\0\0\x80\0\0\x01\0\0\0\x01\0\0" Q_MX OPT),
	  "an OPT record outside of the additional section" },
	/* A count without records. */
	{ BYTES("\0\0\x80\0\0\x01\xff\xff\xff\xff\xff\xff" Q_MX),
	  "a name runs past the end" },
};

static void malformed_answers_are_refused_with_the_reason(void **state)
{
	for (size_t i = 0; i < COUNT(rejected); i++) {
		struct dns_answer answer;
		struct err err = ERR_INIT;

		assert_int_equal(
			dns_answer_parse(slice_of(rejected[i].packet.p,
						  rejected[i].packet.len),
					 &answer, &err),
			-1);
		assert_string_equal(err.text, rejected[i].want);
	}
}

/* 127 pointers, each before the last: legal jumps, but 255 bytes is the end. */
static void long_chain_of_pointers_ends_at_255_bytes(void **state)
{
	struct buf packet = BUF_INIT;
	struct dns_answer answer;
	struct err err = ERR_INIT;
	unsigned last = 0;

	/* As many questions as the chain has links. */
	buf_add(&packet, slice_of("\0\0\x80\0\0\xc8\0\0\0\0\0\0", 12));
	for (int i = 0; i < 200; i++) {
		unsigned at = (unsigned)packet.len;

		buf_adds(&packet, "\x01"
				  "a");
		if (i == 0) {
			buf_addc(&packet, 0);
		} else {
			buf_addc(&packet, (char)(0xc0 | last >> 8));
			buf_addc(&packet, (char)last);
		}
		buf_add(&packet, slice_of("\0\x0f\0\x01", 4));
		last = at;
	}
	assert_int_equal(dns_answer_parse(buf_slice(&packet), &answer, &err),
			 -1);
	assert_string_equal(err.text, "a name is longer than 255 bytes");
	buf_release(&packet);
}

#define L63 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static const struct {
	const char *in, *want;
} names[] = {
	{ "Mail.EXAMPLE.org.", "mail.example.org" },
	{ "_dmarc.example", "_dmarc.example" },
	{ "a", "a" },
	{ ".", "" },
	{ L63 ".example", L63 ".example" },
	{ "", NULL },
	{ "..", NULL },
	{ ".example", NULL },
	{ "a..b", NULL },
	{ "a b", NULL },
	{ "a\\.b", NULL },
	{ "x" L63 ".example", NULL },
	{ L63 "." L63 "." L63 "." L63, NULL },
};

static void names_are_kept_in_one_form_or_refused(void **state)
{
	for (size_t i = 0; i < COUNT(names); i++) {
		char out[DNS_NAME];
		bool is = dns_name_normal(slice(names[i].in), out);

		assert_int_equal(is, names[i].want != NULL);
		if (is)
			assert_string_equal(out, names[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mx_answer_keeps_hosts_ttls_and_aa),
		cmocka_unit_test(null_mx_is_the_root),
		cmocka_unit_test(cname_is_kept_with_its_target),
		cmocka_unit_test(nodata_brings_the_soa),
		cmocka_unit_test(nxdomain_names_the_zone_that_says_so),
		cmocka_unit_test(addresses_are_text_and_a_negative_ttl_is_none),
		cmocka_unit_test(txt_strings_are_joined_and_no_nul_cuts_them),
		cmocka_unit_test(hashes_are_hex_beside_what_they_are_of),
		cmocka_unit_test(caa_has_its_tag_in_lower_case_and_its_value),
		cmocka_unit_test(srv_and_rrsig_keep_what_is_judged),
		cmocka_unit_test(
			an_address_names_its_place_in_the_reverse_tree),
		cmocka_unit_test(times_of_signatures_go_on_past_32_bits),
		cmocka_unit_test(upper_bits_of_the_rcode_come_from_opt),
		cmocka_unit_test(strange_label_bytes_are_escaped),
		cmocka_unit_test(packet_cut_at_any_length_is_an_error),
		cmocka_unit_test(malformed_answers_are_refused_with_the_reason),
		cmocka_unit_test(long_chain_of_pointers_ends_at_255_bytes),
		cmocka_unit_test(names_are_kept_in_one_form_or_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
