#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cutover/tenant.h"

#define CONNECTOR                                                         \
	"{\"Name\":\"q\",\"ConnectorType\":\"Partner\",\"Enabled\":true," \
	"\"SenderIPAddresses\":[\"192.0.2.9\"],\"SenderDomains\":null,"   \
	"\"RestrictDomainsToIPAddresses\":false,"                         \
	"\"RestrictDomainsToCertificate\":false,"                         \
	"\"TlsSenderCertificateName\":null,\"CloudServicesMailEnabled\":1}"
#define GRAPH                                           \
	"{\"id\":\"acme.example\",\"isVerified\":true," \
	"\"supportedServices\":[\"Email\"]}"

static const struct {
	const char *text;
	enum tenant_kind kind;
	size_t count;
} accepted[] = {
	{ CONNECTOR, TENANT_CONNECTOR, 1 },
	{ "[" CONNECTOR "," CONNECTOR "]", TENANT_CONNECTOR, 2 },
	/* Windows PowerShell writes this mark before UTF-8. */
	{ "\xef\xbb\xbf" CONNECTOR "\r\n", TENANT_CONNECTOR, 1 },
	{ "{\"ArcTrustedSealers\":\"a.example\"}", TENANT_ARC, 1 },
	{ "{\"ArcTrustedSealers\":[\"a.example\"]}", TENANT_ARC, 1 },
	{ "{\"ArcTrustedSealers\":null}", TENANT_ARC, 1 },
	{ "{\"DomainName\":\"a.example\",\"DomainType\":\"Authoritative\"}",
	  TENANT_ACCEPTED, 1 },
	{ GRAPH, TENANT_GRAPH, 1 },
	{ "{\"@odata.context\":\"x\",\"value\":[" GRAPH "]}", TENANT_GRAPH, 1 },
	/* Get-MgDomain begins names with a capital. */
	{ "{\"Id\":\"a.example\",\"IsVerified\":false,"
	  "\"SupportedServices\":[]}",
	  TENANT_GRAPH, 1 },
	{ "{\"domains\":[{\"domainName\":\"a.example\",\"verified\":true}]}",
	  TENANT_GOOGLE, 1 },
	{ "{\"kind\":\"admin#directory#users\",\"users\":[{\"id\":\"1\","
	  "\"primaryEmail\":\"a@b.example\",\"aliases\":[\"c@b.example\"]},"
	  "{\"id\":\"2\",\"primaryEmail\":\"d@b.example\"}]}",
	  TENANT_GOOGLE_USER, 2 },
	{ "{\"groups\":[{\"id\":\"1\",\"email\":\"a@b.example\"}]}",
	  TENANT_GOOGLE_GROUP, 1 },
	{ "{\"inbound_gateway\":{\"gateway_ips\":[],\"reject_other\":false,"
	  "\"auto_detect_external_ip\":true,\"require_tls\":true}}",
	  TENANT_GATEWAY, 1 },
	{ "[{\"PrimarySmtpAddress\":\"a@b.example\",\"EmailAddresses\":"
	  "[\"SMTP:a@b.example\",\"SPO:SPO_1\"]}]",
	  TENANT_RECIPIENT, 1 },
};

static void an_export_is_known_by_its_members(void **state)
{
	for (size_t i = 0; i < COUNT(accepted); i++) {
		struct tenant tenant = { 0 };
		struct err err = ERR_INIT;

		if (tenant_read(&tenant, slice(accepted[i].text), 5, &err) < 0)
			fail_msg("case %zu: %s", i, err.text);
		for (int kind = 0; kind < TENANT_KINDS; kind++)
			assert_int_equal(json_count(tenant.of[kind]),
					 kind == (int)accepted[i].kind ?
						 accepted[i].count :
						 0);
		assert_int_equal(tenant.at_ms[accepted[i].kind], 5);
		tenant_release(&tenant);
	}
}

