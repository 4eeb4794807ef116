/*
 * http.h - one blocking HTTP request   [libcurl]
 *
 * For the command, never for the loop.
 */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

struct http_call {
	const char *unix_socket; /* NULL: TCP */
	const char *method;	 /* "GET", "POST", "DELETE" */
	const char *url;
	struct slice body;
	const char *content_type;
	int64_t timeout_ms; /* 0: none */
	size_t max_bytes;   /* of the answer; 0: unlimited */
	/* NULL: the answer is collected in `out`; else called per piece. */
	int (*on_bytes)(void *ctx, struct slice bytes);
	void *ctx;
};

enum http_result {
	HTTP_OK,
	HTTP_UNREACHABLE,
	HTTP_TIMEOUT,
	HTTP_FAILED
};

/* HTTP_OK whatever the status says; it is in *status. */
enum http_result http_call(const struct http_call *call, int *status,
			   struct buf *out, struct err *err);

#endif
