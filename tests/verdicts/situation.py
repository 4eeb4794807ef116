"""A situation is text: what differs from a healthy world, what happens, and
what a careful architect says of it.  README.md is the language."""
import glob
import os
import re
import shlex

HERE = os.path.dirname(os.path.abspath(__file__))
VERDICTS = ("pass", "warn", "fail", "unknown", "waived")
GATES = ("plan", "start", "detach", "finish", "close", "rollback")


class Wanted:
    """One line of a judgement: a row, its verdict, texts that it must have."""

    def __init__(self, line):
        check, _, rest = line.partition(":")
        words = shlex.split(rest)
        if not words or words[0] not in VERDICTS:
            raise ValueError(f"'{line}': no verdict")
        self.check, self.verdict, self.texts = check, words[0], words[1:]


class Judgement:
    """A gate (or the watched rows), and the rows that the situation names."""

    def __init__(self, gate, line):
        self.gate, self.line = gate, line
        self.open, self.by, self.rows = None, None, []
        if gate == "watched":
            return
        if gate not in GATES:
            raise ValueError(f"'{gate}' is no gate")
        said = re.fullmatch(r"(open|blocked)(?: by (.+))?", line)
        if not said:
            raise ValueError(f"'{line}': open or blocked?")
        self.open = said.group(1) == "open"
        if said.group(2):
            self.by = set(said.group(2).split())


class Situation:
    """A title, and steps of (keyword, rest of the line) or judgements."""

    def __init__(self, file, title):
        self.file, self.title, self.steps = file, title, []

    def add(self, line):
        """A line that is neither empty nor a comment."""
        if line[0].isspace():
            last = self.steps[-1] if self.steps else None
            if not isinstance(last, Judgement):
                raise ValueError(f"'{line.strip()}' belongs to no gate")
            last.rows.append(Wanted(line.strip()))
            return
        said = re.match(r"(?:gate (\w+)|(watched)):\s*(.*)", line)
        if said:
            self.steps.append(Judgement(said.group(1) or said.group(2),
                                        said.group(3).strip()))
            return
        word, _, rest = line.strip().partition(" ")
        self.steps.append((word, rest.strip()))

    def judgements(self):
        return [s for s in self.steps if isinstance(s, Judgement)]


def read_situations():
    """All of tests/verdicts/*.txt, in order."""
    found = []
    for path in sorted(glob.glob(f"{HERE}/*.txt")):
        name = os.path.basename(path)
        current = None
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                line = line.rstrip("\n")
                if line.startswith("== "):
                    current = Situation(name, line[3:].strip())
                    found.append(current)
                elif line.strip() and not line.lstrip().startswith("#"):
                    try:
                        current.add(line)
                    except (AttributeError, ValueError) as error:
                        raise ValueError(f"{name}:{number}: {error}") from None
    return found


def read_rows():
    """rows.table: check -> (verdicts that situations must show, {verdict:
    (what a situation shows in its place, why)})."""
    rows = {}
    with open(f"{HERE}/rows.table", encoding="ascii") as file:
        for line in file:
            words, _, why = line.split("#", 1)[0].strip().partition(" -- ")
            if not words:
                continue
            check, *verdicts = words.split()
            instead = dict(v.split("=") for v in verdicts if "=" in v)
            if bool(instead) != bool(why) or \
                    not set(instead.values()) <= set(VERDICTS):
                raise ValueError(f"rows.table: {check}: another verdict in "
                                 "its place has a reason, and a reason one")
            rows[check] = ({v for v in verdicts if "=" not in v},
                           {v: (other, why) for v, other in instead.items()})
    return rows
