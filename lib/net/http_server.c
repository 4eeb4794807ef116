#include "net/http_server.h"
#include "net/addr.h"
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	BODY_MAX = 8 * 1024 * 1024,
	HEADERS_MAX = 16 * 1024,
	TCP_SECONDS = 30 /* anybody on this machine may connect */
};

struct http_server {
	struct evhttp *http;
	http_handler_fn *fn;
	void *ctx;
	char *path; /* of the unix socket, or NULL */
};

struct http_request {
	struct evhttp_request *req;
	char *path;
	struct evkeyvalq query;
	struct buf body;
	char user[64];
	bool gone; /* the client left a streamed answer */
	loop_fn *on_gone;
	void *ctx;
};

static void request_free(struct http_request *request)
{
	evhttp_clear_headers(&request->query);
	buf_release(&request->body);
	free(request->path);
	free(request);
}

static void refuse(struct evhttp_request *req, int status, const char *text)
{
	struct evbuffer *out = evbuffer_new();

	evbuffer_add_printf(out, "{\"error\":\"%s\"}\n", text);
	evhttp_add_header(evhttp_request_get_output_headers(req),
			  "Content-Type", "application/json");
	evhttp_send_reply(req, status, NULL, out);
	evbuffer_free(out);
}

static size_t count_headers(struct evhttp_request *req, const char *name)
{
	struct evkeyvalq *headers = evhttp_request_get_input_headers(req);
	struct evkeyval *header;
	size_t count = 0;

	for (header = headers->tqh_first; header;
	     header = header->next.tqe_next)
		if (evutil_ascii_strcasecmp(header->key, name) == 0)
			count++;
	return count;
}

/* unix(7): only root and our own user may ask. */
static bool peer_is_allowed(struct evhttp_request *req, char *user, size_t size)
{
	struct evhttp_connection *conn = evhttp_request_get_connection(req);
	int fd = bufferevent_getfd(evhttp_connection_get_bufferevent(conn));
	struct ucred cred;
	socklen_t len = sizeof(cred);
	struct passwd *entry;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 ||
	    (cred.uid != 0 && cred.uid != geteuid()))
		return false;
	entry = getpwuid(cred.uid);
	if (entry)
		snprintf(user, size, "%s", entry->pw_name);
	else
		snprintf(user, size, "uid %u", (unsigned)cred.uid);
	return true;
}

static bool host_is_loopback(struct evhttp_request *req)
{
	const char *text = evhttp_find_header(
		evhttp_request_get_input_headers(req), "Host");
	char host[256];
	struct addr addr;
	int port;

	if (!text ||
	    addr_split(slice(text), 80, host, sizeof(host), &port, NULL) < 0)
		return false;
	return strcmp(host, "localhost") == 0 ||
	       (addr_from_ip(slice(host), 80, &addr, NULL) == 0 &&
		addr_is_loopback(&addr));
}

static void on_request(struct evhttp_request *req, void *ctx)
{
	struct http_server *server = ctx;
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
	struct evbuffer *in = evhttp_request_get_input_buffer(req);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
	struct http_request *request;
	size_t len = evbuffer_get_length(in);

	if (count_headers(req, "Content-Length") > 1) {
		refuse(req, 400, "two Content-Length fields");
		return;
	}
	request = mem_alloc(sizeof(*request));
	request->req = req;
	TAILQ_INIT(&request->query);
	if (server->path ? !peer_is_allowed(req, request->user,
					    sizeof(request->user)) :
			   !host_is_loopback(req)) {
		refuse(req, 403,
		       "not for you: ask as root or as the daemon's "
		       "user");
		request_free(request);
		return;
	}
	request->path = evhttp_uridecode(path ? path : "/", 0, NULL);
	if (!request->path)
		request->path = mem_dup("/");
	evhttp_parse_query_str(uri && evhttp_uri_get_query(uri) ?
				       evhttp_uri_get_query(uri) :
				       "",
			       &request->query);
	buf_reserve(&request->body, len);
	evbuffer_remove(in, request->body.p, len);
	request->body.len = len;
	request->body.p[len] = '\0';
	server->fn(server->ctx, request);
}

static struct http_server *server_new(struct loop *loop, int fd,
				      http_handler_fn *fn, void *ctx)
{
	struct http_server *server = mem_alloc(sizeof(*server));
	struct evconnlistener *listener;

	server->fn = fn;
	server->ctx = ctx;
	server->http = evhttp_new(loop_base(loop));
	if (!server->http)
		abort();
	evhttp_set_max_body_size(server->http, BODY_MAX);
	evhttp_set_max_headers_size(server->http, HEADERS_MAX);
	evhttp_set_allowed_methods(server->http, EVHTTP_REQ_GET |
							 EVHTTP_REQ_POST |
							 EVHTTP_REQ_DELETE);
	evhttp_set_gencb(server->http, on_request, server);
	listener = evconnlistener_new(
		loop_base(loop), NULL, NULL,
		LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!listener || !evhttp_bind_listener(server->http, listener))
		abort();
	return server;
}