static const struct {
	const char *text, *says;
} refused[] = {
	{ "", "line 1" },
	{ "\xff\xfe[", "UTF-16: write it with Set-Content" },
	{ "[]", "it lists nothing" },
	{ "[7]", "none of the exports" },
	{ "{\"Name\":\"q\"}", "none of the exports" },
	{ "{\"SenderIPAddresses\":[],\"ConnectorType\":\"Partner\"}",
	  "Name is missing" },
	/* An enum as a number says nothing that we know. */
	{ "{\"DomainName\":\"a.example\",\"DomainType\":0}",
	  "DomainType is a number where a text belongs" },
	/* What a shallow ConvertTo-Json makes of a list. */
	{ "{\"SenderIPAddresses\":\"192.0.2.9\",\"ConnectorType\":\"Partner\","
	  "\"Name\":\"q\",\"Enabled\":true}",
	  "print it with ConvertTo-Json -Depth 5" },
	{ "{\"EmailAddresses\":[7],\"PrimarySmtpAddress\":null}",
	  "another list where a list of texts belongs" },
	{ "{\"EmailAddresses\":[\"smtp:nobody\"],\"PrimarySmtpAddress\":null}",
	  "EmailAddresses" },
	{ "[" GRAPH ",{\"ArcTrustedSealers\":null}]",
	  "Get-ArcConfig beside a Graph domain" },
	{ "{\"isVerified\":\"true\",\"supportedServices\":[],\"id\":\"a\"}",
	  "isVerified is a string where true or false belongs" },
};

static void what_is_no_export_is_refused_whole(void **state)
{
	for (size_t i = 0; i < COUNT(refused); i++) {
		struct tenant tenant = { 0 };
		struct err err = ERR_INIT;

		assert_int_equal(tenant_read(&tenant, slice(refused[i].text), 5,
					     &err),
				 -1);
		if (!strstr(err.text, refused[i].says))
			fail_msg("case %zu: %s", i, err.text);
		for (int kind = 0; kind < TENANT_KINDS; kind++)
			assert_null(tenant.of[kind]);
		assert_int_equal(tenant.addresses.count, 0);
		tenant_release(&tenant);
	}
}

static void files_of_a_kind_add_up_and_the_oldest_counts(void **state)
{
	struct tenant tenant = { 0 };
	struct err err = ERR_INIT;

	assert_int_equal(tenant_read(&tenant, slice(GRAPH), 9, &err), 0);
	assert_int_equal(tenant_read(&tenant, slice(GRAPH), 5, &err), 0);
	assert_int_equal(tenant_read(&tenant, slice(CONNECTOR), 7, &err), 0);
	assert_int_equal(json_count(tenant.of[TENANT_GRAPH]), 2);
	assert_int_equal(tenant.at_ms[TENANT_GRAPH], 5);
	assert_int_equal(tenant.at_ms[TENANT_CONNECTOR], 7);
	assert_non_null(tenant_domain(&tenant, TENANT_GRAPH, "ACME.example"));
	assert_null(tenant_domain(&tenant, TENANT_GRAPH, "a.acme.example"));
	tenant_release(&tenant);
}

static void a_file_that_is_not_there_is_told(void **state)
{
	struct tenant tenant = { 0 };

	tenant_read_file(&tenant, "/nowhere/connector.json");
	assert_non_null(strstr(tenant.error, "/nowhere/connector.json"));
	tenant_release(&tenant);
}

static const struct {
	const char *range, *ip;
	bool covers;
} ranges[] = {
	{ "192.0.2.9", "192.0.2.9", true },
	{ "192.0.2.0/24", "192.0.2.9", true },
	{ "192.0.2.8/29", "192.0.2.9", true },
	{ "192.0.2.16/29", "192.0.2.9", false },
	{ "0.0.0.0/0", "192.0.2.9", true },
	{ "192.0.2.0/33", "192.0.2.9", false },
	{ "192.0.2.0/-1", "192.0.2.9", false },
	{ "192.0.2.0/", "192.0.2.9", false },
	{ "192.0.2", "192.0.2.9", false },
	{ "", "192.0.2.9", false },
	{ "2001:db8::/32", "2001:db8::9", true },
	{ "2001:db8::/32", "192.0.2.9", false },
	{ "192.0.2.0/24", "2001:db8::9", false },
};

static void a_range_covers_its_addresses(void **state)
{
	for (size_t i = 0; i < COUNT(ranges); i++)
		if (tenant_ip_covers(ranges[i].range, ranges[i].ip) !=
		    ranges[i].covers)
			fail_msg("%s %s", ranges[i].range, ranges[i].ip);
}

