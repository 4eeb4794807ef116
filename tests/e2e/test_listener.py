#!/usr/bin/env python3
"""The listener: certificates, limits, and senders that mean harm (TAP)."""
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

import peers
from cutover import DOMAIN, ROOT, Client, Tap
from node import Node, Session, any_certificate
from peers import wait_for

HOSTS = ("hold.hosts.example", "hold2.hosts.example")
OURS = 64 * 1024  # kept free of a system's limit, for our fields
SMALL = 1000
BODY = b"Subject: hello\r\n\r\ntext\r\n"


def certificate(port, name):
    session = Session(port)
    try:
        return session.starttls(name)
    finally:
        session.close()


def der(path):
    with open(path, encoding="ascii") as pem:
        return ssl.PEM_cert_to_DER_cert(pem.read())


def second_plan(node, folder, key, cert):
    """Another plan on the same listener."""
    path = f"{folder}/second.json"
    document = json.loads(json.dumps(node.document).replace(DOMAIN,
                                                            "b.example"))
    document["name"] = "second"
    document["queue_mx"]["host"] = HOSTS[1]
    document["queue_mx"]["tls"] = {"certificate_file": cert, "key_file": key}
    for system in ("old", "new"):
        document[system]["max_bytes"] = OURS + SMALL
    with open(path, "w", encoding="ascii") as out:
        json.dump(document, out)
    node.tideover("start", path)


def certificates(tap, folder):
    node = Node(folder)
    pairs = [peers.self_signed(folder, host) for host in HOSTS]
    for key, _ in pairs:
        os.chmod(key, 0o600)
    key, cert = pairs[0]
    node.document["queue_mx"]["tls"] = {"certificate_file": cert,
                                        "key_file": key}
    node.write()
    node.start()
    try:
        second_plan(node, folder, *pairs[1])
        first, second = der(cert), der(pairs[1][1])
        tap.ok(certificate(node.port, HOSTS[0]) == first and
               certificate(node.port, HOSTS[1]) == second and
               certificate(node.port, "other.example") == first,
               "one listener, a certificate per server name")
        old = Session(node.port)
        old.starttls(HOSTS[0])
        os.makedirs(f"{folder}/renewed")
        for path in peers.self_signed(f"{folder}/renewed", HOSTS[0]):
            os.rename(path, f"{folder}/{os.path.basename(path)}")
        os.kill(node.daemon.process.pid, signal.SIGHUP)
        wait_for("the new certificate is served",
                 lambda: certificate(node.port, HOSTS[0]) == der(cert))
        tap.ok(der(cert) != first and old.say("NOOP")[:3] == "250",
               "SIGHUP reads the certificate again; a session goes on")
        renewed = der(cert)
        for path in peers.self_signed(f"{folder}/renewed", HOSTS[1]):
            os.rename(path, f"{folder}/{os.path.basename(path)}")
        wait_for("a change is seen by itself", lambda: certificate(
            node.port, HOSTS[1]) == der(pairs[1][1]), 30)
        tap.ok(der(pairs[1][1]) != second,
               "a certificate that changes on disk is taken up by itself")
        with open(cert, "w", encoding="ascii") as half:
            half.write("-----BEGIN CERTIFICATE-----\n")
        wait_for("the half file is noticed",
                 lambda: "the old certificate stays" in node.log(), 30)
        tap.ok(certificate(node.port, HOSTS[0]) == renewed,
               "a half-written one changes nothing, and is in the log")
        old.close()
        done = [node.tideover("start", node.plan, "--abort")[0],
                node.tideover("remove", "acme")[0]]
        tap.ok(done == [0, 0] and all(
            certificate(node.port, name) == der(pairs[1][1])
            for name in (HOSTS[0], "other.example")),
               f"a plan that is removed takes its certificate along: {done}")
    finally:
        node.daemon.close()


