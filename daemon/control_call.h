/*
 * control_call.h - one request on its way through a gate, the index or a job
 *
 * For the control_*.c files alone.  A verb answers the request, exactly once,
 * and frees the call.
 */
#ifndef DAEMON_CONTROL_CALL_H
#define DAEMON_CONTROL_CALL_H

#include "daemon/daemon.h"

struct call {
	struct daemon *daemon;
	struct http_request *request;
	struct cutover *cutover;
	struct json *body;
	char *plan;
	bool gone;	/* the client left a streamed answer */
	struct job job; /* while it waits for a gate, or counts */
	/* The report's parts. */
	struct json *uncertain, *replies;
};

typedef void verb_fn(struct call *call);

void call_free(struct call *call);
/* Takes `body`. */
void call_reply(struct http_request *request, int status, struct json *body);
void call_error(struct http_request *request, int status, const char *error);
/* Who asks: what the body says, or the peer's name. */
const char *call_by(const struct call *call);
/* For http_stream_begin(): marks the call. */
void call_gone(void *ctx);
/* A document as a line of a streamed answer. */
/* The end of a stream of lines; with err its last line says why there are no more.
 * Frees the call. */
void call_stream_end(struct call *call, const struct err *err);
void call_line(struct call *call, const struct json *line);

/* control_verbs.c: of the disk, for whom it is told. */
struct json *control_space_json(struct daemon *daemon);

/* control_status.c */
verb_fn control_get_status;

/* control_queue.c */
verb_fn control_get_queue;
verb_fn control_get_count;
verb_fn control_get_message;
verb_fn control_post_release;
verb_fn control_post_hold;
verb_fn control_post_retry;
verb_fn control_post_discard;
verb_fn control_post_bounce;
verb_fn control_post_resend;

/* control_canary.c */
verb_fn control_post_canary;

#endif
