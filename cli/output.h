/*
 * output.h - how the command speaks
 *
 * One JSON document, or text for people on stdout; chatter and errors on
 * stderr.  Colour only on a terminal, without NO_COLOR and with a TERM that is
 * not dumb.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "base/buf.h"
#include "cli/command.h"
#include "control/control_client.h"
#include "plan/plan.h"

enum ink {
	INK_PLAIN,
	INK_GOOD,
	INK_WARN,
	INK_BAD,
	INK_DIM,
	INK_BOLD
};

/* Text in a colour, or bare; borrowed until the fourth next call. */
const char *ink(enum ink ink, const char *text);
enum ink ink_of_verdict(const char *verdict);

/* The document on stdout, one line. */
void output_json(const struct json *document);
/* "tideover: ..." on stderr; with --json also {"error":...} on stdout. */
int output_error(const struct command_call *call, int status,
		 const char *format, ...) __attribute__((format(printf, 3, 4)));
/* What a failed control call means: message and exit status. */
int output_control(const struct command_call *call, enum control_result result,
		   const struct err *err);
enum findings_shown {
	SHOWN_BLOCKING,
	SHOWN_WANTING, /* all but those that pass */
	SHOWN_ALL      /* and what was asked of DNS */
};
/* A gate document as a list of findings, and last the names that block. */
void output_gate(const struct json *gate, enum findings_shown shown);
/* Wrapped at 78 columns behind `indent` blanks; a command is not broken. */
void output_wrapped(const char *text, int indent);
/* One line that is overwritten on a terminal, printed now and then without. */
void output_progress(const char *text);
void output_progress_end(void);

/* On stderr: keys of this plan that have no effect. */
void output_idle(const struct plan *plan);

/* The plan that an argument names: a name, a plan file, or (NULL) the only
 * plan of the daemon.  NULL with the error told and *status set. */
char *output_plan_name(const struct command_call *call, const char *argument,
		       int *status);
/* Somebody who sits at a terminal says yes; a script has said what it wants. */
bool output_confirm(const char *question);
/* --by, or the login name. */
const char *output_by(const struct command_call *call);
/* A status document; NULL with the error told and *status set. */
struct json *output_status(const struct command_call *call, const char *plan,
			   int *status);
/* The same with its replies counted now, which may take a while. */
struct json *output_status_counted(const struct command_call *call,
				   const char *plan, int *status);

#endif
