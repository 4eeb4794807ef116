#!/usr/bin/env python3
"""A spool is judged by its bytes alone: what a daemon kept is all there, and
what was broken afterwards is told (TAP)."""
import fcntl
import glob
import hashlib
import json
import os
import resource
import shutil
import ssl
import subprocess
import tempfile

import peers
from cutover import DOMAIN, ROOT, VARIANT, Client, Tap
from peers import wait_for

TIDEOVER = f"{ROOT}/build/{VARIANT}/tideover"
BIG = 400 * 1024  # a side file
# So much lives in the first segment that it is not cleared out meanwhile
# (LIVE_MAX of spool_space.c).
KEPT, KEPT_BYTES = 70, 250 * 1024


class Node:
    """tideoverd with a plan whose DNS nobody answers: it accepts mail and
    delivers none."""

    def __init__(self, folder):
        self.port = peers.free_port()
        self.state = f"{folder}/state"
        self.plan = f"{folder}/plan.json"
        old, new, dns = (f"127.0.0.1:{peers.free_port()}" for _ in range(3))
        key, cert = peers.self_signed(folder, "hold.hosts.example")
        with open(self.plan, "w", encoding="ascii") as out:
            json.dump({
                "tideover": 1, "name": "acme", "strategy": "park",
                "domains": [{"name": DOMAIN}],
                "old": {"provider": "custom", "mx": ["old.hosts.example"],
                        "deliver_to": old},
                "new": {"provider": "custom", "mx": ["new.hosts.example"],
                        "deliver_to": new},
                "queue_mx": {"host": "hold.hosts.example", "priority": 10,
                             "listen": [f"127.0.0.1:{self.port}"],
                             "tls": {"certificate_file": cert,
                                     "key_file": key}},
                "dns": {"resolvers": [dns], "authorities": [dns],
                        "ttl": 300, "old_ttl": 300},
                "expected": {"messages_per_day": 10, "mean_bytes": 10000},
                "recipients": {"policy": "any"},
                "probe": {"recipients": [f"postmaster@{DOMAIN}"]},
            }, out)

    def tideover(self, *args):
        done = subprocess.run([TIDEOVER, args[0], "--json", "--state",
                               self.state, *args[1:]], capture_output=True,
                              text=True, check=False, timeout=60)
        return done.returncode, done.stdout

    def start(self):
        status, out = self.tideover("start", self.plan)
        assert status == 3, out  # its gate is shut; mail is accepted

    def stop(self):
        """Until the daemon has let go of its state."""
        self.tideover("stop")

        def is_free():
            with open(f"{self.state}/lock", "rb") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return True
                except OSError:
                    return False
        wait_for("the daemon has ended", is_free)


