#!/usr/bin/env python3
"""Whom the parent delegates to and whom the zone names itself, with knot on
port 53 of addresses of ours (TAP)."""
import json
import os
import shutil
import subprocess
import tempfile

import peers
from cutover import ROOT, VARIANT, Tap
from test_survey_scale import Knot, Unbound, loopback

DOMAIN = "acme.example"
SOA = "@ 300 SOA ns1.hosts.example. admin.example. 1 60 60 3600 60\n"


class World:
    """The parent on one server, the zone on two, and one that has neither."""

    def __init__(self, folder):
        self.folder = folder
        self.open = []
        self.at = [loopback() for _ in range(4)]

    def begin(self):
        os.mkdir(f"{self.folder}/zones")
        self.write("hosts.example", "@ 300 NS ns0\n" + "".join(
            f"ns{n} 300 A {address}\n" for n, address in enumerate(self.at)) +
            "old 300 A 127.0.0.1\nhold 300 A 127.0.0.1\n")
        self.own("ns1", "ns2")
        self.delegate("ns1", "ns2")
        zones = [["example", "hosts.example"], [DOMAIN], [DOMAIN],
                 ["else.example"]]
        self.write("else.example", "@ 300 NS ns3.hosts.example.\n")
        for n, address in enumerate(self.at):
            self.open.append(Knot(self.folder, f"ns{n}", address, 53,
                                  zones[n]))

    def write(self, zone, lines):
        path = f"{self.folder}/zones/{zone}.zone"
        with open(path, "w", encoding="ascii") as out:
            out.write(SOA + lines)

    def own(self, *names):
        self.write(DOMAIN, "@ 300 MX 10 old.hosts.example.\n" + "".join(
            f"@ 300 NS {name}.hosts.example.\n" for name in names))

    def delegate(self, *names):
        self.write("example", "@ 300 NS ns0.hosts\nhosts 300 NS ns0.hosts\n"
                   f"ns0.hosts 300 A {self.at[0]}\n" + "".join(
                       f"{DOMAIN}. 300 NS {name}.hosts\n" for name in names))

    def finding(self):
        """What `plan` says, with a resolver that knows nothing yet."""
        for knot, zone in ((self.open[0], "example"), (self.open[1], DOMAIN),
                           (self.open[2], DOMAIN)):
            done = knot.knotc("-b", "zone-reload", zone)
            assert done.returncode == 0, done.stderr
        Unbound.number = getattr(Unbound, "number", 0) + 1
        resolver = Unbound(self.folder, f"unbound{Unbound.number}",
                           self.open[0], ["example"])
        path = f"{self.folder}/plan.json"
        with open(path, "w", encoding="ascii") as out:
            json.dump({
                "tideover": 1, "name": "acme", "strategy": "park",
                "domains": [{"name": DOMAIN}],
                "old": {"provider": "custom", "mx": ["old.hosts.example"],
                        "deliver_to": "127.0.0.1:1"},
                "new": {"provider": "custom", "mx": ["new.hosts.example"],
                        "deliver_to": "127.0.0.1:2"},
                "queue_mx": {"host": "hold.hosts.example", "priority": 10,
                             "listen": ["127.0.0.1:2525"]},
                "dns": {"resolvers": [f"127.0.0.1:{resolver.port}"],
                        "ttl": 300, "old_ttl": 300},
                "recipients": {"policy": "any"}}, out)
        try:
            said = subprocess.run(
                [f"{ROOT}/build/{VARIANT}/tideover", "plan", "--json",
                 "--state", f"{self.folder}/state", path],
                capture_output=True, text=True, check=False, timeout=120)
        finally:
            resolver.close()
        document = json.loads(said.stdout.splitlines()[-1])
        return [f for f in document["gate"]["findings"]
                if f["check"] == "dns-authority"][0]

    def close(self):
        for peer in self.open:
            peer.close()


def expect(tap, found, verdict, says, what):
    good = found["verdict"] == verdict and says in found["summary"]
    tap.ok(good, f"{what}: {found['verdict']}: {found['summary']}")
    if not good:
        print("# " + json.dumps(found), flush=True)


def judge(tap, world):
    found = world.finding()
    expect(tap, found, "pass", "the parent delegates to them", "both alike")
    seen = found["evidence"][0]["delegation"]
    tap.ok(seen["parent"] == "example" and world.at[0] in seen["from"] and
           seen["delegated"] == seen["own"] ==
           "ns1.hosts.example ns2.hosts.example",
           f"the evidence has both sets, and who said so: {seen['from']}")
    world.delegate("ns1")
    expect(tap, world.finding(), "warn", "example does not delegate "
           f"{DOMAIN} to ns2.hosts.example of its NS set",
           "a name server that the parent lacks")
    world.own("ns1")
    world.delegate("ns1", "ns2")
    expect(tap, world.finding(), "warn", f"example delegates {DOMAIN} to "
           "ns2.hosts.example, which its own NS set lacks",
           "a name server that the zone lacks")
    world.own("ns1", "ns2")
    world.delegate("ns1", "ns2", "ns3")
    expect(tap, world.finding(), "fail", f"example delegates {DOMAIN} to "
           "ns3.hosts.example, which has no authority for it",
           "a lame one in the delegation")
    world.delegate("ns1", "ns2", "ns9")
    expect(tap, world.finding(), "fail", "ns9.hosts.example, which has no",
           "one without an address in the delegation")
    world.own("ns1", "ns2", "ns3")
    world.delegate("ns1", "ns2", "ns3")
    expect(tap, world.finding(), "fail", "ns3.hosts.example",
           "a lame one in both sets")


def main():
    tap = Tap()
    gone = peers.missing("knotd", "knotc", "unbound", "unbound-control")
    folder = tempfile.mkdtemp(prefix="tideover-delegation-")
    os.chmod(folder, 0o755)
    world = World(folder)
    if gone or not all(world.at):
        tap.skip("delegation", f"{', '.join(gone)} is not here" if gone else
                 "port 53 may not be bound")
        tap.end()
    try:
        world.begin()
        judge(tap, world)
    finally:
        world.close()
        if not tap.bad:
            shutil.rmtree(folder, ignore_errors=True)
    tap.end()


if __name__ == "__main__":
    main()
