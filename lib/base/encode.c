#include "base/encode.h"
#include <endian.h>

void encode_hex(struct slice bytes, struct buf *out)
{
	static const char hex[] = "0123456789abcdef";

	buf_reserve(out, 2 * bytes.len);
	for (size_t i = 0; i < bytes.len; i++) {
		buf_addc(out, hex[(unsigned char)bytes.p[i] >> 4]);
		buf_addc(out, hex[bytes.p[i] & 15]);
	}
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 32;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool decode_hex(struct slice text, struct buf *out)
{
	if (text.len % 2)
		return false;
	for (size_t i = 0; i < text.len; i += 2) {
		int high = hex_digit(text.p[i]), low = hex_digit(text.p[i + 1]);

		if (high < 0 || low < 0)
			return false;
		buf_addc(out, (char)(high << 4 | low));
	}
	return true;
}

void encode_base64(struct slice bytes, struct buf *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = (const unsigned char *)bytes.p;

	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t left = bytes.len - i;
		uint32_t v = (uint32_t)p[i] << 16;

		if (left > 1)
			v |= (uint32_t)p[i + 1] << 8;
		if (left > 2)
			v |= p[i + 2];
		buf_addc(out, digits[v >> 18]);
		buf_addc(out, digits[v >> 12 & 63]);
		buf_addc(out, left > 1 ? digits[v >> 6 & 63] : '=');
		buf_addc(out, left > 2 ? digits[v & 63] : '=');
	}
}

/* 64: no digit. */
static uint32_t base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (uint32_t)(c - 'A');
	if (c >= 'a' && c <= 'z')
		return (uint32_t)(c - 'a') + 26;
	if (c >= '0' && c <= '9')
		return (uint32_t)(c - '0') + 52;
	return c == '+' ? 62 : c == '/' ? 63 : 64;
}

bool decode_base64(struct slice text, struct buf *out)
{
	if (text.len % 4 != 0)
		return false;
	for (size_t i = 0; i < text.len; i += 4) {
		bool last = i + 4 == text.len;
		size_t digits = 4;
		uint32_t v = 0;

		while (last && digits > 2 && text.p[i + digits - 1] == '=')
			digits--;
		for (size_t n = 0; n < 4; n++) {
			uint32_t value =
				n < digits ? base64_value(text.p[i + n]) : 0;

			if (value > 63)
				return false;
			v = v << 6 | value;
		}
		for (size_t n = 0; n + 1 < digits; n++)
			buf_addc(out, (char)(v >> (16 - 8 * n)));
		/* Bits that no byte has: one text for one value. */
		if (digits < 4 && (v & (digits == 3 ? 0xff : 0xffff)))
			return false;
	}
	return true;
}

void encode_html(struct slice text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		switch (text.p[i]) {
		case '&':
			buf_adds(out, "&amp;");
			break;
		case '<':
			buf_adds(out, "&lt;");
			break;
		case '>':
			buf_adds(out, "&gt;");
			break;
		case '"':
			buf_adds(out, "&quot;");
			break;
		case '\'':
			buf_adds(out, "&#39;");
			break;
		default:
			buf_addc(out, text.p[i]);
			break;
		}
	}
}

void encode_url(struct slice text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
		    (c >= 'a' && c <= 'z') || c == '-' || c == '.' ||
		    c == '_' || c == '~')
			buf_addc(out, (char)c);
		else
			buf_addf(out, "%%%02X", c);
	}
}

bool decode_url(struct slice text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		if (text.p[i] != '%') {
			buf_addc(out, text.p[i]);
			continue;
		}
		if (text.len - i < 3 ||
		    !decode_hex(slice_of(text.p + i + 1, 2), out))
			return false;
		i += 2;
	}
	return true;
}

static uint32_t crc_soft(uint32_t crc, struct slice bytes)
{
	for (size_t i = 0; i < bytes.len; i++) {
		crc ^= (unsigned char)bytes.p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0x82f63b78u & -(crc & 1));
	}
	return crc;
}

#ifdef __x86_64__
/* SSE 4.2 has this very polynomial as an instruction. */
__attribute__((target("sse4.2"))) static uint32_t crc_hard(uint32_t crc,
							   struct slice bytes)
{
	uint64_t sum = crc;
	const char *p = bytes.p;
	size_t left = bytes.len;

	for (; left >= 8; left -= 8, p += 8) {
		uint64_t word;

		memcpy(&word, p, 8);
		sum = __builtin_ia32_crc32di(sum, word);
	}
	for (; left > 0; left--, p++)
		sum = __builtin_ia32_crc32qi((uint32_t)sum, (unsigned char)*p);
	return (uint32_t)sum;
}
#endif

uint32_t crc32c(uint32_t crc, struct slice bytes)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("sse4.2"))
		return ~crc_hard(~crc, bytes);
#endif
	return ~crc_soft(~crc, bytes);
}

void put_u16(void *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

void put_u32(void *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

void put_u64(void *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

uint16_t get_u16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

uint32_t get_u32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

uint64_t get_u64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}
