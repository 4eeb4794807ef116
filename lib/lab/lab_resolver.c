#include "lab/lab_resolver.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/list.h"
#include "base/map.h"
#include "lab/lab_port.h"
#include <stdlib.h>
#include <unistd.h>

#define HEADER	     12
#define UPSTREAM_MS  2000
#define ENTRIES_MAX  4096
#define FORWARDS_MAX 1024

struct entry {
	struct buf message; /* as the authority sent it, without OPT */
	int64_t until_ms;   /* mono */
};

/* A question that is at the authority. */
struct forward {
	struct list link;
	struct lab_resolver *lab;
	struct lab_asker *asker;
	struct buf key, question;
	uint16_t id;
	struct loop_timer *timer;
};

struct lab_resolver {
	struct loop *loop;
	struct lab_port *port;
	int fd; /* connected to the authority */
	struct loop_watch *watch;
	struct map cache;
	struct list forwards;
	int64_t min_ttl_ms;
	size_t hits, misses;
};

static unsigned get16(const char *p)
{
	return (unsigned)(unsigned char)p[0] << 8 | (unsigned char)p[1];
}

static void put16(char *p, unsigned value)
{
	p[0] = (char)(value >> 8);
	p[1] = (char)value;
}

static void entry_free(void *ctx, struct slice key, void *value)
{
	struct entry *entry = value;

	buf_release(&entry->message);
	free(entry);
}

void lab_resolver_flush(struct lab_resolver *lab)
{
	map_each(&lab->cache, entry_free, NULL);
	map_release(&lab->cache);
	lab->cache = (struct map)MAP_INIT;
}

/*
 * Walks the records of a message that dns_answer_parse() accepted.  OPT is
 * cut off where it is the last, as the authority sends it.
 */
static size_t skip_name(struct slice message, size_t at)
{
	for (;;) {
		unsigned size = (unsigned char)message.p[at];

		if (size >= 0xc0)
			return at + 2;
		if (size == 0)
			return at + 1;
		at += 1 + size;
	}
}

static size_t first_record(struct slice message)
{
	return skip_name(message, HEADER) + 4;
}

static size_t next_record(struct slice message, size_t at)
{
	at = skip_name(message, at);
	return at + 10 + get16(message.p + at + 8);
}

static void set_ttls(struct buf *message, uint32_t ttl)
{
	unsigned count = get16(message->p + 6) + get16(message->p + 8);
	size_t at = first_record(buf_slice(message));

	while (count-- > 0) {
		size_t fixed = skip_name(buf_slice(message), at);

		put16(message->p + fixed + 4, ttl >> 16);
		put16(message->p + fixed + 6, ttl & 0xffff);
		at = next_record(buf_slice(message), at);
	}
}

/* Without the additional section: an OPT speaks for one hop alone. */
static void cut_additional(struct buf *message)
{
	unsigned count = get16(message->p + 6) + get16(message->p + 8);
	size_t at = first_record(buf_slice(message));

	while (count-- > 0)
		at = next_record(buf_slice(message), at);
	message->len = at;
	put16(message->p + 10, 0);
}

static void answer_entry(struct lab_asker *asker, const struct entry *entry,
			 int64_t now_ms)
{
	int64_t left_ms = entry->until_ms - now_ms;
	struct buf out = BUF_INIT;

	buf_add(&out, buf_slice(&entry->message));
	/* Rounded up: whoever waits for it to run out waits long enough. */
	set_ttls(&out, left_ms > 0 ? (uint32_t)((left_ms + 999) / 1000) : 0);
	out.p[2] = (char)0x80;			   /* QR, no AA */
	out.p[3] = (char)(0x80 | (out.p[3] & 15)); /* RA */
	lab_asker_answer(asker, buf_slice(&out));
	buf_release(&out);
}

