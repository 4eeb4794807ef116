#!/usr/bin/env python3
"""What bad input and a bad machine get: one sentence, the right exit status,
and nothing lost (TAP)."""
import glob
import json
import os
import re
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

import peers
from cutover import DOMAIN, ROOT, VARIANT, Client, Later, Tap
from node import Node, small_disk
from peers import wait_for

BODY = b"Subject: hello\r\n\r\ntext\r\n"


def one_sentence(text):
    """An error for people: a line or two, no dump of internals."""
    lines = [line for line in text.split("\n") if line]
    return 0 < len(lines) <= 3 and "tideover" in lines[0]


def starts(tap, node):
    status, out, err = node.tideover("start", node.plan)
    gate = json.loads(out.strip().split("\n")[-1])["gate"]
    blocked = {f["check"] for f in gate["findings"]
               if f["verdict"] in ("fail", "unknown") and f.get("remedy")}
    tap.ok(status == 3 and blocked, "start exits 3 while a check blocks, and "
           f"says which and what to do: {sorted(blocked)[:4]}")
    status, out, _ = node.tideover("start", node.plan)
    again = json.loads(out.strip().split("\n")[-1])
    tap.ok(status == 3 and again["gate"]["at"] > gate["at"],
           "run again it judges again")
    client = Client(node.port, False)
    client.send(["box1"], BODY)
    client.close()
    tap.ok(True, "and mail is accepted meanwhile")


def changed_plan(tap, node):
    node.write(retention="9d")
    status, _, err = node.tideover("start", node.plan)
    tap.ok(status == 2 and "retention" in err and one_sentence(err),
           f"a changed plan is refused and says what changed: {err.strip()}")
    node.document.pop("retention")
    node.write()


def second_daemon(tap, node):
    done = subprocess.run([f"{ROOT}/build/{VARIANT}/tideoverd", "--state",
                           node.state], capture_output=True, text=True,
                          check=False, timeout=60)
    tap.ok(done.returncode == 1 and "another" in done.stderr,
           f"a second daemon on one state: {done.stderr.strip()[-120:]}")


def hostile_control(tap, node):
    attacks = {
        "garbage": b"\x00\xff" * 300 + b"\r\n\r\n",
        "no method": b"\r\n\r\n",
        "a huge header": b"GET / HTTP/1.1\r\nX: " + b"a" * 200000,
        "a huge length": b"POST /v1/plans HTTP/1.1\r\nHost: x\r\n"
                         b"Content-Length: 99999999999\r\n\r\n",
        "a negative length": b"POST /v1/plans HTTP/1.1\r\nHost: x\r\n"
                             b"Content-Length: -1\r\n\r\n",
        "no JSON": b"POST /v1/plans HTTP/1.1\r\nHost: x\r\n"
                   b"Content-Length: 4\r\n\r\n{{{{",
        "deep JSON": b"POST /v1/plans HTTP/1.1\r\nHost: x\r\n"
                     b"Content-Length: 100000\r\n\r\n" + b"[" * 100000,
        "a body cut off": b"POST /v1/plans HTTP/1.1\r\nHost: x\r\n"
                          b"Content-Length: 400\r\n\r\n{\"text\":",
        "a path outside": b"GET /v1/plans/..%2f..%2fetc/status HTTP/1.1\r\n"
                          b"Host: x\r\n\r\n",
        "a wrong method": b"DELETE /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
    }
    bad = []
    for name, raw in attacks.items():
        answer = node.control(raw)
        if answer and not re.match(rb"HTTP/1.1 (4\d\d|501) ", answer):
            bad.append(f"{name}: {answer[:60]!r}")
    # A client that says nothing costs nobody anything.
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(f"{node.state}/control.sock")
        silent.sendall(b"GET /v1/sta")
        status, _, _ = node.tideover("status")
    tap.ok(not bad and status == 0, f"{len(attacks)} hostile control requests"
           f" get 4xx, and the next one its answer {bad}")


