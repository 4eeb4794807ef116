#include "daemon/replay.h"
#include "base/clock.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>

#define LOG_MODULE "replay"

enum {
	IDLE_MS = 2000, /* a session without work says QUIT */
	/* What takes longer may be the way's, not the target's. */
	SMALL_BYTES = 64 * 1024,
	DOWN_MIN_MS = 500,
	DOWN_MAX_MS = 15000,
	STUCK_TRIES = 6,
	UNCERTAIN_MAX = 2, /* the second uncertain outcome is held */
	MAX_ADDRS = 8,
	ADDRS_MS = 60000, /* then they are asked for again */
	KEEP_AGAIN_MS = 1000,
};

struct feed {
	struct list link;
	struct queue_domain *domain;
	bool open;
	struct tls_terms *terms; /* what its mail demands, or NULL */
	bool known;		 /* that was found out once */
	size_t due;		 /* mailboxes, as the last pump saw them */
	size_t opening;		 /* sessions for them that are not up yet */
	bool passed;		 /* it is another one's turn */
};

struct link { /* a delivery and what we know of it */
	struct list link;
	struct replay *replay;
	struct feed *feed; /* for whose mail it was opened */
	struct delivery *delivery;
	bool ready; /* was idle at least once */
	bool idle;
	int64_t idle_since_ms, begun_ms;
	unsigned jobs;
	bool paced;		      /* its job counts in the pace */
	int64_t job_ms;		      /* when that began; 0: it is large */
	bool deferred, slow, refused; /* what this job met */
	bool over;		      /* it takes no further job */
	bool mute;		      /* or it met no answer */
};

struct replay {
	struct loop *loop;
	struct replay_spec spec;
	const struct replay_owner *owner;
	void *ctx;
	struct pace pace;
	struct limit *limit;
	struct list feeds;
	struct list links;
	struct list settlements;
	struct loop_timer *timer, *keep_timer;
	struct addr addrs[MAX_ADDRS];
	size_t addr_count, addr_next;
	int64_t addrs_until_ms; /* mono */
	bool resolving;
	struct token *token; /* guards the resolver's callback */
	int64_t down_until_ms, down_ms;
	struct trust_waiter waiter;
	int64_t delivered_ms; /* wall: the last that the target took */
};

struct token {
	struct replay *replay; /* NULL: it is gone */
};

/* An outcome on its way to the disk. */
struct settlement {
	struct list link;
	struct replay *replay;
	struct queue_envelope *envelope;
	struct reply_meaning meaning;
	struct smtp_reply reply;
	enum smtp_stage stage;
	enum envelope_state outcome;
	bool hold_mailbox, uncertain;
	bool of_domain; /* it is the domain that is refused */
	bool again;	/* the session was over before it began */
	bool unkept;	/* its record failed, and is written again */
	uint32_t number;
	char *tls;
	int64_t at_ms, next_ms;
	char reason[SMTP_REPLY_TEXT + 320];
};

static void pump(void *ctx);

void replay_kick(struct replay *replay)
{
	loop_timer_arm(replay->timer, 0);
}

static void kick(void *ctx)
{
	replay_kick(ctx);
}

/* Outcomes. */

static int64_t backoff(const struct plan_timing *timing, uint32_t attempts)
{
	int64_t wait = timing->retry_min;

	while (--attempts > 0 && wait < timing->retry_max)
		wait *= 2;
	return wait < timing->retry_max ? wait : timing->retry_max;
}

static void hold_one(struct replay *replay, struct queue_envelope *envelope,
		     bool mailbox, const char *reason)
{
	struct record_state state = {
		.id = envelope->message->id,
		.envelope = envelope->index,
		.state = ENVELOPE_HELD,
		.mailbox = mailbox,
		.at_ms = clock_wall_ms(),
		.by = slice("tideoverd"),
		.reason = slice(reason),
	};

	store_state(replay->spec.store, envelope->mailbox->domain->plan, &state,
		    NULL, NULL);
	queue_hold(envelope, mailbox);
}

/* Everything behind a refused mailbox waits for a person as well. */
static void hold_line(struct replay *replay, struct queue_mailbox *mailbox,
		      const char *reason)
{
	list_each (it, next, &mailbox->line)
		hold_one(replay, list_entry(it, struct queue_envelope, line),
			 true, reason);
}

