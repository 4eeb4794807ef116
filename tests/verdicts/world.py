"""The world that a situation is about: real servers at real addresses.

It lives in a network and mount namespace of its own, so that names, addresses
and ports are those of the field: authorities and resolvers on port 53, the
policy on 443, the queue in public on port 25.  knotd serves, unbound resolves,
lab_target plays the mail systems, and the programs under test are tideover and
tideoverd themselves.  Time passes for unbound, tideover and tideoverd alike, by
skew.so.
"""
import copy
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../e2e"))

import peers  # noqa: E402
from cutover import ROOT, VARIANT  # noqa: E402
from peers import wait_for  # noqa: E402

BUILD = f"{ROOT}/build/{VARIANT}"
DOMAIN = "acme.example"
QUEUE = "hold.example.net"
QUEUE_IP = "192.0.2.9"
# Who answers where.  Nobody does at NOWHERE: packets get lost.
NS = {"ns0": "192.0.2.1", "ns1": "192.0.2.11", "ns2": "192.0.2.12",
      "ns8": "192.0.2.18", "ns9": "192.0.2.19"}
RESOLVERS = {"resolver1": "192.0.2.53", "resolver2": "192.0.2.54",
             "resolver3": "192.0.2.55"}
POLICY_IP = "192.0.2.80"
SYSTEMS = {"old": ("aspmx.l.google.com", 2510),
           "new": ("acmenew.mail.protection.outlook.com", 2511)}
NOWHERE = "198.51.100.66"
# Where systemd looks for units first.
UNITS = "/etc/systemd/system"
HOUR = 3600


def run(*args, check=True, **options):
    return subprocess.run(args, capture_output=True, text=True, check=check,
                          timeout=90, **options)


def enter_network():
    """The addresses of the world, in a namespace that has nothing else."""
    run("ip", "link", "set", "lo", "up")
    for address in (*NS.values(), *RESOLVERS.values(), QUEUE_IP, POLICY_IP):
        run("ip", "address", "add", f"{address}/32", "dev", "lo")
    # What is sent there arrives at nobody, and nobody says so.
    run("ip", "route", "add", f"{NOWHERE}/32", "dev", "lo")


class Authority:
    """CA of the world, in the place of those that the machine trusts."""

    def __init__(self, folder):
        self.folder = folder
        self.key, self.cert = f"{folder}/ca.key", f"{folder}/ca.pem"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:P-256", "-nodes", "-days", "900", "-subj",
            "/O=Let's Encrypt/CN=R99", "-keyout", self.key, "-out", self.cert)
        run("mount", "--bind", self.cert,
            "/etc/ssl/certs/ca-certificates.crt")

    def sign(self, host, days, name=None, own=False):
        """Key and certificate with its chain; `own`: by itself."""
        path = f"{self.folder}/{name or host}-{days}{'-own' * own}"
        key, cert = f"{path}.key", f"{path}.pem"
        if os.path.exists(cert):
            return key, cert
        subject = ("-subj", f"/CN={name or host}", "-addext",
                   f"subjectAltName=DNS:{name or host}")
        by = () if own else ("-CA", self.cert, "-CAkey", self.key)
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:P-256", "-nodes", "-days", str(days), *subject,
            "-addext", "basicConstraints=critical,CA:FALSE", *by, "-keyout",
            key, "-out", cert)
        os.chmod(key, 0o600)
        return key, cert


class Unit:
    """tideoverd's as systemd would have it: the one of our packaging, in the
    place of this machine's units, and the cgroup of it."""

    def __init__(self, folder):
        self.folder, self.cgroup = f"{folder}/units", f"{folder}/cgroup"
        os.makedirs(self.folder)
        os.makedirs(UNITS, exist_ok=True)
        run("mount", "--bind", self.folder, UNITS)
        with open(self.cgroup, "w", encoding="ascii") as out:
            out.write("0::/system.slice/tideoverd.service\n")
        self.healthy()

    def healthy(self):
        shutil.rmtree(f"{UNITS}/tideoverd.service.d", ignore_errors=True)
        os.makedirs(f"{UNITS}/multi-user.target.wants", exist_ok=True)
        shutil.copy(f"{ROOT}/packaging/tideoverd.service", UNITS)
        self.enable()

    def link(self):
        return f"{UNITS}/multi-user.target.wants/tideoverd.service"

    def enable(self):
        if not os.path.lexists(self.link()):
            os.symlink(f"{UNITS}/tideoverd.service", self.link())

    def disable(self):
        os.unlink(self.link())

    def edit(self, line):
        """As "systemctl edit" does."""
        os.makedirs(f"{UNITS}/tideoverd.service.d", exist_ok=True)
        with open(f"{UNITS}/tideoverd.service.d/override.conf", "w",
                  encoding="ascii") as out:
            out.write(f"[Service]\n{line}\n")


