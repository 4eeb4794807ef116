#!/usr/bin/env python3
"""What a target may answer, and what becomes of the mail (TAP)."""
import re
import time

from cutover import Client, Refused, Tap, findings, listed
from peers import wait_for
from replies import Standing, missing

BOXES = ["box1", "box2", "box3", "box4"]


def each(count):
    """`count` messages for the boxes in turn."""
    return [(BOXES[n % len(BOXES)],) for n in range(count)]


def closing(tap, s):
    """Sessions that end too early are no reason to lose or reorder.  None of
    them may offer CHUNKING: one that stays open to the last case would carry
    its messages with BDAT, whose cut is after the bytes."""
    s.target.play("without CHUNKING\n"
                  "mail session after 3 -> 421 4.3.2 enough for a session")
    s.queue_up(*each(20))
    s.settled()
    tap.ok(s.complete(*BOXES), "a target that closes with 421 after three "
           "messages gets the rest in other sessions, in order, once")
    s.target.play("without CHUNKING\nrcpt box1@* every 2 -> 421 4.3.2 in mid-session")
    s.queue_up(*each(12))
    s.settled()
    tap.ok(s.complete(*BOXES), "421 to RCPT: tried again, in order, once")
    s.target.play("without CHUNKING\ndot every 3 -> 421 4.3.0 not kept")
    s.queue_up(*each(12))
    s.settled()
    tap.ok(s.complete(*BOXES) and all(s.row(b, n)["uncertain"] == 0
                                      for b in BOXES for n in s.sent[b]),
           "421 to the dot is an answer: tried again, not uncertain")
    s.target.play("without CHUNKING\ndata every 3 -> cut\n"
                  "dot every 4 -> 451 4.3.0 not now")
    s.queue_up(*each(12))
    s.settled()
    tap.ok(s.complete(*BOXES) and all(s.row(b, n)["uncertain"] == 0
                                      for b in BOXES for n in s.sent[b]),
           "cut before the data: tried again, not uncertain")


def uncertain(tap, s):
    s.target.play("dot box10@* first 1 -> keep cut")
    first, second = s.queue_up(["box10"], ["box10"])
    s.settled()
    row = s.row("box10", first)
    tap.ok(s.target.kept("box10") == [first, first, second] and
           row["uncertain"] == 1 and row["state"] == "delivered",
           "cut after the final dot: sent once more, before the next of its "
           f"mailbox: {s.target.kept('box10')}")
    s.target.play("without CHUNKING\ndot box11@* first 2 -> keep cut")
    first, second = s.queue_up(["box11"], ["box11"])
    s.settled(held=1)
    row = s.row("box11", first)
    tap.ok(s.target.kept("box11") == [first, first, second] and
           row["state"] == "held" and row["uncertain"] == 2 and
           not row["mailbox_held"] and "may have been" in row["reason"],
           f"cut twice: held, and only this message: {row['reason']}")
    s.target.play("dot box12@* first 1 -> silence")
    before = time.monotonic()
    first, second = s.queue_up(["box12"], ["box12"])
    s.settled(held=1)
    row = s.row("box12", first)
    tap.ok(s.target.kept("box12") == [first, second] and
           row["uncertain"] == 1 and time.monotonic() - before > 1,
           "no reply after the dot within timing.data_reply: uncertain, sent "
           "once more")
    report = s.world.report()
    told = {r["forward_path"].split("@")[0]: r["uncertain"]
            for r in report["exceptions"]["uncertain"]}
    tap.ok(told == {"box10": 1, "box11": 2, "box12": 1},
           f"the report counts the possible duplicates: {told}")
    found = findings(s.world.must(3, "check", "acme", "--gate", "close",
                                  "--only", "signoff"))[0]
    ids = [s.row(b, s.sent[b][0])["id"] for b in ("box10", "box11", "box12")]
    tap.ok(found["verdict"] == "fail" and "3 envelopes" in found["summary"]
           and all(i in found["remedy"] for i in ids),
           f"who closes signs for them: {found['summary']}")
    s.world.must(0, "queue", "discard", "acme",
                 s.row("box11", s.sent["box11"][0])["id"], "--by", "anna",
                 "--reason", "it is there")


