#include "net/http.h"
#include <curl/curl.h>
#include <stdlib.h>

struct sink {
	const struct http_call *call;
	struct buf *out;
	size_t got;
	bool too_much;
};

static size_t on_bytes(char *p, size_t size, size_t count, void *ctx)
{
	struct sink *sink = ctx;
	size_t len = size * count;

	sink->got += len;
	if (sink->call->max_bytes && sink->got > sink->call->max_bytes) {
		sink->too_much = true;
		return 0;
	}
	if (sink->call->on_bytes)
		return sink->call->on_bytes(sink->call->ctx, slice_of(p, len)) <
				       0 ?
			       0 :
			       len;
	buf_add(sink->out, slice_of(p, len));
	return len;
}

static enum http_result result_of(CURLcode code, const struct http_call *call,
				  const struct sink *sink, struct err *err)
{
	switch (code) {
	case CURLE_OK:
		return HTTP_OK;
	case CURLE_COULDNT_CONNECT:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
		err_set(err, "%s does not answer: %s",
			call->unix_socket ? call->unix_socket : call->url,
			curl_easy_strerror(code));
		return HTTP_UNREACHABLE;
	case CURLE_OPERATION_TIMEDOUT:
		err_set(err, "no answer in time");
		return HTTP_TIMEOUT;
	default:
		err_set(err, "%s",
			sink->too_much ? "the answer is too large" :
					 curl_easy_strerror(code));
		return HTTP_FAILED;
	}
}

enum http_result http_call(const struct http_call *call, int *status,
			   struct buf *out, struct err *err)
{
	struct sink sink = { .call = call, .out = out };
	struct curl_slist *headers = NULL;
	CURL *curl = curl_easy_init();
	enum http_result result;
	long code = 0;
	CURLcode done;

	if (!curl)
		abort();
	if (call->unix_socket)
		curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH,
				 call->unix_socket);
	curl_easy_setopt(curl, CURLOPT_URL, call->url);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &sink);
	if (call->timeout_ms)
		curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS,
				 (long)call->timeout_ms);
	if (call->body.len) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
				 (curl_off_t)call->body.len);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->body.p);
	} else if (call->method[0] == 'P') {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
	}
	if (call->content_type) {
		struct buf field = BUF_INIT;

		buf_addf(&field, "Content-Type: %s", call->content_type);
		headers = curl_slist_append(headers, buf_text(&field));
		buf_release(&field);
	}
	headers = curl_slist_append(headers, "Expect:");
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	done = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
	result = result_of(done, call, &sink, err);
	*status = (int)code;
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	return result;
}
