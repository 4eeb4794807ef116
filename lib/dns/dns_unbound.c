#include "dns/dns_unbound.h"
#include <stdlib.h>

#ifdef TIDEOVER_UNBOUND

#include "base/file.h"
#include "base/list.h"
#include <stdio.h>
#include <unbound.h>

#define ROOT_KEYS "/usr/share/dns/root.key"

/* https://data.iana.org/root-anchors/root-anchors.xml: KSK-2017, KSK-2024. */
static const char *const root_ds[] = {
	". IN DS 20326 8 2 "
	"E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D",
	". IN DS 38696 8 2 "
	"683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16",
};

struct question {
	struct list link; /* open: under way; ready: to be told */
	struct dns_unbound *unbound;
	dns_done_fn *done;
	void *ctx;
	bool answered;
	struct dns_answer answer;
	struct err why;
};

struct dns_unbound {
	struct ub_ctx *ub;
	struct loop_watch *watch;
	struct loop_timer *deliver;
	struct list open, ready;
};

const char *dns_unbound_version(void)
{
	return ub_version();
}

/* Not from within libunbound: who is told may free all of this. */
static void make_ready(struct question *question)
{
	list_remove(&question->link);
	list_append(&question->unbound->ready, &question->link);
	loop_timer_arm(question->unbound->deliver, 0);
}

static void question_free(struct question *question)
{
	list_remove(&question->link);
	dns_answer_release(&question->answer);
	free(question);
}

static void on_deliver(void *ctx)
{
	struct dns_unbound *unbound = ctx;
	struct question *question;

	if (list_is_empty(&unbound->ready))
		return;
	question = list_entry(unbound->ready.next, struct question, link);
	list_remove(&question->link);
	if (!list_is_empty(&unbound->ready))
		loop_timer_arm(unbound->deliver, 0);
	question->done(question->ctx,
		       question->answered ? &question->answer : NULL,
		       question->answered ? NULL : question->why.text);
	question_free(question);
}

/* From ub_process(). */
static void came(void *ctx, int status, struct ub_result *result)
{
	struct question *question = ctx;

	if (status != 0)
		err_set(&question->why, "libunbound: %s", ub_strerror(status));
	else if (result->bogus)
		err_set(&question->why, DNS_BOGUS "%s",
			result->why_bogus ? result->why_bogus : "no reason");
	else if (dns_answer_parse(slice_of(result->answer_packet,
					   (size_t)result->answer_len),
				  &question->answer, &question->why) == 0)
		question->answered = true;
	if (question->answered)
		question->answer.ad = result->secure;
	ub_resolve_free(result);
	make_ready(question);
}

static void on_readable(void *ctx, int fd, int what)
{
	struct dns_unbound *unbound = ctx;

	ub_process(unbound->ub);
}

void dns_unbound_ask(struct dns_unbound *unbound, const char *name,
		     unsigned type, dns_done_fn *done, void *ctx)
{
	struct question *question = mem_alloc(sizeof(*question));
	int failed;

	question->unbound = unbound;
	question->done = done;
	question->ctx = ctx;
	list_append(&unbound->open, &question->link);
	failed = ub_resolve_async(unbound->ub, name, (int)type, 1, question,
				  came, NULL);
	if (failed == 0)
		return;
	err_set(&question->why, "libunbound: %s", ub_strerror(failed));
	make_ready(question);
}

static int trust(struct ub_ctx *ub, const char *config, struct err *err)
{
	int failed = 0;

	if (config && *config)
		failed = ub_ctx_config(ub, config);
	else if (file_exists(ROOT_KEYS))
		failed = ub_ctx_add_ta_file(ub, ROOT_KEYS);
	else
		for (size_t i = 0; i < COUNT(root_ds) && !failed; i++)
			failed = ub_ctx_add_ta(ub, root_ds[i]);
	if (failed)
		return err_set(err, "libunbound: %s: %s",
			       config && *config ? config : "root keys",
			       ub_strerror(failed));
	return 0;
}

struct dns_unbound *dns_unbound_new(struct loop *loop, struct err *err)
{
	struct dns_unbound *unbound = mem_alloc(sizeof(*unbound));

	list_init(&unbound->open);
	list_init(&unbound->ready);
	unbound->deliver = loop_timer_new(loop, on_deliver, unbound);
	unbound->ub = ub_ctx_create();
	if (!unbound->ub)
		err_set(err, "libunbound cannot begin");
	else if (trust(unbound->ub, getenv("TIDEOVER_UNBOUND_CONFIG"), err) ==
		 0) {
		/* A thread; it would fork a process else. */
		ub_ctx_async(unbound->ub, 1);
		unbound->watch =
			loop_watch_new(loop, ub_fd(unbound->ub), LOOP_READ,
				       on_readable, unbound);
		return unbound;
	}
	dns_unbound_free(unbound);
	return NULL;
}

void dns_unbound_free(struct dns_unbound *unbound)
{
	if (!unbound)
		return;
	loop_watch_free(unbound->watch);
	/* Ends the thread; no callback runs. */
	if (unbound->ub)
		ub_ctx_delete(unbound->ub);
	list_each (it, next, &unbound->open)
		question_free(list_entry(it, struct question, link));
	list_each (it, next, &unbound->ready)
		question_free(list_entry(it, struct question, link));
	loop_timer_free(unbound->deliver);
	free(unbound);
}

#else

const char *dns_unbound_version(void)
{
	return NULL;
}

struct dns_unbound *dns_unbound_new(struct loop *loop, struct err *err)
{
	err_set(err, "this build has no libunbound (make UNBOUND=1)");
	return NULL;
}

void dns_unbound_free(struct dns_unbound *unbound)
{
}

void dns_unbound_ask(struct dns_unbound *unbound, const char *name,
		     unsigned type, dns_done_fn *done, void *ctx)
{
	abort(); /* there is none to ask */
}

#endif
