#include "cutover/survey.h"
#include "base/clock.h"
#include "cutover/check_parts.h"
#include "cutover/survey_clock.h"
#include "cutover/survey_listed.h"
#include "cutover/survey_records.h"
#include "cutover/survey_tlsa.h"
#include "cutover/survey_trust.h"
#include "cutover/sts.h"
#include "plan/plan_value.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	SURVEY_MS = 31000, /* DNS ends by itself within 30 s */
	PROBE_MS = 20000,
	PROBES_AT_ONCE = 16,
	IS_QUEUE = 2, /* beside SYSTEM_OLD and SYSTEM_NEW */
};

/* One probe to be made; `system` may be IS_QUEUE, `at` is then a listener. */
struct job {
	struct survey *survey;
	size_t at; /* the domain */
	int system;
	size_t asked; /* of a listener: relays that it answered about */
	struct probe *probe;
};

struct survey {
	struct loop *loop;
	struct facts *facts;
	loop_fn *done;
	void *ctx;
	bool wants_records;
	struct dns_survey *dns;
	struct survey_records *records;
	struct survey_trust *trust;
	struct survey_clock *clock;
	struct survey_listed *listed;
	struct sts *sts;	  /* after the records */
	struct survey_tlsa *tlsa; /* as well, where the plan goes by it */
	struct dns_desk *desk;	  /* whoever asks DNS asks here */
	struct addr resolvers[PLAN_LIST_MAX];
	size_t resolver_count;
	bool wants_dns;
	int64_t started_ms;	     /* mono */
	char *relay[PROBE_RCPT_MAX]; /* what the queue must refuse */
	size_t relay_count;
	struct job *jobs;
	size_t job_count, job_next, job_open;
	struct loop_timer *tell, *deadline;
};

static void survey_free(struct survey *survey)
{
	dns_survey_cancel(survey->dns);
	survey_records_cancel(survey->records);
	survey_trust_cancel(survey->trust);
	survey_clock_cancel(survey->clock);
	survey_listed_cancel(survey->listed);
	sts_cancel(survey->sts);
	survey_tlsa_cancel(survey->tlsa);
	for (size_t i = 0; i < survey->job_count; i++)
		probe_cancel(survey->jobs[i].probe);
	dns_desk_free(survey->desk);
	loop_timer_free(survey->tell);
	loop_timer_free(survey->deadline);
	for (size_t i = 0; i < survey->relay_count; i++)
		free(survey->relay[i]);
	free(survey->jobs);
	free(survey);
}

static void look_whether_done(struct survey *survey)
{
	if (!survey->dns && !survey->records && !survey->trust &&
	    !survey->clock && !survey->listed && !survey->sts &&
	    !survey->tlsa && survey->job_open == 0 &&
	    survey->job_next == survey->job_count)
		loop_timer_arm(survey->tell, 0);
}

/* What it took, for whoever wonders what a plan costs the servers. */
static void keep_count(struct survey *survey)
{
	struct facts *facts = survey->facts;

	json_free(facts->asked);
	facts->asked = dns_desk_json(survey->desk);
	json_put_number(facts->asked, "took_ms",
			(double)(clock_mono_ms() - survey->started_ms));
}

static void tell(void *ctx)
{
	struct survey *survey = ctx;
	loop_fn *done = survey->done;
	void *done_ctx = survey->ctx;

	if (survey->wants_dns)
		keep_count(survey);
	dns_now(&survey->facts->now);
	survey_free(survey);
	done(done_ctx);
}

/* DNS. */

static void trust_came(void *ctx)
{
	struct survey *survey = ctx;

	survey->trust = NULL;
	look_whether_done(survey);
}

static void clock_came(void *ctx)
{
	struct survey *survey = ctx;

	survey->clock = NULL;
	look_whether_done(survey);
}

static void listed_came(void *ctx)
{
	struct survey *survey = ctx;

	survey->listed = NULL;
	look_whether_done(survey);
}

static void sts_came(void *ctx)
{
	struct survey *survey = ctx;

	survey->sts = NULL;
	look_whether_done(survey);
}

static void tlsa_came(void *ctx)
{
	struct survey *survey = ctx;

	survey->tlsa = NULL;
	look_whether_done(survey);
}

static void records_came(void *ctx)
{
	struct survey *survey = ctx;

	survey->records = NULL;
	survey->sts = sts_start(survey->loop, survey->facts, survey->desk,
				sts_came, survey);
	if (survey->facts->plan->replay.tls == PLAN_TLS_DANE)
		survey->tlsa = survey_tlsa_start(survey->loop, survey->facts,
						 survey->resolvers,
						 survey->resolver_count,
						 tlsa_came, survey);
}

