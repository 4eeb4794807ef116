/*
 * config.h - what the node itself is told: limits, TLS, postmaster
 *
 * A plan says what to do with a domain's mail; this says how the machine bears
 * it, for all plans.  Everything has a default, so that no file is needed.  The
 * file is JSON, read as strictly as a plan: a key that is not known, a wrong
 * type or a number out of bounds is an error with the line.  docs/tideoverd.json
 * shows every key with its default, and is tested to.
 */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include "base/json.h"
#include "daemon/network.h"
#include "daemon/session.h"
#include "net/tls.h"

struct config {
	char *state;	  /* the state folder, or NULL */
	char *master_key; /* file with the key of data keys, or NULL */
	char *metrics;	  /* loopback address and port, or NULL */
	char *postmaster; /* takes mail for the bare <postmaster>, or NULL */
	enum tls_floor tls_floor;
	unsigned queue_in_memory; /* envelopes of a plan (backlog.h) */
	struct network_limits network;
	int64_t overload_ms; /* an answer may take (overload.h) */
	struct session_limits session;
	/* Peers that have our last word and do not close; 0: no limit.  It
	 * follows from the descriptors, not from the file. */
	size_t leaving;
};

void config_default(struct config *config);
/* Over what is there already; -1 with err (file and line) changes nothing that
 * is used: end then. */
int config_read(const char *path, struct config *config, struct err *err);
void config_release(struct config *config);
/* The limits as they hold, in the form of the file's "limits". */
struct json *config_limits_json(const struct config *config);

#endif
