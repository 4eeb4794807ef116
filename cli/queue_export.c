#include "cli/queue_export.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/map.h"
#include "cli/output.h"
#include "mail/mbox.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

struct queue_export;

/* A message on its way into a file. */
struct piece {
	struct queue_export *export;
	int fd;
	uint64_t got;
	struct mbox_state mbox;
	struct buf out;
	struct err err;
};

struct format {
	const char *name;
	int (*open)(struct queue_export *export, struct err *err);
	/* Puts one message where it belongs; its file's name, or NULL. */
	char *(*put)(struct queue_export *export, const struct json *row,
		     struct err *err);
};

struct queue_export {
	struct command_call *call;
	const char *plan, *path;
	const struct format *format;
	struct map seen; /* ids: once each */
	int mbox;
	bool to_stdout; /* each message, from `mbox`, which has no name */
	bool broken;	/* nobody takes it any more */
	struct json *files;
	unsigned messages, failed;
};

static int on_bytes(void *ctx, struct slice bytes)
{
	struct piece *piece = ctx;

	piece->got += bytes.len;
	return file_write_all(piece->fd, bytes, &piece->err);
}

static int on_mbox_bytes(void *ctx, struct slice bytes)
{
	struct piece *piece = ctx;

	piece->got += bytes.len;
	buf_clear(&piece->out);
	mbox_add(&piece->mbox, bytes, &piece->out);
	return file_write_all(piece->fd, buf_slice(&piece->out), &piece->err);
}

/* All of its bytes, or -1. */
static int fetch(struct queue_export *export, const struct json *row,
		 struct piece *piece,
		 int (*each)(void *ctx, struct slice bytes), struct err *err)
{
	const char *id = json_get_text(row, "id");
	char *from = mem_printf("/v1/plans/%s/message?id=%s", export->plan, id);
	enum control_result result =
		control_bytes(export->call->socket, from, each, piece, err);
	double want = json_get_number(row, "bytes", 0);

	free(from);
	if (err_is_set(&piece->err)) {
		*err = piece->err;
		return -1;
	}
	if (result != CONTROL_OK)
		return err_is_set(err) ? -1 : err_set(err, "no copy is kept");
	if ((double)piece->got != want)
		return err_set(err, "%llu of %.0f bytes came",
			       (unsigned long long)piece->got, want);
	return 0;
}

/* A new file with the message, synced; its name is synced by the caller. */
static int write_file(struct queue_export *export, const struct json *row,
		      const char *path, struct err *err)
{
	struct piece piece = { .export = export };
	int result = -1;

	piece.fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (piece.fd < 0)
		return err_errno(err, "cannot create %s", path);
	if (fetch(export, row, &piece, on_bytes, err) == 0 &&
	    fsync(piece.fd) < 0)
		err_errno(err, "cannot write %s", path);
	else if (!err_is_set(err))
		result = 0;
	close(piece.fd);
	if (result < 0)
		unlink(path);
	return result;
}

/* .eml files. */

static int open_folder(struct queue_export *export, struct err *err)
{
	return file_make_dirs(export->path, 0700, err);
}

static char *put_eml(struct queue_export *export, const struct json *row,
		     struct err *err)
{
	char *path =
		mem_printf("%s/%s.eml", export->path, json_get_text(row, "id"));

	if (write_file(export, row, path, err) == 0 &&
	    file_sync_dir(export->path, err) == 0)
		return path;
	free(path);
	return NULL;
}

/* A Maildir: tmp, then new, under a name that no other delivery has. */

static int open_maildir(struct queue_export *export, struct err *err)
{
	static const char *const parts[] = { "tmp", "new", "cur" };
	int result = 0;

	for (size_t i = 0; i < COUNT(parts) && result == 0; i++) {
		char *path = mem_printf("%s/%s", export->path, parts[i]);

		result = file_make_dirs(path, 0700, err);
		free(path);
	}
	return result;
}

static char *unique_name(const struct queue_export *export)
{
	char host[256] = "localhost";
	struct timeval now;

	gettimeofday(&now, NULL);
	gethostname(host, sizeof(host) - 1);
	for (char *p = host; *p; p++)
		if (*p == '/' || *p == ':')
			*p = '_';
	return mem_printf("%lld.M%06ldP%ldQ%u.%s", (long long)now.tv_sec,
			  (long)now.tv_usec, (long)getpid(),
			  export->messages + export->failed, host);
}

static char *put_maildir(struct queue_export *export, const struct json *row,
			 struct err *err)
{
	char *name = unique_name(export);
	char *draft = mem_printf("%s/tmp/%s", export->path, name);
	char *path = mem_printf("%s/new/%s", export->path, name);
	char *folder = mem_printf("%s/new", export->path);
	bool is_done = false;

	if (write_file(export, row, draft, err) == 0) {
		/* A link, as a rename would replace what is there. */
		if (link(draft, path) < 0)
			err_errno(err, "cannot create %s", path);
		else
			is_done = file_sync_dir(folder, err) == 0;
		unlink(draft);
	}
	free(name);
	free(draft);
	free(folder);
	if (is_done)
		return path;
	free(path);
	return NULL;
}

