#!/usr/bin/env python3
"""SMTP smuggling and injection into STARTTLS, as they come over a wire: in one
packet, a byte a packet, a byte a TLS record (TAP)."""
import json
import os
import shutil
import socket
import ssl
import tempfile

import peers
from cutover import DOMAIN, Client, Refused, Tap
from node import Node

# What some server took, or might take, for the end of the data.
ENDS = [b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n",
        b"\r\n.\n", b"\r\n.\r", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n",
        b"\n\n.\r\n", b"\r\n\n.\r\n", b"\r\n\r.\r\n", b"\r\n.\n\r\n",
        b"\r\n\0.\r\n", b"\r\n\0.\0\r\n", b"\r\n.\r\0\n", b"\r\0\n.\r\n"]
# Of DATA alone, which takes the first dot off.
STUFFED = [b"\r\n.\0.\r\n"]
EVIL = (b"MAIL FROM:<evil@b.example>\r\nRCPT TO:<box2@%s>\r\nDATA\r\n"
        b"Subject: smuggled\r\n" % DOMAIN.encode())


def accepted(node):
    status = json.loads(node.tideover("status", "acme")[1])
    return status["domains"][0]["ledger"]["accepted"]


def give(client, raw, whole):
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in [raw] if whole else [raw[i:i + 1] for i in range(len(raw))]:
        client.sock.sendall(piece)


def is_refused(node, end, tls, whole, chunk):
    """The message that holds such an end, as a whole, and nothing of it runs."""
    client = Client(node.port, tls)
    raw = b"Subject: x\r\n\r\nx" + end + EVIL
    client.command(b"MAIL FROM:<a@b.example>", 250)
    client.command(b"RCPT TO:<box1@%s>" % DOMAIN.encode(), 250)
    if chunk:
        raw = b"BDAT %d LAST\r\n%s" % (len(raw), raw)
    else:
        client.command(b"DATA", 354)
        raw += b"\r\n.\r\n"
    give(client, raw, whole)
    try:
        client.expect(250)
        return False
    except Refused as why:
        client.command(b"NOOP", 250)
        return str(why).startswith("550 5.6.0")
    finally:
        client.close()


def smuggling(tap, node):
    for tls in (False, True):
        for chunk in (False, True):
            for whole in (False, True):
                ends = ENDS if chunk else ENDS + STUFFED
                taken = [end for end in ends if not is_refused(
                    node, end, tls, whole, chunk)]
                tap.ok(not taken, f"{len(ends)} false ends in "
                       f"{'BDAT' if chunk else 'DATA'}"
                       f"{' with TLS' if tls else ''}, "
                       f"{'at once' if whole else 'a byte each time'}: each "
                       f"message is refused at its true end {taken}")
    tap.ok(accepted(node) == 0, "nothing of them was kept")


def injection(tap, node):
    """A command behind STARTTLS, in its packet and in the next."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    outcome = []
    for first, then in ((b"STARTTLS\r\nRSET\r\n", b""),
                        (b"STARTTLS\r\nRSE", b"T\r\n"),
                        (b"STARTTLS\r\n", b"RSET\r\n")):
        client = Client(node.port, False)
        client.sock.sendall(first)
        try:
            client.expect(220)
            client.sock.sendall(then)
            context.wrap_socket(client.sock)
            outcome.append("TLS")
        except Refused as why:
            outcome.append(str(why)[:3])
        except (ssl.SSLError, OSError):
            outcome.append("no TLS")
        client.close()
    tap.ok(outcome == ["554", "554", "no TLS"],
           f"what is behind STARTTLS is refused, or spoils it: {outcome}")


def main():
    tap = Tap()
    if peers.missing("openssl"):
        tap.skip("smuggling", "missing: openssl")
        tap.end()
        return
    folder = tempfile.mkdtemp(prefix="tideover-e2e-")
    node = Node(folder)
    key, cert = peers.self_signed(folder, "hold.hosts.example")
    os.chmod(key, 0o600)
    node.document["queue_mx"]["tls"] = {"certificate_file": cert,
                                        "key_file": key}
    node.write()
    node.start()
    try:
        smuggling(tap, node)
        injection(tap, node)
    finally:
        node.daemon.close()
    if not tap.bad:
        shutil.rmtree(folder, ignore_errors=True)
    tap.end()


main()
