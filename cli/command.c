#include "cli/command.h"
#include "base/buf.h"
#include <ctype.h>
#include <stdio.h>

static const char *const phases[] = { "opening",  "holding",   "releasing",
				      "trailing", "returning", "returned",
				      "standing", "finished",  NULL };
static const char *const gates[] = { "plan",  "start",	  "detach", "finish",
				     "close", "rollback", NULL };
static const char *const formats[] = { "html", "md", "json", NULL };
static const char *const systems[] = { "m365", "workspace", "custom", NULL };
static const char *const exports[] = { "eml", "mbox", "maildir", NULL };
static const char *const sides[] = { "old", "new", NULL };
static const char *const repeats[] = { "weekly", NULL };
static const char *const states[] = { "waiting", "held",      "delivered",
				      "bounced", "discarded", NULL };

#define QUEUE_VERBS \
	"list|show|export|hold|release|retry|discard|bounce|resend|shred"

const struct option_row option_rows[OPT_COUNT] = {
	[OPT_STATE] = { "state", "DIR",
			"where the daemon keeps everything (or TIDEOVER_STATE)",
			NULL },
	[OPT_JSON] = { "json", NULL, "one JSON document on stdout", NULL },
	[OPT_HELP] = { "help", NULL, "this text", NULL },
	[OPT_TIMEOUT] = { "timeout", "DURATION",
			  "give up after so long (exit status 5): 90s, 15m, 2h",
			  NULL },
	[OPT_WAIT] = { "wait", "PHASE", "wait until the plan reaches PHASE",
		       phases },
	[OPT_BY] = { "by", "NAME",
		     "who does this, for the journal (default: the login name)",
		     NULL },
	[OPT_REASON] = { "reason", "TEXT", "why, for the journal", NULL },
	[OPT_GATE] = { "gate", "GATE", "which gate", gates },
	[OPT_ONLY] = { "only", "CHECK", "only this check", NULL },
	[OPT_STRICT] = { "strict", NULL, "exit 3 when something would block",
			 NULL },
	[OPT_ABORT] = { "abort", NULL,
			"go back to planned, if no mail was accepted yet "
			"(FILE, or the plan's name)",
			NULL },
	[OPT_NOW] = { "now", NULL, "end without the gate close", NULL },
	[OPT_ATTEST] = { "attest", NULL,
			 "vouch for what is unknown, not for what fails",
			 NULL },
	[OPT_MASTER_KEY] = { "master-key", "FILE",
			     "the key that opens the plans' data keys", NULL },
	[OPT_OUTPUT] = { "output", "PATH", "write there instead", NULL },
	[OPT_FORMAT] = { "format", "FORMAT", "html, md or json", formats },
	[OPT_REDACT] = { "redact", NULL, "hash the local part of every address",
			 NULL },
	[OPT_ALL] = { "all", NULL,
		      "every envelope that the verb is for: held, or waiting",
		      NULL },
	[OPT_RECIPIENT] = { "recipient", "ADDRESS",
			    "only this recipient; @DOMAIN: all of it", NULL },
	[OPT_DOMAIN] = { "domain", "DOMAIN", "only this domain", NULL },
	[OPT_IN_STATE] = { "in", "STATE", "only envelopes in this state",
			   states },
	[OPT_DETACH] = { "detach", NULL,
			 "do not follow the release; the daemon goes on by itself",
			 NULL },
	[OPT_FROM] = { "from", "TIME",
		       "when it begins, with its zone: "
		       "2026-12-05T22:00:00+01:00",
		       NULL },
	[OPT_TO] = { "to", "TIME", "when it ends", NULL },
	[OPT_REPEAT] = { "repeat", "weekly", "again each week", repeats },
	[OPT_ZONE] = { "zone", "ZONE",
		       "each week when the clocks of this zone show the same "
		       "(Europe/Berlin; default: UTC)",
		       NULL },
	[OPT_FROM_SYSTEM] = { "from", "PROVIDER",
			      "the old system (default: custom)", systems },
	[OPT_TO_SYSTEM] = { "to", "PROVIDER",
			    "the new system; without it a standby plan",
			    systems },
	[OPT_RESOLVER] = { "resolver", "IP[:PORT]",
			   "ask this one instead of the system's", NULL },
	[OPT_SENDER] = { "sender", "ADDRESS",
			 "only this sender; @DOMAIN: all of a domain; '<>'",
			 NULL },
	[OPT_OLDER] = { "older-than", "DURATION",
			"only mail accepted longer ago: 90s, 2h, 3d", NULL },
	[OPT_REPLY] = { "reply", "REPLY",
			"only where the last reply has this code (550, 5.1.1) "
			"or text",
			NULL },
	[OPT_DELIVERED_TO] = { "delivered-to", "SYSTEM",
			       "only what this system took", sides },
	[OPT_DRY_RUN] = { "dry-run", NULL, "say what would be, change nothing",
			  NULL },
	[OPT_EXPORT_FORMAT] = { "format", "FORMAT",
				"eml files, one mbox, or a maildir", exports },
	[OPT_RELAY] = { "relay", "HOST:PORT",
			"notifications leave through it (default: the plan's)",
			NULL },
	[OPT_SINCE] = { "since", "TIME",
			"only what became final then or later: "
			"2026-12-05T22:00:00+01:00",
			NULL },
	[OPT_TO_OLD_NEW] = { "to", "SYSTEM", "the system that gets the copies",
			     sides },
	[OPT_INITIAL] = { "initial", NULL,
			  "to the mailboxes at the new tenant's initial domain",
			  NULL },
	[OPT_KEEP] = { "keep", "DIR", "keep the rehearsal's state in DIR",
		       NULL },
};

