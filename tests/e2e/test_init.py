#!/usr/bin/env python3
"""tideover init writes a plan from what a real resolver says (TAP)."""
import json
import os
import shutil
import subprocess
import tempfile

import peers
from cutover import ROOT, VARIANT, Tap

DOMAIN = "acme.example"
OLD = ["mx1.hosts.example", "mx2.hosts.example"]


def init(folder, *args):
    path = f"{folder}/plan.json"
    if os.path.exists(path):
        os.unlink(path)
    done = subprocess.run([f"{ROOT}/build/{VARIANT}/tideover", "init", *args,
                           "--output", path], capture_output=True, text=True,
                          check=False, timeout=60)
    if done.returncode != 0:
        return done, None
    with open(path, encoding="utf-8") as plan:
        return done, json.load(plan)


def valid(folder, plan, state):
    """What the parser says of it: the errors, or none."""
    path = f"{folder}/check.json"
    with open(path, "w", encoding="utf-8") as out:
        json.dump(plan, out)
    done = subprocess.run([f"{ROOT}/build/{VARIANT}/tideover", "plan",
                           "--json", "--state", state, path],
                          capture_output=True, text=True, check=False,
                          timeout=90)
    return json.loads(done.stdout.splitlines()[-1]).get("errors", [])


def run(tap, folder):
    knot = peers.Knot(folder, DOMAIN, OLD, 3600)
    resolver = None
    try:
        knot.publish((10, OLD[0]), (20, OLD[1]))
        resolver = peers.Unbound(folder, "resolver", knot)
        ask = ("--resolver", f"127.0.0.1:{resolver.port}")
        state = f"{folder}/state"
        for source, target, strategy in (("workspace", "m365", "park"),
                                         ("m365", "workspace", "park"),
                                         ("m365", "m365", "park"),
                                         ("custom", "m365", "standby"),
                                         ("custom", None, "standby")):
            args = ("--from", source) + (("--to", target) if target else ())
            done, plan = init(folder, DOMAIN, *args, *ask)
            old = plan["old" if target else "primary"]
            tap.ok(done.returncode == 0 and old["mx"] == OLD and
                   plan["strategy"] == strategy and
                   plan["dns"]["old_ttl"] > 3500 and
                   plan["dns"]["ttl"] <= 3600,
                   f"{source} to {target}: {strategy}, with the MX set and "
                   f"TTL of DNS ({plan['dns']['old_ttl']})")
            resolvers = plan["dns"]["resolvers"]
            tap.ok(len(resolvers) >= 3 or strategy != "park",
                   f"as many resolvers as the gate detach wants: {resolvers}")
            tap.ok(("verify_txt" in plan.get("new", {})) == (source == target),
                   "which TXT, where both tenants are of one kind")
            # No test asks the world.
            del resolvers[1:]
            errors = valid(folder, plan, state)
            tap.ok(errors and all(".invalid'" in e for e in errors),
                   f"nothing is wrong but its placeholders: "
                   f"{errors}")
            plan = json.loads(json.dumps(plan)
                              .replace("queue-host.invalid", "q.example.net")
                              .replace(".invalid", ".example"))
            errors = valid(folder, plan, state)
            tap.ok(not errors, f"and filled in it is whole: {errors}")
        done, plan = init(folder, DOMAIN, "--json", *ask)
        tap.ok(json.loads(done.stdout) == {"plan": f"{folder}/plan.json"},
               f"--json names the file: {done.stdout.strip()}")
        done, plan = init(folder, "nothing.hosts.example", *ask)
        tap.ok(done.returncode == 1 and "nobody names an MX" in done.stderr,
               f"a domain without mail: {done.stderr.strip()}")
        done, plan = init(folder, DOMAIN, "--from", "exchange", *ask)
        tap.ok(done.returncode == 2, f"an unknown provider: "
               f"{done.stderr.strip().splitlines()[0]}")
    finally:
        if resolver:
            resolver.close()
        knot.close()


def main():
    tap = Tap()
    gone = peers.missing("knotd", "unbound", "kdig")
    if gone:
        tap.skip("init", "missing: " + ", ".join(gone))
        tap.end()
    folder = tempfile.mkdtemp(prefix="tideover-e2e-")
    run(tap, folder)
    if not tap.bad:
        shutil.rmtree(folder, ignore_errors=True)
    tap.end()


main()
