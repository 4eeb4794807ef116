#include "daemon/sessions.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "daemon/overload.h"
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_MODULE "sessions"

enum {
	LOOK_MS = 500
};

struct open_session {
	struct list link;
	struct sessions *sessions;
	struct session *session;
	struct network_place place;
};

struct sessions {
	struct acceptance *acceptance;
	const struct config *config;
	struct list all;
	struct networks *networks;
	struct session_owner owner;
	struct session_counts ended;
	uint64_t accepted, refused[NETWORK_VERDICTS], yielded, put_off;
	struct overload overload;
	int64_t answer_ms;   /* by the last look */
	int64_t overload_ms; /* wall: since when; 0: there is none */
	struct loop_timer *look;
	int64_t look_ms; /* mono: when the next one is due */
};

static void leave(struct open_session *open)
{
	networks_leave(open->sessions->networks, &open->place, clock_mono_ms());
	list_remove(&open->link);
	free(open);
}

static bool may_begin(void *ctx)
{
	const struct open_session *open = ctx;

	if (!networks_puts_off(open->sessions->networks, &open->place))
		return true;
	open->sessions->put_off++;
	return false;
}

static void on_busy(void *ctx)
{
	struct open_session *open = ctx;

	networks_busy(open->sessions->networks, &open->place);
}

static void on_idle(void *ctx)
{
	struct open_session *open = ctx;

	networks_idle(open->sessions->networks, &open->place);
}

static void on_ended(void *ctx)
{
	leave(ctx);
}

char *sessions_overload(const struct sessions *sessions)
{
	const struct overload *overload = &sessions->overload;
	char took[CLOCK_TEXT];
	char *who, *text;

	if (!overload->on)
		return NULL;
	who = overload->bound ? mem_printf("networks with more than %zu "
					   "sessions get",
					   overload->bound) :
				mem_dup("everybody gets");
	text = mem_printf("overload: an answer takes %s: %s 421 and 451: look "
			  "at the disk of the state folder, and at who sends "
			  "so much",
			  clock_format_duration(sessions->answer_ms, took),
			  who);
	free(who);
	return text;
}

static void tell_overload(const struct sessions *sessions)
{
	char *text = sessions_overload(sessions);

	log_warn("%s", text ? text :
			      "overload: answers are quick again, nobody is "
			      "put off any more");
	free(text);
}

static void look(void *ctx)
{
	struct sessions *sessions = ctx;
	int64_t now = clock_mono_ms(), late = now - sessions->look_ms;
	const struct spool_writer *spool = sessions->acceptance->store->spool;
	int64_t waits = spool_writer_waits_ms(spool, now);

	sessions->answer_ms = waits > late ? waits : late;
	if (overload_look(&sessions->overload, sessions->answer_ms,
			  spool_writer_waiting(spool),
			  networks_largest(sessions->networks), now)) {
		sessions->overload_ms =
			sessions->overload.on ? clock_wall_ms() : 0;
		tell_overload(sessions);
	}
	networks_bound(sessions->networks, sessions->overload.bound);
	sessions->look_ms = now + LOOK_MS;
	loop_timer_arm(sessions->look, LOOK_MS);
}

struct sessions *sessions_new(struct acceptance *acceptance,
			      const struct config *config)
{
	struct sessions *sessions = mem_alloc(sizeof(*sessions));

	sessions->acceptance = acceptance;
	sessions->config = config;
	sessions->networks = networks_new(&config->network);
	sessions->owner = (struct session_owner){
		.counts = &sessions->ended,
		.may_begin = may_begin,
		.on_busy = on_busy,
		.on_idle = on_idle,
		.on_ended = on_ended,
	};
	list_init(&sessions->all);
	overload_init(&sessions->overload, config->overload_ms);
	sessions->look = loop_timer_new(acceptance->loop, look, sessions);
	sessions->look_ms = clock_mono_ms();
	loop_timer_arm(sessions->look, 0);
	return sessions;
}

