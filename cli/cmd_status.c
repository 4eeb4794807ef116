#include "base/clock.h"
#include "cli/follow.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	HOURS_TOLD = 30 * 24
};

static const char *text_of(const struct json *object, const char *key)
{
	const char *text = json_get_text(object, key);

	return text ? text : "-";
}

static const char *duration(double ms, char text[CLOCK_TEXT])
{
	return clock_format_duration((int64_t)ms, text);
}

static void print_vantages(const struct json *domain)
{
	const struct json *horizon = json_get(domain, "horizon");
	double left = json_get_number(horizon, "left_ms", 0);
	char text[CLOCK_TEXT];

	for (const struct json *at = json_first(json_get(domain, "vantages"));
	     at; at = json_next(at)) {
		const char *view = text_of(at, "view");
		enum ink colour = strcmp(view, "error") == 0 ? INK_BAD :
				  strcmp(view, "old") == 0   ? INK_WARN :
							       INK_PLAIN;
		const char *error = json_get_text(at, "error");

		printf("    %-9s %-22.22s %-7s %s (TTL %.0f)\n",
		       json_get_bool(at, "authority") ? "authority" :
							"resolver",
		       text_of(at, "address"), ink(colour, view),
		       error ? error : text_of(at, "mx"),
		       json_get_number(at, "ttl", 0));
	}
	/* Of a plain standby plan the old set is the one to stay. */
	if (strcmp(text_of(domain, "target"), "primary") == 0)
		return;
	if (!json_get_bool(horizon, "known"))
		printf("    caches: not known how long the old MX set may "
		       "live (give dns.old_ttl)\n");
	else if (left > 0)
		printf("    caches may hold the old MX set for another %s\n",
		       duration(left, text));
	else
		printf("    no cache holds the old MX set any more\n");
}

static void print_health(const struct json *domain)
{
	for (const struct json *system = json_first(json_get(domain, "health"));
	     system; system = json_next(system)) {
		const char *state = text_of(system, "state");
		const char *error = json_get_text(system, "last_error");
		bool good = strcmp(state, "healthy") == 0;

		printf("    %-8s %s, %s%s%s\n", json_key(system),
		       text_of(system, "target"),
		       ink(good ? INK_GOOD : INK_BAD, state),
		       !good && error ? ": " : "", !good && error ? error : "");
	}
}

static void print_domain(const struct json *domain)
{
	const struct json *valve = json_get(domain, "valve");
	const struct json *ledger = json_get(domain, "ledger");
	const char *state = text_of(valve, "state");

	printf("\n%s\n", ink(INK_BOLD, text_of(domain, "name")));
	printf("  valve %s to %s (%s): %s\n",
	       ink(strcmp(state, "closed") == 0 ? INK_WARN : INK_GOOD, state),
	       text_of(domain, "target"), text_of(domain, "deliver_to"),
	       text_of(valve, "reason"));
	printf("  ledger  accepted %.0f = waiting %.0f + held %.0f + delivered "
	       "%.0f + bounced %.0f + discarded %.0f  %s\n",
	       json_get_number(ledger, "accepted", 0),
	       json_get_number(ledger, "waiting", 0),
	       json_get_number(ledger, "held", 0),
	       json_get_number(ledger, "delivered", 0),
	       json_get_number(ledger, "bounced", 0),
	       json_get_number(ledger, "discarded", 0),
	       json_get_bool(ledger, "balances") ?
		       ink(INK_GOOD, "balances") :
		       ink(INK_BAD, "DOES NOT BALANCE"));
	puts("  health");
	print_health(domain);
	puts("  MX");
	print_vantages(domain);
}

static void print_queue(const struct json *status)
{
	const struct json *queue = json_get(status, "queue");
	const struct json *rates = json_get(status, "rates");
	char age[CLOCK_TEXT], eta[CLOCK_TEXT];

	printf("queue: %.0f waiting, %.0f held, %.0f bytes, %.0f in flight, "
	       "oldest %s\n",
	       json_get_number(queue, "waiting", 0),
	       json_get_number(queue, "held", 0),
	       json_get_number(queue, "bytes", 0),
	       json_get_number(queue, "in_flight", 0),
	       duration(json_get_number(queue, "oldest_age_ms", 0), age));
	printf("rates: %.0f arrivals/min, %.0f replayed/min, ETA %s\n",
	       json_get_number(rates, "arrivals_per_min", 0),
	       json_get_number(rates, "replays_per_min", 0),
	       json_get_number(rates, "eta_ms", -1) >= 0 ?
		       duration(json_get_number(rates, "eta_ms", 0), eta) :
		       "-");
}

static void print_sessions(const struct json *status)
{
	const struct json *sessions = json_get(status, "sessions");
	const struct json *space = json_get(status, "space");
	const char *comma = "";
	double hours = json_get_number(space, "hours_left", -1);

	printf("sessions: %.0f open from %.0f networks, %.0f accepted",
	       json_get_number(sessions, "open", 0),
	       json_get_number(sessions, "networks", 0),
	       json_get_number(sessions, "accepted", 0));
	for (const struct json *one =
		     json_first(json_get(sessions, "turned_away"));
	     one; one = json_next(one)) {
		if (json_number(one) == 0)
			continue;
		printf("%s%s %.0f",
		       *comma ? comma : "; turned away: ", json_key(one),
		       json_number(one));
		comma = ", ";
	}
	printf("\ndisk: %.1f GB until new mail is deferred",
	       json_get_number(space, "bytes_left", 0) / 1e9);
	/* Further off nobody plans. */
	if (hours >= 0 && hours < HOURS_TOLD)
		printf(", %.0f hours at the rate of the last day", hours);
	putchar('\n');
}

static void print_status(const struct json *status)
{
	const struct json *gate = json_get(status, "gate_waited_for");

	printf("plan %s (%s): %s since %s%s\n", text_of(status, "plan"),
	       text_of(status, "strategy"),
	       ink(INK_BOLD, text_of(status, "phase")),
	       text_of(status, "since"),
	       json_get_bool(status, "rehearsal") ? "  [rehearsal]" : "");
	print_queue(status);
	print_sessions(status);
	for (const struct json *alert = json_first(json_get(status, "alerts"));
	     alert; alert = json_next(alert))
		printf("%s %s\n", ink(INK_BAD, "alert"), json_text(alert));
	for (const struct json *domain =
		     json_first(json_get(status, "domains"));
	     domain; domain = json_next(domain))
		print_domain(domain);
	if (json_type(gate) == JSON_OBJECT) {
		printf("\nwhat blocked at %s:\n", text_of(gate, "at"));
		output_gate(gate, SHOWN_BLOCKING);
	}
}

int cmd_status(struct command_call *call)
{
	int status = EXIT_DONE;
	char *plan = output_plan_name(
		call, call->count ? call->arguments[0] : NULL, &status);
	struct json *document = NULL;

	if (!plan)
		return status;
	if (call->value[OPT_WAIT])
		status = follow_phase(call, plan, call->value[OPT_WAIT],
				      &document);
	else
		document = output_status(call, plan, &status);
	if (document && call->json)
		output_json(document);
	else if (document)
		print_status(document);
	json_free(document);
	free(plan);
	return status;
}
