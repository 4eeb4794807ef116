/*
 * spool_verify.h - judge a spool folder by its bytes alone
 *
 * Reads every record of a spool (and of the evidence beside it that older
 * segments left), every body that is still needed, and tells what is there and
 * what is not.  No daemon, no index, no change: for a copy on another machine
 * as well.
 *
 * What is sealed needs no key to be judged as records and by its size.  With
 * the keys its seals are tried and the addresses shown; without them
 * "(sealed)" stands for each.
 */
#ifndef CLI_SPOOL_VERIFY_H
#define CLI_SPOOL_VERIFY_H

#include "spool/keyring.h"
#include "spool/ledger.h"

/* What is known of a message's bytes. */
enum body_verdict {
	BODY_VERIFIED,
	BODY_UNVERIFIED, /* there, but where our trace field ends is unclear */
	BODY_SEALED,	 /* there, of the right size, and its key is not */
	BODY_GONE,	 /* final, its bytes are not kept */
	BODY_MISSING,	 /* these: it should be there, and whole */
	BODY_SIZE,
	BODY_SHA256,
	BODY_SEAL, /* it does not open under its key */
};
const char *body_verdict_name(enum body_verdict verdict);
bool body_verdict_is_bad(enum body_verdict verdict);

/* Bytes that are no record. */
struct spool_range {
	uint32_t segment;
	uint64_t offset, length;
	bool damaged; /* else torn */
};

struct spool_verify;

/*
 * DIR is a spool folder, or a state folder with one.  NULL with err, and
 * *is_spool false, if it is neither.  With `master_key` (a file; or NULL) the
 * data keys are those in plans/ beside the spool.
 */
struct spool_verify *spool_verify_run(const char *dir, const char *master_key,
				      bool *is_spool, struct err *err);
void spool_verify_free(struct spool_verify *verify);

/* The folder that was read. */
const char *spool_verify_dir(const struct spool_verify *verify);
/* Texts that do not open although their key is here. */
uint64_t spool_verify_broken_seals(const struct spool_verify *verify);
struct spool_ledger *spool_verify_ledger(const struct spool_verify *verify);
enum body_verdict spool_verify_body(const struct spool_verify *verify,
				    const struct ledger_message *message);
const struct spool_range *spool_verify_ranges(const struct spool_verify *verify,
					      size_t *count);
/* Segments are numbered without gaps; these are neither in the spool nor in
 * the evidence. */
const uint32_t *spool_verify_missing_segments(const struct spool_verify *verify,
					      size_t *count);

#endif