const struct command commands[] = {
	{ "init",
	  "DOMAIN",
	  1,
	  1,
	  "write a plan to edit, from what DNS says",
	  "Asks DNS for the MX set of DOMAIN and its TTL, and writes a plan "
	  "with them.  What only a tenant knows stays to be filled in, and a "
	  "$comment says where to read it.",
	  { OPT_FROM_SYSTEM, OPT_TO_SYSTEM, OPT_RESOLVER, OPT_OUTPUT },
	  false,
	  cmd_init },
	{ "plan",
	  "FILE",
	  1,
	  1,
	  "check a plan, DNS and the systems; change "
	  "nothing",
	  "Reads FILE strictly and prints every error with its line and "
	  "JSON path.  Asks every authoritative server and resolver for "
	  "the MX sets, probes the old and new system, prints each "
	  "finding with its remedy (the evidence with --json), and the "
	  "timeline with the exact records to publish.  Keeps what DNS answered, so that "
	  "old TTLs are known later.",
	  { OPT_STRICT },
	  false,
	  cmd_plan },
	{ "start",
	  "FILE",
	  1,
	  1,
	  "open the queue for the plan's domains",
	  "Starts tideoverd if none runs, gives it the plan, opens, and "
	  "judges the gate start against the live listener.  Exits 3, "
	  "still opening, when a check blocks; run it again after the "
	  "remedy.  A plan that is under way already is left as it is.",
	  { OPT_BY, OPT_WAIT, OPT_TIMEOUT, OPT_ABORT, OPT_MASTER_KEY },
	  false,
	  cmd_start },
	{ "status",
	  "[PLAN]",
	  0,
	  1,
	  "phase, valves, DNS, queue, rates",
	  "Shows the phase, each domain's valve and why, the MX set at "
	  "every vantage point with the time that caches may still hold "
	  "the old one, the health of both systems, the ledger, rates "
	  "and ETA.",
	  { OPT_WAIT, OPT_TIMEOUT },
	  false,
	  cmd_status },
	{ "check",
	  "[PLAN]",
	  0,
	  1,
	  "judge a gate afresh, change nothing",
	  "Asks everything again and prints each check of the gate, and "
	  "with --only the evidence of that one; --json has all evidence.  "
	  "Without --gate it is the one that start, finish or a rollback "
	  "under way has to pass next.  Exits 3 when the gate is shut.",
	  { OPT_GATE, OPT_ONLY },
	  false,
	  cmd_check },
	{ "finish",
	  "[PLAN]",
	  0,
	  1,
	  "release the queue to the new system",
	  "While holding: passes the gate finish, then replays the queue "
	  "in order and follows it until it is drained.  While trailing "
	  "or returned: passes the gate close and ends the plan.  Exits "
	  "3 when a check blocks, mail is held or the breaker closed.  "
	  "Ending the command stops nothing; running it again attaches "
	  "to the release again.",
	  { OPT_BY, OPT_NOW, OPT_DETACH, OPT_WAIT, OPT_TIMEOUT },
	  false,
	  cmd_finish },
	{ "rollback",
	  "[PLAN]",
	  0,
	  1,
	  "send the queue back to the old system",
	  "Passes the gate rollback, then replays the queue to the old "
	  "system through the same machinery.  Asks first on a terminal.",
	  { OPT_BY, OPT_DETACH, OPT_WAIT, OPT_TIMEOUT },
	  false,
	  cmd_rollback },
	{ "waive",
	  "[PLAN] CHECK",
	  1,
	  2,
	  "let a gate pass one finding",
	  "Names who and why; is bound to the finding as it is now, "
	  "lapses when the finding changes or after 24 hours, and is "
	  "journalled.  no-open-relay, ledger-balance, mx-horizon and a "
	  "failing queue-capacity cannot be waived.  --attest answers what "
	  "is unknown, or a warning that something was not seen; what fails "
	  "it does not answer.",
	  { OPT_GATE, OPT_BY, OPT_REASON, OPT_ATTEST },
	  false,
	  cmd_waive },
	{ "canary",
	  "[PLAN]",
	  0,
	  1,
	  "send a message of our own to the new system",
	  "Sends one to each mailbox of the plan's canary.recipients (with "
	  "--initial: canary.initial), on the way that the replay takes, "
	  "whatever the valve; a minute apart for the same mailbox.  Prints "
	  "what the new system answered; exits 3 when any is not accepted.  "
	  "start and finish send them by themselves, where none was accepted "
	  "lately.  Look into the inbox, then waive --attest.",
	  { OPT_INITIAL, OPT_BY },
	  false,
	  cmd_canary },
	{ "queue",
	  QUEUE_VERBS " [PLAN] [ID...]",
	  1,
	  1000,
	  "look at the queue, and act on its envelopes",
	  "ID (a message), ID:ENVELOPE and the options select envelopes; they "
	  "narrow each other, and --all selects without them.  list prints "
	  "envelopes, show each with every attempt.  export writes .eml files, "
	  "an mbox (to stdout with --output -) or a Maildir.  hold and release need --reason; retry makes "
	  "what waits due now, in its order.  discard ends mail without a "
	  "word; bounce tells its sender, through --relay or the plan's "
	  "bounce.deliver_to, and ends it once that relay took the "
	  "notification.  Both need --by and --reason, and ask first on a "
	  "terminal.  resend sends kept copies of what the other system took "
	  "since TIME, beside the queue; it changes no ledger, and the journal "
	  "has each attempt.  What cannot go, because its system is not there "
	  "or lacks the TLS that is demanded, is named per domain at the end.  "
	  "shred destroys the data key of an encrypted "
	  "plan, once it accepts no mail and every envelope is final: what "
	  "it kept cannot be read again.  It needs --by and --reason.",
	  { OPT_IN_STATE, OPT_RECIPIENT, OPT_SENDER, OPT_DOMAIN, OPT_OLDER,
	    OPT_REPLY, OPT_SINCE, OPT_DELIVERED_TO, OPT_ALL, OPT_DRY_RUN,
	    OPT_OUTPUT, OPT_EXPORT_FORMAT, OPT_TO_OLD_NEW, OPT_RELAY, OPT_BY,
	    OPT_REASON },
	  false,
	  cmd_queue },
	{ "window",
	  "add|list|cancel [PLAN] [ID]",
	  1,
	  3,
	  "planned maintenance of a primary",
	  "While a window is active a standby plan holds its mail, however "
	  "well the primary looks; after it the mail goes on by itself once "
	  "the primary is healthy.  add takes --from and --to, cancel the "
	  "number that list shows.",
	  { OPT_FROM, OPT_TO, OPT_REPEAT, OPT_ZONE, OPT_BY, OPT_REASON },
	  false,
	  cmd_window },
	{ "pause",
	  "[PLAN]",
	  0,
	  1,
	  "close the plan's valves",
	  "Nothing leaves until resume, a restart included; mail is accepted "
	  "as before.  With --domain only that domain's valve closes.",
	  { OPT_DOMAIN, OPT_BY, OPT_REASON },
	  false,
	  cmd_pause },
	{ "resume",
	  "[PLAN]",
	  0,
	  1,
	  "let the valves open again",
	  "Ends every pause of the plan and opens breakers that closed; with "
	  "--domain those of that domain.",
	  { OPT_DOMAIN, OPT_BY },
	  false,
	  cmd_resume },
	{ "report",
	  "[PLAN]",
	  0,
	  1,
	  "the evidence, as HTML, Markdown or JSON",
	  "Timeline, checks with raw evidence, MX observations, queue "
	  "over time, the ledger, every message with every attempt, and "
	  "the hash that the journal ends in.",
	  { OPT_FORMAT, OPT_OUTPUT, OPT_REDACT },
	  false,
	  cmd_report },
	{ "journal",
	  "[show|verify] [PLAN]",
	  0,
	  2,
	  "what happened, line by line",
	  "show prints the journal; verify checks its chain of hashes.",
	  { OPT_NONE },
	  false,
	  cmd_journal },
	{ "spool",
	  "verify DIR",
	  2,
	  2,
	  "what a spool folder holds, without a daemon",
	  "Reads DIR, the spool of a state folder or a copy of it on another "
	  "machine, or the state folder itself.  Checks every record and "
	  "every body that is still needed; prints each envelope with its "
	  "state, the ledger of each plan and domain, and what is torn, "
	  "damaged or missing.  Changes nothing.  Exits 1 when something is "
	  "damaged or missing or the ledger does not balance.  What is "
	  "encrypted is checked without a key; with --master-key, and the "
	  "data keys in plans/ beside the spool, its seals and hashes too.",
	  { OPT_MASTER_KEY },
	  false,
	  cmd_spool },
	{ "remove",
	  "PLAN",
	  1,
	  1,
	  "forget a finished plan",
	  "Only a finished (or never started) plan whose queue is empty.  Its "
	  "journal goes with it, and all that report tells: write the "
	  "report first.",
	  { OPT_NONE },
	  false,
	  cmd_remove },
	{ "stop",
	  "",
	  0,
	  0,
	  "stop the daemon cleanly",
	  "Sessions end between transactions; the queue stays.",
	  { OPT_NONE },
	  false,
	  cmd_stop },
	{ "rehearse",
	  "FILE",
	  1,
	  1,
	  "run the whole cutover on this machine",
	  "A DNS authority with the plan's zones, caching resolvers, an "
	  "old and a new mail system and a sender, all on loopback; the "
	  "real tideover and tideoverd; under a minute; ends with the "
	  "report.",
	  { OPT_KEEP },
	  false,
	  cmd_rehearse },
	{ "completions",
	  "bash|zsh|fish",
	  1,
	  1,
	  "print a shell's completions",
	  "",
	  { OPT_NONE },
	  true,
	  cmd_completions },
	{ "man",
	  "",
	  0,
	  0,
	  "print the manual page",
	  "",
	  { OPT_NONE },
	  true,
	  cmd_man },
	{ 0 },
};

