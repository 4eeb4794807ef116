#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/json.h"
#include "spool/sealed.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A folder with a master key, and the key of one plan. */
struct scene {
	char dir[64];
	char *master, *plans, *key;
	struct keyring *keyring;
	struct id id;
};

static void write_text(const char *path, const char *text)
{
	assert_int_equal(file_write(path, slice(text), 0600, NULL), 0);
}

static char *read_text(const char *path)
{
	struct buf text = BUF_INIT;

	assert_int_equal(file_read(path, 65536, &text, NULL), 0);
	return buf_take(&text);
}

static struct keyring *keyring_with(const char *master)
{
	struct keyring *keyring = keyring_new();
	struct err err = ERR_INIT;

	if (master)
		assert_int_equal(keyring_read_master(keyring, master, &err), 0);
	return keyring;
}

static int scene_new(void **state)
{
	struct scene *scene = mem_alloc(sizeof(*scene));
	char digits[66];

	snprintf(scene->dir, sizeof(scene->dir), "/tmp/tideover-key-XXXXXX");
	assert_non_null(mkdtemp(scene->dir));
	scene->master = mem_printf("%s/master", scene->dir);
	scene->plans = mem_printf("%s/plans/acme", scene->dir);
	scene->key = mem_printf("%s/data.key", scene->plans);
	memset(digits, '7', 64);
	memcpy(digits + 64, "\n", 2);
	write_text(scene->master, digits);
	assert_int_equal(file_make_dirs(scene->plans, 0700, NULL), 0);
	scene->keyring = keyring_with(scene->master);
	assert_int_equal(keyring_make(scene->keyring, "acme", scene->key, NULL),
			 0);
	scene->id = id_new(1700000000000);
	*state = scene;
	return 0;
}

static int scene_free(void **state)
{
	struct scene *scene = *state;
	char *remove = mem_printf("rm -rf %s", scene->dir);

	keyring_free(scene->keyring);
	assert_int_equal(system(remove), 0);
	free(remove);
	free(scene->master);
	free(scene->plans);
	free(scene->key);
	free(scene);
	return 0;
}

static struct data_key *key_of(struct scene *scene)
{
	struct data_key *key = keyring_find(scene->keyring, "acme");

	assert_non_null(key);
	return key;
}

static void seal_text(struct scene *scene, const char *plain, struct buf *out)
{
	struct err err = ERR_INIT;

	assert_int_equal(sealed_text_add(scene->keyring, key_of(scene),
					 SEALED_FORWARD_PATH, &scene->id, 3,
					 slice(plain), out, &err),
			 0);
}

static bool opens(struct scene *scene, struct slice sealed)
{
	struct buf plain = BUF_INIT;
	bool opened = sealed_text_open(scene->keyring, SEALED_FORWARD_PATH,
				       &scene->id, 3, sealed, &plain);

	if (!opened)
		assert_int_equal(plain.len, 0);
	buf_release(&plain);
	return opened;
}

/* GCM test case 16 of McGrew and Viega, "The Galois/Counter Mode of Operation",
 * appendix B; RFC 3394, section 4.6; RFC 4231, test case 2 with its key filled
 * up with zeros (RFC 2104 does the same). */
