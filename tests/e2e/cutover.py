"""A whole cutover against real peers, and the judgement of what arrived.

The world's senders ask the resolvers for the MX set, as senders do, and send
real mail: some with swaks, some with a pipelining client.  A sender goes on
with a mailbox's next message only when the one before was answered 250, so
that order has a meaning.
"""
import collections
import glob
import hashlib
import json
import os
import pty
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import peers
from peers import wait_for

VARIANT = os.environ.get("VARIANT", "asan")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
DOMAIN = "acme.example"
OLD, QUEUE, NEW = "old.hosts.example", "hold.hosts.example", "new.hosts.example"
MAILBOXES = 12
SENDERS = 3
TTL = 2
SEQ = b"X-Sequence: "
# `make bench`: a time is held against its bar.  Else the machine may be slow, or
# do something else as well.
BARS = os.environ.get("BARS") == "1"


def real_mail():
    """Bodies with CRLF lines: ../shared/data/mail, or our own."""
    paths = sorted(glob.glob(f"{ROOT}/../shared/data/mail/*/*"))
    where = "../shared/data/mail"
    if not paths:
        paths = sorted(glob.glob(f"{ROOT}/tests/data/mail/*"))
        where = "tests/data/mail (../shared is not here)"
    bodies = []
    for path in paths:
        with open(path, "rb") as mail:
            body = mail.read().replace(b"\r\n", b"\n")
        if not body.endswith(b"\n"):
            body += b"\n"
        # The separator of an mbox is not of the message; Postfix renames it.
        if body.startswith(b"From "):
            body = body[body.index(b"\n") + 1:]
        bodies.append(body.replace(b"\n", b"\r\n"))
    return bodies, where


class Refused(Exception):
    """A 5xx: a real sender would bounce."""


class Later(Exception):
    """A 4xx or a cut: a real sender tries again."""


class Client:
    """An SMTP client that pipelines the envelope, with STARTTLS if asked."""

    def __init__(self, port, tls, patience=60):
        try:
            self.sock = socket.create_connection(("127.0.0.1", port), 10)
            self.sock.settimeout(patience)
            self.buffer = self.offers = b""
            self.expect(220)
            self.command(b"EHLO sender.example", 250)
            if tls and b"STARTTLS" in self.offers:
                self.command(b"STARTTLS", 220)
                context = ssl.create_default_context()
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                self.sock = context.wrap_socket(self.sock)
                self.command(b"EHLO sender.example", 250)
        except OSError as error:
            raise Later(str(error)) from error

    def expect(self, code):
        while True:
            end = self.buffer.find(b"\r\n")
            if end < 0:
                more = self.sock.recv(65536)
                if not more:
                    raise Later("closed")
                self.buffer += more
                continue
            line, self.buffer = self.buffer[:end], self.buffer[end + 2:]
            self.offers += line
            if line[3:4] != b"-":
                break
        if int(line[:3]) != code:
            raise (Refused if line[:1] == b"5" else Later)(line.decode())
        return line

    def command(self, line, code):
        self.sock.sendall(line + b"\r\n")
        return self.expect(code)

    def send(self, boxes, body, sender=b"sender@b.example"):
        """Returns the 250 that it was answered.  `self.dot` says whether the
        final dot has left: from then on a cut proves nothing."""
        self.dot = False
        self.offers = b""
        try:
            lines = [b"MAIL FROM:<%s> BODY=8BITMIME SIZE=%d"
                     % (sender, len(body))]
            lines += [b"RCPT TO:<%s@%s>" % (box.encode(), DOMAIN.encode())
                      for box in boxes]
            lines += [b"DATA"]
            self.sock.sendall(b"\r\n".join(lines) + b"\r\n")
            for _ in boxes + [None]:
                self.expect(250)
            self.expect(354)
            self.sock.sendall(body.replace(b"\r\n.", b"\r\n..")
                              if not body.startswith(b".")
                              else b"." + body.replace(b"\r\n.", b"\r\n.."))
            self.dot = True
            self.sock.sendall(b".\r\n")
            return self.expect(250)
        except OSError as error:
            raise Later(str(error)) from error

    def close(self):
        self.sock.close()


