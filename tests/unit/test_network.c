#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "daemon/network.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	PLACES = 1000
};

/* Of a test: whoever is in, by the order of coming. */
static struct {
	const char *ip;
	struct network_place place;
} places[PLACES];
static size_t came;

/* Who had to go for the last one; NULL: nobody. */
static const char *yielded;

static int reset(void **state)
{
	memset(places, 0, sizeof(places));
	came = 0;
	return 0;
}

static enum network_verdict enter(struct networks *networks, const char *ip,
				  int64_t ms)
{
	struct network_place *instead;
	struct addr peer;
	enum network_verdict verdict;

	assert_int_equal(addr_from_ip(slice(ip), 4711, &peer, NULL), 0);
	assert_in_range(came, 0, PLACES - 1);
	verdict = networks_enter(networks, &peer, ms, &places[came].place,
				 &instead);
	yielded = NULL;
	for (size_t i = 0; i < came; i++)
		if (&places[i].place == instead) {
			yielded = places[i].ip;
			places[i].ip = "";
		}
	if (verdict == NETWORK_OK)
		places[came++].ip = ip;
	return verdict;
}

/* The first that came from there and is in. */
static struct network_place *place_of(const char *ip)
{
	for (size_t i = 0; i < came; i++)
		if (strcmp(places[i].ip, ip) == 0)
			return &places[i].place;
	fail();
	return NULL;
}

static void leave(struct networks *networks, const char *ip, int64_t ms)
{
	for (size_t i = 0; i < came; i++)
		if (strcmp(places[i].ip, ip) == 0) {
			networks_leave(networks, &places[i].place, ms);
			places[i].ip = "";
			break;
		}
	while (came > 0 && !*places[came - 1].ip)
		came--;
}

static void a_network_is_counted_as_one(void **state)
{
	struct networks *networks = networks_new(
		&(struct network_limits){ .sessions_per_network = 2 });

	assert_int_equal(enter(networks, "192.0.2.1", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "192.0.2.200", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "192.0.2.3", 0), NETWORK_SHARE);
	/* The same network by IPv6 sockets, and others. */
	assert_int_equal(enter(networks, "::ffff:192.0.2.9", 0), NETWORK_SHARE);
	assert_int_equal(enter(networks, "192.0.3.1", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "2001:db8::1", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "2001:db8::2", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "2001:db8::3:1", 0), NETWORK_SHARE);
	assert_int_equal(enter(networks, "2001:db8:0:1::1", 0), NETWORK_OK);
	leave(networks, "192.0.2.1", 0);
	assert_int_equal(enter(networks, "192.0.2.4", 0), NETWORK_OK);
	assert_int_equal(networks_sessions(networks), 6);
	networks_free(networks);
}

static void this_machine_is_not_a_network(void **state)
{
	struct networks *networks = networks_new(
		&(struct network_limits){ .sessions = 100,
					  .sessions_per_network = 2,
					  .connects_per_minute = 2 });

	for (int i = 0; i < 100; i++)
		assert_int_equal(enter(networks, i % 2 ? "127.0.0.1" : "::1",
				       0),
				 NETWORK_OK);
	assert_int_equal(enter(networks, "127.0.0.1", 0), NETWORK_SESSIONS);
	networks_free(networks);
}

static void a_minute_has_so_many_connects(void **state)
{
	struct networks *networks = networks_new(
		&(struct network_limits){ .connects_per_minute = 60 });

	for (int i = 0; i < 60; i++) {
		assert_int_equal(enter(networks, "192.0.2.1", 0), NETWORK_OK);
		leave(networks, "192.0.2.1", 0);
	}
	assert_int_equal(enter(networks, "192.0.2.1", 0), NETWORK_RATE);
	assert_int_equal(enter(networks, "198.51.100.1", 0), NETWORK_OK);
	/* One comes back each second. */
	assert_int_equal(enter(networks, "192.0.2.1", 999), NETWORK_RATE);
	assert_int_equal(enter(networks, "192.0.2.1", 1000), NETWORK_OK);
	assert_int_equal(enter(networks, "192.0.2.1", 1001), NETWORK_RATE);
	networks_free(networks);
}

static void the_crowded_go_first(void **state)
{
	struct networks *networks = networks_new(&(struct network_limits){
		.sessions = 1000, .sessions_per_network = 900 });
	unsigned crowd = 0;

	while (enter(networks, "192.0.2.1", 0) == NETWORK_OK)
		crowd++;
	/* It stops where it has half of what is free. */
	assert_in_range(crowd, 300, 340);
	for (int i = 0; i < 50; i++)
		assert_int_equal(enter(networks, "198.51.100.1", 0),
				 NETWORK_OK);
	assert_int_equal(enter(networks, "192.0.2.1", 0), NETWORK_SHARE);
	networks_free(networks);
}

