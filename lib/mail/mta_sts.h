/*
 * mta_sts.h - what a domain asks of senders about TLS (RFC 8461)
 *
 * Pure: the TXT record that says that there is a policy, the policy's text, and
 * whether it lists a host.  Foreign bytes: bounded, and refused where the
 * grammar of RFC 8461 sections 3.1 and 3.2 does not fit.  As it demands,
 * unknown fields are skipped, and of a field that may stand once the first
 * counts.
 */
#ifndef MAIL_MTA_STS_H
#define MAIL_MTA_STS_H

#include "base/err.h"
#include "base/slice.h"
#include "dns/dns_record.h"

enum {
	MTA_STS_ID = 33,	       /* 1 to 32 letters and digits, NUL */
	MTA_STS_MX_MAX = 64,	       /* ours: the RFC has no limit */
	MTA_STS_MAX_BYTES = 64 * 1024, /* RFC 8461 section 3.3 */
	MTA_STS_MAX_AGE_S = 31557600   /* section 3.2 */
};

enum mta_sts_mode {
	MTA_STS_NONE,
	MTA_STS_TESTING,
	MTA_STS_ENFORCE
};

struct mta_sts {
	enum mta_sts_mode mode;
	int64_t max_age_s;
	size_t mx_count;
	char mx[MTA_STS_MX_MAX][DNS_NAME]; /* lower case; "*.example.net" */
};

/*
 * One TXT record at _mta-sts.DOMAIN.  1: it is one of MTA-STS, its id is in
 * `id`; 0: it is of something else (section 3.1: does not begin with
 * "v=STSv1;") and does not count; -1 with err: it is broken.
 */
int mta_sts_txt_parse(struct slice text, char id[MTA_STS_ID], struct err *err);
/* The body of https://mta-sts.DOMAIN/.well-known/mta-sts.txt.  On failure
 * *policy is untouched. */
int mta_sts_policy_parse(struct slice text, struct mta_sts *policy,
			 struct err *err);
/* Section 4.1: "*." stands for exactly one label.  Any case. */
bool mta_sts_lists(const struct mta_sts *policy, const char *host);
const char *mta_sts_mode_name(enum mta_sts_mode mode);

#endif
