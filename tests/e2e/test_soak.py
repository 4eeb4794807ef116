#!/usr/bin/env python3
"""Hours in small: mail comes in and goes out at half of what the machine bears,
and memory and file descriptors stay what they are (TAP).

SOAK_SECONDS (default 30); `make soak` takes ten minutes.
"""
import json
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time

import cutover
import node
import peers
from cutover import DOMAIN, OLD, QUEUE, ROOT, Tap, World
from peers import wait_for

SECONDS = int(os.environ.get("SOAK_SECONDS", "30"))
FLIGHT, SESSION_KIB = 20, 200
# What memory may hold by design: free heap (HEAP_SPARE of heap.h), and the
# pages of the index (cache_size of index.c) once there are so many.
SPARE_KIB, CACHE_KIB = 8192, 16000
SESSIONS, BYTES, MAILBOXES = 20, 4096, 400
FIRST = 20000  # tell what the machine bears
CROWD = 3000  # TLS sessions: more memory than anything else takes
SETTLE = 30  # seconds until what a burst took is given back
cutover.VARIANT = "release"


def standing(world, plan):
    """Mail is passed on as it comes; nothing is kept of what was delivered."""
    plan["primary"] = plan.pop("old")
    del plan["new"]
    del plan["replay"]["ramp"]
    plan["strategy"] = "standby"
    plan["keep_copies"] = "0s"
    return plan


def load(world, messages):
    """Each run numbers its messages anew: the sink would call that twice."""
    done = subprocess.run(
        [f"{ROOT}/build/release/bench/bench_load", f"127.0.0.1:{world.port}",
         DOMAIN, str(SESSIONS), str(messages), str(BYTES), str(MAILBOXES)],
        capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-500:]
    return json.loads(done.stdout)


def caught_up(world, messages):
    now = world.ledger()
    return now["delivered"] == messages and now["balances"]


def crowd(world, watch):
    """Many TLS sessions at once, and a target that stands still meanwhile: what
    comes waits in memory beside them."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    open_ones = []
    world.old.process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(CROWD):
            sock = socket.create_connection(("127.0.0.1", world.port), 30)
            sock.recv(200)
            sock.sendall(b"EHLO crowd.example\r\n")
            sock.recv(2000)
            sock.sendall(b"STARTTLS\r\n")
            sock.recv(200)
            open_ones.append(context.wrap_socket(sock))
        load(world, FIRST)
        watch.now()
    finally:
        world.old.process.send_signal(signal.SIGCONT)
        for sock in open_ones:
            sock.close()
    return FIRST


class Watch:
    """Memory and descriptors of the daemon, whenever nothing waits."""

    def __init__(self, world):
        self.pid = node.get(world.state, "/v1/daemon")["pid"]
        self.index = f"{world.state}/index.sqlite"
        self.samples = []
        self.most = 0

    def now(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            rss = next(int(line.split()[1]) for line in status
                       if line.startswith("VmRSS"))
        self.most = max(self.most, rss)
        return rss, len(os.listdir(f"/proc/{self.pid}/fd"))

    def cache(self):
        """How much of memory the index may take by now, in KiB."""
        return min(os.path.getsize(self.index) >> 10, CACHE_KIB)

    def look(self):
        self.samples.append((*self.now(), self.cache()))

    def early(self):
        """The smallest of the second quarter."""
        quarter = max(len(self.samples) // 4, 1)
        part = self.samples[quarter:2 * quarter]
        return tuple(min(one[i] for one in part) for i in (0, 1, 2))

    def ends_at(self, most):
        """Memory and descriptors in the end: what a burst took it gives back
        in a while (heap.h), what leaked never comes back."""
        end = time.monotonic() + SETTLE
        while True:
            now = self.now()
            if all(one <= bound for one, bound in zip(now, most)) or \
               time.monotonic() > end:
                return now
            time.sleep(0.2)


def run(tap):
    world = World(peers.BenchSink, max_flight=FLIGHT, change=standing)
    try:
        world.knot.publish((10, OLD), (50, QUEUE))
        world.must(0, "start", world.plan)
        wait_for("the valve opens", lambda: world.status()["domains"][0]
                 ["valve"]["state"] == "open")
        watch = Watch(world)
        begun = time.monotonic()
        load(world, FIRST)
        wait_for("the first are delivered", lambda: caught_up(world, FIRST),
                 120)
        half = int(FIRST / (time.monotonic() - begun) / 2)
        # What a burst leaves behind once, it may leave; not each time.
        sent = FIRST + crowd(world, watch)
        wait_for("those of the first burst", lambda: caught_up(world, sent),
                 120)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            second = time.monotonic() + 1
            load(world, half)
            sent += half
            time.sleep(max(second - time.monotonic(), 0))
            # What waits is in memory: a burst is no leak.
            wait_for("nothing waits", lambda: not world.ledger()["waiting"])
            watch.look()
        wait_for("all are delivered", lambda: caught_up(world, sent), 120)
        sent += crowd(world, watch)
        wait_for("the rest too", lambda: caught_up(world, sent), 120)
        tap.ok(len(watch.samples) >= SECONDS / 4, f"half is borne: in "
               f"{SECONDS} s nothing waited {len(watch.samples)} times")
        early = watch.early()
        # Connections to the target come and go with the bursts, up to the
        # flight.
        most = (early[0] * 1.10 + SPARE_KIB + watch.cache() - early[2] +
                FLIGHT * SESSION_KIB, early[1] + FLIGHT)
        late = watch.ends_at(most)
        now = world.ledger()
        tap.ok(now["accepted"] == now["delivered"] == sent and
               now["held"] == 0, f"{sent} messages in {SECONDS} s, "
               f"{half}/s, came in and went out: lost = 0")
        tap.ok(late[0] <= most[0],
               f"memory is flat: {early[0]} KiB, then {late[0]} KiB of at "
               f"most {most[0]:.0f} ({watch.most} KiB in between)")
        tap.ok(watch.most > most[0],
               f"although {CROWD} TLS sessions came and went")
        tap.ok(late[1] <= most[1],
               f"so are the descriptors: {early[1]}, then {late[1]}")
        size = sum(os.path.getsize(os.path.join(at, name))
                   for at, _, names in os.walk(f"{world.state}/spool")
                   for name in names)
        tap.ok(size < 400 << 20, f"and the spool: {size >> 20} MiB for "
               f"{sent * BYTES >> 20} MiB of mail")
        world.must(0, "stop")
    finally:
        world.close()
        if not tap.bad and sys.exc_info()[0] is None:
            shutil.rmtree(world.folder, ignore_errors=True)


def main():
    tap = Tap()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000), hard))
    gone = peers.missing("knotd", "unbound", "kdig", "openssl")
    if gone:
        tap.skip("the soak", "missing: " + ", ".join(gone))
    else:
        run(tap)
    tap.end()


main()
