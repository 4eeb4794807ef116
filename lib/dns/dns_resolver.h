/*
 * dns_resolver.h - one DNS server that we ask   [c-ares]
 *
 * One c-ares channel per server address, raw answers parsed by us.  Each
 * question's `done` runs exactly once, from the loop, never before the call
 * returns; freeing the resolver cancels what is open (done does not run).
 */
#ifndef DNS_DNS_RESOLVER_H
#define DNS_DNS_RESOLVER_H

#include "dns/dns_record.h"
#include "net/addr.h"
#include "net/loop.h"

struct dns_resolver;

/* `answer` NULL: none came, `why` says why ("timeout", "refused"...). */
typedef void dns_done_fn(void *ctx, const struct dns_answer *answer,
			 const char *why);

struct dns_resolver *
dns_resolver_new(struct loop *loop, const struct addr *server, struct err *err);
void dns_resolver_free(struct dns_resolver *resolver);
/*
 * How to ask.  DNS_ASK_SIGNED: with the signatures (DO, RFC 3225);
 * DNS_ASK_UNCHECKED: also what a validating resolver finds bogus (CD, RFC 4035
 * section 3.2.2).
 */
enum {
	DNS_ASK_RECURSE = 1,
	DNS_ASK_SIGNED = 2,
	DNS_ASK_UNCHECKED = 4
};
void dns_resolver_ask_how(struct dns_resolver *resolver, const char *name,
			  unsigned type, unsigned how, dns_done_fn *done,
			  void *ctx);
/* `recurse`: RD=1 for resolvers, 0 for authoritative servers.  TCP on TC. */
void dns_resolver_ask(struct dns_resolver *resolver, const char *name,
		      unsigned type, bool recurse, dns_done_fn *done,
		      void *ctx);
/* How many queries have left for the server: second tries, repeats without
 * OPT (RFC 6891 section 7) and by TCP among them. */
uint64_t dns_resolver_sent(const struct dns_resolver *resolver);
/* The first nameserver of /etc/resolv.conf, port 53. */
int dns_system_server(struct addr *server, struct err *err);

/* The A and AAAA records of an answer as addresses with that port, up to `max`;
 * how many there are. */
size_t dns_answer_addresses(const struct dns_answer *answer, int port,
			    struct addr *addrs, size_t max);
/*
 * The addresses of a host through one resolver (A, then AAAA), or of an IP
 * text at once; up to `max`.
 */
typedef void dns_host_fn(void *ctx, const struct addr *addrs, size_t count,
			 const char *why);
void dns_resolve_host(struct dns_resolver *resolver, const char *host, int port,
		      dns_host_fn *done, void *ctx);

#endif
