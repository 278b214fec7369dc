"""`check_rollback`: does an environment keep what coming back to earlier states needs?

For authors of environments, like Gymnasium's `check_env`: run it in the tests of the environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from leafe_gym.errors import BackendError, RollbackCheckFailed, UsageError
from leafe_gym.types import Json
from leafe_gym.wrappers.rollback.wrapper import RollbackWrapper, WonRule, require_outermost
from leafe_gym.wrappers.verification.action_script import ActionScript, find_script
from leafe_gym.wrappers.verification.instance_factory import (
    InstanceFactory,
    InstanceUnavailable,
    close_quietly,
)
from leafe_gym.wrappers.verification.report import BackendVerdict
from leafe_gym.wrappers.verification.seed_check import SeedFinding, check_elsewhere, check_seed
from leafe_gym.wrappers.verification.selection import IN_PROCESS
from leafe_gym.wrappers.verification.verify import verify_backend

AnyEnv = gym.Env[Any, Any]
_BADNESS = ("right", "not tried", "unproved", "refused", "wrong")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What `check_rollback` found; `print` shows a table.

    Attributes:
        env: the environment, in words.
        verdicts: one per backend, the worst over all seeds.
        seed: whether the same seed gives the same episode.
        elsewhere: how the episode came out in another process: "same", "differs", "not tried", or
            why it could not be played there.
        won_rule: where `info["won"]` comes from.
        actions: where the actions that were tried come from, in words.
        unproved: no action changed the observation, so little has been shown.
        failures: promises the environment breaks; empty if none.
    """

    env: str
    verdicts: tuple[BackendVerdict, ...]
    seed: SeedFinding
    elsewhere: str
    won_rule: WonRule
    actions: str
    unproved: bool
    failures: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether no promise is broken."""
        return not self.failures

    def verdict(self, backend: str) -> BackendVerdict:
        """What was found out about one backend.

        Raises:
            UsageError: if it was not checked.
        """
        for one in self.verdicts:
            if one.backend == backend:
                return one
        raise UsageError(f"backend {backend!r} was not checked; see CheckReport.verdicts")

    def as_dict(self) -> dict[str, Json]:
        """All fields as plain JSON, and `ok`."""
        verdicts = [one.as_dict() for one in self.verdicts]
        failures = list(self.failures)
        return {**asdict(self), "verdicts": verdicts, "failures": failures, "ok": self.ok}

    def raise_for_failures(self) -> None:
        """Do nothing if all is well.

        Raises:
            RollbackCheckFailed: with the whole report, if a promise is broken.
        """
        if self.failures:
            raise RollbackCheckFailed(str(self))

    def __str__(self) -> str:
        seed = "honoured" if self.seed.honoured else f"NOT honoured: {self.seed.reason}"
        lines = [f"rollback check of {self.env}", *(f"  {one}" for one in self.verdicts)]
        lines += [f"  seed      {seed}", f"  won       {_WON[self.won_rule]}"]
        lines += [f"  elsewhere {self.elsewhere}", f"  actions   {self.actions}"]
        if self.unproved:
            lines += ["  unproved: no action changed the observation; pass actions="]
        if not self.failures:
            return "\n".join([*lines, "ok"])
        return "\n".join([*lines, *(f"FAILED: {one}" for one in self.failures)])


_WON = {
    "info": "info['won'] of the environment",
    "function": "the function given to RollbackWrapper",
    "default": "default: terminated with a positive reward",
}


def check_rollback(
    env: str | EnvSpec | AnyEnv | Callable[[], AnyEnv],
    *,
    backends: Sequence[str] | None = None,
    actions: Sequence[Any] | None = None,
    seeds: Sequence[int] = (0, 1),
    options: dict[str, Any] | None = None,
    make_kwargs: Mapping[str, Any] | None = None,
    other_process: bool = True,
) -> CheckReport:
    """Try every backend on an environment, and its seeding.

    Works on instances of its own; one that is handed over is left alone.

    Args:
        env: an id, a spec, an instance made by `gymnasium.make`, or a function that makes one.
        backends: names of those to try; None for all that come with the package (`fork` only
            where nothing but `replay` is right otherwise). One that is named must be right; of
            the others it is enough that one is.
        actions: some that change the observation; None to look for some.
        seeds: resets to try, at least one.
        options: of the resets.
        make_kwargs: keyword arguments of `gymnasium.make`, where `env` is an id or a spec.
        other_process: also play the first seed's episode in a fresh interpreter, as a run that
            is resumed will (some 0.4 s).

    Raises:
        UsageError: if no further instance can be made, or `seeds` is empty.
        WrapperOrder: if a RollbackWrapper sits below another wrapper.
    """
    if not seeds:
        raise UsageError("check_rollback needs at least one seed")
    chain, second, rule = _subject(env, dict(make_kwargs or {}))
    try:
        scripts = [
            find_script(second.make, seed=seed, options=options, actions=actions) for seed in seeds
        ]
        verdicts = _verdicts(backends, second, scripts)
        findings = [check_seed(second.make, script) for script in scripts]
    except InstanceUnavailable as error:
        raise UsageError(
            f"check_rollback works on instances of its own: {error} (here: pass a function that "
            "makes the environment in place of the environment)"
        ) from error
    seed = next((one for one in findings if not one.honoured), findings[0])
    elsewhere = "not tried"
    if other_process and seed.honoured:
        seed, elsewhere = _elsewhere(second, scripts[0], seed)
    if any(one.won_in_info for one in findings):
        rule = "info"
    return CheckReport(
        env=str(chain),
        verdicts=verdicts,
        seed=seed,
        elsewhere=elsewhere,
        won_rule=rule,
        actions=scripts[0].source,
        unproved=not any(script.changed for script in scripts),
        failures=tuple(_failures(verdicts, seed, named=backends is not None)),
    )


def _elsewhere(
    second: InstanceFactory, script: ActionScript, seed: SeedFinding
) -> tuple[SeedFinding, str]:
    """(the finding on the seed, how it came out in another process)."""
    try:
        found = check_elsewhere(second, script)
    except BackendError as error:
        return seed, f"could not be played: {error}"
    return (seed, "same") if found.honoured else (found, "differs")


def _subject(
    env: str | EnvSpec | AnyEnv | Callable[[], AnyEnv], kwargs: dict[str, Any]
) -> tuple[AnyEnv, InstanceFactory, WonRule]:
    """The chain without its RollbackWrapper, a maker of more, and the rule for `won`."""
    factory: Callable[[], AnyEnv] | None = None
    if kwargs and not isinstance(env, str | EnvSpec):
        raise UsageError("make_kwargs go with an id or a spec only")
    if isinstance(env, str | EnvSpec):
        made = gym.make(env, **kwargs)
        close_quietly(made)
    elif isinstance(env, gym.Env):
        made = env
    elif callable(env):
        factory, made = env, env()
        close_quietly(made)
    else:
        raise UsageError(f"check_rollback takes an id, a spec, an environment or a function: {env}")
    if not _has_rollback(made):
        return made, InstanceFactory(made, factory), "default"
    wrapper = require_outermost(made)
    return wrapper.env, wrapper.instance_factory(factory), wrapper.won_rule


def _has_rollback(env: AnyEnv) -> bool:
    while isinstance(env, gym.Wrapper) and not isinstance(env, RollbackWrapper):
        env = env.env
    return isinstance(env, RollbackWrapper)


def _verdicts(
    names: Sequence[str] | None, second: InstanceFactory, scripts: Sequence[ActionScript]
) -> tuple[BackendVerdict, ...]:
    if names is not None:
        return tuple(_worst(name, second, scripts) for name in names)
    verdicts = [_worst(name, second, scripts) for name in IN_PROCESS]
    if any(one.outcome == "right" and one.backend != "replay" for one in verdicts):
        reason = "others are right and need no processes; backends=['fork'] tries it"
        return (*verdicts, BackendVerdict(backend="fork", outcome="not tried", reason=reason))
    return (*verdicts, _worst("fork", second, scripts))


def _worst(name: str, second: InstanceFactory, scripts: Sequence[ActionScript]) -> BackendVerdict:
    verdicts = []
    for script in scripts:
        backend = second.backend(name)
        verdicts.append(verify_backend(backend, second.make, script))
        backend.close()
    return max(verdicts, key=lambda one: _BADNESS.index(one.outcome))


def _failures(verdicts: Sequence[BackendVerdict], seed: SeedFinding, *, named: bool) -> list[str]:
    failures = []
    for one in verdicts:
        if one.outcome == "wrong" and one.backend == "native":
            failures.append(
                f"get_state/set_state do not restore the state: {one.reason}. Return everything "
                "an episode changes, in values that later steps leave alone, or remove both"
            )
        elif one.outcome == "wrong" and one.backend == "replay":
            failures.append(f"an episode cannot be done again: {one.reason}")
        elif one.outcome in ("wrong", "refused") and named:
            failures.append(f"backend {one.backend} {one.outcome}: {one.reason}")
    if not seed.honoured:
        failures.append(f"the seed is not honoured: {seed.reason}")
    if not any(one.outcome in ("right", "unproved") for one in verdicts):
        failures.append("no backend can restore this environment")
    return failures
