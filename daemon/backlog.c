#include "daemon/backlog.h"
#include "base/list.h"
#include "daemon/sequences.h"
#include "dns/dns_record.h"
#include "smtp/smtp_path.h"
#include <stdlib.h>

enum {
	AGAIN_MS = 2000,   /* after a page could not be read */
	LOOK_EVERY = 256,  /* messages between two looks at how many are here */
	FRESH_MAX = 10000, /* envelopes kept while a page is on its way */
	TIDY_MS = 5000,	   /* while there is more in memory than should be */
	ROOM_MS = 200,	   /* what sleeps waits for room */
	TRIM = 5000,	   /* envelopes that went are worth a trim */
};

/* What was asked of the index: a page, or these; `plan` NULL: it is not wanted
 * any more. */
struct asked {
	struct backlog_plan *plan;
	uint64_t *these;
	size_t count;
};

/* Somebody waits until it has come so far, and for these. */
struct fetch {
	struct list link;
	uint64_t sequence;
	uint64_t *these;
	size_t count;
	void (*done)(void *ctx, const struct err *err);
	void *ctx;
};

struct backlog_plan {
	struct list link;
	struct backlog *backlog;
	char *name;
	uint64_t edge; /* UINT64_MAX: there is none, all is in memory */
	uint64_t last; /* of what was accepted */
	bool is_first; /* no page was ever in */
	bool failed;   /* the last page; asked again by the timer */
	unsigned until_look;
	struct asked *asked, *waking;
	struct sequences asleep; /* messages before the edge */
	struct list fetches;
	/*
	 * What was accepted behind the edge since that page was asked for, so
	 * that the last page leaves nothing outside.  What did not find room is
	 * not younger than `cut`: the edge stays before it.
	 */
	struct index_live *fresh;
	size_t fresh_count;
	uint64_t cut; /* UINT64_MAX: none */
};

struct backlog {
	struct index *index;
	struct queue *queue;
	size_t most;
	const struct backlog_owner *owner;
	void *ctx;
	struct list plans;
	struct loop_timer *timer, *tidier;
	bool frozen;
};

static void came(void *ctx, const struct index_page *page,
		 const struct err *err);
static void woke(void *ctx, const struct index_page *page,
		 const struct err *err);

static struct backlog_plan *find(const struct backlog *backlog,
				 const char *name)
{
	list_each (it, next, &backlog->plans) {
		struct backlog_plan *plan =
			list_entry(it, struct backlog_plan, link);

		if (strcmp(plan->name, name) == 0)
			return plan;
	}
	return NULL;
}

static struct backlog_plan *find_or_make(struct backlog *backlog,
					 const char *name)
{
	struct backlog_plan *plan = find(backlog, name);

	if (plan)
		return plan;
	plan = mem_alloc(sizeof(*plan));
	plan->backlog = backlog;
	plan->name = mem_dup(name);
	plan->edge = plan->cut = UINT64_MAX;
	list_init(&plan->fetches);
	list_append(&backlog->plans, &plan->link);
	return plan;
}

static void forget_fresh(struct backlog_plan *plan)
{
	for (size_t i = 0; i < plan->fresh_count; i++) {
		free((char *)(uintptr_t)plan->fresh[i].forward_path);
		free((char *)(uintptr_t)plan->fresh[i].reverse_path);
	}
	free(plan->fresh);
	plan->fresh = NULL;
	plan->fresh_count = 0;
	plan->cut = UINT64_MAX;
}

static size_t page_size(const struct backlog *backlog)
{
	return backlog->most / 12 + 1;
}

static struct asked *asked_new(struct backlog_plan *plan)
{
	struct asked *asked = mem_alloc(sizeof(*asked));

	asked->plan = plan;
	return asked;
}

static void asked_free(struct asked *asked)
{
	if (asked)
		free(asked->these);
	free(asked);
}

static void ask(struct backlog_plan *plan)
{
	struct backlog *backlog = plan->backlog;

	if (plan->edge == UINT64_MAX || plan->asked || plan->failed ||
	    backlog->frozen)
		return;
	plan->asked = asked_new(plan);
	index_page(backlog->index, plan->name, plan->edge, page_size(backlog),
		   came, plan->asked);
}

