#include "cli/rehearsal.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/id.h"
#include "base/map.h"
#include "cli/spawn.h"
#include "lab/lab_mail.h"
#include "net/tls_chain.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	MAILBOXES = 5,
	EVERY_MS = 60,
	ARGS_MAX = 16,
	STATUS_EVERY_MS = 200,
	SHOW_EVERY_MS = 1500,
	CHILD_OUTPUT_MAX = 16 * 1024 * 1024
};

/* Building the world. */

static int make_dirs(struct rehearsal *r, struct err *err)
{
	const char *keep = r->call->value[OPT_KEEP];

	if (keep) {
		r->dir = realpath(keep, NULL);
		if (!r->dir && file_make_dirs(keep, 0700, err) == 0)
			r->dir = realpath(keep, NULL);
		if (!r->dir)
			return err_errno(err, "cannot use %s", keep);
	} else {
		char template[] = "/tmp/tideover-rehearsal-XXXXXX";

		if (!mkdtemp(template))
			return err_errno(err, "cannot make a folder in /tmp");
		r->dir = mem_dup(template);
	}
	r->state = mem_printf("%s/state", r->dir);
	if (file_exists(r->state))
		return err_set(err,
			       "%s has a rehearsal already: give --keep "
			       "another folder",
			       keep);
	r->socket = control_socket(r->state);
	r->plan_path = mem_printf("%s/plan.json", r->dir);
	r->report_path = mem_printf("%s/report.html", r->dir);
	r->child_log = mem_printf("%s/child.log", r->dir);
	return 0;
}

/* A port that is free now; the daemon binds it a moment later. */
static int pick_listener(struct rehearsal *r, struct err *err)
{
	char text[ADDR_TEXT];
	struct addr addr;
	int fd;

	if (addr_from_ip(slice("127.0.0.1"), 0, &addr, err) < 0)
		return -1;
	fd = addr_listen(&addr, 1, err);
	if (fd < 0)
		return -1;
	if (addr_of_socket(fd, &addr, err) < 0) {
		close(fd);
		return -1;
	}
	close(fd);
	r->listen = mem_dup(addr_format(&addr, text));
	return 0;
}

static void add_route(struct rehearsal *r, const char *host,
		      const char *address)
{
	r->routes =
		mem_grow(r->routes, (r->route_count + 1) * sizeof(*r->routes));
	r->routes[r->route_count++] = (struct lab_route){ host, address };
}

/* A zone for every parent of an MX host, so that each has its address. */
static int add_host(struct rehearsal *r, const char *host, struct err *err)
{
	const char *dot = strchr(host, '.');
	char *lines = mem_printf("%s 300 SOA ns.lab 1 60\n"
				 "%s 300 NS ns.lab\n",
				 dot + 1, dot + 1);
	const char *value = "127.0.0.1";
	int result = 0;

	if (lab_dns_serial(r->dns, host) == 0)
		result = lab_dns_add(r->dns, lines, err);
	free(lines);
	if (result < 0)
		return -1;
	return lab_dns_set(r->dns, host, DNS_A, 300, &value, 1, err);
}

static int add_system(struct rehearsal *r, const struct plan_system *system,
		      const struct lab_mx *mx, struct err *err)
{
	for (size_t i = 0; i < system->mx.count; i++) {
		if (add_host(r, system->mx.at[i], err) < 0)
			return -1;
		add_route(r, system->mx.at[i], mx->address);
	}
	return 0;
}

static int publish(struct rehearsal *r, const struct plan_domain *domain,
		   enum rehearsal_mx mx, struct err *err)
{
	const struct plan_strings *hosts =
		&domain->systems[mx == REHEARSAL_MX_NEW ? SYSTEM_NEW :
							  SYSTEM_OLD]
			 .mx;
	char *values[DNS_MX_MAX] = { 0 };
	size_t count = 0;
	int result;

