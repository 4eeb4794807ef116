#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "cutover/sts.h"
#include "cutover/survey_clock.h"
#include "cutover/survey_records.h"
#include "lab/lab_dns.h"
#include "net/stream.h"
#include "plan/plan_system.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HOST "mta-sts.acme.example"
#define ZONE "acme.example 300 SOA ns1.acme.example 1 60\n"
#define TXT  "_mta-sts.acme.example 300 TXT v=STSv1; id=7;\n"
#define A    HOST " 300 A 127.0.0.1\n"
#define OK   "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
#define POLICY                                            \
	"version: STSv1\nmode: enforce\nmx: mx.example\n" \
	"max_age: 86400\n"
#define CLOSE "Connection: close\r\n\r\n"

static const char plan_text[] =
	"{\"tideover\":1,\"name\":\"t\",\"strategy\":\"standby\","
	"\"domains\":[{\"name\":\"acme.example\"}],"
	"\"primary\":{\"provider\":\"custom\",\"mx\":[\"mx.example\"]},"
	"\"queue_mx\":{\"host\":\"hold.example\"}}";

/* An HTTPS server that says one thing, with a certificate for one name. */
struct server {
	struct loop *loop;
	int fd;
	struct addr addr;
	struct loop_watch *watch;
	struct tls_server *tls;
	struct stream *stream;
	const char *says; /* NULL: nothing at all */
	struct buf asked;
	unsigned sessions;
	loop_fn *on_asked;
	void *ctx;
};

static void close_stream(struct server *server)
{
	stream_free(server->stream);
	server->stream = NULL;
}

static void on_input(void *ctx)
{
	struct server *server = ctx;
	struct slice in = stream_peek(server->stream);

	buf_add(&server->asked, in);
	stream_consume(server->stream, in.len);
	if (!strstr(buf_text(&server->asked), "\r\n\r\n"))
		return;
	if (server->on_asked)
		server->on_asked(server->ctx);
	if (!server->says)
		return;
	stream_write(server->stream, slice(server->says));
	stream_finish(server->stream, 2000);
	server->stream = NULL;
}

static void on_end(void *ctx, const char *why)
{
	close_stream(ctx);
}

static void on_tls(void *ctx)
{
}

static const struct stream_events events = {
	.on_input = on_input,
	.on_tls = on_tls,
	.on_end = on_end,
};

static void on_accept(void *ctx, int fd, int what)
{
	struct server *server = ctx;
	int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (client < 0)
		return;
	server->sessions++;
	close_stream(server);
	server->stream = stream_accept(server->loop, client, &events, server);
	stream_starttls_server(server->stream, server->tls);
}

struct world {
	struct loop *loop;
	struct plan *plan;
	struct facts *facts;
	struct lab_dns *dns;
	struct dns_desk *desk;
	struct server server;
	char dir[64], cert[96], key[96];
	struct sts *sts;
	unsigned done;
};