static void the_largest_gives_up_its_longest_idle_place(void **state)
{
	struct networks *networks =
		networks_new(&(struct network_limits){ .sessions = 9 });

	assert_int_equal(enter(networks, "192.0.2.1", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "192.0.2.2", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "192.0.2.3", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "192.0.2.4", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "192.0.2.5", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "198.51.100.1", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "198.51.100.2", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "198.51.100.3", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "198.51.100.4", 0), NETWORK_OK);
	networks_busy(networks, place_of("192.0.2.1"));
	networks_busy(networks, place_of("192.0.2.2"));
	networks_idle(networks, place_of("192.0.2.2"));
	networks_busy(networks, place_of("192.0.2.4"));
	/* Five and four: no place for who has as many. */
	assert_int_equal(enter(networks, "192.0.2.6", 0), NETWORK_SESSIONS);
	assert_int_equal(enter(networks, "198.51.100.5", 0), NETWORK_SESSIONS);
	assert_null(yielded);
	assert_int_equal(enter(networks, "203.0.113.1", 0), NETWORK_OK);
	assert_string_equal(yielded, "192.0.2.3");
	assert_int_equal(networks_sessions(networks), 9);
	/* Four and four: of either; two of the first are idle. */
	assert_int_equal(enter(networks, "203.0.113.2", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "203.0.113.3", 0), NETWORK_OK);
	/* Three of each. */
	assert_int_equal(enter(networks, "203.0.113.4", 0), NETWORK_SESSIONS);
	assert_int_equal(enter(networks, "192.0.2.6", 0), NETWORK_SESSIONS);
	assert_int_equal(enter(networks, "2001:db8::1", 0), NETWORK_OK);
	assert_int_equal(networks_sessions(networks), 9);
	networks_free(networks);
}

static void who_is_busy_gives_up_no_place(void **state)
{
	struct networks *networks =
		networks_new(&(struct network_limits){ .sessions = 6 });

	for (int i = 0; i < 4; i++) {
		assert_int_equal(enter(networks, "192.0.2.1", 0), NETWORK_OK);
		networks_busy(networks, &places[i].place);
	}
	assert_int_equal(enter(networks, "198.51.100.1", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "198.51.100.1", 0), NETWORK_OK);
	/* The next largest has an idle one. */
	assert_int_equal(enter(networks, "203.0.113.1", 0), NETWORK_OK);
	assert_string_equal(yielded, "198.51.100.1");
	assert_int_equal(enter(networks, "203.0.114.1", 0), NETWORK_SESSIONS);
	networks_idle(networks, &places[2].place);
	assert_int_equal(enter(networks, "203.0.114.1", 0), NETWORK_OK);
	assert_string_equal(yielded, "192.0.2.1");
	/* It may end its transaction before it hears of that. */
	networks_busy(networks, &places[2].place);
	networks_idle(networks, &places[2].place);
	networks_leave(networks, &places[2].place, 0);
	assert_int_equal(networks_sessions(networks), 6);
	networks_free(networks);
}

static void this_machine_gives_up_no_place(void **state)
{
	struct networks *networks =
		networks_new(&(struct network_limits){ .sessions = 6 });

	for (int i = 0; i < 4; i++)
		assert_int_equal(enter(networks, "127.0.0.1", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "192.0.2.1", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "192.0.2.1", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "127.0.0.1", 0), NETWORK_SESSIONS);
	assert_int_equal(enter(networks, "198.51.100.1", 0), NETWORK_OK);
	assert_string_equal(yielded, "192.0.2.1");
	assert_int_equal(enter(networks, "198.51.101.1", 0), NETWORK_SESSIONS);
	leave(networks, "192.0.2.1", 0);
	assert_int_equal(enter(networks, "198.51.100.1", 0), NETWORK_OK);
	leave(networks, "127.0.0.1", 0);
	assert_int_equal(enter(networks, "198.51.100.1", 0), NETWORK_OK);
	/* Three of its own count as one. */
	assert_int_equal(enter(networks, "127.0.0.1", 0), NETWORK_OK);
	assert_string_equal(yielded, "198.51.100.1");
	networks_free(networks);
}

