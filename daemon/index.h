/*
 * index.h - what SQLite remembers of the spool   [SQLite]
 *
 * The spool is the truth; the index makes it quick to start, list and report.
 * One thread writes, in the order of the calls, many rows per transaction,
 * "indexed up to" in the same transaction.  When the file is missing or broken
 * it is rebuilt from the spool; meanwhile acceptance goes on.
 *
 * Writers run on the loop and return at once.  Readers open their own
 * connection on the index thread: `done` runs on the loop.
 */
#ifndef DAEMON_INDEX_H
#define DAEMON_INDEX_H

#include "base/json.h"
#include "daemon/spool_writer.h"
#include "spool/keyring.h"

struct index;

/*
 * Opens DIR/index.sqlite; makes an empty one when it is missing, of another
 * version or broken (*rebuilt tells; the broken file is kept as .broken).
 * What is sealed in the records is so in here; `keyring` (borrowed, or NULL)
 * opens it for whoever asks.
 */
struct index *index_open(struct loop *loop, const char *dir,
			 struct keyring *keyring, bool *rebuilt,
			 struct err *err);
/* Writes what is pending, closes; a corrupt file is set aside (.broken). */
void index_close(struct index *index);
/*
 * Whether it has all that was put.  Behind: a write failed (a full disk); the
 * next start goes on from where it stopped.  Corrupt: the file is no good; the
 * next start makes a new one.  Any thread.
 */
enum index_health {
	INDEX_WELL,
	INDEX_BEHIND,
	INDEX_CORRUPT
};
enum index_health index_health(struct index *index);

/* How far the index has come: scan the spool from here on at start. */
void index_indexed_up_to(struct index *index, uint32_t *segment,
			 uint64_t *offset);

/* An envelope that lives: waiting or held. */
struct index_live {
	struct id id;
	uint64_t sequence;
	uint32_t envelope;
	enum envelope_state state;
	bool mailbox_held;
	const char *forward_path, *reverse_path;
	bool eightbit, utf8;
	int64_t accepted_ms, next_ms;
	uint32_t attempts, uncertain;
	struct spool_place place;
	uint64_t body_bytes;
	uint64_t begin; /* an attempt began and never ended */
	/* Attempts whose data was not taken though the recipient was, and when
	 * the first was. */
	uint32_t data_deferrals;
	int64_t stuck_since_ms;
};
/*
 * What lives of a plan after a sequence, as it is once everything that was put
 * before is in: in order, whole messages, about `max` envelopes.  `more`: there
 * may be others behind the last.  Valid during the call; NULL with err if it
 * cannot be read, or if the index is behind and may not have it all.
 */
struct index_page {
	const struct index_live *at;
	size_t count;
	bool more;
};
typedef void index_page_fn(void *ctx, const struct index_page *page,
			   const struct err *err);
void index_page(struct index *index, const char *plan, uint64_t after_sequence,
		size_t max, index_page_fn *done, void *ctx);
/* The same of these messages, the oldest first; some may stand there twice. */
void index_these(struct index *index, const char *plan,
		 const uint64_t *sequences, size_t count, size_t max,
		 index_page_fn *done, void *ctx);

/* One record of the spool, in the order of the log.  Copies what it keeps.
 * The same record twice changes nothing (a scan may overlap). */
void index_put(struct index *index, const struct scan_record *record);

/* All of the evidence was put, if there is any: an index of which nobody said
 * so is made anew at the next start. */
void index_evidence_is_read(struct index *index);

/* Runs on the loop once everything put before is committed. */
void index_flush(struct index *index, loop_fn *done, void *ctx);

/* Ledger of one plan and domain (or of the plan: domain NULL), from the
 * counters; rows of domains as JSON: {"domain":..,"accepted":..,"waiting":..,
 * "held":..,"delivered":..,"bounced":..,"discarded":..,"plan_last_ms": when
 * the plan's last message was accepted}. */
typedef void index_json_fn(void *ctx, struct json *result,
			   const struct err *err);
void index_ledger(struct index *index, const char *plan, index_json_fn *done,
		  void *ctx);
/* The last sequence that any message has, and the bytes that came in the hours
 * of the last day; `since` is the first hour in which anything came, 0 if
 * nothing ever did: {"sequence","since_ms","arrived":[{"from_ms","bytes"}]}.
 * Wall. */