static bool somebody_answers(const struct sockaddr_un *at)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool answers = fd >= 0 && connect(fd, (const struct sockaddr *)at,
					  sizeof(*at)) == 0;

	if (fd >= 0)
		close(fd);
	return answers;
}

struct http_server *http_server_unix(struct loop *loop, const char *path,
				     http_handler_fn *fn, void *ctx,
				     struct err *err)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct http_server *server;
	mode_t mask;
	int fd, bound;

	if (strlen(path) >= sizeof(at.sun_path)) {
		err_set(err,
			"the path of the control socket is longer than "
			"%zu bytes: use a shorter state folder: %s",
			sizeof(at.sun_path) - 1, path);
		return NULL;
	}
	memcpy(at.sun_path, path, strlen(path) + 1);
	if (somebody_answers(&at)) {
		err_set(err, "another daemon answers on %s", path);
		return NULL;
	}
	if (unlink(path) < 0 && errno != ENOENT) {
		err_errno(err, "cannot remove the stale socket %s", path);
		return NULL;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	mask = umask(0177);
	bound = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&at, sizeof(at));
	umask(mask);
	if (bound < 0 || listen(fd, 64) < 0) {
		err_errno(err, "cannot listen on %s", path);
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	server = server_new(loop, fd, fn, ctx);
	server->path = mem_dup(path);
	return server;
}

struct http_server *http_server_tcp(struct loop *loop, const char *address,
				    http_handler_fn *fn, void *ctx,
				    struct err *err)
{
	struct http_server *server;
	struct addr addr;
	int fd;

	if (addr_parse(slice(address), 0, &addr, err) < 0)
		return NULL;
	if (!addr_is_loopback(&addr)) {
		err_set(err, "%s is not a loopback address", address);
		return NULL;
	}
	fd = addr_listen(&addr, 64, err);
	if (fd < 0)
		return NULL;
	server = server_new(loop, fd, fn, ctx);
	evhttp_set_timeout(server->http, TCP_SECONDS);
	return server;
}

void http_server_free(struct http_server *server)
{
	if (!server)
		return;
	evhttp_free(server->http);
	if (server->path)
		unlink(server->path);
	free(server->path);
	free(server);
}

const char *http_request_method(const struct http_request *request)
{
	switch (evhttp_request_get_command(request->req)) {
	case EVHTTP_REQ_GET:
		return "GET";
	case EVHTTP_REQ_POST:
		return "POST";
	default:
		return "DELETE";
	}
}

const char *http_request_path(const struct http_request *request)
{
	return request->path;
}

const char *http_request_query(const struct http_request *request,
			       const char *name)
{
	return evhttp_find_header(&request->query, name);
}

struct slice http_request_body(const struct http_request *request)
{
	return buf_slice(&request->body);
}

const char *http_request_user(const struct http_request *request)
{
	return request->user;
}

static void type_header(struct http_request *request, const char *type)
{
	evhttp_add_header(evhttp_request_get_output_headers(request->req),
			  "Content-Type", type);
}

void http_answer(struct http_request *request, int status, const char *type,
		 struct slice body)
{
	struct evbuffer *out = evbuffer_new();

	evbuffer_add(out, body.p, body.len);
	type_header(request, type);
	evhttp_send_reply(request->req, status, NULL, out);
	evbuffer_free(out);
	request_free(request);
}

static void client_left(struct evhttp_connection *conn, void *ctx)
{
	struct http_request *request = ctx;

	if (request->gone)
		return;
	request->gone = true;
	if (request->on_gone)
		request->on_gone(request->ctx);
}

void http_stream_begin(struct http_request *request, int status,
		       const char *type, loop_fn *gone, void *ctx)
{
	request->on_gone = gone;
	request->ctx = ctx;
	type_header(request, type);
	evhttp_connection_set_closecb(
		evhttp_request_get_connection(request->req), client_left,
		request);
	evhttp_send_reply_start(request->req, status, NULL);
}

void http_stream_chunk(struct http_request *request, struct slice bytes)
{
	struct evbuffer *out;

	if (request->gone || bytes.len == 0)
		return;
	out = evbuffer_new();
	evbuffer_add(out, bytes.p, bytes.len);
	evhttp_send_reply_chunk(request->req, out);
	evbuffer_free(out);
}

void http_stream_end(struct http_request *request)
{
	if (!request->gone)
		evhttp_connection_set_closecb(
			evhttp_request_get_connection(request->req), NULL,
			NULL);
	/* Without a connection this only frees the request. */
	evhttp_send_reply_end(request->req);
	request_free(request);
}
