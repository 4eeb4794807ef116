#include "mail/mta_sts.h"
#include <ctype.h>
#include <stdio.h>
#include <strings.h>

static const char *const modes[] = {
	[MTA_STS_NONE] = "none",
	[MTA_STS_TESTING] = "testing",
	[MTA_STS_ENFORCE] = "enforce",
};

const char *mta_sts_mode_name(enum mta_sts_mode mode)
{
	return modes[mode];
}

/* The TXT record: fields between semicolons. */

static bool is_id(struct slice value)
{
	if (value.len == 0 || value.len >= MTA_STS_ID)
		return false;
	for (size_t i = 0; i < value.len; i++)
		if (!isalnum((unsigned char)value.p[i]) ||
		    (unsigned char)value.p[i] > 127)
			return false;
	return true;
}

int mta_sts_txt_parse(struct slice text, char id[MTA_STS_ID], struct err *err)
{
	struct slice rest = text, version = slice_split(&rest, ';');

	/* Section 3.1: without its delimiter it is no record of ours. */
	if (!slice_is(slice_trim(version), "v=STSv1") ||
	    version.len == text.len || version.p[0] != 'v')
		return 0;
	while (rest.len > 0) {
		struct slice field = slice_trim(slice_split(&rest, ';'));

		if (!slice_starts(field, "id="))
			continue;
		field = slice_from(field, 3);
		if (!is_id(field))
			return err_set(err, "id is not 1 to 32 letters and "
					    "digits");
		memcpy(id, field.p, field.len);
		id[field.len] = '\0';
		return 1;
	}
	return err_set(err, "it has no id");
}

/* The policy: a field on each line. */

struct reading {
	struct mta_sts policy;
	bool version, mode, max_age;
};

static int read_version(struct reading *r, struct slice value, struct err *err)
{
	if (r->version)
		return 0;
	if (!slice_is(value, "STSv1"))
		return err_set(err, "version is not STSv1");
	r->version = true;
	return 0;
}

static int read_mode(struct reading *r, struct slice value, struct err *err)
{
	if (r->mode)
		return 0;
	for (size_t i = 0; i < COUNT(modes); i++) {
		if (!slice_is(value, modes[i]))
			continue;
		r->policy.mode = (enum mta_sts_mode)i;
		r->mode = true;
		return 0;
	}
	return err_set(err, "mode is not enforce, testing or none");
}

static int read_max_age(struct reading *r, struct slice value, struct err *err)
{
	uint64_t seconds;

	if (r->max_age)
		return 0;
	if (value.len > 10 || !slice_u64(value, &seconds) ||
	    seconds > MTA_STS_MAX_AGE_S)
		return err_set(err, "max_age is not 0 to %d seconds",
			       MTA_STS_MAX_AGE_S);
	r->policy.max_age_s = (int64_t)seconds;
	r->max_age = true;
	return 0;
}

static int read_mx(struct reading *r, struct slice value, struct err *err)
{
	struct slice name = value;
	char host[DNS_NAME];

	if (r->policy.mx_count == MTA_STS_MX_MAX)
		return err_set(err, "it lists more than %d mx", MTA_STS_MX_MAX);
	if (slice_starts(name, "*."))
		name = slice_from(name, 2);
	if (name.len == 0 || name.p[name.len - 1] == '.' ||
	    slice_find(name, '*') >= 0 || !dns_name_normal(name, host) ||
	    !*host || strlen(host) + 3 > DNS_NAME)
		return err_set(err, "mx is not a host or *. and a domain");
	snprintf(r->policy.mx[r->policy.mx_count++], DNS_NAME, "%s%.*s",
		 slice_starts(value, "*.") ? "*." : "", DNS_NAME - 3, host);
	return 0;
}

static const struct {
	const char *name;
	int (*read)(struct reading *r, struct slice value, struct err *err);
} fields[] = {
	{ "version", read_version },
	{ "mode", read_mode },
	{ "max_age", read_max_age },
	{ "mx", read_mx },
};

/* Section 3.2: a name of letters, digits, "_", "-" and ".". */
static bool is_name(struct slice name)
{
	if (name.len == 0 || name.len > 32 ||
	    !isalnum((unsigned char)name.p[0]))
		return false;
	for (size_t i = 0; i < name.len; i++)
		if ((unsigned char)name.p[i] > 127 ||
		    (!isalnum((unsigned char)name.p[i]) &&
		     !strchr("_-.", name.p[i])))
			return false;
	return true;
}

static int read_line(struct reading *r, struct slice line, struct err *err)
{
	ptrdiff_t colon = slice_find(line, ':');
	struct slice name, value;

	if (colon < 0)
		return err_set(err, "no colon");
	name = slice_of(line.p, (size_t)colon);
	while (name.len > 0 && strchr(" \t", name.p[name.len - 1]))
		name.len--;
	value = slice_trim(slice_from(line, (size_t)colon + 1));
	if (!is_name(name))
		return err_set(err, "no name of a field before the colon");
	for (size_t i = 0; i < value.len; i++)
		if ((unsigned char)value.p[i] < 32 || value.p[i] == 127)
			return err_set(err, "a control character");
	for (size_t i = 0; i < COUNT(fields); i++)
		if (slice_is(name, fields[i].name))
			return fields[i].read(r, value, err);
	return 0;
}

int mta_sts_policy_parse(struct slice text, struct mta_sts *policy,
			 struct err *err)
{
	struct reading r = { 0 };

	if (text.len > MTA_STS_MAX_BYTES)
		return err_set(err, "the policy is larger than %d bytes",
			       MTA_STS_MAX_BYTES);
	for (size_t number = 1; text.len > 0; number++) {
		struct slice line = slice_split(&text, '\n');

		if (line.len > 0 && line.p[line.len - 1] == '\r')
			line.len--;
		/* Many a file ends with an empty line more. */
		if (line.len == 0 && text.len == 0)
			break;
		if (read_line(&r, line, err) < 0)
			return err_prefix(err, "line %zu", number);
	}
	if (!r.version || !r.mode || !r.max_age)
		return err_set(err, "%s is missing",
			       !r.version ? "version" :
			       !r.mode	  ? "mode" :
					    "max_age");
	if (r.policy.mx_count == 0 && r.policy.mode != MTA_STS_NONE)
		return err_set(err, "it lists no mx");
	*policy = r.policy;
	return 0;
}

bool mta_sts_lists(const struct mta_sts *policy, const char *host)
{
	const char *dot = strchr(host, '.');

	for (size_t i = 0; i < policy->mx_count; i++) {
		const char *mx = policy->mx[i];

		if (strncmp(mx, "*.", 2) == 0 ?
			    dot && dot > host && strcasecmp(dot, mx + 1) == 0 :
			    strcasecmp(host, mx) == 0)
			return true;
	}
	return false;
}
