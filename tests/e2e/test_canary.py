#!/usr/bin/env python3
"""tideoverd sends canaries: messages of our own that prove the way to the
new system, beside the lines and whatever the valve (TAP)."""
import json
import re
import shutil
import socket
import sys
import threading
import time

import peers
import replies
from cutover import DOMAIN, QUEUE, Client, Tap, World, findings, listed
from peers import wait_for

PILOT = "pilot@tenant.example"


def with_canary(**canary):
    def change(_, plan):
        plan["canary"] = canary
        plan["timing"]["canary_wait"] = "3s"
        return plan
    return change


def row(document, check="canary-domain"):
    return [f for f in findings(document) if f["check"] == check][0]


def journal(world):
    path = f"{world.state}/plans/acme/journal.ndjson"
    with open(path, "rb") as file:
        lines = [json.loads(line) for line in file.read().split(b"\n")
                 if line.startswith(b"{")]
    return [line["data"] | {"event": line["event"]} for line in lines
            if line["event"].startswith("canary")]


def park(world):
    world.knot.publish((10, QUEUE))
    wait_for("every vantage sees the queue alone",
             lambda: world.views() == {"parked"})


def bodies(world, box):
    return [a.body.decode("ascii") for a in world.new.arrivals()
            if a.mailbox == box]


def arrives(tap):
    """At a real Postfix, over TLS, while the valve is closed."""
    boxes = [f"box1@{DOMAIN}", f"box2@{DOMAIN}"]
    world = World(peers.Postfix, change=with_canary(recipients=boxes))
    # All that it has is looked at, our Received field too.
    world.new.trace = ()
    good = False
    try:
        world.must(0, "start", world.plan)
        park(world)
        client = Client(world.port, False)
        client.send(["box1"], b"Subject: queued\r\n\r\nhello\r\n")
        client.close()
        said = world.tideover("canary", "acme", "--initial")
        tap.ok(said[0] == 1 and "canary.initial" in said[1]["error"],
               f"without initial ones there are none: {said[1]['error']}")

        said = world.must(0, "canary", "acme", "--by", "anna")["canaries"]
        tap.ok([c["address"] for c in said] == boxes and
               all(c["state"] == "accepted" and c["code"] == 250 and
                   "queued as" in c["text"] and "TLS" in c["tls"] and
                   c["peer"] == f"127.0.0.1:{world.new.port}"
                   for c in said),
               f"tideover canary: accepted, with TLS and queue id: {said[0]}")
        mail = bodies(world, "box1")
        words = mail[0] if mail else ""
        trace = re.search(
            rf"^Received: by {re.escape(QUEUE)} \(tideover\) id (\w+)\n\tfor "
            rf"<{boxes[0]}>;\n\t", words, re.M)
        tap.ok(len(mail) == 1 and trace and trace[1] == said[0]["id"],
               "it arrives once, with our trace field")
        tap.ok(all(field in words for field in (
            f"From: Mail queue of the migration <postmaster@{QUEUE}>\n",
            f"To: <{boxes[0]}>\n", f"Message-ID: <{said[0]['id']}@{QUEUE}>\n",
            f"Subject: tideover canary {said[0]['id']} of plan acme\n",
            "Auto-Submitted: auto-generated\n", "What to do: ")) and
            words.startswith(f"Return-Path: <postmaster@{QUEUE}>\n"),
            "it says who sent it, what it is and what to do")
        domain = world.status()["domains"][0]
        tap.ok(domain["valve"]["state"] == "closed" and
               domain["ledger"]["accepted"] == 1 and
               domain["ledger"]["waiting"] == 1 and
               len(listed(world)) == 1,
               "the valve was closed, and ledger and queue know of none")
        again = world.must(0, "canary", "acme")["canaries"]
        tap.ok(len(bodies(world, "box1")) == 1 + again[0]["sent_now"],
               "asked at once again, a mailbox gets another one only after "
               "its while")

        seen = row(world.tideover("check", "acme", "--gate", "finish")[1])
        tap.ok(seen["verdict"] == "warn" and "not junk" in seen["remedy"] and
               boxes[1] in seen["summary"],
               f"accepted, arrival not seen: {seen['summary']}")
        world.must(0, "waive", "acme", "canary-domain", "--gate", "finish",
                   "--attest", "--by", "anna", "--reason", "inbox, 10:00")
        seen = row(world.tideover("check", "acme", "--gate", "finish")[1])
        tap.ok(seen["verdict"] == "waived" and seen["waived_by"] == "anna",
               "anna attests that she saw them")

        before = len(bodies(world, "box1"))
        world.must(0, "stop")
        world.start_daemon()
        seen = row(world.tideover("check", "acme", "--gate", "finish")[1])
        tap.ok(seen["verdict"] == "waived" and
               seen["evidence"][0]["id"] == again[0]["id"],
               "a restart forgets neither canary nor attestation")
        wait_for("the gate finish opens", lambda: world.tideover(
            "check", "acme", "--gate", "finish")[0] == 0)
        world.must(0, "finish", "acme")
        mail = bodies(world, "box1")
        ledger = world.status()["domains"][0]["ledger"]
        tap.ok(len(mail) == before + 1 and "queued" in mail[-1] and
               ledger["accepted"] == ledger["delivered"] == 1,
               "finish sends none where one stands, and replays the queue")
        report = world.report()
        attempt = report["messages"][0]["attempt_log"][-1]
        tap.ok(attempt["tls"] == said[0]["tls"] and
               attempt["target"] == said[0]["target"],
               "the replay went to the same target over the same TLS: "
               f"{attempt['tls'][:60]}")
        events = [(c["event"], c["address"], c.get("by"))
                  for c in report["canaries"]]
        tap.ok(events[0] == ("canary", boxes[0], "anna") and
               events[1][0] == "canary-reply",
               f"the report has each, and what came of it: {events}")
        with open(f"{world.state}/plans/acme/journal.ndjson", "rb") as file:
            digest = re.search(rb'"for":"(\w{64})"', file.read())[1].decode()
        path = f"{world.folder}/redacted.json"
        world.must(0, "report", "acme", "--redact", "--output", path)
        with open(path, encoding="utf-8") as out:
            text = out.read()
        tap.ok("canary-reply" in text and "box1@" not in text and
               digest not in text, "redacted it names no mailbox")
        path = f"{world.folder}/report.html"
        world.must(0, "report", "acme", "--output", path)
        with open(path, encoding="utf-8") as out:
            tap.ok("Canaries: messages of our own" in out.read(),
                   "for people as well")
        world.must(0, "journal", "verify", "acme")
        good = not tap.bad
    finally:
        close(world, good)


