#include "dns/dns_idn.h"
#include <idn2.h>
#include <string.h>

#define HOST_BYTES "abcdefghijklmnopqrstuvwxyz0123456789-."

int dns_idn_alabels(const char *text, char out[DNS_NAME], struct err *err)
{
	char *ascii = NULL;
	int result = 0;

	if (!slice_has_8bit(slice(text))) {
		if (!dns_name_normal(slice(text), out))
			return err_set(err, "'%s' is no domain", text);
		return 0;
	}
	result = idn2_to_ascii_8z(text, &ascii,
				  IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
	if (result != IDN2_OK)
		return err_set(err, "'%s' is no domain: %s", text,
			       idn2_strerror(result));
	/* Its own rule for ASCII (STD3) drops what it does not like. */
	if (ascii[strspn(ascii, HOST_BYTES)] ||
	    !dns_name_normal(slice(ascii), out))
		result = err_set(err, "'%s' is no domain", text);
	idn2_free(ascii);
	return result;
}