	if (mx != REHEARSAL_MX_QUEUE)
		for (; count < hosts->count && count < DNS_MX_MAX - 1; count++)
			values[count] = mem_printf("%zu %s.", 1 + count * 5,
						   hosts->at[count]);
	if (mx == REHEARSAL_MX_QUEUE || mx == REHEARSAL_MX_BOTH)
		values[count++] = mem_printf(
			"%d %s.", r->plan->queue_mx.priority, r->queue_host);
	result = lab_dns_set(r->dns, domain->name, DNS_MX, REHEARSAL_TTL_S,
			     (const char *const *)values, count, err);
	for (size_t i = 0; i < count; i++)
		free(values[i]);
	return result;
}

/* What a provider itself has in DNS. */
static int add_provider(struct rehearsal *r, const struct provider *provider,
			struct err *err)
{
	const char *include = provider->spf_include;
	char *lines;
	int result;

	if (!include || lab_dns_serial(r->dns, include) > 0)
		return 0;
	lines = mem_printf("%s 300 SOA ns.lab 1 60\n"
			   "%s 300 NS ns.lab\n"
			   "%s 300 TXT v=spf1 ip4:192.0.2.0/24 -all\n",
			   include, include, include);
	result = lab_dns_add(r->dns, lines, err);
	free(lines);
	return result;
}

/* The key of a selector: Microsoft 365 has it in the tenant's zone. */
static void add_selector(struct buf *lines, const char *domain,
			 const char *selector, bool m365)
{
	static const char key[] = "v=DKIM1; k=rsa; p=bm90IGEga2V5";

	if (!m365) {
		buf_addf(lines, "%s._domainkey.%s 300 TXT %s\n", selector,
			 domain, key);
		return;
	}
	buf_addf(lines,
		 "%s._domainkey.%s 300 CNAME %s.tenant.onmicrosoft.com\n",
		 selector, domain, selector);
	buf_addf(lines, "%s.tenant.onmicrosoft.com 300 TXT %s\n", selector,
		 key);
}

/* The records beside the MX, as they stand on a well prepared day. */
static int publish_beside(struct rehearsal *r, const struct plan_domain *domain,
			  struct err *err)
{
	const struct provider *old = domain->systems[SYSTEM_OLD].provider;
	const struct provider *new = domain->systems[SYSTEM_NEW].provider;
	bool m365 = strcmp(new->name, "m365") == 0;
	struct buf lines = BUF_INIT;
	int result;

	buf_addf(&lines, "%s 300 TXT v=spf1 mx", domain->name);
	if (new->spf_include)
		buf_addf(&lines, " include:%s", new->spf_include);
	buf_addf(&lines, " -all\n");
	if (m365)
		buf_addf(&lines, "%s 300 TXT MS=ms12345678\n", domain->name);
	if (strcmp(new->name, "workspace") == 0)
		buf_addf(&lines, "%s 300 TXT google-site-verification=lab\n",
			 domain->name);
	for (size_t i = 0; new->dkim_selectors[i]; i++)
		add_selector(&lines, domain->name, new->dkim_selectors[i],
			     m365);
	if (m365)
		buf_addf(&lines,
			 "autodiscover.%s 300 CNAME autodiscover.outlook.com\n",
			 domain->name);
	buf_addf(&lines,
		 "_dmarc.%s 300 TXT v=DMARC1; p=quarantine; "
		 "rua=mailto:dmarc@reports.example\n",
		 domain->name);
	buf_addf(&lines,
		 "_smtp._tls.%s 300 TXT v=TLSRPTv1; "
		 "rua=mailto:tls@reports.example\n",
		 domain->name);
	result = lab_dns_add(r->dns, buf_text(&lines), err);
	buf_release(&lines);
	if (result == 0)
		result = add_provider(r, old, err);
	return result == 0 ? add_provider(r, new, err) : -1;
}

