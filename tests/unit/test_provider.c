#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

/* The table itself, to see that no row of it is without a case here. */
#include "lib/plan/provider.c"
#include <stdio.h>

#undef MAIL
#undef RCPT
#undef DATA
#undef DOT

enum {
	SLOWLY = 1
};

/* What each provider says, and what becomes of the envelope. */
static const struct {
	const char *provider;
	enum smtp_stage stage;
	int code;
	const char *enhanced, *text;
	enum reply_act act;
	enum reply_scope scope;
	int slow;
	const char *remedy; /* part of it, or NULL */
} cases[] = {
#define M    "m365"
#define G    "workspace"
#define C    "custom"
#define RCPT SMTP_STAGE_RCPT
#define DOT  SMTP_STAGE_DOT
#define MAIL SMTP_STAGE_MAIL
#define DATA SMTP_STAGE_DATA
	/* Done is what the dot was answered, nothing else. */
	{ C, DOT, 250, "2.0.0", "Ok: queued as 4", ACT_DELIVERED, SCOPE_MESSAGE,
	  0, NULL },
	{ C, DATA, 250, "", "ok", ACT_DEFER, SCOPE_TARGET, 0, "does not fit" },
	/* What the target does not offer is said before MAIL. */
	{ C, MAIL, 553, "5.6.7", "no SMTPUTF8", ACT_HOLD, SCOPE_MESSAGE, 0,
	  "format" },
	{ C, MAIL, 554, "5.6.3", "no 8BITMIME", ACT_HOLD, SCOPE_MESSAGE, 0,
	  "format" },
	{ C, MAIL, 552, "5.3.4", "SIZE", ACT_HOLD, SCOPE_MESSAGE, 0,
	  "raise its limit" },
	{ C, DOT, 354, "", "go on", ACT_DEFER, SCOPE_TARGET, 0, NULL },
	{ C, DOT, 0, "", "", ACT_DEFER, SCOPE_TARGET, 0, "without a reply" },

	/* Microsoft 365: throttling. */
	{ M, MAIL, 451, "4.7.500", "Server busy", ACT_DEFER, SCOPE_TARGET,
	  SLOWLY, "connector" },
	{ M, RCPT, 451, "4.7.699", "", ACT_DEFER, SCOPE_TARGET, SLOWLY,
	  "tenfold" },
	{ M, MAIL, 451, "4.7.850", "", ACT_DEFER, SCOPE_TARGET, SLOWLY,
	  "tenfold" },
	{ M, MAIL, 451, "4.7.899", "", ACT_DEFER, SCOPE_TARGET, SLOWLY,
	  "tenfold" },
	{ M, MAIL, 451, "4.7.650", "(S3114)", ACT_DEFER, SCOPE_TARGET, SLOWLY,
	  "reputation" },
	{ M, MAIL, 451, "4.7.651", "(S3114)", ACT_DEFER, SCOPE_TARGET, SLOWLY,
	  "halved" },
	{ M, SMTP_STAGE_GREETING, 421, "4.7.652", "(S3115)", ACT_DEFER,
	  SCOPE_TARGET, SLOWLY, "too many connections" },
	{ M, DOT, 451, "4.7.26", "", ACT_DEFER, SCOPE_MESSAGE, 0, "IPv4" },
	{ M, DOT, 550, "5.7.25", "", ACT_CLOSE, SCOPE_TARGET, 0, "PTR" },
	/* The domain is not ready. */
	{ M, RCPT, 451, "4.4.4",
	  "Mail received as unauthenticated, incoming to"
	  " a recipient domain configured in a hosted tenant which has no"
	  " mail-enabled subscriptions. ATTR5",
	  ACT_DEFER, SCOPE_TARGET, SLOWLY, "subscription" },
	{ M, RCPT, 451, "4.4.62",
	  "Mail sent to the wrong Office 365 region. "
	  "ATTR35",
	  ACT_DEFER, SCOPE_TARGET, SLOWLY, "region" },
	{ M, RCPT, 451, "4.3.2", "Temporary server error. ATTR55", ACT_DEFER,
	  SCOPE_TARGET, SLOWLY, "attribution" },
	{ M, RCPT, 451, "4.4.3", "Temporary server error. ATTR55", ACT_DEFER,
	  SCOPE_TARGET, SLOWLY, "attribute" },
	/* The mailbox's own limits; 5.2.12x are rates, not refusals. */
	{ M, DOT, 432, "4.3.2",
	  "STOREDRV.Deliver; recipient thread limit "
	  "exceeded",
	  ACT_DEFER, SCOPE_MAILBOX, 0, "at once" },
	{ M, DOT, 550, "5.2.121", "", ACT_DEFER, SCOPE_MAILBOX, 0, "share" },
	{ M, DOT, 550, "5.2.122", "", ACT_DEFER, SCOPE_MAILBOX, 0, "3,600" },
	/* Connector, certificate, ban: nothing is held. */
	{ M, RCPT, 550, "5.7.51", "", ACT_CLOSE, SCOPE_TARGET, 0, "add" },
	{ M, RCPT, 550, "5.7.64", "TenantAttribution; Relay Access Denied",
	  ACT_CLOSE, SCOPE_TARGET, 0, "certificate" },
	{ M, DOT, 550, "5.7.68", "", ACT_CLOSE, SCOPE_TARGET, 0,
	  "Direct Send" },
	{ M, MAIL, 530, "5.7.57", "Client was not authenticated", ACT_CLOSE,
	  SCOPE_TARGET, 0, "mail client" },
	{ M, MAIL, 550, "5.7.506", "Bad HELO", ACT_CLOSE, SCOPE_TARGET, 0,
	  "HELO" },
	{ M, RCPT, 550, "5.7.511", "banned sender", ACT_CLOSE, SCOPE_TARGET, 0,
	  "delist" },
	{ M, RCPT, 550, "5.7.606", "banned sending IP", ACT_CLOSE, SCOPE_TARGET,
	  0, "delist" },
	{ M, RCPT, 550, "5.7.649", "banned sending IP", ACT_CLOSE, SCOPE_TARGET,
	  0, "delist" },
	{ M, MAIL, 550, "5.7.1",
	  "part of their network is on our block list "
	  "(S3150)",
	  ACT_CLOSE, SCOPE_TARGET, 0, "block list" },
	{ M, DOT, 550, "5.7.509", "DMARC policy of reject", ACT_HOLD,
	  SCOPE_MESSAGE, 0, "skip list" },
	/* 5.4.1 says two things, told apart by its words. */
	{ M, RCPT, 550, "5.4.1", "Relay Access Denied", ACT_CLOSE, SCOPE_TARGET,
	  0, "does not have this domain" },
	{ M, RCPT, 550, "5.4.1", "Recipient address rejected: Access denied",
	  ACT_HOLD, SCOPE_MAILBOX, 0, "edge blocking" },
	{ M, RCPT, 550, "5.1.10", "RESOLVER.ADR.RecipientNotFound", ACT_HOLD,
	  SCOPE_MAILBOX, 0, "create" },
	{ M, RCPT, 550, "5.1.1", "", ACT_HOLD, SCOPE_MAILBOX, 0, "create" },
	{ M, RCPT, 452, "4.5.3", "Too many recipients", ACT_DEFER,
	  SCOPE_MESSAGE, 0, "follow in the next" },

	/* Google Workspace. */
	{ G, MAIL, 421, "4.7.0", "IP not in whitelist for RCPT domain",
	  ACT_DEFER, SCOPE_TARGET, SLOWLY, "gateway IPs" },
	{ G, MAIL, 421, "4.7.0", "TLS required for RCPT domain", ACT_DEFER,
	  SCOPE_TARGET, SLOWLY, "replay.tls" },
	{ G, DOT, 421, "4.7.0", "Try again later", ACT_DEFER, SCOPE_TARGET,
	  SLOWLY, "inbound gateway" },
	{ G, DOT, 421, "4.7.28", "unusual rate of unsolicited mail", ACT_DEFER,
	  SCOPE_TARGET, SLOWLY, "rate" },
	{ G, RCPT, 450, "4.2.1", "receiving mail too quickly", ACT_DEFER,
	  SCOPE_MAILBOX, 0, "30 a minute" },
	{ G, RCPT, 550, "5.2.1", "receiving mail at a rate that prevents",
	  ACT_DEFER, SCOPE_MAILBOX, 0, "a day" },
	{ G, RCPT, 550, "5.2.1", "The email account is disabled", ACT_HOLD,
	  SCOPE_MAILBOX, 0, "enable" },
	{ G, DOT, 550, "5.7.26", "unauthenticated", ACT_HOLD, SCOPE_MESSAGE, 0,
	  "inbound gateway" },
	{ G, DOT, 552, "5.7.0", "potential security issue", ACT_HOLD,
	  SCOPE_MESSAGE, 0, "attachment" },
	{ G, RCPT, 550, "5.1.1", "NoSuchUser", ACT_HOLD, SCOPE_MAILBOX, 0,
	  "create" },
	/* What one provider means, another need not. */
	{ C, RCPT, 550, "5.2.122", "", ACT_HOLD, SCOPE_MAILBOX, 0, NULL },
	{ G, RCPT, 550, "5.7.606", "", ACT_HOLD, SCOPE_MAILBOX, 0, NULL },

	/* Any server: TLS. */
	{ C, MAIL, 530, "5.7.0", "Must issue a STARTTLS command first",
	  ACT_CLOSE, SCOPE_TARGET, 0, "replay.tls" },
	{ C, MAIL, 530, "5.7.0", "Authentication required", ACT_CLOSE,
	  SCOPE_TARGET, 0, "authentication" },
	{ C, SMTP_STAGE_STARTTLS, 454, "4.7.0", "TLS not available", ACT_DEFER,
	  SCOPE_TARGET, 0, "TLS" },
	{ C, SMTP_STAGE_STARTTLS, 554, "5.7.3", "", ACT_CLOSE, SCOPE_TARGET, 0,
	  "STARTTLS" },
	/* The session. */
	{ C, SMTP_STAGE_GREETING, 421, "", "too busy", ACT_DEFER, SCOPE_TARGET,
	  0, NULL },
	{ C, SMTP_STAGE_GREETING, 554, "", "no", ACT_CLOSE, SCOPE_TARGET, 0,
	  "accept" },
	{ C, SMTP_STAGE_EHLO, 550, "", "no", ACT_CLOSE, SCOPE_TARGET, 0, NULL },
	{ C, SMTP_STAGE_CONNECT, 0, "", "", ACT_DEFER, SCOPE_TARGET, 0, NULL },
	{ C, RCPT, 421, "4.3.2", "shutting down", ACT_DEFER, SCOPE_TARGET, 0,
	  "closes the session" },
	/* Too many recipients, three ways. */
	{ C, RCPT, 452, "4.5.3", "too many", ACT_DEFER, SCOPE_MESSAGE, 0,
	  NULL },
	{ C, RCPT, 550, "5.5.3", "too many", ACT_DEFER, SCOPE_MESSAGE, 0,
	  NULL },
	{ C, RCPT, 552, "", "Too many recipients", ACT_DEFER, SCOPE_MESSAGE, 0,
	  NULL },
	/* Postfix's words. */
	{ C, RCPT, 450, "4.2.0",
	  "<u@x>: Recipient address rejected: "
	  "Greylisted",
	  ACT_DEFER, SCOPE_MESSAGE, 0, "greylists" },
	{ C, RCPT, 450, "4.7.1", "<q>: Helo command rejected: Host not found",
	  ACT_DEFER, SCOPE_TARGET, SLOWLY, "PTR" },
	{ C, RCPT, 550, "5.7.1", "<q>: Helo command rejected: no", ACT_CLOSE,
	  SCOPE_TARGET, 0, "PTR" },
	{ C, RCPT, 450, "4.7.25",
	  "Client host rejected: cannot find your "
	  "hostname",
	  ACT_DEFER, SCOPE_TARGET, SLOWLY, "exempt" },
	{ C, RCPT, 554, "5.7.1",
	  "Service unavailable; Client host [192.0.2.1]"
	  " blocked using zen.example",
	  ACT_CLOSE, SCOPE_TARGET, 0, "exempt" },
	{ C, RCPT, 550, "5.7.1", "mail from 192.0.2.1 blocked using bl.example",
	  ACT_CLOSE, SCOPE_TARGET, 0, "block list" },
	{ C, RCPT, 554, "5.7.1", "<u@x>: Sender address rejected", ACT_HOLD,
	  SCOPE_MESSAGE, 0, "reverse-path" },
	{ C, RCPT, 450, "4.1.8",
	  "<u@x>: Sender address rejected: Domain not "
	  "found",
	  ACT_DEFER, SCOPE_MESSAGE, 0, "reverse-path" },
	{ C, RCPT, 554, "5.7.1", "<u@x>: Relay access denied", ACT_CLOSE,
	  SCOPE_TARGET, 0, "this domain" },
	{ C, RCPT, 550, "5.7.54",
	  "SMTP; Unable to relay recipient in "
	  "non-accepted domain",
	  ACT_CLOSE, SCOPE_TARGET, 0, "accepted" },
	{ C, RCPT, 550, "5.7.1", "Relaying denied", ACT_CLOSE, SCOPE_TARGET, 0,
	  "this domain" },
	{ C, MAIL, 550, "5.7.1", "Client was not authenticated", ACT_CLOSE,
	  SCOPE_TARGET, 0, "receive connector" },
	{ C, DOT, 554, "5.4.0", "Error: too many hops", ACT_HOLD, SCOPE_MESSAGE,
	  0, "loop" },
	{ C, DOT, 554, "5.4.14", "Hop count exceeded", ACT_HOLD, SCOPE_MESSAGE,
	  0, "loop" },
	{ C, DOT, 550, "5.4.6", "", ACT_HOLD, SCOPE_MESSAGE, 0, "loop" },
	/* The whole system. */
	{ C, MAIL, 554, "5.3.2", "", ACT_CLOSE, SCOPE_TARGET, 0, "operator" },
	{ C, MAIL, 550, "5.7.25", "", ACT_CLOSE, SCOPE_TARGET, 0, "PTR" },
	{ C, MAIL, 452, "4.3.1", "Insufficient system storage", ACT_DEFER,
	  SCOPE_TARGET, SLOWLY, "space" },
	/* Sizes. */
	{ C, MAIL, 552, "5.3.4", "", ACT_HOLD, SCOPE_MESSAGE, 0, "larger" },
	{ C, RCPT, 552, "5.2.3", "", ACT_HOLD, SCOPE_MESSAGE, 0, "mailbox" },
	{ C, MAIL, 552, "", "too big", ACT_HOLD, SCOPE_MESSAGE, 0, "larger" },
	{ C, DOT, 552, "", "too big", ACT_HOLD, SCOPE_MESSAGE, 0, "larger" },
	/* MAIL. */
	{ C, MAIL, 555, "5.5.4", "", ACT_HOLD, SCOPE_MESSAGE, 0, "parameter" },
	{ C, MAIL, 553, "5.1.8", "", ACT_HOLD, SCOPE_MESSAGE, 0,
	  "reverse-path" },
	{ C, MAIL, 451, "4.1.8", "", ACT_DEFER, SCOPE_MESSAGE, 0,
	  "reverse-path" },
	{ C, MAIL, 451, "", "", ACT_DEFER, SCOPE_TARGET, 0, NULL },
	/* RCPT. */
	{ C, RCPT, 553, "5.1.7", "", ACT_HOLD, SCOPE_MESSAGE, 0,
	  "reverse-path" },
	{ C, RCPT, 550, "5.1.2", "", ACT_HOLD, SCOPE_MAILBOX, 0, "alias" },
	{ C, RCPT, 552, "5.2.2", "", ACT_HOLD, SCOPE_MAILBOX, 0, "full" },
	{ C, RCPT, 550, "5.2.1", "", ACT_HOLD, SCOPE_MAILBOX, 0, "enable" },
	{ C, RCPT, 550, "5.4.1", "", ACT_HOLD, SCOPE_MAILBOX, 0, "route" },
	{ C, RCPT, 550, "5.7.1", "", ACT_HOLD, SCOPE_MAILBOX, 0, "policy" },
	{ C, RCPT, 550, "", "no", ACT_HOLD, SCOPE_MAILBOX, 0, "recipient" },
	{ C, RCPT, 599, "9.9", "no", ACT_HOLD, SCOPE_MAILBOX, 0, "recipient" },
	{ C, RCPT, 550, "4.2.1", "classes differ", ACT_HOLD, SCOPE_MAILBOX, 0,
	  "recipient" },
	{ C, RCPT, 451, "4.3.0", "", ACT_DEFER, SCOPE_TARGET, 0, "system" },
	{ C, RCPT, 451, "4.4.1", "", ACT_DEFER, SCOPE_TARGET, 0, "route" },
	{ C, RCPT, 450, "4.7.1", "", ACT_DEFER, SCOPE_TARGET, SLOWLY,
	  "policy" },
	{ C, RCPT, 450, "4.1.1", "", ACT_DEFER, SCOPE_MAILBOX, 0, NULL },
	{ C, RCPT, 450, "", "", ACT_DEFER, SCOPE_MAILBOX, 0, NULL },
	/* DATA and the dot. */
	{ C, DOT, 550, "5.1.1", "", ACT_HOLD, SCOPE_MAILBOX, 0, "alias" },
	{ C, DOT, 552, "5.2.2", "", ACT_HOLD, SCOPE_MAILBOX, 0, "room" },
	{ C, DOT, 550, "5.6.0", "", ACT_HOLD, SCOPE_MESSAGE, 0, "format" },
	{ C, DOT, 554, "5.7.1", "spam", ACT_HOLD, SCOPE_MESSAGE, 0, "policy" },
	{ C, DOT, 554, "", "no", ACT_HOLD, SCOPE_MESSAGE, 0, "message" },
	{ C, DATA, 554, "", "no valid recipients", ACT_HOLD, SCOPE_MESSAGE, 0,
	  NULL },
	{ C, DOT, 451, "4.2.2", "", ACT_DEFER, SCOPE_MAILBOX, 0, NULL },
	{ C, DOT, 451, "4.3.0", "", ACT_DEFER, SCOPE_TARGET, 0, "system" },
	{ C, DOT, 451, "4.4.2", "", ACT_DEFER, SCOPE_TARGET, 0, "route" },
	{ C, DOT, 451, "4.7.1", "", ACT_DEFER, SCOPE_TARGET, SLOWLY, "policy" },
	{ C, DOT, 451, "", "", ACT_DEFER, SCOPE_MESSAGE, 0, "message" },
};

