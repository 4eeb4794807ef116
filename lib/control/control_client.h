/*
 * control_client.h - talk to a running tideoverd
 *
 * HTTP/1.1 + JSON over the daemon's unix socket (docs/control.md).  Blocking;
 * for the command alone.
 */
#ifndef CONTROL_CONTROL_CLIENT_H
#define CONTROL_CONTROL_CLIENT_H

#include "base/json.h"

enum control_result {
	CONTROL_OK,	     /* 2xx: *answer is the document */
	CONTROL_REFUSED,     /* 4xx: what was asked is wrong; err says why */
	CONTROL_FAILED,	     /* 5xx: it could not be done; err says why */
	CONTROL_UNREACHABLE, /* no daemon answers at the socket */
	CONTROL_TIMEOUT,
};

/* `body` may be NULL.  *answer (may be NULL) is owned by the caller. */
enum control_result control_call(const char *socket, const char *method,
				 const char *path, const struct json *body,
				 int64_t timeout_ms, struct json **answer,
				 struct err *err);
/* NDJSON: `each` for every line; raw: every piece goes to on_bytes.  Lines that
 * came count for nothing if it ends with a failure: there may be more. */
enum control_result control_lines(const char *socket, const char *path,
				  int (*each)(void *ctx,
					      const struct json *line),
				  void *ctx, struct err *err);
/* The same as an answer to a POST. */
enum control_result control_post_lines(const char *socket, const char *path,
				       const struct json *body,
				       int (*each)(void *ctx,
						   const struct json *line),
				       void *ctx, struct err *err);
enum control_result control_bytes(const char *socket, const char *path,
				  int (*on_bytes)(void *ctx,
						  struct slice bytes),
				  void *ctx, struct err *err);

/*
 * The folder that holds all state: --state, else $TIDEOVER_STATE, else
 * /var/lib/tideover if that exists and is ours, else
 * $XDG_STATE_HOME/tideover, else ~/.local/state/tideover.  The socket is
 * "control.sock" in it.
 */
char *control_state_dir(const char *option);
char *control_socket(const char *state_dir);

#endif
