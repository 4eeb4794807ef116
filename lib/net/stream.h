/*
 * stream.h - a connection as bytes in and bytes out, with or without TLS
 *
 * The only file that knows libevent's bufferevents.  A stream belongs to one
 * loop and one owner.  Callbacks never run before the call that makes the
 * stream returns; after stream_free() none runs.  on_end comes at most once
 * and nothing after it; the owner then frees the stream.
 */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "net/addr.h"
#include "net/loop.h"
#include "net/tls.h"
#include "net/tls_chain.h"
#include "net/tls_terms.h"

struct stream;

struct stream_events {
	void (*on_open)(void *ctx); /* connected (client only) */
	/* New input; read with stream_peek() and stream_consume(). */
	void (*on_input)(void *ctx);
	/* All output has left for the kernel (only after a wish, see below). */
	void (*on_drained)(void *ctx);
	/* STARTTLS is done, either side. */
	void (*on_tls)(void *ctx);
	/* The peer closed (`why` NULL), failed, or the deadline passed. */
	void (*on_end)(void *ctx, const char *why);
};

struct stream *stream_accept(struct loop *loop, int fd,
			     const struct stream_events *events, void *ctx);
struct stream *stream_connect(struct loop *loop, const struct addr *to,
			      int64_t timeout_ms,
			      const struct stream_events *events, void *ctx);
/* Closes at once; unsent output is dropped.  NULL is fine. */
void stream_free(struct stream *stream);
/*
 * Sends what is left (at most `timeout_ms`), closes and frees by itself; no
 * callback runs any more.  The owner forgets the stream.
 */
void stream_finish(struct stream *stream, int64_t timeout_ms);

/* All input so far as one run of bytes, borrowed until the next call. */
struct slice stream_peek(struct stream *stream);
void stream_consume(struct stream *stream, size_t n);
void stream_write(struct stream *stream, struct slice bytes);
size_t stream_unsent(struct stream *stream);
/* Ask for one on_drained when the output is empty (at once if it is: later). */
void stream_wish_drained(struct stream *stream);
/* Stop and go on reading (backpressure). */
void stream_pause(struct stream *stream);
void stream_resume(struct stream *stream);
/*
 * on_end("timed out") if nothing else happens for this long: an absolute
 * deadline from now, moved by the next call, not by traffic; 0 = none.
 */
void stream_deadline(struct stream *stream, int64_t ms);

/*
 * Begin TLS once the output so far has left; input that came in clear text is
 * thrown away (RFC 3207 section 4.2).  on_tls or on_end follows.
 */
void stream_starttls_server(struct stream *stream, struct tls_server *tls);
/* `terms` are what this session must prove beside, or NULL; it takes a share
 * of them. */
void stream_starttls_client(struct stream *stream, struct tls_client *tls,
			    const char *server_name, struct tls_terms *terms);
/* In on_end: the handshake failed on what the peer's TLS or its certificate is,
 * rather than on the connection. */
bool stream_tls_refused(const struct stream *stream);
/* What TLS gave; `active` false in clear text. */
void stream_tls_info(struct stream *stream, struct tls_info *info);
/* The certificates that the server showed; none in clear text. */
void stream_tls_chain(struct stream *stream, struct tls_chain *chain);
void stream_peer(struct stream *stream, struct addr *addr);
void stream_local(struct stream *stream, struct addr *addr);

#endif
