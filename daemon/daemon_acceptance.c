#include "daemon/daemon.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>

#define LOG_MODULE "daemon"

enum {
	SPACE_EVERY_MS = 2000,
	OUR_FIELDS = 64 * 1024, /* kept free below a target's limit */
	INODES_RESERVE = 1000,
};

static void answer(struct acceptance_answer *to, int code, const char *text)
{
	*to = (struct acceptance_answer){ .code = code };
	snprintf(to->text, sizeof(to->text), "%s", text);
}

static void look_at_space(struct daemon *daemon);

/* Who says how large it is need not send it first. */
static bool has_space_for(struct daemon *daemon, uint64_t size)
{
	if (size > daemon->space_left)
		look_at_space(daemon);
	return !daemon->space_short && (size <= daemon->space_left ||
					spool_space_can_free(daemon->space));
}

static void admit(void *ctx, uint64_t size, struct acceptance_answer *to)
{
	struct daemon *daemon = ctx;

	if (!daemon->accepting)
		answer(to, 451, "4.3.2 still starting, try again");
	else if (spool_writer_broken(daemon->store.spool))
		answer(to, 451, "4.3.0 mail cannot be kept now, try again");
	else if (!has_space_for(daemon, size))
		answer(to, 452, "4.3.1 not enough space, try again later");
	else
		answer(to, 250, "");
}

static uint64_t plan_max_bytes(const struct cutover *cutover)
{
	uint64_t most = UINT64_MAX;

	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		const struct plan_system *systems =
			cutover->plan->domains[i].systems;

		for (int s = 0; s < (cutover->plan->plain ? 1 : 2); s++)
			if (systems[s].max_bytes < most)
				most = systems[s].max_bytes;
	}
	return most > OUR_FIELDS ? most - OUR_FIELDS : most;
}

static uint64_t max_bytes(void *ctx)
{
	const struct daemon *daemon = ctx;
	uint64_t most = 0;

	for (size_t i = 0; i < daemon->cutover_count; i++) {
		uint64_t one = plan_max_bytes(daemon->cutovers[i]);

		if (one > most)
			most = one;
	}
	return most;
}

static bool utf8(void *ctx)
{
	const struct daemon *daemon = ctx;

	for (size_t i = 0; i < daemon->cutover_count; i++)
		if (!cutover_targets_take_utf8(daemon->cutovers[i]))
			return false;
	return daemon->cutover_count > 0;
}

static void not_accepting(struct acceptance_answer *to)
{
	answer(to, 451,
	       "4.3.2 not accepting for this domain now, ask DNS again");
}

static void enter(void *ctx, const char *plan)
{
	daemon_find(ctx, plan)->coming++;
}

static void leave(void *ctx, const char *plan)
{
	struct cutover *cutover = daemon_find(ctx, plan);

	/* As all ends, the plans go before the records under way. */
	if (cutover)
		cutover->coming--;
}

static void still(void *ctx, const char *plan, struct acceptance_answer *to)
{
	if (phase_accepts(daemon_find(ctx, plan)->phase))
		answer(to, 250, "");
	else
		not_accepting(to);
}

static void recipient(void *ctx, const struct smtp_path *path,
		      struct slice address, const char *plan, uint64_t size,
		      struct acceptance_answer *to)
{
	struct daemon *daemon = ctx;
	struct cutover *cutover;
	const char *postmaster = daemon->config->postmaster;
	struct smtp_mailbox mailbox = path->mailbox;
	char domain[SMTP_DOMAIN];

