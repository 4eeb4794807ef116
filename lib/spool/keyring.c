#include "spool/keyring.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/json.h"
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	FILE_VERSION = 1,
	FILE_MAX = 4096,
	PLAN_MAX = 1024 * 1024,
	/* Keys of earlier runs that are kept at hand: one per start. */
	SUBKEYS = 16,
	WRAPPED = KEY_ID + SEAL_KEY + SEAL_WRAPPED,
};

/* What a data key seals and opens under, for one salt. */
struct subkey {
	bool is_set;
	unsigned char salt[KEY_SALT], key[SEAL_KEY];
};

/* On locked pages. */
struct secrets {
	unsigned char key[SEAL_KEY];
	struct subkey ours, others[SUBKEYS];
};

struct data_key {
	struct data_key *next;
	struct keyring *keyring;
	char *plan; /* NULL: forgotten */
	unsigned char id[KEY_ID];
	char id_text[KEY_ID_TEXT];
	struct secrets *secrets; /* NULL: shredded */
	uint64_t counter;
	size_t next_other;
	unsigned holds;
};

struct keyring {
	pthread_mutex_t lock;
	unsigned char *master; /* NULL: none */
	struct data_key *first;
};

struct keyring *keyring_new(void)
{
	struct keyring *keyring = mem_alloc(sizeof(*keyring));

	pthread_mutex_init(&keyring->lock, NULL);
	return keyring;
}

void keyring_free(struct keyring *keyring)
{
	struct data_key *key;

	if (!keyring)
		return;
	while ((key = keyring->first)) {
		keyring->first = key->next;
		secret_free(key->secrets, sizeof(*key->secrets));
		free(key->plan);
		free(key);
	}
	secret_free(keyring->master, SEAL_KEY);
	pthread_mutex_destroy(&keyring->lock);
	free(keyring);
}

/* The master key. */

static bool take_master(struct keyring *keyring, struct slice text)
{
	struct buf bytes = BUF_INIT;
	bool taken = false;

	if (text.len == 2 * SEAL_KEY + 1 && text.p[2 * SEAL_KEY] == '\n')
		text.len--;
	/* Reserved whole: growing would leave a copy behind. */
	buf_reserve(&bytes, 2 * SEAL_KEY);
	if (text.len == SEAL_KEY)
		buf_add(&bytes, text);
	else if (text.len == 2 * SEAL_KEY && !decode_hex(text, &bytes))
		bytes.len = 0;
	if (bytes.len == SEAL_KEY) {
		if (!keyring->master)
			keyring->master = secret_alloc(SEAL_KEY);
		memcpy(keyring->master, bytes.p, SEAL_KEY);
		taken = true;
	}
	secret_wipe(bytes.p, bytes.cap);
	buf_release(&bytes);
	return taken;
}

int keyring_read_master(struct keyring *keyring, const char *path,
			struct err *err)
{
	/* One byte more than any that is right. */
	char text[2 * SEAL_KEY + 2];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t got;
	int result = -1;

	if (fd < 0)
		return err_errno(err, "cannot open the master key %s", path);
	if (fstat(fd, &st) < 0) {
		err_errno(err, "cannot ask about the master key %s", path);
	} else if (S_ISREG(st.st_mode) && (st.st_mode & S_IRWXO)) {
		err_set(err,
			"the master key %s is open to everybody on this "
			"machine: chmod 600 it",
			path);
	} else if ((got = read(fd, text, sizeof(text))) < 0) {
		err_errno(err, "cannot read the master key %s", path);
	} else if (!take_master(keyring, slice_of(text, (size_t)got))) {
		err_set(err,
			"%s is no master key: it must hold 32 bytes or 64 hex "
			"digits (openssl rand -hex 32)",
			path);
	} else {
		result = 0;
	}
	close(fd);
	secret_wipe(text, sizeof(text));
	return result;
}

bool keyring_has_master(const struct keyring *keyring)
{
	return keyring->master != NULL;
}

/* Data keys. */

