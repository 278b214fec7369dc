"""The tasks of an environment, split into train, val and test and built only when asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from hashlib import blake2b
from importlib import import_module
from operator import index
from typing import Any, overload

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator

from leafe_gym.errors import UsageError
from leafe_gym.types import Json, Task

SPLITS = ("train", "val", "test")
SEEDS = 10_000
"""Seeds that are listed for an environment."""

_TRAIN, _VAL = 80, 90  # of 100: below the first train, below the second val, the rest test


class TaskList(Sequence[Task]):
    """Tasks that are built one at a time; a slice is such a list too and builds nothing.

    Attributes:
        may_repeat_across_splits: whether other splits may hold the same content, because the
            tasks were split by their seeds and not by what these lead to.

    Args:
        build: makes the task of a number.
        numbers: what to give to `build`, in order; or a function that finds them when needed.
        may_repeat_across_splits: see the attribute.
    """

    def __init__(
        self,
        build: Callable[[int], Task],
        numbers: Sequence[int] | Callable[[], Sequence[int]],
        may_repeat_across_splits: bool = False,
    ) -> None:
        self._build = build
        self._source = numbers
        self.may_repeat_across_splits = may_repeat_across_splits

    def _numbers(self) -> Sequence[int]:
        if callable(self._source):
            self._source = self._source()
        return self._source

    def __len__(self) -> int:
        return len(self._numbers())

    @overload
    def __getitem__(self, at: int) -> Task: ...

    @overload
    def __getitem__(self, at: slice) -> TaskList: ...

    def __getitem__(self, at: int | slice) -> Task | TaskList:
        if isinstance(at, slice):
            return TaskList(self._build, self._numbers()[at], self.may_repeat_across_splits)
        return self._build(self._numbers()[index(at)])

    def __iter__(self) -> Iterator[Task]:
        return map(self._build, self._numbers())

    def __repr__(self) -> str:
        return f"<TaskList of {len(self)} tasks>"


def tasks(env_id: str, split: str = "train", **kwargs: Json) -> Sequence[Task]:
    """The tasks of an environment in one split.

    An environment class with a classmethod `tasks(split, **kwargs)` lists its own. For any other,
    the tasks are the seeds 0 to 9999, each in a split (80 % train, 10 % val, 10 % test) by the
    hash of `env_id`, `kwargs` and seed. Such a list says `may_repeat_across_splits`, because two
    seeds can lead to the same content.

    Args:
        env_id: Gymnasium id; "module:id" imports the module first.
        split: "train", "val" or "test", or what else the class's own `tasks` knows.
        kwargs: arguments of `gymnasium.make`, plain JSON.

    Raises:
        UsageError: if the id or the split is unknown, or `kwargs` is not plain JSON.
    """
    spec = _find(env_id)
    own = getattr(_creator(spec), "tasks", None)
    if callable(own):
        listed: Sequence[Task] = own(split, **{**spec.kwargs, **kwargs})
        return listed
    if split not in SPLITS:
        raise UsageError(f"split={split!r}: use one of {', '.join(SPLITS)}")
    given = plain(kwargs)
    return TaskList(
        partial(_seeded, env_id, spec.id, given, split),
        partial(_seeds, spec.id, given, split),
        may_repeat_across_splits=True,
    )


def plain(kwargs: Mapping[str, Any]) -> dict[str, Json]:
    """The arguments as they read after a trip through JSON: tuples become lists.

    Raises:
        UsageError: if they are not plain JSON, so that no file could hold them.
    """
    try:
        copy: dict[str, Json] = json.loads(json.dumps(dict(kwargs), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(f"environment arguments must be plain JSON: {error}") from error
    return copy


def hash_of(value: Json, size: int = 4) -> str:
    """Hex digits, two for each of `size` bytes, that are the same for equal JSON everywhere."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode("utf-8"), digest_size=size).hexdigest()


def split_by_hash(digest: bytes) -> str:
    """The split of what has this hash: 80 % train, 10 % val, 10 % test."""
    place = int.from_bytes(digest, "big") % 100
    return "train" if place < _TRAIN else "val" if place < _VAL else "test"


def _seeds(name: str, kwargs: Mapping[str, Json], split: str) -> list[int]:
    def digest(seed: int) -> bytes:
        return bytes.fromhex(hash_of([name, kwargs, seed], size=8))

    return [seed for seed in range(SEEDS) if split_by_hash(digest(seed)) == split]


def _seeded(env_id: str, name: str, kwargs: Mapping[str, Json], split: str, seed: int) -> Task:
    tag = f":{hash_of(kwargs)}" if kwargs else ""
    task_id = f"{name}:{split}:{seed}{tag}"
    return Task(id=task_id, env_id=env_id, kwargs=dict(kwargs), split=split, seed=seed)


def _find(env_id: str) -> EnvSpec:
    """What is registered under an id, after importing the module it names."""
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            import_module(module)
        except ImportError as error:
            raise UsageError(f"{env_id!r}: cannot import {module!r}: {error}") from error
    if name in gym.registry:
        return gym.registry[name]
    near = get_close_matches(name, gym.registry, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "register it with gymnasium.register"
    raise UsageError(f"no environment {name!r}; {hint}")


def _creator(spec: EnvSpec) -> Any:
    """The class or function that makes the environment."""
    if not isinstance(spec.entry_point, str):
        return spec.entry_point
    try:
        return load_env_creator(spec.entry_point)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{spec.id}: {spec.entry_point!r} does not load: {error}") from error
