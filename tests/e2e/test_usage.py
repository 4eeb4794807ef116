#!/usr/bin/env python3
"""What the command says of a line that was mistyped, or comes too early or too
late: what is wrong and what helps, as JSON too (TAP)."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

from cutover import DOMAIN, ROOT, VARIANT, Client, Tap
from node import Node

sys.path.append(f"{ROOT}/tests/unit")

from schema_check import errors  # noqa: E402

MISTYPED = [
    ("", "`tideover --help` lists the commands"),
    ("plna acme.json", "no command 'plna'"),
    ("--json status", "options come after the command: tideover COMMAND "
                      "--json"),
    ("plan", "usage: tideover plan [OPTIONS] FILE"),
    ("status a b", "usage: tideover status [OPTIONS] [PLAN]"),
    ("status --bogus", "no option --bogus: `tideover status --help`"),
    ("status -x", "no option -x: `tideover status --help`"),
    ("status --state", "--state needs a value"),
    ("finish --now=yes", "--now takes no value"),
    ("check --gate detatch", "'detatch' is none of: plan start detach"),
    ("finish --timeout 5", "--timeout: '5' is not a duration"),
    ("queue list --older-than 5", "--older-than: '5' is not a duration"),
    ("queue list --since now", "--since: 'now' is not a time"),
    ("report --json --format md", "give --output PATH"),
    ("window add p --from 2026-12-05T22:00:00 --to x",
     "--from: '2026-12-05T22:00:00' is not a time with its zone"),
]


def tideover(state, *args):
    done = subprocess.run([f"{ROOT}/build/{VARIANT}/tideover", *args],
                          env={**os.environ, "TIDEOVER_STATE": state},
                          capture_output=True, text=True, check=False,
                          timeout=60)
    return done.returncode, done.stdout, done.stderr


def mistyped(tap, state):
    for line, want in MISTYPED:
        status, out, err = tideover(state, *line.split())
        tap.ok(status == 2 and want in err and
               (not out or "--json" in line),
               f"tideover {line}: {err.strip()}")
    for line, want in MISTYPED[3:]:
        status, out, _ = tideover(state, *(line.replace(" ", " --json ", 1)
                                           if " " in line
                                           else line + " --json").split())
        tap.ok(status == 2 and want in json.loads(out)["error"],
               f"tideover {line}: the same as JSON")


# In `opening`: nobody answers for DNS, so the gate start stays shut.
OUT_OF_TURN = [
    (1, "status nope", "plan 'nope' is not under way here, but acme"),
    (1, "check --only nocheck", "no check is called 'nocheck'"),
    (1, "check --gate detach --only mx-sanity",
     "the gate detach of plan acme does not ask mx-sanity"),
    (1, "waive acme nocheck --gate start --reason x",
     "no check is called 'nocheck'"),
    (1, "waive acme mx-final --gate start --reason x",
     "the gate start of plan acme does not ask mx-final"),
    (1, "rollback", "cannot roll back: the plan is opening"),
    (1, "finish", "cannot finish: the plan is opening"),
    (1, "queue show acme 01m8arqs8dt6q8tw0cmf", "no such envelope"),
    (1, "queue export acme 01m8arqs8dt6q8tw0cmf", "no such envelope"),
    (1, "journal verfy", "plan 'verfy' has no journal in "),
]


# What stands under these is of any shape, or has the names of things as keys.
LOOSE = {"evidence", "facts", "turned_away", "limits", "data", "waivers",
         "operator_actions", "valves", "ledger_totals", "canaries",
         "orphans", "by_server"}


def keys(document):
    """Every key of the document and of what is in it."""
    if isinstance(document, list):
        return {key for one in document for key in keys(one)}
    if not isinstance(document, dict):
        return set()
    found = set(document)
    for key, value in document.items():
        if key not in LOOSE:
            found |= keys(value)
    return found


def documented(tap, node):
    """docs/control.md names each key of what scripts read."""
    client = Client(node.port, False)
    client.send(["anna", "ben"], b"Subject: one\r\n\r\none\r\n")
    client.close()
    node.tideover("queue", "hold", "acme", "--recipient", f"anna@{DOMAIN}",
                  "--by", "eve", "--reason", "to see")
    with open(f"{ROOT}/docs/control.md", encoding="utf-8") as page:
        words = set(re.findall(r"[a-z_0-9]+", page.read()))
    for line in ("status", "check --gate plan", "start " + node.plan,
                 "queue list", "queue show acme --all", "report",
                 "queue retry acme --all", "queue export acme --all --output "
                 + node.folder + "/export", "journal show",
                 "journal verify", "spool verify " + node.state, "plan "
                 + node.plan, "pause", "resume", "status nope"):
        out = node.tideover(*line.split())[1]
        lines = [out] if line == "report" else out.splitlines()
        found = keys([json.loads(one) for one in lines])
        tap.ok(found and found <= words | {DOMAIN, "old", "new"},
               f"{line.split('/')[0]}: {len(found)} keys, not documented: "
               f"{sorted(found - words)}")


DESCRIBED = [
    ("GET", "/v1/daemon", None), ("GET", "/v1/plans", None),
    ("GET", "/v1/plans/acme/status?replies=1", None),
    ("GET", "/v1/plans/acme/queue?attempts=1", None),
    ("GET", "/v1/plans/acme/count", None),
    ("GET", "/v1/plans/acme/report", None),
    ("GET", "/v1/plans/acme/journal", None),
    ("POST", "/v1/plans/acme/check", {"gate": "plan"}),
    ("POST", "/v1/plans/acme/pause", {"by": "eve", "reason": "to see"}),
    ("POST", "/v1/plans/acme/resume", {"by": "eve"}),
    ("POST", "/v1/plans/acme/release",
     {"all": True, "dry_run": True, "by": "eve", "reason": "to see"}),
    ("POST", "/v1/plans/acme/retry", {"all": True, "by": "eve"}),
    ("POST", "/v1/plans/acme/waive", {
        "check": "clock", "gate": "start", "by": "eve", "reason": "to see"}),
    ("POST", "/v1/plans/acme/resend", {
        "since": "2026-01-01T00:00:00Z", "to": "old", "dry_run": True}),
    ("POST", "/v1/plans/acme/finish", {"by": "eve"}),
    ("GET", "/v1/nothing", None),
]


def described(tap, node):
    """docs/openapi.json says what is sent and what is answered."""
    with open(f"{ROOT}/docs/openapi.json", encoding="utf-8") as file:
        page = json.load(file)
    root = {"$defs": page["components"]["schemas"]}
    for method, path, body in DESCRIBED:
        status, text = node.request(method, path, body)
        of = page["paths"].get(path.split("?")[0].replace("acme", "{plan}"),
                               {}).get(method.lower())
        wrong = []
        if body is not None:
            asked = of["requestBody"]["content"]["application/json"]
            wrong += errors(root, asked["schema"], body, "body")
        kind, schema = "", {"$ref": "#/components/schemas/Error"}
        if status == 200:
            (kind, said), = of["responses"]["200"]["content"].items()
            schema = said["schema"]
        for line in text.splitlines() if "ndjson" in kind else [text]:
            wrong += errors(root, schema, json.loads(line))
        tap.ok(text and not wrong, f"{method} {path}: {status}, {len(text)} "
               f"bytes as they are described {wrong[:3]}")


def out_of_turn(tap, folder):
    node = Node(folder)
    node.start()
    try:
        for want, line, why in OUT_OF_TURN:
            status, _, err = node.tideover(*line.split())
            tap.ok(status == want and why in err,
                   f"tideover {line}: {err.strip()}")
        status, out, _ = node.tideover("check")
        gate = json.loads(out)
        tap.ok(status == 3 and gate["gate"] == "start",
               "check without --gate judges the one to pass next")
        said = node.tideover("check", text=True)[1].splitlines()
        tap.ok(said[-1] == "blocked by " + " ".join(gate["blocking"]),
               f"and what blocks stands last: {said[-1]}")
        said = node.tideover("check", "--only", "clock", text=True)[1]
        tap.ok('"asked"' in said, "--only shows the evidence")
        said = node.tideover("check", "--only", "queue-reachable",
                             text=True)[1]
        tap.ok(re.search('^ *tideover waive acme queue-reachable --gate start '
                         '--attest --by NAME --reason "what was seen, when"$',
                         said, re.M),
               "a command of a remedy stands on one line, to be copied")
        with open("/dev/full", "w", encoding="ascii") as full:
            for words in (["check", "--json"], ["journal"], ["status"]):
                done = subprocess.run(
                    [f"{node.build}/tideover", *words, "--state", node.state],
                    stdout=full, stderr=subprocess.PIPE, text=True,
                    check=False, timeout=60)
                tap.ok(done.returncode == 1 and
                       "could not be written" in done.stderr,
                       f"tideover {words[0]} onto a full disk fails: "
                       f"{done.returncode} {done.stderr.strip()}")
        said = node.tideover("status", text=True)[1]
        tap.ok("blocked by" in said and "warn " not in said,
               "the status has what blocked, and no warnings")
        if os.geteuid() == 0:
            done = subprocess.run(
                [f"{node.build}/tideover", "status", "--state", node.state],
                capture_output=True, text=True, check=False, timeout=60,
                user="nobody", extra_groups=[])
            tap.ok(done.returncode == 4 and "for root and the user of "
                   "tideoverd alone" in done.stderr,
                   f"another user is told so: {done.stderr.strip()}")
        with open(node.plan, "rb") as plan:
            done = subprocess.run(
                [f"{node.build}/tideover", "plan", "--json", "--state",
                 node.state, "/dev/stdin"], input=plan.read(),
                capture_output=True, check=False, timeout=60)
        tap.ok(json.loads(done.stdout).get("plan") == "acme",
               f"a plan may come through a pipe: {done.stderr.decode()}")
        for turn in ("start --abort", "start --abort again"):
            status, out, _ = node.tideover("start", node.plan, "--abort")
            tap.ok(status == 0 and json.loads(out)["phase"] == "planned",
                   f"{turn}: planned")
        tap.ok(node.get("/v1/plans/acme/status")["gate_waited_for"] is None,
               "and nobody waits for the gate any more")
        node.write(retention="9d")
        status, _, err = node.tideover("start", node.plan)
        tap.ok(status == 2 and "or first tideover remove acme" in err,
               f"another plan of that name: {err.strip()}")
        node.document.pop("retention")
        node.write()
        node.tideover("start", node.plan)
        node.write(retention="9d")
        for words, want, why in (
                (["remove", "acme"], 1, "tideover start acme --abort first"),
                (["start", node.plan, "--abort"], 0, ""),
                (["start", "acme", "--abort"], 0, ""),
                (["remove", "acme"], 0, ""),
                (["start", node.plan], 3, "still opening"),
                (["start", node.plan, "--abort"], 0, ""),
                (["remove", "acme"], 0, "")):
            status, _, err = node.tideover(*words, text=True)
            tap.ok(status == want and why in err,
                   "a plan that was wrong when it was started becomes "
                   f"another: {words[0]}: {status} {err.strip()}")
        node.document.pop("retention")
        node.write()
        node.tideover("start", node.plan)
        documented(tap, node)
        described(tap, node)
    finally:
        node.daemon.close()
    status, _, err = node.tideover("journal", "verify")
    tap.ok(status == 4 and "a plan that is named" in err,
           "without tideoverd, journal says how it goes")
    tap.ok(node.tideover("journal", "verify", "acme")[0] == 0,
           "and so it goes")


def main():
    tap = Tap()
    folder = tempfile.mkdtemp(prefix="tideover-e2e-")
    state = f"{folder}/state"
    mistyped(tap, state)
    for words in (["-h"], ["--help"], ["help"], ["plan", "-h"],
                  ["plan", "--help", "a", "b", "c"]):
        status, out, _ = tideover(state, *words)
        tap.ok(status == 0 and out.startswith("usage: tideover "),
               f"tideover {' '.join(words)} helps")
    tap.ok(not os.path.exists(state), "and nothing was written")
    out_of_turn(tap, folder)
    if not tap.bad:
        shutil.rmtree(folder)
    tap.end()


main()
