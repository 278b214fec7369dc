"""What the differential tests share: playing two sides in step, counting, writing the counts.

A side is a dictionary of functions; see `Side`. Both sides receive the same actions, chosen by a
seeded generator. Every field that both return is compared at every step.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results" / "differential.json"
EXAMPLES = 5
"""Differences that are described; all are counted."""

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Side:
    """One implementation of an episode.

    Attributes:
        start: starts the episode; returns its fields.
        step: takes an action; returns its fields, with "over" among them.
    """

    start: Callable[[], Fields]
    step: Callable[[str], Fields]


@dataclass
class Counts:
    """What was compared, and what differs.

    Attributes:
        numbers: episodes, steps and wins; scripts add their own.
        differences: number of differences, by field.
        examples: the first of them.
    """

    numbers: Counter[str] = field(default_factory=Counter)
    differences: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)

    def compare(self, where: Fields, ours: Fields, theirs: Fields) -> bool:
        """Compare the fields that both have; returns whether all are equal."""
        equal = True
        for name in sorted(ours.keys() & theirs.keys()):
            self.numbers["values"] += 1
            if ours[name] != theirs[name]:
                equal = False
                self.differences[name] += 1
                if len(self.examples) < EXAMPLES:
                    pair = {"ours": _short(ours[name]), "theirs": _short(theirs[name])}
                    self.examples.append({**where, "field": name, **pair})
        return equal

    def play(
        self,
        name: str,
        ours: Side,
        theirs: Side,
        choose: Callable[[random.Random, Fields], str | None],
        steps: int,
        seed: int,
    ) -> None:
        """Play one episode on both sides; it ends at the first step that differs.

        Args:
            name: of the episode, for examples.
            ours: this package's side.
            theirs: the original's.
            choose: the next action, from our fields; None ends the episode.
            steps: limit.
            seed: of the choices.
        """
        rng = random.Random(f"{name} {seed}")
        self.numbers["episodes"] += 1
        shown = ours.start()
        if not self.compare({"episode": name, "step": 0}, shown, theirs.start()):
            return
        for step in range(1, steps + 1):
            action = choose(rng, shown)
            if action is None:
                return
            shown = ours.step(action)
            self.numbers["steps"] += 1
            self.numbers["wins"] += bool(shown.get("won"))
            where = {"episode": name, "step": step, "action": action}
            if not self.compare(where, shown, theirs.step(action)) or shown["over"]:
                return


def options(script: str, original: str, **extra: str) -> argparse.ArgumentParser:
    """A parser with the options that all scripts have.

    Args:
        script: documentation of the script.
        original: help text of `--original`, the path of a checkout; "" for an installed package.
        extra: further path options -> help text.
    """
    parser = argparse.ArgumentParser(description=script.partition("\n")[0])
    # Kept now: libraries change `sys.argv`.
    parser.set_defaults(script=Path(sys.argv[0]).stem.removeprefix("vs_"))
    if original:
        parser.add_argument("--original", type=Path, required=True, help=original)
    for name, text in extra.items():
        parser.add_argument(f"--{name}", type=Path, help=text)
    parser.add_argument("--episodes", type=int, default=20, help="at most so many")
    parser.add_argument("--steps", type=int, default=60, help="of an episode")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", action="store_true", help=f"also write {RESULTS.name}")
    return parser


def report(counts: Counts, given: argparse.Namespace, original: Mapping[str, str]) -> None:
    """Print the counts as JSON, and write them to the results if asked to.

    Args:
        counts: of the script.
        given: its options.
        original: what was compared with: name -> version or commit.
    """
    from leafe_gym.evals.meta import machine_meta

    told = {
        **dict(counts.numbers),
        "differences": sum(counts.differences.values()),
        "by_field": dict(counts.differences),
        "examples": counts.examples,
        "original": dict(original),
        "seed": given.seed,
        "versions": {"leafe-gym": version("leafe-gym"), "python": sys.version.split()[0]},
    }
    sys.stdout.write(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    if given.save:
        saved = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        saved[given.script] = told
        saved["meta"] = machine_meta()
        order = sorted(saved, key=lambda name: (name == "meta", name))
        text = json.dumps({name: saved[name] for name in order}, indent=2, ensure_ascii=False)
        RESULTS.write_text(text + "\n")


def commit_of(checkout: Path) -> str:
    """The commit of a git checkout; "unknown" if it is not one."""
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.stdout.strip() or "unknown"


def installed(*names: str) -> dict[str, str]:
    """Versions of packages; those that are missing end the script."""
    try:
        return {name: version(name) for name in names}
    except PackageNotFoundError as error:
        sys.exit(f"{error.name} is not installed here: pip install {error.name}")


def files(folder: Path, *endings: str) -> Sequence[Path]:
    """The files below a folder, or the file itself, with one of these endings."""
    if folder.is_file():
        return [folder]
    return sorted(one for one in folder.rglob("*") if one.name.endswith(endings))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 300 else f"{text[:150]} ... {text[-140:]}"
