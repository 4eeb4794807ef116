#!/usr/bin/env python3
"""Encryption at rest: what is kept can be read with the master key alone, and
never again once its data key is shredded (TAP)."""
import glob
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import peers
from cutover import DOMAIN, QUEUE, ROOT, VARIANT, Client, Tap, World
from node import Node
from peers import wait_for

MARK = b"geheimnis-4711"
BIG = 400 * 1024  # a side file, of seven chunks
BOXES = ["anna.quelle", "bert.quelle", "fort.quelle"]
# What stands nowhere on disk: bodies, local parts, reverse-path, HELO, peer.
SECRETS = [MARK, b"anna.quelle", b"bert.quelle", b"fort.quelle",
           b"sender@b.example", b"sender.example"]


class Target:
    """A system that keeps the bytes, and knows nobody called `fort.quelle`."""
    tls = "opportunistic"

    def __init__(self, _folder, host, _domain):
        self.host = host
        self.found = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,),
                             daemon=True).start()

    def serve(self, sock):
        with sock, sock.makefile("rb") as lines:
            def say(text):
                sock.sendall(text.encode() + b"\r\n")
            try:
                self.dialogue(lines, say)
            except OSError:
                pass

    def dialogue(self, lines, say):
        say(f"220 {self.host} ESMTP")
        boxes = []
        for line in lines:
            verb, rest = line[:4].upper(), line.decode().strip()
            if verb == b"EHLO":
                say(f"250-{self.host}\r\n250-8BITMIME\r\n250 SIZE 90000000")
            elif verb == b"RCPT":
                box = rest.split("<")[1].split("@")[0]
                if box == "fort.quelle":
                    say(f"550 5.1.1 <{box}@{DOMAIN}> is not known here")
                else:
                    boxes.append(box)
                    say("250 2.1.5 ok")
            elif verb == b"DATA":
                say("354 go")
                body = b""
                while (part := lines.readline()) != b".\r\n":
                    body += part[1:] if part.startswith(b".") else part
                self.found += [(box, body) for box in boxes]
                boxes = []
                say("250 2.0.0 kept")
            elif verb == b"QUIT":
                say("221 2.0.0 bye")
                return
            else:
                boxes = []
                say("250 2.0.0 ok")

    def close(self):
        self.listener.close()


class Sealed(World):
    """A world whose plan encrypts."""

    def __init__(self):
        def change(_world, plan):
            plan["encrypt"] = True
            plan["replay"]["ramp"] = []
            return plan
        super().__init__(Target, change=change)
        self.master = f"{self.folder}/master.key"
        with open(self.master, "w", encoding="ascii") as out:
            out.write(self.master_hex() + "\n")
        os.chmod(self.master, 0o600)

    @staticmethod
    def master_hex():
        return "0123456789abcdef" * 4

    def start_with(self, *options, **more):
        self.daemon = peers.Child(
            self.folder, f"tideoverd-{len(os.listdir(self.folder))}",
            f"{ROOT}/build/{VARIANT}/tideoverd", "--state", self.state,
            *options, **more)
        wait_for("tideoverd answers",
                 lambda: self.tideover("status")[0] != 4)

    def stop(self):
        self.tideover("stop")
        self.daemon.process.wait(30)
        self.daemon.close()

    def verify(self, *options, folder=None):
        done = subprocess.run(
            [f"{ROOT}/build/{VARIANT}/tideover", "spool", "verify", "--json",
             folder or self.state, *options], capture_output=True, text=True,
            check=False, timeout=60)
        return done.returncode, json.loads(done.stdout)

    def rows(self, *options):
        done = subprocess.run(
            [f"{ROOT}/build/{VARIANT}/tideover", "queue", "list", "--json",
             "--state", self.state, "acme", *options], check=True,
            capture_output=True, text=True, timeout=60)
        return [json.loads(line) for line in done.stdout.splitlines()]


def found_in(folder, secrets):
    """Which of them stand in which file."""
    found = set()
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            if not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                text = file.read()
            found |= {(name, s.decode()) for s in secrets if s in text}
    return found


def data_key(world):
    """The plan's key, opened with openssl (RFC 3394) from its file."""
    with open(f"{world.state}/plans/acme/data.key", encoding="ascii") as file:
        wrapped = bytes.fromhex(json.load(file)["wrapped"])
    done = subprocess.run(
        ["openssl", "enc", "-d", "-id-aes256-wrap", "-iv", "A6" * 8, "-K",
         world.master_hex()], input=wrapped, capture_output=True, check=True)
    return done.stdout[-32:]


