#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cutover/check.h"
#include "tests/unit/zone.h"

/* %s: old provider, old host, new provider, new host. */
static const char plan_text[] =
	"{\"tideover\":1,\"name\":\"t\",\"strategy\":\"park\","
	"\"domains\":[{\"name\":\"acme.example\"}],"
	"\"old\":{\"provider\":\"%s\",\"mx\":[\"mx.old.example\"],"
	"\"deliver_to\":\"%s:25\"},"
	"\"new\":{\"provider\":\"%s\",\"mx\":[\"mx.new.example\"],"
	"\"deliver_to\":\"%s:25\"},"
	"\"queue_mx\":{\"host\":\"hold.example.net\",\"priority\":20,"
	"\"listen\":[\"127.0.0.1:2525\"]},"
	"\"dns\":{\"resolvers\":[\"192.0.2.1\"],\"ttl\":300,\"old_ttl\":3600},"
	"\"recipients\":{\"policy\":\"any\"}}";

enum move {
	GOOGLE_TO_M365,
	M365_TO_GOOGLE,
	M365_TO_M365,
	ACME_TO_M365, /* a tenant called as the domain is */
	OWN_TO_OWN
};

static const char *const systems[][4] = {
	[GOOGLE_TO_M365] = { "workspace", "smtp.google.com", "m365",
			     "acmenew.mail.protection.outlook.com" },
	[M365_TO_GOOGLE] = { "m365", "acmeold.mail.protection.outlook.com",
			     "workspace", "smtp.google.com" },
	[M365_TO_M365] = { "m365", "acmeold.mail.protection.outlook.com",
			   "m365", "acmenew.mail.protection.outlook.com" },
	[ACME_TO_M365] = { "m365", "acme.mail.protection.outlook.com", "m365",
			   "acmenew.mail.protection.outlook.com" },
	[OWN_TO_OWN] = { "custom", "mail.old.example", "custom",
			 "mail.new.example" },
};

#define OUTLOOK "spf.protection.outlook.com TXT v=spf1 ip4:192.0.2.0/24 -all\n"
#define GOOGLE                                                     \
	"_spf.google.com TXT v=spf1 include:_nb.google.com -all\n" \
	"_nb.google.com TXT v=spf1 ip4:192.0.2.0/24 -all\n"
#define OWN	    "acme.example TXT v=spf1 "
#define SELECTOR(n) "selector" #n "._domainkey.acme.example TXT "
#define KEY	    "v=DKIM1; k=rsa; p=bm90IGEga2V5\n"
#define NEW(n)                                           \
	SELECTOR(n)                                      \
	"->s" #n "._domainkey.acmenew.onmicrosoft.com\n" \
	"s" #n "._domainkey.acmenew.onmicrosoft.com TXT " KEY
#define SRV    "_autodiscover._tcp.acme.example SRV "
#define NO_SRV SRV "\n"
#define ONE(n) "x" #n ".example TXT v=spf1 ip4:192.0.2.1 -all\n"

