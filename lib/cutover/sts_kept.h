/*
 * sts_kept.h - which MTA-STS policies senders may hold, by what was seen
 *
 * A sender keeps a policy for its max_age, also once the record is gone (RFC
 * 8461 section 5.1), and fetches it anew when the record has another id
 * (section 3.1).  So a policy that was taken away, or changed under the same
 * id, is in force for whoever has it.
 *
 * Pure.
 */
#ifndef CUTOVER_STS_KEPT_H
#define CUTOVER_STS_KEPT_H

#include "base/json.h"
#include "mail/mta_sts.h"

struct sts_kept {
	char id[MTA_STS_ID];	/* of the policy below, or of the one before */
	struct mta_sts *policy; /* as it was served last; NULL: none is */
	int64_t since_ms;	/* wall, it was seen first */
	int64_t at_ms;		/* and last */
	struct mta_sts *before; /* that senders may hold in spite of it */
	int64_t before_ms;	/* wall, it was seen last */
};

void sts_kept_release(struct sts_kept *kept);
/* Takes what was asked at `now_ms` into account: the policy with its id, or
 * NULL: there is no record. */
void sts_kept_see(struct sts_kept *kept, const struct mta_sts *policy,
		  const char *id, int64_t now_ms);
struct json *sts_kept_json(const struct sts_kept *kept);
/* What such JSON says; all of it or nothing. */
void sts_kept_from_json(struct sts_kept *kept, const struct json *json);

#endif
