#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cutover/check.h"
#include "tests/unit/zone.h"

#define NOW_S 1780000000
#define DAY_S 86400

static const char plan_text[] =
	"{\"tideover\":1,\"name\":\"t\",\"strategy\":\"%s\",%s"
	"\"domains\":[{\"name\":\"acme.example\"}],"
	"\"old\":{\"provider\":\"custom\",\"mx\":[\"mx.old.example\"],"
	"\"deliver_to\":\"%s:25\"},"
	"\"new\":{\"provider\":\"m365\","
	"\"mx\":[\"acme-example.k-v1.mx.microsoft\"],"
	"\"deliver_to\":\"%s:26\"},"
	"\"queue_mx\":{\"host\":\"hold.example.net\",\"priority\":20,"
	"\"listen\":[\"%s\"]},"
	"\"dns\":{\"resolvers\":[\"%s\"],\"ttl\":300,\"old_ttl\":3600},"
	"\"recipients\":{\"policy\":\"any\"}}";

enum plan_kind {
	PARK,
	STANDBY,
	REHEARSAL
};

struct world {
	struct plan *plan;
	struct facts *facts;
};

static void world_make(struct world *w, enum plan_kind kind, const char *zone)
{
	bool lab = kind == REHEARSAL;
	const char *host = lab ? "127.0.0.1" : "192.0.2.7";
	char *text = mem_printf(plan_text, kind == STANDBY ? "standby" : "park",
				lab ? "\"rehearsal\":true," : "", host, host,
				lab ? "127.0.0.1:2525" : "192.0.2.9:25", host);
	struct err err = ERR_INIT;

	w->plan = plan_parse(slice(text), "t.json", &err);
	if (!w->plan)
		fail_msg("%s", err.text);
	free(text);
	w->facts = facts_new(w->plan);
	w->facts->now.wall_ms = (int64_t)NOW_S * 1000;
	w->facts->records = records_new();
	zone_lines(w->facts->records, zone);
}

static void world_release(struct world *w)
{
	facts_free(w->facts);
	plan_free(w->plan);
}

/* Judges, and holds what is said against `says`. */
static void expect(const struct world *w, size_t number, const char *check,
		   enum gate gate, enum verdict want, const char *says)
{
	struct findings found;
	struct finding *finding;

	check_gate(w->facts, gate, check, NULL, 0, &found);
	assert_int_equal(found.count, 1);
	finding = &found.at[0];
	if (finding->verdict != want ||
	    (says && !strstr(finding->summary, says) &&
	     !strstr(finding->remedy, says)))
		fail_msg("case %zu, %s: %s: %s / %s", number, check,
			 verdict_name(finding->verdict), finding->summary,
			 finding->remedy);
	if (want == VERDICT_FAIL || want == VERDICT_UNKNOWN)
		assert_true(*finding->remedy != '\0');
	assert_true(json_count(finding->evidence) > 0);
	findings_release(&found);
}

/* dnssec */

#define DS	 "acme.example DS c0ffee\n"
#define UNSIGNED "acme.example DS\n"

static const struct facts_signed good = {
	.of = "192.0.2.1:53",
	.type = DNS_SOA,
	.ad = true,
	.begins_s = NOW_S - 10 * DAY_S,
	.ends_s = NOW_S + 20 * DAY_S,
};
static const struct facts_signed ends_soon = {
	.type = DNS_SOA,
	.ad = true,
	.begins_s = NOW_S - 25 * DAY_S,
	.ends_s = NOW_S + 5 * DAY_S,
};
/* Signed anew every day, as some do. */
static const struct facts_signed short_lived = {
	.type = DNS_SOA,
	.ad = true,
	.begins_s = NOW_S - DAY_S,
	.ends_s = NOW_S + DAY_S,
};
static const struct facts_signed careless = { .type = DNS_SOA };
static const struct facts_signed bogus = { .rcode = DNS_SERVFAIL,
					   .unchecked = true };
