#include "plan/provider.h"

#include <stdlib.h>

/*
 * Facts.
 *
 * m365: SPF and DKIM names: Microsoft Learn, "Set up SPF" and "Set up DKIM";
 * MX names: "Add DNS records to connect your domain" and "SMTP DANE" (the
 * mx.microsoft zone).  Size: "Exchange Online limits" gives a mailbox 36 MB
 * unless it was raised (up to 150 MB).  3,600 messages an hour per mailbox are
 * the documented receiving limit, a third of them from one sender; we stay below
 * both.  Concurrency is not
 * published: start small and learn.
 *
 * workspace: SPF, DKIM and MX names: Google Workspace Admin Help 33786, 174124
 * and 174125 (aspmx.l.google.com and its alternates are the older set).  Size:
 * Help 1366776 and "Gmail receiving limits" give 50 MB inbound and 60 messages
 * a minute per user; passing that blocks the mailbox for about a day, hence
 * half of it.
 *
 * custom: RFC 5321 promises 64 KiB only.  50 MiB is ours: a smaller number
 * would refuse for good what the real server takes; its true limit goes into
 * the plan as max_bytes.
 */
enum {
	MINUTE_MS = 60 * 1000,
	HOUR_MS = 60 * MINUTE_MS
};

static const char *const no_names[] = { NULL };
#define M365_SIGNED ".mx.microsoft"
static const char *const m365_mx[] = { ".mail.protection.outlook.com",
				       M365_SIGNED, NULL };
static const char *const m365_dkim[] = { "selector1", "selector2", NULL };
static const char *const workspace_mx[] = { "smtp.google.com",
					    "aspmx.l.google.com",
					    ".aspmx.l.google.com",
					    ".googlemail.com", NULL };
static const char *const workspace_dkim[] = { "google", NULL };

const struct provider providers[] = {
	{ "m365",
	  "Microsoft 365",
	  m365_mx,
	  "spf.protection.outlook.com",
	  m365_dkim,
	  36u << 20,
	  { 3000, HOUR_MS },
	  { 1000, HOUR_MS },
	  5 },
	{ "workspace",
	  "Google Workspace",
	  workspace_mx,
	  "_spf.google.com",
	  workspace_dkim,
	  50u << 20,
	  { 30, MINUTE_MS },
	  { 0, 0 },
	  5 },
	{ "custom",
	  "own mail server",
	  no_names,
	  NULL,
	  no_names,
	  50u << 20,
	  { 0, 0 },
	  { 0, 0 },
	  5 },
	{ .name = NULL },
};

const struct provider *provider_find(const char *name)
{
	for (const struct provider *p = providers; name && p->name; p++)
		if (strcmp(p->name, name) == 0)
			return p;
	return NULL;
}

/* Stages, as a set. */
#define CONNECT	 BIT(SMTP_STAGE_CONNECT)
#define GREET	 BIT(SMTP_STAGE_GREETING)
#define EHLO	 BIT(SMTP_STAGE_EHLO)
#define STLS	 BIT(SMTP_STAGE_STARTTLS)
#define MAIL	 BIT(SMTP_STAGE_MAIL)
#define RCPT	 BIT(SMTP_STAGE_RCPT)
#define DATA	 BIT(SMTP_STAGE_DATA)
#define DOT	 BIT(SMTP_STAGE_DOT)
#define SESSION	 (CONNECT | GREET | EHLO | STLS)
#define CONTENT	 (DATA | DOT)
#define ENVELOPE (MAIL | RCPT | CONTENT)
#define ANY	 (~0u)

#define ANY_DETAIL 0, 999

/*
 * A row matches when everything that it names matches; the first match counts.
 * `code`: 550, or 4 and 5 for a class.  `subject`.`from`-`to`: the enhanced
 * code's second and third number (its first is the reply's class); subject -1:
 * any, or none was given.  `provider` NULL: any.  `text`: part of the reply,
 * any case; NULL: any.
 */
struct row {
	const char *provider;
	unsigned stages;
	int code;
	int subject, from, to;
	const char *text;
	struct reply_meaning meaning;
};

/* clang-format off: the table is set by hand, to be read as one. */
#define DELIVERED(words)                                   \
	{                                                  \
		ACT_DELIVERED, SCOPE_MESSAGE, false, words \
	}
#define DEFER(scope, words)                            \
	{                                              \
		ACT_DEFER, SCOPE_##scope, false, words \
	}
