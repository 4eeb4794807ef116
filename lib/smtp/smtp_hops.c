#include "smtp/smtp_hops.h"

#include "base/id.h"

void smtp_hops_begin(struct smtp_hops *hops, const char *hostname)
{
	*hops = (struct smtp_hops){ .hostname = hostname, .at_start = true };
}

static char low(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void begin_field(struct smtp_hops *hops)
{
	hops->in_field = hops->by_us = false;
	hops->name_len = hops->word_len = hops->depth = 0;
	hops->clause = SMTP_HOPS_OTHER;
}

static void add_name(struct smtp_hops *hops, char c)
{
	static const char want[] = "received:";

	if (hops->name_len > sizeof(hops->name))
		return;
	if (hops->name_len < sizeof(hops->name))
		hops->name[hops->name_len] = low(c);
	hops->name_len++;
	if (hops->name_len == sizeof(want) - 1 &&
	    memcmp(hops->name, want, sizeof(want) - 1) == 0) {
		hops->in_field = true;
		hops->received++;
	}
}

static void end_word(struct smtp_hops *hops)
{
	struct slice word = slice_of(hops->word, hops->word_len);
	struct id id;

	if (word.len == 0)
		return;
	hops->word_len = 0;
	switch (hops->clause) {
	case SMTP_HOPS_BY:
		hops->by_us = word.len < sizeof(hops->word) &&
			      slice_is_nocase(word, hops->hostname);
		break;
	case SMTP_HOPS_ID:
		if (hops->by_us && id_parse(word, &id))
			hops->own++;
		hops->by_us = false;
		break;
	case SMTP_HOPS_OTHER:
		if (slice_is_nocase(word, "by"))
			hops->clause = SMTP_HOPS_BY;
		else if (slice_is_nocase(word, "id"))
			hops->clause = SMTP_HOPS_ID;
		return;
	}
	hops->clause = SMTP_HOPS_OTHER;
}

static void add_value(struct smtp_hops *hops, char c)
{
	bool ends = is_blank(c) || c == ';' || c == '(' || c == ')';

	if (ends && hops->depth == 0)
		end_word(hops);
	if (c == '(')
		hops->depth++;
	else if (c == ')' && hops->depth > 0)
		hops->depth--;
	else if (!ends && hops->depth == 0 &&
		 hops->word_len < sizeof(hops->word))
		hops->word[hops->word_len++] = c;
}

static void add(struct smtp_hops *hops, char c)
{
	if (hops->at_start && (c == '\r' || c == '\n')) {
		hops->over = true;
		return;
	}
	if (hops->at_start && !is_blank(c))
		begin_field(hops);
	hops->at_start = c == '\n';
	if (hops->in_field)
		add_value(hops, c);
	else
		add_name(hops, c);
}

void smtp_hops_add(struct smtp_hops *hops, struct slice bytes)
{
	for (size_t i = 0; i < bytes.len && !hops->over; i++)
		add(hops, bytes.p[i]);
}

bool smtp_hops_are_few(const struct smtp_hops *hops, const char **why)
{
	if (hops->received > SMTP_HOPS_MAX)
		*why = "5.4.6 too many hops, a mail loop";
	else if (hops->own > SMTP_HOPS_OWN_MAX)
		*why = "5.4.6 it was here before, a mail loop";
	else
		return true;
	return false;
}
