/*
 * metrics.h - figures for Prometheus, and whether mail is taken
 *
 * On a loopback address, if tideoverd --config names one, where anybody on this
 * machine may ask: GET /metrics has the figures of `tideover status` in the text
 * format of Prometheus (version 0.0.4), GET /healthz says 200 while new mail is
 * taken, else 503 and why.  Plans, domains and targets are named, and nobody's
 * address.
 */
#ifndef DAEMON_METRICS_H
#define DAEMON_METRICS_H

#include "daemon/daemon.h"

/* An http_handler_fn; `ctx` is the daemon. */
void metrics_handle(void *ctx, struct http_request *request);

/* The page, from the documents of the node and of its plans. */
void metrics_print(const struct json *node, const struct json *plans,
		   struct buf *out);

#endif
