#!/usr/bin/env python3
"""Two domains of one plan, one of them shut: the other has its mail as if
there were no other (TAP)."""
import time

import peers
from cutover import DOMAIN, OLD, QUEUE, Client, Tap
from peers import wait_for
from replies import Scene, missing, standing

OTHER = f"other.{DOMAIN}"
BOXES = [f"box{n}" for n in range(20)]
ROUNDS = 10


class Two(Scene):
    """A standing backup of two domains; `apart`: each has a system."""

    def __init__(self, apart):
        self.apart = apart
        super().__init__(self.plan, "old")
        self.world.knot.more = f"other 60 MX 10 {OLD}.\nother 60 MX 50 " \
                               f"{QUEUE}.\n"

    def plan(self, world, plan):
        plan = standing({"retry_min": "200ms", "retry_max": "500ms"},
                        max_flight=4)(world, plan)
        other = {"name": OTHER}
        self.other = world.old
        if self.apart:
            self.other = world.keep(peers.Lab(
                world.folder, "other.hosts.example", OTHER))
            other["primary"] = {**plan["primary"], "deliver_to":
                                f"127.0.0.1:{self.other.port}"}
        plan["domains"].append(other)
        plan["probe"]["recipients"].append(f"postmaster@{OTHER}")
        return plan

    def start(self):
        self.world.knot.publish((10, OLD), (50, QUEUE))
        self.world.must(0, "start", self.world.plan)
        wait_for("both valves open", lambda: self.states() == ["open"] * 2)

    def domains(self):
        return self.world.status()["domains"]

    def states(self):
        return [d["valve"]["state"] for d in self.domains()]

    def ledgers(self):
        return [d["ledger"] for d in self.domains()]

    def fill(self):
        """As many to each, the other's always older; how many."""
        self.world.must(0, "pause", "acme", "--domain", DOMAIN)
        client = Client(self.world.port, False)
        for _ in range(ROUNDS):
            for box in BOXES:
                client.command(b"MAIL FROM:<s@b.example>", 250)
                client.command(f"RCPT TO:<{box}@{OTHER}>".encode(), 250)
                client.command(b"DATA", 354)
                client.command(b"Subject: other\r\n\r\nx\r\n.", 250)
                self.send(box, client=client)
        client.close()
        return ROUNDS * len(BOXES)

    def drain(self):
        """Seconds until the first domain has all."""
        begun = time.monotonic()
        self.world.must(0, "resume", "acme", "--domain", DOMAIN)
        wait_for("the open domain has its mail",
                 lambda: self.ledgers()[0]["waiting"] == 0)
        return time.monotonic() - begun

    def sessions(self, since):
        """Those that brought a message."""
        return {e["session"] for e in self.target.events()[since:]
                if e["event"] == "dot" and e["code"] == 250}


def known(s, yes):
    s.target.play(f"have box*@{OTHER}\nhave postmaster@{OTHER}\n"
                  if yes else "")


def check(tap, s, what, words):
    """The first domain drains beside one that is shut."""
    many = s.fill()
    wait_for("the other is shut", lambda: s.states()[1] == "closed")
    before = len(s.target.events())
    spent = s.drain()
    valves = [d["valve"] for d in s.domains()]
    mine, other = s.ledgers()
    tap.ok(mine["delivered"] == many and s.complete(*BOXES),
           f"{what}: the other domain has its {many}, each mailbox in order "
           f"({spent:.1f} s)")
    tap.ok(other["waiting"] == many and other["held"] == 0,
           f"nothing of the shut one is held: {other}")
    tap.ok(valves[0]["state"] == "open" and valves[1]["state"] == "closed" and
           all(word in valves[1]["reason"] for word in words),
           f"status names the shut one: {valves[1]['reason']}")
    wide = len(s.sessions(before))
    tap.ok(wide == 4 and spent < 60, f"at full pace: {wide} sessions of 4")
    return many


def closed_target(tap):
    s = Two(apart=True)
    try:
        s.start()
        s.other.play("connect -> cut")
        many = check(tap, s, "a target is down", ["closed the connection"])
        s.other.play("")
        wait_for("the other has its mail", lambda: s.ledgers()[1]
                 ["delivered"] == many)
        tap.ok(True, "back, it gets all")
        s.world.must(0, "stop")
    finally:
        s.close(not tap.bad)


def refused_domain(tap):
    s = Two(apart=False)
    try:
        known(s, True)
        s.start()
        known(s, False)
        wait_for("a probe has seen it", lambda: "postmaster@other" in
                 str([e for e in s.target.events()[-40:]
                      if e.get("code") == 550]))
        many = check(tap, s, "a target does not know one domain",
                     ["550", "refuses the domain"])
        known(s, True)
        wait_for("the other has its mail", lambda: s.ledgers()[1]
                 ["delivered"] == many)
        tap.ok(s.states() == ["open"] * 2, "known again, it gets all")
        s.world.must(0, "stop")
    finally:
        s.close(not tap.bad)


def main():
    tap = Tap()
    gone = missing()
    if gone:
        tap.skip("two domains, one of them shut", f"needs {', '.join(gone)}")
        tap.end()
    closed_target(tap)
    refused_domain(tap)
    tap.end()


main()
