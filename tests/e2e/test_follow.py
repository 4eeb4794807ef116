#!/usr/bin/env python3
"""The next envelope follows a message, whatever becomes of that (TAP).

A flight of one is full with one message under way, so that to a target with
PIPELINING every further one is announced behind the message before it.
"""
import select
import shutil
import socket
import sys
import threading
import time

from cutover import OLD, QUEUE, Client, Tap, World, listed
from peers import free_port, wait_for
from replies import Standing, missing, standing

BOXES = [f"box{n}" for n in range(1, 9)]


class Patient:
    """A target that answers the end of a message only once it has the next
    MAIL, or after a second without one."""

    tls = "opportunistic"

    def __init__(self, folder, host, domain):
        self.host, self.domain, self.port = host, domain, free_port()
        self.followed = self.kept = 0
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,),
                             daemon=True).start()

    def serve(self, sock):
        with sock, sock.makefile("rb") as lines:
            sock.sendall(b"220 patient\r\n")
            while line := lines.readline():
                verb = line[:4].upper()
                if verb == b"EHLO":
                    sock.sendall(b"250-patient\r\n250-8BITMIME\r\n"
                                 b"250 PIPELINING\r\n")
                elif verb == b"DATA":
                    sock.sendall(b"354 go\r\n")
                    while lines.readline() != b".\r\n":
                        pass
                    self.kept += 1
                    self.followed += self.hears_more(sock, lines)
                    sock.sendall(b"250 kept\r\n")
                elif verb == b"QUIT":
                    sock.sendall(b"221 bye\r\n")
                    return
                elif verb == b"RCPT" and b"box" not in line.lower() and \
                        b"postmaster" not in line.lower():
                    sock.sendall(b"550 5.1.1 nobody\r\n")
                else:
                    sock.sendall(b"250 ok\r\n")

    @staticmethod
    def hears_more(sock, lines):
        """More than what is read already, or in a second."""
        sock.setblocking(False)
        try:
            if not lines.peek(1):
                select.select([sock], [], [], 1)
            return lines.peek(5)[:5].upper() == b"MAIL "
        finally:
            sock.setblocking(True)

    def close(self):
        self.listener.close()


def announced(tap):
    world = World(Patient, change=standing(max_flight=1))
    target = world.old
    try:
        world.knot.publish((10, OLD), (50, QUEUE))
        world.must(0, "start", world.plan)
        wait_for("the valve opens", lambda: world.status()["domains"][0]
                 ["valve"]["state"] == "open")
        world.must(0, "pause", "acme")
        client = Client(world.port, False)
        for n in range(12):
            client.send([BOXES[n % 8]], b"Subject: %d\r\n\r\nx\r\n" % n,
                        b"s@b.example")
        client.close()
        world.must(0, "resume", "acme")
        wait_for("all is delivered", lambda: world.status()["domains"][0]
                 ["ledger"]["delivered"] == 12)
        tap.ok(target.kept == 12, "each is delivered once")
        tap.ok(target.followed >= 10, "the next MAIL is there before the end "
               f"of a message is answered: {target.followed} of 11 times")
        world.must(0, "stop")
    finally:
        world.tideover("stop")
        world.close()
        if sys.exc_info()[0] is None:
            shutil.rmtree(world.folder, ignore_errors=True)


def each(count):
    return [(BOXES[n % len(BOXES)],) for n in range(count)]


def attempts(s, numbers):
    return [s.row(box, n)["attempts"] for box in BOXES
            for n in s.sent[box] if n in numbers]


def refused(tap, s):
    s.target.play("dot box1@* first 1 -> 550 5.7.1 spam")
    numbers = s.queue_up(*each(16))
    s.settled(held=1)
    tap.ok(s.target.kept("box1") == s.sent["box1"][1:] and
           s.complete(*BOXES[1:]), "a message is refused: what followed it "
           "goes on, once and in order")
    tap.ok(attempts(s, numbers) == [1] * 16, "with one attempt each")
    s.world.must(0, "queue", "discard", "acme", "--all", "--by", "anna",
                 "--reason", "spam")
    s.sent["box1"].pop(0)
    s.target.play("without CHUNKING\ndot every 3 -> 451 4.3.0 not now")
    s.queue_up(*each(16))
    s.settled()
    tap.ok(s.complete(*BOXES), "messages are deferred: all in order, once")


