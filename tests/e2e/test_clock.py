#!/usr/bin/env python3
"""A clock that is set back keeps no mail waiting (TAP)."""
import os
import struct

import cutover
from cutover import ROOT
from peers import wait_for
from replies import Standing, play

DAY = 24 * 3600 * 1000


def preload(folder):
    """The programs that start from now on have the clock of this file."""
    asan = os.environ.get("ASAN_OPTIONS", "")
    os.environ.update(
        SKEW_FILE=f"{folder}/skew",
        LD_PRELOAD=f"{ROOT}/build/{cutover.VARIANT}/skew.so",
        ASAN_OPTIONS=f"{asan}{':' * bool(asan)}verify_asan_link_order=0")


def set_clock(ms):
    """Beside the true one."""
    path = os.environ["SKEW_FILE"]
    with open(path, "r+b" if os.path.exists(path) else "wb") as out:
        out.write(struct.pack("<4q", 0, ms, 1, 0))


def deferred(s, *boxes):
    """Each was tried, and waits for a time."""
    s.target.play("rcpt box* -> 451 4.2.0 later")
    for box in boxes:
        s.send(box)
    for box in boxes:
        wait_for(f"{box} waits", lambda b=box: s.row(
            b, s.sent[b][-1])["attempts"] > 0)


def run(tap, s):
    set_clock(DAY)
    s.start()
    deferred(s, "box1")
    set_clock(0)
    s.target.play("")
    s.settled()
    tap.ok(s.complete("box1"), "what waits for a time goes on at once when "
           "the clock is set back by a day")

    set_clock(DAY)
    deferred(s, "box2")
    s.world.must(0, "stop")
    set_clock(0)
    s.target.play("")
    s.world.start_daemon()
    s.settled()
    tap.ok(s.complete("box2"), "and so does what a start finds")
    s.world.must(0, "stop")


def shifted():
    s = Standing()
    preload(s.world.folder)
    return s


play("a clock that is set back", shifted, run)
