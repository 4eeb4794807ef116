#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "daemon/config.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* docs/tideoverd.json tells every default. */
static void the_example_is_the_default(void **state)
{
	struct config preset, read;
	struct buf text = BUF_INIT, want = BUF_INIT, is = BUF_INIT;
	struct json *root, *limits;
	struct err err = ERR_INIT;

	config_default(&preset);
	memset(&read, 0, sizeof(read));
	assert_int_equal(config_read("docs/tideoverd.json", &read, &err), 0);
	assert_memory_equal(&read.network, &preset.network,
			    sizeof(read.network));
	assert_memory_equal(&read.session, &preset.session,
			    sizeof(read.session));
	assert_int_equal(read.tls_floor, preset.tls_floor);
	assert_string_equal(read.state, "/var/lib/tideover");
	assert_string_equal(read.postmaster, "postmaster@acme.example");
	assert_string_equal(read.metrics, "127.0.0.1:9125");
	assert_int_equal(read.session.command_ms, 300000);
	assert_int_equal(file_read("docs/tideoverd.json", 65536, &text, &err),
			 0);
	root = json_parse(buf_slice(&text), &err);
	json_print(json_get(root, "limits"), &want);
	limits = config_limits_json(&preset);
	json_print(limits, &is);
	assert_string_equal(buf_text(&is), buf_text(&want));
	json_free(limits);
	json_free(root);
	buf_release(&text);
	buf_release(&want);
	buf_release(&is);
	config_release(&read);
	config_release(&preset);
}

static const struct {
	const char *text, *error;
} bad[] = {
	{ "", "not valid JSON" },
	{ "[]", "line 1: the file: must hold an object" },
	{ "{}", "tideoverd: is missing" },
	{ "{\"tideoverd\": 2}", "line 1: tideoverd: must be 1" },
	{ "{\"tideoverd\": 1,\n\"stat\": \"/x\"}",
	  "line 2: stat: unknown key" },
	{ "{\"tideoverd\": 1, \"state\": \"x\"}",
	  "line 1: state: must be an absolute path" },
	{ "{\"tideoverd\": 1, \"postmaster\": \"x\"}",
	  "line 1: postmaster: must be an address" },
	{ "{\"tideoverd\": 1, \"tls_minimum\": \"1.1\"}",
	  "line 1: tls_minimum: must be \"1.2\" or \"1.0\"" },
	{ "{\"tideoverd\": 1, \"metrics\": \"192.0.2.1:9125\"}",
	  "line 1: metrics: must be a loopback address" },
	{ "{\"tideoverd\": 1, \"metrics\": \"127.0.0.1\"}",
	  "line 1: metrics: must be a loopback address" },
	{ "{\"tideoverd\": 1, \"limits\": 5}",
	  "line 1: limits: must be an object" },
	{ "{\"tideoverd\": 1, \"limits\": {\n\"session\": 5}}",
	  "line 2: limits.session: unknown key" },
	{ "{\"tideoverd\": 1, \"limits\": {\"sessions\": \"5\"}}",
	  "line 1: sessions: must be a whole number" },
	{ "{\"tideoverd\": 1, \"limits\": {\"sessions\": 1.5}}",
	  "line 1: sessions: must be a whole number" },
	{ "{\"tideoverd\": 1, \"limits\": {\"sessions\": -1}}",
	  "line 1: sessions: must be" },
	{ "{\"tideoverd\": 1, \"limits\": {\"recipients_per_message\": 99}}",
	  "line 1: recipients_per_message: must be from 100 to 10000" },
	{ "{\"tideoverd\": 1, \"limits\": {\"command\": 300}}",
	  "line 1: command: must be a duration" },
	{ "{\"tideoverd\": 1, \"limits\": {\"command\": \"1ms\"}}",
	  "line 1: command: must be from 1000" },
};

static void a_wrong_file_is_told_by_line(void **state)
{
	char path[] = "/tmp/tideover-config-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct config config;
		struct err err = ERR_INIT;

		config_default(&config);
		assert_int_equal(
			file_write(path, slice(bad[i].text), 0600, &err), 0);
		assert_int_equal(config_read(path, &config, &err), -1);
		if (!strstr(err.text, bad[i].error))
			fail_msg("'%s' says '%s', not '%s'", bad[i].text,
				 err.text, bad[i].error);
		assert_non_null(strstr(err.text, path));
		config_release(&config);
	}
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_is_the_default),
		cmocka_unit_test(a_wrong_file_is_told_by_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
