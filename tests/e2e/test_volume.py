#!/usr/bin/env python3
"""20,000 messages of 4 KiB from 20 sessions to 2,000 mailboxes: accepted,
held, replayed to a sink, reported (TAP; prints the rates)."""
import glob
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time

import cutover
import peers
from cutover import DOMAIN, QUEUE, ROOT, Tap, World, listed
from peers import wait_for

MESSAGES, BYTES, SESSIONS, MAILBOXES = 20000, 4096, 20, 2000
cutover.VARIANT = "release"


def load(world):
    done = subprocess.run(
        [f"{ROOT}/build/release/bench/bench_load", f"127.0.0.1:{world.port}",
         DOMAIN, str(SESSIONS), str(MESSAGES), str(BYTES), str(MAILBOXES)],
        capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-500:]
    return json.loads(done.stdout)


def replay(world):
    begun = time.monotonic()
    world.must(3, "finish", "acme", "--timeout", "240s")
    return time.monotonic() - begun


def report(tap, world, suffix):
    path = f"{world.folder}/volume.{suffix}"
    begun = time.monotonic()
    said = world.must(0, "report", "acme", "--output", path)
    spent = time.monotonic() - begun
    size = os.path.getsize(path) / (1 << 20)
    tap.ok(said["balances"], f"the {suffix} report balances: {spent:.1f} s, "
           f"{size:.1f} MiB")
    return path


def hours_left(world):
    return world.must(0, "status")["space"]["hours_left"]


def half_an_index(world):
    """As a start leaves it that was killed while it read the evidence."""
    index = sqlite3.connect(f"{world.state}/index.sqlite")
    with index:
        index.execute("UPDATE meta SET value = 0 WHERE key = 'evidence'")
        for table in ("envelope", "message", "counter"):
            index.execute(f"DELETE FROM {table}")
    index.close()


def space(tap, world, key):
    """Segments that hold nothing live go; what lives in them moves."""
    wait_for("segments are cleared out", lambda: len(
        glob.glob(f"{world.state}/spool/*.seg")) == 1, 60)
    gone = len(glob.glob(f"{world.state}/evidence/*.seg"))
    tap.ok(gone >= 1, f"{gone} segments are cleared out, their evidence stays")
    before = hours_left(world)
    world.must(0, "stop")
    said = world.must(0, "spool", "verify", world.state)
    tap.ok(said["balances"] and len(said["messages"]) == MESSAGES,
           "spool verify balances evidence and spool, without an index")
    for path in glob.glob(f"{world.state}/index.sqlite*"):
        os.unlink(path)
    world.start_daemon()
    wait_for("the plan goes on",
             lambda: world.status().get("phase") == "trailing")
    after = hours_left(world)
    # Of hours that began within this run, so many as it knows of.
    tap.ok(after and before / 62 < after < before * 62, "what came before a "
           f"start counts for how long the disk lasts: {before} h, {after} h")
    ledger = world.status()["domains"][0]["ledger"]
    tap.ok(ledger["accepted"] == MESSAGES and ledger["held"] == 1 and
           ledger["delivered"] == MESSAGES - 1 and ledger["balances"],
           f"a new index, from evidence and spool: {ledger}")
    world.must(0, "stop")
    half_an_index(world)
    world.start_daemon()
    wait_for("the plan goes on",
             lambda: world.status().get("phase") == "trailing")
    again = world.status()["domains"][0]["ledger"]
    tap.ok(again == ledger, "and so when a kill left half of one")
    world.must(0, "queue", "release", "acme", key, "--by", "test",
               "--reason", "seen")
    wait_for("the message that moved is delivered", lambda: world.status()
             ["domains"][0]["ledger"]["delivered"] == MESSAGES, 60)


def without_copies(world, plan):
    """Space comes back at once: copies would stay until the plan ends."""
    plan["keep_copies"] = "0s"
    return plan


def run(tap):
    world = World(peers.BenchSink, max_flight=20, change=without_copies)
    try:
        world.new.accept(False)
        world.must(0, "start", world.plan)
        world.knot.publish((10, QUEUE))
        wait_for("every vantage sees the queue alone",
                 lambda: world.views() == {"parked"})
        rates = load(world)
        tap.ok(rates["messages"] == MESSAGES,
               f"accepted: {rates['per_second']:.0f} messages/s, "
               f"p50 {rates['p50_ms']:.1f} ms, p99 {rates['p99_ms']:.1f} ms "
               "from the final dot to 250")
        ledger = world.status()["domains"][0]["ledger"]
        tap.ok(ledger["waiting"] == MESSAGES, f"held: {ledger}")
        # The oldest message is held: it must move when its segment goes.
        first = sorted(listed(world, "--recipient", f"lab-0@{DOMAIN}"),
                       key=lambda row: int(row["sequence"]))[0]
        key = f"{first['id']}:{first['envelope']}"
        world.must(0, "queue", "hold", "acme", key, "--by", "test",
                   "--reason", "to see it move")
        world.new.accept(True)
        wait_for("the gate finish opens", lambda: world.tideover(
            "check", "acme", "--gate", "finish")[0] == 0)
        spent = replay(world)
        ledger = world.status()["domains"][0]["ledger"]
        tap.ok(ledger["delivered"] == MESSAGES - 1 and ledger["held"] == 1,
               f"replayed: {MESSAGES / spent:.0f} messages/s, ramp included")
        space(tap, world, key)
        report(tap, world, "html")
        with open(report(tap, world, "json"), encoding="utf-8") as out:
            said = json.load(out)
        tap.ok(len(said["messages"]) == MESSAGES and
               said["order_exception_count"] <= MESSAGES // MAILBOXES,
               "it lists every message, and the held one as the only "
               f"exception to order ({said['order_exception_count']})")
        verdict = world.new.judge()
        tap.ok(verdict == {"messages": MESSAGES, "mailboxes": MAILBOXES,
                           "lost": 0, "twice": 0, "reordered": 1},
               f"the sink (the held message came last): {verdict}")
        world.must(0, "stop")
    finally:
        world.close()
        if not tap.bad and sys.exc_info()[0] is None:
            shutil.rmtree(world.folder, ignore_errors=True)


def main():
    tap = Tap()
    gone = peers.missing("knotd", "unbound", "kdig", "openssl")
    if gone:
        tap.skip("20,000 messages", "missing: " + ", ".join(gone))
    else:
        run(tap)
    tap.end()


main()