def close(world, good):
    world.tideover("stop")
    world.close()
    if good and sys.exc_info()[0] is None:
        shutil.rmtree(world.folder, ignore_errors=True)
    else:
        print(f"# kept: {world.folder}", flush=True)


def gates(tap):
    """start and finish wait for theirs, and send them."""
    box = f"box1@{DOMAIN}"
    world = World(peers.Lab, change=with_canary(initial=[PILOT],
                                                recipients=[box]))
    good = False
    try:
        world.new.play("rcpt pilot@* -> 550 5.7.1 not from there")
        shut = world.must(3, "start", world.plan)
        first = row(shut, "canary-initial")
        tap.ok(first["verdict"] == "fail" and "550 5.7.1" in first["summary"]
               and PILOT in first["summary"] and
               "a policy of the target" in first["remedy"] and
               shut["phase"] == "opening",
               f"start: {first['summary']}: {first['remedy']}")
        world.new.play(f"have {PILOT}")
        sent = len(journal(world))
        seen = row(world.tideover("check", "acme", "--gate", "start")[1],
                   "canary-initial")
        tap.ok(seen["verdict"] == "fail" and len(journal(world)) == sent,
               "check sends none and shows the last")
        wait_for("start goes through its gate", lambda: world.tideover(
            "start", world.plan)[0] == 0)
        tap.ok(world.new.kept() == [("pilot", 0)],
               "start sends it again: once it is accepted the gate opens")

        park(world)
        world.must(0, "pause", "acme", "--reason", "a night's rest")
        refuses = f"have {PILOT}\ndot box1@* -> 550 5.4.1 Recipient address " \
            "rejected: Access denied"
        world.new.play(refuses)
        wait_for("the probes have their while", lambda: {
            f["check"] for f in findings(world.tideover(
                "check", "acme", "--gate", "finish")[1])
            if f["verdict"] in ("fail", "unknown")} == {"canary-domain"})
        shut = world.must(3, "finish", "acme")
        tap.ok(row(shut)["verdict"] == "fail" and
               "550 5.4.1" in row(shut)["summary"] and
               shut["phase"] == "holding",
               f"finish: the probe says yes, and: {row(shut)['summary']}")
        status, said = world.tideover(
            "waive", "acme", "canary-domain", "--gate", "finish", "--attest",
            "--by", "anna", "--reason", "it will be fine")
        tap.ok(status == 1 and "answers what is not known" in
               said["error"], f"no attestation hides that: {said['error']}")

        deferred(tap, world)
        hostile(tap, world)
        world.new.play("")
        finishes(tap, world)
        good = not tap.bad
    finally:
        close(world, good)


