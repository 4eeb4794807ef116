/*
 * encode.h - hex, base64, CRC32C, HTML escapes and fixed-width integers
 */
#ifndef BASE_ENCODE_H
#define BASE_ENCODE_H

#include "base/buf.h"

void encode_hex(struct slice bytes, struct buf *out);
bool decode_hex(struct slice text, struct buf *out);
void encode_base64(struct slice bytes, struct buf *out);
/* RFC 4648, section 4: padded, no other bytes.  On false `out` may have grown.
 */
bool decode_base64(struct slice text, struct buf *out);
/* For text inside HTML elements and double-quoted attributes. */
void encode_html(struct slice text, struct buf *out);
/* RFC 3986 percent-encoding of everything but unreserved characters. */
void encode_url(struct slice text, struct buf *out);
bool decode_url(struct slice text, struct buf *out);

/* Castagnoli (RFC 3720); `crc` is 0 to begin with, or a previous result. */
uint32_t crc32c(uint32_t crc, struct slice bytes);

/* Little-endian, any alignment. */
void put_u16(void *p, uint16_t v);
void put_u32(void *p, uint32_t v);
void put_u64(void *p, uint64_t v);
uint16_t get_u16(const void *p);
uint32_t get_u32(const void *p);
uint64_t get_u64(const void *p);

#endif
