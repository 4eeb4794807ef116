/* spool verify: what is in a spool folder, without a daemon. */

#include "base/clock.h"
#include "base/map.h"
#include "cli/output.h"
#include "cli/spool_verify.h"
#include "smtp/smtp_path.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	STATES = ENVELOPE_DISCARDED + 1
};

/* One plan and domain. */
struct row {
	char *plan;
	char domain[SMTP_DOMAIN];
	uint64_t accepted, states[STATES];
};

/* What the bytes add up to. */
struct verdict {
	const struct spool_verify *verify;
	const struct ledger_message *const *messages;
	size_t message_count;
	struct row **rows;
	size_t row_count;
	struct map by_domain;
	uint64_t torn, damaged, bad_bodies, broken_seals;
	size_t missing_segments;
	uint64_t orphans, unreadable;
	bool balances;
};

static void domain_of(const struct ledger_envelope *envelope,
		      char domain[SMTP_DOMAIN])
{
	struct slice path = slice(envelope->forward_path);

	if (!smtp_domain_normal(slice_from(path,
					   (size_t)slice_rfind(path, '@') + 1),
				domain))
		snprintf(domain, SMTP_DOMAIN, "?");
}

static struct row *row_of(struct verdict *v, const char *plan,
			  const char *domain)
{
	char *key = mem_printf("%s\n%s", plan, domain);
	struct row *row = map_get(&v->by_domain, slice(key));

	if (!row) {
		row = mem_alloc(sizeof(*row));
		row->plan = mem_dup(plan);
		snprintf(row->domain, sizeof(row->domain), "%s", domain);
		v->rows = mem_grow(v->rows,
				   (v->row_count + 1) * sizeof(struct row *));
		v->rows[v->row_count++] = row;
		map_put(&v->by_domain, slice(key), row);
	}
	free(key);
	return row;
}

static bool row_balances(const struct row *row)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < STATES; i++)
		sum += row->states[i];
	return row->accepted == sum;
}

static void add_up(struct verdict *v)
{
	for (size_t i = 0; i < v->message_count; i++) {
		const struct ledger_message *message = v->messages[i];

		for (size_t n = 0; n < message->envelope_count; n++) {
			const struct ledger_envelope *envelope =
				&message->envelopes[n];
			char domain[SMTP_DOMAIN];
			struct row *row;

			domain_of(envelope, domain);
			row = row_of(v, message->plan, domain);
			row->accepted++;
			row->states[envelope->state]++;
		}
		v->bad_bodies += body_verdict_is_bad(
			spool_verify_body(v->verify, message));
	}
}

static void judge(struct verdict *v, const struct spool_verify *verify)
{
	struct spool_ledger *ledger = spool_verify_ledger(verify);
	const struct spool_range *ranges;
	size_t count;

	*v = (struct verdict){ .verify = verify };
	v->messages = spool_ledger_messages(ledger, &v->message_count);
	ranges = spool_verify_ranges(verify, &count);
	for (size_t i = 0; i < count; i++) {
		v->damaged += ranges[i].damaged;
		v->torn += !ranges[i].damaged;
	}
	spool_verify_missing_segments(verify, &v->missing_segments);
	v->orphans = spool_ledger_orphans(ledger);
	v->unreadable = spool_ledger_unreadable(ledger);
	v->broken_seals = spool_verify_broken_seals(verify);
	add_up(v);
	/* An outcome of a message that is not here: it was accepted once. */
	v->balances = v->orphans == 0;
	for (size_t i = 0; i < v->row_count; i++)
		v->balances = v->balances && row_balances(v->rows[i]);
}

static void verdict_release(struct verdict *v)
{
	for (size_t i = 0; i < v->row_count; i++) {
		free(v->rows[i]->plan);
		free(v->rows[i]);
	}
	free(v->rows);
	map_release(&v->by_domain);
}

static bool is_whole(const struct verdict *v)
{
	return v->balances && !v->damaged && !v->bad_bodies &&
	       !v->missing_segments && !v->unreadable && !v->broken_seals;
}

/* As JSON. */

