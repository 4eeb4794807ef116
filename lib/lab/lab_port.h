/*
 * lab_port.h - one DNS port: queries in, answers out, over UDP and TCP
 *
 * Knows the wire of a DNS query (RFC 1035, the OPT record of RFC 6891) and
 * nothing of zones or caches; what is not a plain query is answered FORMERR or
 * NOTIMP here.  An answer longer than the asker takes over UDP becomes an
 * empty one with TC.
 */
#ifndef LAB_LAB_PORT_H
#define LAB_LAB_PORT_H

#include "dns/dns_record.h"
#include "net/addr.h"
#include "net/loop.h"

struct lab_port;

struct lab_query {
	char name[DNS_NAME];
	unsigned type;
	struct slice question; /* its bytes: name, type, class */
	uint16_t id;
	bool recurse;	/* RD */
	bool unchecked; /* CD */
	bool edns;
	unsigned udp_max; /* what the asker takes over UDP */
};

/* Who waits for an answer; valid until answered once or dropped. */
struct lab_asker;
typedef void lab_port_fn(void *ctx, const struct lab_query *query,
			 struct lab_asker *asker);

struct lab_port *lab_port_new(struct loop *loop, const struct addr *listen,
			      lab_port_fn *on_query, void *ctx,
			      struct err *err);
/* Askers still waiting are dropped with it. */
void lab_port_free(struct lab_port *port);
const struct addr *lab_port_addr(const struct lab_port *port);
/*
 * Sends `message` (a whole DNS message without OPT; id, RD and question are
 * set from the query, and OPT is added if it had one) and frees the asker.
 */
void lab_asker_answer(struct lab_asker *asker, struct slice message);
void lab_asker_drop(struct lab_asker *asker);

#endif
