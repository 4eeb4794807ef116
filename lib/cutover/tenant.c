#include "cutover/tenant.h"
#include "base/clock.h"
#include "base/file.h"
#include "smtp/smtp_path.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>

/* The members that are read of each kind.  The first two tell the kind. */
enum {
	TEXT = 1,
	LIST = 2, /* of texts */
	FLAG = 4,
	NONE = 8,   /* may be null */
	MAYBE = 16, /* may be missing */
	OBJECT = 32
};

struct member {
	const char *name;
	unsigned is;
};

static const struct member connector[] = {
	{ "SenderIPAddresses", LIST | NONE },
	{ "ConnectorType", TEXT },
	{ "Name", TEXT },
	{ "Enabled", FLAG },
	{ "SenderDomains", LIST | NONE },
	{ "RestrictDomainsToIPAddresses", FLAG },
	{ "RestrictDomainsToCertificate", FLAG },
	{ "TlsSenderCertificateName", TEXT | NONE },
	{ "EFSkipIPs", LIST | NONE | MAYBE },
	{ "EFSkipLastIP", FLAG | MAYBE },
	{ "EFTestMode", FLAG | MAYBE },
	{ "EFUsers", LIST | NONE | MAYBE },
	{ "WhenChangedUTC", TEXT | NONE | MAYBE },
	{ "DistinguishedName", TEXT | NONE | MAYBE },
	{ NULL, 0 },
};
static const struct member arc[] = {
	{ "ArcTrustedSealers", TEXT | LIST | NONE },
	{ NULL, 0 },
};
static const struct member accepted[] = {
	{ "DomainName", TEXT },
	{ "DomainType", TEXT },
	{ "PendingRemoval", FLAG | MAYBE },
	{ NULL, 0 },
};
static const struct member recipient[] = {
	{ "EmailAddresses", LIST },
	{ "PrimarySmtpAddress", TEXT | NONE },
	{ NULL, 0 },
};
static const struct member graph[] = {
	{ "isVerified", FLAG },
	{ "supportedServices", LIST | NONE },
	{ "id", TEXT },
	{ NULL, 0 },
};
static const struct member google[] = {
	{ "domainName", TEXT },
	{ "verified", FLAG },
	{ "isPrimary", FLAG | MAYBE },
	{ NULL, 0 },
};
static const struct member gateway[] = {
	{ "gateway_ips", LIST },
	{ "reject_other", FLAG },
	{ "auto_detect_external_ip", FLAG },
	{ "require_tls", FLAG },
	{ NULL, 0 },
};

static const struct member outside[] = {
	{ "greeting", TEXT }, { "from", TEXT },	      { "to", TEXT },
	{ "at", TEXT },	      { "recipients", LIST }, { NULL, 0 },
};
static const struct member reference[] = {
	{ "@odata.type", TEXT },
	{ "id", TEXT },
	{ "userPrincipalName", TEXT | NONE | MAYBE },
	{ "mail", TEXT | NONE | MAYBE },
	{ NULL, 0 },
};
static const struct member reference_ps[] = {
	{ "additionalProperties", OBJECT },
	{ "id", TEXT },
	{ NULL, 0 },
};
static const struct member google_user[] = {
	{ "primaryEmail", TEXT },
	{ "id", TEXT },
	{ "aliases", LIST | MAYBE },
	{ "nonEditableAliases", LIST | MAYBE },
	{ NULL, 0 },
};
static const struct member google_group[] = {
	{ "email", TEXT },
	{ "id", TEXT },
	{ "aliases", LIST | MAYBE },
	{ "nonEditableAliases", LIST | MAYBE },
	{ NULL, 0 },
};