static void in_overload_the_largest_are_put_off(void **state)
{
	struct networks *networks =
		networks_new(&(struct network_limits){ .sessions = 100 });

	for (int i = 0; i < 8; i++)
		assert_int_equal(enter(networks, "192.0.2.1", 0), NETWORK_OK);
	for (int i = 0; i < 4; i++)
		assert_int_equal(enter(networks, "198.51.100.1", 0),
				 NETWORK_OK);
	for (int i = 0; i < 20; i++)
		assert_int_equal(enter(networks, "127.0.0.1", 0), NETWORK_OK);
	assert_int_equal(networks_largest(networks), 8);
	assert_false(networks_puts_off(networks, place_of("192.0.2.1")));
	networks_bound(networks, 4);
	assert_true(networks_puts_off(networks, place_of("192.0.2.1")));
	assert_false(networks_puts_off(networks, place_of("198.51.100.1")));
	assert_false(networks_puts_off(networks, place_of("127.0.0.1")));
	assert_int_equal(enter(networks, "192.0.2.1", 0), NETWORK_PUT_OFF);
	/* It would have five. */
	assert_int_equal(enter(networks, "198.51.100.1", 0), NETWORK_PUT_OFF);
	assert_int_equal(enter(networks, "203.0.113.1", 0), NETWORK_OK);
	assert_int_equal(enter(networks, "127.0.0.1", 0), NETWORK_OK);
	networks_bound(networks, 0);
	assert_true(networks_puts_off(networks, place_of("203.0.113.1")));
	assert_true(networks_puts_off(networks, place_of("127.0.0.1")));
	assert_int_equal(enter(networks, "127.0.0.1", 0), NETWORK_PUT_OFF);
	assert_int_equal(enter(networks, "203.0.114.1", 0), NETWORK_PUT_OFF);
	networks_bound(networks, SIZE_MAX);
	assert_int_equal(enter(networks, "192.0.2.1", 0), NETWORK_OK);
	networks_free(networks);
}

/* Whatever comes, goes, works and rests: the sums are right, and nobody who
 * works has to go. */
static void any_history_keeps_the_account(void **state)
{
	static const char *const ips[] = { "192.0.2.1", "198.51.100.1",
					   "203.0.113.1", "127.0.0.1",
					   "2001:db8::1" };
	enum {
		MOST = 40
	};
	struct networks *networks = networks_new(&(struct network_limits){
		.sessions = MOST, .sessions_per_network = 25 });
	struct network_place seats[MOST] = { 0 }, *instead;
	bool busy[MOST] = { 0 };
	size_t open = 0;

	srand(4711);
	for (int i = 0; i < 200000; i++) {
		size_t at = (size_t)(rand() % MOST);
		struct network_place *seat = &seats[at];
		struct addr peer;

		addr_from_ip(slice(ips[rand() % 8 < 4 ? 0 : rand() % 5]), 25,
			     &peer, NULL);
		if (!seat->network && networks_enter(networks, &peer, i, seat,
						     &instead) == NETWORK_OK) {
			busy[at] = false;
			assert_false(instead && busy[instead - seats]);
			open += instead ? 0 : 1;
		} else if (seat->network && rand() % 3 == 0) {
			networks_leave(networks, seat, i);
			open--;
		} else if (seat->network && !busy[at]) {
			networks_busy(networks, seat);
			busy[at] = true;
		} else if (seat->network) {
			networks_idle(networks, seat);
			busy[at] = false;
		}
		assert_int_equal(networks_sessions(networks), open);
	}
	networks_free(networks);
}

static void a_crowd_leaves_no_memory(void **state)
{
	struct networks *networks = networks_new(
		&(struct network_limits){ .connects_per_minute = 60 });
	char ip[32];

	for (int i = 0; i < 50000; i++) {
		snprintf(ip, sizeof(ip), "10.%d.%d.1", i / 250 % 250, i % 250);
		assert_int_equal(enter(networks, ip, i * 10), NETWORK_OK);
		leave(networks, ip, i * 10);
	}
	assert_in_range(networks_count(networks), 1, 2000);
	networks_free(networks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_network_is_counted_as_one, reset),
		cmocka_unit_test_setup(this_machine_is_not_a_network, reset),
		cmocka_unit_test_setup(a_minute_has_so_many_connects, reset),
		cmocka_unit_test_setup(the_crowded_go_first, reset),
		cmocka_unit_test_setup(
			the_largest_gives_up_its_longest_idle_place, reset),
		cmocka_unit_test_setup(who_is_busy_gives_up_no_place, reset),
		cmocka_unit_test_setup(this_machine_gives_up_no_place, reset),
		cmocka_unit_test_setup(in_overload_the_largest_are_put_off,
				       reset),
		cmocka_unit_test_setup(any_history_keeps_the_account, reset),
		cmocka_unit_test_setup(a_crowd_leaves_no_memory, reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
