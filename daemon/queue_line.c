#include "daemon/queue_line.h"
#include "daemon/queue_heap.h"

struct queue_envelope *queue_line_first(const struct list *line)
{
	if (list_is_empty(line))
		return NULL;
	return list_entry(line->next, struct queue_envelope, line);
}

size_t queue_line_asleep(const struct queue_mailbox *mailbox,
			 enum dormant_kind kind)
{
	return dormant_count(&mailbox->domain->dormant, mailbox->hash, kind);
}

/* Whether one that sleeps is before it. */
bool queue_line_is_behind(const struct queue_envelope *envelope)
{
	const struct queue_mailbox *mailbox = envelope->mailbox;

	return dormant_before(&mailbox->domain->dormant, mailbox->hash,
			      envelope->message->sequence, envelope->index);
}

/* Whose turn it is; NULL: nobody's, or that of one that sleeps. */
struct queue_envelope *queue_line_head(const struct queue_mailbox *mailbox)
{
	struct queue_envelope *first = queue_line_first(&mailbox->line);

	return first && !queue_line_is_behind(first) ? first : NULL;
}

/* Whether it has little to do, and what sleeps is due. */
bool queue_line_is_hungry(const struct queue_domain *domain)
{
	return domain->moving < domain->queue->least &&
	       dormant_next_ms(&domain->dormant) <= domain->looked_ms;
}

void queue_line_tell_wanted(struct queue_domain *domain)
{
	struct queue *queue = domain->queue;

	if (domain->open && queue->want && !queue->sleeping &&
	    (!list_is_empty(&domain->wanted) || queue_line_is_hungry(domain)))
		queue->want(queue->want_ctx, domain);
}

/* A line without a head needs those that sleep to go on; one that is held, so
 * that they are held as well. */
static void look_if_wanted(struct queue_mailbox *mailbox, bool has_head)
{
	const struct dormant *dormant = &mailbox->domain->dormant;

	if (queue_line_asleep(mailbox, DORMANT_WAITING) == 0 ||
	    (!mailbox->is_held &&
	     (has_head || dormant_due_ms(dormant, mailbox->hash) > 0)))
		list_remove(&mailbox->wanted);
	else if (list_is_empty(&mailbox->wanted))
		list_append(&mailbox->domain->wanted, &mailbox->wanted);
	queue_line_tell_wanted(mailbox->domain);
}

void queue_line_unlimit(struct queue_mailbox *mailbox)
{
	if (mailbox->limited_until_ms == 0)
		return;
	mailbox->limited_until_ms = 0;
	mailbox->domain->limited_count--;
	list_remove(&mailbox->limited);
}

void queue_line_tell_thin(struct queue_domain *domain)
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
void queue_line_place(struct queue_mailbox *mailbox)
{
	struct queue_domain *domain = mailbox->domain;
	struct queue_envelope *first = queue_line_head(mailbox);
	int64_t due_ms;

	queue_heap_remove(mailbox);
	if (!first || mailbox->is_held)
		queue_line_unlimit(mailbox);
	count_line(mailbox, first && !mailbox->is_held && first->next_ms == 0,
		   0);
	look_if_wanted(mailbox, first != NULL);
	queue_line_tell_thin(domain);
	if (mailbox->busy || mailbox->is_held)
		return;
	if (domain->ramp && !mailbox->admitted)
		return;
	due_ms = first ? first->next_ms :
			 dormant_due_ms(&domain->dormant, mailbox->hash);
	if (due_ms > 0)
		queue_heap_add(&domain->later, mailbox, (uint64_t)due_ms);
	else if (first)
		queue_heap_add(&domain->ready, mailbox,
			       first->message->sequence);
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

void queue_line_enter(struct queue_envelope *envelope)
{
	struct queue_mailbox *mailbox = envelope->mailbox;

	line_insert(envelope, &mailbox->line, &mailbox->domain->waiting,
		    &mailbox->domain->waiting_hint);
	count_line(mailbox, mailbox->moves, 1);
}

void queue_line_enter_held(struct queue_envelope *envelope)
{
	struct queue_mailbox *mailbox = envelope->mailbox;

	line_insert(envelope, &mailbox->held, &mailbox->domain->held,
		    &mailbox->domain->held_hint);
	mailbox->domain->here_held++;
}

/* Out of the line, or from among the held. */
void queue_line_leave(struct queue_envelope *envelope)
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
