#include "dns/dns_desk.h"
#include "base/list.h"
#include "base/map.h"
#include <stdlib.h>

#define RESOLVERS_ASKED 3 /* of which one may be slow and one away */

struct server {
	struct list link; /* in turn */
	struct dns_desk *desk;
	struct addr addr;
	char address[ADDR_TEXT];
	struct dns_resolver *resolver;
	struct err why;	     /* it cannot be asked */
	struct list waiting; /* questions */
	unsigned in_flight, most_in_flight;
	unsigned silent; /* questions without an answer, in a row */
	size_t place;	 /* which it was to be asked first */
};

/* What a server is asked once; kept for the next who wants to know. */
struct question {
	struct list link; /* in server->waiting, or desk->flying, or asked */
	struct dns_desk *desk;
	struct server *server;
	char name[DNS_NAME];
	unsigned type, how;
	struct list calls;
	bool over;
	bool answered;
	struct dns_answer answer;
	struct err why;
};

struct dns_call {
	struct list link; /* in question->calls, or desk->ready */
	struct dns_desk *desk;
	struct question *question;
	size_t resolver; /* which of them is asked */
	size_t left;	 /* how many more may be */
	dns_call_fn *done;
	void *ctx;
};

struct dns_desk {
	struct loop *loop;
	struct addr *resolvers;
	size_t resolver_count;
	struct list servers;
	size_t server_count;
	struct map by_address, by_question;
	struct list flying, asked, ready;
	unsigned in_flight, most_in_flight;
	uint64_t calls;
	struct loop_timer *pump, *deliver;
};

/* Servers. */

static struct server *server_at(struct dns_desk *desk, const struct addr *addr)
{
	char address[ADDR_TEXT];
	struct server *server;

	addr_format(addr, address);
	server = map_get(&desk->by_address, slice(address));
	if (server)
		return server;
	server = mem_alloc(sizeof(*server));
	server->desk = desk;
	server->addr = *addr;
	server->place = desk->server_count++;
	memcpy(server->address, address, sizeof(server->address));
	list_init(&server->waiting);
	server->resolver = dns_resolver_new(desk->loop, addr, &server->why);
	list_append(&desk->servers, &server->link);
	map_put(&desk->by_address, slice(address), server);
	return server;
}

static bool is_given_up(const struct server *server)
{
	return !server->resolver || server->silent >= DNS_DESK_SILENT;
}

/* Questions. */

static void add_key(struct buf *key, const struct server *server,
		    const char *name, unsigned type, unsigned how)
{
	buf_addf(key, "%s %u %u %s", server->address, type, how, name);
}

static void question_free(struct question *question)
{
	list_remove(&question->link);
	dns_answer_release(&question->answer);
	free(question);
}

static void make_ready(struct dns_call *call)
{
	list_remove(&call->link);
	list_append(&call->desk->ready, &call->link);
	loop_timer_arm(call->desk->deliver, 0);
}

static void end_question(struct question *question)
{
	list_remove(&question->link);
	list_append(&question->desk->asked, &question->link);
	question->over = true;
	list_each (it, next, &question->calls)
		make_ready(list_entry(it, struct dns_call, link));
}

static void came(void *ctx, const struct dns_answer *answer, const char *why)
{
	struct question *question = ctx;
	struct server *server = question->server;
	struct dns_desk *desk = question->desk;

	desk->in_flight--;
	server->in_flight--;
	server->silent = answer ? 0 : server->silent + 1;
	if (answer) {
		question->answered = true;
		dns_answer_copy(&question->answer, answer);
	} else {
		err_set(&question->why, "%s", why);
	}
	end_question(question);
	loop_timer_arm(desk->pump, 0);
}

static void send_question(struct question *question)
{
	struct server *server = question->server;
	struct dns_desk *desk = question->desk;

	list_remove(&question->link);
	list_append(&desk->flying, &question->link);
	if (++desk->in_flight > desk->most_in_flight)
		desk->most_in_flight = desk->in_flight;
	if (++server->in_flight > server->most_in_flight)
		server->most_in_flight = server->in_flight;
	dns_resolver_ask_how(server->resolver, question->name, question->type,
			     question->how, came, question);
}

static void give_up(struct server *server)
{
	list_each (it, next, &server->waiting) {
		struct question *question =
			list_entry(it, struct question, link);

		if (!server->resolver)
			err_set(&question->why, "%s", server->why.text);
		else
			err_set(&question->why,
				"not asked: %d questions had no answer",
				DNS_DESK_SILENT);
		end_question(question);
	}
}

