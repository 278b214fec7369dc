"""Everything for one base: samplers, trained models, recovery, out of distribution."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from leafe_gym.evals.bench import Bench, run_bench
from leafe_gym.evals.reproduce.levels import Levels, Pool, recovery_pool
from leafe_gym.evals.reproduce.methods import Stage
from leafe_gym.evals.reproduce.quality import reflector_quality
from leafe_gym.evals.reproduce.setting import EVERY, SAMPLERS, TREE, Scale
from leafe_gym.store.run import Run
from leafe_gym.tiny.build import build
from leafe_gym.tiny.demonstrator import Kind, blind_pushes
from leafe_gym.tiny.policy import TinyPolicy
from leafe_gym.tiny.pretrain import Recipe
from leafe_gym.types import Json

LOG = logging.getLogger(__name__)
OUT_OF_DISTRIBUTION: dict[str, dict[str, Json]] = {
    "more walls": {"inner_walls": [4, 6]},
    "longer solutions": {"solution": [10, 11]},
}
"""Changed arguments of the levels. The number of boxes cannot be changed: the model has no words
for rows with two."""


def run_seed(kind: Kind, seed: int, scale: Scale, folder: Path) -> Json:
    """All figures of one base; finished parts are kept in `folder` and not made again.

    Args:
        kind: which base.
        seed: of its pretraining and of everything after.
        scale: how much is run.
        folder: of this base.

    Returns:
        Values per task, for averaging over seeds and resampling over tasks.
    """
    torch.set_num_threads(1)
    done = folder / "figures.json"
    if done.exists():
        found: Json = json.loads(done.read_text(encoding="utf-8"))
        return found
    began = time.process_time()
    build(Recipe(kind=kind, seed=seed), folder / "base")
    base = load(folder / "base")
    figures: Json = {"kind": kind, "seed": seed, "cpu_seconds": {}}

    def timed(name: str, make: Callable[[], Json]) -> None:
        start = time.process_time()
        figures[name] = make()
        figures["cpu_seconds"][name] = round(time.process_time() - start, 1)
        LOG.info("%s %d: %s in %.0f CPU-s", kind, seed, name, figures["cpu_seconds"][name])

    timed("stage1", lambda: samplers(base, seed, scale, folder / "stage1"))
    notes: dict[str, Json] = {}
    stage = Stage(base, Levels.of("train", scale.train_levels), scale, seed, folder, notes)
    models: dict[str, Any] = {}
    timed("training", lambda: train_all(stage, models))
    figures["methods"] = notes
    timed("trained", lambda: evaluate(base, models, seed, scale))
    figures["cpu_seconds"]["all"] = round(time.process_time() - began, 1)
    done.write_text(json.dumps(figures) + "\n", encoding="utf-8")
    return figures


def load(folder: Path) -> Any:
    """The network saved in a folder."""
    from transformers import Qwen2ForCausalLM

    return Qwen2ForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()


def samplers(base: Any, seed: int, scale: Scale, folder: Path) -> Json:
    """The samplers and controls on test levels; what each spent until a level was solved."""
    levels = Levels.of("test", scale.stage1_levels)
    policy = TinyPolicy(base, "base")

    def bench(methods: tuple[str, ...], calls: int) -> Bench:
        return asyncio.run(
            run_bench(
                policy, levels.tasks, methods=methods, calls=calls, out=folder, concurrency=128,
                seed=seed, every=EVERY, tree=TREE,
            )
        )  # fmt: skip

    calls = scale.stage1_calls
    outcomes = bench(SAMPLERS[1:], calls).outcomes | bench(SAMPLERS[:1], 3 * calls).outcomes
    result: Json = {"calls": calls, "methods": {}}
    for name, outcome in outcomes.items():
        result["methods"][name] = {
            unit: {
                "solved_at": [None if np.isinf(at) else at for at in outcome.solved_at[unit]],
                "used": outcome.used[unit].tolist(),
            }
            for unit in outcome.used
        }
    with Run.read(folder / "tree") as run:
        result["reflector"] = reflector_quality(run.trees())
    return result


def train_all(stage: Stage, models: dict[str, Any]) -> Json:
    """Every trained model, into `models`."""
    base, batch = stage.base, stage.scale.batch
    half = batch // 2
    sampled = stage.collect("is", base)["rehearsal"]
    models["rft"] = stage.sft("rft", base, (sampled, batch))
    more = stage.collect("is-3x", base, factor=3)["rehearsal"]
    models["rft_3x"] = stage.sft("rft_3x", base, (more, batch))
    tree = stage.collect("tree", base)
    models["reh"] = stage.sft("reh", base, (tree["rehearsal"], batch))
    parts = (tree["rehearsal"], half), (tree["counterfactual"], half)
    models["leafe"] = stage.sft("leafe", base, *parts)
    random = stage.collect("random-tip-tree", base)["rehearsal"]
    models["reh_random"] = stage.sft("reh_random", base, (random, batch))
    models["early"] = stage.early(base)
    early_tree = stage.sft("early-leafe", models["early"], *parts)
    models["leafe_early"] = early_tree
    for run in range(stage.scale.grpo_seeds):
        models[f"grpo_{run}"] = stage.grpo(base, run)
    models["grpo_3x"] = stage.grpo(base, 0, factor=3)
    again = stage.collect("tree-grpo", models["grpo_0"])
    parts = (again["rehearsal"], half), (again["counterfactual"], half)
    models["leafe_grpo"] = stage.sft("leafe_grpo", models["grpo_0"], *parts)
    return sorted(models)


def evaluate(base: Any, models: dict[str, Any], seed: int, scale: Scale) -> Json:
    """Exact chances of winning of each model: on test levels, from the pool, and elsewhere."""
    levels = Levels.of("test", scale.test_levels)
    pool = recovery_pool(levels, base, seed)
    blind = levels.graph.blind_needed(blind_pushes(levels.graph))[levels.graph.starts]
    everyone = {"base": base} | models
    result: Json = {
        "success": {name: chances(levels, model) for name, model in everyone.items()},
        "pool": pool.level.tolist(),
        "recovery": {name: chances(levels, model, pool) for name, model in everyone.items()},
        "blind_pushes": blind.tolist(),
        "elsewhere": {},
    }
    shown = ("base", "early", "grpo_0", "reh", "leafe")
    for title, changes in OUT_OF_DISTRIBUTION.items():
        other = Levels.of("test", scale.test_levels // 3, **changes)
        result["elsewhere"][title] = {name: chances(other, everyone[name]) for name in shown}
    return result


def chances(levels: Levels, network: Any, pool: Pool | None = None) -> list[float]:
    """The chance of winning each level, or from each state of the pool."""
    chain = levels.chain(network)
    found: NDArray[np.float64] = (
        chain.success() if pool is None else chain.success(pool.states, pool.steps)
    )
    return [round(float(value), 9) for value in found]
