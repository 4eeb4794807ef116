#!/usr/bin/env python3
"""The situations of tests/verdicts, each with the verdicts of a careful
architect, against real knot, unbound and the lab's mail systems (TAP).

    test_verdicts.py [WORD...]    only the situations that contain a word

Prints at the end how many gates passed that should block, and the other way
round: both have to be none.  Several worlds run at once, each in a network
namespace of its own.
"""
import collections
import datetime
import json
import os
import queue
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "../verdicts"))

import peers  # noqa: E402
from cutover import ROOT, Client, Tap  # noqa: E402
from peers import wait_for  # noqa: E402
from situation import Judgement, read_rows, read_situations  # noqa: E402
from world import DOMAIN, NOWHERE, QUEUE, QUEUE_IP, Relay, World  # noqa: E402

WORLDS = int(os.environ.get("VERDICT_WORLDS", "8"))
ASKED_AGAIN = 4
UNITS = {"s": 1000, "m": 60000, "h": 3600000, "d": 86400000}


def milliseconds(text):
    sign = -1 if text[0] == "-" else 1
    return sign * int(text.strip("+-")[:-1]) * UNITS[text[-1]]


def seconds(text):
    """Of "2026-12-05T22:00:00.123Z"."""
    return datetime.datetime.fromisoformat(
        text.replace("Z", "+00:00")).timestamp()


def put(document, path, value):
    """plan a.b.0 = VALUE; null takes the key away."""
    *keys, last = path.split(".")
    for key in keys:
        document = document[int(key)] if isinstance(document, list) else \
            document.setdefault(key, {})
    if isinstance(document, list):
        last = int(last)
    if value is None:
        del document[last]
    else:
        document[last] = value


