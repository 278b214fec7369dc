"""The sweep: the same number of trials for every method, on validation levels of one base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from leafe_gym._files import read_text, write_text
from leafe_gym.errors import StoreCorrupt, UsageError
from leafe_gym.evals.study.cells import Study, kept, read_cell
from leafe_gym.evals.study.measure import validated
from leafe_gym.evals.study.methods import METHODS, WORLD
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
        context, title = study.context(base, 0), f"trial-{method}-{number}"
        made = METHODS[method](context, setting, title)
        found = validated(made.model, study.levels)
        for name in (title, title + WORLD):  # not those of trial 10 after trial 1
            shutil.rmtree(context.folder / "models" / name, ignore_errors=True)
        return {"setting": setting.only(SPACES[method]), "costs": made.costs, **found}

    return kept(study.folder / f"{base}-0" / "trials" / f"{method}-{number}.json", make)


def freeze(study: Study, base: str) -> dict[str, Setting]:
    """The setting of each method with the largest validation Pass@1 + Pass@128; kept.

    Raises:
        UsageError: if a trial has not been run.
        StoreCorrupt: if a trial or the file cannot be read.
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
    return {
        method: Setting.read(one["trials"][one["chosen"]]["setting"])
        for method, one in read_settings(path).items()
    }


def read_settings(path: Path) -> Json:
    """What `freeze` wrote about each method: the trials and which one was chosen.

    Raises:
        StoreCorrupt: if the file is none that `freeze` wrote.
    """
    try:
        found: Json = json.loads(read_text(path))["methods"]
        for one in found.values():
            Setting.read(one["trials"][one["chosen"]]["setting"])
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise StoreCorrupt(
            f"{path}: cannot be read ({error!r}); delete it, and it is made anew from the trials"
        ) from error
    return found


def _read(study: Study, base: str, method: str, number: int) -> Json:
    path = study.folder / f"{base}-0" / "trials" / f"{method}-{number}.json"
    if not path.exists():
        raise UsageError(
            f"{path}: this trial has not been run, and settings are chosen among all: "
            "run the part tune first"
        )
    return read_cell(path)