def finish_sends(world):
    """finish, when the mailbox may get the next one; its finding."""
    before = len(journal(world))

    def sent():
        document = world.must(3, "finish", "acme")
        return row(document) if len(journal(world)) > before else None
    return wait_for("finish sends one", sent)


def deferred(tap, world):
    world.new.play("dot box1@* -> 451 4.7.1 greylisted, try later")
    seen = finish_sends(world)
    tap.ok(seen["verdict"] in ("unknown", "fail") and
           "451 4.7.1" in seen["summary"] and "try later" in seen["remedy"],
           f"put off: {seen['verdict']}: {seen['summary']}")
    wait_for("none is accepted for canary_wait", lambda: row(world.tideover(
        "check", "acme", "--gate", "finish")[1])["verdict"] == "fail")
    seen = row(world.tideover("check", "acme", "--gate", "finish")[1])
    tap.ok("none was accepted in 3s" in seen["summary"],
           f"for too long: {seen['summary']}")


def hostile(tap, world):
    world.new.play("dot box1@* -> keep cut")
    seen = finish_sends(world)
    tap.ok(seen["verdict"] == "fail" and "took no canary" in seen["summary"]
           and "end of data" in seen["remedy"],
           f"cut after the dot: {seen['summary']}: {seen['remedy']}")
    world.new.play("dot box1@* -> silence")
    before = time.monotonic()
    seen = finish_sends(world)
    tap.ok(seen["verdict"] in ("unknown", "fail") and
           time.monotonic() - before < 20,
           f"silence does not hang the gate: {seen['summary']}")
    seen = wait_for("it has its end", lambda: (lambda f: f if
                    "took no canary" in f["summary"] else None)(
                        row(world.tideover("check", "acme", "--gate",
                                           "finish")[1])))
    tap.ok("end of data: no answer in 3s" in seen["remedy"],
           f"and ends: {seen['remedy']}")
    world.new.play("any -> slowly 1s")
    seen = finish_sends(world)
    tap.ok(seen["verdict"] in ("unknown", "fail"),
           f"nor does a byte a second: {seen['summary']}")
    world.new.play("")
    world.new.close()
    flood = Flood(world.new.port)
    seen = finish_sends(world)
    tap.ok(flood.sent > 65536 and seen["verdict"] == "fail",
           f"nor a reply without an end ({flood.sent} bytes of it): "
           f"{seen['summary']}: {seen['remedy']}")
    flood.close()
    world.new.start(world.new.port)


class Flood:
    """Says 250- for ever."""

    def __init__(self, port):
        self.sent = 0
        self.sock = socket.create_server(("127.0.0.1", port))
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.session, args=(sock,),
                             daemon=True).start()

    def session(self, sock):
        try:
            sock.sendall(b"220 flood\r\n")
            sock.recv(1000)
            while True:
                sock.sendall(b"250-" + b"more" * 50 + b"\r\n")
                self.sent += 206
        except OSError:
            sock.close()

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.thread.join(5)


def finishes(tap, world):
    ledger = world.status()["domains"][0]["ledger"]
    tap.ok(ledger["accepted"] == 0, f"none of them is ledger mail: {ledger}")
    wait_for("all but the canary is well again", lambda: {
        f["check"] for f in findings(world.tideover(
            "check", "acme", "--gate", "finish")[1])
        if f["verdict"] in ("fail", "unknown")} == {"canary-domain"})
    wait_for("finish goes through its gate", lambda: world.tideover(
        "finish", "acme", "--detach")[0] == 0)
    last = journal(world)[-1]
    tap.ok(last["state"] == "accepted" and
           world.status()["phase"] in ("releasing", "trailing"),
           "accepted, it opens the gate")
    before = len(journal(world))
    tap.ok(len([j for j in journal(world) if j["event"] == "canary"]) ==
           len([j for j in journal(world) if j["event"] == "canary-reply"])
           and before > 8, f"the journal has every answer: {before} lines")


def main():
    tap = Tap()
    lacks = replies.missing() or peers.missing("postfix")
    if lacks:
        print(f"1..0 # skip missing: {' '.join(lacks)}")
        return 0
    arrives(tap)
    gates(tap)
    print(f"1..{tap.number}")
    return 1 if tap.bad else 0


sys.exit(main())