static const enum option_id common[] = { OPT_STATE, OPT_JSON, OPT_HELP };

const struct command *command_find(const char *name)
{
	for (const struct command *command = commands; command->name; command++)
		if (strcmp(command->name, name) == 0)
			return command;
	return NULL;
}

/* Calls for every option of a command, its own first. */
static void each_option(const struct command *command,
			void (*each)(struct buf *out,
				     const struct option_row *row),
			struct buf *out)
{
	for (size_t i = 0; i < COUNT(command->options) && command->options[i];
	     i++)
		each(out, &option_rows[command->options[i]]);
	for (size_t i = 0; i < COUNT(common); i++)
		each(out, &option_rows[common[i]]);
}

/* Text at most 78 wide, behind `indent` blanks. */
static void wrap(struct buf *out, const char *text, int indent)
{
	struct slice rest = slice(text);
	int column = 0;

	while (rest.len > 0) {
		struct slice word = slice_split(&rest, ' ');

		if (word.len == 0)
			continue;
		if (column > 0 && column + 1 + (int)word.len > 78) {
			buf_addc(out, '\n');
			column = 0;
		}
		if (column == 0) {
			buf_addf(out, "%*s", indent, "");
			column = indent;
		} else {
			buf_addc(out, ' ');
			column++;
		}
		buf_add(out, word);
		column += (int)word.len;
	}
	buf_addc(out, '\n');
}

