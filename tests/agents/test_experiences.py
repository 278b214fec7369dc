"""Where an experience stands in prompts, which ones open no branch, and the controls."""

from __future__ import annotations

from typing import Any

import pytest
from toy_agents import Player, View, actions, answer, ledger, lock, recount

import leafe_gym as lg
from leafe_gym.budget import Budget
from leafe_gym.tree import Tree


def grow(player: Player, code: str, interactions: int = 60, **options: Any) -> Tree:
    agent = lg.ReflectiveTreeAgent(player, lg.AgentConfig(**{"reflect_every": None, **options}))
    tree = agent.run(lock(code), budget=Budget(interactions=interactions), stop="budget", seed=3)
    assert ledger(tree) == recount(tree)
    return tree


def shown(tree: Tree, branch: int) -> list[tuple[int, ...]]:
    return [step.experiences for step in tree.branches[branch].steps]


def acting(player: Player, tree: Tree, branch: int) -> list[View]:
    """What the player was shown for each step of a branch, in order."""
    acts = [view for view in player.seen if not view.reflects]
    first = sum(len(b.steps) for b in tree.branches[:branch])
    return acts[first : first + len(tree.branches[branch].steps)]


def test_by_default_a_tip_stands_in_the_prompt_at_tau_only() -> None:
    player = Player()
    tree = grow(player, "bbbb", interactions=60)
    assert shown(tree, 0) == [()] * 4
    assert (tree.branches[1].start, shown(tree, 1)) == (0, [(1,), (), (), ()])
    assert (tree.branches[2].start, shown(tree, 2)) == (1, [(2,), (), ()])
    assert [view.experiences for view in acting(player, tree, 2)] == [["play b"], [], []]


def test_an_unusable_reply_at_tau_is_asked_again_with_the_tip() -> None:
    player = Player(
        act=lambda v: None if v.experiences and len(v.messages) < 4 else "ab"[bool(v.experiences)]
    )
    tree = grow(player, "bb", interactions=20)
    assert [s.action for s in tree.branches[1].steps] == [None, "b", "a"]
    assert shown(tree, 1) == [(1,), (1,), ()]
    first, again, _ = acting(player, tree, 1)
    assert first.last.endswith("play b")
    assert again.last.endswith("play b")
    assert again.experiences == ["play b"], (
        "once: the experience stands behind all that was said before"
    )


def test_to_the_end_own_and_earlier_tips_stay() -> None:
    player = Player(reflect=lambda v: answer(*v.comments[0]) if v.comments else answer(None))
    player.reflect = lambda v: answer(v.comments[0][0], f"play b {v.comments[0][0]}")
    tree = grow(player, "bbbb", interactions=60, until="end")
    assert [b.start for b in tree.branches[:4]] == [0, 0, 1, 2]
    assert shown(tree, 1) == [(1,)] * 4
    assert shown(tree, 2) == [(1, 2)] * 3
    assert shown(tree, 3) == [(1, 2, 3)] * 2
    for view in acting(player, tree, 3):
        assert view.experiences == ["play b 0", "play b 1", "play b 2"]
    assert "play b 1" in player.reflections[2].messages[3]["content"], "reflections see them too"


@pytest.mark.parametrize(("second", "kept"), [(0, ()), (1, ()), (2, (1,))])
def test_to_the_end_an_ancestors_tip_stays_while_its_tau_is_smaller(
    second: int, kept: tuple[int, ...]
) -> None:
    def reflect(view: View) -> str:
        return answer(1, "play x") if view.trail == "aaa" else answer(second, "play y")

    tree = grow(Player(reflect=reflect), "bbb", interactions=60, until="end", max_depth=2)
    assert [b.parent for b in tree.branches[:3]] == [None, 0, 1]
    assert set(shown(tree, 2)) == {(*kept, 2)}


def test_the_same_tip_at_the_same_place_is_tried_once() -> None:
    tree = grow(Player(reflect=lambda view: answer(0, "play c")), "bb", interactions=60)
    assert [r.verdict for r in tree.branches[0].reflections] == ["branch"]
    assert [r.verdict for r in tree.branches[1].reflections] == ["repeat"]
    assert tree.branches[1].reflections[0].experience is None
    assert [b.parent for b in tree.branches[:3]] == [None, 0, None]
    assert [r.verdict for r in tree.branches[2].reflections] == ["branch"], "another root"


def test_within_one_failure_too() -> None:
    tree = grow(
        Player(reflect=lambda view: answer(0, "play c")), "bb", interactions=30, reflections=3
    )
    assert [r.verdict for r in tree.branches[0].reflections] == ["branch", "repeat", "repeat"]


def test_the_same_experience_elsewhere_is_another_one() -> None:
    player = Player(reflect=lambda v: answer(0 if v.trail == "aaa" else 1, "play c"))
    tree = grow(player, "bbb", interactions=60, max_depth=3)
    assert [b.start for b in tree.branches[:3]] == [0, 0, 1]
    assert actions(tree, 2) == "cca"
    assert tree.branches[2].reflections[0].verdict == "repeat"
    changed = Player(reflect=lambda v: answer(0, f"play {'abc'[v.trail.count('b') + 1]}"))
    tree = grow(changed, "xx", interactions=60, max_depth=3)
    assert [actions(tree, b) for b in range(3)] == ["aa", "ba", "ca"]


def test_sampling_is_as_the_settings_say() -> None:
    player = Player()
    grow(player, "ab", 30, temperature=0.7, reflect_temperature=0.1, max_tokens=9,
         max_reflect_tokens=8)  # fmt: skip
    kinds = {(v.reflects, v.sampling.temperature, v.sampling.max_tokens) for v in player.seen}
    assert kinds == {(False, 0.7, 9), (True, 0.1, 8)}
    assert all((v.sampling.json_schema is not None) == v.reflects for v in player.seen)
    seeds = [view.sampling.seed for view in player.seen]
    assert len(set(seeds)) == len(seeds)
