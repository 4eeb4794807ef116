#include "daemon/queue.h"
#include "daemon/queue_heap.h"
#include "daemon/queue_line.h"
#include "smtp/smtp_path.h"
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

struct queue *queue_new(void)
{
	return mem_alloc(sizeof(struct queue));
}

void queue_leave_place(struct queue *queue, struct queue_message *message)
{
	struct queue_live *live;

	if (message->place.segment >= queue->live_count)
		return;
	live = &queue->live[message->place.segment];
	if (live->messages == 0)
		return;
	live->messages--;
	live->bytes -= message->place.body ? message->body_bytes : 0;
}

void queue_set_place(struct queue *queue, struct queue_message *message,
		     const struct spool_place *place)
{
	if (message->placed)
		queue_leave_place(queue, message);
	if (place->segment >= queue->live_count) {
		size_t count = (size_t)place->segment + 64;

		queue->live =
			mem_grow(queue->live, count * sizeof(*queue->live));
		memset(queue->live + queue->live_count, 0,
		       (count - queue->live_count) * sizeof(*queue->live));
		queue->live_count = count;
	}
	message->placed = true;
	message->place = *place;
	queue->live[place->segment].messages++;
	queue->live[place->segment].bytes +=
		place->body ? message->body_bytes : 0;
}

struct queue_live queue_segment_live(const struct queue *queue,
				     uint32_t segment)
{
	return segment < queue->live_count ? queue->live[segment] :
					     (struct queue_live){ 0 };
}

void queue_on_gone(struct queue *queue,
		   void (*gone)(void *ctx, const struct queue_message *message),
		   void *ctx)
{
	queue->gone = gone;
	queue->gone_ctx = ctx;
}

void queue_message_drop(struct queue *queue, struct queue_message *message)
{
	if (message->placed)
		queue_leave_place(queue, message);
	map_remove(&queue->messages, slice_of(message->id.text, ID_LEN));
	free(message->envelopes);
	free(message->reverse_path);
	free(message);
}

static void envelope_drop(struct queue *queue, struct queue_envelope *envelope)
{
	struct queue_message *message = envelope->message;

	queue_line_leave(envelope);
	message->envelopes[envelope->index] = NULL;
	free(envelope->forward_path);
	free(envelope);
	if (--message->envelope_count == 0)
		queue_message_drop(queue, message);
}

static void mailbox_free(void *ctx, struct slice key, void *value)
{
	free(value);
}

static void domain_free(struct queue_domain *domain)
{
	list_each (it, next, &domain->waiting)
		envelope_drop(domain->queue,
			      list_entry(it, struct queue_envelope, all));
	list_each (it, next, &domain->held)
		envelope_drop(domain->queue,
			      list_entry(it, struct queue_envelope, all));
	map_each(&domain->mailboxes, mailbox_free, NULL);
	map_release(&domain->mailboxes);
	dormant_release(&domain->dormant);
	free(domain->ready.at);
	free(domain->later.at);
	free(domain->plan);
	free(domain->name);
	free(domain);
}

static void domain_free_each(void *ctx, struct slice key, void *value)
{
	domain_free(value);
}

void queue_free(struct queue *queue)
{
	if (!queue)
		return;
	map_each(&queue->domains, domain_free_each, NULL);
	map_release(&queue->domains);
	map_release(&queue->messages);
	free(queue->live);
	free(queue);
}

void queue_on_thin(struct queue *queue, uint64_t least,
		   void (*thin)(void *ctx, struct queue_domain *domain),
		   void *ctx)
{
	queue->least = least;
	queue->thin = thin;
	queue->thin_ctx = ctx;
}

void queue_set_open(struct queue_domain *domain, bool open)
{
	domain->open = open;
	queue_line_tell_thin(domain);
	queue_line_tell_wanted(domain);
}

bool queue_has_rest(const struct queue_domain *domain)
{
	return domain->ledger.waiting > domain->here ||
	       domain->ledger.held > domain->here_held;
}

static void domain_key(const char *plan, const char *domain, struct buf *out)
{
	buf_add(out, slice_of(plan, strlen(plan) + 1));
	buf_adds(out, domain);
}

