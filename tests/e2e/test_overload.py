#!/usr/bin/env python3
"""Who gets in when there is no room, and who has to wait (TAP)."""
import json
import os
import select
import shutil
import signal
import tempfile
import time

from cutover import DOMAIN, ROOT, Tap
from node import Node, Session
from peers import wait_for

LARGE = 32
MAIL = ("HELO a.example", "MAIL FROM:<>", f"RCPT TO:<box1@{DOMAIN}>")


def start(node, folder, limits, under=()):
    config = f"{folder}/tideoverd.json"
    with open(config, "w", encoding="ascii") as out:
        json.dump({"tideoverd": 1, "limits": limits}, out)
    node.start("--config", config, under=under)


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
        for session in crowd[1:]:
            for line in (*MAIL, "RSET"):
                session.say(line)
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


def begin(node, source):
    """A session that has a recipient."""
    session = Session(node.port, source)
    said = [session.say(line) for line in MAIL]
    assert {line[:3] for line in said} == {"250"}, said
    return session


def too_much(tap, folder):
    """The disk stands still for a while."""
    node = Node(folder, "release")
    stalled = f"{folder}/stalled"
    start(node, folder, {"overload": "4s"}, (
        "env", f"LD_PRELOAD={node.build}/faults.so", "FAULT_KIND=stall",
        "FAULT_CALL=pwritev", "FAULT_AT=1", f"FAULT_LAST={10**9}",
        f"FAULT_WHILE={stalled}"))
    try:
        crowd = [Session(node.port, f"127.0.1.{i + 1}")
                 for i in range(LARGE)]
        one = Session(node.port, "127.0.2.1")
        for session in (crowd[0], one):
            session.say(MAIL[0])
        begun = begin(node, "127.0.1.100")
        waits = begin(node, "127.0.3.1")
        waits.say("DATA")
        with open(stalled, "w", encoding="ascii"):
            pass
        waits.sock.sendall(b"Subject: x\r\n\r\nx\r\n.\r\n")
        seen = wait_for("it is seen", lambda: (
            sessions_of(node)["overload"]["since"] and
            sessions_of(node)["overload"]))
        said = (crowd[0].say(MAIL[1]), one.say(MAIL[1]),
                Session(node.port, "127.0.1.101", False).reply(),
                Session(node.port, "127.0.4.1", False).reply())
        tap.ok([line[:9] for line in said] ==
               ["451 4.3.2", "250 2.1.0", "421 4.3.2", "220 hold."] and
               seen["answer_ms"] >= 4000 and seen["bound"] >= 1,
               "while no answer comes, the network with the most is put off: "
               f"{seen}, {said}")
        alerts = json.loads(node.tideover("status", "acme")[1])["alerts"]
        tap.ok(any("overload: an answer takes" in text for text in alerts),
               f"status says so: {alerts}")
        wait_for("it reaches everybody",
                 lambda: sessions_of(node)["overload"]["bound"] == 0)
        late = Session(node.port, "127.0.5.1", False).reply()
        one.say("RSET")
        said = one.say(MAIL[1])
        tap.ok(late[:9] == "421 4.3.2" and said[:9] == "451 4.3.2",
               f"as it lasts, those with fewer as well: {late}, {said}")
        said = (begun.say(MAIL[2]), begun.say("DATA"))
        begun.sock.sendall(b"Subject: x\r\n\r\nx\r\n.\r\n")
        early = has_word(waits)
        os.remove(stalled)
        kept = (waits.reply(), begun.reply())
        tap.ok([line[:3] for line in said] == ["250", "354"] and
               not early and {line[:3] for line in kept} == {"250"},
               "a transaction that was begun before goes on, and is kept "
               f"when the disk goes on: {kept}")
        wait_for("it is over",
                 lambda: not sessions_of(node)["overload"]["since"])
        said = (crowd[0].say(MAIL[1]), one.say(MAIL[1]),
                Session(node.port, "127.0.1.102", False).reply())
        counted = sessions_of(node)["turned_away"]
        tap.ok([line[:3] for line in said] == ["250", "250", "220"] and
               counted["overload_connections"] == 2 and
               counted["overload_transactions"] == 2 and
               node.log().count(" overload: ") == 2,
               f"then everybody may again: {said}; counted: {counted}")
    finally:
        if os.path.exists(stalled):
            os.remove(stalled)
        node.daemon.close()