static const struct {
	const struct member *members;
	const char *title;
	const char *names_domain; /* the member that does */
} kinds[] = {
	[TENANT_CONNECTOR] = { connector, "Get-InboundConnector", NULL },
	[TENANT_ARC] = { arc, "Get-ArcConfig", NULL },
	[TENANT_ACCEPTED] = { accepted, "Get-AcceptedDomain", "DomainName" },
	[TENANT_RECIPIENT] = { recipient, "Get-Recipient", NULL },
	[TENANT_GRAPH] = { graph, "a Graph domain", "id" },
	[TENANT_GOOGLE] = { google, "a Directory API domain", "domainName" },
	[TENANT_GATEWAY] = { gateway, "an inbound gateway", NULL },
	[TENANT_OUTSIDE] = { outside, "a dialogue with the queue", NULL },
	[TENANT_REFERENCE] = { reference, "a domain name reference", NULL },
	[TENANT_REFERENCE_PS] = { reference_ps, "Get-MgDomainNameReference",
				  NULL },
	[TENANT_GOOGLE_USER] = { google_user, "a Directory API user", NULL },
	[TENANT_GOOGLE_GROUP] = { google_group, "a Directory API group", NULL },
};

void tenant_release(struct tenant *tenant)
{
	for (size_t i = 0; i < TENANT_KINDS; i++)
		json_free(tenant->of[i]);
	map_release(&tenant->addresses);
	map_release(&tenant->domains);
	trace_release(&tenant->trace);
	*tenant = (struct tenant){ 0 };
}

const struct json *tenant_get(const struct json *object, const char *name)
{
	char other[64];
	const struct json *value = json_get(object, name);

	if (value)
		return value;
	snprintf(other, sizeof(other), "%s", name);
	other[0] = (char)(isupper((unsigned char)*name) ?
				  tolower((unsigned char)*name) :
				  toupper((unsigned char)*name));
	return json_get(object, other);
}

/* Reading. */

static bool is_list_of_texts(const struct json *value)
{
	for (const struct json *it = json_first(value); it; it = json_next(it))
		if (json_type(it) != JSON_STRING)
			return false;
	return true;
}

static int check_member(const struct json *object, const struct member *member,
			struct err *err)
{
	const struct json *value = tenant_get(object, member->name);
	enum json_type type;

	if (!value)
		return member->is & MAYBE ?
			       0 :
			       err_set(err, "line %d: %s is missing",
				       json_line(object), member->name);
	type = json_type(value);
	if ((type == JSON_NULL && (member->is & NONE)) ||
	    (type == JSON_STRING && (member->is & TEXT)) ||
	    (type == JSON_BOOL && (member->is & FLAG)) ||
	    (type == JSON_OBJECT && (member->is & OBJECT)) ||
	    (type == JSON_ARRAY && (member->is & LIST) &&
	     is_list_of_texts(value)))
		return 0;
	return err_set(err,
		       "line %d: %s is %s where %s belongs: print it with "
		       "ConvertTo-Json -Depth 5",
		       json_line(value), member->name,
		       type == JSON_ARRAY ? "another list" :
					    json_type_name(type),
		       member->is & LIST   ? "a list of texts" :
		       member->is & FLAG   ? "true or false" :
		       member->is & OBJECT ? "an object" :
					     "a text");
}

static int kind_of(const struct json *object)
{
	for (int kind = 0; kind < TENANT_KINDS; kind++) {
		const struct member *members = kinds[kind].members;

		if (tenant_get(object, members[0].name) &&
		    (!members[1].name || tenant_get(object, members[1].name)))
			return kind;
	}
	return -1;
}

/* "SMTP:anna@example.org" is the primary address, "smtp:" another one; other
 * types ("SPO:", "X500:") are none of ours. */
static int add_addresses(struct map *addresses, struct map *domains,
			 const struct json *object, struct err *err)
{
	const struct json *list = tenant_get(object, "EmailAddresses");

	for (const struct json *it = json_first(list); it; it = json_next(it)) {
		struct slice text = slice(json_text(it));
		struct smtp_mailbox mailbox;
		struct buf key = BUF_INIT;

		if (!slice_starts_nocase(text, "smtp:"))
			continue;
		text = slice_from(text, 5);
		if (smtp_mailbox_parse(text, &mailbox, err) < 0)
			return err_prefix(err, "line %d: EmailAddresses",
					  json_line(it));
		smtp_mailbox_key(text, &key);
		map_put(addresses, buf_slice(&key), addresses);
		text = buf_slice(&key);
		map_put(domains,
			slice_from(text, (size_t)slice_rfind(text, '@') + 1),
			domains);
		buf_release(&key);
	}
	return 0;
}