struct queue_domain *queue_domain(struct queue *queue, const char *plan,
				  const char *name)
{
	struct buf key = BUF_INIT;
	struct queue_domain *domain;

	domain_key(plan, name, &key);
	domain = map_get(&queue->domains, buf_slice(&key));
	if (!domain) {
		domain = mem_alloc(sizeof(*domain));
		domain->queue = queue;
		domain->plan = mem_dup(plan);
		domain->name = mem_dup(name);
		list_init(&domain->waiting);
		list_init(&domain->held);
		list_init(&domain->limited);
		list_init(&domain->wanted);
		map_put(&queue->domains, buf_slice(&key), domain);
	}
	buf_release(&key);
	return domain;
}

struct of_plan {
	const char *plan;
	struct queue_domain *found;
};

static void domain_of_plan(void *ctx, struct slice key, void *value)
{
	struct of_plan *want = ctx;
	struct queue_domain *domain = value;

	if (strcmp(domain->plan, want->plan) == 0)
		want->found = domain;
}

struct rest {
	const char *plan;
	bool rest;
	int64_t rest_ms;
};

static void set_rest(void *ctx, struct slice key, void *value)
{
	const struct rest *want = ctx;
	struct queue_domain *domain = value;

	if (strcmp(domain->plan, want->plan) != 0)
		return;
	domain->rest = want->rest;
	domain->rest_ms = want->rest_ms;
	queue_line_tell_thin(domain);
}

void queue_set_rest(struct queue *queue, const char *plan, bool rest,
		    int64_t rest_ms)
{
	struct rest want = { plan, rest, rest_ms };

	map_each(&queue->domains, set_rest, &want);
}

struct here {
	const char *plan;
	uint64_t count;
};

static void count_here(void *ctx, struct slice key, void *value)
{
	const struct queue_domain *domain = value;
	struct here *here = ctx;

	if (strcmp(domain->plan, here->plan) == 0)
		here->count += domain->here + domain->here_held;
}

uint64_t queue_here(const struct queue *queue, const char *plan)
{
	struct here here = { plan, 0 };

	map_each(&queue->domains, count_here, &here);
	return here.count;
}

void queue_remove_plan(struct queue *queue, const char *plan)
{
	for (;;) {
		struct of_plan want = { .plan = plan };
		struct buf key = BUF_INIT;

		map_each(&queue->domains, domain_of_plan, &want);
		if (!want.found)
			return;
		domain_key(plan, want.found->name, &key);
		map_remove(&queue->domains, buf_slice(&key));
		buf_release(&key);
		domain_free(want.found);
	}
}

struct queue_message *queue_add_message(struct queue *queue,
					const struct id *id, uint64_t sequence,
					int64_t accepted_ms,
					struct slice reverse_path)
{
	struct queue_message *message = mem_alloc(sizeof(*message));

	message->id = *id;
	message->sequence = sequence;
	message->accepted_ms = accepted_ms;
	message->reverse_path = slice_dup(reverse_path);
	map_put(&queue->messages, slice_of(id->text, ID_LEN), message);
	return message;
}

static void envelopes_reserve(struct queue_message *message, size_t count)
{
	if (count <= message->envelope_room)
		return;
	message->envelopes = mem_grow(message->envelopes,
				      count * sizeof(*message->envelopes));
	memset(message->envelopes + message->envelope_room, 0,
	       (count - message->envelope_room) * sizeof(*message->envelopes));
	message->envelope_room = count;
}

/* A mailbox is held while one of its held envelopes holds it. */
static void mailbox_recount(struct queue_mailbox *mailbox)
{
	mailbox->is_held = queue_line_asleep(mailbox, DORMANT_HOLDING) > 0;
	list_each (it, next, &mailbox->held)
		if (list_entry(it, struct queue_envelope, line)->mailbox_held)
			mailbox->is_held = true;
}

/* What of it sleeps is this one's to wake from now on. */
static struct queue_mailbox *mailbox_new(struct queue_domain *domain,
					 struct slice key)
{
	struct queue_mailbox *mailbox =
		mem_alloc(sizeof(*mailbox) + key.len + 1);

