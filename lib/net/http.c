#include "net/http.h"
#include "base/clock.h"
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

/* A stranger's document. */

struct fetching {
	const struct http_fetch *fetch;
	CURL *curl;
	struct buf *out;
	struct http_date *date;
	int64_t began_ms; /* wall */
	bool too_much;
};

/* Connecting and TLS came before the request: they tell nothing of the time. */
static void note_times(struct fetching *fetching)
{
	curl_off_t before_us = 0;

	curl_easy_getinfo(fetching->curl, CURLINFO_PRETRANSFER_TIME_T,
			  &before_us);
	fetching->date->asked_ms = fetching->began_ms + before_us / 1000;
	fetching->date->answered_ms = clock_wall_ms();
}

static size_t on_field(char *p, size_t size, size_t count, void *ctx)
{
	struct fetching *fetching = ctx;
	struct slice value = slice_of(p, size * count);
	struct slice name = slice_split(&value, ':');
	char *text;
	time_t date;

	while (value.len > 0 && (value.p[value.len - 1] == '\r' ||
				 value.p[value.len - 1] == '\n'))
		value.len--;
	value = slice_trim(value);
	if (slice_starts_nocase(name, "http/"))
		note_times(fetching);
	if (slice_is_nocase(name, "age") && !slice_is(value, "0"))
		fetching->date->stored = true;
	if (!slice_is_nocase(name, "date"))
		return size * count;
	text = slice_dup(value);
	date = curl_getdate(text, NULL);
	free(text);
	fetching->date->date_ms = date > 0 ? (int64_t)date * 1000 : 0;
	return size * count;
}

static size_t on_document(char *p, size_t size, size_t count, void *ctx)
{
	struct fetching *fetching = ctx;
	size_t len = size * count;

	if (fetching->out->len + len > fetching->fetch->max_bytes) {
		fetching->too_much = true;
		return 0;
	}
	buf_add(fetching->out, slice_of(p, len));
	return len;
}

static int on_progress(void *ctx, curl_off_t total, curl_off_t now,
		       curl_off_t up_total, curl_off_t up)
{
	const struct fetching *fetching = ctx;

	return fetching->fetch->stop && *fetching->fetch->stop;
}

/* RFC 8461 section 3.3: media type "text/plain". */
static bool is_plain_text(CURL *curl)
{
	const char *type = NULL;
	struct slice rest;

	curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
	rest = slice(type);
	return slice_is_nocase(slice_trim(slice_split(&rest, ';')),
			       "text/plain");
}

static enum http_result judge_document(CURL *curl, CURLcode code,
				       const struct fetching *fetching,
				       const char *why, struct err *err)
{
	long status = 0;

	if (fetching->too_much) {
		err_set(err, "the answer is larger than %zu bytes",
			fetching->fetch->max_bytes);
		return HTTP_FAILED;
	}
	if (code != CURLE_OK) {
		err_set(err, "%s", *why ? why : curl_easy_strerror(code));
		return code == CURLE_OPERATION_TIMEDOUT ? HTTP_TIMEOUT :
		       code == CURLE_COULDNT_CONNECT	? HTTP_UNREACHABLE :
							  HTTP_FAILED;
	}
	if (fetching->fetch->max_bytes == 0)
		return HTTP_OK;
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200) {
		err_set(err, "the answer is HTTP status %ld", status);
		return HTTP_FAILED;
	}
	if (!is_plain_text(curl)) {
		err_set(err, "the answer is not text/plain");
		return HTTP_FAILED;
	}
	return HTTP_OK;
}

enum http_result http_fetch(const struct http_fetch *fetch, struct buf *out,
			    struct http_date *date, struct err *err)
{
	int port = fetch->port ? fetch->port : 443;
	/* As OpenSSL has it for our own sessions. */
	const char *ca_file =
		fetch->ca_file ? fetch->ca_file : getenv("SSL_CERT_FILE");
	char why[CURL_ERROR_SIZE] = "";
	bool six = strchr(fetch->address, ':');
	char *url =
		mem_printf("https://%s:%d%s", fetch->host, port, fetch->path);
	char *pin = mem_printf("%s:%d:%s%s%s", fetch->host, port,
			       six ? "[" : "", fetch->address, six ? "]" : "");
	struct curl_slist *resolve = curl_slist_append(NULL, pin);
	CURL *curl = curl_easy_init();
	struct fetching fetching = { .fetch = fetch,
				     .curl = curl,
				     .out = out,
				     .date = date,
				     .began_ms = clock_wall_ms() };
	enum http_result result;

	if (!curl || !resolve)
		abort();
	*date = (struct http_date){ 0 };
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_RESOLVE, resolve);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	if (fetch->max_bytes > 0)
		curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE,
				 (curl_off_t)fetch->max_bytes);
	else
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)fetch->timeout_ms);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(curl, CURLOPT_SSLVERSION,
			 (long)CURL_SSLVERSION_TLSv1_2);
	if (ca_file)
		curl_easy_setopt(curl, CURLOPT_CAINFO, ca_file);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_document);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &fetching);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_field);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, &fetching);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &fetching);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
	result = judge_document(curl, curl_easy_perform(curl), &fetching, why,
				err);
	curl_easy_cleanup(curl);
	curl_slist_free_all(resolve);
	free(url);
	free(pin);
	return result;
}