static void world_make(struct world *w, const char *zone, const char *name)
{
	struct err err = ERR_INIT;
	struct addr any;
	struct dns_domain *dns;

	*w = (struct world){ .loop = loop_new(&err) };
	snprintf(w->dir, sizeof(w->dir), "/tmp/tideover-sts-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->cert, sizeof(w->cert), "%s/cert.pem", w->dir);
	snprintf(w->key, sizeof(w->key), "%s/key.pem", w->dir);
	assert_int_equal(tls_selfsigned_write(name, w->cert, w->key, &err), 0);
	assert_int_equal(addr_parse(slice("127.0.0.1:0"), 0, &any, NULL), 0);
	w->dns = lab_dns_new(w->loop, &any, &err);
	assert_non_null(w->dns);
	assert_int_equal(lab_dns_add(w->dns, zone, &err), 0);
	w->server.loop = w->loop;
	w->server.fd = addr_listen(&any, 8, NULL);
	assert_true(w->server.fd >= 0);
	assert_int_equal(addr_of_socket(w->server.fd, &w->server.addr, NULL),
			 0);
	w->server.watch = loop_watch_new(w->loop, w->server.fd, LOOP_READ,
					 on_accept, &w->server);
	w->server.tls = tls_server_new(w->cert, w->key, TLS_FLOOR_1_2, &err);
	assert_non_null(w->server.tls);
	w->plan = plan_parse(slice(plan_text), NULL, &err);
	assert_non_null(w->plan);
	w->facts = facts_new(w->plan);
	w->facts->https_port = addr_port(&w->server.addr);
	w->facts->https_ca_file = w->cert;
	dns = &w->facts->domains[0].dns;
	w->facts->domains[0].surveyed = true;
	dns->vantage_count = 1;
	dns->vantages = mem_alloc(sizeof(*dns->vantages));
	dns->vantages[0].authority = true;
	addr_format(lab_dns_addr(w->dns), dns->vantages[0].address);
}

static void world_release(struct world *w)
{
	facts_free(w->facts);
	plan_free(w->plan);
	loop_watch_free(w->server.watch);
	close_stream(&w->server);
	close(w->server.fd);
	tls_server_free(w->server.tls);
	buf_release(&w->server.asked);
	dns_desk_free(w->desk);
	lab_dns_free(w->dns);
	loop_free(w->loop);
	unlink(w->cert);
	unlink(w->key);
	rmdir(w->dir);
}

static void done(void *ctx)
{
	struct world *w = ctx;

	w->done++;
	w->sts = NULL;
	loop_stop(w->loop);
}

/* The records come first, as in a survey. */
static void ask_records(struct world *w)
{
	dns_desk_free(w->desk);
	w->desk = dns_desk_new(w->loop);
	dns_desk_set_resolvers(w->desk, lab_dns_addr(w->dns), 1);
	assert_non_null(
		survey_records_start(w->loop, w->facts, w->desk, done, w));
	loop_run(w->loop);
	w->done = 0;
}

static void fetch(struct world *w)
{
	ask_records(w);
	w->sts = sts_start(w->loop, w->facts, w->desk, done, w);
	assert_int_equal(w->done, 0);
	loop_run(w->loop);
	assert_int_equal(w->done, 1);
	w->done = 0;
}

static const struct {
	const char *promise, *zone, *name, *says;
	bool asked, policy;
	size_t records;
	const char *error;
	unsigned sessions;
} cases[] = {
	{ "a policy is had as a sender would", ZONE TXT A, HOST,
	  OK CLOSE POLICY, true, true, 1, "", 1 },
	{ "no record is no policy, and nobody is asked for one", ZONE A, HOST,
	  OK CLOSE POLICY, true, false, 0, "", 0 },
	{ "another record there does not count",
	  ZONE A "_mta-sts.acme.example 300 TXT hello\n", HOST, OK CLOSE POLICY,
	  true, false, 0, "", 0 },
	{ "two records are none, as senders see it",
	  ZONE TXT A "_mta-sts.acme.example 300 TXT v=STSv1; id=8;\n", HOST,
	  OK CLOSE POLICY, true, false, 2, "", 0 },
	{ "an alias leads to the record",
	  ZONE A "_mta-sts.acme.example 300 CNAME sts.acme.example\n"
		 "sts.acme.example 300 TXT v=STSv1; id=9;\n",
	  HOST, OK CLOSE POLICY, true, true, 1, "", 1 },
	{ "a record that is broken has no policy",
	  ZONE A "_mta-sts.acme.example 300 TXT v=STSv1; id=a-b;\n", HOST,
	  OK CLOSE POLICY, true, false, 1, "id is not", 0 },
	{ "without an address there is none", ZONE TXT, HOST, OK CLOSE POLICY,
	  true, false, 1, HOST, 0 },
	{ "a certificate of another name is refused", ZONE TXT A,
	  "www.acme.example", OK CLOSE POLICY, true, false, 1, HOST, 1 },
	{ "a redirect is not followed", ZONE TXT A, HOST,
	  "HTTP/1.1 301 Moved\r\nLocation: https://" HOST
	  "/other\r\nContent-Length: 0\r\n" CLOSE,
	  true, false, 1, "status 301", 1 },
	{ "a page of errors is no policy", ZONE TXT A, HOST,
	  "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n" CLOSE POLICY,
	  true, false, 1, "status 404", 1 },
	{ "a page for people is no policy", ZONE TXT A, HOST,
	  "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" CLOSE POLICY, true,
	  false, 1, "not text/plain", 1 },
	{ "a promise of too much is refused", ZONE TXT A, HOST,
	  OK "Content-Length: 65537\r\n" CLOSE, true, false, 1, "", 1 },
	{ "a policy that cannot be read is none", ZONE TXT A, HOST,
	  OK CLOSE "version: STSv2\n", true, false, 1, "version is not STSv1",
	  1 },
	{ "a server that hangs up has none", ZONE TXT A, HOST, "", true, false,
	  1, HOST, 1 },
	{ "a zone of others says nothing", "other.example 300 SOA a.b 1 60\n",
	  HOST, OK CLOSE POLICY, false, false, 0, "refused", 0 },
};

static void a_policy_is_fetched_strictly(void **state)
{
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct world w;
		const struct facts_sts *sts;

		world_make(&w, cases[i].zone, cases[i].name);
		w.server.says = cases[i].says;
		fetch(&w);
		sts = &w.facts->domains[0].sts;
		if (sts->asked != cases[i].asked ||
		    !sts->policy == cases[i].policy ||
		    sts->records != cases[i].records ||
		    !strcasestr(sts->error, cases[i].error) ||
		    w.server.sessions != cases[i].sessions)
			fail_msg("%s: asked %d, policy %d, %zu records, %u "
				 "sessions, '%s'",
				 cases[i].promise, sts->asked, !!sts->policy,
				 sts->records, w.server.sessions, sts->error);
		if (cases[i].policy) {
			assert_non_null(
				strstr(buf_text(&w.server.asked),
				       "GET /.well-known/mta-sts.txt "));
			assert_non_null(strstr(buf_text(&w.server.asked),
					       "Host: " HOST));
			assert_int_equal(sts->policy->mode, MTA_STS_ENFORCE);
		}
		world_release(&w);
	}
}