static void apply(struct settlement *s)
{
	struct queue_envelope *envelope = s->envelope;
	struct queue_mailbox *mailbox = envelope->mailbox;

	switch (s->outcome) {
	case ENVELOPE_DELIVERED:
		queue_final(envelope, ENVELOPE_DELIVERED);
		break;
	case ENVELOPE_HELD:
		hold_one(s->replay, envelope, s->hold_mailbox, s->reason);
		if (s->hold_mailbox)
			hold_line(s->replay, mailbox, s->reason);
		break;
	default:
		queue_defer(envelope, s->next_ms);
		break;
	}
}

static void settlement_free(struct settlement *s)
{
	list_remove(&s->link);
	free(s->tls);
	free(s);
}

static void settled(void *ctx, const struct spool_place *place,
		    const struct err *err)
{
	struct settlement *s = ctx;
	struct replay *replay = s->replay;

	if (replay && err && !spool_writer_broken(replay->spec.store->spool)) {
		/* Nothing of its mailbox moves until it is. */
		log_warn("an outcome could not be kept, it is written again: "
			 "%s",
			 err->text);
		s->unkept = true;
		loop_timer_arm(replay->keep_timer, KEEP_AGAIN_MS);
		return;
	}
	if (replay && !err) {
		const struct queue_envelope *envelope = s->envelope;
		struct replay_outcome outcome = {
			.domain = s->envelope->mailbox->domain,
			.act = s->meaning.act,
			.scope = s->meaning.scope,
			.remedy = s->meaning.remedy,
			.reply = &s->reply,
			.stage = s->stage,
		};

		if (s->outcome == ENVELOPE_DELIVERED || s->uncertain)
			limit_count(replay->limit, envelope->mailbox->key,
				    envelope->message->reverse_path, s->at_ms,
				    clock_wall_ms());
		apply(s);
		replay->owner->on_outcome(replay->ctx, replay, &outcome);
		replay_kick(replay);
	} else if (replay) {
		/* Not durable: delivered or not, only a restart may tell.  The
		 * claim stays open, so nothing of this mailbox moves. */
		log_error("an outcome could not be kept: %s", err->text);
	}
	settlement_free(s);
}

static void keep(struct settlement *s)
{
	const struct replay *replay = s->replay;
	const struct queue_envelope *envelope = s->envelope;
	const struct record_attempt attempt = {
		.id = envelope->message->id,
		.envelope = envelope->index,
		.number = s->number,
		.at_ms = s->at_ms,
		.target = slice(replay->spec.target->name),
		.tls = slice(s->tls),
		.stage = slice(smtp_stage_name(s->stage)),
		.code = (uint16_t)s->reply.code,
		.enhanced = slice(s->reply.enhanced),
		.reply = slice(s->reply.text),
		.outcome = s->outcome,
		.mailbox = s->hold_mailbox,
		.uncertain = s->uncertain,
		.next_ms = s->outcome == ENVELOPE_WAITING ? s->next_ms : 0,
	};

	s->unkept = false;
	store_attempt(replay->spec.store, envelope->mailbox->domain->plan,
		      &attempt, settled, s);
}

static void keep_again(void *ctx)
{
	struct replay *replay = ctx;

	list_each (it, next, &replay->settlements) {
		struct settlement *s = list_entry(it, struct settlement, link);

		if (s->unkept)
			keep(s);
	}
}

/* Once more not taken, though its recipient was: in the end it is held, if the
 * target took something since the first time. */
static void defer_data(struct settlement *s, int64_t taken_ms)
{
	struct queue_envelope *envelope = s->envelope;
	int64_t after = s->replay->spec.plan->timing.stuck_after;

	if (envelope->data_deferrals++ == 0)
		envelope->stuck_since_ms = s->at_ms;
	if (envelope->data_deferrals < STUCK_TRIES ||
	    s->at_ms - envelope->stuck_since_ms < after ||
	    taken_ms < envelope->stuck_since_ms)
		return;
	s->outcome = ENVELOPE_HELD;
	s->meaning.act = ACT_HOLD;
	s->meaning.scope = SCOPE_MESSAGE;
}