/* An mbox. */

/* What does not arrive whole must not be in a stream, that cannot take it back:
 * a message waits in a file until it is there. */
static int open_unnamed(struct queue_export *export, struct err *err)
{
	FILE *file = tmpfile();

	export->mbox = file ? dup(fileno(file)) : -1;
	if (file)
		fclose(file);
	return export->mbox < 0 ? err_errno(err, "no temporary file") : 0;
}

static int open_mbox(struct queue_export *export, struct err *err)
{
	export->to_stdout = strcmp(export->path, "-") == 0;
	if (export->to_stdout)
		return open_unnamed(export, err);
	export->mbox = open(export->path,
			    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (export->mbox < 0)
		return err_errno(err, "cannot create %s", export->path);
	return file_sync_parent(export->path, err);
}

/* The message that is whole leaves. */
static int pass_on(struct queue_export *export, struct err *err)
{
	char bytes[65536];
	off_t at = 0;
	ssize_t got;

	while ((got = pread(export->mbox, bytes, sizeof(bytes), at)) > 0) {
		if (file_write_all(STDOUT_FILENO, slice_of(bytes, (size_t)got),
				   err) < 0) {
			export->broken = true;
			return -1;
		}
		at += got;
	}
	if (got < 0 || ftruncate(export->mbox, 0) < 0 ||
	    lseek(export->mbox, 0, SEEK_SET) < 0)
		return err_errno(err, "temporary file");
	return 0;
}

static char *put_mbox(struct queue_export *export, const struct json *row,
		      struct err *err)
{
	off_t before = lseek(export->mbox, 0, SEEK_CUR);
	struct piece piece = { .export = export, .fd = export->mbox };
	const char *accepted = json_get_text(row, "accepted");
	int64_t accepted_ms = 0;
	int result;

	if (accepted)
		clock_parse(slice(accepted), &accepted_ms, NULL);
	mbox_begin(json_get_text(row, "reverse_path"), accepted_ms, &piece.out);
	result = file_write_all(piece.fd, buf_slice(&piece.out), err);
	if (result == 0)
		result = fetch(export, row, &piece, on_mbox_bytes, err);
	buf_clear(&piece.out);
	mbox_end(&piece.mbox, &piece.out);
	if (result == 0)
		result = file_write_all(piece.fd, buf_slice(&piece.out), err);
	buf_release(&piece.out);
	/* Half a message would swallow the next one's separator. */
	if (result < 0 && (ftruncate(export->mbox, before) < 0 ||
			   lseek(export->mbox, before, SEEK_SET) < 0))
		err_prefix(err, "%s is damaged from byte %lld on", export->path,
			   (long long)before);
	if (result == 0 && export->to_stdout)
		result = pass_on(export, err);
	return result == 0 ? mem_dup(export->path) : NULL;
}

static const struct format formats[] = {
	{ "eml", open_folder, put_eml },
	{ "mbox", open_mbox, put_mbox },
	{ "maildir", open_maildir, put_maildir },
};

struct queue_export *queue_export_new(struct command_call *call,
				      const char *plan, const char *format,
				      const char *path, struct err *err)
{
	struct queue_export *export = mem_alloc(sizeof(*export));

	export->call = call;
	export->plan = plan;
	export->path = path;
	export->mbox = -1;
	export->files = json_array();
	for (size_t i = 0; i < COUNT(formats); i++)
		if (strcmp(formats[i].name, format) == 0)
			export->format = &formats[i];
	if (export->format && export->format->open(export, err) == 0)
		return export;
	json_free(queue_export_end(export));
	return NULL;
}

void queue_export_add(struct queue_export *export, const struct json *row)
{
	const char *id = json_get_text(row, "id");
	struct err err = ERR_INIT;
	char *file;

	if (!id || export->broken || map_put(&export->seen, slice(id), export))
		return;
	file = export->format->put(export, row, &err);
	if (!file) {
		output_error(export->call, EXIT_FAILED, "%s: %s", id, err.text);
		export->failed++;
		return;
	}
	export->messages++;
	if (export->mbox < 0)
		json_add_text(export->files, file);
	if (!export->call->json && export->mbox < 0)
		puts(file);
	free(file);
}

struct json *queue_export_end(struct queue_export *export)
{
	struct json *result = json_object();

	if (export->to_stdout) {
		close(export->mbox);
		fprintf(stderr, "%u messages\n", export->messages);
	} else if (export->mbox >= 0) {
		if (fsync(export->mbox) < 0 || close(export->mbox) < 0) {
			output_error(export->call, EXIT_FAILED,
				     "cannot write %s: %s", export->path,
				     strerror(errno));
			export->failed++;
		}
		json_add_text(export->files, export->path);
		if (!export->call->json && export->messages > 0)
			printf("%s: %u messages\n", export->path,
			       export->messages);
	}
	json_put_text(result, "format",
		      export->format ? export->format->name : NULL);
	json_put_text(result, "path", export->path);
	json_put(result, "files", export->files);
	json_put_number(result, "messages", export->messages);
	json_put_number(result, "failed", export->failed);
	map_release(&export->seen);
	free(export);
	return result;
}
