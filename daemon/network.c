#include "daemon/network.h"
#include "base/buf.h"
#include "base/map.h"
#include <netinet/in.h>
#include <stdlib.h>

#define MINUTE_MS 60000.0

enum {
	SHARE_MIN = 8,	   /* a newcomer finds room for so many */
	SWEEP_EVERY = 1000 /* comings */
};

enum family {
	IPV4 = 4,
	IPV6 = 6,
	THIS_MACHINE
};

struct network {
	struct list link;
	struct list alike; /* those with an idle session, and as many open */
	struct list idle;  /* the longest idle one is the first */
	unsigned char key[9];
	size_t open;
	double spent; /* of the minute's bucket */
	int64_t at_ms;
};

struct networks {
	struct network_limits limits;
	struct map by_key;
	struct list all;
	/* By what they have open, [0] to `most`; NULL: no limit in all, and
	 * nobody needs to give up a place. */
	struct list *alike;
	size_t most, top; /* none is above `top` */
	size_t bound;
	size_t open, known;
	unsigned comings; /* since the last sweep */
};

struct networks *networks_new(const struct network_limits *limits)
{
	struct networks *networks = mem_alloc(sizeof(*networks));

	networks->limits = *limits;
	networks->bound = SIZE_MAX;
	list_init(&networks->all);
	if (!limits->sessions)
		return networks;
	networks->most = limits->sessions;
	if (limits->sessions_per_network &&
	    limits->sessions_per_network < networks->most)
		networks->most = limits->sessions_per_network;
	networks->alike =
		mem_alloc((networks->most + 1) * sizeof(*networks->alike));
	for (size_t i = 0; i <= networks->most; i++)
		list_init(&networks->alike[i]);
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
	free(networks->alike);
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

static bool is_this_machine(const struct addr *peer)
{
	static const unsigned char local[4] = { 127, 0, 0, 1 };
	const unsigned char *v4 = ipv4_of(peer);

	if (v4)
		return memcmp(v4, local, sizeof(local)) == 0;
	return IN6_IS_ADDR_LOOPBACK(
		&((const struct sockaddr_in6 *)&peer->sa)->sin6_addr);
}

static void key_of(const struct addr *peer, unsigned char key[9])
{
	const unsigned char *v4 = ipv4_of(peer);

	memset(key, 0, 9);
	if (is_this_machine(peer)) {
		key[0] = THIS_MACHINE;
	} else if (v4) {
		key[0] = IPV4;
		memcpy(key + 1, v4, 3);
	} else {
		key[0] = IPV6;
		memcpy(key + 1,
		       &((const struct sockaddr_in6 *)&peer->sa)->sin6_addr, 8);
	}
}

static bool is_ours(const struct network *network)
{
	return network->key[0] == THIS_MACHINE;
}

/* What so many of it count, where networks are compared. */
static size_t weight(const struct network *network, size_t open)
{
	return is_ours(network) && open > 1 ? 1 : open;
}

/* After a change of what it has open, or of whether some of it is idle. */
static void sort_in(struct networks *networks, struct network *network)
{
	list_remove(&network->alike);
	if (!networks->alike || is_ours(network) ||
	    list_is_empty(&network->idle))
		return;
	list_append(&networks->alike[network->open], &network->alike);
	if (network->open > networks->top)
		networks->top = network->open;
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

static struct network *meet(struct networks *networks, const struct addr *peer,
			    int64_t mono_ms)
{
	unsigned char key[9];
	struct network *network;

	key_of(peer, key);
	network = map_get(&networks->by_key, slice_of(key, sizeof(key)));
	if (network)
		return network;
	network = mem_alloc(sizeof(*network));
	memcpy(network->key, key, sizeof(key));
	network->at_ms = mono_ms;
	list_init(&network->alike);
	list_init(&network->idle);
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

/* Whose place a newcomer of this network may have, or NULL. */
static struct network_place *to_yield(struct networks *networks,
				      const struct network *newcomer)
{
	struct network *largest;

	while (networks->top > 0 &&
	       list_is_empty(&networks->alike[networks->top]))
		networks->top--;
	if (networks->top <= weight(newcomer, newcomer->open) + 1)
		return NULL;
	largest = list_entry(networks->alike[networks->top].next,
			     struct network, alike);
	return list_entry(largest->idle.next, struct network_place, link);
}

enum network_verdict networks_enter(struct networks *networks,
				    const struct addr *peer, int64_t mono_ms,
				    struct network_place *place,
				    struct network_place **instead)
{
	const struct network_limits *limits = &networks->limits;
	struct network *network;
	bool full = limits->sessions && networks->open >= limits->sessions;

	*instead = NULL;
	if (++networks->comings >= SWEEP_EVERY)
		sweep(networks, mono_ms);
	network = meet(networks, peer, mono_ms);
	refill(networks, network, mono_ms);
	if (!is_ours(network) && limits->connects_per_minute &&
	    network->spent + 1 > limits->connects_per_minute)
		return NETWORK_RATE;
	if (weight(network, network->open + 1) > networks->bound)
		return NETWORK_PUT_OFF;
	if (full)
		*instead = to_yield(networks, network);
	if (full && !*instead)
		return NETWORK_SESSIONS;
	if (!is_ours(network) && network->open >= share(networks)) {
		*instead = NULL;
		return NETWORK_SHARE;
	}
	if (*instead)
		networks_leave(networks, *instead, mono_ms);
	network->spent += 1;
	network->open++;
	networks->open++;
	place->network = network;
	list_append(&network->idle, &place->link);
	sort_in(networks, network);
	return NETWORK_OK;
}

void networks_leave(struct networks *networks, struct network_place *place,
		    int64_t mono_ms)
{
	struct network *network = place->network;

	if (!network)
		return;
	refill(networks, network, mono_ms);
	place->network = NULL;
	list_remove(&place->link);
	network->open--;
	networks->open--;
	sort_in(networks, network);
}

void networks_busy(struct networks *networks, struct network_place *place)
{
	if (!place->network)
		return;
	list_remove(&place->link);
	sort_in(networks, place->network);
}

void networks_idle(struct networks *networks, struct network_place *place)
{
	if (!place->network)
		return;
	list_append(&place->network->idle, &place->link);
	sort_in(networks, place->network);
}

void networks_bound(struct networks *networks, size_t bound)
{
	networks->bound = bound;
}

/* Who has left is not asked any more. */
bool networks_puts_off(const struct networks *networks,
		       const struct network_place *place)
{
	return place->network &&
	       weight(place->network, place->network->open) > networks->bound;
}

size_t networks_largest(const struct networks *networks)
{
	size_t largest = 0;

	list_each (it, next, (struct list *)&networks->all) {
		const struct network *network =
			list_entry(it, struct network, link);
		size_t has = weight(network, network->open);

		if (has > largest)
			largest = has;
	}
	return largest;
}

size_t networks_sessions(const struct networks *networks)
{
	return networks->open;
}

size_t networks_count(const struct networks *networks)
{
	return networks->known;
}
