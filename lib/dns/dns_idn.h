/*
 * dns_idn.h - a domain as a person writes it, as DNS has it   [libidn2]
 *
 * For what is typed: "Bücher.example" becomes "xn--bcher-kva.example", mapped
 * and checked as registries do (IDNA2008, RFC 5891 section 5; UTS 46 without
 * transitional forms).  A plan and the wire have A-labels alone.
 */
#ifndef DNS_DNS_IDN_H
#define DNS_DNS_IDN_H

#include "base/err.h"
#include "dns/dns_record.h"

/* ASCII comes out as dns_name_normal() has it.  -1 with err: it is no domain. */
int dns_idn_alabels(const char *text, char out[DNS_NAME], struct err *err);

#endif
