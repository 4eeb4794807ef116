#!/usr/bin/env python3
"""BDAT on both sides: what came in chunks of any size leaves as it came, to a
real Postfix and to a target that keeps every byte (TAP)."""
import hashlib
import json
import os
import random
import shutil
import socket
import sys
import tempfile
import threading
import time

import peers
from cutover import (DOMAIN, QUEUE, Client, Later, Refused, Tap, World,
                     real_mail, swaks, without_our_trace)
from node import Node
from peers import wait_for

SEED = 3030


class Chunks(Client):
    """A sender that gives messages with BDAT, cut at any place, in packets
    that are cut at others."""

    def __init__(self, port, tls=False):
        super().__init__(port, tls)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.random = random.Random(SEED)

    def envelope(self, box):
        self.command(b"MAIL FROM:<sender@b.example> BODY=8BITMIME", 250)
        self.command(b"RCPT TO:<%s@%s>" % (box.encode(), DOMAIN.encode()),
                     250)

    def packets(self, raw, sizes):
        while raw:
            n = self.random.choice(sizes)
            self.sock.sendall(raw[:n])
            raw = raw[n:]

    def send_chunks(self, box, body, sizes, packets, empty_last=False):
        """All of it in the pipeline; every chunk has its reply."""
        self.envelope(box)
        wire, chunks = b"", 0
        while body or not chunks:
            n = self.random.choice(sizes)
            last = len(body) <= n and not empty_last
            wire += b"BDAT %d%s\r\n" % (min(n, len(body)),
                                        b" LAST" if last else b"")
            wire += body[:n]
            body = body[n:]
            chunks += 1
        if empty_last:
            wire += b"BDAT 0 LAST\r\n"
            chunks += 1
        self.packets(wire, packets)
        for _ in range(chunks):
            self.expect(250)


class Target:
    """A system that keeps the bytes and remembers the commands.  It offers
    CHUNKING while `chunking` is true; sessions that were told otherwise end.
    """
    tls = "opportunistic"
    trace = ()
    ordered = True

    def __init__(self, _folder, host, domain):
        self.host, self.domain = host, domain
        self.chunking = True
        self.refuse_chunk = None  # a reply to the next chunk, once
        self.commands, self.found = [], []
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

    def accept(self, yes):
        pass

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
        boxes, body, refused, offered = [], b"", False, None
        while True:
            line = lines.readline()
            if not line:
                return
            assert line.endswith(b"\r\n"), line
            words = line.decode().split()
            verb = words[0].upper()
            self.commands.append(line.decode().strip())
            if verb == "EHLO":
                offered = self.chunking
                offers = ["PIPELINING", "8BITMIME", "SIZE 90000000",
                          "ENHANCEDSTATUSCODES"]
                offers += ["CHUNKING"] if offered else []
                say("\r\n".join(f"250-{w}" for w in [self.host] + offers)
                    + "\r\n250 HELP")
            elif verb == "MAIL" and offered != self.chunking:
                say("421 4.3.2 the offers have changed")
                return
            elif verb == "RCPT":
                boxes.append(words[1].split("<")[1].split("@")[0])
                say("250 2.1.5 ok")
            elif verb == "DATA":
                say("354 go")
                while (line := lines.readline()) != b".\r\n":
                    body += line[1:] if line.startswith(b".") else line
                self.keep(boxes, body)
                say("250 2.0.0 kept")
                boxes, body = [], b""
            elif verb == "BDAT":
                body += lines.read(int(words[1]))
                last = words[-1] == "LAST"
                if refused:
                    say("503 5.5.1 refused before")
                elif self.refuse_chunk:
                    say(self.refuse_chunk)
                    self.refuse_chunk, refused = None, True
                else:
                    if last:
                        self.keep(boxes, body)
                        boxes, body = [], b""
                    say("250 2.0.0 ok")
            elif verb == "QUIT":
                say("221 2.0.0 bye")
                return
            else:
                if verb == "RSET":
                    boxes, body, refused = [], b"", False
                say("250 2.0.0 ok")

    def keep(self, boxes, body):
        for box in boxes:
            self.found.append(peers.Arrival(box, len(self.found), body))

    def arrivals(self):
        return list(self.found)

    def close(self):
        self.listener.close()


def park(world):
    world.must(0, "start", world.plan)
    world.knot.publish((10, QUEUE))
    wait_for("every vantage sees the queue alone",
             lambda: world.views() == {"parked"})


def finish(world):
    wait_for("the gate finish opens", lambda: world.tideover(
        "check", "acme", "--gate", "finish")[0] == 0)
    world.must(0, "finish", "acme")


