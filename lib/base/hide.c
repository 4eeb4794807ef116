#include "base/hide.h"
#include <string.h>

size_t hide_local_begins(const char *text, size_t at)
{
	if (at > 1 && text[at - 1] == '"') {
		size_t begin = at - 1;

		while (begin > 0 && (text[begin - 1] != '"' ||
				     (begin > 1 && text[begin - 2] == '\\')))
			begin--;
		if (begin > 0)
			return begin - 1;
	}
	while (at > 0 && !strchr(" \t\r\n<>()[],;:\"\\@", text[at - 1]))
		at--;
	return at;
}