static struct data_key *find_plan(struct keyring *keyring, const char *plan)
{
	for (struct data_key *key = keyring->first; key; key = key->next)
		if (key->plan && strcmp(key->plan, plan) == 0)
			return key;
	return NULL;
}

static struct data_key *find_id(struct keyring *keyring,
				const unsigned char id[KEY_ID])
{
	for (struct data_key *key = keyring->first; key; key = key->next)
		if (memcmp(key->id, id, KEY_ID) == 0)
			return key;
	return NULL;
}

struct data_key *keyring_find(struct keyring *keyring, const char *plan)
{
	struct data_key *key;

	pthread_mutex_lock(&keyring->lock);
	key = find_plan(keyring, plan);
	pthread_mutex_unlock(&keyring->lock);
	return key;
}

static void add_key(struct keyring *keyring, const char *plan,
		    const unsigned char id[KEY_ID], struct secrets *secrets)
{
	struct data_key *key = mem_alloc(sizeof(*key));
	struct buf text = BUF_INIT;

	encode_hex(slice_of(id, KEY_ID), &text);
	memcpy(key->id_text, buf_text(&text), KEY_ID_TEXT);
	buf_release(&text);
	memcpy(key->id, id, KEY_ID);
	key->keyring = keyring;
	key->plan = mem_dup(plan);
	key->secrets = secrets;
	pthread_mutex_lock(&keyring->lock);
	key->next = keyring->first;
	keyring->first = key;
	pthread_mutex_unlock(&keyring->lock);
}

bool data_key_is_shredded(struct data_key *key)
{
	bool shredded;

	pthread_mutex_lock(&key->keyring->lock);
	shredded = !key->secrets;
	pthread_mutex_unlock(&key->keyring->lock);
	return shredded;
}

const char *data_key_id(const struct data_key *key)
{
	return key->id_text;
}

void data_key_hold(struct data_key *key)
{
	pthread_mutex_lock(&key->keyring->lock);
	key->holds++;
	pthread_mutex_unlock(&key->keyring->lock);
}

void data_key_let(struct data_key *key)
{
	pthread_mutex_lock(&key->keyring->lock);
	assert(key->holds > 0);
	key->holds--;
	pthread_mutex_unlock(&key->keyring->lock);
}

unsigned data_key_holds(struct data_key *key)
{
	unsigned holds;

	pthread_mutex_lock(&key->keyring->lock);
	holds = key->holds;
	pthread_mutex_unlock(&key->keyring->lock);
	return holds;
}

/* Their files: {"tideover_key":1,"id":HEX,"wrapped":HEX}, or "shredded":TIME
 * in place of "wrapped". */

static int not_a_key(const char *path, struct err *err)
{
	return err_set(err,
		       "%s is no data key: put back the one from your backup",
		       path);
}

static int unwrap(struct keyring *keyring, const char *plan, const char *path,
		  struct slice wrapped, const unsigned char id[KEY_ID],
		  struct err *err)
{
	unsigned char *room;
	bool opened;

	if (!keyring->master)
		return err_set(err,
			       "plan '%s' is encrypted and no master key is "
			       "given: start tideoverd with --master-key FILE",
			       plan);
	room = secret_alloc(WRAPPED);
	opened = seal_unwrap(keyring->master, wrapped, room) &&
		 memcmp(room, id, KEY_ID) == 0;
	if (opened) {
		struct secrets *secrets = secret_alloc(sizeof(*secrets));

		memcpy(secrets->key, room + KEY_ID, SEAL_KEY);
		add_key(keyring, plan, id, secrets);
	}
	secret_free(room, WRAPPED);
	if (opened)
		return 0;
	return err_set(err,
		       "the master key does not open %s: start tideoverd with "
		       "the one that plan '%s' was started with",
		       path, plan);
}

/* A shredding was cut off between the zeros and the note. */
static bool is_zero(struct slice bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		if (bytes.p[i])
			return false;
	return true;
}

