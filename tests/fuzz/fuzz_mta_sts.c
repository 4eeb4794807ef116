/*
 * A policy or TXT record of any bytes: refused with a sentence, or within its
 * bounds, and what it lists without a star it lists.
 */
#include "mail/mta_sts.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_of(data, size);
	struct err txt_err = ERR_INIT, err = ERR_INIT;
	static struct mta_sts policy;
	char id[MTA_STS_ID];
	int is = mta_sts_txt_parse(text, id, &txt_err);

	if ((is < 0) != err_is_set(&txt_err) || (is == 1 && !*id))
		abort();
	if (mta_sts_policy_parse(text, &policy, &err) < 0) {
		if (!err_is_set(&err))
			abort();
		return 0;
	}
	if (policy.max_age_s < 0 || policy.max_age_s > MTA_STS_MAX_AGE_S ||
	    policy.mx_count > MTA_STS_MX_MAX ||
	    (policy.mx_count == 0 && policy.mode != MTA_STS_NONE))
		abort();
	for (size_t i = 0; i < policy.mx_count; i++)
		if (policy.mx[i][0] != '*' &&
		    !mta_sts_lists(&policy, policy.mx[i]))
			abort();
	return 0;
}