static void help_option(struct buf *out, const struct option_row *row)
{
	char left[40];

	snprintf(left, sizeof(left), "--%s%s%s", row->name,
		 row->argument ? " " : "", row->argument ? row->argument : "");
	buf_addf(out, "  %-22s %s\n", left, row->help);
}

static const char plan_help[] =
	"PLAN is the name of a plan or its file; where the daemon has but one "
	"it may be left out.";

void command_help(const struct command *command, struct buf *out)
{
	buf_addf(out, "usage: tideover %s [OPTIONS] %s\n\n", command->name,
		 command->arguments);
	wrap(out, command->help, 0);
	if (strstr(command->arguments, "[PLAN]"))
		wrap(out, plan_help, 0);
	buf_adds(out, "\n");
	each_option(command, help_option, out);
}

void command_overview(struct buf *out)
{
	buf_adds(out, "usage: tideover COMMAND [OPTIONS] [ARGUMENTS]\n\n"
		      "Carries a domain's inbound mail over a cutover.\n\n");
	for (const struct command *command = commands; command->name; command++)
		if (!command->hidden)
			buf_addf(out, "  %-10s %s\n", command->name,
				 command->summary);
	buf_adds(out,
		 "\n`tideover COMMAND --help` tells more.\n\n"
		 "Exit status: 0 done, or the gate is open; 1 failed; 2 usage "
		 "or invalid plan;\n3 a check blocks, or mail is held; 4 no "
		 "daemon answers; 5 timed out.\n");
}

