#include "cutover/sts_fetch.h"
#include "net/fetch.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	FETCH_MS = 10000
};

struct sts_fetch {
	struct sts_fetch_spec spec;
	sts_fetch_fn *done;
	void *ctx;
	struct dns_desk_host *finding;
	struct fetch *fetch;
	char host[DNS_NAME + 16], from[300];
	struct loop_timer *tell; /* the end, from the loop */
	struct mta_sts *policy;
	struct http_date date;
	struct err why;
};

void sts_fetch_cancel(struct sts_fetch **at)
{
	struct sts_fetch *fetch = *at;

	*at = NULL;
	if (!fetch)
		return;
	fetch_cancel(&fetch->fetch);
	dns_desk_host_cancel(&fetch->finding);
	loop_timer_free(fetch->tell);
	free(fetch->policy);
	free(fetch);
}

static void on_tell(void *ctx)
{
	struct sts_fetch *fetch = ctx;

	fetch->done(fetch->ctx, fetch->policy, fetch->from, &fetch->date,
		    fetch->policy ? NULL : fetch->why.text);
	sts_fetch_cancel(&fetch);
}

/* Later, when nobody is in a callback of what will be freed. */
static void fails(struct sts_fetch *fetch, const char *why)
{
	err_set(&fetch->why, "%.100s: %.150s", fetch->host,
		why ? why : "no answer");
	loop_timer_arm(fetch->tell, 0);
}

static void on_fetched(void *ctx, enum http_result result,
		       struct slice document, const struct http_date *date,
		       const char *why)
{
	struct sts_fetch *fetch = ctx;
	struct mta_sts *policy;
	struct err err = ERR_INIT;

	fetch->fetch = NULL;
	fetch->date = *date;
	if (result != HTTP_OK) {
		fails(fetch, why);
		return;
	}
	policy = mem_alloc(sizeof(*policy));
	if (mta_sts_policy_parse(document, policy, &err) < 0) {
		free(policy);
		fails(fetch, err.text);
		return;
	}
	fetch->policy = policy;
	loop_timer_arm(fetch->tell, 0);
}

static void on_address(void *ctx, const struct addr *addrs, size_t count,
		       const char *why)
{
	struct sts_fetch *fetch = ctx;
	char address[ADDR_TEXT];
	struct err err = ERR_INIT;

	fetch->finding = NULL;
	if (count == 0) {
		fails(fetch, why ? why : "it has no address");
		return;
	}
	addr_ip(&addrs[0], address);
	snprintf(fetch->from, sizeof(fetch->from), "%.230s at %.63s",
		 fetch->host, address);
	fetch->fetch = fetch_start(fetch->spec.loop,
				   &(struct http_fetch){
					   .host = fetch->host,
					   .path = "/.well-known/mta-sts.txt",
					   .port = fetch->spec.port,
					   .address = address,
					   .ca_file = fetch->spec.ca_file,
					   .max_bytes = MTA_STS_MAX_BYTES,
					   .timeout_ms = FETCH_MS,
				   },
				   on_fetched, fetch, &err);
	if (!fetch->fetch)
		fails(fetch, err.text);
}

struct sts_fetch *sts_fetch_start(const struct sts_fetch_spec *spec,
				  sts_fetch_fn *done, void *ctx)
{
	struct sts_fetch *fetch = mem_alloc(sizeof(*fetch));

	fetch->spec = *spec;
	fetch->done = done;
	fetch->ctx = ctx;
	fetch->tell = loop_timer_new(spec->loop, on_tell, fetch);
	snprintf(fetch->host, sizeof(fetch->host), "mta-sts.%s", spec->domain);
	fetch->finding = dns_desk_host(spec->desk, spec->loop, fetch->host, 443,
				       on_address, fetch);
	return fetch;
}