def delivered(world, count):
    def done():
        ledger = world.status()["domains"][0]["ledger"]
        assert ledger["held"] == 0, ledger
        return ledger["delivered"] == count and ledger["balances"]
    wait_for(f"{count} envelopes are delivered", done, 90)


def end(tap, world):
    world.tideover("stop")
    world.close()
    if not tap.bad and sys.exc_info()[0] is None:
        shutil.rmtree(world.folder, ignore_errors=True)


def with_postfix(tap):
    """Real mail, in chunks and in DATA, to a Postfix that offers CHUNKING."""
    world = World(peers.Postfix)
    try:
        park(world)
        bodies, where = real_mail()
        bodies = bodies[:24]
        print(f"# mail from {where}")
        client = Chunks(world.port, True)
        tap.ok(b"CHUNKING" in client.offers and
               b"BINARYMIME" not in client.offers,
               "CHUNKING is offered, BINARYMIME is not")
        ways = [([10 ** 9], [10 ** 9]), ([1, 2, 3, 700], [1, 7, 1460]),
                ([100], [99, 101]), ([4096], [1460])]
        for number, body in enumerate(bodies):
            if number % 6 == 5:
                swaks(world.port, ["box1"], body, world.folder)
            else:
                client.send_chunks("box1", body, *ways[number % 4],
                                   number % 3 == 0)
        client.close()
        tap.ok(True, f"{len(bodies)} messages are taken in chunks of many "
               "sizes, some with DATA")
        direct = Client(world.new.port, False)
        for body in bodies:
            direct.send(["box2"], body)
        direct.close()
        before = len(mail_log(world.new, "bdat="))
        finish(world)
        delivered(world, len(bodies))
        kept = {box: [without_our_trace(a.body)
                      for a in world.new.arrivals() if a.mailbox == box]
                for box in ("box1", "box2")}
        tap.ok(len(kept["box1"]) == len(bodies) and
               kept["box1"] == kept["box2"],
               "each arrives, in order, as Postfix keeps it when it gets it "
               "directly")
        client_lines = wait_for("postfix has logged a session with BDAT",
                                lambda: mail_log(world.new, "bdat="))
        tap.ok(before == 0 and not any(" data=" in line
                                       for line in client_lines),
               f"and came with BDAT: {client_lines[-1].split(': ')[-1]}")
        want = sorted(hashlib.sha256(b).hexdigest() for b in bodies)
        said = sorted(r["sha256"] for r in world.report()["messages"])
        tap.ok(want == said, "the report has the SHA-256 of each as it came")
    finally:
        end(tap, world)


def mail_log(system, word):
    with open(f"{system.folder}/mail.log", encoding="utf-8",
              errors="replace") as log:
        return [line.strip() for line in log if word in line]


def odd_bodies():
    """Bodies that show where a byte was added, lost or taken for a dot."""
    rng = random.Random(SEED)
    head = b"Subject: odd\r\n\r\n"
    long = b"".join(bytes(rng.choices(b"abcdefg.\xc3\xa9 ", k=rng.randrange(
        998))) + b"\r\n" for _ in range(2800))
    return {
        "dots": head + b".\r\n..\r\n.a\r\nBDAT 3 LAST\r\n.\r\n",
        "nolastcrlf": head + b"the end without a line end",
        "nolastcrlfdot": head + b"text\r\n.",
        "empty": b"",
        "headless": b"\r\n",
        "megabyte": head + long,
        "megabytenolf": head + long + b"x",
        "oneline": head + b"y" * 1000 + b"\r\n",
    }