class Zone:
    """Records as a zone file has them, with the changes of a situation."""

    def __init__(self, lines):
        self.serial = 1
        self.soa_ttl = self.minimum = 300
        self.records = []
        for line in lines:
            self.change("+ " + line)

    def change(self, line):
        """"OWNER TTL TYPE DATA" replaces the set, "+ ..." adds to it, and
        "- OWNER TYPE" takes it away."""
        sign, rest = "", line
        if line[:2] in ("+ ", "- "):
            sign, rest = line[0], line[2:].strip()
        words = rest.split(None, 3)
        if sign == "-":
            owner, kind = words
        else:
            owner, _, kind, _ = words
        if sign != "+":
            before = len(self.records)
            self.records = [r for r in self.records
                            if (r[0], r[2]) != (owner, kind)]
            if sign and len(self.records) == before:
                raise ValueError(f"'{line}' takes away nothing")
        if sign != "-":
            self.records.append(tuple(words))

    def text(self, serial):
        return ("@ %d SOA ns0.dns.example. admin.example. %d 60 60 3600 %d\n"
                % (self.soa_ttl, serial, self.minimum) +
                "".join(" ".join(r) + "\n" for r in self.records))


class Knot:
    """knotd at one address, with zones that it may sign."""

    def __init__(self, folder, name, address, zones, signed=(), port=53,
                 days=14):
        self.folder, self.name = f"{folder}/{name}", name
        self.address, self.port = address, port
        os.makedirs(self.folder, exist_ok=True)
        self.conf = f"{self.folder}/knot.conf"
        self.control = f"{self.folder}/knot.sock"
        self.child, self.out_of_order = None, False
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
policy:
  - id: one
    algorithm: ecdsap256sha256
    single-type-signing: on
    cds-cdnskey-publish: none
    rrsig-lifetime: {days}d
    rrsig-refresh: {days * 12}h
template:
  - id: default
    storage: "{self.folder}"
    file: "%s.zone"
    zonefile-load: whole
    zonefile-sync: -1
    journal-content: none
  - id: signed
    storage: "{self.folder}"
    file: "%s.zone"
    zonefile-load: difference-no-serial
    zonefile-sync: -1
    journal-content: all
    dnssec-signing: on
    dnssec-policy: one
zone:
""")
            for zone in zones:
                out.write(f'  - domain: "{zone}"\n')
                if zone in signed:
                    out.write("    template: signed\n")

    def path(self, zone):
        return f"{self.folder}/{zone if zone != '.' else ''}.zone"

    def start(self):
        self.child = peers.Child(self.folder, self.name, "knotd", "-c",
                                 self.conf)
        wait_for(f"{self.name} has its zones", self.is_there)

    def is_there(self):
        said = self.knotc("zone-status", check=False)
        return said.returncode == 0 and "serial: -" not in said.stdout and \
            "serial: none" not in said.stdout

    def knotc(self, *verb, check=True):
        return run("knotc", "-c", self.conf, "-s", self.control, *verb,
                   check=check)

    def ds(self, zone):
        said = run("keymgr", "-c", self.conf, zone, "ds").stdout
        return [line.split(" DS ")[1] for line in said.splitlines()
                if " DS " in line]

    def close(self):
        if self.child:
            self.child.process.send_signal(signal.SIGCONT)
            self.child.close()
            self.child = None


class Resolver:
    """unbound that validates below example., with an empty cache."""

    def __init__(self, folder, name, ds):
        self.folder, self.name, self.address = folder, name, RESOLVERS[name]
        self.ds, self.child, self.extra = ds, None, []
        self.validates = True

    def start(self, env):
        conf = f"{self.folder}/{self.name}.conf"
        with open(conf, "w", encoding="ascii") as out:
            out.write(f"""
server:
    interface: {self.address}
    port: 53
    username: ""
    chroot: ""
    directory: "{self.folder}"
    pidfile: ""
    use-syslog: no
    do-daemonize: no
    num-threads: 1
    access-control: 0.0.0.0/0 allow
    cache-max-ttl: 604800
    module-config: "{'validator iterator' if self.validates else 'iterator'}"
    do-not-query-localhost: no
    do-ip6: no
    local-zone: "2.0.192.in-addr.arpa." nodefault
    local-zone: "8.b.d.0.1.0.0.2.ip6.arpa." nodefault
    trust-anchor: "example. DS {self.ds}"
