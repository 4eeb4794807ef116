/*
 * ledger.h - what a spool's records say about every message
 *
 * Pure replay: fed every record in the order of the log (evidence first, if
 * there is any), it knows each message, its envelopes and their latest state.
 * It reads the records as the daemon's index does, so that a spool can be
 * judged without one, on any machine.
 *
 * A MESSAGE of a known id is one that moved when its segment was cleared out:
 * what its records said before stays.  The same END twice counts once.
 */
#ifndef SPOOL_LEDGER_H
#define SPOOL_LEDGER_H

#include "spool/scan.h"

struct ledger_attempt; /* an END, to know it again */

struct ledger_envelope {
	char *forward_path;
	enum envelope_state state;
	uint32_t attempts;
	uint32_t uncertain; /* attempts whose outcome nobody knows */
	bool is_open;	    /* an attempt began and never ended */
	struct ledger_attempt *ended;
	size_t ended_count;
};

struct ledger_message {
	struct id id;
	char *plan;
	uint64_t sequence;
	int64_t accepted_ms;
	unsigned char sha256[DIGEST_LEN];
	uint64_t body_bytes;
	bool side_file;
	size_t envelope_count;
	struct ledger_envelope *envelopes;
};
/* Every envelope is delivered, bounced or discarded. */
bool ledger_message_is_final(const struct ledger_message *message);

struct spool_ledger;

struct spool_ledger *spool_ledger_new(void);
void spool_ledger_free(struct spool_ledger *ledger);

/* Copies what it keeps. */
void spool_ledger_put(struct spool_ledger *ledger,
		      const struct scan_record *record);

/* NULL if no record told of it.  Lives as long as the ledger. */
const struct ledger_message *
spool_ledger_find(const struct spool_ledger *ledger, const struct id *id);
/* All of them by acceptance sequence. */
const struct ledger_message *const *
spool_ledger_messages(struct spool_ledger *ledger, size_t *count);
/* Attempts and states of a message or envelope that no record told of: its
 * MESSAGE is lost. */
uint64_t spool_ledger_orphans(const struct spool_ledger *ledger);
/* Records whose payload is not what their kind says. */
uint64_t spool_ledger_unreadable(const struct spool_ledger *ledger);

#endif
