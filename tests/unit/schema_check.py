#!/usr/bin/env python3
"""plan.schema.json and the parser describe the same language.

Holds the schema against the example plans (valid), plans/bad/sense-*.json
(valid: sense is no matter of a schema) and plans/bad/language-*.json (not
valid).  The unit test of the plan holds the parser against the same files.
Prints TAP.  Knows the part of JSON Schema 2020-12 that the schema uses; any
other keyword is an error, so that none is silently ignored.
"""
import glob
import json
import os
import re
import sys

TYPES = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float))
    and not isinstance(v, bool),
    "integer": lambda v: isinstance(v, (int, float))
    and not isinstance(v, bool) and v == int(v),
    "null": lambda v: v is None,
}
KNOWN = {
    "$schema", "$defs", "$ref", "title", "description", "type", "const",
    "enum", "required", "properties", "patternProperties",
    "additionalProperties", "items", "minItems", "maxItems", "uniqueItems",
    "minimum", "maximum", "maxLength", "pattern", "oneOf", "anyOf", "not",
}


def same(a, b):
    """JSON equality: true is not 1."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def errors(root, schema, value, path=""):
    """Yields a sentence per violation."""
    unknown = set(schema) - KNOWN
    if unknown:
        raise ValueError("unknown keyword in the schema: %s" % unknown)
    if "$ref" in schema:
        name = schema["$ref"].split("/")[-1]
        yield from errors(root, root["$defs"][name], value, path)
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(TYPES[one](value) for one in types):
        yield "%s: not of type %s" % (path, " or ".join(types))
        return
    if "const" in schema and not same(value, schema["const"]):
        yield "%s: not %r" % (path, schema["const"])
    if "enum" in schema and not any(same(value, e) for e in schema["enum"]):
        yield "%s: not one of %s" % (path, schema["enum"])
    if isinstance(value, dict):
        yield from object_errors(root, schema, value, path)
    if isinstance(value, list):
        yield from array_errors(root, schema, value, path)
    if isinstance(value, str):
        if len(value) > schema.get("maxLength", len(value)):
            yield "%s: too long" % path
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield "%s: %r does not fit" % (path, value)
    if TYPES["number"](value):
        if value < schema.get("minimum", value):
            yield "%s: too small" % path
        if value > schema.get("maximum", value):
            yield "%s: too large" % path
    for word, good in (("oneOf", lambda n: n == 1), ("anyOf", bool)):
        if word in schema:
            fits = sum(not list(errors(root, s, value, path))
                       for s in schema[word])
            if not good(fits):
                yield "%s: fits %d of %s" % (path, fits, word)
    if "not" in schema and not list(errors(root, schema["not"], value, path)):
        yield "%s: fits what it must not" % path


def object_errors(root, schema, value, path):
    for key in schema.get("required", ()):
        if key not in value:
            yield "%s.%s: is missing" % (path, key)
    for key, member in value.items():
        where = "%s.%s" % (path, key)
        known = key in schema.get("properties", {})
        if known:
            yield from errors(root, schema["properties"][key], member, where)
        for pattern, sub in schema.get("patternProperties", {}).items():
            if re.search(pattern, key):
                known = True
                yield from errors(root, sub, member, where)
        if not known and schema.get("additionalProperties") is False:
            yield "%s: unknown key" % where


def array_errors(root, schema, value, path):
    if len(value) < schema.get("minItems", 0):
        yield "%s: too few" % path
    if len(value) > schema.get("maxItems", len(value)):
        yield "%s: too many" % path
    if schema.get("uniqueItems"):
        if len({json.dumps(v, sort_keys=True) for v in value}) != len(value):
            yield "%s: one stands here twice" % path
    for i, item in enumerate(value):
        if "items" in schema:
            yield from errors(root, schema["items"], item,
                              "%s[%d]" % (path, i))


def once(pairs):
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError("duplicate key")
    return dict(pairs)


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f, object_pairs_hook=once)


def found(schema, path):
    try:
        return list(errors(schema, schema, load(path)))
    except json.JSONDecodeError as e:
        return [str(e)]
    except ValueError as e:
        if "duplicate" not in str(e):
            raise
        return [str(e)]


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    plans = os.path.join(here, "..", "..", "plans")
    schema = load(os.path.join(plans, "plan.schema.json"))
    cases = []
    for path in sorted(glob.glob(os.path.join(plans, "*.json"))):
        if not path.endswith(".schema.json"):
            cases.append((path, True))
    for path in sorted(glob.glob(os.path.join(plans, "bad", "*.json"))):
        cases.append((path, os.path.basename(path).startswith("sense-")))
    failed = 0
    print("1..%d" % len(cases))
    for i, (path, valid) in enumerate(cases, 1):
        wrong = found(schema, path)
        ok = valid == (not wrong)
        failed += not ok
        print("%s %d - %s is %s" % ("ok" if ok else "not ok", i,
              os.path.relpath(path, plans), "valid" if valid else "refused"))
        if not ok:
            for sentence in wrong or ["no error found"]:
                print("# %s" % sentence)
    return 1 if failed or len(cases) < 23 else 0


if __name__ == "__main__":
    sys.exit(main())