static struct reply_meaning meaning_of(const char *provider,
				       enum smtp_stage stage, int code,
				       const char *enhanced, const char *text)
{
	struct smtp_reply reply = { .code = code };

	snprintf(reply.enhanced, sizeof(reply.enhanced), "%s", enhanced);
	snprintf(reply.text, sizeof(reply.text), "%s", text);
	return provider_reply(provider_find(provider), stage, &reply);
}

static void every_reply_has_its_meaning(void **state)
{
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct reply_meaning got =
			meaning_of(cases[i].provider, cases[i].stage,
				   cases[i].code, cases[i].enhanced,
				   cases[i].text);

		if (got.act != cases[i].act || got.scope != cases[i].scope ||
		    got.slow != cases[i].slow ||
		    (cases[i].remedy && !strstr(got.remedy, cases[i].remedy)))
			fail_msg("%s stage %d: %d %s %s: %s, %s%s: %s",
				 cases[i].provider, cases[i].stage,
				 cases[i].code, cases[i].enhanced,
				 cases[i].text, reply_act_name(got.act),
				 reply_scope_name(got.scope),
				 got.slow ? ", slow" : "", got.remedy);
	}
}

static const struct row *row_of(size_t at)
{
	struct smtp_reply reply = { .code = cases[at].code };
	int enhanced[3] = { 0 };

	snprintf(reply.text, sizeof(reply.text), "%s", cases[at].text);
	if (!enhanced_parse(cases[at].enhanced, enhanced))
		enhanced[0] = 0;
	for (size_t i = 0; i < COUNT(rows); i++)
		if (row_matches(&rows[i], cases[at].provider,
				BIT(cases[at].stage), &reply, enhanced))
			return &rows[i];
	return NULL;
}

