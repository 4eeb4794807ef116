#include "net/stream.h"
#include "base/buf.h"
#include "base/clock.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	INPUT_MAX = 256 * 1024, /* unconsumed; then we stop reading */
	READ_MAX = 64 * 1024,	/* per wakeup */
	OPTIONS = BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS,
};

struct stream {
	struct loop *loop;
	const struct stream_events *events; /* NULL: finishing */
	void *ctx;
	struct bufferevent *bev;
	struct loop_timer *deadline;
	struct loop_leftover leftover;
	struct loop_timer *soon; /* for what must come after the call */
	bool paused, full, connecting, wish_drained, lingering;
	bool ended; /* on_end was called */
	bool dead;  /* and nothing can be sent any more */
	/* STARTTLS under way: */
	bool tls_wanted, tls_handshake, tls_active;
	struct tls_server *tls_server;
	struct tls_client *tls_client;
	char *server_name;
	char why[256];
};

static void on_read(struct bufferevent *bev, void *ctx);
static void on_write(struct bufferevent *bev, void *ctx);
static void on_event(struct bufferevent *bev, short what, void *ctx);

static void reading(struct stream *stream)
{
	if (stream->paused || stream->full || stream->tls_wanted)
		bufferevent_disable(stream->bev, EV_READ);
	else
		bufferevent_enable(stream->bev, EV_READ);
}

static void end(struct stream *stream, const char *why)
{
	if (stream->ended)
		return;
	stream->ended = stream->dead = true;
	loop_timer_stop(stream->deadline);
	if (!stream->events) {
		stream_free(stream);
		return;
	}
	bufferevent_disable(stream->bev, EV_READ | EV_WRITE);
	stream->events->on_end(stream->ctx, why);
}

/* The connection stands: a last word may still be written and finished. */
static void timed_out(void *ctx)
{
	struct stream *stream = ctx;

	if (!stream->events || stream->connecting || stream->tls_handshake) {
		end(stream, "timed out");
		return;
	}
	stream->ended = true;
	bufferevent_disable(stream->bev, EV_READ);
	stream->events->on_end(stream->ctx, "timed out");
}

static void begin_tls(struct stream *stream);

/* The last bytes have left: a half close lets the peer read them before a
 * reset for its own unread input could throw them away. */
static void linger(struct stream *stream)
{
	if (stream->lingering)
		return;
	stream->lingering = true;
	if (stream->tls_active) {
		SSL *ssl = bufferevent_openssl_get_ssl(stream->bev);

		SSL_shutdown(ssl);
		ERR_clear_error();
	}
	shutdown(bufferevent_getfd(stream->bev), SHUT_WR);
	stream->paused = stream->full = false;
	reading(stream);
}

static void soon(void *ctx)
{
	struct stream *stream = ctx;

	if (stream->ended || stream_unsent(stream) > 0)
		return;
	if (!stream->events)
		linger(stream);
	else if (stream->tls_wanted)
		begin_tls(stream);
	else if (stream->wish_drained) {
		stream->wish_drained = false;
		if (stream->events->on_drained)
			stream->events->on_drained(stream->ctx);
	}
}

static void on_write(struct bufferevent *bev, void *ctx)
{
	struct stream *stream = ctx;

	if (stream->wish_drained || stream->tls_wanted || !stream->events)
		soon(stream);
}

static void on_read(struct bufferevent *bev, void *ctx)
{
	struct stream *stream = ctx;
	struct evbuffer *in = bufferevent_get_input(bev);

	if (!stream->events) {
		evbuffer_drain(in, evbuffer_get_length(in));
		return;
	}
	if (stream->ended || stream->paused || stream->tls_wanted)
		return;
	stream->full = evbuffer_get_length(in) >= INPUT_MAX;
	if (stream->full)
		reading(stream);
	stream->events->on_input(stream->ctx);
}

static void why_text(struct stream *stream)
{
	unsigned long code =
		stream->tls_active || stream->tls_handshake ?
			bufferevent_get_openssl_error(stream->bev) :
			0;
	int number = EVUTIL_SOCKET_ERROR();

	if (code)
		ERR_error_string_n(code, stream->why, sizeof(stream->why));
	else if (stream->tls_handshake)
		snprintf(stream->why, sizeof(stream->why),
			 "TLS handshake failed: the peer closed");
	else
		snprintf(stream->why, sizeof(stream->why), "%s",
			 number ? evutil_socket_error_to_string(number) :
				  "connection lost");
}

static void tls_done(struct stream *stream)
{
	stream->tls_handshake = false;
	stream->tls_active = true;
	stream->events->on_tls(stream->ctx);
}