static const struct facts_signed ill = { .rcode = DNS_SERVFAIL };
static const struct facts_signed silent = { .error = "timeout" };
static const struct facts_signed good_mx = { .type = DNS_MX, .ad = true };
static const struct facts_signed no_mx = { .type = DNS_MX };
/* What libunbound says. */
static const struct facts_signed own = {
	.who = SIGNED_OWN, .of = "libunbound", .type = DNS_SOA, .ad = true
};
static const struct facts_signed own_bogus = { .who = SIGNED_OWN,
					       .of = "libunbound",
					       .error = "bogus: no signatures",
					       .bogus = true };
static const struct facts_signed own_away = { .who = SIGNED_OWN,
					      .of = "libunbound",
					      .error = "timeout" };
static const struct facts_signed own_insecure = { .who = SIGNED_OWN,
						  .of = "libunbound" };
/* Authorities. */
#define NS2 .who = SIGNED_AUTHORITY, .of = "ns2.acme.example (192.0.2.12:53)"
static const struct facts_signed served = { NS2, .type = DNS_SOA,
					    .is_signed = true,
					    .begins_s = NOW_S - DAY_S,
					    .ends_s = NOW_S + DAY_S };
static const struct facts_signed just_begun = { NS2, .type = DNS_SOA,
						.is_signed = true,
						.begins_s = NOW_S + 60,
						.ends_s = NOW_S + DAY_S };
static const struct facts_signed bare = { NS2, .type = DNS_MX };
static const struct facts_signed ended = { NS2, .type = DNS_MX,
					   .is_signed = true,
					   .begins_s = NOW_S - 9 * DAY_S,
					   .ends_s = NOW_S - 60 };
static const struct facts_signed to_come = { NS2, .type = DNS_MX,
					     .is_signed = true,
					     .begins_s = NOW_S + DAY_S,
					     .ends_s = NOW_S + 9 * DAY_S };
static const struct facts_signed drops = { NS2, .error = "timeout" };

/* Who answered to the survey. */
static const struct dns_vantage answers = { .authority = true };
static const struct dns_vantage mute = { .authority = true,
					 .error = "timeout" };
static const struct dns_vantage resolver = { .authority = false };