int keyring_load(struct keyring *keyring, const char *plan, const char *path,
		 struct err *err)
{
	struct buf text = BUF_INIT, id = BUF_INIT, wrapped = BUF_INIT;
	struct json *file = NULL;
	bool shredded;
	int result = -1;

	if (keyring_find(keyring, plan))
		return 0;
	if (file_read(path, FILE_MAX, &text, err) < 0)
		goto out;
	file = json_parse(buf_slice(&text), NULL);
	shredded = json_get_text(file, "shredded") != NULL;
	if (json_get_number(file, "tideover_key", 0) != FILE_VERSION ||
	    !decode_hex(slice(json_get_text(file, "id")), &id) ||
	    id.len != KEY_ID ||
	    !decode_hex(slice(json_get_text(file, "wrapped")), &wrapped) ||
	    (!shredded && wrapped.len != WRAPPED)) {
		not_a_key(path, err);
	} else if (shredded || is_zero(buf_slice(&wrapped))) {
		add_key(keyring, plan, (unsigned char *)id.p, NULL);
		result = 0;
	} else {
		result = unwrap(keyring, plan, path, buf_slice(&wrapped),
				(unsigned char *)id.p, err);
	}
out:
	json_free(file);
	buf_release(&text);
	buf_release(&id);
	buf_release(&wrapped);
	return result;
}

/* A plan that was under way and says "encrypt" has mail under its key. */
static int check_plan(const char *dir, const char *plan, struct err *err)
{
	char *path = mem_printf("%s/plan.json", dir);
	char *journal = mem_printf("%s/journal.ndjson", dir);
	struct buf text = BUF_INIT;
	struct json *root = NULL;
	int result = 0;

	if (file_exists(journal) && file_exists(path) &&
	    file_read(path, PLAN_MAX, &text, NULL) == 0)
		root = json_parse(buf_slice(&text), NULL);
	if (json_get_bool(root, "encrypt"))
		result = err_set(err,
				 "plan '%s' is encrypted and %s/%s is gone: "
				 "put it back from your backup",
				 plan, dir, KEY_FILE_NAME);
	json_free(root);
	buf_release(&text);
	free(path);
	free(journal);
	return result;
}

int keyring_load_all(struct keyring *keyring, const char *state_dir,
		     struct err *err)
{
	char *plans = mem_printf("%s/plans", state_dir);
	DIR *dir = opendir(plans);
	struct dirent *entry;
	int result = 0;

	if (!dir && errno != ENOENT)
		result = err_errno(err, "cannot read folder %s", plans);
	while (result == 0 && dir && (entry = readdir(dir))) {
		char *one = mem_printf("%s/%s", plans, entry->d_name);
		char *path = mem_printf("%s/%s", one, KEY_FILE_NAME);

		if (entry->d_name[0] != '.')
			result = file_exists(path) ?
					 keyring_load(keyring, entry->d_name,
						      path, err) :
					 check_plan(one, entry->d_name, err);
		free(one);
		free(path);
	}
	if (dir)
		closedir(dir);
	free(plans);
	return result;
}

/* An empty `wrapped`: shredded now. */
static void file_text(const unsigned char id[KEY_ID], struct slice wrapped,
		      struct buf *text)
{
	struct json *file = json_object();
	struct buf hex = BUF_INIT;

	json_put_number(file, "tideover_key", FILE_VERSION);
	encode_hex(slice_of(id, KEY_ID), &hex);
	json_put_text(file, "id", buf_text(&hex));
	buf_clear(&hex);
	encode_hex(wrapped, &hex);
	if (wrapped.len)
		json_put_text(file, "wrapped", buf_text(&hex));
	else
		json_put_time(file, "shredded", clock_wall_ms());
	json_print(file, text);
	buf_addc(text, '\n');
	json_free(file);
	buf_release(&hex);
}

static int write_file(const char *path, const unsigned char id[KEY_ID],
		      struct slice wrapped, struct err *err)
{
	struct buf text = BUF_INIT;
	int result;

	file_text(id, wrapped, &text);
	result = file_write(path, buf_slice(&text), 0600, err);
	buf_release(&text);
	return result;
}

