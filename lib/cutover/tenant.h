/*
 * tenant.h - what an administrator of a tenant exported, read strictly
 *
 * No API tells how Exchange Online treats our address, and Google has none for
 * its inbound gateway.  So the plan may name files ("evidence"): the JSON that
 *
 *   Get-InboundConnector, Get-ArcConfig, Get-AcceptedDomain and Get-Recipient
 *   (Exchange Online PowerShell, | ConvertTo-Json -Depth 5),
 *   GET /domains of Microsoft Graph, or Get-MgDomain | ConvertTo-Json,
 *   domains.list, users.list and groups.list of Google's Directory API,
 *   GET /domains/ID/domainNameReferences, or Get-MgDomainNameReference -All
 *
 * print, and {"inbound_gateway": {...}}, written by hand after the page of
 * Google's Admin console, and {"queue_seen": [...]}, what the queue said to
 * somebody elsewhere (docs/checks.md).  An object is known by its members,
 * one alone or several in an array.  What is read of it must have its type;
 * members that nobody here reads are skipped, as these documents have dozens.
 *
 * Pure but for tenant_read_file().
 */
#ifndef CUTOVER_TENANT_H
#define CUTOVER_TENANT_H

#include "base/err.h"
#include "base/json.h"
#include "base/map.h"
#include "cutover/trace.h"
#include "dns/dns_record.h"

enum tenant_kind {
	TENANT_CONNECTOR,    /* Get-InboundConnector */
	TENANT_ARC,	     /* Get-ArcConfig */
	TENANT_ACCEPTED,     /* Get-AcceptedDomain */
	TENANT_RECIPIENT,    /* Get-Recipient */
	TENANT_GRAPH,	     /* a domain of Microsoft Graph */
	TENANT_GOOGLE,	     /* a domain of the Directory API */
	TENANT_GATEWAY,	     /* an inbound gateway of Gmail */
	TENANT_OUTSIDE,	     /* a dialogue with the queue from elsewhere */
	TENANT_REFERENCE,    /* an object that refers to a domain, of Graph */
	TENANT_REFERENCE_PS, /* the same, as Graph PowerShell prints it */
	TENANT_GOOGLE_USER,  /* of the Directory API */
	TENANT_GOOGLE_GROUP,
	TENANT_KINDS
};

struct tenant {
	/* Arrays of objects whose members have their types; NULL: no file of
	 * that kind. */
	struct json *of[TENANT_KINDS];
	int64_t at_ms[TENANT_KINDS]; /* wall, the oldest file of the kind */
	struct map addresses;	     /* of TENANT_RECIPIENT, by mailbox key */
	struct map domains;	     /* of these addresses */
	struct trace trace;	     /* of the old system: files *.csv */
	char error[512];	     /* the first file that was wrong, or "" */
};

enum {
	TENANT_MAX_BYTES = 32 * 1024 * 1024
};

void tenant_release(struct tenant *tenant);
/*
 * Adds one file's text, of time `at_ms`; all of it or nothing.  An empty array
 * says nothing of what it would list: it is refused.
 */
int tenant_read(struct tenant *tenant, struct slice text, int64_t at_ms,
		struct err *err);
/* The same from a file, with its time of change, or a trace from one that is
 * called *.csv; keeps a failure in `error`. */
void tenant_read_file(struct tenant *tenant, const char *path);
bool tenant_is_trace(const char *path);

/* A member, whichever way its first letter is written ("id", "Id"). */
const struct json *tenant_get(const struct json *object, const char *name);
/* "192.0.2.7", "192.0.2.0/24" or IPv6 alike; false for anything else. */
bool tenant_ip_covers(const char *range, const char *ip);
/* Any text of `list` that covers it. */
bool tenant_list_covers(const struct json *list, const char *ip);
/* TlsSenderCertificateName: a name, "*." and a domain, or "<I>..<S>CN=name,.."
 */
bool tenant_certificate_is(const char *text, const char *host);
/* RFC 3339, without a zone meant as UTC, or "/Date(1764000000000)/" as Windows
 * PowerShell prints it; -1: neither. */
int tenant_time(const char *text, int64_t *wall_ms);
/*
 * The tenant that an object of Exchange Online is of, by its initial domain:
 * "CN=a,CN=Transport Settings,CN=Configuration,CN=acmenew.onmicrosoft.com,
 * CN=ConfigurationUnits,DC=..." in DistinguishedName, as Get-InboundConnector
 * prints it.  false: it does not say.
 */
bool tenant_named(const struct json *object, char name[DNS_NAME]);
/* Whether any object is named as a tenant's initial domain is. */
bool tenant_has_initial(const struct tenant *tenant, enum tenant_kind kind);
/* The object whose `member` names the domain, or NULL. */
const struct json *tenant_domain(const struct tenant *tenant,
				 enum tenant_kind kind, const char *domain);

#endif
