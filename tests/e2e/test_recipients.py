#!/usr/bin/env python3
"""The list of recipients: what the command reads of it before a daemon runs,
and what has to be seen before the queue refuses the others (TAP)."""
import os
import shutil
import sys
import time

import peers
from cutover import (DOMAIN, QUEUE, Client, Refused, Tap, World,
                     findings)
from node import get
from peers import wait_for

DAY = 24 * 3600
LIST, TRACE = "recipients.csv", "trace.csv"
STRANGERS = "rcpt nobody-*@* -> 550 5.1.1 nobody of that name\n"


def write_list(world, count):
    with open(f"{world.folder}/{LIST}", "w", encoding="ascii") as out:
        out.write("address\n" + "".join(
            f"box{i}@{DOMAIN}\n" for i in range(count)))


def write_trace(world, *boxes):
    """Mail for each of them, a fortnight ago and now."""
    with open(f"{world.folder}/{TRACE}", "w", encoding="ascii") as out:
        out.write('"RecipientAddress","Status","Received"\r\n')
        for box in boxes:
            for ago in (13.5 * DAY, 60):
                when = time.strftime("%Y-%m-%dT%H:%M:%S.0000000Z",
                                     time.gmtime(time.time() - ago))
                out.write(f'"{box}@{DOMAIN}","Delivered","{when}"\r\n')
        out.write(f'"spam@{DOMAIN}","Failed","{when}"\r\n')


def refusing(world, plan):
    write_list(world, 3)
    plan["recipients"] = {"policy": "listed", "file": LIST,
                          "unknown": "refuse"}
    plan["evidence"] = [TRACE]
    return plan


def named(document, check):
    return [f for f in findings(document) if f["check"] == check][0]


def before_a_daemon(tap, world):
    write_trace(world, "box0")
    document = world.must(0, "plan", world.plan)
    found = named(document, "recipients")
    asked = found["evidence"][0]
    tap.ok(asked["asked"].endswith("from the file") and asked["count"] == 3
           and asked["file"].endswith(LIST) and found["verdict"] == "warn",
           f"plan reads the list: {found['summary']}")
    found = named(document, "queue-cert")
    asked = found["evidence"][0]
    tap.ok(asked["asked"].startswith("the file ") and
           asked["tls"]["subject"] == QUEUE and
           "not trusted" in found["summary"],
           f"and the certificate: {found['summary']}")
    write_list(world, 0)
    found = named(world.must(0, "plan", world.plan), "recipients")
    tap.ok("lists nobody" in found["remedy"],
           f"a list that cannot be read is a finding: {found['remedy']}")
    write_list(world, 3)


def proven(world):
    return named(world.tideover("check", "acme", "--gate", "start", "--only",
                                "recipients-proven")[1], "recipients-proven")


def old_was_asked(found):
    return [e for e in found["evidence"] if "sampled" in e][0]


def the_others_are_refused(tap, world):
    os.unlink(f"{world.folder}/{TRACE}")
    found = proven(world)
    tap.ok(found["verdict"] == "warn" and TRACE in found["remedy"],
           "without the trace it is not known (which a rehearsal excuses): "
           f"{found['summary']}")
    write_trace(world, "box0", "Box1")
    found = proven(world)
    tap.ok(found["verdict"] == "pass" and "3 of 3" in found["summary"],
           f"{found['verdict']}: {found['summary']}")
    write_trace(world, "box0", "cora")
    found = proven(world)
    tap.ok(found["verdict"] == "fail" and f"cora@{DOMAIN}" in found["remedy"]
           and "spam@" not in found["remedy"],
           f"{found['summary']}: {found['remedy']}")
    write_trace(world, "box0")
    world.old.play(STRANGERS + "rcpt box2@* -> 550 5.1.1 gone")
    found = proven(world)
    tap.ok(found["verdict"] == "fail" and f"box2@{DOMAIN}" in found["remedy"],
           f"{found['summary']}: {found['remedy']}")
    world.old.play("rcpt nobody-*@* -> 250 2.1.5 anybody")
    found = proven(world)
    tap.ok(found["verdict"] == "fail" and "nobody has" in found["summary"],
           f"{found['summary']}")
    world.old.play(STRANGERS)


def a_long_list_is_sampled(tap, world):
    write_list(world, 500)
    before = len(world.old.events())
    found = proven(world)
    boxes = {e["address"] for e in world.old.events()[before:]
             if e["event"] == "rcpt" and e["address"].startswith("box")}
    asked = old_was_asked(found)
    tap.ok(found["verdict"] == "pass" and "64 of 500" in found["summary"] and
           asked["listed"] == 500 and asked["sampled"] == 64 ==
           asked["accepted"] == len(boxes), found["summary"])


def answers(world, box):
    client = Client(world.port, False)
    client.command(b"MAIL FROM:<sender@b.example>", 250)
    try:
        client.command(b"RCPT TO:<%s@%s>" % (box, DOMAIN.encode()), 250)
    except Refused:
        return "refused"
    finally:
        client.close()
    return "taken"


def a_list_is_renewed(tap, world):
    """The daemon looks at the file as often as at DNS."""
    tap.ok(answers(world, b"box510") == "refused", "who is not listed is "
           "refused")
    write_list(world, 600)
    wait_for("who was added is taken",
             lambda: answers(world, b"box510") == "taken")
    tap.ok(True, "who is added is taken, by the tideoverd that runs")
    write_list(world, 400)
    wait_for("the watch has seen the file", lambda: "more than a fifth" in
             open(world.daemon.log.name, encoding="utf-8").read())
    tap.ok(answers(world, b"box510") == "taken",
           "a list that lost a third is not taken over")
    acts = [(a["taken"], a["listed"]) for a in
            get(world.state, "/v1/plans/acme/report")["operator_actions"]
            if a["event"] == "recipients"]
    tap.ok(acts == [(True, 500), (True, 600), (False, 600)],
           f"and the report says what became of each: {acts}")


def main():
    tap = Tap()
    gone = peers.missing("knotd", "unbound", "kdig", "openssl")
    if gone:
        tap.skip("recipients", "missing: " + ", ".join(gone))
        tap.end()
    world = World(peers.Lab, change=refusing)
    try:
        world.old.play(STRANGERS)
        before_a_daemon(tap, world)
        world.start_daemon()
        world.must(0, "start", world.plan)
        the_others_are_refused(tap, world)
        a_long_list_is_sampled(tap, world)
        a_list_is_renewed(tap, world)
        world.must(0, "stop")
    finally:
        world.close()
        if not tap.bad and sys.exc_info()[0] is None:
            shutil.rmtree(world.folder, ignore_errors=True)
    tap.end()


main()
