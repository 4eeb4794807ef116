/*
 * plan_host.h - host names, domains and endpoints as a plan writes them
 *
 * Syntax alone; nothing is resolved.  Names are ASCII: an internationalised
 * one is written as A-label, so that what is compared with DNS is what stands
 * in the plan.
 */
#ifndef PLAN_PLAN_HOST_H
#define PLAN_PLAN_HOST_H

#include "base/err.h"
#include "base/slice.h"

#define PLAN_HOST 256

struct plan_endpoint {
	char host[PLAN_HOST]; /* lower case, no final dot, no brackets */
	int port;
	bool is_ip;
};

/* A name of at least two labels (RFC 1123); copied as `host` above. */
int plan_host_parse(struct slice in, char host[PLAN_HOST], struct err *err);
/* "host", "host:port", "192.0.2.1:25", "[2001:db8::1]:25". */
int plan_endpoint_parse(struct slice in, int default_port,
			struct plan_endpoint *endpoint, struct err *err);
/* The same, numeric only; `default_port` 0: the port must be there. */
int plan_address_parse(struct slice in, int default_port,
		       struct plan_endpoint *endpoint, struct err *err);
/*
 * "https://host[:port][/path]" of a server with a name, as certificates have
 * names; no user or password (RFC 3986 section 3.2.1).  `path` borrows from
 * `in` and is empty where none stands.
 */
int plan_https_parse(struct slice in, struct plan_endpoint *endpoint,
		     struct slice *path, struct err *err);
bool plan_is_ip(const char *host);
bool plan_is_loopback(const char *host); /* also "localhost" */
bool plan_is_wildcard(const char *ip);	 /* 0.0.0.0 or :: */
/* `host` ends with "." and `domain`. */
bool plan_host_is_below(const char *host, const char *domain);

#endif