/* Completions. */

static void words(struct buf *out, const char *const *list)
{
	for (size_t i = 0; list && list[i]; i++)
		buf_addf(out, "%s%s", i ? " " : "", list[i]);
}

/* "show|verify] [PLAN]"; NULL of a command without verbs. */
static const char *verbs_of(const struct command *command)
{
	const char *at = command->arguments + (*command->arguments == '[');

	return islower((unsigned char)*at) ? at : NULL;
}

/* "show verify" */
static void verbs(struct buf *out, const struct command *command)
{
	const char *at = verbs_of(command);

	for (; at && (islower((unsigned char)*at) || *at == '|'); at++)
		buf_addc(out, *at == '|' ? ' ' : *at);
}

static bool is_path(const struct option_row *row)
{
	return strcmp(row->argument, "DIR") == 0 ||
	       strcmp(row->argument, "PATH") == 0 ||
	       strcmp(row->argument, "FILE") == 0;
}

static void flag_word(struct buf *out, const struct option_row *row)
{
	buf_addf(out, " --%s", row->name);
}

/* What may stand behind an option: one name may mean two things. */
static void bash_value(const char *command, const struct option_row *row,
		       struct buf *out)
{
	if (!row->argument)
		return;
	buf_addf(out, "\t%s:--%s)", command, row->name);
	if (row->words) {
		buf_adds(out, "\n\t\tCOMPREPLY=($(compgen -W \"");
		words(out, row->words);
		buf_adds(out, "\" -- \"$cur\"))\n\t\treturn ;;\n");
	} else if (is_path(row)) {
		buf_adds(out, "\n\t\tCOMPREPLY=($(compgen -f -- "
			      "\"$cur\"))\n\t\treturn ;;\n");
	} else {
		buf_adds(out, " return ;;\n");
	}
}

