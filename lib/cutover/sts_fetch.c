#include "cutover/sts_fetch.h"
#include "net/http.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	FETCH_MS = 10000
};

struct sts_fetch {
	struct sts_fetch_spec spec;
	sts_fetch_fn *done;
	void *ctx;
	struct dns_desk_host *finding;
	char host[DNS_NAME + 16], address[ADDR_TEXT], from[300];
	struct loop_timer *tell; /* the end, from the loop */
	struct mta_sts *policy;
	struct err why;
	/* The thread: what it wrote is read after it was joined. */
	pthread_t thread;
	bool fetching;
	_Atomic bool stop;
	int pipe[2];
	struct loop_watch *watch;
	struct buf body;
	struct err err;
	enum http_result result;
};

static void join(struct sts_fetch *fetch)
{
	if (!fetch->fetching)
		return;
	fetch->stop = true;
	pthread_join(fetch->thread, NULL);
	fetch->fetching = false;
	loop_watch_free(fetch->watch);
	fetch->watch = NULL;
	close(fetch->pipe[0]);
	close(fetch->pipe[1]);
}

void sts_fetch_cancel(struct sts_fetch **at)
{
	struct sts_fetch *fetch = *at;

	*at = NULL;
	if (!fetch)
		return;
	join(fetch);
	dns_desk_host_cancel(&fetch->finding);
	loop_timer_free(fetch->tell);
	buf_release(&fetch->body);
	free(fetch->policy);
	free(fetch);
}

static void on_tell(void *ctx)
{
	struct sts_fetch *fetch = ctx;

	fetch->done(fetch->ctx, fetch->policy, fetch->from,
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

static void *run(void *ctx)
{
	struct sts_fetch *fetch = ctx;
	const struct http_fetch what = {
		.host = fetch->host,
		.path = "/.well-known/mta-sts.txt",
		.port = fetch->spec.port,
		.address = fetch->address,
		.ca_file = fetch->spec.ca_file,
		.max_bytes = MTA_STS_MAX_BYTES,
		.timeout_ms = FETCH_MS,
		.stop = &fetch->stop,
	};
	ssize_t told;

	fetch->result = http_fetch(&what, &fetch->body, &fetch->err);
	told = write(fetch->pipe[1], "", 1);
	(void)told; /* one byte into an empty pipe */
	return NULL;
}

static void on_fetched(void *ctx, int fd, int what)
{
	struct sts_fetch *fetch = ctx;
	struct mta_sts *policy;
	struct err err = ERR_INIT;

	join(fetch);
	if (fetch->result != HTTP_OK) {
		fails(fetch, fetch->err.text);
		return;
	}
	policy = mem_alloc(sizeof(*policy));
	if (mta_sts_policy_parse(buf_slice(&fetch->body), policy, &err) < 0) {
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

	fetch->finding = NULL;
	if (count == 0) {
		fails(fetch, why ? why : "it has no address");
		return;
	}
	addr_ip(&addrs[0], fetch->address);
	snprintf(fetch->from, sizeof(fetch->from), "%.230s at %.63s",
		 fetch->host, fetch->address);
	if (pipe2(fetch->pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
		fails(fetch, "no pipe");
		return;
	}
	if (pthread_create(&fetch->thread, NULL, run, fetch) != 0) {
		close(fetch->pipe[0]);
		close(fetch->pipe[1]);
		fails(fetch, "no thread");
		return;
	}
	fetch->fetching = true;
	fetch->watch = loop_watch_new(fetch->spec.loop, fetch->pipe[0],
				      LOOP_READ, on_fetched, fetch);
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
