#!/usr/bin/env python3
"""What `tideover plan` says of signed zones, TLSA, CAA and SPF, with knot that
signs and unbound that validates (TAP)."""
import json
import os
import shutil
import subprocess
import tempfile

import peers
from cutover import ROOT, VARIANT, Tap
from peers import run, wait_for

DOMAIN = "acme.example"
QUEUE = "hold.hosts.example"
MX = "acme-example.k-v1.mx.microsoft"
# A build with libunbound is tested with a resolver that validates nothing.
OWN = "libunbound" in run(f"{ROOT}/build/{VARIANT}/tideoverd",
                          "--version").stdout
SOA = "@ 300 SOA ns.hosts.example. admin.example. %d 60 60 3600 60\n" \
      "@ 300 NS ns.hosts.example.\n"


class Signer:
    """knotd with a signed parent and a signed child; the rest is unsigned."""

    zones = ("example", DOMAIN, "hosts.example", "microsoft")
    signed = ("example", DOMAIN)  # the first is the trust anchor
    soa = SOA

    def __init__(self, folder):
        self.folder = os.path.join(folder, "knot")
        os.mkdir(self.folder)
        self.port = peers.free_port()
        self.conf = os.path.join(self.folder, "knot.conf")
        self.control = os.path.join(self.folder, "knot.sock")
        self.serial = 0
        with open(self.conf, "w", encoding="ascii") as out:
            out.write(f"""
server:
    rundir: "{self.folder}"
    listen: 127.0.0.1@{self.port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
control:
    listen: "{self.control}"
database:
    storage: "{self.folder}"
log:
  - target: stderr
    any: info
policy:
  - id: test
    algorithm: ecdsap256sha256
    single-type-signing: on
    cds-cdnskey-publish: none
template:
  - id: default
    storage: "{self.folder}"
    file: "%s.zone"
    zonefile-load: difference-no-serial
    zonefile-sync: -1
    journal-content: all
zone:
""")
            for zone in self.zones:
                out.write(f"  - domain: {zone}\n")
                if zone in self.signed:
                    out.write("    dnssec-signing: on\n"
                              "    dnssec-policy: test\n")
        for zone in self.zones:
            self.write(zone, "")
        self.child = peers.Child(folder, "knot", "knotd", "-c", self.conf)
        wait_for("knot signs", lambda: all(
            peers.answers(self.port, zone, "DNSKEY") for zone in self.signed))

    def write(self, zone, lines):
        self.serial += 1
        with open(f"{self.folder}/{zone}.zone", "w", encoding="ascii") as out:
            out.write(self.soa % self.serial + lines)

    def publish(self, zone, lines, name, kind, want):
        """The zone becomes these lines, and is served."""
        self.write(zone, lines)
        peers.run("knotc", "-c", self.conf, "-s", self.control, "-b",
                  "zone-reload", zone)
        wait_for(f"{name} {kind}", lambda: len(
            peers.answers(self.port, name, kind)) == want)

    def unbound_conf(self, more=""):
        """What libunbound is to trust, and where it finds it."""
        path = f"{self.folder}/own.conf"
        anchor = self.signed[0]
        with open(path, "w", encoding="ascii") as out:
            out.write("server:\n    do-not-query-localhost: no\n"
                      "    do-ip6: no\n" + more)
            for ds in self.ds(anchor):
                out.write(f'    trust-anchor: "{anchor}. DS {ds}"\n')
            for zone in self.zones:
                out.write(f'stub-zone:\n    name: "{zone}"\n    stub-addr: '
                          f"127.0.0.1@{self.port}\n    stub-prime: no\n")
        return path

    def ds(self, zone):
        """The DS set of a zone's key, as text after the type."""
        said = peers.run("keymgr", "-c", self.conf, zone, "ds").stdout
        return [line.split(" DS ")[1] for line in said.splitlines()
                if " DS " in line]

    def close(self):
        self.child.close()


