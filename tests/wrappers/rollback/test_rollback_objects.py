"""Actions, options and observations of any type: told apart where they differ, equal where not."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import pathlib
import types
import uuid
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pydantic
import pytest

import leafe_gym as lg
from leafe_gym import errors
from leafe_gym.envs.space import TextSpace

NAN = float("nan")


@dataclasses.dataclass
class Command:
    text: Any
    note: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    text: Any


class Model(pydantic.BaseModel):
    text: str
    _secret: int = pydantic.PrivateAttr(default=0)


class Move(enum.Enum):
    LEFT = 1
    RIGHT = 2


class Keys(enum.Flag):
    SHIFT = 1
    CONTROL = 2


class Marked(str):
    """A text with an attribute, which equality ignores."""

    mark = 0


class Pair(tuple[Any, ...]):
    mark = 0


class Plain:
    """Equal to itself only."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __repr__(self) -> str:
        return f"Plain({self.x})"


class Lossy(gym.utils.EzPickle):
    """Pickles its constructor's arguments only."""

    def __init__(self) -> None:
        super().__init__()
        self.level = 0

    def __repr__(self) -> str:
        return f"Lossy at {self.level}"


Named = collections.namedtuple("Named", "text")


def marked(kind: Any, value: Any, mark: int) -> Any:
    made = kind(value)
    made.mark = mark
    return made


def lossy(level: int) -> Lossy:
    made = Lossy()
    made.level = level
    return made


def secret(value: int) -> Model:
    made = Model(text="a")
    made._secret = value
    return made


STRUCTURED = np.dtype([("a", "i8"), ("b", "f8")])
DIFFERENT: dict[str, tuple[Any, Any]] = {
    "dataclass": (Command("set 1"), Command("set 2")),
    "field left out of comparison": (Command("a", "x"), Command("a", "y")),
    "slots": (Slotted("a"), Slotted("b")),
    "pydantic": (Model(text="a"), Model(text="b")),
    "private attribute": (secret(1), secret(2)),
    "enum": (Move.LEFT, Move.RIGHT),
    "flag": (Keys.SHIFT, Keys.SHIFT | Keys.CONTROL),
    "str subclass": (Marked("a"), Marked("b")),
    "attribute of a str": (marked(Marked, "a", 1), marked(Marked, "a", 2)),
    "attribute of a tuple": (marked(Pair, (1,), 1), marked(Pair, (1,), 2)),
    "object": (Plain(1), Plain(2)),
    "lossy pickle": (lossy(1), lossy(2)),
    "set": ({"a", "b"}, {"a", "c"}),
    "frozenset": (frozenset("a"), frozenset("b")),
    "date": (dt.date(2020, 1, 1), dt.date(2020, 1, 2)),
    "time zone": (dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2020, 1, 1)),
    "timedelta": (dt.timedelta(1), dt.timedelta(2)),
    "decimal": (decimal.Decimal("1.0"), decimal.Decimal("1.5")),
    "fraction": (fractions.Fraction(1, 2), fractions.Fraction(1, 3)),
    "path": (pathlib.Path("a"), pathlib.Path("b")),
    "kind of path": (pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("a")),
    "uuid": (uuid.UUID(int=1), uuid.UUID(int=2)),
    "slice": (slice(1), slice(2)),
    "deque": (collections.deque([1]), collections.deque([2])),
    "order": (collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1)),
    "namedtuple": (Named("a"), Named("b")),
    "bytearray": (bytearray(b"a"), bytearray(b"b")),
    "namespace": (types.SimpleNamespace(a=1), types.SimpleNamespace(a=2)),
    "object array": (np.array([[1], "a"], dtype=object), np.array([[2], "a"], dtype=object)),
    "structured array": (np.array([(1, 2.0)], STRUCTURED), np.array([(1, 3.0)], STRUCTURED)),
    "0-d array": (np.array(1), np.array(2)),
    "mask": (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0])),
    "dataclass of arrays": (Command(np.zeros(3)), Command(np.ones(3))),
    "nested": ([{"x": {Move.LEFT}}], [{"x": {Move.RIGHT}}]),
    "partial": (Slotted((1, decimal.Decimal(1))), Slotted((1, decimal.Decimal(2)))),
}


def equal_values() -> dict[str, tuple[Any, Any]]:
    nans = [np.array([1.0, NAN]), np.array([(1, NAN)], STRUCTURED), {"a": (NAN, 1)}]
    values = [*(pair[0] for name, pair in DIFFERENT.items() if name != "lossy pickle"), *nans]
    made = {str(i): (value, copy.deepcopy(value)) for i, value in enumerate(values)}
    return made | {
        "NaN in a dataclass": (Command(float("nan")), Command(float("nan"))),
        "NaN in an array in a dataclass": (Command(nans[0]), Command(nans[0].copy())),
        "NaN in a set": ({1, float("nan")}, {1, float("nan")}),
        "NaT": (np.datetime64("NaT"), np.datetime64("NaT")),
        "decimal NaN": (decimal.Decimal("NaN"), decimal.Decimal("NaN")),
        "masked": (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 3], mask=[0, 1])),
    }