def tickets(tap, folder):
    """A client that leaves a ticket unread resets a slow server."""
    node = Node(folder)
    key, cert = peers.self_signed(folder, HOSTS[0])
    node.document["queue_mx"]["tls"] = {"certificate_file": cert,
                                        "key_file": key}
    node.write()
    node.start()
    try:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = any_certificate()
            context.maximum_version = context.minimum_version = version
            kept, said = None, []
            for _ in range(2):
                session = Session(node.port)
                session.starttls(HOSTS[0], context, kept)
                said.append(session.say("EHLO a.example"))
                kept = session.sock.session
                said += [session.sock.session_reused, kept.has_ticket]
                session.close()
            tap.ok(said == ["250 ENHANCEDSTATUSCODES", False, False] * 2,
                   f"{version.name}: no session ticket, none resumed: {said}")
    finally:
        node.daemon.close()


def sizes(tap, folder):
    """SIZE announces what the larger plan takes; the smaller has its own."""
    node = Node(folder)
    node.start()
    try:
        second_plan(node, folder, *peers.self_signed(folder, HOSTS[1]))
        session = Session(node.port)
        session.say("EHLO a.example")
        said = []
        for domain, size in ((DOMAIN, SMALL + 1), ("b.example", SMALL),
                             ("b.example", SMALL + 1)):
            session.say("MAIL FROM:<>")
            session.say(f"RCPT TO:<box1@{domain}>")
            session.say("DATA")
            said.append(session.say("x" * (size - 2) + "\r\n."))
        tap.ok([one[:9] for one in said] ==
               ["250 2.0.0", "250 2.0.0", "552 5.3.4"],
               f"each plan's size counts where the message ends: {said}")
        session.close()
    finally:
        node.daemon.close()


def old_tls(tap, folder):
    """TLS 1.0 only where it was asked for."""
    node = Node(folder)
    key, cert = peers.self_signed(folder, HOSTS[0])
    node.document["queue_mx"]["tls"] = {"certificate_file": cert,
                                        "key_file": key}
    node.write()
    config = f"{folder}/tideoverd.json"
    with open(config, "w", encoding="ascii") as out:
        json.dump({"tideoverd": 1, "tls_minimum": "1.0",
                   "postmaster": f"office@{DOMAIN}"}, out)
    client = ["openssl", "s_client", "-starttls", "smtp", "-tls1", "-cipher",
              "ALL:@SECLEVEL=0", "-connect", f"127.0.0.1:{node.port}"]
    shook = []
    for options in ((), ("--config", config)):
        node.start(*options)
        try:
            done = subprocess.run(client, input=b"QUIT\r\n", timeout=30,
                                  capture_output=True, check=False)
            shook.append(b"Protocol  : TLSv1\n" in done.stdout and
                         b"Verify return code" in done.stdout and
                         b"Cipher is (NONE)" not in done.stdout)
            if options:
                session = Session(node.port)
                session.say("HELO a.example")
                session.say("MAIL FROM:<>")
                answer = session.say("RCPT TO:<postmaster>")
                session.say("DATA")
                kept = session.say("Subject: x\r\n\r\nx\r\n.")
                session.close()
                listed = node.tideover("queue", "list", "acme")[1]
        finally:
            node.daemon.close()
    tap.ok(shook == [False, True],
           f"TLS 1.0 is refused, and taken with tls_minimum 1.0: {shook}")
    tap.ok(answer[:3] == kept[:3] == "250" and f"office@{DOMAIN}" in listed,
           "mail for the bare postmaster goes to the node's")


