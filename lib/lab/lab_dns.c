#include "lab/lab_dns.h"
#include "base/encode.h"
#include "lab/lab_port.h"
#include <arpa/inet.h>
#include <stdlib.h>

#define CNAMES_MAX 8

struct entry {
	char name[DNS_NAME];
	unsigned type;
	uint32_t ttl;
	char target[DNS_NAME];	  /* CNAME; SOA: its mname */
	uint32_t serial, minimum; /* SOA */
	struct buf data;	  /* on the wire; a SOA's is made late */
};

struct entries {
	struct entry *at;
	size_t count;
};

struct lab_dns {
	struct lab_port *port;
	struct entries entries;
	enum lab_dns_mood mood;
	size_t queries;
};

/* Wire. */

static void add_u16(struct buf *out, unsigned value)
{
	buf_addc(out, (char)(value >> 8));
	buf_addc(out, (char)value);
}

static void add_u32(struct buf *out, uint32_t value)
{
	add_u16(out, value >> 16);
	add_u16(out, value & 0xffff);
}

/* Uncompressed, as everything that we write. */
static void put_name(struct buf *out, const char *name)
{
	struct slice rest = slice(name);

	while (rest.len > 0) {
		struct slice label = slice_split(&rest, '.');

		buf_addc(out, (char)label.len);
		buf_add(out, label);
	}
	buf_addc(out, 0);
}

static void put_soa(struct buf *out, const struct entry *entry)
{
	put_name(out, entry->target);
	put_name(out, "hostmaster.invalid");
	add_u32(out, entry->serial);
	add_u32(out, 3600); /* refresh, retry, expire */
	add_u32(out, 600);
	add_u32(out, 604800);
	add_u32(out, entry->minimum);
}

static void put_record(struct buf *out, const struct entry *entry, uint32_t ttl)
{
	struct buf soa = BUF_INIT;
	const struct buf *data = &entry->data;

	if (entry->type == DNS_SOA) {
		put_soa(&soa, entry);
		data = &soa;
	}
	put_name(out, entry->name);
	add_u16(out, entry->type);
	add_u16(out, 1);
	add_u32(out, ttl);
	add_u16(out, (unsigned)data->len);
	buf_add(out, buf_slice(data));
	buf_release(&soa);
}

/* Lines. */

static bool take_word(struct slice *rest, struct slice *word)
{
	size_t len = 0;

	*rest = slice_trim(*rest);
	while (len < rest->len && rest->p[len] != ' ' && rest->p[len] != '\t')
		len++;
	*word = slice_of(rest->p, len);
	*rest = slice_trim(slice_from(*rest, len));
	return len > 0;
}

static bool take_name(struct slice *rest, char name[DNS_NAME])
{
	struct slice word;

	return take_word(rest, &word) && dns_name_normal(word, name);
}

static bool take_u32(struct slice *rest, uint32_t *value)
{
	struct slice word;
	uint64_t number;

	if (!take_word(rest, &word) || !slice_u64(word, &number) ||
	    number > UINT32_MAX)
		return false;
	*value = (uint32_t)number;
	return true;
}

static bool take_ip(struct slice *rest, int family, size_t size,
		    struct buf *data)
{
	unsigned char raw[16];
	char text[INET6_ADDRSTRLEN];
	struct slice word;

	if (!take_word(rest, &word) || word.len >= sizeof(text))
		return false;
	memcpy(text, word.p, word.len);
	text[word.len] = '\0';
	if (inet_pton(family, text, raw) != 1)
		return false;
	buf_add(data, slice_of(raw, size));
	return true;
}

static void take_text(struct slice *rest, struct buf *data)
{
	do {
		size_t len = rest->len < 255 ? rest->len : 255;

		buf_addc(data, (char)len);
		buf_add(data, slice_of(rest->p, len));
		*rest = slice_from(*rest, len);
	} while (rest->len > 0);
}

static bool take_number(struct slice *rest, uint32_t max, unsigned bytes,
			struct buf *data)
{
	uint32_t value;

