#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/encode.h"
#include "net/tls.h"
#include "net/tls_chain.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct folder {
	char path[64], certificate[80], key[80];
};

static int make_folder(void **state)
{
	struct folder *folder = mem_alloc(sizeof(*folder));

	strcpy(folder->path, "/tmp/tideover-chain-XXXXXX");
	assert_non_null(mkdtemp(folder->path));
	snprintf(folder->certificate, sizeof(folder->certificate), "%s/c.pem",
		 folder->path);
	snprintf(folder->key, sizeof(folder->key), "%s/k.pem", folder->path);
	assert_int_equal(tls_selfsigned_write("hold.example",
					      folder->certificate, folder->key,
					      NULL),
			 0);
	*state = folder;
	return 0;
}

static int drop_folder(void **state)
{
	struct folder *folder = *state;

	unlink(folder->certificate);
	unlink(folder->key);
	rmdir(folder->path);
	free(folder);
	return 0;
}

/* The same by openssl(1), which is the judge. */
static void by_command(const struct folder *folder, const char *how,
		       struct buf *raw)
{
	char *command = mem_printf(
		"openssl x509 -in %s %s 2>/dev/null | openssl dgst -sha256 -r",
		folder->certificate, how);
	FILE *out = popen(command, "r");
	char line[200] = "";

	free(command);
	assert_non_null(out);
	assert_non_null(fgets(line, sizeof(line), out));
	pclose(out);
	assert_true(decode_hex(slice_of(line, 64), raw));
}

static void hashes_are_those_that_openssl_gives(void **state)
{
	struct folder *folder = *state;
	struct buf whole = BUF_INIT, key = BUF_INIT;
	struct tls_chain chain;

	assert_int_equal(tls_chain_read(folder->certificate, &chain, NULL), 0);
	assert_int_equal(chain.count, 1);
	assert_true(chain.self_signed);
	assert_string_equal(chain.issuer, "hold.example");
	by_command(folder, "-outform DER", &whole);
	by_command(folder, "-noout -pubkey | openssl pkey -pubin -outform DER",
		   &key);
	assert_true(tls_chain_matches(&chain, 3, 0, 1, buf_slice(&whole)));
	assert_true(tls_chain_matches(&chain, 3, 1, 1, buf_slice(&key)));
	assert_true(tls_chain_matches(&chain, 2, 1, 1, buf_slice(&key)));
	/* The other half, kind of hash, or a usage that SMTP ignores. */
	assert_false(tls_chain_matches(&chain, 3, 1, 1, buf_slice(&whole)));
	assert_false(tls_chain_matches(&chain, 3, 1, 2, buf_slice(&key)));
	assert_false(tls_chain_matches(&chain, 1, 1, 1, buf_slice(&key)));
	assert_false(tls_chain_matches(&chain, 3, 2, 1, buf_slice(&key)));
	assert_false(tls_chain_matches(&chain, 3, 1, 1, slice("")));
	buf_release(&whole);
	buf_release(&key);
}

static void a_key_may_stand_in_a_record_itself(void **state)
{
	struct folder *folder = *state;
	struct tls_chain chain;
	char *command = mem_printf("openssl x509 -in %s -outform DER",
				   folder->certificate);
	FILE *out = popen(command, "r");
	char bytes[4096];
	size_t n = fread(bytes, 1, sizeof(bytes), out);

	pclose(out);
	free(command);
	assert_int_equal(tls_chain_read(folder->certificate, &chain, NULL), 0);
	assert_true(tls_chain_matches(&chain, 3, 0, 0, slice_of(bytes, n)));
	bytes[n / 2] ^= 1;
	assert_false(tls_chain_matches(&chain, 3, 0, 0, slice_of(bytes, n)));
}

static void what_is_no_certificate_is_told(void **state)
{
	struct folder *folder = *state;
	struct err err = ERR_INIT;
	struct tls_chain chain = { .count = 7 };

	assert_int_equal(tls_chain_read(folder->key, &chain, &err), -1);
	assert_non_null(strstr(err.text, "no certificate"));
	assert_int_equal(chain.count, 7);
	assert_int_equal(tls_chain_read("/nowhere.pem", &chain, NULL), -1);
	chain.count = 0;
	assert_false(tls_chain_matches(&chain, 3, 1, 1, slice("")));
}

static const struct {
	const char *host;
	bool trusts; /* the file itself */
	bool trusted;
	const char *verdict;
} judged[] = {
	{ "hold.example", true, true, "ok" },
	{ "other.example", true, false, "mismatch" },
	{ "hold.example", false, false, "self" },
};

static void a_file_is_judged_as_a_client_would(void **state)
{
	const struct folder *folder = *state;

	for (size_t i = 0; i < COUNT(judged); i++) {
		struct tls_info info;
		struct err err = ERR_INIT;

		if (tls_chain_judge(folder->certificate, judged[i].host,
				    judged[i].trusts ? folder->certificate :
						       NULL,
				    &info, &err) < 0)
			fail_msg("%s", err.text);
		assert_true(info.active);
		assert_true(info.not_after_ms > 0);
		assert_int_equal(info.trusted, judged[i].trusted);
		if (!strcasestr(info.verdict, judged[i].verdict))
			fail_msg("case %zu: %s", i, info.verdict);
	}
}

static void a_file_without_a_certificate_is_not_judged(void **state)
{
	const struct folder *folder = *state;
	struct tls_info info;
	struct err err = ERR_INIT;

	assert_int_equal(tls_chain_judge(folder->key, "hold.example", NULL,
					 &info, &err),
			 -1);
	assert_non_null(strstr(err.text, "no certificate in PEM"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			hashes_are_those_that_openssl_gives, make_folder,
			drop_folder),
		cmocka_unit_test_setup_teardown(
			a_key_may_stand_in_a_record_itself, make_folder,
			drop_folder),
		cmocka_unit_test_setup_teardown(
			a_file_is_judged_as_a_client_would, make_folder,
			drop_folder),
		cmocka_unit_test_setup_teardown(
			a_file_without_a_certificate_is_not_judged, make_folder,
			drop_folder),
		cmocka_unit_test_setup_teardown(what_is_no_certificate_is_told,
						make_folder, drop_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
