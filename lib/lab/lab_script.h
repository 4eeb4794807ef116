/*
 * lab_script.h - how a mail system of the lab behaves, in a few lines
 *
 * A script is a text that a test can be read by:
 *
 *   # comment
 *   like m365                                    the rules of a preset
 *   have box*@acme.example                       addresses that exist
 *   without CHUNKING SMTPUTF8                    what EHLO does not offer
 *   rcpt box1@* every 3 -> 432 4.3.2 recipient thread limit exceeded
 *   rcpt * mailbox rate 30/1m -> 450 4.2.1 receiving too fast
 *   rcpt * pair rate 1000/1h -> 550 5.2.121 sender limit exceeded
 *   rcpt * greylist 2s -> 450 4.2.0 greylisted, see you later
 *   mail * session after 10 -> 421 4.3.2 closing
 *   mail * larger 36000000 -> 552 5.3.4 too big
 *   connect together 20 -> 421 4.3.2 too many connections
 *   dot box2@* first 1 -> keep cut
 *   dot * -> silence
 *   banner -> delay 500ms
 *   any -> slowly 1s                             a byte a second
 *
 * A rule is: stage, address, conditions, "->", what happens.  Stages: connect,
 * banner, ehlo, starttls, mail (the address is the reverse-path), rcpt, data,
 * dot (the address is that of any recipient that stands), any.  An address is
 * a pattern with "*", any case; "*" may be left out where there are none.
 *
 *   every N, first N, after N   by the count of what matched so far, of the
 *                               whole system, or with "session", "mailbox" or
 *                               "pair" before it of each of those
 *   rate N/DURATION             the N+1st within that time, of the whole system,
 *                               or a mailbox or pair; what is refused does not
 *                               count
 *   greylist DURATION           each pair's first time and until then
 *   larger BYTES                by the declared size (mail) or the real (dot)
 *   together N                  sessions open, more than that
 *
 *   CODE TEXT                   "\n" in it: a reply of several lines; 421 ends
 *   delay DURATION              then the rules below have their say
 *   slowly DURATION             each byte of every reply so far apart from now
 *   silence                     no reply, ever
 *   cut                         the connection ends at once
 *   keep ...                    of dot: the message is kept all the same
 *
 * The first rule that answers counts.  What no rule answers is accepted; an
 * address that nobody has gets 550 5.1.1.
 *
 * Pure: no clock, no sockets; the caller passes the time.  Bounded: so many
 * rules, and so many things counted apart; what is beyond matches no rule that
 * counts.
 */
#ifndef LAB_LAB_SCRIPT_H
#define LAB_LAB_SCRIPT_H

#include "base/err.h"
#include "base/slice.h"
#include <stdint.h>

enum {
	LAB_SCRIPT_RULES = 64,
	LAB_SCRIPT_COUNTED = 10000 /* mailboxes, pairs: per script */
};

enum lab_stage {
	LAB_CONNECT,
	LAB_BANNER,
	LAB_EHLO,
	LAB_STARTTLS,
	LAB_MAIL,
	LAB_RCPT,
	LAB_DATA,
	LAB_DOT,
	LAB_STAGES
};
const char *lab_stage_name(enum lab_stage stage); /* as in a script */

enum lab_reaction {
	LAB_USUAL, /* as a good server does */
	LAB_ANSWER,
	LAB_SILENCE,
	LAB_CUT
};

/* What one session counts, zero at its begin. */
struct lab_counts {
	uint32_t at[LAB_SCRIPT_RULES];
};

struct lab_asked {
	enum lab_stage stage;
	const char *address;	  /* see above; "" where there is none */
	const char *reverse_path; /* of rcpt, data and dot; else "" */
	uint64_t bytes;		  /* of mail (declared) and dot */
	size_t together;	  /* sessions open, this one included */
	struct lab_counts *session;
	int64_t now_ms; /* monotonic */
};

struct lab_act {
	enum lab_reaction reaction;
	int code;	  /* of LAB_ANSWER */
	const char *text; /* the script's; '\n' between lines */
	int64_t delay_ms; /* before it */
	int64_t byte_ms;  /* between two bytes; 0: at once */
	bool keep;
};

struct lab_script;

/* NULL with err: "line 3: ...". */
struct lab_script *lab_script_parse(struct slice text, struct err *err);
void lab_script_free(struct lab_script *script); /* NULL is fine */
/* Does somebody have the address?  `usual` if the script says nothing of it. */
bool lab_script_has(const struct lab_script *script, const char *address,
		    bool usual);
/* Does the script say that EHLO has no such keyword? */
bool lab_script_lacks(const struct lab_script *script, struct slice keyword);
/* Counts, and says what happens. */
void lab_script_ask(struct lab_script *script, const struct lab_asked *asked,
		    struct lab_act *act);

/*
 * The text of a preset, or NULL.  "m365" and "workspace" are these providers
 * with the domain attached and a licence; with "-detached", "-unlicensed",
 * "-connector", "-busy" (m365) and "-detached", "-ungated", "-busy"
 * (workspace) as they are when something is wrong; "custom", "custom-detached",
 * "custom-busy" and "down" (hangs up) are nobody in particular.
 */
const char *lab_script_preset(const char *name);
/* Name of the i-th preset; NULL after the last. */
const char *lab_script_preset_name(size_t i);

#endif