static void dns_came(void *ctx, const struct dns_domain *domains, size_t count)
{
	struct survey *survey = ctx;
	struct facts *facts = survey->facts;

	survey->dns = NULL;
	dns_now(&facts->now);
	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		struct facts_domain *domain = &facts->domains[i];
		struct dns_wanted wanted = check_wanted(facts->plan, i);

		domain->surveyed = false;
		for (size_t d = 0; d < count; d++) {
			if (strcmp(domains[d].name,
				   facts->plan->domains[i].name) != 0)
				continue;
			dns_domain_release(&domain->dns);
			dns_domain_copy(&domain->dns, &domains[d]);
			dns_horizon_observe(&domain->horizon, &domains[d],
					    &wanted, &facts->now);
			dns_ttl_observe(&domain->horizon, &domains[d],
					facts->plan->dns.ttl, &facts->now);
			domain->surveyed = true;
			break;
		}
	}
	if (survey->wants_records)
		survey->records =
			survey_records_start(survey->loop, facts, survey->desk,
					     records_came, survey);
	/* After the records, which begin anew. */
	survey->trust =
		survey_trust_start(survey->loop, facts, survey->desk,
				   survey->resolvers, survey->resolver_count,
				   trust_came, survey);
	look_whether_done(survey);
}

static int start_dns(struct survey *survey, struct err *err)
{
	const struct plan *plan = survey->facts->plan;
	const char **names = mem_alloc(plan->domain_count * sizeof(*names));
	struct dns_survey_plan ask = {
		.domains = names,
		.domain_count = plan->domain_count,
		.resolvers = (const char *const *)plan->dns.resolvers.at,
		.resolver_count = plan->dns.resolvers.count,
		.authorities = (const char *const *)plan->dns.authorities.at,
		.authority_count = plan->dns.authorities.count,
		.queue_host = plan->queue_mx.host,
		.desk = survey->desk,
	};

	for (size_t i = 0; i < plan->domain_count; i++)
		names[i] = plan->domains[i].name;
	survey->dns =
		dns_survey_start(survey->loop, &ask, dns_came, survey, err);
	free(names);
	return survey->dns ? 0 : -1;
}

/* Probes. */

static bool all_accepted(const struct probe_result *result)
{
	size_t real = 0;

	for (size_t i = 0; i < result->rcpt_count; i++) {
		if (result->rcpt[i].random)
			continue;
		if (result->rcpt[i].reply.code / 100 != 2)
			return false;
		real++;
	}
	return result->healthy && real > 0;
}

/* The row of good ones, which a bad one ends. */
static void keep_row(struct facts_domain *domain, int system,
		     const struct probe_result *result)
{
	int64_t boot_ms = clock_boot_ms();

	if (!all_accepted(result)) {
		facts_end_row(domain, (enum plan_system_id)system);
		return;
	}
	if (domain->systems[system].good_count++ == 0) {
		domain->systems[system].good_since_ms = result->at_ms;
		domain->systems[system].good_since_boot_ms = boot_ms;
	}
	domain->systems[system].good_last_ms = result->at_ms;
	domain->systems[system].good_last_boot_ms = boot_ms;
}

static void keep_result(struct job *job, const struct probe_result *result)
{
	struct facts *facts = job->survey->facts;
	struct facts_domain *domain = &facts->domains[job->at];

	domain->systems[job->system].probe = *result;
	domain->systems[job->system].probed = true;
	keep_row(domain, job->system, result);
}

/* A server closes a session after some refusals: what it did not answer is for
 * another session.  True: it is. */
static bool keep_relays(struct job *job, const struct probe_result *result)
{
	struct facts_listener *kept = &job->survey->facts->listeners[job->at];
	size_t i;

	if (job->asked == 0)
		kept->probe = *result;
	kept->probed = true;
	for (i = 0; i < result->rcpt_count; i++) {
		const struct smtp_reply *reply = &result->rcpt[i].reply;

		kept->probe.rcpt[job->asked + i].reply = *reply;
		if (reply->code == 0 || reply->code == 421)
			break;
	}
	job->asked += i;
	return i > 0 && i < result->rcpt_count;
}

static void start_jobs(struct survey *survey);
static void start_queue(struct survey *survey, struct job *job);

static void probe_came(void *ctx, const struct probe_result *result)
{
	struct job *job = ctx;

	job->probe = NULL;
	if (job->system != IS_QUEUE) {
		keep_result(job, result);
	} else if (keep_relays(job, result)) {
		start_queue(job->survey, job);
		return;
	}
	job->survey->job_open--;
	start_jobs(job->survey);
	look_whether_done(job->survey);
}

