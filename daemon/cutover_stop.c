#include "daemon/cutover.h"
#include "base/clock.h"
#include <stdlib.h>

/* What a line of the journal is about: a domain's, or NULL: all of them. */
static struct cutover_stop *stop_of(struct cutover *cutover, const char *domain)
{
	for (size_t i = 0; domain && i < cutover->stop_count; i++)
		if (strcmp(cutover->plan->domains[i].name, domain) == 0)
			return &cutover->stops[i];
	return NULL;
}

void cutover_stop_end(struct cutover_stop *stop)
{
	mem_replace(&stop->paused, NULL);
	mem_replace(&stop->breaker, NULL);
}

void cutover_stop_restore(struct cutover *cutover, const char *event,
			  const struct json *data)
{
	const char *reason = json_get_text(data, "reason");
	const char *domain = json_get_text(data, "domain");
	struct cutover_stop *stop = stop_of(cutover, domain);

	if (strcmp(event, "pause") == 0 && !domain)
		mem_replace(&cutover->paused, reason);
	else if (strcmp(event, "pause") == 0 && stop)
		mem_replace(&stop->paused, reason);
	else if (strcmp(event, "breaker") == 0 && stop)
		mem_replace(&stop->breaker, reason);
	else if (strcmp(event, "breaker-open") == 0 && stop)
		mem_replace(&stop->breaker, NULL);
	else if (strcmp(event, "resume") == 0 && stop)
		cutover_stop_end(stop);
	else if (strcmp(event, "resume") == 0 && !domain) {
		mem_replace(&cutover->paused, NULL);
		for (size_t i = 0; i < cutover->stop_count; i++)
			cutover_stop_end(&cutover->stops[i]);
	}
}

void cutover_stop_clear_breaker(struct cutover_domain *domain)
{
	mem_replace(&domain->breaker, NULL);
	domain->unlisted_seen = !domain->cutover->plan->recipients.listed;
	domain->outcomes = domain->refused = 0;
	domain->lately = domain->lately_refused = 0;
	domain->stage_refused = 0;
}

static int find_stop(struct cutover *cutover, const char *domain, size_t *index,
		     struct err *err)
{
	const struct cutover_domain *found =
		cutover_domain(cutover, slice(domain));

	if (!found)
		return err_set(err, "plan %s has no domain %s",
			       cutover->plan->name, domain);
	*index = (size_t)(found - cutover->domains);
	return 0;
}

const char *cutover_paused(const struct cutover_domain *domain)
{
	const struct cutover *cutover = domain->cutover;

	return cutover->paused ?
		       cutover->paused :
		       cutover->stops[domain - cutover->domains].paused;
}

int cutover_pause(struct cutover *cutover, const char *domain, const char *by,
		  const char *reason, struct err *err)
{
	struct json *data;
	size_t at = 0;

	if (cutover->phase == PHASE_FINISHED)
		return err_set(err, "the plan is finished: it accepts no mail "
				    "and nothing leaves");
	if (domain && find_stop(cutover, domain, &at, err) < 0)
		return -1;
	if (!reason || !*reason)
		reason = "no reason given";
	/* Closes: it happens first. */
	mem_replace(domain ? &cutover->stops[at].paused : &cutover->paused,
		    reason);
	cutover_release_tick(cutover);
	data = json_object();
	json_put_text(data, "by", by);
	if (domain)
		json_put_text(data, "domain", cutover->domains[at].plan->name);
	json_put_text(data, "reason", reason);
	return journal_add(cutover->journal, "pause", data, err);
}

int cutover_resume(struct cutover *cutover, const char *domain, const char *by,
		   struct err *err)
{
	struct json *data;
	size_t first = 0, end = cutover->stop_count;

	if (domain && find_stop(cutover, domain, &first, err) < 0)
		return -1;
	if (domain)
		end = first + 1;
	data = json_object();
	json_put_text(data, "by", by);
	if (domain)
		json_put_text(data, "domain",
			      cutover->domains[first].plan->name);
	if (journal_add(cutover->journal, "resume", data, err) < 0)
		return -1;
	if (!domain)
		mem_replace(&cutover->paused, NULL);
	for (size_t i = first; i < end; i++) {
		cutover_stop_end(&cutover->stops[i]);
		cutover_stop_clear_breaker(&cutover->domains[i]);
	}
	cutover_look(cutover);
	return 0;
}

const struct window *cutover_window_add(struct cutover *cutover,
					const struct window *window,
					struct err *err)
{
	const struct window *added;

	if (cutover->plan->strategy != STRATEGY_STANDBY) {
		err_set(err, "windows are for standby plans: in a parked plan "
			     "mail is held until finish anyway");
		return NULL;
	}
	added = windows_add(&cutover->windows, window, clock_wall_ms(), err);
	if (!added)
		return NULL;
	/* Closes: it happens first. */
	cutover_release_tick(cutover);
	if (journal_add(cutover->journal, "window", window_json(added), err) <
	    0) {
		windows_cancel(&cutover->windows, added->id);
		return NULL;
	}
	return added;
}

int cutover_window_cancel(struct cutover *cutover, unsigned id, const char *by,
			  struct err *err)
{
	struct json *data = json_object();

	json_put_number(data, "id", id);
	json_put_text(data, "by", by);
	if (!windows_find(&cutover->windows, id, err)) {
		json_free(data);
		return -1;
	}
	/* Opens: it is journalled first. */
	if (journal_add(cutover->journal, "window-cancel", data, err) < 0)
		return -1;
	windows_cancel(&cutover->windows, id);
	cutover_release_tick(cutover);
	return 0;
}
