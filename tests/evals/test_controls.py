"""Controls: what is taken away is gone, the rest of the prompt set is unchanged."""

from __future__ import annotations

import asyncio
import pickle
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

import leafe_gym as lg
from leafe_gym.agents.config import AgentConfig
from leafe_gym.errors import BadReply, ConfigMismatch, UsageError
from leafe_gym.evals.bench import METHODS, ControlInputs, method_agent, run_bench
from leafe_gym.evals.controls import Donor, random_tau, swap_experiences, withhold_experiences
from leafe_gym.policies.base import as_policy
from leafe_gym.prompts.base import PromptSet, prompt_set
from leafe_gym.prompts.fitting import accepts_fit
from leafe_gym.tree import Tree
from leafe_gym.types import Completion, Experience, Message, PromptFit, Sampling, Start, Step, Task

SETS = ["chat", "tiny", "tiny-multiturn"]
BOARD = "######\n#@---#\n#-$-.#\n#----#\n#----#\n######"
TASK = Task(id="a", env_id="leafe/Sokoban-v0", instruction="Push.")
START = Start(observation=BOARD, instruction="Push.")
STEPS = [Step(action="up", reply="up", observation=BOARD) for _ in range(6)]
SHOWN = [Experience(step=6, text="not up but down")]
DONORS = [
    Donor("a", "not up but left"),
    Donor("b", "not up but right"),
    Donor("c", "not up but up"),
]
TASKS = lg.tasks("leafe/Sokoban-v0", split="val", boxes=2, max_steps=30)[:4]


def reply(name: str, step: int = 2, text: str = "not up but down") -> Completion:
    if name == "chat":
        return Completion(text=f'{{"step": {step}, "experience": "{text}"}}')
    return Completion(text=f"s{step} {' '.join(BOARD.split()[:4])} {text}")


@pytest.mark.parametrize("name", SETS)
def test_withheld_experiences_are_in_no_prompt(name: str) -> None:
    base = prompt_set(name)
    control = withhold_experiences(base)
    for part in ("render", "render_reflection", "render_refinement"):
        there = getattr(control, part)(TASK, START, STEPS, SHOWN)
        assert there == getattr(base, part)(TASK, START, STEPS, ())
    assert base.render(TASK, START, STEPS, SHOWN) != base.render(TASK, START, STEPS, ())
    assert control.parse_reflection(reply(name), 6) == base.parse_reflection(reply(name), 6)


@pytest.mark.parametrize("name", SETS)
def test_swapped_text_is_a_donors_and_tau_is_the_models(name: str) -> None:
    base = prompt_set(name)
    control = swap_experiences(base, DONORS, seed=1)
    found = Counter[str]()
    for step in range(6):
        for end in ("down", "left", "right"):
            said = reply(name, step, f"not up but {end}")
            verdict = control.parse_reflection(said, 6)
            assert verdict.step == step
            assert verdict == swap_experiences(base, DONORS, seed=1).parse_reflection(said, 6)
            found[verdict.text] += 1
    assert set(found) == {donor.text for donor in DONORS}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("task", ["a", "b", "c", "other"])
def test_a_task_is_never_shown_its_own_experience(name: str, task: str) -> None:
    base = prompt_set(name)
    control = swap_experiences(base, DONORS, seed=1)
    own = [donor.text for donor in DONORS if donor.task == task]
    others = [donor.text for donor in DONORS if donor.task != task]
    for donor in DONORS:
        shown = [Experience(step=6, text=donor.text)]
        there = control.render(Task(id=task, env_id=""), START, STEPS, shown)
        allowed = [
            base.render(TASK, START, STEPS, [Experience(step=6, text=text)])
            for text in ([donor.text] if donor.text not in own else others)
        ]
        assert there in allowed


@pytest.mark.parametrize("donors", [[], [Donor("a", "x")], [Donor("a", "x"), Donor("a", "y")]])
def test_donors_of_one_task_are_refused(donors: list[Donor]) -> None:
    with pytest.raises(UsageError, match="at least two tasks"):
        swap_experiences(prompt_set("chat"), donors, seed=0)


@pytest.mark.parametrize("name", SETS)
def test_random_tau_is_uniform_and_the_rest_of_the_verdict_is_the_models(name: str) -> None:
    base = prompt_set(name)
    taus = Counter[int]()
    for seed in range(600):
        verdict = random_tau(base, seed).parse_reflection(reply(name), 6)
        assert verdict == random_tau(base, seed).parse_reflection(reply(name), 6)
        assert verdict.text == base.parse_reflection(reply(name), 6).text
        taus[verdict.step or 0] += 1
    assert set(taus) == set(range(6))
    # 100 expected of each; 5 standard deviations of a binomial count are 46.
    assert all(54 <= count <= 146 for count in taus.values())


@pytest.mark.parametrize("name", SETS)
def test_random_tau_passes_on_what_names_no_step(name: str) -> None:
    control = random_tau(prompt_set(name), 0)
    none = "none" if name != "chat" else '{"step": null, "experience": ""}'
    assert control.parse_reflection(Completion(text=none), 6).step is None
    for bad in (Completion(text="?"), Completion(text="s1", finish_reason="length")):
        with pytest.raises(BadReply):
            control.parse_reflection(bad, 6)
    assert control.render(TASK, START, STEPS, SHOWN) == prompt_set(name).render(
        TASK, START, STEPS, SHOWN
    )


