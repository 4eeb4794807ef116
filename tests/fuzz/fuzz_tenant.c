/*
 * An export of any bytes: refused with a sentence and nothing kept, or kept
 * with at least one object of one kind.
 */
#include "cutover/tenant.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tenant tenant = { 0 };
	struct err err = ERR_INIT;
	int result = tenant_read(&tenant, slice_of(data, size), 1, &err);
	char *text = slice_dup(slice_of(data, size));
	char name[DNS_NAME];
	size_t kinds = 0;
	int64_t ms;

	for (int i = 0; i < TENANT_KINDS; i++)
		kinds += json_count(tenant.of[i]) > 0;
	for (const struct json *it = json_first(tenant.of[TENANT_CONNECTOR]);
	     it; it = json_next(it))
		tenant_named(it, name);
	if ((result < 0) != err_is_set(&err) || kinds != (result == 0))
		abort();
	tenant_domain(&tenant, TENANT_GRAPH, "acme.example");
	tenant_ip_covers(text, "192.0.2.9");
	tenant_ip_covers(text, "2001:db8::9");
	tenant_certificate_is(text, "hold.example.net");
	tenant_time(text, &ms);
	free(text);
	tenant_release(&tenant);
	return 0;
}
