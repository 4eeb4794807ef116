#!/usr/bin/env python3
"""Each message for a mailbox of its own, and none of them can go: bounded
memory.  An operator's act on all of them, beside senders and `status`, and
through a kill -9 in the middle.  (TAP; MANY=1000000 for the bar of 150 MB.)"""
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

import cutover
import peers
from cutover import DOMAIN, ROOT, Client, Tap, World, journal
from peers import wait_for

MANY = int(os.environ.get("MANY", "60000"))
IN_MEMORY = 50000 if MANY >= 1000000 else 2000
# In memory these would take a kilobyte each.  A line that sleeps takes about 60
# bytes; the cache of the index and the pages of an act are most of the rest.
MOST_MB = 150 if MANY >= 1000000 else 70
TOGETHER, WORKERS = 100, 4
cutover.VARIANT = "release"


class Busy(peers.BenchSink):
    """Defers every mailbox but one, until it is told to take all."""
    tls = "opportunistic"

    def __init__(self, folder, host, domain):
        super().__init__(folder, host, domain, (
            "without STARTTLS", "have *@" + domain,
            "rcpt lab-* -> 450 4.2.1 busy"))


def standby(world, plan):
    plan["strategy"] = "standby"
    plan["queue_mx"]["priority"] = 50
    plan["timing"]["retry_min"] = plan["timing"]["retry_max"] = "12h"
    del plan["replay"]["ramp"]
    return plan


