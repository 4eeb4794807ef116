#include "dns/dns_record.h"
#include "base/encode.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#define HEADER	 12
#define CLASS_IN 1

/* A place in a packet; reads past the end give 0 and set `bad`. */
struct reader {
	struct slice packet;
	size_t at;
	bool bad;
};

static unsigned read_u8(struct reader *in)
{
	if (in->bad || in->at >= in->packet.len) {
		in->bad = true;
		return 0;
	}
	return (unsigned char)in->packet.p[in->at++];
}

static unsigned read_u16(struct reader *in)
{
	unsigned high = read_u8(in);

	return high << 8 | read_u8(in);
}

static uint32_t read_u32(struct reader *in)
{
	uint32_t high = read_u16(in);

	return high << 16 | read_u16(in);
}

/*
 * One byte of a label as text.  What is not plain is escaped (RFC 1035,
 * section 5.1): a label that holds a dot must not look like two labels.
 */
static size_t label_byte(unsigned c, char out[5])
{
	if (c >= 'A' && c <= 'Z')
		c += 'a' - 'A';
	if (c > 0x20 && c < 0x7f && c != '.' && c != '\\') {
		out[0] = (char)c;
		return 1;
	}
	return (size_t)snprintf(out, 5, "\\%03u", c);
}

/*
 * RFC 1035, section 4.1.4.  A pointer must lead before the place where the
 * run of labels that holds it began, so every jump goes back and no packet
 * can send us in a circle.
 */
static int read_name(struct reader *in, char out[DNS_NAME], struct err *err)
{
	struct reader at = *in;
	size_t run = in->at, len = 0, wire = 1;
	bool jumped = false;

	for (;;) {
		unsigned size = read_u8(&at);

		if (at.bad)
			return err_set(err, "a name runs past the end");
		if (size >= 0xc0) {
			size_t to = (size & 0x3f) << 8 | read_u8(&at);

			if (at.bad)
				return err_set(err, "a name runs past the end");
			if (to >= run)
				return err_set(err, "a compression pointer does"
						    " not point back");
			if (!jumped)
				in->at = at.at;
			jumped = true;
			at.at = run = to;
			continue;
		}
		if (size > 63)
			return err_set(err, "a label has a reserved type");
		if (size == 0)
			break;
		wire += size + 1;
		if (wire > 255)
			return err_set(err, "a name is longer than 255 bytes");
		if (len > 0)
			out[len++] = '.';
		while (size-- > 0) {
			char text[5];
			size_t n = label_byte(read_u8(&at), text);

			if (at.bad)
				return err_set(err, "a name runs past the end");
			/* Room for this, the next dot and the NUL. */
			if (len + n + 2 > DNS_NAME)
				return err_set(err, "a name is too long as"
						    " text");
			memcpy(out + len, text, n);
			len += n;
		}
	}
	out[len] = '\0';
	if (!jumped)
		in->at = at.at;
	return 0;
}

/* The strings of a TXT joined; a NUL would cut a policy short unseen. */
static int read_text(struct reader *in, struct dns_record *record,
		     struct err *err)
{
	struct buf text = BUF_INIT;

	while (in->at < in->packet.len) {
		unsigned size = read_u8(in);

		if (size > in->packet.len - in->at) {
			buf_release(&text);
			return err_set(err, "a TXT string runs past its "
					    "record");
		}
		while (size-- > 0) {
			unsigned c = read_u8(in);

			buf_addc(&text, c ? (char)c : '?');
		}
	}
	record->text = text.p ? buf_take(&text) : mem_dup("");
	return 0;
}

/* What is left of the data, as hex: a hash. */
static void read_hash(struct reader *in, struct dns_record *record)
{
	struct buf text = BUF_INIT;

	if (!in->bad)
		encode_hex(slice_from(in->packet, in->at), &text);
	in->at = in->packet.len;
	record->text = text.p ? buf_take(&text) : mem_dup("");
}