def crowds(tap, folder):
    node = Node(folder)
    config = f"{folder}/tideoverd.json"
    with open(config, "w", encoding="ascii") as out:
        json.dump({"tideoverd": 1, "postmaster": "office@gone.example",
                   "limits": {
                       "sessions": 40, "sessions_per_network": 5,
                       "connects_per_minute": 30, "messages_per_session": 2,
                       "errors_per_session": 3, "junk_per_session": 4,
                       "command": "1s"}}, out)
    node.start("--config", config)
    try:
        code, text, _ = node.tideover("check", "acme", "--gate", "start",
                                      "--only", "no-open-relay")
        found = json.loads(text)["findings"][0]
        asked = found["evidence"][0]["rcpt"]
        tap.ok(code == 0 and len(asked) == 6 and
               all(r["reply"]["code"] == 550 for r in asked),
               "no open relay, in six ways, over sessions that end after "
               f"three refusals: {found['summary']}")
        to = Session(node.port)
        to.say("HELO a.example")
        to.say("MAIL FROM:<>")
        said = to.say("RCPT TO:<postmaster>")
        tap.ok(said[:3] == "450", "a postmaster in a domain of no plan is "
               f"asked for again later: {said}")
        to.close()
        crowd = [Session(node.port, f"127.0.1.{i}", False)
                 for i in range(1, 9)]
        said = [session.reply()[:9] for session in crowd]
        tap.ok(said == ["220 hold."] * 5 + ["421 4.7.0"] * 3,
               f"the sixth session of a network gets 421: {said}")
        for session in crowd:
            session.close()
        said = ""
        for _ in range(31):
            session = Session(node.port, "127.0.2.1", False)
            said = session.reply()
            session.say("QUIT")
            session.close()
        tap.ok("slow down" in said, f"and so the 31st in a minute: {said}")
        bad = Session(node.port)
        said = [bad.say("FOO") for _ in range(3)]
        tap.ok(said[2][:3] == "500" and bad.reply()[:3] == "421",
               "errors come to an end")
        noop = Session(node.port)
        said = [noop.say("NOOP") for _ in range(4)]
        tap.ok(said[3][:3] == "250" and noop.reply()[:3] == "421",
               "so does idle talk")
        slow = Session(node.port)
        tap.ok(slow.reply()[:3] == "421", "and silence")
        many = Client(node.port, False)
        for _ in range(2):
            many.send(["box1"], BODY)
        many.sock.sendall(b"MAIL FROM:<>\r\n")
        tap.ok(many.sock.recv(100)[:3] == b"421", "and messages")
        away = node.get("/v1/daemon")["sessions"]["turned_away"]
        status = json.loads(node.tideover("status", "acme")[1])
        tap.ok(away["sessions_per_network"] == 3 and
               away["connects_per_minute"] == 1 and
               away["errors_per_session"] >= 1 and
               away["junk_per_session"] == 1 and
               away["messages_per_session"] == 1 and away["timeouts"] >= 1,
               f"each is counted: {away}")
        tap.ok(status["sessions"]["limits"]["junk_per_session"] == 4 and
               status["space"]["bytes_left"] > 0 and
               status["space"]["hours_left"] > 0,
               "status shows the limits, and how long the disk lasts")
    finally:
        node.daemon.close()


def full(tap, folder):
    """The last session there is, and the last byte of one."""
    node = Node(folder)
    config = f"{folder}/tideoverd.json"
    with open(config, "w", encoding="ascii") as out:
        json.dump({"tideoverd": 1, "limits": {
            "sessions": 10, "bytes_per_session": 1000}}, out)
    node.start("--config", config)
    try:
        many = Client(node.port, False)
        many.send(["box1"], BODY + b"x" * 1000 + b"\r\n")
        many.sock.sendall(b"MAIL FROM:<>\r\n")
        said = many.sock.recv(100)
        tap.ok(said.startswith(b"421 4.7.0 too many bytes"),
               f"bytes of a session come to an end: {said}")
        nobodys = Session(node.port)
        nobodys.say("HELO a.example")
        nobodys.say("MAIL FROM:<>")
        said = nobodys.say("RCPT TO:<postmaster>")
        tap.ok(said[:9] == "450 4.2.1", "mail for the bare postmaster waits "
               f"until there is one: {said}")
        nobodys.close()
        # Of eight from each network; a probe of the daemon's may be among them.
        crowd, said = [], "220"
        while said[:3] == "220":
            crowd.append(Session(node.port, f"127.0.{len(crowd)}.1", False))
            said = crowd[-1].reply()
        away = node.get("/v1/daemon")["sessions"]["turned_away"]
        tap.ok(said[:9] == "421 4.3.2" and len(crowd) in (10, 11) and
               away["sessions"] >= 1 and away["bytes_per_session"] == 1,
               f"after {len(crowd) - 1} sessions: {said}; counted: {away}")
        for session in crowd:
            session.close()
    finally:
        node.daemon.close()


