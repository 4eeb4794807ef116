#!/usr/bin/env python3
"""A domain moves from Postfix to Exim (TAP)."""
import os
import shutil
import sys
import types

import peers
from cutover import NEW, QUEUE, Client, Judge, Tap, World, make_messages
from peers import wait_for

COUNT = 120


def attempts_of(report):
    return [row["attempts"] for row in report["messages"]]


def run(tap):
    world = World(peers.Postfix, new_system=peers.Exim, max_flight=6)
    try:
        messages, where = make_messages(COUNT, numbered=False)
        print(f"# mail from {where}")
        world.must(0, "start", world.plan)
        world.knot.publish((10, QUEUE))
        wait_for("every vantage sees the queue alone",
                 lambda: world.views() == {"parked"})
        client = Client(world.port, True)
        for message in messages:
            client.send(message.boxes, message.body)
            message.host = QUEUE
        client.close()
        wait_for("the gate finish opens", lambda: world.tideover(
            "check", "acme", "--gate", "finish")[0] == 0)
        world.must(0, "finish", "acme")
        verdict = Judge(world, types.SimpleNamespace(accepted=messages))
        tap.ok(not verdict.lost and not verdict.strange,
               f"Exim has every one of {COUNT} messages" + "".join(
                   f" [{box} {m.number}]" for box, m in verdict.lost))
        tap.ok(not verdict.doubled, "none twice")
        tap.ok(not verdict.reordered, "each mailbox got its mail in order")
        tap.ok(not verdict.changed and verdict.verbatim > 0,
               "each is byte for byte what Exim keeps of the same message "
               f"sent to it directly ({verdict.verbatim} verbatim)")
        envelopes = sum(len(m.boxes) for m in messages)
        report = world.report()
        tap.ok(report["balances"] and report["total"]["delivered"] ==
               envelopes and set(attempts_of(report)) == {1},
               f"delivered at the first attempt: {report['total']}")
        log = world.new.log()
        tap.ok(log.count(b" <= ") >= COUNT and log.count(b"X=TLS1") >= COUNT,
               "over TLS" + (", with BDAT" if b" K " in log else ""))
        world.knot.publish((10, NEW))
        world.must(0, "stop")
    finally:
        world.tideover("stop")
        world.close()
        if not tap.bad and sys.exc_info()[0] is None:
            shutil.rmtree(world.folder, ignore_errors=True)


def main():
    tap = Tap()
    gone = peers.missing("knotd", "unbound", "kdig", "openssl", "postfix")
    if not peers.exim_program():
        gone.append("Exim (packaging/install-deps.sh test)")
    if os.geteuid() != 0:
        gone.append("root for Postfix and Exim")
    if gone:
        tap.skip("a cutover to Exim", "missing: " + ", ".join(gone))
    else:
        run(tap)
    tap.end()


main()
