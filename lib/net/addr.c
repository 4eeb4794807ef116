#include "net/addr.h"
#include "base/buf.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int addr_split(struct slice text, int default_port, char *host, size_t size,
	       int *port, struct err *err)
{
	struct slice name = text, digits = { "", 0 };
	ptrdiff_t at;
	uint64_t number = (uint64_t)default_port;
	bool given = false;

	if (text.len > 0 && text.p[0] == '[') {
		at = slice_find(text, ']');
		if (at < 0)
			goto bad;
		name = slice_of(text.p + 1, (size_t)at - 1);
		text = slice_from(text, (size_t)at + 1);
		if (text.len > 0) {
			if (text.p[0] != ':')
				goto bad;
			given = true;
			digits = slice_from(text, 1);
		}
	} else {
		at = slice_find(text, ':');
		if (at >= 0 && slice_rfind(text, ':') == at) {
			name.len = (size_t)at;
			given = true;
			digits = slice_from(text, (size_t)at + 1);
		}
	}
	if (given && (!slice_u64(digits, &number) || number > 65535))
		return err_set(err, "'%.*s' is not a port", (int)digits.len,
			       digits.p);
	if (name.len == 0 || name.len >= size)
		goto bad;
	if (!given && default_port == 0)
		return err_set(err, "'%.*s' has no port", (int)name.len,
			       name.p);
	memcpy(host, name.p, name.len);
	host[name.len] = '\0';
	*port = (int)number;
	return 0;
bad:
	return err_set(err, "'%.*s' is not host:port", (int)text.len, text.p);
}

int addr_from_ip(struct slice ip, int port, struct addr *addr, struct err *err)
{
	struct addr made = { .len = 0 };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&made.sa;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&made.sa;
	char text[INET6_ADDRSTRLEN + 1];

	slice_unwrap(&ip, '[', ']');
	if (ip.len >= sizeof(text))
		goto bad;
	memcpy(text, ip.p, ip.len);
	text[ip.len] = '\0';
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		made.len = sizeof(*v4);
	} else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		made.len = sizeof(*v6);
	} else {
		goto bad;
	}
	*addr = made;
	return 0;
bad:
	return err_set(err, "'%.*s' is not an IP address", (int)ip.len, ip.p);
}

int addr_parse(struct slice text, int default_port, struct addr *addr,
	       struct err *err)
{
	char host[ADDR_TEXT];
	int port;

	/* An IPv6 address without brackets and port. */
	if (addr_from_ip(text, default_port, addr, NULL) == 0 &&
	    default_port > 0)
		return 0;
	if (addr_split(text, default_port, host, sizeof(host), &port, err) < 0)
		return -1;
	return addr_from_ip(slice(host), port, addr, err);
}

static const void *ip_of(const struct addr *addr)
{
	if (addr->sa.ss_family == AF_INET6)
		return &((const struct sockaddr_in6 *)&addr->sa)->sin6_addr;
	return &((const struct sockaddr_in *)&addr->sa)->sin_addr;
}

const char *addr_ip(const struct addr *addr, char text[ADDR_TEXT])
{
	if (!inet_ntop(addr->sa.ss_family, ip_of(addr), text, ADDR_TEXT))
		snprintf(text, ADDR_TEXT, "unknown");
	return text;
}

int addr_port(const struct addr *addr)
{
	if (addr->sa.ss_family == AF_INET6)
		return ntohs(
			((const struct sockaddr_in6 *)&addr->sa)->sin6_port);
	return ntohs(((const struct sockaddr_in *)&addr->sa)->sin_port);
}

void addr_set_port(struct addr *addr, int port)
{
	if (addr->sa.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&addr->sa)->sin6_port =
			htons((uint16_t)port);
	else
		((struct sockaddr_in *)&addr->sa)->sin_port =
			htons((uint16_t)port);
}

const char *addr_format(const struct addr *addr, char text[ADDR_TEXT])
{
	char ip[ADDR_TEXT];

	addr_ip(addr, ip);
	if (addr->sa.ss_family == AF_INET6)
		snprintf(text, ADDR_TEXT, "[%.50s]:%d", ip, addr_port(addr));
	else
		snprintf(text, ADDR_TEXT, "%.50s:%d", ip, addr_port(addr));
	return text;
}

const char *addr_literal(const struct addr *addr, char text[ADDR_TEXT])
{
	char ip[ADDR_TEXT];

	addr_ip(addr, ip);
	snprintf(text, ADDR_TEXT,
		 addr->sa.ss_family == AF_INET6 ? "[IPv6:%.50s]" : "[%.50s]",
		 ip);
	return text;
}

void addr_unmap(struct addr *addr)
{
	struct sockaddr_in6 in6 = *(const struct sockaddr_in6 *)&addr->sa;
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_port = in6.sin6_port };

	if (in6.sin6_family != AF_INET6 ||
	    !IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr))
		return;
	memcpy(&in.sin_addr, &in6.sin6_addr.s6_addr[12], sizeof(in.sin_addr));
	memcpy(&addr->sa, &in, sizeof(in));
	addr->len = sizeof(in);
}

bool addr_is_loopback(const struct addr *addr)
{
	if (addr->sa.ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(
			(const struct in6_addr *)ip_of(addr));
	return *(const unsigned char *)ip_of(addr) == 127;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	char one[ADDR_TEXT], other[ADDR_TEXT];

	return strcmp(addr_format(a, one), addr_format(b, other)) == 0;
}

/* What to do about it, where that is known. */
static const char *remedy_for(int why)
{
	switch (why) {
	case EADDRINUSE:
		return ": another program has that port (see ss -ltnp): stop "
		       "it, or listen on another";
	case EACCES:
		return ": ports under 1024 need root or CAP_NET_BIND_SERVICE";
	case EADDRNOTAVAIL:
		return ": this machine does not have that address";
	default:
		return "";
	}
}

int addr_listen(const struct addr *addr, int backlog, struct err *err)
{
	int fd = socket(addr->sa.ss_family,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	char text[ADDR_TEXT];
	int one = 1;

	if (fd < 0)
		return err_errno(err, "cannot make a socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	/* "[::]" and "0.0.0.0" may stand side by side. */
	if (addr->sa.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, (const struct sockaddr *)&addr->sa, addr->len) < 0 ||
	    listen(fd, backlog) < 0) {
		int why = errno;

		err_set(err, "cannot listen on %s: %s%s",
			addr_format(addr, text), strerror(why),
			remedy_for(why));
		close(fd);
		return -1;
	}
	return fd;
}

int addr_of_socket(int fd, struct addr *addr, struct err *err)
{
	struct addr got = { .len = sizeof(got.sa) };

	if (getsockname(fd, (struct sockaddr *)&got.sa, &got.len) < 0)
		return err_errno(err, "cannot ask a socket's address");
	*addr = got;
	return 0;
}