class Play:
    """One situation in a world: its steps, and what was judged."""

    def __init__(self, world, situation):
        self.world, self.situation = world, situation
        self.scripts = collections.defaultdict(list)
        self.written = False
        self.judged = 0
        self.seen = []      # [check, verdict] that the situation names
        self.wrong = []     # sentences
        self.false_passes, self.false_blocks = [], []
        self.again = []     # what had no answer in time, and was asked again

    def run(self):
        for step in self.situation.steps:
            if isinstance(step, Judgement):
                self.ready()
                self.judge(step)
            else:
                word, rest = step
                getattr(self, "do_" + {"$": "command"}.get(word, word))(rest)

    def ready(self):
        """What was said so far is so."""
        self.world.publish()
        for name, lines in self.scripts.items():
            if lines != self.world.systems[name].lines:
                self.world.systems[name].play(lines)
        self.world.write_plan()

    # What is different.

    def do_plan(self, rest):
        path, _, value = rest.partition(" = ")
        put(self.world.plan, path, json.loads(value))

    def do_evidence(self, rest):
        name, _, rest = rest.partition(" ")
        if name == "age":
            self.world.evidence_at = milliseconds(rest) / 1000
        elif rest == "absent":
            del self.world.evidence[name]
        elif rest.startswith("is "):
            text = rest[3:]
            self.world.evidence[name] = \
                json.loads(text) if text[0] in "[{" else \
                text.replace("\\n", "\n")
        else:
            key, _, value = rest.partition(" = ")
            self.world.evidence[name][0][key] = json.loads(value)

    def do_old_evidence(self, rest):
        """The same of the old tenant; "FILE is N references": so many"""
        name, _, text = rest.partition(" is ")
        words = text.split()
        if words[1:] == ["references"]:
            text = json.dumps({"value": [
                {"@odata.type": "#microsoft.graph.user", "id": str(n),
                 "userPrincipalName": f"user{n}@{DOMAIN}"}
                for n in range(int(words[0]))]})
        self.world.old_evidence[name] = json.loads(text)

    def do_recipients(self, rest):
        word, *addresses = rest.split()
        if word == "age":
            self.world.recipients_at = milliseconds(addresses[0]) / 1000
        elif word == "add":
            self.world.recipients += addresses
        else:
            self.world.recipients = [word, *addresses]

    def do_zone(self, rest):
        for server in ("ns1", "ns2"):
            self.world.zones[server, DOMAIN].change(rest)

    def do_parent(self, rest):
        self.world.zones["ns0", "example"].change(rest)

    def do_world(self, rest):
        self.world.zones["ns0", "."].change(rest)

    def do_minimum(self, rest):
        """minimum SECONDS [with a TTL of SECONDS]: of the SOA"""
        words = rest.split()
        for server in ("ns1", "ns2"):
            zone = self.world.zones[server, DOMAIN]
            zone.minimum, zone.soa_ttl = int(words[0]), int(words[-1])

    def server(self, name, rest):
        knot = self.world.knots[name]
        self.world.unseen = True
        if rest in ("is silent", "is down", "answers SERVFAIL"):
            self.world.publish()
            knot.out_of_order = True
        if rest == "is silent":
            knot.child.process.send_signal(signal.SIGSTOP)
        elif rest == "is down":
            knot.close()
        elif rest == "is back":
            # With what is published by then, not with its zones of before.
            knot.close()
            self.world.returning.append(knot)
        elif rest == "answers SERVFAIL":
            knot.knotc("-b", "-f", "zone-purge", "+expire", DOMAIN)
        elif rest == "has no signatures":
            self.world.copies[name] = ""
        elif rest.startswith("is signed for "):
            self.world.copies[name] = \
                self.world.sign(int(rest.split()[-1].rstrip("d")))[0]
        elif rest.startswith("lags "):
            self.world.lag[name] = int(rest[5:])
            self.world.served.pop((name, DOMAIN), None)
        else:
            self.world.zones[name, DOMAIN].change(rest)

    def do_ns1(self, rest):
        self.server("ns1", rest)

    def do_ns2(self, rest):
        self.server("ns2", rest)

    def do_signed(self, rest):
        """signed, and the DS is right | of another key | absent"""
        self.world.signed, ds = self.world.sign()
        ds = ds[-1]
        if rest == "with the DS of another key":
            words = ds.split()
            words[-1] = ("0" if words[-1][0] != "0" else "1") + words[-1][1:]
            ds = " ".join(words)
        self.do_parent(f"acme 300 DS {ds}")

    def do_edited(self, rest):
        """edited MX DATA: in the signed zone, and nobody signed it again"""
        kind, data = rest.split(None, 1)
        self.world.signed = re.sub(rf"(?m)^(\S+ \d+ {kind} ).*$",
                                   lambda m: m.group(1) + data,
                                   self.world.signed)

    def do_resolvers(self, rest):
        """resolvers do not validate | are silent | ask MX"""
        for name in self.world.resolvers:
            self.resolver(name, rest)

    def resolver(self, name, rest):
        self.world.publish()
        self.world.unseen = True
        resolver = self.world.resolvers[name]
        words = rest.split()
        if words[0] == "asks":
            resolver.close()
            resolver.start(self.world.env("world"))
            wait_for(f"{name} has the MX set",
                     lambda: resolver.ask(DOMAIN, words[1]))
            return
        if rest in ("is silent", "are silent"):
            resolver.child.send_signal(signal.SIGSTOP)
            return
        resolver.close()
        if rest in ("is down", "are down"):
            return
        if rest in ("do not validate", "does not validate"):
            resolver.validates = False
        elif words[0] == "stretches":
            resolver.extra = [f"cache-min-ttl: {words[1]}"]
        else:
            raise ValueError(f"resolver: {rest}")
        resolver.start(self.world.env("world"))

    def do_resolver1(self, rest):
        self.resolver("resolver1", rest)

    def do_resolver2(self, rest):
        self.resolver("resolver2", rest)

    def do_resolver3(self, rest):
        self.resolver("resolver3", rest)

    def system(self, name, rest):
        if rest == "is down":
            self.world.systems[name].close()
        elif rest == "swallows packets":
            host = self.world.systems[name].host
            self.do_world(f"{host}. 300 A {NOWHERE}")
        elif rest == "as usual":
            self.scripts[name] = []
        elif rest.startswith("like "):
            self.scripts[name] = [rest]
        else:
            self.scripts[name].append(rest)

    def do_old(self, rest):
        self.system("old", rest)

    def do_new(self, rest):
        self.system("new", rest)

    def do_policy(self, rest):
        """policy status 404 | certificate of its own | is taken away | a line
        of it"""
        word, _, value = rest.partition(" ")
        if word == "is":
            self.do_zone("- _mta-sts TXT")
            self.do_zone("- mta-sts A")
            return
        if word == "status":
            self.world.policy.status = int(value)
            return
        if word == "certificate":
            self.world.policy.show(own=True)
            return
        if not self.world.policy.text:
            self.world.policy.text = "version: STSv1\r\n"
            self.do_world(f"mta-sts.{DOMAIN}. 300 A 192.0.2.80")
            self.do_zone('_mta-sts 300 TXT "v=STSv1; id=1"')
            self.do_zone("mta-sts 300 A 192.0.2.80")
        self.world.policy.text += rest + "\r\n"

    def do_certificate(self, rest):
        """certificate for NAME | for DAYSd | of its own | none"""
        tls = self.world.plan["queue_mx"]
        if rest == "none":
            tls.pop("tls")
            return
        name, days, own = QUEUE, 90, rest == "of its own"
        if rest.startswith("for ") and rest[4:].rstrip("d").isdigit():
            days = int(rest[4:].rstrip("d"))
        elif rest.startswith("for "):
            name = rest[4:]
        key, cert = self.world.ca.sign(QUEUE, days, name, own)
        tls["tls"] = {"certificate_file": cert, "key_file": key}

    def do_tlsa(self, rest):
        """tlsa of the certificate [and the next] | of another"""
        cert = self.world.plan["queue_mx"]["tls"]["certificate_file"]
        der = peers.run("sh", "-c", "openssl x509 -in \"$1\" -pubkey -noout | "
                        "openssl pkey -pubin -outform der | sha256sum", "sh",
                        cert).stdout.split()[0]
        other = "ab" * 32
        name = f"_25._tcp.{QUEUE}. 300 TLSA 3 1 1 "
        self.do_world(name + (other if rest == "of another" else der))
        if rest.endswith("and the next"):
            self.do_world("+ " + name + other)

    def do_room(self, rest):
        """room TIMES: the disk has so many times what is expected"""
        self.world.room = float(rest)

    def do_beside(self, rest):
        """beside another plan with room TIMES: of the same tideoverd"""
        status, document = self.world.tideover(
            "start", self.world.write_other(float(rest.split()[-1])))
        assert status in (0, 3), document

    def do_address(self, rest):
        """address leads to a relay: the queue's, to another machine"""
        assert rest == "leads to a relay", rest
        self.world.relay = Relay()

    def do_unsupervised(self, _):
        self.world.supervised = False

    def do_unit(self, rest):
        """unit is not enabled | has LINE: a drop-in"""
        if rest == "is not enabled":
            self.world.unit.disable()
        else:
            self.world.unit.edit(rest.removeprefix("has "))

    # What happens.

    def looked(self):
        """The daemon watches; it has seen what is so now."""
        since = self.world.now()
        self.world.unseen = False

        def has():
            seen = [v["asked"] for d in self.world.status()["domains"]
                    for v in d["vantages"]]
            return seen and min(map(seconds, seen)) > since
        if self.world.daemon and self.world.daemon.process.poll() is None:
            wait_for("the daemon looked", has, 60)

    def do_watch(self, _):
        """The daemon has judged what is so now: a second look has begun."""
        self.ready()
        self.looked()
        self.looked()

    def do_later(self, rest):
        self.ready()
        self.looked()
        self.world.passed += milliseconds(rest)
        self.world.write_skew()

    def do_clock(self, rest):
        """clock set +2h | error 3s | undisciplined"""
        word, _, value = rest.partition(" ")
        if word == "set":
            self.world.set += milliseconds(value)
        elif word == "error":
            self.world.error = milliseconds(value)
        else:
            self.world.error = -1
        self.world.write_skew()

    def do_look(self, _):
        """tideover plan, for what it keeps on record"""
        self.ready()
        status, document = self.world.tideover("plan", self.world.path)
        assert status == 0, document

    def do_yesterday(self, _):
        """It was looked at a day before: the low TTL is on record."""
        self.do_look("")
        self.do_later("25h")

    def do_probed(self, _):
        """The new system is asked three times over a quarter of an hour."""
        for _ in range(3):
            self.ready()
            self.world.tideover("check", "acme", "--gate", "finish", "--only",
                                "rcpt-probe")
            self.do_later("8m")

    def do_load(self, _):
        """tideoverd runs, and the plan is started as far as its gate lets"""
        self.ready()
        self.world.start_daemon()
        status, document = self.world.tideover("start", self.world.path)
        assert status in (0, 3), document

    def do_start(self, _):
        """The same, and its gate is open: everything else is attested."""
        self.do_load("")
        self.attest("start")
        status, document = self.world.tideover("start", self.world.path)
        assert status == 0, [f for f in document["gate"]["findings"]
                             if f["verdict"] in ("fail", "unknown")]

    def do_pass(self, rest):
        """pass detach: the gate is open, with what people attest"""
        self.ready()
        self.attest(rest)
        _, document = self.world.tideover("check", "acme", "--gate", rest)
        assert document["open"], document["blocking"]

    def do_stop(self, _):
        self.world.daemon.close()

    def do_restart(self, _):
        self.ready()
        self.world.daemon.close()
        self.world.start_daemon()

    def do_stored(self, rest):
        """Somebody changed the plan in the state folder."""
        self.world.daemon.close()
        kept = f"{self.world.state}/plans/acme/plan.json"
        self.do_plan(rest)
        self.world.write_plan()
        shutil.copy(self.world.path, kept)
        self.world.start_daemon()

    def do_command(self, rest):
        """$ tideover ARGS [=> STATUS]; {+4h} is a time"""
        self.ready()
        line, _, want = rest.partition(" => ")
        line = re.sub(r"\{([+-]\d+[smhd])\}", lambda m: time.strftime(
            "%Y-%m-%dT%H:%M:%SZ", time.gmtime(
                self.world.now() + milliseconds(m.group(1)) / 1000)), line)
        _, *args = shlex.split(line)
        status, document = self.world.tideover(*args)
        assert status == int(want or 0), \
            f"{line}: exit {status}: {json.dumps(document)[:600]}"

    def do_mail(self, rest):
        """mail COUNT to ADDRESS [from IP]: to the queue, that takes it"""
        self.ready()
        count, _, address, *source = rest.split()
        client = QueueClient(source[-1] if source else QUEUE_IP)
        for _ in range(int(count)):
            client.send([address.split("@")[0]], b"Subject: x\r\n\r\nx\r\n")
        client.close()

    def do_wait(self, rest):
        """wait phase PHASE | waiting N | held N | delivered N"""
        what, value = rest.split()

        def there():
            status = self.world.status()
            if what == "phase":
                return status.get("phase") == value
            return sum(d["ledger"][what]
                       for d in status["domains"]) == int(value)
        wait_for(rest, there, 60)

    def do_journal(self, rest):
        """journal torn: somebody changed a line of it"""
        assert rest == "changed", rest
        path = f"{self.world.state}/plans/acme/journal.ndjson"
        with open(path, "r+b") as file:
            text = file.read()
            file.seek(text.index(b'"loaded"'))
            file.write(b'"LOADED"')

    # What is said of it.

    def attest(self, gate, but=()):
        """What only people can say, by name, as they would: of what the daemon
        shows them.  When it sees something new of the old MX set, what was
        said before lapses."""
        if self.world.unseen and gate == "detach":
            self.looked()
        for check in self.world.usual["attested"].get(gate, ()):
            if check in but:
                continue
            status, document = self.world.tideover(
                "waive", "acme", check, "--gate", gate, "--attest", "--by",
                "anna", "--reason", "seen at 10:00")
            assert status == 0 or "does not ask" in str(document), \
                f"attesting {check}: {document}"

    def ask(self, gate, named):
        """The gate's document, and the rows that block it."""
        unasked = set()
        if gate == "plan":
            document = self.in_time("plan", self.world.path)
            unasked = set(self.world.usual["unasked"]) - named
        else:
            if not self.world.daemon:
                self.do_load("")
            self.attest(gate, named)
            document = self.in_time("check", "acme", "--gate", gate)
        return document, set(document["blocking"]) - unasked

    def in_time(self, *command):
        """The gate that it tells of.  In a world where nobody is silent a
        question without an answer in time tells of a busy machine: it is asked
        again, as the remedy says."""
        for _ in range(ASKED_AGAIN):
            _, document = self.world.tideover(*command)
            document = document.get("gate") if command[0] == "plan" else \
                document
            assert document, command
            late = [f["check"] for f in document["findings"]
                    if f["check"] in document["blocking"] and
                    f["verdict"] == "unknown" and "timeout" in json.dumps(f)]
            if not late or is_slow(self.situation):
                break
            self.again.append(f"{' '.join(command)} is asked again: no answer "
                              f"in time for {' '.join(late)}")
        return document

    def judge(self, wanted):
        if wanted.gate == "watched":
            self.judge_watched(wanted)
            return
        named = {row.check for row in wanted.rows} | (wanted.by or set())
        document, blocking = self.ask(wanted.gate, named)
        found = {f["check"]: f for f in document["findings"]}
        self.judged += 1
        if wanted.open and blocking:
            self.false_blocks.append(f"gate {wanted.gate}")
            self.wrong += [f"{wanted.gate} is blocked by {c}: "
                           f"{found[c]['summary']} ({found[c]['remedy']})"
                           for c in sorted(blocking)]
        elif not wanted.open and not blocking:
            self.false_passes.append(f"gate {wanted.gate}")
            self.wrong.append(f"{wanted.gate} is open")
        elif wanted.by is not None and wanted.by != blocking:
            self.wrong += [f"{wanted.gate} is {word} blocked by {c}: "
                           f"{found[c]['summary'] if c in found else ''}"
                           for word, checks in (
                               ("also", blocking - wanted.by),
                               ("not", wanted.by - blocking))
                           for c in sorted(checks)]
        for row in wanted.rows:
            if row.check in found:
                self.compare(row, found[row.check])
            else:
                self.wrong.append(f"{wanted.gate} does not ask {row.check}")

    def compare(self, row, finding):
        self.judged += 1
        self.seen.append([row.check, row.verdict])
        said = json.dumps(finding, ensure_ascii=False)
        plain = f"{finding['summary']} | {finding['remedy']} | {said}"
        lacks = [text for text in row.texts if text not in plain]
        if finding["verdict"] != row.verdict or lacks:
            self.wrong.append(
                f"{row.check} is {finding['verdict']}, not {row.verdict}"
                f"{' and lacks ' + repr(lacks) if lacks else ''}: "
                f"{finding['summary']} | {finding['remedy']}")

    def watched(self):
        """The latest turn of each row, from the journal."""
        turns = {}
        path = f"{self.world.state}/plans/acme/journal.ndjson"
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    line = json.loads(line.strip("\0\n"))
                except ValueError:
                    continue
                if line.get("event") == "check":
                    data = line["data"]
                    turns[data["check"]] = data | {"verdict": data["to"]}
        return turns

    def judge_watched(self, wanted):
        self.ready()
        for row in wanted.rows:
            try:
                wait_for(row.check, lambda: self.watched().get(
                    row.check, {}).get("verdict") == row.verdict, 30)
            except TimeoutError:
                pass
            self.compare(row, self.watched().get(row.check) or {
                "check": row.check, "verdict": "not seen", "summary": "",
                "remedy": ""})