class Store(gym.Env[Any, Any]):
    """Keeps what it is told; shows nothing of it until asked, then the very object."""

    def __init__(self) -> None:
        self.observation_space = self.action_space = TextSpace()
        self.kept: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.kept = (options or {}).get("first")
        return "ready", {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if isinstance(action, str) and type(action) is str:
            return self.kept, 0.0, False, False, {}
        self.kept = action
        return "kept", 0.0, False, False, {}

    def get_state(self) -> Any:
        return self.kept

    def set_state(self, state: Any) -> None:
        self.kept = state


def store(backend: str) -> lg.RollbackWrapper:
    env = lg.RollbackWrapper(Store(), backend, factory=Store, probe_actions=[Command(1), "show"])
    env.reset(seed=0)
    env.release(env.snapshot())
    return env


def described(value: Any) -> str:
    """Text that differs for all pairs above."""
    text = sorted(map(str, value)) if isinstance(value, set | frozenset) else value
    return f"{text!r} {getattr(value, 'mark', '')} {getattr(value, '_secret', '')}"


def discard(env: lg.RollbackWrapper, snapshot: lg.Snapshot) -> None:
    getattr(env, "discard_data" if hasattr(env, "discard_data") else "evict")(snapshot)


@pytest.mark.parametrize("name", DIFFERENT)
@pytest.mark.parametrize("backend", ["native", "replay"])
def test_actions_that_differ_are_not_confused(backend: str, name: str) -> None:
    one, other = DIFFERENT[name]
    env = store(backend)
    start = env.snapshot()
    env.step(one)
    first = env.snapshot()
    env.restore(start)
    env.step(other)
    second = env.snapshot()
    assert first.digest != second.digest
    discard(env, second)
    env.restore(second)
    assert described(env.step("show")[0]) == described(other)


@pytest.mark.parametrize("name", DIFFERENT)
def test_options_that_differ_are_not_confused(name: str) -> None:
    env = store("native")
    snapshots = []
    for value in DIFFERENT[name]:
        env.reset(seed=0, options={"first": value})
        snapshots.append(env.snapshot())
    assert snapshots[0].digest != snapshots[1].digest
    discard(env, snapshots[1])
    env.restore(snapshots[1])
    assert described(env.step("show")[0]) == described(DIFFERENT[name][1])


@pytest.mark.parametrize("name", equal_values())
def test_equal_observations_pass_a_replay(name: str) -> None:
    first, second = equal_values()[name]

    class Shows(Store):
        made = 0

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            Shows.made += 1
            return (first if Shows.made == 1 else second), 0.0, False, False, {}

    env = lg.RollbackWrapper(Shows(), "replay")
    env.reset(seed=0)
    env.step("show")
    snapshot = env.snapshot()
    env.restore(snapshot)
    assert env.steps == 1


@pytest.mark.parametrize("name", DIFFERENT)
def test_other_observations_do_not_pass_a_replay(name: str) -> None:
    if name == "field left out of comparison":
        pytest.skip("the class itself calls such values equal")
    values = list(DIFFERENT[name])

    class Changes(Store):
        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            return values.pop(0), 0.0, False, False, {}

    env = lg.RollbackWrapper(Changes(), "replay")
    env.reset(seed=0)
    env.step("show")
    snapshot = env.snapshot()
    with pytest.raises(errors.RestoreMismatch):
        env.restore(snapshot)


def frames() -> tuple[Any, Any]:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"a": [1.0, NAN]}), pandas.DataFrame({"a": [2.0, NAN]})


def tensors() -> tuple[Any, Any]:
    torch = pytest.importorskip("torch")
    return torch.tensor([1.0, NAN]), torch.tensor([2.0, NAN])


def tensors_of_other_shape() -> tuple[Any, Any]:
    torch = pytest.importorskip("torch")
    return torch.zeros(2, 1), torch.zeros(3)


def narrow_tensors() -> tuple[Any, Any]:
    torch = pytest.importorskip("torch")
    return torch.tensor(1.0, dtype=torch.bfloat16), torch.tensor(2.0, dtype=torch.bfloat16)


def tensors_in_a_graph() -> tuple[Any, Any]:
    torch = pytest.importorskip("torch")
    weight = torch.ones(2, requires_grad=True)
    return weight * 1, weight * 2


LIBRARIES = (frames, tensors, tensors_of_other_shape, narrow_tensors, tensors_in_a_graph)


@pytest.mark.parametrize("make", LIBRARIES)
def test_values_of_other_libraries(make: Callable[[], tuple[Any, Any]]) -> None:
    from leafe_gym.wrappers.rollback.values import private_copy, same

    one, other = make()
    assert same(one, private_copy(one))
    assert not same(one, other)
    assert not same(Command(one), Command(other))
    env = store("native")
    start = env.snapshot()
    digests = []
    for value in (one, other):
        env.restore(start)
        env.step(Command(value))
        digests.append(env.snapshot().digest)
    assert digests[0] != digests[1]


def test_a_value_without_a_digest_is_equal_to_nothing_else() -> None:
    def closure(n: int) -> Callable[[], int]:
        return lambda: n

    @dataclasses.dataclass
    class Local:
        n: int

    for one, other in [(closure(1), closure(2)), (Local(1), Local(2)), (object(), object())]:
        env = store("replay")
        snapshots = []
        for value in (one, other):
            env.reset(seed=0)
            env.step([value])
            snapshots.append(env.snapshot())
            assert env.snapshot().digest == snapshots[-1].digest
        assert snapshots[0].digest != snapshots[1].digest


def test_digests_agree_between_processes(tmp_path: pathlib.Path) -> None:
    import subprocess
    import sys

    source = (
        "import datetime, decimal, pathlib, uuid\n"
        "from leafe_gym.wrappers.rollback.digests import encode\n"
        "values = [{'b', 'a', 'c'}, frozenset('xyz'), pathlib.Path('a/b'), uuid.UUID(int=3),\n"
        "          decimal.Decimal('1.5'), datetime.date(2020, 1, 1), {'k': [1, (2,)]}]\n"
        "print(encode(values).hex())\n"
    )
    seen = set()
    for salt in ("1", "2", "3"):
        done = subprocess.run(
            [sys.executable, "-c", source],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": salt, "PYTHONPATH": ":".join(sys.path)},
        )
        seen.add(done.stdout)
    assert len(seen) == 1
