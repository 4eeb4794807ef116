#!/usr/bin/env python3
"""What the command says of a line that was mistyped: exit status 2, what is
wrong and what helps, as JSON too (TAP).  Nothing runs behind it."""
import json
import os
import shutil
import subprocess
import tempfile

from cutover import ROOT, VARIANT, Tap

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
        tap.ok(status == 2 and want in err and not out,
               f"tideover {line}: {err.strip()}")
    for line, want in MISTYPED[3:]:
        status, out, _ = tideover(state, *(line.replace(" ", " --json ", 1)
                                           if " " in line
                                           else line + " --json").split())
        tap.ok(status == 2 and want in json.loads(out)["error"],
               f"tideover {line}: the same as JSON")


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
    shutil.rmtree(folder)
    tap.end()


main()
