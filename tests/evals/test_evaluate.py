"""`evaluate`: every rollout counted once, resumable, errors apart."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import leafe_gym as lg
from leafe_gym.errors import UsageError
from leafe_gym.evals.evaluate import Evaluation
from leafe_gym.evals.reproduce.levels import LevelSet
from leafe_gym.types import Message, Task

TASKS = lg.tasks("leafe/Sokoban-v0", split="val", size=6, boxes=1, max_steps=10)[:4]


def test_counts_curve_and_resume(tmp_path: Path) -> None:
    one = lg.evaluate("scripted", TASKS, samples=12, seed=3, out=tmp_path / "a", concurrency=4)
    again = lg.evaluate("scripted", TASKS, samples=12, seed=3, out=tmp_path / "a", concurrency=4)
    other = lg.evaluate("scripted", TASKS, samples=12, seed=3, concurrency=32)
    assert one.as_dict() == again.as_dict() == other.as_dict()
    assert one.samples.tolist() == [12] * 4
    curve = one.pass_at(1, 12)
    assert curve[1].mean == pytest.approx(one.wins.mean() / 12)
    assert curve[12].mean == (one.wins > 0).mean()
    assert 0 < one.wins.sum() < 48
    with pytest.raises(UsageError, match="12 rollouts"):
        one.pass_at(13)


def test_agrees_with_exact_chances() -> None:
    levels = LevelSet.of("val", 10)
    policy = lg.policy("tiny")
    found = lg.evaluate(policy, levels.tasks, samples=60, config=lg.EvalConfig(max_tokens=4))
    exact = levels.chain(policy.network).success()  # type: ignore[attr-defined]
    error = np.sqrt((exact * (1 - exact) / 60).sum()) / len(exact)
    assert abs(found.pass_at(1)[1].mean - exact.mean()) < 3 * error


def test_broken_rollouts_count_neither_way_and_are_never_left_out_silently() -> None:
    asked = 0

    def moody(messages: list[Message]) -> str:
        nonlocal asked
        asked += 1
        if asked % 7 == 0:
            raise ConnectionError("gone")
        return "Action: up"

    found = lg.evaluate(moody, TASKS[:2], samples=6, concurrency=1)
    assert found.errors > 0
    assert found.samples.sum() + sum(found.missing.values()) == 12
    assert found.wins.sum() == 0
    assert "gone" in " ".join(found.reasons)
    with pytest.raises(UsageError, match=r"lacks \d of 6.*gone.*same command again"):
        found.pass_at(1)


@pytest.mark.parametrize(
    ("samples", "lacking"),
    [([4, 4], {}), ([4, 3], {"b": 1}), ([0, 4], {"a": 4}), ([1, 2], {"a": 3, "b": 2})],
)
def test_pass_at_k_is_over_all_rollouts_of_all_tasks(
    samples: list[int], lacking: dict[str, int]
) -> None:
    found = Evaluation(
        tasks=("a", "b"), wins=np.array([0, 2]), samples=np.array(samples), asked=4,
        reasons=("the server is gone",),
    )  # fmt: skip
    assert found.missing == lacking
    if not lacking:
        assert found.pass_at(4)[4].mean == 0.5
        return
    with pytest.raises(UsageError) as error:
        found.pass_at(1)  # even k within what is there
    for task, n in lacking.items():
        assert f"{task} lacks {n} of 4" in str(error.value)
    assert "the server is gone" in str(error.value)


def test_many_missing_tasks_are_counted_not_listed() -> None:
    names = tuple(f"t{n}" for n in range(300))
    none = np.zeros(300, np.int64)
    found = Evaluation(tasks=names, wins=none, samples=none, asked=2)
    with pytest.raises(UsageError, match="t4 lacks 2 of 2 and 295 more"):
        found.pass_at(1)


def test_nothing_to_evaluate() -> None:
    with pytest.raises(UsageError, match="no task"):
        lg.evaluate("scripted", [])


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("samples", 0), ("samples", 1.5), ("samples", True), ("samples", "8"), ("seed", -1),
        ("seed", "1"), ("seed", None), ("config", None), ("config", {"max_tokens": 4}),
        ("out", 3), ("out", ""),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_named(name: str, bad: object) -> None:
    given = {"samples": 1, name: bad}
    with pytest.raises(UsageError, match=name):
        lg.evaluate("scripted", TASKS[:1], **given)  # type: ignore[arg-type]


class Shut(gym.Env[str, str]):
    """Cannot be reset."""

    observation_space = action_space = lg.TextSpace()

    def reset(
        self, *, seed: int | None = None, options: object = None
    ) -> tuple[str, dict[str, object]]:
        raise RuntimeError("shut")


def test_task_that_cannot_begin_is_named() -> None:
    if "test/Shut-v0" not in gym.registry:
        gym.register("test/Shut-v0", Shut)
    good = TASKS[0]
    bad = Task(id="bad", env_id="test/Shut-v0")
    found = lg.evaluate("scripted", [good, bad], samples=2)
    assert found.missing == {"bad": 2}
    assert "shut" in " ".join(found.reasons)
    assert dict(zip(found.tasks, found.samples.tolist(), strict=True)) == {good.id: 2, "bad": 0}
    with pytest.raises(UsageError, match=r"bad lacks 2 of 2.*shut"):
        found.pass_at(1)
