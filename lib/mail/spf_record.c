#include "mail/spf_record.h"
#include <arpa/inet.h>

#define VERSION "v=spf1"

enum needs {
	NO_DOMAIN,
	MAY_HAVE,
	MAY_HAVE_PREFIX,
	MUST_HAVE,
	ADDRESS
};

static const struct mechanism {
	const char *name;
	enum spf_kind kind;
	enum needs needs;
	bool looks_up;
} mechanisms[] = {
	{ "all", SPF_ALL, NO_DOMAIN, false },
	{ "include", SPF_INCLUDE, MUST_HAVE, true },
	{ "a", SPF_A, MAY_HAVE_PREFIX, true },
	{ "mx", SPF_MX, MAY_HAVE_PREFIX, true },
	{ "ptr", SPF_PTR, MAY_HAVE, true },
	{ "ip4", SPF_IP4, ADDRESS, false },
	{ "ip6", SPF_IP6, ADDRESS, false },
	{ "exists", SPF_EXISTS, MUST_HAVE, true },
};

bool spf_is_record(struct slice text)
{
	size_t len = sizeof(VERSION) - 1;

	return text.len >= len &&
	       slice_is_nocase(slice_of(text.p, len), VERSION) &&
	       (text.len == len || text.p[len] == ' ');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_name_char(char c, bool first)
{
	return is_alpha(c) ||
	       (!first && (is_digit(c) || c == '-' || c == '_' || c == '.'));
}

static size_t name_length(struct slice term)
{
	size_t n = 0;

	while (n < term.len && is_name_char(term.p[n], n == 0))
		n++;
	return n;
}

/*
 * The grammar of RFC 7208 section 12, from the bottom up.
 */

/* A number without leading zeros, up to `max`. */
static bool is_number(struct slice text, uint64_t max)
{
	uint64_t value;

	return text.len > 0 && (text.len == 1 || text.p[0] != '0') &&
	       slice_u64(text, &value) && value <= max;
}

/* macro-expand: "%%", "%_", "%-", "%{d2r.-}"; its length, or 0. */
static size_t macro_length(struct slice text)
{
	size_t n = 3, digits = 0;
	bool zero = true;

	if (text.len < 2)
		return 0;
	if (memchr("%_-", text.p[1], 3))
		return 2;
	/* c, r and t are for the text that exp= leads to. */
	if (text.len < 4 || text.p[1] != '{' ||
	    !memchr("slodiphvSLODIPHV", text.p[2], 16))
		return 0;
	for (; n < text.len && is_digit(text.p[n]); n++, digits++)
		zero &= text.p[n] == '0';
	if (digits > 0 && zero)
		return 0;
	if (n < text.len && (text.p[n] == 'r' || text.p[n] == 'R'))
		n++;
	while (n < text.len && memchr(".-+,/_=", text.p[n], 7))
		n++;
	return n < text.len && text.p[n] == '}' ? n + 1 : 0;
}

/* macro-string; `ends` where its last macro ends, 0 if it has none. */
static bool is_macro_string(struct slice text, size_t *ends)
{
	size_t at = 0;

	*ends = 0;
	while (at < text.len) {
		size_t macro;

		if (text.p[at] != '%') {
			if (text.p[at] < 0x21 || text.p[at] > 0x7e)
				return false;
			at++;
			continue;
		}
		macro = macro_length(slice_from(text, at));
		if (macro == 0)
			return false;
		at += macro;
		*ends = at;
	}
	return true;
}

static bool is_toplabel(struct slice label)
{
	bool name = false;

	if (label.len == 0 || label.p[0] == '-' ||
	    label.p[label.len - 1] == '-')
		return false;
	for (size_t i = 0; i < label.len; i++) {
		char c = label.p[i];

		if (!is_alpha(c) && !is_digit(c) && c != '-')
			return false;
		name |= !is_digit(c);
	}
	return name;
}

/* domain-spec: ends in a macro, or in a label that can be a top level. */
static bool is_domain_spec(struct slice text)
{
	ptrdiff_t dot;
	size_t ends;

	if (text.len == 0 || !is_macro_string(text, &ends))
		return false;
	if (ends == text.len)
		return true;
	if (text.p[text.len - 1] == '.')
		text.len--;
	dot = slice_rfind(text, '.');
	return dot >= 0 && (size_t)dot >= ends &&
	       is_toplabel(slice_from(text, (size_t)dot + 1));
}

/* Takes "/24" or, with two slashes, "//64" off the end, if it is there. */
static bool cut_prefix(struct slice *text, size_t slashes, uint64_t max)
{
	size_t digits = 0;
	struct slice number;

	while (digits < text->len && is_digit(text->p[text->len - digits - 1]))
		digits++;
	if (digits == 0 || text->len < digits + slashes)
		return true;
	number = slice_from(*text, text->len - digits);
	if (number.p[-1] != '/' || (slashes == 2 && number.p[-2] != '/'))
		return true;
	text->len -= digits + slashes;
	return is_number(number, max);
}

/* An address with its prefix length. */
static bool is_network(struct slice text, int family, uint64_t max)
{
	ptrdiff_t slash = slice_find(text, '/');
	unsigned char raw[16];
	char address[INET6_ADDRSTRLEN];
	struct slice ip = slash < 0 ? text : slice_of(text.p, (size_t)slash);

	if (ip.len >= sizeof(address) ||
	    (slash >= 0 &&
	     !is_number(slice_from(text, (size_t)slash + 1), max)))
		return false;
	memcpy(address, ip.p, ip.len);
	address[ip.len] = '\0';
	return inet_pton(family, address, raw) == 1;
}

static int bad_term(struct slice term, struct err *err)
{
	return err_set(err, "'%.*s' is no term of SPF (RFC 7208 section 4.6)",
		       (int)(term.len < 60 ? term.len : 60), term.p);
}

/* What follows a mechanism's name; its domain-spec goes to `domain`. */
static bool take_value(const struct mechanism *mechanism, struct slice rest,
		       struct slice *domain)
{
	bool has = rest.len > 0 && rest.p[0] == ':';
	struct slice value = has ? slice_from(rest, 1) : rest;

	switch (mechanism->needs) {
	case NO_DOMAIN:
		return rest.len == 0;
	case ADDRESS:
		return has && (mechanism->kind == SPF_IP4 ?
				       is_network(value, AF_INET, 32) :
				       is_network(value, AF_INET6, 128));
	case MAY_HAVE_PREFIX:
		if (!cut_prefix(&value, 2, 128) || !cut_prefix(&value, 1, 32))
			return false;
		break;
	case MAY_HAVE:
	case MUST_HAVE:
		break;
	}
	*domain = value;
	if (!has)
		return value.len == 0 && mechanism->needs != MUST_HAVE;
	return is_domain_spec(value);
}

static int take_mechanism(const struct mechanism *mechanism, struct slice term,
			  struct slice rest, struct spf_term *out,
			  struct err *err)
{
	out->kind = mechanism->kind;
	out->looks_up = mechanism->looks_up;
	out->domain = slice_of("", 0);
	return take_value(mechanism, rest, &out->domain) ? 0 :
							   bad_term(term, err);
}

static int take_modifier(struct slice term, struct slice name,
			 struct slice value, struct spf_term *out,
			 struct err *err)
{
	size_t ends;

	out->domain = value;
	out->qualifier = 0;
	out->kind = slice_is_nocase(name, "redirect") ? SPF_REDIRECT :
		    slice_is_nocase(name, "exp")      ? SPF_EXP :
							SPF_OTHER;
	out->looks_up = out->kind == SPF_REDIRECT;
	if (out->kind == SPF_OTHER ? is_macro_string(value, &ends) :
				     is_domain_spec(value))
		return 0;
	return bad_term(term, err);
}

static int take_term(struct slice term, struct spf_term *out, struct err *err)
{
	struct slice body = term, name, rest;

	*out = (struct spf_term){ .qualifier = '+' };
	if (memchr("+-~?", body.p[0], 4)) {
		out->qualifier = body.p[0];
		body = slice_from(body, 1);
	}
	name = slice_of(body.p, name_length(body));
	rest = slice_from(body, name.len);
	if (name.len == 0)
		return bad_term(term, err);
	if (rest.len > 0 && rest.p[0] == '=' && body.p == term.p)
		return take_modifier(term, name, slice_from(rest, 1), out, err);
	for (size_t i = 0; i < COUNT(mechanisms); i++)
		if (slice_is_nocase(name, mechanisms[i].name))
			return take_mechanism(&mechanisms[i], term, rest, out,
					      err);
	return bad_term(term, err);
}

/* redirect= and exp= may stand there once. */
static bool is_again(const struct spf_record *record, enum spf_kind kind)
{
	for (size_t i = 0; i < record->count; i++)
		if (record->terms[i].kind == kind)
			return kind == SPF_REDIRECT || kind == SPF_EXP;
	return false;
}

int spf_record_parse(struct slice text, struct spf_record *record,
		     struct err *err)
{
	struct slice rest;

	memset(record, 0, sizeof(*record));
	if (!spf_is_record(text))
		return err_set(err, "it does not begin with v=spf1");
	rest = slice_from(text, sizeof(VERSION) - 1);
	while (rest.len > 0) {
		struct spf_term *term = &record->terms[record->count];
		ptrdiff_t space;
		struct slice word;

		if (rest.p[0] == ' ') {
			rest = slice_from(rest, 1);
			continue;
		}
		space = slice_find(rest, ' ');
		word = space < 0 ? rest : slice_of(rest.p, (size_t)space);
		rest = slice_from(rest, word.len);
		if (record->count == SPF_TERMS_MAX)
			return err_set(err, "it has more than %d terms",
				       SPF_TERMS_MAX);
		if (take_term(word, term, err) < 0)
			return -1;
		if (is_again(record, term->kind))
			return err_set(err, "it has redirect= or exp= twice "
					    "(RFC 7208 section 6)");
		term->macro = slice_find(term->domain, '%') >= 0;
		record->has_all |= term->kind == SPF_ALL;
		record->count++;
	}
	return 0;
}
