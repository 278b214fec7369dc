"""Algorithm 1 as this package fills it in: when it looks back, where it branches, how it ends."""

from __future__ import annotations

from typing import Any

import pytest
from toy_agents import Player, View, actions, answer, ledger, lock, recount

import leafe_gym as lg
from leafe_gym.budget import Budget
from leafe_gym.errors import UsageError
from leafe_gym.tree import Tree
from leafe_gym.types import Experience


def grow(
    player: Player, code: str, interactions: int = 60, stop: str = "budget", **options: object
) -> Tree:
    agent = lg.ReflectiveTreeAgent(player, lg.AgentConfig(**{"reflect_every": None, **options}))  # type: ignore[arg-type]
    tree = agent.run(lock(code), budget=Budget(interactions=interactions), stop=stop)  # type: ignore[arg-type]
    assert ledger(tree) == recount(tree)
    return tree


def test_a_failure_is_reflected_on_and_mended() -> None:
    tree = grow(Player(), "aba", stop="solved")
    assert [(b.id, b.parent, b.ending) for b in tree.branches] == [
        (0, None, "failed"),
        (1, 0, "won"),
    ]
    assert tree.branches[1].experience == Experience(step=1, text="play b")
    assert [s.action for s in tree.branches[1].steps] == ["b", "a"]
    assert actions(tree, 1) == "aba"
    assert (tree.stopped, tree.solved) == ("solved", True)
    assert tree.solved_at == tree.spent
    assert tree.spent.interactions == 3 + 3 + 1 + 2 + 2


def test_branches_of_branches_and_depth() -> None:
    tree = grow(Player(), "bbba", stop="solved", max_depth=3)
    assert [tree.depth(b.id) for b in tree.branches] == [0, 1, 2, 3]
    assert [b.start for b in tree.branches] == [0, 0, 1, 2]
    assert [actions(tree, b.id) for b in tree.branches] == ["aaaa", "baaa", "bbaa", "bbba"]
    shallow = grow(Player(), "bbba", interactions=80, max_depth=1)
    assert {shallow.depth(b.id) for b in shallow.branches} == {0, 1}
    assert not shallow.solved
    assert shallow.spent.dropped > 0


def test_k_counts_rounds_from_the_branchs_own_start() -> None:
    player = Player(reflect=lambda view: answer(None))
    tree = grow(player, "bbbbbbb", interactions=40, reflect_every=3)
    root = tree.branches[0]
    assert [(r.after, r.verdict) for r in root.reflections] == [
        (3, "no_mistake"),
        (6, "no_mistake"),
        (7, "no_mistake"),
    ]
    assert len(root.steps) == 7, "the rollout goes on after a periodic reflection"

    late = Player(reflect=lambda view: answer(2, f"play {len(late.reflections)}"))
    tree = grow(late, "bbbbbbb", interactions=90, reflect_every=3)
    child = next(b for b in tree.branches if b.parent == 0)
    assert child.start == 2
    assert [r.after for r in child.reflections] == [3, 5], "action 5, then the end at action 7"


def test_a_failure_at_a_multiple_of_k_is_looked_back_on_once() -> None:
    tree = grow(Player(reflect=lambda view: answer(None)), "bbbb", interactions=30, reflect_every=2)
    assert [r.after for r in tree.branches[0].reflections] == [2, 4]


def test_a_success_is_not_reflected_on() -> None:
    player = Player(reflect=lambda view: answer(None))
    tree = grow(player, "aa", interactions=20, reflect_every=2)
    assert {b.ending for b in tree.branches[:-1]} == {"won"}
    assert not player.reflections
    assert tree.solved_at is not None
    assert tree.solved_at.interactions == 4
    assert tree.stopped == "budget"


def test_no_mistake_is_charged_and_opens_nothing() -> None:
    tree = grow(Player(reflect=lambda view: answer(None)), "b", interactions=9)
    assert [b.parent for b in tree.branches] == [None] * 3
    assert all(b.reflections[0].verdict == "no_mistake" for b in tree.branches)
    assert (tree.spent.interactions, tree.spent.reflect_calls) == (9, 3)


def test_a_bad_reflection_is_charged_and_says_why() -> None:
    tree = grow(Player(reflect=lambda view: answer(5, "x")), "bb", interactions=5)
    (reflection,) = tree.branches[0].reflections
    assert (reflection.verdict, reflection.experience) == ("bad", None)
    assert "step 5 was not taken; the last one is 1" in reflection.reason
    assert tree.spent.interactions == 5


def test_tau_is_absolute_even_before_the_parents_own_start() -> None:
    def reflect(view: View) -> str:
        return answer(2, "play x") if view.trail == "aaaa" else answer(1, "play y")

    tree = grow(Player(reflect=reflect), "bbbb", interactions=60, max_depth=2)
    one, two = tree.branches[1], tree.branches[2]
    assert (one.parent, one.start, actions(tree, 1)) == (0, 2, "aaxa")
    assert (two.parent, two.start, actions(tree, 2)) == (1, 1, "ayaa")
    assert [s.observation for s in two.steps] == ["trail=ay", "trail=aya", "trail=ayaa"]
    replaced = tree.replaced(2)
    assert replaced is tree.branches[0].steps[1]


