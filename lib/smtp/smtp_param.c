#include "smtp/smtp_param.h"

/* Shown in an error: never more than this of what the peer sent. */
#define SHOWN 40

static enum smtp_param_verdict unknown(struct slice keyword, struct err *err)
{
	int len = keyword.len < SHOWN ? (int)keyword.len : SHOWN;

	err_set(err, "parameter %.*s is not supported", len, keyword.p);
	return SMTP_PARAM_UNKNOWN;
}

static enum smtp_param_verdict invalid(struct err *err, const char *why)
{
	err_set(err, "%s", why);
	return SMTP_PARAM_INVALID;
}

/* Takes "KEYWORD[=value]" off *in; false when none is left. */
static bool next(struct slice *in, struct slice *keyword, struct slice *value)
{
	struct slice word;

	*in = slice_trim(*in);
	if (in->len == 0)
		return false;
	word = slice_split(in, ' ');
	value->p = memchr(word.p, '=', word.len);
	*keyword = slice_split(&word, '=');
	/* A missing value is not an empty one: "SMTPUTF8=" is wrong. */
	*value = value->p ? word : (struct slice){ 0 };
	return true;
}

static bool read_size(struct slice value, uint64_t *size)
{
	/* RFC 1870, section 3: at most 20 digits. */
	return value.p && value.len <= 20 && slice_u64(value, size);
}

static bool read_body(struct slice value, enum smtp_body *body)
{
	if (slice_is_nocase(value, "8BITMIME"))
		*body = SMTP_BODY_8BITMIME;
	else if (slice_is_nocase(value, "7BIT"))
		*body = SMTP_BODY_7BIT;
	else
		return false;
	return true;
}

enum smtp_param_verdict smtp_param_mail(struct slice in, bool take_utf8,
					struct smtp_params *params,
					struct err *err)
{
	struct smtp_params parsed = { 0 };
	bool has_size = false, has_body = false;
	struct slice keyword, value;

	while (next(&in, &keyword, &value)) {
		if (slice_is_nocase(keyword, "SIZE")) {
			if (has_size || !read_size(value, &parsed.size))
				return invalid(err, "SIZE is malformed");
			has_size = true;
		} else if (slice_is_nocase(keyword, "BODY")) {
			if (has_body || !read_body(value, &parsed.body))
				return invalid(
					err,
					"BODY is neither 7BIT nor 8BITMIME");
			has_body = true;
		} else if (slice_is_nocase(keyword, "SMTPUTF8") && take_utf8) {
			if (parsed.utf8 || value.p)
				return invalid(err, "SMTPUTF8 is malformed");
			parsed.utf8 = true;
		} else {
			return unknown(keyword, err);
		}
	}
	*params = parsed;
	return SMTP_PARAM_OK;
}

enum smtp_param_verdict smtp_param_rcpt(struct slice in, struct err *err)
{
	struct slice keyword, value;

	if (next(&in, &keyword, &value))
		return unknown(keyword, err);
	return SMTP_PARAM_OK;
}
