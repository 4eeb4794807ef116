/*
 * daemon.h - tideoverd as a whole: start, the walk of a message, the end
 *
 * Owns the loop, the spool, the index, the queue, the plans under way, the
 * listeners and the control socket, and answers what sessions ask.  Start:
 * scan what the index has not seen, load the queue, take every plan up where
 * its journal ends, then listen.
 */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include "base/map.h"
#include "daemon/backlog.h"
#include "daemon/config.h"
#include "daemon/cutover.h"
#include "daemon/heap.h"
#include "daemon/job.h"
#include "daemon/listener.h"
#include "daemon/notify.h"
#include "daemon/spool_space.h"
#include "daemon/volume.h"
#include "net/http_server.h"

struct daemon {
	struct loop *loop;
	const struct config *config;
	char *state_dir;
	int lock_fd;
	struct store store;
	struct queue *queue;
	struct backlog *backlog;
	struct spool_space *space;
	struct list jobs; /* job.h */
	struct acceptance acceptance;
	struct inherited *inherited;
	struct listeners *listeners;
	struct http_server *control;
	struct http_server *metrics; /* or NULL */
	struct cutover **cutovers;
	size_t cutover_count;
	uint64_t sequence; /* the last one given */
	int64_t started_ms;
	bool accepting; /* mail is taken, the queue may not be loaded yet */
	bool ready;	/* it is, as far as need be (backlog.h) */
	bool loaded;	/* the first of it, ready will follow */
	bool failed;	/* it could not be: the end of daemon_run() */
	/* Control requests that came before it was ready. */
	struct http_request **asked;
	size_t asked_count;
	bool told; /* it ends, and whoever waits knows */
	struct notify *notify;
	struct heap *heap;
	enum supervisor_kind supervisor;
	const char *sandbox;	/* what holds, in words; borrowed */
	uint64_t reserve_bytes; /* below: 452 */
	struct loop_timer *space_timer, *certificate_timer;
	int64_t stop_by_ms;  /* mono; sessions may end till then */
	uint64_t space_left; /* above the reserve, less what goes out now */
	bool space_short, inodes_short;
	struct volume arrivals; /* bytes of all plans */
	uint64_t damaged, torn; /* ranges found at start */
};

/* Both are borrowed; the state folder is set, and the keyring has its master
 * key if there is one.  NULL, and nothing touched, if what is sealed in the
 * state folder could not be opened. */
struct daemon *daemon_new(const struct config *config, struct keyring *keyring,
			  struct err *err);
/* Returns when SIGTERM, SIGINT or a stop request came: 0; 1: its index is no
 * good, and was set aside: free this daemon, and a new one makes another; -1
 * with err. */
int daemon_run(struct daemon *daemon, struct err *err);
void daemon_free(struct daemon *daemon);

/* daemon_acceptance.c: what sessions ask, and whether there is space. */
void daemon_acceptance_init(struct daemon *daemon);

/* daemon_plans.c: the plans under way, in memory and on disk. */
struct cutover *daemon_find(struct daemon *daemon, const char *plan);
struct cutover *daemon_find_domain(struct daemon *daemon, struct slice domain);
/* At start: those whose files are in the state folder. */
void daemon_reload_plans(struct daemon *daemon);
/* Opens the plan's listeners; all of them or none. */
int daemon_listen(struct daemon *daemon, struct cutover *cutover,
		  struct err *err);
/*
 * Takes up a plan from its text: a new one, or the same one again (*known).
 * -1 with err when it is invalid, changed, or conflicts with another; *status
 * is the HTTP status then (400 or 409).
 */
struct cutover *daemon_load(struct daemon *daemon, struct slice text,
			    const char *path, bool *known, int *status,
			    struct err *err);
/* A finished or planned plan and its traces go. */
int daemon_remove(struct daemon *daemon, struct cutover *cutover,
		  struct err *err);
void daemon_stop(struct daemon *daemon);

/* control_verbs.c.  What is asked before the daemon is ready waits until then;
 * control_stopped() answers it if that never comes. */
void control_handle(void *ctx, struct http_request *request);
void control_stopped(struct http_request *request);
/* What GET /v1/daemon answers. */
struct json *control_daemon_json(struct daemon *daemon);

#endif
