/*
 * lab_sender.h - the world that goes on writing to the domain
 *
 * Some senders, each with a few mailboxes that it writes to one message after
 * the other, so that order has a meaning.  Like real ones they ask a resolver
 * for the MX set, try its hosts by preference, try again later after a 4xx,
 * and give the mail up (bounce) after a 5xx.  Messages carry a number per
 * mailbox in LAB_SENDER_FIELD, their first field.
 */
#ifndef LAB_LAB_SENDER_H
#define LAB_LAB_SENDER_H

#include "dns/dns_resolver.h"
#include "net/loop.h"

#define LAB_SENDER_FIELD "X-Rehearsal-Number: "
#define LAB_SENDER_LOCAL "lab-"

/* Where a host of the plan's DNS really listens. */
struct lab_route {
	const char *host;
	const char *address; /* "127.0.0.1:port" */
};

struct lab_sender_spec {
	const char *domain;
	const struct addr *const *resolvers; /* one sender for each */
	size_t resolver_count;
	const struct lab_route *routes;
	size_t route_count;
	/* Bodies to send in turn (whole messages, CRLF lines). */
	const struct slice *messages;
	size_t message_count;
	unsigned mailboxes; /* per sender */
	int64_t every_ms;   /* between two messages of a sender */
};

struct lab_sender;

/* Everything in the spec is borrowed until lab_sender_free(). */
struct lab_sender *lab_sender_new(struct loop *loop,
				  const struct lab_sender_spec *spec,
				  struct err *err);
void lab_sender_free(struct lab_sender *sender);
void lab_sender_stop(struct lab_sender *sender);
/* Stopped, and nothing is under way or waits for another try. */
bool lab_sender_is_idle(const struct lab_sender *sender);

struct lab_sent {
	char *mailbox; /* the whole address */
	uint64_t number;
	char *host; /* which MX took it; NULL: bounced */
	char *sha256;
};

/* What was answered 250 (or 5xx), in order. */
const struct lab_sent *lab_sender_sent(const struct lab_sender *sender,
				       size_t *count);
uint64_t lab_sender_bounced(const struct lab_sender *sender);
uint64_t lab_sender_retried(const struct lab_sender *sender);

#endif
