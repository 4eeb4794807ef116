/* tideover: the command. */

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "cli/command.h"
#include "control/control_client.h"
#include "dns/dns_unbound.h"
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static int usage(const char *text)
{
	fprintf(stderr, "tideover: %s\nTry `tideover --help`.\n", text);
	return EXIT_USAGE;
}

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

static int check_values(struct command_call *call)
{
	struct err err = ERR_INIT;

	for (size_t id = 1; id < OPT_COUNT; id++) {
		const struct option_row *row = &option_rows[id];

		if (!call->value[id] || !row->words ||
		    is_one_of(call->value[id], row->words))
			continue;
		fprintf(stderr, "tideover: --%s: '%s' is none of:", row->name,
			call->value[id]);
		for (size_t i = 0; row->words[i]; i++)
			fprintf(stderr, " %s", row->words[i]);
		fputc('\n', stderr);
		return -1;
	}
	if (call->value[OPT_TIMEOUT] &&
	    clock_parse_duration(slice(call->value[OPT_TIMEOUT]),
				 &call->timeout_ms, &err) < 0) {
		fprintf(stderr, "tideover: --timeout: %s\n", err.text);
		return -1;
	}
	return 0;
}

static int run(struct command_call *call)
{
	int status;

	call->json = call->value[OPT_JSON] != NULL;
	call->state_dir = control_state_dir(call->value[OPT_STATE]);
	call->socket = control_socket(call->state_dir);
	status = call->command->run(call);
	free(call->state_dir);
	free(call->socket);
	return fflush(stdout) == 0 ? status : EXIT_FAILED;
}

static int run_command(const struct command *command, int argc, char **argv)
{
	struct option options[OPT_COUNT + 1];
	struct command_call call = { .command = command };
	int id;

	long_options(command, options);
	optind = 0;
	while ((id = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (id == '?')
			return EXIT_USAGE;
		call.value[id] = optarg ? optarg : "";
	}
	if (call.value[OPT_HELP]) {
		struct buf text = BUF_INIT;

		command_help(command, &text);
		fputs(buf_text(&text), stdout);
		buf_release(&text);
		return EXIT_DONE;
	}
	call.arguments = (const char **)(uintptr_t)(argv + optind);
	call.count = (size_t)(argc - optind);
	if (call.count < command->least || call.count > command->most) {
		fprintf(stderr, "usage: tideover %s [OPTIONS] %s\n",
			command->name, command->arguments);
		return EXIT_USAGE;
	}
	if (check_values(&call) < 0)
		return EXIT_USAGE;
	return run(&call);
}

int main(int argc, char **argv)
{
	struct buf text = BUF_INIT;
	const struct command *command;

	signal(SIGPIPE, SIG_IGN);
	log_setup("tideover", LOG_LEVEL_WARN, false);
	if (argc < 2)
		return usage("which command?");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
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
	if (!command) {
		fprintf(stderr, "tideover: no command '%s'\n", argv[1]);
		return usage("the commands are listed by --help");
	}
	return run_command(command, argc - 1, argv + 1);
}
