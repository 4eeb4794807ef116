#!/usr/bin/env python3
"""docs/openapi.json has the requests that tideoverd answers, and no other; what
it refers to is there (TAP).  tests/e2e/test_usage.py holds answers against it."""
import os
import re
import sys

from schema_check import load

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")


def answered():
    """{(method, path)} of the tables in control_verbs.c."""
    with open(f"{ROOT}/daemon/control_verbs.c", encoding="utf-8") as source:
        rows = re.findall(r'\{ "([A-Z]+)", "([^"]*)", \w+ \}', source.read())
    return {(method, path if path.startswith("/") else
             f"/v1/plans/{{plan}}/{path}".rstrip("/"))
            for method, path in rows}


def references(value):
    """What is referred to, anywhere in it."""
    if isinstance(value, list):
        return {ref for one in value for ref in references(one)}
    if not isinstance(value, dict):
        return set()
    found = {ref for one in value.values() for ref in references(one)}
    return found | ({value["$ref"]} if "$ref" in value else set())


def main():
    page = load(f"{ROOT}/docs/openapi.json")
    told = {(method.upper(), path) for path, of in page["paths"].items()
            for method in of if method != "parameters"}
    there = {f"#/components/{kind}/{name}"
             for kind, of in page["components"].items() for name in of}
    refers = references(page)
    cases = [
        (f"{len(told)} requests, as they are answered: {told ^ answered()}",
         told == answered() and len(told) > 25),
        (f"every reference leads somewhere: {refers - there}",
         refers <= there),
        (f"and each of {len(there)} parts is referred to: {there - refers}",
         there <= refers),
    ]
    print(f"1..{len(cases)}")
    for i, (text, good) in enumerate(cases, 1):
        print(f"{'ok' if good else 'not ok'} {i} - {text}")
    return 0 if all(good for _, good in cases) else 1


sys.exit(main())
