#include "daemon/selection.h"
#include "base/clock.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	IDS_MAX = 100000
};

/* The selection owns the text from here on. */
static const char *own(struct selection *selection, char *text)
{
	selection->is_given = true;
	selection->texts[selection->count++] = text;
	return text;
}

static bool is_name(const char *text)
{
	struct slice rest = slice(text), name = slice_split(&rest, ':');
	uint64_t index;
	struct id id;

	return id_parse(name, &id) &&
	       (slice_is(name, text) ||
		(slice_u64(rest, &index) && index < RECORD_MAX_ENVELOPES));
}

static int read_ids(struct selection *selection, const struct json *ids,
		    struct err *err)
{
	struct buf text = BUF_INIT;

	if (!ids || json_type(ids) == JSON_NULL)
		return 0;
	if (json_type(ids) != JSON_ARRAY || json_count(ids) > IDS_MAX)
		return err_set(err, "ids is a list of ID or ID:ENVELOPE");
	for (const struct json *id = json_first(ids); id; id = json_next(id))
		if (!json_text(id) || !is_name(json_text(id)))
			return err_set(err,
				       "'%s' names no envelope: give ID or "
				       "ID:ENVELOPE, as `queue list` shows "
				       "them",
				       json_text(id) ? json_text(id) : "");
	if (json_count(ids) == 0)
		return 0;
	json_print(ids, &text);
	selection->select.ids = own(selection, buf_take(&text));
	json_put(selection->as_said, "ids", json_copy(ids));
	return 0;
}

static const char *read_word(struct selection *selection,
			     selection_word_fn *word, const void *ctx,
			     const char *name)
{
	const char *text = word(ctx, name);

	if (!text)
		return NULL;
	json_put_text(selection->as_said, name, text);
	return own(selection, mem_dup(text));
}

static int read_times(struct selection *selection, selection_word_fn *word,
		      const void *ctx, int64_t now_ms, struct err *err)
{
	struct index_select *select = &selection->select;
	const char *older = word(ctx, "older_than"), *since;
	int64_t age_ms;

	since = word(ctx, "since");
	if (older && clock_parse_duration(slice(older), &age_ms, NULL) < 0)
		return err_set(err, "older_than is a duration: 90s, 15m, 2h, "
				    "3d");
	if (since &&
	    clock_parse(slice(since), &select->ended_since_ms, NULL) < 0)
		return err_set(err, "since is a time with its zone: "
				    "2026-12-05T22:00:00+01:00");
	if (older) {
		select->accepted_before_ms = now_ms - age_ms;
		json_put_text(selection->as_said, "older_than", older);
		selection->is_given = true;
	}
	if (since) {
		json_put_text(selection->as_said, "since", since);
		selection->is_given = true;
	}
	return 0;
}

/* Domains may have systems of their own: all of their hosts count. */
static int read_delivered_to(struct selection *selection,
			     const struct cutover *cutover,
			     selection_word_fn *word, const void *ctx,
			     struct err *err)
{
	const char *system = word(ctx, "delivered_to");
	struct buf text = BUF_INIT;
	struct json *names;
	bool is_new;

	if (!system)
		return 0;
	is_new = strcmp(system, "new") == 0;
	if (!is_new && strcmp(system, "old") != 0)
		return err_set(err, "delivered_to is old or new");
	names = json_array();
	for (size_t i = 0; i < cutover->plan->domain_count; i++)
		json_add_text(names,
			      cutover->domains[i].targets[is_new]->target.name);
	json_print(names, &text);
	json_free(names);
	json_put_text(selection->as_said, "delivered_to", system);
	selection->select.targets = own(selection, buf_take(&text));
	return 0;
}

int selection_read(struct selection *selection, const struct cutover *cutover,
		   const struct json *ids, selection_word_fn *word,
		   const void *ctx, int64_t now_ms, struct err *err)
{
	struct index_select *select = &selection->select;
	enum envelope_state state;

	*selection = (struct selection){ .as_said = json_object() };
	select->plan = cutover->plan->name;
	select->limit = SELECTION_PAGE;
	select->state = read_word(selection, word, ctx, "state");
	select->recipient = read_word(selection, word, ctx, "recipient");
	select->sender = read_word(selection, word, ctx, "sender");
	select->domain = read_word(selection, word, ctx, "domain");
	select->reply = read_word(selection, word, ctx, "reply");
	if (select->state && !envelope_state_parse(select->state, &state))
		return err_set(err, "state is one of waiting, held, "
				    "delivered, bounced, discarded");
	if (select->sender && strcmp(select->sender, "<>") == 0)
		select->sender = "";
	if (read_times(selection, word, ctx, now_ms, err) < 0 ||
	    read_delivered_to(selection, cutover, word, ctx, err) < 0)
		return -1;
	return read_ids(selection, ids, err);
}

