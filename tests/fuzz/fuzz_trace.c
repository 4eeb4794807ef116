/*
 * A trace of any bytes: refused with a sentence and nothing kept, or kept with
 * at least one row.
 */
#include "cutover/trace.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct trace trace = { 0 };
	struct err err = ERR_INIT;
	int result = trace_read(&trace, slice_of(data, size), 1, &err);

	if ((result < 0) != err_is_set(&err) || trace.read != (result == 0) ||
	    (trace.rows > 0) != trace.read ||
	    (!trace.read && trace.addresses.count > 0))
		abort();
	trace_release(&trace);
	return 0;
}
