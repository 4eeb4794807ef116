#!/usr/bin/env python3
"""Who may include whom, checked from the include lines.

A layer may include the layers named for it; a library's headers may be
included by the modules named for it and by nobody else.
"""
import os
import re
import sys

LAYERS = {
    "base": set(),
    "net": {"base"},
    "smtp": {"base"},
    "dns": {"base", "net"},
    "spool": {"base"},
    "mail": {"base", "dns"},
    "plan": {"base", "smtp"},
    "cutover": {"base", "net", "dns", "smtp", "mail", "plan"},
    "control": {"base", "net"},
}
ALL = set(LAYERS)
LAYERS["lab"] = set(ALL)

LIBRARIES = [
    (r"^cjson/", ["lib/base/json.c"]),
    (r"^openssl/", ["lib/base/digest.c", "lib/base/seal.c", "lib/net/tls.c",
                    "lib/net/stream.c", "lib/net/tls_chain.c",
                    "lib/net/tls_terms.c", "lib/mail/"]),
    (r"^event2/", ["lib/net/"]),
    (r"^curl/", ["lib/net/http.c"]),
    (r"^ares", ["lib/dns/"]),
    (r"^unbound", ["lib/dns/dns_unbound.c"]),
    (r"^idn2", ["lib/dns/dns_idn.c"]),
    (r"^sqlite3", ["daemon/index"]),
    (r"^seccomp|^cap-ng", ["daemon/sandbox"]),
]


def allowed(path, layer):
    parts = path.split(os.sep)
    if parts[0] == "lib":
        return layer == parts[1] or layer in LAYERS[parts[1]]
    if layer == parts[0]:
        return True
    if layer == "lab":
        return path.startswith("cli" + os.sep)
    return layer in ALL


def main():
    bad = 0
    for top in ("lib", "daemon", "cli"):
        for folder, _, names in os.walk(top):
            for name in names:
                if not name.endswith((".c", ".h")):
                    continue
                path = os.path.join(folder, name)
                with open(path, encoding="utf-8") as source:
                    for number, line in enumerate(source, 1):
                        bad += check(path, number, line)
    return 1 if bad else 0


def check(path, number, line):
    bad = 0
    own = re.match(r'#include "([^"]+)"', line)
    if own:
        layer = own.group(1).split("/")[0]
        if "/" not in own.group(1):
            print(f"{path}:{number}: an include spells its layer: {line!r}")
            bad = 1
        elif not allowed(path, layer):
            print(f"{path}:{number}: may not include {own.group(1)}")
            bad = 1
    foreign = re.match(r"#include <([^>]+)>", line)
    if foreign:
        for pattern, where in LIBRARIES:
            if re.match(pattern, foreign.group(1)) and not any(
                    path.startswith(p) for p in where):
                print(f"{path}:{number}: {foreign.group(1)} is known to "
                      f"{', '.join(where)} alone")
                bad = 1
    return bad


sys.exit(main())