static void decide(struct settlement *s)
{
	struct replay *replay = s->replay;
	struct queue_envelope *envelope = s->envelope;
	const struct plan_timing *timing = &replay->spec.plan->timing;
	int64_t now = s->at_ms;
	bool data = s->stage == SMTP_STAGE_DATA || s->stage == SMTP_STAGE_DOT;
	char code[SMTP_REPLY_CODE];

	s->outcome = ENVELOPE_WAITING;
	s->next_ms = now + backoff(timing, envelope->attempts);
	smtp_reply_code(&s->reply, code);
	snprintf(s->reason, sizeof(s->reason), "%s answered %s %s: %s",
		 smtp_stage_name(s->stage), code, s->reply.text,
		 s->meaning.remedy);
	if (s->again) {
		s->next_ms = now;
		return;
	}
	if (s->reply.code == 0) {
		s->uncertain = s->stage == SMTP_STAGE_DOT;
		/* It may be the message that ends the session, if others do
		 * not. */
		if (s->stage == SMTP_STAGE_DATA)
			defer_data(s, replay->delivered_ms);
		if (s->outcome == ENVELOPE_HELD)
			snprintf(s->reason, sizeof(s->reason),
				 "the session ends each time within this "
				 "message (%s), and not with others: see what "
				 "the target's log says of it",
				 s->reply.text);
		if (!s->uncertain)
			return;
		if (++envelope->uncertain >= UNCERTAIN_MAX) {
			s->outcome = ENVELOPE_HELD;
			snprintf(s->reason, sizeof(s->reason),
				 "twice no reply after the final dot (%s): it "
				 "may have been delivered already",
				 s->reply.text);
		}
		return;
	}
	switch (s->meaning.act) {
	case ACT_DELIVERED:
		s->outcome = ENVELOPE_DELIVERED;
		replay->delivered_ms = now;
		break;
	case ACT_HOLD:
		if (s->meaning.scope == SCOPE_MAILBOX &&
		    replay->owner->refuses_all(replay->ctx, replay,
					       envelope->mailbox->domain)) {
			s->meaning.act = ACT_CLOSE;
			s->meaning.scope = SCOPE_TARGET;
			s->of_domain = true;
			break;
		}
		s->outcome = ENVELOPE_HELD;
		s->hold_mailbox = s->meaning.scope == SCOPE_MAILBOX;
		break;
	case ACT_DEFER:
		if (data)
			defer_data(s, now);
		break;
	case ACT_CLOSE:
		break;
	}
}

/*
 * A session that has carried messages and takes no further one tells nothing of
 * the target or of the next message: many end a session after so many, with 421
 * to the next MAIL or without a word.  That message goes on in another one.
 */
static bool session_was_over(const struct link *link, enum smtp_stage stage,
			     const struct smtp_reply *reply)
{
	if (link->jobs < 2)
		return false;
	return (stage == SMTP_STAGE_MAIL &&
		(reply->code == 0 || reply->code == 421)) ||
	       (stage == SMTP_STAGE_RCPT && reply->code == 0);
}

static void on_outcome(void *ctx, struct delivery *delivery, size_t index,
		       enum smtp_stage stage, const struct smtp_reply *reply)
{
	struct link *link = ctx;
	struct replay *replay = link->replay;
	struct settlement *s = mem_alloc(sizeof(*s));

	s->replay = replay;
	s->envelope = delivery_claim(delivery, index);
	s->reply = *reply;
	s->stage = stage;
	s->at_ms = clock_wall_ms();
	s->meaning =
		provider_reply(replay->spec.target->provider, stage, reply);
	s->again = session_was_over(link, stage, reply);
	link->over |= s->again;
	s->number = ++s->envelope->attempts;
	s->tls = mem_dup(delivery_tls(delivery));
	list_append(&replay->settlements, &s->link);
	decide(s);
	if (s->meaning.act == ACT_DEFER && reply->code != 0 && !s->again &&
	    s->meaning.scope == SCOPE_TARGET) {
		link->deferred = true;
		link->slow |= s->meaning.slow;
	}
	link->mute |= reply->code == 0;
	if (s->meaning.act == ACT_CLOSE && reply->code != 0) {
		link->refused = true;
		replay->owner->on_refused(
			replay->ctx, replay,
			s->of_domain ? s->envelope->mailbox->domain : NULL,
			s->reason);
	}
	keep(s);
}