def test_controls_pickle_and_say_what_they_are() -> None:
    base = prompt_set("chat")
    made = [
        withhold_experiences(base),
        random_tau(base, 0),
        random_tau(base, 1),
        swap_experiences(base, DONORS, 0),
        swap_experiences(base, DONORS[1:], 0),
        withhold_experiences(random_tau(base, 0)),
    ]
    assert len({one.hash for one in [base, *made]}) == 7
    for one in made:
        copied: PromptSet = pickle.loads(pickle.dumps(one))
        assert (copied.name, copied.hash) == (one.name, one.hash)
        assert copied.parse_reflection(reply("chat"), 6) == one.parse_reflection(reply("chat"), 6)
    assert made[-1].name == "chat+random-tau+no-experience"


class Recorder:
    """The scripted player, and the last turn of every acting prompt."""

    name = "recorder"

    def __init__(self) -> None:
        self._player = as_policy(lg.policy("scripted"))
        self.turns: list[str] = []

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        self.turns.append(messages[-1]["content"])
        return await self._player.complete(messages, sampling)


def trees(name: str, out: Path, policy: object = "scripted", concurrency: int = 8) -> list[Tree]:
    agent = METHODS[name].agent(
        as_policy(lg.policy(policy)),  # type: ignore[arg-type]
        AgentConfig(),
        ControlInputs(seed=3, donors=[Donor("x", "Never push."), Donor("y", "Always push.")]),
    )
    budget = lg.Budget(interactions=200)
    with lg.explore(agent, TASKS, budget=budget, out=out, concurrency=concurrency) as run:
        return list(run.trees())


CONTROLS = [name for name, method in METHODS.items() if method.control is not None]


@pytest.mark.parametrize("name", CONTROLS)
def test_trees_do_not_depend_on_concurrency(name: str, tmp_path: Path) -> None:
    one, many = (trees(name, tmp_path / str(n), concurrency=n) for n in (1, 7))
    assert [tree.branches for tree in one] == [tree.branches for tree in many]
    assert any(branch.experience for tree in one for branch in tree.branches)


def test_branches_store_what_was_shown(tmp_path: Path) -> None:
    recorder = Recorder()
    swapped = trees("tree-other-experience", tmp_path / "swapped", recorder)
    texts = {b.experience.text for tree in swapped for b in tree.branches if b.experience}
    assert texts == {"Never push.", "Always push."}
    assert all(any(text in turn for turn in recorder.turns) for text in texts)
    recorder = Recorder()
    withheld = trees("tree-no-experience", tmp_path / "withheld", recorder)
    texts = {b.experience.text for tree in withheld for b in tree.branches if b.experience}
    assert texts
    assert not any(text in turn for text in texts for turn in recorder.turns)


def test_a_run_of_another_control_is_not_resumed(tmp_path: Path) -> None:
    trees("tree", tmp_path)
    for name in CONTROLS:
        with pytest.raises(ConfigMismatch):
            trees(name, tmp_path)


def test_a_bench_with_every_method(tmp_path: Path) -> None:
    bench = asyncio.run(
        run_bench(
            as_policy(lg.policy("scripted")), TASKS, methods=list(METHODS), interactions=120,
            out=tmp_path,
        )
    )  # fmt: skip
    figures = bench.as_dict()
    assert set(figures["methods"]) == set(METHODS)
    assert "tree_minus_best-first" in figures["differences"]
    with lg.RunReader(tmp_path / "best-first") as run:
        assert run.config["agent"]["method"] == "best-first"
        assert any(b.experience for tree in run.trees() for b in tree.branches)
    with lg.RunReader(tmp_path / "tree-other-experience") as run:
        shown = {b.experience.text for t in run.trees() for b in t.branches if b.experience}
    with lg.RunReader(tmp_path / "tree") as run:
        assert shown <= {b.experience.text for t in run.trees() for b in t.branches if b.experience}
    with pytest.raises(UsageError, match="name tree before it"):
        method_agent("tree-other-experience", as_policy(lg.policy("scripted")), AgentConfig(), 0)


@pytest.mark.parametrize("name", ["chat", "code", "fresh", "program", "react", "tiny"])
@pytest.mark.parametrize(
    "fit", [PromptFit(), PromptFit(shortened=3), PromptFit(shortened=3, dropped=2)]
)
def test_controls_cut_prompts_as_the_set_that_they_wrap(name: str, fit: PromptFit) -> None:
    inner = prompt_set(name)
    steps = [
        Step(action=f"go {n}", reply=f"Action: go {n}", observation="x" * 900) for n in range(6)
    ]
    start, task = Start(observation="a hall", instruction="Walk."), Task(id="t", env_id="e")
    for control in (withhold_experiences(inner), random_tau(inner, 0)):
        assert accepts_fit(control) == accepts_fit(inner)
        if not accepts_fit(inner):
            continue
        for method in ("render", "render_reflection", "render_refinement"):
            found = getattr(control, method)(task, start, steps, (), fit=fit)
            assert found == getattr(inner, method)(task, start, steps, (), fit=fit)