void selection_release(struct selection *selection)
{
	for (size_t i = 0; i < selection->count; i++)
		free(selection->texts[i]);
	json_free(selection->as_said);
	*selection = (struct selection){ 0 };
}

/* Walks. */

struct selection_walk {
	struct index *index;
	struct index_select select; /* texts in `texts` */
	char *plan, *texts[7];
	enum selection_rows kind;
	selection_page_fn *page;
	void *ctx;
	bool asked, freed; /* the last answer frees it then */
};

static const char *keep(struct selection_walk *walk, size_t at,
			const char *text)
{
	return walk->texts[at] = mem_dup(text);
}

struct selection_walk *selection_walk_new(struct index *index,
					  const struct selection *selection,
					  enum selection_rows kind)
{
	const struct index_select *from = &selection->select;
	struct selection_walk *walk = mem_alloc(sizeof(*walk));
	struct index_select *select = &walk->select;

	walk->index = index;
	walk->kind = kind;
	walk->plan = mem_dup(from->plan);
	*select = *from;
	select->plan = walk->plan;
	select->ids = keep(walk, 0, from->ids);
	select->state = keep(walk, 1, from->state);
	select->recipient = keep(walk, 2, from->recipient);
	select->sender = keep(walk, 3, from->sender);
	select->domain = keep(walk, 4, from->domain);
	select->reply = keep(walk, 5, from->reply);
	select->targets = keep(walk, 6, from->targets);
	return walk;
}

void selection_walk_free(struct selection_walk *walk)
{
	if (!walk)
		return;
	walk->freed = true;
	if (walk->asked)
		return;
	free(walk->plan);
	for (size_t i = 0; i < COUNT(walk->texts); i++)
		free(walk->texts[i]);
	free(walk);
}

static const struct json *last_of(const struct json *rows)
{
	const struct json *last = NULL;

	for (const struct json *row = json_first(rows); row;
	     row = json_next(row))
		last = row;
	return last;
}

static void page_came(void *ctx, struct json *rows, const struct err *err)
{
	struct selection_walk *walk = ctx;
	const struct json *last = last_of(rows);
	bool more = last && json_count(rows) >= SELECTION_PAGE &&
		    slice_u64(slice(json_get_text(last, "sequence")),
			      &walk->select.after_sequence);

	walk->asked = false;
	if (more)
		walk->select.after_envelope =
			(uint32_t)json_get_number(last, "envelope", 0);
	if (walk->freed)
		selection_walk_free(walk);
	else
		walk->page(walk->ctx, rows, more, err);
	json_free(rows);
}

void selection_walk_on(struct selection_walk *walk, selection_page_fn *page,
		       void *ctx)
{
	walk->page = page;
	walk->ctx = ctx;
	walk->asked = true;
	if (walk->kind == SELECTION_COPIES)
		index_copies(walk->index, &walk->select, page_came, walk);
	else
		index_list(walk->index, &walk->select, page_came, walk);
}

struct rows {
	struct selection_walk *walk;
	selection_row_fn *each;
	selection_done_fn *done;
	void *ctx;
};

static void rows_came(void *ctx, const struct json *page, bool more,
		      const struct err *err)
{
	struct rows *rows = ctx;

	for (const struct json *row = json_first(page); row;
	     row = json_next(row))
		if (!rows->each(rows->ctx, row)) {
			more = false;
			break;
		}
	if (more) {
		selection_walk_on(rows->walk, rows_came, rows);
		return;
	}
	rows->done(rows->ctx, err);
	selection_walk_free(rows->walk);
	free(rows);
}

void selection_rows(struct index *index, const struct selection *selection,
		    selection_row_fn *each, selection_done_fn *done, void *ctx)
{
	struct rows *rows = mem_alloc(sizeof(*rows));

	rows->walk = selection_walk_new(index, selection, SELECTION_ENVELOPES);
	rows->each = each;
	rows->done = done;
	rows->ctx = ctx;
	selection_walk_on(rows->walk, rows_came, rows);
}
