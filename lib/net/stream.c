#include "net/stream.h"
#include "base/buf.h"
#include "base/clock.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	INPUT_MAX = 256 * 1024, /* unconsumed; then we stop reading */
	READ_MAX = 64 * 1024,	/* per wakeup, under TLS */
	OPTIONS = BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS,
};

/*
 * In clear text the socket is read and written here: bytes come into the
 * loop's scratch buffer and are parsed where they lie, and only what is left
 * over is copied.  A bufferevent takes over with TLS.
 */
struct stream {
	struct loop *loop;
	const struct stream_events *events; /* NULL: finishing */
	void *ctx;
	int fd;
	struct event *readable,
		*writable; /* clear text; the second as needed */
	bool is_reading, is_writing;
	int error; /* errno of a connect() that failed at once */
	struct slice
		view; /* unconsumed input: in `in`, or the scratch buffer */
	struct buf in, out;
	size_t out_at;		 /* bytes of `out` that have left */
	bool busy, doomed;	 /* on_input runs; and frees it at its end */
	struct bufferevent *bev; /* from TLS on */
	int64_t deadline_ms;	 /* mono; 0: none */
	struct loop_timer *deadline;
	int64_t armed_ms; /* when the timer runs; 0: it does not */
	struct loop_leftover leftover;
	struct loop_timer *soon; /* for what must come after the call */
	bool paused, full, connecting, wish_drained, lingering;
	bool ended; /* on_end was called */
	bool dead;  /* and nothing can be sent any more */
	/* STARTTLS under way: */
	bool tls_wanted, tls_handshake, tls_active, tls_refused;
	struct tls_server *tls_server;
	struct tls_client *tls_client;
	char *server_name;
	struct tls_terms *terms;
	char why[256];
};

static void on_read(struct bufferevent *bev, void *ctx);
static void on_write(struct bufferevent *bev, void *ctx);
static void on_event(struct bufferevent *bev, short what, void *ctx);

static void watch_readable(struct stream *stream, bool yes)
{
	if (stream->is_reading == yes)
		return;
	stream->is_reading = yes;
	if (yes)
		event_add(stream->readable, NULL);
	else
		event_del(stream->readable);
}

static void on_writable(int fd, short what, void *ctx);

static void watch_writable(struct stream *stream, bool yes)
{
	if (stream->is_writing == yes || stream->fd < 0)
		return;
	stream->is_writing = yes;
	if (!stream->writable) {
		stream->writable =
			event_new(loop_base(stream->loop), stream->fd,
				  EV_WRITE | EV_PERSIST, on_writable, stream);
		if (!stream->writable)
			abort();
	}
	if (yes)
		event_add(stream->writable, NULL);
	else
		event_del(stream->writable);
}

static void read_no_more(struct stream *stream)
{
	if (stream->bev)
		bufferevent_disable(stream->bev, EV_READ);
	else
		watch_readable(stream, false);
}

static void reading(struct stream *stream)
{
	bool yes = !stream->paused && !stream->full && !stream->tls_wanted;

	if (!yes)
		read_no_more(stream);
	else if (stream->bev)
		bufferevent_enable(stream->bev, EV_READ);
	else
		watch_readable(stream, !stream->connecting);
}

static void end(struct stream *stream, const char *why)
{
	if (stream->ended)
		return;
	stream->ended = stream->dead = true;
	loop_timer_stop(stream->deadline);
	stream->armed_ms = stream->deadline_ms = 0;
	if (!stream->events) {
		stream_free(stream);
		return;
	}
	read_no_more(stream);
	if (stream->bev)
		bufferevent_disable(stream->bev, EV_WRITE);
	else
		watch_writable(stream, false);
	stream->events->on_end(stream->ctx, why);
}

static void end_by_errno(struct stream *stream, int number)
{
	watch_writable(stream, false);
	snprintf(stream->why, sizeof(stream->why), "%s", strerror(number));
	end(stream, stream->why);
}

static void arm(struct stream *stream)
{
	stream->armed_ms = stream->deadline_ms;
	loop_timer_arm(stream->deadline, stream->deadline_ms - clock_mono_ms());
}

