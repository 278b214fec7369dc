"""Checking what an environment returns, and the standard form of its `info`."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

from leafe_gym.errors import EnvironmentFailure, UsageError
from leafe_gym.types import Info
from leafe_gym.wrappers.rollback.values import as_commands, show

StepOutcome = tuple[Any, float, bool, bool, Info]

_WON = ("won", "is_success")
_NO_COMMANDS: list[Any] = []


def reset_outcome(outcome: Any, seed: int) -> tuple[Any, Info]:
    """(observation, info) of a reset, with the commands in `info` as a list.

    Raises:
        EnvironmentFailure: if it is anything else.
    """
    where = f"reset(seed={seed})"
    try:
        observation, info = outcome
    except (TypeError, ValueError) as error:
        raise EnvironmentFailure(
            f"{where} returned {show(outcome)} instead of (observation, info); fix the environment"
        ) from error
    if not isinstance(info, dict):
        raise _no_dict(where, info)
    return observation, list_commands(info, where)


def step_outcome(outcome: Any, step: int, action: Any) -> StepOutcome:
    """The five parts of what `env.step` returned, the reward as a float.

    Raises:
        EnvironmentFailure: if there are not five, the reward is not a finite number or the info
            is not a dict.
    """
    try:
        observation, reward, terminated, truncated, info = outcome
    except (TypeError, ValueError) as error:
        raise EnvironmentFailure(
            f"step {step} (action {show(action)}) returned {show(outcome)} instead of "
            "(observation, reward, terminated, truncated, info); fix the environment"
        ) from error
    if (
        type(reward) is float
        and isfinite(reward)
        and type(terminated) is bool
        and type(truncated) is bool
        and type(info) is dict
        and type(info.get("admissible_commands", _NO_COMMANDS)) is list
    ):
        return outcome  # type: ignore[no-any-return]
    where = f"step {step} (action {show(action)})"
    number = _number(reward, where)
    if not isinstance(info, dict):
        raise _no_dict(where, info)
    terminated = _flag(terminated, "terminated", where)
    truncated = _flag(truncated, "truncated", where)
    return observation, number, terminated, truncated, list_commands(info, where)


def reported_success(info: Info, step: int, action: Any) -> bool | None:
    """`won` or `is_success` of the environment's own info; None where it has neither.

    Raises:
        EnvironmentFailure: if it is not true or false.
    """
    for key in _WON:
        if key in info:
            value = info[key]
            if value is True or value is False:
                return value
            return _flag(value, f"info[{key!r}]", f"step {step} (action {show(action)})")
    return None


def judged_success(value: Any) -> bool:
    """What a `won=` function returned.

    Raises:
        UsageError: if it is not true or false.
    """
    try:
        return _flag(value, "won", "")
    except EnvironmentFailure:
        raise UsageError(f"won= must return True or False, not {show(value)}") from None


def list_commands(info: Info, where: str) -> Info:
    """`info` with its `admissible_commands` as a list; `info` itself where they are one.

    Raises:
        EnvironmentFailure: if they are a text or no collection.
    """
    commands = info.get("admissible_commands")
    if commands is None or type(commands) is list:
        return info
    try:
        return {**info, "admissible_commands": as_commands(commands)}
    except TypeError as error:
        raise EnvironmentFailure(
            f"{where} gave {show(commands)} as info['admissible_commands']; it must be a list of "
            "actions. Fix the environment"
        ) from error


def _no_dict(where: str, info: Any) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"{where} gave {type(info).__name__} as info; it must be a dict. Fix the environment"
    )


def _number(reward: Any, where: str) -> float:
    try:
        number = float(reward)
    except Exception as error:
        raise EnvironmentFailure(
            f"{where} gave the reward {show(reward)}, which is not a number; fix the environment"
        ) from error
    if not isfinite(number):
        raise EnvironmentFailure(
            f"{where} gave the reward {number}; rewards must be finite. Fix the environment, or "
            "clip the reward in a wrapper inside this one"
        )
    return number


def _flag(value: Any, name: str, where: str) -> bool:
    """True or False, also as a number or an array of one element; text is refused."""
    if isinstance(value, bool | int | float | np.generic | np.ndarray) or hasattr(value, "item"):
        try:
            number = value if isinstance(value, int | float) else value.item()
            if number in (0, 1):
                return bool(number)
        except Exception:  # noqa: BLE001 - an array with several elements, say
            pass
    raise EnvironmentFailure(
        f"{where} gave {show(value)} as {name}; it must be True or False. Fix the environment"
    )