def fill(port, first, messages):
    """TOGETHER mailboxes a message, each of them new."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        answers = sock.makefile("rb")
        answers.readline()
        sock.sendall(b"HELO fill.example\r\n")
        answers.readline()
        for number in range(first, first + messages):
            boxes = [b"RCPT TO:<lab-%d@%s>" %
                     (number * TOGETHER + i, DOMAIN.encode())
                     for i in range(TOGETHER)]
            sock.sendall(b"\r\n".join(
                [b"MAIL FROM:<fill@b.example>"] + boxes + [b"DATA", b""]))
            said = [answers.readline() for _ in range(TOGETHER + 2)]
            assert said[-1][:3] == b"354", said
            sock.sendall(b"Subject: one of many\r\n\r\ntext\r\n.\r\n")
            said = answers.readline()
            assert said[:3] == b"250", said


class Memory:
    """What the daemon has of its own, at most: without the pages of a segment
    that it reads, which the kernel takes back as it likes."""

    def __init__(self):
        self.most_mb, self.pid, self.over = 0, None, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.over.wait(0.1):
            try:
                with open(f"/proc/{self.pid}/status",
                          encoding="ascii") as lines:
                    for line in lines:
                        if line.startswith("RssAnon"):
                            self.most_mb = max(self.most_mb,
                                               int(line.split()[1]) / 1000)
            except OSError:
                pass  # none runs

    def check(self, tap, when):
        """Bounded since the last look."""
        tap.ok(0 < self.most_mb <= MOST_MB,
               f"{when}: at most {self.most_mb:.0f} MB, of {MOST_MB}")
        self.most_mb = 0


MEMORY = Memory()


def start(world):
    config = f"{world.folder}/tideoverd.json"
    with open(config, "w", encoding="ascii") as out:
        peers.json.dump({"tideoverd": 1, "state": world.state,
                         "limits": {"queue_in_memory": IN_MEMORY}}, out)
    world.start_daemon("--config", config)
    MEMORY.pid = world.daemon.process.pid


def accepting(tap, world):
    each = MANY // TOGETHER // WORKERS
    threads = [threading.Thread(target=fill, args=(world.port, i * each, each))
               for i in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for("each was tried once",
             lambda: world.old.counts()[1] >= MANY, 60 + MANY / 1000)
    wait_for("nothing is under way",
             lambda: world.status()["queue"]["in_flight"] == 0, 60)
    # What was answered last is still on its way to the disk.
    wait_for("they sleep", lambda: world.status()["queue"]["in_memory"] <=
             1.2 * IN_MEMORY, 60)
    now = world.status()["queue"]
    tap.ok(now["waiting"] == MANY and now["in_memory"] <= 1.2 * IN_MEMORY,
           f"{MANY} mailboxes wait, {now['in_memory']} of them in memory")
    tap.ok(world.old.counts()[1] < 1.01 * MANY, "none is tried twice")
    MEMORY.check(tap, "accepted, tried, put off")


class Beside:
    """Sends and asks while something else goes on: how long each took."""

    def __init__(self, world):
        self.world = world
        self.sent, self.send_s, self.status_s = 0, 0, 0
        self.failure = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        try:
            client = Client(self.world.port, False)
            while not self.over.wait(0.05):
                begun = time.monotonic()
                client.send(["free"], b"Subject: x\r\n\r\nx\r\n")
                self.sent += 1
                sent = time.monotonic()
                self.world.status()
                self.send_s = max(self.send_s, sent - begun)
                self.status_s = max(self.status_s, time.monotonic() - sent)
            client.close()
        except Exception as error:  # shown by end()
            self.failure = error

    def end(self):
        self.over.set()
        self.thread.join()
        if self.failure:
            raise self.failure


def queue(world, verb, *args):
    """Takes as long as it takes."""
    done = subprocess.run(
        [f"{ROOT}/build/release/tideover", "queue", "--json", "--state",
         world.state, verb, "acme", *args, "--by", "anna", "--reason", "x"],
        capture_output=True, text=True, check=False, timeout=60 + MANY / 500)
    said = peers.json.loads(done.stdout) if done.stdout else {}
    return done.returncode, said


def status_takes(world):
    begun = time.monotonic()
    world.status()
    return time.monotonic() - begun


def counting(tap, world):
    """`status` does not wait until the replies of all are counted, as it must
    be while any is held."""
    row = cutover.listed(world, "--recipient", f"lab-7@{DOMAIN}")[0]
    usual = max(status_takes(world) for _ in range(5))
    status, said = queue(world, "hold", f"{row['id']}:{row['envelope']}")
    assert (status, said["count"]) == (0, 1), said
    spent = status_takes(world)
    tap.ok(spent < 0.2 + 2 * usual, "one is held, and status takes "
           f"{spent * 1000:.0f} ms, {usual * 1000:.0f} before")
    counted = wait_for("all are counted", lambda: [
        (reply["state"], reply["count"]) for reply in
        world.status()["replies"]])
    tap.ok(sorted(counted) == [("held", 1), ("waiting", MANY - 1)],
           f"then it has the counts: {counted}")
    queue(world, "release", row["id"])


def acting(tap, world):
    before, usual = world.ledger(), status_takes(world)
    status, would = queue(world, "hold", "--all", "--dry-run")
    tap.ok(status == 0 and would["count"] == MANY and
           world.ledger() == before, f"a dry run says {would['count']}")
    beside = Beside(world)
    begun = time.monotonic()
    status, said = queue(world, "hold", "--all")
    spent = time.monotonic() - begun
    beside.end()
    tap.ok(status == 0 and MANY <= said["count"] <= MANY + beside.sent and
           len(said["envelopes"]) == 10000, f"hold --all: {said['count']} in "
           f"{spent:.1f} s, the first 10,000 are named")
    most = 2 + 20 * usual
    tap.ok(beside.sent > 0 and max(beside.send_s, beside.status_s) < most,
           f"meanwhile {beside.sent} messages were taken, at most "
           f"{beside.send_s:.2f} s each; status took {beside.status_s:.2f} s")
    held = world.ledger()["held"]
    tap.ok(held == said["count"], f"{held} are held")
    now = world.status()["queue"]
    tap.ok(now["in_memory"] <= 1.2 * IN_MEMORY,
           f"{now['in_memory']} of them in memory")
    MEMORY.check(tap, "held")
    lines = journal(world, "acted")
    tap.ok(len(lines) == 1 and lines[0]["count"] == said["count"] and
           journal(world, "hold")[-1]["in_parts"],
           "the journal has the order before, and the end behind it")
    return held


def killed(tap, world, held):
    """In the middle of a release."""
    result = []
    thread = threading.Thread(
        target=lambda: result.append(queue(world, "release", "--all")))
    thread.start()
    wait_for("some are released", lambda: world.ledger()["held"] < held * 0.9,
             60)
    world.kill_daemon()
    thread.join()
    tap.ok(result[0][0] in (1, 4), f"the command says so: {result[0]}")
    start(world)
    wait_for("the plan goes on", lambda: world.tideover(
        "status")[0] == 0 and world.ledger()["accepted"] >= MANY, 60)
    now = world.ledger()
    tap.ok(0 < now["held"] < held and now["balances"] and
           now["held"] + now["waiting"] + now["delivered"] ==
           now["accepted"], f"killed half-way, nothing is lost: {now}")
    tap.ok(len(journal(world, "acted")) == 1, "the journal lacks the end")
    status, would = queue(world, "release", "--all", "--dry-run")
    tap.ok(status == 0 and would["count"] == now["held"],
           f"what is left, by a dry run: {would['count']}")
    status, said = queue(world, "release", "--all")
    tap.ok(status == 0 and said["count"] == now["held"] and
           world.ledger()["held"] == 0,
           f"run again it releases the rest: {said['count']}")
    MEMORY.check(tap, "started again, released")


def delivering(tap, world):
    world.old.accept(True)
    status, said = queue(world, "retry", "--all")
    tap.ok(status == 0 and said["count"] > 0,
           f"retry --all: {said['count']} are due now")
    wait_for("all are delivered", lambda: world.ledger()["delivered"] ==
             world.ledger()["accepted"], 60 + MANY / 500)
    tap.ok(world.ledger()["balances"], f"all are delivered: {world.ledger()}")
    MEMORY.check(tap, "delivered")
    got = world.old.judge()["messages"]
    tap.ok(got >= 1, f"the target took {got} messages")


def run(tap):
    world = World(Busy, max_flight=100, change=standby)
    try:
        start(world)
        world.must(0, "start", world.plan)
        wait_for("the valve is open", lambda: world.status()["domains"][0]
                 ["valve"]["state"] == "open", 30)
        accepting(tap, world)
        counting(tap, world)
        killed(tap, world, acting(tap, world))
        delivering(tap, world)
        world.must(0, "stop")
    finally:
        world.close()
        if not tap.bad and sys.exc_info()[0] is None:
            shutil.rmtree(world.folder, ignore_errors=True)


def main():
    tap = Tap()
    gone = peers.missing("knotd", "unbound", "kdig", "openssl")
    if gone:
        tap.skip("many mailboxes that wait", "missing: " + ", ".join(gone))
    else:
        run(tap)
    tap.end()


if __name__ == "__main__":
    main()
