#include "mail/spf_record.h"

#define VERSION "v=spf1"

enum needs {
	NO_DOMAIN,
	MAY_HAVE,
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
	{ "a", SPF_A, MAY_HAVE, true },
	{ "mx", SPF_MX, MAY_HAVE, true },
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

static bool is_name_char(char c, bool first)
{
	bool alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

	return alpha || (!first && ((c >= '0' && c <= '9') || c == '-' ||
				    c == '_' || c == '.'));
}

static size_t name_length(struct slice term)
{
	size_t n = 0;

	while (n < term.len && is_name_char(term.p[n], n == 0))
		n++;
	return n;
}

/* "/24", "//64", "/24//64" behind a, mx: RFC 7208 section 5.6. */
static struct slice cut_prefix(struct slice rest)
{
	ptrdiff_t slash = slice_find(rest, '/');

	return slash < 0 ? rest : slice_of(rest.p, (size_t)slash);
}

static bool digits_only(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if ((text.p[i] < '0' || text.p[i] > '9') && text.p[i] != '/')
			return false;
	return true;
}

static int bad_term(struct slice term, struct err *err)
{
	return err_set(err, "'%.*s' is no term of SPF (RFC 7208 section 4.6)",
		       (int)(term.len < 60 ? term.len : 60), term.p);
}

static int take_mechanism(const struct mechanism *mechanism, struct slice term,
			  struct slice rest, struct spf_term *out,
			  struct err *err)
{
	bool has = rest.len > 0 && rest.p[0] == ':';
	struct slice value = has ? slice_from(rest, 1) : rest;
	struct slice domain = value;

	if (mechanism->needs == NO_DOMAIN && rest.len > 0)
		return bad_term(term, err);
	if ((mechanism->needs == MUST_HAVE || mechanism->needs == ADDRESS) &&
	    (!has || value.len == 0))
		return bad_term(term, err);
	if (mechanism->needs == MAY_HAVE) {
		domain = cut_prefix(value);
		if ((has && domain.len == 0) || (!has && domain.len > 0) ||
		    !digits_only(slice_from(value, domain.len)))
			return bad_term(term, err);
	}
	out->kind = mechanism->kind;
	out->looks_up = mechanism->looks_up;
	out->domain = mechanism->needs == ADDRESS ? slice_of("", 0) : domain;
	return 0;
}

static int take_modifier(struct slice name, struct slice value,
			 struct spf_term *out)
{
	out->domain = value;
	out->qualifier = 0;
	if (slice_is_nocase(name, "redirect")) {
		out->kind = SPF_REDIRECT;
		out->looks_up = true;
	} else {
		out->kind = slice_is_nocase(name, "exp") ? SPF_EXP : SPF_OTHER;
	}
	return 0;
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
		return take_modifier(name, slice_from(rest, 1), out);
	for (size_t i = 0; i < COUNT(mechanisms); i++)
		if (slice_is_nocase(name, mechanisms[i].name))
			return take_mechanism(&mechanisms[i], term, rest, out,
					      err);
	return bad_term(term, err);
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
		term->macro = slice_find(term->domain, '%') >= 0;
		record->has_all |= term->kind == SPF_ALL;
		record->count++;
	}
	return 0;
}
