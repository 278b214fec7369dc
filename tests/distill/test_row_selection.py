"""Which rows a run gives: prompts, every option, errors, memory."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from row_toys import last, rows_of, step, toy_run, toy_task, toy_tree

import leafe_gym as lg
from leafe_gym.distill.data.row_types import Row
from leafe_gym.errors import ConfigMismatch, UsageError
from leafe_gym.policies.base import as_policy
from leafe_gym.prompts.chat import ChatPrompts
from leafe_gym.store.reader import RunReader
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Completion, Experience, Message, PromptFit, Sampling, Start

SOKOBAN: dict[str, Any] = {"boxes": 2, "max_steps": 40}


class Recorder:
    """The scripted player, and what it was asked."""

    name = "recorder"

    def __init__(self) -> None:
        self.player = as_policy(lg.policy("scripted"))
        self.asked: dict[tuple[str, str], list[list[Message]]] = {}

    async def complete(self, messages: Any, sampling: Sampling) -> Completion:
        said = await self.player.complete(messages, sampling)
        first = messages[1]["content"].partition("\n\nAdvice for this moment")[0]
        self.asked.setdefault((first, said.text), []).append(list(messages))
        return said


def without_tips(chat: list[Message], tips: set[str]) -> list[Message]:
    text = "\n\nAdvice for this moment, learned from an earlier attempt that failed:\n"
    kept = []
    for turn in chat:
        head, tip, tail = turn["content"].partition(text)
        assert not tip or tail in tips
        kept.append(Message(role=turn["role"], content=head))
    return kept


@pytest.mark.parametrize("until", ["tau", "end"])
def test_a_prompt_is_what_was_asked_without_the_experience(tmp_path: Path, until: Any) -> None:
    policy = Recorder()
    agent = lg.ReflectiveTreeAgent(policy, lg.AgentConfig(reflect_every=10, until=until))
    tasks = lg.tasks("leafe/Sokoban-v0", split="train", **SOKOBAN)[:6]
    with lg.explore(agent, tasks, budget=lg.Budget(interactions=250), out=tmp_path / "run") as run:
        trees = {tree.task.id: tree for tree in run.trees()}
    found = list(rows_of(run.folder, keep="all", per_task=None, rehearsal=1.0))
    assert {row.kind for row in found} == {"counterfactual", "rehearsal"}
    tipped = 0
    for row in found:
        tree = trees[row.task]
        tips = {branch.experience.text for branch in tree.branches if branch.experience}
        assert not any(tip in turn["content"] for tip in tips for turn in row.prompt)
        assert not any(tip in row.target for tip in tips)
        first = row.prompt[1]["content"]
        asked = policy.asked[first, row.target]
        acted = tree.branches[row.branch].steps[row.step]
        tipped += bool(acted.experiences)
        assert any(without_tips(chat, tips) == list(row.prompt) for chat in asked)
        if row.kind == "counterfactual":
            assert acted.experiences[-1] == row.branch
            old = tree.replaced(row.branch)
            assert old is not None
            assert row.rejected == old.reply != row.target
        if not acted.experiences and until == "tau" and row.kind == "rehearsal":
            assert any(chat[-1] == row.prompt[-1] for chat in asked)
    assert tipped
    counts = rows_of(run.folder, keep="all").counts
    assert not [name for name in counts if name.startswith("leak")]


def make(tmp_path: Path, *trees: Tree, **options: Any) -> list[Row]:
    folder = toy_run(tmp_path / "run", trees or [toy_tree()])
    return list(rows_of(folder, **options))


def cf(found: list[Row]) -> list[tuple[int, int, str]]:
    return [(row.branch, row.step, row.target) for row in found if row.kind == "counterfactual"]


def test_the_tree_walked_by_hand(tmp_path: Path) -> None:
    found = make(tmp_path, keep="all", per_task=None, rehearsal=1.0)
    assert cf(found) == [(1, 0, "Action: B"), (3, 1, "Action: C"), (5, 0, "Action: D")]
    first, unusable, deep = found[:3]
    assert [turn["role"] for turn in first.prompt] == ["system", "user", "assistant", "user"]
    assert first.prompt[2]["content"] == "Action: a"
    assert first.prompt[3]["content"] == "you did a"
    assert first.rejected == "Action: b"
    assert "mumble" in unusable.prompt[-2]["content"]
    assert unusable.rejected is None  # its prompt has an unusable reply more
    assert [t["content"] for t in deep.prompt if t["role"] == "assistant"] == [
        "Action: a",
        "Action: B",
    ]
    assert deep.rejected == "Action: d"
    rehearsed = [(r.branch, r.step) for r in found if r.kind == "rehearsal"]
    assert rehearsed == [(0, 0), (1, 0), (1, 1), (5, 0)]


def test_keep(tmp_path: Path) -> None:
    assert [b for b, _, _ in cf(make(tmp_path, keep="successful"))] == [1, 5]


def test_improved_means_won_or_a_higher_score(tmp_path: Path) -> None:
    tree = toy_tree()
    # 3 lost like its parent, but with more reward; 5 won like its parent, with no higher score.
    better = replace(tree.branches[3].steps[1], reward=0.5)
    tree.branches[3] = replace(tree.branches[3], steps=(tree.branches[3].steps[0], better))
    assert [b for b, _, _ in cf(make(tmp_path, tree, keep="improved"))] == [1, 3]


def test_improved_reads_scores_where_there_are_any(tmp_path: Path) -> None:
    tree = toy_tree()
    for branch, score in ((0, 3.0), (3, 2.0), (1, 1.0), (5, 4.0)):
        node = tree.branches[branch]
        end = node.steps[-1]
        scored = replace(end, reward=9.0 - score, info={**end.info, "score": score})
        tree.branches[branch] = replace(node, steps=(*node.steps[:-1], scored))
    assert [b for b, _, _ in cf(make(tmp_path, tree, keep="improved"))] == [1, 5]


def test_per_task_and_seed(tmp_path: Path) -> None:
    folder = toy_run(tmp_path / "run", [toy_tree(i) for i in range(30)])

    def chosen(**options: Any) -> list[tuple[str, int]]:
        found = rows_of(folder, keep="all", rehearsal=0.0, **options)
        return [(row.task, row.branch) for row in found]

    ones = chosen(per_task=1)
    assert len({task for task, _ in ones}) == len(ones) == 30
    assert {branch for _, branch in ones} == {1, 3, 5}
    assert ones == chosen(per_task=1) != chosen(per_task=1, seed=1)
    assert len(chosen(per_task=2)) == 60
    assert chosen(per_task=None) == chosen(per_task=3)
    with pytest.raises(UsageError, match="over_per_task"):
        chosen(per_task=0)


def test_choices_of_a_task_do_not_depend_on_the_others(tmp_path: Path) -> None:
    all_ = rows_of(toy_run(tmp_path / "a", map(toy_tree, range(9))), per_task=1, rehearsal=0.5)
    some = rows_of(toy_run(tmp_path / "b", map(toy_tree, (3, 7))), per_task=1, rehearsal=0.5)
    assert [row for row in all_ if row.task in ("toy:3", "toy:7")] == list(some)


def test_rehearsal_is_a_share_of_rollouts(tmp_path: Path) -> None:
    folder = toy_run(tmp_path / "run", [toy_tree(i) for i in range(200)])
    counts = rows_of(folder, rehearsal=0.2).counts
    assert counts["successful_rollouts"] == 400
    assert 50 <= counts["rehearsal_rollouts"] <= 110
    assert rows_of(folder, rehearsal=0).counts["rehearsal"] == 0
    every = rows_of(folder, rehearsal=1, balance=1).counts
    assert every["rehearsal_rollouts"] == every["over_balance"] == 200


def test_target_action_is_the_shortest_answer_that_is_read_the_same(tmp_path: Path) -> None:
    tree = toy_tree()
    thought = replace(tree.branches[1].steps[0], reply="<think>hm</think>I try.\n\nAction: B\n")
    tree.branches[1] = replace(tree.branches[1], steps=(thought, tree.branches[1].steps[1]))
    assert cf(make(tmp_path, tree, target="reply"))[0][2] == thought.reply
    assert cf(list(rows_of(tmp_path / "run", target="action")))[0][2] == "Action: B"


def test_splits(tmp_path: Path) -> None:
    folder = toy_run(tmp_path / "run", [toy_tree(0), toy_tree(1, "val"), toy_tree(2, "test")])
    assert {row.split for row in rows_of(folder)} == {"train", "val"}
    assert {row.split for row in rows_of(folder, splits=["test"])} == {"test"}
    only = toy_run(tmp_path / "held", [toy_tree(0, "test")])
    with pytest.raises(UsageError, match="kept for evaluation"):
        list(rows_of(only))
    with pytest.raises(UsageError, match="no tree is of the splits val"):
        list(rows_of(only, splits=["val"]))


def test_duplicates(tmp_path: Path) -> None:
    twin = replace(toy_tree().task, id="toy:twin")
    tree = toy_tree()
    tree.task = twin
    folder = toy_run(tmp_path / "run", [toy_tree(), tree])
    once, twice = (rows_of(folder, rehearsal=1.0, dedupe=on) for on in (True, False))
    assert 2 * len(list(once)) == len(list(twice))
    assert once.counts["duplicate"] == len(list(once))


def test_refinement_gives_rehearsal_only(tmp_path: Path) -> None:
    tree = Tree(task=toy_tree().task, start=toy_tree().start)
    tree.add(Branch(id=0, steps=(step("a"), last("b", False))))
    tip = Experience(step=0, text="Begin by the window, quietly and slowly.")
    steps = (step("c", shown=[1]), last("d", True, shown=[1]))
    tree.add(Branch(id=1, parent=0, experience=tip, restart=True, steps=steps, ending="won"))
    found = make(tmp_path, tree, keep="all", rehearsal=1.0)
    assert [(row.kind, row.branch, row.step) for row in found] == [
        ("rehearsal", 1, 0),
        ("rehearsal", 1, 1),
    ]
    assert len(found[0].prompt) == 2


def test_leaking_rows_are_dropped_and_counted(tmp_path: Path) -> None:
    tree = toy_tree()
    node = tree.branches[1]
    told = replace(node.steps[0], reply="Turn the rusty key twice, then.\nAction: B")
    tree.branches[1] = replace(node, steps=(told, node.steps[1]))
    found = rows_of(toy_run(tmp_path / "run", [tree]), keep="all", rehearsal=1.0)
    assert {(row.branch, row.step) for row in found} == {(0, 0), (3, 1)}
    # The step itself quotes (as both kinds); what follows it has the quotation in its history.
    assert found.counts["leak: quote in target"] == 2
    assert found.counts["leak: quote in prompt"] == 3
    assert found.manifest()["counts"] == found.counts


@settings(max_examples=30)
@given(
    keep=st.sampled_from(["successful", "improved", "all"]),
    per_task=st.one_of(st.none(), st.integers(0, 4)),
    rehearsal=st.floats(0, 1),
    seed=st.integers(0, 99),
    balance=st.one_of(st.none(), st.integers(0, 2)),
    target=st.sampled_from(["reply", "action"]),
)
def test_whatever_is_asked_rows_are_sound(
    tmp_path_factory: pytest.TempPathFactory, **options: Any
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-options"
    if not folder.exists():
        toy_run(folder, [toy_tree(i) for i in range(3)])
    found = rows_of(folder, **options)
    try:
        once = list(found)
    except UsageError as error:
        assert "no rows" in str(error)  # noqa: PT017
        return
    assert once == list(found)
    assert len(once) == found.counts["counterfactual"] + found.counts["rehearsal"]
    kinds = [row.kind for row in once]
    assert kinds.count("counterfactual") == found.counts["counterfactual"]
    for row in once:
        assert row.prompt[-1]["role"] == "user"
        assert row.target.startswith("Action: ")
        assert all("Advice for this moment" not in turn["content"] for turn in row.prompt)


def test_places_agree_with_the_history() -> None:
    tree = toy_tree()
    for branch in tree.branches:
        places = tree.path(branch.id)
        assert [tree.branches[b].steps[i] for b, i in places] == tree.history(branch.id)
    assert tree.path(5, before=1) == [(0, 0)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keep": "best"}, "keep='best'"),
        ({"target": "thought"}, "target='thought'"),
        ({"per_task": -1}, "per_task=-1"),
        ({"per_task": 1.5}, "per_task=1.5"),
        ({"rehearsal": 1.5}, "rehearsal=1.5"),
        ({"rehearsal": float("nan")}, "rehearsal=nan"),
        ({"splits": "train"}, "splits='train'"),
        ({"seed": "x"}, "seed='x'"),
        ({"balance": True}, "balance=True"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, options: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        rows_of(tmp_path, **options)


def test_runs_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run here"):
        rows_of(tmp_path)
    with pytest.raises(UsageError, match="no task of this run is finished"):
        rows_of(toy_run(tmp_path / "open", [toy_tree()], done=False))
    with pytest.raises(UsageError, match="does not say which prompts"):
        rows_of(toy_run(tmp_path / "nobody", [toy_tree()], prompts=None))
    changed = ChatPrompts()
    changed.hash = "0"
    old = toy_run(tmp_path / "old", [toy_tree()], prompts=changed)
    with pytest.raises(ConfigMismatch, match=r"made with the prompt set 'chat' \(0\)"):
        rows_of(old)


def test_no_success_is_named(tmp_path: Path) -> None:
    tree = Tree(task=toy_tree().task, start=toy_tree().start)
    tree.add(Branch(id=0, steps=(last("a", False),)))
    with pytest.raises(UsageError, match="no trajectory was successful; explore with a larger"):
        make(tmp_path, tree)


def test_the_manifest_says_where_rows_come_from(tmp_path: Path) -> None:
    folder = toy_run(tmp_path / "run", [toy_tree()])
    told = rows_of(folder, seed=4, splits=("train",)).manifest()
    with RunReader(folder) as run:
        assert told["source"]["fingerprint"] == run.fingerprint()
    assert told["config"]["seed"] == 4
    assert told["config"]["splits"] == ["train"]
    assert told["prompts"] == {toy_tree().task.env_id: {"name": "chat", "hash": ChatPrompts().hash}}


def test_memory_does_not_grow_with_trees(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        folder = toy_run(tmp_path / str(count), (toy_tree(i) for i in range(count)))
        found = rows_of(folder, keep="all", rehearsal=1.0)
        for _ in found:  # caches fill
            break
        tracemalloc.start()
        assert sum(1 for _ in found) == 7 * count
        found.manifest()
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    small, large = peak(50), peak(500)
    # Garbage that waits to be collected is noise; 450 trees that were held would be 3 MB.
    assert large < small + 1_500_000, (small, large)


def test_rows_load_nothing_heavy() -> None:
    code = (
        "import sys; from leafe_gym import distill; distill.rows, distill.encode, distill.ShardSet;"
        "print(*{m.partition('.')[0] for m in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "datasets", "pyarrow", "trl"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("before", "after", "pairs"),
    [
        (PromptFit(), PromptFit(), 1),
        (PromptFit(dropped=1), PromptFit(dropped=1), 1),
        (PromptFit(), PromptFit(dropped=1), 0),
        (PromptFit(dropped=1), PromptFit(), 0),
        (PromptFit(), PromptFit(shortened=1), 0),
    ],
)
def test_a_reply_to_a_prompt_that_was_cut_otherwise_is_not_rejected(
    tmp_path: Path, before: PromptFit, after: PromptFit, pairs: int
) -> None:
    tree = Tree(task=toy_task(), start=Start(observation="o", instruction="i"))
    tree.add(Branch(id=0, steps=(step("a"), step("b"), last("c", False, fit=before))))
    tree.add(
        Branch(
            id=1, parent=0, experience=Experience(step=2, text="Go up."), ending="won",
            steps=(last("d", True, shown=[1], fit=after),),
        )
    )  # fmt: skip
    (row,) = make(tmp_path, tree, rehearsal=0.0)
    assert (row.rejected is not None) == bool(pairs)
