#include "daemon/queue_line.h"
#include <assert.h>
#include <stdlib.h>

enum {
	WAKE_EACH = 16 /* of a line at once */
};

/* Nobody needs it where it is: no attempt, no act, nothing that status names. */
static bool may_sleep(const struct queue_envelope *envelope)
{
	const struct queue_mailbox *mailbox = envelope->mailbox;

	return !envelope->claimed && !envelope->acting &&
	       mailbox->limited_until_ms == 0 && !mailbox->admitted;
}

/* And it cannot go now, nor be admitted next. */
static bool is_stuck(const struct queue_envelope *envelope)
{
	const struct queue_mailbox *mailbox = envelope->mailbox;
	const struct queue_domain *domain = mailbox->domain;

	if (!may_sleep(envelope))
		return false;
	if (envelope->held || !mailbox->moves || !domain->open ||
	    queue_line_is_behind(envelope))
		return true;
	return domain->ramp && queue_line_first(&mailbox->line) != envelope;
}

static bool all_of(const struct queue_message *message,
		   bool (*is_so)(const struct queue_envelope *envelope))
{
	for (size_t i = 0; i < message->envelope_room; i++)
		if (message->envelopes[i] && !is_so(message->envelopes[i]))
			return false;
	return message->placed;
}

static void envelope_sleep(struct queue_envelope *envelope)
{
	struct queue_mailbox *mailbox = envelope->mailbox;
	enum dormant_kind kind = !envelope->held	? DORMANT_WAITING :
				 envelope->mailbox_held ? DORMANT_HOLDING :
							  DORMANT_HELD;

	dormant_add(&mailbox->domain->dormant, mailbox->hash, kind,
		    envelope->message->sequence, envelope->index,
		    envelope->next_ms, envelope->message->accepted_ms);
	mailbox->domain->asleep += !envelope->held;
	mailbox->domain->asleep_held += envelope->held;
	queue_line_leave(envelope);
	free(envelope->forward_path);
	free(envelope);
	queue_line_place(mailbox);
	queue_mailbox_drop_empty(mailbox);
}

/* It goes on to live in its segment. */
static void message_sleep(struct queue *queue, struct queue_message *message)
{
	for (size_t i = 0; i < message->envelope_room; i++)
		if (message->envelopes[i])
			envelope_sleep(message->envelopes[i]);
	message->placed = false;
	queue_message_drop(queue, message);
}

struct sleepy {
	const char *plan;
	bool (*is_so)(const struct queue_envelope *envelope);
	struct queue_message **at;
	size_t count, cap;
};

static void add_sleepy(void *ctx, struct slice key, void *value)
{
	struct queue_message *message = value;
	struct sleepy *sleepy = ctx;
	size_t first = 0;

	while (first < message->envelope_room && !message->envelopes[first])
		first++;
	if (first == message->envelope_room ||
	    strcmp(message->envelopes[first]->mailbox->domain->plan,
		   sleepy->plan) != 0 ||
	    !all_of(message, sleepy->is_so))
		return;
	if (sleepy->count == sleepy->cap) {
		sleepy->cap = sleepy->cap ? sleepy->cap * 2 : 1024;
		sleepy->at =
			mem_grow(sleepy->at, sleepy->cap * sizeof(*sleepy->at));
	}
	sleepy->at[sleepy->count++] = message;
}

static int by_sequence(const void *a, const void *b)
{
	const struct queue_message *const *one = a, *const *other = b;

	return ((*one)->sequence > (*other)->sequence) -
	       ((*one)->sequence < (*other)->sequence);
}

/* Those, in order: it costs less to remember them so. */
static struct sleepy find_sleepy(const struct queue *queue, const char *plan,
				 bool (*is_so)(const struct queue_envelope *))
{
	struct sleepy sleepy = { .plan = plan, .is_so = is_so };

	map_each(&queue->messages, add_sleepy, &sleepy);
	if (sleepy.count > 0)
		qsort(sleepy.at, sleepy.count, sizeof(*sleepy.at), by_sequence);
	return sleepy;
}

/* How many of them stay, so that `surplus` envelopes go. */
static size_t older_part(const struct sleepy *sleepy, uint64_t surplus)
{
	size_t stay = sleepy->count;

	for (uint64_t gone = 0; stay > 0 && gone < surplus; stay--)
		gone += sleepy->at[stay - 1]->envelope_count;
	return stay;
}

static void put_to_sleep(struct queue *queue, const struct sleepy *sleepy,
			 size_t from,
			 void (*slept)(void *ctx, uint64_t sequence), void *ctx)
{
	for (size_t i = from; i < sleepy->count; i++) {
		slept(ctx, sleepy->at[i]->sequence);
		message_sleep(queue, sleepy->at[i]);
	}
	free(sleepy->at);
}

