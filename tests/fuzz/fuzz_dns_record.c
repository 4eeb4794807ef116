/*
 * A DNS answer of any bytes: refused with a sentence, or taken apart into
 * records whose names and texts end, and judged at a vantage point.
 */
#include "dns/dns_vantage.h"

#include <stdlib.h>

static void look(const struct dns_record *records, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strlen(records[i].name) >= DNS_NAME ||
		    strlen(records[i].target) >= DNS_NAME ||
		    (records[i].type == DNS_TXT && !records[i].text) ||
		    records[i].ttl > INT32_MAX)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_vantage vantage = { .authority = true };
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;
	struct dns_answer answer;
	char zone[DNS_NAME] = "";

	if (dns_answer_parse(slice_of(data, size), &answer, &err) < 0) {
		if (!err_is_set(&err))
			abort();
		return 0;
	}
	look(answer.answers, answer.answer_count);
	look(answer.authority, answer.authority_count);
	dns_vantage_take_mx(&vantage, "acme.example", &answer, NULL);
	dns_vantage_take_soa(&vantage, "acme.example", &answer, zone);
	if (vantage.mx.count > DNS_MX_MAX ||
	    (vantage.has_serial && !dns_name_is_in("acme.example", zone)))
		abort();
	dns_mx_set_text(&vantage.mx, &text);
	buf_release(&text);
	dns_answer_release(&answer);
	return 0;
}
