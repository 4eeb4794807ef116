/*
 * http_server.h - HTTP/1.1 on a unix socket or a loopback address
 *
 * evhttp underneath (the only other file that knows libevent).  A unix socket
 * answers only root and the user the daemon runs as (SO_PEERCRED, Linux
 * unix(7)).  Requests with two Content-Length fields or, on TCP, with a Host
 * that is not loopback are refused.
 */
#ifndef NET_HTTP_SERVER_H
#define NET_HTTP_SERVER_H

#include "base/buf.h"
#include "net/loop.h"

struct http_server;
struct http_request;

/* Runs on the loop; must answer each request exactly once, now or later. */
typedef void http_handler_fn(void *ctx, struct http_request *request);

struct http_server *http_server_unix(struct loop *loop, const char *path,
				     http_handler_fn *fn, void *ctx,
				     struct err *err);
struct http_server *http_server_tcp(struct loop *loop, const char *address,
				    http_handler_fn *fn, void *ctx,
				    struct err *err);
void http_server_free(struct http_server *server); /* NULL is fine */

const char *http_request_method(const struct http_request *request);
/* Decoded path without the query. */
const char *http_request_path(const struct http_request *request);
/* A query parameter, or NULL; borrowed. */
const char *http_request_query(const struct http_request *request,
			       const char *name);
struct slice http_request_body(const struct http_request *request);
/* Who asks, from the peer's credentials: "root", "alice"; "" on TCP. */
const char *http_request_user(const struct http_request *request);

/* The whole answer at once; ends the request. */
void http_answer(struct http_request *request, int status, const char *type,
		 struct slice body);

/* A streamed answer: begin, any number of chunks, end.  `gone` is called at
 * most once, on the loop, if the client leaves first; then only
 * http_stream_end() may follow. */
void http_stream_begin(struct http_request *request, int status,
		       const char *type, loop_fn *gone, void *ctx);
void http_stream_chunk(struct http_request *request, struct slice bytes);
void http_stream_end(struct http_request *request);

#endif
