"""A real language model on MBPP: independent sampling, refinement and the tree at equal budgets.

    LEAFE_DATA=FOLDER_WITH_MBPP LEAFE_SERVER=http://127.0.0.1:8000/v1 LEAFE_SERVER_MODEL=NAME \
        python benchmarks/real_model.py

Any OpenAI-compatible server will do; the published figures used vLLM. Run folders and replies lie
under LEAFE_RUNS (default `runs/real_model`): the same command goes on where it was interrupted.
Every method finishes a group of problems before the next group begins, and only whole groups are
reported: which problems an interrupted run covers does not depend on how hard they are.

* LEAFE_TASKS: number of problems, default 100.
* LEAFE_SECONDS: stop exploring after this time and report; default no limit.
* LEAFE_REFLECT_SERVER, LEAFE_REFLECT_MODEL: another model that reflects and refines.
* LEAFE_AGENT: fields of `AgentConfig` as JSON that replace those of `CONFIG`.
* LEAFE_GROUP: problems of a group, default 10; a larger one fills a server's batch better.
* LEAFE_METHODS: the methods to run now, separated by commas; default all.

Beside the methods there is a control, `is_fresh`: independent sampling with the prompt set `fresh`,
which shows no failed program. It is reported where it has finished the same problems.

Committed: `results/real_model.json`; `real_model_control.json`, the same run reported for the
problems that the control has finished (LEAFE_TASKS=60); `real_model_fresh.json`, of the tree and
independent sampling with LEAFE_AGENT='{"prompts": "fresh"}' in a LEAFE_RUNS of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from _harness import ROOT, Report, main

import leafe_gym as lg
from leafe_gym.budget import Spend
from leafe_gym.evals.bench import UNIT_KEYS, Bench, MethodOutcome, read_outcome, run_bench
from leafe_gym.evals.intervals import bounded_mean
from leafe_gym.policies.base import Policy
from leafe_gym.store.reader import RunReader
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Completion, Message, Sampling, Task, Usage

FILE = "mbpp.jsonl"
ENV_ID = "leafe/MBPP-v0"
SPLITS = ("test", "val")
"""Problems are taken from these in order; prompts and settings were chosen on "train"."""
METHODS = ("is", "ir", "tree")
COMPARED = ("is", "tree")
"""They decide how many problems are reported; a method that has finished fewer is left out."""
CONTROL = "is_fresh"
GROUP = int(os.environ.get("LEAFE_GROUP", "10"))
"""Problems that all methods finish before the next ones begin."""
INTERACTIONS = 24
CONCURRENCY = max(12, GROUP)
"""Attempts at the same time for each method."""
SEED = 0
CONFIG: dict[str, Any] = {
    "prompts": "program",
    "temperature": 0.8,
    "reflect_temperature": 0.5,
    "max_tokens": 300,
    "max_reflect_tokens": 260,
}
UNITS = ("interactions", "tokens_uncached")
OUTSIDE = "was not taken"
"""In the reason why a reflection could not be used: its step is out of range."""
DEADLINE = 1800.0
"""Seconds for a call: with all tasks at once, a server on a CPU takes minutes for some."""


class SharedReplies:
    """A policy that gives the same reply to an equal request, and keeps replies in a file.

    The methods' first attempts have equal prompts and seeds. Where a server's replies depend on
    what it computes at the same time, they would differ; with one reply the methods are compared
    from the same first attempts, and an interrupted run loses no reply.
    """

    fingerprint = ""  # to run folders it is the policy inside

    def __init__(self, inner: Policy, path: Path) -> None:
        self.inner, self.path, self.name = inner, path, inner.name
        self._known: dict[str, Completion] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        if path.is_file():
            for line in path.read_text("utf-8").splitlines():
                key, text, reason, usage = json.loads(line)
                self._known[key] = Completion(text=text, finish_reason=reason, usage=Usage(**usage))

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """See `Policy.complete`."""
        asked = json.dumps([self.name, messages, asdict(sampling)], sort_keys=True)
        key = hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()
        async with self._locks[key]:
            if key not in self._known:
                self._known[key] = one = await self.inner.complete(messages, sampling)
                line = json.dumps([key, one.text, one.finish_reason, asdict(one.usage)])
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
        return self._known[key]


def measure() -> Report:
    """Explore what is not explored yet, and report what all methods have finished."""
    if missing := what_is_missing():
        return Report(figures={"solved": None, "tasks": None}, skipped={"solved": missing})
    folder = Path(os.environ.get("LEAFE_RUNS", ROOT / "runs" / "real_model"))
    count = int(os.environ.get("LEAFE_TASKS", "100"))
    splits = (lg.tasks(ENV_ID, split=name, problems=FILE) for name in SPLITS)
    tasks = [task for split in splits for task in split][:count]
    seconds = float(os.environ.get("LEAFE_SECONDS", "inf"))
    spent = Clock(folder / "seconds.json")
    with spent:
        asyncio.run(explore(tasks, folder, seconds))
    return report(folder, len(tasks), spent.total)


def what_is_missing() -> str:
    """Why nothing can be measured here; "" if it can."""
    if not os.environ.get("LEAFE_SERVER"):
        return "needs a model server: LEAFE_SERVER=http://127.0.0.1:8000/v1, LEAFE_SERVER_MODEL"
    try:
        lg.tasks(ENV_ID, split="test", problems=FILE)
    except lg.UsageError as error:
        return str(error)
    return ""


class Clock:
    """Seconds over all calls of the benchmark, kept beside the runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.total = json.loads(path.read_text()) if path.is_file() else 0.0
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.total = round(self.total + time.perf_counter() - self._began, 1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.total))


