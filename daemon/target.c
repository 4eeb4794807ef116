#include "daemon/target.h"
#include <stdlib.h>

void target_init(struct target *target, const struct plan_system *system)
{
	*target = (struct target){ .port = system->deliver_port,
				   .provider = system->provider };
	target->host = mem_dup(plan_deliver_host(system));
	target->name = mem_printf("%s:%d", target->host, target->port);
}

void target_release(struct target *target)
{
	free(target->host);
	free(target->name);
	*target = (struct target){ 0 };
}
