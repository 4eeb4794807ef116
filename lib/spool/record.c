#include "spool/record.h"
#include "base/encode.h"

/*
 * Payloads are fixed-width little-endian numbers and texts with a 16-bit
 * length, in the order of the structs.  The first byte is the version.
 */
enum {
	VERSION = 1,
	FLAGS_AT = 1 + ID_LEN + 8 + 8, /* in a message */
	SEALED = 8,
};

static const char *const state_names[] = {
	[ENVELOPE_WAITING] = "waiting",	    [ENVELOPE_HELD] = "held",
	[ENVELOPE_DELIVERED] = "delivered", [ENVELOPE_BOUNCED] = "bounced",
	[ENVELOPE_DISCARDED] = "discarded",
};

const char *envelope_state_name(enum envelope_state state)
{
	return state_names[state];
}

bool envelope_state_parse(const char *name, enum envelope_state *state)
{
	for (size_t i = 0; i < COUNT(state_names); i++) {
		if (strcmp(name, state_names[i]) != 0)
			continue;
		*state = (enum envelope_state)i;
		return true;
	}
	return false;
}

bool envelope_state_is_final(enum envelope_state state)
{
	return state >= ENVELOPE_DELIVERED;
}

static void add8(struct buf *out, unsigned v)
{
	buf_addc(out, (char)v);
}

static void add16(struct buf *out, uint16_t v)
{
	char bytes[2];

	put_u16(bytes, v);
	buf_add(out, slice_of(bytes, sizeof(bytes)));
}

static void add32(struct buf *out, uint32_t v)
{
	char bytes[4];

	put_u32(bytes, v);
	buf_add(out, slice_of(bytes, sizeof(bytes)));
}

static void add64(struct buf *out, uint64_t v)
{
	char bytes[8];

	put_u64(bytes, v);
	buf_add(out, slice_of(bytes, sizeof(bytes)));
}

/* Texts come bounded; a longer one would lose its end, never its record. */
static void add_text(struct buf *out, struct slice text)
{
	if (text.len > UINT16_MAX)
		text.len = UINT16_MAX;
	add16(out, (uint16_t)text.len);
	buf_add(out, text);
}

static void add_id(struct buf *out, const struct id *id)
{
	buf_add(out, slice_of(id->text, ID_LEN));
}

void record_message_encode(const struct record_message *message,
			   struct buf *out)
{
	buf_reserve(out, 500); /* most of them: one piece of memory */
	add8(out, VERSION);
	add_id(out, &message->id);
	add64(out, message->sequence);
	add64(out, (uint64_t)message->accepted_ms);
	add8(out, (message->eightbit ? 1u : 0) | (message->utf8 ? 2u : 0) |
			  (message->side_file ? 4u : 0) |
			  (message->sealed ? (unsigned)SEALED : 0));
	add64(out, message->body_bytes);
	buf_add(out, slice_of(message->sha256, DIGEST_LEN));
	add_text(out, message->plan);
	add_text(out, message->reverse_path);
	add_text(out, message->helo);
	add_text(out, message->peer);
	add_text(out, message->protocol);
	add_text(out, message->tls);
	add32(out, (uint32_t)message->envelope_count);
	for (size_t i = 0; i < message->envelope_count; i++)
		add_text(out, message->forward_paths[i]);
}

void record_attempt_encode(const struct record_attempt *attempt,
			   struct buf *out)
{
	add8(out, VERSION);
	add_id(out, &attempt->id);
	add32(out, attempt->envelope);
	add8(out, (attempt->begin ? 1u : 0) | (attempt->uncertain ? 2u : 0) |
			  (attempt->mailbox ? 4u : 0));
	add32(out, attempt->number);
	add64(out, (uint64_t)attempt->at_ms);
	add16(out, attempt->code);
	add8(out, attempt->outcome);
	add64(out, (uint64_t)attempt->next_ms);
	add_text(out, attempt->target);
	add_text(out, attempt->tls);
	add_text(out, attempt->stage);
	add_text(out, attempt->enhanced);
	add_text(out, attempt->reply);
}

void record_state_encode(const struct record_state *state, struct buf *out)
{
	add8(out, VERSION);
	add_id(out, &state->id);
	add32(out, state->envelope);
	add8(out, state->state);
	add8(out, state->mailbox ? 1 : 0);
	add64(out, (uint64_t)state->at_ms);
	add_text(out, state->by);
	add_text(out, state->reason);
}