class Validator:
    """A new unbound, with an empty cache."""

    count = 0

    def __init__(self, folder, knot, validates=True, more=""):
        Validator.count += 1
        self.port = peers.free_port()
        conf = os.path.join(folder, f"unbound{Validator.count}.conf")
        with open(conf, "w", encoding="ascii") as out:
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
    module-config: "{'validator iterator' if validates else 'iterator'}"
    do-not-query-localhost: no
    do-ip6: no
""")
            anchor = knot.signed[0]
            for ds in knot.ds(anchor) if validates else ():
                out.write(f'    trust-anchor: "{anchor}. DS {ds}"\n')
            out.write(more)
            for zone in knot.zones:
                out.write(f'stub-zone:\n    name: "{zone}"\n    stub-addr: '
                          f"127.0.0.1@{knot.port}\n    stub-prime: no\n")
            out.write("remote-control:\n    control-enable: no\n")
        self.child = peers.Child(folder, f"unbound{Validator.count}",
                                 "unbound", "-d", "-c", conf)
        wait_for("unbound answers", lambda: peers.answers(
            self.port, "hosts.example", "SOA"))

    def close(self):
        self.child.close()


def tideover(folder, *args):
    """The exit status, and the document that a command prints."""
    done = subprocess.run(
        [f"{ROOT}/build/{VARIANT}/tideover", args[0], "--json", "--state",
         f"{folder}/state", *args[1:]], capture_output=True, text=True,
        check=False, timeout=120)
    try:
        return done.returncode, json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise AssertionError(done.stdout + done.stderr) from error


def write_plan(folder, knot, resolver, strategy):
    path = f"{folder}/plan.json"
    with open(path, "w", encoding="ascii") as out:
        json.dump({
            "tideover": 1, "name": "acme", "strategy": strategy,
            "domains": [{"name": DOMAIN}],
            "old": {"provider": "workspace", "mx": ["smtp.google.com"],
                    "deliver_to": "127.0.0.1:1"},
            "new": {"provider": "m365", "mx": [MX],
                    "deliver_to": "127.0.0.1:2"},
            "queue_mx": {"host": QUEUE, "priority": 20,
                         "listen": [f"127.0.0.1:{peers.free_port()}"]},
            "dns": {"resolvers": [f"127.0.0.1:{resolver.port}"],
                    "authorities": [f"127.0.0.1:{knot.port}"],
                    "ttl": 300, "old_ttl": 300},
            "recipients": {"policy": "any"}}, out)
    return path


def findings(folder, knot, strategy="standby", validates=not OWN):
    """Of the gate plan, by the check's id."""
    if OWN:
        os.environ["TIDEOVER_UNBOUND_CONFIG"] = knot.unbound_conf()
    resolver = Validator(folder, knot, validates)
    try:
        _, said = tideover(folder, "plan", write_plan(folder, knot, resolver,
                                                      strategy))
        return {f["check"]: f for f in said["gate"]["findings"]}
    finally:
        resolver.close()


def watched(tap, folder, knot):
    """tideoverd says the same, look after look, and ends cleanly."""
    resolver = Validator(folder, knot, not OWN)
    try:
        status, said = tideover(folder, "start", write_plan(
            folder, knot, resolver, "standby"))
        assert status in (0, 3), said
        for look in ("first", "second"):
            _, said = tideover(folder, "check", "acme", "--gate", "finish",
                               "--only", "dnssec")
            expect(tap, {"dnssec": said["findings"][0]}, "dnssec", "pass",
                   '"ad": true', f"tideoverd, at its {look} look")
        status, _ = tideover(folder, "stop")
        tap.ok(status == 0, f"and ends: {status}")
    finally:
        resolver.close()


def expect(tap, found, check, verdict, says, what):
    finding = found[check]
    text = json.dumps(finding)
    tap.ok(finding["verdict"] == verdict and says in text,
           f"{what}: {check} says {finding['verdict']}: {finding['summary']}")
    if finding["verdict"] != verdict or says not in text:
        print(f"# {text}", flush=True)