/* The plan's probe recipients of this domain, or its postmaster, which every
 * domain has (RFC 5321 section 4.5.1). */
static size_t recipients_of(const struct plan *plan, const char *domain,
			    const char *at[PROBE_RCPT_MAX], char *postmaster,
			    size_t size)
{
	size_t count = 0;

	for (size_t i = 0;
	     i < plan->probe_recipients.count && count < PROBE_RCPT_MAX; i++) {
		const char *address = plan->probe_recipients.at[i];
		const char *sign = strrchr(address, '@');

		if (sign && slice_is_nocase(slice(sign + 1), domain))
			at[count++] = address;
	}
	if (count == 0) {
		snprintf(postmaster, size, "postmaster@%s", domain);
		at[count++] = postmaster;
	}
	return count;
}

static void start_system(struct survey *survey, struct job *job)
{
	const struct plan *plan = survey->facts->plan;
	const struct plan_domain *domain = &plan->domains[job->at];
	const struct plan_system *system = &domain->systems[job->system];
	const char *recipients[PROBE_RCPT_MAX];
	char postmaster[300];
	struct probe_spec spec = {
		.host = plan_deliver_host(system),
		.port = system->deliver_port,
		.helo = plan->queue_mx.host,
		.recipients = recipients,
		.random_domain = domain->name,
		.tls = survey->facts->probe_tls,
		.terms = survey->facts->domains[job->at]
				 .systems[job->system]
				 .terms,
		.desk = survey->desk,
		.timeout_ms = PROBE_MS,
	};

	spec.recipient_count = recipients_of(plan, domain->name, recipients,
					     postmaster, sizeof(postmaster));
	job->probe = probe_start(survey->loop, &spec, probe_came, job);
}

/* A listener on every address is asked on our own. */
static void listener_host(const struct addr *addr, char host[ADDR_TEXT])
{
	addr_ip(addr, host);
	if (strcmp(host, "0.0.0.0") == 0)
		snprintf(host, ADDR_TEXT, "127.0.0.1");
	else if (strcmp(host, "::") == 0)
		snprintf(host, ADDR_TEXT, "::1");
}

static void start_queue(struct survey *survey, struct job *job)
{
	char host[ADDR_TEXT];
	struct addr addr = { 0 };
	struct probe_spec spec = {
		.host = host,
		.helo = survey->facts->plan->queue_mx.host,
		.recipients = (const char *const *)survey->relay + job->asked,
		.recipient_count = survey->relay_count - job->asked,
		.tls = survey->facts->probe_tls,
		.tls_name = survey->facts->plan->queue_mx.host,
		.timeout_ms = PROBE_MS,
	};

	/* The plan accepted it. */
	addr_parse(slice(survey->facts->plan->queue_mx.listen.at[job->at]), 0,
		   &addr, NULL);
	listener_host(&addr, host);
	spec.port = addr_port(&addr);
	job->probe = probe_start(survey->loop, &spec, probe_came, job);
}

static void start_jobs(struct survey *survey)
{
	while (survey->job_open < PROBES_AT_ONCE &&
	       survey->job_next < survey->job_count) {
		struct job *job = &survey->jobs[survey->job_next++];

		survey->job_open++;
		if (job->system == IS_QUEUE)
			start_queue(survey, job);
		else
			start_system(survey, job);
	}
}

static void add_job(struct survey *survey, size_t at, int system)
{
	survey->jobs[survey->job_count++] = (struct job){
		.survey = survey,
		.at = at,
		.system = system,
	};
}

/* What is about to be asked is not known until the answer is here. */
static void make_jobs(struct survey *survey, unsigned what)
{
	struct facts *facts = survey->facts;
	size_t domains = facts->plan->domain_count;

	survey->jobs = mem_alloc((2 * domains + facts->listener_count) *
				 sizeof(*survey->jobs));
	for (size_t i = 0; (what & SURVEY_QUEUE) && i < facts->listener_count;
	     i++)
		add_job(survey, i, IS_QUEUE);
	for (size_t i = 0; i < domains; i++) {
		if (what & SURVEY_OLD)
			add_job(survey, i, SYSTEM_OLD);
		if ((what & SURVEY_NEW) && !facts->plan->plain)
			add_job(survey, i, SYSTEM_NEW);
	}
}

/* Of the names that RFC 2606 keeps for examples, one that is not the plan's. */
static const char *foreign_domain(const struct plan *plan)
{
	static const char *const names[] = { "example.com", "example.net",
					     "example.org", "test.invalid" };
	size_t i = 0;

	while (i + 1 < COUNT(names) && plan_domain(plan, slice(names[i])))
		i++;
	return names[i];
}

