/*
 * lab_mx.h - a mail system for the rehearsal and the tests
 *
 * An SMTP server on loopback that keeps what it accepts, in order, and behaves
 * as a script says (lab_script.h): a tenant that has the domain, one that does
 * not have it (yet, or any more), one that is busy, one that hangs up.  It
 * counts copies by the sender's numbers (lab_sender.h).
 *
 * Bounded: so many sessions (the next gets 421), so many arrivals (then 452),
 * one message's bytes per session.
 */
#ifndef LAB_LAB_MX_H
#define LAB_LAB_MX_H

#include "lab/lab_script.h"
#include "net/loop.h"
#include "net/tls.h"

struct lab_mx_arrival {
	char *mailbox;
	uint64_t number; /* the sender's, per mailbox */
	char *sha256;	 /* of the bytes after our and others' trace */
	int64_t at_ms;
};

/* A reply, or what came in its place, as a test may want to read it. */
struct lab_mx_event {
	uint64_t session; /* counted from 1 */
	enum lab_stage stage;
	enum lab_reaction reaction;
	int code;	     /* 0: none was given */
	const char *address; /* "" where there is none */
	uint64_t number;     /* of the message, at its dot */
	bool kept;
};

struct lab_mx {
	struct loop *loop;
	const char *title;
	char address[64]; /* "127.0.0.1:port" */
	struct lab_script *script;
	struct tls_server *tls;
	int fd;
	struct loop_watch *watch;
	struct list *sessions;
	size_t session_count;
	uint64_t session_number;
	void (*tell)(void *ctx, const struct lab_mx_event *event); /* or NULL */
	void *tell_ctx;
	struct lab_mx_arrival *arrivals;
	size_t arrival_count;
	uint64_t refused; /* RCPT answered 5xx for real mail */
};

/*
 * Listens on 127.0.0.1 and a port (0: a free one) with a certificate of its own
 * for `host`; `title` is borrowed.  It accepts everything until told otherwise.
 */
struct lab_mx *lab_mx_new(struct loop *loop, const char *title,
			  const char *host, uint16_t port, struct err *err);
void lab_mx_free(struct lab_mx *mx); /* NULL is fine */
/*
 * Behaves as this script from the next command on; sessions stay open.  On
 * failure the old one stays.
 */
int lab_mx_play(struct lab_mx *mx, struct slice script, struct err *err);
/* A preset by its name, which must exist. */
void lab_mx_play_preset(struct lab_mx *mx, const char *preset);
/* How often this number of a mailbox has arrived. */
unsigned lab_mx_copies(const struct lab_mx *mx, const char *mailbox,
		       uint64_t number);

#endif