static void what_is_too_large_is_not_read_to_its_end(void **state)
{
	struct world w;
	struct buf says = BUF_INIT;

	buf_adds(&says, OK CLOSE POLICY);
	while (says.len < 200000)
		buf_adds(&says, "x: y\n");
	world_make(&w, ZONE TXT A, HOST);
	w.server.says = buf_text(&says);
	fetch(&w);
	assert_null(w.facts->domains[0].sts.policy);
	assert_non_null(
		strstr(w.facts->domains[0].sts.error, "larger than 65536"));
	world_release(&w);
	buf_release(&says);
}

static void the_same_id_keeps_the_time_it_was_seen_first(void **state)
{
	struct world w;
	const char *const text[] = { "v=STSv1; id=8;" };
	int64_t first;

	world_make(&w, ZONE TXT A, HOST);
	w.server.says = OK CLOSE POLICY;
	fetch(&w);
	first = w.facts->domains[0].sts.kept.since_ms -= 5000;
	fetch(&w);
	assert_int_equal(w.facts->domains[0].sts.kept.since_ms, first);
	assert_int_equal(lab_dns_set(w.dns, "_mta-sts.acme.example", DNS_TXT,
				     300, text, 1, NULL),
			 0);
	fetch(&w);
	assert_true(w.facts->domains[0].sts.kept.since_ms > first);
	world_release(&w);
}

static void give_up(void *ctx)
{
	struct world *w = ctx;

	loop_stop(w->loop);
}