static const struct {
	enum plan_kind plan;
	const char *zone;
	const struct facts_signed *said[3];
	const struct dns_vantage *authority;
	enum verdict want;
	const char *says;
} signings[] = {
	{ PARK, UNSIGNED, { NULL }, &answers, VERDICT_PASS, NULL },
	{ PARK, UNSIGNED, { NULL }, &mute, VERDICT_UNKNOWN, "no authority" },
	{ PARK,
	  UNSIGNED,
	  { NULL },
	  &resolver,
	  VERDICT_UNKNOWN,
	  "no authority" },
	{ PARK, DS, { &good }, &mute, VERDICT_UNKNOWN, "no authority" },
	{ PARK, DS, { &bogus }, &mute, VERDICT_FAIL, "repair the DS" },
	{ PARK, DS, { &good }, &answers, VERDICT_PASS, NULL },
	{ PARK,
	  DS,
	  { &silent, &careless, &good },
	  &answers,
	  VERDICT_PASS,
	  NULL },
	{ PARK, DS, { &short_lived }, &answers, VERDICT_PASS, NULL },
	{ PARK,
	  DS,
	  { &good, &ends_soon },
	  &answers,
	  VERDICT_WARN,
	  "within 7 days" },
	{ PARK, DS, { &bogus }, &answers, VERDICT_FAIL, "acme.example" },
	/* One that validates tells more than one that does not. */
	{ PARK,
	  DS,
	  { &careless, &bogus },
	  &answers,
	  VERDICT_FAIL,
	  "repair the DS" },
	{ PARK,
	  "acme.example DS !SERVFAIL\n",
	  { &bogus },
	  &answers,
	  VERDICT_FAIL,
	  "repair the DS" },
	{ PARK,
	  "acme.example DS !SERVFAIL\n",
	  { &bogus, &bare },
	  &answers,
	  VERDICT_FAIL,
	  "repair the DS" },
	{ PARK, DS, { &careless }, &answers, VERDICT_UNKNOWN, "validates" },
	{ PARK,
	  DS,
	  { &silent },
	  &answers,
	  VERDICT_UNKNOWN,
	  "no resolver answers" },
	/* It fails either way: that is not the signatures' fault. */
	{ PARK,
	  DS,
	  { &ill },
	  &answers,
	  VERDICT_UNKNOWN,
	  "no resolver answers" },
	{ PARK, "", { NULL }, &answers, VERDICT_UNKNOWN, "not asked" },
	{ PARK,
	  "acme.example DS !timeout\n",
	  { &ill },
	  &answers,
	  VERDICT_UNKNOWN,
	  "timeout" },
	/* A set that was changed by hand is bogus alone. */
	{ PARK, DS, { &good, &no_mx }, &answers, VERDICT_UNKNOWN, "validates" },
	{ PARK, DS, { &good, &good_mx }, &answers, VERDICT_PASS, NULL },
	{ PARK, DS, { &careless, &own }, &answers, VERDICT_PASS, NULL },
	{ PARK,
	  DS,
	  { &careless, &own_bogus },
	  &answers,
	  VERDICT_FAIL,
	  "repair the DS" },
	{ PARK,
	  DS,
	  { &careless, &own_away },
	  &answers,
	  VERDICT_UNKNOWN,
	  "libunbound did not answer" },
	{ PARK,
	  DS,
	  { &careless, &own_insecure },
	  &answers,
	  VERDICT_UNKNOWN,
	  "no chain of trust" },
	{ PARK, DS, { &good, &served }, &answers, VERDICT_PASS, NULL },
	{ PARK, DS, { &good, &just_begun }, &answers, VERDICT_PASS, NULL },
	{ PARK,
	  DS,
	  { &good, &served, &bare },
	  &answers,
	  VERDICT_FAIL,
	  "ns2.acme.example (192.0.2.12:53) serves acme.example without" },
	{ PARK,
	  DS,
	  { &good, &served, &ended },
	  &answers,
	  VERDICT_FAIL,
	  "have ended" },
	{ PARK,
	  DS,
	  { &good, &served, &to_come },
	  &answers,
	  VERDICT_FAIL,
	  "to come" },
	{ PARK,
	  DS,
	  { &bogus, &bare },
	  &answers,
	  VERDICT_FAIL,
	  "the zone transfer to" },
	{ PARK,
	  DS,
	  { &good, &drops },
	  &answers,
	  VERDICT_UNKNOWN,
	  "does not answer when" },
	{ REHEARSAL, "", { NULL }, &answers, VERDICT_WARN, "rehearsal" },
};

static void a_zone_is_valid_unsigned_or_bogus(void **state)
{
	for (size_t i = 0; i < COUNT(signings); i++) {
		struct world w;
		struct facts_domain *domain;

		world_make(&w, signings[i].plan, signings[i].zone);
		domain = &w.facts->domains[0];
		for (size_t s = 0; s < 3 && signings[i].said[s]; s++)
			domain->dnssec_count++;
		domain->dnssec = mem_alloc(3 * sizeof(*domain->dnssec));
		for (size_t s = 0; s < domain->dnssec_count; s++)
			domain->dnssec[s] = *signings[i].said[s];
		domain->dns.vantages = mem_alloc(sizeof(*domain->dns.vantages));
		domain->dns.vantages[0] = *signings[i].authority;
		domain->dns.vantage_count = 1;
		expect(&w, i, "dnssec", GATE_FINISH, signings[i].want,
		       signings[i].says);
		world_release(&w);
	}
}

/* queue-tlsa */

#define TLSA  "_25._tcp.hold.example.net TLSA "
#define OURS  "abababababababababababababababababababababababababababababababab"
#define OTHER "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"