/*
 * The ways to ask for a foreign mailbox that relays have fallen for: plainly,
 * by a source route (RFC 5321 appendix C), hidden in a local part of ours, and
 * at an address that is nobody's (RFC 5737).
 */
static void choose_relay(struct survey *survey)
{
	const struct plan *plan = survey->facts->plan;
	const char *theirs = foreign_domain(plan);
	const char *ours = plan->domains[0].name;
	char *const ways[] = {
		mem_printf("relay-probe@%s", theirs),
		mem_printf("relay-probe%%%s@%s", theirs, ours),
		mem_printf("\"relay-probe@%s\"@%s", theirs, ours),
		mem_printf("@%s:relay-probe@%s", ours, theirs),
		mem_printf("%s!relay-probe@%s", theirs, ours),
		mem_printf("relay-probe@[192.0.2.1]"),
	};

	memcpy(survey->relay, ways, sizeof(ways));
	survey->relay_count = COUNT(ways);
}

size_t survey_resolvers(const struct plan *plan,
			struct addr resolvers[PLAN_LIST_MAX])
{
	const struct plan_strings *named = &plan->dns.resolvers;
	size_t count = 0;

	for (size_t i = 0; i < named->count && i < PLAN_LIST_MAX; i++) {
		struct addr *addr = &resolvers[count];
		int found =
			strcmp(named->at[i], "system") == 0 ?
				dns_system_server(addr, NULL) :
				addr_parse(slice(named->at[i]), 53, addr, NULL);

		count += found == 0;
	}
	if (named->count == 0)
		count = dns_system_server(&resolvers[0], NULL) == 0;
	return count;
}

/* Without any, numeric targets can still be probed. */
static void open_desk(struct survey *survey)
{
	survey->resolver_count =
		survey_resolvers(survey->facts->plan, survey->resolvers);
	survey->desk = dns_desk_new(survey->loop);
	dns_desk_set_resolvers(survey->desk, survey->resolvers,
			       survey->resolver_count);
}

/*
 * A connector may go by the client's certificate, so probes show it as the
 * replay does.  Where the file is not at hand (a plan read elsewhere) a probe
 * without it still tells more than none.
 */
static int make_trust(struct facts *facts, struct err *err)
{
	const struct plan *plan = facts->plan;
	const char *certificate = plan->replay.client_certificate_file;
	const char *key = plan->replay.client_key_file;

	if (facts->probe_tls)
		return 0;
	/* The listener's certificate brings its key along. */
	if (certificate && !key)
		key = plan->queue_mx.key_file;
	if (certificate)
		facts->probe_tls = tls_client_new(TLS_PROBING, NULL,
						  certificate, key, NULL);
	if (!facts->probe_tls)
		facts->probe_tls =
			tls_client_new(TLS_PROBING, NULL, NULL, NULL, err);
	return facts->probe_tls ? 0 : -1;
}

static void on_deadline(void *ctx)
{
	struct survey *survey = ctx;

	/* What did not answer in time was not asked. */
	if (survey->dns) {
		dns_survey_cancel(survey->dns);
		survey->dns = NULL;
		for (size_t i = 0; i < survey->facts->plan->domain_count; i++)
			survey->facts->domains[i].surveyed = false;
	}
	survey_records_cancel(survey->records);
	survey->records = NULL;
	survey_trust_cancel(survey->trust);
	survey->trust = NULL;
	survey_clock_cancel(survey->clock);
	survey->clock = NULL;
	survey_listed_cancel(survey->listed);
	survey->listed = NULL;
	sts_cancel(survey->sts);
	survey->sts = NULL;
	survey_tlsa_cancel(survey->tlsa);
	survey->tlsa = NULL;
	for (size_t i = 0; i < survey->job_count; i++) {
		struct job *job = &survey->jobs[i];

		if (i < survey->job_next && !job->probe)
			continue;
		probe_cancel(job->probe);
		job->probe = NULL;
		if (job->system == IS_QUEUE)
			survey->facts->listeners[job->at].probed = false;
		else
			survey->facts->domains[job->at]
				.systems[job->system]
				.probed = false;
	}
	survey->job_next = survey->job_count;
	survey->job_open = 0;
	look_whether_done(survey);
}

struct survey *survey_start(struct loop *loop, struct facts *facts,
			    unsigned what, loop_fn *done, void *ctx,
			    struct err *err)
{
	struct survey *survey = mem_alloc(sizeof(*survey));

