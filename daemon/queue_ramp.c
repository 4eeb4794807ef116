#include "daemon/queue_line.h"
#include <stdlib.h>

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

		if (queue_line_first(&envelope->mailbox->line) == envelope)
			queue_line_place(envelope->mailbox);
	}
	queue_line_tell_wanted(domain);
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
	    queue_line_asleep(mailbox, DORMANT_WAITING) == 0)
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
	queue_line_place(mailbox);
}

void queue_ramp_end(struct queue_domain *domain)
{
	struct admitted admitted = { 0 };

	admitted.at = mem_alloc((domain->mailboxes.count + 1) *
				sizeof(struct queue_mailbox *));
	domain->ramp = false;
	map_each(&domain->mailboxes, unramp_mailbox, &admitted);
	for (size_t i = 0; i < admitted.count; i++)
		queue_mailbox_drop_empty(admitted.at[i]);
	free(admitted.at);
	queue_line_tell_wanted(domain);
}