/* The connection stands: a last word may still be written and finished. */
static void timed_out(void *ctx)
{
	struct stream *stream = ctx;
	int64_t left = stream->deadline_ms - clock_mono_ms();

	stream->armed_ms = 0;
	if (stream->deadline_ms == 0)
		return;
	/* It was moved meanwhile: cheaper than to move the timer each time. */
	if (left > 0) {
		arm(stream);
		return;
	}
	if (!stream->events || stream->connecting || stream->tls_handshake) {
		end(stream, "timed out");
		return;
	}
	stream->ended = true;
	read_no_more(stream);
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
	shutdown(stream->fd, SHUT_WR);
	stream->paused = stream->full = false;
	reading(stream);
}

static void soon(void *ctx)
{
	struct stream *stream = ctx;

	if (!stream->ended && stream->error) {
		end_by_errno(stream, stream->error);
		return;
	}
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

static void all_left(struct stream *stream)
{
	if (stream->wish_drained || stream->tls_wanted || !stream->events)
		soon(stream);
}

/* Clear text. */

static void connected(struct stream *stream)
{
	int number = 0, one = 1;
	socklen_t len = sizeof(number);

	getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &number, &len);
	if (number) {
		end_by_errno(stream, number);
		return;
	}
	stream->connecting = false;
	setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	watch_writable(stream, stream_unsent(stream) > 0);
	reading(stream);
	if (stream->events && stream->events->on_open)
		stream->events->on_open(stream->ctx);
}

static void on_writable(int fd, short what, void *ctx)
{
	struct stream *stream = ctx;
	size_t left = stream_unsent(stream);
	ssize_t sent;

	if (stream->connecting) {
		connected(stream);
		return;
	}
	sent = send(fd, stream->out.p + stream->out_at, left,
		    MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0) {
		if (errno != EAGAIN && errno != EINTR)
			end_by_errno(stream, errno);
		return;
	}
	stream->out_at += (size_t)sent;
	if ((size_t)sent < left)
		return;
	buf_release(&stream->out);
	stream->out_at = 0;
	watch_writable(stream, false);
	all_left(stream);
}

/* What is left of the view becomes ours: the scratch buffer is another's. */
static void keep_view(struct stream *stream)
{
	struct buf kept = BUF_INIT;

	if (stream->view.len == 0) {
		buf_release(&stream->in);
	} else if (stream->view.p != stream->in.p) {
		buf_add(&kept, stream->view);
		buf_release(&stream->in);
		stream->in = kept;
	}
	stream->view = buf_slice(&stream->in);
}

static void take_input(struct stream *stream, struct slice bytes)
{
	if (stream->view.len == 0) {
		stream->view = bytes;
	} else {
		keep_view(stream);
		buf_add(&stream->in, bytes);
		stream->view = buf_slice(&stream->in);
	}
	stream->busy = true;
	stream->events->on_input(stream->ctx);
	stream->busy = false;
	if (stream->doomed) {
		stream_free(stream);
		return;
	}
	if (stream->bev)
		return;
	keep_view(stream);
	stream->full = stream->view.len >= INPUT_MAX;
	if (!stream->ended)
		reading(stream);
}

static void on_readable(int fd, short what, void *ctx)
{
	struct stream *stream = ctx;
	char *scratch = loop_scratch(stream->loop);
	ssize_t got = recv(fd, scratch, LOOP_SCRATCH, MSG_DONTWAIT);

	if (got < 0) {
		if (errno != EAGAIN && errno != EINTR)
			end_by_errno(stream, errno);
	} else if (got == 0) {
		end(stream, NULL);
	} else if (stream->events && !stream->ended) {
		take_input(stream, slice_of(scratch, (size_t)got));
	}
}

/* Under TLS. */