/* Links. */

static void pace_end(struct link *link)
{
	struct pace *pace = &link->replay->pace;
	int64_t now = clock_mono_ms();

	if (!link->paced)
		return;
	link->paced = false;
	if (link->deferred)
		pace_deferred(pace, now, link->slow);
	else if (link->refused || link->over || link->mute)
		pace_neutral(pace);
	else
		pace_accepted(pace, now, link->job_ms ? now - link->job_ms : 0);
}

static void give_back(struct queue_envelope *const *claims, size_t count)
{
	for (size_t i = 0; i < count; i++)
		queue_defer(claims[i], 0);
}

static void give_back_next(struct link *link)
{
	struct queue_envelope *claims[DELIVERY_MAX_RCPT];

	give_back(claims, delivery_next_claims(link->delivery, claims));
}

/* What it had begun or was to begin goes back to its place. */
static void link_free(struct link *link)
{
	struct queue_envelope *claims[DELIVERY_MAX_RCPT];

	give_back(claims, delivery_open_claims(link->delivery, claims));
	give_back_next(link);
	if (!link->ready)
		link->feed->opening--;
	list_remove(&link->link);
	delivery_free(link->delivery);
	free(link);
}

static void back_off(struct replay *replay)
{
	replay->down_ms = replay->down_ms ? replay->down_ms * 2 : DOWN_MIN_MS;
	if (replay->down_ms > DOWN_MAX_MS)
		replay->down_ms = DOWN_MAX_MS;
	replay->down_until_ms = clock_mono_ms() + replay->down_ms;
}

/* What a feed's mail demands is asked afresh. */
static enum trust_state look_at_terms(struct replay *replay, struct feed *feed)
{
	struct trust_answer answer =
		trust_look(replay->spec.trust, feed->domain->name);

	if (answer.state == TRUST_KNOWN) {
		tls_terms_free(feed->terms);
		feed->terms = tls_terms_share(answer.terms);
		feed->known = true;
		return answer.state;
	}
	if (answer.state == TRUST_ASKING) {
		trust_wait(replay->spec.trust, &replay->waiter);
		return answer.state;
	}
	/* Another feed has met it already. */
	if (!answer.of_domain && clock_mono_ms() < replay->down_until_ms)
		return answer.state;
	log_warn("%s: %s", replay->spec.target->name, answer.why);
	if (answer.of_domain) {
		replay->owner->on_untrusted(replay->ctx, replay, feed->domain,
					    answer.why);
		return answer.state;
	}
	back_off(replay);
	replay->owner->on_health(replay->ctx, replay, false, answer.why);
	if (answer.state == TRUST_REFUSED)
		replay->owner->on_refused(replay->ctx, replay, NULL,
					  answer.why);
	return answer.state;
}

/* A session that is up goes on by what was known while that is asked again. */
static bool may_carry(struct link *link, struct feed *feed)
{
	enum trust_state state = look_at_terms(link->replay, feed);

	return (state == TRUST_KNOWN ||
		(state == TRUST_ASKING && feed->known)) &&
	       delivery_meets(link->delivery, feed->terms);
}

/* The oldest of all open feeds; order matters per mailbox alone, but nobody
 * should wait because another domain has more mail. */
static struct feed *oldest_due(const struct replay *replay, int64_t now_ms)
{
	struct feed *oldest = NULL;
	uint64_t turn = UINT64_MAX;

	list_each (it, next, (struct list *)&replay->feeds) {
		struct feed *feed = list_entry(it, struct feed, link);
		const struct queue_heap *ready = &feed->domain->ready;

		if (!feed->open || feed->passed ||
		    queue_next_due(feed->domain) > now_ms)
			continue;
		if (ready->count > 0 && ready->at[0]->turn < turn) {
			turn = ready->at[0]->turn;
			oldest = feed;
		} else if (!oldest) {
			oldest = feed;
		}
	}
	return oldest;
}

static void pass_none(struct replay *replay)
{
	list_each (it, next, &replay->feeds)
		list_entry(it, struct feed, link)->passed = false;
}

