#include "cutover/records.h"
#include "base/map.h"
#include <stdio.h>
#include <stdlib.h>

struct records {
	struct map by_question; /* "TXT acme.example" */
};

static void question(const char *name, unsigned type, char key[DNS_NAME + 16])
{
	snprintf(key, DNS_NAME + 16, "%u %s", type, name);
}

static void answer_free(void *ctx, struct slice key, void *value)
{
	struct record_answer *answer = value;

	if (!answer)
		return;
	dns_answer_release(&answer->answer);
	free(answer);
}

struct records *records_new(void)
{
	return mem_alloc(sizeof(struct records));
}

void records_free(struct records *records)
{
	if (!records)
		return;
	map_each(&records->by_question, answer_free, NULL);
	map_release(&records->by_question);
	free(records);
}

void records_put(struct records *records, struct record_answer *answer)
{
	struct record_answer *kept = mem_alloc(sizeof(*kept));
	char key[DNS_NAME + 16];

	*kept = *answer;
	answer->answer = (struct dns_answer){ 0 };
	question(kept->name, kept->type, key);
	answer_free(NULL, slice(key),
		    map_put(&records->by_question, slice(key), kept));
}

const struct record_answer *records_get(const struct records *records,
					const char *name, unsigned type)
{
	char key[DNS_NAME + 16];

	if (!records)
		return NULL;
	question(name, type, key);
	return map_get(&records->by_question, slice(key));
}

const struct dns_record *record_of(const struct record_answer *answer,
				   unsigned type, size_t i)
{
	if (!answer || !answer->answered)
		return NULL;
	for (size_t at = 0; at < answer->answer.answer_count; at++) {
		const struct dns_record *record = &answer->answer.answers[at];

		if (record->type == type && i-- == 0)
			return record;
	}
	return NULL;
}

const char *record_text(const struct record_answer *answer, size_t i)
{
	const struct dns_record *record = record_of(answer, DNS_TXT, i);

	return !record ? NULL : record->text ? record->text : "";
}

const char *record_cname(const struct record_answer *answer)
{
	const char *name = "";

	if (!answer)
		return name;
	for (size_t at = 0; at < answer->answer.answer_count; at++)
		if (answer->answer.answers[at].type == DNS_CNAME)
			name = answer->answer.answers[at].target;
	return name;
}

static void add_value(struct json *values, const struct dns_record *record)
{
	char *text;

	switch (record->type) {
	case DNS_TXT:
		text = mem_printf("TXT %s", record->text ? record->text : "");
		break;
	case DNS_DS:
		text = mem_printf("DS %s", record->text);
		break;
	case DNS_CAA:
		text = mem_printf("CAA %u %s", record->flags, record->text);
		break;
	case DNS_TLSA:
		text = mem_printf("TLSA %u %u %u %s", record->usage,
				  record->selector, record->matching,
				  record->text);
		break;
	case DNS_SRV:
		text = mem_printf("SRV %u %u %s", record->preference,
				  record->port, record->target);
		break;
	case DNS_A:
	case DNS_AAAA:
		text = mem_printf("%s %s", dns_type_name(record->type),
				  record->address);
		break;
	default:
		text = mem_printf("%s %s", dns_type_name(record->type),
				  record->target);
	}
	json_add_text(values, text);
	free(text);
}

struct json *record_json(const struct record_answer *answer, const char *name,
			 unsigned type)
{
	struct json *json = json_object(), *values;
	char *asked = mem_printf("%s %s", name, dns_type_name(type));

	json_put_text(json, "asked", asked);
	free(asked);
	if (!answer) {
		json_put_text(json, "error", "not asked");
		return json;
	}
	json_put_text(json, "of", answer->from);
	json_put_time(json, "at", answer->asked_ms);
	if (!answer->answered) {
		json_put_text(json, "error", answer->error);
		return json;
	}
	json_put_text(json, "rcode", dns_rcode_name(answer->answer.rcode));
	if (answer->answer.ad)
		json_put_bool(json, "ad", true);
	values = json_array();
	for (size_t i = 0; i < answer->answer.answer_count; i++)
		add_value(values, &answer->answer.answers[i]);
	json_put(json, "answer", values);
	return json;
}

static void add_answer(void *ctx, struct slice key, void *value)
{
	const struct record_answer *answer = value;

	json_add(ctx, record_json(answer, answer->name, answer->type));
}

struct json *records_json(const struct records *records)
{
	struct json *all = json_array();

	if (records)
		map_each(&records->by_question, add_answer, all);
	return all;
}