def model(folder: Path, kind: str = "") -> Policy | None:
    """The policy of LEAFE_SERVER, or of LEAFE_REFLECT_SERVER for the kind "REFLECT_"."""
    server = os.environ.get(f"LEAFE_{kind}SERVER")
    if not server:
        return None
    name = os.environ.get(f"LEAFE_{kind}{'' if kind else 'SERVER_'}MODEL", "m")
    policy = lg.policy(name, base_url=server, deadline=DEADLINE)
    return SharedReplies(policy, folder / f"replies{kind.lower().rstrip('_')}.jsonl")


async def explore(tasks: Sequence[Task], folder: Path, seconds: float) -> None:
    """Run all methods side by side, at most for `seconds`; what they finished is kept.

    A run folder is extended by one group of problems after the other.
    """
    folder.mkdir(parents=True, exist_ok=True)
    policy, reflecting = model(folder), model(folder, "REFLECT_")
    assert policy is not None
    config = lg.AgentConfig(**CONFIG | json.loads(os.environ.get("LEAFE_AGENT", "{}")))

    methods = os.environ.get("LEAFE_METHODS", ",".join([*METHODS, CONTROL])).split(",")

    async def run(name: str, count: int) -> None:
        control = name == CONTROL
        await run_bench(
            policy,
            tasks[:count],
            methods=["is" if control else name],
            interactions=INTERACTIONS,
            out=place(folder, name).parent,
            config=config.replace(prompts="fresh") if control else config,
            concurrency=CONCURRENCY,
            seed=SEED,
            reflect_policy=None if name in ("is", CONTROL) else reflecting,
        )

    try:
        async with asyncio.timeout(None if seconds == float("inf") else seconds):
            for count in group_ends(len(tasks)):
                await asyncio.gather(*(run(name, count) for name in methods))
    except TimeoutError:
        return


def place(folder: Path, method: str) -> Path:
    """The run folder of a method."""
    return folder / "control" / "is" if method == CONTROL else folder / method


def group_ends(count: int) -> list[int]:
    """Numbers of problems after each group of `count` problems in all."""
    return [*range(GROUP, count, GROUP), count]


def report(folder: Path, wanted: int, seconds: float) -> Report:
    """Figures of the first problems: all groups that the compared methods have finished."""
    runs = {name: RunReader(folder / name) for name in METHODS if (folder / name).is_dir()}
    results = {name: dict(run.results()) for name, run in runs.items()}
    finished = {
        name: next((n for n in range(wanted) if n not in results.get(name, {})), wanted)
        for name in METHODS
    }
    least = min(finished[name] for name in COMPARED)
    tasks = max((end for end in group_ends(wanted) if end <= least), default=0)
    if not tasks:
        reason = f"all methods have finished {least} problems; {GROUP} are needed"
        return Report(figures={"solved": None, "tasks": 0}, skipped={"solved": reason})
    behind = {name: count for name, count in finished.items() if count < tasks}
    runs = {name: run for name, run in runs.items() if name not in behind}
    bench = Bench(INTERACTIONS)
    for name, run in runs.items():
        bench.outcomes[name] = first(read_outcome(run), tasks, results[name])
    trees = [runs["tree"].tree(number) for number in range(tasks)]
    figures: dict[str, Any] = {
        "tasks": tasks,
        "solved": {name: None if name in behind else solved(bench, name) for name in METHODS},
        "tree_minus": {
            other: {key: difference(bench, other, UNIT_KEYS[key]) for key in UNITS}
            for other in runs
            if other != "tree"
        },
        "control": control(folder, bench.outcomes["tree"], tasks),
        "level": {key: bench.level(UNIT_KEYS[key]) for key in UNITS},
        "first_attempt": {name: first_attempts(run, tasks) for name, run in runs.items()},
        "reflections": reflections(trees),
        "ledger": {name: outcome.ledger.as_dict() for name, outcome in bench.outcomes.items()},
    }
    meta: dict[str, Any] = {
        "exploring_seconds": seconds,
        "agent": next(iter(runs.values())).config["agent"],
        "prompts": runs["tree"].prompts(ENV_ID).name,
        "token_source": sorted({s for o in bench.outcomes.values() for s in o.token_sources}),
        "interval": "95 % over problems (Gaffke's bound), paired by problem",
        "by_task": {
            name: "".join(str(int(x)) for x in outcome.solved(UNIT_KEYS["interactions"], 24))
            for name, outcome in bench.outcomes.items()
        },
    }
    for run in runs.values():
        run.close()
    return Report(
        figures=figures,
        meta=meta,
        skipped={f"solved.{name}": f"{count} problems finished" for name, count in behind.items()},
        goals={"tasks": (">=", 100), "tree_minus.is.interactions.low": (">=", 0)},
    )


