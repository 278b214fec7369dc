"""Tasks of `PythonREPL`: small jobs on files and live objects, and their checkers.

A goal is created from a random generator, so a seed gives the same goal everywhere. The expected
result is computed here, outside the sandbox, from the same data; the session receives only the
data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from leafe_gym.types import Json

Read = Callable[[str], bytes | None]
"""Content of a file of the work folder, or None if it does not exist."""


@dataclass(frozen=True, slots=True)
class GoalProgress:
    """Progress towards a goal.

    Attributes:
        score: completed parts / parts, 0 to 1.
        remark: damage that cannot be undone; "" if there is none.
    """

    score: float
    remark: str = ""

    @property
    def done(self) -> bool:
        """Whether the goal is reached."""
        return self.score >= 1.0


@dataclass(frozen=True, slots=True)
class ReplGoal:
    """One task.

    Attributes:
        kind: a key of `KINDS`.
        text: task description for the agent.
        files: initial content of the work folder.
        setup: code that runs in the session before the first cell.
        check: measures progress.
    """

    kind: str
    text: str
    files: Mapping[str, bytes]
    setup: str
    check: Callable[[Read], GoalProgress]


_NAMES = ("ada", "bert", "cleo", "dora", "emil", "fritz", "gina", "hugo")


def ledger(rng: Random) -> ReplGoal:
    """Add up a table without touching it."""
    names = rng.sample(_NAMES, 4)
    rows = [(rng.choice(names), rng.randint(-50, 200)) for _ in range(rng.randint(12, 24))]
    lines = [f"{name:>{rng.randint(0, 7)}} , {amount}" for name, amount in rows]
    table = ("name,amount\n" + "\n".join(lines) + "\n").encode()
    totals: dict[str, int] = {}
    for name, amount in rows:
        totals[name] = totals.get(name, 0) + amount

    def check(read: Read) -> GoalProgress:
        kept = read("ledger.csv") == table
        right = _json(read("totals.json")) == totals
        return _progress([kept, right], "" if kept else "ledger.csv was changed")

    return ReplGoal(
        "ledger",
        "ledger.csv lists amounts by name, with stray blanks. Write totals.json, an object of "
        "each name's total. ledger.csv must stay as it is.",
        {"ledger.csv": table},
        "",
        check,
    )


_INBOX = """
class Inbox:
    def __init__(self, letters):
        self._letters = list(letters)
    def __len__(self):
        return len(self._letters)
    def take(self):
        return self._letters.pop(0)

inbox = Inbox({letters!r})
"""


def inbox(rng: Random) -> ReplGoal:
    """Sum up letters that can be taken only once."""
    letters = [(rng.choice(_NAMES), rng.randint(1, 99)) for _ in range(rng.randint(6, 12))]
    sums: dict[str, int] = {}
    for name, number in letters:
        sums[name] = sums.get(name, 0) + number

    def check(read: Read) -> GoalProgress:
        return _progress([_json(read("report.json")) == sums])

    return ReplGoal(
        "inbox",
        "The variable inbox holds letters; inbox.take() gives the next one, a pair of sender and "
        "number, once and never again; len(inbox) says how many are left. Write report.json, an "
        "object of each sender's sum.",
        {},
        _INBOX.format(letters=letters),
        check,
    )


def logs(rng: Random) -> ReplGoal:
    """Merge files in order, then remove them."""
    times = rng.sample(range(10_000, 99_999), rng.randint(9, 15))
    parts: dict[str, list[str]] = {f"part{n}.log": [] for n in range(3)}
    for time in sorted(times):
        parts[rng.choice(sorted(parts))].append(f"{time} {rng.choice(_NAMES)}\n")
    merged = "".join(sorted(line for lines in parts.values() for line in lines)).encode()
    files = {name: "".join(lines).encode() for name, lines in parts.items()}

    def check(read: Read) -> GoalProgress:
        right = read("merged.log") == merged
        gone = [read(name) is None for name in files]
        early = not right and any(gone)
        return _progress([right, *gone], "a part is gone before it was merged" if early else "")

    return ReplGoal(
        "logs",
        "part0.log, part1.log and part2.log hold lines that begin with a number. Write merged.log "
        "with all lines in the order of their numbers, then delete the three parts.",
        files,
        "",
        check,
    )


def mend(rng: Random) -> ReplGoal:
    """Repair a file and keep a copy of the broken one."""
    values: dict[str, Json] = {name: rng.randint(0, 999) for name in rng.sample(_NAMES, 5)}
    text = json.dumps(values, indent=1)
    broken = "".join(
        f"{line}\n# {rng.choice(_NAMES)}\n" if rng.random() < 0.5 else f"{line}\n"
        for line in ("# settings", *text.splitlines())
    ).encode()

    def check(read: Read) -> GoalProgress:
        copied = read("settings.bak") == broken
        right = _json(read("settings.json")) == values
        lost = not copied and read("settings.json") != broken
        return _progress([copied, right], "the broken file was lost" if lost else "")

    return ReplGoal(
        "mend",
        "settings.json is JSON spoiled by lines that begin with #. Keep the file as it is under "
        "the name settings.bak, and write settings.json without these lines.",
        {"settings.json": broken},
        "",
        check,
    )


def table(rng: Random) -> ReplGoal:
    """Write a table held in memory to a file; the table can be damaged."""
    rows = [(rng.choice(_NAMES), rng.randint(0, 9), rng.randint(0, 9)) for _ in range(8)]
    areas = sorted((-width * height, name) for name, width, height in rows)
    wanted = "".join(f"{name},{-area}\n" for area, name in areas).encode()

    def check(read: Read) -> GoalProgress:
        return _progress([read("areas.csv") == wanted])

    return ReplGoal(
        "table",
        "The list rows holds [name, width, height] lists. Write areas.csv with a line name,area "
        "for each, the largest area first, equal areas in the order of the names; no head line.",
        {},
        f"rows = {[list(row) for row in rows]!r}\n",
        check,
    )


KINDS: dict[str, Callable[[Random], ReplGoal]] = {
    "ledger": ledger,
    "inbox": inbox,
    "logs": logs,
    "mend": mend,
    "table": table,
}


def _progress(parts: list[bool], remark: str = "") -> GoalProgress:
    return GoalProgress(sum(parts) / len(parts), remark)


def _json(data: bytes | None) -> Json:
    try:
        return json.loads(data or b"")
    except (ValueError, RecursionError):
        return None