def mappings_with(pid, secret):
    """The VmFlags of each mapping of a process that has these bytes.  What is
    larger than memory can be (a sanitizer's shadow) is left out."""
    found, at = [], None
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as smaps, \
            open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in smaps:
            words = line.split()
            if "-" in words[0] and len(words) > 4:
                at = [int(part, 16) for part in words[0].split("-")]
            elif words[0] == "VmFlags:" and {"rd", "wr"} <= set(words) and \
                    at[1] - at[0] < 1 << 31:
                memory.seek(at[0])
                count = memory.read(at[1] - at[0]).count(secret)
                found += [set(words[1:])] * count
    return found


def in_memory(tap, world):
    """Keys lie on pages that are neither swapped out nor dumped."""
    pid = world.daemon.process.pid
    # A sanitizer answers mlock() itself.
    want = {"dd"} if VARIANT in ("asan", "tsan") else {"lo", "dd"}
    for what, secret in (("data key", data_key(world)),
                         ("master key", bytes.fromhex(world.master_hex()))):
        found = mappings_with(pid, secret)
        tap.ok(found and all(want <= flags for flags in found),
               f"the {what} is in memory {len(found)} times, on pages that "
               f"are locked and in no core dump ({sorted(want)}): "
               f"{[sorted(flags) for flags in found]}")


def picture(folder):
    """Every file but the lock, by its bytes."""
    files = {}
    for path in sorted(glob.glob(f"{folder}/**", recursive=True)):
        if os.path.isfile(path) and not path.endswith("/lock"):
            with open(path, "rb") as file:
                files[path] = hashlib.sha256(file.read()).hexdigest()
    return files


