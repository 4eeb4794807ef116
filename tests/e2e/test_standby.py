#!/usr/bin/env python3
"""A standing backup whose primary does not prove what MTA-STS or TLSA demand:
the mail waits, and nothing is tried for nothing (TAP)."""
import subprocess
import time
from datetime import datetime

import peers
from cutover import DOMAIN, ROOT, VARIANT, Tap, journal, listed
from peers import wait_for
from test_dane import (HOST, POLICY_HOST, QUEUE, SHOP, Dane, PolicyServer,
                       Shared, ee, end)
from test_dnssec import OWN

RECOVER = 1.0  # the plan's recover_after
PROBE = RECOVER / 4
PERIODS = 5


def turns(world, domain, since=0):
    """What became of its valve, in turn."""
    return [line["state"] for line in journal(world, "valve")[since:]
            if line["domain"] == domain]


def health(world, domain):
    """What was seen of the primary, as far as this domain goes."""
    return [line for line in journal(world, "health")
            if line.get("domain") == domain]


def seconds(earlier, later):
    """Between two times of JSON."""
    one, two = (datetime.fromisoformat(time.replace("Z", "+00:00"))
                for time in (earlier, later))
    return (two - one).total_seconds()


def hold(world, busy=None):
    """So long that a valve that only waits for a good probe would open again
    and again.  Sessions for each probe, and those that the daemon gave up."""
    target, begun = world.target, time.monotonic()
    before = target.sessions, target.given_up

    def over():
        if busy:
            busy()
        return time.monotonic() - begun > PERIODS * RECOVER
    wait_for(f"{PERIODS} times recover_after have passed", over)
    took = time.monotonic() - begun
    return ((target.sessions - before[0]) / (took / PROBE + 1),
            target.given_up - before[1])


def tries(world, box):
    return [row["attempts"] for row in listed(
        world, "--recipient", box, "--in", "waiting")]


def in_time(tap, world, domain, box):
    """Of the first good probe and what then went by itself."""
    good = health(world, domain)[-1]
    first = listed(world, "--recipient", box)[-1]["delivered_at"]
    took = seconds(good["since"], first)
    tap.ok(good["state"] == "healthy" and RECOVER <= took <= RECOVER + 1,
           f"put right, its mail goes by itself {took:.2f} s after the first "
           f"good probe, of {RECOVER:.0f} + 1 s")


def policy_case(tap, world, server):
    """One domain's policy enforces, another at the same primary has none."""
    target, box = world.target, f"box@{DOMAIN}"
    server.says("enforce", HOST, QUEUE)
    target.pair = world.authority.sign(HOST)
    world.start()
    world.zones.sts("s1")
    wait_for("the policy is known", lambda: server.asked > 0)

    def demanded():
        """New mail for both is delivered, on the terms of each."""
        world.post(DOMAIN, SHOP)
        wait_for("it is delivered", lambda: all(
            state[0] == "open" and state[2] == 0
            for state in world.states().values()))
        return "demanded by MTA-STS" in world.evidence(DOMAIN)[-1]
    wait_for("the policy counts", demanded)
    was = world.states()[DOMAIN][1]
    tap.ok(was > 0, f"all is well: {world.evidence(DOMAIN)[-1]}")

    lines = len(journal(world, "valve"))
    target.pair = world.self_signed
    reason = world.refused(f"MTA-STS of {DOMAIN} demands a certificate for "
                           f"{HOST}: self-signed certificate")
    tap.ok(reason, f"its certificate is bad now: {reason}")
    world.post(DOMAIN, DOMAIN)

    def busy():
        """Each message leaves before the next comes."""
        world.post(SHOP)
        wait_for("the other domain flows",
                 lambda: world.states()[SHOP][2] == 0)
    sessions, given_up = hold(world, busy)
    flowed = world.states()[SHOP]
    tap.ok(turns(world, DOMAIN, lines) == ["closed"] and
           world.states()[DOMAIN] == ("closed", was, 2),
           f"{PERIODS} times recover_after later it was closed once: "
           f"{turns(world, DOMAIN, lines)}")
    tap.ok(tries(world, box) == [0, 0] and given_up == 0,
           "and no attempt was made, nor a session begun in vain")
    tap.ok(flowed[0] == "open" and not turns(world, SHOP, lines) and
           flowed[1] > was + 3, f"the other domain's mail went all the time: "
           f"{flowed[1] - was} messages")
    sessions, _ = hold(world)
    tap.ok(sessions <= 2, "a domain is probed once each time, whatever it "
           f"demands: {sessions:.2f} sessions for two domains")

    told = subprocess.run(
        [f"{ROOT}/build/{VARIANT}/tideover", "status", "--state",
         world.state], capture_output=True, text=True, check=False,
        timeout=60).stdout
    seen = health(world, DOMAIN)[-1]
    tap.ok(told.count(f"MTA-STS of {DOMAIN} demands a certificate for {HOST}")
           == 2 and told.count("healthy") >= 2 and
           seen["state"] == "unhealthy" and
           f"MTA-STS of {DOMAIN}" in seen["last_error"] and
           not health(world, SHOP),
           f"status and journal say whose demand it is: {seen}")

    target.pair = world.authority.sign(HOST)
    wait_for("put right, it goes by itself",
             lambda: world.states()[DOMAIN] == ("open", was + 2, 0))
    in_time(tap, world, DOMAIN, box)
    tap.ok(turns(world, DOMAIN, lines) == ["closed", "open"],
           "and its valve opened once")

    lines = len(journal(world, "valve"))
    target.pair = world.self_signed
    world.refused(f"MTA-STS of {DOMAIN}")
    world.restart()
    world.post(DOMAIN)
    wait_for("the other domain is open again",
             lambda: world.states()[SHOP][0] == "open")
    _, given_up = hold(world)
    tap.ok("open" not in turns(world, DOMAIN, lines) and given_up == 0 and
           tries(world, box) == [0] and world.refused(f"MTA-STS of {DOMAIN}"),
           "a restart opens nothing either")
    tap.ok("unhealthy" in [line["state"] for line in health(world, DOMAIN)],
           "and the journal says why")


