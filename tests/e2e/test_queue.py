#!/usr/bin/env python3
"""The queue's verbs with a real daemon: selection, dry runs, retry, discard,
bounce, export and resend, against systems that answer as they are told
(TAP)."""
import email
import glob
import mailbox
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time

import peers
from cutover import (DOMAIN, OLD, QUEUE, ROOT, VARIANT, Client, Tap,
                     World, journal, listed, on_a_terminal)
from peers import wait_for

GONE = b"550 5.1.1 no such user here"
SLOW = b"451 4.3.2 come back later"
MANY = 2100  # envelopes: the index gives a thousand at a time


class Told:
    """A mail system that answers RCPT and the final dot as it was told."""
    tls = "opportunistic"

    def __init__(self, folder, host, domain):
        self.host = host
        self.rcpt = {}   # local part: what to answer
        self.dot = None  # what to answer instead of 250
        self.wait = None  # an event before the answer to the final dot
        self.mail = []   # (reverse-path, forward-paths, bytes)
        self.lock = threading.Lock()
        system = self

        class Session(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self):
                system.serve(self.rfile, self.wfile)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self.server = Server(("127.0.0.1", 0), Session)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def serve(self, lines, out):
        def say(text):
            out.write(text + b"\r\n")
            out.flush()
        say(b"220 " + self.host.encode())
        sender, paths = None, []
        for line in lines:
            verb = line.strip().upper()
            if verb.startswith(b"EHLO"):
                say(b"250-" + self.host.encode() + b"\r\n250-8BITMIME\r\n"
                    b"250 PIPELINING")
            elif verb.startswith(b"MAIL"):
                sender, paths = line.split(b"<")[1].split(b">")[0], []
                say(b"250 ok")
            elif verb.startswith(b"RCPT"):
                path = line.split(b"<")[1].split(b">")[0].decode()
                answer = self.rcpt.get(path.split("@")[0], b"250 ok")
                if answer.startswith(b"2"):
                    paths.append(path)
                say(answer)
            elif verb == b"DATA":
                say(b"354 go" if paths else b"554 nobody")
                if paths:
                    self.take(sender.decode(), paths, lines)
                    if self.wait:
                        self.wait.wait(60)
                    say(self.dot or b"250 2.0.0 kept as %d" % len(self.mail))
            elif verb == b"QUIT":
                say(b"221 bye")
                return
            else:
                say(b"250 ok")

    def take(self, sender, paths, lines):
        body = b""
        for line in lines:
            if line == b".\r\n":
                break
            body += line[1:] if line.startswith(b".") else line
        with self.lock:
            if not self.dot:
                self.mail.append((sender, paths, body))

    def subjects(self, box):
        with self.lock:
            return [email.message_from_bytes(body)["Subject"]
                    for _, paths, body in self.mail
                    if f"{box}@{DOMAIN}" in paths]

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def standby(world, plan):
    plan["strategy"] = "standby"
    plan["queue_mx"]["priority"] = 50
    plan["timing"]["retry_min"] = plan["timing"]["retry_max"] = "1h"
    del plan["replay"]["ramp"]
    return plan


def message(subject, more=""):
    return (f"Subject: {subject}\r\n\r\n{subject}\r\n{more}").encode()


def send(world, box, subject, sender=b"sender@b.example", more=""):
    client = Client(world.port, False)
    client.command(b"MAIL FROM:<" + sender + b">", 250)
    client.command(f"RCPT TO:<{box}@{DOMAIN}>".encode(), 250)
    client.command(b"DATA", 354)
    client.command(message(subject, more) + b".", 250)
    client.close()


def rows(world, *args):
    return sorted(r["forward_path"].split("@")[0]
                  for r in listed(world, *args))


def fill(world):
    """One delivered, two deferred, two held, and one held from <>."""
    world.old.rcpt = {"gone": GONE, "slow": SLOW, "null": GONE}
    send(world, "box1", "delivered")
    wait_for("it is delivered", lambda: world.ledger()["delivered"] == 1)
    send(world, "slow", "first", b"slow@c.example")
    wait_for("the first is deferred",
             lambda: rows(world, "--reply", "451") == ["slow"])
    send(world, "slow", "second", b"slow@c.example")
    send(world, "gone", "lost one", more="From here on\r\n>From there\r\n")
    send(world, "gone", "lost two")
    send(world, "null", "a notification", b"")
    wait_for("three are held", lambda: world.ledger()["held"] == 3)


