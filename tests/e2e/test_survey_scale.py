#!/usr/bin/env python3
"""200 domains in one plan, 8 resolvers: asked in time, in bounds, and no
server twice for the same thing; with knot and unbound, who count (TAP)."""
import json
import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
import time

import peers
from cutover import BARS, ROOT, VARIANT, Tap
from peers import wait_for

DOMAINS = [f"d{n:03}.example" for n in range(200)]
RESOLVERS = 8
AUTHORITIES = 4
IN_FLIGHT, PER_SERVER = 64, 16  # lib/dns/dns_desk.h
# A promise for a release build; others (ASan) are several times slower.
SECONDS = 10 if BARS else 240
SOA = "@ 300 SOA ns0.hosts.example. admin.example. 1 60 60 3600 60\n"
QUEUE = "hold.hosts.example"
SPF = "v=spf1 include:_spf.hosts.example -all"


def loopback():
    """An address of ours whose port 53 may be bound; None without the right
    to."""
    address = "127.%d.%d.%d" % tuple(random.randint(1, 250) for _ in range(3))
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((address, 53))
    except OSError:
        return None
    return address


class Knot:
    """knotd with the zones on an address of its own; it counts."""

    def __init__(self, folder, name, address, port, zones):
        self.folder = f"{folder}/{name}"
        os.mkdir(self.folder)
        self.address, self.port = address, port
        self.conf = f"{self.folder}/knot.conf"
        self.control = f"{self.folder}/knot.sock"
        with open(self.conf, "w", encoding="ascii") as out:
            out.write(f"""
server:
    rundir: "{self.folder}"
    listen: {address}@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
control:
    listen: "{self.control}"
database:
    storage: "{self.folder}"
log:
  - target: stderr
    any: warning
template:
  - id: default
    storage: "{folder}/zones"
    file: "%s.zone"
    zonefile-load: whole
    zonefile-sync: -1
    journal-content: none
    global-module: mod-stats
zone:
""")
            out.writelines(f"  - domain: {zone}\n" for zone in zones)
        self.child = peers.Child(self.folder, name, "knotd", "-c", self.conf)
        wait_for(f"{name} has its zones", self.is_there)

    def knotc(self, *verb):
        return subprocess.run(
            ["knotc", "-c", self.conf, "-s", self.control, *verb],
            capture_output=True, text=True, check=False, timeout=60)

    def is_there(self):
        said = self.knotc("zone-status")
        return said.returncode == 0 and "serial: -" not in said.stdout

    def count(self):
        said = self.knotc("stats", "mod-stats.request-protocol").stdout
        return sum(int(n) for n in re.findall(r"= (\d+)", said))

    def close(self):
        self.child.close()