def tlsa_case(tap):
    """Another key than the TLSA's, and no TLSA: both of the primary itself."""
    world = Dane("dane")
    try:
        target, zones = world.target, world.zones
        target.pair = world.self_signed
        zones.tlsa(target.port, ee(target.pair[1]))
        world.start()
        world.send()
        tap.ok("dane-ee" in world.delivered(), "with its TLSA all is well")
        target.pair = world.authority.sign(HOST)
        for what, words, break_it in (
                ("another key than the TLSA's",
                 f"TLSA of _{target.port}._tcp.{HOST} demands another "
                 "certificate", lambda: None),
                ("no TLSA", f"_{target.port}._tcp.{HOST} has no TLSA",
                 lambda: zones.tlsa(target.port))):
            lines = len(journal(world, "valve"))
            break_it()
            reason = world.refused(words)
            world.send()
            _, given_up = hold(world)
            tap.ok(reason and turns(world, DOMAIN, lines) == ["closed"] and
                   tries(world, f"box{world.sent - 1}@{DOMAIN}") == [0] and
                   given_up == 0 and world.refused(words),
                   f"{what}: closed once, and nothing tried: {reason}")
            zones.tlsa(target.port, ee(target.pair[1]))
            tap.ok("dane-ee" in world.delivered() and turns(
                world, DOMAIN, lines) == ["closed", "open"],
                   "put right, it goes by itself")
    finally:
        end(tap, world)


class Seldom(Dane):
    """Probed less often than the TTL of its TLSA is over."""

    def plan_for(self, tls, key, cert, port):
        plan = super().plan_for(tls, key, cert, port)
        plan["timing"].update(recover_after="16s", probe_every="4s")
        return plan


def seldom_case(tap):
    """No mail, so that probes alone ask for the records."""
    world = Seldom("dane")
    try:
        target = world.target
        target.pair = world.self_signed
        world.zones.tlsa(target.port, ee(target.pair[1]))
        world.start()
        wait_for("the primary is well", lambda: "healthy for" in world.status()
                 ["domains"][0]["valve"]["reason"])
        world.zones.tlsa(target.port, "3 1 1 " + 64 * "0")
        reason = world.refused("demands another certificate")
        tap.ok(reason and world.sent == 0,
               f"records of a short TTL are asked for again: {reason}")
    finally:
        end(tap, world)


def main():
    tap = Tap()
    gone = peers.missing("knotd", "knotc", "keymgr", "kdig", "unbound")
    if gone:
        tap.skip("TLS terms of a primary", f"{', '.join(gone)} is not here")
        tap.end()
    tlsa_case(tap)
    seldom_case(tap)
    if OWN:  # a policy has no use for a validator
        tap.end()
    if not POLICY_HOST:
        tap.skip("MTA-STS of a primary", "no port 443 for us")
        tap.end()
    world = Shared("opportunistic")
    try:
        policy_case(tap, world, world.keep(PolicyServer(
            world.authority.sign(f"mta-sts.{DOMAIN}"))))
    finally:
        end(tap, world)
    tap.end()


if __name__ == "__main__":
    main()