enum shown {
	NOT_PROBED,
	NO_TLS,
	OUR_KEY
};

static const struct {
	enum plan_kind plan;
	const char *zone;
	enum shown shown;
	enum verdict want;
	const char *says;
} tlsa[] = {
	{ PARK, TLSA "\n", NOT_PROBED, VERDICT_PASS, "no TLSA" },
	{ PARK, TLSA "3 1 1 " OURS "\n" TLSA "3 1 1 " OTHER "\n", OUR_KEY,
	  VERDICT_PASS, "matches" },
	{ PARK, TLSA "3 1 1 " OURS "\n", OUR_KEY, VERDICT_WARN,
	  "_25._tcp.hold.example.net. TLSA 3 1 1" },
	/* PKIX usages are of no use for SMTP. */
	{ PARK, TLSA "1 1 1 " OURS "\n" TLSA "0 1 1 " OURS "\n", OUR_KEY,
	  VERDICT_WARN, "of use for SMTP" },
	{ PARK, TLSA "3 1 1 " OTHER "\n" TLSA "1 1 1 " OURS "\n", OUR_KEY,
	  VERDICT_FAIL, "publish _25._tcp.hold.example.net. TLSA 3 1 1 " OURS },
	{ PARK, TLSA "3 1 2 " OURS "\n", OUR_KEY, VERDICT_FAIL, "no TLSA" },
	{ PARK, TLSA "3 1 1 " OURS "\n", NO_TLS, VERDICT_FAIL, "STARTTLS" },
	{ PARK, TLSA "3 1 1 " OURS "\n", NOT_PROBED, VERDICT_UNKNOWN,
	  "tideoverd" },
	{ PARK, "", OUR_KEY, VERDICT_UNKNOWN, "not asked" },
	{ PARK, TLSA "!timeout\n", OUR_KEY, VERDICT_UNKNOWN, "timeout" },
	{ PARK, TLSA "->tlsa.example.org\n", OUR_KEY, VERDICT_UNKNOWN,
	  "tlsa.example.org" },
	{ REHEARSAL, TLSA "!timeout\n", OUR_KEY, VERDICT_WARN, "rehearsal" },
};

static void tlsa_is_held_against_the_certificate_shown(void **state)
{
	for (size_t i = 0; i < COUNT(tlsa); i++) {
		struct world w;
		struct probe_result *probe;

		world_make(&w, tlsa[i].plan, tlsa[i].zone);
		probe = &w.facts->listeners[0].probe;
		w.facts->listeners[0].probed = tlsa[i].shown != NOT_PROBED;
		probe->connected = w.facts->listeners[0].probed;
		if (tlsa[i].shown == OUR_KEY) {
			probe->tls.active = true;
			probe->chain.count = 1;
			memset(probe->chain.at[0].key.sha256, 0xab, DIGEST_LEN);
		}
		expect(&w, i, "queue-tlsa", GATE_START, tlsa[i].want,
		       tlsa[i].says);
		world_release(&w);
	}
}

/* dane-standby */

#define MX_TLSA "_25._tcp.acme-example.k-v1.mx.microsoft TLSA "

static const struct {
	enum plan_kind plan;
	const char *zone;
	enum verdict want;
	const char *says;
} dane[] = {
	{ PARK, MX_TLSA "3 1 1 c0ffee\n", VERDICT_PASS, "parked" },
	{ STANDBY, MX_TLSA "\n", VERDICT_PASS, "beside" },
	{ STANDBY, MX_TLSA "3 1 1 c0ffee\n", VERDICT_WARN,
	  "Disable-SmtpDaneInbound -DomainName acme.example" },
	{ STANDBY, MX_TLSA "!SERVFAIL\n", VERDICT_UNKNOWN, "SERVFAIL" },
	{ STANDBY, "", VERDICT_UNKNOWN, "not asked" },
};

