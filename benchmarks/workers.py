"""Workers: what a second one adds, what the driver pays for each turn, what Ray costs.

* `cpu_2_workers`: turns a second of two workers over those of one, with an environment that
  computes for 5 ms a step and a policy that waits 50 ms.
* `wait_64`: turns a second of 4 workers of 16 slots over the ideal, where step and policy both wait
  50 ms.
* `driver_us_per_turn`: CPU time of the driver's process for each turn of that run.
* `worker_mb`: memory of a worker process beyond that of a Python process that has made and reset
  the environment.
* `ray_vs_processes`: turns a second of Ray actors over those of processes; null without Ray.

A rate is taken over the middle half of a run's turns, when all workers are at work.
"""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import _waits
from _harness import ROOT, Report, main, median

import leafe_gym as lg

SAMPLES = 3
TASKS = 192
ALONE = """
import sys; sys.path.insert(0, "benchmarks")
import _waits, leafe_gym as lg, gymnasium as gym
lg.RollbackWrapper(gym.make("bench/Waits-v0"), backend="native").reset(seed=0)
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")][0])
"""


class Marks:
    """A policy that waits and notes when it was asked."""

    name = "marks"

    def __init__(self) -> None:
        self.at: list[tuple[float, float]] = []

    async def complete(
        self, messages: Sequence[lg.Message], sampling: lg.Sampling
    ) -> lg.Completion:
        """Wait, then go on."""
        self.at.append((time.perf_counter(), time.process_time()))
        await asyncio.sleep(_waits.POLICY)
        return lg.Completion(text="Action: on")


class Run(NamedTuple):
    """Figures of one run: turns a second, the driver's CPU microseconds a turn, MB of a worker."""

    rate: float
    driver_us: float
    worker_mb: float


def measure() -> Report:
    """Run all parts, what is compared in turn."""
    goals: dict[str, tuple[Any, float]] = {
        "cpu_2_workers": (">=", 1.8),
        "wait_64": (">=", 0.8),
        "driver_us_per_turn": ("<=", 200),
        "worker_mb": ("<=", 80),
        "ray_vs_processes": (">=", 0.9),
    }
    report = Report(goals=goals, meta={"samples": SAMPLES, "tasks": TASKS})
    ray = importlib.util.find_spec("ray") is not None
    gains, waits, ratios = [], [], []
    for _ in range(SAMPLES):
        one = run("bench/Computes-v0", workers=1)
        gains.append(run("bench/Computes-v0", workers=2).rate / one.rate)
        waits.append(run("bench/Waits-v0", workers=4))
        if ray:
            there = run("bench/Waits-v0", workers=4, ray="local")
            ratios.append(there.rate / waits[-1].rate)
    ideal = 64 / (_waits.STEP + _waits.POLICY)
    report.figures = {
        "cpu_2_workers": median(gains),
        "wait_64": median([one.rate for one in waits]) / ideal,
        "driver_us_per_turn": median([one.driver_us for one in waits]),
        "worker_mb": median([one.worker_mb for one in waits]) - alone_mb(),
        "ray_vs_processes": median(ratios) if ray else None,
    }
    if not ray:
        report.skipped["ray_vs_processes"] = "Ray is not installed"
    return report


def run(env_id: str, **options: Any) -> Run:
    """Explore `TASKS` tasks at concurrency 64."""
    marks = Marks()
    agent = lg.IndependentSamplingAgent(marks, lg.AgentConfig(max_attempts=1))
    tasks = [lg.Task(id=str(n), env_id=env_id) for n in range(TASKS)]
    stop, peak = threading.Event(), [0.0]
    watcher = threading.Thread(target=_watch, args=(stop, peak))
    watcher.start()
    with tempfile.TemporaryDirectory() as folder:
        lg.explore(
            agent, tasks, budget=lg.Budget(interactions=10**6), out=folder, concurrency=64,
            config=lg.ExploreConfig(backend="native"), **options,
        ).close()  # fmt: skip
    stop.set()
    watcher.join()
    calls = len(marks.at)
    (begun, cpu), (ended, cpu_then) = marks.at[calls // 4], marks.at[3 * calls // 4]
    turns = 3 * calls // 4 - calls // 4
    return Run(turns / (ended - begun), 1e6 * (cpu_then - cpu) / turns, peak[0])


def alone_mb() -> float:
    """Resident memory of a process with the environment and no worker."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return int(done.stdout.splitlines()[-1]) / 1024


def _watch(stop: threading.Event, peak: list[float]) -> None:
    """Note the largest resident memory of a worker process."""
    while not stop.wait(0.5):
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if b"worker_process" in (entry / "cmdline").read_bytes():
                    lines = (entry / "status").read_text().splitlines()
                    held = next(int(x.split()[1]) for x in lines if x.startswith("VmRSS"))
                    peak[0] = max(peak[0], held / 1024)
            except (OSError, StopIteration):  # it has ended
                continue


if __name__ == "__main__":
    main(measure)