def signing(tap, folder, knot):
    delegation = f"{DOMAIN}. 300 NS ns.hosts\nhosts 300 NS ns.hosts\n"
    knot.publish("example", delegation, DOMAIN, "DS", 0)
    found = findings(folder, knot)
    expect(tap, found, "dnssec", "pass", f"{DOMAIN} DS", "without a DS")
    right = knot.ds(DOMAIN)
    lines = "".join(f"{DOMAIN}. 300 DS {ds}\n" for ds in right)
    knot.publish("example", delegation + lines, DOMAIN, "DS", len(right))
    found = findings(folder, knot)
    expect(tap, found, "dnssec", "pass",
           f'"of": "{"libunbound" if OWN else "127.0.0.1"}',
           "with the right DS")
    expect(tap, found, "dnssec", "pass", '"ad": true', "with the right DS")
    expect(tap, found, "dnssec", "pass", "signed_until",
           "with the end of its signatures in the evidence")
    watched(tap, folder, knot)
    if not OWN:
        found = findings(folder, knot, validates=False)
        expect(tap, found, "dnssec", "unknown", "UNBOUND=1",
               "where no resolver validates")
    wrong = right[-1].split()
    wrong[-1] = ("0" if wrong[-1][0] != "0" else "1") + wrong[-1][1:]
    knot.publish("example", f"{delegation}{DOMAIN}. 300 DS {' '.join(wrong)}\n",
                 DOMAIN, "DS", 1)
    found = findings(folder, knot)
    expect(tap, found, "dnssec", "fail",
           '"error": "bogus' if OWN else '"answers_unchecked": true',
           "with the DS of another key")
    if OWN:
        found = findings(folder, knot, validates=True)
        expect(tap, found, "dnssec", "fail", '"answers_unchecked": true',
               "a resolver that validates is enough")
        tap.ok("libunbound" not in json.dumps(found["dnssec"]),
               "where one does, libunbound is not asked")
    knot.publish("example", delegation, DOMAIN, "DS", 0)


def beside(tap, folder, knot):
    found = findings(folder, knot)
    expect(tap, found, "dane-standby", "pass", MX, "an MX without TLSA")
    expect(tap, found, "queue-tlsa", "pass", f"_25._tcp.{QUEUE} TLSA",
           "a queue without TLSA")
    expect(tap, found, "caa", "pass", "hosts.example CAA", "without CAA")
    expect(tap, found, "spf", "warn", "publish acme.example. TXT",
           "without SPF")
    digest = "ab" * 32
    knot.publish("microsoft", f"_25._tcp.{MX}. 300 TLSA 3 1 1 {digest}\n",
                 f"_25._tcp.{MX}", "TLSA", 1)
    knot.publish("hosts.example", "ns 300 A 127.0.0.1\nhold 300 A 192.0.2.9\n"
                 '@ 300 CAA 0 issue ";"\n', "hosts.example", "CAA", 1)
    knot.publish(DOMAIN, '@ 300 TXT "v=spf1 include:spf.prot" '
                 '"ection.outlook.com a:b.example/33 -all"\n'
                 "selector1._domainkey 300 CNAME gone.hosts.example.\n",
                 DOMAIN, "TXT", 1)
    found = findings(folder, knot)
    expect(tap, found, "dane-standby", "warn", "Disable-SmtpDaneInbound",
           "an MX with TLSA")
    expect(tap, found, "caa", "fail", f"publish {QUEUE}. CAA 0 issue",
           "CAA for nobody above the queue host")
    expect(tap, found, "spf", "fail", "a:b.example/33",
           "two strings of a TXT with a wrong term")
    found = findings(folder, knot, strategy="park")
    expect(tap, found, "dane-standby", "pass", "park", "parked")


def main():
    tap = Tap()
    gone = peers.missing("knotd", "knotc", "keymgr", "kdig", "unbound")
    if gone:
        tap.skip("DNSSEC", f"{', '.join(gone)} is not here")
        tap.end()
    folder = tempfile.mkdtemp(prefix="tideover-dnssec-")
    os.chmod(folder, 0o755)
    knot = Signer(folder)
    try:
        signing(tap, folder, knot)
        beside(tap, folder, knot)
    finally:
        knot.close()
        shutil.rmtree(folder, ignore_errors=True)
    tap.end()


if __name__ == "__main__":
    main()
