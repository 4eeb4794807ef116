/*
 * smtp_dialogue.h - the state of a server's session, and what its parts share
 *
 * smtp_server.c asks and is answered, smtp_server_command.c has the commands,
 * smtp_server_message.c the bytes of a message, by DATA and by BDAT.  For these
 * three alone.
 */
#ifndef SMTP_DIALOGUE_H
#define SMTP_DIALOGUE_H

#include "smtp/smtp_data.h"
#include "smtp/smtp_line.h"
#include "smtp/smtp_server.h"

enum state {
	GREETING,
	COMMAND,
	DATA,
	CHUNK,
	TLS,
	CLOSED
};

/* What the owner was asked. */
enum question {
	NOTHING,
	HELO,
	EHLO,
	MAIL,
	RCPT,
	DATA_BEGIN,
	CHUNK_BEGIN,
	DATA_END
};

/* What BDAT has made of the transaction. */
enum chunks {
	NO_CHUNKS,
	CHUNKS,
	CHUNKS_REFUSED /* it is over; more chunks may be under way */
};

struct smtp_server {
	const struct smtp_server_owner *owner;
	void *ctx;
	char *hostname;
	struct smtp_server_limits limits;
	bool offer_starttls;

	enum state state;
	enum question question;
	bool in_tls;
	bool greeted, extended; /* HELO or EHLO; EHLO */
	char *farewell;		/* 421 once the answer is there */
	bool draining;		/* and no transaction is open */
	struct buf out;

	struct smtp_line line;
	uint64_t lines;
	bool open; /* MAIL was asked: on_reset is owed */
	bool mail; /* and accepted */
	bool utf8;
	unsigned tried, accepted; /* recipients */
	uint64_t max_size;	  /* of this message; 0: no limit */
	struct smtp_data data;

	enum chunks chunks;
	uint64_t chunk_size, chunk_left; /* bytes; what is still to come */
	bool chunk_last;
	int chunk_code; /* 0, or the refusal to say at its end */
	char *chunk_text;

	unsigned messages, errors, junk;
	unsigned refused_recipients;  /* beyond the limit */
	enum smtp_server_limit limit; /* that ended it */
	bool feeding;
	unsigned busy; /* calls under way */
	bool doomed;   /* freed when the last one returns */
};

/* A reply line, or part of one; its CRLF is added. */
void smtp_dialogue_say(struct smtp_server *server, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* A text of the owner's may quote somebody: it stays one line. */
void smtp_dialogue_say_text(struct smtp_server *server, int code,
			    const char *text);
/* The same with a 5xx that counts; the session may be closed then. */
void smtp_dialogue_refuse(struct smtp_server *server, int code,
			  const char *text);

/* A 5xx was said, or something that moves nothing: too many of them, and the
 * session ends. */
void smtp_dialogue_error(struct smtp_server *server);
void smtp_dialogue_junk(struct smtp_server *server);
/* 421 because of this limit. */
void smtp_dialogue_end(struct smtp_server *server, enum smtp_server_limit limit,
		       const char *text);
/* 421, and closed. */
void smtp_dialogue_part(struct smtp_server *server, const char *text);
void smtp_dialogue_close(struct smtp_server *server);
/* No transaction is open any more. */
void smtp_dialogue_forget(struct smtp_server *server);

/* Each consumes what it can of `in`, in its state; returns how much. */
size_t smtp_dialogue_feed_command(struct smtp_server *server, struct slice in);
size_t smtp_dialogue_feed_data(struct smtp_server *server, struct slice in);
size_t smtp_dialogue_feed_chunk(struct smtp_server *server, struct slice in);

/* The commands DATA and BDAT. */
void smtp_dialogue_data(struct smtp_server *server);
void smtp_dialogue_bdat(struct smtp_server *server, struct slice argument);
/* The owner's answer to the first chunk. */
void smtp_dialogue_chunk_begin(struct smtp_server *server, int code,
			       const char *text);

#endif
