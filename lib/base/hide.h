/*
 * hide.h - where somebody's address stands in a text that others wrote
 *
 * A reply or a reason may name people.  Log and journal leave that out, each
 * with a mark of its own in its place.  Pure.
 */
#ifndef BASE_HIDE_H
#define BASE_HIDE_H

#include <stddef.h>

/*
 * Where the local part begins that ends before the '@' at `at`: an atom with
 * dots, or a quoted string (RFC 5321 section 4.1.2).  `at` itself: there is
 * none.
 */
size_t hide_local_begins(const char *text, size_t at);

#endif
