/*
 * notify.h - what the supervisor hears from us
 *
 * The protocol of sd_notify(3), written out: one datagram per state to the
 * socket that NOTIFY_SOCKET names.  Without a supervisor nothing is sent and
 * nothing fails.
 */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include "net/loop.h"

struct notify;

/*
 * Also answers the watchdog that WATCHDOG_USEC asks for, from the loop: a loop
 * that is stuck is what it is there to find.
 */
struct notify *notify_new(struct loop *loop);
void notify_free(struct notify *notify); /* NULL is fine */
void notify_ready(const struct notify *notify);
void notify_stopping(const struct notify *notify);

#endif
