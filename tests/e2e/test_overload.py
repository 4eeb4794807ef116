#!/usr/bin/env python3
"""Who gets in when there is no room, and who has to wait (TAP)."""
import json
import select
import shutil
import tempfile

from cutover import DOMAIN, Tap
from node import Node, Session

MAIL = ("HELO a.example", "MAIL FROM:<>", f"RCPT TO:<box1@{DOMAIN}>")


def start(node, folder, limits):
    config = f"{folder}/tideoverd.json"
    with open(config, "w", encoding="ascii") as out:
        json.dump({"tideoverd": 1, "limits": limits}, out)
    node.start("--config", config)


def has_word(session):
    """It was told something, or cut off."""
    return bool(select.select([session.sock], [], [], 0)[0])


def sessions_of(node):
    return node.get("/v1/daemon")["sessions"]


def no_room(tap, folder):
    """All sessions are taken, most of them by one network."""
    node = Node(folder)
    start(node, folder, {"sessions": 12})
    try:
        crowd = [Session(node.port, f"127.0.1.{i}") for i in range(1, 9)]
        some = [Session(node.port, f"127.0.2.{i}") for i in range(1, 5)]
        for line in MAIL:
            crowd[0].say(line)
        new = [Session(node.port, f"127.0.{i}.1") for i in (3, 4)]
        said = Session(node.port, "127.0.1.9", False).reply()
        tap.ok(said[:9] == "421 4.3.2",
               f"the network that has the most gets no more: {said}")
        # A probe of the daemon's may have had a place as well.
        gone = [session.reply()[:9] for session in crowd[1:]
                if has_word(session)]
        counted = sessions_of(node)["turned_away"]
        tap.ok(len(gone) >= 2 and set(gone) == {"421 4.3.2"} and
               not any(map(has_word, crowd[len(gone) + 1:] + some)) and
               counted["idle_sessions"] == len(gone) and
               counted["sessions"] == 1,
               "for those of other networks its longest idle sessions make "
               f"room: {gone}, {counted['idle_sessions']} counted")
        crowd[0].say("DATA")
        kept = crowd[0].say("Subject: x\r\n\r\nx\r\n.")
        tap.ok(kept[:3] == "250",
               f"one that is in a transaction, however long, is not: {kept}")
        kept = [s.say(line) for s in new for line in MAIL]
        tap.ok({said[:3] for said in kept} == {"250"},
               "and the newcomers are served")
    finally:
        node.daemon.close()


def main():
    tap = Tap()
    for part in (no_room,):
        folder = tempfile.mkdtemp(prefix="tideover-e2e-")
        bad = tap.bad
        part(tap, folder)
        if tap.bad == bad:
            shutil.rmtree(folder, ignore_errors=True)
    tap.end()


main()