static void on_event(struct bufferevent *bev, short what, void *ctx)
{
	struct stream *stream = ctx;

	if (stream->ended)
		return;
	if (what & BEV_EVENT_CONNECTED) {
		if (!stream->events)
			return;
		if (stream->tls_handshake) {
			tls_done(stream);
		} else if (stream->connecting) {
			int one = 1;

			stream->connecting = false;
			setsockopt(bufferevent_getfd(bev), IPPROTO_TCP,
				   TCP_NODELAY, &one, sizeof(one));
			if (stream->events->on_open)
				stream->events->on_open(stream->ctx);
		}
		return;
	}
	if (what & BEV_EVENT_EOF && !stream->tls_handshake) {
		/* A clean close and a reset look alike under TLS. */
		if (bufferevent_get_openssl_error(bev)) {
			why_text(stream);
			end(stream, stream->why);
		} else {
			end(stream, NULL);
		}
		return;
	}
	if (what & (BEV_EVENT_ERROR | BEV_EVENT_EOF)) {
		why_text(stream);
		end(stream, stream->why);
	}
}

static void set_bev(struct stream *stream, struct bufferevent *bev)
{
	if (!bev)
		abort();
	stream->bev = bev;
	bufferevent_setcb(bev, on_read, on_write, on_event, stream);
	bufferevent_set_max_single_read(bev, READ_MAX);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static struct stream *stream_new(struct loop *loop, int fd,
				 const struct stream_events *events, void *ctx)
{
	struct stream *stream = mem_alloc(sizeof(*stream));

	stream->loop = loop;
	stream->events = events;
	stream->ctx = ctx;
	stream->deadline = loop_timer_new(loop, timed_out, stream);
	stream->soon = loop_timer_new(loop, soon, stream);
	set_bev(stream, bufferevent_socket_new(loop_base(loop), fd, OPTIONS));
	return stream;
}

struct stream *stream_accept(struct loop *loop, int fd,
			     const struct stream_events *events, void *ctx)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return stream_new(loop, fd, events, ctx);
}

struct stream *stream_connect(struct loop *loop, const struct addr *to,
			      int64_t timeout_ms,
			      const struct stream_events *events, void *ctx)
{
	struct stream *stream = stream_new(loop, -1, events, ctx);

	stream->connecting = true;
	stream_deadline(stream, timeout_ms);
	/* A failure at once is told by the deferred event callback as well. */
	bufferevent_socket_connect(stream->bev,
				   (struct sockaddr *)(uintptr_t)&to->sa,
				   (int)to->len);
	return stream;
}

void stream_free(struct stream *stream)
{
	if (!stream)
		return;
	loop_leftover_done(&stream->leftover);
	loop_timer_free(stream->deadline);
	loop_timer_free(stream->soon);
	bufferevent_free(stream->bev);
	free(stream->server_name);
	free(stream);
}

static void free_leftover(void *ctx)
{
	stream_free(ctx);
}

void stream_finish(struct stream *stream, int64_t timeout_ms)
{
	stream->events = NULL;
	if (stream->dead || stream->connecting || stream->tls_wanted ||
	    stream->tls_handshake) {
		stream_free(stream);
		return;
	}
	stream->ended = false;
	loop_leftover(stream->loop, &stream->leftover, free_leftover, stream);
	stream_deadline(stream, timeout_ms);
	loop_timer_arm(stream->soon, 0);
}

struct slice stream_peek(struct stream *stream)
{
	struct evbuffer *in = bufferevent_get_input(stream->bev);
	size_t len = evbuffer_get_length(in);

	if (len == 0 || stream->tls_wanted)
		return slice_of("", 0);
	return slice_of(evbuffer_pullup(in, -1), len);
}

void stream_consume(struct stream *stream, size_t n)
{
	struct evbuffer *in = bufferevent_get_input(stream->bev);

	evbuffer_drain(in, n);
	if (stream->full && evbuffer_get_length(in) < INPUT_MAX) {
		stream->full = false;
		if (!stream->ended)
			reading(stream);
	}
}

/* What the kernel takes at once needs no turn of the loop, and no asking epoll
 * when it may be written.  Errors are left to the bufferevent, which tells. */
static struct slice write_now(struct stream *stream, struct slice bytes)
{
	ssize_t sent;

	if (bytes.len == 0 || stream->tls_active || stream->tls_wanted ||
	    stream->tls_handshake || stream->connecting ||
	    stream_unsent(stream) > 0)
		return bytes;
	sent = send(bufferevent_getfd(stream->bev), bytes.p, bytes.len,
		    MSG_DONTWAIT | MSG_NOSIGNAL);
	return sent > 0 ? slice_from(bytes, (size_t)sent) : bytes;
}