int keyring_make(struct keyring *keyring, const char *plan, const char *path,
		 struct err *err)
{
	unsigned char id[KEY_ID], wrapped[WRAPPED], *plain;
	struct secrets *secrets;

	if (!keyring->master)
		return err_set(
			err,
			"plan '%s' wants encryption and tideoverd has "
			"no master key: start it with --master-key FILE, "
			"or leave \"encrypt\" out",
			plan);
	secrets = secret_alloc(sizeof(*secrets));
	plain = secret_alloc(KEY_ID + SEAL_KEY);
	random_bytes(id, sizeof(id));
	random_bytes(secrets->key, SEAL_KEY);
	memcpy(plain, id, KEY_ID);
	memcpy(plain + KEY_ID, secrets->key, SEAL_KEY);
	seal_wrap(keyring->master, slice_of(plain, KEY_ID + SEAL_KEY), wrapped);
	secret_free(plain, KEY_ID + SEAL_KEY);
	if (write_file(path, id, slice_of(wrapped, sizeof(wrapped)), err) < 0) {
		secret_free(secrets, sizeof(*secrets));
		return -1;
	}
	add_key(keyring, plan, id, secrets);
	return 0;
}

/*
 * Zeros for the wrapped key, in the same blocks where the file system writes in
 * place at all.  It stays a file of the same form: after a crash here it says
 * that the key is gone.
 */
static int overwrite(const char *path, const unsigned char id[KEY_ID],
		     struct err *err)
{
	static const unsigned char zeros[WRAPPED];
	struct buf text = BUF_INIT;
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int result = -1;

	if (fd < 0)
		return err_errno(err, "cannot open %s", path);
	file_text(id, slice_of(zeros, sizeof(zeros)), &text);
	if (file_write_all(fd, buf_slice(&text), err) == 0)
		result = fsync(fd) == 0 ?
				 0 :
				 err_errno(err, "cannot sync %s", path);
	buf_release(&text);
	close(fd);
	return result;
}

int keyring_shred(struct keyring *keyring, const char *plan, const char *path,
		  struct err *err)
{
	struct data_key *key;
	struct secrets *secrets;

	pthread_mutex_lock(&keyring->lock);
	key = find_plan(keyring, plan);
	secrets = key ? key->secrets : NULL;
	pthread_mutex_unlock(&keyring->lock);
	if (!key)
		return err_set(err, "plan '%s' has no data key", plan);
	if (secrets && overwrite(path, key->id, err) < 0)
		return -1;
	/* Nothing of it is left on disk: from here on not in memory either,
	 * whatever becomes of the note. */
	pthread_mutex_lock(&keyring->lock);
	key->secrets = NULL;
	pthread_mutex_unlock(&keyring->lock);
	secret_free(secrets, sizeof(*secrets));
	return write_file(path, key->id, slice(""), err);
}

void keyring_forget(struct keyring *keyring, const char *plan)
{
	struct data_key *key;

	pthread_mutex_lock(&keyring->lock);
	key = find_plan(keyring, plan);
	if (key) {
		free(key->plan);
		key->plan = NULL;
	}
	pthread_mutex_unlock(&keyring->lock);
}

/* Marks. */

void key_mark_encode(const struct key_mark *mark, struct buf *out)
{
	char counter[8];

	put_u64(counter, mark->counter);
	buf_add(out, slice_of(mark->id, KEY_ID));
	buf_add(out, slice_of(mark->salt, KEY_SALT));
	buf_add(out, slice_of(counter, sizeof(counter)));
}

bool key_mark_decode(struct slice *bytes, struct key_mark *mark)
{
	if (bytes->len < KEY_MARK)
		return false;
	memcpy(mark->id, bytes->p, KEY_ID);
	memcpy(mark->salt, bytes->p + KEY_ID, KEY_SALT);
	mark->counter = get_u64(bytes->p + KEY_ID + KEY_SALT);
	*bytes = slice_from(*bytes, KEY_MARK);
	return true;
}

