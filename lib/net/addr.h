/*
 * addr.h - socket addresses as text and back
 *
 * "192.0.2.1:25", "[2001:db8::1]:25".  Names are not resolved here.
 */
#ifndef NET_ADDR_H
#define NET_ADDR_H

#include "base/err.h"
#include "base/slice.h"
#include <sys/socket.h>

struct addr {
	struct sockaddr_storage sa;
	socklen_t len;
};

#define ADDR_TEXT 64

/* Numeric host with port ("host" alone takes `default_port`, 0 = required). */
int addr_parse(struct slice text, int default_port, struct addr *addr,
	       struct err *err);
int addr_from_ip(struct slice ip, int port, struct addr *addr, struct err *err);
/* "192.0.2.1:25" */
const char *addr_format(const struct addr *addr, char text[ADDR_TEXT]);
/* "192.0.2.1" */
const char *addr_ip(const struct addr *addr, char text[ADDR_TEXT]);
/* RFC 5321 4.1.3 literal: "[192.0.2.1]", "[IPv6:2001:db8::1]" */
const char *addr_literal(const struct addr *addr, char text[ADDR_TEXT]);
int addr_port(const struct addr *addr);
void addr_set_port(struct addr *addr, int port);
/* A peer with IPv4 on a socket that takes both is what it is again, of IPv4. */
void addr_unmap(struct addr *addr);
bool addr_is_loopback(const struct addr *addr);
bool addr_equal(const struct addr *a, const struct addr *b);
/*
 * Splits "host:port", "[v6]:port" or "host" into host (copied, size bytes) and
 * port (default if absent); the host may be a name.
 */
int addr_split(struct slice text, int default_port, char *host, size_t size,
	       int *port, struct err *err);
/* A listening, non-blocking, close-on-exec TCP socket (SO_REUSEADDR). */
int addr_listen(const struct addr *addr, int backlog, struct err *err);
/* The address a bound socket got (port 0 was asked for). */
int addr_of_socket(int fd, struct addr *addr, struct err *err);

#endif