static void thin(void *ctx, struct queue_domain *domain)
{
	struct backlog_plan *plan = find(ctx, domain->plan);

	if (plan)
		ask(plan);
}

/* Sleep. */

static void slept(void *ctx, uint64_t sequence)
{
	struct backlog_plan *plan = ctx;

	sequences_add(&plan->asleep, sequence);
}

/* So few make room for what is due. */
static size_t roomy(const struct backlog *backlog)
{
	return backlog->most - backlog->most / 4;
}

/* Whether somebody waits for some to wake: those that are awake stay so, or it
 * would have one of them after the other and never all. */
static bool is_fetching(const struct backlog_plan *plan)
{
	list_each (it, next, &plan->fetches)
		if (list_entry(it, struct fetch, link)->sequence <= plan->edge)
			return true;
	return false;
}

/* Whatever makes room, from so many on. */
static void tidy(struct backlog_plan *plan, size_t most)
{
	struct backlog *backlog = plan->backlog;
	uint64_t before = queue_here(backlog->queue, plan->name);

	if (before < most)
		return;
	loop_timer_arm(backlog->tidier, TIDY_MS);
	if (backlog->frozen || is_fetching(plan) ||
	    index_health(backlog->index) != INDEX_WELL)
		return;
	queue_sleep(backlog->queue, plan->name, backlog->most, roomy(backlog),
		    slept, plan);
	if (before - queue_here(backlog->queue, plan->name) >= TRIM)
		mem_trim();
}

/* `these` is taken over; about `max` envelopes of them come, the oldest. */
static void wake_these(struct backlog_plan *plan, uint64_t *these, size_t count,
		       size_t max)
{
	plan->waking = asked_new(plan);
	plan->waking->these = these;
	plan->waking->count = count;
	index_these(plan->backlog->index, plan->name, these, count, max, woke,
		    plan->waking);
}

/* Those of them that sleep; false: none does. */
static bool wake_asleep(struct backlog_plan *plan, const uint64_t *sequences,
			size_t count)
{
	uint64_t *these = mem_alloc((count + 1) * sizeof(*these));
	size_t asleep = 0;

	for (size_t i = 0; i < count; i++)
		if (sequences_has(&plan->asleep, sequences[i]))
			these[asleep++] = sequences[i];
	if (asleep > 0)
		wake_these(plan, these, asleep, SIZE_MAX);
	else
		free(these);
	return asleep > 0;
}

/* What lines in memory need, and if there is room what is due. */
static void wake(struct backlog_plan *plan)
{
	struct backlog *backlog = plan->backlog;
	size_t max = page_size(backlog), count;
	uint64_t *these;

	if (plan->waking || plan->failed || plan->asleep.count == 0 ||
	    backlog->frozen)
		return;
	these = mem_alloc(max * sizeof(*these));
	count = queue_wanted(backlog->queue, plan->name, these, max);
	if (queue_here(backlog->queue, plan->name) < roomy(backlog))
		count += queue_due(backlog->queue, plan->name, these + count,
				   max - count);
	else
		loop_timer_arm(backlog->tidier, ROOM_MS);
	if (count > 0)
		wake_these(plan, these, count, max);
	else
		free(these);
}

static void wanted(void *ctx, struct queue_domain *domain)
{
	struct backlog_plan *plan = find(ctx, domain->plan);

	if (plan)
		wake(plan);
}

static void tidy_all(void *ctx)
{
	struct backlog *backlog = ctx;

	list_each (it, next, &backlog->plans) {
		struct backlog_plan *plan =
			list_entry(it, struct backlog_plan, link);

		tidy(plan, roomy(backlog));
		wake(plan);
	}
}

static void fetch_on(struct backlog_plan *plan);

static void ask_again(struct backlog_plan *plan)
{
	plan->failed = false;
	ask(plan);
	wake(plan);
}

