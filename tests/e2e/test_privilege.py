#!/usr/bin/env python3
"""What tideoverd may do once it runs, and how it and its supervisor talk
(TAP)."""
import json
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import peers
from cutover import DOMAIN, ROOT, VARIANT, Client, Tap
from peers import wait_for

USER = "nobody"
NET_BIND_SERVICE = 1 << 10
BODY = b"Subject: hello\r\n\r\ntext\r\n"
WATCHDOG_S = 2
# What a supervisor does between fork() and execve().
PASS_ON = """
import os, sys
fd = int(sys.argv[1])
if fd != 3:
    os.dup2(fd, 3)
    os.close(fd)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
SUPERVISOR = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS",
              "LISTEN_PID", "SYSTEMD_EXEC_PID")


class Daemon:
    """tideoverd as a child, told what to do over its control socket."""

    def __init__(self, folder, *args, variant=VARIANT, port=None,
                 prefix=(), **options):
        self.folder = folder
        self.state = f"{folder}/state"
        self.port = port or peers.free_port()
        self.log = f"{folder}/log"
        self.program = f"{ROOT}/build/{variant}/tideover"
        env = {k: v for k, v in os.environ.items() if k not in SUPERVISOR}
        env.update(options.pop("env", {}))
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*prefix, f"{self.program}d", "--state", self.state, *args],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env,
                **options)

    def control(self, path):
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(10)
                sock.connect(f"{self.state}/control.sock")
                sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n"
                             "Connection: close\r\n\r\n".encode())
                answer = b""
                while more := sock.recv(65536):
                    answer += more
        except OSError:
            return {}
        return json.loads(answer.partition(b"\r\n\r\n")[2] or "{}")

    def ready(self):
        def answers():
            if self.process.poll() is not None:
                raise RuntimeError(f"tideoverd ended: {self.logged()}")
            return self.control("/v1/daemon").get("ready")
        wait_for("tideoverd is ready", answers, 60)

    def logged(self):
        with open(self.log, encoding="utf-8") as log:
            return log.read()

    def plan(self, host="127.0.0.1"):
        """A plan that nobody answers for stays in `opening` and accepts."""
        silent = [f"127.0.0.1:{peers.free_port()}" for _ in range(3)]
        plan = f"{self.folder}/plan.json"
        with open(plan, "w", encoding="ascii") as out:
            json.dump({
                "tideover": 1, "name": "acme", "strategy": "park",
                "domains": [{"name": DOMAIN}],
                "old": {"provider": "custom", "mx": ["old.hosts.example"],
                        "deliver_to": silent[0]},
                "new": {"provider": "custom", "mx": ["new.hosts.example"],
                        "deliver_to": silent[1]},
                "queue_mx": {"host": "hold.hosts.example", "priority": 10,
                             "listen": [f"{host}:{self.port}"]},
                "dns": {"resolvers": [silent[2]], "authorities": [silent[2]],
                        "ttl": 300, "old_ttl": 300},
                "expected": {"messages_per_day": 10, "mean_bytes": 10000},
                "recipients": {"policy": "any"},
                "probe": {"recipients": [f"postmaster@{DOMAIN}"]},
            }, out)
        done = subprocess.run([self.program, "start", "--state", self.state,
                               plan], capture_output=True, text=True,
                              check=False, timeout=120)
        return done.returncode, done.stdout + done.stderr

    def accepts(self):
        client = Client(self.port, False)
        client.send(["box1"], BODY)
        client.close()

    def status(self):
        with open(f"/proc/{self.process.pid}/status",
                  encoding="ascii") as status:
            return dict(line.rstrip("\n").split(":\t", 1)
                        for line in status if ":\t" in line)

    def close(self):
        """Its exit status: 0, or a sanitizer found something."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


def free_low_port():
    for port in range(1023, 600, -1):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    return None


