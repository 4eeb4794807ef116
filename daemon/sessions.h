/*
 * sessions.h - those who are with us, by whatever listener they came
 *
 * Bounds sessions in all and per network (network.h); over the bound a peer
 * gets 421 and nothing else, or an idle session of a larger network gets it in
 * place of that peer.
 *
 * Watches how long an answer takes: the oldest record that waits for the spool,
 * and how late the loop is.  In overload (overload.h) whoever is put off gets
 * 421 when he comes and 451 when he begins a transaction; one that was begun
 * goes on to its end.
 */
#ifndef DAEMON_SESSIONS_H
#define DAEMON_SESSIONS_H

#include "base/json.h"
#include "daemon/config.h"
#include "daemon/session.h"

struct sessions;

/* Both are borrowed. */
struct sessions *sessions_new(struct acceptance *acceptance,
			      const struct config *config);
/* Ends every one at once. */
void sessions_free(struct sessions *sessions);
/* Takes `fd` over: a session, or 421.  `tls` as session_new() has it. */
void sessions_take(struct sessions *sessions, int fd, const struct addr *peer,
		   const char *hostname, struct tls_server *tls);
/* Says this reply and closes. */
void sessions_refuse(int fd, const char *reply);
/* 421 to those between transactions. */
void sessions_shutdown(struct sessions *sessions);
size_t sessions_count(const struct sessions *sessions);
/* That there is an overload, in words to free(), or NULL. */
char *sessions_overload(const struct sessions *sessions);
/* Sessions, networks, the limits, and how often each turned somebody away;
 * `turned_away`, which it takes, has the counts of those who did not get here. */
struct json *sessions_json(const struct sessions *sessions,
			   struct json *turned_away);

#endif
