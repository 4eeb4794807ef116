#!/usr/bin/env python3
"""A start with a long queue: mail is taken at once, and in its order (TAP)."""
import json
import os
import shutil
import socket
import tempfile
import time

import peers
from cutover import DOMAIN, Client, Tap
from node import Node
from peers import wait_for

MESSAGES, RECIPIENTS = 400, 100
IN_MEMORY = 2000
BODY = b"Subject: hello\r\n\r\ntext\r\n"


def fill(node):
    client = Client(node.port, False)
    for number in range(MESSAGES):
        client.send([f"box{number * RECIPIENTS + i}"
                     for i in range(RECIPIENTS)], BODY)
    client.close()


def rows(node, box):
    said = node.tideover("queue", "list", "acme", "--recipient",
                         f"{box}@{DOMAIN}")[1]
    return sorted((json.loads(line) for line in said.splitlines()),
                  key=lambda row: int(row["sequence"]))


def send_at_once(port):
    """As soon as somebody listens."""
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
            break
        except OSError:
            assert time.monotonic() < deadline, "nobody listens"
    client = Client(port, False)
    client.send(["box7", "box8"], BODY)
    client.close()


def run(tap, folder):
    node = Node(folder)
    node.start()
    try:
        fill(node)
        wait_for("all is in the index", lambda: json.loads(node.tideover(
            "queue", "list", "acme", "--recipient", "box39999@" + DOMAIN)[1]
            or "{}").get("state") == "waiting", 60)
        key = rows(node, "box7")[0]
        node.tideover("queue", "hold", "acme",
                      f"{key['id']}:{key['envelope']}", "--by", "test",
                      "--reason", "to see what comes behind it")
        held = node.get("/v1/plans/acme/status")["queue"]["held"]
        node.daemon.close()
        with open(f"{folder}/small.json", "w", encoding="ascii") as out:
            json.dump({"tideoverd": 1,
                       "limits": {"queue_in_memory": IN_MEMORY}}, out)
        node.daemon = peers.Child(folder, "again", f"{node.build}/tideoverd",
                                  "--state", node.state, "--config",
                                  f"{folder}/small.json")
        send_at_once(node.port)
        queue = node.get("/v1/plans/acme/status")["queue"]
        # Of what cannot move, nothing need be there.
        tap.ok(queue["in_memory"] <= IN_MEMORY < queue["waiting"],
               f"mail is taken with a part of the queue in memory: {queue}")
        total = node.get("/v1/plans/acme/status")["domains"][0]["ledger"]
        tap.ok(held == 1 and total["accepted"] == MESSAGES * RECIPIENTS + 2 and
               total["balances"], f"a question is about all of it: {total}")
        sequences = [int(row["sequence"]) for row in rows(node, "box8")]
        tap.ok(len(sequences) == 2 and sequences[0] < sequences[1] and
               sequences[1] == MESSAGES + 1,
               f"what came meanwhile stands behind the older: {sequences}")
        node.daemon.close()
        corrupt(f"{node.state}/index.sqlite")
        node.daemon = peers.Child(folder, "corrupt",
                                  f"{node.build}/tideoverd", "--state",
                                  node.state)
        wait_for("it answers", lambda: node.tideover("status")[0] != 4, 60)
        total = node.get("/v1/plans/acme/status")["domains"][0]["ledger"]
        tap.ok(total["accepted"] == MESSAGES * RECIPIENTS + 2 and
               total["held"] == 1 and total["balances"] and
               os.path.exists(f"{node.state}/index.sqlite.broken"),
               f"a corrupt index is set aside and made anew: {total}")
    finally:
        node.daemon.close()


def corrupt(path):
    """Its pages but the first few: the file still opens."""
    size = os.path.getsize(path)
    with open(path, "r+b") as index:
        index.seek(size // 4 // 4096 * 4096)
        index.write(os.urandom(size // 2))


def main():
    tap = Tap()
    folder = tempfile.mkdtemp(prefix="tideover-e2e-")
    run(tap, folder)
    if not tap.bad:
        shutil.rmtree(folder, ignore_errors=True)
    tap.end()


main()
