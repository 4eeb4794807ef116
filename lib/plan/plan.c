#include "plan/plan.h"

#include "base/file.h"
#include "plan/plan_parse.h"
#include <stdlib.h>
#include <unistd.h>

/* ---- reports ---- */

void plan_report_add(struct plan_report *report, int line, const char *path,
		     const char *format, ...)
{
	struct buf sentence = BUF_INIT;
	va_list args;
	size_t at;

	if (report->count == PLAN_ERRORS_MAX)
		return;
	if (line > 0)
		buf_addf(&sentence, "line %d: ", line);
	if (*path)
		buf_addf(&sentence, "%s: ", path);
	va_start(args, format);
	buf_vaddf(&sentence, format, args);
	va_end(args);
	for (size_t i = 0; i < report->count; i++)
		if (strcmp(report->at[i].sentence, buf_text(&sentence)) == 0) {
			buf_release(&sentence);
			return;
		}
	report->at =
		mem_grow(report->at, (report->count + 1) * sizeof(*report->at));
	for (at = report->count++; at > 0; at--) {
		if (report->at[at - 1].line <= line)
			break;
		report->at[at] = report->at[at - 1];
	}
	report->at[at].line = line;
	report->at[at].sentence = buf_take(&sentence);
}

void plan_report_release(struct plan_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		free(report->at[i].sentence);
	free(report->at);
	*report = (struct plan_report){ 0 };
}

/* ---- lists of strings ---- */

void plan_strings_add(struct plan_strings *strings, const char *text)
{
	strings->at = mem_grow(strings->at,
			       (strings->count + 1) * sizeof(*strings->at));
	strings->at[strings->count++] = mem_dup(text);
}

void plan_strings_release(struct plan_strings *strings)
{
	for (size_t i = 0; i < strings->count; i++)
		free(strings->at[i]);
	free(strings->at);
	*strings = (struct plan_strings){ 0 };
}

/* ---- plans ---- */

/* As it is called from here; the file itself need not exist. */
static char *path_absolute(const char *path)
{
	char *folder, *absolute;

	if (*path == '/')
		return mem_dup(path);
	folder = getcwd(NULL, 0);
	absolute = mem_printf("%s/%s", folder ? folder : "", path);
	free(folder);
	return absolute;
}

/* NULL if the report says anything. */
static struct plan *plan_judge(struct slice text, const char *path,
			       struct plan_report *report)
{
	unsigned char digest[DIGEST_LEN];
	struct err err = ERR_INIT;
	struct plan *plan = NULL;
	struct json *root;

	if (text.len > PLAN_MAX_BYTES) {
		plan_report_add(report, 0, "", "is larger than %d bytes",
				PLAN_MAX_BYTES);
		return NULL;
	}
	root = json_parse(text, &err);
	if (!root) {
		plan_report_add(report, 0, "", "%s", err.text);
		return NULL;
	}
	plan = mem_alloc(sizeof(*plan));
	plan->path = path_absolute(path ? path : "plan.json");
	plan->text = slice_dup(text);
	digest_sha256(text, digest);
	digest_text(digest, plan->hash);
	plan_read(plan, root, report);
	if (report->count == 0)
		plan_check(plan, root, report);
	json_free(root);
	if (report->count > 0) {
		plan_free(plan);
		plan = NULL;
	}
	return plan;
}

struct plan *plan_parse(struct slice text, const char *path, struct err *err)
{
	struct plan_report report = { 0 };
	struct plan *plan = plan_judge(text, path, &report);

	if (!plan) {
		err_set(err, "%s", report.at[0].sentence);
		if (path)
			err_prefix(err, "plan '%s'", path);
	}
	plan_report_release(&report);
	return plan;
}

struct plan *plan_load(const char *path, struct err *err)
{
	struct buf text = BUF_INIT;
	struct plan *plan = NULL;

	if (file_read(path, PLAN_MAX_BYTES, &text, err) < 0)
		err_prefix(err, "plan '%s'", path);
	else
		plan = plan_parse(buf_slice(&text), path, err);
	buf_release(&text);
	return plan;
}

size_t plan_errors(struct slice text, const char *path,
		   void (*each)(void *ctx, const char *sentence), void *ctx)
{
	struct plan_report report = { 0 };
	size_t count;

	plan_free(plan_judge(text, path, &report));
	for (size_t i = 0; i < report.count; i++)
		each(ctx, report.at[i].sentence);
	count = report.count;
	plan_report_release(&report);
	return count;
}

void plan_free(struct plan *plan)
{
	if (!plan)
		return;
	for (size_t i = 0; i < plan->domain_count; i++) {
		free(plan->domains[i].name);
		for (int id = 0; id < 2; id++)
			plan_system_release(&plan->domains[i].systems[id]);
	}
	free(plan->domains);
	free(plan->path);
	free(plan->text);
	free(plan->name);
	free(plan->queue_mx.host);
	plan_strings_release(&plan->queue_mx.listen);
	free(plan->queue_mx.certificate_file);
	free(plan->queue_mx.key_file);
	plan_strings_release(&plan->dns.resolvers);
	plan_strings_release(&plan->dns.authorities);
	free(plan->recipients.file);
	free(plan->replay.client_certificate_file);
	free(plan->replay.client_key_file);
	free(plan->replay.ramp);
	free(plan->bounce.host);
	free(plan->bounce.from);
	plan_strings_release(&plan->probe_recipients);
	plan_strings_release(&plan->canary.initial);
	plan_strings_release(&plan->canary.recipients);
	plan_strings_release(&plan->clocks);
	plan_strings_release(&plan->evidence);
	plan_strings_release(&plan->old_evidence);
	free(plan);
}

const struct plan_domain *plan_domain(const struct plan *plan,
				      struct slice name)
{
	for (size_t i = 0; i < plan->domain_count; i++)
		if (slice_is_nocase(name, plan->domains[i].name))
			return &plan->domains[i];
	return NULL;
}

const char *plan_deliver_host(const struct plan_system *system)
{
	return system->deliver_host ? system->deliver_host :
	       system->mx.count	    ? system->mx.at[0] :
				      "";
}

const char *plan_strategy_name(enum plan_strategy strategy)
{
	return strategy == STRATEGY_PARK ? "park" : "standby";
}

const char *plan_tls_name(enum plan_tls tls)
{
	static const char *const names[] = {
		[PLAN_TLS_OPPORTUNISTIC] = "opportunistic",
		[PLAN_TLS_REQUIRED] = "required",
		[PLAN_TLS_VERIFIED] = "verified",
		[PLAN_TLS_DANE] = "dane",
	};

	return names[tls];
}
