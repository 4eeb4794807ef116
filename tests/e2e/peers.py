"""Real peers on loopback and free ports: knot, unbound, Postfix, smtp-sink.

Everything lives in one folder, is started as a child or by its own control
program, and ends with close().  Nothing here touches the machine's own
instances of these programs.
"""
import glob
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
SINK = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                    "../../build/release/bench/bench_sink")
BOXES = 40  # mailboxes: box0 to box39
os.environ["PATH"] = PATH + ":" + os.environ.get("PATH", "")


def missing(*programs):
    """The programs that this machine does not have."""
    return [p for p in programs if not shutil.which(p)]


def own_ports():
    """Those that the kernel gives to nobody who asks for any."""
    with open("/proc/sys/net/ipv4/ip_local_port_range",
              encoding="ascii") as both:
        lowest = int(both.read().split()[0])
    return range(lowest // 2, lowest)


RESERVED = []  # sockets whose names say which ports are ours until we end


def free_port():
    """A port that is free for TCP and UDP, and stays so whether somebody
    listens or not: no connection gets it by chance, and no other test beside
    us."""
    while True:
        port = random.choice(own_ports())
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0tideover-test-port-{port}")
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as sock:
                    sock.bind(("127.0.0.1", port))
        except OSError:
            name.close()
            continue
        RESERVED.append(name)
        return port


def wait_for(what, condition, seconds=120):
    """Until the condition holds; an error that names it if it never does."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def run(*args, **options):
    return subprocess.run(args, capture_output=True, text=True,
                          check=True, timeout=60, **options)


def answers(port, name, kind):
    """What the DNS server at the port says, as `kdig +short` prints it."""
    out = subprocess.run(["kdig", "+short", "+time=1", "+retry=0", "-p",
                          str(port), "@127.0.0.1", name, kind],
                         capture_output=True, text=True, check=False)
    lines = out.stdout.split("\n")
    return [line for line in lines if line and not line.startswith(";")]


class Child:
    """A program that runs until close()."""

    def __init__(self, folder, name, *args):
        self.log = open(os.path.join(folder, name + ".log"), "wb")
        self.process = subprocess.Popen(args, stdout=self.log,
                                        stderr=self.log,
                                        stdin=subprocess.DEVNULL)

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


class Knot:
    """knotd with the zone of the domain, the one above, and one of the MX
    hosts."""

    def __init__(self, folder, domain, hosts, ttl):
        self.folder = os.path.join(folder, "knot")
        os.mkdir(self.folder)
        self.port = free_port()
        self.domain, self.hosts, self.ttl = domain, hosts, ttl
        self.serial = 0
        self.more = ""  # further records of the domain's zone
        self.conf = os.path.join(self.folder, "knot.conf")
        self.control = os.path.join(self.folder, "knot.sock")
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
template:
  - id: default
    storage: "{self.folder}"
    file: "%s.zone"
    zonefile-load: whole
    journal-content: none
zone:
  - domain: {domain}
  - domain: hosts.example
  - domain: example
""")
        self.write_parent()
        self.write_hosts()
        self.write([])
        self.child = Child(folder, "knot", "knotd", "-c", self.conf)
        wait_for("knot answers", lambda: answers(self.port, domain, "SOA"))

    def write_parent(self):
        """Unsigned delegations."""
        with open(f"{self.folder}/example.zone", "w",
                  encoding="ascii") as out:
            out.write("@ 300 SOA ns.hosts admin 1 60 60 3600 1\n"
                      "@ 300 NS ns.hosts\nns.hosts 300 A 127.0.0.1\n"
                      "hosts 300 NS ns.hosts\n"
                      f"{self.domain}. 300 NS ns.hosts\n")

    def write_hosts(self):
        with open(f"{self.folder}/hosts.example.zone", "w",
                  encoding="ascii") as out:
            out.write("@ 300 SOA ns admin 1 60 60 3600 1\n@ 300 NS ns\n"
                      "ns 300 A 127.0.0.1\n")
            for host in self.hosts:
                out.write(f"{host}. 300 A 127.0.0.1\n")

    def write(self, mx):
        self.serial += 1
        with open(f"{self.folder}/{self.domain}.zone", "w",
                  encoding="ascii") as out:
            out.write(f"@ 60 SOA ns.hosts.example. admin {self.serial} "
                      "60 60 3600 1\n@ 60 NS ns.hosts.example.\n")
            out.write(self.more)
            for preference, host in mx:
                out.write(f"@ {self.ttl} MX {preference} {host}.\n")

    def publish(self, *mx):
        """The MX set becomes these (preference, host)."""
        self.write(mx)
        run("knotc", "-c", self.conf, "-s", self.control, "-b",
            "zone-reload", self.domain)
        want = sorted(f"{p} {h}." for p, h in mx)
        wait_for("knot has the new MX set", lambda: sorted(
            answers(self.port, self.domain, "MX")) == want)

    def close(self):
        self.child.close()


