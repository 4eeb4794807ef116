#!/usr/bin/env python3
"""A disk that fills up: copies of delivered mail go before new mail is
refused, and the replay goes on below the reserve (TAP)."""
import glob
import os
import shutil
import tempfile

from cutover import Client, Later, Tap
from node import small_disk
from peers import wait_for
from replies import Standing, missing

MIB = 1 << 20
DISK = 700 * MIB
RESERVE = 64 * MIB  # the least there is
LARGE = 200000  # in a segment, not beside it
COPIES = 700  # more than two segments of them
WAITING = 20


class Filler:
    """What else is on the disk."""

    def __init__(self, disk):
        self.disk, self.path = disk, f"{disk}/filler"

    def free(self):
        now = os.statvfs(self.disk)
        return now.f_bavail * now.f_frsize

    def leave(self, left):
        with open(self.path, "ab") as out:
            size = out.tell() + max(0, self.free() - left)
            os.posix_fallocate(out.fileno(), 0, size)


def refused(s):
    """What a sender is told, or nothing: it was kept."""
    try:
        s.send("box9")
        return None
    except Later as why:
        return str(why)


def segments(s):
    return len(glob.glob(f"{s.world.state}/spool/*.seg"))


def run(tap, s, disk):
    s.start()
    sender = Client(s.world.port, False)
    for n in range(COPIES):
        s.send(f"box{n % 8}", size=LARGE, client=sender)
    sender.close()
    s.settled()
    before = segments(s)
    s.world.must(0, "pause", "acme")
    for n in range(WAITING):
        s.send(f"box{n % 8}")
    filler = Filler(disk)
    filler.leave(RESERVE * 3 // 4)
    told = refused(s)
    wait_for("copies go", lambda: filler.free() > RESERVE)
    tap.ok(not told and not refused(s) and before >= 3 and
           segments(s) < before, "below the reserve copies go first, and new "
           f"mail is taken: {before} segments, then {segments(s)}")

    def is_full():
        filler.leave(RESERVE // 4)
        return refused(s)
    told = wait_for("new mail gets 452", is_full)
    tap.ok(told[:9] == "452 4.3.1", f"then it is new mail's turn: {told}")
    ledger = s.ledger()
    s.world.must(0, "resume", "acme")
    s.settled()
    tap.ok(ledger["waiting"] >= WAITING and refused(s),
           f"the replay goes on meanwhile: {ledger['waiting']} of them")
    os.unlink(filler.path)
    wait_for("there is room again", lambda: not refused(s))
    s.settled()
    tap.ok(s.ledger()["balances"] and all(
        s.target.kept(box) == s.sent[box] for box in s.sent),
           "nothing was lost, all came in order")
    s.world.must(0, "stop")


def main():
    tap = Tap()
    gone = missing()
    folder = tempfile.mkdtemp(prefix="tideover-e2e-")
    with small_disk(folder, DISK) as disk:
        if gone or not disk:
            tap.skip("a disk that fills up", "missing: " + ", ".join(gone) if
                     gone else "no right to mount a small one here")
            tap.end()
            return
        s = Standing()
        s.world.state = f"{disk}/state"
        try:
            run(tap, s, disk)
        finally:
            s.close(not tap.bad)
    shutil.rmtree(folder, ignore_errors=True)
    tap.end()


main()