static int make_zones(struct rehearsal *r, struct err *err)
{
	static const char tenants[] = "onmicrosoft.com 300 SOA ns.lab 1 60\n"
				      "onmicrosoft.com 300 NS ns.lab\n";

	if (lab_dns_add(r->dns, tenants, err) < 0)
		return -1;
	for (size_t i = 0; i < r->plan->domain_count; i++) {
		const struct plan_domain *domain = &r->plan->domains[i];
		char *lines = mem_printf("%s 300 SOA ns.lab 1 "
					 "60\n%s 300 NS ns.lab\n",
					 domain->name, domain->name);
		int result = lab_dns_add(r->dns, lines, err);

		free(lines);
		if (result < 0 || publish(r, domain, REHEARSAL_MX_OLD, err) < 0)
			return -1;
		if (add_system(r, &domain->systems[SYSTEM_OLD], r->old, err) <
		    0)
			return -1;
		if (!r->plan->plain &&
		    add_system(r, &domain->systems[SYSTEM_NEW], r->new, err) <
			    0)
			return -1;
	}
	for (size_t i = 0; !r->plan->plain && i < r->plan->domain_count; i++)
		if (publish_beside(r, &r->plan->domains[i], err) < 0)
			return -1;
	if (add_host(r, r->plan->queue_mx.host, err) < 0)
		return -1;
	add_route(r, r->plan->queue_mx.host, r->listen);
	return 0;
}

static void add_mailboxes(const struct plan_strings *addresses,
			  struct buf *script)
{
	for (size_t i = 0; i < addresses->count && i < PLAN_REHEARSAL_CANARIES;
	     i++)
		buf_addf(script, "have %s\n", addresses->at[i]);
}

/* Whom canaries go to, beside those whom the lab writes to. */
static void add_canaries(const struct plan *plan, struct buf *script)
{
	if (plan->canary.initial.count + plan->canary.recipients.count == 0)
		return;
	buf_adds(script, "have " LAB_SENDER_LOCAL "*\nhave postmaster@*\n");
	add_mailboxes(&plan->canary.initial, script);
	add_mailboxes(&plan->canary.recipients, script);
}

void rehearsal_behave(struct rehearsal *r, enum plan_system_id id,
		      const char *state)
{
	const struct plan_system *system = &r->plan->domains[0].systems[id];
	const char *provider =
		system->provider ? system->provider->name : "custom";
	struct buf script = BUF_INIT;

	if (id == SYSTEM_NEW)
		add_canaries(r->plan, &script);
	buf_addf(&script, "like %s%s\n", provider, state);
	if (lab_mx_play(id == SYSTEM_OLD ? r->old : r->new, buf_slice(&script),
			&r->err) < 0)
		loop_stop(r->loop);
	buf_release(&script);
}

static int make_world(struct rehearsal *r, struct err *err)
{
	struct addr any;

	if (addr_from_ip(slice("127.0.0.1"), 0, &any, err) < 0)
		return -1;
	r->dns = lab_dns_new(r->loop, &any, err);
	if (!r->dns)
		return -1;
	for (size_t i = 0; i < REHEARSAL_RESOLVERS; i++) {
		r->resolvers[i] = lab_resolver_new(
			r->loop, &any, lab_dns_addr(r->dns), 0, err);
		if (!r->resolvers[i])
			return -1;
	}
	r->old = lab_mx_new(r->loop, "old.lab", "old.lab", 0, err);
	if (!r->old)
		return -1;
	r->new = lab_mx_new(r->loop, "new.lab", "new.lab", 0, err);
	if (!r->new)
		return -1;
	rehearsal_behave(r, SYSTEM_OLD, "");
	rehearsal_behave(r, SYSTEM_NEW, "");
	return make_zones(r, err);
}

/* Of the queue's key, and of one to come, as RFC 7671 section 8.4 has it. */
static int publish_tlsa(struct rehearsal *r, const char *certificate,
			struct err *err)
{
	char *name = mem_printf("_25._tcp.%s", r->queue_host);
	char digest[DIGEST_TEXT], *values[2];
	struct tls_chain chain;
	int result = tls_chain_read(certificate, &chain, err);