static void inbound_dane_bears_no_secondary_mx(void **state)
{
	for (size_t i = 0; i < COUNT(dane); i++) {
		struct world w;

		world_make(&w, dane[i].plan, dane[i].zone);
		expect(&w, i, "dane-standby", GATE_PLAN, dane[i].want,
		       dane[i].says);
		world_release(&w);
	}
}

/* caa */

#define HOST   "hold.example.net CAA "
#define PARENT "example.net CAA "
#define NONE   HOST "\n" PARENT "\nnet CAA\n"
#define LE     "Let's Encrypt"

static const struct {
	enum plan_kind plan;
	const char *zone;
	const char *issuer; /* NULL: no certificate was seen */
	bool sts;
	enum verdict want;
	const char *says;
} caa[] = {
	{ PARK, NONE, LE, false, VERDICT_PASS, NULL },
	{ PARK, HOST "0 issue letsencrypt.org\n", LE, false, VERDICT_PASS,
	  NULL },
	{ PARK,
	  HOST "0 issue ca.example\n" HOST
	       "0 issue LetsEncrypt.org; accounturi=x\n",
	  LE, false, VERDICT_PASS, NULL },
	/* The nearest set counts, whatever is above it. */
	{ PARK, HOST "0 issue letsencrypt.org\n" PARENT "0 issue ;\n", LE,
	  false, VERDICT_PASS, NULL },
	{ PARK, HOST "\n" PARENT "0 issue digicert.com\n", LE, false,
	  VERDICT_FAIL,
	  "publish hold.example.net. CAA 0 issue \"letsencrypt.org\"" },
	{ PARK, HOST "\n" PARENT "\nnet CAA 0 issue digicert.com\n", LE, false,
	  VERDICT_FAIL, "CAA of net" },
	{ PARK, HOST "0 issue ;\n", LE, false, VERDICT_FAIL, "nobody" },
	{ PARK, HOST "0 issue \n", NULL, false, VERDICT_FAIL, "nobody" },
	/* Wildcards and mail certificates are another matter. */
	{ PARK,
	  HOST "0 issuewild ;\n" HOST "0 issuemail ;\n" HOST
	       "0 iodef mailto:a@b.c\n",
	  LE, false, VERDICT_PASS, NULL },
	{ PARK, HOST "128 tbs unknown\n", LE, false, VERDICT_WARN, "critical" },
	{ PARK, HOST "0 tbs unknown\n", LE, false, VERDICT_PASS, NULL },
	{ PARK, HOST "0 issue letsencrypt.org\n", "hold.example.net", false,
	  VERDICT_WARN, "not known" },
	{ PARK, HOST "0 issue letsencrypt.org\n", NULL, false, VERDICT_WARN,
	  "letsencrypt.org" },
	{ PARK, HOST "->other.example\nother.example CAA 0 issue a.b\n", LE,
	  false, VERDICT_FAIL, "a.b" },
	{ PARK, HOST "!SERVFAIL\n", LE, false, VERDICT_UNKNOWN, "SERVFAIL" },
	{ PARK, HOST "\n", LE, false, VERDICT_UNKNOWN, "example.net" },
	/* The policy's host, where there is one. */
	{ PARK, NONE "mta-sts.acme.example CAA 0 issue ;\n", LE, false,
	  VERDICT_PASS, NULL },
	{ PARK, NONE "mta-sts.acme.example CAA 0 issue ;\n", LE, true,
	  VERDICT_FAIL, "mta-sts.acme.example" },
	{ PARK,
	  NONE "mta-sts.acme.example CAA\n"
	       "acme.example CAA 0 issue digicert.com\n",
	  LE, true, VERDICT_WARN, "digicert.com" },
	{ PARK,
	  NONE "mta-sts.acme.example CAA\n"
	       "acme.example CAA 0 issue letsencrypt.org\n",
	  LE, true, VERDICT_PASS, NULL },
	{ REHEARSAL, "", NULL, false, VERDICT_WARN, "rehearsal" },
};