def kept_as(node, folder, session, boxes):
    """Sends to those, and reads back the first field of what was kept."""
    session.say("MAIL FROM:<>")
    for box in boxes:
        session.say(f"RCPT TO:<{box}@{DOMAIN}>")
    session.say("DATA")
    name = session.say("Subject: x\r\n\r\nx\r\n.").split()[-1]
    session.close()
    out = f"{folder}/{name}"
    os.mkdir(out)
    node.tideover("queue", "export", "acme", name, "--output", out)
    with open(f"{out}/{os.listdir(out)[0]}", encoding="ascii") as mail:
        return name, mail.read().split("\nSubject")[0]


def received(tap, folder):
    """RFC 5321, 4.4; RFC 3848."""
    node = Node(folder)
    key, cert = peers.self_signed(folder, HOSTS[0])
    os.chmod(key, 0o600)
    node.document["queue_mx"]["tls"] = {"certificate_file": cert,
                                        "key_file": key}
    node.write()
    node.start()
    date = r"\w{3}, \d\d? \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}$"
    head = (r"^Received: from a\.example \(\[127\.0\.0\.1\]\)\s+by "
            r"hold\.hosts\.example with ")
    try:
        plain = Session(node.port)
        plain.say("HELO a.example")
        name, field = kept_as(node, folder, plain, ["box1"])
        tap.ok(re.search(head + rf"SMTP id {name}\s+for <box1@{DOMAIN}>;\s+"
                         + date, field),
               f"Received of plain SMTP to one: {field!r}")
        safe = Session(node.port)
        safe.starttls(HOSTS[0])
        safe.say("EHLO a.example")
        version, cipher = safe.sock.version(), safe.sock.cipher()[0]
        name, field = kept_as(node, folder, safe, ["box1", "box2"])
        tap.ok(re.search(head + rf"ESMTPS\s+\({version} {cipher}\) id {name};"
                         r"\s+" + date, field),
               f"and of ESMTPS to two, whom it does not name: {field!r}")
        odd = Session(node.port)
        odd.say('EHLO a(b;c"@<d')
        _, field = kept_as(node, folder, odd, ["box1"])
        tap.ok("from a?b?c???d ([127.0.0.1])\n\tby hold" in field,
               f"a name that would begin a comment begins none: {field!r}")
    finally:
        node.daemon.close()


def from_ipv6(tap, folder):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        tap.skip("a peer with IPv6", "there is none here")
        return
    node = Node(folder)
    node.document["queue_mx"]["listen"] = [f"[::1]:{node.port}"]
    node.write()
    node.start()
    try:
        peer = Session(node.port, "::1")
        peer.say("EHLO [IPv6:::1]")
        _, field = kept_as(node, folder, peer, ["box1"])
        tap.ok("from [IPv6:::1] ([IPv6:::1])\n\tby hold" in field,
               f"a peer with IPv6: {field!r}")
    finally:
        node.daemon.close()


def going_down(tap, folder):
    """421 between transactions, never inside one that was accepted."""
    node = Node(folder)
    node.start()
    try:
        idle, busy, slow = (Session(node.port) for _ in range(3))
        for session in (busy, slow):
            session.say("HELO a.example")
            session.say("MAIL FROM:<>")
            session.say(f"RCPT TO:<box1@{DOMAIN}>")
        busy.say("DATA")
        begun = time.monotonic()
        node.daemon.process.terminate()
        said = idle.reply()
        kept = busy.say("Subject: x\r\n\r\nx\r\n.")
        then = busy.reply()
        left = slow.reply()
        ended = node.daemon.process.wait(30)
        tap.ok(said[:9] == then[:9] == "421 4.3.2" and kept[:3] == "250" and
               left == "" and ended == 0 and time.monotonic() - begun < 10,
               "going down, a transaction under way ends with its 250, then "
               f"421; one that does not end is cut off: {kept}, {then}")
    finally:
        node.daemon.close()


