"""tideoverd alone on this machine, without a world around it, and a plain peer."""
import contextlib
import json
import os
import socket
import ssl
import subprocess

import peers
from cutover import DOMAIN, ROOT, VARIANT
from peers import wait_for


def ask(state, raw, wait=5, ends=True):
    """Raw bytes to the control socket, and their end; what came back."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(wait)
        sock.connect(f"{state}/control.sock")
        answer = b""
        try:
            sock.sendall(raw)
            if ends:  # cuts off a reply of more than 16 KiB (libevent)
                sock.shutdown(socket.SHUT_WR)
            while True:
                more = sock.recv(65536)
                if not more:
                    return answer
                answer += more
        except OSError:
            return answer


def get(state, path):
    """The document of a GET."""
    raw = ask(state, f"GET {path} HTTP/1.0\r\n\r\n".encode(), ends=False)
    return json.loads(raw.partition(b"\r\n\r\n")[2])


@contextlib.contextmanager
def small_disk(folder, size):
    """A disk of `size` bytes of memory; None without the right to mount."""
    path = f"{folder}/disk"
    os.mkdir(path)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path],
        capture_output=True, check=False).returncode == 0
    try:
        yield path if mounted else None
    finally:
        if mounted:
            wait_for("the disk is let go", lambda: subprocess.run(
                ["umount", path], capture_output=True,
                check=False).returncode == 0)


class Node:
    """tideoverd alone, with a plan whose DNS nobody answers: it stays in
    `opening`, where it accepts mail."""

    def __init__(self, folder, variant=VARIANT):
        self.build = f"{ROOT}/build/{variant}"
        self.folder = folder
        self.port = peers.free_port()
        self.state = f"{folder}/state"
        self.plan = f"{folder}/plan.json"
        self.document = {
            "tideover": 1, "name": "acme", "strategy": "park",
            "domains": [{"name": DOMAIN}],
            "old": {"provider": "custom", "mx": ["old.hosts.example"],
                    "deliver_to": f"127.0.0.1:{peers.free_port()}"},
            "new": {"provider": "custom", "mx": ["new.hosts.example"],
                    "deliver_to": f"127.0.0.1:{peers.free_port()}"},
            "queue_mx": {"host": "hold.hosts.example", "priority": 10,
                         "listen": [f"127.0.0.1:{self.port}"]},
            "dns": {"resolvers": [f"127.0.0.1:{peers.free_port()}"],
                    "authorities": [f"127.0.0.1:{peers.free_port()}"],
                    "ttl": 300, "old_ttl": 300},
            "expected": {"messages_per_day": 10, "mean_bytes": 10000},
            "recipients": {"policy": "any"},
            "probe": {"recipients": [f"postmaster@{DOMAIN}"]},
        }
        self.write()

    def launch(self, *options, under=()):
        """tideoverd, run by another command if need be."""
        self.daemon = peers.Child(
            self.folder, "tideoverd", *under, f"{self.build}/tideoverd",
            "--state", self.state, *options)
        wait_for("tideoverd answers",
                 lambda: self.tideover("status")[0] != 4)

    def start(self, *options, under=()):
        """The same, and the plan in `opening`."""
        self.launch(*options, under=under)
        self.tideover("start", self.plan)

    def get(self, path):
        return get(self.state, path)

    def log(self):
        with open(f"{self.folder}/tideoverd.log", encoding="utf-8") as log:
            return log.read()

    def write(self, **changes):
        self.document.update(changes)
        with open(self.plan, "w", encoding="ascii") as out:
            json.dump(self.document, out, indent=1)

    def tideover(self, *args, text=False):
        form = [] if text else ["--json"]
        done = subprocess.run(
            [f"{self.build}/tideover", args[0], *form, "--state",
             self.state, *args[1:]], capture_output=True, text=True,
            check=False, timeout=60)
        return done.returncode, done.stdout, done.stderr

    def request(self, method, path, body=None):
        """Status and text of the answer."""
        text = "" if body is None else json.dumps(body)
        raw = ask(self.state, f"{method} {path} HTTP/1.0\r\nContent-Length: "
                  f"{len(text)}\r\n\r\n{text}".encode(), 60, ends=False)
        head, _, said = raw.partition(b"\r\n\r\n")
        return int(head.split()[1]), said.decode()

    def control(self, raw, wait=5):
        return ask(self.state, raw, wait)


class Session:
    """A plain dialogue from an address of ours."""

    def __init__(self, port, source="127.0.0.1", greet=True):
        self.sock = socket.create_connection(
            ("::1" if source == "::1" else "127.0.0.1", port), 10,
            (source, 0))
        self.sock.settimeout(30)
        self.buffer = b""
        if greet:
            assert self.reply()[:3] == "220"

    def reply(self):
        """The last line of a reply; "" when the peer has closed."""
        while True:
            end = self.buffer.find(b"\r\n")
            if end >= 0:
                line, self.buffer = self.buffer[:end], self.buffer[end + 2:]
                if line[3:4] != b"-":
                    return line.decode()
                continue
            try:
                more = self.sock.recv(65536)
            except ConnectionError:
                more = b""
            if not more:
                return ""
            self.buffer += more

    def say(self, line):
        self.sock.sendall(line.encode() + b"\r\n")
        return self.reply()

    def starttls(self, name, context=None, session=None):
        self.say("EHLO a.example")
        assert self.say("STARTTLS")[:3] == "220"
        self.sock = (context or any_certificate()).wrap_socket(
            self.sock, server_hostname=name, session=session)
        return self.sock.getpeercert(True)

    def close(self):
        self.sock.close()


def any_certificate():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
