"""The parts of the study, each resumable; several may run side by side on one folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from leafe_gym._files import read_text, write_text
from leafe_gym.errors import ConfigMismatch, StoreCorrupt, UsageError
from leafe_gym.evals.study.bases import (
    BLIND,
    CURVE,
    CURVE_SEEDS,
    NAMED,
    NATURAL_NAME,
    SEEDS,
    blind_name,
)
from leafe_gym.evals.study.cells import FROM_GRPO, PROMPTED, Study
from leafe_gym.evals.study.measure import Levels
from leafe_gym.evals.study.methods import METHODS
from leafe_gym.evals.study.scale import STUDY, StudyScale
from leafe_gym.evals.study.tuning import freeze, sweep
from leafe_gym.evals.study.waiting import alone
from leafe_gym.store.writer import first_difference

CLAIM = "study.json"
"""The scale of the study that a folder holds."""
ARMS = ("base", *METHODS, FROM_GRPO, *PROMPTED)
ON_THE_CURVE = ("base", "rft", "grpo", "reh", "leafe_paper", "leafe", "leafe_kl")
IN_ROUNDS = ("reh", "leafe", "leafe_kl", "grpo")


def tune(study: Study) -> None:
    """Try all settings on validation levels and freeze one for each method."""
    sweep(study, NAMED)
    freeze(study, NAMED)


def ledger(study: Study, base: str = NAMED) -> None:
    """Every arm on the test levels of all bases of one kind."""
    settings = freeze(study, NAMED)
    for seed in range(SEEDS):
        study.samplers(base, seed)
        for arm in ARMS:
            study.cell(base, seed, arm, settings)
        for run in range(1, study.scale.grpo_runs):
            study.cell(base, seed, "grpo", settings, run)


def natural(study: Study) -> None:
    """The same on the base without a designed weakness."""
    ledger(study, NATURAL_NAME)


def rounds(study: Study) -> None:
    """Four methods in several rounds at the same budget."""
    settings = freeze(study, NAMED)
    for seed in range(SEEDS):
        for method in IN_ROUNDS:
            study.rounds(NAMED, seed, method, settings)


def curve(study: Study) -> None:
    """The weight of the blind pushes swept."""
    settings = freeze(study, NAMED)
    for seed in range(CURVE_SEEDS):
        for weight in CURVE:
            if weight != BLIND:
                for method in ON_THE_CURVE:
                    study.cell(blind_name(weight), seed, method, settings)
                for run in range(1, study.scale.grpo_runs):
                    study.cell(blind_name(weight), seed, "grpo", settings, run)


PARTS: dict[str, Callable[[Study], None]] = {
    "tune": tune,
    "ledger": ledger,
    "natural": natural,
    "rounds": rounds,
    "curve": curve,
}


def run_study(folder: Path, parts: tuple[str, ...] = (), scale: StudyScale = STUDY) -> Study:
    """Run parts of the study in order; what is complete in the folder is not computed again.

    Sets torch to one thread, which is fastest for a model of this size.

    Args:
        folder: of everything.
        parts: names in `PARTS`; () for all.
        scale: how much is run.

    Raises:
        UsageError: for an unknown part.
        ConfigMismatch: if the folder holds a study of another scale.
    """
    if unknown := sorted(set(parts) - set(PARTS)):
        raise UsageError(f"part {unknown[0]!r}: use one of {', '.join(PARTS)}")
    _claim(folder, scale)
    torch.set_num_threads(1)
    study = Study(folder, scale, Levels(scale, folder))
    for part in parts or PARTS:
        PARTS[part](study)
    return study


def _claim(folder: Path, scale: StudyScale) -> None:
    """Note the scale of the study in the folder."""
    path, own = folder / CLAIM, json.loads(json.dumps(asdict(scale)))
    with alone(path):
        if not path.exists():
            write_text(path, json.dumps(own, indent=1) + "\n")
        try:
            other = json.loads(read_text(path))
        except (OSError, ValueError) as error:
            raise StoreCorrupt(f"{path}: cannot be read ({error})") from error
    if found := first_difference(other, own):
        name, old, new = found
        raise ConfigMismatch(
            f"{folder} holds a study with {name}={old}, now it is {new}: use another --out"
        )
