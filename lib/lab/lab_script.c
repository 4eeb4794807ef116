#include "lab/lab_script.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/map.h"
#include <ctype.h>
#include <stdlib.h>

enum {
	HAVE_MAX = 32,
	RATE_MAX = 10000, /* times kept per thing counted */
	DEPTH_MAX = 3	  /* "like" within a preset */
};

/* What a rule counts apart. */
enum per {
	PER_SYSTEM,
	PER_SESSION,
	PER_MAILBOX,
	PER_PAIR
};

enum when {
	WHEN_ALWAYS,
	WHEN_EVERY,
	WHEN_FIRST,
	WHEN_AFTER,
	WHEN_RATE,
	WHEN_GREYLIST
};

struct rule {
	unsigned stages; /* a set */
	char *pattern;
	enum per per;
	enum when when;
	uint64_t number; /* of every, first, after, rate */
	int64_t span_ms; /* of rate, greylist */
	uint64_t larger, together;
	uint32_t count; /* of the system */
	struct lab_act act;
	char *text;
};

struct counted { /* one mailbox or pair under one rule */
	uint32_t count;
	int64_t first_ms;
	int64_t *times; /* a ring of the last `number` times */
	size_t at, filled, room;
};

struct lab_script {
	struct rule rules[LAB_SCRIPT_RULES];
	size_t rule_count;
	char *have[HAVE_MAX];
	size_t have_count;
	char *without;	    /* words, or NULL */
	struct map counted; /* "rule\0mailbox\0reverse" */
};

/* Presets. */

/*
 * Microsoft 365: "Exchange Online limits" (36 MB by default; 3,600 messages an
 * hour per mailbox, a third of them from one sender) and "Non-delivery reports
 * in Exchange Online"; texts as its NDRs quote them.
 *
 * Google Workspace: "Gmail receiving limits" (60 a minute per user; 50 MB) and
 * "SMTP error reference".
 */
static const struct {
	const char *name, *text;
} presets[] = {
	{ "custom", "" },
	{ "custom-detached", "rcpt -> 550 5.4.1 recipient address rejected: "
			     "access denied\n" },
	{ "custom-busy", "dot -> 451 4.3.2 system not accepting now\n" },
	{ "down", "connect -> cut\n" },
	{ "m365",
	  "mail larger 37748736 -> 552 5.3.4 Message size exceeds fixed "
	  "maximum message size\n"
	  "rcpt mailbox rate 3600/1h -> 550 5.2.122 The recipient has exceeded "
	  "their limit for the number of messages they can receive per hour\n"
	  "rcpt pair rate 1188/1h -> 550 5.2.121 The recipient has exceeded "
	  "their limit for the number of messages they can receive per hour "
	  "from this sender\n"
	  "dot larger 37748736 -> 552 5.3.4 Message size exceeds fixed maximum "
	  "message size\n" },
	{ "m365-detached",
	  "like m365\n"
	  "rcpt -> 550 5.4.1 Recipient address rejected: Access denied. "
	  "AS(201806281)\n" },
	{ "m365-unlicensed",
	  "like m365\n"
	  "rcpt -> 451 4.4.4 Mail received as unauthenticated, incoming to a "
	  "recipient domain configured in a hosted tenant which has no "
	  "mail-enabled subscriptions. ATTR5\n" },
	{ "m365-connector",
	  "like m365\n"
	  "rcpt -> 550 5.7.51 TenantInboundAttribution; There is a partner "
	  "connector configured that matched the message's recipient domain. "
	  "The connector had either the RestrictDomainsToIPAddresses or "
	  "RestrictDomainsToCertificate set\n" },
	{ "m365-busy", "like m365\n"
		       "mail -> 451 4.7.500 Server busy. Please try again "
		       "later\n" },
	{ "workspace",
	  "mail larger 52428800 -> 552 5.3.4 Your message exceeded Google's "
	  "message size limits.\n"
	  "rcpt mailbox rate 60/1m -> 450 4.2.1 The user you are trying to "
	  "contact is receiving mail at a rate that\\nprevents additional "
	  "messages from being delivered. Please resend your\\nmessage at a "
	  "later time.\n"
	  "dot larger 52428800 -> 552 5.3.4 Your message exceeded Google's "
	  "message size limits.\n" },
	{ "workspace-detached",
	  "like workspace\n"
	  "rcpt -> 550 5.1.1 The email account that you tried to reach does "
	  "not exist.\\nPlease try double-checking the recipient's email "
	  "address\n" },
	{ "workspace-ungated",
	  "like workspace\n"
	  "dot -> 550 5.7.26 Your email has been blocked because the sender is "
	  "unauthenticated.\\nGmail requires all senders to authenticate with "
	  "either SPF or DKIM.\n" },
	{ "workspace-busy",
	  "like workspace\n"
	  "mail -> 421 4.7.28 Gmail has detected an unusual rate of mail "
	  "originating from your IP\\naddress. To protect our users, mail has "
	  "been temporarily rate limited.\n" },
};

