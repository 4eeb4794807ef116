#include "spool/ledger.h"
#include "base/map.h"
#include <stdlib.h>

struct ledger_attempt {
	uint32_t number;
	int64_t at_ms;
};

struct spool_ledger {
	struct map by_id;
	struct ledger_message **messages;
	size_t count;
	struct slice *paths; /* room for decoding */
	uint64_t orphans, unreadable;
};

bool ledger_message_is_final(const struct ledger_message *message)
{
	for (size_t i = 0; i < message->envelope_count; i++)
		if (!envelope_state_is_final(message->envelopes[i].state))
			return false;
	return true;
}

struct spool_ledger *spool_ledger_new(void)
{
	struct spool_ledger *ledger = mem_alloc(sizeof(*ledger));

	ledger->paths = mem_alloc(RECORD_MAX_ENVELOPES * sizeof(struct slice));
	return ledger;
}

static void message_free(struct ledger_message *message)
{
	for (size_t i = 0; i < message->envelope_count; i++) {
		free(message->envelopes[i].forward_path);
		free(message->envelopes[i].ended);
	}
	free(message->envelopes);
	free(message->plan);
	free(message);
}

void spool_ledger_free(struct spool_ledger *ledger)
{
	if (!ledger)
		return;
	for (size_t i = 0; i < ledger->count; i++)
		message_free(ledger->messages[i]);
	free(ledger->messages);
	free(ledger->paths);
	map_release(&ledger->by_id);
	free(ledger);
}

static struct slice key_of(const struct id *id)
{
	return slice_of(id->text, ID_LEN);
}

static void add_message(struct spool_ledger *ledger,
			const struct record_message *m)
{
	struct ledger_message *message = mem_alloc(sizeof(*message));

	message->id = m->id;
	message->plan = slice_dup(m->plan);
	message->sequence = m->sequence;
	message->accepted_ms = m->accepted_ms;
	memcpy(message->sha256, m->sha256, DIGEST_LEN);
	message->body_bytes = m->body_bytes;
	message->side_file = m->side_file;
	message->envelope_count = m->envelope_count;
	message->envelopes =
		mem_alloc(m->envelope_count * sizeof(*message->envelopes));
	for (size_t i = 0; i < m->envelope_count; i++)
		message->envelopes[i].forward_path =
			slice_dup(m->forward_paths[i]);
	map_put(&ledger->by_id, key_of(&m->id), message);
	if ((ledger->count & (ledger->count - 1)) == 0)
		ledger->messages =
			mem_grow(ledger->messages,
				 (ledger->count ? ledger->count * 2 : 1) *
					 sizeof(*ledger->messages));
	ledger->messages[ledger->count++] = message;
}

static void put_message(struct spool_ledger *ledger, struct slice payload)
{
	struct record_message m;

	if (record_message_decode(payload, &m, ledger->paths, NULL) < 0)
		ledger->unreadable++;
	else if (!map_get(&ledger->by_id, key_of(&m.id)))
		add_message(ledger, &m);
}

/* NULL, and counted, if no MESSAGE told of it. */
static struct ledger_envelope *find_envelope(struct spool_ledger *ledger,
					     const struct id *id, uint32_t n)
{
	struct ledger_message *message = map_get(&ledger->by_id, key_of(id));

	if (message && n < message->envelope_count)
		return &message->envelopes[n];
	ledger->orphans++;
	return NULL;
}

/* False if this END was read before. */
static bool note_end(struct ledger_envelope *envelope,
		     const struct record_attempt *a)
{
	struct ledger_attempt *one;

	for (size_t i = 0; i < envelope->ended_count; i++) {
		one = &envelope->ended[i];
		if (one->number == a->number && one->at_ms == a->at_ms)
			return false;
	}
	envelope->ended = mem_grow(envelope->ended,
				   (envelope->ended_count + 1) * sizeof(*one));
	one = &envelope->ended[envelope->ended_count++];
	one->number = a->number;
	one->at_ms = a->at_ms;
	return true;
}

static void put_attempt(struct spool_ledger *ledger, struct slice payload)
{
	struct ledger_envelope *envelope;
	struct record_attempt a;

	if (record_attempt_decode(payload, &a, NULL) < 0) {
		ledger->unreadable++;
		return;
	}
	envelope = find_envelope(ledger, &a.id, a.envelope);
	if (!envelope)
		return;
	if (a.begin) {
		/* Number 0 begins nothing, for the index either. */
		envelope->is_open = a.number != 0;
		return;
	}
	if (!note_end(envelope, &a))
		return;
	envelope->is_open = false;
	if (a.number > envelope->attempts)
		envelope->attempts = a.number;
	envelope->state = a.outcome;
	envelope->uncertain += a.uncertain;
}

static void put_state(struct spool_ledger *ledger, struct slice payload)
{
	struct ledger_envelope *envelope;
	struct record_state s;

	if (record_state_decode(payload, &s, NULL) < 0) {
		ledger->unreadable++;
		return;
	}
	envelope = find_envelope(ledger, &s.id, s.envelope);
	if (envelope)
		envelope->state = s.state;
}

void spool_ledger_put(struct spool_ledger *ledger,
		      const struct scan_record *record)
{
	switch (record->kind) {
	case RECORD_MESSAGE:
		put_message(ledger, record->payload);
		break;
	case RECORD_ATTEMPT:
		put_attempt(ledger, record->payload);
		break;
	case RECORD_STATE:
		put_state(ledger, record->payload);
		break;
	}
}

const struct ledger_message *
spool_ledger_find(const struct spool_ledger *ledger, const struct id *id)
{
	return map_get(&ledger->by_id, key_of(id));
}

static int by_sequence(const void *a, const void *b)
{
	const struct ledger_message *one = *(struct ledger_message *const *)a;
	const struct ledger_message *other = *(struct ledger_message *const *)b;

	return (one->sequence > other->sequence) -
	       (one->sequence < other->sequence);
}

const struct ledger_message *const *
spool_ledger_messages(struct spool_ledger *ledger, size_t *count)
{
	if (ledger->count)
		qsort(ledger->messages, ledger->count,
		      sizeof(*ledger->messages), by_sequence);
	*count = ledger->count;
	return (const struct ledger_message *const *)ledger->messages;
}

uint64_t spool_ledger_orphans(const struct spool_ledger *ledger)
{
	return ledger->orphans;
}

uint64_t spool_ledger_unreadable(const struct spool_ledger *ledger)
{
	return ledger->unreadable;
}
