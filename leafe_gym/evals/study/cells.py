"""Cells of the study: one method on one base, computed once and kept as a JSON file."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from leafe_gym._files import read_text, write_text
from leafe_gym.errors import StoreCorrupt
from leafe_gym.evals.bench import run_bench
from leafe_gym.evals.reproduce.protocol import AGENT, SAMPLERS
from leafe_gym.evals.reproduce.reflection_quality import reflection_quality
from leafe_gym.evals.reproduce.run_base import spending
from leafe_gym.evals.study.bases import make_base
from leafe_gym.evals.study.in_context import in_context, playbook
from leafe_gym.evals.study.measure import Levels, tested
from leafe_gym.evals.study.methods import METHODS, MethodContext, Trained
from leafe_gym.evals.study.scale import StudyScale
from leafe_gym.evals.study.settings import Setting
from leafe_gym.evals.study.waiting import alone
from leafe_gym.store.reader import RunReader
from leafe_gym.tiny.policy import TinyPolicy
from leafe_gym.types import Json

LOG = logging.getLogger(__name__)
PROMPTED = {"in_context": in_context, "playbook": playbook}
"""Arms that train nothing."""
FROM_GRPO = "leafe_paper_grpo"


def kept(path: Path, make: Callable[[], Json]) -> Json:
    """What is in the JSON file at `path`; made and written if it is not there.

    Another process that makes it at this time is waited for.
    """
    if not path.exists():
        with alone(path):
            if not path.exists():
                began = time.process_time()
                made = make()
                seconds = round(time.process_time() - began, 1)
                write_text(path, json.dumps(made | {"seconds": seconds}) + "\n")
                LOG.info("%s: %.0f CPU-s", path.with_suffix(""), seconds)
    return read_cell(path)


def read_cell(path: Path) -> Json:
    """What is in the JSON file of a cell or trial.

    Raises:
        StoreCorrupt: if it is none that this study wrote; says which, and what to do.
    """
    try:
        found: Json = json.loads(read_text(path))
        if not isinstance(found, dict) or "seconds" not in found:
            raise ValueError("not a cell")
        if "success" in found:
            _check_chances(found)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreCorrupt(
            f"{path}: cannot be read ({error}); delete it, and the same command computes it again"
        ) from error
    return found


def _check_chances(cell: Json) -> None:
    every = [cell["success"], cell.get("recovery") or [], *cell["elsewhere"].values()]
    if not all(isinstance(p, int | float) and 0 <= p <= 1 for one in every for p in one):
        raise ValueError("chances are numbers from 0 to 1")
    pool = cell["pool"]
    if not all(isinstance(at, int) and 0 <= at < len(cell["success"]) for at in pool):
        raise ValueError("the recovery pool names levels that are not there")
    if cell.get("recovery") is not None and len(cell["recovery"]) != len(pool):
        raise ValueError("the recovery pool has another length than its chances")


@dataclass(slots=True)
class Study:
    """The study in a folder; parts that exist are not computed again.

    Attributes:
        folder: of everything.
        scale: how much is run.
        levels: of all parts.
    """

    folder: Path
    scale: StudyScale
    levels: Levels

    def context(self, base: str, seed: int, run: int = 0) -> MethodContext:
        """A base, pretrained if it is not there yet, with its training levels."""
        folder = self.folder / f"{base}-{seed}"
        return MethodContext(
            base=make_base(base, seed, folder, self.scale.recipe),
            levels=self.levels.train, interactions=self.scale.interactions, scale=self.scale,
            seed=seed, folder=folder, run=run,
        )  # fmt: skip

    def cell(
        self, base: str, seed: int, method: str, settings: dict[str, Setting], run: int = 0
    ) -> Json:
        """A method on a base with its frozen setting: costs and exact chances of winning."""
        name = f"{method}_{run}" if run else method

        def make() -> Json:
            context = self.context(base, seed, run)
            if method in PROMPTED:
                return PROMPTED[method](context, self.levels)
            origin = context.base
            if method == "base":
                made = Trained(model=origin)
            elif method == FROM_GRPO:
                made = self._from_grpo(context, settings)
            else:
                made = METHODS[method](context, settings[method], name)
            return {"costs": made.costs} | tested(made.model, origin, self.levels, seed)

        return kept(self.folder / f"{base}-{seed}" / "cells" / f"{name}.json", make)

    def _from_grpo(self, context: MethodContext, settings: dict[str, Setting]) -> Trained:
        """LEAFE as published from the result of GRPO, charged for both."""
        first = METHODS["grpo"](context, settings["grpo"], "grpo")
        context = replace(context, base=first.model, name="grpo")
        made = METHODS["leafe_paper"](context, settings["leafe_paper"], FROM_GRPO)
        before = {f"grpo_{key}": value for key, value in first.costs.items()}
        return Trained(model=made.model, costs=before | made.costs)

    def rounds(self, base: str, seed: int, method: str, settings: dict[str, Setting]) -> list[Json]:
        """A method in several rounds, which share budget and optimizer steps evenly.

        Each round explores with the model of the round before and trains it further on the rows of
        that round.
        """
        count = self.scale.rounds
        context = self.context(base, seed)
        origin = context.base
        setting = settings[method]
        setting = replace(setting, steps=max(1, setting.steps // count))
        context = replace(context, interactions=self.scale.interactions // count)
        found: list[Json] = []
        for number in range(1, count + 1):
            title = f"{method}-round-{number}"
            context = replace(context, name=f"{method}-after-{number - 1}", run=number)

            def make(context: MethodContext = context, title: str = title) -> Json:
                made = METHODS[method](context, setting, title)
                measured = tested(made.model, origin, self.levels, seed)
                where = str(made.model.relative_to(self.folder))  # the folder may be moved
                return {"costs": made.costs, "model": where, **measured}

            path = self.folder / f"{base}-{seed}" / "cells" / f"{title}.json"
            found.append(kept(path, make))
            context = replace(context, base=self.folder / found[-1]["model"])
        return found

    def samplers(self, base: str, seed: int) -> Json:
        """Samplers and controls on test levels, with their spending at the first success."""
        folder = self.folder / f"{base}-{seed}"

        def make() -> Json:
            policy = TinyPolicy.load(self.context(base, seed).base)
            tasks = self.levels.test.tasks[: self.scale.stage1_levels]
            run = run_bench(
                policy, tasks, methods=("is", *SAMPLERS), out=folder / "stage1", config=AGENT,
                interactions=self.scale.stage1_interactions, concurrency=128, seed=seed,
            )  # fmt: skip
            outcomes = asyncio.run(run).outcomes
            methods = {name: spending(outcome) for name, outcome in outcomes.items()}
            with RunReader(folder / "stage1" / "tree") as trees:
                judged = reflection_quality(list(trees.trees()))
            return {"methods": methods, "reflector": judged}

        return kept(folder / "cells" / "stage1.json", make)
