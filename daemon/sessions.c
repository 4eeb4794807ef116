#include "daemon/sessions.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_MODULE "sessions"

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
	uint64_t accepted, refused[NETWORK_VERDICTS], yielded;
};

static void leave(struct open_session *open)
{
	networks_leave(open->sessions->networks, &open->place, clock_mono_ms());
	list_remove(&open->link);
	free(open);
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

struct sessions *sessions_new(struct acceptance *acceptance,
			      const struct config *config)
{
	struct sessions *sessions = mem_alloc(sizeof(*sessions));

	sessions->acceptance = acceptance;
	sessions->config = config;
	sessions->networks = networks_new(&config->network);
	sessions->owner = (struct session_owner){
		.counts = &sessions->ended,
		.on_busy = on_busy,
		.on_idle = on_idle,
		.on_ended = on_ended,
	};
	list_init(&sessions->all);
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
	json_put(json, "turned_away", turned_away);
	json_put(json, "limits", config_limits_json(sessions->config));
	return json;
}
