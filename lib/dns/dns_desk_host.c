#include "dns/dns_desk.h"
#include <stdlib.h>

#define HOST_ADDRS 16

struct dns_desk_host {
	struct dns_desk *desk;
	struct dns_call *call;
	struct loop_timer *tell; /* an IP needs no question */
	char name[DNS_NAME];
	int port;
	struct addr addrs[HOST_ADDRS];
	size_t count;
	struct err why;
	dns_host_fn *done;
	void *ctx;
};

void dns_desk_host_cancel(struct dns_desk_host **host)
{
	if (!*host)
		return;
	dns_call_cancel(&(*host)->call);
	loop_timer_free((*host)->tell);
	free(*host);
	*host = NULL;
}

static void tell(void *ctx)
{
	struct dns_desk_host *host = ctx;

	host->done(host->ctx, host->addrs, host->count,
		   host->count ? NULL : host->why.text);
	dns_desk_host_cancel(&host);
}

static void take(struct dns_desk_host *host, const struct dns_answer *answer,
		 const char *why)
{
	if (!answer)
		err_set(&host->why, "%s", why);
	else if (answer->rcode != DNS_NOERROR)
		err_set(&host->why, "%s", dns_rcode_name(answer->rcode));
	else
		host->count += dns_answer_addresses(answer, host->port,
						    host->addrs + host->count,
						    HOST_ADDRS - host->count);
}

static void on_aaaa(void *ctx, const struct dns_answer *answer, const char *why,
		    const struct addr *from)
{
	struct dns_desk_host *host = ctx;

	host->call = NULL;
	take(host, answer, why);
	if (host->count == 0 && !host->why.text[0])
		err_set(&host->why, "no address");
	loop_timer_arm(host->tell, 0);
}

static void on_a(void *ctx, const struct dns_answer *answer, const char *why,
		 const struct addr *from)
{
	struct dns_desk_host *host = ctx;

	host->call = NULL;
	take(host, answer, why);
	if (answer && answer->rcode == DNS_NXDOMAIN)
		loop_timer_arm(host->tell, 0); /* then there is no AAAA */
	else
		host->call = dns_desk_resolve(host->desk, host->name, DNS_AAAA,
					      on_aaaa, host);
}

struct dns_desk_host *dns_desk_host(struct dns_desk *desk, struct loop *loop,
				    const char *name, int port,
				    dns_host_fn *done, void *ctx)
{
	struct dns_desk_host *host = mem_alloc(sizeof(*host));

	host->desk = desk;
	host->port = port;
	host->done = done;
	host->ctx = ctx;
	host->tell = loop_timer_new(loop, tell, host);
	if (addr_from_ip(slice(name), port, &host->addrs[0], NULL) == 0) {
		host->count = 1;
		loop_timer_arm(host->tell, 0);
	} else if (!dns_name_normal(slice(name), host->name) ||
		   !host->name[0]) {
		err_set(&host->why, "not a DNS name");
		loop_timer_arm(host->tell, 0);
	} else {
		host->call =
			dns_desk_resolve(desk, host->name, DNS_A, on_a, host);
	}
	return host;
}
