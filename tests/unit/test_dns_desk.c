#include "dns/dns_desk.h"
#include "lab/lab_dns.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* After the above: it needs them. */
#include <cmocka.h>

#define MANY 300

/* A server that answers, one more, and an address where nobody is. */
struct world {
	struct loop *loop;
	struct lab_dns *dns, *other;
	struct addr nobody;
	struct dns_desk *desk;
	size_t open;
};

struct asked {
	struct world *world;
	struct dns_call *call;
	bool told, answered;
	char why[80], from[ADDR_TEXT];
};

static struct lab_dns *server(struct world *w, bool keep)
{
	struct err err = ERR_INIT;
	struct addr any;
	struct lab_dns *lab;

	assert_int_equal(addr_from_ip(slice("127.0.0.1"), 0, &any, &err), 0);
	lab = lab_dns_new(w->loop, &any, &err);
	assert_non_null(lab);
	if (keep)
		assert_int_equal(lab_dns_add(lab,
					     "acme.example 300 SOA ns 1 60\n"
					     "acme.example 300 MX 10 mx\n",
					     &err),
				 0);
	return lab;
}

static void begin(struct world *w)
{
	struct err err = ERR_INIT;
	struct lab_dns *gone;

	*w = (struct world){ .loop = loop_new(&err) };
	assert_non_null(w->loop);
	w->dns = server(w, true);
	w->other = server(w, true);
	gone = server(w, false);
	w->nobody = *lab_dns_addr(gone);
	lab_dns_free(gone);
	w->desk = dns_desk_new(w->loop);
}

static void end(struct world *w)
{
	dns_desk_free(w->desk);
	lab_dns_free(w->dns);
	lab_dns_free(w->other);
	loop_free(w->loop);
}

static void came(void *ctx, const struct dns_answer *answer, const char *why,
		 const struct addr *from)
{
	struct asked *asked = ctx;

	assert_false(asked->told);
	asked->told = true;
	asked->call = NULL;
	asked->answered = answer != NULL;
	snprintf(asked->why, sizeof(asked->why), "%s", why ? why : "");
	if (from)
		addr_format(from, asked->from);
	if (--asked->world->open == 0)
		loop_stop(asked->world->loop);
}

static void ask(struct world *w, struct asked *asked, const struct addr *whom,
		const char *name, unsigned how)
{
	*asked = (struct asked){ .world = w };
	w->open++;
	asked->call =
		dns_desk_ask(w->desk, whom, name, DNS_MX, how, came, asked);
	assert_false(asked->told);
}

static void resolve(struct world *w, struct asked *asked, const char *name)
{
	*asked = (struct asked){ .world = w };
	w->open++;
	asked->call = dns_desk_resolve(w->desk, name, DNS_MX, came, asked);
	assert_false(asked->told);
}

static void the_same_question_leaves_once(void **state)
{
	struct world w;
	struct asked a, b, late, how, other;
	struct dns_desk_count count;

	begin(&w);
	ask(&w, &a, lab_dns_addr(w.dns), "acme.example", 0);
	ask(&w, &b, lab_dns_addr(w.dns), "ACME.example.", 0);
	loop_run(w.loop);
	assert_true(a.answered && b.answered);
	assert_int_equal(lab_dns_queries(w.dns), 1);
	ask(&w, &late, lab_dns_addr(w.dns), "acme.example", 0);
	loop_run(w.loop);
	assert_true(late.answered);
	assert_int_equal(lab_dns_queries(w.dns), 1);
	/* Asked otherwise, or of another, it is another question. */
	ask(&w, &how, lab_dns_addr(w.dns), "acme.example", DNS_ASK_RECURSE);
	ask(&w, &other, lab_dns_addr(w.other), "acme.example", 0);
	loop_run(w.loop);
	assert_int_equal(lab_dns_queries(w.dns), 2);
	assert_int_equal(lab_dns_queries(w.other), 1);
	dns_desk_count(w.desk, &count);
	assert_int_equal(count.asked, 5);
	assert_int_equal(count.queries, 3);
	assert_int_equal(count.servers, 2);
	end(&w);
}

static void so_many_are_in_flight_and_no_more(void **state)
{
	static struct asked asked[2 * MANY];
	struct world w;
	struct dns_desk_count count;
	char name[64];

	begin(&w);
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "x%d.acme.example", i);
		ask(&w, &asked[i], lab_dns_addr(w.dns), name, 0);
		ask(&w, &asked[MANY + i], lab_dns_addr(w.other), name, 0);
	}
	loop_run(w.loop);
	dns_desk_count(w.desk, &count);
	assert_int_equal(count.queries, 2 * MANY);
	assert_int_equal(count.most_at_one, DNS_DESK_PER_SERVER);
	assert_int_equal(count.most_in_flight, 2 * DNS_DESK_PER_SERVER);
	end(&w);
}

static void all_servers_together_have_a_bound(void **state)
{
	enum {
		SERVERS = 6
	};
	static struct asked asked[SERVERS * 40];
	struct lab_dns *labs[SERVERS];
	struct world w;
	struct dns_desk_count count;
	char name[64];
	size_t n = 0;

	begin(&w);
	for (int s = 0; s < SERVERS; s++) {
		labs[s] = server(&w, true);
		for (int i = 0; i < 40; i++) {
			snprintf(name, sizeof(name), "x%d.acme.example", i);
			ask(&w, &asked[n++], lab_dns_addr(labs[s]), name, 0);
		}
	}
	loop_run(w.loop);
	dns_desk_count(w.desk, &count);
	assert_int_equal(count.most_in_flight, DNS_DESK_IN_FLIGHT);
	assert_true(count.most_at_one <= DNS_DESK_PER_SERVER);
	assert_int_equal(count.servers, SERVERS);
	for (int s = 0; s < SERVERS; s++)
		lab_dns_free(labs[s]);
	end(&w);
}