/* RFC 8659, section 4.1: a tag is letters and digits, at least one. */
static int read_caa(struct reader *in, struct dns_record *record,
		    struct err *err)
{
	struct buf text = BUF_INIT;
	unsigned size;

	record->flags = read_u8(in);
	size = read_u8(in);
	if (size == 0 || size > in->packet.len - in->at)
		return err_set(err, "a CAA tag runs past its record");
	while (size-- > 0) {
		unsigned c = read_u8(in);

		if (c >= 'A' && c <= 'Z')
			c += 'a' - 'A';
		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) {
			buf_release(&text);
			return err_set(err, "a CAA tag is not of letters and "
					    "digits");
		}
		buf_addc(&text, (char)c);
	}
	buf_addc(&text, ' ');
	while (in->at < in->packet.len) {
		unsigned c = read_u8(in);

		buf_addc(&text, c ? (char)c : '?');
	}
	record->text = buf_take(&text);
	return 0;
}

static int read_srv(struct reader *in, struct dns_record *record,
		    struct err *err)
{
	record->preference = read_u16(in);
	read_u16(in); /* weight */
	record->port = read_u16(in);
	return read_name(in, record->target, err);
}

static int read_rrsig(struct reader *in, struct dns_record *record,
		      struct err *err)
{
	record->covers = read_u16(in);
	read_u16(in); /* algorithm, labels */
	read_u32(in); /* original TTL */
	record->ends_s = read_u32(in);
	record->begins_s = read_u32(in);
	read_u16(in); /* key tag */
	if (read_name(in, record->target, err) < 0)
		return -1;
	if (!in->bad)
		in->at = in->packet.len; /* the signature itself */
	return 0;
}

static int read_soa(struct reader *in, struct dns_record *record,
		    struct err *err)
{
	char rname[DNS_NAME];

	if (read_name(in, record->target, err) < 0 ||
	    read_name(in, rname, err) < 0)
		return -1;
	record->serial = read_u32(in);
	read_u32(in); /* refresh, retry, expire: for secondaries */
	read_u32(in);
	read_u32(in);
	record->minimum = read_u32(in);
	return 0;
}

static void read_address(struct reader *in, struct dns_record *record)
{
	unsigned char raw[16];
	size_t size = record->type == DNS_A ? 4 : 16;

	for (size_t i = 0; i < size; i++)
		raw[i] = (unsigned char)read_u8(in);
	inet_ntop(size == 4 ? AF_INET : AF_INET6, raw, record->address,
		  sizeof(record->address));
}

/* `in` ends where the record's data end; names may point before them. */
static int read_data(struct reader *in, struct dns_record *record,
		     struct err *err)
{
	size_t end = in->packet.len;

	switch (record->type) {
	case DNS_A:
	case DNS_AAAA:
		read_address(in, record);
		break;
	case DNS_MX:
		record->preference = read_u16(in);
		if (read_name(in, record->target, err) < 0)
			return -1;
		break;
	case DNS_NS:
	case DNS_CNAME:
	case DNS_PTR:
		if (read_name(in, record->target, err) < 0)
			return -1;
		break;
	case DNS_SOA:
		if (read_soa(in, record, err) < 0)
			return -1;
		break;
	case DNS_TXT:
		if (read_text(in, record, err) < 0)
			return -1;
		break;
	case DNS_TLSA:
		record->usage = read_u8(in);
		record->selector = read_u8(in);
		record->matching = read_u8(in);
		read_hash(in, record);
		break;
	case DNS_DS:
		read_u32(in); /* key tag, algorithm, kind of hash */
		read_hash(in, record);
		break;
	case DNS_CAA:
		if (read_caa(in, record, err) < 0)
			return -1;
		break;
	case DNS_SRV:
		if (read_srv(in, record, err) < 0)
			return -1;
		break;
	case DNS_RRSIG:
		if (read_rrsig(in, record, err) < 0)
			return -1;
		break;
	default:
		in->at = end;
	}
	if (in->bad || in->at != end)
		return err_set(err,
			       "the data of a %s record have the wrong "
			       "length",
			       dns_type_name(record->type));
	return 0;
}