def refusals(tap, port):
    client = Chunks(port)
    said = []
    for wire, code in ((b"BDAT 6 LAST\r\nQUIT\r\n", 503),
                       (b"RSET\r\n", 250)):
        client.sock.sendall(wire)
        try:
            said.append(client.expect(code))
        except Refused as why:
            said.append(str(why).encode())
    client.envelope("box9")
    client.sock.sendall(b"BDAT 4\r\na\nb\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    for _ in range(3):
        try:
            said.append(client.expect(250))
        except Refused as why:
            said.append(str(why).encode())
    codes = [line[:3] for line in said]
    tap.ok(codes == [b"503", b"250", b"550", b"503", b"250"] and
           b"bare LF" in said[2],
           f"refused chunks are swallowed, bare LF is named: {codes}")
    client.envelope("box9")
    try:
        client.command(b"BDAT 18446744073709551616 LAST\r\nNOOP", 250)
        reply = b"250"
    except Refused as why:
        reply = str(why).encode()
    rest = client.sock.recv(100)
    tap.ok(reply.startswith(b"501") and rest == b"" and not client.buffer,
           f"a chunk of unknown length ends the session: {reply.decode()}")
    client.close()


def loops(tap, world, target):
    """A message that was here before comes back as the target got it."""
    first = b"Subject: round and round\r\n\r\ntext\r\n"
    client = Chunks(world.port)
    came, body = [], first
    for lap in range(3):
        seen = len(target.found)
        client.send_chunks(f"lap{lap}", body, [7], [5])
        wait_for("it is delivered", lambda: len(target.found) > seen)
        body = target.found[-1].body
        came.append(body.lower().count(b"received: "))
    try:
        client.send_chunks("lap3", body, [10 ** 9], [10 ** 9])
        refused = ""
    except Refused as why:
        refused = str(why)
    tap.ok(came == [1, 2, 3] and refused.startswith("554 5.4.6"),
           f"what was here three times is refused: {refused}")
    client.close()


def endless_chunks(tap):
    """Chunk after chunk, none of them late: the message is."""
    folder = tempfile.mkdtemp(prefix="tideover-e2e-")
    config = f"{folder}/tideoverd.json"
    with open(config, "w", encoding="ascii") as out:
        json.dump({"tideoverd": 1, "limits": {"message": "1s"}}, out)
    node = Node(folder)
    node.start("--config", config)
    try:
        client = Chunks(node.port)
        client.envelope("box1")
        begun, said = time.monotonic(), ""
        try:
            while time.monotonic() < begun + 20:
                client.sock.sendall(b"BDAT 1\r\nx" * 100)
                for _ in range(100):
                    client.expect(250)
        except (Later, OSError) as why:
            said = str(why)
        client.close()
        tap.ok(said.startswith("421 4.4.2"),
               f"chunks without an end come to one: {said}")
    finally:
        node.daemon.close()
    shutil.rmtree(folder, ignore_errors=True)


def byte_for_byte(tap):
    world = World(Target)
    target = world.new
    try:
        park(world)
        refusals(tap, world.port)
        bodies = odd_bodies()
        client = Chunks(world.port)
        for number, (box, body) in enumerate(bodies.items()):
            big = len(body) > 10 ** 6
            client.send_chunks(
                box, body, [70000, 262144, 1] if big else [1, 5, 17, 300],
                [65536, 3] if big else [1, 2, 30], number % 2 == 0)
        client.close()
        finish(world)
        delivered(world, len(bodies))
        wrong = [box for box, body in bodies.items()
                 if [without_trace(a.body) for a in target.arrivals()
                     if a.mailbox == box] != [body]]
        tap.ok(not wrong, "odd messages leave byte for byte, one without a "
               f"CRLF at its end too {wrong}")
        said = [c for c in target.commands if c.split()[0] in
                ("BDAT", "DATA")]
        chunks = [int(c.split()[1]) for c in said if c.startswith("BDAT")]
        tap.ok(len(chunks) == len(said) and max(chunks) == 262144 and
               sum(c.endswith("LAST") for c in said) == len(bodies),
               f"all with BDAT, chunks of at most 256 KiB: {len(chunks)}")

        # The first chunk of a large one is refused; the rest stays in step.
        target.refuse_chunk = "452 4.3.1 no room for this chunk"
        client = Chunks(world.port)
        client.send_chunks("again", bodies["megabyte"], [10 ** 9], [10 ** 9])
        delivered(world, len(bodies) + 1)
        again = [a.body for a in target.arrivals() if a.mailbox == "again"]
        tap.ok([without_trace(b) for b in again] == [bodies["megabyte"]] and
               target.refuse_chunk is None,
               "a chunk that is deferred is tried again and arrives once")

        target.chunking = False
        client.send_chunks("nochunks", bodies["nolastcrlfdot"], [3], [1])
        client.close()
        delivered(world, len(bodies) + 2)
        last = target.arrivals()[-1]
        tap.ok(without_trace(last.body) == bodies["nolastcrlfdot"] + b"\r\n"
               and target.commands.count("DATA") == 1,
               "where CHUNKING is not offered, DATA ends the last line")
        target.chunking = True
        loops(tap, world, target)
    finally:
        end(tap, world)


def without_trace(body):
    """Our field is on top, with CRLF here; what is under it is the message."""
    end = 0
    while True:
        end = body.index(b"\r\n", end) + 2
        if body[end:end + 1] not in (b" ", b"\t"):
            return body[end:]


def main():
    tap = Tap()
    gone = peers.missing("knotd", "unbound", "kdig", "openssl")
    if gone:
        tap.skip("chunks", "missing: " + ", ".join(gone))
        tap.end()
    endless_chunks(tap)
    byte_for_byte(tap)
    if os.geteuid() != 0 or peers.missing("postfix", "swaks"):
        tap.skip("chunks to Postfix", "needs Postfix, swaks and root")
    else:
        with_postfix(tap)
    tap.end()


main()