	if (!take_u32(rest, &value) || value > max)
		return false;
	if (bytes == 2)
		add_u16(data, value);
	else
		buf_addc(data, (char)value);
	return true;
}

static bool take_hex(struct slice *rest, struct buf *data)
{
	struct slice word;

	return take_word(rest, &word) && decode_hex(word, data);
}

static bool take_tlsa(struct slice *rest, struct buf *data)
{
	return take_number(rest, 255, 1, data) &&
	       take_number(rest, 255, 1, data) &&
	       take_number(rest, 255, 1, data) && take_hex(rest, data);
}

static bool take_ds(struct slice *rest, struct buf *data)
{
	return take_number(rest, 65535, 2, data) &&
	       take_number(rest, 255, 1, data) &&
	       take_number(rest, 255, 1, data) && take_hex(rest, data);
}

static bool take_caa(struct slice *rest, struct buf *data)
{
	struct slice tag;

	if (!take_number(rest, 255, 1, data) || !take_word(rest, &tag) ||
	    tag.len > 15)
		return false;
	buf_addc(data, (char)tag.len);
	buf_add(data, tag);
	buf_add(data, *rest);
	*rest = slice_from(*rest, rest->len);
	return true;
}

static bool take_value(struct slice *rest, struct entry *entry)
{
	uint32_t preference;

	switch (entry->type) {
	case DNS_A:
		return take_ip(rest, AF_INET, 4, &entry->data);
	case DNS_AAAA:
		return take_ip(rest, AF_INET6, 16, &entry->data);
	case DNS_TXT:
		take_text(rest, &entry->data);
		return true;
	case DNS_TLSA:
		return take_tlsa(rest, &entry->data);
	case DNS_DS:
		return take_ds(rest, &entry->data);
	case DNS_CAA:
		return take_caa(rest, &entry->data);
	case DNS_SRV:
		if (!take_number(rest, 65535, 2, &entry->data) ||
		    !take_number(rest, 65535, 2, &entry->data) ||
		    !take_number(rest, 65535, 2, &entry->data))
			return false;
		break;
	case DNS_SOA:
		return take_name(rest, entry->target) &&
		       take_u32(rest, &entry->serial) &&
		       take_u32(rest, &entry->minimum);
	case DNS_MX:
		if (!take_u32(rest, &preference) || preference > 65535)
			return false;
		add_u16(&entry->data, preference);
		break;
	case DNS_NS:
	case DNS_CNAME:
	case DNS_PTR:
		break;
	default:
		return false;
	}
	if (!take_name(rest, entry->target))
		return false;
	put_name(&entry->data, entry->target);
	return true;
}

static unsigned type_of(struct slice word)
{
	static const unsigned types[] = { DNS_A,   DNS_NS, DNS_CNAME, DNS_SOA,
					  DNS_PTR, DNS_MX, DNS_TXT,   DNS_AAAA,
					  DNS_SRV, DNS_DS, DNS_TLSA,  DNS_CAA };

	for (size_t i = 0; i < COUNT(types); i++)
		if (slice_is_nocase(word, dns_type_name(types[i])))
			return types[i];
	return 0;
}

static int entry_parse(struct slice value, struct entry *entry, struct err *err)
{
	struct slice rest = value;

	if (take_value(&rest, entry) && rest.len == 0)
		return 0;
	buf_release(&entry->data);
	return err_set(err, "'%.*s' is no value of %s records", (int)value.len,
		       value.p, dns_type_name(entry->type));
}

static int line_parse(struct slice line, struct entry *entry, struct err *err)
{
	struct slice rest = line, type;

	*entry = (struct entry){ 0 };
	if (!take_name(&rest, entry->name) || !take_u32(&rest, &entry->ttl) ||
	    !take_word(&rest, &type))
		return err_set(err, "'%.*s' is not: name TTL type value",
			       (int)line.len, line.p);
	entry->type = type_of(type);
	if (!entry->type)
		return err_set(err, "'%.*s' is not a type of record",
			       (int)type.len, type.p);
	return entry_parse(rest, entry, err);
}

/* Records. */

