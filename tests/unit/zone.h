/* zone.h - answers for the checks from lines as in a zone file; for tests */
#ifndef TESTS_UNIT_ZONE_H
#define TESTS_UNIT_ZONE_H

#include "cutover/records.h"
#include <stdio.h>
#include <stdlib.h>

static inline unsigned zone_type(const char *word)
{
	static const unsigned types[] = { DNS_TXT,  DNS_CNAME, DNS_A,	DNS_MX,
					  DNS_AAAA, DNS_PTR,   DNS_SRV, DNS_DS,
					  DNS_TLSA, DNS_CAA };

	for (size_t i = 0; i < COUNT(types); i++)
		if (strcmp(dns_type_name(types[i]), word) == 0)
			return types[i];
	abort();
}

/* "3 1 1 c0ffee", "0 issue ca.example", "10 0 443 host.example". */
static inline void zone_value(struct dns_record *record, const char *value)
{
	char rest[600] = "";

	switch (record->type) {
	case DNS_CNAME:
	case DNS_PTR:
		snprintf(record->target, DNS_NAME, "%.255s", value);
		break;
	case DNS_A:
	case DNS_AAAA:
		snprintf(record->address, sizeof(record->address), "%.47s",
			 value);
		break;
	case DNS_MX:
		if (sscanf(value, "%u %255s", &record->preference,
			   record->target) != 2)
			abort();
		/* The root, as the parser has it. */
		if (strcmp(record->target, ".") == 0)
			record->target[0] = '\0';
		break;
	case DNS_SRV:
		if (sscanf(value, "%u %*u %u %255s", &record->preference,
			   &record->port, record->target) != 3)
			abort();
		break;
	case DNS_TLSA:
		if (sscanf(value, "%u %u %u %599s", &record->usage,
			   &record->selector, &record->matching, rest) != 4)
			abort();
		record->text = mem_dup(rest);
		break;
	case DNS_CAA:
		if (sscanf(value, "%u %599[^\n]", &record->flags, rest) != 2)
			abort();
		record->text = mem_dup(rest);
		break;
	default:
		record->text = mem_dup(value);
	}
}

/*
 * "acme.example TXT v=spf1 -all": one more record of that answer.
 * "acme.example TXT" alone: asked, and nothing there.
 * "acme.example TXT !timeout": asked, and not answered.
 */
static inline void zone_line(struct records *records, const char *line)
{
	struct record_answer answer = { .answered = true, .asked_ms = 1 };
	const struct record_answer *before;
	char type[16] = "", value[600] = "";
	struct dns_record *record;

	if (sscanf(line, "%255s %15s %599[^\n]", answer.name, type, value) < 2)
		abort();
	answer.type = zone_type(type);
	snprintf(answer.from, sizeof(answer.from), "192.0.2.53:53 (authority)");
	before = records_get(records, answer.name, answer.type);
	if (before)
		dns_answer_copy(&answer.answer, &before->answer);
	if (value[0] == '!') {
		answer.answered = false;
		snprintf(answer.error, sizeof(answer.error), "%.63s",
			 value + 1);
	} else if (value[0]) {
		answer.answer.answers = mem_grow(
			answer.answer.answers,
			(answer.answer.answer_count + 1) * sizeof(*record));
		record = &answer.answer.answers[answer.answer.answer_count++];
		*record = (struct dns_record){ .type = answer.type };
		/* "->name" is the CNAME that a question for TXT met. */
		if (value[0] == '-' && value[1] == '>') {
			record->type = DNS_CNAME;
			snprintf(record->target, DNS_NAME, "%.255s", value + 2);
		} else {
			zone_value(record, value);
		}
	}
	records_put(records, &answer);
}

/* Lines that end with '\n'. */
static inline void zone_lines(struct records *records, const char *lines)
{
	while (*lines) {
		size_t len = strcspn(lines, "\n");
		char *line = slice_dup(slice_of(lines, len));

		zone_line(records, line);
		free(line);
		lines += len + (lines[len] == '\n');
	}
}

#endif