def stopping(tap, s):
    s.target.play("dot box30@* -> delay 1s")
    number = s.send("box30")
    wait_for("it is in the target's hands", lambda: any(
        e["event"] == "rcpt" and e["address"].startswith("box30@")
        for e in s.target.events()))
    s.world.must(0, "stop")
    s.world.start_daemon()
    s.settled()
    row = s.row("box30", number)
    tap.ok(s.target.kept("box30") == [number] and row["uncertain"] == 0 and
           row["attempts"] == 1, "an orderly end waits a moment for the reply "
           f"to what is under way: {row['attempts']} attempt, "
           f"{row['uncertain']} uncertain")


def lines_and_sizes(tap, s):
    s.target.play("rcpt box13@* -> 550 5.2.1 first\\nsecond\\nthird")
    first, _ = s.queue_up(["box13"], ["box13"])
    s.settled(held=2)
    row = s.row("box13", first)
    text = row["last_reply"]["text"]
    tap.ok(all(w in text for w in ("first", "second", "third")) and
           row["last_reply"]["enhanced"] == "5.2.1" and row["mailbox_held"],
           f"a reply of several lines is read whole: {text}")
    s.target.play("")
    s.world.must(0, "queue", "release", "acme", "--all", "--reason",
                 "repaired")
    s.settled()
    tap.ok(s.complete("box13"), "released, the held mailbox drains in order")
    s.target.play("dot larger 20000 -> 552 5.3.4 too big\n"
                  "rcpt box15@* -> 250 2.1.5 one\\ntwo")
    s.world.must(0, "pause", "acme")
    big = s.send("box14", size=30000)
    small = s.send("box14")
    s.send("box15")
    s.world.must(0, "resume", "acme")
    s.settled(held=1)
    row = s.row("box14", big)
    tap.ok(row["state"] == "held" and not row["mailbox_held"] and
           "larger" in row["reason"] and s.target.kept("box14") == [small],
           "552 by size holds the message alone: the mailbox goes on")
    s.target.play("")
    s.world.must(0, "queue", "release", "acme", "--all", "--reason",
                 "repaired")
    s.settled()
    tap.ok(s.target.kept("box14") == [small, big],
           "released, it follows")
    found = findings(s.world.must(3, "check", "acme", "--gate", "close",
                                  "--only", "signoff"))[0]
    row = s.row("box14", big)
    tap.ok("1 envelopes were delivered after a later one" in found["summary"]
           and f"{row['id']}:{row['envelope']}" in found["remedy"],
           "and whoever closes signs for the order that it broke")


def mixes(tap, s):
    s.target.play("rcpt box17@* first 1 -> 450 4.2.1 not now\n"
                  "rcpt box18@* -> 550 5.1.1 nobody\n"
                  "rcpt box19@* first 2 -> 452 4.5.3 too many recipients")
    every = ["box16", "box17", "box18", "box19"]
    first, second = s.queue_up(every, every)
    s.settled(held=2)
    tap.ok(s.target.kept("box18") == [] and
           s.complete("box16", "box17", "box19"),
           "250, 450, 550 and 452 in one transaction: each recipient as its "
           "own reply says, each mailbox in order")
    tap.ok(all(s.row("box18", n)["mailbox_held"] for n in (first, second)) and
           s.row("box17", first)["attempts"] == 2 and
           s.row("box16", first)["attempts"] == 1,
           "who was accepted is not asked again, who was refused is held "
           "with all behind")
    s.target.play("")
    s.world.must(0, "queue", "release", "acme", "--all", "--reason",
                 "repaired")
    s.settled()
    tap.ok(s.complete("box18"), "released, in order")


def slow(tap, s):
    s.target.play("rcpt greylist 1s -> 450 4.7.1 greylisted, come back\n"
                  "banner -> delay 200ms\nstarttls -> delay 200ms")
    boxes = ["box20", "box21", "box22"]
    s.queue_up(*[[b] for b in boxes * 3])
    s.settled()
    tap.ok(s.complete(*boxes), "a greylisting target gets all, in order")
    s.target.play("any -> slowly 5ms\nrcpt mailbox every 2 -> 451 4.3.0 later")
    s.queue_up(*[[b] for b in boxes * 2])
    s.settled()
    tap.ok(s.complete(*boxes), "a tarpit and 451 to every other RCPT: all "
           "arrives, in order")
    s.target.play("dot box23@* -> 451 4.2.0 the store is busy")
    first, _ = s.queue_up(["box23"], ["box24"])
    s.settled(held=1)
    row = s.row("box23", first)
    tap.ok(row["attempts"] >= 6 and not row["mailbox_held"] and
           s.complete("box24"),
           f"stuck: held after {row['attempts']} deferrals of its data")
    s.target.play("")
    s.world.must(0, "queue", "release", "acme", "--all", "--reason",
                 "repaired")
    s.settled()


