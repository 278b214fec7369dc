"""What a restore costs: reset and replay, every snapshot held, and a dozen of them.

One Sokoban episode of 50 actions, 50 branch points with tau uniform in 1..50, one new action each.
Counted is the restore only, through the code that agents use.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

import gymnasium as gym
from _harness import Report, alternate, main, median

import leafe_gym as lg
from leafe_gym.agents.config import AgentConfig
from leafe_gym.agents.env_pool import EnvSlot, start_attempt
from leafe_gym.agents.plan import AttemptPlan, Selection, make_plan
from leafe_gym.agents.snapshot_cache import BOOKKEEPING, SnapshotCache
from leafe_gym.agents.stepping import environment_step, reset_for
from leafe_gym.budget import Limits
from leafe_gym.types import Experience, Step

LENGTH = 50
POINTS = 50
ANCHORS = 12
EPISODES = 9
LIMITS = {"plain": 0, "anchors": ANCHORS, "all": LENGTH + 1}


@dataclass
class RestoreCost:
    """What restoring cost, summed over an episode's branch points."""

    steps: int = 0
    seconds: float = 0.0


def measure() -> Report:
    """Alternate the three over episodes."""
    costs: dict[str, list[RestoreCost]] = {name: [] for name in LIMITS}
    numbers = {name: iter(range(10**6)) for name in LIMITS}

    def case(name: str, most: int) -> float:
        cost = asyncio.run(episode(next(numbers[name]), most))
        costs[name].append(cost)
        return cost.seconds

    samples = alternate({n: (lambda n=n, m=m: case(n, m)) for n, m in LIMITS.items()}, EPISODES)
    steps = {name: median([cost.steps for cost in found]) for name, found in costs.items()}
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


async def episode(number: int, most: int) -> RestoreCost:
    """Play one episode, then restore each branch point, holding at most `most` snapshots."""
    env = lg.RollbackWrapper(gym.make("leafe/Sokoban-v0", max_steps=500))
    slot = EnvSlot(env)
    task = lg.Task(id=f"bench:{number}", env_id="leafe/Sokoban-v0", seed=number)
    cache = SnapshotCache(most * (smallest_snapshot(env) + BOOKKEEPING))
    tree = lg.Tree(task=task, start=reset_for(env, task))
    tree.add(lg.Branch(id=0, steps=tuple(play(slot, cache, random.Random(number)))))
    rng = random.Random(number + 1)
    cost = RestoreCost()
    for branch in range(1, POINTS + 1):
        plan = plan_of(branch, tree, rng.randint(1, LENGTH - 1))
        before, began = env.replayed_steps, time.perf_counter()
        await start_attempt(plan, slot, cache)
        cost.seconds += time.perf_counter() - began
        cost.steps += env.replayed_steps - before
        assert env.steps == plan.selection.start
        assert len(cache) <= most
        env.step(rng.choice(["up", "down", "left", "right"]))
    return cost


def plan_of(number: int, tree: lg.Tree, tau: int) -> AttemptPlan:
    """A branch that leaves the first attempt at `tau`."""
    told = Experience(step=tau, text="try another way")
    selection = Selection(parent=0, start=tau, experience=told, depth=1)
    return make_plan(
        number, selection, tree, AgentConfig(), reflection="reflect", capacity=1,
        limits=Limits(), seed=0,
    )  # fmt: skip


def smallest_snapshot(env: lg.RollbackWrapper) -> int:
    """Bytes of the smallest snapshot on the way, so that a byte limit bounds their number."""
    _, sizes = env.reset(seed=0), []
    for number in range(LENGTH):
        sizes.append(env.snapshot().nbytes)
        env.step(("up", "down", "left", "right")[number % 4])
    return min(sizes)


def play(slot: EnvSlot, cache: SnapshotCache, rng: random.Random) -> list[Step]:
    """Random moves that do not end the episode, each state offered to the cache."""
    env, steps = slot.env, []
    cache.add(0, slot, env.snapshot())
    while len(steps) < LENGTH:
        action = rng.choice(["up", "down", "left", "right"])
        outcome, snapshot = environment_step(env, action, True)
        if outcome["terminated"]:
            env.rollback(to=len(steps))
            continue
        steps.append(Step(action=action, reply=action, **outcome))
        if snapshot is not None:
            cache.add(0, slot, snapshot)
    return steps


if __name__ == "__main__":
    main(measure)