def control(folder: Path, tree: MethodOutcome, tasks: int) -> dict[str, Any] | None:
    """How many problems the control solves at equal interactions, and the tree minus it."""
    if not place(folder, CONTROL).is_dir():
        return None
    with RunReader(place(folder, CONTROL)) as run:
        results = dict(run.results())
        if any(number not in results for number in range(tasks)):
            return None
        bench = Bench(INTERACTIONS, {"tree": tree})
        bench.outcomes[CONTROL] = first(read_outcome(run), tasks, results)
    unit = UNIT_KEYS["interactions"]
    found = bench.outcomes[CONTROL].solved(unit, INTERACTIONS)
    return {
        CONTROL: bounded_mean(found).as_dict(),
        "tree_minus": difference(bench, CONTROL, unit),
    }


def first(outcome: MethodOutcome, tasks: int, results: dict[int, Any]) -> MethodOutcome:
    """An outcome of the first `tasks` problems only."""
    return replace(
        outcome,
        solved_at={unit: values[:tasks] for unit, values in outcome.solved_at.items()},
        used={unit: values[:tasks] for unit, values in outcome.used.items()},
        ledger=sum((Spend.from_dict(results[n]["spent"]) for n in range(tasks)), Spend()),
        broken=outcome.broken[:tasks],
    )


def solved(bench: Bench, name: str) -> dict[str, Any]:
    """Solved fraction of one method within each budget."""
    outcome = bench.outcomes[name]
    return {
        key: bounded_mean(outcome.solved(UNIT_KEYS[key], bench.level(UNIT_KEYS[key]))).as_dict()
        for key in UNITS
    }


def first_attempts(run: RunReader, tasks: int) -> float:
    """Fraction of the problems that the first attempt solves."""
    return sum(run.branches(number)[0].won for number in range(tasks)) / tasks


def reflections(trees: Sequence[Tree]) -> dict[str, Any]:
    """How the tree's reflections were read, and what their branches won."""
    verdicts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    places: Counter[str] = Counter()
    made: Counter[str] = Counter()
    won: Counter[str] = Counter()
    failing = 0
    for tree in trees:
        for branch in tree.branches:
            made[kind(branch)] += 1
            won[kind(branch)] += branch.won
            acted = [step for step in tree.history(branch.id) if step.action is not None]
            for one in branch.reflections:
                verdicts[one.verdict] += 1
                if one.verdict in ("bad", "error"):
                    reasons[one.reason[:120]] += 1
                if one.experience is not None:
                    at = one.experience.step
                    failing += bool(acted[at].info.get("feedback"))
                    places["first" if not at else "last" if at == len(acted) - 1 else "other"] += 1
    asked = verdicts.total()
    outside = sum(number for reason, number in reasons.items() if OUTSIDE in reason)
    parsed = asked - verdicts["bad"] - verdicts["error"]
    return {
        "asked": asked,
        "in_form": parsed + outside,
        "in_range": parsed,
        "no_mistake": verdicts["no_mistake"],
        "repeated": verdicts["repeat"],
        "opened_a_branch": verdicts["branch"],
        "on_a_failing_step": failing,
        "named_step": dict(places),
        "attempts": dict(made),
        "won": dict(won),
        "unusable_because": dict(reasons),
    }


def kind(branch: Branch) -> str:
    """How an attempt began."""
    if branch.parent is not None:
        return "rollback"
    return "later root" if branch.id else "first attempt"


def difference(bench: Bench, other: str, unit: str) -> dict[str, Any]:
    """Solved fraction of the tree minus another method's, paired."""
    return bench.difference("tree", other, unit).as_dict()


if __name__ == "__main__":
    main(measure)