/* After a failure, and after a thaw. */
static void again(void *ctx)
{
	struct backlog *backlog = ctx;

	list_each (it, next, &backlog->plans) {
		struct backlog_plan *plan =
			list_entry(it, struct backlog_plan, link);

		if (plan->failed)
			ask_again(plan);
		fetch_on(plan);
		queue_tell(backlog->queue, plan->name);
	}
}

struct backlog *backlog_new(struct loop *loop, struct index *index,
			    struct queue *queue, size_t most,
			    const struct backlog_owner *owner, void *ctx)
{
	struct backlog *backlog = mem_alloc(sizeof(*backlog));

	backlog->index = index;
	backlog->queue = queue;
	backlog->most = most;
	backlog->owner = owner;
	backlog->ctx = ctx;
	backlog->timer = loop_timer_new(loop, again, backlog);
	backlog->tidier = loop_timer_new(loop, tidy_all, backlog);
	list_init(&backlog->plans);
	queue_on_want(queue, wanted, backlog);
	queue_on_thin(queue, most / 6 + 1, thin, backlog);
	return backlog;
}

static void fetch_free(struct fetch *fetch)
{
	list_remove(&fetch->link);
	free(fetch->these);
	free(fetch);
}

static void plan_free(struct backlog_plan *plan)
{
	list_remove(&plan->link);
	if (plan->asked)
		plan->asked->plan = NULL;
	if (plan->waking)
		plan->waking->plan = NULL;
	sequences_release(&plan->asleep);
	list_each (it, next, &plan->fetches)
		fetch_free(list_entry(it, struct fetch, link));
	forget_fresh(plan);
	free(plan->name);
	free(plan);
}

void backlog_free(struct backlog *backlog)
{
	if (!backlog)
		return;
	queue_on_thin(backlog->queue, 0, NULL, NULL);
	queue_on_want(backlog->queue, NULL, NULL);
	list_each (it, next, &backlog->plans) {
		struct backlog_plan *plan =
			list_entry(it, struct backlog_plan, link);

		/* Never answered any more. */
		asked_free(plan->asked);
		asked_free(plan->waking);
		plan->asked = plan->waking = NULL;
		plan_free(plan);
	}
	loop_timer_free(backlog->timer);
	loop_timer_free(backlog->tidier);
	free(backlog);
}

void backlog_load(struct backlog *backlog, const char *name, uint64_t last)
{
	struct backlog_plan *plan = find_or_make(backlog, name);

	plan->edge = 0;
	plan->last = last;
	plan->is_first = true;
	ask(plan);
}

void backlog_forget(struct backlog *backlog, const char *name)
{
	struct backlog_plan *plan = find(backlog, name);

	if (plan)
		plan_free(plan);
}

size_t backlog_loading(const struct backlog *backlog)
{
	size_t count = 0;

	list_each (it, next, &backlog->plans)
		count += list_entry(it, struct backlog_plan, link)->is_first;
	return count;
}

bool backlog_knows(const struct backlog *backlog, const char *name)
{
	return find(backlog, name) != NULL;
}

bool backlog_is_whole(const struct backlog *backlog)
{
	list_each (it, next, &backlog->plans) {
		const struct backlog_plan *plan =
			list_entry(it, struct backlog_plan, link);

		if (plan->edge != UINT64_MAX || plan->asleep.count > 0)
			return false;
	}
	return true;
}

bool backlog_reaches(const struct backlog *backlog, const char *name,
		     uint64_t sequence)
{
	const struct backlog_plan *plan = find(backlog, name);

	return plan && sequence <= plan->edge;
}

bool backlog_has(const struct backlog *backlog, const char *name,
		 uint64_t sequence)
{
	const struct backlog_plan *plan = find(backlog, name);

	return plan && sequence <= plan->edge &&
	       !sequences_has(&plan->asleep, sequence);
}

bool backlog_sleeps(const struct backlog *backlog, const char *name,
		    uint64_t sequence)
{
	const struct backlog_plan *plan = find(backlog, name);

	return plan && sequences_has(&plan->asleep, sequence);
}

bool backlog_freeze(struct backlog *backlog)
{
	backlog->frozen = true;
	list_each (it, next, &backlog->plans) {
		const struct backlog_plan *plan =
			list_entry(it, struct backlog_plan, link);

		if (plan->asked || plan->waking)
			return false;
	}
	return true;
}