static void entries_add(struct entries *entries, struct entry entry)
{
	entries->at = mem_grow(entries->at,
			       (entries->count + 1) * sizeof(*entries->at));
	entries->at[entries->count++] = entry;
}

static void entries_release(struct entries *entries)
{
	for (size_t i = 0; i < entries->count; i++)
		buf_release(&entries->at[i].data);
	free(entries->at);
	*entries = (struct entries){ 0 };
}

static void entries_move(struct entries *to, struct entries *from)
{
	for (size_t i = 0; i < from->count; i++)
		entries_add(to, from->at[i]);
	from->count = 0;
	entries_release(from);
}

static void remove_all(struct entries *entries, const char *name, unsigned type)
{
	size_t kept = 0;

	for (size_t i = 0; i < entries->count; i++) {
		struct entry *entry = &entries->at[i];

		if (entry->type == type && strcmp(entry->name, name) == 0)
			buf_release(&entry->data);
		else
			entries->at[kept++] = *entry;
	}
	entries->count = kept;
}

int lab_dns_add(struct lab_dns *lab, const char *lines, struct err *err)
{
	struct slice rest = slice(lines);
	struct entries added = { 0 };

	while (rest.len > 0) {
		struct slice line = slice_trim(slice_split(&rest, '\n'));
		struct entry entry;

		if (line.len == 0 || line.p[0] == '#')
			continue;
		if (line_parse(line, &entry, err) < 0) {
			entries_release(&added);
			return -1;
		}
		entries_add(&added, entry);
	}
	entries_move(&lab->entries, &added);
	return 0;
}

/* "a.example.org" is in "example.org", and so is that itself. */
static bool is_in(const char *name, const char *zone)
{
	size_t n = strlen(name), z = strlen(zone);

	return z == 0 || (n >= z && strcmp(name + n - z, zone) == 0 &&
			  (n == z || name[n - z - 1] == '.'));
}

/* The SOA of the longest zone that holds the name. */
static struct entry *zone_of(const struct lab_dns *lab, const char *name)
{
	struct entry *best = NULL;

	for (size_t i = 0; i < lab->entries.count; i++) {
		struct entry *entry = &lab->entries.at[i];

		if (entry->type == DNS_SOA && is_in(name, entry->name) &&
		    (!best || strlen(entry->name) > strlen(best->name)))
			best = entry;
	}
	return best;
}

int lab_dns_set(struct lab_dns *lab, const char *name, unsigned type,
		uint32_t ttl, const char *const *values, size_t count,
		struct err *err)
{
	struct entries set = { 0 };
	struct entry *zone;
	char normal[DNS_NAME];

	if (!dns_name_normal(slice(name), normal))
		return err_set(err, "'%s' is not a name", name);
	for (size_t i = 0; i < count; i++) {
		struct entry entry = { .type = type, .ttl = ttl };

		memcpy(entry.name, normal, sizeof(normal));
		if (entry_parse(slice_trim(slice(values[i])), &entry, err) <
		    0) {
			entries_release(&set);
			return -1;
		}
		entries_add(&set, entry);
	}
	remove_all(&lab->entries, normal, type);
	entries_move(&lab->entries, &set);
	zone = zone_of(lab, normal);
	if (zone)
		zone->serial++;
	return 0;
}

/* Answers. */

struct reply {
	const struct lab_dns *lab;
	struct buf answers;
	unsigned count;
	bool exists; /* the name at the end of the CNAMEs */
};

/* Adds what there is at one name; the CNAME to follow, or NULL. */
static const char *add_answers(struct reply *reply, const char *name,
			       unsigned type)
{
	const struct entries *entries = &reply->lab->entries;
	const char *alias = NULL;

	reply->exists = false;
	for (size_t i = 0; i < entries->count; i++) {
		const struct entry *entry = &entries->at[i];

		/* A name with names below it exists (RFC 8020). */
		if (is_in(entry->name, name))
			reply->exists = true;
		if (strcmp(entry->name, name) != 0 ||
		    (entry->type != type && entry->type != DNS_CNAME))
			continue;
		put_record(&reply->answers, entry, entry->ttl);
		reply->count++;
		if (entry->type != type)
			alias = entry->target;
	}
	return alias;
}

