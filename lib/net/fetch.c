#include "net/fetch.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

struct fetch {
	struct http_fetch what;
	char *host, *path, *address, *ca_file;
	fetch_fn *done;
	void *ctx;
	struct loop_watch *watch;
	int pipe[2];
	_Atomic bool stop;
	/* The thread: what it wrote is read after it was joined. */
	pthread_t thread;
	struct buf document;
	struct http_date date;
	struct err err;
	enum http_result result;
};

static void *run(void *ctx)
{
	struct fetch *fetch = ctx;
	ssize_t told;

	fetch->result = http_fetch(&fetch->what, &fetch->document, &fetch->date,
				   &fetch->err);
	told = write(fetch->pipe[1], "", 1);
	(void)told; /* one byte into an empty pipe */
	return NULL;
}

static void join(struct fetch *fetch)
{
	fetch->stop = true;
	pthread_join(fetch->thread, NULL);
	loop_watch_free(fetch->watch);
	close(fetch->pipe[0]);
	close(fetch->pipe[1]);
}

static void fetch_free(struct fetch *fetch)
{
	buf_release(&fetch->document);
	free(fetch->host);
	free(fetch->path);
	free(fetch->address);
	free(fetch->ca_file);
	free(fetch);
}

static void on_end(void *ctx, int fd, int what)
{
	struct fetch *fetch = ctx;

	join(fetch);
	fetch->done(fetch->ctx, fetch->result, buf_slice(&fetch->document),
		    &fetch->date, fetch->err.text);
	fetch_free(fetch);
}

struct fetch *fetch_start(struct loop *loop, const struct http_fetch *what,
			  fetch_fn *done, void *ctx, struct err *err)
{
	struct fetch *fetch = mem_alloc(sizeof(*fetch));

	fetch->what = *what;
	fetch->what.host = fetch->host = mem_dup(what->host);
	fetch->what.path = fetch->path = mem_dup(what->path);
	fetch->what.address = fetch->address = mem_dup(what->address);
	fetch->what.ca_file = fetch->ca_file = mem_dup(what->ca_file);
	fetch->what.stop = &fetch->stop;
	fetch->done = done;
	fetch->ctx = ctx;
	if (pipe2(fetch->pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
		err_errno(err, "no pipe");
		fetch_free(fetch);
		return NULL;
	}
	if (pthread_create(&fetch->thread, NULL, run, fetch) != 0) {
		err_set(err, "no thread");
		close(fetch->pipe[0]);
		close(fetch->pipe[1]);
		fetch_free(fetch);
		return NULL;
	}
	fetch->watch =
		loop_watch_new(loop, fetch->pipe[0], LOOP_READ, on_end, fetch);
	return fetch;
}

void fetch_cancel(struct fetch **fetch)
{
	if (!*fetch)
		return;
	join(*fetch);
	fetch_free(*fetch);
	*fetch = NULL;
}
