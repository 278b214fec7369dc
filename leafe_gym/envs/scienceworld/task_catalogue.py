"""Tasks, variations, splits and simplifications; a test compares them with the simulator."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from leafe_gym.envs.data_files import packaged_json
from leafe_gym.envs.tasks import SPLITS, check_split
from leafe_gym.errors import UsageError

_CATALOGUE = packaged_json("scienceworld", "task_catalogue.json")

VARIATIONS: dict[str, int] = _CATALOGUE["variations"]
"""Task -> number of its variations, in the order of the paper's table of tasks."""

TASKS = tuple(VARIATIONS)
_PER_TOPIC = (4, 3, 4, 4, 2, 3, 3, 2, 3, 2)
NUMBERS = tuple(
    f"{topic}-{number}" for topic, size in enumerate(_PER_TOPIC, 1) for number in range(1, size + 1)
)
"""The paper's numbers of the tasks, "1-1" to "10-2", in the same order."""

SIMPLIFICATIONS: tuple[str, ...] = tuple(_CATALOGUE["simplifications"])
_ELECTRIC = re.compile("power-component|conductivity")


class Scenario(NamedTuple):
    """What a game is loaded with.

    Attributes:
        task: one of `TASKS`.
        variation: 0 to the number of its variations, exclusive.
        simplifications: names joined by commas, "easy", or "".
    """

    task: str
    variation: int
    simplifications: str


def task_of(name: str) -> str:
    """The task with a name or a number in the paper, such as "1-1".

    Raises:
        UsageError: if there is none.
    """
    numbered = dict(zip(NUMBERS, TASKS, strict=True))
    found = numbered.get(name, name) if isinstance(name, str) else name
    if not isinstance(found, str) or found not in VARIATIONS:
        raise UsageError(f"task={name!r}: use one of {', '.join(TASKS)}, or 1-1 to 10-2")
    return found


def variations(task: str, split: str | None = None) -> range:
    """The variations of a task in a split: as in ScienceWorld, 50 %, 25 % and 25 %.

    Raises:
        UsageError: if there is no such split.
    """
    count = VARIATIONS[task]
    if split is None:
        return range(count)
    check_split(split)
    quarter = count // 4
    bounds = (0, 2 * quarter, 3 * quarter, count)
    number = SPLITS.index(split)
    return range(bounds[number], bounds[number + 1])


def simplified(given: str | Sequence[str], task: str | None = None) -> str:
    """Simplifications in the simulator's format.

    Args:
        given: "easy" for those of the paper's agents, or names: one string with commas, or a
            sequence; "" for none.
        task: the task they are for; None for any.

    Raises:
        UsageError: if one is unknown or disables actions that the task needs.
    """
    if not isinstance(given, str | Sequence) or not all(isinstance(one, str) for one in given):
        raise UsageError(f"simplifications={given!r}: give names as one string or a sequence")
    names = given.split(",") if isinstance(given, str) else list(given)
    names = [name.strip() for name in names if name.strip()]
    known = ("easy", *SIMPLIFICATIONS)
    wrong = [name for name in names if name not in known]
    if wrong or ("easy" in names and len(names) > 1):
        raise UsageError(
            f"simplifications={given!r}: use 'easy' alone, or some of {', '.join(SIMPLIFICATIONS)}"
        )
    if "noElectricalAction" in names and (task is None or _ELECTRIC.search(task)):
        raise UsageError(
            f"noElectricalAction disables actions that {task or 'some of the tasks'} needs; "
            "leave it out, or choose another task="
        )
    return ",".join(names)
