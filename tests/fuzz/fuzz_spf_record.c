/*
 * An SPF record from anybody: every term lies within the text, and what was
 * taken is taken again.
 */
#include "mail/spf_record.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_of(data, size);
	static struct spf_record record, again;

	if (spf_record_parse(text, &record, NULL) < 0)
		return 0;
	for (size_t i = 0; i < record.count; i++) {
		struct slice domain = record.terms[i].domain;

		if (domain.len > 0 &&
		    (domain.p < text.p ||
		     domain.p + domain.len > text.p + text.len))
			abort();
	}
	if (spf_record_parse(text, &again, NULL) < 0 ||
	    again.count != record.count)
		abort();
	return 0;
}
