/*
 * canary_sender.h - sends the canaries of a plan to the new system
 *
 * A canary goes where the replay would, and as it would: to deliver_to, with
 * what replay.tls and the target's own side demand, with the client's
 * certificate.  It passes beside the lines: spool, queue, ledger, pace and
 * valve do not know of it.
 *
 * One after another to each target.  Each is journalled before it leaves (without
 * its line none does) and with its answer, and has an end: timing.canary_wait.
 */
#ifndef DAEMON_CANARY_SENDER_H
#define DAEMON_CANARY_SENDER_H

#include "daemon/cutover.h"

struct canary_sender;

struct canary_sender *canary_sender_new(struct cutover *cutover);
/* Nobody who waits is told.  NULL is fine. */
void canary_sender_free(struct canary_sender *sender);
/*
 * Sends those that this gate (start or finish) asks for, but where an accepted
 * one stands.
 * `done` runs once, from the loop, never before this returns: when all of them
 * are answered, or none was for a while; what is under way then goes on.
 */
void canary_sender_for_gate(struct canary_sender *sender, enum gate gate,
			    const char *by, loop_fn *done, void *ctx);
/* The same of all of a kind, whether one stands or not. */
void canary_sender_now(struct canary_sender *sender, bool initial,
		       const char *by, loop_fn *done, void *ctx);
/* Whoever waits with this `ctx` is not told any more. */
void canary_sender_forget(struct canary_sender *sender, const void *ctx);

#endif
