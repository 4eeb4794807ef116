/*
 * A DNS packet of any bytes: refused with a sentence, or taken apart into
 * names that are bounded and, where they are plain, in our normal form.  The
 * same bytes as text try the other way in, dns_name_normal().
 */
#include "dns/dns_record.h"

#include <stdlib.h>

static void check(bool promise)
{
	if (!promise)
		abort();
}

/* Escaped bytes are legal on the wire and never normal; nothing else is. */
static void check_name(const char *name)
{
	check(memchr(name, '\0', DNS_NAME) != NULL);
	for (const char *p = name; *p; p++)
		check(*p > 0x20 && *p < 0x7f && !(*p >= 'A' && *p <= 'Z'));
	if (name[0])
		check(name[0] != '.' && name[strlen(name) - 1] != '.');
}

static bool has_text(unsigned type)
{
	return type == DNS_TXT || type == DNS_TLSA || type == DNS_DS ||
	       type == DNS_CAA;
}

static void check_records(const struct dns_record *records, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct dns_record *record = &records[i];

		check_name(record->name);
		check_name(record->target);
		check(memchr(record->address, '\0', sizeof(record->address)) !=
		      NULL);
		check(record->preference <= UINT16_MAX);
		check(record->port <= UINT16_MAX);
		check((record->usage | record->selector | record->matching |
		       record->flags) <= UINT8_MAX);
		check(dns_type_name(record->type)[0] != '\0');
		if (record->type == DNS_OPT)
			continue;
		check(record->ttl <= INT32_MAX);
		check(!record->text == !has_text(record->type));
		if (record->type == DNS_TLSA || record->type == DNS_DS)
			check(strspn(record->text, "0123456789abcdef") ==
			      strlen(record->text));
		/* A tag of letters and digits, then a space. */
		if (record->type == DNS_CAA)
			check(strchr(record->text, ' ') > record->text);
		check(!record->address[0] ==
		      (record->type != DNS_A && record->type != DNS_AAAA));
	}
}

static void try_packet(struct slice packet)
{
	struct dns_answer answer = { .answer_count = 77 };
	struct err err = ERR_INIT;

	if (dns_answer_parse(packet, &answer, &err) < 0) {
		/* A failure has a sentence and leaves the result alone. */
		check(err_is_set(&err));
		check(answer.answer_count == 77 && !answer.answers);
		return;
	}
	check(!err_is_set(&err));
	check(answer.rcode < 4096);
	check(dns_rcode_name(answer.rcode)[0] != '\0');
	/* A record takes 11 bytes at least. */
	check((answer.answer_count + answer.authority_count) * 11 <=
	      packet.len);
	check_records(answer.answers, answer.answer_count);
	check_records(answer.authority, answer.authority_count);
	dns_answer_release(&answer);
	dns_answer_release(&answer);
}

static void try_name(struct slice text)
{
	char name[DNS_NAME], again[DNS_NAME];

	if (!dns_name_normal(text, name))
		return;
	check_name(name);
	if (!name[0])
		return; /* the root: "." is its only text */
	check(dns_name_normal(slice(name), again));
	check(strcmp(name, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_packet(slice_of(data, size));
	try_name(slice_of(data, size));
	return 0;
}