	if (path->postmaster && postmaster)
		smtp_mailbox_parse(slice(postmaster), &mailbox, NULL);
	cutover = smtp_domain_normal(mailbox.domain, domain) ?
			  daemon_find_domain(daemon, slice(domain)) :
			  NULL;
	if (!cutover && path->postmaster) {
		answer(to, 450, "4.2.1 no postmaster is set for this host");
		return;
	}
	if (!cutover) {
		answer(to, 550, "5.7.1 relaying denied: not a domain of ours");
		return;
	}
	if (smtp_local_routes(mailbox.local) &&
	    !(cutover->plan->recipients.listed &&
	      recipients_has(&cutover->recipients, address))) {
		answer(to, 550,
		       "5.7.1 relaying denied: the local part names "
		       "a further host");
		return;
	}
	if (!phase_accepts(cutover->phase)) {
		not_accepting(to);
		return;
	}
	if (cutover_sends_on(cutover, slice(domain))) {
		answer(to, 451, "4.3.2 the primary MX is well: deliver there");
		return;
	}
	if (plan && strcmp(plan, cutover->plan->name) != 0) {
		answer(to, 452, "4.5.3 send to this recipient separately");
		return;
	}
	if (size > plan_max_bytes(cutover)) {
		answer(to, 552, "5.3.4 too big for the destination");
		return;
	}
	if (cutover->plan->recipients.listed && !path->postmaster &&
	    !slice_is_nocase(path->mailbox.local, "postmaster") &&
	    !recipients_has(&cutover->recipients, address)) {
		if (cutover->plan->recipients.unknown == UNKNOWN_REFUSE)
			answer(to, 550, "5.1.1 no such recipient");
		else
			answer(to, 450, "4.1.1 recipient not known yet");
		return;
	}
	answer(to, 250, "");
	to->plan = cutover->plan->name;
	to->address = path->postmaster ? postmaster : NULL;
	to->max_bytes = plan_max_bytes(cutover);
}

static uint64_t sequence(void *ctx)
{
	struct daemon *daemon = ctx;

	return ++daemon->sequence;
}

static void accepted(void *ctx, const struct record_message *message,
		     const struct spool_place *place)
{
	struct daemon *daemon = ctx;
	char *plan = slice_dup(message->plan);
	struct cutover *cutover = daemon_find(daemon, plan);

	volume_add(&daemon->arrivals, message->body_bytes, clock_mono_ms());
	backlog_accept(daemon->backlog, message, place);
	if (cutover) {
		cutover_arrived(cutover, message->sequence, message->body_bytes,
				message->envelope_count);
		for (size_t i = 0; i < cutover->target_count; i++)
			replay_kick(cutover->targets[i]->replay);
	}
	free(plan);
}

static void look_at_space(struct daemon *daemon)
{
	struct file_space space;
	bool was_short = daemon->space_short, is_short, out_soon;
	uint64_t unwritten = spool_writer_unwritten(daemon->store.spool);

	if (file_space(daemon->state_dir, &space, NULL) < 0)
		return;
	space.free_bytes -=
		unwritten < space.free_bytes ? unwritten : space.free_bytes;
	daemon->reserve_bytes = file_space_reserve(&space);
	daemon->inodes_short =
		space.total_inodes > 0 && space.free_inodes < INODES_RESERVE;
	/* Where no file can be made, bytes are no space. */
	daemon->space_left =
		!daemon->inodes_short &&
				space.free_bytes > daemon->reserve_bytes ?
			space.free_bytes - daemon->reserve_bytes :
			0;
	is_short = daemon->space_left == 0;
	out_soon = space.free_bytes < daemon->reserve_bytes / 2 ||
		   (daemon->inodes_short &&
		    space.free_inodes < INODES_RESERVE / 2);
	spool_space_is_short(daemon->space, is_short);
	/* Copies go first, as long as that is not a race against the disk. */
	daemon->space_short =
		is_short && (out_soon || !spool_space_can_free(daemon->space));
	if (daemon->space_short != was_short)
		log_warn("%s", !daemon->space_short ?
				       "disk space is back: accepting again" :
			       daemon->inodes_short ?
				       "inodes are below the reserve: new mail "
				       "gets 452" :
				       "disk space is below the reserve: new "
				       "mail gets 452");
}

static void watch_space(void *ctx)
{
	struct daemon *daemon = ctx;

	loop_timer_arm(daemon->space_timer, SPACE_EVERY_MS);
	look_at_space(daemon);
}

/* A thousand large messages at once must not outrun the timer. */
static bool room(void *ctx, uint64_t bytes)
{
	struct daemon *daemon = ctx;

	if (daemon->space_left < bytes)
		look_at_space(daemon);
	daemon->space_left -=
		bytes < daemon->space_left ? bytes : daemon->space_left;
	return !daemon->space_short;
}

void daemon_acceptance_init(struct daemon *daemon)
{
	daemon->acceptance = (struct acceptance){
		.loop = daemon->loop,
		.store = &daemon->store,
		.ctx = daemon,
		.admit = admit,
		.room = room,
		.recipient = recipient,
		.enter = enter,
		.leave = leave,
		.still = still,
		.sequence = sequence,
		.accepted = accepted,
		.max_bytes = max_bytes,
		.utf8 = utf8,
	};
	daemon->space_timer = loop_timer_new(daemon->loop, watch_space, daemon);
	watch_space(daemon);
}