const char *lab_script_preset(const char *name)
{
	for (size_t i = 0; i < COUNT(presets); i++)
		if (strcmp(presets[i].name, name) == 0)
			return presets[i].text;
	return NULL;
}

const char *lab_script_preset_name(size_t i)
{
	return i < COUNT(presets) ? presets[i].name : NULL;
}

/* Reading. */

static const char *const stage_words[LAB_STAGES] = {
	[LAB_CONNECT] = "connect", [LAB_BANNER] = "banner",
	[LAB_EHLO] = "ehlo",	   [LAB_STARTTLS] = "starttls",
	[LAB_MAIL] = "mail",	   [LAB_RCPT] = "rcpt",
	[LAB_DATA] = "data",	   [LAB_DOT] = "dot",
};

const char *lab_stage_name(enum lab_stage stage)
{
	return stage_words[stage];
}

static struct slice word(struct slice *rest)
{
	struct slice found;

	*rest = slice_trim(*rest);
	found = slice_split(rest, ' ');
	return found;
}

static int read_stage(struct slice at, struct rule *rule, struct err *err)
{
	if (slice_is(at, "any"))
		rule->stages = ~0u;
	for (size_t i = 0; i < LAB_STAGES; i++)
		if (slice_is(at, stage_words[i]))
			rule->stages = BIT(i);
	if (rule->stages == 0)
		return err_set(err, "'%.*s' is no stage", (int)at.len, at.p);
	return 0;
}

static int read_number(struct slice *rest, uint64_t *number, struct err *err)
{
	struct slice at = word(rest);

	if (!slice_u64(at, number) || *number > UINT32_MAX)
		return err_set(err, "'%.*s' is no number", (int)at.len, at.p);
	return 0;
}

static int read_rate(struct slice *rest, struct rule *rule, struct err *err)
{
	struct slice span = word(rest);
	struct slice number = slice_split(&span, '/');

	if (!slice_u64(number, &rule->number) || rule->number == 0 ||
	    rule->number > RATE_MAX)
		return err_set(err,
			       "a rate is a number (at most %d), '/' and "
			       "a duration",
			       RATE_MAX);
	return clock_parse_duration(span, &rule->span_ms, err);
}

static int read_condition(struct slice at, struct slice *rest,
			  struct rule *rule, struct err *err)
{
	static const struct {
		const char *word;
		enum when when;
	} counting[] = { { "every", WHEN_EVERY },
			 { "first", WHEN_FIRST },
			 { "after", WHEN_AFTER } };

	if (slice_is(at, "session") || slice_is(at, "mailbox") ||
	    slice_is(at, "pair")) {
		rule->per = at.p[0] == 's' ? PER_SESSION :
			    at.p[0] == 'm' ? PER_MAILBOX :
					     PER_PAIR;
		return 0;
	}
	for (size_t i = 0; i < COUNT(counting); i++) {
		if (!slice_is(at, counting[i].word))
			continue;
		rule->when = counting[i].when;
		if (read_number(rest, &rule->number, err) < 0)
			return -1;
		if (rule->when == WHEN_EVERY && rule->number == 0)
			return err_set(err, "every 0 is never");
		return 0;
	}
	if (slice_is(at, "rate")) {
		rule->when = WHEN_RATE;
		return read_rate(rest, rule, err);
	}
	if (slice_is(at, "greylist")) {
		rule->when = WHEN_GREYLIST;
		rule->per = PER_PAIR;
		return clock_parse_duration(word(rest), &rule->span_ms, err);
	}
	if (slice_is(at, "larger"))
		return read_number(rest, &rule->larger, err);
	if (slice_is(at, "together"))
		return read_number(rest, &rule->together, err);
	return err_set(err, "'%.*s' is no condition", (int)at.len, at.p);
}

/* The script writes "\n" for the end of a reply's line. */
static char *reply_text(struct slice from)
{
	struct buf out = BUF_INIT;

	for (size_t i = 0; i < from.len; i++) {
		if (i + 1 < from.len && from.p[i] == '\\' &&
		    from.p[i + 1] == 'n') {
			buf_addc(&out, '\n');
			i++;
		} else {
			buf_addc(&out, from.p[i]);
		}
	}
	return buf_take(&out);
}

