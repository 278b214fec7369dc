"""Environments that wait beside policies that wait, and what threads cost one that does not.

64 tasks of 20 turns with a step of 50 ms and a policy of 50 ms at concurrency 64: `of_ideal` is the
ideal time (turns x 0.1 s / 64 attempts at the same time) over the measured. `sokoban` are turns a
second of the scripted player on levels, whose environment runs on the event loop; `vs_before` is
their ratio to an earlier version, given as the folder of its source tree in LEAFE_BEFORE.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _harness import ROOT, Report, main, median

TASKS = 64
CONCURRENCY = 64
SAMPLES = 5
LEVELS = 12
INTERACTIONS = 300

NOW = f"""
import json, sys, tempfile, time
import leafe_gym as lg
agent = lg.ReflectiveTreeAgent(lg.policy("scripted"), lg.AgentConfig(reflect_every=10))
tasks = lg.tasks("leafe/Sokoban-v0", split="train")[:{LEVELS}]
def go():
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        with lg.explore(agent, tasks, budget=lg.Budget(interactions={INTERACTIONS}),
                        out=folder, concurrency=16) as run:
            took = time.process_time() - began
            return sum(len(b.steps) for t in run.trees() for b in t.branches) / took
go()
print(json.dumps(go()))
"""
BEFORE = (
    NOW.replace(
        'lg.policy("scripted"), lg.AgentConfig(reflect_every=10)',
        "SokobanPlayer(), reflect_every=10",
    )
    .replace("interactions=", "calls=")
    .replace(
        "import leafe_gym as lg",
        "import leafe_gym as lg\nfrom leafe_gym.policies.scripted import SokobanPlayer",
    )
)


def measure() -> Report:
    """Time the waiting tasks, and Sokoban in both versions in turn."""
    report = Report(
        goals={"of_ideal": (">=", 0.8), "vs_before": (">=", 0.95)},
        meta={"samples": SAMPLES, "tasks": TASKS, "concurrency": CONCURRENCY},
    )
    ideal, taken = _waiting()
    report.figures |= {"of_ideal": ideal / median(taken), "seconds": median(taken), "ideal": ideal}
    before = os.environ.get("LEAFE_BEFORE")
    now: list[float] = []
    then: list[float] = []
    for _ in range(SAMPLES):
        now.append(_turns_a_second(NOW, ROOT))
        if before:
            then.append(_turns_a_second(BEFORE, Path(before)))
    report.figures["sokoban_turns_per_cpu_s"] = median(now)
    if then:
        report.figures["vs_before"] = median([a / b for a, b in zip(now, then, strict=True)])
    else:
        report.figures["vs_before"] = None
        report.skipped["vs_before"] = "LEAFE_BEFORE names no source tree of an earlier version"
    return report


def _waiting() -> tuple[float, list[float]]:
    import _waits

    import leafe_gym as lg

    tasks = [lg.Task(id=str(n), env_id="bench/Waits-v0") for n in range(TASKS)]
    agent = lg.IndependentSamplingAgent(_waits.waiting_policy, lg.AgentConfig(max_attempts=1))
    taken = []
    for _ in range(SAMPLES):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            lg.explore(
                agent, tasks, budget=lg.Budget(interactions=10**6), out=folder,
                concurrency=CONCURRENCY, config=lg.ExploreConfig(backend="native"),
            ).close()  # fmt: skip
            taken.append(time.perf_counter() - began)
    turns = TASKS * _waits.TURNS
    return turns * (_waits.STEP + _waits.POLICY) / CONCURRENCY, taken


def _turns_a_second(script: str, tree: Path) -> float:
    environ = {**os.environ, "PYTHONPATH": str(tree)}
    done: Any = subprocess.run(
        [sys.executable, "-c", script], env=environ, cwd=tree, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return float(json.loads(done.stdout))


if __name__ == "__main__":
    main(measure)