void backlog_thaw(struct backlog *backlog)
{
	if (!backlog->frozen)
		return;
	backlog->frozen = false;
	loop_timer_arm(backlog->timer, 0);
}

/* Into memory. */

static struct queue_domain *domain_of(struct backlog_plan *plan,
				      const char *forward_path)
{
	struct slice path = slice(forward_path);
	char name[SMTP_DOMAIN];

	smtp_domain_normal(slice_from(path, (size_t)slice_rfind(path, '@') + 1),
			   name);
	return queue_domain(plan->backlog->queue, plan->name, name);
}

static struct queue_message *take_message(struct queue *queue,
					  const struct index_live *live)
{
	struct queue_message *message =
		queue_add_message(queue, &live->id, live->sequence,
				  live->accepted_ms, slice(live->reverse_path));

	message->body_bytes = live->body_bytes;
	message->eightbit = live->eightbit;
	message->utf8 = live->utf8;
	queue_set_place(queue, message, &live->place);
	return message;
}

/* Whether it slept. */
static bool wakes_up(struct backlog_plan *plan, const struct index_live *live)
{
	if (!sequences_has(&plan->asleep, live->sequence))
		return false;
	sequences_remove(&plan->asleep, live->sequence);
	queue_wake(plan->backlog->queue, &live->place, live->body_bytes);
	return true;
}

/* The record of what became of it may still be on its way to the index: how it
 * slept is true. */
static struct queue_envelope *wake_envelope(struct backlog_plan *plan,
					    struct queue_message *message,
					    struct index_live *live)
{
	struct slice path = slice(live->forward_path);
	struct queue_domain *domain = domain_of(plan, live->forward_path);
	struct queue_woken woken =
		queue_wake_envelope(domain, path, live->sequence,
				    live->envelope, live->accepted_ms);

	live->begin = 0;
	live->next_ms = woken.due_ms;
	return woken.kind == DORMANT_WAITING ?
		       queue_add_envelope(domain, message, live->envelope,
					  path) :
		       queue_add_held(domain, message, live->envelope, path,
				      woken.kind == DORMANT_HOLDING);
}

static struct queue_envelope *take_envelope(struct backlog_plan *plan,
					    struct queue_message *message,
					    const struct index_live *live)
{
	struct slice path = slice(live->forward_path);
	struct queue_domain *domain = domain_of(plan, live->forward_path);

	return live->state == ENVELOPE_HELD ?
		       queue_add_held(domain, message, live->envelope, path,
				      live->mailbox_held) :
		       queue_add_envelope(domain, message, live->envelope,
					  path);
}

/* Those up to `edge`, which are in order; `is_new`: the index says no more of
 * them than that they wait. */
static void take(struct backlog_plan *plan, const struct index_live *rows,
		 size_t count, uint64_t edge, bool is_new)
{
	struct backlog *backlog = plan->backlog;
	struct queue_message *message = NULL;
	bool slept = false;

	for (size_t i = 0; i < count; i++) {
		struct index_live live = rows[i];
		struct queue_envelope *envelope;

		if (live.sequence > edge)
			continue;
		if (i == 0 || rows[i - 1].sequence != live.sequence) {
			slept = wakes_up(plan, &live);
			message = take_message(backlog->queue, &live);
		}
		envelope = slept ? wake_envelope(plan, message, &live) :
				   take_envelope(plan, message, &live);
		backlog->owner->on_envelope(backlog->ctx, envelope,
					    is_new ? NULL : &live);
	}
}

/* Fetches. */

static void fetch_end(struct fetch *fetch, const struct err *err)
{
	list_remove(&fetch->link);
	/* May do anything, but free the backlog. */
	fetch->done(fetch->ctx, err);
	free(fetch->these);
	free(fetch);
}

/* Those that can go on do; whoever has all acts at once, before anything falls
 * asleep again. */