static void bash_completions(struct buf *out)
{
	buf_adds(out,
		 "# bash completion for tideover; generated by "
		 "`tideover completions bash`\n_tideover()\n{\n"
		 "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev="
		 "${COMP_WORDS[COMP_CWORD-1]}\n\tlocal command=${COMP_WORDS[1]}"
		 " words=\n\tCOMPREPLY=()\n\tif [ \"$COMP_CWORD\" -eq 1 ]; "
		 "then\n\t\twords=\"");
	for (const struct command *command = commands; command->name; command++)
		if (!command->hidden)
			buf_addf(out, "%s ", command->name);
	buf_adds(out, "--help --version\"\n\t\tCOMPREPLY=($(compgen -W "
		      "\"$words\" -- \"$cur\"))\n\t\treturn\n\tfi\n"
		      "\tcase $command:$prev in\n");
	bash_value("*", &option_rows[OPT_STATE], out);
	for (const struct command *command = commands; command->name; command++)
		for (size_t i = 0; i < COUNT(command->options) &&
				   command->options[i] != OPT_NONE;
		     i++)
			bash_value(command->name,
				   &option_rows[command->options[i]], out);
	buf_adds(out, "\tesac\n\tcase $command in\n");
	for (const struct command *command = commands; command->name;
	     command++) {
		if (command->hidden)
			continue;
		buf_addf(out, "\t%s) words=\"", command->name);
		verbs(out, command);
		each_option(command, flag_word, out);
		buf_adds(out, "\" ;;\n");
	}
	buf_adds(out, "\tesac\n\tCOMPREPLY=($(compgen -W \"$words\" -- "
		      "\"$cur\") $(compgen -f -- \"$cur\"))\n}\n"
		      "complete -o filenames -F _tideover tideover\n");
}

/* A help text inside the brackets and quotes of zsh and fish. */
static void quoted(struct buf *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '\'')
			buf_adds(out, "'\\''");
		else if (*text == '[' || *text == ']')
			buf_addf(out, "\\%c", *text);
		else if (*text == ':')
			buf_adds(out, "\\:");
		else
			buf_addc(out, *text);
	}
}

static void zsh_option(struct buf *out, const struct option_row *row)
{
	buf_addf(out, "\t\t'--%s[", row->name);
	quoted(out, row->help);
	buf_adds(out, "]");
	if (row->argument) {
		buf_addf(out, ":%s:", row->argument);
		if (row->words) {
			buf_addc(out, '(');
			words(out, row->words);
			buf_addc(out, ')');
		} else if (is_path(row)) {
			buf_adds(out, "_files");
		}
	}
	buf_adds(out, "' \\\n");
}

static void zsh_completions(struct buf *out)
{
	buf_adds(out,
		 "#compdef tideover\n# generated by `tideover completions "
		 "zsh`\n_tideover() {\n\tlocal -a commands\n\tcommands=(\n");
	for (const struct command *command = commands; command->name;
	     command++) {
		if (command->hidden)
			continue;
		buf_addf(out, "\t\t'%s:", command->name);
		quoted(out, command->summary);
		buf_adds(out, "'\n");
	}
	buf_adds(out,
		 "\t)\n\tif (( CURRENT == 2 )); then\n\t\t_describe "
		 "command commands\n\t\treturn\n\tfi\n\tlocal command="
		 "$words[2]\n\tshift words\n\t(( CURRENT-- ))\n\tcase $command "
		 "in\n");
	for (const struct command *command = commands; command->name;
	     command++) {
		if (command->hidden)
			continue;
		buf_addf(out, "\t%s)\n\t\t_arguments \\\n", command->name);
		each_option(command, zsh_option, out);
		if (verbs_of(command)) {
			buf_adds(out, "\t\t'1:verb:(");
			verbs(out, command);
			buf_adds(out, ")' \\\n");
		}
		buf_adds(out, "\t\t'*:argument:_files' ;;\n");
	}
	buf_adds(out, "\tesac\n}\n_tideover \"$@\"\n");
}