/* Decoding: `bad` sticks, so that one test at the end is enough. */
struct reader {
	struct slice in;
	bool bad;
};

static const char *take(struct reader *r, size_t len)
{
	static const char zeros[64];
	const char *p = r->in.p;

	if (r->bad || r->in.len < len) {
		r->bad = true;
		return zeros; /* only numbers and hashes are read so */
	}
	r->in = slice_from(r->in, len);
	return p;
}

static unsigned take8(struct reader *r)
{
	return (unsigned char)*take(r, 1);
}

static uint16_t take16(struct reader *r)
{
	return get_u16(take(r, 2));
}

static uint32_t take32(struct reader *r)
{
	return get_u32(take(r, 4));
}

static uint64_t take64(struct reader *r)
{
	return get_u64(take(r, 8));
}

static struct slice take_text(struct reader *r)
{
	size_t len = take16(r);

	if (r->bad || r->in.len < len) {
		r->bad = true;
		return slice("");
	}
	return slice_of(take(r, len), len);
}

static void take_id(struct reader *r, struct id *id)
{
	if (!id_parse(slice_of(take(r, ID_LEN), ID_LEN), id))
		r->bad = true;
}

static void take_version(struct reader *r)
{
	if (take8(r) != VERSION)
		r->bad = true;
}

static enum envelope_state take_state(struct reader *r)
{
	unsigned state = take8(r);

	if (state > ENVELOPE_DISCARDED)
		r->bad = true;
	return (enum envelope_state)state;
}

int record_message_decode(struct slice payload, struct record_message *message,
			  struct slice *forward_paths, struct err *err)
{
	struct reader r = { payload, false };
	struct record_message m = { .forward_paths = forward_paths };
	unsigned flags;

	take_version(&r);
	take_id(&r, &m.id);
	m.sequence = take64(&r);
	m.accepted_ms = (int64_t)take64(&r);
	flags = take8(&r);
	m.eightbit = flags & 1;
	m.utf8 = flags & 2;
	m.side_file = flags & 4;
	m.sealed = flags & SEALED;
	m.body_bytes = take64(&r);
	memcpy(m.sha256, take(&r, DIGEST_LEN), DIGEST_LEN);
	m.plan = take_text(&r);
	m.reverse_path = take_text(&r);
	m.helo = take_text(&r);
	m.peer = take_text(&r);
	m.protocol = take_text(&r);
	m.tls = take_text(&r);
	m.envelope_count = take32(&r);
	if (m.envelope_count == 0 || m.envelope_count > RECORD_MAX_ENVELOPES)
		r.bad = true;
	for (size_t i = 0; !r.bad && i < m.envelope_count; i++)
		forward_paths[i] = take_text(&r);
	if (r.bad)
		return err_set(err, "not a message record");
	m.body = r.in;
	*message = m;
	return 0;
}

bool record_message_is_sealed(struct slice payload)
{
	return payload.len > FLAGS_AT && (payload.p[FLAGS_AT] & SEALED);
}

int record_attempt_decode(struct slice payload, struct record_attempt *attempt,
			  struct err *err)
{
	struct reader r = { payload, false };
	struct record_attempt a = { 0 };
	unsigned flags;

	take_version(&r);
	take_id(&r, &a.id);
	a.envelope = take32(&r);
	flags = take8(&r);
	a.begin = flags & 1;
	a.uncertain = flags & 2;
	a.mailbox = flags & 4;
	a.number = take32(&r);
	a.at_ms = (int64_t)take64(&r);
	a.code = take16(&r);
	a.outcome = take_state(&r);
	a.next_ms = (int64_t)take64(&r);
	a.target = take_text(&r);
	a.tls = take_text(&r);
	a.stage = take_text(&r);
	a.enhanced = take_text(&r);
	a.reply = take_text(&r);
	if (r.bad || r.in.len > 0)
		return err_set(err, "not an attempt record");
	*attempt = a;
	return 0;
}

int record_state_decode(struct slice payload, struct record_state *state,
			struct err *err)
{
	struct reader r = { payload, false };
	struct record_state s = { 0 };

	take_version(&r);
	take_id(&r, &s.id);
	s.envelope = take32(&r);
	s.state = take_state(&r);
	s.mailbox = take8(&r) & 1;
	s.at_ms = (int64_t)take64(&r);
	s.by = take_text(&r);
	s.reason = take_text(&r);
	if (r.bad || r.in.len > 0)
		return err_set(err, "not a state record");
	*state = s;
	return 0;
}