def selecting(tap, world):
    for args, want in (
            (("--in", "held"), ["gone", "gone", "null"]),
            (("--reply", "550"), ["gone", "null"]),
            (("--reply", "5.1.1"), ["gone", "null"]),
            (("--reply", "NO SUCH user"), ["gone", "null"]),
            (("--reply", "551"), []),
            (("--sender", "SENDER@b.example", "--in", "held"),
             ["gone", "gone"]),
            (("--sender", "@c.example"), ["slow", "slow"]),
            (("--sender", "<>"), ["null"]),
            (("--recipient", f"GONE@{DOMAIN}"), ["gone", "gone"]),
            (("--recipient", f"@{DOMAIN}", "--in", "delivered"), ["box1"]),
            (("--domain", DOMAIN, "--in", "delivered"), ["box1"]),
            (("--domain", "other.example"), []),
            (("--older-than", "1h"), []),
            (("--older-than", "0s", "--in", "delivered"), ["box1"]),
            (("--delivered-to", "old"), ["box1"]),
            (("--delivered-to", "new"), [])):
        got = rows(world, *args)
        # A held line is held with what its first was told.
        tap.ok(got == want, f"list {' '.join(args)}: {got}")

    before = world.ledger()
    for verb in ("hold", "release", "retry", "discard", "bounce", "export"):
        status, said = world.tideover("queue", verb, "acme", "--by", "anna",
                                      "--reason", "x")
        tap.ok(status == 2 and "which messages" in said["error"],
               f"{verb} of nothing in particular is refused")
    for verb in ("discard", "bounce"):
        status, said = world.tideover("queue", verb, "acme", "--all",
                                      "--reason", "x")
        tap.ok(status == 2 and "--by" in said["error"],
               f"{verb} wants a name: {said['error']}")
        status, said = world.tideover("queue", verb, "acme", "--all",
                                      "--by", "anna")
        tap.ok(status == 2 and "--reason" in said["error"],
               f"{verb} wants a reason: {said['error']}")
    status, said = world.tideover("queue", "release", "acme", "nonsense",
                                  "--reason", "x")
    tap.ok(status == 1 and "names no envelope" in said["error"],
           f"an id that is none: {said['error']}")
    for verb, args, count in (("discard", ["--all"], 3),
                              ("discard", ["--reply", "550"], 2),
                              ("release", ["--all"], 3),
                              ("hold", ["--all"], 2),
                              ("retry", ["--sender", "@c.example"], 2)):
        said = world.must(0, "queue", verb, "acme", *args, "--dry-run")
        tap.ok(said["dry_run"] and said["count"] == count and
               len(said["envelopes"]) == count,
               f"{verb} {' '.join(args)} --dry-run names {count}")
    tap.ok(world.ledger() == before and not journal(world, "discard"),
           "dry runs change nothing, and journal nothing")


def retrying(tap, world):
    world.old.rcpt.pop("slow")
    waits = listed(world, "--recipient", f"slow@{DOMAIN}")
    tap.ok(waits[0]["next"] and len(waits) == 2,
           f"deferred for an hour: next {waits[0]['next']}")
    # The second one is named; the first goes before it all the same.
    world.must(0, "queue", "retry", "acme", waits[1]["id"], "--by", "anna")
    wait_for("both are delivered",
             lambda: world.ledger()["delivered"] == 3)
    tap.ok(world.old.subjects("slow") == ["first", "second"],
           "retry: due now, in order")
    tap.ok(journal(world, "retry")[0]["by"] == "anna", "and journalled")


