#include "daemon/network.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include <netinet/in.h>
#include <stdlib.h>

#define MINUTE_MS 60000.0

enum {
	SHARE_MIN = 8,	   /* a newcomer finds room for so many */
	SWEEP_EVERY = 1000 /* comings */
};

struct network {
	struct list link;
	unsigned char key[9];
	size_t open;
	double spent; /* of the minute's bucket */
	int64_t at_ms;
};

struct networks {
	struct network_limits limits;
	struct map by_key;
	struct list all;
	size_t open, known;
	unsigned comings; /* since the last sweep */
};

struct networks *networks_new(const struct network_limits *limits)
{
	struct networks *networks = mem_alloc(sizeof(*networks));

	networks->limits = *limits;
	list_init(&networks->all);
	return networks;
}

static void forget(struct networks *networks, struct network *network)
{
	map_remove(&networks->by_key,
		   slice_of(network->key, sizeof(network->key)));
	list_remove(&network->link);
	networks->known--;
	free(network);
}

void networks_free(struct networks *networks)
{
	if (!networks)
		return;
	list_each (it, next, &networks->all)
		forget(networks, list_entry(it, struct network, link));
	map_release(&networks->by_key);
	free(networks);
}

/* An IPv4 address within IPv6 belongs to its IPv4 network. */
static const unsigned char *ipv4_of(const struct addr *peer)
{
	const struct sockaddr_in6 *in6 = (const void *)&peer->sa;

	if (peer->sa.ss_family == AF_INET)
		return (const void *)&((const struct sockaddr_in *)&peer->sa)
			->sin_addr;
	return IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) ?
		       &in6->sin6_addr.s6_addr[12] :
		       NULL;
}

static void key_of(const struct addr *peer, unsigned char key[9])
{
	const unsigned char *v4 = ipv4_of(peer);

	memset(key, 0, 9);
	if (v4) {
		key[0] = 4;
		memcpy(key + 1, v4, 3);
	} else {
		key[0] = 6;
		memcpy(key + 1,
		       &((const struct sockaddr_in6 *)&peer->sa)->sin6_addr, 8);
	}
}

static bool is_this_machine(const struct addr *peer)
{
	static const unsigned char local[4] = { 127, 0, 0, 1 };
	const unsigned char *v4 = ipv4_of(peer);

	if (v4)
		return memcmp(v4, local, sizeof(local)) == 0;
	return IN6_IS_ADDR_LOOPBACK(
		&((const struct sockaddr_in6 *)&peer->sa)->sin6_addr);
}

static void refill(struct networks *networks, struct network *network,
		   int64_t mono_ms)
{
	double back = (double)(mono_ms - network->at_ms) *
		      networks->limits.connects_per_minute / MINUTE_MS;

	network->spent =
		networks->limits.connects_per_minute && network->spent > back ?
			network->spent - back :
			0;
	network->at_ms = mono_ms;
}

/* A crowd of networks that came once leaves no memory behind. */
static void sweep(struct networks *networks, int64_t mono_ms)
{
	networks->comings = 0;
	list_each (it, next, &networks->all) {
		struct network *network = list_entry(it, struct network, link);

		refill(networks, network, mono_ms);
		if (network->open == 0 && network->spent == 0)
			forget(networks, network);
	}
}

static struct network *find(struct networks *networks, const struct addr *peer)
{
	unsigned char key[9];

	key_of(peer, key);
	return map_get(&networks->by_key, slice_of(key, sizeof(key)));
}

static struct network *meet(struct networks *networks, const struct addr *peer,
			    int64_t mono_ms)
{
	struct network *network = find(networks, peer);

	if (network)
		return network;
	network = mem_alloc(sizeof(*network));
	key_of(peer, network->key);
	network->at_ms = mono_ms;
	list_append(&networks->all, &network->link);
	map_put(&networks->by_key, slice_of(network->key, sizeof(network->key)),
		network);
	networks->known++;
	return network;
}

static size_t share(const struct networks *networks)
{
	const struct network_limits *limits = &networks->limits;
	size_t most = limits->sessions_per_network;
	size_t half;

	if (!limits->sessions)
		return most ? most : SIZE_MAX;
	half = (limits->sessions - networks->open) / 2;
	if (half < SHARE_MIN)
		half = SHARE_MIN;
	return most && most < half ? most : half;
}

enum network_verdict networks_enter(struct networks *networks,
				    const struct addr *peer, int64_t mono_ms)
{
	const struct network_limits *limits = &networks->limits;
	bool ours = is_this_machine(peer);
	struct network *network;

	if (++networks->comings >= SWEEP_EVERY)
		sweep(networks, mono_ms);
	if (limits->sessions && networks->open >= limits->sessions)
		return NETWORK_SESSIONS;
	network = meet(networks, peer, mono_ms);
	refill(networks, network, mono_ms);
	if (!ours && limits->connects_per_minute &&
	    network->spent + 1 > limits->connects_per_minute)
		return NETWORK_RATE;
	if (!ours && network->open >= share(networks))
		return NETWORK_SHARE;
	network->spent += 1;
	network->open++;
	networks->open++;
	return NETWORK_OK;
}

void networks_leave(struct networks *networks, const struct addr *peer,
		    int64_t mono_ms)
{
	struct network *network = find(networks, peer);

	if (!network || network->open == 0)
		return;
	refill(networks, network, mono_ms);
	network->open--;
	networks->open--;
}

size_t networks_sessions(const struct networks *networks)
{
	return networks->open;
}

size_t networks_count(const struct networks *networks)
{
	return networks->known;
}
