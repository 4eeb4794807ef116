#!/usr/bin/env python3
"""A target that lies in every reply and hangs up at every byte (TAP).

Whatever it does, mail is not lost: what the ledger calls delivered is what the
target took with a 250 after the final dot; copies are named as possible; and
no mailbox gets older mail after newer."""
import random
import socket
import threading

import cutover
import replies
from cutover import Tap
from peers import NUMBER, wait_for
from replies import missing

SEED = 20261125
BOXES = [f"box{n}" for n in range(8)]
EACH = 12
ENOUGH = 80
RECEIVES = 65536  # bytes that the kernel keeps for the target, or twice that

# What it says where something else is right.
LIES = [b"250 2.0.0 fine", b"354 go on", b"220 hello", b"221 bye", b"250-more",
        b"150 wait", b"354-go\r\n354 on", b"250 2.1.5 a\r\n250 2.1.5 b\r\n250 c",
        b"451 4.3.0 later", b"421 4.3.2 closing", b"450 4.2.1 busy",
        b"550 5.1.1 nobody", b"552 5.3.4 too big", b"554 5.6.0 no",
        b"999 what", b"25 0 x", b"", b"hello", b"250", b"250\t2.0.0 tab",
        b"250 " + b"x" * 4000, b"250-\r\n" * 200 + b"250 x", b"250 \0\xff\x1b[2J",
        b"250-a\r\n251 b", b"550-5.1.1 a\r\n450 b", b"250 x\n250 y", b"\r\n",
        b"250 2.0.0 " + b"%n%s" * 20]


class Liar:
    """A mail system that answers probes well, and tideover's mail as `mode`
    says: "honest", "lies", a number: so many bytes, then it hangs up, or the
    box whose mail makes it hang up."""
    tls = "opportunistic"

    def __init__(self, folder, host, domain):
        self.host, self.domain = host, domain.encode()
        self.random = random.Random(SEED)
        self.lock = threading.Lock()
        self.mode = "honest"
        self.kept = []  # (box, number), at the 250 to the dot
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVES)
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.session, args=(sock,),
                             daemon=True).start()

    def session(self, sock):
        sock.settimeout(3)  # each may wait for the other after a lie
        try:
            Session(self, sock).run()
        except (OSError, EOFError):
            pass
        finally:
            sock.close()

    def arrivals(self, box):
        with self.lock:
            return [n for b, n in self.kept if b == box]

    def close(self):
        self.sock.close()


class Session:
    def __init__(self, liar, sock):
        self.liar, self.sock = liar, sock
        self.lines = sock.makefile("rb")
        self.left = None  # bytes until it hangs up
        self.lies = False

    def say(self, right):
        line = right
        if self.lies and self.liar.random.random() < 0.4:
            line = self.liar.random.choice(LIES)
        line += b"\r\n"
        if self.left is not None and len(line) >= self.left:
            self.sock.sendall(line[:self.left])
            raise EOFError
        if self.left is not None:
            self.left -= len(line)
        self.sock.sendall(line)
        if line in (b"250-more\r\n", b"\r\n"):
            self.sock.shutdown(socket.SHUT_WR)  # there is no more
        return line

    def read(self):
        line = self.lines.readline()
        if not line:
            raise EOFError
        return line.strip()

    def is_mail(self, line):
        """From here on it is tideover's mail, and no probe."""
        with self.liar.lock:
            mode = self.liar.mode
            if b"<sender@b.example>" not in line or mode == "honest":
                return
            self.lies = mode == "lies"
            if isinstance(mode, int):
                self.left, self.liar.mode = mode, mode + 1

    def run(self):
        self.sock.sendall(b"220 liar.example ESMTP\r\n")
        boxes = []
        while True:
            line = self.read()
            verb = line[:4].upper()
            if verb == b"EHLO":
                self.say(b"250-liar.example\r\n250-PIPELINING\r\n"
                         b"250-8BITMIME\r\n250 SIZE 50000000")
            elif verb == b"MAIL":
                boxes = []
                self.is_mail(line)
                self.say(b"250 2.1.0 ok")
            elif verb == b"RCPT":
                box, _, domain = line[9:-1].partition(b"@")
                known = domain == self.liar.domain and (
                    box.startswith(b"box") or box == b"postmaster")
                said = self.say(b"250 2.1.5 ok" if known else
                                b"550 5.1.1 nobody")
                if said.startswith(b"2"):
                    boxes.append(box.decode())
            elif verb == b"DATA":
                if self.say(b"354 go on").startswith(b"354"):
                    if self.liar.mode in boxes:
                        raise EOFError
                    self.data(boxes)
                boxes = []
            elif verb == b"QUIT":
                self.say(b"221 2.0.0 bye")
                return
            else:
                self.say(b"250 2.0.0 ok")

    def data(self, boxes):
        number = None
        while True:
            line = self.read()
            if line.startswith(NUMBER.strip()):
                number = int(line.split(b":")[1])
            if line == b".":
                break
        with self.liar.lock:
            self.liar.kept += [(box, number) for box in boxes]
        said = b""
        try:
            said = self.say(b"250 2.0.0 kept")
        finally:
            # Told to keep it, or unsure of it: it stays.  Refused: not.
            if said and not said.startswith(b"2"):
                with self.liar.lock:
                    for box in boxes:
                        self.liar.kept.remove((box, number))


