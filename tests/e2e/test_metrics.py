#!/usr/bin/env python3
"""What Prometheus and a load balancer are told, beside `tideover status` (TAP)."""
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile

import node
import peers
from cutover import DOMAIN, ROOT, VARIANT, Client, Tap
from peers import wait_for
from replies import Standing, missing

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+)\})?'
                    r' (\S+)$')
LABEL = re.compile(r'([a-z]+)="((?:[^"\\]|\\.)*)"')


def ask(port, path, method="GET", host=None):
    """Status, type and text."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, answer.getheader("Content-Type"), text


def samples(text):
    """As Prometheus reads it (exposition format 0.0.4): each family told once,
    its samples behind it and nowhere else.  {(name, label, ...): value}"""
    found, told, family = {}, set(), None
    lines = text.split("\n")
    assert lines.pop() == "", "the last line ends"
    for line in lines:
        if line.startswith("# HELP "):
            family = line.split()[2]
            assert family not in told, f"{family} is told twice"
            told.add(family)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name == family and kind in ("gauge", "counter"), line
            assert name.endswith("_total") == (kind == "counter"), line
        else:
            match = SAMPLE.match(line)
            assert match and match.group(1) == family, line
            labels = tuple(LABEL.findall(match.group(2) or ""))
            assert (family, *labels) not in found, line
            found[(family, *labels)] = float(match.group(3))
    return found


def figures(tap, s, port):
    boxes = ["box1", "box2", "box3"]
    for box in boxes:
        s.send(box)
    s.settled()
    s.world.must(0, "pause", "acme", "--by", "anna", "--reason", "x")
    for box in boxes:
        s.send(box)
    open_one = Client(s.world.port, False)
    wait_for("the others are gone",
             lambda: s.world.status()["sessions"]["open"] == 1)
    status, kind, text = ask(port, "/metrics")
    now = s.world.status()
    open_one.close()
    tap.ok(status == 200 and kind.startswith("text/plain; version=0.0.4"),
           f"/metrics: {status}, {kind}")
    found = samples(text)
    here = (("plan", "acme"), ("domain", DOMAIN))
    ledger = now["domains"][0]["ledger"]
    told = {name: found.get((f"tideover_{name}{end}", *here))
            for name, end in (("accepted", "_total"), ("waiting", ""),
                              ("held", ""), ("delivered", "_total"))}
    tap.ok(told == {name: ledger[name] for name in told} and
           told["waiting"] == 3 and told["delivered"] == 3,
           f"it has the ledger: {told}")
    tap.ok(found[("tideover_valve_open", *here)] == 0 and
           found[("tideover_target_healthy", *here, ("system", "primary"),
                  ("target", s.world.status()["domains"][0]["health"]
                   ["primary"]["target"]))] == 1,
           "the valve is closed, the target is well")
    tap.ok(found[("tideover_plan_info", ("plan", "acme"),
                  ("strategy", "standby"), ("phase", "standing"))] == 1,
           "the phase is a label")
    tap.ok(found[("tideover_sessions",)] == 1 and
           found[("tideover_sessions_total",)] ==
           now["sessions"]["accepted"], "one session is open")
    limits = {key[1][1]: value for key, value in found.items()
              if key[0] == "tideover_turned_away_total"}
    tap.ok(limits == now["sessions"]["turned_away"],
           f"each of {len(limits)} limits has its count")
    named = [box for box in boxes if box in text]
    tap.ok("@" not in text and not named, "nobody's address is in it")
    s.world.must(0, "resume", "acme", "--by", "anna")
    s.settled()
    later = samples(ask(port, "/metrics")[2])
    tap.ok(later[("tideover_valve_open", *here)] == 1 and
           later[("tideover_delivered_total", *here)] == 6,
           "and later what is so then")


def config(folder):
    """A port for the figures, and the file that says so."""
    port = peers.free_port()
    path = f"{folder}/tideoverd.json"
    with open(path, "w", encoding="ascii") as out:
        json.dump({"tideoverd": 1, "metrics": f"127.0.0.1:{port}"}, out)
    return port, path


def health(tap):
    folder = tempfile.mkdtemp(prefix="tideover-e2e-")
    with node.small_disk(folder, 300 << 20) as small:
        if not small:
            tap.skip("/healthz", "no right to mount a small disk here")
            return
        one = node.Node(folder)
        one.state = f"{small}/state"
        port, path = config(folder)
        one.start("--config", path)
        try:
            well = ask(port, "/healthz")
            tap.ok(well[::2] == (200, "ok\n"), f"mail is taken: {well}")
            with open(f"{small}/much", "wb") as file:
                os.posix_fallocate(file.fileno(), 0, 250 << 20)
            wait_for("it sees that", lambda: ask(port, "/healthz")[0] == 503)
            full = ask(port, "/healthz")
            tap.ok("not enough space" in full[2] and samples(
                ask(port, "/metrics")[2])[("tideover_space_short",)] == 1,
                f"a full disk: {full}")
            os.unlink(f"{small}/much")
            wait_for("it is well again",
                     lambda: ask(port, "/healthz")[0] == 200)
            tap.ok(True, "and when there is space again, it is taken again")
        finally:
            one.tideover("stop")
            one.daemon.close()
    if not tap.bad:
        shutil.rmtree(folder, ignore_errors=True)


def refusals(tap, port):
    seen = [ask(port, "/healthz", "POST")[0], ask(port, "/v1/plans")[0],
            ask(port, "/metrics", host="metrics.example")[0]]
    tap.ok(seen == [405, 404, 403], "nothing else is answered, nor somebody "
           f"else's name: {seen}")


def taken(tap):
    """The address is somebody else's."""
    folder = tempfile.mkdtemp(prefix="tideover-e2e-")
    port, path = config(folder)
    with socket.create_server(("127.0.0.1", port)):
        done = subprocess.run(
            [f"{ROOT}/build/{VARIANT}/tideoverd", "--state",
             f"{folder}/state", "--config", path], capture_output=True,
            text=True, check=False, timeout=60)
    said = done.stderr.strip().split("\n")[-1]
    tap.ok(done.returncode == 1 and "metrics: " in said and
           str(port) in said, f"an address that is taken: {said}")
    shutil.rmtree(folder, ignore_errors=True)


def main():
    tap = Tap()
    gone = missing()
    if gone:
        tap.skip("metrics", "missing: " + ", ".join(gone))
        tap.end()
    s = Standing()
    try:
        port, path = config(s.world.folder)
        s.world.start_daemon("--config", path)
        s.start()
        figures(tap, s, port)
        refusals(tap, port)
        s.world.must(0, "stop")
    finally:
        s.close(not tap.bad)
    health(tap)
    taken(tap)
    tap.end()


main()
