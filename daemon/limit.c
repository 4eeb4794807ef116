#include "daemon/limit.h"
#include "base/buf.h"
#include "base/map.h"
#include <ctype.h>
#include <stdlib.h>

struct moment { /* of one delivery */
	int64_t at_ms;
	uint64_t sender; /* hash of its reverse-path */
};

struct line {
	size_t count, room;
	struct moment at[]; /* by time */
};

struct limit {
	struct provider_rate mailbox, pair;
	int64_t span_ms; /* the longer one */
	struct map lines;
	int64_t swept_ms;
};

struct limit *limit_new(struct provider_rate mailbox, struct provider_rate pair)
{
	struct limit *limit = mem_alloc(sizeof(*limit));

	limit->mailbox = mailbox;
	limit->pair = pair;
	if (mailbox.number > 0)
		limit->span_ms = mailbox.span_ms;
	if (pair.number > 0 && pair.span_ms > limit->span_ms)
		limit->span_ms = pair.span_ms;
	return limit;
}

static void line_free(void *ctx, struct slice key, void *value)
{
	free(value);
}

void limit_free(struct limit *limit)
{
	if (!limit)
		return;
	map_each(&limit->lines, line_free, NULL);
	map_release(&limit->lines);
	free(limit);
}

bool limit_is_set(const struct limit *limit)
{
	return limit->span_ms > 0;
}

int64_t limit_span_ms(const struct limit *limit)
{
	return limit->span_ms;
}

size_t limit_mailboxes(const struct limit *limit)
{
	return limit->lines.count;
}

struct provider_rate limit_rate(const struct limit *limit, enum limit_kind kind)
{
	return kind == LIMIT_PAIR ? limit->pair : limit->mailbox;
}

/* FNV-1a; addresses differ by more than their case for few senders, and a
 * provider takes them as one. */
static uint64_t sender_of(const char *reverse_path)
{
	uint64_t hash = 14695981039346656037ull;

	for (; *reverse_path; reverse_path++) {
		hash ^= (uint64_t)tolower((unsigned char)*reverse_path);
		hash *= 1099511628211ull;
	}
	return hash;
}

/* What is over, or lies in the future as the clock was set back, goes. */
static void line_forget(struct line *line, int64_t span_ms, int64_t now_ms)
{
	size_t kept = 0;

	for (size_t i = 0; i < line->count; i++)
		if (line->at[i].at_ms > now_ms - span_ms &&
		    line->at[i].at_ms <= now_ms)
			line->at[kept++] = line->at[i];
	line->count = kept;
}

/* When `rate` has room again for what `matches` counts; 0: now. */
static int64_t free_at(const struct line *line, struct provider_rate rate,
		       const uint64_t *sender, int64_t now_ms)
{
	unsigned seen = 0;

	if (rate.number == 0)
		return 0;
	/* From the newest back: the one whose going makes room. */
	for (size_t i = line->count; i-- > 0;) {
		const struct moment *at = &line->at[i];

		if (at->at_ms <= now_ms - rate.span_ms)
			return 0;
		if (!sender || at->sender == *sender)
			seen++;
		if (seen == rate.number)
			return at->at_ms + rate.span_ms;
	}
	return 0;
}

int64_t limit_until_ms(struct limit *limit, const char *mailbox,
		       const char *reverse_path, int64_t now_ms,
		       enum limit_kind *kind)
{
	struct line *line = map_get(&limit->lines, slice(mailbox));
	uint64_t sender = sender_of(reverse_path);
	int64_t of_mailbox, of_pair;

	if (kind)
		*kind = LIMIT_NONE;
	if (!line)
		return 0;
	line_forget(line, limit->span_ms, now_ms);
	of_mailbox = free_at(line, limit->mailbox, NULL, now_ms);
	of_pair = free_at(line, limit->pair, &sender, now_ms);
	if (kind && (of_mailbox || of_pair))
		*kind = of_pair > of_mailbox ? LIMIT_PAIR : LIMIT_MAILBOX;
	return of_pair > of_mailbox ? of_pair : of_mailbox;
}

struct sweep {
	struct limit *limit;
	struct map left;
	int64_t now_ms;
};

static void sweep_one(void *ctx, struct slice key, void *value)
{
	struct sweep *sweep = ctx;
	struct line *line = value;

	line_forget(line, sweep->limit->span_ms, sweep->now_ms);
	if (line->count > 0)
		map_put(&sweep->left, key, line);
	else
		free(line);
}

/* Once per span, so that a mailbox of last week costs nothing. */
static void sweep(struct limit *limit, int64_t now_ms)
{
	struct sweep sweep = { .limit = limit, .now_ms = now_ms };

	if (now_ms >= limit->swept_ms &&
	    now_ms - limit->swept_ms < limit->span_ms)
		return;
	limit->swept_ms = now_ms;
	map_each(&limit->lines, sweep_one, &sweep);
	map_release(&limit->lines);
	limit->lines = sweep.left;
}

void limit_count(struct limit *limit, const char *mailbox,
		 const char *reverse_path, int64_t at_ms, int64_t now_ms)
{
	struct line *line;
	size_t at;

	if (!limit_is_set(limit) || at_ms <= now_ms - limit->span_ms)
		return;
	sweep(limit, now_ms);
	line = map_get(&limit->lines, slice(mailbox));
	if (line && line->count == line->room)
		line_forget(line, limit->span_ms, now_ms);
	if (!line || line->count == line->room) {
		size_t room = line ? line->room * 2 : 4;
		bool is_new = !line;

		line = mem_grow(line, sizeof(*line) + room * sizeof(*line->at));
		line->room = room;
		if (is_new)
			line->count = 0;
		map_put(&limit->lines, slice(mailbox), line);
	}
	for (at = line->count; at > 0 && line->at[at - 1].at_ms > at_ms; at--)
		line->at[at] = line->at[at - 1];
	line->at[at] = (struct moment){ at_ms, sender_of(reverse_path) };
	line->count++;
}