def hostile_smtp(tap, node):
    def ask(raw):
        with socket.create_connection(("127.0.0.1", node.port), 10) as sock:
            sock.settimeout(20)
            sock.recv(1000)
            sock.sendall(raw)
            sock.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while True:
                    more = sock.recv(65536)
                    if not more:
                        break
                    answer += more
            except OSError:
                pass
            return answer

    head = (b"EHLO x.example\r\nMAIL FROM:<a@b.example>\r\n"
            b"RCPT TO:<box1@" + DOMAIN.encode() + b">\r\nDATA\r\n")
    smuggled = ask(head + b"Subject: a\r\n\r\none\n.\nMAIL FROM:<evil@b.exam"
                   b"ple>\r\n.\r\nQUIT\r\n")
    tap.ok(smuggled.count(b"250 2.0.0") == 0 and b"\r\n5" in smuggled,
           "a bare LF in the data is refused, not repaired")
    cut = ask(head + b"Subject: cut off\r\n\r\nhal")
    tap.ok(b"354" in cut and b"250 2.0.0 " not in cut.split(b"354")[1],
           "a message cut off is not accepted")
    relay = ask(b"EHLO x.example\r\nMAIL FROM:<a@b.example>\r\n"
                b"RCPT TO:<x@elsewhere.example>\r\nQUIT\r\n")
    tap.ok(re.search(rb"\r\n(4|5)5\d 4?5?\.7\.1|\r\n55\d ", relay) and
           b"2.1.5" not in relay, "no open relay: "
           f"{relay.split(chr(13).encode())[-3:-2]}")
    long = ask(b"EHLO " + b"a" * 100000 + b"\r\nQUIT\r\n")
    tap.ok(re.search(rb"^(500|421) ", long, re.M) and b"221" not in long,
           "an endless line ends the session")


def stopped_meanwhile(tap, folder):
    """A gate that waits for DNS when the daemon ends: its request is told."""
    node = Node(folder)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        name = f"127.0.0.1:{silent.getsockname()[1]}"
        node.document["dns"].update(resolvers=[name], authorities=[name])
        node.write()
        node.daemon = peers.Child(folder, "tideoverd",
                                  f"{node.build}/tideoverd", "--state",
                                  node.state)
        wait_for("tideoverd answers",
                 lambda: node.tideover("status")[0] != 4)
        with subprocess.Popen(
                [f"{node.build}/tideover", "start", "--json", "--state",
                 node.state, node.plan], stdout=subprocess.PIPE) as start:
            wait_for("the gate start is asked", lambda: json.loads(
                node.tideover("status", "acme")[1] or "{}").get(
                    "phase") == "opening")
            status, _, _ = node.tideover("stop")
            said = json.loads(start.stdout.read())
            tap.ok(start.wait(60) == 1 and status == 0 and
                   "ends before the gate was judged" in said["error"],
                   f"stop while a gate waits: {said['error']}")


def port_taken(tap, folder):
    node = Node(folder)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", node.port))
        taken.listen(1)
        status, _, err = node.tideover("start", node.plan)
    tap.ok(status == 1 and str(node.port) in err and one_sentence(err),
           f"a port that is taken: {err.strip()}")
    status, _, _ = node.tideover("start", node.plan)
    tap.ok(status == 3, "and once it is free the same start works")
    node.tideover("stop")


def other_version(tap, folder):
    node = Node(folder)
    os.makedirs(node.state)
    with open(f"{node.state}/VERSION", "w", encoding="ascii") as out:
        out.write("99\n")
    status, _, err = node.tideover("start", node.plan)
    tap.ok(status == 1 and "99" in err and one_sentence(err),
           f"a state directory of another version: {err.strip()}")
    with open(f"{node.state}/VERSION", encoding="ascii") as kept:
        tap.ok(kept.read() == "99\n" and
               sorted(os.listdir(node.state))[0] == "VERSION",
               "and it is left as it was")


def bad_plans(tap, folder):
    node = Node(folder)
    with open(node.plan, "w", encoding="ascii") as out:
        out.write('{"tideover": 1, "name": "x"')
    status, _, err = node.tideover("plan", node.plan, text=True)
    tap.ok(status == 2 and "line 1" in err, f"a torn plan: {err.strip()}")
    status, _, err = node.tideover("plan", f"{folder}/nothing.json")
    tap.ok(status == 2 and "nothing.json" in err,
           f"a plan that is not there: {err.strip()}")
    status, _, err = node.tideover("status")
    tap.ok(status == 4 and one_sentence(err), f"no daemon: {err.strip()}")


def damaged(tap, folder):
    """Flipped bytes in the last record, and a lost index."""
    node = Node(folder)
    node.start()
    try:
        client = Client(node.port, False)
        for _ in range(2):
            client.send(["box1"], BODY)
        said = client.send(["box1"], BODY)
        client.close()
        lost = re.search(rb"kept as (\w+)", said).group(1)
        node.tideover("stop")
        node.daemon.process.wait(30)
        os.unlink(f"{node.state}/index.sqlite")
        segment = sorted(glob.glob(f"{node.state}/spool/*.seg"))[0]
        with open(segment, "r+b") as spool:
            spool.seek(spool.read().index(b" id " + lost))
            spool.write(b"?")
        node.start()
        status = json.loads(node.tideover("status", "acme")[1])
        ledger = status["domains"][0]["ledger"]
        client = Client(node.port, False)
        client.send(["box1"], BODY)
        client.close()
        tap.ok(any("the spool is damaged in 1 " in alert
                   for alert in status["alerts"]) and
               ledger["waiting"] == 2 and
               len(os.listdir(f"{node.state}/quarantine")) == 1,
               "damage to the last record that was kept is an alert; the "
               f"others are there, and mail is taken: {status['alerts']}")
    finally:
        node.daemon.close()


