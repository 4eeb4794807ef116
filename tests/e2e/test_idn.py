#!/usr/bin/env python3
"""A domain with an internationalised name, through a whole cutover: written
either way by its senders, one mailbox is one line (TAP)."""
import json
import shutil
import subprocess
import sys

import peers
from cutover import NEW, OLD, QUEUE, ROOT, VARIANT, Client, Tap, World, listed
from peers import wait_for

U_LABEL, A_LABEL = "bücher.example", "xn--bcher-kva.example"


class IdnWorld(World):
    domain = A_LABEL


class Sender:
    """One session; `number` of what it sent goes up over all of them."""
    number = 0

    def __init__(self, world):
        self.client = Client(world.port, False)
        self.utf8 = b"SMTPUTF8" in self.client.offers

    def send(self, recipient, reverse_path="sender@b.example", utf8=False):
        Sender.number += 1
        client = self.client
        client.command(f"MAIL FROM:<{reverse_path}>".encode() +
                       (b" SMTPUTF8" if utf8 else b""), 250)
        client.command(f"RCPT TO:<{recipient}>".encode(), 250)
        client.command(b"DATA", 354)
        client.command(peers.NUMBER + b"%d\r\nSubject: %s\r\n\r\nx\r\n." % (
            Sender.number, "Grüße".encode() if utf8 else b"x"), 250)
        return Sender.number

    def refuses(self, line):
        self.client.sock.sendall(line.encode() + b"\r\n")
        return self.client.sock.recv(500).decode()


def init(tap, world):
    path = f"{world.folder}/init.json"
    done = subprocess.run(
        [f"{ROOT}/build/{VARIANT}/tideover", "init", U_LABEL.upper(), "--to",
         "m365", "--resolver", f"127.0.0.1:{world.resolvers[0].port}",
         "--output", path], capture_output=True, text=True, check=False,
        timeout=60)
    with open(path, encoding="utf-8") as plan:
        domain = json.load(plan)["domains"][0]
    tap.ok(done.returncode == 0 and domain == {
        "$comment": U_LABEL.upper(), "name": A_LABEL},
        f"init takes the name as people write it: {domain}")
    with open(world.plan, encoding="ascii") as plan:
        text = plan.read().replace(A_LABEL, U_LABEL)
    with open(path, "w", encoding="utf-8") as plan:
        plan.write(text)
    document = world.must(2, "plan", path)
    tap.ok("A-label" in json.dumps(document),
           f"a plan has A-labels alone: {document['errors'][0]}")


def keep_some(tap, world):
    sender = Sender(world)
    tap.ok(sender.utf8, "both systems offer SMTPUTF8, so the queue does")
    mixed = [sender.send(f"box1@{A_LABEL}"),
             sender.send(f"box1@{U_LABEL}", "jörg@b.example", utf8=True),
             sender.send(f"Box1@{A_LABEL.upper()}"),
             sender.send(f"box1@{U_LABEL}", utf8=True)]
    local = [sender.send(f"boxß@{U_LABEL}", f"jörg@{U_LABEL}", utf8=True)]
    sender.refuses("MAIL FROM:<a@b.example>")
    said = sender.refuses(f"RCPT TO:<box1@{U_LABEL}>")
    tap.ok(said.startswith("5"), "without SMTPUTF8 in MAIL such a recipient is "
           f"refused: {said.strip()}")
    rows = listed(world)
    tap.ok(len(rows) == 5 and {r["domain"] for r in rows} == {A_LABEL},
           "all is the one domain's")
    return mixed, local


def cutover(tap, world):
    world.new.play(f"have box*@{U_LABEL}")
    world.start_daemon()
    world.must(0, "start", world.plan)
    world.knot.publish((10, QUEUE))
    wait_for("every vantage sees the queue alone",
             lambda: world.views() == {"parked"})
    wait_for("the systems were probed", lambda: Sender(world).utf8)
    mixed, local = keep_some(tap, world)
    wait_for("the gate finish opens", lambda: world.tideover(
        "check", "acme", "--gate", "finish")[0] == 0)
    world.must(0, "finish", "acme")
    kept = world.new.kept()
    tap.ok([n for _, n in kept if n in mixed] == mixed,
           f"written either way it is one mailbox, in order: {kept}")
    tap.ok([n for _, n in kept if n in local] == local,
           "and so is a local part that is no ASCII")
    world.knot.publish((10, NEW))
    wait_for("every vantage sees the new system",
             lambda: world.views() == {"new"})
    wait_for("the gate close opens", lambda: world.tideover(
        "check", "acme", "--gate", "close")[0] == 0)
    world.must(0, "finish", "acme")
    report = world.report()
    tap.ok(report["balances"] and report["total"]["delivered"] == 5 and
           report["order_exceptions"] == [],
           f"the ledger balances: {report['total']}")


def main():
    tap = Tap()
    gone = peers.missing("knotd", "unbound", "kdig", "openssl")
    if gone:
        tap.skip(U_LABEL, "missing: " + ", ".join(gone))
        tap.end()
    world = IdnWorld(peers.Lab)
    try:
        world.knot.publish((10, OLD))
        init(tap, world)
        cutover(tap, world)
        world.must(0, "stop")
    finally:
        world.close()
        if not tap.bad and sys.exc_info()[0] is None:
            shutil.rmtree(world.folder, ignore_errors=True)
    tap.end()


main()
