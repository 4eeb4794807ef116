/*
 * dns_desk.h - every question of one survey goes over one desk
 *
 * The parts of a survey ask for the same things: 200 domains share their name
 * servers, their MX hosts and the includes of their SPF.  The desk sends the
 * same question to the same server once and gives its answer to all who asked;
 * it keeps at most DNS_DESK_IN_FLIGHT questions in flight in all, at most
 * DNS_DESK_PER_SERVER at one server, and counts what left.
 *
 * Servers take turns.  One that has let DNS_DESK_SILENT questions in a row go
 * without an answer is not asked again: what is still waiting for it ends with
 * an error that says so, so that one dead server does not cost a plan of
 * hundreds of domains its deadline.
 *
 * Answers live as long as the desk: one survey, never longer.
 */
#ifndef DNS_DNS_DESK_H
#define DNS_DNS_DESK_H

#include "base/json.h"
#include "dns/dns_resolver.h"

enum {
	DNS_DESK_IN_FLIGHT = 64,
	DNS_DESK_PER_SERVER = 16,
	DNS_DESK_SILENT = 12
};

struct dns_desk;
struct dns_call; /* somebody waits for an answer */
struct dns_desk_host;

/*
 * As a dns_done_fn is told, and by whom: `from` is the server that answered or
 * was asked last.  All is borrowed for the call.
 */
typedef void dns_call_fn(void *ctx, const struct dns_answer *answer,
			 const char *why, const struct addr *from);

struct dns_desk *dns_desk_new(struct loop *loop);
/* What is open is given up: its `done` does not run.  NULL is fine. */
void dns_desk_free(struct dns_desk *desk);
/* Whom dns_desk_resolve() may ask, instead of those before; copied. */
void dns_desk_set_resolvers(struct dns_desk *desk, const struct addr *resolvers,
			    size_t count);

/*
 * Asks one server (`how`: DNS_ASK_... of dns_resolver.h).  `done` runs exactly
 * once, from the loop, never before this returns, and the call is gone with
 * it; dns_call_cancel() before that, and it does not run.
 */
struct dns_call *dns_desk_ask(struct dns_desk *desk, const struct addr *server,
			      const char *name, unsigned type, unsigned how,
			      dns_call_fn *done, void *ctx);
/*
 * The same of one of the resolvers, with RD: which one goes by the name, so
 * that each has its share and the same name goes to the same.  Where no answer
 * comes, or SERVFAIL or REFUSED, others are asked, up to three in all.
 */
struct dns_call *dns_desk_resolve(struct dns_desk *desk, const char *name,
				  unsigned type, dns_call_fn *done, void *ctx);
/* Nobody wants the answer any more; what has left is counted all the same.
 * *call becomes NULL; NULL is fine. */
void dns_call_cancel(struct dns_call **call);

/*
 * The addresses of a host, as dns_resolve_host() finds them, of the resolvers;
 * `done` as there, and the handle is gone with it.  Cancel it before the desk
 * is freed.
 */
struct dns_desk_host *dns_desk_host(struct dns_desk *desk, struct loop *loop,
				    const char *name, int port,
				    dns_host_fn *done, void *ctx);
void dns_desk_host_cancel(struct dns_desk_host **host); /* NULL is fine */

struct dns_desk_count {
	uint64_t asked;	  /* by the parts of the survey */
	uint64_t queries; /* that left: dns_resolver_sent() */
	size_t servers;	  /* that any went to */
	unsigned most_in_flight, most_at_one;
};
void dns_desk_count(const struct dns_desk *desk, struct dns_desk_count *count);
/*
 * The same as {"asked","queries","servers","most_in_flight","most_at_one",
 * "by_server":[{"address","queries","most_in_flight","silent"}]}, servers in
 * the order in which they were first asked; `silent`: given up.
 */
struct json *dns_desk_json(const struct dns_desk *desk);

#endif