def late(tap, folder):
    """The loop does nothing for longer than an answer may take."""
    node = Node(folder)
    start(node, folder, {"overload": "1s"})
    try:
        node.daemon.process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        while time.monotonic() - begun < 2:
            time.sleep(0.1)
        node.daemon.process.send_signal(signal.SIGCONT)
        wait_for("it is over", lambda: "overload: answers are quick again"
                 in node.log())
        # A busy machine may make it late once more.
        wait_for("sessions are taken", lambda: Session(
            node.port, "127.0.1.1", False).reply()[:3] == "220")
        tap.ok("overload: an answer takes" in node.log(),
               "a loop that was late is an overload, and it ends")
    finally:
        node.daemon.close()


def in_a_chunk(tap, folder):
    """Whose place is needed is gone, whatever it sends."""
    node = Node(folder)
    start(node, folder, {"sessions": 60})
    try:
        crowd = [Session(node.port, f"127.0.1.{i + 1}") for i in range(19)]
        for session in crowd:
            session.sock.sendall(b"BDAT 1000000000\r\nx")
        # The daemon's own probes may come and go.
        others = [Session(node.port, f"127.0.{i + 2}.1") for i in range(45)]
        yielded = sessions_of(node)["turned_away"]["idle_sessions"]
        gone = [session.reply()[:9] for session in crowd[:4]]
        tap.ok(yielded >= 4 and set(gone) == {"421 4.3.2"} and
               len(others) == 45,
               f"a refused chunk keeps no place: {gone}, {yielded} counted")
    finally:
        node.daemon.close()


def few_descriptors(tap, folder):
    """Sessions leave some for the spool."""
    node = Node(folder)
    start(node, folder, {}, ("prlimit", "--nofile=256"))
    try:
        most = sessions_of(node)["limits"]["sessions"]
        crowd = [Session(node.port, f"127.0.{i % 48 + 1}.1")
                 for i in range(most)]
        large = begin(node, "127.0.100.1")
        large.say("DATA")
        kept = large.say("x" * 998 + ("\r\n" + "x" * 998) * 400 + "\r\n.")
        said = sessions_of(node)
        tap.ok(most == 192 and "256 open files are enough for 192 sessions"
               in node.log() and said["turned_away"]["no_descriptor"] == 0 and
               said["open"] == most == len(crowd) and kept[:3] == "250",
               "with few descriptors there are fewer sessions, and files for "
               f"large mail: {kept}")
        taken = [crowd.pop() for _ in range(most // 2)]
        for session in taken:
            session.say("QUIT")
        gone = [Session(node.port, f"127.0.{i % 48 + 50}.1", False)
                for i in range(most)]
        for session in gone:
            session.sock.sendall(b"QUIT\r\n")
            session.reply()
        large.say(MAIL[1])
        large.say(MAIL[2])
        large.say("DATA")
        kept = large.say("x" * 998 + ("\r\n" + "x" * 998) * 400 + "\r\n.")
        said = sessions_of(node)["turned_away"]
        tap.ok(kept[:3] == "250" and said["no_descriptor"] == 0,
               "peers that never close after QUIT do not take them: "
               f"{kept}, {said['no_descriptor']} without")
    finally:
        node.daemon.close()


def main():
    tap = Tap()
    parts = [no_room, in_a_chunk, few_descriptors, late]
    if os.path.exists(f"{ROOT}/build/release/faults.so"):
        parts.append(too_much)
    else:
        tap.skip("a disk that stands still", "missing: the release build")
    for part in parts:
        folder = tempfile.mkdtemp(prefix="tideover-e2e-")
        bad = tap.bad
        part(tap, folder)
        if tap.bad == bad:
            shutil.rmtree(folder, ignore_errors=True)
    tap.end()


main()