static void the_algorithms_are_those_of_their_standards(void **state)
{
	static const char gcm_key[] = "feffe9928665731c6d6a8f9467308308"
				      "feffe9928665731c6d6a8f9467308308";
	static const char gcm_plain[] =
		"d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a"
		"721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
	static const char gcm_sealed[] =
		"522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1"
		"aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
		"76fc6ece0f4e1768cddf8853bb2d551b";
	static const char wrap_key[] = "000102030405060708090a0b0c0d0e0f"
				       "101112131415161718191a1b1c1d1e1f";
	static const char wrap_plain[] = "00112233445566778899aabbccddeeff"
					 "000102030405060708090a0b0c0d0e0f";
	static const char wrapped[] =
		"28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326"
		"cbc7f0e71a99f43bfb988b9b7a02dd21";
	unsigned char out[64] = { 0 };
	struct buf key = BUF_INIT, nonce = BUF_INIT, bound = BUF_INIT;
	struct buf plain = BUF_INIT, got = BUF_INIT, hex = BUF_INIT;

	decode_hex(slice(gcm_key), &key);
	decode_hex(slice("cafebabefacedbaddecaf888"), &nonce);
	decode_hex(slice("feedfacedeadbeeffeedfacedeadbeefabaddad2"), &bound);
	decode_hex(slice(gcm_plain), &plain);
	seal((unsigned char *)key.p, (unsigned char *)nonce.p,
	     buf_slice(&bound), buf_slice(&plain), &got);
	encode_hex(buf_slice(&got), &hex);
	assert_string_equal(buf_text(&hex), gcm_sealed);

	buf_clear(&key);
	buf_clear(&plain);
	buf_clear(&hex);
	decode_hex(slice(wrap_key), &key);
	decode_hex(slice(wrap_plain), &plain);
	seal_wrap((unsigned char *)key.p, buf_slice(&plain), out);
	encode_hex(slice_of(out, 40), &hex);
	assert_string_equal(buf_text(&hex), wrapped);

	buf_clear(&key);
	buf_clear(&hex);
	buf_add(&key, slice_of("Jefe\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
			       "\0\0\0\0\0\0\0\0",
			       SEAL_KEY));
	seal_derive((unsigned char *)key.p,
		    slice("what do ya want for nothing?"), out);
	encode_hex(slice_of(out, SEAL_KEY), &hex);
	assert_string_equal(buf_text(&hex), "5bdcc146bf60754e6a042426089575c7"
					    "5a003f089d2739839dec58b964ec3843");
	buf_release(&key);
	buf_release(&nonce);
	buf_release(&bound);
	buf_release(&plain);
	buf_release(&got);
	buf_release(&hex);
}

static void base64_takes_one_spelling_of_each_value(void **state)
{
	static const struct {
		const char *in, *want; /* NULL: refused */
	} texts[] = {
		{ "", "" },
		{ "Zg==", "f" },
		{ "Zm8=", "fo" },
		{ "Zm9v", "foo" },
		{ "Zm9vYg==", "foob" },
		{ "Zh==", NULL },
		{ "Zm9=", NULL },
		{ "Zg=", NULL },
		{ "Z===", NULL },
		{ "====", NULL },
		{ "Zg==Zm9v", NULL },
		{ "Zm-v", NULL },
		{ "Zm9 ", NULL },
		{ "Z=8=", NULL },
		{ "Zm9vYmF", NULL },
		{ "+/A=", "\xfb\xf0" },
	};

	for (size_t i = 0; i < COUNT(texts); i++) {
		struct buf out = BUF_INIT;

		assert_int_equal(decode_base64(slice(texts[i].in), &out),
				 texts[i].want != NULL);
		if (texts[i].want)
			assert_string_equal(buf_text(&out), texts[i].want);
		buf_release(&out);
	}
}

static void a_text_comes_back_and_shows_its_domain_alone(void **state)
{
	static const char *const texts[] = { "anna@acme.example",
					     "\"a@b\"@acme.example",
					     "@acme.example", "x" };
	struct scene *scene = *state;

	for (size_t i = 0; i < COUNT(texts); i++) {
		struct buf sealed = BUF_INIT, plain = BUF_INIT;
		const char *domain = strrchr(texts[i], '@');

		seal_text(scene, texts[i], &sealed);
		assert_true(sealed_text_open(scene->keyring,
					     SEALED_FORWARD_PATH, &scene->id, 3,
					     buf_slice(&sealed), &plain));
		assert_string_equal(buf_text(&plain), texts[i]);
		assert_null(strstr(buf_text(&sealed), "anna"));
		if (domain)
			assert_true(
				slice_ends_nocase(buf_slice(&sealed), domain));
		buf_release(&sealed);
		buf_release(&plain);
	}
}

