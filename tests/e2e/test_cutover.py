#!/usr/bin/env python3
"""A park cutover with knot, three unbounds and two Postfixes (TAP)."""
import os
import shutil
import sys

import peers
from cutover import (DOMAIN, NEW, OLD, QUEUE, Judge, Senders, Tap, World,
                     blocking, make_messages, sha256)
from peers import wait_for

COUNT = 124


def attach(world, yes):
    world.new.accept(yes)


def run(tap, sink):
    world = World(peers.Sink if sink else peers.Postfix)
    senders = None
    try:
        messages, where = make_messages(COUNT, numbered=False)
        print(f"# mail from {where}; systems: {type(world.new).__name__}")
        attach(world, False)
        senders = Senders(world, messages)
        senders.allow(12)

        document = world.must(0, "plan", world.plan)
        tap.ok(document["timeline"] and document["gate"]["findings"],
               "plan verifies DNS and the systems, prints the timeline")
        world.must(0, "start", world.plan)
        tap.ok(world.status()["phase"] == "holding", "start: holding")
        again = world.must(0, "start", world.plan)
        tap.ok(again.get("already") is True,
               "a second start of the same plan is a no-op that says so")
        found = blocking(world.must(3, "finish", "acme"))
        tap.ok("mx-not-old" in found,
               f"finish blocks while the old MX is there: {sorted(found)}")
        senders.allow(12)

        world.knot.publish((10, QUEUE))
        senders.allow(30)
        wait_for("every vantage sees the queue alone",
                 lambda: world.views() == {"parked"})
        world.old.accept(False)
        senders.allow(40)
        found = blocking(world.must(3, "finish", "acme"))
        tap.ok("rcpt-probe" in found and "mx-not-old" not in found,
               f"finish blocks while the new system says 5xx: {sorted(found)}")

        attach(world, True)
        wait_for("the gate finish opens", lambda: world.tideover(
            "check", "acme", "--gate", "finish")[0] == 0)
        senders.allow_later(15)
        world.must(0, "finish", "acme")
        senders.allow(0)
        world.knot.publish((10, NEW))
        wait_for("every vantage sees the new system",
                 lambda: world.views() == {"new"})
        senders.allow(COUNT)
        wait_for("the gate close opens", lambda: world.tideover(
            "check", "acme", "--gate", "close")[0] == 0)
        world.must(0, "finish", "acme")
        tap.ok(world.status()["phase"] == "finished",
               "the gate close ends the plan")
        judge(tap, world, senders)
        world.must(0, "stop")
    finally:
        if senders:
            senders.stop()
        world.close()
        if not tap.bad and sys.exc_info()[0] is None:
            shutil.rmtree(world.folder, ignore_errors=True)


def judge(tap, world, senders):
    verdict = Judge(world, senders)
    queued = [m for m in senders.accepted if m.host == QUEUE]
    direct = len(senders.accepted) - len(queued)
    tap.ok(len(senders.accepted) == COUNT and not senders.bounced,
           f"all {COUNT} messages were answered 250, {len(queued)} by the "
           "queue")
    tap.ok(len(queued) > 50 and direct > 20,
           "the queue and both systems had their share")
    tap.ok(not verdict.lost, "every message arrived" + "".join(
        f" [{box} {m.number}]" for box, m in verdict.lost))
    tap.ok(not verdict.doubled, "none arrived twice")
    if world.new.ordered:
        tap.ok(not verdict.reordered, "each mailbox got its mail in order" +
               "".join(f" [{box} {m.number}]" for box, m in
                       verdict.reordered))
    else:
        tap.skip("each mailbox got its mail in order",
                 "smtp-sink does not tell; needs root for Postfix")
    tap.ok(not verdict.changed and not verdict.strange,
           "each is byte for byte what the system keeps of the same message "
           f"sent to it directly ({verdict.verbatim} verbatim)")
    tap.ok(verdict.verbatim > 0.9 * len({m.body for m in senders.accepted}),
           "and nearly all are kept verbatim")
    for box, body in verdict.changed[:3]:
        print(f"# changed in {box}: {body[:1000]!r}", file=sys.stderr)
    report = world.report()
    envelopes = sum(len(m.boxes) for m in queued)
    total = report["total"]
    tap.ok(report["balances"] and total["accepted"] == envelopes
           and total["delivered"] == envelopes,
           f"the ledger balances: {envelopes} envelopes accepted and "
           f"delivered ({total})")
    sent = sorted(sha256(m.body) for m in queued for _ in m.boxes)
    said = sorted(row["sha256"] for row in report["messages"])
    tap.ok(sent == said, "the report has the SHA-256 of each as it was sent")
    tap.ok(report["order_exceptions"] == [] and
           report["exceptions"]["uncertain"] == [],
           "the report names no exception")
    tap.ok(world.must(0, "journal", "verify", "acme") is not None,
           "the journal's chain is intact")


def main():
    tap = Tap()
    needed = ["knotd", "unbound", "swaks", "kdig", "openssl"]
    sink = os.environ.get("E2E_SINK") == "1" or os.geteuid() != 0
    gone = peers.missing(*needed, "smtp-sink" if sink else "postfix")
    if gone:
        tap.skip(f"the cutover of {DOMAIN} from {OLD}",
                 "missing: " + ", ".join(gone))
        tap.end()
    run(tap, sink)
    tap.end()


main()
