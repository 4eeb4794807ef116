/* How the queue's port 25 looks from outside: a dialogue that somebody had from
 * elsewhere and wrote down, or attests. */

#include "cutover/check_parts.h"
#include "plan/plan_host.h"
#include "smtp/smtp_path.h"
#include <ctype.h>
#include <stdlib.h>

#define HOUR_MS ((int64_t)3600 * 1000)
/* As long as an attestation would hold. */
#define STALE_MS (24 * HOUR_MS)

/* One dialogue. */
struct seen {
	const struct facts *facts;
	const struct json *object;
	struct tally *tally;
	const char *to;
	bool known, unknown; /* a listed recipient was tried, another one */
};

/* RFC 1918, 6598, 3927, 4193, 4291. */
bool check_is_private(const char *ip)
{
	static const char *const ranges[] = {
		"10.0.0.0/8",	 "172.16.0.0/12",  "192.168.0.0/16",
		"100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8",
		"fc00::/7",	 "fe80::/10",	   "::1/128",
	};

	for (size_t i = 0; i < COUNT(ranges); i++)
		if (tenant_ip_covers(ranges[i], ip))
			return true;
	return false;
}

/* The queue's addresses, as DNS has them. */
static const char *queue_address(const struct facts *facts, size_t i)
{
	const char *host = facts->plan->queue_mx.host;
	const struct record_answer *v4 =
		records_get(facts->records, host, DNS_A);
	const struct record_answer *v6 =
		records_get(facts->records, host, DNS_AAAA);
	size_t count = 0;

	while (record_of(v4, DNS_A, count))
		count++;
	if (i < count)
		return record_of(v4, DNS_A, i)->address;
	return record_of(v6, DNS_AAAA, i - count) ?
		       record_of(v6, DNS_AAAA, i - count)->address :
		       NULL;
}

static bool is_queue_address(const struct facts *facts, const char *ip)
{
	const char *own;

	for (size_t i = 0; (own = queue_address(facts, i)); i++)
		if (tenant_ip_covers(own, ip))
			return true;
	return false;
}

static void say(const struct seen *seen, enum verdict verdict, const char *what,
		const char *remedy)
{
	tally_add(seen->tally, verdict,
		  mem_printf("%s port 25, seen from outside: %s", seen->to,
			     what),
		  mem_dup(remedy));
}

static int code_of(const char *reply)
{
	uint64_t code;

	if (!slice_u64(slice_of(reply, strnlen(reply, 3)), &code) ||
	    isdigit((unsigned char)reply[3]) || code < 200 || code > 599)
		return 0;
	return (int)code;
}

/* Why nothing follows from it; NULL: something does. */
static const char *unusable(const struct seen *seen)
{
	const char *from = json_text(tenant_get(seen->object, "from"));
	const char *at = json_text(tenant_get(seen->object, "at"));
	int64_t at_ms, now_ms = seen->facts->now.wall_ms;

	if (!plan_is_ip(from) || check_is_private(from) ||
	    is_queue_address(seen->facts, from))
		return "it was not asked from outside";
	if (!is_queue_address(seen->facts, seen->to))
		return "DNS does not give this address for the queue's host";
	if (tenant_time(at, &at_ms) < 0 || at_ms > now_ms + HOUR_MS)
		return "when it was asked is not known";
	if (now_ms - at_ms > STALE_MS)
		return "it was asked more than a day ago";
	return NULL;
}

static void judge_greeting(const struct seen *seen)
{
	const char *greeting = json_text(tenant_get(seen->object, "greeting"));

	if (code_of(greeting) == 0)
		say(seen, VERDICT_FAIL, "nobody answers",
		    "open port 25 to the world, and its way to tideoverd");
	else if (code_of(greeting) != 220)
		say(seen, VERDICT_FAIL, "it does not greet with 220",
		    "see why: tideoverd's log names who was turned away");
	else if (!strstr(greeting, seen->facts->plan->queue_mx.host))
		say(seen, VERDICT_FAIL, "somebody else greets",
		    "lead the address to tideoverd: its greeting names the "
		    "queue's host");
}