static const struct {
	const char *check;
	enum gate gate;
	enum move move;
	const char *zone;
	enum verdict want;
	const char *says; /* in summary or remedy */
} cases[] = {
	/* spf */
	{ "spf", GATE_PLAN, GOOGLE_TO_M365, "", VERDICT_UNKNOWN, "not asked" },
	{ "spf", GATE_PLAN, GOOGLE_TO_M365, "acme.example TXT !SERVFAIL\n",
	  VERDICT_UNKNOWN, "SERVFAIL" },
	{ "spf", GATE_PLAN, GOOGLE_TO_M365,
	  OWN
	  "include:spf.protection.outlook.com include:_spf.google.com -all\n" OUTLOOK
		  GOOGLE,
	  VERDICT_PASS, NULL },
	{ "spf", GATE_CLOSE, GOOGLE_TO_M365,
	  OWN "include:spf.protection.outlook.com -all\n" OUTLOOK, VERDICT_PASS,
	  NULL },
	/* Called by a record that is called. */
	{ "spf", GATE_CLOSE, GOOGLE_TO_M365,
	  OWN "redirect=all.acme.example\n"
	      "all.acme.example TXT v=spf1 "
	      "include:spf.protection.outlook.com -all\n" OUTLOOK,
	  VERDICT_PASS, NULL },
	{ "spf", GATE_CLOSE, GOOGLE_TO_M365,
	  OWN
	  "include:spf.protection.outlook.com include:_spf.google.com -all\n" OUTLOOK
		  GOOGLE,
	  VERDICT_WARN, "still has include:_spf.google.com" },
	{ "spf", GATE_PLAN, GOOGLE_TO_M365,
	  OWN "include:_spf.google.com ~all\n" GOOGLE, VERDICT_WARN,
	  "publish acme.example. TXT \"v=spf1 include:_spf.google.com "
	  "include:spf.protection.outlook.com ~all\"" },
	/* Both send while the domain moves, and others may. */
	{ "spf", GATE_PLAN, GOOGLE_TO_M365, "acme.example TXT\n", VERDICT_WARN,
	  "publish acme.example. TXT \"v=spf1 include:_spf.google.com "
	  "include:spf.protection.outlook.com ~all\" with all else that sends" },
	{ "spf", GATE_CLOSE, GOOGLE_TO_M365, "acme.example TXT\n", VERDICT_WARN,
	  "publish acme.example. TXT \"v=spf1 "
	  "include:spf.protection.outlook.com ~all\"" },
	{ "spf", GATE_CLOSE, GOOGLE_TO_M365,
	  OWN "include:_spf.google.com ~all\n" GOOGLE, VERDICT_FAIL,
	  "lacks include:spf.protection.outlook.com" },
	/* It says who may not. */
	{ "spf", GATE_CLOSE, GOOGLE_TO_M365,
	  OWN "-include:spf.protection.outlook.com mx -all\n" OUTLOOK,
	  VERDICT_FAIL, "lacks include:spf.protection.outlook.com" },
	/* Nobody reads on behind "all" (5.1): neither what is wanted there, */
	{ "spf", GATE_CLOSE, GOOGLE_TO_M365,
	  OWN "mx -all include:spf.protection.outlook.com\n" OUTLOOK,
	  VERDICT_FAIL, "lacks include:spf.protection.outlook.com" },
	/* nor what costs lookups; */
	{ "spf", GATE_PLAN, OWN_TO_OWN,
	  OWN "-all a a a a a a a a a a a include:gone.example\n"
	      "gone.example TXT\n",
	  VERDICT_WARN, "new.spf_include" },
	/* and what is published goes before it. */
	{ "spf", GATE_CLOSE, GOOGLE_TO_M365, OWN "mx -all exp=why.example\n",
	  VERDICT_FAIL,
	  "\"v=spf1 mx include:spf.protection.outlook.com -all "
	  "exp=why.example\"" },
	{ "spf", GATE_PLAN, OWN_TO_OWN, OWN "include:a..example -all\n",
	  VERDICT_FAIL, "a..example" },
	/* A chain of CNAMEs of several zones, asked one by one. */
	{ "spf", GATE_PLAN, OWN_TO_OWN,
	  OWN "include:a.example -all\n"
	      "a.example TXT ->b.example\nb.example TXT ->c.example\n"
	      "c.example TXT v=spf1 ip4:192.0.2.1 -all\n",
	  VERDICT_WARN, "new.spf_include" },
	{ "spf", GATE_PLAN, OWN_TO_OWN,
	  OWN "include:a.example -all\n"
	      "a.example TXT ->b.example\nb.example TXT !timeout\n",
	  VERDICT_UNKNOWN, "did not answer" },
	{ "spf", GATE_PLAN, OWN_TO_OWN,
	  OWN "include:a.example -all\n"
	      "a.example TXT ->b.example\nb.example TXT ->a.example\n",
	  VERDICT_UNKNOWN, "did not answer" },
	{ "spf", GATE_CLOSE, GOOGLE_TO_M365, "acme.example TXT\n", VERDICT_WARN,
	  "no SPF record" },
	{ "spf", GATE_CLOSE, GOOGLE_TO_M365,
	  OWN "include:spf.protection.outlook.com -all\n" OWN
	      "mx -all\n" OUTLOOK,
	  VERDICT_FAIL, "2 SPF records" },
	{ "spf", GATE_CLOSE, GOOGLE_TO_M365,
	  OWN "mx include:x.example ~all\n" OWN "-all mx ip4:192.0.2.1\n",
	  VERDICT_FAIL,
	  "acme.example. TXT \"v=spf1 mx include:x.example ip4:192.0.2.1 "
	  "include:spf.protection.outlook.com ~all\"" },
	{ "spf", GATE_PLAN, OWN_TO_OWN, OWN "mx incldue:x -all\n", VERDICT_FAIL,
	  "permanent error" },
	{ "spf", GATE_PLAN, OWN_TO_OWN,
	  OWN "include:gone.example -all\ngone.example TXT\n", VERDICT_FAIL,
	  "gone.example has 0 SPF records" },
	{ "spf", GATE_PLAN, OWN_TO_OWN,
	  OWN "include:slow.example -all\nslow.example TXT !timeout\n",
	  VERDICT_UNKNOWN, "did not answer" },
	{ "spf", GATE_PLAN, OWN_TO_OWN,
	  OWN "a mx ptr exists:%{i}.x a:b.c include:x1.example "
	      "include:x2.example a:d.e a:f.g a:h.i -all\n" ONE(1) ONE(2),
	  VERDICT_WARN, "new.spf_include" },
	{ "spf", GATE_PLAN, OWN_TO_OWN,
	  OWN "a mx ptr exists:%{i}.x a:b.c include:x1.example "
	      "include:x2.example a:d.e a:f.g a:h.i a:j.k -all\n" ONE(1) ONE(2),
	  VERDICT_FAIL, "more than 10 lookups" },
	/* A loop ends by the count. */
	{ "spf", GATE_PLAN, OWN_TO_OWN, OWN "include:acme.example -all\n",
	  VERDICT_FAIL, "more than 10 lookups" },
	/* Other texts that begin so are none. */
	{ "spf", GATE_PLAN, OWN_TO_OWN, OWN "-all\nacme.example TXT v=spf10\n",
	  VERDICT_WARN, "new.spf_include" },
	/* What finds nothing: two at most. */
	{ "spf", GATE_PLAN, OWN_TO_OWN,
	  OWN "a:g.example a:h.example mx -all\ng.example A\nh.example A\n"
	      "acme.example MX 10 mx.example\n",
	  VERDICT_WARN, "new.spf_include" },
	{ "spf", GATE_PLAN, OWN_TO_OWN,
	  OWN "a:g.example a:h.example mx -all\ng.example A\nh.example A\n"
	      "acme.example MX\n",
	  VERDICT_FAIL, "find nothing" },
	/* verify-txt */
	{ "verify-txt", GATE_START, GOOGLE_TO_M365,
	  "acme.example TXT MS=ms12345678\n", VERDICT_PASS, NULL },
	{ "verify-txt", GATE_START, M365_TO_GOOGLE,
	  "acme.example TXT google-site-verification=abc\n", VERDICT_PASS,
	  NULL },
	{ "verify-txt", GATE_START, OWN_TO_OWN, "", VERDICT_PASS, NULL },
	{ "verify-txt", GATE_PLAN, GOOGLE_TO_M365,
	  "acme.example TXT google-site-verification=abc\n", VERDICT_WARN,
	  "MS=" },
	{ "verify-txt", GATE_START, GOOGLE_TO_M365, OWN "-all\n", VERDICT_FAIL,
	  "MS=" },
	{ "verify-txt", GATE_START, GOOGLE_TO_M365, "", VERDICT_UNKNOWN, NULL },
	/* dkim */
	{ "dkim", GATE_CLOSE, GOOGLE_TO_M365, NEW(1) NEW(2), VERDICT_PASS,
	  NULL },
	{ "dkim", GATE_CLOSE, M365_TO_M365, NEW(1) NEW(2), VERDICT_PASS, NULL },
	{ "dkim", GATE_CLOSE, GOOGLE_TO_M365, NEW(1) SELECTOR(2) "\n",
	  VERDICT_WARN, "selector2" },
	{ "dkim", GATE_CLOSE, GOOGLE_TO_M365, SELECTOR(1) "\n" NEW(2),
	  VERDICT_FAIL, "selector1" },
	{ "dkim", GATE_CLOSE, GOOGLE_TO_M365,
	  NEW(1) SELECTOR(2) "v=DKIM1; p=\n", VERDICT_WARN, "no key" },
	{ "dkim", GATE_CLOSE, M365_TO_M365,
	  SELECTOR(1) "->s._domainkey.acmeold.onmicrosoft.com\n"
		      "s._domainkey.acmeold.onmicrosoft.com TXT " KEY NEW(2),
	  VERDICT_FAIL, "old tenant" },
	{ "dkim", GATE_CLOSE, M365_TO_M365,
	  SELECTOR(1) "->s._domainkey.other.onmicrosoft.com\n"
		      "s._domainkey.other.onmicrosoft.com TXT " KEY NEW(2),
	  VERDICT_WARN, "cannot be told" },
	{ "dkim", GATE_CLOSE, GOOGLE_TO_M365, NEW(1), VERDICT_UNKNOWN,
	  "selector2" },
	{ "dkim", GATE_CLOSE, GOOGLE_TO_M365,
	  SELECTOR(1) "->b.acme.example\n"
		      "b.acme.example TXT ->c.acmenew.onmicrosoft.com\n"
		      "c.acmenew.onmicrosoft.com TXT " KEY NEW(2),
	  VERDICT_PASS, NULL },
	/* Where it leads to did not answer: that is not "no key". */
	{ "dkim", GATE_CLOSE, GOOGLE_TO_M365,
	  SELECTOR(1) "->s._domainkey.acmenew.onmicrosoft.com\n"
		      "s._domainkey.acmenew.onmicrosoft.com TXT "
		      "!timeout\n" NEW(2),
	  VERDICT_UNKNOWN, "timeout" },
	/* Its tenant is told by where it leads, whoever answers. */
	{ "dkim", GATE_CLOSE, M365_TO_M365,
	  SELECTOR(1) "->s._domainkey.acmeold.onmicrosoft.com\n"
		      "s._domainkey.acmeold.onmicrosoft.com TXT "
		      "!timeout\n" NEW(2),
	  VERDICT_FAIL, "old tenant" },
	/* The domain's own names tell no tenant. */
	{ "dkim", GATE_CLOSE, ACME_TO_M365, SELECTOR(1) KEY NEW(2),
	  VERDICT_WARN, "cannot be told" },
	{ "dkim", GATE_CLOSE, ACME_TO_M365,
	  SELECTOR(1) "->b.acme.example\nb.acme.example TXT " KEY NEW(2),
	  VERDICT_WARN, "cannot be told" },
	{ "dkim", GATE_CLOSE, ACME_TO_M365,
	  SELECTOR(1) "->s._domainkey.acme.onmicrosoft.com\n"
		      "s._domainkey.acme.onmicrosoft.com TXT " KEY NEW(2),
	  VERDICT_FAIL, "old tenant" },
	/* The notes of a key that was taken back are no key. */
	{ "dkim", GATE_CLOSE, M365_TO_GOOGLE,
	  "google._domainkey.acme.example TXT v=DKIM1; n=old p=x; p=\n",
	  VERDICT_FAIL, "no key" },
	{ "dkim", GATE_CLOSE, OWN_TO_OWN, "", VERDICT_UNKNOWN,
	  "new.dkim_selectors" },
	/* dmarc */
	{ "dmarc", GATE_PLAN, OWN_TO_OWN,
	  "_dmarc.acme.example TXT v=DMARC1; p=quarantine; rua=mailto:a@b.c\n"
	  "b.c MX 10 mx.b.c\nacme.example._report._dmarc.b.c TXT v=DMARC1;\n",
	  VERDICT_PASS, NULL },
	{ "dmarc", GATE_PLAN, OWN_TO_OWN,
	  "_dmarc.acme.example TXT v=DMARC1; p=reject; rua=mailto:a@b.c\n"
	  "b.c MX 10 mx.b.c\nacme.example._report._dmarc.b.c TXT\n",
	  VERDICT_WARN, "acme.example._report._dmarc.b.c. TXT" },
	{ "dmarc", GATE_PLAN, OWN_TO_OWN,
	  "_dmarc.acme.example TXT v=DMARC1; p=reject; rua=mailto:a@b.c\n"
	  "b.c MX\nb.c A\nb.c AAAA\n",
	  VERDICT_WARN, "which takes no mail" },
	/* RFC 7505, and RFC 5321 section 5.1. */
	{ "dmarc", GATE_PLAN, OWN_TO_OWN,
	  "_dmarc.acme.example TXT v=DMARC1; p=reject; rua=mailto:a@b.c\n"
	  "b.c MX 0 .\n",
	  VERDICT_WARN, "which takes no mail" },
	{ "dmarc", GATE_PLAN, OWN_TO_OWN,
	  "_dmarc.acme.example TXT v=DMARC1; p=reject; rua=mailto:a@b.c\n"
	  "b.c MX\nb.c AAAA 2001:db8::1\n"
	  "acme.example._report._dmarc.b.c TXT v=DMARC1\n",
	  VERDICT_PASS, NULL },
	/* One's own need no leave. */
	{ "dmarc", GATE_PLAN, OWN_TO_OWN,
	  "_dmarc.acme.example TXT v=DMARC1; p=reject; "
	  "rua=mailto:a@r.acme.example\nr.acme.example MX 1 mx.b.c\n",
	  VERDICT_PASS, NULL },
	{ "dmarc", GATE_PLAN, OWN_TO_OWN,
	  "_dmarc.acme.example TXT v=DMARC1; p=reject; rua=https://b.c/x\n",
	  VERDICT_WARN, "no mailbox" },
	{ "dmarc", GATE_PLAN, OWN_TO_OWN,
	  "_dmarc.acme.example TXT v=DMARC1;p=none\n", VERDICT_WARN, "p=none" },
	{ "dmarc", GATE_PLAN, OWN_TO_OWN, "_dmarc.acme.example TXT\n",
	  VERDICT_WARN, "no DMARC record" },
	{ "dmarc", GATE_PLAN, OWN_TO_OWN,
	  "_dmarc.acme.example TXT v=DMARC1; p=none\n"
	  "_dmarc.acme.example TXT v=DMARC1; p=reject\n",
	  VERDICT_FAIL, "2 DMARC records" },
	{ "dmarc", GATE_PLAN, OWN_TO_OWN,
	  "_dmarc.acme.example TXT v=DMARC1; sp=none\n", VERDICT_FAIL,
	  "no valid p=" },
	{ "dmarc", GATE_CLOSE, GOOGLE_TO_M365,
	  "_dmarc.acme.example TXT v=DMARC1; p=reject\n" SELECTOR(1) "\n" NEW(
		  2),
	  VERDICT_FAIL, "while DKIM of the new system fails" },
	{ "dmarc", GATE_CLOSE, GOOGLE_TO_M365,
	  "_dmarc.acme.example TXT v=DMARC1; p=reject\n" NEW(1) NEW(2),
	  VERDICT_PASS, NULL },
	{ "dmarc", GATE_PLAN, OWN_TO_OWN, "_dmarc.acme.example TXT !timeout\n",
	  VERDICT_UNKNOWN, "timeout" },
	/* RFC 7489 6.4: blanks around "=" are fine, another version is not. */
	{ "dmarc", GATE_PLAN, OWN_TO_OWN,
	  "_dmarc.acme.example TXT v = DMARC1 ; p = reject\n", VERDICT_PASS,
	  NULL },
	{ "dmarc", GATE_PLAN, OWN_TO_OWN,
	  "_dmarc.acme.example TXT v=DMARC10; p=reject\n"
	  "_dmarc.acme.example TXT v=DMARC1; p=reject\n",
	  VERDICT_PASS, NULL },
	{ "dmarc", GATE_PLAN, OWN_TO_OWN,
	  "_dmarc.acme.example TXT p=reject; v=DMARC1\n", VERDICT_WARN,
	  "no DMARC record" },
	/* Kept by somebody else, behind a CNAME. */
	{ "dmarc", GATE_PLAN, OWN_TO_OWN,
	  "_dmarc.acme.example TXT ->acme.reports.example\n"
	  "acme.reports.example TXT v=DMARC1; p=reject\n",
	  VERDICT_PASS, NULL },
	{ "dmarc", GATE_PLAN, OWN_TO_OWN,
	  "_dmarc.acme.example TXT ->acme.reports.example\n"
	  "acme.reports.example TXT !timeout\n",
	  VERDICT_UNKNOWN, "timeout" },
	/* tls-rpt */
	{ "tls-rpt", GATE_PLAN, OWN_TO_OWN,
	  "_smtp._tls.acme.example TXT ->acme.reports.example\n"
	  "acme.reports.example TXT v=TLSRPTv1; rua=mailto:t@b.example\n",
	  VERDICT_PASS, NULL },
	{ "tls-rpt", GATE_PLAN, OWN_TO_OWN,
	  "_smtp._tls.acme.example TXT ->acme.reports.example\n",
	  VERDICT_UNKNOWN, "not asked" },
	{ "tls-rpt", GATE_PLAN, OWN_TO_OWN,
	  "_smtp._tls.acme.example TXT v=TLSRPTv1; rua=mailto:t@b.example\n",
	  VERDICT_PASS, NULL },
	{ "tls-rpt", GATE_PLAN, OWN_TO_OWN,
	  "_smtp._tls.acme.example TXT v=TLSRPTv1; "
	  "rua=https://r.example/x,mailto:t@Acme.Example\n",
	  VERDICT_WARN, "domain that moves" },
	{ "tls-rpt", GATE_PLAN, OWN_TO_OWN, "_smtp._tls.acme.example TXT\n",
	  VERDICT_WARN, "asks for no TLS reports" },
	{ "tls-rpt", GATE_PLAN, OWN_TO_OWN, "", VERDICT_UNKNOWN, NULL },
	/* RFC 8460 section 3: of several none counts. */
	{ "tls-rpt", GATE_PLAN, OWN_TO_OWN,
	  "_smtp._tls.acme.example TXT v=TLSRPTv1; rua=mailto:t@b.example\n"
	  "_smtp._tls.acme.example TXT v=TLSRPTv1; rua=mailto:u@b.example\n",
	  VERDICT_WARN, "2 TLS-RPT records" },
	{ "tls-rpt", GATE_PLAN, OWN_TO_OWN,
	  "_smtp._tls.acme.example TXT v=TLSRPTv1; rua=\n", VERDICT_WARN,
	  "names nobody" },
	{ "tls-rpt", GATE_PLAN, OWN_TO_OWN,
	  "_smtp._tls.acme.example TXT v=TLSRPTv12; rua=mailto:t@b.example\n",
	  VERDICT_WARN, "asks for no TLS reports" },
	/* autodiscover */
	{ "autodiscover", GATE_CLOSE, GOOGLE_TO_M365,
	  "autodiscover.acme.example CNAME autodiscover.outlook.com\n" NO_SRV,
	  VERDICT_PASS, NULL },
	{ "autodiscover", GATE_CLOSE, GOOGLE_TO_M365,
	  "autodiscover.acme.example CNAME\n" NO_SRV, VERDICT_WARN,
	  "publish autodiscover.acme.example. CNAME "
	  "autodiscover.outlook.com." },
	{ "autodiscover", GATE_CLOSE, M365_TO_GOOGLE,
	  "autodiscover.acme.example CNAME autodiscover.outlook.com\n" NO_SRV,
	  VERDICT_WARN, "still leads to Microsoft 365" },
	{ "autodiscover", GATE_CLOSE, M365_TO_GOOGLE,
	  "autodiscover.acme.example CNAME\n" NO_SRV, VERDICT_PASS, NULL },
	{ "autodiscover", GATE_CLOSE, M365_TO_GOOGLE, "", VERDICT_UNKNOWN,
	  NULL },
	{ "autodiscover", GATE_CLOSE, GOOGLE_TO_M365,
	  "autodiscover.acme.example CNAME autodiscover.outlook.com\n" SRV
	  "10 0 443 mail.acme.example\n",
	  VERDICT_WARN, "delete _autodiscover._tcp.acme.example. SRV" },
	{ "autodiscover", GATE_CLOSE, GOOGLE_TO_M365,
	  "autodiscover.acme.example CNAME autodiscover.outlook.com\n" SRV
	  "10 0 443 outlook.office365.com\n",
	  VERDICT_PASS, NULL },
	{ "autodiscover", GATE_CLOSE, M365_TO_GOOGLE,
	  "autodiscover.acme.example CNAME\n" SRV
	  "10 0 443 outlook.office365.com\n",
	  VERDICT_WARN, "leads to outlook.office365.com" },
	{ "autodiscover", GATE_CLOSE, M365_TO_GOOGLE,
	  "autodiscover.acme.example CNAME\n" SRV "!SERVFAIL\n",
	  VERDICT_UNKNOWN, "SERVFAIL" },
};

