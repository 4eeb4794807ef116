#!/usr/bin/env python3
"""A call that fails, any call: EIO, ENOSPC, EMFILE, ENOMEM, a short write.

Each round preloads faults.so into tideoverd, makes one call fail (or a run of
them), sends mail, kills the daemon, and looks for every message that was
answered 250: first in the spool itself, then in a daemon without faults (TAP).
Every kind of fault happens to every call that it can happen to, then to any.

FAULT_ROUNDS (default 10) with any, SEED.
"""
import collections
import json
import os
import random
import re
import shutil
import subprocess
import tempfile
import time

import peers
from cutover import ROOT, Client, Later, Refused, Tap
from node import Node

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "10"))
SEED = int(os.environ.get("SEED", str(time.time_ns() % 1000000)))
# How many calls a round makes, about: so far away may the fault be.
REACH = {"eio": 120, "enospc": 120, "emfile": 25, "enomem": 60, "short": 80,
         "nomem": 12000}
# What tideoverd and SQLite (those with 64) call, more than once in a round.
WRITES = ["write", "pwritev", "pwrite64"]
CHANGES = WRITES + ["open", "open64", "fsync", "fdatasync", "ftruncate",
                    "ftruncate64", "rename", "unlink", "mkdir",
                    "posix_fallocate"]
CALLS = {
    "eio": CHANGES + ["read", "pread", "pread64", "mmap", "mmap64"],
    "enospc": CHANGES,
    "emfile": ["open", "open64", "accept4", "socket"],
    "enomem": ["open", "open64", "accept4", "socket", "mmap", "mmap64"],
    "short": WRITES,
    "nomem": ["allocation"],
}
RARE = ("ftruncate", "ftruncate64", "rename", "unlink", "pread", "mmap",
        "mmap64", "posix_fallocate", "socket")
SMALL = b"Subject: small\r\n\r\n" + b"text\r\n" * 50
LARGE = b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n" * 1 + \
    (b"y" * 70 + b"\r\n") * 6000


class Round:
    """One daemon with one fault."""

    def __init__(self, folder, dice, kind=None, call=None):
        self.folder = folder
        self.kind = kind or dice.choice(list(REACH))
        self.call = call
        # Some are made but once, and some when all ends well.
        self.at = (1 if call in RARE else
                   dice.randrange(1, 4 if call else REACH[self.kind]))
        self.ends_well = call == "ftruncate"
        self.last = dice.choice((1, 1, 1, 3, 1000000))
        if self.kind == "nomem":
            self.last = 1
        self.node = Node(folder, "release")
        # The daemon may write nowhere else.
        os.mkdir(self.node.state, 0o700)
        self.faults = f"{self.node.state}/faults"
        self.kept = set()
        self.refused = 0

    def describe(self):
        run = "" if self.last == 1 else f", {self.last} in a row"
        return f"{self.kind} at {self.at} of {self.call or 'all'}{run}"

    def run(self):
        # One that has mail already; folders are made for the first.
        if self.call and self.call != "mkdir":
            self.serve({}, 3)
        env = {"LD_PRELOAD": f"{ROOT}/build/release/faults.so",
               "FAULT_AT": str(self.at), "FAULT_KIND": self.kind,
               "FAULT_LAST": str(self.last),
               "FAULT_LOG": self.faults}
        if self.call:
            env["FAULT_CALL"] = self.call
        self.serve(env, 24)

    def serve(self, env, messages):
        with open(f"{self.folder}/faulty.log", "wb") as log:
            daemon = subprocess.Popen(
                [f"{self.node.build}/tideoverd", "--state", self.node.state],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env={**os.environ, **env})
        try:
            if self.answers(daemon):
                self.node.tideover("start", self.node.plan)
                self.send(daemon, messages)
            if self.ends_well and env:
                daemon.terminate()
                daemon.wait(60)
            elif env and self.call:
                self.await_fault(daemon)
        finally:
            daemon.kill()
            daemon.wait()
            self.stop_another()

    def await_fault(self, daemon):
        """What is called beside the mail may come after it."""
        deadline = time.monotonic() + 60
        while not self.hit() and daemon.poll() is None and \
                time.monotonic() < deadline:
            time.sleep(0.05)

    def stop_another(self):
        """If ours died before `start` asked, that began one of its own."""
        try:
            self.node.control(b"GET /v1/daemon HTTP/1.0\r\n\r\n")
        except OSError:
            return
        self.node.tideover("stop")

    def answers(self, daemon):
        deadline = time.monotonic() + 60
        while daemon.poll() is None and time.monotonic() < deadline:
            try:
                if self.node.control(b"GET /v1/daemon HTTP/1.0\r\n\r\n"):
                    return True
            except OSError:
                pass
            time.sleep(0.01)
        return False

    def send(self, daemon, messages):
        client, silent = None, 0
        for number in range(messages):
            # Who cannot accept() says nothing; each waits for its time.
            if daemon.poll() is not None or silent > 0:
                break
            try:
                client = client or Client(self.node.port, False, 10)
                said = client.send([f"box{number % 5}"],
                                   LARGE if number % 6 == 5 else SMALL)
                self.kept.add(re.search(rb"kept as (\w+)", said).group(1)
                              .decode())
            except (Later, Refused, OSError) as failure:
                self.refused += 1
                silent += isinstance(failure.__cause__ or failure,
                                     TimeoutError)
                if client:
                    client.close()
                client = None
        if client:
            client.close()

    def found(self):
        """What the spool has, without a daemon; and what a daemon has."""
        if not os.path.exists(f"{self.node.state}/spool"):
            return set(), set()
        status, said, _ = self.node.tideover("spool", "verify",
                                             self.node.state)
        document = json.loads(said.splitlines()[-1])
        assert status in (0, 3), said
        spool = {row["id"] for row in document["messages"]}
        self.node.daemon = peers.Child(
            self.folder, "healthy", f"{self.node.build}/tideoverd",
            "--state", self.node.state)
        try:
            assert self.answers(self.node.daemon.process), "no healthy start"
            status, rows, _ = self.node.tideover("queue", "list", "acme")
            if status != 0:  # the start of the plan itself failed
                return spool, set()
            return spool, {json.loads(line)["id"]
                           for line in rows.splitlines()}
        finally:
            self.node.daemon.close()

    def hit(self):
        return os.path.exists(self.faults)


def main():
    tap = Tap()
    dice = random.Random(SEED)
    print(f"# seed {SEED}")
    seen = collections.Counter()
    bad, missed = [], []
    every = [(kind, call) for kind, calls in CALLS.items() for call in calls]
    for wish in every + [(None, None)] * ROUNDS:
        folder = tempfile.mkdtemp(prefix="tideover-e2e-")
        one = Round(folder, dice, *wish)
        one.run()
        spool, daemon = one.found()
        seen.update(rounds=1, hits=one.hit(), kept=len(one.kept),
                    refused=one.refused)
        if wish[0] and not one.hit():
            missed.append(one.describe())
        lost = len(one.kept - spool) + len(one.kept - daemon)
        if lost:
            bad.append(f"{one.describe()}: {lost} lost, see {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    tap.ok(not bad, f"{seen['rounds']} rounds, {seen['hits']} of them with a "
           f"fault, {seen['kept']} messages kept, {seen['refused']} put off: "
           f"lost = 0 {bad}")
    tap.ok(not missed, f"each of {len(every)} kinds of fault happened to its "
           f"call {missed}")
    tap.ok(seen["kept"] > 5 * seen["rounds"], "mail was kept all the same")
    tap.end()


main()
