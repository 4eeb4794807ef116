#include "smtp/smtp_command.h"

static const struct {
	const char *name;
	enum smtp_verb verb;
} verbs[] = {
	{ "MAIL", SMTP_MAIL },	 { "RCPT", SMTP_RCPT },
	{ "DATA", SMTP_DATA },	 { "EHLO", SMTP_EHLO },
	{ "HELO", SMTP_HELO },	 { "RSET", SMTP_RSET },
	{ "NOOP", SMTP_NOOP },	 { "QUIT", SMTP_QUIT },
	{ "VRFY", SMTP_VRFY },	 { "EXPN", SMTP_EXPN },
	{ "HELP", SMTP_HELP },	 { "STARTTLS", SMTP_STARTTLS },
	{ "AUTH", SMTP_ABSENT }, { "BDAT", SMTP_BDAT },
	{ "ETRN", SMTP_ABSENT }, { "SEND", SMTP_ABSENT },
	{ "SOML", SMTP_ABSENT }, { "SAML", SMTP_ABSENT },
	{ "TURN", SMTP_ABSENT },
};

struct smtp_command smtp_command_parse(struct slice line)
{
	struct smtp_command command = { .verb = SMTP_UNKNOWN };
	struct slice word = slice_split(&line, ' ');

	command.argument = slice_trim(line);
	word = slice_trim(word);
	for (size_t i = 0; i < COUNT(verbs); i++) {
		if (slice_is_nocase(word, verbs[i].name)) {
			command.verb = verbs[i].verb;
			break;
		}
	}
	return command;
}

bool smtp_command_chunk(struct slice argument, uint64_t *size, bool *last)
{
	struct slice rest = argument;
	struct slice number = slice_split(&rest, ' ');

	rest = slice_trim(rest);
	if (rest.len > 0 && !slice_is_nocase(rest, "LAST"))
		return false;
	if (!slice_u64(number, size))
		return false;
	*last = rest.len > 0;
	return true;
}

/* The length of "<...>" at the front, or 0; a quoted local part may have '>'. */
static size_t path_length(struct slice in)
{
	bool quoted = false;

	if (in.len == 0 || in.p[0] != '<')
		return 0;
	for (size_t i = 1; i < in.len; i++) {
		if (quoted && in.p[i] == '\\')
			i++;
		else if (in.p[i] == '"')
			quoted = !quoted;
		else if (in.p[i] == '>' && !quoted)
			return i + 1;
	}
	return 0;
}

int smtp_command_path(struct slice argument, const char *prefix,
		      struct slice *path, struct slice *params, struct err *err)
{
	struct slice rest;
	size_t len;

	if (!slice_starts_nocase(argument, prefix))
		return err_set(err, "syntax: %s<address>", prefix);
	rest = slice_trim(slice_from(argument, strlen(prefix)));
	len = path_length(rest);
	if (len == 0)
		return err_set(err, "path is not enclosed in <>");
	if (len < rest.len && rest.p[len] != ' ')
		return err_set(err, "no blank after the path");
	*path = slice_of(rest.p, len);
	*params = slice_trim(slice_from(rest, len));
	return 0;
}