	if (result == 0) {
		digest_text(chain.at[0].key.sha256, digest);
		values[0] = mem_printf("3 1 1 %s", digest);
		random_bytes(chain.at[0].key.sha256, DIGEST_LEN);
		digest_text(chain.at[0].key.sha256, digest);
		values[1] = mem_printf("3 1 1 %s", digest);
		result = lab_dns_set(r->dns, name, DNS_TLSA, 300,
				     (const char *const *)values, 2, err);
		free(values[0]);
		free(values[1]);
	}
	free(name);
	return result;
}

/* The plan with this world's addresses. */
static int make_plan(struct rehearsal *r, struct err *err)
{
	char authority[ADDR_TEXT], texts[REHEARSAL_RESOLVERS][ADDR_TEXT];
	const char *resolvers[REHEARSAL_RESOLVERS];
	char *certificate = mem_printf("%s/queue.pem", r->dir);
	char *key = mem_printf("%s/queue.key", r->dir);
	char *text = NULL;
	int result = -1;

	if (tls_selfsigned_write(r->queue_host, certificate, key, err) < 0 ||
	    publish_tlsa(r, certificate, err) < 0)
		goto out;
	for (size_t i = 0; i < REHEARSAL_RESOLVERS; i++)
		resolvers[i] = addr_format(lab_resolver_addr(r->resolvers[i]),
					   texts[i]);
	text = plan_rehearsal_text(
		r->plan,
		&(struct plan_rehearsal){
			.listen = r->listen,
			.authority =
				addr_format(lab_dns_addr(r->dns), authority),
			.resolvers = resolvers,
			.resolver_count = REHEARSAL_RESOLVERS,
			.deliver_to = { r->old->address, r->new->address },
			.certificate_file = certificate,
			.key_file = key,
		});
	result = file_write(r->plan_path, slice(text), 0600, err);
out:
	free(text);
	free(certificate);
	free(key);
	return result;
}

struct rehearsal *rehearsal_new(struct command_call *call, const char *path,
				struct err *err)
{
	struct rehearsal *r = mem_alloc(sizeof(*r));

	r->call = call;
	r->out = call->json ? stderr : stdout;
	r->began_ms = clock_mono_ms();
	r->plan = plan_load(path, err);
	if (!r->plan)
		goto fail;
	r->queue_host = r->plan->queue_mx.host;
	r->loop = loop_new(err);
	if (!r->loop || make_dirs(r, err) < 0 || pick_listener(r, err) < 0 ||
	    make_world(r, err) < 0 || make_plan(r, err) < 0)
		goto fail;
	return r;
fail:
	rehearsal_free(r);
	return NULL;
}

static void stop_daemon(struct rehearsal *r)
{
	struct err err = ERR_INIT;

	if (!r->socket || !file_exists(r->socket))
		return;
	control_call(r->socket, "POST", "/v1/stop", NULL, 5000, NULL, &err);
	for (int i = 0; i < 100 && file_exists(r->socket); i++)
		usleep(50000);
}

static void remove_tree(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char *name = mem_printf("%s/%s", path, entry->d_name);

		if (strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0) {
			if (entry->d_type == DT_DIR)
				remove_tree(name);
			else
				unlink(name);
		}
		free(name);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
}

void rehearsal_free(struct rehearsal *r)
{
	if (!r)
		return;
	if (r->child > 0) {
		kill(r->child, SIGTERM);
		waitpid(r->child, NULL, 0);
	}
	stop_daemon(r);
	if (r->dir && !r->call->value[OPT_KEEP] && !r->err.text[0]) {
		/* The report stays, and what it was made from goes. */
		remove_tree(r->state);
		unlink(r->child_log);
	}
	lab_sender_free(r->sender);
	for (size_t i = 0; i < REHEARSAL_RESOLVERS; i++)
		lab_resolver_free(r->resolvers[i]);
	lab_dns_free(r->dns);
	lab_mx_free(r->old);
	lab_mx_free(r->new);
	loop_timer_free(r->timer);
	loop_free(r->loop);
	json_free(r->status);
	plan_free(r->plan);
	buf_release(&r->child_output);
	free(r->routes);
	free(r->listen);
	free(r->dir);
	free(r->state);
	free(r->socket);
	free(r->plan_path);
	free(r->report_path);
	free(r->child_log);
	free(r);
}

