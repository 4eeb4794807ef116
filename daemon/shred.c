#include "daemon/shred.h"
#include "base/log.h"
#include <stdlib.h>

#define LOG_MODULE "shred"

const char shred_proves[] =
	"the only copy of the data key that this tideoverd kept is overwritten "
	"and replaced, on disk and in memory; without it neither bodies nor "
	"addresses of this plan in spool, evidence and index can be read, with "
	"the master key or without";
const char shred_leaves[] =
	"copies of the state folder with data.key (backups, snapshots) open "
	"with the master key; a flash disk or a file system that does not "
	"write in place may keep the old blocks until it uses them again; "
	"domains, sizes, times, SHA-256 of bodies and reply codes were never "
	"sealed, and what systems got or reports say is not here";

static struct json *line(struct data_key *key, const char *by,
			 const char *reason)
{
	struct json *data = json_object();

	json_put_text(data, "key", data_key_id(key));
	json_put_text(data, "by", by);
	json_put_text(data, "reason", reason);
	return data;
}

/* Nothing of the plan waits, and nothing is on its way to the disk. */
static int may_go(struct cutover *cutover, struct data_key *key,
		  struct err *err)
{
	const char *plan = cutover->plan->name;
	uint64_t live = 0;

	if (phase_accepts(cutover->phase))
		return err_set(err,
			       "plan '%s' is %s and accepts mail: finish it "
			       "first",
			       plan, phase_name(cutover->phase));
	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		const struct queue_ledger *ledger =
			&cutover->domains[i].queue->ledger;

		live += ledger->waiting + ledger->held;
	}
	if (live > 0)
		return err_set(err,
			       "plan '%s' still has %llu envelopes that are "
			       "not final: deliver or discard them first",
			       plan, (unsigned long long)live);
	if (data_key_holds(key) > 0)
		return err_set(err,
			       "mail of plan '%s' is on its way in, or what "
			       "became of it on its way to the disk: try again "
			       "in a moment",
			       plan);
	return 0;
}

int shred_plan(struct cutover *cutover, const char *by, const char *reason,
	       bool *again, int *status, struct err *err)
{
	const char *plan = cutover->plan->name;
	struct data_key *key = keyring_find(cutover->env.keyring, plan);
	struct json *data;
	char *path;
	int result;

	*again = false;
	*status = 409;
	if (!key)
		return err_set(err,
			       "plan '%s' is not encrypted: it has no key to "
			       "destroy",
			       plan);
	if (data_key_is_shredded(key)) {
		*again = true;
		return 0;
	}
	if (may_go(cutover, key, err) < 0)
		return -1;
	*status = 500;
	if (cutover_note(cutover, "shred", line(key, by, reason), err) < 0)
		return -1;
	path = mem_printf("%s/" KEY_FILE_NAME, cutover->dir);
	result = keyring_shred(cutover->env.keyring, plan, path, err);
	free(path);
	if (result < 0)
		return -1;
	log_info("plan %s: the data key is destroyed", plan);
	data = line(key, by, reason);
	json_put_text(data, "proves", shred_proves);
	json_put_text(data, "leaves", shred_leaves);
	return cutover_note(cutover, "shredded", data, err);
}
