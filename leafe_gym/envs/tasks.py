"""The tasks of an environment, split into train, val and test and built on access."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import cache, partial
from hashlib import blake2b
from importlib import import_module
from inspect import signature
from logging import getLogger
from operator import index
from typing import Any, overload

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator

from leafe_gym.envs.data_files import note_unused_data
from leafe_gym.envs.hooks import SelectsOne
from leafe_gym.errors import UsageError
from leafe_gym.types import Json, Task

SPLITS = ("train", "val", "test")
SEEDS = 10_000
"""Number of seeds listed for an environment without a task list of its own."""

_LOGGER = getLogger(__name__)
_TRAIN, _VAL = 80, 90  # of 100: below the first train, below the second val, the rest test


class TaskList(Sequence[Task]):
    """Tasks that are built on access; a slice is a `TaskList` too and builds nothing.

    Attributes:
        may_repeat_across_splits: whether other splits may have the same content, because tasks
            were split by seed and not by content.

    Args:
        build: makes the task with a number.
        numbers: arguments of `build`, in order, or a function that returns them when needed.
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

    An environment class with a classmethod `tasks(split, **kwargs)` lists its own. For all others
    the tasks are the seeds 0 to 9999, each in a split (80 % train, 10 % val, 10 % test) by the
    hash of `env_id`, `kwargs` and seed. Two seeds can lead to the same content, so such a list has
    `may_repeat_across_splits` set, and a warning is logged when a split other than "train" is
    listed: in small worlds most test tasks may be in the train split as well.

    Args:
        env_id: Gymnasium id; "module:id" imports the module first.
        split: "train", "val" or "test", "all" for the three one after another, or another split
            that the class's own `tasks` knows.
        **kwargs: arguments of `gymnasium.make`, plain JSON.

    Raises:
        UsageError: if the id, the split or an argument is unknown, or `kwargs` is not plain JSON.

    Example:
        >>> listed = tasks("leafe/Sokoban-v0", split="test", size=6, boxes=1)
        >>> listed[0].split, listed[0].kwargs["size"], len(listed[:3])
        ('test', 6, 3)
    """
    if not isinstance(env_id, str):
        raise UsageError(f"env_id={env_id!r}: give the id of an environment as a string")
    if not isinstance(split, str):
        raise UsageError(f"split={split!r}: use one of {', '.join(SPLITS)}")
    spec = _find(env_id)
    creator = _creator(spec)
    _check_arguments(spec.id, creator, kwargs)
    note_unused_data(spec.id, kwargs)
    own = getattr(creator, "tasks", None)
    if callable(own):
        try:
            return _listed(spec, own, split, {**spec.kwargs, **kwargs})
        except UsageError:
            if split != "all":
                raise
    if split == "all":
        return _all_splits(env_id, kwargs)
    check_split(split)
    given = json_kwargs(kwargs)
    if split != SPLITS[0]:
        _warn_of_repeats(spec.id)
    return TaskList(
        partial(_seeded, env_id, spec.id, given, split, tag_of(given)),
        partial(_seeds, spec.id, given, split),
        may_repeat_across_splits=True,
    )


def one_task(env_id: str, **kwargs: Json) -> Task | None:
    """The only task that arguments leave, such as one game file; None if they leave several.

    An environment class says so with a classmethod `selects_one(kwargs)`. Such a task belongs to no
    split.

    Args:
        env_id: see `tasks`.
        **kwargs: see `tasks`.

    Raises:
        UsageError: see `tasks`.
    """
    spec = _find(env_id)
    creator = _creator(spec)
    _check_arguments(spec.id, creator, kwargs)
    given = json_kwargs({**spec.kwargs, **kwargs})
    if not isinstance(creator, SelectsOne) or not creator.selects_one(given):
        return None
    return Task(id=f"{spec.id}:{hash_of(given)}", env_id=env_id, kwargs=given)


def _all_splits(env_id: str, kwargs: Mapping[str, Json]) -> TaskList:
    """The tasks of all splits; a split that has none, or that the data lacks, is left out.

    Raises:
        UsageError: if no split can be listed.
    """
    parts: list[Sequence[Task]] = []
    places: list[tuple[int, int]] = []
    refused: list[UsageError] = []
    for split in SPLITS:
        try:
            parts.append(tasks(env_id, split, **kwargs))
        except UsageError as error:
            refused.append(error)
    if not parts:
        raise refused[0]

    def numbers() -> range:
        for number, part in enumerate(parts):
            with suppress(UsageError):  # some lists are only made when they are read
                places.extend((number, at) for at in range(len(part)))
        return range(len(places))

    def build(number: int) -> Task:
        part, at = places[number]
        return parts[part][at]

    repeats = any(getattr(part, "may_repeat_across_splits", False) for part in parts)
    return TaskList(build, numbers, repeats)


def check_split(split: Any, *, also: Sequence[str] = (), optional: bool = False) -> None:
    """Check the name of a split.

    Args:
        split: the name.
        also: names that are allowed besides `SPLITS`.
        optional: whether None is allowed, which means all splits.

    Raises:
        UsageError: if it is another name, or not a string.
    """
    names = (*SPLITS, *also)
    if split not in names and not (optional and split is None):
        end = ", or None for all" if optional else ""
        raise UsageError(f"split={split!r}: use one of {', '.join(names)}{end}")


def list_arguments(
    split: Any, kwargs: Mapping[str, Any], one_of: Sequence[str] = (), also: Sequence[str] = ()
) -> dict[str, Json]:
    """The arguments of a list of tasks as plain JSON, checked.

    Args:
        split: the split that is listed.
        kwargs: arguments of the environment.
        one_of: those that select one task each and have no meaning for a list.
        also: names of splits that are allowed besides `SPLITS`.

    Raises:
        UsageError: if the split is unknown, an argument selects one task, or one is not plain JSON.
    """
    check_split(split, also=also)
    for name in one_of:
        if kwargs.get(name) is not None:
            raise UsageError(
                f"{name}={kwargs[name]!r} selects one task, and a task list contains all of them: "
                f"drop it, or make the environment with it"
            )
    return json_kwargs({name: value for name, value in kwargs.items() if name not in one_of})


def tag_of(kwargs: Mapping[str, Json]) -> str:
    """The end of a task's id: a colon and a hash of the arguments; "" for none."""
    return f":{hash_of(dict(kwargs))}" if kwargs else ""


