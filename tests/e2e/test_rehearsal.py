#!/usr/bin/env python3
"""The rehearsal of every example plan (or of those named) passes: nothing
lost, changed or twice (TAP)."""
import json
import os
import subprocess
import sys
import tempfile

PLANS = ["plans/acme-to-m365.json", "plans/onprem-to-m365.json",
         "plans/standby-postfix.json"]
VARIANT = os.environ.get("VARIANT", "asan")


def canaries(plan):
    """How many mailboxes of its domains get a canary."""
    with open(plan, encoding="utf-8") as file:
        return len(json.load(file).get("canary", {}).get("recipients", ()))


def main():
    plans = sys.argv[1:] or PLANS
    print(f"1..{len(plans) + 1}")
    bad = 0
    for number, plan in enumerate(plans, 1):
        with tempfile.TemporaryDirectory() as folder:
            run = subprocess.run(
                [f"build/{VARIANT}/tideover", "rehearse", "--json", "--keep",
                 folder, plan], capture_output=True, text=True, timeout=180,
                check=False)
        try:
            said = json.loads(run.stdout)
        except ValueError:
            said = {}
        good = (run.returncode == 0 and said.get("passed") is True
                and said.get("lost") == 0 and said.get("sent", 0) > 50
                and said.get("canaries") == canaries(plan)
                and said.get("through_queue", 0) > 20)
        bad += not good
        print(f"{'ok' if good else 'not ok'} {number} - {plan}: "
              f"{said.get('through_queue')} of {said.get('sent')} messages "
              f"through the queue, lost {said.get('lost')}")
        if not good:
            print(run.stdout[-2000:], run.stderr[-4000:], sep="\n",
                  file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f"{folder}/state")
        run = subprocess.run(
            [f"build/{VARIANT}/tideover", "rehearse", "--keep", folder,
             plans[0]], capture_output=True, text=True, timeout=60,
            check=False)
    good = run.returncode == 2 and "give --keep another" in run.stderr
    bad += not good
    print(f"{'ok' if good else 'not ok'} {len(plans) + 1} - a folder that was "
          f"used is left alone: {run.stderr.strip()}")
    return 1 if bad else 0


sys.exit(main())