static void answer_failure(struct lab_asker *asker, struct slice question)
{
	static const char header[HEADER] = {
		0, 0, (char)0x80, (char)(0x80 | DNS_SERVFAIL), 0, 1
	};
	struct buf out = BUF_INIT;

	buf_add(&out, slice_of(header, sizeof(header)));
	buf_add(&out, question);
	lab_asker_answer(asker, buf_slice(&out));
	buf_release(&out);
}

static void forward_free(struct forward *forward)
{
	list_remove(&forward->link);
	loop_timer_free(forward->timer);
	buf_release(&forward->key);
	buf_release(&forward->question);
	free(forward);
}

static void forward_fail(struct forward *forward)
{
	answer_failure(forward->asker, buf_slice(&forward->question));
	forward_free(forward);
}

static void on_upstream_timeout(void *ctx)
{
	forward_fail(ctx);
}

/* Seconds that the answer may be kept; -1: not at all. */
static int64_t ttl_of(const struct dns_answer *answer)
{
	int64_t ttl = -1;

	if (answer->rcode != DNS_NOERROR && answer->rcode != DNS_NXDOMAIN)
		return -1;
	for (size_t i = 0; i < answer->answer_count; i++)
		if (ttl < 0 || answer->answers[i].ttl < ttl)
			ttl = answer->answers[i].ttl;
	for (size_t i = 0; i < answer->authority_count; i++) {
		const struct dns_record *record = &answer->authority[i];
		uint32_t keep = record->ttl;

		/* RFC 2308, section 5. */
		if (record->type == DNS_SOA && record->minimum < keep)
			keep = record->minimum;
		if (ttl < 0 || keep < ttl)
			ttl = keep;
	}
	return ttl;
}

static void keep(struct lab_resolver *lab, struct slice key,
		 const struct entry *entry)
{
	struct entry *kept, *before;

	if (lab->cache.count >= ENTRIES_MAX)
		lab_resolver_flush(lab);
	kept = mem_alloc(sizeof(*kept));
	kept->until_ms = entry->until_ms;
	buf_add(&kept->message, buf_slice(&entry->message));
	before = map_put(&lab->cache, key, kept);
	if (before)
		entry_free(NULL, key, before);
}

static void take_answer(struct forward *forward, struct slice message)
{
	struct lab_resolver *lab = forward->lab;
	struct dns_answer answer;
	struct entry entry = { 0 };
	int64_t now_ms = clock_mono_ms(), ttl, life_ms;

	if (dns_answer_parse(message, &answer, NULL) < 0) {
		forward_fail(forward);
		return;
	}
	ttl = answer.tc ? -1 : ttl_of(&answer);
	dns_answer_release(&answer);
	if (ttl < 0) {
		forward_fail(forward);
		return;
	}
	life_ms = ttl * 1000 > lab->min_ttl_ms ? ttl * 1000 : lab->min_ttl_ms;
	entry.until_ms = now_ms + life_ms;
	buf_add(&entry.message, message);
	cut_additional(&entry.message);
	if (life_ms > 0)
		keep(lab, buf_slice(&forward->key), &entry);
	answer_entry(forward->asker, &entry, now_ms);
	buf_release(&entry.message);
	forward_free(forward);
}

static void on_upstream(void *ctx, int fd, int what)
{
	struct lab_resolver *lab = ctx;
	char bytes[65536];
	ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

	if (n < HEADER)
		return; /* an ICMP error is told once and forgotten */
	list_each (it, next, &lab->forwards) {
		struct forward *forward = list_entry(it, struct forward, link);
		struct slice question = buf_slice(&forward->question);

		if (forward->id != get16(bytes) || get16(bytes + 4) != 1 ||
		    (size_t)n < HEADER + question.len ||
		    memcmp(bytes + HEADER, question.p, question.len) != 0)
			continue;
		take_answer(forward, slice_of(bytes, (size_t)n));
		return;
	}
}