def swaks(port, boxes, body, folder):
    """The same by swaks; it has its own idea of nothing but the dialogue."""
    path = f"{folder}/swaks-{threading.get_ident()}"
    with open(path, "wb") as out:
        out.write(body.replace(b"\r\n.", b"\r\n..") + b".")
    done = subprocess.run(
        ["swaks", "--server", f"127.0.0.1:{port}", "--helo", "sender.example",
         "--from", "sender@b.example", "--to",
         ",".join(f"{box}@{DOMAIN}" for box in boxes), "--data", f"@{path}",
         "--no-data-fixup", "--no-strip-from", "--tls-optional"],
        capture_output=True, check=False, timeout=60)
    said = done.stdout
    if done.returncode == 0:
        return
    if re.search(rb"^<(\*\*|~\*) +5", said, re.M):
        raise Refused(said.decode(errors="replace")[-400:])
    raise Later(said.decode(errors="replace")[-400:])


class Sent:
    """One message: whom for, its bytes, and which host took it."""

    def __init__(self, number, boxes, body):
        self.number, self.boxes, self.body = number, boxes, body
        self.host = None
        self.unanswered = 0  # attempts that ended after the final dot


class Senders:
    """Threads that send as many messages as allow() has let them."""

    def __init__(self, world, messages):
        self.world = world
        self.lock = threading.Condition()
        self.allowed = self.done = 0
        self.stopped = False
        self.messages = messages
        self.bounced, self.failure = [], None
        self.accepted = []
        self.lines = [collections.deque() for _ in range(SENDERS)]
        for message in messages:
            box = int(message.boxes[0][3:])
            self.lines[box % SENDERS].append(message)
        self.threads = [threading.Thread(target=self.work, args=(i,))
                        for i in range(SENDERS)]
        self.begun = 0
        for thread in self.threads:
            thread.start()

    def allow(self, count):
        """Lets `count` more begin, and waits until they were taken."""
        with self.lock:
            self.allowed = min(self.allowed + count, len(self.messages))
            self.lock.notify_all()
        wait_for(f"{self.allowed} messages are accepted",
                 lambda: self.failure or self.done >= self.allowed, 120)
        if self.failure:
            raise self.failure

    def allow_later(self, count):
        """The same without the wait."""
        with self.lock:
            self.allowed = min(self.allowed + count, len(self.messages))
            self.lock.notify_all()

    def work(self, index):
        line = self.lines[index]
        client = None
        try:
            while line:
                with self.lock:
                    while self.begun >= self.allowed and not self.stopped:
                        self.lock.wait(0.2)
                    if self.stopped:
                        break
                    self.begun += 1
                client = self.send(index, line.popleft(), client)
        except Exception as error:  # shown by allow()
            self.failure = error
        finally:
            if client:
                client.close()

    def send(self, index, message, client):
        while not self.stopped:
            host, port = self.world.mx(index)
            try:
                if client and client.host != host:
                    client.close()
                    client = None
                if self.world.use_swaks and message.number % 3 == 0:
                    swaks(port, message.boxes, message.body,
                          self.world.folder)
                else:
                    if not client:
                        client = Client(port, message.number % 2 == 0)
                        client.host = host
                    client.send(message.boxes, message.body)
            except Refused as why:
                self.bounced.append((message, host, str(why)))
                raise
            except Later:
                if client:
                    message.unanswered += getattr(client, "dot", False)
                    client.close()
                    client = None
                time.sleep(0.1)
                continue
            break
        with self.lock:
            message.host = host
            self.accepted.append(message)
            self.done += 1
        return client

    def stop(self):
        self.stopped = True
        for thread in self.threads:
            thread.join(30)