static void who_never_answers_is_given_up(void **state)
{
	static struct asked asked[MANY];
	struct world w;
	struct dns_desk_count count;
	char name[64];
	size_t given_up = 0;

	begin(&w);
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "x%d.acme.example", i);
		ask(&w, &asked[i], &w.nobody, name, 0);
	}
	loop_run(w.loop);
	for (int i = 0; i < MANY; i++) {
		assert_false(asked[i].answered);
		given_up += strncmp(asked[i].why, "not asked: ", 11) == 0;
	}
	dns_desk_count(w.desk, &count);
	assert_true(given_up >= MANY - DNS_DESK_SILENT - DNS_DESK_PER_SERVER);
	assert_true(count.queries <= DNS_DESK_SILENT + DNS_DESK_PER_SERVER);
	end(&w);
}

static void resolvers_share_the_names(void **state)
{
	static struct asked asked[MANY];
	struct world w;
	struct addr both[2];
	char name[64];
	size_t one, two;

	begin(&w);
	both[0] = *lab_dns_addr(w.dns);
	both[1] = *lab_dns_addr(w.other);
	dns_desk_set_resolvers(w.desk, both, 2);
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "x%d.acme.example", i);
		resolve(&w, &asked[i], name);
	}
	loop_run(w.loop);
	one = lab_dns_queries(w.dns);
	two = lab_dns_queries(w.other);
	assert_int_equal(one + two, MANY);
	assert_true(one > MANY / 3 && two > MANY / 3);
	end(&w);
}

/* All are answered by the second of two resolvers. */
static void the_other_answers(struct world *w, const struct addr *bad)
{
	static struct asked asked[MANY];
	struct addr both[2] = { *bad, *lab_dns_addr(w->dns) };
	char name[64], there[ADDR_TEXT];

	addr_format(&both[1], there);
	dns_desk_set_resolvers(w->desk, both, 2);
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "x%d.acme.example", i);
		resolve(w, &asked[i], name);
	}
	loop_run(w->loop);
	for (int i = 0; i < MANY; i++) {
		assert_true(asked[i].answered);
		assert_string_equal(asked[i].from, there);
	}
}

static void a_resolver_that_is_away_leaves_it_to_the_next(void **state)
{
	struct world w;

	begin(&w);
	the_other_answers(&w, &w.nobody);
	end(&w);
}

static void a_resolver_that_refuses_leaves_it_to_the_next(void **state)
{
	struct world w;
	struct lab_dns *empty;

	begin(&w);
	empty = server(&w, false);
	the_other_answers(&w, lab_dns_addr(empty));
	lab_dns_free(empty);
	end(&w);
}

static void without_a_resolver_it_says_so(void **state)
{
	struct world w;
	struct asked a, bad;

	begin(&w);
	resolve(&w, &a, "acme.example");
	ask(&w, &bad, lab_dns_addr(w.dns), "acme..example", 0);
	loop_run(w.loop);
	assert_string_equal(a.why, "no resolver to ask");
	assert_string_equal(bad.why, "not a DNS name");
	assert_int_equal(lab_dns_queries(w.dns), 0);
	end(&w);
}

static void stop(void *ctx)
{
	loop_stop(ctx);
}

static void who_cancels_is_not_told(void **state)
{
	struct world w;
	struct asked a, b;
	struct loop_timer *timer;

	begin(&w);
	ask(&w, &a, lab_dns_addr(w.dns), "acme.example", 0);
	ask(&w, &b, lab_dns_addr(w.dns), "acme.example", 0);
	dns_call_cancel(&a.call);
	assert_null(a.call);
	w.open--;
	loop_run(w.loop);
	assert_true(b.answered && !a.told);
	/* Cancelled when its answer is here already, and by freeing the desk. */
	ask(&w, &a, lab_dns_addr(w.dns), "acme.example", 0);
	dns_call_cancel(&a.call);
	ask(&w, &b, lab_dns_addr(w.dns), "else.acme.example", 0);
	dns_desk_free(w.desk);
	w.desk = NULL;
	timer = loop_timer_new(w.loop, stop, w.loop);
	loop_timer_arm(timer, 20);
	loop_run(w.loop);
	assert_true(!a.told && !b.told);
	loop_timer_free(timer);
	end(&w);
}

static void free_desk(void *ctx, const struct dns_answer *answer,
		      const char *why, const struct addr *from)
{
	struct world *w = ctx;

	dns_desk_free(w->desk);
	w->desk = NULL;
	loop_stop(w->loop);
}

static void an_answer_may_free_the_desk(void **state)
{
	struct world w;
	struct asked b;

	begin(&w);
	dns_desk_ask(w.desk, lab_dns_addr(w.dns), "acme.example", DNS_MX, 0,
		     free_desk, &w);
	ask(&w, &b, lab_dns_addr(w.dns), "acme.example", 0);
	loop_run(w.loop);
	assert_false(b.told);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_question_leaves_once),
		cmocka_unit_test(so_many_are_in_flight_and_no_more),
		cmocka_unit_test(all_servers_together_have_a_bound),
		cmocka_unit_test(who_never_answers_is_given_up),
		cmocka_unit_test(resolvers_share_the_names),
		cmocka_unit_test(a_resolver_that_is_away_leaves_it_to_the_next),
		cmocka_unit_test(a_resolver_that_refuses_leaves_it_to_the_next),
		cmocka_unit_test(without_a_resolver_it_says_so),
		cmocka_unit_test(who_cancels_is_not_told),
		cmocka_unit_test(an_answer_may_free_the_desk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