/* No session will carry its mail: the next free place is for one that does. */
static bool needs_session(const struct replay *replay, const struct feed *feed)
{
	if (!feed->known || feed->opening > 0 ||
	    clock_mono_ms() < replay->down_until_ms)
		return false;
	list_each (it, next, (struct list *)&replay->links) {
		const struct link *link = list_entry(it, struct link, link);

		if (link->ready && delivery_meets(link->delivery, feed->terms))
			return false;
	}
	return true;
}

/* What is next for this session, into `claims`; 0: nothing is due that it may
 * carry and that its limits let go, or it gives way. */
static size_t claim_oldest(struct link *link, struct queue_envelope **claims,
			   struct tls_terms **terms)
{
	struct replay *replay = link->replay;
	int64_t now = clock_wall_ms();
	bool passed = false;
	struct feed *oldest;
	size_t count = 0;

	while (count == 0 && (oldest = oldest_due(replay, now))) {
		if (may_carry(link, oldest)) {
			count = queue_claim(oldest->domain, now, claims,
					    DELIVERY_MAX_RCPT);
			*terms = oldest->terms;
		} else if (needs_session(replay, oldest)) {
			break;
		} else {
			oldest->passed = passed = true;
		}
	}
	if (passed)
		pass_none(replay);
	return count;
}

static void job_begins(struct link *link, const struct queue_message *message)
{
	link->idle = false;
	link->paced = true;
	link->jobs++;
	link->deferred = link->slow = link->refused = link->mute = false;
	link->job_ms = message->body_bytes > SMALL_BYTES ? 0 : clock_mono_ms();
	pace_begin(&link->replay->pace, clock_mono_ms());
}

static bool give_job(struct link *link)
{
	struct replay *replay = link->replay;
	struct queue_envelope *claims[DELIVERY_MAX_RCPT];
	struct tls_terms *terms;
	size_t count;

	if (!pace_may(&replay->pace, clock_mono_ms()))
		return false;
	count = claim_oldest(link, claims, &terms);
	if (count == 0)
		return false;
	job_begins(link, claims[0]->message);
	delivery_job(link->delivery, claims, count, terms);
	return true;
}

/* While another session has room for it, the next message need not wait here. */
static size_t on_more(void *ctx, struct delivery *delivery,
		      struct queue_envelope **claims, struct tls_terms **terms)
{
	struct link *link = ctx;

	if (!pace_may_follow(&link->replay->pace, clock_mono_ms()))
		return 0;
	return claim_oldest(link, claims, terms);
}

static bool feeds(const struct replay *replay,
		  const struct queue_domain *domain)
{
	list_each (it, next, (struct list *)&replay->feeds) {
		struct feed *feed = list_entry(it, struct feed, link);

		if (feed->domain == domain)
			return feed->open;
	}
	return false;
}

/* Meanwhile the valve may have closed, or the flight narrowed. */
static bool on_next(void *ctx, struct delivery *delivery)
{
	struct link *link = ctx;
	struct replay *replay = link->replay;
	struct queue_envelope *claims[DELIVERY_MAX_RCPT];

	pace_end(link);
	delivery_next_claims(delivery, claims);
	if (!feeds(replay, claims[0]->mailbox->domain) ||
	    !pace_may(&replay->pace, clock_mono_ms())) {
		give_back_next(link);
		return false;
	}
	job_begins(link, claims[0]->message);
	return true;
}

static void on_idle(void *ctx, struct delivery *delivery)
{
	struct link *link = ctx;
	struct replay *replay = link->replay;

	pace_end(link);
	if (!link->ready) {
		link->ready = true;
		link->feed->opening--;
		replay->down_ms = 0;
		replay->owner->on_health(replay->ctx, replay, true, NULL);
	}
	link->idle = true;
	link->idle_since_ms = clock_mono_ms();
	replay_kick(replay);
}

/* Nobody could be greeted: the target is down for a while, or cannot prove what
 * the domain demands. */