static void send_upstream(struct forward *forward)
{
	static const char opt[] = { 0, 0, DNS_OPT, (char)0xff, (char)0xff, 0,
				    0, 0, 0,	   0,	       0 };
	struct buf out = BUF_INIT;
	char header[HEADER] = { 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1 };

	put16(header, forward->id);
	buf_add(&out, slice_of(header, sizeof(header)));
	buf_add(&out, buf_slice(&forward->question));
	buf_add(&out, slice_of(opt, sizeof(opt)));
	/* What is not sent times out. */
	send(forward->lab->fd, out.p, out.len, MSG_NOSIGNAL);
	buf_release(&out);
}

static void on_query(void *ctx, const struct lab_query *query,
		     struct lab_asker *asker)
{
	struct lab_resolver *lab = ctx;
	int64_t now_ms = clock_mono_ms();
	struct buf key = BUF_INIT;
	struct forward *forward;
	struct entry *entry;
	size_t open = 0;

	buf_addf(&key, "%u %s", query->type, query->name);
	entry = map_get(&lab->cache, buf_slice(&key));
	if (entry && entry->until_ms > now_ms) {
		lab->hits++;
		answer_entry(asker, entry, now_ms);
		buf_release(&key);
		return;
	}
	list_each (it, next, &lab->forwards)
		open++;
	if (!query->recurse || open >= FORWARDS_MAX) {
		answer_failure(asker, query->question);
		buf_release(&key);
		return;
	}
	lab->misses++;
	forward = mem_alloc(sizeof(*forward));
	forward->lab = lab;
	forward->asker = asker;
	forward->key = key;
	buf_add(&forward->question, query->question);
	random_bytes(&forward->id, sizeof(forward->id));
	forward->timer =
		loop_timer_new(lab->loop, on_upstream_timeout, forward);
	loop_timer_arm(forward->timer, UPSTREAM_MS);
	list_append(&lab->forwards, &forward->link);
	send_upstream(forward);
}

static int open_upstream(struct lab_resolver *lab, const struct addr *authority,
			 struct err *err)
{
	char text[ADDR_TEXT];

	lab->fd = socket(authority->sa.ss_family,
			 SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (lab->fd < 0 ||
	    connect(lab->fd, (const struct sockaddr *)&authority->sa,
		    authority->len) < 0)
		return err_errno(err, "cannot reach the authority %s",
				 addr_format(authority, text));
	lab->watch =
		loop_watch_new(lab->loop, lab->fd, LOOP_READ, on_upstream, lab);
	return 0;
}

struct lab_resolver *lab_resolver_new(struct loop *loop,
				      const struct addr *listen,
				      const struct addr *authority,
				      int64_t min_ttl_ms, struct err *err)
{
	struct lab_resolver *lab = mem_alloc(sizeof(*lab));

	lab->loop = loop;
	lab->min_ttl_ms = min_ttl_ms;
	lab->fd = -1;
	list_init(&lab->forwards);
	if (open_upstream(lab, authority, err) < 0)
		goto fail;
	lab->port = lab_port_new(loop, listen, on_query, lab, err);
	if (lab->port)
		return lab;
fail:
	lab_resolver_free(lab);
	return NULL;
}

void lab_resolver_free(struct lab_resolver *lab)
{
	if (!lab)
		return;
	list_each (it, next, &lab->forwards)
		forward_free(list_entry(it, struct forward, link));
	lab_port_free(lab->port); /* drops the askers */
	loop_watch_free(lab->watch);
	if (lab->fd >= 0)
		close(lab->fd);
	lab_resolver_flush(lab);
	free(lab);
}

const struct addr *lab_resolver_addr(const struct lab_resolver *lab)
{
	return lab_port_addr(lab->port);
}

size_t lab_resolver_hits(const struct lab_resolver *lab)
{
	return lab->hits;
}

size_t lab_resolver_misses(const struct lab_resolver *lab)
{
	return lab->misses;
}