static void a_flipped_bit_or_another_place_does_not_open(void **state)
{
	struct scene *scene = *state;
	struct id other = id_new(1700000000001);
	struct buf sealed = BUF_INIT, plain = BUF_INIT;
	struct slice all;

	seal_text(scene, "anna@acme.example", &sealed);
	all = buf_slice(&sealed);
	assert_true(opens(scene, all));
	for (size_t bit = 0; bit < sealed.len * 8; bit++) {
		sealed.p[bit / 8] ^= (char)(1 << bit % 8);
		assert_false(opens(scene, all));
		sealed.p[bit / 8] ^= (char)(1 << bit % 8);
	}
	for (size_t len = 0; len < sealed.len; len++)
		assert_false(opens(scene, slice_of(sealed.p, len)));
	assert_false(sealed_text_open(scene->keyring, SEALED_FORWARD_PATH,
				      &other, 3, all, &plain));
	assert_false(sealed_text_open(scene->keyring, SEALED_FORWARD_PATH,
				      &scene->id, 4, all, &plain));
	assert_false(sealed_text_open(scene->keyring, SEALED_REVERSE_PATH,
				      &scene->id, 3, all, &plain));
	assert_true(opens(scene, all));
	buf_release(&sealed);
	buf_release(&plain);
}

/* Bodies, with the file in memory. */

static int read_memory(void *ctx, uint64_t at, size_t len, struct buf *out,
		       struct err *err)
{
	const struct buf *file = ctx;

	if (at + len > file->len)
		return err_set(err, "ends too early");
	buf_add(out, slice_of(file->p + at, len));
	return 0;
}

static void fill(struct buf *body, size_t bytes)
{
	while (body->len < bytes)
		buf_addc(body, (char)(body->len * 31 + body->len / 251));
}

static void seal_body(struct scene *scene, const struct buf *body, size_t piece,
		      struct buf *out)
{
	struct err err = ERR_INIT;
	struct sealed_body *sealing = sealed_body_new(
		scene->keyring, key_of(scene), &scene->id, &err);

	assert_non_null(sealing);
	for (size_t at = 0; at < body->len; at += piece)
		assert_int_equal(
			sealed_body_add(sealing,
					slice_of(body->p + at,
						 body->len - at < piece ?
							 body->len - at :
							 piece),
					out, &err),
			0);
	assert_int_equal(sealed_body_end(sealing, out, &err), 0);
	assert_int_equal(data_key_holds(key_of(scene)), 1);
	sealed_body_free(sealing);
	assert_int_equal(data_key_holds(key_of(scene)), 0);
}

static bool body_opens(struct scene *scene, struct buf *sealed, uint64_t bytes)
{
	struct buf out = BUF_INIT;
	int result = sealed_body_open(scene->keyring, &scene->id, bytes, 0,
				      (size_t)bytes, read_memory, sealed, &out,
				      NULL);

	buf_release(&out);
	return result == 0;
}

static void a_body_comes_back_from_any_place_in_any_pieces(void **state)
{
	static const size_t sizes[] = { 0,
					1,
					SEALED_CHUNK - 1,
					SEALED_CHUNK,
					SEALED_CHUNK + 1,
					2 * SEALED_CHUNK,
					5 * SEALED_CHUNK + 77 };
	static const size_t pieces[] = { 1000, SEALED_CHUNK, 3 * SEALED_CHUNK };
	struct scene *scene = *state;

	for (size_t i = 0; i < COUNT(sizes) * COUNT(pieces); i++) {
		size_t bytes = sizes[i / COUNT(pieces)];
		struct buf body = BUF_INIT, sealed = BUF_INIT, got = BUF_INIT;

		fill(&body, bytes);
		seal_body(scene, &body, pieces[i % COUNT(pieces)], &sealed);
		assert_int_equal(sealed.len, sealed_body_bytes(bytes));
		for (size_t from = 0; from <= bytes; from += 50001) {
			size_t len =
				bytes - from < 99999 ? bytes - from : 99999;

			buf_clear(&got);
			assert_int_equal(
				sealed_body_open(scene->keyring, &scene->id,
						 bytes, from, len, read_memory,
						 &sealed, &got, NULL),
				0);
			assert_int_equal(got.len, len);
			if (len)
				assert_memory_equal(got.p, body.p + from, len);
		}
		buf_release(&body);
		buf_release(&sealed);
		buf_release(&got);
	}
}