static struct json *envelope_json(const struct ledger_envelope *envelope,
				  size_t n)
{
	struct json *row = json_object();
	char domain[SMTP_DOMAIN];

	domain_of(envelope, domain);
	json_put_number(row, "envelope", (double)n);
	json_put_text(row, "forward_path", envelope->forward_path);
	json_put_text(row, "domain", domain);
	json_put_text(row, "state", envelope_state_name(envelope->state));
	json_put_number(row, "attempts", envelope->attempts);
	json_put_bool(row, "uncertain", envelope->is_open);
	json_put_number(row, "uncertain_attempts", envelope->uncertain);
	return row;
}

static struct json *messages_json(const struct verdict *v)
{
	struct json *all = json_array();

	for (size_t i = 0; i < v->message_count; i++) {
		const struct ledger_message *message = v->messages[i];
		struct json *row = json_object(), *envelopes = json_array();
		char sha256[DIGEST_TEXT];

		json_put_text(row, "id", message->id.text);
		json_put_u64_text(row, "sequence", message->sequence);
		json_put_time(row, "accepted", message->accepted_ms);
		json_put_text(row, "plan", message->plan);
		json_put_number(row, "bytes", (double)message->body_bytes);
		json_put_text(row, "sha256",
			      digest_text(message->sha256, sha256));
		json_put_text(row, "body",
			      body_verdict_name(
				      spool_verify_body(v->verify, message)));
		for (size_t n = 0; n < message->envelope_count; n++)
			json_add(envelopes,
				 envelope_json(&message->envelopes[n], n));
		json_put(row, "envelopes", envelopes);
		json_add(all, row);
	}
	return all;
}

static struct json *ledger_json(const struct verdict *v)
{
	struct json *all = json_array();

	for (size_t i = 0; i < v->row_count; i++) {
		const struct row *from = v->rows[i];
		struct json *row = json_object();

		json_put_text(row, "plan", from->plan);
		json_put_text(row, "domain", from->domain);
		json_put_number(row, "accepted", (double)from->accepted);
		for (int state = 0; state < STATES; state++)
			json_put_number(
				row,
				envelope_state_name((enum envelope_state)state),
				(double)from->states[state]);
		json_put_bool(row, "balances", row_balances(from));
		json_add(all, row);
	}
	return all;
}

static struct json *ranges_json(const struct verdict *v)
{
	struct json *all = json_array();
	size_t count;
	const struct spool_range *ranges =
		spool_verify_ranges(v->verify, &count);

	for (size_t i = 0; i < count; i++) {
		struct json *row = json_object();

		json_put_number(row, "segment", ranges[i].segment);
		json_put_number(row, "offset", (double)ranges[i].offset);
		json_put_number(row, "bytes", (double)ranges[i].length);
		json_put_bool(row, "damaged", ranges[i].damaged);
		json_add(all, row);
	}
	return all;
}

static struct json *missing_bodies_json(const struct verdict *v)
{
	struct json *all = json_array();

	for (size_t i = 0; i < v->message_count; i++) {
		enum body_verdict verdict =
			spool_verify_body(v->verify, v->messages[i]);
		struct json *row;

		if (!body_verdict_is_bad(verdict))
			continue;
		row = json_object();
		json_put_text(row, "id", v->messages[i]->id.text);
		json_put_text(row, "body", body_verdict_name(verdict));
		json_add(all, row);
	}
	return all;
}

static struct json *missing_segments_json(const struct verdict *v)
{
	struct json *all = json_array();
	size_t count;
	const uint32_t *missing =
		spool_verify_missing_segments(v->verify, &count);

	for (size_t i = 0; i < count; i++)
		json_add(all, json_new_number(missing[i]));
	return all;
}

static void print_json(const struct verdict *v)
{
	struct json *document = json_object();

	json_put_text(document, "spool", spool_verify_dir(v->verify));
	json_put(document, "messages", messages_json(v));
	json_put(document, "ledger", ledger_json(v));
	json_put_number(document, "torn", (double)v->torn);
	json_put_number(document, "damaged", (double)v->damaged);
	json_put(document, "bad_ranges", ranges_json(v));
	json_put(document, "missing_bodies", missing_bodies_json(v));
	json_put(document, "missing_segments", missing_segments_json(v));
	json_put_number(document, "orphans", (double)v->orphans);
	json_put_number(document, "unreadable", (double)v->unreadable);
	json_put_number(document, "broken_seals", (double)v->broken_seals);
	json_put_bool(document, "balances", v->balances);
	output_json(document);
	json_free(document);
}

