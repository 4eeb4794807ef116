#!/usr/bin/env python3
"""make bench: tideover beside Postfix from Debian, in turns, on one machine.

Both take the same work from the same load generator, with their queues on the
same disk.  What counts are the ratios; the medians of BENCH_ROUNDS rounds.
Postfix is a backup MX whose primary is down, with its own safe defaults, or
with `hold` (it never tries to deliver: its fastest).
"""
import json
import os
import resource
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
os.environ["VARIANT"] = "release"

import cutover  # noqa: E402
import peers  # noqa: E402
from cutover import DOMAIN, ROOT  # noqa: E402
from node import Node  # noqa: E402
from peers import wait_for  # noqa: E402

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
# Seconds that a round lasts, about.
SECONDS = float(os.environ.get("BENCH_SECONDS", "5"))
MILLION = int(os.environ.get("BENCH_ENVELOPES", "1000000"))
LOAD = f"{ROOT}/build/release/bench/bench_load"


class BackupPostfix:
    """A private Postfix that keeps mail for a primary that is down."""

    def __init__(self, folder, variant, sink=None):
        self.folder = f"{folder}/postfix"
        self.port = peers.free_port()
        os.makedirs(f"{self.folder}/etc")
        for sub in ("queue", "data"):
            os.makedirs(f"{self.folder}/{sub}")
        os.chmod(folder, 0o755)
        shutil.chown(f"{self.folder}/data", "postfix")
        with open(f"{self.folder}/etc/main.cf", "w", encoding="ascii") as out:
            out.write(f"""
compatibility_level = 3.6
queue_directory = {self.folder}/queue
data_directory = {self.folder}/data
maillog_file_prefixes = {self.folder}
maillog_file = {self.folder}/mail.log
myhostname = backup.hosts.example
mydestination =
mynetworks =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relay_domains = {DOMAIN}
smtpd_relay_restrictions = reject_unauth_destination
transport_maps = inline:{{{DOMAIN}=relay:[127.0.0.1]:{sink or peers.free_port()}}}
disable_dns_lookups = yes
smtp_host_lookup = native
alias_maps =
smtpd_client_connection_count_limit = 0
""")
            if variant in ("hold", "drain"):
                out.write("smtpd_client_restrictions = static:HOLD\n"
                          "in_flow_delay = 0\n")
            if variant == "drain":
                # As an administrator in a hurry would; with TLS it would
                # make a connection for each message.
                out.write("smtp_tls_security_level = none\n"
                          "relay_destination_concurrency_limit = 100\n"
                          "initial_destination_concurrency = 50\n"
                          f"smtp_connection_cache_destinations = {DOMAIN}\n"
                          "qmgr_message_active_limit = 50000\n"
                          "default_process_limit = 200\n")
        with open(f"{self.folder}/etc/master.cf", "w",
                  encoding="ascii") as out:
            out.write(f"127.0.0.1:{self.port} inet n - n - - smtpd\n")
            for line in ("pickup unix n - n 60 1 pickup",
                         "cleanup unix n - n - 0 cleanup",
                         "qmgr unix n - n 300 1 qmgr",
                         "rewrite unix - - n - - trivial-rewrite",
                         "bounce unix - - n - 0 bounce",
                         "defer unix - - n - 0 bounce",
                         "trace unix - - n - 0 bounce",
                         "verify unix - - n - 1 verify",
                         "flush unix n - n 1000? 0 flush",
                         "proxymap unix - - n - - proxymap",
                         "relay unix - - n - - smtp",
                         "smtp unix - - n - - smtp",
                         "error unix - - n - - error",
                         "retry unix - - n - - error",
                         "anvil unix - - n - 1 anvil",
                         "scache unix - - n - 1 scache",
                         "postlog unix-dgram n - n - 1 postlogd"):
                out.write(line + "\n")
        self.control("start")
        wait_for("postfix greets", self.greets)

    def control(self, verb):
        subprocess.run(["postfix", "-c", f"{self.folder}/etc", verb],
                       capture_output=True, check=True, timeout=60)

    def greets(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as s:
                return s.recv(200).startswith(b"220")
        except OSError:
            return False

    def drain(self):
        for args in (("postsuper", "-c", f"{self.folder}/etc", "-H", "ALL"),
                     ("postqueue", "-c", f"{self.folder}/etc", "-f")):
            done = subprocess.run(args, capture_output=True, text=True,
                                  check=False, timeout=120)
            assert done.returncode == 0, (args, done.stderr)

    def close(self):
        self.control("stop")


def load(port, sessions, messages, size, reuse=0):
    done = subprocess.run(
        [LOAD, f"127.0.0.1:{port}", DOMAIN, str(sessions), str(messages),
         str(size), "2000", str(reuse)],
        capture_output=True, text=True, check=False, timeout=600)
    said = json.loads(done.stdout)
    assert said["failed"] == 0, done.stderr[-300:]
    return said


def cpu_us(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")


def written(pid):
    with open(f"/proc/{pid}/io", encoding="ascii") as io:
        return int(dict(line.split(": ") for line in io)["write_bytes"])


def rss(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
    return 0


class Scratch:
    """A folder on the disk of the working directory, gone afterwards."""

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="bench-",
                                       dir=os.environ.get("BENCH_DIR"))
        return self.folder

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)


def measure(port, work):
    """A rate first, so that the round lasts as long as it should."""
    sessions, size, reuse = work
    probe = load(port, sessions, 20 * sessions, size, reuse)
    messages = max(int(probe["per_second"] * SECONDS), 20 * sessions)
    return load(port, sessions, messages, size, reuse)


def round_of_postfix(variant, work):
    with Scratch() as folder:
        postfix = BackupPostfix(folder, variant)
        try:
            return measure(postfix.port, work)
        finally:
            postfix.close()


def round_of_ours(work):
    with Scratch() as folder:
        node = Node(folder, "release")
        node.start()
        pid = node.daemon.process.pid
        try:
            load(node.port, work[0], 20 * work[0], work[1], work[2])
            cpu, bytes_ = cpu_us(pid), written(pid)
            said = measure(node.port, work)
            count = said["messages"] + 20 * work[0]
            said["cpu_us"] = (cpu_us(pid) - cpu) / count
            said["written"] = (written(pid) - bytes_) / count / work[1]
            return said
        finally:
            node.daemon.close()


def round_of_sink(work):
    """Postfix's smtp-sink stores nothing: what this machine can at most."""
    port = peers.free_port()
    with subprocess.Popen(["smtp-sink", "-u", "nobody", f"127.0.0.1:{port}", "1000"],
                          stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as sink:
        try:
            wait_for("smtp-sink listens", lambda: reaches(port))
            return measure(port, work)
        finally:
            sink.terminate()


def reaches(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def median(rounds, key):
    return statistics.median(one[key] for one in rounds)


def row(what, value, bar, good):
    print(f"| {what} | {value} | {bar} | {'yes' if good else 'NO'} |",
          flush=True)


def accept():
    cells = (("4 KiB, 20 sessions", (20, 4096, 0), "default", 15),
             ("4 KiB, 20 sessions", (20, 4096, 0), "hold", 10),
             ("4 KiB, 100 sessions", (100, 4096, 0), "default", 15),
             ("4 KiB, 100 sessions", (100, 4096, 0), "hold", 10),
             ("64 KiB, 20 sessions", (20, 65536, 0), "default", 8),
             ("one connection per message, 100 sessions", (100, 4096, 1),
              "default", 8))
    for what, work, variant, bar in cells:
        theirs, ours = [], []
        for _ in range(ROUNDS):
            theirs.append(round_of_postfix(variant, work))
            ours.append(round_of_ours(work))
        ratio = (median(ours, "per_second") / median(theirs, "per_second"))
        row(f"accept, {what}, beside Postfix `{variant}`", f"{ratio:.1f} ×",
            f"≥ {bar} ×", ratio >= bar)
        if work == (20, 4096, 0) and variant == "default":
            p99 = median(ours, "p99_ms")
            share = p99 / median(theirs, "p99_ms")
            row("final dot → 250, p99, 20 sessions",
                f"{p99:.1f} ms, {share:.2f} of Postfix's",
                "≤ 5 ms, ≤ 0.33", p99 <= 5 and share <= 0.33)
            cpu = median(ours, "cpu_us")
            row("CPU per 4 KiB message", f"{cpu:.0f} µs", "≤ 45 µs",
                cpu <= 45)
        if work[1] == 65536:
            share = median(ours, "written")
            row("bytes written per byte accepted, 64 KiB", f"{share:.2f}",
                "≤ 1.15", share <= 1.15)


def sink_share():
    sink, ours = [], []
    for _ in range(ROUNDS):
        sink.append(round_of_sink((100, 4096, 0)))
        ours.append(round_of_ours((100, 4096, 0)))
    share = median(ours, "per_second") / median(sink, "per_second")
    row("share of smtp-sink's rate, 100 sessions, 4 KiB",
        f"{share * 100:.0f} %", "≥ 40 %", share >= 0.4)


class PlainSink(peers.BenchSink):
    """Without TLS, as Postfix keeps its connections only then."""
    tls = "opportunistic"
    rules = ("without STARTTLS",)

    def __init__(self, folder, host, domain):
        super().__init__(folder, host, domain, self.rules)


class BusySink(PlainSink):
    """Defers each mailbox again and again, before it takes all."""
    rules = ("without STARTTLS",
             "rcpt lab-* mailbox first 20 -> 450 4.2.1 busy")


class FarSink(PlainSink):
    """20 ms away."""

    def __init__(self, folder, host, domain):
        super().__init__(folder, host, domain)
        self.way = subprocess.Popen(
            [f"{ROOT}/build/release/bench/bench_delay", str(self.port), "10"],
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.port = int(self.way.stdout.readline().rsplit(":", 1)[1])

    def round_trip(self):
        """In seconds, as it is."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as sock:
            took = []
            sock.recv(1000)
            for _ in range(9):
                begun = time.monotonic()
                sock.sendall(b"NOOP\r\n")
                sock.recv(1000)
                took.append(time.monotonic() - begun)
        return statistics.median(took)

    def close(self):
        self.way.terminate()
        self.way.communicate(timeout=60)
        super().close()


class SlowSink(PlainSink):
    """Bears 50 messages a second."""
    rules = ("without STARTTLS", "mail * rate 50/1s -> 451 4.7.0 slow down")


def until_all_came(sink, messages):
    """Messages a second, from the first tenth to the last."""
    begun = None
    while True:
        count = sink.count()
        if count >= messages / 10 and begun is None:
            begun, first = time.monotonic(), count
        if count >= messages:
            return (count - first) / (time.monotonic() - begun)
        time.sleep(0.02)


def drain_of_postfix(messages, kind):
    with Scratch() as folder:
        sink = kind(folder, "new.hosts.example", DOMAIN)
        postfix = BackupPostfix(folder, "drain", sink.port)
        try:
            load(postfix.port, 20, messages, 4096)
            postfix.drain()
            return {"per_second": until_all_came(sink, messages)}
        finally:
            postfix.close()
            sink.close()


def fill_singly(world, messages):
    load(world.port, 20, messages, 4096)


def drain_of_ours(messages, kind, watch=until_all_came, enqueue=fill_singly):
    """With a queue of `messages`; `watch` says how it went."""
    def quickly(world, plan):
        plan["replay"]["ramp"] = [1]
        return plan

    cutover.VARIANT = "release"
    world = cutover.World(kind, max_flight=100, change=quickly)
    try:
        world.start_daemon()
        world.must(0, "start", world.plan)
        world.knot.publish((10, cutover.QUEUE))
        wait_for("every vantage sees the queue alone",
                 lambda: world.views() == {"parked"})
        enqueue(world, messages)
        wait_for("the gate finish opens", lambda: world.tideover(
            "check", "acme", "--gate", "finish")[0] == 0, 60)
        finish = subprocess.Popen(
            [f"{ROOT}/build/release/tideover", "finish", "--state",
             world.state, "acme"], stdout=subprocess.DEVNULL)
        rate = watch(world.new, messages)
        finish.terminate()
        finish.wait()
        verdict = world.new.judge()
        world.must(0, "stop")
        return {"per_second": rate,
                "disorder": verdict["reordered"] + verdict["twice"]
                + (verdict["lost"] if watch is not bears else 0)}
    finally:
        world.close()
        shutil.rmtree(world.folder, ignore_errors=True)


def disorder(ours):
    bad = sum(one["disorder"] for one in ours)
    row("out of order, lost or twice meanwhile", str(bad), "0", bad == 0)


def drain():
    theirs, ours = [], []
    for _ in range(ROUNDS):
        theirs.append(drain_of_postfix(20000, PlainSink))
        ours.append(drain_of_ours(20000, PlainSink))
    ratio = median(ours, "per_second") / median(theirs, "per_second")
    row("drain of 20,000 × 4 KiB over 2,000 mailboxes, beside Postfix tuned",
        f"{ratio:.1f} ×", "≥ 5 ×", ratio >= 5)
    sealed = [drain_of_ours(20000, peers.BenchSink) for _ in range(ROUNDS)]
    share = median(sealed, "per_second") / median(ours, "per_second")
    row("the same with TLS, of the rate without", f"{share * 100:.0f} %", "—",
        True)
    disorder(ours + sealed)


def far():
    """A round trip a message: the next envelope is behind the message."""
    theirs, ours = [], []
    with Scratch() as folder:
        sink = FarSink(folder, "new.hosts.example", DOMAIN)
        ideal = 100 / sink.round_trip()
        sink.close()
    for _ in range(ROUNDS):
        theirs.append(drain_of_postfix(20000, FarSink))
        ours.append(drain_of_ours(20000, FarSink))
    rate = median(ours, "per_second")
    row("drain to a sink 20 ms away, flight 100, of flight ÷ round trips",
        f"{rate / ideal * 100:.0f} %", "≥ 90 %", rate >= 0.9 * ideal)
    ratio = rate / median(theirs, "per_second")
    row("the same, beside Postfix tuned", f"{ratio:.1f} ×", "≥ 3 ×",
        ratio >= 3)
    disorder(ours)


def bears(sink, _):
    """A minute to learn, half a minute to show it."""
    wait_for("something came", lambda: sink.count() > 0, 60)
    time.sleep(60)
    begun, before = time.monotonic(), sink.counts()
    time.sleep(30)
    after = sink.counts()
    came, deferred = (after[i] - before[i] for i in range(2))
    return {"rate": came / (time.monotonic() - begun),
            "deferred": deferred / max(came + deferred, 1)}


def slow():
    ours = drain_of_ours(20000, SlowSink, bears)
    said = ours["per_second"]
    row("drain to a target that bears 50/s, of that", f"{said['rate'] * 2:.0f} %",
        "≥ 90 %", said["rate"] >= 45)
    row("attempts deferred after the first minute",
        f"{said['deferred'] * 100:.1f} %", "< 2 %", said["deferred"] < 0.02)
    disorder([ours])


def idle(tls, bar):
    """Memory that 10,000 sessions add which say nothing."""
    with Scratch() as folder:
        node = Node(folder, "release")
        key, cert = peers.self_signed(folder, "hold.hosts.example")
        node.document["queue_mx"]["tls"] = {"certificate_file": cert,
                                            "key_file": key}
        node.write()
        node.start()
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        crowd = []
        try:
            before = rss(node.daemon.process.pid)
            for _ in range(10000):
                sock = socket.create_connection(("127.0.0.1", node.port))
                sock.recv(200)
                if tls:
                    sock.sendall(b"EHLO idle.example\r\n")
                    sock.recv(2000)
                    sock.sendall(b"STARTTLS\r\n")
                    sock.recv(200)
                    sock = context.wrap_socket(sock)
                crowd.append(sock)
            grown = (rss(node.daemon.process.pid) - before) / 1e6
        finally:
            for sock in crowd:
                sock.close()
            node.daemon.close()
    name = "TLS 1.3" if tls else "plain"
    row(f"memory of 10,000 idle sessions, {name}", f"{grown:.0f} MB",
        f"≤ {bar} MB", grown <= bar)


def fill(port, first, messages):
    """Messages of a hundred recipients each."""
    sock = socket.create_connection(("127.0.0.1", port))
    answers = sock.makefile("rb")
    answers.readline()
    sock.sendall(b"HELO fill.example\r\n")
    answers.readline()
    for number in range(first, first + messages):
        boxes = b"".join(b"RCPT TO:<box%d@%s>\r\n" %
                         (number * 100 + i, DOMAIN.encode())
                         for i in range(100))
        sock.sendall(b"MAIL FROM:<fill@b.example>\r\n" + boxes + b"DATA\r\n")
        for _ in range(102):
            said = answers.readline()
        assert said[:3] == b"354", said
        sock.sendall(b"Subject: one of many\r\n\r\ntext\r\n.\r\n")
        said = answers.readline()
        assert said[:3] == b"250", said
    sock.close()


def million():
    """Start and status with a million envelopes."""
    with Scratch() as folder:
        node = Node(folder, "release")
        node.start()
        each = MILLION // 400
        threads = [threading.Thread(target=fill,
                                    args=(node.port, i * each, each))
                   for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = []
        for _ in range(5):
            begun = time.monotonic()
            status = json.loads(node.tideover("status", "acme")[1])
            took.append(time.monotonic() - begun)
        assert status["queue"]["waiting"] == MILLION, status["queue"]
        spent = statistics.median(took) * 1000
        row(f"`tideover status --json`, {MILLION} envelopes",
            f"{spent:.0f} ms", "≤ 50 ms", spent <= 50)
        node.daemon.close()
        accepts, ready, memory = restart(node)
        row(f"start with {MILLION} envelopes, until mail is taken",
            f"{accepts:.1f} s", "≤ 1 s", accepts <= 1)
        row("the same, until the queue can be replayed", f"{ready:.1f} s",
            "≤ 1 s", ready <= 1)
        row("memory then", f"{memory / 1e6:.0f} MB", "≤ 150 MB",
            memory <= 150e6)
        for name in os.listdir(node.state):
            if name.startswith("index"):
                os.unlink(f"{node.state}/{name}")
        _, ready, _ = restart(node)
        row("the same, index rebuilt", f"{ready:.1f} s", "≤ 60 s",
            ready <= 60)


TOGETHER = 10  # recipients of a message of the long drain
LINES = 2000   # mailboxes


def send_numbered(port, worker, workers, messages):
    """To TOGETHER mailboxes each, all of them in turn, numbered within each
    mailbox as the sink wants it."""
    own = range(worker, LINES, workers)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        answers = sock.makefile("rb")
        answers.readline()
        sock.sendall(b"HELO fill.example\r\n")
        answers.readline()
        for message in range(messages):
            first = message * TOGETHER
            number = first // len(own)
            lines = [b"MAIL FROM:<fill@b.example>"]
            lines += [b"RCPT TO:<lab-%d@%s>" % (own[(first + i) % len(own)],
                                                DOMAIN.encode())
                      for i in range(TOGETHER)]
            sock.sendall(b"\r\n".join(lines + [b"DATA", b""]))
            for _ in range(TOGETHER + 2):
                said = answers.readline()
            assert said[:3] == b"354", said
            sock.sendall(peers.NUMBER + b"%d\r\n\r\ntext\r\n.\r\n" % number)
            said = answers.readline()
            assert said[:3] == b"250", said


def long_drain(kind, what):
    """All of a million envelopes, and the memory from first to last."""
    sampled = []

    def enqueue(world, envelopes):
        workers = 4
        threads = [threading.Thread(
            target=send_numbered,
            args=(world.port, i, workers, envelopes // TOGETHER // workers))
            for i in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sampled.append((0, rss(world.daemon.process.pid)))
        sampled.append(world.daemon.process.pid)

    def watch(sink, envelopes):
        pid = sampled.pop()
        begun, count = time.monotonic(), 0
        while count < envelopes:
            count = sink.count()
            sampled.append((count, rss(pid)))
            time.sleep(0.2)
        return envelopes / (time.monotonic() - begun)

    ours = drain_of_ours(MILLION, kind, watch, enqueue)
    most = max(memory for _, memory in sampled)
    half = max(memory for count, memory in sampled if count < MILLION / 2)
    row(f"memory while {MILLION} envelopes drain to {LINES} mailboxes{what} "
        f"({ours['per_second']:.0f}/s)", f"{most / 1e6:.0f} MB", "≤ 150 MB",
        most <= 150e6)
    row("the same, second half beside the first", f"{most / half:.2f}",
        "≤ 1.05", most <= 1.05 * half)
    disorder([ours])


def restart(node):
    """Until it takes mail, until all is ready, and the memory then."""
    begun = time.monotonic()
    node.daemon = peers.Child(node.folder, "tideoverd-again",
                              f"{node.build}/tideoverd", "--state", node.state)
    wait_for("it accepts mail", lambda: reaches(node.port), 300)
    accepts = time.monotonic() - begun
    # What is asked earlier waits until then.
    while True:
        try:
            node.get("/v1/plans/acme/status")
            break
        except (OSError, ValueError):
            time.sleep(0.1)
    ready = time.monotonic() - begun
    memory = rss(node.daemon.process.pid)
    node.daemon.close()
    return accepts, ready, memory


def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gone = peers.missing("postfix", "smtp-sink", "openssl")
    if gone or os.geteuid() != 0:
        sys.exit("make bench: needs root and " + ", ".join(gone or ["root"]))
    print("| what | measured | bar | met |\n|---|---|---|---|")
    parts = {"accept": accept, "sink": sink_share, "idle": lambda: (idle(False, 40),
                                                idle(True, 200)),
             "million": million, "long": lambda: (long_drain(PlainSink, ""), long_drain(
                 BusySink, " that were all busy first")), "drain": drain, "far": far, "slow": slow}
    for name in sys.argv[1:] or parts:
        parts[name]()


main()
