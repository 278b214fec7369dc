"""Going back: save a state of any Gymnasium environment and return to it, verified.

Reading order: `rollback` (what users call), `engine` (one chain and its log), `chain` (state of the
wrappers in between), `backends` (the ways to save a state, one file each; `fork` in several),
`remote` (an environment in another process), `global_rng` (environments that draw from the global
generators), `prove` and `choose` (which backend is right and cheapest for an environment), `check`
(the same as a report for authors of environments), `order` (the RollbackWrapper has to be
outermost).
"""

from __future__ import annotations

from leafe_gym.wrappers.choose import export_choice, import_choice
from leafe_gym.wrappers.episode import Transition
from leafe_gym.wrappers.order import find_rollback, require_outermost
from leafe_gym.wrappers.rollback import RollbackWrapper

__all__ = [
    "RollbackWrapper",
    "Transition",
    "export_choice",
    "find_rollback",
    "import_choice",
    "require_outermost",
]