def over(tap, s):
    s.target.play("mail session after 3 -> 421 4.3.2 enough for a session")
    numbers = s.queue_up(*each(16))
    begun = time.monotonic()
    s.settled()
    tap.ok(s.complete(*BOXES) and time.monotonic() - begun < 60,
           "a session ends with 421 to what followed: that goes on in the "
           "next one, at once")
    deferred = [n for n in attempts(s, numbers) if n > 2]
    tap.ok(not deferred, "with two attempts at the most")
    s.target.play("mail session after 2 -> cut")
    s.queue_up(*each(16))
    s.settled()
    tap.ok(s.complete(*BOXES), "so it does when it ends without a word")
    s.target.play("dot every 4 -> keep cut")
    numbers = s.queue_up(*each(16))
    s.settled()
    rows = [s.row(box, n) for box in BOXES for n in s.sent[box]
            if n in numbers]
    again = sum(r["uncertain"] for r in rows)
    extra = sum(len(s.target.kept(b)) - len(s.sent[b]) for b in BOXES)
    tap.ok(all(s.in_order(b) for b in BOXES) and extra == again > 0,
           f"cut behind the dot: {again} uncertain, and only these twice")


def late(tap, s):
    for box in BOXES:
        s.sent[box] = []
    before = {box: len(s.target.kept(box)) for box in BOXES}
    s.target.play("dot box1@* first 1 -> delay 8s")
    begun = time.monotonic()
    s.queue_up(*each(16))
    wait_for("the others have theirs", lambda: all(
        s.target.kept(b)[before[b]:] == s.sent[b] for b in BOXES[1:]))
    took = time.monotonic() - begun
    tap.ok(s.target.kept("box1")[before["box1"]:] == [],
           f"what follows a message that takes its time does not wait for it "
           f"({took:.1f} s)")
    s.settled()
    tap.ok(s.target.kept("box1")[before["box1"]:] == s.sent["box1"],
           "that mailbox has its own in order")
    s.target.play("dot first 2 -> delay 5s")
    s.world.must(0, "pause", "acme")
    first = [s.send(box) for box in BOXES]
    s.world.must(0, "resume", "acme")
    wait_for("two are under way", lambda: s.world.status()["queue"]
             ["in_flight"] == 2)
    s.world.must(0, "pause", "acme")
    wait_for("what was under way has ended", lambda: s.world.status()["queue"]
             ["in_flight"] == 0)
    kept = len(s.target.kept())
    rows = [s.row(box, first[i]) for i, box in enumerate(BOXES)]
    waiting = [r for r in rows if r["state"] == "waiting"]
    tap.ok(waiting and all(r["attempts"] == 0 for r in waiting),
           f"a pause ends what follows before it begins: {len(waiting)} wait")
    s.world.must(0, "resume", "acme")
    s.settled()
    tap.ok(len(s.target.kept()) == kept + len(waiting),
           "and they go afterwards, once")


def lacking(tap, s):
    """Behind a message that takes its time stands one with 8-bit bytes, which
    the target does not take: another session finds that out."""
    s.target.play("without CHUNKING 8BITMIME\n"
                  "dot box1@* first 1 -> delay 2500ms\n"
                  "dot box2@* first 1 -> delay 8s")
    s.world.must(0, "pause", "acme")
    kept = len(s.target.kept())
    first = [s.send("box1"), s.send("box2")]
    client = Client(s.world.port, False)
    client.send(["box3"], "Subject: \u00e4\r\n\r\n\u00e4\r\n".encode(),
                b"s@b.example")
    client.close()
    begun = time.monotonic()
    s.world.must(0, "resume", "acme")
    wait_for("it is held", lambda: s.ledger()["held"] == 1)
    took = time.monotonic() - begun
    row = [r for r in listed(s.world, "--in", "held")][0]
    tap.ok(took > 2 and s.ledger()["waiting"] >= 1,
           f"given back by a session that waits, it is held by another, "
           f"{took:.1f} s later")
    tap.ok("8BITMIME" in row["reason"] and row["attempts"] == 1 and
           not [e for e in s.target.events() if e["event"] == "rcpt" and
                e["address"].startswith("box3")],
           f"with one attempt, of which the target heard nothing: "
           f"{row['reason'][:60]}")
    s.settled(held=1)
    tap.ok([n for _, n in s.target.kept()[kept:]] == first,
           "what it stood behind arrives")


def main():
    tap = Tap()
    gone = missing()
    if gone:
        tap.skip("what follows a message", f"needs {', '.join(gone)}")
        tap.end()
    announced(tap)
    s = Standing({"retry_min": "100ms", "retry_max": "1s"}, max_flight=1)
    try:
        s.start()
        refused(tap, s)
        over(tap, s)
        s.world.must(0, "stop")
    finally:
        s.close(not tap.bad)
    s = Standing({"retry_min": "100ms"}, max_flight=2)
    try:
        s.start()
        late(tap, s)
        s.world.must(0, "stop")
    finally:
        s.close(not tap.bad)
    s = Standing(max_flight=2)
    try:
        s.start()
        lacking(tap, s)
        s.world.must(0, "stop")
    finally:
        s.close(not tap.bad)
    tap.end()


main()
