"""Everything for one base: samplers, trained models, recovery, out of distribution."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from leafe_gym._files import write_text
from leafe_gym.errors import ConfigMismatch
from leafe_gym.evals.bench import OTHER_EXPERIENCE, UNIT_KEYS, MethodOutcome, run_bench
from leafe_gym.evals.reproduce.levels import LevelSet, StatePool, load, recovery_pool
from leafe_gym.evals.reproduce.oracle_reflection import OracleTau
from leafe_gym.evals.reproduce.protocol import AGENT, CROSS_CHECK, SAMPLERS, Scale
from leafe_gym.evals.reproduce.reflection_quality import reflection_quality
from leafe_gym.evals.reproduce.train_methods import MethodTrainer
from leafe_gym.policies.base import Policy
from leafe_gym.seeds import derive_rng
from leafe_gym.store.reader import RunReader
from leafe_gym.tiny.demonstrator import WeaknessKind, blind_pushes
from leafe_gym.tiny.make_base import build
from leafe_gym.tiny.policy import TinyPolicy
from leafe_gym.tiny.words import SMALL, World
from leafe_gym.types import Json

LOG = logging.getLogger(__name__)
Outcomes = dict[str, MethodOutcome]
OUT_OF_DISTRIBUTION: dict[str, dict[str, Json]] = {
    "more walls": {"inner_walls": [4, 6]},
    "longer solutions": {"solution": [10, 11]},
    "two boxes": {"boxes": 2},
}
"""Changed arguments of the levels. The small model has no words for rows with two boxes or two
targets and reads all of them as the same unknown word. See `elsewhere`."""


def run_base(kind: WeaknessKind, seed: int, scale: Scale, folder: Path) -> Json:
    """All figures of one base; parts that are complete in `folder` are not computed again.

    Sets torch to one thread, which is fastest for a model of this size.

    Args:
        kind: which base.
        seed: of its pretraining and all that follows.
        scale: size of the run.
        folder: of this base.

    Returns:
        Values per task, for averaging over seeds and resampling over tasks.

    Raises:
        ConfigMismatch: if the folder holds figures of another base or scale.
    """
    if scale.device == "cpu":
        torch.set_num_threads(1)
    about = {"kind": kind, "seed": seed, "scale": json.loads(json.dumps(asdict(scale)))}
    done = folder / "figures.json"
    if done.exists():
        found: Json = json.loads(done.read_text(encoding="utf-8"))
        if {name: found.get(name) for name in about} != about:
            raise ConfigMismatch(f"{folder} holds figures of another scale: use another --out")
        return found
    recipe = replace(scale.recipe, kind=kind, seed=seed)
    base = build(recipe, folder / "base", scale.device)
    figures: Json = {**about, "cpu_seconds": {}}

    def timed(name: str, make: Callable[[], Json]) -> Json:
        start = time.process_time()
        value = make()
        figures["cpu_seconds"][name] = round(time.process_time() - start, 1)
        LOG.info("%s %d: %s in %.0f CPU-s", kind, seed, name, figures["cpu_seconds"][name])
        return value

    notes: dict[str, Json] = {}
    levels = LevelSet.of("train", scale.train_levels, recipe.world)
    stage = MethodTrainer(base, levels, scale, seed, folder, notes)
    figures["stage1"] = timed("stage1", lambda: samplers(base, seed, scale, folder / "stage1"))
    models = timed("training", lambda: train_all(stage))
    figures["methods"] = notes
    figures["trained"] = timed("trained", lambda: evaluate({"base": base, **models}, seed, scale))
    write_text(done, json.dumps(figures) + "\n")
    return figures


def samplers(base: Path, seed: int, scale: Scale, folder: Path) -> Json:
    """The samplers and controls on test levels, with their spending at the first success."""
    levels = LevelSet.of("test", scale.stage1_levels, scale.recipe.world)
    policy = TinyPolicy.load(base, scale.device)

    def bench(
        actor: Policy, methods: Sequence[str], out: Path, factor: int = 1, **changes: Json
    ) -> Outcomes:
        run = run_bench(
            actor, levels.tasks, methods=methods, interactions=factor * scale.stage1_interactions,
            out=out, config=AGENT.replace(**changes), concurrency=128, seed=seed,
        )  # fmt: skip
        return asyncio.run(run).outcomes

    outcomes = bench(policy, ("is",), folder, factor=3) | bench(policy, SAMPLERS, folder)
    with RunReader(folder / "tree") as run:
        trees = list(run.trees())
    if sum(any(branch.experience for branch in tree.branches) for tree in trees) > 1:
        outcomes |= bench(policy, ("tree", OTHER_EXPERIENCE), folder)
    else:
        LOG.warning("no two levels have an experience: no control with another level's")
    if policy.prompts == "tiny":  # the prompts that this oracle parses
        oracle = bench(OracleTau(policy), ("tree-no-experience",), folder / "oracle")
        outcomes["oracle-tau"] = oracle["tree-no-experience"]
    else:
        outcomes["tree-until-end"] = bench(policy, ("tree",), folder / "until-end", until="end")[
            "tree"
        ]
    methods = {name: spending(outcome) for name, outcome in outcomes.items()}
    result: Json = {"interactions": scale.stage1_interactions, "methods": methods}
    result["reflector"] = reflection_quality(trees)
    return result


def spending(outcome: MethodOutcome) -> Json:
    """Spending on each task, in all and at its first success, in every unit.

    What a task had spent that errors ended is None: it says nothing about the budget.
    """
    return {
        key: {
            "solved_at": [None if np.isinf(at) else at for at in outcome.solved_at[unit]],
            "used": [
                None if broken else float(used)
                for used, broken in zip(outcome.used[unit], outcome.broken, strict=True)
            ],
        }
        for key, unit in UNIT_KEYS.items()
    }


def train_all(stage: MethodTrainer) -> dict[str, Path]:
    """Every trained model."""
    base, batch = stage.base, stage.scale.batch
    half = batch // 2
    models: dict[str, Path] = {}
    models["rft"] = stage.distil("rft", base, (stage.collect("is", base)["rehearsal"], batch))
    more = stage.collect("is-3x", base, factor=3)["rehearsal"]
    models["rft_3x"] = stage.distil("rft_3x", base, (more, batch))
    tree = stage.collect("tree", base)
    models["reh"] = stage.distil("reh", base, (tree["rehearsal"], batch))
    parts = (tree["rehearsal"], half), (tree["counterfactual"], half)
    models["leafe"] = stage.distil("leafe", base, *parts)
    random = stage.collect("random-experience", base)["rehearsal"]
    models["reh_random"] = stage.distil("reh_random", base, (random, batch))
    models["early"] = stage.early()
    models["leafe_early"] = stage.distil("leafe_early", models["early"], *parts)
    for run in range(stage.scale.grpo_seeds):
        models[f"grpo_{run}"] = stage.grpo(f"grpo_{run}", base)
    models["grpo_3x"] = stage.grpo("grpo_3x", base, factor=3)
    again = stage.collect("tree-grpo", models["grpo_0"])
    parts = (again["rehearsal"], half), (again["counterfactual"], half)
    models["leafe_grpo"] = stage.distil("leafe_grpo", models["grpo_0"], *parts)
    return models


def evaluate(models: dict[str, Path], seed: int, scale: Scale) -> Json:
    """Exact chances of winning of each model: on test levels, from the pool, and elsewhere."""
    world = scale.recipe.world
    levels = LevelSet.of("test", scale.test_levels, world)
    networks = {name: load(folder, scale.device) for name, folder in models.items()}
    pool = recovery_pool(levels, networks["base"], seed)
    blind = levels.graph.blind_needed(blind_pushes(levels.graph))[levels.graph.starts]
    result: Json = {
        "success": {name: chances(levels, network) for name, network in networks.items()},
        "sampled": {name: sampled(levels, networks[name], seed) for name in ("base", "leafe")},
        "pool": pool.level.tolist(),
        "recovery": {name: chances(levels, network, pool) for name, network in networks.items()},
        "blind_pushes": blind.tolist(),
        "elsewhere": {},
    }
    shown = ("base", "early", "grpo_0", "reh", "leafe")
    for title, changes in elsewhere(world).items():
        other = LevelSet.of("test", scale.test_levels // 3, world, **changes)
        result["elsewhere"][title] = {name: chances(other, networks[name]) for name in shown}
    return result


def elsewhere(world: World) -> dict[str, dict[str, Json]]:
    """Arguments of levels out of distribution: those of the same words."""
    if world == SMALL:
        return OUT_OF_DISTRIBUTION
    longer = [world.solution[1] + 1, world.solution[1] + 4]
    walls = [world.walls[1] + 1, world.walls[1] + 3]
    found: dict[str, dict[str, Json]] = {
        "more walls": {"inner_walls": walls},
        "longer solutions": {"solution": longer},
    }
    if world.boxes > 1:
        found["one box fewer"] = {"boxes": world.boxes - 1, "solution": [4, world.solution[1]]}
    return found


def sampled(levels: LevelSet, network: Any, seed: int) -> list[int]:
    """Wins of `CROSS_CHECK` sampled episodes of each level: a check on the exact chances."""
    starts = np.repeat(levels.graph.starts, CROSS_CHECK)
    won = levels.chain(network).sample(starts, derive_rng(seed, "cross-check")).won
    wins: list[int] = won.reshape(-1, CROSS_CHECK).sum(axis=1).tolist()
    return wins


def chances(levels: LevelSet, network: Any, pool: StatePool | None = None) -> list[float]:
    """The chance of winning each level, or from each state of the pool."""
    chain = levels.chain(network)
    found: NDArray[np.float64] = (
        chain.success() if pool is None else chain.success(pool.states, pool.steps)
    )
    return [round(float(value), 9) for value in found]