def body_of(name, size=0):
    text = b"Subject: %s\r\n\r\n" % name.encode()
    line = b"x" * 70 + b"\r\n"
    return text + line * (1 + size // len(line))


def verify(folder):
    done = subprocess.run([TIDEOVER, "spool", "verify", "--json", folder],
                          capture_output=True, text=True, check=False,
                          timeout=60)
    return done.returncode, json.loads(done.stdout)


def copy_of(node, name):
    to = f"{node.state}-{name}"
    shutil.copytree(f"{node.state}/spool", to)
    return to


def states(document):
    return {(m["id"], e["forward_path"]): e["state"]
            for m in document["messages"] for e in m["envelopes"]}


def flip(path, needle):
    """One bit of the first byte of what stands there once."""
    with open(path, "r+b") as file:
        at = file.read().index(needle)
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def fill(node):
    """Two runs of the daemon: two segments, and one message in the second."""
    sent = [(["box1"], body_of("one")), (["box1", "box2"], body_of("two")),
            (["box3"], b"\tno header\r\n"), (["box4"], body_of("big", BIG))]
    sent += [(["box6"], body_of("kept", KEPT_BYTES))] * KEPT
    node.start()
    client = Client(node.port, False)
    for boxes, body in sent:
        client.send(boxes, body)
    client.close()
    node.stop()
    node.start()
    sent.append((["box5", "box1"], body_of("five")))
    client = Client(node.port, True)
    assert isinstance(client.sock, ssl.SSLSocket)
    client.send(*sent[-1])
    client.close()
    return sent


def act(node):
    """Holds box1's first message, discards box3's."""
    ids = {}
    for line in node.tideover("queue", "list", "acme")[1].splitlines():
        envelope = json.loads(line)
        ids.setdefault(envelope["forward_path"],
                       f"{envelope['id']}:{envelope['envelope']}")
    one, three = ids[f"box1@{DOMAIN}"], ids[f"box3@{DOMAIN}"]
    for verb, which in (("hold", one), ("hold", three), ("discard", three)):
        status, out = node.tideover("queue", verb, "acme", which, "--by",
                                    "anna", "--reason", "to see it")
        assert status == 0, (verb, out)


def whole(tap, node, sent):
    status, all_ = verify(node.state)
    kept = [({e["forward_path"] for e in m["envelopes"]}, m["sha256"])
            for m in all_["messages"]]
    want = [({f"{box}@{DOMAIN}" for box in boxes},
             hashlib.sha256(body).hexdigest()) for boxes, body in sent]
    tap.ok(status == 0 and kept == want, "every message answered 250 is "
           f"there, in order, with the hash of what was sent ({status})")
    bodies = [m["body"] for m in all_["messages"]]
    tap.ok(bodies == ["verified"] * len(sent), "every body has its hash, "
           "inline and beside the segments, with TLS and without: "
           f"{set(bodies)}")
    tap.ok(all_["ledger"] == [{
        "plan": "acme", "domain": DOMAIN, "accepted": 7 + KEPT,
        "waiting": 5 + KEPT, "held": 1, "delivered": 0, "bounced": 0,
        "discarded": 1, "balances": True}] and all_["balances"],
        f"the ledger balances: {all_['ledger']}")
    tap.ok(all_["damaged"] == all_["torn"] == 0 and
           not all_["missing_bodies"] and not all_["missing_segments"],
           "nothing is torn, damaged or missing")
    copy = copy_of(node, "copy")
    status, again = verify(copy)
    tap.ok(status == 0 and again["messages"] == all_["messages"],
           "a copy of the spool folder alone says the same")
    text = subprocess.run([TIDEOVER, "spool", "verify", copy], check=False,
                          capture_output=True, text=True, timeout=60).stdout
    tap.ok(f"acme box2@{DOMAIN} waiting\n" in text and
           f"acme {DOMAIN}: {7 + KEPT} accepted = {5 + KEPT} waiting + 1 held "
           "+ 0 delivered + 0 bounced + 1 discarded\n" in text and "is whole" in text,
           "and so for people")
    return all_


def broken(tap, node, all_):
    one = copy_of(node, "damaged")
    flip(f"{one}/00000001.seg", b"Subject: two")
    status, found = verify(one)
    lost = set(states(all_)) - set(states(found))
    tap.ok(status == 1 and found["damaged"] == 1 and found["torn"] == 0 and
           {path for _, path in lost} ==
           {f"box1@{DOMAIN}", f"box2@{DOMAIN}"} and len(lost) == 2 and
           states(found).items() <= states(all_).items(),
           f"a damaged record: exit {status}, {found['bad_ranges']}; the "
           "other messages are as they were")

    one = copy_of(node, "orphan")
    flip(f"{one}/00000001.seg", b"\tno header")
    status, found = verify(one)
    tap.ok(status == 1 and found["orphans"] == 2 and not found["balances"],
           "a damaged record of a message that was acted on: its outcome "
           f"has no message ({found['orphans']} records)")

    one = copy_of(node, "header")
    flip(f"{one}/00000001.seg", b"")
    status, found = verify(one)
    tap.ok(status == 1 and found["damaged"] == 1 and
           len(found["messages"]) == 1, "a segment whose header is damaged: "
           f"{found['bad_ranges']}")

    one = copy_of(node, "no-segment")
    os.unlink(f"{one}/00000001.seg")
    status, found = verify(one)
    tap.ok(status == 1 and found["missing_segments"] == [1],
           "a segment that is not there")

    one = copy_of(node, "no-body")
    side = glob.glob(f"{one}/*.msg")
    os.unlink(side[0])
    status, found = verify(one)
    tap.ok(len(side) == 1 and status == 1 and found["missing_bodies"] == [
        {"id": os.path.basename(side[0])[:-4], "body": "missing"}] and
        len(found["messages"]) == len(all_["messages"]), "a body that is not there")

    for name, harm, why in (
            ("cut", lambda path: os.truncate(path, BIG), "another size"),
            ("changed", lambda path: flip(path, b"Subject"),
             "another SHA-256")):
        one = copy_of(node, name)
        harm(glob.glob(f"{one}/*.msg")[0])
        status, found = verify(one)
        tap.ok(status == 1 and
               [b["body"] for b in found["missing_bodies"]] == [why],
               f"a body beside the segments that was {name}")


def evidence(tap, node, all_):
    """Segments that were cleared out left their records in the evidence."""
    state = f"{node.state}-cleared"
    os.mkdir(state)
    shutil.copytree(f"{node.state}/spool", f"{state}/spool")
    os.mkdir(f"{state}/evidence")
    shutil.move(f"{state}/spool/00000001.seg", f"{state}/evidence")
    status, found = verify(state)
    again, beside = verify(f"{state}/spool")
    tap.ok(status == again == 0 and states(found) == states(all_) and
           found["messages"] == beside["messages"],
           "records of older segments are read from the evidence beside it")
    # A crash came between the evidence and the end of its segment.
    shutil.copy(f"{state}/spool/00000002.seg", f"{state}/evidence")
    status, found = verify(state)
    tap.ok(status == 0 and states(found) == states(all_),
           "evidence of a segment that is still there is not read twice")


def no_spool(tap, folder):
    for name, path in (("a folder of something else", folder),
                       ("no folder", f"{folder}/nothing")):
        done = subprocess.run([TIDEOVER, "spool", "verify", path],
                              capture_output=True, text=True, check=False,
                              timeout=60)
        tap.ok(done.returncode == 2 and path in done.stderr and
               not done.stdout, f"{name}: {done.stderr.strip()[:100]}")


def main():
    tap = Tap()
    folder = tempfile.mkdtemp(prefix="tideover-e2e-")
    os.chmod(folder, 0o755)
    node = Node(folder)
    try:
        sent = fill(node)
        act(node)
    finally:
        node.stop()
    all_ = whole(tap, node, sent)
    broken(tap, node, all_)
    evidence(tap, node, all_)
    no_spool(tap, folder)
    if not tap.bad:
        shutil.rmtree(folder, ignore_errors=True)
    tap.end()


resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
main()