static void judge_recipient(struct seen *seen, const char *text)
{
	const struct facts *facts = seen->facts;
	struct slice rest = slice(text), address = slice_split(&rest, ' ');
	int code = rest.len > 0 ? code_of(rest.p) : 0;
	struct smtp_mailbox mailbox;
	struct buf key = BUF_INIT;
	ptrdiff_t at = slice_rfind(address, '@');
	bool listed;

	if (at < 0 || smtp_mailbox_parse(address, &mailbox, NULL) < 0) {
		say(seen, VERDICT_UNKNOWN, "a recipient that is no address",
		    "write each as \"ADDRESS REPLY\"");
		return;
	}
	if (!plan_domain(facts->plan, slice_from(address, (size_t)at + 1))) {
		if (code / 100 == 2)
			say(seen, VERDICT_FAIL,
			    "it takes mail for a foreign domain",
			    "it relays: stop it, and see who answers there");
		return;
	}
	smtp_mailbox_key(address, &key);
	listed = !facts->plan->recipients.listed ||
		 (facts->listed && map_get(facts->listed, buf_slice(&key)));
	buf_release(&key);
	seen->known |= listed && code / 100 == 2;
	seen->unknown |= !listed && code >= 400;
	if (listed && code >= 500)
		say(seen, VERDICT_FAIL, "it refuses a listed recipient",
		    "see who answers there: the queue refuses nobody on its "
		    "list");
	else if (!listed && code / 100 == 2)
		say(seen, VERDICT_FAIL,
		    "it takes mail for somebody who is not listed",
		    "see who answers there: the queue takes those on its list "
		    "alone");
}

static void judge_seen(struct seen *seen)
{
	const struct json *list = tenant_get(seen->object, "recipients");
	const char *why = unusable(seen);

	if (why) {
		say(seen, VERDICT_UNKNOWN, why, "ask it again, from elsewhere");
		return;
	}
	judge_greeting(seen);
	for (const struct json *it = json_first(list); it; it = json_next(it))
		judge_recipient(seen, json_text(it));
	if (!seen->known)
		say(seen, VERDICT_UNKNOWN,
		    "no listed recipient is known to be accepted",
		    "ask again once the plan is opening (tideover start)");
	if (!seen->unknown && seen->facts->plan->recipients.listed)
		say(seen, VERDICT_UNKNOWN,
		    "nobody tried an address that is not listed",
		    "ask for one as well");
}

/* The address of the queue that nobody tried, or NULL. */
static const char *untried(const struct facts *facts)
{
	const struct json *all = facts->tenant.of[TENANT_OUTSIDE];
	const char *own;

	for (size_t i = 0; (own = queue_address(facts, i)); i++) {
		bool tried = false;

		for (const struct json *it = json_first(all); it;
		     it = json_next(it))
			tried |= tenant_ip_covers(
				own, json_text(tenant_get(it, "to")));
		if (!tried)
			return own;
	}
	return NULL;
}

static void judge_all(const struct facts *facts, struct tally *tally)
{
	const struct json *all = facts->tenant.of[TENANT_OUTSIDE];

	for (const struct json *it = json_first(all); it; it = json_next(it)) {
		struct seen seen = { .facts = facts,
				     .object = it,
				     .tally = tally,
				     .to = json_text(tenant_get(it, "to")) };

		judge_seen(&seen);
	}
	if (untried(facts))
		tally_add(tally, VERDICT_WARN,
			  mem_printf("nobody tried %s from outside",
				     untried(facts)),
			  mem_dup("ask there as well, or take it out of DNS"));
}

static struct json *dialogues_json(const struct facts *facts)
{
	const struct tenant *tenant = &facts->tenant;
	struct json *json = json_object();

	json_put_text(json, "asked",
		      "nobody: it cannot be seen from here; or "
		      "dialogues from elsewhere, in files");
	json_put_time(json, "at", facts->now.wall_ms);
	json_put(json, "dialogues",
		 tenant->of[TENANT_OUTSIDE] ?
			 json_copy(tenant->of[TENANT_OUTSIDE]) :
			 NULL);
	return json;
}

void check_queue_reachable(const struct facts *facts, enum gate gate,
			   struct finding *finding)
{
	bool read = facts->tenant.of[TENANT_OUTSIDE];
	struct tally tally;
	char *remedy, *command;

	tally_init(&tally);
	json_add(tally.evidence, dialogues_json(facts));
	if (read)
		judge_all(facts, &tally);
	else
		tally_add(&tally, VERDICT_UNKNOWN,
			  mem_dup("whether port 25 can be reached from outside "
				  "cannot be seen from here"),
			  facts->tenant.error[0] ?
				  mem_dup(facts->tenant.error) :
				  NULL);
	tally_end(&tally, finding, "port 25 answers from outside as it should");
	if (finding->verdict == VERDICT_UNKNOWN) {
		remedy = finding->remedy;
		finding->remedy = NULL;
		command = check_attest_command(finding->check, gate);
		finding_remedy(finding,
			       "%s%sconnect from another network: 220, a known "
			       "RCPT 250, an unknown one not 250; name what it "
			       "said as a file under \"evidence\" "
			       "(docs/checks.md), or %s",
			       remedy, *remedy ? "; " : "", command);
		free(command);
		free(remedy);
	}
	check_excuse(facts, finding);
}