class QueueClient(Client):
    """At the queue's public address."""

    def __init__(self, source):
        self.sock = socket.create_connection((QUEUE_IP, 25), 10, (source, 0))
        self.sock.settimeout(60)
        self.buffer = self.offers = b""
        self.expect(220)
        self.command(b"EHLO sender.example", 250)


# A world for each worker: it is told numbers, and tells what came of each.

def play(world, number, situation):
    before = time.monotonic()
    one = Play(world, situation)
    try:
        world.begin(number)
        one.run()
    except Exception as error:  # one broken situation is not the end
        at = traceback.extract_tb(error.__traceback__)[-1]
        one.wrong.append(f"{type(error).__name__}: {error} "
                         f"({at.name}:{at.lineno})")
    finally:
        world.end()
    if not one.wrong:
        world.remove()
    return {"number": number, "wrong": one.wrong, "seen": one.seen,
            "judged": one.judged, "false_passes": one.false_passes,
            "false_blocks": one.false_blocks, "again": one.again,
            "seconds": round(time.monotonic() - before, 1)}


def worker(folder):
    situations = read_situations()
    world = World(folder)
    try:
        print("ready", flush=True)
        for line in sys.stdin:
            number = int(line)
            print(json.dumps(play(world, number, situations[number])),
                  flush=True)
    finally:
        world.close()