	memcpy(mailbox->key, key.p, key.len);
	mailbox->domain = domain;
	mailbox->hash = map_hash(key);
	list_init(&mailbox->line);
	list_init(&mailbox->held);
	list_init(&mailbox->wanted);
	map_put(&domain->mailboxes, key, mailbox);
	dormant_uncall(&domain->dormant, mailbox->hash);
	mailbox_recount(mailbox);
	return mailbox;
}

struct queue_mailbox *queue_mailbox_of(struct queue_domain *domain,
				       struct slice forward_path)
{
	struct buf key = BUF_INIT;
	struct queue_mailbox *mailbox;

	smtp_mailbox_key(forward_path, &key);
	mailbox = map_get(&domain->mailboxes, buf_slice(&key));
	if (!mailbox)
		mailbox = mailbox_new(domain, buf_slice(&key));
	buf_release(&key);
	return mailbox;
}

struct queue_mailbox *queue_find_mailbox(const struct queue_domain *domain,
					 struct slice forward_path)
{
	struct buf key = BUF_INIT;
	struct queue_mailbox *mailbox;

	smtp_mailbox_key(forward_path, &key);
	mailbox = map_get(&domain->mailboxes, buf_slice(&key));
	buf_release(&key);
	return mailbox;
}

uint64_t queue_mailbox_hash(struct slice forward_path)
{
	struct buf key = BUF_INIT;
	uint64_t hash;

	smtp_mailbox_key(forward_path, &key);
	hash = map_hash(buf_slice(&key));
	buf_release(&key);
	return hash;
}

/*
 * Senders of spam know many mailboxes: one with nothing in memory costs nothing
 * there.  During a ramp it keeps its admission.
 */
void queue_mailbox_drop_empty(struct queue_mailbox *mailbox)
{
	struct queue_domain *domain = mailbox->domain;
	uint64_t hash = mailbox->hash;

	if (mailbox->admitted || mailbox->busy ||
	    !list_is_empty(&mailbox->line) || !list_is_empty(&mailbox->held))
		return;
	queue_heap_remove(mailbox);
	list_remove(&mailbox->wanted);
	map_remove(&domain->mailboxes, slice(mailbox->key));
	free(mailbox);
	/* What is behind a held one comes to be held as well. */
	if (dormant_count(&domain->dormant, hash, DORMANT_HOLDING) > 0)
		dormant_set_due(&domain->dormant, hash, 0);
	dormant_call(&domain->dormant, hash);
	queue_line_tell_wanted(domain);
}

static struct queue_envelope *envelope_new(struct queue_domain *domain,
					   struct queue_message *message,
					   uint32_t index,
					   struct slice forward_path)
{
	struct queue_envelope *envelope = mem_alloc(sizeof(*envelope));

	envelope->message = message;
	envelope->mailbox = queue_mailbox_of(domain, forward_path);
	envelope->index = index;
	envelope->forward_path = slice_dup(forward_path);
	envelopes_reserve(message, index + 1);
	message->envelopes[index] = envelope;
	message->envelope_count++;
	return envelope;
}

struct queue_envelope *queue_add_envelope(struct queue_domain *domain,
					  struct queue_message *message,
					  uint32_t index,
					  struct slice forward_path)
{
	struct queue_envelope *envelope =
		envelope_new(domain, message, index, forward_path);
	struct queue_mailbox *mailbox = envelope->mailbox;

	queue_line_enter(envelope);
	if (!mailbox->heap || queue_line_first(&mailbox->line) == envelope)
		queue_line_place(mailbox);
	return envelope;
}

struct queue_envelope *queue_add_held(struct queue_domain *domain,
				      struct queue_message *message,
				      uint32_t index, struct slice forward_path,
				      bool mailbox)
{
	struct queue_envelope *envelope =
		envelope_new(domain, message, index, forward_path);

	envelope->held = true;
	envelope->mailbox_held = mailbox;
	queue_line_enter_held(envelope);
	mailbox_recount(envelope->mailbox);
	queue_line_place(envelope->mailbox);
	return envelope;
}