/* One question of the next server whose turn it is; false: nobody's. */
static bool send_one(struct dns_desk *desk)
{
	list_each (it, next, &desk->servers) {
		struct server *server = list_entry(it, struct server, link);

		if (is_given_up(server))
			give_up(server);
		if (list_is_empty(&server->waiting) ||
		    server->in_flight >= DNS_DESK_PER_SERVER)
			continue;
		list_remove(it);
		list_append(&desk->servers, it);
		send_question(list_entry(server->waiting.next, struct question,
					 link));
		return true;
	}
	return false;
}

static void on_pump(void *ctx)
{
	struct dns_desk *desk = ctx;

	while (desk->in_flight < DNS_DESK_IN_FLIGHT && send_one(desk))
		;
}

/* Calls. */

static struct question *question_new(struct server *server, const char *name,
				     unsigned type, unsigned how)
{
	struct dns_desk *desk = server->desk;
	struct question *question = mem_alloc(sizeof(*question));

	question->desk = desk;
	question->server = server;
	question->type = type;
	question->how = how;
	list_init(&question->calls);
	list_append(&server->waiting, &question->link);
	loop_timer_arm(desk->pump, 0);
	if (!dns_name_normal(slice(name), question->name)) {
		err_set(&question->why, "not a DNS name");
		end_question(question);
	}
	return question;
}

static void put_question(struct dns_call *call, const struct addr *addr,
			 const char *name, unsigned type, unsigned how)
{
	struct dns_desk *desk = call->desk;
	struct server *server = server_at(desk, addr);
	struct question *question;
	struct buf key = BUF_INIT;
	char normal[DNS_NAME];

	add_key(&key, server,
		dns_name_normal(slice(name), normal) ? normal : name, type,
		how);
	question = map_get(&desk->by_question, buf_slice(&key));
	if (!question) {
		question = question_new(server, name, type, how);
		map_put(&desk->by_question, buf_slice(&key), question);
	}
	buf_release(&key);
	call->question = question;
	list_append(&question->calls, &call->link);
	if (question->over)
		make_ready(call);
}

static struct dns_call *call_new(struct dns_desk *desk, dns_call_fn *done,
				 void *ctx)
{
	struct dns_call *call = mem_alloc(sizeof(*call));

	call->desk = desk;
	call->done = done;
	call->ctx = ctx;
	list_init(&call->link);
	desk->calls++;
	return call;
}

struct dns_call *dns_desk_ask(struct dns_desk *desk, const struct addr *server,
			      const char *name, unsigned type, unsigned how,
			      dns_call_fn *done, void *ctx)
{
	struct dns_call *call = call_new(desk, done, ctx);

	put_question(call, server, name, type, how);
	return call;
}

/* FNV-1a: the same name goes to the same resolver, today and tomorrow. */
static size_t share_of(const char *name)
{
	uint64_t hash = 0xcbf29ce484222325;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 0x100000001b3;
	return (size_t)(hash >> 32);
}

/* The next of the resolvers that is not given up, if any is left. */
static void ask_resolver(struct dns_call *call, const char *name, unsigned type)
{
	struct dns_desk *desk = call->desk;

	for (size_t i = 0; i < desk->resolver_count; i++) {
		struct server *server =
			server_at(desk, &desk->resolvers[call->resolver]);

		if (!is_given_up(server))
			break;
		call->resolver = (call->resolver + 1) % desk->resolver_count;
	}
	call->left--;
	put_question(call, &desk->resolvers[call->resolver], name, type,
		     DNS_ASK_RECURSE);
}

struct dns_call *dns_desk_resolve(struct dns_desk *desk, const char *name,
				  unsigned type, dns_call_fn *done, void *ctx)
{
	struct dns_call *call = call_new(desk, done, ctx);

	if (desk->resolver_count == 0) {
		make_ready(call);
		return call;
	}
	call->resolver = share_of(name) % desk->resolver_count;
	call->left = desk->resolver_count < RESOLVERS_ASKED ?
			     desk->resolver_count :
			     RESOLVERS_ASKED;
	ask_resolver(call, name, type);
	return call;
}

void dns_call_cancel(struct dns_call **call)
{
	if (!*call)
		return;
	list_remove(&(*call)->link);
	free(*call);
	*call = NULL;
}

/* SERVFAIL and REFUSED are a resolver's own trouble; the next may do better. */
static bool has_answer(const struct question *question)
{
	return question->answered && question->answer.rcode != DNS_SERVFAIL &&
	       question->answer.rcode != DNS_REFUSED;
}

/*
 * One a turn, the next is armed before the callback: it may free the desk, or
 * cancel others.
 */