def test_several_reflections_a_failure_open_several_branches() -> None:
    player = Player(reflect=lambda view: answer(0, f"play {len(player.reflections)}"))
    tree = grow(player, "bb", interactions=60, reflections=3, max_depth=1)
    assert [b.parent for b in tree.branches[:5]] == [None, 0, 0, 0, None]
    assert len({v.sampling.seed for v in player.reflections[:3]}) == 3
    assert len(tree.branches[0].reflections) == 3


def test_attempts_of_a_root_are_limited_and_the_rest_is_counted() -> None:
    player = Player(reflect=lambda view: answer(0, f"play {len(player.reflections)}"))
    tree = grow(player, "bb", interactions=60, reflections=3, attempts_per_root=3)
    assert [b.parent for b in tree.branches[:6]] == [None, 0, 0, None, 3, 3]
    assert len(tree.branches[0].reflections) == 2, "no third: its branch could never run"
    full = [b for b in tree.branches if b.ending == "failed"]
    missed = sum(3 - len(b.reflections) for b in full)
    assert 0 < tree.spent.dropped <= missed


def test_unusable_replies_cost_a_call_and_count_as_rounds() -> None:
    player = Player(act=lambda view: None if len(view.messages) == 4 else "a")
    player.reflect = lambda view: answer(None)
    tree = grow(player, "bbb", interactions=40, reflect_every=2)
    root = tree.branches[0]
    assert [s.action for s in root.steps] == ["a", None, "a", "a"]
    assert [r.after for r in root.reflections] == [2, 4]
    unusable = root.steps[1]
    assert unusable.reply == "hm"
    assert "could not be used" in unusable.observation
    assert player.seen[2].messages[-1]["content"].startswith(unusable.observation)
    assert (unusable.reward, unusable.over, unusable.info) == (0.0, False, {})


def test_three_unusable_replies_in_a_row_fail_and_are_reflected_on() -> None:
    player = Player(act=lambda view: "a" if view.number < 1 or view.experiences else None)
    player.reflect = lambda view: answer(0, "play b")
    tree = grow(player, "bbb", interactions=20)
    root = tree.branches[0]
    assert [s.action for s in root.steps] == ["a", None, None, None]
    assert root.ending == "unparsable"
    assert [r.after for r in root.reflections] == [4]
    assert "The task is not done yet." in player.reflections[0].last
    assert tree.branches[1].parent == 0


def test_unusable_replies_before_its_start_do_not_end_a_branch() -> None:
    """Two before action 1 on the parent, one more on the branch: not three of one attempt."""
    lengths = {4: None, 6: None, 8: "a"}
    player = Player(
        act=lambda view: None if view.experiences else lengths.get(len(view.messages), "a")
    )
    player.reflect = lambda view: answer(1, "play b")
    tree = grow(player, "bb", interactions=20)
    assert [s.action for s in tree.branches[0].steps] == ["a", None, None, "a"]
    child = tree.branches[1]
    assert (child.parent, child.start, child.ending) == (0, 1, "unparsable")
    assert [s.action for s in child.steps] == [None, None, None]


def test_two_in_a_row_do_not() -> None:
    player = Player(act=lambda view: None if len(view.messages) % 6 else "a")
    tree = grow(player, "bb", interactions=12)
    assert [s.action for s in tree.branches[0].steps] == [None, None, "a"] * 2
    assert tree.branches[0].ending == "failed"


def test_without_any_action_there_is_nothing_to_reflect_on() -> None:
    player = Player(act=lambda view: None)
    tree = grow(player, "bbb", interactions=9)
    assert [(b.ending, len(b.steps), b.parent) for b in tree.branches] == [
        ("unparsable", 3, None),
        ("unparsable", 3, None),
        ("budget", 2, None),
    ]
    assert not player.reflections


def test_unusable_replies_before_tau_belong_to_the_history() -> None:
    def act(view: View) -> str | None:
        return None if len(view.messages) == 4 and not view.experiences else "a"

    tree = grow(Player(act=act, reflect=lambda view: answer(1, "play b")), "bb", interactions=20)
    child = tree.branches[1]
    assert child.start == 1
    assert [s.action for s in tree.history(1)] == ["a", None, "a"]
    assert [s.action for s in child.steps] == ["a"]
    assert tree.unchanged(1)


def test_unchanged_marks_a_revision_that_revises_nothing() -> None:
    tree = grow(Player(act=lambda view: "a"), "ab", interactions=12)
    assert tree.branches[1].parent == 0
    assert tree.unchanged(1)
    assert not grow(Player(), "ab", stop="solved").unchanged(1)


def test_an_agents_settings_are_checked() -> None:
    player = Player()
    wrong: dict[str, Any]
    for wrong in ({"reflect_every": 0}, {"max_depth": -1}, {"attempts_per_root": 0}, {"until": "x"},
                  {"reflections": 0}, {"temperature": -1.0}, {"until": "never"}):  # fmt: skip
        with pytest.raises(UsageError, match=next(iter(wrong))):
            lg.ReflectiveTreeAgent(player, lg.AgentConfig(**wrong))
    with pytest.raises(UsageError, match="no field 'colour'"):
        lg.ReflectiveTreeAgent(player, lg.AgentConfig(colour=1))
    with pytest.raises(UsageError, match="expected an AgentConfig"):
        lg.IterativeRefinementAgent(player, {"reflect_every": 2})  # type: ignore[arg-type]