static void tell_needs(void *ctx, struct slice key, void *value)
{
	struct queue_domain *domain = value;

	if (strcmp(domain->plan, ctx) == 0) {
		queue_line_tell_thin(domain);
		queue_line_tell_wanted(domain);
	}
}

void queue_tell(struct queue *queue, const char *plan)
{
	map_each(&queue->domains, tell_needs, (void *)(uintptr_t)plan);
}

void queue_sleep(struct queue *queue, const char *plan, uint64_t most,
		 uint64_t least, void (*slept)(void *ctx, uint64_t sequence),
		 void *ctx)
{
	struct sleepy sleepy = find_sleepy(queue, plan, is_stuck);

	queue->sleeping = true;
	put_to_sleep(queue, &sleepy, 0, slept, ctx);
	if (queue_here(queue, plan) >= most) {
		sleepy = find_sleepy(queue, plan, may_sleep);
		put_to_sleep(queue, &sleepy,
			     older_part(&sleepy,
					queue_here(queue, plan) - least),
			     slept, ctx);
	}
	queue->sleeping = false;
	queue_tell(queue, plan);
}

void queue_wake(struct queue *queue, const struct spool_place *place,
		uint64_t body_bytes)
{
	struct queue_message message = { .place = *place,
					 .body_bytes = body_bytes };

	assert(place->segment < queue->live_count);
	queue_leave_place(queue, &message);
}

void queue_move_asleep(struct queue *queue, uint32_t from_segment,
		       const struct spool_place *place, uint64_t body_bytes)
{
	/* As little of it as has a place. */
	struct queue_message message = { .place = { .segment = from_segment,
						    .body = place->body },
					 .body_bytes = body_bytes };

	queue_leave_place(queue, &message);
	message.placed = false;
	queue_set_place(queue, &message, place);
}

struct queue_woken queue_wake_envelope(struct queue_domain *domain,
				       struct slice forward_path,
				       uint64_t sequence, uint32_t index,
				       int64_t accepted_ms)
{
	struct queue_mailbox *mailbox = queue_mailbox_of(domain, forward_path);
	struct queue_woken woken;

	woken.kind = dormant_take(&domain->dormant, mailbox->hash, sequence,
				  index, accepted_ms, &woken.due_ms);
	domain->asleep -= woken.kind == DORMANT_WAITING;
	domain->asleep_held -=
		woken.kind == DORMANT_HELD || woken.kind == DORMANT_HOLDING;
	return woken;
}

size_t queue_asleep(const struct queue_domain *domain,
		    struct slice forward_path, enum dormant_kind kind,
		    uint64_t *sequences, size_t max)
{
	uint64_t hash = queue_mailbox_hash(forward_path);

	dormant_sequences(&domain->dormant, hash, kind, sequences, max);
	return dormant_count(&domain->dormant, hash, kind);
}

void queue_on_want(struct queue *queue,
		   void (*want)(void *ctx, struct queue_domain *domain),
		   void *ctx)
{
	queue->want = want;
	queue->want_ctx = ctx;
}

struct wanted {
	const char *plan;
	uint64_t *at;
	size_t count, max;
};

static void add_wanted(void *ctx, struct slice key, void *value)
{
	const struct queue_domain *domain = value;
	struct wanted *wanted = ctx;

	if (!domain->open || strcmp(domain->plan, wanted->plan) != 0)
		return;
	list_each (it, next, &domain->wanted) {
		const struct queue_mailbox *mailbox =
			list_entry(it, struct queue_mailbox, wanted);
		size_t room = wanted->max - wanted->count;

		if (domain->ramp && !mailbox->admitted && !mailbox->is_held)
			continue;
		wanted->count +=
			dormant_sequences(&domain->dormant, mailbox->hash,
					  DORMANT_WAITING,
					  wanted->at + wanted->count,
					  room < WAKE_EACH ? room : WAKE_EACH);
	}
}

size_t queue_wanted(const struct queue *queue, const char *plan,
		    uint64_t *sequences, size_t max)
{
	struct wanted wanted = { .plan = plan, .at = sequences, .max = max };

	map_each(&queue->domains, add_wanted, &wanted);
	return wanted.count;
}

static void add_due(void *ctx, struct slice key, void *value)
{
	const struct queue_domain *domain = value;
	struct wanted *wanted = ctx;

	if (domain->open && strcmp(domain->plan, wanted->plan) == 0 &&
	    queue_line_is_hungry(domain))
		wanted->count +=
			dormant_due(&domain->dormant, domain->looked_ms,
				    wanted->at + wanted->count,
				    wanted->max - wanted->count);
}

size_t queue_due(const struct queue *queue, const char *plan,
		 uint64_t *sequences, size_t max)
{
	struct wanted wanted = { .plan = plan, .at = sequences, .max = max };

	map_each(&queue->domains, add_due, &wanted);
	return wanted.count;
}