class Unbound:
    """A caching resolver that asks knot for its zones."""

    def __init__(self, folder, name, knot):
        self.port = free_port()
        conf = os.path.join(folder, name + ".conf")
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
    module-config: "iterator"
    do-not-query-localhost: no
    do-ip6: no
""")
            for zone in (knot.domain, "hosts.example", "example"):
                out.write(f"""
stub-zone:
    name: "{zone}"
    stub-addr: 127.0.0.1@{knot.port}
    stub-prime: no
""")
            out.write("remote-control:\n    control-enable: no\n")
        self.child = Child(folder, name, "unbound", "-d", "-c", conf)
        wait_for("unbound answers",
                 lambda: answers(self.port, knot.domain, "SOA"))

    def close(self):
        self.child.close()


def self_signed(folder, host):
    """A key and a certificate; their paths."""
    key, cert = f"{folder}/{host}.key", f"{folder}/{host}.pem"
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
        "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
        f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}", "-keyout",
        key, "-out", cert)
    return key, cert


class Arrival:
    """A message as a system kept it: for whom, and its bytes (LF lines)."""

    def __init__(self, mailbox, order, body):
        self.mailbox, self.order, self.body = mailbox, order, body


def without_fields(body, names):
    """The bytes after those leading fields, in this order, if there."""
    for name in names:
        if not re.match(rb"(?i)" + re.escape(name.encode()) + rb":", body):
            continue
        end = re.search(rb"\n(?![ \t])", body)
        body = body[end.end():] if end else b""
    return body


class Postfix:
    """A private Postfix: the domain's mailboxes as Maildirs (needs root).

    Its long queue ids grow with time, so they tell the order in which it
    took what it keeps."""
    trace = ("Return-Path", "X-Original-To", "Delivered-To", "Received")
    tls = "required"
    ordered = True

    def __init__(self, folder, host, domain):
        self.host, self.domain = host, domain
        self.port = free_port()
        self.folder = os.path.join(folder, host)
        for sub in ("conf", "queue", "data", "mail"):
            os.makedirs(f"{self.folder}/{sub}")
        os.chmod(f"{self.folder}", 0o755)
        shutil.chown(f"{self.folder}/data", "postfix")
        shutil.chown(f"{self.folder}/mail", "nobody")
        key, cert = self_signed(f"{self.folder}/conf", host)
        self.conf = f"{self.folder}/conf"
        with open(f"{self.conf}/boxes", "w", encoding="ascii") as out:
            for box in ("postmaster", *(f"box{n}" for n in range(BOXES))):
                out.write(f"{box}@{domain} {box}/\n")
        with open(f"{self.conf}/main.cf", "w", encoding="ascii") as out:
            out.write(f"""
