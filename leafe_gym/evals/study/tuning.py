"""The sweep: the same number of trials for every method, on validation levels of one base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from leafe_gym._files import write_text
from leafe_gym.evals.study.cells import Study, kept
from leafe_gym.evals.study.measure import validated
from leafe_gym.evals.study.methods import METHODS
from leafe_gym.evals.study.settings import SPACES, Setting, trials
from leafe_gym.types import Json

FROZEN = "settings.json"
"""The chosen setting of every method, with its trials."""


def sweep(study: Study, base: str, methods: tuple[str, ...] = tuple(SPACES)) -> None:
    """Try every setting of every method; what was tried is not tried again.

    Trials run in the order of their numbers, one of each method after the other, so that an
    interrupted sweep has tried as many settings of each.
    """
    for number in range(study.scale.trials):
        for method in methods:
            tried(study, base, method, number)


def tried(study: Study, base: str, method: str, number: int) -> Json:
    """One trial of one method: its setting, costs, and figures on validation levels."""
    setting = trials(method, study.scale.trials)[number]

    def make() -> Json:
        context = study.context(base, 0)
        made = METHODS[method](context, setting, f"trial-{method}-{number}")
        found = validated(made.model, study.levels)
        for folder in (study.folder / f"{base}-0" / "models").glob(f"trial-{method}-{number}*"):
            shutil.rmtree(folder)
        return {"setting": setting.only(SPACES[method]), "costs": made.costs, **found}

    return kept(study.folder / f"{base}-0" / "trials" / f"{method}-{number}.json", make)


def freeze(study: Study, base: str) -> dict[str, Setting]:
    """The setting of each method with the largest validation Pass@1 + Pass@128; kept.

    Raises:
        FileNotFoundError: if a trial has not been run.
    """
    path = study.folder / FROZEN
    if not path.exists():
        table: dict[str, Json] = {}
        for method in SPACES:
            found = [_read(study, base, method, n) for n in range(study.scale.trials)]
            best = max(range(len(found)), key=lambda n: found[n]["pass1"] + found[n]["pass128"])
            table[method] = {"chosen": best, "trials": found}
        write_text(path, json.dumps({"base": base, "methods": table}, indent=1) + "\n")
    return frozen(path)


def frozen(path: Path) -> dict[str, Setting]:
    """The chosen settings in a file that `freeze` wrote."""
    table = json.loads(path.read_text("utf-8"))["methods"]
    return {
        method: Setting.read(one["trials"][one["chosen"]]["setting"])
        for method, one in table.items()
    }


def _read(study: Study, base: str, method: str, number: int) -> Json:
    path = study.folder / f"{base}-0" / "trials" / f"{method}-{number}.json"
    found: Json = json.loads(path.read_text("utf-8"))
    return found