class Worker(threading.Thread):
    """Hands situations to a process in a namespace of its own."""

    def __init__(self, folder, numbers, tell):
        super().__init__()
        self.folder, self.numbers, self.tell = folder, numbers, tell
        os.mkdir(folder)
        os.chmod(folder, 0o755)
        root = [] if os.geteuid() == 0 else ["--map-root-user"]
        self.log = open(f"{folder}/log", "w", encoding="utf-8")
        self.process = subprocess.Popen(
            ["unshare", *root, "--net", "--mount", sys.executable, __file__,
             "--world", folder], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.log, text=True)

    def run(self):
        if self.process.stdout.readline().strip() != "ready":
            return
        while True:
            try:
                number = self.numbers.get_nowait()
            except queue.Empty:
                break
            self.process.stdin.write(f"{number}\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
            self.tell(json.loads(line) if line.strip() else {
                "number": number, "wrong": ["the world ended"], "seen": [],
                "judged": 0, "false_passes": [], "false_blocks": [], "again": [],
                "seconds": 0})
            if not line.strip():
                break
        self.process.stdin.close()
        self.process.wait(60)

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)
        self.log.close()


def is_slow(situation):
    """Those that wait for silence go first."""
    return any(isinstance(step, tuple) and ("silent" in step[1] or
                                            "swallows" in step[1])
               for step in situation.steps)


