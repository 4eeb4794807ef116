#!/usr/bin/env python3
"""The breaker, the ramp, a pause and a target that is down (TAP)."""
import glob
import json
import re
import shutil
import tempfile
import time

import peers
from cutover import DOMAIN, Tap
from node import Node
from peers import wait_for
from replies import Parked, Standing, missing


def boxes(count):
    return [f"box{n}" for n in range(count)]


def closed_by_breaker(s):
    now = s.valve()
    return now if now["state"] == "closed" and "breaker" in now["reason"] \
        else None


def finish(s):
    """What `finish` says when it does not drain; it must not wait."""
    return s.world.must(3, "finish", "acme")


def ramp_and_breaker(tap):
    """Stages of 1 mailbox, then 10 % of them."""
    s = Parked(ramp=[1, "10%"])
    try:
        s.start()
        for round_ in range(2):
            for box in boxes(30):
                s.send(box)
        # box0 is the oldest: the first stage is this mailbox alone.
        s.target.play("rcpt box0@* -> 550 5.1.1 nobody has that address")
        s.gate_opens()
        finish(s)
        now = closed_by_breaker(s)
        tap.ok(now and "stage 1 of the ramp: 1 of 1" in now["reason"] and
               "create it" in now["reason"],
               f"a refusal in the ramp's first stage closes: {now['reason']}")
        tap.ok(not s.target.kept() and s.ledger()["held"] == 2,
               "no other mailbox was touched")
        tap.ok("create it" in s.alerts(), "the alert has the remedy")

        s.world.must(0, "stop")
        s.world.start_daemon()
        wait_for("the plan goes on",
                 lambda: s.world.status().get("phase") == "releasing")
        wait_for("the new system is healthy again", lambda: s.domain()
                 ["health"]["new"]["state"] == "healthy")
        tap.ok(closed_by_breaker(s) and not s.target.kept(),
               "a restart does not open the breaker: " + s.valve()["reason"])

        # Repaired for box0, but the tenant's connector is wrong.
        s.target.play("rcpt box7@* -> 550 5.7.64 TenantAttribution; Relay "
                      "Access Denied <box7@acme.example>\nrcpt box8@* -> 550 5.1.1 nobody")
        s.world.must(0, "queue", "release", "acme", "--all", "--reason",
                     "created")
        s.world.must(0, "resume", "acme")
        now = wait_for("the breaker closes", lambda: closed_by_breaker(s))
        tap.ok("550 5.7.64 TenantAttribution" in now["reason"] and
               "add it there" in now["reason"],
               f"a refusal of the target closes at once: {now['reason']}")
        with open(s.world.daemon.log.name, encoding="utf-8") as text:
            log = text.read()
        tap.ok("Denied <***@acme.example>" in log and "box7@" not in log,
               "the log names no recipient, whom the reply names")
        tap.ok(s.ledger()["held"] <= 2, "and holds no envelope for it")
        s.target.play("")
        wait_for("what was under way has ended", lambda: s.world.status()
                 ["queue"]["in_flight"] == 0)
        kept = len(s.target.kept())
        SEEN.clear()
        wait_for("it was probed again and again", lambda: probes_since(
            s.domain()["health"]["new"]) > 3)
        tap.ok(len(s.target.kept()) == kept, "nothing leaves though the target "
               "is well again: a person decides")
        s.world.must(0, "queue", "release", "acme", "--all", "--reason",
                     "created")
        s.gate_opens()
        s.world.must(0, "finish", "acme")
        tap.ok(s.complete(*boxes(30)), "finish again passes the gate, opens "
               "the breaker and drains all, in order, once")
        s.world.must(0, "stop")
    finally:
        s.close(not tap.bad)


