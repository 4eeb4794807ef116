#include "mail/tag_list.h"

struct slice tag_list_get(struct slice text, const char *tag)
{
	while (text.len > 0) {
		struct slice value = slice_split(&text, ';');
		struct slice name = slice_split(&value, '=');

		if (slice_is_nocase(slice_trim(name), tag))
			return slice_trim(value);
	}
	return slice_of("", 0);
}

bool tag_list_next_uri(struct slice *rua, struct slice *uri,
		       char domain[DNS_NAME])
{
	struct slice rest, name;
	ptrdiff_t at;

	*domain = '\0';
	do {
		if (rua->len == 0)
			return false;
		*uri = slice_trim(slice_split(rua, ','));
	} while (uri->len == 0);
	if (!slice_starts_nocase(*uri, "mailto:"))
		return true;
	at = slice_rfind(*uri, '@');
	if (at < 0)
		return true;
	rest = slice_from(*uri, (size_t)at + 1);
	name = slice_split(&rest, '!');
	/* RFC 6068 section 2: header fields may follow. */
	if (!dns_name_normal(slice_split(&name, '?'), domain))
		*domain = '\0';
	return true;
}
