#!/usr/bin/env python3
"""What a target must prove before it gets mail: DANE, with knot that signs and
unbound that validates, and the MTA-STS policy of its domain (TAP)."""
import hashlib
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import peers
from cutover import (DOMAIN, OLD, QUEUE, ROOT, VARIANT, Client, Tap, World,
                     blocking, findings, journal, listed)
from peers import run, wait_for
from test_dnssec import OWN, Signer, Validator

HOST = "tgt.localhost"
SHOP = "shop.example"  # another domain that goes there
TTL = 1


def policy_host():
    """A loopback address whose port 443 is free: policies have no other."""
    for last in range(70, 120):
        with socket.socket() as there:
            try:
                there.bind((f"127.0.0.{last}", 443))
                return f"127.0.0.{last}"
            except PermissionError:
                break
            except OSError:
                continue
    return None


POLICY_HOST = policy_host()
SHORT = """\
    local-zone: "localhost." nodefault
    cache-max-ttl: 1
    cache-max-negative-ttl: 1
    val-bogus-ttl: 1
    infra-keep-probing: yes
"""


class Zones(Signer):
    """A signed parent, the target's signed zone below it, and the domain."""

    zones = ("localhost", HOST, "example", DOMAIN, SHOP, "hosts.example")
    signed = ("localhost", HOST)
    soa = f"@ {TTL} SOA ns.hosts.example. admin.example. %d 60 60 3600 1\n" \
          f"@ {TTL} NS ns.hosts.example.\n"
    mx = ((10, HOST), (50, QUEUE))  # of the domain

    def delegate(self, how):
        """The target's zone is "signed", "plain" or "bogus"."""
        lines = f"{HOST}. {TTL} NS ns.hosts.example.\n"
        right = self.ds(HOST)
        if how == "signed":
            lines += "".join(f"{HOST}. {TTL} DS {ds}\n" for ds in right)
        elif how == "bogus":
            wrong = right[-1].split()
            wrong[-1] = ("0" if wrong[-1][0] != "0" else "1") + wrong[-1][1:]
            lines += f"{HOST}. {TTL} DS {' '.join(wrong)}\n"
        self.publish("localhost", lines, HOST, "DS",
                     {"signed": len(right), "plain": 0, "bogus": 1}[how])

    def tlsa(self, port, *records):
        """The target's TLSA set becomes these."""
        name = f"_{port}._tcp.{HOST}"
        self.publish(HOST, f"@ {TTL} A 127.0.0.1\n" + "".join(
            f"{name}. {TTL} TLSA {record}\n" for record in records),
                     name, "TLSA", len(records))

    def lame(self):
        """The target has an address; its TLSA is said to be somewhere where
        nobody answers for it."""
        self.publish(HOST, f"@ {TTL} A 127.0.0.1\n"
                     f"_tcp {TTL} NS ns.hosts.example.\n", HOST, "A", 1)

    def sts(self, policy_id):
        """The domain's zone, with the record of MTA-STS or without (None)."""
        lines = f"mta-sts {TTL} A {POLICY_HOST or '127.0.0.1'}\n" + "".join(
            f"@ {TTL} MX {preference} {host}.\n"
            for preference, host in self.mx)
        if policy_id:
            lines += f'_mta-sts {TTL} TXT "v=STSv1; id={policy_id};"\n'
        self.publish(DOMAIN, lines, f"_mta-sts.{DOMAIN}", "TXT",
                     1 if policy_id else 0)


class Authority:
    """A CA, and what it signs."""

    def __init__(self, folder):
        self.folder = folder
        self.key, self.cert = f"{folder}/ca.key", f"{folder}/ca.pem"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
            "/CN=test CA", "-keyout", self.key, "-out", self.cert)

    def sign(self, host):
        """Paths of a key, and of the chain up to the CA."""
        key, cert = (f"{self.folder}/signed-{host}.{end}"
                     for end in ("key", "pem"))
        if os.path.exists(cert):
            return key, cert
        run("openssl", "req", "-x509", "-CA", self.cert, "-CAkey", self.key,
            "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "30", "-subj", f"/CN={host}", "-addext",
            f"subjectAltName=DNS:{host}", "-addext",
            "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out",
            cert)
        with open(cert, "a", encoding="ascii") as out, open(
                self.cert, encoding="ascii") as ca:
            out.write(ca.read())
        return key, cert