static void fetch_on(struct backlog_plan *plan)
{
	struct list all;

	list_init(&all);
	list_each (it, next, &plan->fetches) {
		list_remove(it);
		list_append(&all, it);
	}
	while (!list_is_empty(&all)) {
		struct fetch *fetch = list_entry(all.next, struct fetch, link);

		list_remove(&fetch->link);
		list_append(&plan->fetches, &fetch->link);
		if (fetch->sequence > plan->edge)
			ask(plan);
		else if (!plan->waking && !plan->backlog->frozen &&
			 !wake_asleep(plan, fetch->these, fetch->count))
			fetch_end(fetch, NULL);
	}
}

static void unread(struct backlog_plan *plan, const struct err *err)
{
	struct backlog *backlog = plan->backlog;
	struct list all;

	plan->failed = true;
	loop_timer_arm(backlog->timer, AGAIN_MS);
	backlog->owner->on_error(backlog->ctx, plan->name, plan->is_first, err);
	list_init(&all);
	list_each (it, next, &plan->fetches) {
		list_remove(it);
		list_append(&all, it);
	}
	while (!list_is_empty(&all))
		fetch_end(list_entry(all.next, struct fetch, link), err);
}

/* When the last that is in memory was accepted. */
static int64_t edge_ms(const struct index_page *page, uint64_t edge)
{
	size_t i = page->count;

	while (i > 1 && page->at[i - 1].sequence > edge)
		i--;
	return i > 0 ? page->at[i - 1].accepted_ms : 0;
}

/* More of it is in memory. */
static void is_in(struct backlog_plan *plan)
{
	struct backlog *backlog = plan->backlog;

	fetch_on(plan);
	tidy(plan, backlog->most / 2);
	backlog->owner->on_page(backlog->ctx, plan->name);
	wake(plan);
}

static void came(void *ctx, const struct index_page *page,
		 const struct err *err)
{
	struct asked *asked = ctx;
	struct backlog_plan *plan = asked->plan;
	struct backlog *backlog;
	uint64_t edge;

	if (!plan || err)
		asked_free(asked);
	if (!plan)
		return;
	backlog = plan->backlog;
	if (err) {
		plan->asked = NULL;
		forget_fresh(plan);
		unread(plan, err);
		return;
	}
	edge = page->more ? page->at[page->count - 1].sequence : UINT64_MAX;
	if (plan->cut != UINT64_MAX && plan->cut <= edge)
		edge = plan->cut - 1;
	/* Nothing asks for the next page before this one is in. */
	take(plan, page->at, page->count, edge, false);
	take(plan, plan->fresh, plan->fresh_count, edge, true);
	plan->asked = NULL;
	asked_free(asked);
	forget_fresh(plan);
	plan->edge = edge;
	plan->is_first = false;
	queue_set_rest(backlog->queue, plan->name, edge != UINT64_MAX,
		       edge_ms(page, edge));
	if (queue_here(backlog->queue, plan->name) < backlog->most / 2)
		ask(plan);
	is_in(plan);
}

/* What was asked for and did not come lies nowhere. */
static bool is_missing(const struct backlog_plan *plan,
		       const struct asked *asked, struct err *err)
{
	for (size_t i = 0; i < asked->count; i++)
		if (sequences_has(&plan->asleep, asked->these[i])) {
			err_set(err, "the index lacks message %llu",
				(unsigned long long)asked->these[i]);
			return true;
		}
	return false;
}

static void woke(void *ctx, const struct index_page *page,
		 const struct err *err)
{
	struct asked *asked = ctx;
	struct backlog_plan *plan = asked->plan;
	struct err missing = ERR_INIT;

	if (plan && !err) {
		take(plan, page->at, page->count, UINT64_MAX, false);
		if (!page->more && is_missing(plan, asked, &missing))
			err = &missing;
	}
	asked_free(asked);
	if (!plan)
		return;
	plan->waking = NULL;
	if (err) {
		unread(plan, err);
		return;
	}
	is_in(plan);
}

/* Acceptance. */

/* Whether there is an edge from now on, before this message. */
static bool is_full(struct backlog_plan *plan)
{
	struct backlog *backlog = plan->backlog;

	if (plan->until_look-- > 0)
		return false;
	plan->until_look = backlog->most < LOOK_EVERY ? 0 : LOOK_EVERY;
	return queue_here(backlog->queue, plan->name) >= backlog->most &&
	       index_health(backlog->index) == INDEX_WELL;
}