static void on_deliver(void *ctx)
{
	struct dns_desk *desk = ctx;
	struct dns_call *call;
	const struct question *question;

	if (list_is_empty(&desk->ready))
		return;
	call = list_entry(desk->ready.next, struct dns_call, link);
	question = call->question;
	list_remove(&call->link);
	if (!list_is_empty(&desk->ready))
		loop_timer_arm(desk->deliver, 0);
	if (question && call->left > 0 && !has_answer(question)) {
		call->resolver = (call->resolver + 1) % desk->resolver_count;
		ask_resolver(call, question->name, question->type);
		return;
	}
	if (!question)
		call->done(call->ctx, NULL, "no resolver to ask", NULL);
	else
		call->done(call->ctx,
			   question->answered ? &question->answer : NULL,
			   question->answered ? NULL : question->why.text,
			   &question->server->addr);
	free(call);
}

/* The desk. */

struct dns_desk *dns_desk_new(struct loop *loop)
{
	struct dns_desk *desk = mem_alloc(sizeof(*desk));

	desk->loop = loop;
	list_init(&desk->servers);
	list_init(&desk->flying);
	list_init(&desk->asked);
	list_init(&desk->ready);
	desk->pump = loop_timer_new(loop, on_pump, desk);
	desk->deliver = loop_timer_new(loop, on_deliver, desk);
	return desk;
}

static void free_calls(struct list *calls)
{
	list_each (it, next, calls) {
		struct dns_call *call = list_entry(it, struct dns_call, link);

		dns_call_cancel(&call);
	}
}

static void free_questions(struct list *questions)
{
	list_each (it, next, questions) {
		struct question *question =
			list_entry(it, struct question, link);

		free_calls(&question->calls);
		question_free(question);
	}
}

void dns_desk_free(struct dns_desk *desk)
{
	if (!desk)
		return;
	list_each (it, next, &desk->servers) {
		struct server *server = list_entry(it, struct server, link);

		dns_resolver_free(server->resolver);
		free_questions(&server->waiting);
		list_remove(it);
		free(server);
	}
	free_calls(&desk->ready);
	free_questions(&desk->flying);
	free_questions(&desk->asked);
	map_release(&desk->by_address);
	map_release(&desk->by_question);
	loop_timer_free(desk->pump);
	loop_timer_free(desk->deliver);
	free(desk->resolvers);
	free(desk);
}

void dns_desk_set_resolvers(struct dns_desk *desk, const struct addr *resolvers,
			    size_t count)
{
	desk->resolvers = mem_grow(desk->resolvers,
				   (count + 1) * sizeof(*desk->resolvers));
	for (size_t i = 0; i < count; i++)
		desk->resolvers[i] = resolvers[i];
	desk->resolver_count = count;
}

/* What was asked. */

static uint64_t sent_to(const struct server *server)
{
	return server->resolver ? dns_resolver_sent(server->resolver) : 0;
}

void dns_desk_count(const struct dns_desk *desk, struct dns_desk_count *count)
{
	*count = (struct dns_desk_count){ .asked = desk->calls,
					  .most_in_flight =
						  desk->most_in_flight };
	list_each (it, next, &desk->servers) {
		const struct server *server =
			list_entry(it, struct server, link);

		count->queries += sent_to(server);
		count->servers += sent_to(server) > 0;
		if (server->most_in_flight > count->most_at_one)
			count->most_at_one = server->most_in_flight;
	}
}

static struct json *server_json(const struct server *server)
{
	struct json *json = json_object();

	json_put_text(json, "address", server->address);
	json_put_number(json, "queries", (double)sent_to(server));
	json_put_number(json, "most_in_flight", server->most_in_flight);
	json_put_bool(json, "silent", is_given_up(server));
	return json;
}

struct json *dns_desk_json(const struct dns_desk *desk)
{
	struct json *json = json_object(), *servers = json_array();
	const struct server **in_order =
		mem_alloc((desk->server_count + 1) * sizeof(struct server *));
	struct dns_desk_count count;

	dns_desk_count(desk, &count);
	list_each (it, next, &desk->servers) {
		const struct server *server =
			list_entry(it, struct server, link);

		in_order[server->place] = server;
	}
	for (size_t i = 0; i < desk->server_count; i++)
		json_add(servers, server_json(in_order[i]));
	free(in_order);
	json_put_number(json, "asked", (double)count.asked);
	json_put_number(json, "queries", (double)count.queries);
	json_put_number(json, "servers", (double)count.servers);
	json_put_number(json, "most_in_flight", count.most_in_flight);
	json_put_number(json, "most_at_one", count.most_at_one);
	json_put(json, "by_server", servers);
	return json;
}
