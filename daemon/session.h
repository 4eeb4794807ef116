/*
 * session.h - one SMTP session: a connection, a dialogue, messages
 *
 * Ties stream, smtp_server and session_data together and asks `acceptance`
 * what mail is welcome.  A session frees itself when it is over and tells its
 * owner first.
 */
#ifndef DAEMON_SESSION_H
#define DAEMON_SESSION_H

#include "daemon/acceptance.h"
#include "net/stream.h"

struct session;

struct session_limits {		 /* 0: no limit */
	unsigned max_recipients; /* per transaction: 100 (RFC 5321) */
	unsigned max_messages;	 /* per session */
	uint64_t max_bytes;	 /* of messages, per session */
	unsigned max_errors;	 /* 5xx since the last kept message */
	unsigned max_junk;	 /* idle commands since then */
	int64_t command_ms;	 /* a command must come whole within */
	int64_t data_ms;	 /* no byte of data for so long */
	int64_t data_total_ms;	 /* a message must end within */
};

/* Sessions that a limit ended, and what was refused without that, since the
 * start. */
struct session_counts {
	uint64_t messages, bytes, errors, junk, timeouts;
	uint64_t recipients; /* counted when its session ends */
	uint64_t space;	     /* messages that got 452 */
};

struct session_owner {
	struct session_counts *counts; /* of all its sessions */
	/* False: no transaction may begin now. */
	bool (*may_begin)(void *ctx);
	/* One began; it ended, however (not before on_ended). */
	void (*on_busy)(void *ctx);
	void (*on_idle)(void *ctx);
	/* It is over and will be freed now. */
	void (*on_ended)(void *ctx);
};

/* Takes `fd` over; copies `hostname`; `owner` is borrowed.  `tls` is shared;
 * NULL: STARTTLS is not offered. */
struct session *session_new(struct acceptance *acceptance, int fd,
			    const char *hostname,
			    const struct session_limits *limits,
			    struct tls_server *tls,
			    const struct session_owner *owner, void *ctx);
/* Answers 421 as soon as no transaction is open; whoever waits for that bounds
 * the time. */
void session_shutdown(struct session *session, const char *text);
/* At once, without a word to the peer or the owner. */
void session_free(struct session *session);

#endif
