#!/usr/bin/env python3
"""A target that slows down without a deferral gets less at once, and more
again once it is quick: by what it saw itself (TAP)."""
from cutover import Tap
from peers import wait_for
from replies import Standing, missing

BOXES = [f"box{n}" for n in range(24)]
MOST = 8


def each(count):
    return [(BOXES[n % len(BOXES)],) for n in range(count)]


def widest(events):
    """Messages that were in its hands at once, at most: from the recipient to
    the answer to the last dot."""
    hands, most = set(), 0
    for event in events:
        if event["event"] == "rcpt" and event["code"] == 250 and \
                event["address"].startswith("box"):
            hands.add(event["session"])
            most = max(most, len(hands))
        elif event["event"] == "dot":
            hands.discard(event["session"])
    return most


def dots(events):
    return [e for e in events if e["event"] == "dot"]


def latency(tap, s):
    s.queue_up(*each(240))
    s.settled()
    seen = len(s.target.events())
    most = widest(s.target.events())
    tap.ok(most == MOST, f"a quick target has {most} messages at once")

    s.target.play("dot * -> delay 1500ms")
    s.queue_up(*each(400))
    wait_for("it has begun", lambda: len(dots(s.target.events()[seen:])) > 3)
    wide = widest(s.target.events()[seen:])
    wait_for("it has little at once", lambda: s.world.status()["limits"][0]
             ["in_flight"] <= 2, 60)
    narrow = len(s.target.events())
    wait_for("it went on so", lambda: len(
        dots(s.target.events()[narrow:])) >= 8)
    now = s.target.events()
    # What was under way when it became narrow ends first.
    ended = now.index(dots(now[narrow:])[2])
    tap.ok(wide == MOST and widest(now[ended:]) <= 3,
           f"one that takes its time had {wide} at first, then "
           f"{widest(now[ended:])}")
    tap.ok(all(e["code"] == 250 for e in dots(now[seen:])),
           "though it deferred nothing")

    s.target.play("")
    quick = len(s.target.events())
    s.settled()
    last = s.target.events()[quick:]
    last = last[last.index(dots(last)[len(dots(last)) // 2]):]
    tap.ok(widest(last) == MOST,
           f"quick again, it has {widest(last)} at once in the end")
    tap.ok(s.complete(*BOXES), "each came once, in order")


def main():
    tap = Tap()
    gone = missing()
    if gone:
        tap.skip("a target that slows down", f"needs {', '.join(gone)}")
        tap.end()
    s = Standing(max_flight=MOST)
    try:
        s.start()
        latency(tap, s)
        s.world.must(0, "stop")
    finally:
        s.close(not tap.bad)
    tap.end()


main()