def share_of_refused(tap, listed):
    """Without a ramp: one in ten refused of at least twenty outcomes."""
    s = Parked(ramp=[], max_flight=2)
    every = boxes(80 if listed else 40)
    try:
        if listed:
            # The gate asks about eight of them, whom nobody refuses.
            with_list(s, ["postmaster"] + every +
                      [f"box{n}" for n in range(10000, 20000)])
        s.start()
        for box in every:
            s.send(box)
            s.send(box)
        s.target.play("rcpt box2*@* -> 550 5.1.10 Recipient not found")
        wait_for("the gate lets it pass",
                 lambda: finish(s) and s.world.status()["phase"] == "releasing")
        now = closed_by_breaker(s)
        ledger = s.ledger()
        tap.ok(now and "outcomes were refused mailboxes" in now["reason"] and
               "create it" in now["reason"],
               f"the breaker counts refused mailboxes: {now['reason']}")
        tap.ok(ledger["waiting"] > 0,
               f"and closes before all is sent: {ledger}")
        if listed:
            s.target.play("rcpt box5*@* -> 550 5.1.10 Recipient not found")
        s.world.must(0, "resume", "acme")
        if listed:
            wait_for("the breaker closes again",
                     lambda: closed_by_breaker(s) and
                     s.ledger()["held"] > ledger["held"])
            tap.ok(s.ledger()["waiting"] > 0,
                   "resumed, refused mailboxes of the list close it again")
        else:
            s.settled(held=22)
            tap.ok(s.valve()["state"] == "open",
                   "resumed, refused mailboxes of no list count no more: "
                   "somebody saw that they are nobody's")
        s.target.play("")
        s.world.must(0, "queue", "release", "acme", "--all", "--reason",
                     "created")
        if listed:
            s.gate_opens()
            s.world.must(0, "finish", "acme")
        s.settled()
        tap.ok(s.complete(*every), "repaired, all drains in order")
        s.world.must(0, "stop")
    finally:
        s.close(not tap.bad)


def with_list(s, known):
    """The plan lists its recipients."""
    with open(s.world.plan, encoding="ascii") as plan:
        document = json.load(plan)
    with open(f"{s.world.folder}/recipients.csv", "w",
              encoding="ascii") as out:
        out.writelines(f"{box}@{DOMAIN}\n" for box in known)
    document["recipients"] = {"policy": "listed", "file": "recipients.csv"}
    with open(s.world.plan, "w", encoding="ascii") as plan:
        json.dump(document, plan)


def stages(s):
    """How many mailboxes each stage of the ramp had, as the log says."""
    found = []
    for path in glob.glob(f"{s.world.folder}/tideoverd-*"):
        with open(path, "rb") as log:
            found += re.findall(rb"stage \d+ of the ramp: (\d+) mailboxes",
                                log.read())
    return [int(n) for n in found]


def little_memory(s):
    """A daemon's configuration, for 12 envelopes."""
    config = f"{s.world.folder}/tideoverd.json"
    with open(config, "w", encoding="ascii") as out:
        json.dump({"tideoverd": 1, "limits": {"queue_in_memory": 12}}, out)
    return config


def long_line(tap):
    """A line that does not fit into memory, of a mailbox that nobody has."""
    s = Standing()
    try:
        s.world.start_daemon("--config", little_memory(s))
        s.start()
        s.target.play("rcpt box1@* -> 550 5.1.1 nobody")
        s.queue_up(*[["box1"]] * 60, *[["box2"]] * 20)
        s.settled(held=60)
        queue = s.world.status()["queue"]
        tap.ok(s.complete("box2") and queue["in_memory"] < 20,
               f"a long line is held, the others are not: {queue}")
        s.target.play("")
        said = s.world.must(0, "queue", "release", "acme", "--recipient",
                            f"box1@{DOMAIN}", "--reason", "created")
        s.settled()
        tap.ok(said["count"] == 60 and s.complete("box1", "box2"),
               "released as a whole, it arrives in order")
        s.target.play("rcpt box*@* mailbox first 6 -> 450 4.2.1 busy")
        s.queue_up(*[["box1"]] * 60, *[["box2"], ["box3", "box1"]] * 20)
        s.settled()
        tap.ok(s.complete("box1", "box2", "box3"),
               "lines that wait, all of them longer than memory: in order")
        s.world.must(0, "stop")
    finally:
        s.close(not tap.bad)


def ramp_of_a_long_queue(tap):
    """Stages are shares of all mailboxes that wait, in memory or not."""
    s = Parked(ramp=[1, "10%", "50%"])
    try:
        s.start("--config", little_memory(s))
        for box in boxes(60):
            s.send(box)
        s.target.play("rcpt box9*@* first 3 -> 450 4.2.1 busy")
        s.gate_opens()
        s.world.must(0, "finish", "acme")
        taken = stages(s)
        tap.ok(taken == [1, 6, 27], f"1, 10 % and 50 % of 60 mailboxes that "
               f"wait, of whom 12 fit into memory: {taken}")
        tap.ok(s.complete(*boxes(60)), "all arrive, in order")
        s.world.must(0, "stop")
    finally:
        s.close(not tap.bad)