def choose(situations, words):
    return [n for n, s in enumerate(situations)
            if not words or any(w in s.title or w in s.file for w in words)]


def catalogue():
    """The rows that the product has."""
    with open(f"{ROOT}/lib/cutover/check.c", encoding="ascii") as file:
        return set(re.findall(r'^\t\{ "([a-z-]+)",', file.read(), re.M))


def cover(tap, outcomes):
    """Every row's warn and fail is in some situation."""
    shown = {tuple(pair) for o in outcomes for pair in o["seen"]}
    missing = []
    print("# row                   warn    fail", flush=True)
    for check, (wanted, instead) in read_rows().items():
        cells = []
        for verdict in ("warn", "fail"):
            told = instead[verdict][0] if verdict in instead else verdict
            seen = (check, told) in shown
            wants = verdict in wanted or verdict in instead
            cells.append(("yes" if told == verdict else told) if seen else
                         "MISSING" if wants else "-")
            if wants and not seen:
                missing.append(f"{check} {told}")
        why = "; ".join(why for _, why in instead.values())
        print(f"# {check:<20}  {cells[0]:<6}  {cells[1]:<4}  {why}".rstrip(),
              flush=True)
    tap.ok(set(read_rows()) == catalogue(),
           "the table has every row of the catalogue")
    tap.ok(not missing, "every row's warn and fail is in a situation"
           + (": not " + ", ".join(missing) if missing else ""))