static int read_record(struct reader *in, struct dns_record *record,
		       struct err *err)
{
	struct reader data;
	unsigned class, size;

	if (read_name(in, record->name, err) < 0)
		return -1;
	record->type = read_u16(in);
	class = read_u16(in);
	record->ttl = read_u32(in);
	size = read_u16(in);
	if (in->bad || size > in->packet.len - in->at)
		return err_set(err, "a record runs past the end");
	data = *in;
	data.packet.len = in->at + size;
	in->at += size;
	if (record->type == DNS_OPT)
		return 0; /* its class and TTL mean other things */
	if (class != CLASS_IN)
		return err_set(err, "a record of class %u", class);
	/* RFC 2181, section 8. */
	if (record->ttl > INT32_MAX)
		record->ttl = 0;
	return read_data(&data, record, err);
}

static void record_release(struct dns_record *record)
{
	free(record->text);
	record->text = NULL;
}

static int read_section(struct reader *in, unsigned count,
			struct dns_record **records, size_t *kept,
			struct err *err)
{
	size_t cap = 0;

	for (unsigned i = 0; i < count; i++) {
		/* Grown as records come: the count alone proves nothing. */
		if (*kept == cap) {
			cap = cap ? cap * 2 : 4;
			*records = mem_grow(*records, cap * sizeof(**records));
		}
		(*records)[*kept] = (struct dns_record){ 0 };
		(*kept)++;
		if (read_record(in, &(*records)[*kept - 1], err) < 0)
			return -1;
		/* RFC 6891, section 6.1.1. */
		if ((*records)[*kept - 1].type == DNS_OPT)
			return err_set(err, "an OPT record outside of the "
					    "additional section");
	}
	return 0;
}

/* Nothing of it is kept but the upper half of an OPT record's rcode. */
static int read_additional(struct reader *in, unsigned count,
			   struct dns_answer *answer, struct err *err)
{
	for (unsigned i = 0; i < count; i++) {
		struct dns_record record = { 0 };
		int rc = read_record(in, &record, err);

		record_release(&record);
		if (rc < 0)
			return -1;
		if (record.type == DNS_OPT)
			answer->rcode |= record.ttl >> 24 << 4;
	}
	return 0;
}

int dns_answer_parse(struct slice packet, struct dns_answer *answer,
		     struct err *err)
{
	struct reader in = { .packet = packet };
	struct dns_answer parsed = { 0 };
	unsigned flags, questions, answers, authorities, additional;
	char name[DNS_NAME];

	if (packet.len < HEADER)
		return err_set(err, "%zu bytes are no DNS answer", packet.len);
	read_u16(&in);
	flags = read_u16(&in);
	questions = read_u16(&in);
	answers = read_u16(&in);
	authorities = read_u16(&in);
	additional = read_u16(&in);
	if (!(flags & 0x8000))
		return err_set(err, "a query came instead of an answer");
	if (flags >> 11 & 15)
		return err_set(err, "an answer to opcode %u", flags >> 11 & 15);
	parsed.rcode = flags & 15;
	parsed.aa = flags & 0x0400;
	parsed.tc = flags & 0x0200;
	parsed.ad = flags & 0x0020;
	while (questions-- > 0) {
		if (read_name(&in, name, err) < 0)
			return -1;
		read_u32(&in);
		if (in.bad)
			return err_set(err, "the question runs past the end");
	}
	if (read_section(&in, answers, &parsed.answers, &parsed.answer_count,
			 err) < 0 ||
	    read_section(&in, authorities, &parsed.authority,
			 &parsed.authority_count, err) < 0 ||
	    read_additional(&in, additional, &parsed, err) < 0)
		goto fail;
	if (in.at != packet.len) {
		err_set(err, "%zu bytes follow the last record",
			packet.len - in.at);
		goto fail;
	}
	*answer = parsed;
	return 0;
fail:
	dns_answer_release(&parsed);
	return -1;
}

