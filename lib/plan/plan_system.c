#include "plan/plan_system.h"

#include "plan/plan_host.h"
#include <stdlib.h>

#define SMTP_PORT 25
#define HOUR_MS	  (3600 * 1000)

void plan_words_release(struct plan_words *words)
{
	free(words->provider);
	plan_strings_release(&words->mx);
	free(words->deliver_to);
	free(words->spf_include);
	plan_strings_release(&words->dkim_selectors);
	free(words->verify_txt);
	*words = (struct plan_words)PLAN_WORDS_INIT;
}

static const char **selectors_copy(const struct plan_strings *from)
{
	const char **copy = mem_alloc((from->count + 1) * sizeof(*copy));

	for (size_t i = 0; i < from->count; i++)
		copy[i] = mem_dup(from->at[i]);
	return copy;
}

/* The provider's facts as the plan corrects them; NULL if it does not. */
static struct provider *facts_build(const struct provider *provider,
				    const struct plan_words *words[2])
{
	static const struct plan_strings none;
	struct provider *own = NULL;
	const struct plan_strings *selectors = &none;
	const char *spf = NULL;

	for (int i = 0; i < 2; i++) {
		const struct plan_words *w = words[i];

		if (!w || (w->max_bytes == 0 && w->mailbox_per_hour < 0 &&
			   !w->spf_include && w->dkim_selectors.count == 0))
			continue;
		if (!own) {
			own = mem_alloc(sizeof(*own));
			*own = *provider;
		}
		if (w->max_bytes > 0)
			own->max_bytes = (uint64_t)w->max_bytes;
		if (w->mailbox_per_hour >= 0)
			own->mailbox = (struct provider_rate){
				(unsigned)w->mailbox_per_hour, HOUR_MS
			};
		if (w->spf_include)
			spf = w->spf_include;
		if (w->dkim_selectors.count > 0)
			selectors = &w->dkim_selectors;
	}
	if (!own)
		return NULL;
	own->spf_include = mem_dup(spf ? spf : provider->spf_include);
	if (selectors->count > 0) {
		own->dkim_selectors = selectors_copy(selectors);
	} else {
		struct plan_strings given = { 0 };

		for (size_t i = 0; provider->dkim_selectors[i]; i++)
			plan_strings_add(&given, provider->dkim_selectors[i]);
		own->dkim_selectors = selectors_copy(&given);
		plan_strings_release(&given);
	}
	return own;
}

void plan_system_build(struct plan_system *system,
		       const struct plan_words *base,
		       const struct plan_words *over)
{
	const char *name = over->provider ? over->provider : base->provider;
	const char *deliver_to =
		over->deliver_to ? over->deliver_to : base->deliver_to;
	const struct plan_strings *mx = over->mx.count ? &over->mx : &base->mx;
	bool same = strcmp(name, base->provider) == 0;
	const struct plan_words *facts[2] = { same ? base : NULL, over };
	struct plan_endpoint endpoint;

	system->provider = provider_find(name);
	system->own = facts_build(system->provider, facts);
	if (system->own)
		system->provider = system->own;
	system->max_bytes = system->provider->max_bytes;
	system->verify_txt =
		mem_dup(over->verify_txt ? over->verify_txt : base->verify_txt);
	for (size_t i = 0; i < mx->count; i++)
		plan_strings_add(&system->mx, mx->at[i]);
	system->deliver_port = SMTP_PORT;
	if (deliver_to && plan_endpoint_parse(slice(deliver_to), SMTP_PORT,
					      &endpoint, NULL) == 0) {
		system->deliver_host = mem_dup(endpoint.host);
		system->deliver_port = endpoint.port;
	}
}

void plan_system_release(struct plan_system *system)
{
	struct provider *own = system->own;

	plan_strings_release(&system->mx);
	free(system->deliver_host);
	free(system->verify_txt);
	if (own) {
		for (size_t i = 0; own->dkim_selectors[i]; i++)
			free((char *)own->dkim_selectors[i]);
		free((void *)own->dkim_selectors);
		free((char *)own->spf_include);
		free(own);
	}
	memset(system, 0, sizeof(*system));
}
