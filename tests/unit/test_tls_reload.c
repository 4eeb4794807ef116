#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "net/tls.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The file of a certificate is looked at every few seconds: what is wrong with
 * it is said once, not each time. */

static void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void test_a_bad_pair_is_told_once(void **state)
{
	char dir[] = "/tmp/tideover-tls-XXXXXX";
	char *cert, *key, *remove;
	struct tls_server *server;
	struct err err = ERR_INIT;

	assert_non_null(mkdtemp(dir));
	cert = mem_printf("%s/cert.pem", dir);
	key = mem_printf("%s/key.pem", dir);
	remove = mem_printf("rm -rf %s", dir);
	assert_int_equal(tls_selfsigned_write("hold.example", cert, key, &err),
			 0);
	server = tls_server_new(cert, key, TLS_FLOOR_1_2, &err);
	assert_non_null(server);
	assert_int_equal(tls_server_reload(server, false, &err), 0);
	assert_int_equal(tls_server_reload(server, true, &err), 1);

	write_text(cert, "-----BEGIN CERTIFICATE-----\n");
	assert_int_equal(tls_server_reload(server, false, &err), -1);
	assert_int_equal(tls_server_reload(server, false, &err), 0);
	assert_int_equal(tls_server_reload(server, true, &err), -1);

	/* Whole again, and the key not yet of this one. */
	assert_int_equal(unlink(cert), 0);
	assert_int_equal(tls_server_reload(server, false, &err), -1);
	assert_int_equal(unlink(key), 0);
	assert_int_equal(tls_selfsigned_write("hold.example", cert, key, &err),
			 0);
	assert_int_equal(tls_server_reload(server, false, &err), 1);
	assert_int_equal(tls_server_reload(server, false, &err), 0);
	tls_server_free(server);
	assert_int_equal(system(remove), 0);
	free(cert);
	free(key);
	free(remove);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_bad_pair_is_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
