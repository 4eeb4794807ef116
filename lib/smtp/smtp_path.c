#include "smtp/smtp_path.h"

#include "smtp/smtp_alabel.h"
#include <stdio.h>
#include <arpa/inet.h>

#define DOMAIN_MAX 255 /* RFC 5321, section 4.5.3.1.2 */
#define LABEL_MAX  63

/* Bytes above 127 stand where RFC 6531, section 3.3 adds UTF8-non-ascii. */
static bool is_high(char c)
{
	return (unsigned char)c >= 0x80;
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9');
}

static bool is_atext(char c)
{
	return is_alnum(c) || is_high(c) ||
	       (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

static bool is_printable(char c)
{
	return c >= ' ' && c <= '~';
}

/* The length of the quoted-string at the front of `in`, or -1. */
static ptrdiff_t quoted_length(struct slice in)
{
	for (size_t i = 1; i < in.len; i++) {
		if (in.p[i] == '"')
			return (ptrdiff_t)i + 1;
		if (in.p[i] == '\\') {
			if (++i == in.len || !is_printable(in.p[i]))
				return -1;
		} else if (!is_printable(in.p[i]) && !is_high(in.p[i])) {
			return -1;
		}
	}
	return -1;
}

/* The length of the dot-string at the front of `in`, or -1. */
static ptrdiff_t dot_string_length(struct slice in)
{
	size_t i;

	for (i = 0; i < in.len && in.p[i] != '@'; i++) {
		if (is_atext(in.p[i]))
			continue;
		if (in.p[i] != '.' || i == 0 || in.p[i - 1] == '.')
			return -1;
	}
	if (i == 0 || in.p[i - 1] == '.')
		return -1;
	return (ptrdiff_t)i;
}

static bool label_is_valid(struct slice label)
{
	/* A U-label is measured as the A-label that DNS would see: later. */
	if (label.len == 0 || label.p[0] == '-' ||
	    label.p[label.len - 1] == '-')
		return false;
	for (size_t i = 0; i < label.len; i++)
		if (!is_alnum(label.p[i]) && !is_high(label.p[i]) &&
		    label.p[i] != '-')
			return false;
	return true;
}

/* "192.0.2.1" or "IPv6:2001:db8::1"; no other tag was ever registered. */
static bool literal_is_valid(struct slice literal)
{
	char text[INET6_ADDRSTRLEN];
	unsigned char address[16];
	int family = AF_INET;

	if (slice_starts_nocase(literal, "IPv6:")) {
		literal = slice_from(literal, strlen("IPv6:"));
		family = AF_INET6;
	}
	if (literal.len >= sizeof(text) || memchr(literal.p, 0, literal.len))
		return false;
	memcpy(text, literal.p, literal.len);
	text[literal.len] = '\0';
	return inet_pton(family, text, address) == 1;
}

static bool domain_is_valid(struct slice domain)
{
	struct slice rest = domain;

	if (slice_unwrap(&rest, '[', ']'))
		return literal_is_valid(rest);
	for (;;) {
		ptrdiff_t dot = slice_find(rest, '.');
		size_t len = dot < 0 ? rest.len : (size_t)dot;

		if (!label_is_valid(slice_of(rest.p, len)))
			return false;
		if (dot < 0)
			return true;
		rest = slice_from(rest, len + 1);
	}
}

/* What DNS cannot hold cannot receive mail. */
static bool labels_are_short(struct slice domain)
{
	struct buf ascii = BUF_INIT;
	bool fit = true;
	size_t len = 0;

	smtp_domain_alabels(domain, &ascii);
	for (size_t i = 0; i < ascii.len; i++) {
		len = ascii.p[i] == '.' ? 0 : len + 1;
		fit = fit && len <= LABEL_MAX;
	}
	fit = fit && ascii.len <= DOMAIN_MAX;
	buf_release(&ascii);
	return fit;
}

static bool has_high(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (is_high(s.p[i]))
			return true;
	return false;
}

/* The ordinary case costs no allocation: this is asked for every RCPT. */
static bool domain_fits(struct slice domain)
{
	size_t len = 0;

	if (domain.p[0] == '[')
		return true;
	if (has_high(domain))
		return labels_are_short(domain);
	for (size_t i = 0; i < domain.len; i++) {
		len = domain.p[i] == '.' ? 0 : len + 1;
		if (len > LABEL_MAX)
			return false;
	}
	return domain.len <= DOMAIN_MAX;
}

static int mailbox_parse(struct slice in, ptrdiff_t local_max,
			 struct smtp_mailbox *mailbox, struct err *err)
{
	struct slice domain;
	ptrdiff_t local;

	if (in.len > SMTP_PATH_MAX)
		return err_set(err, "address is longer than %d bytes",
			       SMTP_PATH_MAX);
	if (!smtp_utf8_is_valid(in))
		return err_set(err, "address is not UTF-8");
	local = in.len > 0 && in.p[0] == '"' ? quoted_length(in) :
					       dot_string_length(in);
	if (local < 0)
		return err_set(err, "local part is malformed");
	if (local > local_max)
		return err_set(err, "local part is longer than %d bytes",
			       (int)local_max);
	if ((size_t)local == in.len)
		return err_set(err, "address has no domain");
	if (in.p[local] != '@')
		return err_set(err, "local part is malformed");
	domain = slice_from(in, (size_t)local + 1);
	if (!domain_is_valid(domain))
		return err_set(err, "domain is malformed");
	if (!domain_fits(domain))
		return err_set(err, "domain is too long for DNS");
	mailbox->local = slice_of(in.p, (size_t)local);
	mailbox->domain = domain;
	return 0;
}

int smtp_mailbox_parse(struct slice in, struct smtp_mailbox *mailbox,
		       struct err *err)
{
	return mailbox_parse(in, SMTP_LOCAL_MAX, mailbox, err);
}

/* "@a,@b:" (RFC 5321, appendix C): must be well formed, then is dropped. */
static int drop_route(struct slice *in, struct err *err)
{
	struct slice rest = *in;

	for (;;) {
		size_t len = 1;

		if (rest.len == 0 || rest.p[0] != '@')
			return err_set(err, "source route is malformed");
		while (len < rest.len && rest.p[len] != ',' &&
		       rest.p[len] != ':')
			/* An IPv6 literal has colons of its own. */
			if (rest.p[len++] == '[')
				while (len < rest.len && rest.p[len] != ']')
					len++;
		if (len == rest.len ||
		    !domain_is_valid(slice_of(rest.p + 1, len - 1)))
			return err_set(err, "source route is malformed");
		*in = slice_from(rest, len + 1);
		if (rest.p[len] == ':')
			return 0;
		rest = *in;
	}
}

/* RFC 5321 section 4.1.2.  Only a reverse-path may be null. */
int smtp_path_parse(struct slice in, enum smtp_path_kind kind,
		    struct smtp_path *path, struct err *err)
{
	struct smtp_path parsed = { .kind = kind };

	if (!slice_unwrap(&in, '<', '>'))
		return err_set(err, "path is not enclosed in <>");
	if (in.len == 0 && kind == SMTP_FORWARD_PATH)
		return err_set(err, "forward-path is empty");
	if (kind == SMTP_FORWARD_PATH && slice_is_nocase(in, "postmaster")) {
		parsed.postmaster = true;
		parsed.mailbox.local = in;
	} else if (in.len > 0) {
		if (in.p[0] == '@' && drop_route(&in, err) < 0)
			return -1;
		if (mailbox_parse(in,
				  kind == SMTP_REVERSE_PATH ? SMTP_PATH_MAX :
							      SMTP_LOCAL_MAX,
				  &parsed.mailbox, err) < 0)
			return -1;
	}
	parsed.utf8 = has_high(in);
	*path = parsed;
	return 0;
}

bool smtp_local_routes(struct slice local)
{
	return slice_find(local, '%') >= 0 || slice_find(local, '!') >= 0 ||
	       slice_find(local, '@') >= 0;
}

void smtp_path_address(const struct smtp_path *path, struct buf *out)
{
	if (path->postmaster) {
		buf_adds(out, "postmaster");
	} else if (path->mailbox.domain.len > 0) {
		buf_add(out, path->mailbox.local);
		buf_addc(out, '@');
		buf_add(out, path->mailbox.domain);
	}
}

bool smtp_domain_normal(struct slice domain, char name[SMTP_DOMAIN])
{
	struct buf ascii = BUF_INIT;
	bool good;

	smtp_domain_alabels(domain, &ascii);
	good = ascii.len > 0 && ascii.len < SMTP_DOMAIN && ascii.p[0] != '[';
	snprintf(name, SMTP_DOMAIN, "%s", good ? buf_text(&ascii) : "");
	buf_release(&ascii);
	return good;
}

void smtp_mailbox_key(struct slice address, struct buf *out)
{
	ptrdiff_t at = slice_rfind(address, '@');
	struct slice local = at < 0 ? address : slice_of(address.p, (size_t)at);
	bool quoted = slice_unwrap(&local, '"', '"');

	for (size_t i = 0; i < local.len; i++) {
		char c = local.p[i];

		if (quoted && c == '\\' && i + 1 < local.len)
			c = local.p[++i];
		if (c >= 'A' && c <= 'Z')
			c = (char)(c + 'a' - 'A');
		buf_addc(out, c);
	}
	if (at < 0)
		return;
	buf_addc(out, '@');
	smtp_domain_alabels(slice_from(address, (size_t)at + 1), out);
}