static void caa_lets_the_queues_ca_sign_or_not(void **state)
{
	for (size_t i = 0; i < COUNT(caa); i++) {
		struct world w;
		struct tls_chain *chain;

		world_make(&w, caa[i].plan, caa[i].zone);
		chain = &w.facts->listeners[0].probe.chain;
		w.facts->listeners[0].probed = caa[i].issuer != NULL;
		chain->count = caa[i].issuer != NULL;
		if (caa[i].issuer)
			snprintf(chain->issuer, sizeof(chain->issuer), "%s",
				 caa[i].issuer);
		w.facts->domains[0].sts.records = caa[i].sts;
		expect(&w, i, "caa", GATE_PLAN, caa[i].want, caa[i].says);
		world_release(&w);
	}
}

/* queue-identity */

#define V4   "hold.example.net A 192.0.2.9\n"
#define V6   "hold.example.net AAAA 2001:db8::9\n"
#define NO_A "hold.example.net A\n"
#define NO_6 "hold.example.net AAAA\n"
#define PTR4 "9.2.0.192.in-addr.arpa PTR "
#define PTR6                                                             \
	"9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0." \
	"2.ip6.arpa PTR "

static const struct {
	enum plan_kind plan;
	const char *zone;
	enum verdict want;
	const char *says;
} identity[] = {
	{ PARK, V4 NO_6 PTR4 "hold.example.net\n", VERDICT_PASS, NULL },
	{ PARK, V4 V6 PTR4 "hold.example.net\n" PTR6 "hold.example.net\n",
	  VERDICT_PASS, NULL },
	{ PARK, V4 NO_6 PTR4 "a.example\n" PTR4 "hold.example.net\n",
	  VERDICT_PASS, NULL },
	/* As a network smaller than /24 delegates (RFC 2317). */
	{ PARK,
	  V4 NO_6 PTR4 "->9.0-15.2.0.192.in-addr.arpa\n"
		       "9.0-15.2.0.192.in-addr.arpa PTR hold.example.net\n",
	  VERDICT_PASS, NULL },
	{ PARK, V4 V6 PTR4 "hold.example.net\n" PTR6 "\n", VERDICT_WARN,
	  "IPv4 alone" },
	{ PARK, V4 NO_6 PTR4 "\n", VERDICT_FAIL,
	  "9.2.0.192.in-addr.arpa. PTR hold.example.net." },
	{ PARK, V4 NO_6 PTR4 "ip-9.isp.example\n", VERDICT_FAIL,
	  "is ip-9.isp.example" },
	{ PARK, V4 V6 PTR4 "hold.example.net\n" PTR6 "a.example\n",
	  VERDICT_FAIL, "2001:db8::9" },
	{ PARK, NO_A V6 PTR6 "hold.example.net\n", VERDICT_FAIL, "IPv4" },
	{ PARK, V4 NO_6, VERDICT_UNKNOWN, "not asked" },
	{ PARK, V4 NO_6 PTR4 "!SERVFAIL\n", VERDICT_UNKNOWN, "SERVFAIL" },
	{ PARK, "", VERDICT_UNKNOWN, "hold.example.net A" },
	{ PARK, "hold.example.net A 127.0.0.1\n" NO_6, VERDICT_WARN,
	  "nobody else sees" },
	{ REHEARSAL, "", VERDICT_WARN, "rehearsal" },
};

static void addresses_and_name_lead_to_each_other(void **state)
{
	for (size_t i = 0; i < COUNT(identity); i++) {
		struct world w;

		world_make(&w, identity[i].plan, identity[i].zone);
		expect(&w, i, "queue-identity", GATE_START, identity[i].want,
		       identity[i].says);
		world_release(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_zone_is_valid_unsigned_or_bogus),
		cmocka_unit_test(tlsa_is_held_against_the_certificate_shown),
		cmocka_unit_test(inbound_dane_bears_no_secondary_mx),
		cmocka_unit_test(caa_lets_the_queues_ca_sign_or_not),
		cmocka_unit_test(addresses_and_name_lead_to_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
