/*
 * listener.h - the sockets that mail comes in by
 *
 * One listener is one address with its certificates.  Whoever comes by it has a
 * session, if sessions.h has room.
 */
#ifndef DAEMON_LISTENER_H
#define DAEMON_LISTENER_H

#include "daemon/inherited.h"
#include "daemon/sessions.h"

struct listener;
struct listeners; /* all of a daemon's, and their sessions */

/* All are borrowed. */
struct listeners *listeners_new(struct acceptance *acceptance,
				const struct inherited *inherited,
				const struct config *config);
/* Ends every session at once. */
void listeners_free(struct listeners *listeners);

/*
 * Listens on "ip:port" as `hostname` (greeting, EHLO, Received), on the
 * inherited socket of that address if there is one.  Again for the same
 * address: adds a user; the greeting keeps the first one's name, and a client
 * that asks for a name (SNI) gets the certificate that has it.  `tls` is shared,
 * and may be NULL.
 */
int listeners_open(struct listeners *listeners, const char *address,
		   const char *hostname, struct tls_server *tls,
		   struct err *err);
/* Takes a user off, with the `tls` it came with; the last one closes the
 * socket, sessions go on. */
void listeners_close(struct listeners *listeners, const char *address,
		     struct tls_server *tls);
bool listeners_has(const struct listeners *listeners, const char *address);

/* No new sessions; 421 to those between transactions. */
void listeners_shutdown(struct listeners *listeners);
size_t listeners_sessions(const struct listeners *listeners);
/* As sessions_overload(), sessions_json(). */
char *listeners_overload(const struct listeners *listeners);
struct json *listeners_json(const struct listeners *listeners);

#endif
