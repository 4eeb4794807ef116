#include "base/err.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, const char *format, ...)
{
	va_list args;

	if (!err)
		return -1;
	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	return -1;
}

int err_errno(struct err *err, const char *format, ...)
{
	int saved = errno;
	va_list args;
	size_t len;

	if (!err)
		return -1;
	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	len = strlen(err->text);
	snprintf(err->text + len, sizeof(err->text) - len, ": %s",
		 strerror(saved));
	errno = saved;
	return -1;
}

int err_prefix(struct err *err, const char *format, ...)
{
	char inner[sizeof(err->text)];
	va_list args;
	size_t len;

	if (!err)
		return -1;
	memcpy(inner, err->text, sizeof(inner));
	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	len = strlen(err->text);
	snprintf(err->text + len, sizeof(err->text) - len, ": %s", inner);
	return -1;
}

bool err_is_set(const struct err *err)
{
	return err && err->text[0];
}

void err_clear(struct err *err)
{
	if (err)
		err->text[0] = '\0';
}
