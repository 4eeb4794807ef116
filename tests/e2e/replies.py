"""A standing plan in front of a target that behaves as a script says."""
import os
import shutil
import sys

import peers
from cutover import OLD, QUEUE, Client, Tap, World, listed
from peers import wait_for


def standing(timing=None, provider="custom", **replay):
    """The plan as a standing backup MX behind the old system, alone."""
    def change(_, plan):
        plan["primary"] = plan.pop("old")
        plan["primary"]["provider"] = provider
        del plan["new"]
        plan["replay"] = {"tls": "opportunistic", "max_flight": 8, **replay}
        plan["strategy"] = "standby"
        plan["queue_mx"]["priority"] = 50
        plan["timing"].update(timing or {})
        return plan
    return change


def parked(**replay):
    """A domain that moves; its mail waits for `finish`."""
    def change(_, plan):
        plan["replay"].update(replay)
        return plan
    return change


class Scene:
    """The world, the target, and the numbers of what was sent to it."""

    def __init__(self, change, target):
        self.world = World(peers.Lab, change=change)
        self.target = getattr(self.world, target)
        self.sent = {}
        self.number = 0

    def send(self, *boxes, size=0, sender=b"sender@b.example", client=None):
        """One message to those boxes; its number."""
        self.number += 1
        body = peers.NUMBER + b"%d\r\nSubject: %d\r\n\r\n" % (
            self.number, self.number)
        body += b"x" * 70 * (size > 0) + b"\r\n"
        line = b"y" * 70 + b"\r\n"
        body += line * -(-max(size - len(body), 0) // len(line))
        own = client or Client(self.world.port, False)
        own.send(list(boxes), body, sender)
        if not client:
            own.close()
        for box in boxes:
            self.sent.setdefault(box, []).append(self.number)
        return self.number

    def queue_up(self, *messages):
        """Paused, these are accepted; then they may go.  Their numbers."""
        self.world.must(0, "pause", "acme")
        numbers = [self.send(*boxes) for boxes in messages]
        self.world.must(0, "resume", "acme")
        return numbers

    def domain(self):
        return self.world.status()["domains"][0]

    def valve(self):
        return self.domain()["valve"]

    def ledger(self):
        return self.domain()["ledger"]

    def settled(self, held=0, seconds=120):
        """Nothing waits; so many are held."""
        wait_for(f"nothing waits, {held} held", lambda: (
            lambda l: l["waiting"] == 0 and l["held"] == held)(
                self.ledger()), seconds)

    def row(self, box, number):
        """What the queue says of that message for that box."""
        at = self.sent[box].index(number)
        rows = [r for r in listed(self.world)
                if r["forward_path"].startswith(box + "@")]
        return rows[at]

    def in_order(self, box):
        """What the target kept of this box never went back; what came twice
        came twice in a row."""
        kept = self.target.kept(box)
        return kept == sorted(kept)

    def complete(self, *boxes):
        """Each of theirs once, in order."""
        return all(self.target.kept(b) == self.sent[b] for b in boxes)

    def alerts(self):
        return " ".join(self.world.status()["alerts"])

    def close(self, good):
        self.world.tideover("stop")
        self.world.close()
        if good and sys.exc_info()[0] is None:
            shutil.rmtree(self.world.folder, ignore_errors=True)
        else:
            print(f"# kept: {self.world.folder}", flush=True)


class Standing(Scene):
    """A standing backup in front of the old system, whose valve is open."""

    def __init__(self, timing=None, provider="custom", **replay):
        super().__init__(standing(timing, provider, **replay), "old")

    def start(self):
        self.world.knot.publish((10, OLD), (50, QUEUE))
        self.world.must(0, "start", self.world.plan)
        wait_for("the valve opens", lambda: self.valve()["state"] == "open")


class Parked(Scene):
    """Everything is held for the new system."""

    def __init__(self, **replay):
        super().__init__(parked(**replay), "new")

    def start(self, *options):
        self.world.start_daemon(*options)
        self.world.must(0, "start", self.world.plan)
        self.world.knot.publish((10, QUEUE))
        wait_for("every vantage sees the queue alone",
                 lambda: self.world.views() == {"parked"})

    def gate_opens(self, gate="finish"):
        wait_for(f"the gate {gate} opens", lambda: self.world.tideover(
            "check", "acme", "--gate", gate)[0] == 0)

    def delivered_at_least(self, count):
        wait_for(f"{count} are delivered",
                 lambda: self.ledger()["delivered"] >= count)


def missing():
    gone = peers.missing("knotd", "unbound", "kdig", "openssl")
    if not os.path.exists(peers.LAB):
        gone.append("lab_target (make labs)")
    return gone


def play(title, scene, run):
    """A program of one scene: run(tap, scene) shows what it promises."""
    tap = Tap()
    gone = missing()
    if gone:
        tap.skip(title, "missing: " + ", ".join(gone))
        tap.end()
    s = scene()
    try:
        run(tap, s)
    finally:
        s.close(not tap.bad)
    tap.end()
