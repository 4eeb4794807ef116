#!/usr/bin/env python3
"""Large messages: one of 150 MB, then a thousand at once on a small disk
(TAP).

What does not fit gets 452, and only that; memory stays bounded, the disk keeps
its reserve, and what was answered 250 is there.
"""
import hashlib
import json
import os
import re
import resource
import shutil
import tempfile
import threading
import time

from cutover import DOMAIN, ROOT, Client, Later, Tap
from node import Node, small_disk

DISK = 300 << 20
RESERVE = 64 << 20  # the least there is: docs/durability.md
HUGE = 150_000_000
SENDERS, PIECE, PIECES = 1000, 16 * 1024, 40
LINE = b"x" * 1022 + b"\r\n"
# 64 MiB of bodies in memory and 64 MiB under way to the disk, then 64 KiB
# more for each sender.
MEMORY = (64 + 64) << 20
SHARE = 2 * 64 << 10


class Watch:
    """The most memory, and the least free disk, while it runs."""

    def __init__(self, pid, disk):
        self.pid, self.disk = pid, disk
        self.rss, self.free = 0, DISK
        self.stopped = False
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def look(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            self.rss = max(self.rss, next(
                int(line.split()[1]) << 10 for line in status
                if line.startswith("VmRSS")))
        disk = os.statvfs(self.disk)
        self.free = min(self.free, disk.f_bavail * disk.f_frsize)

    def work(self):
        while not self.stopped:
            self.look()
            time.sleep(0.01)

    def stop(self):
        self.stopped = True
        self.thread.join()


class Sender(Client):
    """One that sends its message a piece at a time."""

    def begin(self, number):
        self.digest = hashlib.sha256()
        self.sock.sendall(b"MAIL FROM:<sender@b.example>\r\n"
                          b"RCPT TO:<box%d@%s>\r\nDATA\r\n"
                          % (number, DOMAIN.encode()))
        for code in (250, 250, 354):
            self.expect(code)
        self.piece(b"Subject: large %d\r\n\r\n" % number)

    def piece(self, bytes_):
        self.digest.update(bytes_)
        self.sock.sendall(bytes_)

    def end(self):
        """The id it was kept as; None: 452."""
        self.sock.sendall(b".\r\n")
        try:
            said = self.expect(250)
            return re.search(rb"kept as (\w+)", said).group(1).decode()
        except Later as why:
            assert str(why).startswith("452 4.3.1 "), why
            return None


def rss_of(pid):
    watch = Watch(pid, "/")
    watch.stop()
    return watch.rss


def one(tap, node, disk):
    """A hundred times what memory it may take."""
    pid = node.daemon.process.pid
    before = rss_of(pid)
    watch = Watch(pid, disk)
    sender = Sender(node.port, False)
    sender.begin(0)
    for _ in range(HUGE // (64 * len(LINE))):
        sender.piece(LINE * 64)
    kept = sender.end()
    sender.close()
    watch.stop()
    tap.ok(kept and watch.rss - before < 16 << 20,
           f"a message of {HUGE // 1000000} MB costs "
           f"{(watch.rss - before) / 1e6:.1f} MB of memory")
    return {kept: sender.digest.hexdigest()}


def declared(tap, node):
    """Who says how large it is need not send it first."""
    client = Client(node.port, False)
    answer = "250"
    try:
        client.command(b"MAIL FROM:<> SIZE=%d" % HUGE, 250)
    except Later as why:
        answer = str(why)
    client.close()
    tap.ok(answer.startswith("452 4.3.1 "),
           f"a second one with SIZE gets {answer}")


def thousand(tap, node, disk):
    """All in DATA at once, each a piece at a time."""
    watch = Watch(node.daemon.process.pid, disk)
    senders = [Sender(node.port, False) for _ in range(SENDERS)]
    for number, sender in enumerate(senders):
        sender.begin(number)
    for _ in range(PIECES):
        for sender in senders:
            sender.piece(LINE * (PIECE // len(LINE)))
    kept = {}
    for sender in senders:
        name = sender.end()
        if name:
            kept[name] = sender.digest.hexdigest()
        sender.close()
    watch.stop()
    each = PIECE * PIECES
    away = node.get("/v1/daemon")["sessions"]["turned_away"]
    tap.ok(0 < len(kept) < SENDERS, f"of {SENDERS} messages of {each >> 10} "
           f"KiB at once {len(kept)} were kept, the others got 452")
    tap.ok(away["disk_space"] == SENDERS - len(kept) + 1,
           f"each is counted: {away['disk_space']}")
    tap.ok(watch.rss < MEMORY + SENDERS * SHARE,
           f"memory was at most {watch.rss >> 20} MiB")
    tap.ok(watch.free > RESERVE * 0.9, "the disk kept its reserve of "
           f"{RESERVE >> 20} MiB: {watch.free >> 20} MiB free at the least")
    return kept


def run(tap, folder, disk):
    node = Node(folder, "release")
    node.state = f"{disk}/state"
    for system in ("old", "new"):
        node.document[system]["max_bytes"] = 2 * HUGE
    node.write()
    node.start()
    try:
        kept = one(tap, node, disk)
        declared(tap, node)
        kept.update(thousand(tap, node, disk))

        def accepts():
            client = Client(node.port, False)
            try:
                client.send(["box1"], b"Subject: small\r\n\r\ntext\r\n")
            finally:
                client.close()
            return True
        accepts()
        tap.ok(True, "a small message gets its 250 at once")
        ledger = json.loads(node.tideover("status", "acme")[1])
        ledger = ledger["domains"][0]["ledger"]
        node.daemon.process.kill()
        node.daemon.process.wait()
        status, said, _ = node.tideover("spool", "verify", node.state)
        found = {row["id"]: row for row in
                 json.loads(said.splitlines()[-1])["messages"]}
        tap.ok(status == 0 and ledger["balances"] and
               ledger["waiting"] == len(found) == len(kept) + 1 and
               kept.keys() <= found.keys(), f"each of {len(kept) + 1} that "
               "were answered 250 is in the spool, whole")
        left = [name for name in os.listdir(f"{node.state}/spool")
                if name.endswith(".tmp")]
        tap.ok(not left, f"nothing else is: {left[:3]}")
    finally:
        node.daemon.close()


def main():
    tap = Tap()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    folder = tempfile.mkdtemp(prefix="tideover-e2e-")
    os.chmod(folder, 0o755)
    with small_disk(folder, DISK) as disk:
        if not disk:
            tap.skip("large messages", "no right to mount a small disk here")
        elif not os.path.exists(f"{ROOT}/build/release/tideoverd"):
            tap.skip("large messages", "release is not built")
        else:
            run(tap, folder, disk)
    if not tap.bad:
        shutil.rmtree(folder, ignore_errors=True)
    tap.end()


main()