def own_user(tap, folder, variant):
    daemon = Daemon(folder, "--user", USER, variant=variant,
                    port=free_low_port())
    user = pwd.getpwnam(USER)
    try:
        daemon.ready()
        status = daemon.status()
        tap.ok(status["Uid"].split() == [str(user.pw_uid)] * 4 and
               status["Gid"].split() == [str(user.pw_gid)] * 4 and
               "0" not in status["Groups"].split(),
               f"{variant}: --user {USER} changes user, group and groups")
        caps = {name: int(status[name], 16) for name in
                ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd")}
        tap.ok(caps == {"CapEff": NET_BIND_SERVICE,
                        "CapPrm": NET_BIND_SERVICE, "CapInh": 0, "CapAmb": 0,
                        "CapBnd": 0},
               f"{variant}: net_bind_service alone is left: {caps}")
        tap.ok(status["NoNewPrivs"] == "1", f"{variant}: no new privileges")
        made = os.stat(daemon.state)
        tap.ok(made.st_uid == user.pw_uid and made.st_mode & 0o777 == 0o700,
               f"{variant}: the state folder is its own")
        code, said = daemon.plan()
        daemon.accepts()
        tap.ok(code == 3, f"{variant}: a plan that comes later listens on "
               f"port {daemon.port} {said if code != 3 else ''}")
        with open(f"/proc/{daemon.process.pid}/limits",
                  encoding="ascii") as limits:
            core = re.search(r"Max core file size +(\d+) +(\d+)",
                             limits.read())
        # The kernel gives what is not dumpable to root.
        hidden = os.stat(f"/proc/{daemon.process.pid}/environ").st_uid == 0
        tap.ok(core and core.groups() == ("0", "0") and hidden,
               f"{variant}: no core dumps, and no look into its memory")
        if variant == "release":
            tap.ok(status["Seccomp"] == "2", "seccomp holds")
            said = daemon.control("/v1/daemon")["sandbox"]
            tap.ok("seccomp" in said and "seccomp off" not in said,
                   f"GET /v1/daemon says so: {said}")
        else:
            said = daemon.control("/v1/daemon")["sandbox"]
            tap.ok(f"sandbox: {said}" in daemon.logged(),
                   f"the log and GET /v1/daemon say: {said}")
    finally:
        ended = daemon.close()
    tap.ok(ended == 0, f"{variant}: it ends cleanly ({ended})")


def refused(tap, folder):
    daemon = Daemon(folder, "--user", "nobody-of-this-name")
    code, said = daemon.process.wait(60), daemon.logged()
    tap.ok(code == 2 and "no user 'nobody-of-this-name'" in said and
           said.count("\n") == 1 and not os.path.exists(daemon.state),
           f"an unknown user: {said.strip()[-100:]}")
    daemon = Daemon(folder, "--user", "root")
    code, said = daemon.process.wait(60), daemon.logged()
    tap.ok(code == 2 and "is root" in said,
           f"root is not a user to become: {said.strip()[-80:]}")
    os.mkdir(daemon.state, 0o700)
    daemon = Daemon(folder, "--user", USER)
    code, said = daemon.process.wait(60), daemon.logged()
    tap.ok(code == 1 and f"chown -R {USER}" in said,
           f"a state folder of root's: {said.strip()[-100:]}")


def as_root(tap, folder):
    daemon = Daemon(folder, "--no-sandbox")
    try:
        daemon.ready()
        said = daemon.logged()
        tap.ok("warning: main: running as root: give --user" in said,
               "root without --user is warned of")
        tap.ok("warning: main: sandbox: off: --no-sandbox" in said and
               daemon.status()["Seccomp"] == "0" and
               daemon.control("/v1/daemon")["sandbox"] == "off: --no-sandbox",
               "--no-sandbox is said in the log and by GET /v1/daemon")
        daemon.plan()
        report = f"{folder}/report.md"
        subprocess.run([daemon.program, "report", "--state", daemon.state,
                        "acme", "--output", report], capture_output=True,
                       check=False, timeout=60)
        with open(report, encoding="utf-8") as text:
            tap.ok("Sandbox of tideoverd: off: --no-sandbox" in text.read(),
                   "and in the report")
    finally:
        daemon.close()


def supervisor(tap, folder, where, text):
    """What a supervisor hears, in the order it hears it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(60)
        sock.bind(where)
        name = where.replace("\0", "@")
        daemon = Daemon(folder, env={
            "NOTIFY_SOCKET": name, "WATCHDOG_USEC": str(WATCHDOG_S * 1000000)})
        try:
            heard = [sock.recv(4096)]
            while heard[-1] != b"READY=1":
                heard.append(sock.recv(4096))
            ready = daemon.control("/v1/daemon")
            tap.ok(ready.get("ready") and ready.get("supervised"),
                   f"{text}: READY=1 when it is ready")
            beats, times = set(), []
            for _ in range(4):
                beats.add(sock.recv(4096))
                times.append(time.monotonic())
            gaps = [b - a for a, b in zip(times[1:], times[2:])]
            tap.ok(beats == {b"WATCHDOG=1"} and
                   max(gaps) < WATCHDOG_S and min(gaps) > WATCHDOG_S / 4,
                   f"{text}: the watchdog is answered in time: {gaps}")
            daemon.process.send_signal(signal.SIGTERM)
            last = b"WATCHDOG=1"
            while last == b"WATCHDOG=1":
                last = sock.recv(4096)
            tap.ok(last == b"STOPPING=1", f"{text}: then {last.decode()}")
        finally:
            daemon.close()


def other_watchdog(tap, folder):
    """A watchdog of another process is not ours to answer."""
    where = f"{folder}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(60)
        sock.bind(where)
        daemon = Daemon(folder, env={
            "NOTIFY_SOCKET": where, "WATCHDOG_USEC": "2000",
            "WATCHDOG_PID": str(os.getpid())})
        try:
            heard = [sock.recv(4096)]
            daemon.ready()
            daemon.process.terminate()
            heard.append(sock.recv(4096))
            tap.ok(heard == [b"READY=1", b"STOPPING=1"],
                   f"another process's watchdog is left alone: {heard}")
        finally:
            daemon.close()


def descriptors_of(pid, inode):
    """The descriptors of a process that are this inode; others may go."""
    held = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.stat(f"/proc/{pid}/fd/{fd}").st_ino == inode:
                held.append(fd)
        except FileNotFoundError:
            pass
    return held


def activated(tap, folder):
    """A listening socket as descriptor 3; its port is never free."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(8)
        inode = os.fstat(sock.fileno()).st_ino
        daemon = Daemon(folder, port=sock.getsockname()[1],
                        prefix=(sys.executable, "-c", PASS_ON,
                                str(sock.fileno())),
                        env={"LISTEN_FDS": "1"}, pass_fds=(sock.fileno(),))
        try:
            daemon.ready()
            code, said = daemon.plan()
            daemon.accepts()
            tap.ok(code == 3, "a socket that was passed is the listener's "
                   f"{said if code != 3 else ''}")
            if os.geteuid() == 0:
                held = descriptors_of(daemon.process.pid, inode)
                tap.ok(len(held) == 2 and "3" in held, "it is kept, and the "
                       f"listener has a duplicate: {sorted(held)}")
            else:
                tap.skip("it is kept", "not root")
        finally:
            ended = daemon.close()
        tap.ok(ended == 0, f"and the end is clean ({ended})")


def of_both(tap, folder):
    """systemd's ListenStream=25 takes IPv4 as well, within IPv6."""
    try:
        sock = socket.create_server(("::", 0), family=socket.AF_INET6,
                                    dualstack_ipv6=True)
    except (OSError, ValueError):
        tap.skip("a socket of both families", "no IPv6 here")
        return
    with sock:
        daemon = Daemon(folder, port=sock.getsockname()[1],
                        prefix=(sys.executable, "-c", PASS_ON,
                                str(sock.fileno())),
                        env={"LISTEN_FDS": "1"}, pass_fds=(sock.fileno(),))
        try:
            daemon.ready()
            daemon.plan("[::]")
            daemon.accepts()
            listed = subprocess.run(
                [daemon.program, "queue", "--json", "--state", daemon.state,
                 "list", "acme"], capture_output=True, text=True, check=False,
                timeout=60).stdout
            peer = json.loads(listed)["peer"]
            tap.ok(peer.startswith("127.0.0.1:"), "on a passed socket of both "
                   f"families a peer with IPv4 is one of IPv4: {peer}")
        finally:
            daemon.close()


def not_ours(tap, folder):
    """Sockets for another process, and a port that is taken therefore."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(8)
        daemon = Daemon(folder, port=sock.getsockname()[1],
                        env={"LISTEN_FDS": "1", "LISTEN_PID": "1"},
                        pass_fds=(sock.fileno(),))
        try:
            daemon.ready()
            code, said = daemon.plan()
            tap.ok(code == 1 and "cannot listen" in said and
                   "was passed" not in daemon.logged(), "sockets for another "
                   f"process are left alone: {said.strip()[-160:]}")
        finally:
            daemon.close()


def socket_unit(tap, folder):
    """systemd takes both units, and they belong together."""
    units = {}
    for name in ("tideoverd.service", "tideoverd.socket"):
        with open(f"{ROOT}/packaging/{name}", encoding="utf-8") as unit:
            units[name] = unit.read()
    with open(f"{ROOT}/plans/standby-postfix.json", encoding="utf-8") as plan:
        listens = json.load(plan)["queue_mx"]["listen"]
    named = re.findall(r"(?m)^ListenStream=(.*)$", units["tideoverd.socket"])
    tap.ok(named == listens and
           "\nBindIPv6Only=ipv6-only\n" in units["tideoverd.socket"],
           f"tideoverd.socket has the sockets of a plan: {named}")
    if not shutil.which("systemd-analyze"):
        tap.skip("the units are valid", "no systemd-analyze")
        return
    for name, text in units.items():
        with open(f"{folder}/{name}", "w", encoding="utf-8") as unit:
            unit.write(text.replace("/usr/sbin/tideoverd", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(
            f"{folder}/{name}" for name in units)],
        capture_output=True, text=True, check=False, timeout=60)
    tap.ok(done.returncode == 0 and not done.stderr, "the units are valid: "
           f"{done.stderr.strip() or 'systemd-analyze verify says nothing'}")


def unit_file(tap):
    """What systemd itself says of our unit."""
    if not shutil.which("systemd-analyze"):
        tap.skip("the unit's exposure", "no systemd-analyze")
        return
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager",
         f"{ROOT}/packaging/tideoverd.service"], capture_output=True,
        text=True, check=False, timeout=60)
    level = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    tap.ok(level and float(level.group(1)) < 2.0, "systemd-analyze security: "
           f"{level and level.group(1)} {done.stderr.strip()}")


def main():
    tap = Tap()
    folder = tempfile.mkdtemp(prefix="tideover-e2e-")
    os.chmod(folder, 0o755)

    def sub(name):
        path = f"{folder}/{name}"
        os.mkdir(path)
        return path
    if os.geteuid() == 0:
        for variant in sorted({VARIANT, "release"}):
            if os.path.exists(f"{ROOT}/build/{variant}/tideoverd"):
                own_user(tap, sub(variant), variant)
            else:
                tap.skip(f"--user {USER}", f"{variant} is not built")
        refused(tap, sub("refused"))
        as_root(tap, sub("root"))
    else:
        tap.skip(f"--user {USER}", "not root")
    where = sub("notify")
    supervisor(tap, where, f"{where}/socket", "a path")
    supervisor(tap, sub("abstract"), f"\0tideover-e2e-{os.getpid()}",
               "an abstract name")
    other_watchdog(tap, sub("watchdog"))
    activated(tap, sub("activated"))
    of_both(tap, sub("both"))
    unit_file(tap)
    socket_unit(tap, sub("units"))
    not_ours(tap, sub("not-ours"))
    if not tap.bad:
        shutil.rmtree(folder, ignore_errors=True)
    tap.end()


# A limit that is not 0 yet, so that it is the daemon that makes it 0.
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
main()
