"""State that all instances of a process share, and episodes that cannot be replayed."""

from __future__ import annotations

import decimal
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import pytest
import state_envs as states
from state_envs import ACTIONS, Deck, EzDeck, NumpyDeck, SystemDeck, sealed

import leafe_gym as lg
from leafe_gym.errors import BackendError, SnapshotUnsupported
from leafe_gym.wrappers import EpisodeStart

PATH = ("add", "double", "add", "wait", "double")


@pytest.fixture(autouse=True)
def _precision() -> Iterator[None]:
    with decimal.localcontext():
        yield


@pytest.fixture
def wrap() -> Iterator[Callable[..., lg.RollbackWrapper]]:
    made: list[lg.RollbackWrapper] = []

    def make(cls: Any, backend: str = "auto", **kwargs: Any) -> lg.RollbackWrapper:
        env_id = f"toy/{cls.__name__}-v0"
        if env_id not in gym.registry:
            gym.register(env_id, cls)
        made.append(lg.RollbackWrapper(gym.make(env_id), backend, **kwargs))
        return made[-1]

    yield make
    for env in made:
        env.close()


def alone(cls: Any, seed: int) -> list[str]:
    """What one instance shows that nobody disturbs, without a wrapper."""
    env = cls()
    return [env.reset(seed=seed)[0], *(env.step(action)[0] for action in PATH)]


@pytest.mark.parametrize("cls", states.SHARED)
def test_a_snapshot_does_not_change_the_episode(cls: Any, wrap: Any) -> None:
    expected = alone(cls, 3)
    env = wrap(cls)
    shown = [env.reset(seed=3)[0], env.step(PATH[0])[0], env.step(PATH[1])[0]]
    saved = env.snapshot()
    shown += [env.step(action)[0] for action in PATH[2:]]
    assert shown == expected
    assert env.restore(saved)[0] == expected[2]
    assert [env.step(action)[0] for action in PATH[2:]] == expected[3:]
    assert env.rollback(1)[0] == expected[1]
    assert [env.step(action)[0] for action in PATH[1:]] == expected[2:]


@pytest.mark.parametrize("cls", states.SHARED)
def test_instances_in_turn(cls: Any, wrap: Any) -> None:
    expected = [alone(cls, seed) for seed in (3, 4)]
    envs = [wrap(cls), wrap(cls)]
    shown = [[env.reset(seed=seed)[0]] for env, seed in zip(envs, (3, 4), strict=True)]
    saved: list[Any] = []
    for number, action in enumerate(PATH):
        if number == 2:
            saved = [env.snapshot() for env in envs]
        for env, texts in zip(envs, shown, strict=True):
            texts.append(env.step(action)[0])
    assert shown == expected
    for env, one, texts in zip(envs, saved, expected, strict=True):
        assert env.restore(one)[0] == texts[2]
    for number, action in enumerate(PATH[2:], 3):
        for env, texts in zip(envs, expected, strict=True):
            assert env.step(action)[0] == texts[number]
    assert "disturb each other" in str(envs[0].backend_report)


@pytest.mark.parametrize("backend", ["replay", "pickle"])
def test_backends_in_this_process_are_refused(backend: str, wrap: Any) -> None:
    env = wrap(states.OnClass, backend)
    env.reset(seed=3)
    with pytest.raises(SnapshotUnsupported, match=r"disturb each other|does not restore"):
        env.snapshot()


@pytest.mark.parametrize("cls", [Deck, NumpyDeck, SystemDeck])
def test_an_unseeded_deck(cls: Any, wrap: Any) -> None:
    """Replay is wrong here, which the first observation does not show."""
    env = wrap(cls, probe_actions=["draw"])
    env.reset(seed=1)
    cards = [env.step("draw")[0] for _ in range(6)]
    env.rollback(0)
    assert [env.step("draw")[0] for _ in range(6)] == cards
    env.rollback(3)
    assert env.step("draw")[0] == cards[3]
    verdicts = {one.backend: one.outcome for one in env.backend_report.verdicts}
    assert verdicts["replay"] == "wrong"


@pytest.mark.parametrize("cls", [Deck, NumpyDeck, SystemDeck])
def test_a_snapshot_of_a_deck_without_its_data(cls: Any, wrap: Any) -> None:
    env = wrap(cls, probe_actions=["draw"])
    env.reset(seed=1)
    env.step("draw")
    saved = env.snapshot()
    cards = [env.step("draw")[0] for _ in range(3)]
    env.reset(seed=1)
    other = env.snapshot()
    env.discard_data(saved)
    env.discard_data(other)
    env.restore(saved)
    assert [env.step("draw")[0] for _ in range(3)] == cards
    foreign = wrap(cls, probe_actions=["draw"])
    foreign.reset(seed=2)
    with pytest.raises(BackendError, match="would not lead to the same state"):
        foreign.restore(pickle.loads(pickle.dumps(saved)))


def test_a_replay_from_a_reset_is_refused_as_well(wrap: Any) -> None:
    env = wrap(Deck, probe_actions=["draw"])
    env.reset(seed=1)
    env.step("draw")
    with pytest.raises(SnapshotUnsupported, match="cannot be replayed"):
        env.replay(env.transitions, EpisodeStart(1))


@pytest.mark.parametrize("cls", [EzDeck, lambda: EzDeck()])
def test_no_last_resort(cls: Any) -> None:
    """EzPickle starts anew, replay shows other cards, and no process can be started."""
    env = lg.RollbackWrapper(EzDeck(), factory=sealed(cls), probe_actions=["draw"])
    env.reset(seed=1)
    first = [env.step("draw")[0] for _ in range(3)]
    with pytest.raises(SnapshotUnsupported, match="no backend can restore"):
        env.snapshot()
    with pytest.raises(SnapshotUnsupported, match="replay: "):
        env.rollback(0)
    assert len(first) == env.steps == 3  # the episode goes on


def test_replay_by_name_is_verified(wrap: Any) -> None:
    env = wrap(NumpyDeck, "replay", probe_actions=["draw"])
    env.reset(seed=1)
    env.step("draw")
    with pytest.raises(SnapshotUnsupported, match="'replay' does not restore the state"):
        env.rollback(0)


@pytest.mark.parametrize("cls", [states.OnClass, states.InEnviron, states.InDecimal])
def test_check_rollback_leaves_this_process_alone(cls: Any) -> None:
    env = cls()
    env.reset(seed=1)
    env.step("add")
    report = lg.check_rollback(cls, actions=ACTIONS, seeds=(0,), other_process=False)
    assert env.step("add")[0] == "3"
    assert report.ok, str(report)
    assert "disturb each other" in str(report)
    assert report.verdict("fork").outcome == "right"