static void unreachable(struct replay *replay, struct link *link,
			enum smtp_stage stage, const struct smtp_reply *reply,
			const char *why)
{
	struct reply_meaning meaning =
		provider_reply(replay->spec.target->provider, stage, reply);
	const struct tls_terms *terms = stage == SMTP_STAGE_STARTTLS ?
						delivery_terms(link->delivery) :
						NULL;
	char error[400];

	replay->addr_next++;
	replay->addrs_until_ms = 0; /* it may have moved */
	snprintf(error, sizeof(error), "%s: %s%s%s%s", smtp_stage_name(stage),
		 why, terms ? "; demanded by " : "", terms ? terms->why : "",
		 terms ? ": repair one of the two" : "");
	if (terms)
		trust_forget(replay->spec.trust);
	log_warn("%s: %s", replay->spec.target->name, error);
	if (terms && terms->verified) {
		replay->owner->on_untrusted(replay->ctx, replay,
					    link->feed->domain, error);
		return;
	}
	back_off(replay);
	replay->owner->on_health(replay->ctx, replay, false, error);
	if ((reply->code >= 500 && meaning.act == ACT_CLOSE) ||
	    stage == SMTP_STAGE_STARTTLS)
		replay->owner->on_refused(replay->ctx, replay, NULL, error);
}

static void on_end(void *ctx, struct delivery *delivery, enum smtp_stage stage,
		   const struct smtp_reply *reply, const char *why)
{
	struct link *link = ctx;
	struct replay *replay = link->replay;

	if (why && reply->code == 421 && !link->over)
		link->deferred = true;
	pace_end(link);
	list_remove(&link->link);
	if (why && !link->ready)
		unreachable(replay, link, stage, reply, why);
	replay_kick(replay);
	/* `reply` and `why` are the delivery's: it goes last. */
	link_free(link);
}

static void on_late(void *ctx, struct delivery *delivery)
{
	struct link *link = ctx;

	give_back_next(link);
	replay_kick(link->replay);
}

static const struct delivery_owner delivery_owner = {
	.on_idle = on_idle,
	.on_outcome = on_outcome,
	.on_more = on_more,
	.on_next = on_next,
	.on_late = on_late,
	.on_end = on_end,
};

static void link_new(struct replay *replay, struct feed *feed)
{
	struct link *link = mem_alloc(sizeof(*link));
	const struct plan *plan = replay->spec.plan;
	size_t at = replay->addr_next % replay->addr_count;

	link->replay = replay;
	link->feed = feed;
	feed->opening++;
	link->begun_ms = clock_mono_ms();
	list_append(&replay->links, &link->link);
	link->delivery = delivery_new(
		&(struct delivery_spec){
			.loop = replay->loop,
			.store = replay->spec.store,
			.address = replay->addrs[at],
			.name = replay->spec.target->name,
			.server_name = replay->spec.target->host,
			.helo = replay->spec.helo,
			.tls = replay->spec.tls,
			.policy = plan->replay.tls,
			.terms = feed->terms,
			.data_reply_ms = plan->timing.data_reply,
		},
		&delivery_owner, link);
}

/* Addresses of the target. */

static void resolved(void *ctx, const struct addr *addrs, size_t count,
		     const char *why)
{
	struct token *token = ctx;
	struct replay *replay = token->replay;

	free(token);
	if (!replay)
		return;
	replay->token = NULL;
	replay->resolving = false;
	replay->addrs_until_ms = clock_mono_ms() + ADDRS_MS;
	/* What cannot be asked now has not changed. */
	if (count == 0 && replay->addr_count > 0) {
		log_warn("%s: %s: its last addresses stay",
			 replay->spec.target->name, why ? why : "no address");
		return;
	}
	if (count == 0) {
		replay->down_until_ms = clock_mono_ms() + DOWN_MAX_MS;
		replay->owner->on_health(replay->ctx, replay, false,
					 why ? why : "no address");
	}
	replay->addr_count = count < MAX_ADDRS ? count : MAX_ADDRS;
	for (size_t i = 0; i < replay->addr_count; i++)
		replay->addrs[i] = addrs[i];
	replay_kick(replay);
}

static void resolve(struct replay *replay)
{
	struct target *target = replay->spec.target;

	if (addr_from_ip(slice(target->host), target->port, &replay->addrs[0],
			 NULL) == 0) {
		replay->addr_count = 1;
		replay->addrs_until_ms = INT64_MAX;
		return;
	}
	if (replay->resolving)
		return;
	if (!replay->spec.resolver) {
		replay->down_until_ms = clock_mono_ms() + DOWN_MAX_MS;
		replay->owner->on_health(replay->ctx, replay, false,
					 "no resolver for its name");
		return;
	}
	replay->resolving = true;
	replay->token = mem_alloc(sizeof(*replay->token));
	replay->token->replay = replay;
	dns_resolve_host(replay->spec.resolver, target->host, target->port,
			 resolved, replay->token);
}

