#include "plan/plan_host.h"

#include <arpa/inet.h>
#include <ctype.h>

/* RFC 1035 2.3.4, without the final dot. */
#define NAME_MAX_BYTES	253
#define LABEL_MAX_BYTES 63

static bool label_is_valid(struct slice label)
{
	if (label.len == 0 || label.len > LABEL_MAX_BYTES)
		return false;
	for (size_t i = 0; i < label.len; i++)
		if (!isalnum((unsigned char)label.p[i]) && label.p[i] != '-')
			return false;
	return label.p[0] != '-' && label.p[label.len - 1] != '-';
}

static bool is_ascii(struct slice in)
{
	for (size_t i = 0; i < in.len; i++)
		if ((unsigned char)in.p[i] > 127)
			return false;
	return true;
}

static int name_parse(struct slice in, size_t min_labels, char host[PLAN_HOST],
		      struct err *err)
{
	struct slice rest;
	size_t labels = 0;

	if (!is_ascii(in))
		return err_set(err, "a name is written in ASCII, as A-label "
				    "(xn--...)");
	if (in.len > 0 && in.p[in.len - 1] == '.')
		in.len--;
	if (in.len == 0)
		return err_set(err, "the name is empty");
	if (in.len > NAME_MAX_BYTES)
		return err_set(err, "the name is longer than %d bytes",
			       NAME_MAX_BYTES);
	/* A trailing dot leaves an empty label that splitting would drop. */
	if (in.p[in.len - 1] == '.')
		return err_set(err, "the name has an empty label");
	for (rest = in; rest.len > 0; labels++)
		if (!label_is_valid(slice_split(&rest, '.')))
			return err_set(err, "not a host name (letters, digits "
					    "and inner hyphens between dots)");
	if (labels < min_labels)
		return err_set(err, "the name has no dot: write it in full");
	for (size_t i = 0; i < in.len; i++)
		host[i] = (char)tolower((unsigned char)in.p[i]);
	host[in.len] = '\0';
	return 0;
}

/* Into the form that inet_ntop writes, so that equal addresses compare so. */
static bool ip_normal(struct slice in, char host[PLAN_HOST])
{
	char text[INET6_ADDRSTRLEN];
	unsigned char binary[sizeof(struct in6_addr)];
	int family;

	if (in.len == 0 || in.len >= sizeof(text))
		return false;
	memcpy(text, in.p, in.len);
	text[in.len] = '\0';
	family = strchr(text, ':') ? AF_INET6 : AF_INET;
	return inet_pton(family, text, binary) == 1 &&
	       inet_ntop(family, binary, host, PLAN_HOST);
}

static bool looks_like_ipv4(struct slice host)
{
	for (size_t i = 0; i < host.len; i++)
		if (!isdigit((unsigned char)host.p[i]) && host.p[i] != '.')
			return false;
	return true;
}

int plan_host_parse(struct slice in, char host[PLAN_HOST], struct err *err)
{
	char ip[PLAN_HOST];

	/* An MX record names a host: RFC 1035 3.3.9, RFC 5321 5.1. */
	if (ip_normal(in, ip) || looks_like_ipv4(in))
		return err_set(err, "an IP address is no host name");
	return name_parse(in, 2, host, err);
}

bool plan_is_ip(const char *host)
{
	char normal[PLAN_HOST];

	return ip_normal(slice(host), normal);
}

bool plan_is_loopback(const char *host)
{
	/* RFC 6761 section 6.3: and the names below it. */
	return strcmp(host, "localhost") == 0 ||
	       plan_host_is_below(host, "localhost") ||
	       strcmp(host, "::1") == 0 ||
	       (plan_is_ip(host) && strncmp(host, "127.", 4) == 0);
}

bool plan_is_wildcard(const char *ip)
{
	return strcmp(ip, "0.0.0.0") == 0 || strcmp(ip, "::") == 0;
}