static void fish_completions(struct buf *out)
{
	buf_adds(out, "# fish completion for tideover; generated by `tideover "
		      "completions fish`\n");
	for (const struct command *command = commands; command->name;
	     command++) {
		if (command->hidden)
			continue;
		buf_addf(out,
			 "complete -c tideover -n __fish_use_subcommand "
			 "-f -a %s -d '",
			 command->name);
		quoted(out, command->summary);
		buf_adds(out, "'\n");
	}
	for (const struct command *command = commands; command->name;
	     command++) {
		enum option_id all[COUNT(command->options) + COUNT(common)];
		size_t count = 0;

		if (command->hidden)
			continue;
		for (size_t i = 0;
		     i < COUNT(command->options) && command->options[i]; i++)
			all[count++] = command->options[i];
		for (size_t i = 0; i < COUNT(common); i++)
			all[count++] = common[i];
		for (size_t i = 0; i < count; i++) {
			const struct option_row *row = &option_rows[all[i]];

			buf_addf(out,
				 "complete -c tideover -n "
				 "'__fish_seen_subcommand_from %s' -l %s%s",
				 command->name, row->name,
				 row->argument ? " -r" : "");
			if (row->words) {
				buf_adds(out, " -f -a '");
				words(out, row->words);
				buf_addc(out, '\'');
			}
			buf_adds(out, " -d '");
			quoted(out, row->help);
			buf_adds(out, "'\n");
		}
		if (!verbs_of(command))
			continue;
		buf_addf(out,
			 "complete -c tideover -n "
			 "'__fish_seen_subcommand_from %s' -a '",
			 command->name);
		verbs(out, command);
		buf_adds(out, "'\n");
	}
}

bool command_completions(const char *shell, struct buf *out)
{
	if (strcmp(shell, "bash") == 0)
		bash_completions(out);
	else if (strcmp(shell, "zsh") == 0)
		zsh_completions(out);
	else if (strcmp(shell, "fish") == 0)
		fish_completions(out);
	else
		return false;
	return true;
}

/* The manual. */

static void roff(struct buf *out, const char *text)
{
	if (*text == '.' || *text == '\'')
		buf_adds(out, "\\&");
	for (; *text; text++) {
		if (*text == '-')
			buf_adds(out, "\\-");
		else if (*text == '\\')
			buf_adds(out, "\\e");
		else
			buf_addc(out, *text);
	}
}

static void man_option(struct buf *out, const struct option_row *row)
{
	buf_adds(out, ".TP\n.B \\-\\-");
	roff(out, row->name);
	if (row->argument)
		buf_addf(out, " \\fI%s\\fR", row->argument);
	buf_adds(out, "\n");
	roff(out, row->help);
	buf_adds(out, "\n");
}

void command_manual(struct buf *out)
{
	buf_adds(out,
		 ".TH TIDEOVER 1 \"\" \"tideover " TIDEOVER_VERSION "\" "
		 "\"User Commands\"\n.SH NAME\ntideover \\- carry a domain's "
		 "inbound mail over a cutover\n.SH SYNOPSIS\n");
	for (const struct command *command = commands; command->name;
	     command++) {
		if (command->hidden)
			continue;
		buf_addf(out, "%s.B tideover %s\n[\\fIOPTIONS\\fR]%s",
			 command == commands ? "" : ".br\n", command->name,
			 command->arguments[0] ? " " : "");
		roff(out, command->arguments);
		buf_adds(out, "\n");
	}
	buf_adds(out,
		 ".SH DESCRIPTION\n"
		 "A migration plan names the domains, the old and the new mail "
		 "system and the host that keeps mail meanwhile.\n"
		 ".B tideover\nchecks it, runs the queueing MX\n"
		 ".BR tideoverd (8),\n"
		 "and releases the queue once the checks of the gate pass.\n"
		 ".SH COMMANDS\n");
	roff(out, plan_help);
	buf_adds(out, "\n");
	for (const struct command *command = commands; command->name;
	     command++) {
		if (command->hidden)
			continue;
		buf_addf(out, ".SS %s ", command->name);
		roff(out, command->arguments);
		buf_adds(out, "\n");
		roff(out, command->help);
		buf_adds(out, "\n");
		for (size_t i = 0;
		     i < COUNT(command->options) && command->options[i]; i++)
			man_option(out, &option_rows[command->options[i]]);
	}
	buf_adds(out, ".SH OPTIONS OF EVERY COMMAND\n");
	for (size_t i = 0; i < COUNT(common); i++)
		man_option(out, &option_rows[common[i]]);
	buf_adds(out, ".SH EXIT STATUS\n"
		      ".TP\n0\ndone, or the gate is open\n.TP\n1\nfailed\n"
		      ".TP\n2\nusage, or an invalid plan\n"
		      ".TP\n3\na check blocks, or mail is held\n"
		      ".TP\n4\nno daemon answers\n.TP\n5\ntimed out\n"
		      ".SH SEE ALSO\n.BR tideoverd (8)\n");
}
