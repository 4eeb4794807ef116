#include "cutover/canary.h"
#include "smtp/smtp_path.h"
#include <stdlib.h>

#define APART_MS ((int64_t)60 * 1000)

static const char *const state_names[] = {
	[CANARY_NONE] = "none",		[CANARY_UNDER_WAY] = "under-way",
	[CANARY_ACCEPTED] = "accepted", [CANARY_REFUSED] = "refused",
	[CANARY_DEFERRED] = "deferred",
};

/* Building. */

static void fingerprint(struct canary *canary, const struct plan *plan)
{
	unsigned char digest[DIGEST_LEN];
	struct buf whole = BUF_INIT;

	buf_addf(&whole, "%s\n%s\n%s\n%s",
		 plan->rehearsal ? "rehearsal" : "plan", plan->name,
		 canary->address, canary->target);
	digest_sha256(buf_slice(&whole), digest);
	digest_text(digest, canary->fingerprint);
	buf_release(&whole);
}

static void add(struct canaries *canaries, const char *address, bool initial,
		const struct plan_domain *domain)
{
	const struct plan_system *to = &domain->systems[SYSTEM_NEW];
	struct canary *canary = &canaries->at[canaries->count++];

	*canary = (struct canary){
		.address = address,
		.initial = initial,
		.domain = domain,
		.target = mem_printf("%s:%d", plan_deliver_host(to),
				     to->deliver_port),
	};
	fingerprint(canary, canaries->plan);
}

static const struct plan_domain *domain_of(const struct plan *plan,
					   const char *address)
{
	struct smtp_mailbox mailbox;
	char domain[SMTP_DOMAIN];

	if (smtp_mailbox_parse(slice(address), &mailbox, NULL) < 0 ||
	    !smtp_domain_normal(mailbox.domain, domain))
		return NULL;
	return plan_domain(plan, slice(domain));
}

void canaries_init(struct canaries *canaries, const struct plan *plan)
{
	const struct plan_strings *initial = &plan->canary.initial;
	const struct plan_strings *others = &plan->canary.recipients;

	*canaries = (struct canaries){ .plan = plan };
	canaries->at = mem_alloc((initial->count + others->count) *
				 sizeof(*canaries->at));
	/* Where domains have tenants of their own, theirs are not proven. */
	for (size_t i = 0; i < initial->count; i++)
		add(canaries, initial->at[i], true, &plan->domains[0]);
	for (size_t i = 0; i < others->count; i++)
		add(canaries, others->at[i], false,
		    domain_of(plan, others->at[i]));
}

void canaries_release(struct canaries *canaries)
{
	for (size_t i = 0; i < canaries->count; i++) {
		free(canaries->at[i].target);
		json_free(canaries->at[i].sent);
		json_free(canaries->at[i].reply);
	}
	free(canaries->at);
	*canaries = (struct canaries){ 0 };
}

/* What the journal says. */

static struct canary *find(struct canaries *canaries, const struct json *data)
{
	const char *is_for = json_get_text(data, "for");

	for (size_t i = 0; is_for && i < canaries->count; i++)
		if (strcmp(canaries->at[i].fingerprint, is_for) == 0)
			return &canaries->at[i];
	return NULL;
}

static void take_sent(struct canary *canary, const struct json *data,
		      int64_t at_ms)
{
	json_free(canary->sent);
	json_free(canary->reply);
	canary->sent = json_copy(data);
	canary->reply = NULL;
	canary->state = CANARY_UNDER_WAY;
	canary->sent_ms = at_ms;
	canary->answered_ms = 0;
	if (canary->since_ms == 0)
		canary->since_ms = at_ms;
}

static void take_reply(struct canary *canary, const struct json *data,
		       int64_t at_ms)
{
	const char *state = json_get_text(data, "state");

	json_free(canary->reply);
	canary->reply = json_copy(data);
	canary->answered_ms = at_ms;
	canary->state = CANARY_DEFERRED;
	if (state && strcmp(state, state_names[CANARY_REFUSED]) == 0)
		canary->state = CANARY_REFUSED;
	if (!state || strcmp(state, state_names[CANARY_ACCEPTED]) != 0)
		return;
	canary->state = CANARY_ACCEPTED;
	canary->accepted_ms = canary->sent_ms;
	id_parse(slice(json_get_text(data, "id")), &canary->accepted_id);
	canary->since_ms = 0;
}

void canaries_take(struct canaries *canaries, const char *event,
		   const struct json *data, int64_t at_ms)
{
	bool sent = strcmp(event, "canary") == 0;
	struct canary *canary;

	if (!sent && strcmp(event, "canary-reply") != 0)
		return;
	canary = find(canaries, data);
	if (canary && sent)
		take_sent(canary, data, at_ms);
	else if (canary)
		take_reply(canary, data, at_ms);
}

