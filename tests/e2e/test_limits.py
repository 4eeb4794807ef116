#!/usr/bin/env python3
"""Limits per mailbox and per pair of sender and mailbox (TAP)."""
import json
import os

from cutover import Tap
from peers import wait_for
from replies import Standing, missing

SPAN = 6  # seconds
MAILBOX, PAIR = 4, 2
ONE, TWO, THREE = (b"%s@a.example" % name for name in (b"one", b"two",
                                                       b"three"))


def times(s, box):
    """When the target kept what, in seconds."""
    return [e["at"] / 1000 for e in s.target.events() if e["event"] == "kept"
            and e["mailbox"].startswith(box + "@")]


def most_within(moments):
    return max(sum(1 for t in moments if start <= t < start + SPAN)
               for start in moments)


def exhausted(s):
    return {one["mailbox"].split("@")[0]: one
            for limit in s.world.status()["limits"]
            for one in limit["exhausted"]}


def send_all(s, pairs):
    s.world.must(0, "pause", "acme")
    for box, sender in pairs:
        s.send(box, sender=sender)
    s.world.must(0, "resume", "acme")


def mailbox(tap, s):
    """Six senders, each below the limit of a pair."""
    senders = [b"s%d@a.example" % n for n in range(MAILBOX + 2)]
    send_all(s, [("box1", one) for one in senders] +
             [(f"box{n}", ONE) for n in range(2, 8)])
    wait_for("the others have theirs", lambda: all(
        s.target.kept(f"box{n}") for n in range(2, 8)))
    wait_for("box1 is at its limit",
             lambda: len(s.target.kept("box1")) == MAILBOX)
    named = wait_for("status names it", lambda: exhausted(s))
    tap.ok(set(named) == {"box1"} and named["box1"]["limit"] == "mailbox" and
           named["box1"]["rate"] == f"{MAILBOX} in {SPAN}s" and
           s.ledger()["waiting"] == 2,
           f"the limit of a mailbox stops its line alone: {named}")
    s.settled()
    tap.ok(most_within(times(s, "box1")) == MAILBOX and s.complete("box1"),
           f"no {SPAN} s have more than {MAILBOX} messages, in order")
    wait_for("status names nobody", lambda: not exhausted(s))


def pair(tap, s):
    """The third of ONE must wait, and nobody passes it."""
    send_all(s, [("box10", sender) for sender in (ONE, ONE, ONE, TWO, THREE)])
    named = wait_for("status names it", lambda: exhausted(s))
    tap.ok(named["box10"]["limit"] == "pair" and
           s.target.kept("box10") == s.sent["box10"][:PAIR],
           "order wins over limits: younger mail of other senders waits "
           f"behind the pair's: {named}")
    s.settled()
    moments = times(s, "box10")
    tap.ok(s.complete("box10") and most_within(moments[:3]) == PAIR and
           moments[2] - moments[0] >= SPAN,
           "the pair's limit is kept, in order")


def restart(tap, s, box, spoil, options=()):
    senders = [b"s%d@a.example" % n for n in range(MAILBOX + 1)]
    send_all(s, [(box, one) for one in senders])
    wait_for("it is at its limit",
             lambda: len(s.target.kept(box)) == MAILBOX)
    s.world.must(0, "stop")
    if spoil:
        os.remove(f"{s.world.state}/index.sqlite")
    s.world.start_daemon(*options)
    wait_for("the valve opens", lambda: s.valve()["state"] == "open")
    if not spoil:
        named = wait_for("status names it", lambda: exhausted(s))
        tap.ok(set(named) == {box}, "after a restart the limit is as "
               "exhausted as it was")
    s.settled()
    tap.ok(s.complete(box) and most_within(times(s, box)) == MAILBOX,
           "limits are kept over a restart" +
           (" with a lost index" if spoil else ""))


def run(tap):
    s = Standing(mailbox_limit=f"{MAILBOX}/{SPAN}s",
                 pair_limit=f"{PAIR}/{SPAN}s")
    try:
        s.start()
        # A target that keeps to the same numbers has nothing to refuse.
        s.target.play(
            f"rcpt box*@* mailbox rate {MAILBOX}/{SPAN}s -> 450 4.2.1 too fast\n"
            f"rcpt box*@* pair rate {PAIR}/{SPAN}s -> 450 4.2.1 pair too fast")
        mailbox(tap, s)
        pair(tap, s)
        restart(tap, s, "box20", False)
        restart(tap, s, "box21", True)
        refused = [e for e in s.target.events()
                   if e["event"] == "rcpt" and e["code"] == 450]
        tap.ok(not refused, f"the target had to defer nothing: {refused[:3]}")
        s.world.must(0, "stop")
    finally:
        s.close(not tap.bad)


def sealed(tap):
    """Addresses are sealed in the index; limits need them all the same."""
    s = Standing(mailbox_limit=f"{MAILBOX}/{SPAN}s")
    try:
        with open(s.world.plan, encoding="ascii") as plan:
            document = json.load(plan)
        with open(s.world.plan, "w", encoding="ascii") as plan:
            json.dump({**document, "encrypt": True}, plan)
        master = f"{s.world.folder}/master.key"
        with open(master, "w", encoding="ascii") as key:
            key.write("0123456789abcdef" * 4 + "\n")
        os.chmod(master, 0o600)
        s.world.start_daemon("--master-key", master)
        s.start()
        restart(tap, s, "box30", False, ("--master-key", master))
        s.world.must(0, "stop")
    finally:
        s.close(not tap.bad)


def main():
    tap = Tap()
    gone = missing()
    if gone:
        tap.skip("limits", "missing: " + ", ".join(gone))
    else:
        run(tap)
        sealed(tap)
    tap.end()


main()