/* `fresh` takes the objects of one file, all of one kind. */
static int take(struct json *fresh, int *kind, const struct json *object,
		struct err *err)
{
	int is = json_type(object) == JSON_OBJECT ? kind_of(object) : -1;

	if (is < 0)
		return err_set(err,
			       "line %d: it is none of the exports that are "
			       "known (docs/checks.md)",
			       json_line(object));
	if (*kind >= 0 && is != *kind)
		return err_set(err, "line %d: %s beside %s in one file",
			       json_line(object), kinds[is].title,
			       kinds[*kind].title);
	*kind = is;
	for (const struct member *m = kinds[is].members; m->name; m++)
		if (check_member(object, m, err) < 0)
			return err_prefix(err, "%s", kinds[is].title);
	json_add(fresh, json_copy(object));
	return 0;
}

/* What wraps the objects: Graph's "value", the Directory API's "domains",
 * "users" and "groups", our "inbound_gateway" and "queue_seen", or nothing. */
static const struct json *unwrapped(const struct json *root)
{
	static const char *const wraps[] = { "value",		"domains",
					     "users",		"groups",
					     "inbound_gateway", "queue_seen" };

	if (json_type(root) != JSON_OBJECT)
		return root;
	for (size_t i = 0; i < COUNT(wraps); i++) {
		const struct json *inner = json_get(root, wraps[i]);

		if (inner && (json_type(inner) == JSON_ARRAY ||
			      json_type(inner) == JSON_OBJECT))
			return inner;
	}
	return root;
}

static void keep(struct tenant *tenant, int kind, struct json *fresh,
		 int64_t at_ms)
{
	if (!tenant->of[kind]) {
		tenant->of[kind] = json_array();
		tenant->at_ms[kind] = at_ms;
	}
	if (at_ms < tenant->at_ms[kind])
		tenant->at_ms[kind] = at_ms;
	for (const struct json *it = json_first(fresh); it;
	     it = json_next(it)) {
		json_add(tenant->of[kind], json_copy(it));
		if (kind == TENANT_RECIPIENT)
			add_addresses(&tenant->addresses, &tenant->domains, it,
				      NULL);
	}
}

int tenant_read(struct tenant *tenant, struct slice text, int64_t at_ms,
		struct err *err)
{
	struct json *root = NULL, *fresh = json_array();
	struct map checked = MAP_INIT, domains = MAP_INIT;
	const struct json *inner;
	int kind = -1, result = -1;

	if (slice_starts(text, "\xff\xfe") || slice_starts(text, "\xfe\xff")) {
		err_set(err, "it is UTF-16: write it with Set-Content "
			     "-Encoding utf8");
		goto out;
	}
	if (slice_starts(text, "\xef\xbb\xbf"))
		text = slice_from(text, 3);
	root = json_parse(text, err);
	if (!root)
		goto out;
	if (json_get(root, "@odata.nextLink") ||
	    json_get(root, "nextPageToken")) {
		err_set(err, "it is the first page of several: export all of "
			     "it");
		goto out;
	}
	inner = unwrapped(root);
	if (json_type(inner) == JSON_ARRAY) {
		for (const struct json *it = json_first(inner); it;
		     it = json_next(it))
			if (take(fresh, &kind, it, err) < 0)
				goto out;
	} else if (take(fresh, &kind, inner, err) < 0) {
		goto out;
	}
	if (kind < 0) {
		err_set(err, "it lists nothing");
		goto out;
	}
	for (const struct json *it = json_first(fresh);
	     it && kind == TENANT_RECIPIENT; it = json_next(it))
		if (add_addresses(&checked, &domains, it, err) < 0)
			goto out;
	keep(tenant, kind, fresh, at_ms);
	result = 0;
out:
	map_release(&checked);
	map_release(&domains);
	json_free(fresh);
	json_free(root);
	return result;
}

bool tenant_is_trace(const char *path)
{
	return slice_ends_nocase(slice(path), ".csv");
}