static void derive(const struct secrets *secrets, struct subkey *subkey)
{
	static const char label[] = "tideover spool 1";
	char text[sizeof(label) + KEY_SALT];

	memcpy(text, label, sizeof(label));
	memcpy(text + sizeof(label), subkey->salt, KEY_SALT);
	seal_derive(secrets->key, slice_of(text, sizeof(text)), subkey->key);
	subkey->is_set = true;
}

int data_key_mark(struct data_key *key, struct key_mark *mark, struct err *err)
{
	struct keyring *keyring = key->keyring;
	struct secrets *secrets;

	pthread_mutex_lock(&keyring->lock);
	secrets = key->secrets;
	if (secrets && !secrets->ours.is_set) {
		random_bytes(secrets->ours.salt, KEY_SALT);
		derive(secrets, &secrets->ours);
	}
	if (secrets) {
		memcpy(mark->id, key->id, KEY_ID);
		memcpy(mark->salt, secrets->ours.salt, KEY_SALT);
		mark->counter = key->counter++;
	}
	pthread_mutex_unlock(&keyring->lock);
	if (secrets)
		return 0;
	return err_set(err, "the data key %s was shredded", key->id_text);
}

/* The lock is held. */
static const struct subkey *find_subkey(struct data_key *key,
					const unsigned char salt[KEY_SALT])
{
	struct secrets *secrets = key->secrets;
	struct subkey *subkey = &secrets->ours;

	if (subkey->is_set && memcmp(subkey->salt, salt, KEY_SALT) == 0)
		return subkey;
	for (size_t i = 0; i < SUBKEYS; i++) {
		subkey = &secrets->others[i];
		if (subkey->is_set && memcmp(subkey->salt, salt, KEY_SALT) == 0)
			return subkey;
	}
	subkey = &secrets->others[key->next_other++ % SUBKEYS];
	memcpy(subkey->salt, salt, KEY_SALT);
	derive(secrets, subkey);
	return subkey;
}

/* False if the key is not here. */
static bool copy_subkey(struct keyring *keyring, const struct key_mark *mark,
			unsigned char out[SEAL_KEY])
{
	struct data_key *key;
	bool found;

	pthread_mutex_lock(&keyring->lock);
	key = find_id(keyring, mark->id);
	found = key && key->secrets;
	if (found)
		memcpy(out, find_subkey(key, mark->salt)->key, SEAL_KEY);
	pthread_mutex_unlock(&keyring->lock);
	return found;
}

static void nonce_of(const struct key_mark *mark, uint32_t chunk,
		     unsigned char nonce[SEAL_NONCE])
{
	put_u64(nonce, mark->counter);
	put_u32(nonce + 8, chunk);
}

bool keyring_seal(struct keyring *keyring, const struct key_mark *mark,
		  uint32_t chunk, struct slice bound, struct slice plain,
		  struct buf *out)
{
	unsigned char key[SEAL_KEY], nonce[SEAL_NONCE];

	if (!copy_subkey(keyring, mark, key))
		return false;
	nonce_of(mark, chunk, nonce);
	seal(key, nonce, bound, plain, out);
	secret_wipe(key, sizeof(key));
	return true;
}

bool keyring_open(struct keyring *keyring, const struct key_mark *mark,
		  uint32_t chunk, struct slice bound, struct slice sealed,
		  struct buf *out)
{
	unsigned char key[SEAL_KEY], nonce[SEAL_NONCE];
	bool opened;

	if (!copy_subkey(keyring, mark, key))
		return false;
	nonce_of(mark, chunk, nonce);
	opened = seal_open(key, nonce, bound, sealed, out);
	secret_wipe(key, sizeof(key));
	return opened;
}

bool keyring_knows(struct keyring *keyring, const struct key_mark *mark)
{
	struct data_key *key;
	bool knows;

	pthread_mutex_lock(&keyring->lock);
	key = find_id(keyring, mark->id);
	knows = key && key->secrets;
	pthread_mutex_unlock(&keyring->lock);
	return knows;
}