#define SLOW(scope, words)                            \
	{                                             \
		ACT_DEFER, SCOPE_##scope, true, words \
	}
#define HOLD(scope, words)                            \
	{                                             \
		ACT_HOLD, SCOPE_##scope, false, words \
	}
#define CLOSE(words)                                  \
	{                                             \
		ACT_CLOSE, SCOPE_TARGET, false, words \
	}

static const struct row rows[] = {
	/* A 2xx to anything but the final dot has taken over no message. */
	{ NULL, DOT, 2, -1, ANY_DETAIL, NULL,
	  DELIVERED("accepted by the target") },

	/*
 * Microsoft 365.  Microsoft Learn, "Non-delivery reports in Exchange Online"
 * (list of codes), "Fix NDR error 4.7.500-699", "550 5.7.64", "wrong region";
 * Outlook.com Postmaster for 4.7.650-652 and the S-codes.
 */
	{ "m365", ANY, 4, 7, 650, 651, NULL,
	  SLOW(TARGET,
	       "the sending IP has too little reputation at Microsoft: the flight is "
	       "halved; check that the inbound connector names this IP") },
	{ "m365", ANY, 4, 7, 652, 652, NULL,
	  SLOW(TARGET,
	       "too many connections to Microsoft at once: the flight is halved") },
	{ "m365", ANY, 4, 7, 500, 699, NULL,
	  SLOW(TARGET,
	       "Microsoft throttles a new or suspicious IP: the replay slows tenfold; a "
	       "connector for this IP in the target tenant lifts the limit") },
	{ "m365", ANY, 4, 7, 850, 899, NULL,
	  SLOW(TARGET,
	       "Microsoft limits this IP's rate: the replay slows tenfold; a connector for "
	       "this IP in the target tenant lifts the limit") },
	{ "m365", ANY, 4, 7, 26, 26, NULL,
	  DEFER(MESSAGE,
		"over IPv6 Exchange Online wants SPF or DKIM to pass: replay over IPv4") },
	{ "m365", ANY, 5, 7, 25, 25, NULL,
	  CLOSE("over IPv6 Exchange Online wants a PTR record: publish one, or replay over "
		"IPv4") },
	{ "m365", ANY, 4, 4, 4, 4, NULL,
	  SLOW(TARGET,
	       "the tenant has no mail-enabled subscription for this domain yet: license a "
	       "user, check the accepted domain, then look at the gate again") },
	{ "m365", ANY, 4, 4, 62, 62, NULL,
	  SLOW(TARGET,
	       "the domain is still routed to another region: wait for Exchange Online to "
	       "replicate (up to an hour), then look at the gate again") },
	/* 432 before 4.3.2: the mailbox's own limit is not the system's trouble. */
	{ "m365", ANY, 432, -1, ANY_DETAIL, NULL,
	  DEFER(MAILBOX,
		"the mailbox takes no more deliveries at once: its line slows down") },
	{ "m365", ANY, 4, 3, 2, 2, NULL,
	  SLOW(TARGET,
	       "Exchange Online is not accepting for this domain now (attribution or system "
	       "state): it is tried again; look at the gate if it lasts") },
	{ "m365", ANY, 4, 4, 3, 3, NULL,
	  SLOW(TARGET,
	       "Exchange Online cannot attribute this domain now: it is tried again; look "
	       "at the gate if it lasts") },
	{ "m365", ANY, 5, 2, 121, 121, NULL,
	  DEFER(MAILBOX,
		"this sender exceeds its hourly share of the mailbox (about 1,200): the line "
		"slows down") },
	{ "m365", ANY, 5, 2, 122, 122, NULL,
	  DEFER(MAILBOX,
		"the mailbox is over its 3,600 messages an hour: the line slows down") },
	{ "m365", ANY, 5, 7, 51, 51, NULL,
	  CLOSE("a partner connector of the target tenant admits other IPs only: add the "
		"queue's IP to it") },
	{ "m365", ANY, 5, 7, 64, 64, NULL,
	  CLOSE("the tenant's connector does not match our certificate or IP: correct the "
		"connector or client_certificate_file") },
	{ "m365", ANY, 5, 7, 68, 68, NULL,
	  CLOSE("Direct Send is refused as no connector matches: create the inbound "
		"connector for the queue's IP or certificate") },
	{ "m365", ANY, 5, 7, 57, 57, NULL,
	  CLOSE("the target takes this for a mail client: deliver_to must be the tenant's MX "
		"host, with an inbound connector") },
	{ "m365", ANY, 5, 7, 506, 506, NULL,
	  CLOSE("the target refuses the HELO name: it must be the PTR name of the queue's "
		"IP") },
	{ "m365", ANY, 5, 7, 509, 509, NULL,
	  HOLD(MESSAGE,
	       "the sender's DMARC policy rejects it from our IP: put the queue's IP on the "
	       "connector's skip list and trust its ARC sealer, then release") },
	{ "m365", ANY, 5, 7, 511, 511, NULL,
	  CLOSE("Microsoft banned the sending IP: ask delist@microsoft.com, or replay from "
		"another IP") },
	{ "m365", ANY, 5, 7, 606, 649, NULL,
	  CLOSE("Microsoft banned the sending IP: delist it at sender.office.com, or replay "
		"from another IP") },
	{ "m365", ANY, 5, 7, 1, 1, "(S31",
	  CLOSE("Microsoft's block list has the sending IP or its network: ask for "
		"delisting, or replay from another IP") },
	/* The tenant does not know the domain; a missing address reads otherwise. */
	{ "m365", RCPT | CONTENT, 5, 4, 1, 1, "relay access denied",
	  CLOSE("the tenant does not have this domain: finish attaching it, then look at the "
		"gate again") },
	{ "m365", RCPT | CONTENT, 5, 4, 1, 1, NULL,
	  HOLD(MAILBOX,
	       "the tenant does not have this address (directory-based edge blocking): "
	       "stamp it, or set the domain to internal relay, then release") },
	{ "m365", RCPT | CONTENT, 5, 1, 10, 10, NULL,
	  HOLD(MAILBOX,
	       "the tenant does not have this address: create it, then release") },

	/*
 * Google Workspace.  Admin Help 3726730 ("SMTP error reference"), 60730
 * (inbound gateway) and 1366776 (receiving limits).
 */
	{ "workspace", ANY, 421, 7, 0, 0, "whitelist",
	  SLOW(TARGET,
	       "the target rejects all mail not from gateway IPs: add the queue's IP to the "
	       "inbound gateway, or turn that setting off") },
	{ "workspace", ANY, 421, 7, 0, 0, "tls",
	  SLOW(TARGET, "the target wants TLS: set replay.tls to required") },
	{ "workspace", ANY, 4, 7, 0, 0, NULL,
	  SLOW(TARGET,
	       "Gmail limits this IP: the replay slows down; check that the inbound gateway "
	       "lists it") },
	{ "workspace", ANY, 4, 7, 28, 28, NULL,
	  SLOW(TARGET,
	       "Gmail limits the rate of this IP: the replay slows down; check that the "
	       "inbound gateway lists it") },
	{ "workspace", ANY, 4, 2, 1, 1, NULL,
	  DEFER(MAILBOX,
		"the mailbox receives too fast for Gmail: its line slows to 30 a minute") },
	{ "workspace", ANY, 5, 2, 1, 1, "rate",
	  DEFER(MAILBOX,
		"the mailbox is over Gmail's receiving rate and may be closed for a day: its "
		"line waits") },
	{ "workspace", ANY, 5, 7, 26, 26, NULL,
	  HOLD(MESSAGE,
	       "Gmail finds it unauthenticated: list the queue's IP as inbound gateway, "
	       "then release") },
	{ "workspace", CONTENT, 5, 7, 0, 0, NULL,
	  HOLD(MESSAGE,
	       "Gmail refuses an attachment of this message: change the compliance rule, or "
	       "tell its recipient") },

	/*
 * Any server.  RFC 5321, RFC 3463 and the registry of enhanced codes; texts
 * as Postfix (smtpd(8), access(5)) and Exchange Server say them.
 */

	/* TLS: nothing is wrong with any message. */
	{ NULL, ANY, 530, -1, ANY_DETAIL, "starttls",
	  CLOSE("the target wants STARTTLS: set replay.tls to required") },
	{ NULL, ANY, 530, -1, ANY_DETAIL, NULL,
	  CLOSE("the target wants TLS or authentication first: set replay.tls to required, "
		"or let it accept the queue's IP") },
	{ NULL, STLS, 4, -1, ANY_DETAIL, NULL,
	  DEFER(TARGET,
		"the target cannot do TLS just now: it is tried again") },
	{ NULL, STLS, 5, -1, ANY_DETAIL, NULL,
	  CLOSE("the target refuses STARTTLS: repair its certificate, or lower replay.tls") },

	/* Before MAIL: about us and the target. */
	{ NULL, SESSION, 4, -1, ANY_DETAIL, NULL,
	  DEFER(TARGET, "the target takes no session now: it is tried again") },
	{ NULL, SESSION, 5, -1, ANY_DETAIL, NULL,
	  CLOSE("the target refuses our sessions: let it accept the queue's IP and HELO "
		"name") },
	{ NULL, ANY, 421, -1, ANY_DETAIL, NULL,
	  DEFER(TARGET, "the target closes the session: it is tried again") },

	/* Limits of one transaction; RFC 5321 4.5.3.1.10 wants 552 read as 452. */
	{ NULL, RCPT, 4, 5, 3, 3, NULL,
	  DEFER(MESSAGE,
		"too many recipients in one transaction: the others follow in the next") },
	{ NULL, RCPT, 5, 5, 3, 3, NULL,
	  DEFER(MESSAGE,
		"too many recipients in one transaction: the others follow in the next") },
	{ NULL, RCPT, 552, -1, ANY_DETAIL, "too many recipients",
	  DEFER(MESSAGE,
		"too many recipients in one transaction: the others follow in the next") },

	/* Postfix names the culprit only in words and waits with it until RCPT. */
	{ NULL, ENVELOPE, 4, -1, ANY_DETAIL, "greylist",
	  DEFER(MESSAGE,
		"the target greylists: it passes by itself; exempt the queue's IP there") },
	{ NULL, ENVELOPE, 4, -1, ANY_DETAIL, "helo command rejected",
	  SLOW(TARGET,
	       "the target refuses the HELO name: give the queue's IP a PTR record that "
	       "matches it") },
	{ NULL, ENVELOPE, 5, -1, ANY_DETAIL, "helo command rejected",
	  CLOSE("the target refuses the HELO name: give the queue's IP a PTR record that "
		"matches it") },
	{ NULL, ENVELOPE, 4, -1, ANY_DETAIL, "client host",
	  SLOW(TARGET,
	       "the target defers the queue's IP: exempt it there (mynetworks, access map "
	       "or block-list exception)") },
	{ NULL, ENVELOPE, 5, -1, ANY_DETAIL, "client host",
	  CLOSE("the target refuses the queue's IP: exempt it there (mynetworks, access map "
		"or block-list exception)") },
	{ NULL, ENVELOPE, 5, -1, ANY_DETAIL, "blocked using",
	  CLOSE("a block list of the target has the queue's IP: exempt it there") },
	{ NULL, ENVELOPE, 5, -1, ANY_DETAIL, "sender address rejected",
	  HOLD(MESSAGE,
	       "the target refuses this reverse-path: exempt the queue's IP from its sender "
	       "checks, then release") },
	{ NULL, ENVELOPE, 4, -1, ANY_DETAIL, "sender address rejected",
	  DEFER(MESSAGE,
		"the target cannot check this reverse-path now: it is tried again") },
	{ NULL, ENVELOPE, 5, -1, ANY_DETAIL, "relay access denied",
	  CLOSE("the target does not accept mail for this domain: add it there") },
	{ NULL, ENVELOPE, 5, -1, ANY_DETAIL, "unable to relay",
	  CLOSE("the target does not accept mail for this domain: add it as an accepted "
		"domain there") },
	{ NULL, ENVELOPE, 5, -1, ANY_DETAIL, "relaying denied",
	  CLOSE("the target does not accept mail for this domain: add it there") },
	{ NULL, ENVELOPE, 5, -1, ANY_DETAIL, "not authenticated",
	  CLOSE("the target wants authentication: let its receive connector accept the "
		"queue's IP without") },
	{ NULL, ENVELOPE, 5, -1, ANY_DETAIL, "too many hops",
	  HOLD(MESSAGE,
	       "the message has been through too many hosts: look for a loop in its "
	       "trace") },
	{ NULL, ENVELOPE, 5, -1, ANY_DETAIL, "hop count",
	  HOLD(MESSAGE,
	       "the message has been through too many hosts: look for a loop in its "
	       "trace") },
	{ NULL, ENVELOPE, 5, 4, 6, 6, NULL,
	  HOLD(MESSAGE,
	       "the target sees a routing loop: check that it delivers this domain "
	       "itself") },

	/* The whole system. */
	{ NULL, ENVELOPE, 5, 3, 2, 2, NULL,
	  CLOSE("the target says it takes no mail at all: ask its operator") },
	{ NULL, ENVELOPE, 5, 7, 25, 25, NULL,
	  CLOSE("the target wants a PTR record that matches: publish it for the queue's "
		"IP") },
	{ NULL, ENVELOPE, 4, 3, 1, 1, NULL,
	  SLOW(TARGET,
	       "the target is out of space: it is tried again more slowly") },

	/* Sizes; 5.2.3 is a mailbox's limit, but it is this message that is too big. */
	{ NULL, ENVELOPE, 5, 3, 4, 4, NULL,
	  HOLD(MESSAGE,
	       "larger than the target takes: raise its limit, then release") },
	{ NULL, ENVELOPE, 5, 2, 3, 3, NULL,
	  HOLD(MESSAGE,
	       "larger than this mailbox takes: raise its limit, then release") },

	/* MAIL: about this message. */
	{ NULL, MAIL, 5, 5, ANY_DETAIL, NULL,
	  HOLD(MESSAGE,
	       "the target does not know a parameter that this message needs: see the "
	       "reply") },
	{ NULL, MAIL | RCPT, 5, 6, ANY_DETAIL, NULL,
	  HOLD(MESSAGE,
	       "the target cannot take this message's format: see the reply; hand it over "
	       "by other means") },
	{ NULL, MAIL, 552, -1, ANY_DETAIL, NULL,
	  HOLD(MESSAGE,
	       "larger than the target takes: raise its limit, then release") },
	{ NULL, MAIL, 5, -1, ANY_DETAIL, NULL,
	  HOLD(MESSAGE,
	       "the target refuses the reverse-path: if others are refused alike, it is our "
	       "IP; let it accept that, then release") },
	{ NULL, MAIL, 4, 1, ANY_DETAIL, NULL,
	  DEFER(MESSAGE,
		"the target cannot check this reverse-path now: it is tried again") },
	{ NULL, MAIL, 4, -1, ANY_DETAIL, NULL,
	  DEFER(TARGET,
		"the target takes no transaction now: it is tried again") },

	/* RCPT: about this mailbox, except what says otherwise. */
	{ NULL, RCPT, 5, 1, 7, 8, NULL,
	  HOLD(MESSAGE,
	       "the target refuses this reverse-path: exempt the queue's IP from its sender "
	       "checks, then release") },
	{ NULL, RCPT, 5, 1, ANY_DETAIL, NULL,
	  HOLD(MAILBOX,
	       "the target does not have this address: create it or add an alias, then "
	       "release; or bounce it yourself") },
	{ NULL, RCPT, 5, 2, 2, 2, NULL,
	  HOLD(MAILBOX, "the mailbox is full: make room, then release") },
	{ NULL, RCPT, 5, 2, ANY_DETAIL, NULL,
	  HOLD(MAILBOX,
	       "the mailbox takes no mail: enable it or raise its limits, then release") },
	{ NULL, RCPT, 5, 4, ANY_DETAIL, NULL,
	  HOLD(MAILBOX,
	       "the target cannot route this address: check that it has the domain and the "
	       "address, then release") },
	{ NULL, RCPT, 5, 7, ANY_DETAIL, NULL,
	  HOLD(MAILBOX,
	       "a policy of the target refuses this recipient: lift the restriction, then "
	       "release") },
	{ NULL, RCPT, 5, -1, ANY_DETAIL, NULL,
	  HOLD(MAILBOX,
	       "the target refuses this recipient: see the reply, repair it there, then "
	       "release") },
	{ NULL, RCPT, 4, 3, ANY_DETAIL, NULL,
	  DEFER(TARGET, "the target's system has trouble: it is tried again") },
	{ NULL, RCPT, 4, 4, ANY_DETAIL, NULL,
	  DEFER(TARGET,
		"the target cannot route mail now: it is tried again") },
	{ NULL, RCPT, 4, 7, ANY_DETAIL, NULL,
	  SLOW(TARGET,
	       "a policy of the target defers us: exempt the queue's IP there") },
	{ NULL, RCPT, 4, -1, ANY_DETAIL, NULL,
	  DEFER(MAILBOX, "the mailbox takes no mail now: it is tried again") },

	/* The data: about this message, except what names its mailbox. */
	{ NULL, CONTENT, 5, 1, ANY_DETAIL, NULL,
	  HOLD(MAILBOX,
	       "the target does not have this address: create it or add an alias, then "
	       "release; or bounce it yourself") },
	{ NULL, CONTENT, 5, 2, ANY_DETAIL, NULL,
	  HOLD(MAILBOX,
	       "the mailbox takes no mail: make room or enable it, then release") },
	{ NULL, CONTENT, 5, 6, ANY_DETAIL, NULL,
	  HOLD(MESSAGE,
	       "the target cannot take this message's format: see the reply; hand it over "
	       "by other means") },
	{ NULL, CONTENT, 5, 7, ANY_DETAIL, NULL,
	  HOLD(MESSAGE,
	       "a content policy of the target refuses this message: exempt the queue's IP "
	       "from it, then release") },
	{ NULL, CONTENT, 552, -1, ANY_DETAIL, NULL,
	  HOLD(MESSAGE,
	       "larger than the target takes: raise its limit, then release") },
	{ NULL, CONTENT, 5, -1, ANY_DETAIL, NULL,
	  HOLD(MESSAGE,
	       "the target refuses this message: see the reply, repair it there, then "
	       "release") },
	{ NULL, CONTENT, 4, 2, ANY_DETAIL, NULL,
	  DEFER(MAILBOX, "the mailbox takes no mail now: it is tried again") },
	{ NULL, CONTENT, 4, 3, ANY_DETAIL, NULL,
	  DEFER(TARGET, "the target's system has trouble: it is tried again") },
	{ NULL, CONTENT, 4, 4, ANY_DETAIL, NULL,
	  DEFER(TARGET,
		"the target cannot route mail now: it is tried again") },
	{ NULL, CONTENT, 4, 7, ANY_DETAIL, NULL,
	  SLOW(TARGET,
	       "a policy of the target defers us: exempt the queue's IP there") },
	{ NULL, CONTENT, 4, -1, ANY_DETAIL, NULL,
	  DEFER(MESSAGE,
		"the target does not take this message now: it is tried again") },
};