def to_stdout(tap, world, text):
    """The same mbox down a pipe, and nothing else there."""
    command = [f"{ROOT}/build/{VARIANT}/tideover", "queue", "export",
               "--state", world.state, "--in", "held", "--output", "-",
               "--format"]
    done = subprocess.run([*command, "mbox"], capture_output=True, check=False,
                          timeout=60)
    tap.ok(done.returncode == 0 and done.stdout == text and
           b"3 messages" in done.stderr,
           "--output - is stdout, with the mbox and nothing else")
    for wrong, why in (("eml", b"only --format mbox"),
                       ("maildir", b"only --format mbox")):
        done = subprocess.run([*command, wrong], capture_output=True,
                              check=False, timeout=60)
        tap.ok(done.returncode == 2 and not done.stdout and
               why in done.stderr, f"{wrong}: {done.stderr.decode().strip()}")
    status, said = world.tideover("queue", "export", "--in", "held",
                                  "--output", "-", "--format", "mbox")
    tap.ok(status == 2 and "both want stdout" in said["error"],
           f"--json: {said['error']}")
    with subprocess.Popen([*command, "mbox"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as child:
        child.stdout.close()
        said = child.stderr.read()
        tap.ok(child.wait(60) == 1 and said.count(b"cannot write") == 1,
               f"a pipe that nobody reads ends it: {said.decode().strip()}")


def without_plan(tap, world):
    """The daemon has one plan: an ID says enough."""
    row = listed(world, "--in", "held")[0]
    for name in (row["id"], f"{row['id']}:{row['envelope']}"):
        said = world.must(0, "queue", "show", name)
        tap.ok(said["id"] == row["id"], f"queue show {name}")
    said = world.must(0, "queue", "release", row["id"], "--dry-run")
    tap.ok(said["count"] > 0 and said["dry_run"], "queue release ID")


def exporting(tap, world):
    held = listed(world, "--in", "held")
    by_id = {}
    for row in held:
        path = f"{world.folder}/{row['id']}"
        world.must(0, "queue", "export", "acme", row["id"], "--output", path)
        with open(f"{path}/{row['id']}.eml", "rb") as out:
            by_id[row["id"]] = out.read()
        status, said = world.tideover("queue", "export", "acme", row["id"],
                                      "--output", path)
        with open(f"{path}/{row['id']}.eml", "rb") as out:
            same = out.read() == by_id[row["id"]]
        tap.ok(status == 1 and same, "an existing .eml is an error")
        if row["forward_path"].startswith("gone"):
            tap.ok(len(by_id[row["id"]]) == row["bytes"], "it is whole")
    mbox = f"{world.folder}/all.mbox"
    said = world.must(0, "queue", "export", "acme", "--in", "held",
                      "--format", "mbox", "--output", mbox)
    with open(mbox, "rb") as out:
        text = out.read()
    tap.ok(said["messages"] == 3 and text.count(b"\nFrom ") == 2 and
           b"\n>From here on\n>>From there\n" in text,
           "an mbox: three messages, their own From lines quoted")
    whole = sorted(m.as_bytes().replace(b"\n>From", b"\nFrom")
                   .replace(b"\n>>From", b"\n>From")
                   for m in mailbox.mbox(mbox))
    tap.ok(len(whole) == 3 and all(
        email.message_from_bytes(m)["Subject"] for m in whole),
        "and another program reads them")
    status, said = world.tideover("queue", "export", "acme", "--in", "held",
                                  "--format", "mbox", "--output", mbox)
    with open(mbox, "rb") as out:
        tap.ok(status == 1 and "exists" in said["error"] and
               out.read() == text, f"an existing mbox: {said['error']}")
    to_stdout(tap, world, text)
    folder = f"{world.folder}/maildir"
    for _ in range(2):
        world.must(0, "queue", "export", "acme", "--in", "held", "--format",
                   "maildir", "--output", folder)
    bodies = []
    for path in glob.glob(f"{folder}/new/*"):
        with open(path, "rb") as out:
            bodies.append(out.read())
    tap.ok(sorted(bodies) == sorted(list(by_id.values()) * 2) and
           not os.listdir(f"{folder}/tmp"),
           "a Maildir: each message as it came, under names of their own")
    copy = listed(world, "--in", "delivered")[0]["id"]
    said = world.must(0, "queue", "export", "acme", copy, "--output",
                      f"{world.folder}/copy")
    tap.ok(said["messages"] == 1, "delivered mail is exported from its copy")


def bouncing(tap, world, relay):
    via = ["--relay", f"127.0.0.1:{relay.port}", "--by", "anna", "--reason",
           "left the company"]
    status, said = world.tideover("queue", "bounce", "acme", "--recipient",
                                  f"gone@{DOMAIN}", "--by", "anna",
                                  "--reason", "x")
    tap.ok(status == 1 and "--relay" in said["error"] and
           "discard" in said["error"], f"without a relay: {said['error']}")
    said = world.must(0, "queue", "bounce", "acme", "--sender",
                      "nobody@b.example", *via)
    tap.ok((said["count"], said["bounced"], said["failed"]) == (0, 0, []),
           "a bounce of nothing says so in every field")
    status, said = world.tideover("queue", "bounce", "acme", "--sender", "<>",
                                  *via)
    tap.ok(status == 1 and said["count"] == 0 and
           "discard" in said["refused"][0]["error"],
           f"a null reverse-path: {said['refused'][0]['error']}")
    relay.dot = b"451 4.7.1 not now"
    before = world.ledger()
    status, said = world.tideover("queue", "bounce", "acme", "--reply",
                                  "550", "--sender", "@b.example", *via)
    tap.ok(status == 1 and said["bounced"] == 0 and
           "451 not now" in said["failed"][0]["error"] and
           world.ledger() == before,
           f"the relay says no: {said['failed'][0]['error']}")
    row = listed(world, "--recipient", f"gone@{DOMAIN}")[0]
    tap.ok(row["state"] == "held" and "not bounced" in row["reason"] and
           "451" in journal(world, "not-bounced")[0]["error"],
           f"it stays held and says why: {row['reason'][:50]}")
    relay.dot = None
    said = world.must(0, "queue", "bounce", "acme", "--reply", "550",
                      "--sender", "@b.example", *via)
    now = world.ledger()
    tap.ok(said["bounced"] == 1 and now["bounced"] == 1 and now["held"] == 2
           and now["balances"], f"bounced is on the ledger: {now}")
    sender, paths, body = relay.mail[0]
    notice = email.message_from_bytes(body)
    parts = notice.get_payload()
    fields = parts[1].get_payload()[1]
    tap.ok(len(relay.mail) == 1 and sender == "" and
           paths == ["sender@b.example"], "one notification, from <>")
    tap.ok(notice.get_content_type() == "multipart/report" and
           [p.get_content_type() for p in parts] ==
           ["text/plain", "message/delivery-status", "text/rfc822-headers"],
           "a multipart/report of three parts")
    tap.ok(fields["Final-Recipient"] == f"rfc822; gone@{DOMAIN}" and
           fields["Action"] == "failed" and fields["Status"] == "5.1.1" and
           fields["Diagnostic-Code"] ==
           "smtp; 550 5.1.1 no such user here" and
           fields["Remote-MTA"] == "dns; [127.0.0.1]",
           "whose fields are the evidence")
    header = parts[2].get_payload()
    tap.ok("Subject: lost one" in header and "From here on" not in header,
           "the header comes back, the body does not")
    row = listed(world, "--in", "bounced")[0]
    noted = journal(world, "bounced")
    tap.ok("the sender was told" in row["reason"] and row["by"] == "anna" and
           noted[0]["id"] == row["id"] and noted[0]["code"] == 250,
           f"both the index and the journal know: {row['reason']}")
    said = world.must(0, "queue", "discard", "acme", "--sender", "<>", "--by",
                      "anna", "--reason", "a stray notification")
    tap.ok(said["count"] == 1 and world.ledger()["discarded"] == 1,
           "what cannot bounce is discarded")
    said = world.must(0, "queue", "discard", "acme", row["id"], "--by",
                      "anna", "--reason", "once more")
    tap.ok(said["count"] == 0 and said["skipped"] == 1,
           "what is final stays as it is")


def resending(tap, world, began):
    before = world.ledger()
    row = listed(world, "--in", "delivered")[0]
    since = ["--since", began]
    status, said = world.tideover("queue", "resend", "acme", "--to", "new")
    tap.ok(status == 2 and "--since" in said["error"],
           f"resend of everything is refused: {said['error']}")
    said = world.must(0, "queue", "resend", "acme", *since, "--to", "new",
                      "--dry-run")
    tap.ok(said["end"] and said["left"] == 3 and said["gone"] == 0 and
           not world.new.mail, "resend --dry-run sends nothing")
    said = world.must(0, "queue", "resend", "acme", *since, "--to", "old")
    tap.ok(said["sent"] == 0 and said["left"] == 0,
           "the old system does not get again what it took")
    world.new.rcpt = {"box1": SLOW}
    status, said = world.tideover("queue", "resend", "acme", *since, "--to",
                                  "new")
    tap.ok(status == 1 and said["sent"] == 2 and said["refused"] == 1 and
           world.new.subjects("slow") == ["first", "second"],
           f"the copies arrive in order, a refusal is told: {said}")
    world.new.rcpt = {}
    world.must(0, "queue", "resend", "acme", row["id"], *since, "--to", "new")
    tap.ok(world.new.subjects("box1") == ["delivered"] and
           world.new.mail[-1][2] == world.old.mail[0][2],
           "one of them by its id, the same bytes")
    tap.ok(world.ledger() == before, "the ledger does not change")
    noted = [(a["code"], a["sent"]) for a in journal(world, "resend-attempt")]
    tap.ok(sorted(noted) == [(250, True), (250, True), (250, True),
                             (451, False)],
           f"each attempt is journalled with its reply: {noted}")
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ",
                          time.gmtime(time.time() + 3600))
    said = world.must(0, "queue", "resend", "acme", "--since", later, "--to",
                      "new")
    tap.ok(said["sent"] == 0, "nothing was delivered after --since")


def resending_pages(tap, world):
    """More than a page of the index, in order and none twice."""
    client = Client(world.port, False)
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for number in range(MANY):
        client.send(["many"], message(str(number)))
    client.close()
    wait_for("all are delivered", lambda: world.ledger()["waiting"] == 0, 60)
    some = ("--since", "2026-01-01T00:00:00Z", "--to", "new",
            "--recipient", f"many@{DOMAIN}")
    keys = ("sent", "refused", "gone", "left", "error")
    said = world.must(0, "queue", "resend", "acme", *some, "--dry-run")
    tap.ok([said[key] for key in keys] == [0, 0, 0, MANY, None] and
           not world.new.subjects("many"), f"a dry run counts all: {said}")
    said = world.must(0, "queue", "resend", "acme", *some)
    tap.ok([said[key] for key in keys] == [MANY, 0, 0, 0, None] and
           world.new.subjects("many") == [str(n) for n in range(MANY)],
           f"the same are sent, in order, none twice: {said}")


def restarting(tap, world, relay):
    """kill -9 while a relay has the notification and did not answer yet."""
    before = world.ledger()
    relay.wait = threading.Event()
    sent = len(relay.mail)
    args = ["queue", "bounce", "--state", world.state, "--relay",
            f"127.0.0.1:{relay.port}", "--by", "anna", "--reason", "gone",
            "acme", "--in", "held"]
    with subprocess.Popen([f"{ROOT}/build/{VARIANT}/tideover", *args],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as command:
        wait_for("the relay has it", lambda: len(relay.mail) > sent)
        row = listed(world, "--in", "held")[0]
        said = world.must(0, "queue", "discard", "acme", row["id"], "--by",
                          "anna", "--reason", "impatient")
        tap.ok(said["count"] == 0 and said["skipped"] == 1,
               "nobody else acts on it meanwhile")
        world.kill_daemon()
        relay.wait.set()
        tap.ok(command.wait(60) != 0, "the command fails with its daemon")
    relay.wait = None
    world.start_daemon()
    wait_for("the plan is back", lambda: world.ledger() == before)
    row = listed(world, "--in", "held")[0]
    tap.ok("the sender may know already" in row["reason"],
           f"after kill -9 it is held, and says why: {row['reason']}")
    world.must(0, *args[:2], *args[4:])
    now = world.ledger()
    tap.ok(now["bounced"] == before["bounced"] + 1 and now["held"] == 0 and
           now["balances"], f"bounced again, it ends: {now}")


def rolling_back(tap, world):
    world.knot.publish((10, QUEUE))
    wait_for("the gate finish opens", lambda: world.tideover(
        "check", "acme", "--gate", "finish")[0] == 0, 60)
    world.tideover("finish", "acme")
    send(world, "box2", "for the new one")
    wait_for("it is delivered to the new system",
             lambda: world.new.subjects("box2"))
    wait_for("the gate rollback opens", lambda: world.tideover(
        "check", "acme", "--gate", "rollback")[0] == 0, 60)
    done = subprocess.run(
        [f"{ROOT}/build/{VARIANT}/tideover", "rollback", "--state",
         world.state, "acme"], capture_output=True, text=True, check=False,
        timeout=120)
    tap.ok("1 envelopes are in the new system already" in done.stderr and
           "queue resend acme --since" in done.stderr,
           f"rollback says what the new system has: "
           f"{done.stderr.splitlines()[0]}")
    command = done.stderr.split("tideover queue resend ")[1]
    world.must(0, "queue", "resend", *command.splitlines()[0].split())
    tap.ok(world.old.subjects("box2") == ["for the new one"],
           "and the command it names sends the copy to the old one")


def stopping(tap, world, relay):
    """A clean stop does not wait for a relay that hangs."""
    relay.wait = threading.Event()
    sent = len(relay.mail)
    with subprocess.Popen(
            [f"{ROOT}/build/{VARIANT}/tideover", "queue", "--state",
             world.state, "bounce", "acme", "--all", "--by", "anna",
             "--reason", "gone"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as command:
        wait_for("the relay has it", lambda: len(relay.mail) > sent)
        world.must(0, "stop")
        code = world.daemon.process.wait(30)
        tap.ok(code == 0 and command.wait(30) != 0,
               f"stop in the middle of a bounce: the daemon ends with {code}")
    relay.wait.set()
    relay.wait = None
    world.start_daemon()
    wait_for("the plan is back", lambda: world.ledger()["held"] == 1)
    tap.ok("may know already" in listed(world, "--in", "held")[0]["reason"],
           "and the next start has it held")


def with_a_relay(tap):
    """The plan names the relay; nothing is kept of what was delivered."""
    relay = Told("", "relay.example", DOMAIN)

    def change(world, plan):
        plan["bounce"] = {"deliver_to": f"127.0.0.1:{relay.port}",
                          "from": "postmaster@hosts.example"}
        plan["keep_copies"] = "0s"
        return standby(world, plan)
    world = World(Told, change=change)
    world.keep(relay)
    try:
        world.knot.publish((10, OLD), (50, QUEUE))
        world.start_daemon()
        world.must(0, "start", world.plan)
        world.old.rcpt = {"gone": GONE}
        big = "x" * 70 + "\r\n"
        send(world, "big", "a big one", more=big * 8000)
        wait_for("it is delivered", lambda: world.ledger()["delivered"] == 1)
        tap.ok(not glob.glob(f"{world.state}/spool/*.msg"),
               "keep_copies 0s: a side file goes with the delivery")
        world.must(1, "queue", "resend", "acme", "--since",
                   "2026-01-01T00:00:00Z", "--to", "new")
        tap.ok(not world.new.mail and journal(world, "resend-attempt")[0]
               ["text"] == "no copy is kept", "and is not resent")
        for subject in ("one", "two"):
            send(world, "gone", subject)
        wait_for("two are held", lambda: world.ledger()["held"] == 2)
        args = ["queue", "bounce", "acme", "--all", "--by", "anna", "--reason", "gone"]
        status, said = on_a_terminal(world, b"n\n", *args)
        tap.ok(status == 1 and "bounce 2 envelopes?" in said and
               not relay.mail, "on a terminal it asks; no is no")
        status, said = on_a_terminal(world, b"y\n", *args)
        now = world.ledger()
        tap.ok(status == 0 and now["bounced"] == 2 and len(relay.mail) == 2
               and now["balances"], "yes is yes: through the plan's relay")
        tap.ok("<postmaster@hosts.example>" in email.message_from_bytes(
            relay.mail[0][2])["From"], "signed as the plan says")
        world.must(0, "report", "acme", "--output", f"{world.folder}/r.html")
        send(world, "gone", "three")
        wait_for("it is held", lambda: world.ledger()["held"] == 1)
        stopping(tap, world, relay)
    finally:
        end(tap, world)


def end(tap, world):
    world.tideover("stop")
    world.close()
    if not tap.bad and sys.exc_info()[0] is None:
        shutil.rmtree(world.folder, ignore_errors=True)


def main():
    tap = Tap()
    gone = peers.missing("knotd", "unbound", "kdig", "openssl")
    if gone:
        tap.skip("the queue's verbs", "missing: " + ", ".join(gone))
        tap.end()
    world = World(Told, change=standby)
    relay = world.keep(Told(world.folder, "relay.example", DOMAIN))
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        world.knot.publish((10, OLD), (50, QUEUE))
        world.start_daemon()
        world.must(0, "start", world.plan)
        wait_for("the valve opens", lambda: world.status()["domains"][0]
                 ["valve"]["state"] == "open")
        fill(world)
        selecting(tap, world)
        retrying(tap, world)
        without_plan(tap, world)
        exporting(tap, world)
        bouncing(tap, world, relay)
        resending(tap, world, began)
        resending_pages(tap, world)
        restarting(tap, world, relay)
        rolling_back(tap, world)
    finally:
        end(tap, world)
    with_a_relay(tap)
    tap.end()


if __name__ == "__main__":
    main()
