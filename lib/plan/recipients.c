#include "plan/recipients.h"
#include "base/file.h"
#include "smtp/smtp_path.h"
#include <sys/stat.h>

enum {
	MAX_BYTES = 64 * 1024 * 1024
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

int recipients_load(struct recipients *recipients, const char *path,
		    struct err *err)
{
	struct recipients fresh = { .known = MAP_INIT };
	struct stat info;
	struct buf text = BUF_INIT;
	struct slice rest;
	int result = -1;

	if (file_read(path, MAX_BYTES, &text, err) < 0)
		goto out;
	if (stat(path, &info) < 0) {
		err_errno(err, "cannot be asked for its time");
		goto out;
	}
	fresh.changed_ms = (int64_t)info.st_mtim.tv_sec * 1000;
	rest = buf_slice(&text);
	for (size_t number = 1; rest.len > 0; number++)
		if (add_line(&fresh, slice_split(&rest, '\n'), number, err) < 0)
			goto out;
	if (fresh.known.count == 0) {
		err_set(err, "it lists nobody");
		goto out;
	}
	map_release(&recipients->known);
	*recipients = fresh;
	fresh = (struct recipients){ .known = MAP_INIT };
	result = 0;
out:
	if (result < 0)
		err_prefix(err, "recipients file '%s'", path);
	map_release(&fresh.known);
	buf_release(&text);
	return result;
}

void recipients_release(struct recipients *recipients)
{
	map_release(&recipients->known);
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
