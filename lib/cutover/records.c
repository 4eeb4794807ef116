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

const char *record_text(const struct record_answer *answer, size_t i)
{
	if (!answer || !answer->answered)
		return NULL;
	for (size_t at = 0; at < answer->answer.answer_count; at++) {
		const struct dns_record *record = &answer->answer.answers[at];

		if (record->type == DNS_TXT && i-- == 0)
			return record->text ? record->text : "";
	}
	return NULL;
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
	values = json_array();
	for (size_t i = 0; i < answer->answer.answer_count; i++)
		add_value(values, &answer->answer.answers[i]);
	json_put(json, "answer", values);
	return json;
}