static void a_fetch_that_is_cancelled_ends_and_was_not_asked(void **state)
{
	struct world w;
	int64_t began;

	world_make(&w, ZONE TXT A, HOST);
	w.server.says = NULL;
	w.server.on_asked = give_up;
	w.server.ctx = &w;
	ask_records(&w);
	w.sts = sts_start(w.loop, w.facts, w.desk, done, &w);
	loop_run(w.loop);
	began = clock_mono_ms();
	sts_cancel(w.sts);
	assert_true(clock_mono_ms() - began < 5000);
	assert_false(w.facts->domains[0].sts.asked);
	assert_int_equal(w.done, 0);
	world_release(&w);
}

/* What the plan's clocks say. */

static const struct {
	const char *promise, *name, *says, *error;
	bool dated, stored;
} clocks[] = {
	{ "a Date is read whatever the status", HOST,
	  "HTTP/1.1 404 Not Found\r\nDate: Sat, 05 Dec 2026 22:00:07 GMT\r\n"
	  "Content-Length: 0\r\n" CLOSE,
	  "", true, false },
	{ "a Date of a cache is marked", HOST,
	  "HTTP/1.1 200 OK\r\nage: 31\r\n"
	  "date: Sat, 05 Dec 2026 22:00:07 GMT\r\n" CLOSE,
	  "", true, true },
	{ "no Date is none", HOST, "HTTP/1.1 200 OK\r\n" CLOSE, "no Date",
	  false, false },
	{ "what is no date is none", HOST,
	  "HTTP/1.1 200 OK\r\nDate: yesterday evening\r\n" CLOSE, "no Date",
	  false, false },
	{ "a stranger's certificate has no say", "www.acme.example",
	  "HTTP/1.1 200 OK\r\nDate: Sat, 05 Dec 2026 22:00:07 GMT\r\n" CLOSE,
	  "certificate", false, false },
};

static void a_date_is_had_of_whom_the_plan_names(void **state)
{
	for (size_t i = 0; i < COUNT(clocks); i++) {
		struct world w;
		const struct facts_date *got;
		int64_t before = clock_wall_ms();

		world_make(&w, ZONE A, clocks[i].name);
		w.server.says = clocks[i].says;
		plan_strings_release(&w.plan->clocks);
		w.plan->clocks.at = mem_alloc(sizeof(char *));
		w.plan->clocks.at[0] = mem_printf("https://" HOST ":%d/now",
						  addr_port(&w.server.addr));
		w.plan->clocks.count = 1;
		w.desk = dns_desk_new(w.loop);
		dns_desk_set_resolvers(w.desk, lab_dns_addr(w.dns), 1);
		assert_non_null(
			survey_clock_start(w.loop, w.facts, w.desk, done, &w));
		assert_int_equal(w.done, 0);
		loop_run(w.loop);
		assert_int_equal(w.done, 1);
		assert_int_equal(w.facts->date_count, 1);
		got = &w.facts->dates[0];
		if ((got->date.date_ms == 1796508007000) != clocks[i].dated ||
		    got->date.stored != clocks[i].stored ||
		    !strcasestr(got->error, clocks[i].error))
			fail_msg("%s: %lld, '%s'", clocks[i].promise,
				 (long long)got->date.date_ms, got->error);
		if (clocks[i].dated) {
			assert_true(got->date.asked_ms >= before);
			assert_true(got->date.answered_ms >=
				    got->date.asked_ms);
			assert_true(got->date.answered_ms <= clock_wall_ms());
			assert_non_null(strstr(buf_text(&w.server.asked),
					       "HEAD /now "));
		}
		world_release(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_policy_is_fetched_strictly),
		cmocka_unit_test(what_is_too_large_is_not_read_to_its_end),
		cmocka_unit_test(the_same_id_keeps_the_time_it_was_seen_first),
		cmocka_unit_test(
			a_fetch_that_is_cancelled_ends_and_was_not_asked),
		cmocka_unit_test(a_date_is_had_of_whom_the_plan_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
