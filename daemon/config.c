#include "daemon/config.h"
#include "base/clock.h"
#include "base/file.h"
#include "net/addr.h"
#include "smtp/smtp_path.h"
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>

enum {
	CONFIG_VERSION = 1,
	CONFIG_MAX_BYTES = 64 * 1024
};

#define GIB    ((double)(1 << 30))
#define DAY_MS (24 * 3600 * 1000.0)

enum kind {
	COUNT_OF, /* unsigned; 0: no limit */
	BYTES,	  /* uint64_t; 0: no limit */
	TIME	  /* int64_t, milliseconds; 0: no limit, where it may be */
};

#define LIMIT(key, kind, member, least, most, preset)                    \
	{                                                                \
		key, kind, offsetof(struct config, member), least, most, \
			preset                                           \
	}

static const struct limit {
	const char *key;
	enum kind kind;
	size_t offset;
	double least, most, preset;
} limits[] = {
	LIMIT("queue_in_memory", COUNT_OF, queue_in_memory, 10, 100000000,
	      50000),
	LIMIT("sessions", COUNT_OF, network.sessions, 1, 1000000, 15000),
	LIMIT("sessions_per_network", COUNT_OF, network.sessions_per_network, 0,
	      1000000, 2000),
	LIMIT("connects_per_minute", COUNT_OF, network.connects_per_minute, 0,
	      10000000, 3000),
	/* RFC 5321, 4.5.3.2.6: a peer waits ten minutes for its 250; some wait
	 * one, and send it again. */
	LIMIT("overload", TIME, overload_ms, 0, DAY_MS, 10000),
	/* RFC 5321, 4.5.3.1.8: at least 100. */
	LIMIT("recipients_per_message", COUNT_OF, session.max_recipients, 100,
	      10000, 100),
	LIMIT("messages_per_session", COUNT_OF, session.max_messages, 0,
	      100000000, 100000),
	LIMIT("bytes_per_session", BYTES, session.max_bytes, 0, 1e15,
	      100 * GIB),
	LIMIT("errors_per_session", COUNT_OF, session.max_errors, 1, 1000000,
	      20),
	LIMIT("junk_per_session", COUNT_OF, session.max_junk, 1, 1000000, 100),
	/* RFC 5321, 4.5.3.2.7. */
	LIMIT("command", TIME, session.command_ms, 1000, DAY_MS, 300000),
	LIMIT("data_pause", TIME, session.data_ms, 1000, DAY_MS, 180000),
	LIMIT("message", TIME, session.data_total_ms, 1000, DAY_MS, 3600000),
};

static void put(struct config *config, const struct limit *limit, double value)
{
	void *into = (char *)config + limit->offset;

	if (limit->kind == COUNT_OF)
		*(unsigned *)into = (unsigned)value;
	else if (limit->kind == BYTES)
		*(uint64_t *)into = (uint64_t)value;
	else
		*(int64_t *)into = (int64_t)value;
}

void config_default(struct config *config)
{
	memset(config, 0, sizeof(*config));
	for (size_t i = 0; i < COUNT(limits); i++)
		put(config, &limits[i], limits[i].preset);
}

static int wrong(const struct json *value, const char *key, struct err *err,
		 const char *what)
{
	return err_set(err, "line %d: %s: %s", json_line(value), key, what);
}

static int read_limit(struct config *config, const struct limit *limit,
		      const struct json *value, struct err *err)
{
	double number = json_number(value);
	int64_t ms;

	if (limit->kind == TIME) {
		if (json_type(value) != JSON_STRING ||
		    clock_parse_duration(slice(json_text(value)), &ms, NULL) <
			    0)
			return wrong(value, limit->key, err,
				     "must be a duration such as \"60s\" or "
				     "\"5m\"");
		number = (double)ms;
	} else if (json_type(value) != JSON_NUMBER || number != floor(number)) {
		return wrong(value, limit->key, err, "must be a whole number");
	}
	if (number < limit->least || number > limit->most)
		return err_set(err, "line %d: %s: must be from %.0f to %.0f%s",
			       json_line(value), limit->key, limit->least,
			       limit->most,
			       limit->kind == TIME ? " milliseconds" : "");
	put(config, limit, number);
	return 0;
}

static int read_limits(struct config *config, const struct json *value,
		       struct err *err)
{
	if (json_type(value) != JSON_OBJECT)
		return wrong(value, "limits", err, "must be an object");
	for (const struct json *one = json_first(value); one;
	     one = json_next(one)) {
		const struct limit *limit = NULL;

		for (size_t i = 0; i < COUNT(limits) && !limit; i++)
			if (strcmp(limits[i].key, json_key(one)) == 0)
				limit = &limits[i];
		if (!limit)
			return err_set(err, "line %d: limits.%s: unknown key",
				       json_line(one), json_key(one));
		if (read_limit(config, limit, one, err) < 0)
			return -1;
	}
	return 0;
}