static void put_message(struct buf *out, const struct lab_query *query, bool aa,
			unsigned rcode, unsigned answers, unsigned authorities)
{
	add_u16(out, 0);
	add_u16(out, 0x8000 | (aa ? 0x0400 : 0) | rcode);
	add_u16(out, 1);
	add_u16(out, answers);
	add_u16(out, authorities);
	add_u16(out, 0);
	buf_add(out, query->question);
}

static void put_reply(const struct lab_dns *lab, const struct lab_query *query,
		      struct buf *out)
{
	struct reply reply = { .lab = lab };
	const struct entry *zone = zone_of(lab, query->name);
	const char *name = query->name;
	unsigned before = 0, rcode;

	if (!zone) {
		put_message(out, query, false, DNS_REFUSED, 0, 0);
		return;
	}
	for (int i = 0; zone && name && i < CNAMES_MAX; i++) {
		before = reply.count;
		name = add_answers(&reply, name, query->type);
		if (name)
			zone = zone_of(lab, name);
	}
	/* A CNAME out of our zones: the asker goes on by itself. */
	rcode = !zone || reply.exists || reply.count > before ? DNS_NOERROR :
								DNS_NXDOMAIN;
	if (reply.count > before)
		zone = NULL;
	put_message(out, query, lab->mood != LAB_DNS_LAME, rcode, reply.count,
		    zone ? 1 : 0);
	if (lab->mood == LAB_DNS_SECURE)
		out->p[3] |= 0x20; /* AD */
	buf_add(out, buf_slice(&reply.answers));
	if (zone)
		put_record(out, zone,
			   zone->ttl < zone->minimum ? zone->ttl :
						       zone->minimum);
	buf_release(&reply.answers);
}

static void on_query(void *ctx, const struct lab_query *query,
		     struct lab_asker *asker)
{
	struct lab_dns *lab = ctx;
	struct buf out = BUF_INIT;

	lab->queries++;
	switch (lab->mood) {
	case LAB_DNS_SILENT:
		lab_asker_drop(asker);
		return;
	case LAB_DNS_SERVFAIL:
		put_message(&out, query, false, DNS_SERVFAIL, 0, 0);
		break;
	case LAB_DNS_REFUSED:
		put_message(&out, query, false, DNS_REFUSED, 0, 0);
		break;
	case LAB_DNS_OLD:
		if (query->edns)
			put_message(&out, query, false, DNS_FORMERR, 0, 0);
		else
			put_reply(lab, query, &out);
		break;
	case LAB_DNS_BOGUS:
		if (query->unchecked)
			put_reply(lab, query, &out);
		else
			put_message(&out, query, false, DNS_SERVFAIL, 0, 0);
		break;
	case LAB_DNS_WELL:
	case LAB_DNS_LAME:
	case LAB_DNS_SECURE:
		put_reply(lab, query, &out);
	}
	lab_asker_answer(asker, buf_slice(&out));
	buf_release(&out);
}

struct lab_dns *lab_dns_new(struct loop *loop, const struct addr *listen,
			    struct err *err)
{
	struct lab_dns *lab = mem_alloc(sizeof(*lab));

	lab->port = lab_port_new(loop, listen, on_query, lab, err);
	if (!lab->port) {
		lab_dns_free(lab);
		return NULL;
	}
	return lab;
}

void lab_dns_free(struct lab_dns *lab)
{
	if (!lab)
		return;
	lab_port_free(lab->port);
	entries_release(&lab->entries);
	free(lab);
}

const struct addr *lab_dns_addr(const struct lab_dns *lab)
{
	return lab_port_addr(lab->port);
}

void lab_dns_set_mood(struct lab_dns *lab, enum lab_dns_mood mood)
{
	lab->mood = mood;
}

size_t lab_dns_queries(const struct lab_dns *lab)
{
	return lab->queries;
}

uint32_t lab_dns_serial(const struct lab_dns *lab, const char *name)
{
	const struct entry *zone = zone_of(lab, name);

	return zone ? zone->serial : 0;
}