void dns_answer_release(struct dns_answer *answer)
{
	for (size_t i = 0; i < answer->answer_count; i++)
		record_release(&answer->answers[i]);
	for (size_t i = 0; i < answer->authority_count; i++)
		record_release(&answer->authority[i]);
	free(answer->answers);
	free(answer->authority);
	*answer = (struct dns_answer){ 0 };
}

static struct dns_record *copy_records(const struct dns_record *from,
				       size_t count)
{
	struct dns_record *to = count ? mem_alloc(count * sizeof(*to)) : NULL;

	for (size_t i = 0; i < count; i++) {
		to[i] = from[i];
		to[i].text = mem_dup(from[i].text);
	}
	return to;
}

void dns_answer_copy(struct dns_answer *to, const struct dns_answer *from)
{
	*to = *from;
	to->answers = copy_records(from->answers, from->answer_count);
	to->authority = copy_records(from->authority, from->authority_count);
}

bool dns_reverse_name(const char *address, char out[DNS_NAME])
{
	unsigned char raw[16];
	size_t len = 0;

	if (inet_pton(AF_INET, address, raw) == 1) {
		snprintf(out, DNS_NAME, "%u.%u.%u.%u.in-addr.arpa", raw[3],
			 raw[2], raw[1], raw[0]);
		return true;
	}
	if (inet_pton(AF_INET6, address, raw) != 1)
		return false;
	for (size_t i = sizeof(raw); i-- > 0;)
		len += (size_t)snprintf(out + len, DNS_NAME - len, "%x.%x.",
					raw[i] & 15u, raw[i] >> 4);
	snprintf(out + len, DNS_NAME - len, "ip6.arpa");
	return true;
}

int64_t dns_signature_time(uint32_t time_s, int64_t now_s)
{
	/* RFC 1982: the nearer way around. */
	return now_s + (int32_t)(time_s - (uint32_t)now_s);
}

const char *dns_rcode_name(unsigned rcode)
{
	static const char *const names[] = {
		"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN",
		"NOTIMP",  "REFUSED", "YXDOMAIN", "YXRRSET",
		"NXRRSET", "NOTAUTH", "NOTZONE",
	};

	if (rcode == 16)
		return "BADVERS";
	return rcode < COUNT(names) ? names[rcode] : "an unknown rcode";
}

const char *dns_type_name(unsigned type)
{
	static const struct {
		unsigned type;
		const char *name;
	} names[] = {
		{ DNS_A, "A" },		{ DNS_NS, "NS" },
		{ DNS_CNAME, "CNAME" }, { DNS_SOA, "SOA" },
		{ DNS_PTR, "PTR" },	{ DNS_MX, "MX" },
		{ DNS_TXT, "TXT" },	{ DNS_AAAA, "AAAA" },
		{ DNS_SRV, "SRV" },	{ DNS_OPT, "OPT" },
		{ DNS_DS, "DS" },	{ DNS_RRSIG, "RRSIG" },
		{ DNS_TLSA, "TLSA" },	{ DNS_CAA, "CAA" },
	};

	for (size_t i = 0; i < COUNT(names); i++)
		if (names[i].type == type)
			return names[i].name;
	return "unknown";
}

static bool is_name_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
	       c == '_' || c == '*' || c == '/';
}

bool dns_name_normal(struct slice in, char out[DNS_NAME])
{
	char made[DNS_NAME];
	size_t label = 0;

	if (in.len == 1 && in.p[0] == '.') {
		out[0] = '\0';
		return true;
	}
	if (in.len > 0 && in.p[in.len - 1] == '.')
		in.len--;
	if (in.len == 0 || in.len > 253)
		return false;
	for (size_t i = 0; i < in.len; i++) {
		char c = in.p[i];

		if (c >= 'A' && c <= 'Z')
			c += 'a' - 'A';
		if (c == '.' ? label == 0 : !is_name_byte(c) || label == 63)
			return false;
		label = c == '.' ? 0 : label + 1;
		made[i] = c;
	}
	if (label == 0)
		return false;
	made[in.len] = '\0';
	memcpy(out, made, in.len + 1);
	return true;
}