static const struct {
	const char *text;
	bool is;
} names[] = {
	{ "hold.example.net", true },
	{ "HOLD.example.net", true },
	{ "*.example.net", true },
	{ "example.net", false },
	{ "*.net", false },
	{ "<I>CN=Some CA, O=Some<S>CN=hold.example.net, O=We", true },
	{ "<I>CN=hold.example.net<S>CN=other.example", false },
	{ "<I>CN=x<S>O=We", false },
	{ "", false },
};

static void a_certificate_is_ours_by_its_name(void **state)
{
	for (size_t i = 0; i < COUNT(names); i++)
		if (tenant_certificate_is(names[i].text, "hold.example.net") !=
		    names[i].is)
			fail_msg("%s", names[i].text);
}

static const struct {
	const char *text;
	int64_t ms; /* -1: no time */
} times[] = {
	{ "2026-05-28T20:26:40Z", 1780000000000 },
	{ "2026-05-28T20:26:40", 1780000000000 },
	{ "2026-05-28T22:26:40.0000000+02:00", 1780000000000 },
	{ "/Date(1780000000000)/", 1780000000000 },
	{ "/Date(1780000000000)", -1 },
	{ "/Date(1780000000000)/x", -1 },
	{ "28.05.2026 20:26:40", -1 },
	{ "", -1 },
};

static void times_are_read_as_either_powershell_prints_them(void **state)
{
	for (size_t i = 0; i < COUNT(times); i++) {
		int64_t ms = -1;
		int result = tenant_time(times[i].text, &ms);

		if (result != (times[i].ms < 0 ? -1 : 0) || ms != times[i].ms)
			fail_msg("%s: %d, %lld", times[i].text, result,
				 (long long)ms);
	}
}

#define DN(units) \
	"{\"DistinguishedName\":\"CN=q,CN=Transport Settings," units "\"}"

static const struct {
	const char *object, *of; /* NULL: it does not say */
} distinguished[] = {
	{ DN("CN=Configuration,CN=acmenew.onmicrosoft.com,"
	     "CN=ConfigurationUnits,DC=EURPR01A001,DC=PROD"),
	  "acmenew.onmicrosoft.com" },
	{ DN("cn=Acme.OnMicrosoft.com,cn=configurationunits,dc=a"),
	  "acme.onmicrosoft.com" },
	/* What a connector is called, its own comma has a backslash. */
	{ DN("CN=a.example\\\\,CN=ConfigurationUnits\\\\,b,CN=Configuration,"
	     "CN=b.example,CN=ConfigurationUnits,DC=a"),
	  "b.example" },
	{ DN("CN=Configuration,DC=corp,DC=example"), NULL },
	{ DN("OU=acme.example,CN=ConfigurationUnits,DC=a"), NULL },
	{ DN("CN=a b,CN=ConfigurationUnits,DC=a"), NULL },
	{ "{\"DistinguishedName\":\",CN=ConfigurationUnits,\"}", NULL },
	{ "{\"DistinguishedName\":null}", NULL },
	{ "{}", NULL },
};

static void an_object_says_of_which_tenant_it_is(void **state)
{
	for (size_t i = 0; i < COUNT(distinguished); i++) {
		struct json *object =
			json_parse(slice(distinguished[i].object), NULL);
		char name[DNS_NAME];
		bool says = tenant_named(object, name);

		if (says != !!distinguished[i].of ||
		    (says && strcmp(name, distinguished[i].of) != 0))
			fail_msg("case %zu: %s", i, says ? name : "nothing");
		json_free(object);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_export_is_known_by_its_members),
		cmocka_unit_test(an_object_says_of_which_tenant_it_is),
		cmocka_unit_test(what_is_no_export_is_refused_whole),
		cmocka_unit_test(files_of_a_kind_add_up_and_the_oldest_counts),
		cmocka_unit_test(a_file_that_is_not_there_is_told),
		cmocka_unit_test(a_range_covers_its_addresses),
		cmocka_unit_test(a_certificate_is_ours_by_its_name),
		cmocka_unit_test(
			times_are_read_as_either_powershell_prints_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