class Unbound:
    """unbound that asks one knot for everything; it counts."""

    def __init__(self, folder, name, knot, zones):
        self.port = peers.free_port()
        self.address = "127.0.0.1"
        self.conf = f"{folder}/{name}.conf"
        with open(self.conf, "w", encoding="ascii") as out:
            out.write(f"""
server:
    interface: 127.0.0.1
    port: {self.port}
    username: ""
    chroot: ""
    directory: "{folder}"
    pidfile: ""
    use-syslog: no
    do-daemonize: no
    num-threads: 1
    module-config: "iterator"
    do-not-query-localhost: no
    do-ip6: no
    msg-cache-size: 2m
    rrset-cache-size: 2m
remote-control:
    control-enable: yes
    control-use-cert: no
    control-interface: "{folder}/{name}.sock"
""")
            for zone in zones:
                out.write(f'stub-zone:\n    name: "{zone}"\n    stub-addr: '
                          f"{knot.address}@{knot.port}\n    stub-prime: no\n")
        self.child = peers.Child(folder, name, "unbound", "-d", "-c",
                                 self.conf)
        wait_for(f"{name} answers", lambda: self.control("status"))

    def control(self, verb):
        done = subprocess.run(["unbound-control", "-c", self.conf, verb],
                              capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else ""

    def count(self):
        return int(re.search(r"^total.num.queries=(\d+)$",
                             self.control("stats_noreset"), re.M).group(1))

    def forget(self):
        self.control("flush_zone .")

    def close(self):
        self.child.close()


def write_zones(folder, names):
    """Each domain has two of the name servers; all are in hosts.example.  Every
    other one has a DS, so that all have a word on its signatures."""
    os.mkdir(f"{folder}/zones")

    def write(zone, lines):
        with open(f"{folder}/zones/{zone}.zone", "w", encoding="ascii") as out:
            out.write(SOA + lines)

    parent = "@ 300 NS ns0.hosts\n@ 300 NS ns1.hosts\nhosts 300 NS ns0.hosts\n"
    for number, domain in enumerate(DOMAINS):
        ns = [f"ns{(number + i) % AUTHORITIES}.hosts.example." for i in (0, 1)]
        for name in ns:
            parent += f"{domain}. 300 NS {name}\n"
        if number % 2:
            parent += f"{domain}. 300 DS 1 13 2 {'ab' * 32}\n"
        write(domain, "".join(f"@ 300 NS {name}\n" for name in ns) +
              "@ 300 MX 10 old.hosts.example.\n"
              f'@ 300 TXT "{SPF}"\n'
              '_dmarc 300 TXT "v=DMARC1; p=none; '
              'rua=mailto:dmarc@hosts.example"\n'
              "autodiscover 300 CNAME autodiscover.hosts.example.\n")
    glue = "".join(f"ns{n} 300 A {address}\n"
                   for n, address in enumerate(names))
    write("example", parent + "".join(
        f"ns{n}.hosts 300 A {address}\n" for n, address in enumerate(names)))
    write("hosts.example", "@ 300 NS ns0\n@ 300 NS ns1\n" + glue +
          '_spf 300 TXT "v=spf1 ip4:192.0.2.0/24 -all"\n'
          "old 300 A 127.0.0.1\nnew 300 A 127.0.0.1\n"
          "hold 300 A 127.0.0.1\n"
          "autodiscover 300 A 127.0.0.1\n"
          "@ 300 MX 10 old\n")


class World:
    """Everything that the plan asks."""

    def __init__(self, folder):
        self.folder = folder
        self.open = []
        addresses = [loopback() for _ in range(AUTHORITIES)]
        self.found = all(addresses)  # by NS records, on port 53
        if not self.found:
            addresses = ["127.0.0.1"] * AUTHORITIES
        write_zones(folder, addresses)
        zones = ["example", "hosts.example", *DOMAINS]
        self.authorities = [
            self.keep(Knot(folder, f"knot{n}", address,
                           53 if self.found else peers.free_port(), zones))
            for n, address in enumerate(addresses)]
        # Of its own, so that the others count what comes from us alone.
        behind = self.keep(Knot(folder, "behind", "127.0.0.1",
                                peers.free_port(), zones))
        self.resolvers = [self.keep(Unbound(folder, f"unbound{n}", behind,
                                            zones))
                          for n in range(RESOLVERS)]
        self.systems = [self.keep(System(folder, host))
                        for host in ("old.hosts.example", "new.hosts.example")]

    def keep(self, peer):
        self.open.append(peer)
        return peer

    def counts(self):
        """By server, what each has been asked so far."""
        return {f"{peer.address}:{peer.port}": peer.count()
                for peer in self.authorities + self.resolvers}

    def close(self):
        for peer in reversed(self.open):
            peer.close()


class System(peers.Lab):
    """A mail system that has all the domains."""

    def __init__(self, folder, host):
        super().__init__(folder, host, DOMAINS[0])

    def write(self, script):
        with open(self.script, "w", encoding="ascii") as out:
            out.writelines(f"have postmaster@{domain}\n" for domain in DOMAINS)


def plan_of(world, path):
    systems = [{"provider": "custom", "mx": [system.host],
                "deliver_to": f"127.0.0.1:{system.port}"}
               for system in world.systems]
    dns = {"resolvers": [f"127.0.0.1:{r.port}" for r in world.resolvers],
           "ttl": 300, "old_ttl": 300}
    if not world.found:
        dns["authorities"] = [f"{a.address}:{a.port}"
                              for a in world.authorities]
    with open(path, "w", encoding="ascii") as out:
        json.dump({
            "tideover": 1, "name": "scale", "strategy": "park",
            "domains": [{"name": domain} for domain in DOMAINS],
            "old": systems[0], "new": systems[1],
            "queue_mx": {"host": QUEUE, "priority": 10,
                         "listen": [f"127.0.0.1:{peers.free_port()}"]},
            "dns": dns,
            "expected": {"messages_per_day": 10, "mean_bytes": 10000},
            # Nobody asks beside the gates that are counted.
            "timing": {"watch_every": "1h"},
            "recipients": {"policy": "any"}}, out)


class Command:
    """The command, and how long it takes."""

    def __init__(self, folder):
        self.build = f"{ROOT}/build/{VARIANT}"
        self.state = f"{folder}/state"

    def __call__(self, verb, *args, form=("--json",)):
        begun = time.monotonic()
        done = subprocess.run(
            [f"{self.build}/tideover", verb, *form, "--state", self.state,
             *args], capture_output=True, text=True, check=False, timeout=300)
        return time.monotonic() - begun, done.stdout, done.stderr

    def json(self, verb, *args):
        took, said, error = self(verb, *args)
        try:
            return took, json.loads(said.splitlines()[-1])
        except (IndexError, ValueError) as bad:
            raise AssertionError(said + error) from bad


def judge(tap, what, took, asked, counted):
    """What the command says it asked is what the servers were asked, in
    bounds and in time."""
    told = {server["address"]: server["queries"]
            for server in asked["by_server"] if server["queries"]}
    counted = {server: count for server, count in counted.items() if count}
    tap.ok(told == counted and asked["queries"] == sum(counted.values()) and
           asked["servers"] == len(counted) == AUTHORITIES + RESOLVERS,
           f"{what}: {asked['queries']} queries to {asked['servers']} servers,"
           " by its own count and by theirs")
    if told != counted:
        print(f"# it says {told}\n# they say {counted}", flush=True)
    tap.ok(took < SECONDS, f"{what}: {len(DOMAINS)} domains and {RESOLVERS} "
           f"resolvers in {took:.2f} s, under {SECONDS} s")
    tap.ok(asked["most_in_flight"] <= IN_FLIGHT and
           asked["most_at_one"] <= PER_SERVER and
           all(s["most_in_flight"] <= PER_SERVER for s in asked["by_server"]),
           f"{what}: at most {asked['most_in_flight']} in flight, "
           f"{asked['most_at_one']} at one server")
    tap.ok(asked["queries"] < asked["asked"],
           f"{what}: the {asked['asked']} answers that were wanted took "
           f"{asked['queries']} queries")


def shares(tap, world, counted):
    """No server of a kind is asked much more than the others."""
    for kind, peers_ in (("authority", world.authorities),
                         ("resolver", world.resolvers)):
        counts = [counted[f"{p.address}:{p.port}"] for p in peers_]
        tap.ok(max(counts) < 1.5 * sum(counts) / len(counts),
               f"each {kind} has its share: {counts}")


def well_known(tap, what, findings):
    """All of it was asked: every domain, nothing left unknown of DNS."""
    found = {f["check"]: f for f in findings}
    bad = [f"{name} {found[name]['verdict']}: {found[name]['summary'][:200]}"
           for name in ("dns-authority", "mx-baseline", "ttl-lowered")
           if name in found and found[name]["verdict"] not in ("pass", "warn")]
    tap.ok(not bad and "mx-sanity" in found, f"{what}: the MX of all domains "
           "is known " + "; ".join(bad))


def by_command(tap, world, tideover, path):
    before = world.counts()
    took, said = tideover.json("plan", path)
    after = world.counts()
    counted = {server: after[server] - before[server] for server in after}
    judge(tap, "plan", took, said["gate"]["asked"], counted)
    shares(tap, world, counted)
    well_known(tap, "plan", said["gate"]["findings"])
    tap.ok(len(said["facts"]["domains"]) == len(DOMAINS) and all(
        len([v for v in d["vantages"] if v["view"] == "old"]) ==
        RESOLVERS + (2 if world.found else AUTHORITIES)
        for d in said["facts"]["domains"]),
        "each domain was seen by its authorities and by all resolvers")
    _, text, _ = tideover("plan", path, form=())
    line = re.search(r"^[\d,]+ queries to \d+ servers in \d+\.\d s, at most "
                     r"\d+ in flight$", text, re.M)
    tap.ok(line, f"plan says so: {line.group(0) if line else text[-300:]}")


def by_daemon(tap, world, tideover, path):
    daemon = peers.Child(world.folder, "tideoverd",
                         f"{tideover.build}/tideoverd", "--state",
                         tideover.state)
    world.keep(daemon)
    wait_for("tideoverd answers",
             lambda: "cannot" not in tideover("status")[2])
    tideover("start", path)
    before = world.counts()
    took, gate = tideover.json("check", "scale", "--gate", "start")
    after = world.counts()
    counted = {server: after[server] - before[server] for server in after}
    judge(tap, "check", took, gate["asked"], counted)
    well_known(tap, "check", gate["findings"])
    _, text, _ = tideover("check", "scale", "--gate", "start", form=())
    line = re.search(r"^[\d,]+ queries to \d+ servers .*$", text, re.M)
    tap.ok(line, f"check says so: {line.group(0) if line else text[-300:]}")


def with_the_dead(tap, world, path, tideover):
    """One resolver swallows everything, and the plan is known all the same."""
    world.resolvers[2].close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
        hole.bind(("127.0.0.1", world.resolvers[2].port))
        took, said = tideover.json("plan", path)
    asked = said["gate"]["asked"]
    silent = [s for s in asked["by_server"] if s["silent"]]
    tap.ok(took < SECONDS and len(silent) == 1 and
           silent[0]["address"] == f"127.0.0.1:{world.resolvers[2].port}",
           f"with a resolver that is silent: {took:.2f} s, {silent}")
    well_known(tap, "with a resolver that is silent", said["gate"]["findings"])


def main():
    tap = Tap()
    gone = peers.missing("knotd", "knotc", "unbound", "unbound-control")
    if gone:
        tap.skip("200 domains", f"{', '.join(gone)} is not here")
        tap.end()
    folder = tempfile.mkdtemp(prefix="tideover-scale-")
    os.chmod(folder, 0o755)
    world = None
    try:
        world = World(folder)
        path = f"{folder}/plan.json"
        plan_of(world, path)
        tideover = Command(folder)
        by_command(tap, world, tideover, path)
        by_daemon(tap, world, tideover, path)
        with_the_dead(tap, world, path, tideover)
    finally:
        if world:
            world.close()
        if not tap.bad:
            shutil.rmtree(folder, ignore_errors=True)
    tap.end()


if __name__ == "__main__":
    main()