	survey->loop = loop;
	survey->facts = facts;
	survey->done = done;
	survey->ctx = ctx;
	survey->wants_records = what & SURVEY_RECORDS;
	survey->wants_dns = what & SURVEY_DNS;
	survey->started_ms = clock_mono_ms();
	survey->tell = loop_timer_new(loop, tell, survey);
	survey->deadline = loop_timer_new(loop, on_deadline, survey);
	choose_relay(survey);
	make_jobs(survey, what);
	if ((survey->job_count > 0 ||
	     (what & (SURVEY_LISTED | SURVEY_TAKEN))) &&
	    make_trust(facts, err) < 0)
		goto fail;
	open_desk(survey);
	if ((what & SURVEY_DNS) && start_dns(survey, err) < 0)
		goto fail;
	if (what & SURVEY_RECORDS)
		survey->clock = survey_clock_start(loop, facts, survey->desk,
						   clock_came, survey);
	if (what & SURVEY_LISTED)
		survey->listed =
			survey_listed_start(loop, facts, survey->desk,
					    SYSTEM_OLD, FACTS_LISTED_MAX,
					    listed_came, survey);
	else if (what & SURVEY_TAKEN)
		survey->listed = survey_listed_start(loop, facts, survey->desk,
						     SYSTEM_NEW, PROBE_RCPT_MAX,
						     listed_came, survey);
	start_jobs(survey);
	loop_timer_arm(survey->deadline, SURVEY_MS);
	look_whether_done(survey);
	return survey;
fail:
	survey_free(survey);
	return NULL;
}

void survey_cancel(struct survey *survey)
{
	if (survey)
		survey_free(survey);
}

/* Everything as JSON. */

static struct json *host_json(const struct dns_host *host)
{
	struct json *json = json_object();

	json_put_text(json, "name", host->name);
	json_put_bool(json, "asked", host->asked);
	json_put_bool(json, "cname", host->cname);
	json_put_number(json, "addresses", (double)host->addresses);
	json_put_text(json, "first", host->first[0] ? host->first : NULL);
	json_put_text(json, "error", host->error[0] ? host->error : NULL);
	return json;
}

static struct json *domain_json(const struct facts *facts, size_t at)
{
	const struct facts_domain *domain = &facts->domains[at];
	struct dns_wanted wanted = check_wanted(facts->plan, at);
	struct json *json = json_object(), *vantages = json_array();
	struct json *hosts = json_array();

	for (size_t i = 0; i < domain->dns.vantage_count; i++) {
		const struct dns_vantage *vantage = &domain->dns.vantages[i];
		struct json *one = check_vantage_json(vantage);

		json_put_text(one, "view",
			      dns_view_name(vantage->error[0] ?
						    VIEW_ERROR :
						    dns_view_of(&vantage->mx,
								&wanted,
								IS_OLD)));
		json_add(vantages, one);
	}
	for (size_t i = 0; i < domain->dns.host_count; i++)
		json_add(hosts, host_json(&domain->dns.hosts[i]));
	json_put_text(json, "name", facts->plan->domains[at].name);
	json_put_bool(json, "surveyed", domain->surveyed);
	json_put_text(json, "error",
		      domain->dns.error[0] ? domain->dns.error : NULL);
	json_put(json, "vantages", vantages);
	json_put(json, "hosts", hosts);
	json_put(json, "horizon", dns_horizon_json(&domain->horizon));
	json_put(json, facts->plan->plain ? "primary" : "old",
		 domain->systems[SYSTEM_OLD].probed ?
			 probe_json(&domain->systems[SYSTEM_OLD].probe) :
			 NULL);
	if (!facts->plan->plain)
		json_put(
			json, "new",
			domain->systems[SYSTEM_NEW].probed ?
				probe_json(&domain->systems[SYSTEM_NEW].probe) :
				NULL);
	return json;
}

struct json *facts_json(const struct facts *facts)
{
	struct json *json = json_object(), *domains = json_array();
	struct json *queue = json_array();

	for (size_t i = 0; i < facts->plan->domain_count; i++)
		json_add(domains, domain_json(facts, i));
	for (size_t i = 0; i < facts->listener_count; i++)
		if (facts->listeners[i].probed)
			json_add(queue, probe_json(&facts->listeners[i].probe));
	json_put_time(json, "at", facts->now.wall_ms);
	json_put_text(json, "phase", phase_name(facts->phase));
	json_put(json, "domains", domains);
	json_put(json, "asked", facts->asked ? json_copy(facts->asked) : NULL);
	json_put(json, "records", records_json(facts->records));
	json_put(json, "queue", queue);
	return json;
}