void stream_write(struct stream *stream, struct slice bytes)
{
	if (stream->dead)
		return;
	bytes = write_now(stream, bytes);
	if (bytes.len > 0)
		bufferevent_write(stream->bev, bytes.p, bytes.len);
}

size_t stream_unsent(struct stream *stream)
{
	return evbuffer_get_length(bufferevent_get_output(stream->bev));
}

void stream_wish_drained(struct stream *stream)
{
	stream->wish_drained = true;
	if (stream_unsent(stream) == 0)
		loop_timer_arm(stream->soon, 0);
}

void stream_pause(struct stream *stream)
{
	stream->paused = true;
	if (!stream->ended)
		reading(stream);
}

void stream_resume(struct stream *stream)
{
	stream->paused = false;
	if (!stream->ended)
		reading(stream);
}

void stream_deadline(struct stream *stream, int64_t ms)
{
	if (stream->ended)
		return;
	if (ms > 0)
		loop_timer_arm(stream->deadline, ms);
	else
		loop_timer_stop(stream->deadline);
}

/* TLS. */

static void begin_tls(struct stream *stream)
{
	bool server = stream->tls_server != NULL;
	SSL *ssl = SSL_new(server ? tls_server_ctx(stream->tls_server) :
				    tls_client_ctx(stream->tls_client));
	int fd = bufferevent_getfd(stream->bev);

	if (!ssl)
		abort();
	if (!server && stream->server_name) {
		struct addr ip;

		/* An address is no server name (RFC 6066 section 3). */
		if (addr_from_ip(slice(stream->server_name), 0, &ip, NULL)) {
			SSL_set_tlsext_host_name(ssl, stream->server_name);
			SSL_set1_host(ssl, stream->server_name);
		} else {
			X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl),
						      stream->server_name);
		}
	}
	/* Whatever came in clear text dies with the old buffer. */
	bufferevent_setfd(stream->bev, -1);
	bufferevent_free(stream->bev);
	stream->tls_wanted = false;
	stream->tls_handshake = true;
	stream->full = false;
	set_bev(stream, bufferevent_openssl_socket_new(
				loop_base(stream->loop), fd, ssl,
				server ? BUFFEREVENT_SSL_ACCEPTING :
					 BUFFEREVENT_SSL_CONNECTING,
				OPTIONS));
	reading(stream);
}

static void starttls(struct stream *stream)
{
	stream->tls_wanted = true;
	reading(stream);
	if (stream_unsent(stream) == 0)
		loop_timer_arm(stream->soon, 0);
}

void stream_starttls_server(struct stream *stream, struct tls_server *tls)
{
	stream->tls_server = tls;
	starttls(stream);
}

void stream_starttls_client(struct stream *stream, struct tls_client *tls,
			    const char *server_name)
{
	stream->tls_client = tls;
	stream->server_name = mem_dup(server_name);
	starttls(stream);
}

static void peer_certificate(SSL *ssl, struct tls_info *info)
{
	X509 *cert = SSL_get1_peer_certificate(ssl);
	struct tm tm;

	if (!cert)
		return;
	info->peer_certificate = true;
	X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName,
				  info->subject, sizeof(info->subject));
	if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) == 1)
		info->not_after_ms = (int64_t)timegm(&tm) * 1000;
	X509_free(cert);
}

void stream_tls_info(struct stream *stream, struct tls_info *info)
{
	SSL *ssl = stream->tls_active ?
			   bufferevent_openssl_get_ssl(stream->bev) :
			   NULL;
	long verdict;

	*info = (struct tls_info){ 0 };
	if (!ssl)
		return;
	info->active = true;
	snprintf(info->version, sizeof(info->version), "%s",
		 SSL_get_version(ssl));
	snprintf(info->cipher, sizeof(info->cipher), "%s",
		 SSL_get_cipher_name(ssl));
	info->bits = SSL_get_cipher_bits(ssl, NULL);
	peer_certificate(ssl, info);
	verdict = SSL_get_verify_result(ssl);
	info->trusted = info->peer_certificate && verdict == X509_V_OK;
	snprintf(info->verdict, sizeof(info->verdict), "%s",
		 X509_verify_cert_error_string(verdict));
}

void stream_peer(struct stream *stream, struct addr *addr)
{
	*addr = (struct addr){ .len = sizeof(addr->sa) };
	if (getpeername(bufferevent_getfd(stream->bev),
			(struct sockaddr *)&addr->sa, &addr->len) < 0)
		addr->sa.ss_family = AF_INET;
}

void stream_local(struct stream *stream, struct addr *addr)
{
	*addr = (struct addr){ .len = sizeof(addr->sa) };
	if (getsockname(bufferevent_getfd(stream->bev),
			(struct sockaddr *)&addr->sa, &addr->len) < 0)
		addr->sa.ss_family = AF_INET;
}