def half_a_list(tap, folder):
    """A list that the index cannot finish must not look like a whole one."""
    node = Node(folder)
    node.start()
    try:
        client = Client(node.port, False)
        client.send(["box1"], BODY)
        client.close()
        wait_for("it is listed", lambda: node.tideover(
            "queue", "show", "acme", "--all")[0] == 0)
        index = sqlite3.connect(f"{node.state}/index.sqlite", timeout=10)
        with index:
            index.execute("DROP TABLE attempt")
        index.close()
        status, out, err = node.tideover("queue", "show", "acme", "--all")
        tap.ok(status == 1 and "attempt" in out + err,
               "a list that cannot go on says so: exit "
               f"{status}, {(out + err).strip()[-120:]}")
    finally:
        node.daemon.close()


def full_disk(tap, folder):
    """A state directory on 300 MiB of memory."""
    with small_disk(folder, 300 << 20) as small:
        if small:
            fill(tap, folder, small)
        else:
            tap.skip("a full disk", "no right to mount a small one here")


def no_inodes(tap, folder):
    """A disk with bytes enough, where hardly a file can be made any more."""
    with small_disk(folder, "300m,nr_inodes=1500") as small:
        if not small:
            tap.skip("no inodes", "no right to mount a small disk here")
            return
        node = Node(folder)
        node.state = f"{small}/state"
        try:
            node.tideover("start", node.plan)
            client = Client(node.port, False)
            client.send(["box1"], BODY)
            os.mkdir(f"{small}/files")
            for i in range(800):
                with open(f"{small}/files/{i}", "wb"):
                    pass

            def status():
                return json.loads(node.tideover("status", "acme")[1])
            wait_for("it sees that", lambda: status()["space"]["short"])
            answer = ""
            try:
                client.send(["box1"], BODY)
            except Later as why:
                answer = str(why)
            said = status()
            tap.ok(answer[:9] == "452 4.3.1" and
                   said["space"]["hours_left"] == 0 and
                   any("inodes are below the reserve" in alert
                       for alert in said["alerts"]),
                   f"a disk without inodes: {answer}; status says so: "
                   f"{said['space']}")
        finally:
            node.tideover("stop")


def fill(tap, folder, small):
    node = Node(folder)
    node.state = f"{small}/state"
    try:
        node.tideover("start", node.plan)
        client = Client(node.port, False)
        client.send(["box1"], BODY)
        taken = 1
        with open(f"{small}/filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(b"x" * 65536)
            except OSError:
                pass
        answer = ""
        try:
            # The daemon looks at the disk now and then, and at each write.
            for _ in range(200):
                client.send(["box1"], BODY)
                taken += 1
                time.sleep(0.05)
        except Later as why:
            answer = str(why)
        alerts = json.loads(node.tideover("status", "acme")[1])["alerts"]
        tap.ok(re.match(r"45[12] ", answer) and
               any("below the reserve" in alert for alert in alerts),
               f"a full disk: {answer}; an alert says so: {alerts}")
        os.unlink(f"{small}/filler")

        def accepts():
            try:
                again = Client(node.port, False)
                again.send(["box1"], BODY)
                again.close()
                return True
            except Later:
                return False
        wait_for("it accepts again", accepts)
        status = json.loads(node.tideover("status", "acme")[1])
        ledger = status["domains"][0]["ledger"]
        tap.ok(ledger["waiting"] == taken + 1 and ledger["balances"],
               f"with space back it goes on; nothing was lost ({taken + 1} "
               f"accepted, {ledger['waiting']} waiting)")
    finally:
        node.tideover("stop")


def main():
    tap = Tap()
    folder = tempfile.mkdtemp(prefix="tideover-e2e-")
    os.chmod(folder, 0o755)

    def sub(name):
        path = f"{folder}/{name}"
        os.mkdir(path)
        return path
    node = Node(sub("one"))
    try:
        starts(tap, node)
        changed_plan(tap, node)
        second_daemon(tap, node)
        hostile_control(tap, node)
        hostile_smtp(tap, node)
    finally:
        node.tideover("stop")
    stopped_meanwhile(tap, sub("stop"))
    port_taken(tap, sub("port"))
    other_version(tap, sub("version"))
    bad_plans(tap, sub("plans"))
    damaged(tap, sub("damaged"))
    half_a_list(tap, sub("list"))
    full_disk(tap, sub("disk"))
    no_inodes(tap, sub("inodes"))
    if not tap.bad and sys.exc_info()[0] is None:
        shutil.rmtree(folder, ignore_errors=True)
    tap.end()


resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
main()
