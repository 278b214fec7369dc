"""What coming back costs: reset and replay, every snapshot held, and a dozen anchors.

One Sokoban episode of 50 actions, 50 branch points with tau uniform in 1..50, one new action each.
Counted is the way back only, through the code the tree search uses.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from _harness import Report, alternate, main, median

import leafe_gym as lg
from leafe_gym.agents.context import Context
from leafe_gym.agents.environment import as_text, begin, keep_info, place
from leafe_gym.agents.frontier import Job, TreeFrontier
from leafe_gym.agents.config import Settings
from leafe_gym.agents.shelf import BOOKKEEPING, Shelf
from leafe_gym.budget import Meter
from leafe_gym.policies.base import FunctionPolicy
from leafe_gym.prompts.base import prompt_set
from leafe_gym.types import Experience, Step

LENGTH = 50
POINTS = 50
ANCHORS = 12
EPISODES = 9
LIMITS = {"plain": 0, "anchors": ANCHORS, "all": LENGTH + 1}


@dataclass
class Way:
    """What coming back cost, summed over an episode's branch points."""

    steps: int = 0
    seconds: float = 0.0


def measure() -> Report:
    """Alternate the three ways over episodes."""
    ways: dict[str, list[Way]] = {name: [] for name in LIMITS}
    numbers = {name: iter(range(10**6)) for name in LIMITS}

    def case(name: str, most: int) -> float:
        way = episode(next(numbers[name]), most)
        ways[name].append(way)
        return way.seconds

    samples = alternate({n: (lambda n=n, m=m: case(n, m)) for n, m in LIMITS.items()}, EPISODES)
    steps = {name: median([way.steps for way in found]) for name, found in ways.items()}
    seconds = {name: median(found) for name, found in samples.items()}
    return Report(
        figures={
            "steps_vs_plain": steps["anchors"] / steps["plain"],
            "time_vs_plain": seconds["anchors"] / seconds["plain"],
            "all_steps_vs_plain": steps["all"] / steps["plain"],
            "all_time_vs_plain": seconds["all"] / seconds["plain"],
            "steps": steps,
            "us_per_return": {name: 1e6 * value / POINTS for name, value in seconds.items()},
        },
        goals={"steps_vs_plain": ("<=", 0.1)},
        meta={
            "samples": EPISODES,
            "branch_points": POINTS,
            "episode": f"{LENGTH} actions, tau uniform in 1..{LENGTH}",
            "anchors": f"at most {ANCHORS} native snapshots held at any moment",
        },
    )


def episode(number: int, most: int) -> Way:
    """Play one episode, then come back to each branch point, holding at most `most` snapshots."""
    env = lg.RollbackWrapper(gym.make("leafe/Sokoban-v0", max_steps=500))
    task = lg.Task(id=f"bench:{number}", env_id="leafe/Sokoban-v0", seed=number)
    shelf = Shelf(most * (smallest_snapshot(env) + BOOKKEEPING))
    ctx = context(task, begin(env, task))
    ctx.tree.add(lg.Branch(id=0, steps=tuple(play(env, shelf, random.Random(number)))))
    rng = random.Random(number + 1)
    way = Way()
    for branch in range(1, POINTS + 1):
        fix = Experience(step=rng.randint(1, LENGTH - 1), text="try another way")
        job = Job(id=branch, root=0, depth=1, parent=0, experience=fix)
        before, began = env.replayed_steps, time.perf_counter()
        place(ctx, shelf, env, job)
        way.seconds += time.perf_counter() - began
        way.steps += env.replayed_steps - before
        assert env.steps == fix.step
        assert len(shelf) <= most
        env.step(rng.choice(["up", "down", "left", "right"]))
    return way


def smallest_snapshot(env: lg.RollbackWrapper) -> int:
    """Bytes of the smallest snapshot on the way, so that a byte limit bounds their number."""
    _, sizes = env.reset(seed=0), []
    for number in range(LENGTH):
        sizes.append(env.snapshot().nbytes)
        env.step(("up", "down", "left", "right")[number % 4])
    return min(sizes)


def play(env: lg.RollbackWrapper, shelf: Shelf, rng: random.Random) -> list[Step]:
    """Random moves that do not end the episode, each state offered to the shelf."""
    steps: list[Step] = []
    while len(steps) < LENGTH:
        shelf.keep(0, env)
        action = rng.choice(["up", "down", "left", "right"])
        observation, reward, terminated, truncated, info = env.step(action)
        if terminated:
            env.rollback(to=len(steps))
            continue
        steps.append(
            Step(
                action=action,
                reply=action,
                observation=as_text(observation),
                reward=float(reward),
                truncated=truncated,
                info=keep_info(info),
            )
        )
    return steps


def context(task: lg.Task, start: lg.Start) -> Context:
    """What `place` needs to know of an exploration."""
    silent: Any = FunctionPolicy(str)
    return Context(
        tree=lg.Tree(task=task, start=start),
        policy=silent,
        prompts=prompt_set("chat"),
        settings=Settings(),
        frontier=TreeFrontier(max_depth=4, attempts=16),
        meter=Meter(lg.Budget(interactions=10**6)),
        seed=0,
    )


if __name__ == "__main__":
    main(measure)