""")
            out.writelines(f"    {line}\n" for line in self.extra)
            out.write('stub-zone:\n    name: "."\n'
                      f'    stub-addr: {NS["ns0"]}\n'
                      "remote-control:\n    control-enable: no\n")
        with open(f"{self.folder}/{self.name}.log", "ab") as log:
            self.child = subprocess.Popen(
                ["unbound", "-d", "-c", conf], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, env=env)
        wait_for(f"{self.name} answers", lambda: listens(self.address))

    def ask(self, name, kind):
        return run("kdig", "+short", "+time=3", f"@{self.address}", name,
                   kind, check=False).stdout.split("\n")[:-1]

    def close(self):
        if self.child:
            self.child.send_signal(signal.SIGCONT)
            self.child.kill()
            self.child.wait()
            self.child = None


def listens(address, port=53):
    try:
        with socket.create_connection((address, port), 1):
            return True
    except OSError:
        return False


class Policy:
    """Serves the MTA-STS policy by HTTPS."""

    def __init__(self, authority):
        self.text, self.status = "", 200
        self.authority = authority
        self.show(own=False)
        self.sock = socket.create_server((POLICY_IP, 443))
        threading.Thread(target=self.serve, daemon=True).start()

    def show(self, own):
        """Its certificate is of the CA that everybody trusts, or its own."""
        key, cert = self.authority.sign(f"mta-sts.{DOMAIN}", 90, own=own)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert, key)

    def serve(self):
        while True:
            sock, _ = self.sock.accept()
            try:
                with self.context.wrap_socket(sock, server_side=True) as tls:
                    tls.recv(4096)
                    body = self.text.encode()
                    tls.sendall(b"HTTP/1.1 %d Well\r\nContent-Type: text/"
                                b"plain\r\nContent-Length: %d\r\nConnection: "
                                b"close\r\n\r\n%s" % (self.status, len(body),
                                                      body))
            except OSError:
                pass


class Relay:
    """Another machine, to which the queue's address leads, and which takes
    mail for anybody: a network namespace behind a cable."""

    def __init__(self):
        self.child = subprocess.Popen(
            ["unshare", "--net", sys.executable, __file__, "--relay"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.told()  # it has its namespace
        run("ip", "link", "add", "cable", "type", "veth", "peer", "name",
            "eth0", "netns", str(self.child.pid))
        run("ip", "address", "del", f"{QUEUE_IP}/32", "dev", "lo")
        run("ip", "link", "set", "cable", "up")
        run("ip", "route", "add", f"{QUEUE_IP}/32", "dev", "cable", "src",
            NS["ns0"])
        self.child.stdin.write(b"\n")
        self.child.stdin.flush()
        self.told()
        wait_for("the relay answers", lambda: listens(QUEUE_IP, 25))

    def told(self):
        assert self.child.stdout.readline(), "the relay ended"

    def close(self):
        self.child.kill()
        self.child.wait()
        wait_for("the cable is gone", lambda: run(
            "ip", "link", "show", "cable", check=False).returncode)
        run("ip", "address", "add", f"{QUEUE_IP}/32", "dev", "lo")


def relay():
    """The other machine."""
    print("here", flush=True)
    sys.stdin.readline()
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{QUEUE_IP}/32", "dev", "eth0")
    run("ip", "link", "set", "eth0", "up")
    run("ip", "route", "add", "default", "dev", "eth0")
    server = socket.create_server((QUEUE_IP, 25))
    print("ready", flush=True)
    while True:
        sock, _ = server.accept()
        threading.Thread(target=take_all, args=(sock,), daemon=True).start()


def take_all(sock):
    with sock, sock.makefile("rwb") as lines:
        lines.write(f"220 {QUEUE} ESMTP\r\n".encode())
        lines.flush()
        for line in lines:
            end = line.upper().startswith(b"QUIT")
            lines.write(b"221 bye\r\n" if end else b"250 ok\r\n")
            lines.flush()
            if end:
                break


class System:
    """A mail system, as a script of the lab says."""

    def __init__(self, folder, name):
        self.name = name
        self.folder = f"{folder}/{name}"
        self.host, self.port = SYSTEMS[name]
        os.makedirs(self.folder)
        self.usual = "like workspace" if name == "old" else "like m365"
        self.lab = None
        self.write([])

    def write(self, lines):
        self.lines = lines
        text = "".join(f"{line}\n" for line in [
            f"have {box}@{DOMAIN}" for box in ("postmaster", "anna", "ben")])
        script = lines if any(x.startswith("like ") for x in lines) else \
            [*lines, self.usual]
        with open(f"{self.folder}/script", "w", encoding="ascii") as out:
            out.write(text + "".join(f"{line}\n" for line in script))

    def start(self):
        if self.lab is None:
            self.lab = peers.Child(self.folder, "lab", peers.LAB, self.host,
                                   str(self.port), f"{self.folder}/script")
            wait_for(f"the {self.name} system listens",
                     lambda: listens("127.0.0.1", self.port))

    def play(self, lines):
        self.write(lines)
        before = self.told().count(b'"played"')
        self.lab.process.send_signal(signal.SIGHUP)
        wait_for(f"the {self.name} system has its script",
                 lambda: self.told().count(b'"played"') > before)

    def told(self):
        with open(f"{self.folder}/lab.log", "rb") as log:
            text = log.read()
        assert b"bad script" not in text, text[-300:]
        return text

    def close(self):
        if self.lab:
            self.lab.close()
            self.lab = None


def read_healthy():
    """The zones of healthy.zones by the name of their section."""
    zones, lines = {}, None
    with open(f"{HERE}/healthy.zones", encoding="ascii") as file:
        for line in file:
            line = line.split(";;")[0].strip()
            if line.startswith("["):
                lines = zones.setdefault(line[1:-1], [])
            elif line:
                lines.append(line)
    return zones


class World:
    """One namespace's servers, made healthy again for each situation."""

    def __init__(self, folder):
        self.folder = folder
        enter_network()
        self.ca = Authority(folder)
        self.healthy = read_healthy()
        with open(f"{HERE}/healthy.json", encoding="ascii") as file:
            self.usual = json.load(file)
        self.served = {}  # (server, zone) -> the text it was loaded with
        self.serial = 1
        self.knots = {
            "ns0": Knot(folder, "ns0", NS["ns0"], [".", "example"],
                        ["example"]),
            "ns1": Knot(folder, "ns1", NS["ns1"], [DOMAIN]),
            "ns2": Knot(folder, "ns2", NS["ns2"], [DOMAIN]),
            "ns8": Knot(folder, "ns8", NS["ns8"], [DOMAIN]),
            "ns9": Knot(folder, "ns9", NS["ns9"], ["elsewhere.example"])}
        self.make_zones()
        for name in self.knots:
            self.write_zones(name)
            self.knots[name].start()
        ds = wait_for("the parent is signed",
                      lambda: self.knots["ns0"].ds("example"))[-1]
        self.resolvers = {name: Resolver(folder, name, ds)
                          for name in RESOLVERS}
        self.policy = Policy(self.ca)
        self.unit = Unit(folder)
        self.systems = {name: System(folder, name) for name in SYSTEMS}
        for system in self.systems.values():
            system.start()
        self.daemon = None
        self.unseen = False  # changes of DNS that the daemon may not know
        self.returning = []  # servers that are about to be back

    # One situation.

    def begin(self, number):
        """Everything as it should be, in an empty folder."""
        self.here = f"{self.folder}/{number}"
        os.makedirs(self.here)
        self.state = f"{self.here}/state"
        self.path = f"{self.here}/plan.json"
        self.make_zones()
        self.publish()
        self.passed = self.set = 0
        self.error = 100
        self.policy.text, self.policy.status = "", 200
        self.policy.show(own=False)
        self.plan = copy.deepcopy(self.usual["plan"])
        key, cert = self.ca.sign(QUEUE, 90)
        self.plan["queue_mx"]["tls"] = {"certificate_file": cert,
                                        "key_file": key}
        self.evidence = copy.deepcopy(self.usual["evidence"])
        self.old_evidence = {}
        self.recipients = list(self.usual["recipients"])
        self.recipients_at = self.evidence_at = 0
        self.supervised = True
        self.unit.healthy()
        self.room = self.relay = None
        self.write_skew()
        for name, resolver in self.resolvers.items():
            resolver.extra, resolver.validates = [], True
            resolver.start(self.env("world"))

    def end(self):
        if self.daemon:
            self.daemon.process.send_signal(signal.SIGCONT)
            self.daemon.close()
            self.daemon = None
        if self.relay:
            self.relay.close()
        for resolver in self.resolvers.values():
            resolver.close()
        self.returning = []
        for system in self.systems.values():
            system.start()
            system.play([])  # counts from none again
        for knot in self.knots.values():
            if knot.out_of_order:
                knot.close()
                knot.start()
                knot.out_of_order = False

    def close(self):
        for peer in (*self.knots.values(), *self.systems.values()):
            peer.close()

    # Zones.

    def make_zones(self):
        own = self.healthy[DOMAIN]
        self.zones = {
            ("ns0", "."): Zone(self.healthy["."]),
            ("ns0", "example"): Zone(self.healthy["example"]),
            ("ns1", DOMAIN): Zone(own), ("ns2", DOMAIN): Zone(own),
            # The DNS host before, which still has the zone as it was.
            ("ns8", DOMAIN): Zone(own),
            # Somebody else's server, which has never heard of the domain.
            ("ns9", "elsewhere.example"): Zone(["@ 300 NS ns9.dns.example."])}
        # What the signer left, and what one server has instead ("": the
        # zone without signatures).
        self.signed, self.copies, self.lag = None, {}, {}

    def signed_text(self, server, zone):
        return self.copies.get(server, self.signed) if zone == DOMAIN else None

    def text_of(self, server, zone):
        return self.signed_text(server, zone) or \
            self.zones[server, zone].text(0)

    def write_zones(self, server):
        """The files of a server; the zones that have changed."""
        changed = []
        for (at, zone), content in self.zones.items():
            text = self.text_of(at, zone)
            if at != server or self.served.get((at, zone)) == text:
                continue
            self.served[at, zone] = text
            changed.append(zone)
            serial = self.serial - self.lag.get(server, 0)
            with open(self.knots[at].path(zone), "w",
                      encoding="ascii") as out:
                out.write(self.signed_text(at, zone) or content.text(serial))
        return changed

    def publish(self):
        """What a situation changed is served from now on."""
        if any(self.served.get(key) != self.text_of(*key)
               for key in self.zones):
            self.publish_zones()
        for knot in self.returning:
            knot.start()
            knot.out_of_order = False
        self.returning = []

    def publish_zones(self):
        self.serial += 10
        self.unseen = True
        # One serial for both authorities: a change here is one of all.
        for server in ("ns1", "ns2", "ns8"):
            self.served.pop((server, DOMAIN), None)
        for server, knot in self.knots.items():
            for zone in self.write_zones(server):
                if knot.child and not knot.out_of_order:
                    knot.knotc("-b", "zone-reload", zone)

    def sign(self, days=14):
        """The zone as a signer leaves it, and its DS; with the same key
        whenever it is asked."""
        signer = Knot(self.here, "signer", "127.0.0.1", [DOMAIN], [DOMAIN],
                      port=peers.free_port(), days=days)
        # Its key stays, the signatures before do not.
        shutil.rmtree(f"{signer.folder}/journal", ignore_errors=True)
        self.serial += 10
        with open(signer.path(DOMAIN), "w", encoding="ascii") as out:
            out.write(self.zones["ns1", DOMAIN].text(self.serial))
        try:
            signer.start()
            wait_for("the zone is signed", lambda: "RRSIG" in signer.knotc(
                "zone-read", DOMAIN).stdout)
            said = signer.knotc("zone-read", DOMAIN).stdout
            ds = signer.ds(DOMAIN)
        finally:
            signer.close()
        return "".join(
            line.split("] ", 1)[1] + "\n" for line in said.splitlines()
            if line.startswith("[")), ds

    # The programs.

    def write_skew(self):
        for role, numbers in (("world", (self.passed, 0, -1, 0)),
                              ("ours", (self.passed, self.set, self.error,
                                        0))):
            with open(f"{self.here}/{role}.skew", "r+b" if os.path.exists(
                    f"{self.here}/{role}.skew") else "wb") as out:
                out.write(struct.pack("<4q", *numbers))

    def env(self, role):
        env = dict(os.environ)
        env.pop("NOTIFY_SOCKET", None)
        # As in whatever a service has started, a terminal for one.
        env["INVOCATION_ID"], env["SYSTEMD_EXEC_PID"] = "0" * 32, "1"
        asan = env.get("ASAN_OPTIONS", "")
        return env | {
            "SKEW_FILE": f"{self.here}/{role}.skew",
            "LD_PRELOAD": f"{BUILD}/skew.so",
            "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
            "ASAN_OPTIONS": f"{asan}{':' * bool(asan)}"
                            "verify_asan_link_order=0"}

    def now(self):
        return time.time() + (self.passed + self.set) / 1000

    def write_plan(self):
        """The plan and the files that it names, as they are now."""
        for key, files in (("evidence", self.evidence),
                           ("old_evidence", self.old_evidence)):
            self.plan.pop(key, None)
            if files:
                self.plan[key] = list(files)
        for name, content in (self.evidence | self.old_evidence).items():
            path = f"{self.here}/{name}"
            with open(path, "w", encoding="utf-8") as out:
                out.write(self.with_times(
                    content if isinstance(content, str) else
                    json.dumps(content)))
            at = self.now() - self.evidence_at
            os.utime(path, (at, at))
        path = f"{self.here}/recipients.csv"
        with open(path, "w", encoding="ascii") as out:
            out.write("".join(f"{address}\n" for address in self.recipients))
        at = self.now() - self.recipients_at
        os.utime(path, (at, at))
        if self.room:
            self.plan["expected"] = self.expected(self.room)
        with open(self.path, "w", encoding="ascii") as out:
            json.dump(self.plan, out, indent=1)

    def expected(self, room):
        """So much that the disk has its mail of 72 h `room` times; messages
        are few, so bytes decide."""
        space = os.statvfs(self.here)
        return {"messages_per_day": 1000, "mean_bytes": max(
            1, int(space.f_bavail * space.f_frsize / room / 3000))}

    def write_other(self, room):
        """Another plan for the same node; its path."""
        plan = copy.deepcopy(self.plan)
        plan.pop("evidence", None)
        plan |= {"name": "other", "domains": [{"name": "other.example"}],
                 "recipients": {"policy": "any"},
                 "probe": {"recipients": ["anna@other.example"]},
                 "expected": self.expected(room)}
        path = f"{self.here}/other.json"
        with open(path, "w", encoding="ascii") as out:
            json.dump(plan, out, indent=1)
        return path

    def with_times(self, text):
        """ "AGO 30h" and "AGO 5m" become times."""
        return re.sub(r"AGO (\d+)([hm])", lambda m: time.strftime(
            "%Y-%m-%dT%H:%M:%SZ", time.gmtime(
                self.now() - int(m.group(1)) * (
                    HOUR if m.group(2) == "h" else 60))), text)

    def tideover(self, *args, wait=120):
        done = subprocess.run(
            [f"{BUILD}/tideover", args[0], "--json", "--state", self.state,
             *args[1:]], capture_output=True, text=True, check=False,
            timeout=wait, env=self.env("ours"))
        try:
            document = json.loads(done.stdout.strip().split("\n")[-1])
        except ValueError:
            document = {"stdout": done.stdout, "stderr": done.stderr}
        return done.returncode, document

    def status(self):
        """Of the plan, without a process for each look; {} without a daemon."""
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(30)
                sock.connect(f"{self.state}/control.sock")
                sock.sendall(b"GET /v1/plans/acme/status HTTP/1.0\r\n\r\n")
                with sock.makefile("rb") as answer:
                    return json.loads(answer.read().split(b"\r\n\r\n", 1)[1])
        except OSError:
            return {}

    def start_daemon(self):
        self.daemon = Daemon(self.here, self.env("ours"), self.state,
                             self.unit.cgroup if self.supervised else None)
        wait_for("tideoverd answers",
                 lambda: self.daemon.process.poll() is not None or
                 self.status())
        if self.daemon.process.poll() is not None:
            with open(f"{self.here}/tideoverd.log", encoding="utf-8") as log:
                raise AssertionError("tideoverd ended: " + log.read()[-800:])

    def remove(self):
        shutil.rmtree(self.here, ignore_errors=True)


class Daemon:
    """tideoverd with an environment of its own."""

    def __init__(self, folder, env, state, cgroup):
        self.log = open(f"{folder}/tideoverd.log", "ab")
        # A service is told that it is one by its own number, and is in a
        # cgroup of its own.
        own = f"mount --bind {cgroup} /proc/$$/cgroup && " \
            "SYSTEMD_EXEC_PID=$$ " if cgroup else ""
        self.process = subprocess.Popen(
            ["sh", "-c", f'{own}exec "$@"', "sh", f"{BUILD}/tideoverd",
             "--state", state], stdout=self.log, stderr=self.log,
            stdin=subprocess.DEVNULL, env=env)

    close = peers.Child.close


if __name__ == "__main__" and sys.argv[1:] == ["--relay"]:
    relay()