def show(tap, situation, outcome):
    tap.ok(not outcome["wrong"], f"{situation.title} ({situation.file}, "
           f"{outcome['seconds']} s)")
    for sentence in outcome["wrong"] + outcome["again"]:
        print("# " + sentence.replace("\n", " ")[:1500], flush=True)


def run(tap, words):
    situations = read_situations()
    chosen = choose(situations, words)
    numbers = queue.Queue()
    for number in sorted(chosen, key=lambda n: not is_slow(situations[n])):
        numbers.put(number)
    outcomes, lock = [], threading.Lock()
    folder = tempfile.mkdtemp(prefix="tideover-verdicts-")
    os.chmod(folder, 0o755)

    def tell(outcome):
        with lock:
            outcomes.append(outcome)
            show(tap, situations[outcome["number"]], outcome)
    workers = [Worker(f"{folder}/world{n}", numbers, tell)
               for n in range(min(WORLDS, len(chosen)))]
    try:
        for one in workers:
            one.start()
        for one in workers:
            one.join()
    finally:
        for one in workers:
            one.close()
    total(tap, situations, chosen, outcomes)
    if not words:
        cover(tap, outcomes)
    if tap.bad:
        print(f"# see {folder}", flush=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def total(tap, situations, chosen, outcomes):
    tap.ok(len(outcomes) == len(chosen),
           f"{len(outcomes)} of {len(chosen)} situations were played")
    for kind, what in (("false_passes", "passes a gate that should block"),
                       ("false_blocks", "blocks a gate that should open")):
        these = [f"{situations[o['number']].title} ({', '.join(o[kind])})"
                 for o in outcomes if o[kind]]
        tap.ok(not these, f"no situation {what}"
               + "".join(f"; {one}" for one in these))
    print(f"# {len(outcomes)} situations, "
          f"{sum(o['judged'] for o in outcomes)} verdicts judged, "
          f"{sum(len(o['false_passes']) for o in outcomes)} false passes, "
          f"{sum(len(o['false_blocks']) for o in outcomes)} false blocks",
          flush=True)


def may_have_worlds():
    root = [] if os.geteuid() == 0 else ["--map-root-user"]
    return subprocess.run(["unshare", *root, "--net", "--mount", "true"],
                          capture_output=True, check=False).returncode == 0


def main():
    if sys.argv[1:2] == ["--world"]:
        worker(sys.argv[2])
        return
    tap = Tap()
    gone = peers.missing("knotd", "knotc", "keymgr", "kdig", "unbound",
                         "openssl", "ip", "unshare")
    if gone:
        tap.skip("verdicts", f"{', '.join(gone)} is not here")
    elif not may_have_worlds():
        tap.skip("verdicts", "a network namespace may not be made")
    else:
        run(tap, sys.argv[1:])
    tap.end()


if __name__ == "__main__":
    main()