static int read_version(struct config *config, const struct json *value,
			struct err *err)
{
	if (json_type(value) == JSON_NUMBER &&
	    json_number(value) == CONFIG_VERSION)
		return 0;
	return wrong(value, "tideoverd", err, "must be 1");
}

static int read_state(struct config *config, const struct json *value,
		      struct err *err)
{
	const char *text = json_text(value);

	if (!text || text[0] != '/')
		return wrong(value, "state", err, "must be an absolute path");
	mem_replace(&config->state, text);
	return 0;
}

static int read_postmaster(struct config *config, const struct json *value,
			   struct err *err)
{
	const char *text = json_text(value);
	struct smtp_mailbox mailbox;

	if (!text || smtp_mailbox_parse(slice(text), &mailbox, NULL) < 0)
		return wrong(value, "postmaster", err,
			     "must be an address in a domain of a plan");
	mem_replace(&config->postmaster, text);
	return 0;
}

static int read_metrics(struct config *config, const struct json *value,
			struct err *err)
{
	const char *text = json_text(value);
	struct addr addr;

	if (!text || addr_parse(slice(text), 0, &addr, NULL) < 0 ||
	    !addr_is_loopback(&addr))
		return wrong(value, "metrics", err,
			     "must be a loopback address and a port such as "
			     "\"127.0.0.1:9125\"");
	mem_replace(&config->metrics, text);
	return 0;
}

static int read_tls_minimum(struct config *config, const struct json *value,
			    struct err *err)
{
	const char *text = json_text(value);

	if (text && strcmp(text, "1.2") == 0)
		config->tls_floor = TLS_FLOOR_1_2;
	else if (text && strcmp(text, "1.0") == 0)
		config->tls_floor = TLS_FLOOR_1_0;
	else
		return wrong(value, "tls_minimum", err,
			     "must be \"1.2\" or \"1.0\"");
	return 0;
}

static const struct key {
	const char *name;
	int (*read)(struct config *config, const struct json *value,
		    struct err *err);
} keys[] = {
	{ "tideoverd", read_version },	   { "state", read_state },
	{ "postmaster", read_postmaster }, { "tls_minimum", read_tls_minimum },
	{ "metrics", read_metrics },	   { "limits", read_limits },
};

static int read_all(struct config *config, const struct json *root,
		    struct err *err)
{
	if (json_type(root) != JSON_OBJECT)
		return wrong(root, "the file", err, "must hold an object");
	if (!json_get(root, "tideoverd"))
		return err_set(err, "tideoverd: is missing: its version is %d",
			       CONFIG_VERSION);
	for (const struct json *one = json_first(root); one;
	     one = json_next(one)) {
		const struct key *key = NULL;

		for (size_t i = 0; i < COUNT(keys) && !key; i++)
			if (strcmp(keys[i].name, json_key(one)) == 0)
				key = &keys[i];
		if (!key && strcmp(json_key(one), "$comment") != 0)
			return err_set(err, "line %d: %s: unknown key",
				       json_line(one), json_key(one));
		if (key && key->read(config, one, err) < 0)
			return -1;
	}
	return 0;
}

int config_read(const char *path, struct config *config, struct err *err)
{
	struct buf text = BUF_INIT;
	struct json *root = NULL;
	int result = -1;

	if (file_read(path, CONFIG_MAX_BYTES, &text, err) < 0)
		goto out;
	root = json_parse(buf_slice(&text), err);
	if (root)
		result = read_all(config, root, err);
	if (result < 0)
		err_prefix(err, "%s", path);
out:
	json_free(root);
	buf_release(&text);
	return result;
}

void config_release(struct config *config)
{
	free(config->state);
	free(config->metrics);
	free(config->postmaster);
	free(config->master_key);
}

/* As config_read() takes it. */
static void put_time(struct json *json, const char *key, int64_t ms)
{
	char *text = ms % 1000 ? mem_printf("%" PRId64 "ms", ms) :
				 mem_printf("%" PRId64 "s", ms / 1000);

	json_put_text(json, key, text);
	free(text);
}

struct json *config_limits_json(const struct config *config)
{
	struct json *json = json_object();

	for (size_t i = 0; i < COUNT(limits); i++) {
		const struct limit *limit = &limits[i];
		const void *from = (const char *)config + limit->offset;

		if (limit->kind == COUNT_OF)
			json_put_number(json, limit->key,
					*(const unsigned *)from);
		else if (limit->kind == BYTES)
			json_put_number(json, limit->key,
					(double)*(const uint64_t *)from);
		else
			put_time(json, limit->key, *(const int64_t *)from);
	}
	return json;
}
