/* Who still delivers to the old system: only its own trace tells, as a file that
 * the plan names, or read and attested by a person. */

#include "cutover/check_parts.h"
#include <stdlib.h>

/* How far behind the last entry of a trace may lie: exporting takes its time,
 * and clocks differ. */
#define FRESH_MS ((int64_t)3600 * 1000)

/*
 * A trace that was read while somebody still saw the old set says nothing of
 * the time after: what is attested lapses when the set is seen again.
 */
static char *sightings(const struct facts *facts)
{
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < facts->plan->domain_count; i++)
		buf_addf(&text, "old set of %s seen at %lld\n",
			 facts->plan->domains[i].name,
			 (long long)facts->domains[i].horizon.old_seen_ms);
	return buf_take(&text);
}

static int64_t last_sighting(const struct facts *facts)
{
	int64_t last = 0;

	for (size_t i = 0; i < facts->plan->domain_count; i++)
		if (facts->domains[i].horizon.old_seen_ms > last)
			last = facts->domains[i].horizon.old_seen_ms;
	return last;
}

/* The largest TTL with which any domain's old set may have been cached. */
static int64_t old_ttl_ms(const struct facts *facts)
{
	int64_t ttl_s = facts->plan->dns.ttl;

	if (facts->plan->dns.old_ttl > ttl_s)
		ttl_s = facts->plan->dns.old_ttl;
	for (size_t i = 0; i < facts->plan->domain_count; i++)
		if (facts->domains[i].horizon.max_ttl > ttl_s)
			ttl_s = facts->domains[i].horizon.max_ttl;
	return ttl_s * 1000;
}

/* A person looks; or a file shows it. */
static char *how_to_see(const struct facts *facts)
{
	char when[CLOCK_TEXT];

	return mem_printf(
		"name the old system's trace of now and one TTL (%lld s) "
		"before as a file under \"evidence\" (docs/checks.md); or look "
		"at it: if nothing came since the old MX set was last seen "
		"(%s), and for one TTL, tideover waive PLAN straggler-rate "
		"--gate detach --attest --by NAME --reason \"trace of HH:MM\"",
		(long long)(old_ttl_ms(facts) / 1000),
		last_sighting(facts) ? check_time(last_sighting(facts), when) :
				       "not at all");
}

/*
 * What a trace shows up to is its last entry, whatever its file's time: nothing
 * may be missing between that and now, nor between two files.
 */
static bool is_fresh(const struct trace_span *span, int64_t now_ms)
{
	return span->first_ms > 0 && span->last_ms >= now_ms - FRESH_MS &&
	       span->last_ms <= now_ms + FRESH_MS;
}

/*
 * Since when nothing may have come: one TTL before the end of the trace, as what
 * came after it nobody has seen.  False: no trace shows a whole TTL.
 */
static bool quiet_from(const struct facts *facts, int64_t *from_ms)
{
	const struct trace *trace = &facts->tenant.trace;
	int64_t now_ms = facts->now.wall_ms, ttl_ms = old_ttl_ms(facts);
	bool covered = false;

	*from_ms = now_ms - ttl_ms;
	for (size_t i = 0; i < trace->span_count; i++) {
		const struct trace_span *span = &trace->spans[i];
		int64_t end_ms =
			span->last_ms < now_ms ? span->last_ms : now_ms;

		if (!is_fresh(span, now_ms) || span->first_ms > end_ms - ttl_ms)
			continue;
		if (!covered || end_ms - ttl_ms > *from_ms)
			*from_ms = end_ms - ttl_ms;
		covered = true;
	}
	return covered;
}

/* Seen by the watch, after none were: whatever still goes there may bounce. */
static bool judge_arrivals(const struct facts *facts, size_t at,
			   int64_t from_ms, enum gate gate, struct tally *tally)
{
	bool watched = gate == (enum gate)GATE_WATCHED;
	const char *name = facts->plan->domains[at].name;
	int64_t last_ms;
	size_t count =
		trace_arrivals(&facts->tenant.trace, name, from_ms, &last_ms);
	char when[CLOCK_TEXT];

	if (count > 0)
		tally_add(
			tally, watched ? VERDICT_FAIL : VERDICT_WARN,
			mem_printf("%s: %zu messages from outside came to the "
				   "old system within one TTL",
				   name, count),
			mem_printf("delay the detach until one TTL after the "
				   "last of them (%s), and find out who "
				   "sends there",
				   check_time(last_ms, when)));
	return count > 0;
}

/* Whether the silence of the trace means anything. */
static void judge_silence(const struct facts *facts, bool covered,
			  struct tally *tally)
{
	const struct trace *trace = &facts->tenant.trace;
	bool dated = true;

	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		const char *name = facts->plan->domains[i].name;

		if (!map_get(&trace->domains, slice(name)))
			tally_add(tally, VERDICT_UNKNOWN,
				  mem_printf("%s: the trace has no mail for it "
					     "at all: it may be of another "
					     "system",
					     name),
				  mem_dup("let it begin before the MX set "
					  "changed"));
	}
	for (size_t i = 0; i < trace->span_count; i++)
		dated &= trace->spans[i].undated == 0;
	if (!dated)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_dup("entries of the trace have no time that can "
				  "be read"),
			  mem_dup("export it with its times in UTC"));
	else if (!covered)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_dup("no trace of the old system reaches from one "
				  "TTL ago to now"),
			  mem_printf("send a message to a mailbox at the old "
				     "system's initial domain, so that there "
				     "is something to see, and export %lld s "
				     "and more in one file",
				     (long long)(old_ttl_ms(facts) / 1000)));
}

/* What has come is known, so that nobody attests that it has not: what else is
 * not known does not hide it. */
static void judge_trace(const struct facts *facts, enum gate gate,
			struct tally *tally)
{
	const struct tenant *tenant = &facts->tenant;
	bool came = false, covered;
	int64_t from_ms;

	covered = quiet_from(facts, &from_ms);
	for (size_t i = 0; i < facts->plan->domain_count; i++)
		came |= judge_arrivals(facts, i, from_ms, gate, tally);
	if (came)
		return;
	if (tenant->trace.read && !tenant->error[0])
		judge_silence(facts, covered, tally);
	else
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_dup("what still arrives at the old system cannot "
				  "be asked from here"),
			  tenant->error[0] ? mem_dup(tenant->error) : NULL);
}

void check_straggler_rate(const struct facts *facts, enum gate gate,
			  struct finding *finding)
{
	struct buf blocks = BUF_INIT;
	struct tally tally;
	char *seen;

	tally_init(&tally);
	json_add(tally.evidence, check_arrivals_json(facts));
	json_add(tally.evidence, check_trace_json(&facts->tenant.trace));
	judge_trace(facts, gate, &tally);
	tally_end(&tally, finding,
		  "the old system's trace has no mail from outside for one "
		  "TTL");
	if (finding->verdict != VERDICT_UNKNOWN)
		return;
	seen = how_to_see(facts);
	buf_addf(&blocks, "%s%s%s", finding->remedy,
		 *finding->remedy ? "; " : "", seen);
	finding_remedy(finding, "%s", buf_text(&blocks));
	free(seen);
	seen = sightings(facts);
	buf_clear(&blocks);
	buf_addf(&blocks, "%s%s", finding->blocks, seen);
	free(seen);
	free(finding->blocks);
	finding->blocks = buf_take(&blocks);
}