class Scene(replies.Scene):
    def __init__(self):
        self.world = cutover.World(
            Liar, change=replies.standing({
                "data_reply": "5s", "stuck_after": "2s"}))
        self.target = self.world.old
        self.sent, self.number = {}, 0

    start = replies.Standing.start


def first_times(numbers):
    return list(dict.fromkeys(numbers))


def judge(tap, s, what):
    """All is delivered in the end; what came twice is named."""
    with s.target.lock:
        s.target.mode = "honest"
    wait_for("all is delivered", lambda: drained(s), 120)
    lost = {b: set(s.sent[b]) - set(s.target.arrivals(b)) for b in BOXES}
    lost = {b: sorted(n) for b, n in lost.items() if n}
    tap.ok(not lost, f"{what}: nothing is lost: {lost}")
    rows = {(r["forward_path"].split("@")[0], int(r["sequence"])): r
            for r in cutover.listed(s.world)}
    unnamed, disorder = [], []
    for box in BOXES:
        came = s.target.arrivals(box)
        sequences = sorted(q for b, q in rows if b == box)
        row_of = dict(zip(s.sent[box], (rows[box, q] for q in sequences)))
        unnamed += [(box, n) for n in set(came)
                    if came.count(n) > 1 + row_of[n]["uncertain"]]
        held = {n for n, row in row_of.items() if released(row)}
        order = [n for n in first_times(came) if n not in held]
        disorder += [box] if order != sorted(order) else []
    tap.ok(not unnamed, f"what came twice was uncertain: {unnamed}")
    tap.ok(not disorder, "each mailbox in order, but for what was held: "
           f"{disorder}")
    tap.ok(s.world.report()["balances"], "the ledger balances")


HELD = set()  # envelopes that were, at some time


def released(row):
    return (row["id"], row["envelope"]) in HELD


def drained(s):
    """Held mail is released as it comes to be held."""
    rows = [r for r in cutover.listed(s.world) if r["state"] == "held"]
    HELD.update((r["id"], r["envelope"]) for r in rows)
    if rows:
        # Not --all: that would release what came to be held meanwhile.
        s.world.tideover("queue", "release", "acme", *(
            f"{r['id']}:{r['envelope']}" for r in rows), "--reason", "it lied")
    ledger = s.ledger()
    return ledger["waiting"] + ledger["held"] == 0


def attempts(s):
    return sum(row["attempts"] for row in cutover.listed(s.world))


def fill(s):
    s.world.must(0, "pause", "acme")
    for _ in range(EACH):
        for box in BOXES:
            s.send(box)
    s.send(*BOXES)
    s.world.must(0, "resume", "acme")


def unsendable():
    """More bytes than the kernel takes of a sender whose peer reads none: its
    dot cannot have left."""
    with open("/proc/sys/net/ipv4/tcp_wmem", encoding="ascii") as sizes:
        return int(sizes.read().split()[2]) + 4 * RECEIVES


def poison(tap, s):
    """A message within which each session ends, while others go well."""
    s.target.mode = "box3"
    number = s.send("box3", size=unsendable())

    def row():
        s.send("box4")
        return s.row("box3", number)

    wait_for("it is held", lambda: row()["state"] == "held", 60)
    said = row()
    tap.ok(said["uncertain"] == 0 and not said["mailbox_held"] and
           "within this message" in said["reason"],
           f"after {said['attempts']} attempts it is held: {said['reason']}")
    judge(tap, s, "hung up within one message")


def run(tap):
    s = Scene()
    try:
        s.start()
        s.target.mode = 0
        fill(s)
        wait_for("it hung up after every byte of a transaction", lambda:
                 s.target.mode == "honest" or s.target.mode > 70 or
                 drained(s), 120)
        tap.ok(s.target.mode > 70, "it hung up after each of "
               f"{s.target.mode} bytes")
        judge(tap, s, "hung up at every byte")
        s.target.mode = "lies"
        fill(s)
        honest = attempts(s)
        # Whoever is put off so often soon asks once in two seconds.
        wait_for("it lied for a while", lambda: attempts(s) > honest + ENOUGH or
                 drained(s), 120)
        judge(tap, s, "lied to in every reply")
        poison(tap, s)
        s.world.must(0, "stop")
    finally:
        s.close(not tap.bad)


def main():
    tap = Tap()
    gone = missing()
    if gone:
        tap.skip("a hostile target", "missing: " + ", ".join(gone))
    else:
        run(tap)
    tap.end()


main()
