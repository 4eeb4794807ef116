#include "control/control_client.h"
#include "net/http.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SYSTEM_STATE "/var/lib/tideover"

char *control_state_dir(const char *option)
{
	const char *named = getenv("TIDEOVER_STATE");
	const char *xdg = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");

	if (option)
		return mem_dup(option);
	if (named && *named)
		return mem_dup(named);
	if (access(SYSTEM_STATE, W_OK) == 0)
		return mem_dup(SYSTEM_STATE);
	if (xdg && *xdg)
		return mem_printf("%s/tideover", xdg);
	return mem_printf("%s/.local/state/tideover", home ? home : ".");
}

char *control_socket(const char *state_dir)
{
	return mem_printf("%s/control.sock", state_dir);
}

static enum control_result unreachable(const char *socket, struct err *err)
{
	/* One may run there all the same: nobody should start another. */
	if (access(socket, W_OK) < 0 && errno == EACCES)
		err_set(err,
			"%s is for root and the user of tideoverd alone: use "
			"sudo, or another --state",
			socket);
	else
		err_prefix(err, "no tideoverd answers (start one with "
				"`tideover start PLAN`)");
	return CONTROL_UNREACHABLE;
}

static enum control_result result_of(enum http_result result, int status,
				     const char *socket,
				     const struct json *answer, struct err *err)
{
	const char *error = json_get_text(answer, "error");

	switch (result) {
	case HTTP_UNREACHABLE:
		return unreachable(socket, err);
	case HTTP_TIMEOUT:
		return CONTROL_TIMEOUT;
	case HTTP_FAILED:
		return CONTROL_FAILED;
	case HTTP_OK:
		break;
	}
	if (status < 300)
		return CONTROL_OK;
	err_set(err, "%s", error ? error : "tideoverd refused, without a word");
	return status < 500 ? CONTROL_REFUSED : CONTROL_FAILED;
}

enum control_result control_call(const char *socket, const char *method,
				 const char *path, const struct json *body,
				 int64_t timeout_ms, struct json **answer,
				 struct err *err)
{
	char *url = mem_printf("http://localhost%s", path);
	struct buf text = BUF_INIT, out = BUF_INIT;
	struct json *parsed = NULL;
	enum http_result result;
	enum control_result outcome;
	int status = 0;

	if (body)
		json_print(body, &text);
	result = http_call(
		&(struct http_call){
			.unix_socket = socket,
			.method = method,
			.url = url,
			.body = buf_slice(&text),
			.content_type = body ? "application/json" : NULL,
			.timeout_ms = timeout_ms,
		},
		&status, &out, err);
	if (result == HTTP_OK)
		parsed = json_parse(buf_slice(&out), err);
	outcome = result_of(result, status, socket, parsed, err);
	if (outcome == CONTROL_OK && !parsed)
		outcome = CONTROL_FAILED;
	if (outcome == CONTROL_OK && answer) {
		*answer = parsed;
		parsed = NULL;
	}
	json_free(parsed);
	buf_release(&text);
	buf_release(&out);
	free(url);
	return outcome;
}

/* Pieces come as they come; lines are put together here. */
struct lines {
	struct buf rest;
	int (*each)(void *ctx, const struct json *line);
	void *ctx;
	struct err *err;
	struct json *error; /* the answer of a request that failed */
};

/* Only the last line of a stream has an "error": it could not go on.  So has
 * the answer to a bad request. */
static int on_line(struct lines *lines, struct json *line)
{
	if (!json_get_text(line, "error") || json_get(line, "end"))
		return lines->each(lines->ctx, line);
	json_free(lines->error);
	lines->error = json_copy(line);
	return 0;
}

static int on_piece(void *ctx, struct slice bytes)
{
	struct lines *lines = ctx;
	struct slice left;
	ptrdiff_t end;
	size_t used = 0;

	buf_add(&lines->rest, bytes);
	left = buf_slice(&lines->rest);
	while ((end = slice_find(left, '\n')) >= 0) {
		struct json *line =
			json_parse(slice_of(left.p, (size_t)end), lines->err);
		int result = line ? on_line(lines, line) : -1;

		json_free(line);
		if (result < 0)
			return -1;
		used += (size_t)end + 1;
		left = slice_from(left, (size_t)end + 1);
	}
	buf_consume(&lines->rest, used);
	return 0;
}

/* `lines` NULL: the pieces go to on_bytes as they are. */
static enum control_result
stream(const char *socket, const char *method, const char *path,
       const struct json *body, int (*on_bytes)(void *ctx, struct slice bytes),
       void *ctx, const struct lines *lines, struct err *err)
{
	char *url = mem_printf("http://localhost%s", path);
	struct buf text = BUF_INIT;
	enum http_result result;
	int status = 0;

	if (body)
		json_print(body, &text);
	result = http_call(
		&(struct http_call){
			.unix_socket = socket,
			.method = method,
			.url = url,
			.body = buf_slice(&text),
			.content_type = body ? "application/json" : NULL,
			.on_bytes = on_bytes,
			.ctx = ctx,
		},
		&status, NULL, err);
	free(url);
	buf_release(&text);
	if (result == HTTP_OK && status < 300 && lines && lines->error) {
		err_set(err, "%s", json_get_text(lines->error, "error"));
		return CONTROL_FAILED;
	}
	return result_of(result, status, socket, lines ? lines->error : NULL,
			 err);
}

enum control_result control_bytes(const char *socket, const char *path,
				  int (*on_bytes)(void *ctx,
						  struct slice bytes),
				  void *ctx, struct err *err)
{
	return stream(socket, "GET", path, NULL, on_bytes, ctx, NULL, err);
}

static enum control_result
stream_lines(const char *socket, const char *method, const char *path,
	     const struct json *body,
	     int (*each)(void *ctx, const struct json *line), void *ctx,
	     struct err *err)
{
	struct lines lines = { .each = each, .ctx = ctx, .err = err };
	enum control_result result = stream(socket, method, path, body,
					    on_piece, &lines, &lines, err);

	buf_release(&lines.rest);
	json_free(lines.error);
	return result;
}

enum control_result control_lines(const char *socket, const char *path,
				  int (*each)(void *ctx,
					      const struct json *line),
				  void *ctx, struct err *err)
{
	return stream_lines(socket, "GET", path, NULL, each, ctx, err);
}

enum control_result control_post_lines(const char *socket, const char *path,
				       const struct json *body,
				       int (*each)(void *ctx,
						   const struct json *line),
				       void *ctx, struct err *err)
{
	return stream_lines(socket, "POST", path, body, each, ctx, err);
}
