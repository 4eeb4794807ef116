#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "daemon/network.h"
#include <stdio.h>

static enum network_verdict enter(struct networks *networks, const char *ip,
				  int64_t ms)
{
	struct addr peer;

	assert_int_equal(addr_from_ip(slice(ip), 4711, &peer, NULL), 0);
	return networks_enter(networks, &peer, ms);
}

static void leave(struct networks *networks, const char *ip, int64_t ms)
{
	struct addr peer;

	assert_int_equal(addr_from_ip(slice(ip), 4711, &peer, NULL), 0);
	networks_leave(networks, &peer, ms);
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
		cmocka_unit_test(a_network_is_counted_as_one),
		cmocka_unit_test(this_machine_is_not_a_network),
		cmocka_unit_test(a_minute_has_so_many_connects),
		cmocka_unit_test(the_crowded_go_first),
		cmocka_unit_test(a_crowd_leaves_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
