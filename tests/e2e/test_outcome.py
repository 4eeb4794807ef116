#!/usr/bin/env python3
"""An outcome whose record fails to be written is written again (TAP)."""
import os

import cutover
from cutover import ROOT
from peers import wait_for
from replies import Standing, play

cutover.VARIANT = "release"  # the shim does not go with a sanitizer
# What the spool writes: its header, a message, a BEGIN, an END.
FAULT = {"FAULT_KIND": "eio", "FAULT_CALL": "pwritev", "FAULT_AT": "4",
         "LD_PRELOAD": f"{ROOT}/build/release/faults.so"}


def run(tap, s):
    os.environ.update(FAULT)
    s.start()

    def failed():
        with open(f"{s.world.state}/tideoverd.log", encoding="utf-8") as log:
            return "an outcome could not be kept" in log.read()
    number = s.send("box1")
    wait_for("the write fails", failed)
    later = s.send("box1")
    s.settled()
    row = s.row("box1", number)
    tap.ok(s.target.kept("box1") == [number, later] and
           row["uncertain"] == 0 and row["state"] == "delivered",
           "one failed write of an outcome: it is kept a moment later, and "
           "its mailbox goes on")
    s.world.must(0, "stop")


play("an outcome that fails", Standing, run)