def run(tap):
    s = Standing(timing={"data_reply": "6s", "stuck_after": "2s"})
    try:
        s.start()
        closing(tap, s)
        uncertain(tap, s)
        lines_and_sizes(tap, s)
        mixes(tap, s)
        slow(tap, s)
        tap.ok(all(s.in_order(box) for box in s.sent if box != "box14"),
               "no mailbox ever got older mail after newer")
        utf8(tap, s)
        report = s.world.report()
        tap.ok(report["balances"], f"the ledger balances: {report['total']}")
        stopping(tap, s)
        s.world.must(0, "stop")
        with open(f"{s.world.state}/tideoverd.log", encoding="utf-8") as log:
            named = re.findall(r"\bbox\d+@\S+", log.read())
        tap.ok(not named, f"no recipient's address is in the log {named[:3]}")
    finally:
        s.close(not tap.bad)


def offers_utf8(s):
    client = Client(s.world.port, False)
    client.close()
    return b"SMTPUTF8" in client.offers


def utf8(tap, s):
    """RFC 6531: what the target does not bear is not taken for it."""
    wait_for("the queue offers SMTPUTF8", lambda: offers_utf8(s))
    s.target.play("without SMTPUTF8")
    wait_for("it does no more", lambda: not offers_utf8(s))
    client = Client(s.world.port, False)
    try:
        client.command(b"MAIL FROM:<a@b.example> SMTPUTF8", 250)
        said = "250"
    except Refused as why:
        said = str(why)
    client.close()
    s.target.play("")
    wait_for("it does again", lambda: offers_utf8(s))
    tap.ok(said.startswith("555 5.5.4 "), "SMTPUTF8 is offered while the "
           f"target offers it, and refused else: {said}")


def trouble(s, preset, boxes, code):
    """Mail for a tenant with that trouble, until it is well again; how much
    was held, and how it showed: to a probe or to the replay."""
    s.target.play(f"like {preset}")
    for box in boxes:
        s.send(box)
    shows = wait_for(f"{preset}: it shows", lambda: shown(s, code))
    held = s.ledger()["held"]
    s.target.play(f"like {preset.split('-')[0]}")
    # What was throttled waits longer and longer; an operator may say: now.
    s.world.must(0, "pause", "acme")
    s.world.must(0, "resume", "acme")
    s.settled()
    return held, shows


def shown(s, code):
    valve = s.valve()
    if valve["state"] == "closed" and code in valve["reason"]:
        return "valve: " + valve["reason"]
    return next(("reply: " + r["last_reply"]["text"]
                 for r in listed(s.world)
                 if code in (r["last_reply"] or {}).get("enhanced", "")), None)


def tenants(tap, provider, troubles):
    """Each trouble of the whole tenant: nothing is held, all arrives."""
    s = Standing(provider=provider)
    try:
        s.start()
        s.target.play(f"like {provider}")
        boxes = ["box1", "box2", "box1"]
        for box in boxes:
            s.send(box)
        s.settled()
        for preset, code in troubles:
            held, reason = trouble(s, preset, boxes, code)
            tap.ok(held == 0 and s.complete("box1", "box2"),
                   f"{preset}: nothing is held, then all in order ({reason})")
        s.world.must(0, "stop")
    finally:
        s.close(not tap.bad)


def main():
    tap = Tap()
    gone = missing()
    if gone:
        tap.skip("the replies", "missing: " + ", ".join(gone))
    else:
        run(tap)
        tenants(tap, "m365", [("m365-unlicensed", "4.4.4"),
                              ("m365-connector", "5.7.51"),
                              ("m365-busy", "4.7.500")])
        tenants(tap, "workspace", [("workspace-busy", "4.7.28")])
    tap.end()


main()
