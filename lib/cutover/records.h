/*
 * records.h - DNS answers beside the MX sets, as they came
 *
 * What the checks of SPF, DKIM, DMARC and their kin judge: one answer per name
 * and type, with whom it was asked of and when.  What was never asked is not
 * there; what was asked and not answered is there with the reason.
 */
#ifndef CUTOVER_RECORDS_H
#define CUTOVER_RECORDS_H

#include "base/json.h"
#include "dns/dns_record.h"

struct record_answer {
	char name[DNS_NAME];
	unsigned type;
	bool answered;	  /* NOERROR or NXDOMAIN came */
	char error[64];	  /* else: why not */
	char from[80];	  /* "192.0.2.53:53 (authority)" */
	int64_t asked_ms; /* wall */
	struct dns_answer answer;
};

struct records;

struct records *records_new(void);
void records_free(struct records *records); /* NULL is fine */
/* Takes what `answer` owns, and leaves it empty. */
void records_put(struct records *records, struct record_answer *answer);
/* NULL: never asked.  Borrowed until the next put of that name and type. */
const struct record_answer *records_get(const struct records *records,
					const char *name, unsigned type);
/* The i-th TXT of its answer section, whatever CNAME led there; or NULL. */
const char *record_text(const struct record_answer *answer, size_t i);
/* The i-th record of a type in its answer section; or NULL. */
const struct dns_record *record_of(const struct record_answer *answer,
				   unsigned type, size_t i);
/* Every answer, as record_json() has it, in no order. */
struct json *records_json(const struct records *records);
/* Where its name leads by CNAME within the answer; "" if nowhere. */
const char *record_cname(const struct record_answer *answer);
/* {"asked": "acme.example TXT", "of", "at", "answer": [..] or "error"}; of one
 * that was never asked too (NULL). */
struct json *record_json(const struct record_answer *answer, const char *name,
			 unsigned type);

#endif
