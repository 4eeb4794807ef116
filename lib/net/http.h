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

/*
 * What an answer says of the time (RFC 9110 section 6.6.1), and our own wall
 * clock around it: between the request and the first line of the answer.
 */
struct http_date {
	int64_t date_ms; /* to the second; 0: none */
	bool stored;	 /* a cache's: its Date is of the past (RFC 9111 5.1) */
	int64_t asked_ms, answered_ms;
};

/*
 * A document from a stranger by HTTPS, for whoever may wait: a thread of its
 * own (fetch.h).  The certificate must be trusted and name the host; redirects
 * are not followed (RFC 8461 section 3.3).  Nobody is asked for the host's
 * address: it is connected where `address` says.
 */
struct http_fetch {
	const char *host, *path; /* "/.well-known/mta-sts.txt" */
	int port;		 /* 0: 443 */
	const char *address;	 /* IP, without brackets */
	const char *ca_file; /* NULL: SSL_CERT_FILE, or the system's store */
	size_t max_bytes; /* 0: HEAD; any status will do, the date is wanted */
	int64_t timeout_ms;	  /* of the whole */
	const _Atomic bool *stop; /* becomes true: give up within a second */
};
/*
 * HTTP_OK on 200 with a text/plain document in `out`; else err.  `date` is
 * filled whatever the status.
 */
enum http_result http_fetch(const struct http_fetch *fetch, struct buf *out,
			    struct http_date *date, struct err *err);

#endif