/* Nothing came, or what came is no answer to what was said. */
/* clang-format on */

static const struct reply_meaning no_reply = DEFER(
	TARGET, "the connection ended without a reply: it is tried again");
static const struct reply_meaning odd_reply = DEFER(
	TARGET,
	"the target's reply does not fit: it is tried again; look whether "
	"deliver_to is a mail server");

/* "5.7.606" into its three numbers. */
static bool enhanced_parse(const char *text, int out[3])
{
	struct slice rest = slice(text);

	for (int i = 0; i < 3; i++) {
		uint64_t number;

		if (!slice_u64(slice_split(&rest, '.'), &number) ||
		    number > 999)
			return false;
		out[i] = (int)number;
	}
	return rest.len == 0;
}

static bool row_matches(const struct row *row, const char *provider,
			unsigned stage, const struct smtp_reply *reply,
			const int enhanced[3])
{
	int class = reply->code / 100;

	if (row->provider && strcmp(row->provider, provider) != 0)
		return false;
	if (!(row->stages & stage))
		return false;
	if (row->code < 10 ? row->code != class : row->code != reply->code)
		return false;
	if (row->subject >= 0 &&
	    (enhanced[0] != class || enhanced[1] != row->subject ||
	     enhanced[2] < row->from || enhanced[2] > row->to))
		return false;
	return !row->text || strcasestr(reply->text, row->text);
}

struct reply_meaning provider_reply(const struct provider *provider,
				    enum smtp_stage stage,
				    const struct smtp_reply *reply)
{
	int enhanced[3] = { 0 };

	if (reply->code == 0)
		return no_reply;
	if (!enhanced_parse(reply->enhanced, enhanced))
		enhanced[0] = 0;
	for (size_t i = 0; i < COUNT(rows); i++)
		if (row_matches(&rows[i], provider->name, BIT(stage), reply,
				enhanced))
			return rows[i].meaning;
	return odd_reply;
}

const char *reply_act_name(enum reply_act act)
{
	static const char *const names[] = {
		[ACT_DELIVERED] = "delivered",
		[ACT_DEFER] = "defer",
		[ACT_HOLD] = "hold",
		[ACT_CLOSE] = "close",
	};

	return names[act];
}

const char *reply_scope_name(enum reply_scope scope)
{
	static const char *const names[] = {
		[SCOPE_MESSAGE] = "message",
		[SCOPE_MAILBOX] = "mailbox",
		[SCOPE_TARGET] = "target",
	};

	return names[scope];
}

bool provider_may_have_dane(const char *mx)
{
	return slice_ends_nocase(slice(mx), M365_SIGNED);
}