def seed_tasks(env_id: str, split: str, kwargs: Mapping[str, Json], tag: str) -> TaskList:
    """Seeds 0 to 9999 of a split whose content is generated: no content is in two splits.

    Args:
        env_id: of the environment.
        split: in the ids of the tasks.
        kwargs: of each task, the split among them.
        tag: see `tag_of`.
    """
    return TaskList(partial(_seeded, env_id, env_id, kwargs, split, tag), range(SEEDS))


def json_kwargs(kwargs: Mapping[str, Any]) -> dict[str, Json]:
    """The arguments as JSON represents them: tuples become lists.

    Raises:
        UsageError: if they are not plain JSON and so cannot be stored in a file.
    """
    try:
        copy: dict[str, Json] = json.loads(json.dumps(dict(kwargs), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(f"environment arguments must be plain JSON: {error}") from error
    return copy


def hash_of(value: Json, size: int = 4) -> str:
    """A hash of `size` bytes as hex digits; equal for equal JSON on all machines."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode("utf-8"), digest_size=size).hexdigest()


def split_by_hash(digest: bytes) -> str:
    """The split that belongs to a hash: 80 % train, 10 % val, 10 % test."""
    place = int.from_bytes(digest, "big") % 100
    return "train" if place < _TRAIN else "val" if place < _VAL else "test"


def _seeds(name: str, kwargs: Mapping[str, Json], split: str) -> list[int]:
    def digest(seed: int) -> bytes:
        return bytes.fromhex(hash_of([name, kwargs, seed], size=8))

    return [seed for seed in range(SEEDS) if split_by_hash(digest(seed)) == split]


def _seeded(
    env_id: str, name: str, kwargs: Mapping[str, Json], split: str, tag: str, seed: int
) -> Task:
    task_id = f"{name}:{split}:{seed}{tag}"
    return Task(id=task_id, env_id=env_id, kwargs=dict(kwargs), split=split, seed=seed)


def _check_arguments(name: str, creator: Any, kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments that neither the environment's constructor nor `gymnasium.make` takes."""
    try:
        own = signature(creator).parameters
    except (TypeError, ValueError):
        return
    if any(one.kind is one.VAR_KEYWORD for one in own.values()):
        return
    known = {*own, *signature(gym.make).parameters} - {"kwargs", "id"}
    for unknown in sorted(kwargs.keys() - known):
        near = get_close_matches(unknown, own, n=3)
        rest = f"did you mean: {', '.join(near)}?" if near else f"there are: {', '.join(own)}"
        raise UsageError(f"{name} takes no argument {unknown!r}; {rest}")


@cache
def _warn_of_repeats(name: str) -> None:
    """Once a process and environment."""
    _LOGGER.warning(
        "%s has no task list of its own: its tasks are seeds, and two seeds may give the same "
        "task. A figure on the splits val or test may then count tasks that were trained on. To "
        "split by content, give the class a classmethod tasks(split, **kwargs)",
        name,
    )


def _listed(
    spec: EnvSpec, own: Callable[..., Sequence[Task]], split: str, kwargs: Mapping[str, Any]
) -> Sequence[Task]:
    """What the class's own `tasks` lists.

    Raises:
        UsageError: if it does not take an argument, or returns no sequence.
    """
    try:
        signature(own).bind(split, **kwargs)
    except TypeError as error:
        raise UsageError(f"{spec.id}: tasks(): {error}") from error
    listed = own(split, **kwargs)
    if not isinstance(listed, Sequence):
        raise UsageError(
            f"{spec.id}: tasks() returned {type(listed).__name__}; return a sequence of Task"
        )
    return listed


def _find(env_id: str) -> EnvSpec:
    """The registration of an id, after importing the module that it names."""
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            import_module(module)
        except (ImportError, ValueError, TypeError) as error:
            raise UsageError(f"{env_id!r}: cannot import {module!r}: {error}") from error
    if name in gym.registry:
        return gym.registry[name]
    namespace = name.partition("/")[0] if "/" in name else ""
    known = [one for one in gym.registry if not namespace or one.startswith(f"{namespace}/")]
    near = get_close_matches(name, known or gym.registry, n=3, cutoff=0.6)
    advice = f"; did you mean {' or '.join(near)}?" if known and near else "."
    raise UsageError(
        f"no environment {name!r} is registered{advice} If a module of yours registers it, write "
        f"'module:{name}', such as 'my_package.envs:{name}'"
    )


def _creator(spec: EnvSpec) -> Any:
    """The class or function that makes an environment."""
    if not isinstance(spec.entry_point, str):
        return spec.entry_point
    try:
        return load_env_creator(spec.entry_point)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{spec.id}: {spec.entry_point!r} does not load: {error}") from error