static int read_answer(struct slice rest, struct rule *rule, struct err *err)
{
	struct slice all = slice_trim(rest), at = word(&rest);
	struct lab_act *act = &rule->act;
	uint64_t code;

	if (slice_is(at, "keep")) {
		if (rule->stages != BIT(LAB_DOT))
			return err_set(err, "only a dot can keep");
		act->keep = true;
		all = slice_trim(rest);
		at = word(&rest);
	}
	if (slice_is(at, "cut") || slice_is(at, "silence")) {
		act->reaction = at.p[0] == 'c' ? LAB_CUT : LAB_SILENCE;
	} else if (slice_is(at, "delay")) {
		return clock_parse_duration(word(&rest), &act->delay_ms, err);
	} else if (slice_is(at, "slowly")) {
		return clock_parse_duration(word(&rest), &act->byte_ms, err);
	} else {
		if (at.len != 3 || !slice_u64(at, &code) || code < 200 ||
		    code > 599)
			return err_set(err, "'%.*s' is nothing that can happen",
				       (int)all.len, all.p);
		act->reaction = LAB_ANSWER;
		act->code = (int)code;
		rule->text = reply_text(slice_trim(rest));
		act->text = rule->text;
	}
	return 0;
}

static int read_rule(struct lab_script *script, struct slice stage,
		     struct slice rest, struct err *err)
{
	struct rule *rule = &script->rules[script->rule_count];
	bool first = true;

	if (script->rule_count == LAB_SCRIPT_RULES)
		return err_set(err, "more than %d rules", LAB_SCRIPT_RULES);
	script->rule_count++;
	*rule = (struct rule){ 0 };
	if (read_stage(stage, rule, err) < 0)
		return -1;
	for (;; first = false) {
		struct slice at = word(&rest);

		if (at.len == 0)
			return err_set(err, "'->' is missing");
		if (slice_is(at, "->"))
			return read_answer(rest, rule, err);
		if (first &&
		    (memchr(at.p, '*', at.len) || memchr(at.p, '@', at.len)))
			rule->pattern = slice_dup(at);
		else if (read_condition(at, &rest, rule, err) < 0)
			return -1;
	}
}

static int read_text(struct lab_script *script, struct slice text, int depth,
		     struct err *err);

static int read_line(struct lab_script *script, struct slice line, int depth,
		     struct err *err)
{
	struct slice first;

	line = slice_trim(line);
	if (line.len == 0 || line.p[0] == '#')
		return 0;
	first = word(&line);
	line = slice_trim(line);
	if (slice_is(first, "have")) {
		if (script->have_count == HAVE_MAX || line.len == 0)
			return err_set(err, "have: 1 to %d patterns", HAVE_MAX);
		script->have[script->have_count++] = slice_dup(line);
		return 0;
	}
	if (slice_is(first, "without")) {
		free(script->without);
		script->without = slice_dup(line);
		return 0;
	}
	if (slice_is(first, "like")) {
		char *name = slice_dup(line);
		const char *text = lab_script_preset(name);

		free(name);
		if (!text || depth == DEPTH_MAX)
			return err_set(err, "there is no preset '%.*s'",
				       (int)line.len, line.p);
		return read_text(script, slice(text), depth + 1, err);
	}
	return read_rule(script, first, line, err);
}

static int read_text(struct lab_script *script, struct slice text, int depth,
		     struct err *err)
{
	for (unsigned number = 1; text.len > 0; number++) {
		if (read_line(script, slice_split(&text, '\n'), depth, err) <
		    0) {
			if (depth == 0)
				err_prefix(err, "line %u", number);
			return -1;
		}
	}
	return 0;
}

struct lab_script *lab_script_parse(struct slice text, struct err *err)
{
	struct lab_script *script = mem_alloc(sizeof(*script));

	if (read_text(script, text, 0, err) == 0)
		return script;
	lab_script_free(script);
	return NULL;
}

static void counted_free(void *ctx, struct slice key, void *value)
{
	struct counted *counted = value;

	free(counted->times);
	free(counted);
}

void lab_script_free(struct lab_script *script)
{
	if (!script)
		return;
	for (size_t i = 0; i < script->rule_count; i++) {
		free(script->rules[i].pattern);
		free(script->rules[i].text);
	}
	for (size_t i = 0; i < script->have_count; i++)
		free(script->have[i]);
	free(script->without);
	map_each(&script->counted, counted_free, NULL);
	map_release(&script->counted);
	free(script);
}

/* Asking. */