void tenant_read_file(struct tenant *tenant, const char *path)
{
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;
	struct stat info;

	if (file_read(path, TENANT_MAX_BYTES, &text, &err) < 0)
		;
	else if (stat(path, &info) < 0)
		err_errno(&err, "%s", path);
	else if (tenant_is_trace(path))
		trace_read(&tenant->trace, buf_slice(&text),
			   (int64_t)info.st_mtim.tv_sec * 1000, &err);
	else
		tenant_read(tenant, buf_slice(&text),
			    (int64_t)info.st_mtim.tv_sec * 1000, &err);
	if (err_is_set(&err) && !tenant->error[0])
		snprintf(tenant->error, sizeof(tenant->error), "%.200s: %.300s",
			 path, err.text);
	buf_release(&text);
}

/* Understanding. */

bool tenant_ip_covers(const char *range, const char *ip)
{
	unsigned char net[16], host[16];
	const char *slash = strchr(range, '/');
	int family = strchr(ip, ':') ? AF_INET6 : AF_INET;
	size_t size = family == AF_INET6 ? 16 : 4;
	uint64_t bits = size * 8;
	char text[INET6_ADDRSTRLEN];

	if (slash && (!slice_u64(slice(slash + 1), &bits) || bits > size * 8))
		return false;
	snprintf(text, sizeof(text), "%.*s",
		 slash ? (int)(slash - range) : (int)sizeof(text), range);
	if (inet_pton(family, text, net) != 1 ||
	    inet_pton(family, ip, host) != 1)
		return false;
	for (size_t i = 0; i < bits; i++)
		if ((net[i / 8] ^ host[i / 8]) & (0x80 >> i % 8))
			return false;
	return true;
}

bool tenant_list_covers(const struct json *list, const char *ip)
{
	for (const struct json *it = json_first(list); it; it = json_next(it))
		if (json_text(it) && tenant_ip_covers(json_text(it), ip))
			return true;
	return false;
}

bool tenant_certificate_is(const char *text, const char *host)
{
	const char *subject = strstr(text, "<S>");
	struct slice name;
	const char *dot = strchr(host, '.');

	if (subject) {
		text = strcasestr(subject, "CN=");
		if (!text)
			return false;
		text += 3;
	}
	name = slice_of(text, strcspn(text, ","));
	name = slice_trim(name);
	if (slice_starts(name, "*."))
		return dot && slice_is_nocase(slice_from(name, 1), dot);
	return slice_is_nocase(name, host);
}

int tenant_time(const char *text, int64_t *wall_ms)
{
	long long ms;
	int used = 0;
	char *zoned;
	int result;

	if (sscanf(text, "/Date(%19lld)/%n", &ms, &used) == 1 && used > 0 &&
	    text[used] == '\0') {
		*wall_ms = ms;
		return 0;
	}
	if (clock_parse(slice(text), wall_ms, NULL) == 0)
		return 0;
	zoned = mem_printf("%sZ", text);
	result = clock_parse(slice(zoned), wall_ms, NULL);
	free(zoned);
	return result;
}

const struct json *tenant_domain(const struct tenant *tenant,
				 enum tenant_kind kind, const char *domain)
{
	for (const struct json *it = json_first(tenant->of[kind]); it;
	     it = json_next(it)) {
		const char *name =
			json_text(tenant_get(it, kinds[kind].names_domain));

		if (name && strcasecmp(name, domain) == 0)
			return it;
	}
	return NULL;
}

bool tenant_has_initial(const struct tenant *tenant, enum tenant_kind kind)
{
	for (const struct json *it = json_first(tenant->of[kind]); it;
	     it = json_next(it))
		if (slice_ends_nocase(slice(json_text(tenant_get(
					      it, kinds[kind].names_domain))),
				      ".onmicrosoft.com"))
			return true;
	return false;
}

bool tenant_named(const struct json *object, char name[DNS_NAME])
{
	static const char units[] = ",CN=ConfigurationUnits,", cn[] = "CN=";
	const char *text = json_text(tenant_get(object, "DistinguishedName"));
	const char *end = text ? strcasestr(text, units) : NULL;
	struct slice own = slice(text);

	if (!end)
		return false;
	own.len = (size_t)(end - text);
	own = slice_from(own, (size_t)(slice_rfind(own, ',') + 1));
	return slice_starts_nocase(own, cn) &&
	       dns_name_normal(slice_from(own, strlen(cn)), name);
}
