/*
 * command.h - the commands, as one table
 *
 * Help, completions and the manual's synopsis are printed from it; a new
 * command is a row here and a cmd_*.c.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "base/err.h"
#include "base/json.h"

enum exit_status {
	EXIT_DONE = 0, /* done, or the gate is open */
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,	  /* or an invalid plan */
	EXIT_BLOCKED = 3, /* a check blocks, or mail is held */
	EXIT_UNREACHABLE = 4,
	EXIT_TIMEOUT = 5,
};

enum option_id {
	OPT_NONE,
	OPT_STATE,
	OPT_JSON,
	OPT_HELP,
	OPT_TIMEOUT,
	OPT_WAIT,
	OPT_BY,
	OPT_REASON,
	OPT_GATE,
	OPT_ONLY,
	OPT_STRICT,
	OPT_ABORT,
	OPT_NOW,
	OPT_ATTEST,
	OPT_MASTER_KEY,
	OPT_OUTPUT,
	OPT_FORMAT,
	OPT_REDACT,
	OPT_ALL,
	OPT_RECIPIENT,
	OPT_DOMAIN,
	OPT_IN_STATE,
	OPT_DETACH,
	OPT_KEEP,
	OPT_FROM,
	OPT_TO,
	OPT_REPEAT,
	OPT_ZONE,
	OPT_FROM_SYSTEM,
	OPT_TO_SYSTEM,
	OPT_RESOLVER,
	OPT_SENDER,
	OPT_OLDER,
	OPT_REPLY,
	OPT_DELIVERED_TO,
	OPT_DRY_RUN,
	OPT_EXPORT_FORMAT,
	OPT_RELAY,
	OPT_SINCE,
	OPT_TO_OLD_NEW,
	OPT_INITIAL,
	OPT_COUNT,
};

struct option_row {
	const char *name, *argument, *help; /* argument NULL: a switch */
	const char *const *words;	    /* what the argument may be */
};
extern const struct option_row option_rows[OPT_COUNT];

struct command_call {
	const struct command *command;
	const char **arguments;
	size_t count;
	const char *value[OPT_COUNT]; /* NULL: not given */
	int64_t timeout_ms;	      /* 0: none */
	bool json;
	char *state_dir, *socket;
};

struct command {
	const char *name;
	const char *arguments; /* "PLAN CHECK": for the usage line */
	size_t least, most;    /* how many */
	const char *summary;
	const char *help;	    /* paragraphs for --help and the manual */
	enum option_id options[20]; /* beside those every command has */
	bool hidden;
	int (*run)(struct command_call *call);
};
extern const struct command commands[]; /* ended by a NULL name */

const struct command *command_find(const char *name);
void command_help(const struct command *command, struct buf *out);
void command_overview(struct buf *out);
/* Completions for "bash", "zsh" or "fish"; false for another shell. */
bool command_completions(const char *shell, struct buf *out);
/* tideover(1) as roff. */
void command_manual(struct buf *out);

int cmd_init(struct command_call *call);
int cmd_plan(struct command_call *call);
int cmd_start(struct command_call *call);
int cmd_status(struct command_call *call);
int cmd_finish(struct command_call *call);
int cmd_rollback(struct command_call *call);
int cmd_check(struct command_call *call);
int cmd_waive(struct command_call *call);
int cmd_canary(struct command_call *call);
int cmd_queue(struct command_call *call);
int cmd_report(struct command_call *call);
int cmd_journal(struct command_call *call);
int cmd_window(struct command_call *call);
int cmd_pause(struct command_call *call);
int cmd_resume(struct command_call *call);
int cmd_spool(struct command_call *call);
int cmd_remove(struct command_call *call);
int cmd_stop(struct command_call *call);
int cmd_rehearse(struct command_call *call);
int cmd_completions(struct command_call *call);
int cmd_man(struct command_call *call);

#endif
