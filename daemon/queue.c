#include "daemon/queue.h"
#include "smtp/smtp_path.h"
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

enum {
	WAKE_EACH = 16 /* of a line at once */
};

struct queue {
	struct map domains;	 /* "plan\0domain" */
	struct map messages;	 /* id */
	struct queue_live *live; /* by number of the segment */
	size_t live_count;
	uint64_t least;
	void (*thin)(void *ctx, struct queue_domain *domain);
	void *thin_ctx;
	void (*want)(void *ctx, struct queue_domain *domain);
	void *want_ctx;
	bool sleeping; /* queue_sleep() is at it */
	void (*gone)(void *ctx, const struct queue_message *message);
	void *gone_ctx;
};

/* Heaps of mailboxes: a binary heap by `turn`, each knows its own place. */

static void heap_set(struct queue_heap *heap, size_t at,
		     struct queue_mailbox *mailbox)
{
	heap->at[at] = mailbox;
	mailbox->heap_at = at;
}

static void heap_up(struct queue_heap *heap, size_t at)
{
	struct queue_mailbox *mailbox = heap->at[at];

	while (at > 0 && heap->at[(at - 1) / 2]->turn > mailbox->turn) {
		heap_set(heap, at, heap->at[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_set(heap, at, mailbox);
}

static void heap_down(struct queue_heap *heap, size_t at)
{
	struct queue_mailbox *mailbox = heap->at[at];

	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= heap->count)
			break;
		if (child + 1 < heap->count &&
		    heap->at[child + 1]->turn < heap->at[child]->turn)
			child++;
		if (heap->at[child]->turn >= mailbox->turn)
			break;
		heap_set(heap, at, heap->at[child]);
		at = child;
	}
	heap_set(heap, at, mailbox);
}

static void heap_add(struct queue_heap *heap, struct queue_mailbox *mailbox,
		     uint64_t turn)
{
	if (heap->count == heap->cap) {
		heap->cap = heap->cap ? heap->cap * 2 : 16;
		heap->at = mem_grow(heap->at, heap->cap * sizeof(*heap->at));
	}
	mailbox->turn = turn;
	mailbox->heap = heap;
	heap_set(heap, heap->count++, mailbox);
	heap_up(heap, heap->count - 1);
}

static void heap_remove(struct queue_mailbox *mailbox)
{
	struct queue_heap *heap = mailbox->heap;
	struct queue_mailbox *last;
	size_t at = mailbox->heap_at;

	if (!heap)
		return;
	mailbox->heap = NULL;
	last = heap->at[--heap->count];
	if (last == mailbox)
		return;
	heap_set(heap, at, last);
	heap_up(heap, at);
	heap_down(heap, last->heap_at);
}

/* Lines. */

static struct queue_envelope *line_first(const struct list *line)
{
	if (list_is_empty(line))
		return NULL;
	return list_entry(line->next, struct queue_envelope, line);
}

static size_t asleep_count(const struct queue_mailbox *mailbox,
			   enum dormant_kind kind)
{
	return dormant_count(&mailbox->domain->dormant, mailbox->hash, kind);
}

/* Whether one that sleeps is before it. */
static bool is_behind(const struct queue_envelope *envelope)
{
	const struct queue_mailbox *mailbox = envelope->mailbox;

	return dormant_before(&mailbox->domain->dormant, mailbox->hash,
			      envelope->message->sequence, envelope->index);
}

/* Whose turn it is; NULL: nobody's, or that of one that sleeps. */
static struct queue_envelope *line_head(const struct queue_mailbox *mailbox)
{
	struct queue_envelope *first = line_first(&mailbox->line);

	return first && !is_behind(first) ? first : NULL;
}

/* Whether it has little to do, and what sleeps is due. */
static bool is_hungry(const struct queue_domain *domain)
{
	return domain->moving < domain->queue->least &&
	       dormant_next_ms(&domain->dormant) <= domain->looked_ms;
}

static void tell_wanted(struct queue_domain *domain)
{
	struct queue *queue = domain->queue;

	if (domain->open && queue->want && !queue->sleeping &&
	    (!list_is_empty(&domain->wanted) || is_hungry(domain)))
		queue->want(queue->want_ctx, domain);
}

/* A line without a head needs those that sleep to go on; one that is held, so
 * that they are held as well. */
static void look_if_wanted(struct queue_mailbox *mailbox, bool has_head)
{
	const struct dormant *dormant = &mailbox->domain->dormant;

	if (asleep_count(mailbox, DORMANT_WAITING) == 0 ||
	    (!mailbox->is_held &&
	     (has_head || dormant_due_ms(dormant, mailbox->hash) > 0)))
		list_remove(&mailbox->wanted);
	else if (list_is_empty(&mailbox->wanted))
		list_append(&mailbox->domain->wanted, &mailbox->wanted);
	tell_wanted(mailbox->domain);
}

static void unlimit(struct queue_mailbox *mailbox)
{
	if (mailbox->limited_until_ms == 0)
		return;
	mailbox->limited_until_ms = 0;
	mailbox->domain->limited_count--;
	list_remove(&mailbox->limited);
}

static void look_if_thin(struct queue_domain *domain)
{
	struct queue *queue = domain->queue;

	if (domain->rest && domain->open && domain->moving < queue->least &&
	    queue->thin && !queue->sleeping && queue_has_rest(domain))
		queue->thin(queue->thin_ctx, domain);
}

/* What is in lines, and in lines that move. */
static void count_line(struct queue_mailbox *mailbox, bool moves, int change)
{
	struct queue_domain *domain = mailbox->domain;

	if (mailbox->moves)
		domain->moving -= mailbox->waiting;
	mailbox->waiting += (uint32_t)change;
	domain->here += (uint64_t)(int64_t)change;
	mailbox->moves = moves;
	if (mailbox->moves)
		domain->moving += mailbox->waiting;
}

/* Puts the mailbox where its first envelope belongs now. */
static void mailbox_place(struct queue_mailbox *mailbox)
{
	struct queue_domain *domain = mailbox->domain;
	struct queue_envelope *first = line_head(mailbox);
	int64_t due_ms;

	heap_remove(mailbox);
	if (!first || mailbox->is_held)
		unlimit(mailbox);
	count_line(mailbox, first && !mailbox->is_held && first->next_ms == 0,
		   0);
	look_if_wanted(mailbox, first != NULL);
	look_if_thin(domain);
	if (mailbox->busy || mailbox->is_held)
		return;
	if (domain->ramp && !mailbox->admitted)
		return;
	due_ms = first ? first->next_ms :
			 dormant_due_ms(&domain->dormant, mailbox->hash);
	if (due_ms > 0)
		heap_add(&domain->later, mailbox, (uint64_t)due_ms);
	else if (first)
		heap_add(&domain->ready, mailbox, first->message->sequence);
}

/* In order of acceptance, and of recipients within a message. */
static bool is_before(const struct queue_envelope *a,
		      const struct queue_envelope *b)
{
	if (a->message->sequence != b->message->sequence)
		return a->message->sequence < b->message->sequence;
	return a->index < b->index;
}

static struct queue_envelope *of_line(struct list *link)
{
	return list_entry(link, struct queue_envelope, line);
}

static struct queue_envelope *of_all(struct list *link)
{
	return list_entry(link, struct queue_envelope, all);
}

/*
 * Almost always at the end; at the front while the index is read back.  What
 * wakes up comes in order, to somewhere in between: behind the one before it,
 * `hint`.
 */
static void insert_in_order(struct queue_envelope *envelope, struct list *link,
			    struct list *list, struct list *hint,
			    struct queue_envelope *(*of)(struct list *link))
{
	struct list *at = list->prev;

	if (!list_is_empty(list) && is_before(envelope, of(list->next)))
		at = list;
	else if (hint && !is_before(envelope, of(hint)))
		for (at = hint;
		     at->next != list && !is_before(envelope, of(at->next));
		     at = at->next)
			;
	while (at != list && is_before(envelope, of(at)))
		at = at->prev;
	list_insert_before(at->next, link);
}

static void line_insert(struct queue_envelope *envelope, struct list *line,
			struct list *all, struct list **hint)
{
	bool at_end =
		list_is_empty(all) || !is_before(envelope, of_all(all->prev));

	insert_in_order(envelope, &envelope->line, line, NULL, of_line);
	insert_in_order(envelope, &envelope->all, all, at_end ? NULL : *hint,
			of_all);
	*hint = &envelope->all;
}

static void line_enter(struct queue_envelope *envelope)
{
	struct queue_mailbox *mailbox = envelope->mailbox;

	line_insert(envelope, &mailbox->line, &mailbox->domain->waiting,
		    &mailbox->domain->waiting_hint);
	count_line(mailbox, mailbox->moves, 1);
}

static void held_enter(struct queue_envelope *envelope)
{
	struct queue_mailbox *mailbox = envelope->mailbox;

	line_insert(envelope, &mailbox->held, &mailbox->domain->held,
		    &mailbox->domain->held_hint);
	mailbox->domain->here_held++;
}

/* Out of the line, or from among the held. */
static void line_leave(struct queue_envelope *envelope)
{
	struct queue_mailbox *mailbox = envelope->mailbox;

	list_remove(&envelope->line);
	if (mailbox->domain->waiting_hint == &envelope->all)
		mailbox->domain->waiting_hint = NULL;
	if (mailbox->domain->held_hint == &envelope->all)
		mailbox->domain->held_hint = NULL;
	list_remove(&envelope->all);
	if (envelope->held)
		mailbox->domain->here_held--;
	else
		count_line(mailbox, mailbox->moves, -1);
}

struct queue *queue_new(void)
{
	return mem_alloc(sizeof(struct queue));
}

static void leave_place(struct queue *queue, struct queue_message *message)
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
		leave_place(queue, message);
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

static void message_drop(struct queue *queue, struct queue_message *message)
{
	if (message->placed)
		leave_place(queue, message);
	map_remove(&queue->messages, slice_of(message->id.text, ID_LEN));
	free(message->envelopes);
	free(message->reverse_path);
	free(message);
}

static void envelope_drop(struct queue *queue, struct queue_envelope *envelope)
{
	struct queue_message *message = envelope->message;

	line_leave(envelope);
	message->envelopes[envelope->index] = NULL;
	free(envelope->forward_path);
	free(envelope);
	if (--message->envelope_count == 0)
		message_drop(queue, message);
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
	look_if_thin(domain);
	tell_wanted(domain);
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
	look_if_thin(domain);
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
	mailbox->is_held = asleep_count(mailbox, DORMANT_HOLDING) > 0;
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

static struct queue_mailbox *mailbox_find(struct queue_domain *domain,
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
static void mailbox_drop_empty(struct queue_mailbox *mailbox)
{
	struct queue_domain *domain = mailbox->domain;
	uint64_t hash = mailbox->hash;

	if (mailbox->admitted || mailbox->busy ||
	    !list_is_empty(&mailbox->line) || !list_is_empty(&mailbox->held))
		return;
	heap_remove(mailbox);
	list_remove(&mailbox->wanted);
	map_remove(&domain->mailboxes, slice(mailbox->key));
	free(mailbox);
	/* What is behind a held one comes to be held as well. */
	if (dormant_count(&domain->dormant, hash, DORMANT_HOLDING) > 0)
		dormant_set_due(&domain->dormant, hash, 0);
	dormant_call(&domain->dormant, hash);
	tell_wanted(domain);
}

static struct queue_envelope *envelope_new(struct queue_domain *domain,
					   struct queue_message *message,
					   uint32_t index,
					   struct slice forward_path)
{
	struct queue_envelope *envelope = mem_alloc(sizeof(*envelope));

	envelope->message = message;
	envelope->mailbox = mailbox_find(domain, forward_path);
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

	line_enter(envelope);
	if (!mailbox->heap || line_first(&mailbox->line) == envelope)
		mailbox_place(mailbox);
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
	held_enter(envelope);
	mailbox_recount(envelope->mailbox);
	mailbox_place(envelope->mailbox);
	return envelope;
}

void queue_count_accepted(struct queue_domain *domain, uint64_t bytes)
{
	domain->ledger.accepted++;
	domain->ledger.waiting++;
	domain->bytes += bytes;
	look_if_thin(domain);
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
	struct queue_envelope *first = line_head(mailbox);

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
		mailbox_place(mailbox);
	}
}

void queue_look(struct queue_domain *domain, int64_t now_ms)
{
	wake_due(domain, now_ms);
	domain->looked_ms = now_ms;
	tell_wanted(domain);
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
	mailbox_place(mailbox);
	return true;
}

static void claim(struct queue_envelope *envelope)
{
	assert(!envelope->claimed && !envelope->mailbox->busy);
	unlimit(envelope->mailbox);
	envelope->claimed = true;
	envelope->mailbox->busy = true;
	mailbox_place(envelope->mailbox);
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
		first = line_first(&domain->ready.at[0]->line);
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
		    line_first(&other->mailbox->line) != other ||
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
	mailbox_place(envelope->mailbox);
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
	mailbox_place(mailbox);
	mailbox_drop_empty(mailbox);
}

void queue_hold(struct queue_envelope *envelope, bool mailbox)
{
	struct queue_mailbox *box = envelope->mailbox;
	struct queue_domain *domain = box->domain;

	unclaim(envelope);
	envelope->next_ms = 0;
	if (!envelope->held) {
		line_leave(envelope);
		envelope->held = true;
		domain->ledger.waiting--;
		domain->ledger.held++;
		held_enter(envelope);
	}
	envelope->mailbox_held = mailbox;
	mailbox_recount(box);
	mailbox_place(box);
}

void queue_release(struct queue_envelope *envelope, int64_t next_ms)
{
	struct queue_mailbox *mailbox = envelope->mailbox;
	struct queue_domain *domain = mailbox->domain;

	if (!envelope->held)
		return;
	line_leave(envelope);
	envelope->held = envelope->mailbox_held = false;
	envelope->next_ms = next_ms;
	domain->ledger.held--;
	domain->ledger.waiting++;
	line_enter(envelope);
	mailbox_recount(mailbox);
	mailbox_place(mailbox);
}

void queue_retry(struct queue_envelope *envelope)
{
	struct queue_mailbox *mailbox = envelope->mailbox;

	if (envelope->held || mailbox->busy)
		return;
	envelope->next_ms = 0;
	due_now(mailbox);
	mailbox_place(mailbox);
}

void queue_retry_now(struct queue_domain *domain)
{
	wake_due(domain, INT64_MAX);
	dormant_all_due(&domain->dormant);
	tell_wanted(domain);
}

size_t queue_admit(struct queue_domain *domain, size_t count)
{
	size_t admitted = 0;

	domain->ramp = true;
	list_each (it, next, &domain->waiting) {
		struct queue_envelope *envelope =
			list_entry(it, struct queue_envelope, all);

		if (admitted == count)
			break;
		if (envelope->mailbox->admitted)
			continue;
		envelope->mailbox->admitted = true;
		admitted++;
	}
	list_each (it, next, &domain->waiting) {
		struct queue_envelope *envelope =
			list_entry(it, struct queue_envelope, all);

		if (line_first(&envelope->mailbox->line) == envelope)
			mailbox_place(envelope->mailbox);
	}
	tell_wanted(domain);
	return admitted;
}

struct tally {
	size_t admitted, waiting;
};

static void tally_mailbox(void *ctx, struct slice key, void *value)
{
	const struct queue_mailbox *mailbox = value;
	struct tally *tally = ctx;

	if (list_is_empty(&mailbox->line) &&
	    asleep_count(mailbox, DORMANT_WAITING) == 0)
		return;
	tally->waiting++;
	if (mailbox->admitted)
		tally->admitted++;
}

size_t queue_admitted_left(const struct queue_domain *domain)
{
	struct tally tally = { 0 };

	map_each(&domain->mailboxes, tally_mailbox, &tally);
	return tally.admitted;
}

size_t queue_waiting_mailboxes(const struct queue_domain *domain)
{
	struct tally tally = { 0 };

	map_each(&domain->mailboxes, tally_mailbox, &tally);
	return tally.waiting + domain->dormant.called_count;
}

struct admitted {
	struct queue_mailbox **at;
	size_t count;
};

static void unramp_mailbox(void *ctx, struct slice key, void *value)
{
	struct queue_mailbox *mailbox = value;
	struct admitted *admitted = ctx;

	if (mailbox->admitted)
		admitted->at[admitted->count++] = mailbox;
	mailbox->admitted = false;
	mailbox_place(mailbox);
}

void queue_ramp_end(struct queue_domain *domain)
{
	struct admitted admitted = { 0 };

	admitted.at = mem_alloc((domain->mailboxes.count + 1) *
				sizeof(struct queue_mailbox *));
	domain->ramp = false;
	map_each(&domain->mailboxes, unramp_mailbox, &admitted);
	for (size_t i = 0; i < admitted.count; i++)
		mailbox_drop_empty(admitted.at[i]);
	free(admitted.at);
	tell_wanted(domain);
}

/* Sleep. */

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
	    is_behind(envelope))
		return true;
	return domain->ramp && line_first(&mailbox->line) != envelope;
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
	line_leave(envelope);
	free(envelope->forward_path);
	free(envelope);
	mailbox_place(mailbox);
	mailbox_drop_empty(mailbox);
}

/* It goes on to live in its segment. */
static void message_sleep(struct queue *queue, struct queue_message *message)
{
	for (size_t i = 0; i < message->envelope_room; i++)
		if (message->envelopes[i])
			envelope_sleep(message->envelopes[i]);
	message->placed = false;
	message_drop(queue, message);
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
		look_if_thin(domain);
		tell_wanted(domain);
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
	leave_place(queue, &message);
}

void queue_move_asleep(struct queue *queue, uint32_t from_segment,
		       const struct spool_place *place, uint64_t body_bytes)
{
	/* As little of it as has a place. */
	struct queue_message message = { .place = { .segment = from_segment,
						    .body = place->body },
					 .body_bytes = body_bytes };

	leave_place(queue, &message);
	message.placed = false;
	queue_set_place(queue, &message, place);
}

struct queue_woken queue_wake_envelope(struct queue_domain *domain,
				       struct slice forward_path,
				       uint64_t sequence, uint32_t index,
				       int64_t accepted_ms)
{
	struct queue_mailbox *mailbox = mailbox_find(domain, forward_path);
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
	    is_hungry(domain))
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
