#!/usr/bin/env python3
"""A target that moves to another address is found there (TAP)."""
import socket
import threading

from cutover import OLD, QUEUE
from peers import wait_for
from replies import Scene, play, standing

HOST = "tgt.localhost"  # where a rehearsal may send mail


class Names:
    """A resolver that has the target's address in hand, and asks another for
    everything else."""

    def __init__(self, other):
        self.address, self.other = "127.0.0.2", other
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            query, peer = self.sock.recvfrom(4096)
            threading.Thread(target=self.answer, args=(query, peer),
                             daemon=True).start()

    def answer(self, query, peer):
        name, _, rest = query[12:].partition(b"\0")
        if name.lower() != b"\3tgt\x09localhost":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ask:
                ask.settimeout(5)
                ask.sendto(query, ("127.0.0.1", self.other))
                self.sock.sendto(ask.recv(65535), peer)
            return
        record = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4"  # A, a second
        record += socket.inet_aton(self.address)
        if rest[:2] != b"\0\1":
            record = b""
        self.sock.sendto(
            query[:2] + b"\x81\x80\0\1\0" + bytes([bool(record)]) +
            b"\0\0\0\0" + name + b"\0" + rest[:4] + record, peer)


def named(world, plan):
    """The primary by a name, whose address we have in hand."""
    plan = standing()(world, plan)
    world.names = Names(world.resolvers[0].port)
    plan["dns"]["resolvers"] = [f"127.0.0.1:{world.names.port}"]
    plan["primary"]["deliver_to"] = f"{HOST}:{world.old.port}"
    return plan


class Door:
    """The same target at another address, until it is shut."""

    def __init__(self, address, port):
        self.port = port
        self.open = []
        self.listener = socket.create_server((address, port), backlog=50)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            target = socket.create_connection(("127.0.0.1", self.port))
            self.open += [peer, target]
            for a, b in ((peer, target), (target, peer)):
                threading.Thread(target=self.carry, args=(a, b),
                                 daemon=True).start()

    @staticmethod
    def carry(source, to):
        try:
            while data := source.recv(65536):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def shut(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in self.open:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended by itself


def run(tap, s):
    door = Door("127.0.0.2", s.target.port)
    s.world.knot.publish((10, OLD), (50, QUEUE))
    s.world.must(0, "start", s.world.plan)
    wait_for("the valve opens", lambda: s.valve()["state"] == "open")
    s.send("box1")
    s.settled()
    tap.ok(s.complete("box1") and door.open,
           "mail goes to the address of the target's name")
    door.shut()
    s.world.names.address = "127.0.0.1"
    s.send("box1")
    s.settled(seconds=60)
    tap.ok(s.complete("box1"), "and when that has changed, to the new one")
    s.world.must(0, "stop")


play("a target that moves", lambda: Scene(named, "old"), run)
