#include "cli/follow.h"
#include "base/clock.h"
#include "cutover/phase.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	POLL_MS = 250
};

static bool is_over(const struct command_call *call, int64_t began_ms)
{
	return call->timeout_ms > 0 &&
	       clock_mono_ms() - began_ms >= call->timeout_ms;
}

int follow_phase(struct command_call *call, const char *plan, const char *phase,
		 struct json **last)
{
	enum phase wanted, now;
	int64_t began = clock_mono_ms();
	int status = EXIT_FAILED;

	if (!phase_parse(phase, &wanted))
		return output_error(call, EXIT_USAGE, "no phase is called %s",
				    phase);
	for (;;) {
		struct json *document = output_status(call, plan, &status);
		bool there;

		if (!document)
			return status;
		there = phase_parse(json_get_text(document, "phase"), &now) &&
			phase_reached(now, wanted);
		if (there && last) {
			*last = document;
			document = NULL;
		}
		json_free(document);
		if (there)
			return EXIT_DONE;
		if (is_over(call, began))
			return output_error(call, EXIT_TIMEOUT,
					    "still %s "
					    "after the time given",
					    phase_name(now));
		usleep(POLL_MS * 1000);
	}
}

static bool is_releasing(const struct json *status)
{
	const char *phase = json_get_text(status, "phase");

	return strcmp(phase, "releasing") == 0 ||
	       strcmp(phase, "returning") == 0;
}

/* The reason of the first domain whose breaker closed, or NULL. */
static const char *closed_breaker(const struct json *status)
{
	const struct json *domains = json_get(status, "domains");

	for (const struct json *domain = json_first(domains); domain;
	     domain = json_next(domain)) {
		const struct json *valve = json_get(domain, "valve");
		const char *state = json_get_text(valve, "state");
		const char *reason = json_get_text(valve, "reason");

		if (strcmp(state, "closed") == 0 &&
		    strncmp(reason, "the breaker", 11) == 0)
			return reason;
	}
	return NULL;
}

static bool balances(const struct json *status)
{
	const struct json *domains = json_get(status, "domains");

	for (const struct json *domain = json_first(domains); domain;
	     domain = json_next(domain))
		if (!json_get_bool(json_get(domain, "ledger"), "balances"))
			return false;
	return true;
}

static void progress(const struct json *status)
{
	const struct json *release = json_get(status, "release");
	const struct json *rates = json_get(status, "rates");
	const struct json *queue = json_get(status, "queue");
	const struct json *valve =
		json_get(json_at(json_get(status, "domains"), 0), "valve");
	double eta = json_get_number(rates, "eta_ms", -1);
	char left[CLOCK_TEXT] = "-";
	char *text;

	if (eta >= 0)
		clock_format_duration((int64_t)eta, left);
	text = mem_printf("%s: %.0f delivered, %.0f waiting, %.0f held, "
			  "%.0f/min, ETA %s, valve %s",
			  json_get_text(status, "phase"),
			  json_get_number(release, "done", 0),
			  json_get_number(queue, "waiting", 0),
			  json_get_number(queue, "held", 0),
			  json_get_number(rates, "replays_per_min", 0), left,
			  json_get_text(valve, "state"));
	output_progress(text);
	free(text);
}

static void print_replies(const struct json *status)
{
	const struct json *replies = json_get(status, "replies");

	for (const struct json *reply = json_first(replies); reply;
	     reply = json_next(reply)) {
		const char *reason = json_get_text(reply, "reason");

		printf("  %.0f %s: %.0f %s\n",
		       json_get_number(reply, "count", 0),
		       json_get_text(reply, "state"),
		       json_get_number(reply, "code", 0),
		       json_get_text(reply, "text"));
		if (reason)
			output_wrapped(reason, 4);
	}
}

static void print_drained(const char *plan, const char *phase)
{
	printf("drained: the queue is empty, nothing is held, the ledger "
	       "balances (%s)\n"
	       "next: publish the MX records of the %s system alone; when no "
	       "cache knows the queue any more, `tideover finish %s`\n",
	       phase, strcmp(phase, "trailing") == 0 ? "new" : "old", plan);
}

static void print_outcome(const char *plan, const struct json *status,
			  int result)
{
	const char *breaker = closed_breaker(status);
	double held = json_get_number(json_get(status, "queue"), "held", 0);

	if (!balances(status))
		printf("%s\n", ink(INK_BAD, "THE LEDGER DOES NOT BALANCE: do "
					    "not sign; see `tideover status`"));
	if (breaker) {
		output_wrapped(breaker, 0);
		printf("next: repair the target, then `tideover finish %s` "
		       "again\n",
		       plan);
	}
	if (held > 0) {
		printf("%.0f envelopes are held:\n", held);
		print_replies(status);
		printf("next: `tideover queue list %s --in held`, then queue "
		       "release, bounce or discard\n",
		       plan);
	}
	if (result == EXIT_DONE)
		print_drained(plan, json_get_text(status, "phase"));
}

static int outcome(struct command_call *call, const char *plan)
{
	int result = EXIT_FAILED;
	struct json *status = output_status_counted(call, plan, &result);

	if (!status)
		return result;
	result = !balances(status) ? EXIT_FAILED :
		 closed_breaker(status) ||
				 json_get_number(json_get(status, "queue"),
						 "held", 0) > 0 ?
				     EXIT_BLOCKED :
				     EXIT_DONE;
	if (call->json)
		output_json(status);
	else
		print_outcome(plan, status, result);
	json_free(status);
	return result;
}

int follow_release(struct command_call *call, const char *plan)
{
	int64_t began = clock_mono_ms();
	int status = EXIT_FAILED;

	for (;;) {
		struct json *document = output_status(call, plan, &status);

		if (!document)
			return status;
		if (!is_releasing(document) || closed_breaker(document)) {
			output_progress_end();
			json_free(document);
			return outcome(call, plan);
		}
		progress(document);
		json_free(document);
		if (is_over(call, began)) {
			output_progress_end();
			return output_error(call, EXIT_TIMEOUT,
					    "not drained "
					    "yet; the daemon goes on, run the "
					    "same command to follow it");
		}
		usleep(POLL_MS * 1000);
	}
}