/* As text. */

static void print_envelope(const struct ledger_message *message, size_t n)
{
	const struct ledger_envelope *envelope = &message->envelopes[n];
	char at[CLOCK_TEXT];

	printf("%s %s %s %s %s", message->id.text,
	       clock_format(message->accepted_ms, at), message->plan,
	       envelope->forward_path, envelope_state_name(envelope->state));
	if (envelope->is_open)
		printf(" (uncertain: an attempt began and never ended)");
	putchar('\n');
}

static void print_ledger(const struct verdict *v)
{
	for (size_t i = 0; i < v->row_count; i++) {
		const struct row *row = v->rows[i];

		printf("%s %s: %llu accepted =", row->plan, row->domain,
		       (unsigned long long)row->accepted);
		for (int state = 0; state < STATES; state++)
			printf("%s %llu %s", state ? " +" : "",
			       (unsigned long long)row->states[state],
			       envelope_state_name((enum envelope_state)state));
		puts(row_balances(row) ? "" : ink(INK_BAD, "  NOT BALANCED"));
	}
}

static void print_ranges(const struct verdict *v)
{
	size_t count;
	const struct spool_range *ranges =
		spool_verify_ranges(v->verify, &count);

	for (size_t i = 0; i < count; i++)
		printf("segment %u: %llu bytes at %llu are %s\n",
		       ranges[i].segment, (unsigned long long)ranges[i].length,
		       (unsigned long long)ranges[i].offset,
		       ranges[i].damaged ?
			       ink(INK_BAD, "damaged") :
			       "torn, as by a write cut off before its 250");
}

static void print_missing(const struct verdict *v)
{
	size_t count;
	const uint32_t *missing =
		spool_verify_missing_segments(v->verify, &count);

	for (size_t i = 0; i < count; i++)
		printf("segment %u %s, nor is its evidence\n", missing[i],
		       ink(INK_BAD, "is not here"));
	for (size_t i = 0; i < v->message_count; i++) {
		enum body_verdict verdict =
			spool_verify_body(v->verify, v->messages[i]);

		if (body_verdict_is_bad(verdict))
			printf("the body of %s: %s\n", v->messages[i]->id.text,
			       ink(INK_BAD, body_verdict_name(verdict)));
	}
	if (v->orphans)
		printf("%llu records are about messages that %s\n",
		       (unsigned long long)v->orphans,
		       ink(INK_BAD, "are not here"));
	if (v->broken_seals)
		printf("%llu sealed texts %s\n",
		       (unsigned long long)v->broken_seals,
		       ink(INK_BAD, "do not open under their key"));
	if (v->unreadable)
		printf("%llu records %s\n", (unsigned long long)v->unreadable,
		       ink(INK_BAD, "cannot be read by this version"));
}

static void print_text(const struct verdict *v)
{
	for (size_t i = 0; i < v->message_count; i++)
		for (size_t n = 0; n < v->messages[i]->envelope_count; n++)
			print_envelope(v->messages[i], n);
	if (v->message_count)
		putchar('\n');
	print_ledger(v);
	print_ranges(v);
	print_missing(v);
	printf("%zu messages; %llu torn, %llu damaged; %s\n", v->message_count,
	       (unsigned long long)v->torn, (unsigned long long)v->damaged,
	       is_whole(v) ? ink(INK_GOOD, "the spool is whole") :
			     ink(INK_BAD, "the spool is not whole"));
}

int cmd_spool(struct command_call *call)
{
	struct err err = ERR_INIT;
	struct spool_verify *verify;
	struct verdict verdict;
	bool is_spool;
	int status;

	if (strcmp(call->arguments[0], "verify") != 0)
		return output_error(call, EXIT_USAGE, "spool: verify, not '%s'",
				    call->arguments[0]);
	verify = spool_verify_run(call->arguments[1],
				  call->value[OPT_MASTER_KEY], &is_spool, &err);
	if (!verify)
		return output_error(call, is_spool ? EXIT_FAILED : EXIT_USAGE,
				    "%s", err.text);
	judge(&verdict, verify);
	if (call->json)
		print_json(&verdict);
	else
		print_text(&verdict);
	status = is_whole(&verdict) ? EXIT_DONE : EXIT_FAILED;
	verdict_release(&verdict);
	spool_verify_free(verify);
	return status;
}