static void on_write(struct bufferevent *bev, void *ctx)
{
	all_left(ctx);
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
	unsigned long code = bufferevent_get_openssl_error(stream->bev);
	int number = EVUTIL_SOCKET_ERROR();

	stream->tls_refused =
		stream->tls_handshake && ERR_GET_LIB(code) == ERR_LIB_SSL &&
		ERR_GET_REASON(code) != SSL_R_UNEXPECTED_EOF_WHILE_READING;
	if (ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED)
		snprintf(stream->why, sizeof(stream->why),
			 "its certificate is refused: %s",
			 X509_verify_cert_error_string(SSL_get_verify_result(
				 bufferevent_openssl_get_ssl(stream->bev))));
	else if (code)
		ERR_error_string_n(code, stream->why, sizeof(stream->why));
	else if (stream->tls_handshake)
		snprintf(stream->why, sizeof(stream->why),
			 "TLS handshake failed: the peer closed");
	else
		snprintf(stream->why, sizeof(stream->why), "%s",
			 number ? strerror(number) : "connection lost");
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
		if (stream->events && stream->tls_handshake)
			tls_done(stream);
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
	stream->fd = fd;
	stream->deadline = loop_timer_new(loop, timed_out, stream);
	stream->soon = loop_timer_new(loop, soon, stream);
	return stream;
}

static void detach(struct stream *stream)
{
	if (stream->readable)
		event_free(stream->readable);
	if (stream->writable)
		event_free(stream->writable);
	stream->readable = stream->writable = NULL;
	stream->is_reading = stream->is_writing = false;
}

static void attach(struct stream *stream)
{
	stream->readable = event_new(loop_base(stream->loop), stream->fd,
				     EV_READ | EV_PERSIST, on_readable, stream);
	if (!stream->readable)
		abort();
}

struct stream *stream_accept(struct loop *loop, int fd,
			     const struct stream_events *events, void *ctx)
{
	struct stream *stream = stream_new(loop, fd, events, ctx);
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	attach(stream);
	reading(stream);
	return stream;
}