/* The pump: idle sessions first, then new ones, then a time to come back. */

/* What sleeps and is due comes into memory, be there a session or not. */
static void look_at_feeds(struct replay *replay, int64_t now_ms)
{
	list_each (it, next, &replay->feeds) {
		struct feed *feed = list_entry(it, struct feed, link);

		if (feed->open)
			queue_look(feed->domain, now_ms);
	}
}

static size_t due_mailboxes(const struct replay *replay, int64_t now_ms)
{
	size_t due = 0;

	list_each (it, next, (struct list *)&replay->feeds) {
		struct feed *feed = list_entry(it, struct feed, link);

		feed->due = 0;
		if (!feed->open)
			continue;
		feed->due = feed->domain->ready.count;
		if (feed->domain->later.count > 0 &&
		    queue_next_due(feed->domain) <= now_ms)
			feed->due++;
		due += feed->due;
	}
	return due;
}

/* Whose mail the next session is for: the oldest that has none, and of which it
 * is known what it demands. */
static struct feed *feed_to_open(struct replay *replay, int64_t now_ms)
{
	struct feed *oldest;

	list_each (it, next, &replay->feeds) {
		struct feed *feed = list_entry(it, struct feed, link);

		feed->passed = feed->due <= feed->opening;
	}
	while ((oldest = oldest_due(replay, now_ms)) &&
	       look_at_terms(replay, oldest) != TRUST_KNOWN)
		oldest->passed = true;
	pass_none(replay);
	return oldest;
}

static void pump_sleep(struct replay *replay, int64_t mono, int64_t wall)
{
	int64_t wake = INT64_MAX;

	list_each (it, next, &replay->feeds) {
		struct feed *feed = list_entry(it, struct feed, link);
		int64_t due =
			feed->open ? queue_next_due(feed->domain) : INT64_MAX;

		if (due != INT64_MAX && due - wall < wake)
			wake = due > wall ? due - wall : 0;
	}
	if (wake == 0) {
		/* Due now, but the target or the flight keeps it back. */
		wake = INT64_MAX;
		if (replay->down_until_ms > mono)
			wake = replay->down_until_ms - mono;
		else if (pace_wake_ms(&replay->pace) > mono)
			wake = pace_wake_ms(&replay->pace) - mono;
	}
	list_each (it, next, &replay->links) {
		struct link *link = list_entry(it, struct link, link);
		int64_t left = link->idle_since_ms + IDLE_MS - mono;

		if (link->idle && left < wake)
			wake = left > 1 ? left : 1;
	}
	if (wake != INT64_MAX)
		loop_timer_arm(replay->timer, wake);
}

/*
 * RFC 5321 section 4.5.3.2.1 gives a greeting five minutes.  A connection that
 * a target took while it was ill may never get one: once probes find it well,
 * a new connection is the better one.
 */
static void leave_behind(struct replay *replay)
{
	const struct target *target = replay->spec.target;

	if (target->health.state != HEALTH_HEALTHY)
		return;
	list_each (it, next, &replay->links) {
		struct link *link = list_entry(it, struct link, link);

		if (!link->ready &&
		    link->begun_ms < target->health.since_mono_ms)
			link_free(link);
	}
}

static void pump(void *ctx)
{
	struct replay *replay = ctx;
	int64_t mono = clock_mono_ms(), wall = clock_wall_ms();
	struct feed *feed;
	size_t due, opening = 0;
	int busy = 0;

	leave_behind(replay);
	look_at_feeds(replay, wall);
	list_each (it, next, &replay->links) {
		struct link *link = list_entry(it, struct link, link);

		if (!link->idle || delivery_is_over(link->delivery))
			continue;
		if (!give_job(link) && mono - link->idle_since_ms >= IDLE_MS) {
			link->idle = false;
			delivery_quit(link->delivery);
		}
	}
	due = due_mailboxes(replay, wall);
	list_each (it, next, &replay->links) {
		struct link *link = list_entry(it, struct link, link);

		if (!link->ready)
			opening++;
		if (!link->ready || link->paced)
			busy++;
	}
	if (due > opening && mono >= replay->down_until_ms) {
		if (replay->addr_count == 0 || mono >= replay->addrs_until_ms)
			resolve(replay);
		/* While nothing has worked yet, one connection finds out; so it
		 * does where the rate has room for the next one. */
		while (replay->addr_count > 0 && due > opening &&
		       busy < (int)replay->pace.flight &&
		       pace_may(&replay->pace, mono) &&
		       !((replay->down_ms > 0 || replay->pace.rate > 0) &&
			 opening > 0) &&
		       (feed = feed_to_open(replay, wall))) {
			link_new(replay, feed);
			opening++;
			busy++;
		}
	}
	pump_sleep(replay, mono, wall);
}