/* "*" stands for any run of bytes, the empty one too. */
static bool fits(const char *pattern, const char *text)
{
	const char *star = NULL, *again = NULL;

	while (*text) {
		if (*pattern == '*') {
			star = ++pattern;
			again = text;
		} else if (tolower((unsigned char)*pattern) ==
			   tolower((unsigned char)*text)) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star;
			text = ++again;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

bool lab_script_has(const struct lab_script *script, const char *address,
		    bool usual)
{
	for (size_t i = 0; i < script->have_count; i++)
		if (fits(script->have[i], address))
			return true;
	return script->have_count == 0 && usual;
}

bool lab_script_lacks(const struct lab_script *script, struct slice keyword)
{
	struct slice rest = slice(script->without);

	while (rest.len > 0)
		if (slice_equal_nocase(word(&rest), keyword))
			return true;
	return false;
}

/* What this rule has counted of this mailbox or pair; NULL: too many. */
static struct counted *counted_of(struct lab_script *script, size_t rule,
				  const struct lab_asked *asked)
{
	bool pair = script->rules[rule].per == PER_PAIR;
	struct buf key = BUF_INIT;
	struct counted *counted;

	buf_addf(&key, "%zu %s", rule,
		 script->rules[rule].per >= PER_MAILBOX ? asked->address : "");
	if (pair)
		buf_addf(&key, " %s", asked->reverse_path);
	for (size_t i = 0; i < key.len; i++)
		key.p[i] = (char)tolower((unsigned char)key.p[i]);
	counted = map_get(&script->counted, buf_slice(&key));
	if (!counted && script->counted.count < LAB_SCRIPT_COUNTED) {
		counted = mem_alloc(sizeof(*counted));
		counted->first_ms = asked->now_ms;
		map_put(&script->counted, buf_slice(&key), counted);
	}
	buf_release(&key);
	return counted;
}

/* True if `number` times lie within the span already; else this is one more. */
static bool over_rate(struct counted *counted, const struct rule *rule,
		      int64_t now_ms)
{
	size_t number = (size_t)rule->number;

	if (counted->filled == number &&
	    now_ms - counted->times[counted->at] < rule->span_ms)
		return true;
	if (counted->filled == counted->room && counted->room < number) {
		counted->room = counted->room ? counted->room * 2 : 8;
		counted->times =
			mem_grow(counted->times,
				 counted->room * sizeof(*counted->times));
	}
	counted->times[counted->at] = now_ms;
	counted->at = (counted->at + 1) % number;
	counted->filled += counted->filled < number;
	return false;
}

static bool now_is_when(struct lab_script *script, size_t at,
			const struct lab_asked *asked)
{
	struct rule *rule = &script->rules[at];
	struct counted *counted = NULL;
	uint32_t *count = &rule->count;

	if (rule->when == WHEN_ALWAYS)
		return true;
	if (rule->when == WHEN_RATE || rule->when == WHEN_GREYLIST ||
	    rule->per >= PER_MAILBOX) {
		counted = counted_of(script, at, asked);
		if (!counted)
			return false;
		count = &counted->count;
	} else if (rule->per == PER_SESSION) {
		count = &asked->session->at[at];
	}
	++*count;
	switch (rule->when) {
	case WHEN_ALWAYS:
		break;
	case WHEN_EVERY:
		return *count % rule->number == 0;
	case WHEN_FIRST:
		return *count <= rule->number;
	case WHEN_AFTER:
		return *count > rule->number;
	case WHEN_RATE:
		return over_rate(counted, rule, asked->now_ms);
	case WHEN_GREYLIST:
		return asked->now_ms - counted->first_ms < rule->span_ms;
	}
	return true;
}

static bool rule_matches(struct lab_script *script, size_t at,
			 const struct lab_asked *asked)
{
	const struct rule *rule = &script->rules[at];

	return (rule->stages & BIT(asked->stage)) &&
	       (!rule->pattern || fits(rule->pattern, asked->address)) &&
	       (rule->larger == 0 || asked->bytes > rule->larger) &&
	       (rule->together == 0 || asked->together > rule->together) &&
	       now_is_when(script, at, asked);
}

void lab_script_ask(struct lab_script *script, const struct lab_asked *asked,
		    struct lab_act *act)
{
	*act = (struct lab_act){ 0 };
	for (size_t i = 0; i < script->rule_count; i++) {
		const struct lab_act *one = &script->rules[i].act;

		if (!rule_matches(script, i, asked))
			continue;
		act->delay_ms += one->delay_ms;
		if (one->byte_ms)
			act->byte_ms = one->byte_ms;
		if (one->reaction == LAB_USUAL)
			continue;
		act->reaction = one->reaction;
		act->code = one->code;
		act->text = one->text;
		act->keep = one->keep;
		return;
	}
}