struct stream *stream_connect(struct loop *loop, const struct addr *to,
			      int64_t timeout_ms,
			      const struct stream_events *events, void *ctx)
{
	int fd = socket(to->sa.ss_family,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct stream *stream = stream_new(loop, fd, events, ctx);

	stream->connecting = true;
	stream_deadline(stream, timeout_ms);
	if (fd < 0 ||
	    (connect(fd, (const struct sockaddr *)&to->sa, to->len) < 0 &&
	     errno != EINPROGRESS)) {
		/* Told from the loop, as any other failure. */
		stream->error = errno;
		loop_timer_arm(stream->soon, 0);
	}
	if (fd >= 0) {
		attach(stream);
		watch_writable(stream, !stream->error);
	}
	return stream;
}

void stream_free(struct stream *stream)
{
	if (!stream)
		return;
	if (stream->busy) {
		stream->doomed = true;
		return;
	}
	loop_leftover_done(&stream->leftover);
	loop_timer_free(stream->deadline);
	loop_timer_free(stream->soon);
	detach(stream);
	if (stream->bev)
		bufferevent_free(stream->bev);
	else if (stream->fd >= 0)
		close(stream->fd);
	buf_release(&stream->in);
	buf_release(&stream->out);
	free(stream->server_name);
	tls_terms_free(stream->terms);
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
	struct evbuffer *in;
	size_t len;

	if (stream->tls_wanted)
		return slice_of("", 0);
	if (!stream->bev)
		return stream->view;
	in = bufferevent_get_input(stream->bev);
	len = evbuffer_get_length(in);
	if (len == 0)
		return slice_of("", 0);
	return slice_of(evbuffer_pullup(in, -1), len);
}

void stream_consume(struct stream *stream, size_t n)
{
	size_t left;

	if (stream->bev) {
		evbuffer_drain(bufferevent_get_input(stream->bev), n);
		left = evbuffer_get_length(bufferevent_get_input(stream->bev));
	} else {
		stream->view = slice_from(stream->view, n);
		left = stream->view.len;
	}
	if (stream->full && left < INPUT_MAX) {
		stream->full = false;
		if (!stream->ended)
			reading(stream);
	}
}

/* What the kernel takes at once needs no turn of the loop, and no asking epoll
 * when it may be written.  An error comes up again there, which tells. */
static struct slice write_now(struct stream *stream, struct slice bytes)
{
	ssize_t sent;

	if (bytes.len == 0 || stream->tls_wanted || stream->connecting ||
	    stream_unsent(stream) > 0)
		return bytes;
	sent = send(stream->fd, bytes.p, bytes.len,
		    MSG_DONTWAIT | MSG_NOSIGNAL);
	return sent > 0 ? slice_from(bytes, (size_t)sent) : bytes;
}

void stream_write(struct stream *stream, struct slice bytes)
{
	if (stream->dead)
		return;
	if (stream->bev) {
		bufferevent_write(stream->bev, bytes.p, bytes.len);
		return;
	}
	bytes = write_now(stream, bytes);
	if (bytes.len == 0 || stream->fd < 0)
		return;
	buf_add(&stream->out, bytes);
	watch_writable(stream, true);
}

size_t stream_unsent(struct stream *stream)
{
	if (stream->bev)
		return evbuffer_get_length(bufferevent_get_output(stream->bev));
	return stream->out.len - stream->out_at;
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
	stream->deadline_ms = ms > 0 ? clock_mono_ms() + ms : 0;
	if (stream->deadline_ms &&
	    (!stream->armed_ms || stream->armed_ms > stream->deadline_ms))
		arm(stream);
}

/* TLS. */

static void begin_tls(struct stream *stream)
{
	bool server = stream->tls_server != NULL;
	SSL *ssl = SSL_new(server ? tls_server_ctx(stream->tls_server) :
				    tls_client_ctx(stream->tls_client));

	if (!ssl)
		abort();
	if (!server)
		tls_terms_apply(stream->terms, stream->server_name, ssl);
	if (!server && tls_client_policy(stream->tls_client) == TLS_PROBING)
		SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL);
	/* Whatever came in clear text dies here. */
	detach(stream);
	buf_release(&stream->in);
	stream->view = slice_of("", 0);
	stream->tls_wanted = false;
	stream->tls_handshake = true;
	stream->full = false;
	set_bev(stream, bufferevent_openssl_socket_new(
				loop_base(stream->loop), stream->fd, ssl,
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
			    const char *server_name, struct tls_terms *terms)
{
	stream->tls_client = tls;
	stream->server_name = mem_dup(server_name);
	stream->terms = tls_terms_share(terms);
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

static void asked_name(SSL *ssl, struct tls_info *info)
{
	const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	snprintf(info->sni, sizeof(info->sni), "%s", sni ? sni : "");
}

static void proof(SSL *ssl, struct tls_info *info)
{
	const char *name = SSL_get0_peername(ssl);
	uint8_t usage = 0;

	snprintf(info->name, sizeof(info->name), "%s", name ? name : "");
	if (SSL_get0_dane_authority(ssl, NULL, NULL) < 0)
		info->proof = TLS_PROOF_PKIX;
	else if (SSL_get0_dane_tlsa(ssl, &usage, NULL, NULL, NULL, NULL) >= 0)
		info->proof = usage == TLSA_DANE_EE ? TLS_PROOF_DANE_EE :
						      TLS_PROOF_DANE_TA;
}

bool stream_tls_refused(const struct stream *stream)
{
	return stream->tls_refused;
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
	asked_name(ssl, info);
	if (info->trusted)
		proof(ssl, info);
}

void stream_tls_chain(struct stream *stream, struct tls_chain *chain)
{
	*chain = (struct tls_chain){ 0 };
	if (stream->tls_active)
		tls_chain_take(bufferevent_openssl_get_ssl(stream->bev), chain);
}

void stream_peer(struct stream *stream, struct addr *addr)
{
	*addr = (struct addr){ .len = sizeof(addr->sa) };
	if (getpeername(stream->fd, (struct sockaddr *)&addr->sa, &addr->len) <
	    0)
		addr->sa.ss_family = AF_INET;
	addr_unmap(addr);
}

void stream_local(struct stream *stream, struct addr *addr)
{
	*addr = (struct addr){ .len = sizeof(addr->sa) };
	if (getsockname(stream->fd, (struct sockaddr *)&addr->sa, &addr->len) <
	    0)
		addr->sa.ss_family = AF_INET;
}