void queue_count_accepted(struct queue_domain *domain, uint64_t bytes)
{
	domain->ledger.accepted++;
	domain->ledger.waiting++;
	domain->bytes += bytes;
	queue_line_tell_thin(domain);
}

struct queue_message *queue_find(struct queue *queue, const struct id *id)
{
	return map_get(&queue->messages, slice_of(id->text, ID_LEN));
}

struct queue_envelope *queue_find_envelope(struct queue *queue,
					   const struct id *id, uint32_t index)
{
	struct queue_message *message = queue_find(queue, id);

	return message && index < message->envelope_room ?
		       message->envelopes[index] :
		       NULL;
}

/* The first of its line, here or not, waits for no time. */
static void due_now(struct queue_mailbox *mailbox)
{
	struct queue_envelope *first = queue_line_head(mailbox);

	if (first)
		first->next_ms = 0;
	else
		dormant_set_due(&mailbox->domain->dormant, mailbox->hash, 0);
}

static void wake_due(struct queue_domain *domain, int64_t now_ms)
{
	while (domain->later.count > 0 &&
	       domain->later.at[0]->turn <= (uint64_t)now_ms) {
		struct queue_mailbox *mailbox = domain->later.at[0];

		due_now(mailbox);
		queue_line_place(mailbox);
	}
}

void queue_look(struct queue_domain *domain, int64_t now_ms)
{
	wake_due(domain, now_ms);
	domain->looked_ms = now_ms;
	queue_line_tell_wanted(domain);
}

/* True if a limit stops the line that begins with this envelope. */
static bool is_limited(struct queue_envelope *envelope, int64_t now_ms)
{
	struct queue_mailbox *mailbox = envelope->mailbox;
	struct queue_domain *domain = mailbox->domain;
	int64_t until;
	int why = 0;

	until = domain->may ?
			domain->may(domain->may_ctx, envelope, now_ms, &why) :
			0;
	if (until == 0)
		return false;
	if (mailbox->limited_until_ms == 0) {
		domain->limited_count++;
		list_append(&domain->limited, &mailbox->limited);
	}
	mailbox->limited_until_ms = until;
	mailbox->limited_by = why;
	envelope->next_ms = until;
	queue_line_place(mailbox);
	return true;
}

static void claim(struct queue_envelope *envelope)
{
	assert(!envelope->claimed && !envelope->mailbox->busy);
	queue_line_unlimit(envelope->mailbox);
	envelope->claimed = true;
	envelope->mailbox->busy = true;
	queue_line_place(envelope->mailbox);
}

size_t queue_claim(struct queue_domain *domain, int64_t now_ms,
		   struct queue_envelope **claims, size_t max)
{
	struct queue_envelope *first;
	struct queue_message *message;
	size_t count = 0, seen = 0;

	queue_look(domain, now_ms);
	do {
		if (domain->ready.count == 0 || max == 0)
			return 0;
		first = queue_line_first(&domain->ready.at[0]->line);
	} while (is_limited(first, now_ms));
	message = first->message;
	claim(first);
	claims[count++] = first;
	for (size_t i = 0; i < message->envelope_room && count < max &&
			   seen < message->envelope_count;
	     i++) {
		struct queue_envelope *other = message->envelopes[i];

		if (!other)
			continue;
		seen++;
		if (other->claimed || other->held ||
		    other->mailbox->domain != domain ||
		    other->mailbox->heap != &domain->ready ||
		    queue_line_first(&other->mailbox->line) != other ||
		    is_limited(other, now_ms))
			continue;
		claim(other);
		claims[count++] = other;
	}
	return count;
}

void queue_on_claim(struct queue_domain *domain, queue_may_fn *may, void *ctx)
{
	domain->may = may;
	domain->may_ctx = ctx;
}

int64_t queue_next_due(const struct queue_domain *domain)
{
	int64_t later = domain->later.count > 0 ?
				(int64_t)domain->later.at[0]->turn :
				INT64_MAX;
	int64_t asleep = dormant_next_ms(&domain->dormant);

	if (domain->ready.count > 0)
		return 0;
	/* What was asked for once it was due is on its way. */
	return asleep > domain->looked_ms && asleep < later ? asleep : later;
}