def ee(cert):
    """TLSA 3 1 1 of the first certificate in the file."""
    pem = run("openssl", "x509", "-in", cert, "-noout", "-pubkey").stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"],
                         input=pem.encode(), capture_output=True,
                         check=True).stdout
    return "3 1 1 " + hashlib.sha256(der).hexdigest()


def ta(cert):
    """TLSA 2 0 1 of the only certificate in the file."""
    with open(cert, encoding="ascii") as pem:
        der = ssl.PEM_cert_to_DER_cert(pem.read())
    return "2 0 1 " + hashlib.sha256(der).hexdigest()


class Target:
    """A mail system that shows the certificate that it is given, and remembers
    what the sessions that brought mail showed."""

    def __init__(self, client_ca):
        self.client_ca = client_ca
        self.starttls = True
        self.pair = None
        self.mails, self.sessions = [], 0
        self.given_up = 0  # sessions whose client did not like what it saw
        self.live = set()  # sessions; those of probes are short
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            try:
                sock, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,),
                             daemon=True).start()

    def secure(self, sock, seen):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        key, cert = self.pair
        context.load_cert_chain(cert, key)
        context.load_verify_locations(self.client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.sni_callback = lambda _, name, __: seen.update(sni=name)
        sock = context.wrap_socket(sock, server_side=True)
        seen["client"] = sock.getpeercert()
        return sock

    def serve(self, sock):
        self.sessions += 1
        seen = {"sni": None, "client": None, "session": self.sessions}
        self.live.add(id(seen))
        try:
            with sock:
                self.talk(sock, seen)
        except ssl.SSLError:
            self.given_up += 1
        except OSError:
            pass
        self.live.discard(id(seen))

    def talk(self, sock, seen):
        def say(text):
            sock.sendall(text.encode() + b"\r\n")

        say(f"220 {HOST}")
        lines = sock.makefile("rb")
        for line in lines:
            verb = line[:4].upper()
            if verb == b"EHLO":
                offers = self.starttls and not isinstance(sock, ssl.SSLSocket)
                say(f"250-{HOST}\r\n" + ("250-STARTTLS\r\n" if offers else "")
                    + "250 8BITMIME")
            elif verb == b"STAR":
                say("220 go")
                sock = self.secure(sock, seen)
                lines = sock.makefile("rb")
                self.converse(sock, lines, seen)
                return
            elif not self.answer(sock, verb, lines, seen):
                return

    def converse(self, sock, lines, seen):
        for line in lines:
            verb = line[:4].upper()
            if verb == b"EHLO":
                sock.sendall(f"250-{HOST}\r\n250 8BITMIME\r\n".encode())
            elif not self.answer(sock, verb, lines, seen):
                return

    def answer(self, sock, verb, lines, seen):
        if verb == b"QUIT":
            sock.sendall(b"221 bye\r\n")
            return False
        if verb == b"DATA":
            sock.sendall(b"354 go on\r\n")
            while next(lines) != b".\r\n":
                pass
            self.mails.append(dict(seen))
        sock.sendall(b"250 2.0.0 yes\r\n")
        return True

    def close(self):
        try:  # whoever waits in accept() would keep it open
            self.server.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.server.close()


class PolicyServer:
    """The domain's policy by HTTPS, if it may listen there."""

    def __init__(self, pair):
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            """Says what the server is told to say."""

            def do_GET(self):  # pylint: disable=invalid-name
                server.asked += 1
                if server.fails:
                    self.send_error(503)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.end_headers()
                self.wfile.write(server.text.encode())

            def log_message(self, *_):
                """Nothing to the test's output."""

        self.text, self.asked, self.fails = "", 0, False
        self.http = http.server.ThreadingHTTPServer((POLICY_HOST, 443),
                                                    Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair[1], pair[0])
        self.http.socket = context.wrap_socket(self.http.socket,
                                               server_side=True)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def says(self, mode, *mx, max_age=86400):
        self.text = f"version: STSv1\nmode: {mode}\n" + "".join(
            f"mx: {name}\n" for name in mx) + f"max_age: {max_age}\n"

    def close(self):
        self.http.shutdown()
        self.http.server_close()


class Dane(World):
    """A standing backup of the target, and nothing else that is not needed."""

    mx_set = Zones.mx

    def __init__(self, tls, port=None):  # pylint: disable=super-init-not-called
        self.folder = tempfile.mkdtemp(prefix="tideover-dane-")
        os.chmod(self.folder, 0o755)
        self.open = []
        self.daemon = None
        self.state = f"{self.folder}/state"
        self.plan = f"{self.folder}/plan.json"
        self.port = peers.free_port()
        self.authority = Authority(self.folder)
        key, cert = peers.self_signed(self.folder, QUEUE)
        os.chmod(key, 0o600)
        self.target = self.keep(Target(cert))
        self.zones = self.keep(Zones(self.folder))
        self.zones.mx = self.mx_set
        self.zones.sts(None)
        self.zones.publish("hosts.example", "ns A 127.0.0.1\n"
                           f"{QUEUE}. A 127.0.0.1\n"
                           f"{OLD}. A 127.0.0.1\n", QUEUE, "A", 1)
        self.zones.delegate("signed")
        self.zones.tlsa(self.target.port)
        self.resolver = self.keep(Validator(
            self.folder, self.zones, validates=not OWN, more=SHORT))
        if OWN:
            os.environ["TIDEOVER_UNBOUND_CONFIG"] = \
                self.zones.unbound_conf(SHORT)
        plan = self.plan_for(tls, key, cert, port or self.target.port)
        with open(self.plan, "w", encoding="ascii") as out:
            json.dump(plan, out)
        self.sent = 0
        self.self_signed = peers.self_signed(self.folder, "other.example")

    def plan_for(self, tls, key, cert, port):
        local = "127.0.0.1:%d"
        return {
            "tideover": 1, "name": "acme", "strategy": "standby",
            "rehearsal": True,
            "domains": [{"name": DOMAIN}],
            "primary": {"provider": "custom", "mx": [HOST],
                        "deliver_to": f"{HOST}:{port}"},
            "queue_mx": {"host": QUEUE, "priority": 50,
                         "listen": [local % self.port],
                         "tls": {"certificate_file": cert, "key_file": key}},
            "dns": {"resolvers": [local % self.resolver.port],
                    "authorities": [local % self.zones.port],
                    "ttl": TTL, "old_ttl": TTL},
            "expected": {"messages_per_day": 1000, "mean_bytes": 20000},
            "recipients": {"policy": "any"},
            "replay": {"tls": tls, "client_certificate_file": cert},
            "probe": {"recipients": [f"postmaster@{DOMAIN}"]},
            "timing": {"recover_after": "1s", "probe_every": "300ms",
                       "watch_every": "1s", "retry_min": "500ms",
                       "retry_max": "1s"}}

    def start(self, phase="standing"):
        os.environ["SSL_CERT_FILE"] = self.authority.cert
        status, said = self.tideover("start", self.plan)
        assert status in (0, 3), said
        try:
            wait_for("the plan stands",
                     lambda: self.status().get("phase") == phase, 20)
        except TimeoutError as error:
            gate = said.get("gate") or said
            raise TimeoutError(json.dumps(
                [f for f in gate.get("findings", [gate])
                 if f.get("verdict") not in ("pass", "warn")])) from error

    def restart(self):
        self.must(0, "stop")
        self.start_daemon()
        wait_for("the plan goes on",
                 lambda: self.status().get("phase") == "standing")

    def send(self):
        """One message, for which a new session begins; the case it belongs to
        is over when it has left."""
        wait_for("earlier sessions have ended",
                 lambda: not self.target.live)
        client = Client(self.port, False)
        client.send([f"box{self.sent}"], b"Subject: hello\r\n\r\nhello\r\n")
        client.close()
        self.sent += 1

    def delivered(self):
        """Evidence of the last message, once all have left."""
        try:
            wait_for("all is delivered",
                     lambda: self.ledger()["delivered"] == self.sent, 30)
        except TimeoutError as error:
            raise TimeoutError(json.dumps(self.status())[:3000]) from error
        row = listed(self, "--recipient", f"box{self.sent - 1}@{DOMAIN}")[0]
        return row["last_reply"]["tls"]

    def refused(self, *words):
        """Why the valve is closed, once it is for a reason with these."""
        domain = {}

        def look():
            domain.update(self.status()["domains"][0])
            valve = domain["valve"]
            return valve["state"] == "closed" and all(
                word in valve["reason"] for word in words)

        try:
            wait_for("it is refused", look, 30)
        except TimeoutError:
            return None
        return domain["valve"]["reason"]


class Moving(Dane):
    """A domain that moves to the target."""

    mx_set = ((10, OLD),)

    def plan_for(self, tls, key, cert, port):
        plan = super().plan_for(tls, key, cert, port)
        old = self.keep(Target(cert))
        old.starttls = False
        plan["strategy"] = "park"
        plan["new"] = plan.pop("primary")
        plan["old"] = {"provider": "custom", "mx": [OLD],
                       "deliver_to": f"{HOST}:{old.port}"}
        plan["timing"].update(horizon_margin="500ms", rcpt_probe_span="1s",
                              drained_age="1s", trail="1s")
        return plan

    def park(self):
        self.start("holding")
        self.zones.mx = ((10, QUEUE),)
        self.zones.sts(None)
        wait_for("every vantage sees the queue alone",
                 lambda: self.views() == {"parked"})


def refuses(tap, world, what, *words):
    """Once a probe has found out: the message stays, nothing is held, no
    connection brings mail."""
    world.refused(*words)
    mails = len(world.target.mails)
    world.send()
    reason = world.refused(*words)
    ledger = world.ledger()
    tap.ok(reason and ledger["waiting"] == 1 and ledger["held"] == 0 and
           len(world.target.mails) == mails,
           f"{what}: {reason or world.status()['domains'][0]['valve']}")


def refuses_by_dns(tap, world, what, *words):
    """The same, once neither the resolver's cache nor, behind it, ours may have
    what DNS said before."""
    over = time.monotonic() + 3 * TTL
    wait_for("the TTLs are over", lambda: time.monotonic() > over)
    refuses(tap, world, what, *words)


def delivers(tap, world, what, *words):
    tls = world.delivered()
    tap.ok(all(word in tls for word in words), f"{what}: {tls}")


def dane_cases(tap, world):
    target, zones, authority = world.target, world.zones, world.authority
    signed, wrong = authority.sign(HOST), authority.sign("wrong.localhost")

    target.pair = world.self_signed
    zones.tlsa(target.port, ee(target.pair[1]))
    world.start()
    world.send()
    delivers(tap, world, "DANE-EE matches, and neither name nor CA counts",
             "TLSv1.3", "verified by dane-ee", f"SNI {HOST}",
             f"demanded by TLSA of _{target.port}._tcp.{HOST}")
    seen = target.mails[-1]
    tap.ok(seen["sni"] == HOST, f"the target was asked for {seen['sni']}")
    tap.ok(seen["client"] and QUEUE in json.dumps(seen["client"]),
           "a target that asks gets the client certificate")

    target.pair = signed
    refuses(tap, world, "another key than the TLSA's", "certificate",
            f"TLSA of _{target.port}._tcp.{HOST}", "repair one of the two")
    zones.tlsa(target.port, ee(target.pair[1]), "3 1 1 " + 64 * "0")
    delivers(tap, world, "the TLSA of the new key, beside another: the mail "
             "goes by itself", "dane-ee")

    zones.tlsa(target.port, ta(authority.cert))
    world.send()
    delivers(tap, world, "DANE-TA matches", f"verified by dane-ta as {HOST}")
    target.pair = wrong
    refuses(tap, world, "DANE-TA signed another name", "ostname mismatch")
    target.pair = signed
    delivers(tap, world, "with the right name it goes", "dane-ta")

    target.pair = world.self_signed
    zones.tlsa(target.port, "1 1 1 " + 64 * "0", "3 1 1 abcd", "3 7 1 abcd")
    world.send()
    delivers(tap, world, "no record is of use", "not verified",
             "none of use")
    target.starttls = False
    refuses(tap, world, "and then no STARTTLS", "does not offer STARTTLS",
            "TLSA")
    target.starttls = True
    world.delivered()

    zones.tlsa(target.port)
    refuses_by_dns(tap, world, "no TLSA",
                   f"_{target.port}._tcp.{HOST} has no TLSA",
                   "set replay.tls")
    zones.tlsa(target.port, ee(target.pair[1]))
    world.delivered()
    zones.lame()
    refuses_by_dns(tap, world, "the TLSA cannot be found out",
                   f"no secure answer for _{target.port}._tcp.{HOST}: SERVFAIL")
    zones.tlsa(target.port, ee(target.pair[1]))
    delivers(tap, world, "once it is found the mail goes", "dane-ee")
    zones.delegate("plain")
    refuses_by_dns(tap, world, "an unsigned zone", "does not vouch for",
                   "sign its zone")
    zones.delegate("signed")
    delivers(tap, world, "signed again, the mail goes", "verified by dane-ee")
    # The last: unbound remembers for a minute what was bogus.
    zones.delegate("bogus")
    refuses_by_dns(tap, world, "a bogus zone",
                   "bogus" if OWN else "SERVFAIL")
    report = world.report()
    tap.ok(report["balances"] and "verified by dane-ee" in json.dumps(report),
           "the report balances, and says how each was verified")


def sts_cases(tap, world, server):
    target, zones, authority = world.target, world.zones, world.authority

    target.pair = world.self_signed
    server.says("testing", HOST, QUEUE)
    zones.sts("a1")
    world.start()
    world.send()
    delivers(tap, world, "a policy that only tests demands nothing",
             "not verified")
    asked = server.asked
    server.says("enforce", HOST, QUEUE)
    zones.sts("a2")
    wait_for("the new id is seen",
             lambda: (world.send(), server.asked > asked)[1])
    world.send()
    reason = world.refused("certificate", f"MTA-STS of {DOMAIN}")
    tap.ok(reason and world.ledger()["held"] == 0,
           f"another id, and the policy enforces: {reason}")
    target.pair = authority.sign("wrong.localhost")
    reason = world.refused("ostname mismatch", f"MTA-STS of {DOMAIN}")
    tap.ok(reason, f"a trusted certificate of another name: {reason}")
    target.starttls = False
    reason = world.refused("does not offer STARTTLS", f"MTA-STS of {DOMAIN}")
    tap.ok(reason, f"opportunistic, and no STARTTLS: {reason}")
    target.starttls = True

    asked = server.asked
    zones.sts(None)
    server.says("none")
    target.pair = world.self_signed
    world.restart()
    reason = world.refused("certificate", f"MTA-STS of {DOMAIN}")
    tap.ok(reason and server.asked == asked,
           f"a kept policy counts after a restart, and without its record: "
           f"{reason}")
    target.pair = authority.sign(HOST)
    delivers(tap, world, "with its own name it goes",
             f"verified by pkix as {HOST}", f"MTA-STS of {DOMAIN}")

    server.says("enforce", QUEUE, "mx.new.example")
    zones.sts("a3")
    target.pair = world.self_signed
    wait_for("the third id is fetched",
             lambda: (world.send(), server.asked > asked)[1])
    wait_for("what the second id refuses is gone", lambda: (
        lambda l: l["waiting"] == 0)(world.ledger()))
    world.send()
    delivers(tap, world, "a host that the policy does not list is a smart "
             "host", "not verified")


def sts_ages(tap, world, server):
    """A policy is kept for max_age and no longer (RFC 8461 sections 3.2 and
    5.1), and fetched anew before."""
    target, zones = world.target, world.zones

    asked = server.asked
    server.says("enforce", HOST, QUEUE, max_age=12)
    zones.sts("b1")
    target.pair = world.authority.sign(HOST)
    wait_for("the policy is fetched",
             lambda: (world.send(), server.asked > asked)[1])
    fetched, asked = time.monotonic(), server.asked
    world.send()
    delivers(tap, world, "a policy for 12 seconds",
             f"verified by pkix as {HOST}", f"MTA-STS of {DOMAIN}")
    wait_for("it is fetched again", lambda: (
        world.send(), server.asked > asked)[1])
    again = time.monotonic()
    tap.ok(5 < again - fetched < 12, "of the same id, it is fetched again "
           f"before it is over: after {again - fetched:.1f} s")
    world.send()
    world.delivered()

    server.fails = True
    target.pair = world.self_signed
    world.send()
    reason = world.refused("certificate", f"MTA-STS of {DOMAIN}")
    tap.ok(reason and time.monotonic() - again < 12,
           f"while it is kept it counts, whether it is still there or not: "
           f"{reason}")
    delivers(tap, world, "over, and not to be had again, it demands nothing",
             "not verified")
    took = time.monotonic() - again
    # The fetch was a moment before it was seen.
    tap.ok(took > 9, f"and not a moment before: {took:.1f} s")


def moving_case(tap):
    """The gate says it first; past the gate the valve closes."""
    world = Moving("dane")
    try:
        target, zones = world.target, world.zones
        target.pair = world.self_signed
        zones.tlsa(target.port, "3 1 1 " + 64 * "0")
        world.park()
        world.send()
        world.send()
        wait_for("nothing else blocks", lambda: blocking(world.tideover(
            "check", "acme", "--gate", "finish")[1]) == {"rcpt-probe"})
        said = [f for f in findings(world.tideover(
            "check", "acme", "--gate", "finish")[1])
                if f["check"] == "rcpt-probe"][0]
        tap.ok("matches the certificate" in said["summary"],
               f"gate finish: {said['summary']}")
        wait_for("the finding can be waived", lambda: world.tideover(
            "waive", "acme", "rcpt-probe", "--gate", "finish", "--by", "anna",
            "--reason", "test")[0] == 0)
        status, _ = world.tideover("finish", "acme")
        reason = world.refused("the breaker closed", "certificate is refused",
                               f"TLSA of _{target.port}._tcp.{HOST}")
        ledger = world.ledger()
        tap.ok(status == 3 and reason and ledger["waiting"] == 2 and
               ledger["held"] == 0 and not target.mails,
               f"waived, finish exits {status}, nothing is held: {reason}")
        zones.tlsa(target.port, ee(target.pair[1]))
        # Until the caches have let the old record go.
        wait_for("the mail goes", lambda: (
            world.must(0, "resume", "acme"),
            world.ledger()["delivered"] == 2)[1])
        delivers(tap, world, "repaired and resumed, the mail goes", "dane-ee")
        wait_for("the release is drained",
                 lambda: world.status()["phase"] == "trailing")
        tap.ok(True, "the release is drained")
    finally:
        end(tap, world)


def canary_case(tap):
    """A canary leaves on the terms of the replay, or it does not."""
    world = Moving("dane")
    try:
        target, zones = world.target, world.zones
        with open(world.plan, encoding="ascii") as file:
            plan = json.load(file)
        plan["canary"] = {"recipients": [f"box0@{DOMAIN}"]}
        with open(world.plan, "w", encoding="ascii") as out:
            json.dump(plan, out)
        target.pair = world.self_signed
        zones.tlsa(target.port, "3 1 1 " + 64 * "0")
        world.start("holding")
        said = world.must(3, "canary", "acme")["canaries"][0]
        tap.ok(said["state"] == "refused" and said["code"] == 0 and
               f"TLSA of _{target.port}._tcp.{HOST}" in said["text"] and
               not target.mails,
               f"no canary leaves for another key: {said['text']}")
        zones.lame()

        def put_off():
            one = world.tideover("canary", "acme")[1]["canaries"][0]
            return one if "no secure answer" in one["text"] else None
        said = wait_for("the caches have let the record go", put_off)
        tap.ok(said["state"] == "deferred" and said["stage"] == "connect",
               f"what DNS does not answer is no refusal: {said['text']}")
        zones.tlsa(target.port, ee(target.pair[1]))
        # Until the caches have let the old record go.
        wait_for("a canary is accepted", lambda: world.tideover(
            "canary", "acme")[0] == 0)
        said = world.must(0, "canary", "acme")["canaries"][0]
        seen = target.mails[-1]
        tap.ok("verified by dane-ee" in said["tls"] and seen["sni"] == HOST
               and QUEUE in json.dumps(seen["client"]),
               "with the right one it is verified, and shows the client's "
               f"certificate: {said['tls']}")
    finally:
        end(tap, world)


class Shared(Dane):
    """Two domains that go to the target."""

    def plan_for(self, tls, key, cert, port):
        self.zones.publish(SHOP, "".join(
            f"@ {TTL} MX {preference} {host}.\n"
            for preference, host in self.mx_set), SHOP, "MX", 2)
        plan = super().plan_for(tls, key, cert, port)
        plan["domains"].append({"name": SHOP})
        return plan

    def post(self, *domains):
        client = Client(self.port, False)
        for domain in domains:
            client.command(b"MAIL FROM:<a@b.example>", 250)
            client.command(f"RCPT TO:<box@{domain}>".encode(), 250)
            client.command(b"DATA", 354)
            client.command(b"Subject: hello\r\n\r\nhello\r\n.", 250)
        client.close()

    def states(self):
        """Per domain: its valve, what is delivered, what waits."""
        return {domain["name"]: (domain["valve"]["state"],
                                   domain["ledger"]["delivered"],
                                   domain["ledger"]["waiting"])
                for domain in self.status()["domains"]}

    def evidence(self, domain):
        return [row["last_reply"]["tls"]
                for row in listed(self, "--recipient", f"box@{domain}")]


def shared_cases(tap, world, server):
    """What the policy of one domain demands is no demand of another."""
    target, demanded = world.target, f"demanded by MTA-STS of {DOMAIN}"
    server.says("enforce", HOST, QUEUE)
    target.pair = world.self_signed
    world.start()
    world.zones.sts("s1")
    reason = world.refused("certificate", f"MTA-STS of {DOMAIN}")
    world.post(DOMAIN, SHOP, DOMAIN, SHOP)
    wait_for("the other domain's mail goes",
             lambda: world.states()[SHOP][1] == 2)
    states = world.states()
    tap.ok(reason and states[SHOP] == ("open", 2, 0) and
           states[DOMAIN][1:] == (0, 2) and len(target.mails) == 2,
           f"only the domain that demands it waits: {states}; {reason}")
    tap.ok(all("not verified" in tls and "demanded" not in tls
               for tls in world.evidence(SHOP)),
           f"the other one's evidence: {world.evidence(SHOP)}")

    target.pair = world.authority.sign(HOST)
    wait_for("repaired, it goes by itself",
             lambda: world.states()[DOMAIN] == ("open", 2, 0))
    tap.ok(all(f"verified by pkix as {HOST}" in tls and demanded in tls
               for tls in world.evidence(DOMAIN)),
           f"repaired, it goes by itself: {world.evidence(DOMAIN)}")

    for first, second in ((SHOP, DOMAIN), (DOMAIN, SHOP)):
        wait_for("earlier sessions have ended", lambda: not target.live)
        mails = len(target.mails)
        world.post(first)
        wait_for("it is there", lambda: len(target.mails) == mails + 1)
        world.post(second)
        wait_for("so is the next", lambda: len(target.mails) == mails + 2)
        wait_for("both are known", lambda: sum(
            state[1] for state in world.states().values()) == mails + 2)
        tap.ok(target.mails[-1]["session"] == target.mails[-2]["session"] and
               demanded in world.evidence(DOMAIN)[-1] and
               "verified by pkix" in world.evidence(SHOP)[-1] and
               "demanded" not in world.evidence(SHOP)[-1],
               f"what a session for {first} has proven is good for {second}, "
               "and each one's evidence says whose demand it was")


def kept_out_case(tap, world):
    """A session that has not proven it carries no mail that demands it,
    though it is there; and gives way to one that does."""
    target = world.target
    target.pair = world.self_signed
    wait_for("earlier sessions have ended", lambda: not target.live)
    mails = len(target.mails)
    world.post(SHOP)
    wait_for("it is there", lambda: len(target.mails) == mails + 1)
    target.pair = world.authority.sign(HOST)
    world.post(DOMAIN)
    wait_for("the next is there", lambda: len(target.mails) == mails + 2)
    one, two = target.mails[-2:]
    wait_for("it is known", lambda: world.states()[DOMAIN][2] == 0)
    tap.ok(one["session"] != two["session"] and
           f"verified by pkix as {HOST}" in world.evidence(DOMAIN)[-1],
           "a session that has proven nothing is not used for mail that "
           "demands it")


def resending_case(tap, world):
    """Kept copies go on the terms of their own domain as well."""
    target = world.target
    some = ("queue", "resend", "acme", "--since", "2026-01-01T00:00:00Z",
            "--to", "old")
    kept = {name: state[1] for name, state in world.states().items()}
    target.pair = world.self_signed
    wait_for("earlier sessions have ended", lambda: not target.live)
    mails = len(target.mails)
    said = world.must(0, *some, "--domain", SHOP)
    tap.ok(said["sent"] == kept[SHOP] == len(target.mails) - mails,
           f"the copies of a domain that demands nothing: {said}")
    mails = len(target.mails)
    attempts = len(journal(world, "resend-attempt"))
    status, said = world.tideover(*some)
    unsent = said["unsent"]
    tap.ok(status == 1 and said["sent"] == kept[SHOP] ==
           len(target.mails) - mails and said["refused"] == 0 and
           said["error"] is None and said["left"] == kept[DOMAIN] and
           [(one["domain"], one["count"]) for one in unsent] ==
           [(DOMAIN, kept[DOMAIN])] and
           f"MTA-STS of {DOMAIN}" in unsent[0]["error"],
           "of both: those of the one that does are left, the others go: "
           f"{unsent}")
    tried = [row["forward_path"].split("@")[1]
             for row in journal(world, "resend-attempt")[attempts:]]
    tap.ok(tried.count(DOMAIN) == 1 and tried.count(SHOP) == kept[SHOP] and
           journal(world, "resend-end")[-1]["unsent"] == unsent,
           "one attempt found that out, and the journal has it")
    told = subprocess.run(
        [f"{ROOT}/build/{VARIANT}/tideover", *some, "--state", world.state],
        capture_output=True, text=True, check=False, timeout=60)
    tap.ok(told.returncode == 1 and f"tideover: {DOMAIN}: {kept[DOMAIN]} not "
           "sent: no session with" in told.stderr, told.stderr.strip())
    target.pair = world.authority.sign(HOST)
    mails, begun = len(target.mails), time.monotonic()
    said = world.must(0, *some)
    # What a target must prove is asked anew when its TTL is over.
    most = 1 + (time.monotonic() - begun) / TTL
    rows = journal(world, "resend-attempt")[-said["sent"]:]
    sessions = {mail["session"] for mail in target.mails[mails:]}
    tap.ok(said["sent"] == sum(kept.values()) and len(sessions) <= most and all(
        (f"demanded by MTA-STS of {DOMAIN}" in row["tls"]) ==
        row["forward_path"].endswith(DOMAIN) for row in rows),
        f"repaired, all {said['sent']} go in one session while its proof lasts, "
        f"each with its own evidence: sessions {sessions}")
    target.close()
    wait_for("it is gone", lambda: not target.live)
    attempts = len(journal(world, "resend-attempt"))
    status, said = world.tideover(*some)
    tap.ok(status == 1 and said["sent"] == 0 and
           {one["domain"]: one["count"] for one in said["unsent"]} == kept and
           all("refused" in one["error"] for one in said["unsent"]) and
           len(journal(world, "resend-attempt")) == attempts + 1,
           f"a host that is not there is tried once: {said['unsent']}")


def postfix_case(tap):
    """A real server that asks for the client's certificate."""
    world = Dane("dane", peers.free_port())
    try:
        postfix = world.keep(peers.Postfix(world.folder, HOST, DOMAIN))
        plan = json.load(open(world.plan, encoding="ascii"))
        plan["primary"]["deliver_to"] = f"{HOST}:{postfix.port}"
        with open(world.plan, "w", encoding="ascii") as out:
            json.dump(plan, out)
        postfix.option("smtpd_tls_ask_ccert", "yes")
        postfix.option("smtpd_tls_received_header", "yes")
        world.zones.tlsa(postfix.port, ee(f"{postfix.conf}/{HOST}.pem"))
        world.start()
        world.send()
        delivers(tap, world, "Postfix with DANE", "verified by dane-ee")
        wait_for("Postfix has delivered", postfix.is_idle)
        mail = subprocess.run(["grep", "-rh", "Client CN",
                               f"{postfix.folder}/mail/box0/new"],
                              capture_output=True, text=True, check=False)
        tap.ok(QUEUE in mail.stdout,
               f"it saw our certificate: {mail.stdout.strip()}")
    finally:
        end(tap, world)


def end(tap, world):
    world.tideover("stop")
    world.close()
    if not tap.bad and sys.exc_info()[0] is None:
        shutil.rmtree(world.folder, ignore_errors=True)


def sts(tap):
    if not POLICY_HOST:
        tap.skip("MTA-STS", "no port 443 for us")
        return
    world = Dane("opportunistic")
    try:
        server = world.keep(PolicyServer(
            world.authority.sign(f"mta-sts.{DOMAIN}")))
        sts_cases(tap, world, server)
        sts_ages(tap, world, server)
    finally:
        end(tap, world)
    world = Shared("opportunistic")
    try:
        server = world.keep(PolicyServer(
            world.authority.sign(f"mta-sts.{DOMAIN}")))
        shared_cases(tap, world, server)
        kept_out_case(tap, world)
        resending_case(tap, world)
    finally:
        end(tap, world)


def main():
    tap = Tap()
    gone = peers.missing("knotd", "knotc", "keymgr", "kdig", "unbound")
    if gone:
        tap.skip("DANE and MTA-STS", f"{', '.join(gone)} is not here")
        tap.end()
    world = Dane("dane")
    try:
        dane_cases(tap, world)
    finally:
        end(tap, world)
    moving_case(tap)
    canary_case(tap)
    if not OWN:  # a policy has no use for a validator
        sts(tap)
    if os.geteuid() == 0 and not peers.missing("postfix"):
        postfix_case(tap)
    else:
        tap.skip("Postfix with DANE", "it needs root")
    tap.end()


if __name__ == "__main__":
    main()