compatibility_level = 3.6
queue_directory = {self.folder}/queue
data_directory = {self.folder}/data
maillog_file = {self.folder}/mail.log
maillog_file_prefixes = {self.folder}
myhostname = {host}
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks =
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions =
smtpd_delay_reject = yes
smtpd_client_connection_count_limit = 0
smtpd_tls_security_level = may
smtpd_tls_key_file = {key}
smtpd_tls_cert_file = {cert}
smtpd_tls_session_cache_database =
local_header_rewrite_clients =
message_drop_headers =
enable_long_queue_ids = yes
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = texthash:{self.conf}/boxes
virtual_mailbox_base = {self.folder}/mail
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_alias_maps =
alias_maps =
alias_database =
message_size_limit = 60000000
virtual_mailbox_limit = 0
default_transport = discard
""")
        with open(f"{self.conf}/master.cf", "w", encoding="ascii") as out:
            out.write(f"127.0.0.1:{self.port} inet n - n - 100 smtpd\n")
            for line in ("cleanup unix n - n - 0 cleanup",
                         "qmgr unix n - n 300 1 qmgr",
                         "rewrite unix - - n - - trivial-rewrite",
                         "bounce unix - - n - 0 bounce",
                         "defer unix - - n - 0 bounce",
                         "trace unix - - n - 0 bounce",
                         "verify unix - - n - 1 verify",
                         "proxymap unix - - n - - proxymap",
                         "error unix - - n - - error",
                         "retry unix - - n - - error",
                         "virtual unix - n n - 20 virtual",
                         "discard unix - - n - - discard",
                         "anvil unix - - n - 1 anvil",
                         "tlsmgr unix - - n 1000? 1 tlsmgr",
                         "postlog unix-dgram n - n - 1 postlogd"):
                out.write(line + "\n")
        self.control("start")
        wait_for("postfix greets", self.greets)

    def control(self, *verb):
        done = subprocess.run(["postfix", "-c", self.conf, *verb],
                              capture_output=True, text=True, check=False,
                              timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"postfix {verb}: {done.stderr}")

    def greets(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as s:
                return s.recv(200).startswith(b"220")
        except OSError:
            return False

    def accept(self, yes):
        """Have the domain, or refuse its mail with 5xx."""
        run("postconf", "-c", self.conf, "-e", "virtual_mailbox_domains="
            + (self.domain if yes else ""))
        self.control("reload")

    def option(self, name, value):
        """Sets one of main.cf, for sessions to come."""
        run("postconf", "-c", self.conf, "-e", f"{name}={value}")
        self.control("reload")

    def arrivals(self):
        """All mail that is delivered; waits for Postfix's own queue."""
        wait_for(f"{self.host} has delivered all it took", self.is_idle)
        found = []
        for path in glob.glob(f"{self.folder}/mail/*/new/*"):
            with open(path, "rb") as mail:
                raw = mail.read()
            order = re.search(rb"\) with \w+ id (\w+)", raw).group(1)
            found.append(Arrival(path.split("/")[-3], order,
                                 without_fields(raw, self.trace)))
        found.sort(key=lambda a: a.order)
        return found

    def is_idle(self):
        return not [f for sub in ("incoming", "active", "deferred", "maildrop")
                    for _, _, files in os.walk(f"{self.folder}/queue/{sub}")
                    for f in files]

    def close(self):
        self.control("stop")