static struct index_live row_of(const struct record_message *message,
				const struct spool_place *place, size_t i)
{
	return (struct index_live){
		.id = message->id,
		.sequence = message->sequence,
		.envelope = (uint32_t)i,
		.state = ENVELOPE_WAITING,
		.forward_path = slice_dup(message->forward_paths[i]),
		.reverse_path = slice_dup(message->reverse_path),
		.eightbit = message->eightbit,
		.utf8 = message->utf8,
		.accepted_ms = message->accepted_ms,
		.place = *place,
		.body_bytes = message->body_bytes,
	};
}

static void keep_fresh(struct backlog_plan *plan, struct index_live *rows,
		       size_t count)
{
	if (plan->fresh_count + count > FRESH_MAX) {
		if (rows->sequence < plan->cut)
			plan->cut = rows->sequence;
		return;
	}
	plan->fresh = mem_grow(plan->fresh, (plan->fresh_count + count) *
						    sizeof(*plan->fresh));
	for (size_t i = 0; i < count; i++) {
		plan->fresh[plan->fresh_count++] = rows[i];
		rows[i].forward_path = rows[i].reverse_path = NULL;
	}
}

void backlog_accept(struct backlog *backlog,
		    const struct record_message *message,
		    const struct spool_place *place)
{
	char *name = slice_dup(message->plan);
	struct backlog_plan *plan = find_or_make(backlog, name);
	size_t count = message->envelope_count;
	struct index_live *rows = mem_alloc(count * sizeof(*rows));
	bool was_asked = plan->asked != NULL;

	free(name);
	for (size_t i = 0; i < count; i++)
		rows[i] = row_of(message, place, i);
	if (plan->edge == UINT64_MAX && is_full(plan)) {
		plan->edge = plan->last;
		queue_set_rest(backlog->queue, plan->name, true,
			       message->accepted_ms);
	}
	if (message->sequence > plan->last)
		plan->last = message->sequence;
	if (message->sequence <= plan->edge)
		take(plan, rows, count, UINT64_MAX, true);
	for (size_t i = 0; i < count; i++) {
		struct queue_domain *domain =
			domain_of(plan, rows[i].forward_path);

		domain->rest = plan->edge != UINT64_MAX;
		queue_count_accepted(domain, message->body_bytes);
	}
	/* A page asked for just now has it. */
	if (message->sequence > plan->edge && was_asked)
		keep_fresh(plan, rows, count);
	for (size_t i = 0; i < count; i++) {
		free((char *)(uintptr_t)rows[i].forward_path);
		free((char *)(uintptr_t)rows[i].reverse_path);
	}
	free(rows);
}

void backlog_fetch(struct backlog *backlog, const char *name, uint64_t sequence,
		   const uint64_t *sequences, size_t count,
		   void (*done)(void *ctx, const struct err *err), void *ctx)
{
	struct backlog_plan *plan = find(backlog, name);
	struct fetch *fetch;

	if (!plan) {
		done(ctx, NULL);
		return;
	}
	fetch = mem_alloc(sizeof(*fetch));
	fetch->sequence = sequence < plan->last ? sequence : plan->last;
	fetch->these = mem_alloc((count + 1) * sizeof(*sequences));
	if (count > 0)
		memcpy(fetch->these, sequences, count * sizeof(*sequences));
	fetch->count = count;
	fetch->done = done;
	fetch->ctx = ctx;
	list_append(&plan->fetches, &fetch->link);
	fetch_on(plan);
}

void backlog_fetch_cancel(struct backlog *backlog, const void *ctx)
{
	list_each (it, next, &backlog->plans) {
		struct backlog_plan *plan =
			list_entry(it, struct backlog_plan, link);

		list_each (at, after, &plan->fetches) {
			struct fetch *fetch =
				list_entry(at, struct fetch, link);

			if (fetch->ctx == ctx)
				fetch_free(fetch);
		}
	}
}