class World:
    """DNS, resolvers, both systems, tideover, and the way between them."""
    domain = DOMAIN

    def __init__(self, system=peers.Postfix, use_swaks=True, max_flight=8,
                 change=lambda world, plan: plan, new_system=None):
        self.folder = tempfile.mkdtemp(prefix="tideover-e2e-")
        os.chmod(self.folder, 0o755)
        self.use_swaks = use_swaks
        self.open = []
        self.knot = self.keep(peers.Knot(self.folder, self.domain,
                                         [OLD, QUEUE, NEW], TTL))
        self.knot.publish((10, OLD))
        self.resolvers = [self.keep(peers.Unbound(
            self.folder, f"resolver{i}", self.knot)) for i in range(SENDERS)]
        self.old = self.keep(system(self.folder, OLD, self.domain))
        self.new = self.keep((new_system or system)(self.folder, NEW, self.domain))
        self.port = peers.free_port()
        self.ports = {OLD: self.old.port, QUEUE: self.port,
                      NEW: self.new.port}
        self.state = f"{self.folder}/state"
        self.plan = f"{self.folder}/plan.json"
        key, cert = peers.self_signed(self.folder, QUEUE)
        os.chmod(key, 0o600)
        with open(self.plan, "w", encoding="ascii") as out:
            json.dump(change(self, self.plan_of(system.tls, key, cert,
                                                max_flight)), out)
        self.daemon = None

    def plan_of(self, tls, key, cert, max_flight):
        local = "127.0.0.1:%d"
        return {
            "tideover": 1, "name": "acme", "strategy": "park",
            "rehearsal": True,
            "domains": [{"name": self.domain}],
            "old": {"provider": "custom", "mx": [OLD],
                    "deliver_to": local % self.old.port},
            "new": {"provider": "custom", "mx": [NEW],
                    "deliver_to": local % self.new.port},
            "queue_mx": {"host": QUEUE, "priority": 10,
                         "listen": [local % self.port],
                         "tls": {"certificate_file": cert, "key_file": key}},
            "dns": {"resolvers": [local % r.port for r in self.resolvers],
                    "authorities": [local % self.knot.port],
                    "ttl": TTL, "old_ttl": TTL},
            "expected": {"messages_per_day": 1000, "mean_bytes": 20000},
            "recipients": {"policy": "any"},
            "replay": {"tls": tls, "max_flight": max_flight,
                       "ramp": [1, "10%"]},
            "retention": "5d",
            "probe": {"recipients": [f"postmaster@{self.domain}"]},
            "timing": {"recover_after": "1s", "probe_every": "300ms",
                       "watch_every": "300ms", "horizon_margin": "500ms",
                       "rcpt_probe_span": "1s", "trail": "2s",
                       "drained_age": "2s", "retry_min": "500ms",
                       "retry_max": "1s", "capacity": "1h"},
        }

    def keep(self, peer):
        self.open.append(peer)
        return peer

    def mx(self, index):
        """Where a sender goes: what its resolver says, once it does."""
        answer = wait_for("a resolver has the MX set", lambda: peers.answers(
            self.resolvers[index].port, self.domain, "MX"))
        hosts = sorted((int(line.split()[0]), line.split()[1][:-1])
                       for line in answer)
        host = hosts[0][1]
        return host, self.ports[host]

    def start_daemon(self, *options):
        self.daemon = peers.Child(
            self.folder, f"tideoverd-{time.monotonic_ns()}",
            f"{ROOT}/build/{VARIANT}/tideoverd", "--state", self.state,
            *options)
        wait_for("tideoverd answers", lambda: self.tideover("status")[0] != 4)

    def kill_daemon(self):
        self.daemon.process.kill()
        self.daemon.process.wait()
        self.daemon.close()

    def tideover(self, command, *args):
        """Exit status and the JSON document."""
        done = subprocess.run(
            [f"{ROOT}/build/{VARIANT}/tideover", command, "--json", "--state",
             self.state, *args], capture_output=True, text=True, check=False,
            timeout=120)
        lines = done.stdout.strip().split("\n")
        try:
            document = json.loads(lines[-1])
        except ValueError:
            document = {"stdout": done.stdout, "stderr": done.stderr}
        return done.returncode, document

    def must(self, want, command, *args):
        status, document = self.tideover(command, *args)
        assert status == want, (f"tideover {command}: exit {status}, not "
                                f"{want}: {json.dumps(document)[:1500]}")
        return document

    def status(self):
        return self.tideover("status", "acme")[1]

    def ledger(self):
        """Of the first domain."""
        return self.status()["domains"][0]["ledger"]

    def views(self):
        domains = self.status().get("domains") or [{}]
        return {v["view"] for v in domains[0].get("vantages", [])}

    def report(self):
        path = f"{self.folder}/report.json"
        self.must(0, "report", "acme", "--output", path)
        with open(path, encoding="utf-8") as out:
            return json.load(out)

    def close(self):
        if self.daemon:
            self.daemon.close()
        for peer in reversed(self.open):
            peer.close()