class Sink:
    """smtp-sink from Postfix, where root is missing: no TLS, and a dump for
    each session, which does not tell the order between sessions."""
    trace = ()
    tls = "opportunistic"
    ordered = False

    def __init__(self, folder, host, domain):
        self.host, self.domain = host, domain
        self.port = free_port()
        self.folder = os.path.join(folder, host)
        self.base = folder
        self.starts = 0
        os.mkdir(self.folder)
        self.child = None
        self.accept(True)

    def accept(self, yes):
        if self.child:
            self.child.close()
        self.starts += 1
        args = ["smtp-sink", "-8", "-h", self.host, "-D",
                f"{self.folder}/{self.starts:03d}."]
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody")
            args += ["-u", "nobody"]
        if not yes:
            args += ["-f", "RCPT"]
        self.child = Child(self.base, f"{self.host}-{self.starts}", *args,
                           f"127.0.0.1:{self.port}", "100")
        wait_for("smtp-sink listens", self.greets)

    def greets(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as s:
                return s.recv(200).startswith(b"220")
        except OSError:
            return False

    def arrivals(self):
        found = []
        for path in glob.glob(f"{self.folder}/*"):
            with open(path, "rb") as dump:
                mails = re.split(rb"(?m)^X-Client-Addr: ", dump.read())
            for raw in mails[1:]:
                head, _, _ = raw.partition(b"Received: from ")
                # Each dump ends with an empty line of its own.
                body = without_fields(raw[len(head):-1], ("Received",))
                for box in re.findall(rb"X-Rcpt-Args: <([^@>]+)@", head):
                    found.append(Arrival(box.decode(), None, body))
        return found

    def close(self):
        self.child.close()


class BenchSink:
    """Our own target for volume: it numbers, counts and judges."""
    tls = "required"

    def __init__(self, folder, host, domain, rules=()):
        self.host = host
        self.process = subprocess.Popen(
            [SINK, host, *rules], stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL, text=True)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])
        self.verdict = None

    def accept(self, yes):
        self.process.send_signal(signal.SIGUSR2 if yes else signal.SIGUSR1)

    def counts(self):
        """Messages that have come so far, and 4yz that were said."""
        self.process.send_signal(signal.SIGHUP)
        said = json.loads(self.process.stdout.readline())
        return said["messages"], said["deferred"]

    def count(self):
        return self.counts()[0]

    def judge(self):
        """Ends it; what it says of all that came."""
        self.process.terminate()
        said, _ = self.process.communicate(timeout=60)
        return json.loads(said)

    def close(self):
        if self.process.poll() is None:
            self.judge()


def exim_program():
    """Debian's Exim and its Postfix exclude each other as packages, so that
    packaging/install-deps.sh unpacks it beside; None if it does not run."""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
    for path in (shutil.which("exim4"), shutil.which("exim"),
                 f"{root}/build/exim/usr/sbin/exim4"):
        if path and os.path.exists(path):
            said = subprocess.run([path, "-C", "/dev/null", "-bV"],
                                  capture_output=True, text=True, check=False)
            if said.returncode == 0 and "Exim version" in said.stdout:
                return os.path.abspath(path)
    return None