static void unclaim(struct queue_envelope *envelope)
{
	if (envelope->claimed) {
		envelope->claimed = false;
		envelope->mailbox->busy = false;
	}
}

void queue_defer(struct queue_envelope *envelope, int64_t next_ms)
{
	unclaim(envelope);
	envelope->next_ms = next_ms;
	queue_line_place(envelope->mailbox);
}

static void count_final(struct queue_ledger *ledger, enum envelope_state state)
{
	switch (state) {
	case ENVELOPE_DELIVERED:
		ledger->delivered++;
		break;
	case ENVELOPE_BOUNCED:
		ledger->bounced++;
		break;
	case ENVELOPE_DISCARDED:
		ledger->discarded++;
		break;
	case ENVELOPE_WAITING:
	case ENVELOPE_HELD:
		assert(!"a final state");
	}
}

void queue_final(struct queue_envelope *envelope, enum envelope_state state)
{
	struct queue_mailbox *mailbox = envelope->mailbox;
	struct queue_domain *domain = mailbox->domain;

	if (envelope->held)
		domain->ledger.held--;
	else
		domain->ledger.waiting--;
	count_final(&domain->ledger, state);
	domain->bytes -= envelope->message->body_bytes;
	if (envelope->message->envelope_count == 1 && domain->queue->gone)
		domain->queue->gone(domain->queue->gone_ctx, envelope->message);
	unclaim(envelope);
	envelope_drop(domain->queue, envelope);
	mailbox_recount(mailbox);
	queue_line_place(mailbox);
	queue_mailbox_drop_empty(mailbox);
}

void queue_hold(struct queue_envelope *envelope, bool mailbox)
{
	struct queue_mailbox *box = envelope->mailbox;
	struct queue_domain *domain = box->domain;

	unclaim(envelope);
	envelope->next_ms = 0;
	if (!envelope->held) {
		queue_line_leave(envelope);
		envelope->held = true;
		domain->ledger.waiting--;
		domain->ledger.held++;
		queue_line_enter_held(envelope);
	}
	envelope->mailbox_held = mailbox;
	mailbox_recount(box);
	queue_line_place(box);
}

void queue_release(struct queue_envelope *envelope, int64_t next_ms)
{
	struct queue_mailbox *mailbox = envelope->mailbox;
	struct queue_domain *domain = mailbox->domain;

	if (!envelope->held)
		return;
	queue_line_leave(envelope);
	envelope->held = envelope->mailbox_held = false;
	envelope->next_ms = next_ms;
	domain->ledger.held--;
	domain->ledger.waiting++;
	queue_line_enter(envelope);
	mailbox_recount(mailbox);
	queue_line_place(mailbox);
}

void queue_retry(struct queue_envelope *envelope)
{
	struct queue_mailbox *mailbox = envelope->mailbox;

	if (envelope->held || mailbox->busy)
		return;
	envelope->next_ms = 0;
	due_now(mailbox);
	queue_line_place(mailbox);
}

void queue_retry_now(struct queue_domain *domain)
{
	wake_due(domain, INT64_MAX);
	dormant_all_due(&domain->dormant);
	queue_line_tell_wanted(domain);
}

uint64_t queue_oldest_ms(struct queue_domain *domain)
{
	uint64_t oldest = (uint64_t)dormant_oldest_ms(&domain->dormant);
	const struct list *lists[] = { &domain->waiting, &domain->held };

	for (size_t i = 0; i < COUNT(lists); i++) {
		struct queue_envelope *first;

		if (list_is_empty(lists[i]))
			continue;
		first = list_entry(lists[i]->next, struct queue_envelope, all);
		if (oldest == 0 ||
		    (uint64_t)first->message->accepted_ms < oldest)
			oldest = (uint64_t)first->message->accepted_ms;
	}
	if (oldest == 0 && domain->rest && queue_has_rest(domain))
		oldest = (uint64_t)domain->rest_ms;
	return oldest;
}