static void a_body_that_was_changed_does_not_open(void **state)
{
	struct scene *scene = *state;
	size_t bytes = 3 * SEALED_CHUNK;
	size_t chunk = SEALED_CHUNK + SEAL_TAG;
	struct buf body = BUF_INIT, sealed = BUF_INIT;
	char *first, *second;

	fill(&body, bytes);
	seal_body(scene, &body, 4096, &sealed);
	assert_true(body_opens(scene, &sealed, bytes));
	/* All of the mark, then every 61st bit: each chunk and each tag. */
	for (size_t bit = 0; bit < sealed.len * 8;
	     bit += bit < KEY_MARK * 8 ? 1 : 61 * 97) {
		sealed.p[bit / 8] ^= (char)(1 << bit % 8);
		assert_false(body_opens(scene, &sealed, bytes));
		sealed.p[bit / 8] ^= (char)(1 << bit % 8);
	}
	for (size_t byte = sealed.len - SEAL_TAG; byte < sealed.len; byte++) {
		sealed.p[byte] ^= 1;
		assert_false(body_opens(scene, &sealed, bytes));
		sealed.p[byte] ^= 1;
	}
	/* Cut at a chunk, with a size to match. */
	sealed.len -= chunk;
	assert_false(body_opens(scene, &sealed, bytes));
	assert_false(body_opens(scene, &sealed, bytes - SEALED_CHUNK));
	sealed.len += chunk;
	assert_false(body_opens(scene, &sealed, bytes - 1));
	/* Two chunks change places. */
	first = sealed.p + KEY_MARK;
	second = first + chunk;
	for (size_t i = 0; i < chunk; i++) {
		char c = first[i];

		first[i] = second[i];
		second[i] = c;
	}
	assert_false(body_opens(scene, &sealed, bytes));
	buf_release(&body);
	buf_release(&sealed);
}

static void no_nonce_comes_twice(void **state)
{
	struct scene *scene = *state;
	struct keyring *again = keyring_with(scene->master);
	struct key_mark a, b, c;

	assert_int_equal(keyring_load(again, "acme", scene->key, NULL), 0);
	assert_int_equal(data_key_mark(key_of(scene), &a, NULL), 0);
	assert_int_equal(data_key_mark(key_of(scene), &b, NULL), 0);
	/* The same key in a process that begins from the same file. */
	assert_int_equal(data_key_mark(keyring_find(again, "acme"), &c, NULL),
			 0);
	assert_memory_equal(a.salt, b.salt, KEY_SALT);
	assert_true(b.counter == a.counter + 1);
	assert_true(memcmp(a.salt, c.salt, KEY_SALT) != 0);
	assert_memory_equal(a.id, c.id, KEY_ID);
	keyring_free(again);
}

/* More salts than are kept at hand: each is derived again. */
static void what_earlier_runs_sealed_opens(void **state)
{
	struct scene *scene = *state;
	struct buf sealed[40] = { 0 };

	for (size_t i = 0; i < COUNT(sealed); i++) {
		keyring_free(scene->keyring);
		scene->keyring = keyring_with(scene->master);
		assert_int_equal(
			keyring_load_all(scene->keyring, scene->dir, NULL), 0);
		seal_text(scene, "anna@acme.example", &sealed[i]);
	}
	for (size_t round = 0; round < 2; round++)
		for (size_t i = 0; i < COUNT(sealed); i++)
			assert_true(opens(scene, buf_slice(&sealed[i])));
	for (size_t i = 0; i < COUNT(sealed); i++)
		buf_release(&sealed[i]);
}

