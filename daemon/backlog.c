#include "daemon/backlog.h"
#include "base/list.h"
#include "smtp/smtp_path.h"
#include <stdlib.h>

enum {
	AGAIN_MS = 2000,   /* after a page could not be read */
	LOOK_EVERY = 256,  /* messages between two looks at how many are here */
	FRESH_MAX = 10000, /* envelopes kept while a page is on its way */
};

/* A page that was asked for; `plan` NULL: it is not wanted any more. */
struct asked {
	struct backlog_plan *plan;
};

/* Somebody waits until it reaches so far. */
struct reach {
	struct list link;
	uint64_t sequence;
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
	struct asked *asked;
	struct list reaches;
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
	struct loop_timer *timer;
};

static void came(void *ctx, const struct index_page *page,
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
	list_init(&plan->reaches);
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

static void ask(struct backlog_plan *plan)
{
	struct backlog *backlog = plan->backlog;

	if (plan->edge == UINT64_MAX || plan->asked || plan->failed)
		return;
	plan->asked = mem_alloc(sizeof(*plan->asked));
	plan->asked->plan = plan;
	index_page(backlog->index, plan->name, plan->edge,
		   backlog->most / 12 + 1, came, plan->asked);
}

static void thin(void *ctx, struct queue_domain *domain)
{
	struct backlog_plan *plan = find(ctx, domain->plan);

	if (plan)
		ask(plan);
}

static void again(void *ctx)
{
	struct backlog *backlog = ctx;

	list_each (it, next, &backlog->plans) {
		struct backlog_plan *plan =
			list_entry(it, struct backlog_plan, link);

		if (plan->failed) {
			plan->failed = false;
			ask(plan);
		}
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
	list_init(&backlog->plans);
	queue_on_thin(queue, most / 6 + 1, thin, backlog);
	return backlog;
}

static void plan_free(struct backlog_plan *plan)
{
	list_remove(&plan->link);
	if (plan->asked)
		plan->asked->plan = NULL;
	list_each (it, next, &plan->reaches)
		free(list_entry(it, struct reach, link));
	forget_fresh(plan);
	free(plan->name);
	free(plan);
}

void backlog_free(struct backlog *backlog)
{
	if (!backlog)
		return;
	queue_on_thin(backlog->queue, 0, NULL, NULL);
	list_each (it, next, &backlog->plans) {
		struct backlog_plan *plan =
			list_entry(it, struct backlog_plan, link);

		free(plan->asked); /* never answered any more */
		plan->asked = NULL;
		plan_free(plan);
	}
	loop_timer_free(backlog->timer);
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
	list_each (it, next, &backlog->plans)
		if (list_entry(it, struct backlog_plan, link)->edge !=
		    UINT64_MAX)
			return false;
	return true;
}

bool backlog_has(const struct backlog *backlog, const char *name,
		 uint64_t sequence)
{
	const struct backlog_plan *plan = find(backlog, name);

	return plan && sequence <= plan->edge;
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

/* Those up to `edge`, which are in order; `is_new`: the index says no more of
 * them than that they wait. */
static void take(struct backlog_plan *plan, const struct index_live *rows,
		 size_t count, uint64_t edge, bool is_new)
{
	struct backlog *backlog = plan->backlog;
	struct queue_message *message = NULL;

	for (size_t i = 0; i < count; i++) {
		const struct index_live *live = &rows[i];
		struct slice path = slice(live->forward_path);
		struct queue_domain *domain = domain_of(plan, path.p);
		struct queue_envelope *envelope;

		if (live->sequence > edge)
			continue;
		if (i == 0 || rows[i - 1].sequence != live->sequence)
			message = take_message(backlog->queue, live);
		if (live->state == ENVELOPE_HELD)
			envelope =
				queue_add_held(domain, message, live->envelope,
					       path, live->mailbox_held);
		else
			envelope = queue_add_envelope(domain, message,
						      live->envelope, path);
		backlog->owner->on_envelope(backlog->ctx, envelope,
					    is_new ? NULL : live);
	}
}

static void tell_reached(struct backlog_plan *plan, const struct err *err)
{
	struct list reached;

	list_init(&reached);
	list_each (it, next, &plan->reaches) {
		struct reach *reach = list_entry(it, struct reach, link);

		if (!err && reach->sequence > plan->edge)
			continue;
		list_remove(&reach->link);
		list_append(&reached, &reach->link);
	}
	/* Each may do anything, but free the backlog. */
	while (!list_is_empty(&reached)) {
		struct reach *reach =
			list_entry(reached.next, struct reach, link);

		list_remove(&reach->link);
		reach->done(reach->ctx, err);
		free(reach);
	}
}

static bool is_awaited(const struct backlog_plan *plan)
{
	list_each (it, next, &plan->reaches)
		if (list_entry(it, struct reach, link)->sequence > plan->edge)
			return true;
	return false;
}

static void unread(struct backlog_plan *plan, const struct err *err)
{
	struct backlog *backlog = plan->backlog;

	forget_fresh(plan);
	plan->failed = true;
	loop_timer_arm(backlog->timer, AGAIN_MS);
	tell_reached(plan, err);
	backlog->owner->on_error(backlog->ctx, plan->name, plan->is_first, err);
}

/* When the last that is in memory was accepted. */
static int64_t edge_ms(const struct index_page *page, uint64_t edge)
{
	size_t i = page->count;

	while (i > 1 && page->at[i - 1].sequence > edge)
		i--;
	return i > 0 ? page->at[i - 1].accepted_ms : 0;
}

static void came(void *ctx, const struct index_page *page,
		 const struct err *err)
{
	struct asked *asked = ctx;
	struct backlog_plan *plan = asked->plan;
	struct backlog *backlog;
	uint64_t edge;

	if (!plan) {
		free(asked);
		return;
	}
	backlog = plan->backlog;
	if (err) {
		plan->asked = NULL;
		free(asked);
		unread(plan, err);
		return;
	}
	edge = page->more ? page->at[page->count - 1].sequence : UINT64_MAX;
	if (plan->cut != UINT64_MAX && plan->cut <= edge)
		edge = plan->cut - 1;
	/* Nothing asks for the next page before this one is in. */
	take(plan, page->at, page->count, edge, false);
	take(plan, plan->fresh, plan->fresh_count, edge, true);
	forget_fresh(plan);
	plan->edge = edge;
	plan->is_first = false;
	plan->asked = NULL;
	free(asked);
	queue_set_rest(backlog->queue, plan->name, edge != UINT64_MAX,
		       edge_ms(page, edge));
	if (is_awaited(plan) ||
	    queue_here(backlog->queue, plan->name) < backlog->most / 2)
		ask(plan);
	backlog->owner->on_page(backlog->ctx, plan->name);
	tell_reached(plan, NULL);
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

/* Reach. */

void backlog_reach(struct backlog *backlog, const char *name, uint64_t sequence,
		   void (*done)(void *ctx, const struct err *err), void *ctx)
{
	struct backlog_plan *plan = find(backlog, name);
	struct reach *reach;

	if (plan && sequence > plan->last)
		sequence = plan->last;
	if (!plan || sequence <= plan->edge) {
		done(ctx, NULL);
		return;
	}
	reach = mem_alloc(sizeof(*reach));
	reach->sequence = sequence;
	reach->done = done;
	reach->ctx = ctx;
	list_append(&plan->reaches, &reach->link);
	ask(plan);
}

void backlog_reach_cancel(struct backlog *backlog, const void *ctx)
{
	list_each (it, next, &backlog->plans) {
		struct backlog_plan *plan =
			list_entry(it, struct backlog_plan, link);

		list_each (at, after, &plan->reaches) {
			struct reach *reach =
				list_entry(at, struct reach, link);

			if (reach->ctx != ctx)
				continue;
			list_remove(&reach->link);
			free(reach);
		}
	}
}