void index_last(struct index *index, index_json_fn *done, void *ctx);
/* Bytes of what lives, once per envelope, domain by domain: [{"domain",
 * "bytes"}].  Reads through all of it. */
void index_live_bytes(struct index *index, const char *plan,
		      index_json_fn *done, void *ctx);

/* Mailboxes with mail that waits, domain by domain: [{"domain","mailboxes"}].
 * Reads through all of it. */
void index_lines(struct index *index, const char *plan, index_json_fn *done,
		 void *ctx);

/* Every condition but the plan may be missing: NULL or 0. */
struct index_select {
	const char *plan;      /* required */
	const char *ids;       /* a JSON array of "ID" and "ID:ENVELOPE" */
	const char *state;     /* its name */
	const char *recipient; /* exact forward-path, any case; or "@domain" */
	const char *sender;    /* the same of the reverse-path; "" for <> */
	const char *domain;    /* of the forward-path */
	/* Of the last attempt: a code ("550"), an enhanced code ("5.1.1"), or
	 * a part of the text in any case. */
	const char *reply;
	const char *targets;	    /* a JSON array: delivered to one of them */
	int64_t accepted_before_ms; /* wall */
	int64_t ended_since_ms;	    /* wall: final then or later, */
	int64_t ended_before_ms;    /* and before this */
	int64_t accepted_since_ms;
	bool is_live;		 /* waiting or held */
	uint64_t after_sequence; /* paging */
	uint32_t after_envelope;
	unsigned limit;
	bool attempts; /* with every attempt of each */
};
/* An array of envelopes with their message's fields (see docs/control.md). */
void index_list(struct index *index, const struct index_select *select,
		index_json_fn *done, void *ctx);
/* The same envelopes, but as what a second delivery needs: {"id","envelope",
 * "sequence","domain","reverse_path","forward_path","eightbit","utf8","bytes",
 * "ended", "segment","offset","body": where the message lies or lay}. */
void index_copies(struct index *index, const struct index_select *select,
		  index_json_fn *done, void *ctx);
/* How many of them, and when the first ended: {"count","first_ms"}. */
void index_count(struct index *index, const struct index_select *select,
		 index_json_fn *done, void *ctx);
/* Per plan with messages in a segment: [{"plan","count","last_ms",
 * "live_sequence"}]: so many were delivered, the last of them then, and the
 * sequence of the youngest that lives (0: none). */
void index_segment_copies(struct index *index, uint32_t segment,
			  index_json_fn *done, void *ctx);
/* Messages that are a side file, in the segments from `segment` on:
 * [{"id","plan","live","last_ms"}], last_ms 0: none delivered. */
void index_side_copies(struct index *index, uint32_t segment,
		       index_json_fn *done, void *ctx);
/* Counts of replies by (stage, code, enhanced, text) of held and deferred. */
void index_replies(struct index *index, const char *plan, index_json_fn *done,
		   void *ctx);
/* Envelopes whose outcome was uncertain: possible duplicates, by id. */
void index_uncertain(struct index *index, const char *plan, index_json_fn *done,
		     void *ctx);
/* What whoever signs must see: {"uncertain","overtaken","named":[{"kind","id",
 * "envelope"}],"stragglers":{"messages","peers","named":[{"peer","messages"}]}},
 * the first few of each by name; stragglers are what was accepted since then,
 * by the address that brought it.  Looks through all of a plan. */
void index_exceptions(struct index *index, const char *plan, int64_t since_ms,
		      index_json_fn *done, void *ctx);
/* What was delivered since then, or perhaps, of the messages after a sequence:
 * [{"target","forward_path","reverse_path","at_ms","sequence"}], by sequence.
 * At least INDEX_RECENT_PAGE of them, or no more follow; without addresses
 * where a sealed one does not open. */
enum {
	INDEX_RECENT_PAGE = 10000
};
void index_recent(struct index *index, const char *plan, int64_t since_ms,
		  uint64_t after_sequence, index_json_fn *done, void *ctx);
/* All traces of a plan go (tideover remove). */
void index_remove_plan(struct index *index, const char *plan);

#endif
