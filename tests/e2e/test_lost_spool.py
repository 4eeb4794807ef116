#!/usr/bin/env python3
"""A spool that is gone with its index adds up to nothing, and the journal
knows better (TAP)."""
import glob
import json
import os
import shutil

from cutover import findings
from peers import wait_for
from replies import Standing, play


def balance(s):
    document = s.world.tideover("check", "acme", "--gate", "close", "--only",
                                "ledger-balance")[1]
    return findings(document)[0]


def journalled(s):
    with open(f"{s.world.state}/plans/acme/journal.ndjson",
              encoding="utf-8") as lines:
        totals = [json.loads(line)["data"] for line in lines
                  if '"event":"ledger"' in line]
    return totals[-1]["acme.example"]["accepted"] if totals else 0


def run(tap, s):
    s.start()
    s.world.must(0, "pause", "acme")
    for _ in range(3):
        s.send("box1")
    s.world.tideover("check", "acme", "--gate", "close")
    wait_for("the journal has the totals", lambda: journalled(s) == 3)
    found = balance(s)
    tap.ok(found["verdict"] == "pass", found["summary"])
    s.world.must(0, "stop")
    shutil.rmtree(f"{s.world.state}/spool")
    for path in glob.glob(f"{s.world.state}/index*"):
        os.unlink(path)
    s.world.start_daemon()
    wait_for("the plan is there",
             lambda: s.world.tideover("status", "acme")[0] == 0)
    tap.ok(s.ledger()["accepted"] == 0, "the index counts what is left")
    found = balance(s)
    tap.ok(found["verdict"] == "fail" and "journal counted 3" in
           found["summary"], found["summary"])
    tap.ok(s.world.tideover("waive", "acme", "ledger-balance", "--gate",
                            "close", "--by", "anna", "--reason", "x")[0] != 0,
           "nobody waives that")


play("a lost spool", Standing, run)
