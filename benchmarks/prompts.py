"""Share of a real model's replies that the environments' prompt sets cannot use.

    LEAFE_MODEL=FOLDER[:FOLDER...] LEAFE_DATA=FOLDER_WITH_MBPP python benchmarks/prompts.py

Every model plays short episodes of seven environments and reflects on those that fail. A model is
a Hugging Face folder, run in this process; with LEAFE_BASE_URL the server there is asked instead,
for the model that it calls LEAFE_SERVER_MODEL. The run folders lie under LEAFE_RUNS (default
`benchmarks/runs/prompts`): the same command goes on where it was interrupted. Finished attempts of
unfinished tasks are counted, too.

* LEAFE_REPLIES: least acting replies for each model and environment, default 60.
* LEAFE_ENVIRONMENTS: names of environments, separated by commas; default all.
* LEAFE_SECONDS: start no further environment after this time; default no limit.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _harness import ROOT, Report, main

import leafe_gym as lg
from leafe_gym.policies.base import Policy
from leafe_gym.prompts.actions import admissible_commands
from leafe_gym.prompts.base import prompt_set
from leafe_gym.store.reader import RunReader
from leafe_gym.tree import Tree

SETUPS: dict[str, tuple[str, dict[str, Any]]] = {
    "Sokoban": ("chat", {"boxes": 1, "max_steps": 4}),
    "TextWorld": ("react", {"max_steps": 4}),
    "ALFWorld": ("react", {"max_steps": 4}),
    "WebShop": ("shop", {"max_steps": 4}),
    "MBPP": ("program", {"problems": "mbpp.jsonl", "max_attempts": 2}),
    "CodeContests": ("program", {"max_attempts": 2}),
    "PythonREPL": ("code", {"max_steps": 3}),
}
"""Environment -> the prompt set that it names in its metadata, and arguments that make its
episodes short, so that many tasks are seen and every episode ends."""
CONFIG: dict[str, Any] = {
    "temperature": 0.7,
    "reflect_temperature": 0.7,
    "top_p": 0.8,
    "max_tokens": 400,
    "max_reflect_tokens": 300,
    "reflect_every": None,
    "max_depth": 1,
}
TASK_INTERACTIONS = 16
"""Model calls and environment steps of one task: an attempt, its reflection, and a branch."""
TASKS = 10
"""Tasks that are started together; more of them until there are enough replies."""
LIMITS = {"0.5b": 0.15, "1.5b": 0.05}
"""Model -> goal for the unusable share; other models have the last one."""
PRINTED = 10


@dataclass
class Counts:
    """What one model did in one environment.

    `listed` counts actions where the environment lists its commands, and `unlisted` those of them
    that are not in the list: they can be used, but usually do nothing.
    """

    replies: int = 0
    unusable: int = 0
    listed: int = 0
    unlisted: int = 0
    reflections: int = 0
    bad: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, tree: Tree) -> None:
        """Count the replies of a tree, and its reflections on attempts that ended."""
        for branch in tree.branches:
            self.replies += len(branch.steps)
            self.unusable += sum(step.action is None for step in branch.steps)
            self.reasons.update(s.observation for s in branch.steps if s.action is None)
            path = tree.history(branch.id)
            first = len(path) - len(branch.steps)
            for at, step in enumerate(path[first:], first):
                commands = admissible_commands(tree.start, path[:at])
                if step.action is not None and commands:
                    self.listed += 1
                    self.unlisted += step.action not in commands
            for one in branch.reflections:
                if branch.steps[one.after - 1].over:
                    bad = one.verdict in ("bad", "no_mistake", "error")
                    self.reflections += 1
                    self.bad += bad
                    self.reasons.update([f"{one.verdict}: {one.reason}"] * bad)


def measure() -> Report:
    """Play what is missing, then count."""
    models = [name for name in os.environ.get("LEAFE_MODEL", "").split(":") if name]
    keys = ("unusable", "bad_reflections", "replies")
    if not models:
        reason = "needs a model: LEAFE_MODEL=FOLDER"
        return Report(figures=dict.fromkeys(keys), skipped=dict.fromkeys(keys, reason))
    report = Report(meta={"reflections": {}, "unlisted": {}, "reasons": {}})
    began = time.perf_counter()
    for model in models:
        _measure_model(model, report, began + float(os.environ.get("LEAFE_SECONDS", "inf")))
    return report


def _measure_model(model: str, report: Report, until: float) -> None:
    name = Path(model).name
    folder = Path(os.environ.get("LEAFE_RUNS", ROOT / "benchmarks" / "runs" / "prompts")) / name
    chosen = os.environ.get("LEAFE_ENVIRONMENTS", ",".join(SETUPS)).split(",")
    found: dict[str, Counts] = {}
    policy: Policy | None = None
    for environment in SETUPS:
        if environment in chosen and time.perf_counter() < until:
            policy = policy or _policy(model)
            _play(environment, policy, folder / environment)
        counts = _counted(folder / environment)
        if counts.replies:
            found[environment] = counts
    limit = LIMITS.get(name.lower(), list(LIMITS.values())[-1])
    asked = sum(one.reflections for one in found.values())
    for key, one in found.items():
        report.figures[f"unusable.{name}.{key}"] = one.unusable / one.replies
        report.figures[f"replies.{name}.{key}"] = one.replies
    report.figures[f"bad_reflections.{name}"] = (
        sum(one.bad for one in found.values()) / asked if asked else None
    )
    report.goals |= {f"unusable.{name}.{key}": ("<=", limit) for key in found}
    report.goals[f"bad_reflections.{name}"] = ("<=", 0.1)
    report.meta["reflections"][name] = {k: [one.bad, one.reflections] for k, one in found.items()}
    report.meta["unlisted"][name] = {k: [one.unlisted, one.listed] for k, one in found.items()}
    report.meta["reasons"][name] = {k: dict(one.reasons.most_common(8)) for k, one in found.items()}
    for text in list(_examples(folder))[:PRINTED]:
        print(text)


def _policy(model: str) -> Policy:
    url = os.environ.get("LEAFE_BASE_URL")
    if url:
        served = os.environ.get("LEAFE_SERVER_MODEL", model)
        return lg.policy("openai", model=served, base_url=url, deadline=1800)
    return lg.policy("transformers", model=model)


def _play(environment: str, policy: Policy, folder: Path) -> None:
    """Explore further tasks, `TASKS` at a time, until there are enough replies."""
    prompts, arguments = SETUPS[environment]
    tasks = lg.tasks(f"leafe/{environment}-v0", split="train", **arguments)
    tasks = tasks[:: max(1, len(tasks) // 100)]
    wanted = int(os.environ.get("LEAFE_REPLIES", "60"))
    config = lg.AgentConfig(prompts=prompts, **CONFIG)
    agent = lg.ReflectiveTreeAgent(policy, config)
    for first in range(0, len(tasks), TASKS):
        part = folder / f"{first:03d}"
        if not part.exists() and _counted(folder).replies >= wanted:
            return
        lg.explore(
            agent,
            tasks[first : first + TASKS],
            budget=lg.Budget(interactions=TASK_INTERACTIONS),
            concurrency=TASKS,
            out=part,
        ).close()


def _counted(folder: Path) -> Counts:
    counts = Counts()
    for tree in _trees(folder):
        counts.add(tree)
    return counts


def _trees(folder: Path) -> Iterator[Tree]:
    for part in sorted(folder.glob("*/")):
        with RunReader(part) as run:
            for number in range(len(run.tasks())):
                if run.branches(number):
                    yield run.tree(number)


def _examples(folder: Path) -> Iterator[str]:
    """The first replies of each environment with the turn that each answers, in turn."""
    for number in range(PRINTED):
        for environment in SETUPS:
            prompts = prompt_set(SETUPS[environment][0])
            for at, tree in enumerate(_trees(folder / environment)):
                if at == number and tree.branches[0].steps:
                    step = tree.branches[0].steps[0]
                    turn = prompts.render(tree.task, tree.start, [])[-1]["content"]
                    yield f"--- {environment}\n{turn}\n>>> {step.reply}\n=== {step.action!r}\n"


if __name__ == "__main__":
    main(measure)
