/* tideover: the command. */

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "cli/output.h"
#include "control/control_client.h"
#include "dns/dns_unbound.h"
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static bool command_takes(const struct command *command, enum option_id id)
{
	if (id == OPT_STATE || id == OPT_JSON || id == OPT_HELP)
		return true;
	for (size_t i = 0; i < COUNT(command->options); i++)
		if (command->options[i] == id)
			return true;
	return false;
}

static size_t long_options(const struct command *command,
			   struct option options[OPT_COUNT + 1])
{
	size_t count = 0;

	for (size_t id = 1; id < OPT_COUNT; id++)
		if (command_takes(command, (enum option_id)id))
			options[count++] = (struct option){
				.name = option_rows[id].name,
				.has_arg = option_rows[id].argument ?
						   required_argument :
						   no_argument,
				.val = (int)id,
			};
	options[count] = (struct option){ 0 };
	return count;
}

static bool is_one_of(const char *word, const char *const *list)
{
	for (; *list; list++)
		if (strcmp(word, *list) == 0)
			return true;
	return false;
}

static int check_words(const struct command_call *call, enum option_id id)
{
	const struct option_row *row = &option_rows[id];
	struct buf list = BUF_INIT;

	if (!row->words || is_one_of(call->value[id], row->words))
		return 0;
	for (size_t i = 0; row->words[i]; i++)
		buf_addf(&list, " %s", row->words[i]);
	output_error(call, EXIT_USAGE, "--%s: '%s' is none of:%s", row->name,
		     call->value[id], buf_text(&list));
	buf_release(&list);
	return -1;
}

static int check_value(const struct command_call *call, enum option_id id)
{
	const struct option_row *row = &option_rows[id];
	struct slice text = slice(call->value[id]);
	struct err err = ERR_INIT;
	int64_t ms;

	if (check_words(call, id) < 0)
		return -1;
	if (!row->argument)
		return 0;
	if ((strcmp(row->argument, "DURATION") == 0 &&
	     clock_parse_duration(text, &ms, &err) < 0) ||
	    (strcmp(row->argument, "TIME") == 0 &&
	     clock_parse(text, &ms, &err) < 0)) {
		output_error(call, EXIT_USAGE, "--%s: %s", row->name, err.text);
		return -1;
	}
	return 0;
}

static int check_values(struct command_call *call)
{
	for (size_t id = 1; id < OPT_COUNT; id++)
		if (call->value[id] &&
		    check_value(call, (enum option_id)id) < 0)
			return -1;
	if (call->value[OPT_TIMEOUT])
		clock_parse_duration(slice(call->value[OPT_TIMEOUT]),
				     &call->timeout_ms, NULL);
	return 0;
}

/* Also when what was printed before the end could not be written.  Whoever closed
 * a pipe has seen enough, and is told nothing. */
static int end_output(int status)
{
	struct stat is;

	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	if (fstat(STDOUT_FILENO, &is) < 0 || !S_ISFIFO(is.st_mode))
		fputs("tideover: what it said could not be written to stdout\n",
		      stderr);
	return EXIT_FAILED;
}

static int run(struct command_call *call)
{
	int status;

	call->state_dir = control_state_dir(call->value[OPT_STATE]);
	call->socket = control_socket(call->state_dir);
	status = call->command->run(call);
	free(call->state_dir);
	free(call->socket);
	return end_output(status);
}

static int bad_option(const struct command_call *call, int id, const char *word)
{
	const char *name = call->command->name;

	/* For a long option getopt tells which in optopt, if it has it. */
	if (id == ':')
		return output_error(call, EXIT_USAGE, "%s: --%s needs a value",
				    name, option_rows[optopt].name);
	if (optopt > 0 && optopt < OPT_COUNT)
		return output_error(call, EXIT_USAGE, "%s: --%s takes no value",
				    name, option_rows[optopt].name);
	if (optopt)
		return output_error(call, EXIT_USAGE,
				    "%s: no option -%c: `tideover %s --help` "
				    "lists them",
				    name, optopt, name);
	return output_error(call, EXIT_USAGE,
			    "%s: no option %s: `tideover %s --help` lists them",
			    name, word, name);
}

static int run_command(const struct command *command, int argc, char **argv)
{
	struct option options[OPT_COUNT + 1];
	struct command_call call = { .command = command };
	int id;

	/* What is wrong before it is read is told as JSON as well. */
	for (int i = 1; i < argc; i++)
		call.json = call.json || strcmp(argv[i], "--json") == 0;
	long_options(command, options);
	optind = 0;
	opterr = 0;
	while ((id = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (id == '?' || id == ':')
			return bad_option(&call, id, argv[optind - 1]);
		call.value[id == 'h' ? OPT_HELP : id] = optarg ? optarg : "";
	}
	call.json = call.value[OPT_JSON] != NULL;
	if (call.value[OPT_HELP]) {
		struct buf text = BUF_INIT;

		command_help(command, &text);
		fputs(buf_text(&text), stdout);
		buf_release(&text);
		return EXIT_DONE;
	}
	call.arguments = (const char **)(uintptr_t)(argv + optind);
	call.count = (size_t)(argc - optind);
	if (call.count < command->least || call.count > command->most)
		return output_error(&call, EXIT_USAGE,
				    "usage: tideover %s [OPTIONS] %s",
				    command->name, command->arguments);
	if (check_values(&call) < 0)
		return EXIT_USAGE;
	return run(&call);
}

static int no_command(const char *word)
{
	if (!word)
		fputs("tideover: which command?", stderr);
	else if (*word == '-')
		fprintf(stderr,
			"tideover: options come after the command: tideover "
			"COMMAND %s",
			word);
	else
		fprintf(stderr, "tideover: no command '%s'", word);
	fputs("; `tideover --help` lists the commands\n", stderr);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	struct buf text = BUF_INIT;
	const struct command *command;

	signal(SIGPIPE, SIG_IGN);
	log_setup("tideover", LOG_LEVEL_WARN, false);
	if (argc < 2)
		return no_command(NULL);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		command_overview(&text);
		fputs(buf_text(&text), stdout);
		buf_release(&text);
		return EXIT_DONE;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("tideover " TIDEOVER_VERSION "%s%s\n",
		       dns_unbound_version() ? ", libunbound " : "",
		       dns_unbound_version() ? dns_unbound_version() : "");
		return EXIT_DONE;
	}
	command = command_find(argv[1]);
	if (!command)
		return no_command(argv[1]);
	return run_command(command, argc - 1, argv + 1);
}
