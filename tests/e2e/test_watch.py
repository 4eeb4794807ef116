#!/usr/bin/env python3
"""Checks all along, and what an administrator exported, with knot, unbound and
a real Postfix at either end (TAP)."""
import json
import os
import shutil
import sys

import peers
from cutover import DOMAIN, OLD, QUEUE, Tap, World, findings
from peers import wait_for

ACCEPTED = "accepted-domain.json"


def exported(world, **change):
    domain = {"DomainName": DOMAIN, "DomainType": "InternalRelay",
              "PendingRemoval": False, "Default": True} | change
    # As Windows PowerShell writes it.
    with open(f"{world.folder}/{ACCEPTED}", "w", encoding="utf-8-sig") as out:
        json.dump([domain], out)


def with_evidence(world, plan):
    plan["new"]["provider"] = "m365"
    plan["evidence"] = [ACCEPTED]
    exported(world)
    return plan


def finding(world, gate, check):
    document = world.tideover("check", "acme", "--gate", gate, "--only",
                              check)[1]
    return findings(document)[0]


def alerts(world, check):
    return [a for a in world.status().get("alerts", []) if a.startswith(check + ":")]


def turns(world, check):
    return [(a["from"], a["to"], a["alert"])
            for a in world.report()["watched"] if a["check"] == check]


def evidence(tap, world):
    for check in ("domain-verified", "accepted-type"):
        got = finding(world, "finish", check)
        tap.ok(got["verdict"] == "pass" and DOMAIN in json.dumps(
            got["evidence"]), f"{check} passes on the exported domain")
    exported(world, PendingRemoval=True, DomainType="ExternalRelay")
    for check in ("domain-verified", "accepted-type"):
        got = finding(world, "finish", check)
        tap.ok(got["verdict"] == "fail",
               f"{check} reads the file again at each gate: {got['summary']}")
    with open(f"{world.folder}/{ACCEPTED}", "w", encoding="utf-16") as out:
        out.write("[]")
    got = finding(world, "finish", "domain-verified")
    tap.ok(got["verdict"] == "warn" and "UTF-16" in got["remedy"] and
           "rehearsal" in got["summary"],
           f"a file that cannot be read proves nothing: {got['remedy'][:80]}")


def watched(tap, world):
    world.knot.publish((10, QUEUE))
    wait_for("every vantage sees the queue alone",
             lambda: world.views() == {"parked"})
    wait_for("parked passes", lambda: any(
        (to, alert) == ("pass", False)
        for _, to, alert in turns(world, "parked")))
    tap.ok(not alerts(world, "parked"),
           "what had yet to arrive was no alert")
    world.knot.publish((10, OLD))
    wait_for("the old MX is an alert", lambda: alerts(world, "parked"))
    said = alerts(world, "parked")[0]
    tap.ok("fail" in said and QUEUE in said,
           f"the old MX comes back: {said[:100]}")
    tap.ok(any(to == "fail" and alert for _, to, alert in
               turns(world, "parked")), "the turn is in the journal")
    world.must(0, "stop")
    world.start_daemon()
    wait_for("the alert is there after a restart",
             lambda: alerts(world, "parked"))
    tap.ok(True, "a restart keeps the alert")
    world.knot.publish((10, QUEUE))
    wait_for("the alert goes", lambda: not alerts(world, "parked"))
    tap.ok(True, "the alert goes once it is good again")


def demands(tap):
    """What no delivery would go to is not healthy, however well it answers."""
    def standing(_, plan):
        plan["primary"] = plan.pop("old")
        del plan["new"], plan["replay"]["ramp"]
        plan["strategy"] = "standby"
        plan["replay"]["tls"] = "verified"
        return plan

    world = World(peers.BenchSink, change=standing)
    try:
        world.knot.publish((10, OLD), (50, QUEUE))
        world.must(0, "start", world.plan)
        valve = wait_for("the primary was asked", lambda: (
            lambda v: v if "not probed yet" not in v["reason"] else None)(
                world.status()["domains"][0]["valve"]))
        tap.ok(valve["state"] == "closed" and "not trusted" in valve["reason"],
               "a standby primary whose certificate replay.tls does not take "
               f"is not healthy: {valve['reason']}")
        world.must(0, "stop")
    finally:
        world.tideover("stop")
        world.close()
        if not tap.bad and sys.exc_info()[0] is None:
            shutil.rmtree(world.folder, ignore_errors=True)


def run(tap):
    world = World(peers.Postfix, change=with_evidence)
    try:
        # The zone lacks what a tenant would have us publish.
        shut = findings(world.must(3, "start", world.plan))
        tap.ok([f["check"] for f in shut if f["verdict"] == "fail"] ==
               ["verify-txt"], "start is shut by verify-txt alone")
        world.must(0, "waive", "acme", "verify-txt", "--gate", "start",
                   "--by", "anna", "--reason", "this tenant is a Postfix")
        world.must(0, "start", world.plan)
        evidence(tap, world)
        watched(tap, world)
        world.must(0, "journal", "verify", "acme")
        world.must(0, "stop")
    finally:
        world.tideover("stop")
        world.close()
        if not tap.bad and sys.exc_info()[0] is None:
            shutil.rmtree(world.folder, ignore_errors=True)


def main():
    tap = Tap()
    gone = peers.missing("knotd", "unbound", "kdig", "openssl", "postfix")
    if os.geteuid() != 0:
        gone.append("root for Postfix")
    if gone:
        tap.skip("watched checks", "missing: " + ", ".join(gone))
    else:
        run(tap)
        demands(tap)
    tap.end()


main()
