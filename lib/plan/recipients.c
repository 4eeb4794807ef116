#include "plan/recipients.h"
#include "base/file.h"
#include "smtp/smtp_path.h"
#include <stdlib.h>
#include <sys/stat.h>

enum {
	MAX_BYTES = 64 * 1024 * 1024,
	FIFTH = 5
};

static int add_line(struct recipients *recipients, struct slice line,
		    size_t number, struct err *err)
{
	struct smtp_mailbox mailbox;
	struct slice address = slice_trim(slice_split(&line, ','));
	struct buf key = BUF_INIT;

	if (slice_ends_nocase(address, "\r"))
		address.len--;
	slice_unwrap(&address, '"', '"');
	if (address.len == 0 || address.p[0] == '#')
		return 0;
	if (number == 1 && (slice_is_nocase(address, "address") ||
			    slice_is_nocase(address, "email")))
		return 0;
	if (smtp_mailbox_parse(address, &mailbox, err) < 0)
		return err_prefix(err, "line %zu", number);
	smtp_mailbox_key(address, &key);
	map_put(&recipients->known, buf_slice(&key), recipients);
	buf_release(&key);
	return 0;
}

static int read_list(struct recipients *fresh, const char *path,
		     struct err *err)
{
	struct stat info;
	struct buf text = BUF_INIT, state = BUF_INIT;
	struct slice rest;
	int result = -1;

	/* Before it is read: what is written meanwhile is read again. */
	file_state(path, &state);
	fresh->state = buf_take(&state);
	if (file_read(path, MAX_BYTES, &text, err) < 0)
		goto out;
	if (stat(path, &info) < 0) {
		err_errno(err, "cannot be asked for its time");
		goto out;
	}
	fresh->changed_ms = (int64_t)info.st_mtim.tv_sec * 1000;
	rest = buf_slice(&text);
	for (size_t number = 1; rest.len > 0; number++)
		if (add_line(fresh, slice_split(&rest, '\n'), number, err) < 0)
			goto out;
	if (fresh->known.count == 0) {
		err_set(err, "it lists nobody");
		goto out;
	}
	result = 0;
out:
	if (result < 0)
		err_prefix(err, "recipients file '%s'", path);
	buf_release(&text);
	return result;
}

/* Gives `fresh` up; where it is not taken, its file is not looked at again. */
static void take(struct recipients *recipients, struct recipients *fresh,
		 bool good)
{
	if (good) {
		recipients_release(recipients);
		*recipients = *fresh;
		return;
	}
	free(recipients->state);
	recipients->state = fresh->state;
	fresh->state = NULL;
	recipients_release(fresh);
}

int recipients_load(struct recipients *recipients, const char *path,
		    struct err *err)
{
	struct recipients fresh = { .known = MAP_INIT };
	int result = read_list(&fresh, path, err);

	take(recipients, &fresh, result == 0);
	return result;
}

struct count {
	const struct map *in;
	size_t missing;
};

static void count_missing(void *ctx, struct slice key, void *value)
{
	struct count *count = ctx;

	count->missing += !map_get(count->in, key);
}

int recipients_renew(struct recipients *recipients, const char *path,
		     struct err *err)
{
	struct recipients fresh = { .known = MAP_INIT };
	struct count gone = { .in = &fresh.known };
	struct buf state = BUF_INIT;
	int result;
	bool same;

	file_state(path, &state);
	same = recipients->state &&
	       strcmp(recipients->state, buf_text(&state)) == 0;
	buf_release(&state);
	if (same)
		return 0;
	result = read_list(&fresh, path, err);
	if (result == 0)
		map_each(&recipients->known, count_missing, &gone);
	/* An export that broke off refuses people. */
	if (result == 0 && gone.missing > recipients->known.count / FIFTH)
		result = err_set(err,
				 "recipients file '%s': %zu of the %zu that "
				 "were listed are gone, more than a fifth: a "
				 "restart of tideoverd takes it all the same",
				 path, gone.missing, recipients->known.count);
	take(recipients, &fresh, result == 0);
	return result == 0 ? 1 : -1;
}

void recipients_release(struct recipients *recipients)
{
	map_release(&recipients->known);
	free(recipients->state);
	recipients->state = NULL;
}

bool recipients_has(const struct recipients *recipients, struct slice address)
{
	struct buf key = BUF_INIT;
	bool has;

	smtp_mailbox_key(address, &key);
	has = map_get(&recipients->known, buf_slice(&key)) != NULL;
	buf_release(&key);
	return has;
}
