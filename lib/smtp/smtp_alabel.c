#include "smtp/smtp_alabel.h"

/* RFC 3492, section 5: the parameters of Punycode. */
enum {
	BASE = 36,
	TMIN = 1,
	TMAX = 26,
	SKEW = 38,
	DAMP = 700,
	INITIAL_BIAS = 72,
	INITIAL_N = 128
};

/* A label of DNS has at most 63 bytes, so no longer one is worth encoding. */
#define LABEL_POINTS_MAX 63

bool smtp_utf8_next(struct slice *s, uint32_t *point)
{
	static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	const unsigned char *p = (const unsigned char *)s->p;
	size_t more;
	uint32_t value;

	if (s->len == 0)
		return false;
	if (p[0] < 0x80)
		more = 0, value = p[0];
	else if ((p[0] & 0xe0) == 0xc0)
		more = 1, value = p[0] & 0x1f;
	else if ((p[0] & 0xf0) == 0xe0)
		more = 2, value = p[0] & 0x0f;
	else if ((p[0] & 0xf8) == 0xf0)
		more = 3, value = p[0] & 0x07;
	else
		return false;
	if (s->len <= more)
		return false;
	for (size_t i = 1; i <= more; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return false;
		value = value << 6 | (p[i] & 0x3f);
	}
	if (value < least[more] || value > 0x10ffff ||
	    (value >= 0xd800 && value <= 0xdfff))
		return false;
	*point = value;
	*s = slice_from(*s, more + 1);
	return true;
}

bool smtp_utf8_is_valid(struct slice s)
{
	uint32_t point;

	while (s.len > 0)
		if (!smtp_utf8_next(&s, &point))
			return false;
	return true;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

static void add_lower(struct slice s, struct buf *out)
{
	for (size_t i = 0; i < s.len; i++)
		buf_addc(out, lower(s.p[i]));
}

static uint32_t adapt(uint32_t delta, uint32_t points, bool first)
{
	uint32_t k = 0;

	delta = first ? delta / DAMP : delta / 2;
	delta += delta / points;
	while (delta > (BASE - TMIN) * TMAX / 2) {
		delta /= BASE - TMIN;
		k += BASE;
	}
	return k + (BASE - TMIN + 1) * delta / (delta + SKEW);
}

static void add_digit(uint32_t digit, struct buf *out)
{
	buf_addc(out, (char)(digit < 26 ? 'a' + digit : '0' + digit - 26));
}

static void add_number(uint32_t q, uint32_t bias, struct buf *out)
{
	for (uint32_t k = BASE;; k += BASE) {
		uint32_t t = k <= bias	      ? TMIN :
			     k >= bias + TMAX ? TMAX :
						k - bias;

		if (q < t)
			break;
		add_digit(t + (q - t) % (BASE - t), out);
		q = (q - t) / (BASE - t);
	}
	add_digit(q, out);
}

/*
 * RFC 3492, section 6.3.  With at most 63 code points delta stays far below
 * 2^32, so the overflow checks of the RFC have nothing to find.
 */
static void add_punycode(const uint32_t *points, size_t count, struct buf *out)
{
	uint32_t n = INITIAL_N, delta = 0, bias = INITIAL_BIAS;
	size_t basic = 0, done;

	buf_adds(out, "xn--");
	for (size_t i = 0; i < count; i++) {
		if (points[i] >= 0x80)
			continue;
		buf_addc(out, lower((char)points[i]));
		basic++;
	}
	if (basic > 0)
		buf_addc(out, '-');
	for (done = basic; done < count; n++, delta++) {
		uint32_t next = UINT32_MAX;

		for (size_t i = 0; i < count; i++)
			if (points[i] >= n && points[i] < next)
				next = points[i];
		delta += (next - n) * (uint32_t)(done + 1);
		n = next;
		for (size_t i = 0; i < count; i++) {
			if (points[i] < n)
				delta++;
			if (points[i] != n)
				continue;
			add_number(delta, bias, out);
			bias = adapt(delta, (uint32_t)done + 1, done == basic);
			delta = 0;
			done++;
		}
	}
}

static void add_label(struct slice label, struct buf *out)
{
	uint32_t points[LABEL_POINTS_MAX];
	struct slice rest = label;
	size_t count = 0;
	bool ascii = true;

	while (count < COUNT(points) && smtp_utf8_next(&rest, &points[count]))
		ascii = points[count++] < 0x80 && ascii;
	if (rest.len > 0 || ascii)
		add_lower(label, out);
	else
		add_punycode(points, count, out);
}

void smtp_domain_alabels(struct slice domain, struct buf *out)
{
	while (domain.len > 0) {
		ptrdiff_t dot = slice_find(domain, '.');
		size_t len = dot < 0 ? domain.len : (size_t)dot;

		add_label(slice_of(domain.p, len), out);
		if (dot < 0)
			break;
		buf_addc(out, '.');
		domain = slice_from(domain, len + 1);
	}
}