void sessions_free(struct sessions *sessions)
{
	if (!sessions)
		return;
	list_each (it, next, &sessions->all) {
		struct open_session *open =
			list_entry(it, struct open_session, link);

		session_free(open->session);
		leave(open);
	}
	networks_free(sessions->networks);
	loop_timer_free(sessions->look);
	free(sessions);
}

void sessions_refuse(int fd, const char *reply)
{
	if (send(fd, reply, strlen(reply), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("a refused peer was gone already");
	close(fd);
}

void sessions_take(struct sessions *sessions, int fd, const struct addr *peer,
		   const char *hostname, struct tls_server *tls)
{
	static const char *const why[NETWORK_VERDICTS] = {
		[NETWORK_SESSIONS] = "421 4.3.2 too many sessions, try again "
				     "later\r\n",
		[NETWORK_SHARE] = "421 4.7.0 too many sessions from your "
				  "network\r\n",
		[NETWORK_RATE] = "421 4.7.0 too many connections from your "
				 "network, slow down\r\n",
		[NETWORK_PUT_OFF] = "421 4.3.2 too much to do, try again "
				    "later\r\n",
	};
	struct open_session *open = mem_alloc(sizeof(*open));
	struct network_place *instead;
	enum network_verdict verdict =
		networks_enter(sessions->networks, peer, clock_mono_ms(),
			       &open->place, &instead);

	if (verdict != NETWORK_OK) {
		sessions->refused[verdict]++;
		sessions_refuse(fd, why[verdict]);
		free(open);
		return;
	}
	if (instead) {
		sessions->yielded++;
		session_shutdown(list_entry(instead, struct open_session, place)
					 ->session,
				 "4.3.2 your place is needed, try again later");
	}
	sessions->accepted++;
	open->sessions = sessions;
	list_append(&sessions->all, &open->link);
	open->session = session_new(sessions->acceptance, fd, hostname,
				    &sessions->config->session, tls,
				    &sessions->owner, open);
}

void sessions_shutdown(struct sessions *sessions)
{
	list_each (it, next, &sessions->all)
		session_shutdown(
			list_entry(it, struct open_session, link)->session,
			"4.3.2 shutting down, try again later");
}

size_t sessions_count(const struct sessions *sessions)
{
	return networks_sessions(sessions->networks);
}

static struct json *overload_json(const struct sessions *sessions)
{
	struct json *json = json_object();

	json_put_number(json, "answer_ms", (double)sessions->answer_ms);
	json_put_time(json, "since", sessions->overload_ms);
	if (sessions->overload.on)
		json_put_number(json, "bound",
				(double)sessions->overload.bound);
	else
		json_put_text(json, "bound", NULL);
	return json;
}

struct json *sessions_json(const struct sessions *sessions,
			   struct json *turned_away)
{
	const struct {
		const char *key;
		uint64_t count;
	} refused[] = {
		{ "sessions", sessions->refused[NETWORK_SESSIONS] },
		{ "sessions_per_network", sessions->refused[NETWORK_SHARE] },
		{ "idle_sessions", sessions->yielded },
		{ "connects_per_minute", sessions->refused[NETWORK_RATE] },
		{ "overload_connections", sessions->refused[NETWORK_PUT_OFF] },
		{ "overload_transactions", sessions->put_off },
		{ "messages_per_session", sessions->ended.messages },
		{ "bytes_per_session", sessions->ended.bytes },
		{ "errors_per_session", sessions->ended.errors },
		{ "junk_per_session", sessions->ended.junk },
		{ "timeouts", sessions->ended.timeouts },
		{ "recipients_per_message", sessions->ended.recipients },
		{ "disk_space", sessions->ended.space },
	};
	struct json *json = json_object();

	for (size_t i = 0; i < COUNT(refused); i++)
		json_put_number(turned_away, refused[i].key,
				(double)refused[i].count);
	json_put_number(json, "open",
			(double)networks_sessions(sessions->networks));
	json_put_number(json, "networks",
			(double)networks_count(sessions->networks));
	json_put_number(json, "accepted", (double)sessions->accepted);
	json_put(json, "overload", overload_json(sessions));
	json_put(json, "turned_away", turned_away);
	json_put(json, "limits", config_limits_json(sessions->config));
	return json;
}