def down(tap):
    """A target that goes away in the middle of a drain."""
    s = Standing()
    try:
        s.start()
        port = s.target.port
        numbers = [s.send("box1")]
        s.settled()
        s.target.close()
        gone = time.monotonic()
        numbers += [s.send("box1") for _ in range(3)]
        wait_for("it is noticed", lambda: s.valve()["state"] == "closed")
        took = time.monotonic() - gone
        tap.ok(took < 30 and "refused" in s.valve()["reason"],
               f"a dead target is noticed in {took:.1f} s: "
               f"{s.valve()['reason']}")
        # Long enough for many probes; none of them is an attempt.
        wait_for("it was probed again and again", lambda: (
            lambda h: h["state"] == "unhealthy" and probes_since(h) > 3)(
                s.domain()["health"]["primary"]))
        tap.ok(all(s.row("box1", n)["attempts"] == 0 for n in numbers[1:]),
               "it burns no attempts")
        s.target.start(port)
        s.settled()
        tap.ok(s.target.kept("box1") == numbers[1:] and
               all(s.row("box1", n)["attempts"] == 1 for n in numbers),
               "back, it gets the rest in order, at the first attempt")

        s.target.play("connect -> cut")
        wait_for("it is noticed", lambda: s.valve()["state"] == "closed")
        late = s.send("box2")
        s.target.play("")
        s.settled()
        tap.ok(s.row("box2", late)["attempts"] == 1,
               "who hangs up before the greeting is down as well")

        # No session may be left over that would still take mail.
        wait_for("no session is open", lambda: not sessions(s.target.port))
        s.target.play("banner -> silence")
        late = s.send("box3")
        wait_for("it is noticed", lambda: s.valve()["state"] == "closed", 60)
        s.target.play("")
        back = time.monotonic()
        s.settled()
        tap.ok(s.row("box3", late)["attempts"] == 1 and
               time.monotonic() - back < 45,
               "who takes the connection and says nothing keeps up nobody "
               f"once it is back ({time.monotonic() - back:.1f} s)")
        s.world.must(0, "stop")
    finally:
        s.close(not tap.bad)


def sessions(port):
    """Open connections to the port on this host, as the kernel tells."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return [row for row in rows if row[3] == "01" and
            row[2].endswith(f":{port:04X}")]


SEEN = set()


def probes_since(health):
    """Different probes seen so far, by their time."""
    SEEN.add(health["last_probe"])
    return len(SEEN)


def pause_of_a_domain(tap):
    folder = tempfile.mkdtemp(prefix="tideover-e2e-")
    node = Node(folder)
    other = "other.example"
    node.write(domains=[{"name": DOMAIN}, {"name": other}])
    node.start()
    try:
        def reasons():
            domains = json.loads(node.tideover("status", "acme")[1])["domains"]
            return {d["name"]: (d["paused"], d["valve"]["reason"])
                    for d in domains}

        code, _, error = node.tideover("pause", "acme", "--domain",
                                       "strange.example")
        tap.ok(code != 0 and "no domain strange.example" in error +
               _, f"a domain that the plan does not have: {error or _}")
        assert node.tideover("pause", "acme", "--domain", other.upper(),
                             "--reason", "new licences")[0] == 0
        now = reasons()
        tap.ok(now[other] == ("new licences", "paused by an operator: new "
                              "licences") and now[DOMAIN][0] is None,
               f"pause --domain closes one valve: {now}")
        assert node.tideover("stop")[0] == 0
        node.daemon.close()
        node.daemon = peers.Child(folder, "tideoverd-again",
                                  f"{node.build}/tideoverd", "--state",
                                  node.state)
        wait_for("tideoverd answers", lambda: node.tideover("status")[0] != 4)
        wait_for("the plan is there", lambda: other in reasons())
        tap.ok(reasons()[other][0] == "new licences" and
               reasons()[DOMAIN][0] is None, "a restart keeps it")
        assert node.tideover("pause", "acme", "--reason", "lunch")[0] == 0
        assert node.tideover("resume", "acme", "--domain", other)[0] == 0
        now = reasons()
        tap.ok(now[other][0] == now[DOMAIN][0] == "lunch",
               "resume --domain leaves the plan's pause")
        assert node.tideover("resume", "acme")[0] == 0
        tap.ok({r[0] for r in reasons().values()} == {None},
               "resume ends every pause")
        node.tideover("stop")
    finally:
        node.daemon.close()
        if not tap.bad:
            shutil.rmtree(folder, ignore_errors=True)


def main():
    tap = Tap()
    gone = missing()
    if gone:
        tap.skip("the breaker", "missing: " + ", ".join(gone))
    else:
        pause_of_a_domain(tap)
        ramp_and_breaker(tap)
        share_of_refused(tap, False)
        share_of_refused(tap, True)
        ramp_of_a_long_queue(tap)
        long_line(tap)
        down(tap)
    tap.end()


main()