static void refuses(const char *path, const char *text, unsigned mode,
		    const char *why)
{
	struct keyring *keyring = keyring_new();
	struct err err = ERR_INIT;

	assert_int_equal(file_write(path, slice(text), mode, NULL), 0);
	assert_int_equal(chmod(path, mode), 0);
	assert_int_equal(keyring_read_master(keyring, path, &err), -1);
	assert_non_null(strstr(err.text, why));
	assert_false(keyring_has_master(keyring));
	keyring_free(keyring);
}

static void a_master_key_is_32_bytes_and_a_secret(void **state)
{
	struct scene *scene = *state;
	char *path = mem_printf("%s/other", scene->dir);
	struct keyring *keyring;

	refuses(path, "", 0600, "32 bytes or 64 hex digits");
	refuses(path, "0123456789012345678901234567890", 0600, "32 bytes");
	refuses(path, "012345678901234567890123456789012", 0600, "32 bytes");
	refuses(path,
		"zz23456789012345678901234567890123456789012345678901234567890"
		"123",
		0600, "32 bytes");
	refuses(path, "01234567890123456789012345678901", 0604, "chmod 600");
	write_text(path, "01234567890123456789012345678901");
	keyring = keyring_with(path);
	assert_true(keyring_has_master(keyring));
	keyring_free(keyring);
	free(path);
}

static void check_load(struct scene *scene, const char *master, const char *why)
{
	char *before = read_text(scene->key), *after;
	struct keyring *keyring = keyring_with(master);
	struct err err = ERR_INIT;

	assert_int_equal(keyring_load_all(keyring, scene->dir, &err), -1);
	assert_non_null(strstr(err.text, why));
	keyring_free(keyring);
	after = read_text(scene->key);
	assert_string_equal(before, after);
	free(before);
	free(after);
}

static void without_the_right_master_key_it_says_so(void **state)
{
	struct scene *scene = *state;
	char *path = mem_printf("%s/other", scene->dir);
	char *text = read_text(scene->key);
	char *digit;

	write_text(path, "01234567890123456789012345678901");
	check_load(scene, NULL, "start tideoverd with --master-key FILE");
	check_load(scene, path, "the one that plan 'acme' was started with");
	/* A wrapped key that was changed is none of ours either. */
	digit = strstr(text, "wrapped") + strlen("wrapped\":\"") + 20;
	*digit = *digit == '0' ? '1' : '0';
	write_text(scene->key, text);
	check_load(scene, scene->master, "does not open");
	write_text(scene->key, "{}");
	check_load(scene, scene->master, "from your backup");
	free(path);
	free(text);
}

static void an_encrypted_plan_without_its_key_is_an_error(void **state)
{
	struct scene *scene = *state;
	char *plan = mem_printf("%s/plan.json", scene->plans);
	char *journal = mem_printf("%s/journal.ndjson", scene->plans);
	struct keyring *keyring = keyring_with(scene->master);
	struct err err = ERR_INIT;

	assert_int_equal(unlink(scene->key), 0);
	write_text(plan, "{\"encrypt\":true}");
	assert_int_equal(keyring_load_all(keyring, scene->dir, &err), 0);
	write_text(journal, "");
	assert_int_equal(keyring_load_all(keyring, scene->dir, &err), -1);
	assert_non_null(strstr(err.text, "data.key is gone: put it back"));
	keyring_free(keyring);
	free(plan);
	free(journal);
}

static void a_shredded_key_opens_and_seals_nothing(void **state)
{
	struct scene *scene = *state;
	struct err err = ERR_INIT;
	struct buf sealed = BUF_INIT;
	struct key_mark mark;
	char *text;

	seal_text(scene, "anna@acme.example", &sealed);
	assert_int_equal(
		keyring_shred(scene->keyring, "acme", scene->key, &err), 0);
	for (int again = 0; again < 2; again++) {
		assert_true(data_key_is_shredded(key_of(scene)));
		assert_false(opens(scene, buf_slice(&sealed)));
		assert_int_equal(data_key_mark(key_of(scene), &mark, &err), -1);
		assert_non_null(strstr(err.text, "was shredded"));
		text = read_text(scene->key);
		assert_null(strstr(text, "wrapped"));
		assert_non_null(strstr(text, "shredded"));
		free(text);
		/* And so after a restart, without any master key. */
		keyring_free(scene->keyring);
		scene->keyring = keyring_new();
		assert_int_equal(
			keyring_load_all(scene->keyring, scene->dir, &err), 0);
	}
	buf_release(&sealed);
}