def on_a_terminal(world, answer, command, *args):
    """Exit status and what is said to somebody who sits there."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(f"{ROOT}/build/{VARIANT}/tideover",
                 ["tideover", command, "--state", world.state, *args])
    said = b""
    try:
        while True:
            more = os.read(terminal, 4096)
            if not more:
                break
            said += more
            if b"[y/N]" in said and answer:
                os.write(terminal, answer)
                answer = None
    except OSError:
        pass  # Linux: the end of a terminal
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode()


def listed(world, *args):
    """NDJSON: one row per envelope."""
    done = subprocess.run(
        [f"{ROOT}/build/{VARIANT}/tideover", "queue", "--json", "--state",
         world.state, "list", "acme", *args], capture_output=True, text=True,
        check=False, timeout=60)
    assert done.returncode == 0, done
    return [json.loads(line) for line in done.stdout.splitlines()]


def journal(world, event):
    """The data of its lines about this, each with when it was written."""
    done = subprocess.run(
        [f"{ROOT}/build/{VARIANT}/tideover", "journal", "--json", "--state",
         world.state, "show", "acme"], capture_output=True, text=True,
        check=True, timeout=60)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line["data"] | {"at": line["at"]} for line in lines
            if line["event"] == event]


def findings(document):
    """Of a gate document, or of an answer that holds one."""
    gate = document["gate"]
    return (gate if isinstance(gate, dict) else document)["findings"]


def blocking(document):
    """The checks that fail."""
    return {f["check"] for f in findings(document) if f["verdict"] == "fail"}


def make_messages(count, numbered):
    """`count` messages; every ninth goes to two mailboxes."""
    bodies, where = real_mail()
    messages = []
    for number in range(count):
        boxes = [f"box{number % MAILBOXES}"]
        if number % 9 == 8:
            # Of the same sender, or the order between them means nothing.
            boxes.append(f"box{(number + SENDERS) % MAILBOXES}")
        body = bodies[number % len(bodies)]
        if numbered:
            body = SEQ + b"%d\r\n" % number + body
        messages.append(Sent(number, boxes, body))
    return messages, where


def without_our_trace(body):
    first = re.match(rb"Received: (?:[^\n]|\n[ \t])*\n", body)
    if first and QUEUE.encode() in first.group():
        return body[first.end():]
    return body


class Judge:
    """What the senders were told against what both systems have.

    Postfix repairs some broken headers.  So an arrival is held against what
    the same system keeps of the same bytes when it gets them directly."""

    def __init__(self, world, senders):
        self.lost, self.changed, self.doubled = [], [], []
        self.reordered = []
        arrived = collections.defaultdict(list)
        for system in (world.old, world.new):
            for arrival in system.arrivals():
                arrived[arrival.mailbox].append(
                    without_our_trace(arrival.body))
        self.arrivals = sum(len(v) for v in arrived.values())
        kept = keep_directly(world.new, {m.body for m in senders.accepted})
        self.verbatim = sum(body.replace(b"\r\n", b"\n") == bytes_
                            for body, bytes_ in kept.items())
        wanted = collections.defaultdict(list)
        for message in senders.accepted:
            for box in message.boxes:
                wanted[box].append(message)
        for box, messages in wanted.items():
            self.judge_mailbox(box, messages, kept, arrived.pop(box, []))
        self.strange = sum(len(v) for v in arrived.values())

    def judge_mailbox(self, box, messages, kept, bodies):
        # The order of the 250s is that of the numbers: a sender goes on
        # with a mailbox only then.
        messages.sort(key=lambda m: m.number)
        places = collections.defaultdict(list)
        for place, body in enumerate(bodies):
            places[body].append(place)
        last = -1
        for message in messages:
            here = places[kept[message.body]]
            if not here:
                self.lost.append((box, message))
                continue
            if here[0] < last:
                self.reordered.append((box, message))
            last = here.pop(0)
        sent = {kept[message.body]: message for message in messages}
        for body, rest in places.items():
            for _ in rest:
                if body in sent:
                    self.doubled.append((box, sent[body]))
                else:
                    self.changed.append((box, body))


def keep_directly(system, bodies):
    """What the system keeps of each body, sent to it without a detour."""
    bodies = list(bodies)
    box = f"box{peers.BOXES - 1}"
    client = Client(system.port, False)
    for body in bodies:
        client.send([box], body)
    client.close()
    kept = [a.body for a in system.arrivals() if a.mailbox == box]
    assert len(kept) == len(bodies)
    return dict(zip(bodies, kept))


def sha256(body):
    return hashlib.sha256(body).hexdigest()


class Tap:
    """TAP, one line per promise."""

    def __init__(self):
        self.number = self.bad = 0

    def ok(self, good, text):
        self.number += 1
        self.bad += not good
        print(f"{'ok' if good else 'not ok'} {self.number} - {text}",
              flush=True)

    def skip(self, text, why):
        self.number += 1
        print(f"ok {self.number} - {text} # skip {why}", flush=True)

    def end(self):
        print(f"1..{self.number}")
        sys.exit(1 if self.bad else 0)