void canaries_settle(struct canaries *canaries)
{
	for (size_t i = 0; i < canaries->count; i++) {
		struct canary *canary = &canaries->at[i];
		struct json *data;

		if (canary->state != CANARY_UNDER_WAY)
			continue;
		data = json_object();
		json_put_text(data, "text",
			      "tideoverd ended before an answer came");
		take_reply(canary, data, 0);
		json_free(data);
	}
}

/* When the next may go. */

bool canary_stands(const struct canary *canary, const struct plan *plan,
		   int64_t now_ms)
{
	int64_t age_ms = now_ms - canary->accepted_ms;

	return canary->accepted_ms > 0 && canary->state != CANARY_REFUSED &&
	       age_ms >= 0 && age_ms < plan->timing.canary_valid;
}

int64_t canary_next_ms(const struct canary *canary, const struct plan *plan)
{
	if (canary->sent_ms == 0)
		return 0;
	return canary->sent_ms +
	       (plan->rehearsal ? plan->timing.retry_min : APART_MS);
}

bool canary_may_go(const struct canary *canary, const struct plan *plan,
		   int64_t now_ms)
{
	/* A clock that was set back does not put it off for so long. */
	return canary->state != CANARY_UNDER_WAY &&
	       (now_ms < canary->sent_ms ||
		now_ms >= canary_next_ms(canary, plan));
}

/* In JSON. */

static struct json *line_json(const struct canary *canary)
{
	struct json *json = json_object();

	json_put_text(json, "for", canary->fingerprint);
	json_put_text(json, "address", canary->address);
	json_put_text(json, "target", canary->target);
	return json;
}

struct json *canary_sent_json(const struct canary *canary, const struct id *id,
			      const char *by)
{
	struct json *json = line_json(canary);

	json_put_text(json, "id", id->text);
	json_put_text(json, "by", by);
	return json;
}

static enum canary_state state_of(const struct reply_meaning *meaning)
{
	switch (meaning->act) {
	case ACT_DELIVERED:
		return CANARY_ACCEPTED;
	case ACT_HOLD:
	case ACT_CLOSE:
		return CANARY_REFUSED;
	case ACT_DEFER:
		break;
	}
	return CANARY_DEFERRED;
}

struct json *canary_reply_json(const struct canary *canary,
			       const struct canary_answer *answer)
{
	const struct smtp_reply *reply = answer->reply;
	struct reply_meaning meaning =
		provider_reply(canary->domain->systems[SYSTEM_NEW].provider,
			       answer->stage, reply);
	struct json *json = line_json(canary);

	/* As a replay, which stops for it. */
	if (answer->lacks_tls) {
		meaning.act = ACT_CLOSE;
		meaning.remedy = "repair its TLS, or what demands it";
	}
	json_put_text(json, "id", json_get_text(canary->sent, "id"));
	json_put_text(json, "state", state_names[state_of(&meaning)]);
	json_put_text(json, "peer", *answer->peer ? answer->peer : NULL);
	json_put_text(json, "tls", *answer->tls ? answer->tls : NULL);
	json_put_text(json, "stage", smtp_stage_name(answer->stage));
	json_put_number(json, "code", reply->code);
	json_put_text(json, "enhanced", reply->enhanced);
	json_put_text(json, "text", reply->text);
	json_put_text(json, "remedy", meaning.remedy);
	return json;
}

static void copy_member(struct json *to, const struct json *from,
			const char *key)
{
	const struct json *value = json_get(from, key);

	json_put(to, key, value ? json_copy(value) : NULL);
}

struct json *canary_json(const struct canary *canary, const struct plan *plan)
{
	static const char *const members[] = { "peer",	"tls",	    "stage",
					       "code",	"enhanced", "text",
					       "remedy" };
	struct json *json = json_object();

	json_put_text(json, "asked", "a message of our own");
	json_put_text(json, "address", canary->address);
	json_put_bool(json, "initial", canary->initial);
	json_put_text(json, "target", canary->target);
	json_put_text(json, "state", state_names[canary->state]);
	copy_member(json, canary->sent, "id");
	copy_member(json, canary->sent, "by");
	json_put_time(json, "sent", canary->sent_ms);
	json_put_time(json, "answered", canary->answered_ms);
	json_put_time(json, "accepted", canary->accepted_ms);
	json_put_time(json, "next", canary_next_ms(canary, plan));
	for (size_t i = 0; i < COUNT(members); i++)
		copy_member(json, canary->reply, members[i]);
	return json;
}