/* The zeros were synced, the note was not written yet. */
static void a_shredding_that_was_cut_off_is_one(void **state)
{
	struct scene *scene = *state;
	char *text = read_text(scene->key);
	char *from = strstr(text, "wrapped\":\"") + strlen("wrapped\":\"");

	memset(from, '0', strcspn(from, "\""));
	write_text(scene->key, text);
	keyring_free(scene->keyring);
	scene->keyring = keyring_with(scene->master);
	assert_int_equal(keyring_load_all(scene->keyring, scene->dir, NULL), 0);
	assert_true(data_key_is_shredded(key_of(scene)));
	free(text);
}

static void a_message_is_sealed_and_opened_whole(void **state)
{
	struct scene *scene = *state;
	struct slice paths[] = { slice("anna@acme.example"),
				 slice("bert@acme.example") };
	struct slice room[2], back[2];
	struct record_message plain = {
		.id = scene->id,
		.plan = slice("acme"),
		.reverse_path = slice(""),
		.helo = slice("mx.sender.example"),
		.peer = slice("192.0.2.1:4711"),
		.envelope_count = 2,
		.forward_paths = paths,
	};
	struct record_message sealed, opened;
	struct buf text = BUF_INIT, again = BUF_INIT;
	size_t unopened = 0;

	assert_int_equal(sealed_message(scene->keyring, key_of(scene), &plain,
					&text, room, &sealed, NULL),
			 0);
	assert_true(sealed.sealed);
	assert_null(strstr(buf_text(&text), "anna"));
	assert_null(strstr(buf_text(&text), "sender"));
	assert_null(strstr(buf_text(&text), "192"));
	sealed_message_open(scene->keyring, &sealed, &again, back, &opened,
			    &unopened);
	assert_int_equal(unopened, 0);
	assert_true(slice_is(opened.reverse_path, ""));
	assert_true(slice_is(opened.helo, "mx.sender.example"));
	assert_true(slice_is(opened.peer, "192.0.2.1:4711"));
	assert_true(slice_equal(opened.forward_paths[1], paths[1]));
	buf_clear(&again);
	sealed_message_open(NULL, &sealed, &again, back, &opened, &unopened);
	assert_int_equal(unopened, 5);
	assert_true(slice_is(opened.peer, "(sealed)"));
	assert_true(slice_is(opened.forward_paths[0], "(sealed)@acme.example"));
	buf_release(&text);
	buf_release(&again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define SCENE(test) cmocka_unit_test_setup_teardown(test, scene_new, scene_free)
		cmocka_unit_test(the_algorithms_are_those_of_their_standards),
		cmocka_unit_test(base64_takes_one_spelling_of_each_value),
		SCENE(a_text_comes_back_and_shows_its_domain_alone),
		SCENE(a_flipped_bit_or_another_place_does_not_open),
		SCENE(a_body_comes_back_from_any_place_in_any_pieces),
		SCENE(a_body_that_was_changed_does_not_open),
		SCENE(no_nonce_comes_twice),
		SCENE(what_earlier_runs_sealed_opens),
		SCENE(a_master_key_is_32_bytes_and_a_secret),
		SCENE(without_the_right_master_key_it_says_so),
		SCENE(an_encrypted_plan_without_its_key_is_an_error),
		SCENE(a_shredded_key_opens_and_seals_nothing),
		SCENE(a_shredding_that_was_cut_off_is_one),
		SCENE(a_message_is_sealed_and_opened_whole),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