def bodies():
    line = MARK + b" " + b"x" * 60 + b"\r\n"
    return [(["anna.quelle"], b"Subject: one\r\n\r\n" + line),
            (["anna.quelle", "bert.quelle"],
             b"Subject: big\r\n\r\n" + line * (BIG // len(line))),
            (["bert.quelle"], b"Subject: three\r\n\r\n..dot " + line),
            (["fort.quelle"], b"Subject: four\r\n\r\n" + line)]


def send_all(port):
    """The peer's address, as the daemon saw it."""
    client = Client(port, False)
    peer = b"127.0.0.1:%d" % client.sock.getsockname()[1]
    for boxes, body in bodies():
        client.send(boxes, body)
    client.close()
    return peer


def plain_is_found(tap):
    """The same search finds all of it where nothing is encrypted."""
    folder = tempfile.mkdtemp(prefix="tideover-e2e-")
    node = Node(folder)
    node.start()
    try:
        secrets = SECRETS + [send_all(node.port)]
    finally:
        node.daemon.close()
    found = {secret for _, secret in found_in(node.state, secrets)}
    tap.ok(found == {s.decode() for s in secrets},
           f"without encryption all of it is found: {sorted(found)}")
    shutil.rmtree(folder, ignore_errors=True)


def spawned(tap):
    """The daemon that `tideover start` starts gets the key from it."""
    folder = tempfile.mkdtemp(prefix="tideover-e2e-")
    node = Node(folder)
    node.write(encrypt=True)
    master = f"{folder}/master.key"
    with open(master, "wb") as out:
        out.write(bytes(range(32)))
    os.chmod(master, 0o644)
    status, _, error = node.tideover("start", node.plan, "--master-key",
                                     master, text=True)
    tap.ok(status == 1 and "chmod 600" in error,
           f"a key that everybody may read is none: {error.strip()}")
    os.chmod(master, 0o600)
    node.tideover("start", node.plan, "--master-key", master)
    tap.ok(os.path.exists(f"{node.state}/plans/acme/data.key") and
           json.loads(node.tideover("status", "acme")[1])["phase"] ==
           "opening", "start --master-key hands the key on")
    node.tideover("stop")
    wait_for("it has ended", lambda: node.tideover("status")[0] == 4)
    status, _, error = wait_for(
        "its state is free", lambda: (
            lambda said: said if "another tideoverd" not in said[2] else None)(
                node.tideover("start", node.plan, text=True)))
    tap.ok(status == 1 and "--master-key FILE" in error,
           f"and without it says what is missing: {error.strip()}")
    shutil.rmtree(folder, ignore_errors=True)


def refused_without_key(tap, world):
    world.start_with()
    status, said = world.tideover("start", world.plan)
    tap.ok(status != 0 and "--master-key FILE" in said.get("error", ""),
           f"a plan that wants encryption needs the key: {said}")
    tap.ok(not os.path.exists(f"{world.state}/plans/acme/journal.ndjson"),
           "and is not taken up")
    world.stop()


def accept(tap, world):
    world.start_with("--master-key", world.master)
    world.must(0, "start", world.plan)
    world.knot.publish((10, QUEUE))
    wait_for("every vantage sees the queue alone",
             lambda: world.views() == {"parked"})
    SECRETS.append(send_all(world.port))
    world.must(0, "pause", "acme", "--by", "ops@b.example", "--reason",
               f"anna.quelle@{DOMAIN} and \"bert.quelle\"@{DOMAIN} asked")
    world.must(0, "resume", "acme")
    world.kill_daemon()
    tap.ok(not found_in(world.state, SECRETS),
           "after kill -9 neither body nor address is in the state folder "
           f"{sorted(found_in(world.state, SECRETS))}")
    with open(f"{world.state}/plans/acme/journal.ndjson", "rb") as file:
        journal = file.read()
    tap.ok(b"(hidden)@" in journal and b"ops@b.example" in journal,
           "the journal hides addresses, but not who acted")


def wrong_keys(tap, world):
    other = f"{world.folder}/other.key"
    with open(other, "wb") as out:
        out.write(bytes(range(32)))
    os.chmod(other, 0o600)
    before = picture(world.state)
    for name, options, remedy in (
            ("no", [], "start tideoverd with --master-key FILE"),
            ("another", ["--master-key", other],
             "start tideoverd with the one that plan 'acme'"),
            ("an unreadable", ["--master-key", f"{other}-not"],
             "cannot open the master key")):
        done = subprocess.run(
            [f"{ROOT}/build/{VARIANT}/tideoverd", "--state", world.state,
             *options], capture_output=True, text=True, check=False,
            timeout=60)
        errors = [line for line in done.stderr.splitlines()
                  if "error" in line]
        tap.ok(done.returncode == 1 and len(errors) == 1 and
               remedy in errors[0], f"{name} master key: exit "
               f"{done.returncode}, {errors}")
    tap.ok(picture(world.state) == before, "and nothing was touched")


def credential(world):
    """As systemd hands it over."""
    folder = f"{world.folder}/credentials"
    os.makedirs(folder, exist_ok=True)
    shutil.copy(world.master, f"{folder}/tideover-master-key")
    os.environ["CREDENTIALS_DIRECTORY"] = folder
    world.start_with()
    del os.environ["CREDENTIALS_DIRECTORY"]


def look(tap, world):
    rows = world.rows()
    want = sorted(f"{box}@{DOMAIN}" for boxes, _ in bodies() for box in boxes)
    tap.ok(sorted(r["forward_path"] for r in rows) == want and
           {r["reverse_path"] for r in rows} == {"sender@b.example"} and
           {r["helo"] for r in rows} == {"sender.example"} and
           all(r["peer"].startswith("127.0.0.1:") for r in rows),
           "with the key every address is there")
    tap.ok(len(world.rows("--recipient", f"ANNA.quelle@{DOMAIN}")) == 2,
           "and can be asked for")
    exported = f"{world.folder}/export"
    world.must(0, "queue", "export", "acme", "--all", "--output", exported)
    got = []
    for path in glob.glob(f"{exported}/*"):
        with open(path, "rb") as file:
            got.append(without_trace(file.read()))
    tap.ok(sorted(got) == sorted(body for _, body in bodies()),
           "each body is exported as it came")


def without_trace(body):
    end = 0
    while True:
        end = body.index(b"\r\n", end) + 2
        if body[end:end + 1] not in (b" ", b"\t"):
            return body[end:]


def verify(tap, world):
    status, without = world.verify()
    tap.ok(status == 0 and without["balances"] and
           {m["body"] for m in without["messages"]} == {"sealed"} and
           {e["forward_path"] for m in without["messages"]
            for e in m["envelopes"]} == {f"(sealed)@{DOMAIN}"},
           "without the key the spool is whole, and shows nothing "
           f"({status})")
    status, opened = world.verify("--master-key", world.master)
    tap.ok(status == 0 and opened["broken_seals"] == 0 and
           {m["body"] for m in opened["messages"]} == {"verified"} and
           [m["envelopes"][0]["forward_path"] for m in opened["messages"]] ==
           [f"{boxes[0]}@{DOMAIN}" for boxes, _ in bodies()],
           f"with the key every seal and every SHA-256 holds ({status})")
    copy = f"{world.folder}/copy"
    shutil.copytree(world.state, copy,
                    ignore=shutil.ignore_patterns("*.sock", "*.tmp"))
    side = glob.glob(f"{copy}/spool/*.msg")
    with open(side[0], "r+b") as file:
        file.seek(3 * 65536)
        byte = file.read(1)[0]
        file.seek(3 * 65536)
        file.write(bytes([byte ^ 4]))
    status, broken = world.verify("--master-key", world.master, folder=copy)
    tap.ok(status == 1 and [b["body"] for b in broken["missing_bodies"]] ==
           ["a broken seal"], "one flipped bit breaks the seal of a body: "
           f"{broken['missing_bodies']}")
    os.truncate(side[0], os.path.getsize(side[0]) - 65536 - 16)
    status, broken = world.verify(folder=copy)
    tap.ok(status == 1 and [b["body"] for b in broken["missing_bodies"]] ==
           ["another size"], "a chunk that is missing shows without the key")
    shutil.rmtree(copy)


def replay(tap, world):
    wait_for("the gate finish opens", lambda: world.tideover(
        "check", "acme", "--gate", "finish")[0] == 0)
    world.tideover("finish", "acme", "--detach")
    wait_for("all but one is delivered", lambda: world.status()
             ["domains"][0]["ledger"]["delivered"] == 4)
    want = sorted((box, body) for boxes, body in bodies() for box in boxes
                  if box != "fort.quelle")
    got = sorted((box, without_trace(body)) for box, body in world.new.found)
    tap.ok(got == want, "each arrives byte for byte")
    held = wait_for("the refused one is held",
                    lambda: world.rows("--in", "held"))
    tap.ok(f"<fort.quelle@{DOMAIN}> is not known" in
           held[0]["last_reply"]["text"], "its reply is shown with the key")
    replies = wait_for("they are counted", lambda: world.status()["replies"])
    tap.ok([r["count"] for r in replies] == [1] and
           "is not known here" in replies[0]["text"],
           "and counted with the replies")
    tap.ok(not found_in(world.state, SECRETS),
           f"and is nowhere in the state folder "
           f"{sorted(found_in(world.state, SECRETS))}")
    status, said = world.verify("--master-key", world.master)
    tap.ok(status == 0 and said["broken_seals"] == 0,
           "the seals of replies and reasons hold")
    return held[0]["id"]


def once_more(tap, world, since):
    """What finds envelopes and reads bodies beside the replay."""
    found = [len(world.rows(*options)) for options in (
        ["--sender", "Sender@b.example"], ["--sender", "@b.example"],
        ["--recipient", f"bert.quelle@{DOMAIN}"], ["--reply", "not known"],
        ["--reply", "other words"])]
    tap.ok(found == [5, 5, 2, 1, 0], "sealed addresses and replies can be "
           f"asked for: {found}")
    world.must(0, "queue", "resend", "acme", "--since", since, "--to", "old")
    tap.ok(sorted((box, without_trace(body)) for box, body in world.old.found)
           == sorted((box, without_trace(body))
                     for box, body in world.new.found),
           "kept copies are sent once more, byte for byte")


def bounce(tap, world, held):
    world.must(0, "queue", "hold", "acme", held, "--reason",
               f"fort.quelle@{DOMAIN} left")
    del world.old.found[:]
    world.must(0, "queue", "bounce", "acme", held, "--relay",
               f"127.0.0.1:{world.old.port}", "--by", "anna", "--reason",
               "nobody reads it")
    tap.ok([(box, b"Subject: four" in body and b"fort.quelle" in body)
            for box, body in world.old.found] == [("sender", True)],
           "the sender of a sealed message is told, with its header")


def shred(tap, world, held):
    key = f"{world.state}/plans/acme/data.key"
    with open(key, "rb") as file:
        wrapped = json.load(file)["wrapped"].encode()

    def must_not(why, text):
        status, said = world.tideover("queue", "shred", "acme", "--by",
                                      "anna", "--reason", "it is over")
        tap.ok(status == 1 and text in said["error"] and
               found_in(world.state, [wrapped]),
               f"not while {why}: {said.get('error')}")
    must_not("the plan accepts mail", "finish it first")
    wait_for("nothing is left but what is held",
             lambda: world.status().get("phase") == "trailing")
    client = Client(world.port, False)
    client.send(["bert.quelle"], b"Subject: before\r\n\r\n")
    wait_for("it is delivered", lambda: not world.rows("--in", "waiting"))
    for command, code in ((b"MAIL FROM:<sender@b.example>", 250),
                          (b"RCPT TO:<%s@%s>" % (BOXES[1].encode(),
                                                 DOMAIN.encode()), 250),
                          (b"DATA", 354)):
        client.command(command, code)
    client.sock.sendall(b"Subject: half of it\r\n")
    world.must(0, "finish", "acme", "--now")
    must_not("an envelope is held", "not final: deliver or discard")
    bounce(tap, world, held)
    tap.ok(not found_in(world.state, SECRETS),
           "nor is any of it in state folder and journal "
           f"{sorted(found_in(world.state, SECRETS))}")
    must_not("a message is on its way in", "on its way in")
    status, said = world.tideover("remove", "acme")
    tap.ok(status == 1 and "on its way in" in said["error"],
           f"nor can the plan be removed: {said.get('error')}")
    client.close()
    wants = [world.tideover("queue", "shred", "acme", *options)[0]
             for options in (["--by", "anna"], ["--reason", "x"],
                             ["--by", "anna", "--reason", "x", "--dry-run"])]
    tap.ok(wants == [2, 2, 2], "shred wants a name and a reason, and cannot "
           f"be tried: {wants}")
    secret, pid = data_key(world), world.daemon.process.pid
    # Until the session has heard that its peer is gone.
    said = wait_for("shred is done", lambda: (
        lambda done: done[1] if done[0] == 0 else None)(world.tideover(
            "queue", "shred", "acme", "--by", "anna", "--reason",
            "it is over")))
    tap.ok(not said["again"] and "overwritten" in said["proves"] and
           "backups" in said["leaves"], "it says what it proves and what not")
    tap.ok(not found_in(world.state, [wrapped]),
           "the wrapped key is nowhere in the state folder")
    if os.geteuid() == 0:
        found = mappings_with(pid, secret)
        tap.ok(not found, "the key is wiped from memory as well "
               f"({len(found)} times there)")
    else:
        tap.skip("the key in memory", "not root")
    with open(f"{world.state}/plans/acme/journal.ndjson", "rb") as file:
        lines = [json.loads(line) for line in
                 file.read().strip(b"\0 \n").splitlines()]
    tap.ok([(e["event"], e["data"]["by"], e["data"]["reason"])
            for e in lines[-2:]] ==
           [("shred", "anna", "it is over"),
            ("shredded", "anna", "it is over")],
           "it is journalled before and after")
    rows = world.rows()
    tap.ok(len(rows) == 6 and {r["forward_path"] for r in rows} ==
           {f"(sealed)@{DOMAIN}"} and
           {r["reverse_path"] for r in rows} == {"(sealed)"},
           "addresses can no longer be read")
    said = world.must(0, "queue", "shred", "acme", "--by", "anna",
                      "--reason", "once more")
    tap.ok(said["again"], "a second time changes nothing")
    world.stop()
    os.unlink(f"{world.state}/index.sqlite")
    world.start_with()
    wait_for("it has read the spool back",
             lambda: world.status().get("phase") == "finished")
    status, left = world.verify("--master-key", world.master)
    tap.ok({r["reverse_path"] for r in world.rows()} == {"(sealed)"} and
           status == 0 and left["balances"] and
           not {m["body"] for m in left["messages"]} & {"verified"},
           "the daemon goes on without any key, its ledger balances, and "
           "the master key opens nothing")
    world.must(0, "remove", "acme")
    tap.ok(not os.path.exists(key), "remove takes the note away")
    world.stop()


def main():
    tap = Tap()
    gone = peers.missing("knotd", "unbound", "kdig", "openssl")
    if gone:
        tap.skip("encryption", "missing: " + ", ".join(gone))
        tap.end()
    plain_is_found(tap)
    spawned(tap)
    world = Sealed()
    try:
        refused_without_key(tap, world)
        accept(tap, world)
        wrong_keys(tap, world)
        credential(world)
        wait_for("the plan goes on",
                 lambda: world.status().get("phase") == "holding")
        if os.geteuid() == 0:
            in_memory(tap, world)
        else:
            tap.skip("keys in memory", "not root")
        look(tap, world)
        # The segment of before the kill is cleared out: its mail moves.
        wait_for("the first segment is cleared out",
                 lambda: os.path.exists(f"{world.state}/evidence/00000001.seg")
                 and not os.path.exists(f"{world.state}/spool/00000001.seg"))
        verify(tap, world)
        tap.ok(not found_in(world.state, SECRETS),
               "evidence and moved mail are sealed as well")
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        held = replay(tap, world)
        once_more(tap, world, since)
        shred(tap, world, held)
        logs = glob.glob(f"{world.folder}/tideoverd-*.log")
        told = [s for path in logs for s in SECRETS
                if s in open(path, "rb").read()]
        tap.ok(logs and not told, f"{len(logs)} logs name nobody: {told}")
    finally:
        world.tideover("stop")
        world.close()
        if not tap.bad and sys.exc_info()[0] is None:
            shutil.rmtree(world.folder, ignore_errors=True)
    tap.end()


main()