static void no_row_is_without_a_case(void **state)
{
	bool tested[COUNT(rows)] = { false };
	size_t untested = 0;

	for (size_t i = 0; i < COUNT(cases); i++)
		if (row_of(i))
			tested[row_of(i) - rows] = true;
	for (size_t i = 0; i < COUNT(rows); i++) {
		if (tested[i])
			continue;
		untested++;
		print_error("no case for row %zu: %s %d %d.%d '%s': %s\n", i,
			    rows[i].provider ? rows[i].provider : "any",
			    rows[i].code, rows[i].subject, rows[i].from,
			    rows[i].text ? rows[i].text : "",
			    rows[i].meaning.remedy);
	}
	assert_int_equal(untested, 0);
}

/* Whatever a server invents: nothing bounces by itself. */
static void no_reply_but_a_2xx_to_the_dot_ends_an_envelope(void **state)
{
	for (const struct provider *p = providers; p->name; p++)
		for (int stage = 0; stage <= SMTP_STAGE_QUIT; stage++)
			for (int code = 0; code < 1000; code++) {
				struct reply_meaning m =
					meaning_of(p->name,
						   (enum smtp_stage)stage, code,
						   "", "");
				bool done = stage == DOT && code / 100 == 2;

				assert_int_equal(m.act == ACT_DELIVERED, done);
				assert_non_null(m.remedy);
				assert_true(*m.remedy);
				if (code / 100 == 4)
					assert_int_equal(m.act, ACT_DEFER);
				if (m.act == ACT_CLOSE)
					assert_int_equal(m.scope, SCOPE_TARGET);
			}
}

static void a_provider_is_found_by_its_name_alone(void **state)
{
	assert_string_equal(provider_find("m365")->title, "Microsoft 365");
	assert_int_equal(provider_find("workspace")->mailbox.number, 30);
	assert_int_equal(provider_find("m365")->mailbox.number, 3000);
	assert_int_equal(provider_find("custom")->mailbox.number, 0);
	assert_null(provider_find("M365"));
	assert_null(provider_find(""));
	assert_null(provider_find(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_reply_has_its_meaning),
		cmocka_unit_test(no_row_is_without_a_case),
		cmocka_unit_test(
			no_reply_but_a_2xx_to_the_dot_ends_an_envelope),
		cmocka_unit_test(a_provider_is_found_by_its_name_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
