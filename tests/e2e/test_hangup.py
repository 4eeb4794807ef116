#!/usr/bin/env python3
"""A target that closes right behind its 250, while more mail keeps coming:
nothing begins on a session that is over, and nothing is lost (TAP)."""
import os
import shutil
import socketserver
import subprocess
import sys
import threading

import cutover
import node
import peers
from cutover import DOMAIN, OLD, QUEUE, ROOT, Tap, World
from peers import wait_for
from replies import standing

MESSAGES, SESSIONS, BYTES, MAILBOXES = 3000, 4, 500, 200


class Dialogue(socketserver.StreamRequestHandler):
    """One message, then the connection ends without a word."""

    def say(self, text):
        self.wfile.write(text + b"\r\n")

    def handle(self):
        self.say(b"220 hangup.example")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                break
            self.say(b"250-hangup.example\r\n250 PIPELINING"
                     if verb == b"EHLO" else b"250 2.0.0 ok")
            if verb in (b"RSET", b"QUIT"):
                return
        else:
            return
        self.say(b"354 go on")
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            pass
        if line:
            with self.server.lock:
                self.server.took += 1
            self.say(b"250 2.0.0 kept")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 100


class Hangup:
    tls = "opportunistic"

    def __init__(self, folder, host, domain):
        self.server = Server(("127.0.0.1", 0), Dialogue)
        self.server.lock, self.server.took = threading.Lock(), 0
        self.host, self.port = host, self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever,
                         daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def run(tap):
    world = World(Hangup, change=standing(max_flight=20))
    try:
        world.knot.publish((10, OLD), (50, QUEUE))
        world.must(0, "start", world.plan)
        wait_for("the valve opens", lambda: world.status()["domains"][0]
                 ["valve"]["state"] == "open")
        pid = node.get(world.state, "/v1/daemon")["pid"]
        subprocess.run(
            [f"{ROOT}/build/release/bench/bench_load",
             f"127.0.0.1:{world.port}", DOMAIN, str(SESSIONS), str(MESSAGES),
             str(BYTES), str(MAILBOXES)], check=True, timeout=120,
            stdout=subprocess.DEVNULL)
        wait_for("all are delivered",
                 lambda: world.ledger()["delivered"] == MESSAGES, 120)
        now = world.ledger()
        tap.ok(now["balances"] and now["held"] == 0,
               f"delivered, a session each: {now['delivered']}")
        tap.ok(node.get(world.state, "/v1/daemon")["pid"] == pid,
               "by one process")
        tap.ok(world.old.server.took >= MESSAGES,
               f"the target took {world.old.server.took}")
        world.must(0, "stop")
    finally:
        world.close()
        if not tap.bad and sys.exc_info()[0] is None:
            shutil.rmtree(world.folder, ignore_errors=True)


def main():
    tap = Tap()
    gone = peers.missing("knotd", "unbound", "kdig", "openssl")
    if not os.path.exists(f"{ROOT}/build/release/bench/bench_load"):
        gone.append("the release build")
    if gone:
        tap.skip("a target that hangs up", "missing: " + ", ".join(gone))
    else:
        run(tap)
    tap.end()


main()