class Exim:
    """A private Exim: the domain's mailboxes as Maildirs (needs root).

    The order in which it took what it keeps is that of its main log."""
    trace = ("Return-path", "Envelope-to", "Delivery-date", "Received")
    tls = "required"
    ordered = True

    def __init__(self, folder, host, domain):
        self.host, self.domain = host, domain
        self.port = free_port()
        self.folder = os.path.join(folder, host)
        for sub in ("spool", "mail"):
            os.makedirs(f"{self.folder}/{sub}")
            shutil.chown(f"{self.folder}/{sub}", "nobody", "nogroup")
        os.chmod(self.folder, 0o755)
        key, cert = self_signed(self.folder, host)
        shutil.chown(key, "nobody")
        self.conf = f"{self.folder}/exim.conf"
        with open(f"{self.folder}/boxes", "w", encoding="ascii") as out:
            for box in ("postmaster", *(f"box{n}" for n in range(BOXES))):
                out.write(f"{box}: {box}\n")
        with open(self.conf, "w", encoding="ascii") as out:
            out.write(f"""
exim_user = nobody
exim_group = nogroup
deliver_drop_privilege
never_users =
keep_environment =
spool_directory = {self.folder}/spool
log_file_path = {self.folder}/spool/log-%s
pid_file_path = {self.folder}/spool/pid
primary_hostname = {host}
local_interfaces = 127.0.0.1
daemon_smtp_ports = {self.port}
tls_advertise_hosts = *
tls_certificate = {cert}
tls_privatekey = {key}
smtp_accept_max = 200
smtp_accept_queue_per_connection = 0
message_size_limit = 60M
received_headers_max = 100
acl_smtp_rcpt = rcpt
acl_smtp_data = data
begin acl
rcpt:
  deny message = relay not permitted
       !domains = {domain}
  accept verify = recipient
  deny message = unknown user
data:
  accept
begin routers
boxes:
  driver = accept
  domains = {domain}
  local_parts = lsearch;{self.folder}/boxes
  transport = maildir
begin transports
maildir:
  driver = appendfile
  directory = {self.folder}/mail/$local_part_data
  maildir_format
  create_directory
  return_path_add
  envelope_to_add
  delivery_date_add
""")
        self.child = Child(self.folder, "exim", exim_program(), "-C",
                           self.conf, "-bdf")
        wait_for("exim greets", self.greets)

    def greets(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as s:
                return s.recv(200).startswith(b"220")
        except OSError:
            return False

    def log(self):
        with open(f"{self.folder}/spool/log-main", "rb") as log:
            return log.read()

    def arrivals(self):
        """All mail that is delivered, in the order in which it was taken."""
        wait_for(f"{self.host} has delivered all it took", lambda:
                 not glob.glob(f"{self.folder}/spool/input/**/*-H",
                               recursive=True))
        taken = re.findall(rb"^\S+ \S+ (\S+) <= ", self.log(), re.M)
        order = {name: at for at, name in enumerate(taken)}
        found = []
        for path in glob.glob(f"{self.folder}/mail/*/new/*"):
            with open(path, "rb") as mail:
                raw = mail.read()
            name = re.search(rb"\n\tid ([\w-]+)|\bid ([\w-]+)\n", raw)
            name = name.group(1) or name.group(2)
            found.append(Arrival(path.split("/")[-3], order[name],
                                 without_fields(raw, self.trace)))
        found.sort(key=lambda a: a.order)
        return found

    def close(self):
        self.child.close()


LAB = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                   "../../build/%s/lab/lab_target"
                   % os.environ.get("VARIANT", "asan"))
NUMBER = b"X-Rehearsal-Number: "  # first field of a message for a Lab


class Lab:
    """A system that behaves as a script says (lib/lab/lab_script.h)."""
    tls = "opportunistic"

    def __init__(self, folder, host, domain, port=0):
        self.host, self.domain = host, domain
        self.folder = os.path.join(folder, host)
        os.makedirs(self.folder, exist_ok=True)
        self.script = f"{self.folder}/script"
        self.out = f"{self.folder}/lab.log"
        self.write("")
        self.start(port or free_port())

    def start(self, port):
        self.child = Child(self.folder, "lab", LAB, self.host, str(port),
                           self.script)
        line = wait_for(f"{self.host} listens",
                        lambda: re.search(rb"ready 127.0.0.1:(\d+)",
                                          self.text()))
        self.port = int(line.group(1))

    def text(self):
        with open(self.out, "rb") as out:
            return out.read()

    def write(self, script):
        with open(self.script, "w", encoding="utf-8") as out:
            out.write(f"have box*@{self.domain}\n"
                      f"have postmaster@{self.domain}\n{script}\n")

    def play(self, script):
        """Behaves so from its next reply on."""
        self.write(script)
        before = len(self.events())
        self.child.process.send_signal(signal.SIGHUP)
        played = wait_for(f"{self.host} has the script", lambda: [
            e for e in self.events()[before:]
            if e["event"] in ("played", "bad script")])[0]
        assert played["event"] == "played", played

    def events(self):
        """Every reply and every message kept, in order."""
        return [json.loads(line) for line in self.text().split(b"\n")[:-1]
                if line.startswith(b"{")]

    def kept(self, box=None):
        """(box, number) of what it kept, in order; or a box's numbers."""
        all_ = [(e["mailbox"].split("@")[0], e["number"])
                for e in self.events() if e["event"] == "kept"]
        return all_ if box is None else [n for b, n in all_ if b == box]

    def close(self):
        self.child.close()