def no_descriptors(tap, folder):
    """Out of descriptors: a word for the newcomer, and no spinning."""
    node = Node(folder)
    node.start()
    pid = node.daemon.process.pid
    try:
        used = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 6, used + 6))
        crowd = [Session(node.port, greet=False) for _ in range(12)]
        said = [session.reply()[:3] for session in crowd]
        tap.ok(set(said) == {"220", "421"},
               f"without a descriptor a peer gets 421: {said}")
        clock = cpu_of(pid)
        time.sleep(0.5)
        tap.ok(cpu_of(pid) - clock < 0.25, "and the loop does not spin "
               f"({cpu_of(pid) - clock:.2f} s of CPU in half a second)")
        for session in crowd:
            session.close()
        wait_for("sessions are taken again",
                 lambda: Session(node.port, greet=False).reply()[:3] == "220")
        tap.ok(True, "and goes on when there are some again")
    finally:
        node.daemon.close()


def no_memory(tap, folder):
    """The kernel has nothing for a peer, twenty times."""
    node = Node(folder, "release")
    node.daemon = peers.Child(
        folder, "tideoverd", "env",
        f"LD_PRELOAD={ROOT}/build/release/faults.so", "FAULT_KIND=enomem",
        "FAULT_CALL=accept4", "FAULT_AT=1", "FAULT_LAST=20",
        f"{node.build}/tideoverd", "--state", node.state)
    try:
        wait_for("tideoverd answers",
                 lambda: node.tideover("status")[0] != 4)
        begun = time.monotonic()
        # The first peer is the daemon itself, which probes its listener.
        node.tideover("start", node.plan)
        said = Session(node.port, greet=False).reply()[:3]
        took = time.monotonic() - begun
        away = node.get("/v1/daemon")["sessions"]["turned_away"]
        tap.ok(said == "220" and took > 1.9 and away["no_accept"] == 20 and
               node.log().count("accept on") == 1,
               f"a peer that the kernel has no memory for waits ({took:.1f} "
               "s); the listener asks now and then, and says so once")
    finally:
        node.daemon.close()


def deaf(tap, folder):
    """Mail without end from a peer that reads no reply."""
    node = Node(folder)
    node.start()
    mail = (b"MAIL FROM:<>\r\n" + 100 * (b"RCPT TO:<box1@%s>\r\n" %
            DOMAIN.encode()) + b"DATA\r\n" + BODY + b".\r\n")
    most = 40 << 20  # several times what the kernel keeps of both ways
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", node.port))
    try:
        sock.sendall(b"HELO a.example\r\n")
        sent = 0
        while sent < most and select.select([], [sock], [], 3)[1]:
            at = sent % len(mail)
            sent += sock.send(mail[at:], socket.MSG_DONTWAIT)
        tap.ok(sent < most, "who reads no reply is not read either, after "
               f"{sent >> 10} KiB")
        sock.settimeout(60)
        rest = mail[sent % len(mail):] + b"QUIT\r\n"
        answer = b""
        while more := sock.recv(1 << 20):
            answer += more
            if rest and select.select([], [sock], [], 0)[1]:
                rest = rest[sock.send(rest, socket.MSG_DONTWAIT):]
        tap.ok(answer.count(b" kept as ") == sent // len(mail) + 1 and
               b"\r\n221 " in answer,
               "it goes on where it was once that peer reads: "
               f"{answer.count(b' kept as ')} messages")
    finally:
        sock.close()
        node.daemon.close()


def cpu_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    tap = Tap()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000), hard))
    gone = peers.missing("openssl")
    if gone:
        tap.skip("the listener", "missing: " + ", ".join(gone))
        tap.end()
    for part in (certificates, tickets, sizes, old_tls, received, from_ipv6,
                 crowds, full, going_down, no_descriptors, no_memory, deaf):
        folder = tempfile.mkdtemp(prefix="tideover-e2e-")
        bad = tap.bad
        part(tap, folder)
        if tap.bad == bad:
            shutil.rmtree(folder, ignore_errors=True)
    tap.end()


main()