static void each_situation_has_its_verdict(void **state)
{
	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *const *names = systems[cases[i].move];
		char *text = mem_printf(plan_text, names[0], names[1], names[2],
					names[3]);
		struct err err = ERR_INIT;
		struct plan *plan = plan_parse(slice(text), "t.json", &err);
		struct findings found;
		struct finding *finding;
		struct facts *facts;

		if (!plan)
			fail_msg("%s", err.text);
		facts = facts_new(plan);
		facts->records = records_new();
		zone_lines(facts->records, cases[i].zone);
		check_gate(facts, cases[i].gate, cases[i].check, NULL, 0,
			   &found);
		assert_int_equal(found.count, 1);
		finding = &found.at[0];
		if (finding->verdict != cases[i].want ||
		    (cases[i].says &&
		     !strstr(finding->summary, cases[i].says) &&
		     !strstr(finding->remedy, cases[i].says)))
			fail_msg("case %zu, %s: %s: %s / %s", i, cases[i].check,
				 verdict_name(finding->verdict),
				 finding->summary, finding->remedy);
		if (finding->verdict == VERDICT_FAIL ||
		    finding->verdict == VERDICT_WARN)
			assert_true(*finding->remedy != '\0');
		findings_release(&found);
		facts_free(facts);
		plan_free(plan);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_situation_has_its_verdict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