static struct limit *make_limit(const struct replay_spec *spec)
{
	const struct provider *provider = spec->target->provider;
	const struct plan_rate *mailbox = &spec->plan->replay.mailbox_limit;
	const struct plan_rate *pair = &spec->plan->replay.pair_limit;

	return limit_new(mailbox->given ? mailbox->rate : provider->mailbox,
			 pair->given ? pair->rate : provider->pair);
}

/* queue_may_fn: the limits of a mailbox and of a pair. */
static int64_t may(void *ctx, const struct queue_envelope *envelope,
		   int64_t now_ms, int *why)
{
	struct replay *replay = ctx;
	enum limit_kind kind = LIMIT_NONE;
	int64_t until =
		limit_until_ms(replay->limit, envelope->mailbox->key,
			       envelope->message->reverse_path, now_ms, &kind);

	*why = (int)kind;
	return until;
}

struct replay *replay_new(const struct replay_spec *spec,
			  const struct replay_owner *owner, void *ctx)
{
	struct replay *replay = mem_alloc(sizeof(*replay));

	replay->loop = spec->store->loop;
	replay->spec = *spec;
	replay->owner = owner;
	replay->ctx = ctx;
	list_init(&replay->feeds);
	list_init(&replay->links);
	list_init(&replay->settlements);
	replay->timer = loop_timer_new(replay->loop, pump, replay);
	replay->keep_timer = loop_timer_new(replay->loop, keep_again, replay);
	list_init(&replay->waiter.link);
	replay->waiter.fn = kick;
	replay->waiter.ctx = replay;
	replay->limit = make_limit(spec);
	pace_init(&replay->pace, (int)spec->target->provider->start_flight,
		  spec->plan->replay.max_flight);
	return replay;
}

void replay_free(struct replay *replay)
{
	if (!replay)
		return;
	list_each (it, next, &replay->links)
		link_free(list_entry(it, struct link, link));
	list_each (it, next, &replay->settlements) {
		struct settlement *s = list_entry(it, struct settlement, link);

		s->replay = NULL;
		list_remove(it);
		if (s->unkept)
			settlement_free(s);
	}
	list_each (it, next, &replay->feeds) {
		struct feed *feed = list_entry(it, struct feed, link);

		tls_terms_free(feed->terms);
		free(feed);
	}
	if (replay->token)
		replay->token->replay = NULL;
	list_remove(&replay->waiter.link);
	loop_timer_free(replay->timer);
	loop_timer_free(replay->keep_timer);
	limit_free(replay->limit);
	free(replay);
}

void replay_feed(struct replay *replay, struct queue_domain *domain, bool open)
{
	struct feed *feed = NULL;

	list_each (it, next, &replay->feeds)
		if (list_entry(it, struct feed, link)->domain == domain)
			feed = list_entry(it, struct feed, link);
	if (!feed) {
		feed = mem_alloc(sizeof(*feed));
		feed->domain = domain;
		list_append(&replay->feeds, &feed->link);
	}
	if (feed->open == open)
		return;
	feed->open = open;
	queue_set_open(domain, open);
	if (open) {
		queue_on_claim(domain, limit_is_set(replay->limit) ? may : NULL,
			       replay);
		pace_again(&replay->pace);
		replay_kick(replay);
	}
}

int replay_in_flight(const struct replay *replay)
{
	return replay->pace.in_flight;
}

int replay_flight(const struct replay *replay)
{
	return (int)replay->pace.flight;
}

struct limit *replay_limit(const struct replay *replay)
{
	return replay->limit;
}

struct target *replay_target(const struct replay *replay)
{
	return replay->spec.target;
}
