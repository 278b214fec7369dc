"""Questions of reasoning-gym: restored exactly, scored as the library does, never run as code."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

import leafe_gym as lg
from leafe_gym.envs.adapters.answer_check import may_be_scored
from leafe_gym.envs.adapters.reasoning_gym import ENV_ID, ReasoningGymEnv
from leafe_gym.errors import ResetNeeded, UsageError

library = pytest.importorskip("reasoning_gym", reason="pip install 'leafe-gym[reasoning-gym]'")
SOME = ["countdown", "spiral_matrix", "list_functions", "pool_matrix", "acre", "rubiks_cube"]
EVALUATED = {
    "countdown": ("1+2", "(3*4)/5 - 6", "10 + 20*3"),
    "puzzle24": ("(1+2)*8*1", "6/(1-3/4)"),
    "polynomial_multiplication": ("6*x**4 + 3*x - 1", "x*(y - 2)**3"),
    "simple_integration": ("2*x**3/3 + C", "x**(1/2) - 5*x"),
    "intermediate_integration": ("exp(2*x)*(x - 1)/4 + C", "log(x + 1)*sin(x)"),
    "spiral_matrix": ("[1, -2, 3]", "1 2 3"),
    "n_queens": ("_ Q _\nQ _ _", "[['_', 'Q']]"),
    "string_insertion": ("ABCDE", "['A', 'B']"),
    "binary_matrix": ("[[0, 1], [1, 0]]", "0 1\n1 0"),
}
"""Data sets whose scorers evaluate answers -> answers that they must see."""
ATTACKS = [
    "__import__('os').system('touch {place}')",
    "open('{place}', 'w')",
    "[open('{place}', 'w') for _ in 'a']",
    "(lambda: open('{place}', 'w'))()",
    'f\'{{open("{place}", "w")}}\'',
    "().__class__.__base__.__subclasses__()",
    "9**9**9**9",
    "((9**40)**40)**40",
    "x**(9*9)",
    "exp(2)**x**99",
    "factorial(10**7)",
    "[0]*10**10",
    "1<<10**10",
    "(" * 5000 + ")" * 5000,
    "[" * 300 + "]" * 300,
    "2!!!!!!!!!!",
    "1" * 30_000,
]


@pytest.mark.parametrize("dataset", SOME)
def test_a_seed_gives_the_same_question_and_score(dataset: str) -> None:
    env, other = ReasoningGymEnv(dataset), ReasoningGymEnv(dataset)
    for seed in (0, 1, 2**31 + 5):
        question, _ = env.reset(seed=seed)
        assert other.reset(seed=seed)[0] == question
        assert env.step("no answer")[:4] == other.step("no answer")[:4]
    assert question == env.entry["question"]


@pytest.mark.parametrize("dataset", ["countdown", "list_functions"])
def test_contracts(dataset: str) -> None:
    make: dict[str, Any] = {"dataset": dataset}
    check_env(gym.make(ENV_ID, **make).unwrapped, skip_render_check=True)
    report = lg.check_rollback(
        ENV_ID, actions=["1", "[2]", "<answer>3</answer>"], make_kwargs=make, other_process=False
    )
    report.raise_for_failures()
    assert not report.unproved, str(report)


def test_the_scores_are_the_library_s(counts: Callable[[int, int], int]) -> None:
    env = ReasoningGymEnv("countdown", max_attempts=3)
    for seed in range(counts(5, 200)):
        env.reset(seed=seed)
        answers = ["1 + 1", "none", env.entry["answer"]]
        theirs = [env._scorer.score_answer(one, env.entry) for one in answers]
        ours = [env.step(f"I think <answer>{one}</answer>") for one in answers]
        assert [outcome[4]["score"] for outcome in ours] == theirs
        assert [outcome[1] for outcome in ours] == [0.0, 0.0, 1.0]
        assert (ours[-1][2], ours[-1][4]["won"], env.walkthrough()) == (True, True, answers[-1:])


def test_attempts_end_an_episode() -> None:
    env = ReasoningGymEnv("spiral_matrix", max_attempts=2)
    env.reset(seed=3)
    assert env.step("x")[2:4] == (False, False)
    assert env.step("x")[2:4] == (True, False)
    with pytest.raises(ResetNeeded):
        env.step("x")


def test_splits_share_no_question() -> None:
    parts = []
    for split in ("train", "val", "test"):
        env = ReasoningGymEnv("leg_counting", {"max_animals": 3}, split)
        parts.append({env.reset(seed=seed)[0] for seed in range(25)})
        task = lg.tasks(ENV_ID, split, dataset="leg_counting", settings={"max_animals": 3})[7]
        assert (task.split, task.seed, task.kwargs["split"]) == (split, 7, split)
    assert min(map(len, parts)) > 1
    assert sum(map(len, parts)) == len(set.union(*parts))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dataset": "countdwn"}, "did you mean countdown"),
        ({"dataset": 3}, "as a string"),
        ({"dataset": "composite"}, "no dataset 'composite'"),
        ({"settings": {"seed": 1}}, "without seed"),
        ({"settings": {"min_nmbers": 1}}, "refuses the arguments"),
        ({"settings": {"min_numbers": 0}}, "min_numbers must be"),
        ({"max_attempts": 0}, "max_attempts=0"),
        ({"split": "dev"}, "split='dev'"),
    ],
)
def test_arguments_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ReasoningGymEnv(**arguments)


@pytest.mark.parametrize("dataset", EVALUATED)
def test_no_answer_runs_as_code(dataset: str, tmp_path: Any) -> None:
    for good in EVALUATED[dataset]:
        assert may_be_scored(dataset, good), good
    place = tmp_path / "made"
    env = ReasoningGymEnv(dataset, max_attempts=len(ATTACKS) + 1)
    env.reset(seed=0)
    begin = time.process_time()
    for attack in ATTACKS:
        assert env.step(attack.format(place=place))[4]["score"] < 1
    assert not place.exists()
    assert time.process_time() - begin < 20  # an evaluated power tower takes minutes


def test_own_answers_win(counts: Callable[[int, int], int]) -> None:
    names = list(EVALUATED)
    if counts(0, 1):
        names = sorted(library.factory.DATASETS.keys() - {"composite", "prime_factorization"})
    for name in names:
        env = ReasoningGymEnv(name, max_attempts=1)
        for seed in range(counts(2, 10)):
            env.reset(seed=seed)
            answer = env.entry["answer"]
            if answer is not None:
                assert env.step(answer)[4]["won"], (name, seed, answer)