/* Children. */

int rehearsal_run(struct rehearsal *r, const char *command, ...)
{
	const char *argv[ARGS_MAX] = { "tideover", command, "--json", "--state",
				       r->state };
	size_t count = 5;
	const char *argument;
	va_list args;

	va_start(args, command);
	while ((argument = va_arg(args, const char *)) && count < ARGS_MAX - 1)
		argv[count++] = argument;
	va_end(args);
	r->child = fork();
	if (r->child < 0)
		return err_errno(&r->err, "cannot run tideover %s", command);
	if (r->child == 0) {
		int fd = open(r->child_log, O_WRONLY | O_CREAT | O_TRUNC, 0600);

		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
		execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	return 0;
}

int rehearsal_child(struct rehearsal *r)
{
	int status;

	if (waitpid(r->child, &status, WNOHANG) != r->child)
		return -1;
	r->child = 0;
	buf_clear(&r->child_output);
	if (file_read(r->child_log, CHILD_OUTPUT_MAX, &r->child_output,
		      &r->err) < 0)
		return EXIT_FAILED;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* The steps' needs. */

int rehearsal_send(struct rehearsal *r)
{
	static const struct addr *resolvers[REHEARSAL_RESOLVERS];

	for (size_t i = 0; i < REHEARSAL_RESOLVERS; i++)
		resolvers[i] = lab_resolver_addr(r->resolvers[i]);
	r->sender =
		lab_sender_new(r->loop,
			       &(struct lab_sender_spec){
				       .domain = r->plan->domains[0].name,
				       .resolvers = resolvers,
				       .resolver_count = REHEARSAL_RESOLVERS,
				       .routes = r->routes,
				       .route_count = r->route_count,
				       .messages = lab_mail,
				       .message_count = lab_mail_count,
				       .mailboxes = MAILBOXES,
				       .every_ms = EVERY_MS,
			       },
			       &r->err);
	return r->sender ? 0 : -1;
}

int rehearsal_publish(struct rehearsal *r, enum rehearsal_mx mx)
{
	for (size_t i = 0; i < r->plan->domain_count; i++)
		if (publish(r, &r->plan->domains[i], mx, &r->err) < 0)
			return -1;
	return 0;
}

/* The daemon's status, asked now and then; our loop stands still meanwhile,
 * which the daemon does not need to answer it. */
static const struct json *status(struct rehearsal *r)
{
	int64_t now = clock_mono_ms();
	struct err err = ERR_INIT;
	struct json *fresh = NULL;
	char *path;

	if (now - r->asked_ms < STATUS_EVERY_MS)
		return r->status;
	r->asked_ms = now;
	if (!file_exists(r->socket))
		return r->status;
	path = mem_printf("/v1/plans/%s/status", r->plan->name);
	if (control_call(r->socket, "GET", path, NULL, 5000, &fresh, &err) ==
	    CONTROL_OK) {
		json_free(r->status);
		r->status = fresh;
	}
	free(path);
	return r->status;
}

int rehearsal_converged(struct rehearsal *r, const char *view, bool horizon)
{
	const struct json *domains = json_get(status(r), "domains");

	if (!domains)
		return 0;
	for (const struct json *domain = json_first(domains); domain;
	     domain = json_next(domain)) {
		const struct json *all = json_get(domain, "vantages");
		const struct json *left = json_get(domain, "horizon");

		if (json_count(all) == 0)
			return 0;
		for (const struct json *at = json_first(all); at;
		     at = json_next(at))
			if (strcmp(json_get_text(at, "view"), view) != 0)
				return 0;
		if (horizon && (!json_get_bool(left, "known") ||
				json_get_number(left, "left_ms", 1) > 0))
			return 0;
	}
	return 1;
}

uint64_t rehearsal_queued(struct rehearsal *r)
{
	const struct json *queue = json_get(status(r), "queue");

	return (uint64_t)(json_get_number(queue, "waiting", 0) +
			  json_get_number(queue, "held", 0));
}

int rehearsal_gate_opens(struct rehearsal *r, const char *gate)
{
	int code;

	if (r->child == 0)
		return rehearsal_run(r, "check", r->plan->name, "--gate", gate,
				     (char *)NULL);
	code = rehearsal_child(r);
	if (code < 0 || code == EXIT_BLOCKED)
		return 0;
	return code == EXIT_DONE ? 1 :
				   err_set(&r->err, "check failed: %s",
					   buf_text(&r->child_output));
}

static void show_canaries(struct rehearsal *r)
{
	struct slice rest = buf_slice(&r->child_output);
	struct json *answer = json_parse(slice_split(&rest, '\n'), NULL);

	for (const struct json *it = json_first(json_get(answer, "canaries"));
	     it; it = json_next(it), r->canaries++)
		fprintf(r->out, "        canary to %s: %.0f %s %s\n",
			json_get_text(it, "address"),
			json_get_number(it, "code", 0),
			json_get_text(it, "enhanced"),
			json_get_text(it, "text"));
	json_free(answer);
}

int rehearsal_canaries_accepted(struct rehearsal *r)
{
	int code;

	if (r->plan->canary.recipients.count == 0 || r->canaries > 0)
		return 1;
	if (r->child == 0)
		return rehearsal_run(r, "canary", r->plan->name, (char *)NULL);
	code = rehearsal_child(r);
	if (code < 0 || code == EXIT_BLOCKED)
		return 0;
	if (code != EXIT_DONE)
		return err_set(&r->err, "canary failed: %s",
			       buf_text(&r->child_output));
	show_canaries(r);
	return 1;
}

void rehearsal_show_status(struct rehearsal *r)
{
	const struct json *now = status(r);
	const struct json *queue = json_get(now, "queue");
	const struct json *domain = json_at(json_get(now, "domains"), 0);
	const struct json *ledger = json_get(domain, "ledger");
	struct buf line = BUF_INIT;
	int64_t mono = clock_mono_ms();

	if (!domain || mono - r->shown_ms < SHOW_EVERY_MS)
		return;
	r->shown_ms = mono;
	buf_addf(&line, "        %-9s valve %-6s MX",
		 json_get_text(now, "phase"),
		 json_get_text(json_get(domain, "valve"), "state"));
	for (const struct json *at = json_first(json_get(domain, "vantages"));
	     at; at = json_next(at))
		buf_addf(&line, " %s", json_get_text(at, "view"));
	buf_addf(&line, "  accepted %.0f waiting %.0f held %.0f delivered %.0f",
		 json_get_number(ledger, "accepted", 0),
		 json_get_number(queue, "waiting", 0),
		 json_get_number(queue, "held", 0),
		 json_get_number(ledger, "delivered", 0));
	fprintf(r->out, "%s\n", ink(INK_DIM, buf_text(&line)));
	fflush(r->out);
	buf_release(&line);
}

void rehearsal_show_ledger(struct rehearsal *r)
{
	static const char *const parts[] = { "waiting", "held", "delivered",
					     "bounced", "discarded" };

	r->asked_ms = 0;
	for (const struct json *it = json_first(json_get(status(r), "domains"));
	     it; it = json_next(it)) {
		const struct json *ledger = json_get(it, "ledger");
		bool balances = json_get_bool(ledger, "balances");

		fprintf(r->out, "ledger of %s: %.0f accepted =",
			json_get_text(it, "name"),
			json_get_number(ledger, "accepted", 0));
		for (size_t i = 0; i < COUNT(parts); i++)
			fprintf(r->out, "%s %.0f %s", i ? " +" : "",
				json_get_number(ledger, parts[i], 0), parts[i]);
		fprintf(r->out, ": %s\n",
			balances ? ink(INK_GOOD, "it balances") :
				   ink(INK_BAD, "IT DOES NOT BALANCE"));
	}
}

void rehearsal_show_blocking(struct rehearsal *r)
{
	struct slice rest = buf_slice(&r->child_output);
	struct json *document = json_parse(slice_split(&rest, '\n'), NULL);
	const struct json *gate = json_get(document, "gate");

	for (const struct json *finding =
		     json_first(json_get(gate, "findings"));
	     finding; finding = json_next(finding)) {
		const char *verdict = json_get_text(finding, "verdict");

		if (strcmp(verdict, "fail") == 0)
			fprintf(r->out, "        %s %s: %s\n",
				ink(INK_BAD, "blocks"),
				json_get_text(finding, "check"),
				json_get_text(finding, "summary"));
	}
	json_free(document);
}

/* Judgement. */

static const struct lab_mx_arrival *find_arrival(const struct lab_mx *mx,
						 const struct lab_sent *sent)
{
	for (size_t i = 0; i < mx->arrival_count; i++)
		if (mx->arrivals[i].number == sent->number &&
		    strcmp(mx->arrivals[i].mailbox, sent->mailbox) == 0)
			return &mx->arrivals[i];
	return NULL;
}

/*
 * Is `later` at a system before `earlier`?  A message that is nowhere is lost,
 * not out of order.
 */
static bool overtook(const struct rehearsal *r, const struct lab_sent *earlier,
		     const struct lab_sent *later)
{
	const struct lab_mx *systems[] = { r->old, r->new };

	for (size_t i = 0; i < COUNT(systems); i++) {
		const struct lab_mx_arrival *first, *second;

		first = find_arrival(systems[i], earlier);
		second = find_arrival(systems[i], later);
		if (first && second)
			return second < first;
	}
	return false;
}

/*
 * The queue keeps the order of what it accepted.  Where it is the only MX all
 * the way (park), that is the order of all mail; where it stands behind a
 * primary, the primary's own mail may overtake the queue's.
 */
static uint64_t count_reordered(const struct rehearsal *r,
				const struct lab_sent *sent, size_t count)
{
	bool all = !r->plan->plain && r->plan->strategy == STRATEGY_PARK;
	struct map last = { 0 };
	uint64_t reordered = 0;

	for (size_t i = 0; i < count; i++) {
		const struct lab_sent *earlier;

		if (!sent[i].host ||
		    (!all && strcmp(sent[i].host, r->queue_host) != 0))
			continue;
		earlier = map_get(&last, slice(sent[i].mailbox));
		if (earlier && overtook(r, earlier, &sent[i]))
			reordered++;
		map_put(&last, slice(sent[i].mailbox),
			(void *)(uintptr_t)&sent[i]);
	}
	map_release(&last);
	return reordered;
}

void rehearsal_judge(const struct rehearsal *r,
		     struct rehearsal_verdict *verdict)
{
	size_t count = 0;
	const struct lab_sent *sent =
		r->sender ? lab_sender_sent(r->sender, &count) : NULL;

	*verdict = (struct rehearsal_verdict){ 0 };
	for (size_t i = 0; i < count; i++) {
		const struct lab_mx_arrival *there;
		unsigned copies;

		if (!sent[i].host) {
			verdict->bounced++;
			continue;
		}
		verdict->sent++;
		if (strcmp(sent[i].host, r->queue_host) == 0)
			verdict->queued++;
		there = find_arrival(r->old, &sent[i]);
		if (!there)
			there = find_arrival(r->new, &sent[i]);
		copies =
			lab_mx_copies(r->old, sent[i].mailbox, sent[i].number) +
			lab_mx_copies(r->new, sent[i].mailbox, sent[i].number);
		if (!there)
			verdict->lost++;
		else if (strcmp(there->sha256, sent[i].sha256) != 0)
			verdict->changed++;
		if (copies > 1)
			verdict->copies += copies - 1;
	}
	verdict->reordered = count_reordered(r, sent, count);
}