bool plan_host_is_below(const char *host, const char *domain)
{
	size_t host_len = strlen(host), domain_len = strlen(domain);

	return host_len > domain_len + 1 &&
	       host[host_len - domain_len - 1] == '.' &&
	       strcmp(host + host_len - domain_len, domain) == 0;
}

static int port_parse(struct slice in, int *port, struct err *err)
{
	uint64_t number;

	if (in.len == 0 || !slice_u64(in, &number) || number < 1 ||
	    number > 65535)
		return err_set(err, "'%.*s' is not a port",
			       (int)(in.len > 20 ? 20 : in.len), in.p);
	*port = (int)number;
	return 0;
}

/* Takes the host off; what is left in *rest is "" or ":port". */
static int host_split(struct slice *rest, struct slice *host, bool *bracketed,
		      struct err *err)
{
	ptrdiff_t end;

	*bracketed = rest->len > 0 && rest->p[0] == '[';
	if (*bracketed) {
		end = slice_find(*rest, ']');
		if (end < 0)
			return err_set(err, "']' is missing");
		*host = slice_of(rest->p + 1, (size_t)end - 1);
		*rest = slice_from(*rest, (size_t)end + 1);
		return 0;
	}
	end = slice_find(*rest, ':');
	if (end >= 0 && slice_rfind(*rest, ':') != end)
		return err_set(err, "an IPv6 address stands in brackets: "
				    "[2001:db8::1]:25");
	*host = slice_of(rest->p, end < 0 ? rest->len : (size_t)end);
	*rest = slice_from(*rest, host->len);
	return 0;
}

int plan_endpoint_parse(struct slice in, int default_port,
			struct plan_endpoint *endpoint, struct err *err)
{
	struct plan_endpoint parsed = { .port = default_port };
	struct slice host;
	bool bracketed;

	if (host_split(&in, &host, &bracketed, err) < 0)
		return -1;
	parsed.is_ip = ip_normal(host, parsed.host);
	if (parsed.is_ip && bracketed != (strchr(parsed.host, ':') != NULL))
		return err_set(err, "brackets are for IPv6 addresses alone");
	if (!parsed.is_ip && (bracketed || looks_like_ipv4(host)))
		return err_set(err, "not an IP address");
	/* "localhost" and the like are fine to connect to. */
	if (!parsed.is_ip && name_parse(host, 1, parsed.host, err) < 0)
		return -1;
	if (in.len > 0 && in.p[0] != ':')
		return err_set(err, "after the host only ':port' may follow");
	if (in.len > 0 && port_parse(slice_from(in, 1), &parsed.port, err) < 0)
		return -1;
	if (parsed.port == 0)
		return err_set(err, "the port is missing");
	*endpoint = parsed;
	return 0;
}

int plan_https_parse(struct slice in, struct plan_endpoint *endpoint,
		     struct slice *path, struct err *err)
{
	static const char scheme[] = "https://";
	struct plan_endpoint parsed;
	struct slice host;
	size_t len = 0;

	if (!slice_starts(in, scheme))
		return err_set(err, "must begin with https://");
	in = slice_from(in, strlen(scheme));
	while (len < in.len && !strchr("/?#", in.p[len]))
		len++;
	host = slice_of(in.p, len);
	if (slice_find(host, '@') >= 0)
		return err_set(err, "a secret may not stand in a plan; write "
				    "the URL without user and password");
	if (len < in.len && in.p[len] != '/')
		return err_set(err, "after the host only '/path' may follow");
	if (plan_endpoint_parse(host, 443, &parsed, err) < 0)
		return -1;
	if (parsed.is_ip)
		return err_set(err, "names no server: certificates are for "
				    "names");
	*endpoint = parsed;
	*path = slice_from(in, len);
	return 0;
}

int plan_address_parse(struct slice in, int default_port,
		       struct plan_endpoint *endpoint, struct err *err)
{
	struct plan_endpoint parsed;

	if (plan_endpoint_parse(in, default_port, &parsed, err) < 0)
		return -1;
	if (!parsed.is_ip)
		return err_set(err, "an IP address is wanted, not a name");
	*endpoint = parsed;
	return 0;
}
