#include "daemon/spool_reader.h"
#include "base/list.h"
#include "spool/sealed.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	READERS = 2
};

struct spool_read {
	struct list link; /* of those without an answer, the loop's */
	struct spool_read *next;
	struct spool_reader *reader;
	struct id id;
	struct spool_place place;
	uint64_t whole, from;
	size_t len;
	struct buf bytes;
	struct err err;
	spool_body_fn *done; /* NULL: cancelled */
	void *ctx;
};

struct spool_reader {
	struct loop *loop;
	char *dir;
	struct keyring *keyring;
	pthread_t threads[READERS];
	size_t thread_count;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct spool_read *first, **last;
	bool ending;
	struct list reads; /* the loop's */
};

/* An open body: a side file, or its part of a segment. */
struct body_file {
	const char *path;
	int fd;
	uint64_t begins;
};

static int read_at(void *ctx, uint64_t at, size_t len, struct buf *out,
		   struct err *err)
{
	const struct body_file *file = ctx;
	size_t end = out->len + len;

	buf_reserve(out, len);
	at += file->begins;
	while (out->len < end) {
		ssize_t got = pread(file->fd, out->p + out->len, end - out->len,
				    (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_errno(err, "cannot read %s", file->path);
		if (got == 0)
			return err_set(err, "%s ends too early", file->path);
		out->len += (size_t)got;
		at += (uint64_t)got;
	}
	return 0;
}

static void read_bytes(struct spool_read *read)
{
	const struct spool_reader *reader = read->reader;
	char *path =
		read->place.body == 0 ?
			mem_printf("%s/%s.msg", reader->dir, read->id.text) :
			mem_printf("%s/%08u.seg", reader->dir,
				   read->place.segment);
	struct body_file file = {
		.path = path,
		.fd = open(path, O_RDONLY | O_CLOEXEC),
		.begins = read->place.body,
	};

	if (file.fd < 0)
		err_errno(&read->err, "cannot open %s", path);
	else if (!read->place.sealed)
		read_at(&file, read->from, read->len, &read->bytes, &read->err);
	else if (!reader->keyring)
		err_set(&read->err, "message %s: its data key is not here",
			read->id.text);
	else
		sealed_body_open(reader->keyring, &read->id, read->whole,
				 read->from, read->len, read_at, &file,
				 &read->bytes, &read->err);
	if (file.fd >= 0)
		close(file.fd);
	free(path);
}

static void read_free(struct spool_read *read)
{
	list_remove(&read->link);
	buf_release(&read->bytes);
	free(read);
}

static void read_done(void *ctx)
{
	struct spool_read *read = ctx;

	if (read->done)
		read->done(read->ctx, buf_slice(&read->bytes),
			   err_is_set(&read->err) ? &read->err : NULL);
	read_free(read);
}

static void *reader_thread(void *ctx)
{
	struct spool_reader *reader = ctx;

	for (;;) {
		struct spool_read *read;

		pthread_mutex_lock(&reader->lock);
		while (!reader->first && !reader->ending)
			pthread_cond_wait(&reader->more, &reader->lock);
		read = reader->first;
		if (read) {
			reader->first = read->next;
			if (!reader->first)
				reader->last = &reader->first;
		}
		pthread_mutex_unlock(&reader->lock);
		if (!read)
			return NULL;
		read_bytes(read);
		loop_post(reader->loop, read_done, read);
	}
}

struct spool_read *spool_read_body(struct spool_reader *reader,
				   const struct id *id,
				   const struct spool_place *place,
				   uint64_t bytes, uint64_t from, size_t max,
				   spool_body_fn *done, void *ctx)
{
	struct spool_read *read = mem_alloc(sizeof(*read));

	read->reader = reader;
	read->id = *id;
	read->place = *place;
	read->whole = bytes;
	read->from = from;
	read->len = bytes - from < max ? (size_t)(bytes - from) : max;
	read->done = done;
	read->ctx = ctx;
	list_append(&reader->reads, &read->link);
	pthread_mutex_lock(&reader->lock);
	*reader->last = read;
	reader->last = &read->next;
	pthread_mutex_unlock(&reader->lock);
	pthread_cond_signal(&reader->more);
	return read;
}

void spool_read_cancel(struct spool_read **read)
{
	if (*read)
		(*read)->done = NULL;
	*read = NULL;
}

struct spool_reader *spool_reader_new(struct loop *loop, const char *dir,
				      struct keyring *keyring, struct err *err)
{
	struct spool_reader *reader = mem_alloc(sizeof(*reader));

	reader->loop = loop;
	reader->dir = mem_dup(dir);
	reader->keyring = keyring;
	reader->last = &reader->first;
	list_init(&reader->reads);
	pthread_mutex_init(&reader->lock, NULL);
	pthread_cond_init(&reader->more, NULL);
	for (size_t i = 0; i < READERS; i++) {
		if (pthread_create(&reader->threads[i], NULL, reader_thread,
				   reader) != 0) {
			err_set(err, "cannot start a reader thread");
			spool_reader_free(reader);
			return NULL;
		}
		reader->thread_count++;
	}
	return reader;
}

void spool_reader_free(struct spool_reader *reader)
{
	if (!reader)
		return;
	pthread_mutex_lock(&reader->lock);
	reader->ending = true;
	pthread_mutex_unlock(&reader->lock);
	pthread_cond_broadcast(&reader->more);
	for (size_t i = 0; i < reader->thread_count; i++)
		pthread_join(reader->threads[i], NULL);
	/* The loop has ended: nobody hears these. */
	list_each (it, next, &reader->reads)
		read_free(list_entry(it, struct spool_read, link));
	pthread_mutex_destroy(&reader->lock);
	pthread_cond_destroy(&reader->more);
	free(reader->dir);
	free(reader);
}
