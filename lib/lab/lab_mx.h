/*
 * lab_mx.h - a mail system for the rehearsal and the tests
 *
 * An SMTP server on loopback that keeps what it accepts, in order, and can be
 * told how to answer: a tenant that has the domain, one that does not have it
 * (yet, or any more), one that is busy.  It counts copies by the sender's
 * numbers (lab_sender.h).
 */
#ifndef LAB_LAB_MX_H
#define LAB_LAB_MX_H

#include "base/map.h"
#include "net/loop.h"
#include "net/tls.h"

enum lab_mx_mode {
	LAB_MX_ACCEPTS,	  /* 250; made-up addresses get 550 5.1.1 */
	LAB_MX_NO_DOMAIN, /* 550 5.4.1: the tenant has not the domain */
	LAB_MX_BUSY,	  /* 451 4.3.2 to every message */
	LAB_MX_DOWN,	  /* hangs up at once */
};

struct lab_mx_arrival {
	char *mailbox;
	uint64_t number; /* the sender's, per mailbox */
	char *sha256;	 /* of the bytes after our and others' trace */
	int64_t at_ms;
};

struct lab_mx {
	struct loop *loop;
	const char *title;
	char address[64]; /* "127.0.0.1:port" */
	enum lab_mx_mode mode;
	struct tls_server *tls;
	int fd;
	struct loop_watch *watch;
	struct list *sessions;
	struct lab_mx_arrival *arrivals;
	size_t arrival_count;
	uint64_t refused; /* RCPT answered 5xx for real mail */
};

/* Listens on 127.0.0.1 and a free port; `title` is borrowed. */
struct lab_mx *lab_mx_new(struct loop *loop, const char *title,
			  const char *host, struct err *err);
void lab_mx_free(struct lab_mx *mx); /* NULL is fine */
/* How often this number of a mailbox has arrived. */
unsigned lab_mx_copies(const struct lab_mx *mx, const char *mailbox,
		       uint64_t number);

#endif
