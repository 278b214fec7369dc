"""The orders of attempts, asked and told by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leafe_gym.agents.frontier import (
    BestFirstFrontier,
    BreadthFirstFrontier,
    ChainFrontier,
    Frontier,
    IndependentFrontier,
)
from leafe_gym.agents.plan import AttemptPlan, Selection
from leafe_gym.tree import Branch
from leafe_gym.types import Ending, Experience, Reflection, Start, Step, Task


def experience(step: int, text: str = "e") -> Experience:
    return Experience(step=step, text=text)


def ask(frontier: Frontier, number: int) -> Selection:
    selection = frontier.ask(number)
    assert selection is not None
    return selection


def tell(
    frontier: Frontier,
    number: int,
    selection: Selection,
    opened: list[Experience],
    ending: Ending = "failed",
    scores: tuple[float, ...] = (),
) -> None:
    plan = AttemptPlan(
        id=number,
        selection=selection,
        task=Task(id="t", env_id="x"),
        task_start=Start(observation=""),
    )
    steps = tuple(
        Step(action="a", reply="", observation="", info={"score": score}) for score in scores
    )
    reflections = tuple(
        Reflection(after=1, reply="", verdict="branch", experience=one) for one in opened
    )
    frontier.tell(plan, plan.branch(ending, "", steps, reflections))


def test_independent_attempts_are_all_roots() -> None:
    frontier = IndependentFrontier()
    for number in range(5):
        assert ask(frontier, number) == Selection()
        assert frontier.capacity(number, Selection()) == 0
    assert frontier.reflection == "none"


def test_a_chain_waits_for_each_attempt_and_starts_at_step_0() -> None:
    frontier = ChainFrontier()
    first = ask(frontier, 0)
    assert frontier.ask(1) is None
    assert frontier.capacity(0, first) == 1
    tell(frontier, 0, first, [experience(0, "one")])
    second = ask(frontier, 1)
    assert second == Selection(parent=0, experience=experience(0, "one"), restart=True, depth=1)
    tell(frontier, 1, second, [experience(0, "two")])
    third = ask(frontier, 2)
    assert (third.parent, third.experience) == (1, experience(0, "two"))
    tell(frontier, 2, third, [], "env_error")
    assert ask(frontier, 3) == third, "an attempt that met an error is made again"
    tell(frontier, 3, third, [])
    assert ask(frontier, 4) == Selection()


def test_a_tree_is_first_in_first_out() -> None:
    frontier = BreadthFirstFrontier(max_depth=9, attempts_per_root=99)
    tell(frontier, 0, ask(frontier, 0), [experience(1), experience(2)])
    one, two = ask(frontier, 1), ask(frontier, 2)
    assert (one.parent, one.experience, two.experience) == (0, experience(1), experience(2))
    assert (one.start, two.start) == (1, 2)
    tell(frontier, 1, one, [experience(3)])
    tell(frontier, 2, two, [experience(4)])
    three, four = ask(frontier, 3), ask(frontier, 4)
    assert [(s.parent, s.depth) for s in (three, four)] == [(1, 2), (2, 2)]


def test_a_tree_waits_while_a_branch_may_still_come() -> None:
    frontier = BreadthFirstFrontier(max_depth=9, attempts_per_root=99)
    root = ask(frontier, 0)
    assert frontier.ask(1) is None
    tell(frontier, 0, root, [experience(0)])
    branch = ask(frontier, 1)
    assert frontier.ask(2) is None
    tell(frontier, 1, branch, [])
    assert ask(frontier, 2) == Selection(), "the queue is empty: a new root"


def test_depth_is_limited() -> None:
    frontier = BreadthFirstFrontier(max_depth=1, attempts_per_root=99)
    root = ask(frontier, 0)
    assert frontier.capacity(0, root) == 98
    tell(frontier, 0, root, [experience(0)])
    assert frontier.capacity(1, ask(frontier, 1)) == 0
    flat = BreadthFirstFrontier(max_depth=0, attempts_per_root=99)
    assert flat.capacity(0, ask(flat, 0)) == 0


def test_attempts_of_a_root_are_limited_and_counted_anew() -> None:
    frontier = BreadthFirstFrontier(max_depth=9, attempts_per_root=3)
    for number in (0, 3):
        root = ask(frontier, number)
        assert root == Selection()
        assert frontier.capacity(number, root) == 2
        tell(frontier, number, root, [experience(0), experience(1)])
        for more in (1, 2):
            branch = ask(frontier, number + more)
            assert branch.parent == number
            assert frontier.capacity(number + more, branch) == 0
            tell(frontier, number + more, branch, [])


@pytest.mark.parametrize("ending", ["env_error", "backend_error"])
def test_an_attempt_that_met_an_error_leaves_its_place_to_another(ending: Ending) -> None:
    frontier = BreadthFirstFrontier(max_depth=9, attempts_per_root=3)
    tell(frontier, 0, ask(frontier, 0), [experience(0), experience(1)])
    one, two = ask(frontier, 1), ask(frontier, 2)
    assert frontier.capacity(2, two) == 1, "attempt 1 may still meet an error: an upper bound"
    tell(frontier, 1, one, [], ending)
    assert frontier.capacity(2, two) == 1
    tell(frontier, 2, two, [experience(2)])
    assert ask(frontier, 3).parent == 2


attempts = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["failed", "env_error"])), min_size=1, max_size=40
)


@given(attempts, st.integers(0, 3), st.integers(1, 6), st.integers(1, 5))
def test_asking_ahead_gives_the_same_selections(
    offers: list[tuple[int, Ending]], depth: int, per_root: int, ahead: int
) -> None:
    """`offers[n]`: how many branches attempt n would open, had it the capacity, and its ending."""

    def grow(width: int) -> list[Selection]:
        frontier = BreadthFirstFrontier(max_depth=depth, attempts_per_root=per_root)
        told: list[Selection] = []
        running: list[tuple[Selection, int]] = []
        number = 0
        while len(told) < len(offers):
            while len(running) < width and (selection := frontier.ask(number)) is not None:
                running.append((selection, frontier.capacity(number, selection)))
                number += 1
            selection, bound = running.pop(0)
            at = len(told)
            room = frontier.capacity(at, selection)
            assert room <= bound, "the capacity at the start is an upper bound"
            wanted, ending = offers[at]
            found = [experience(n, str(at)) for n in range(min(wanted, room))]
            tell(frontier, at, selection, found, ending)
            told.append(selection)
        return told

    alone = grow(1)
    assert grow(ahead) == alone
    assert all(selection.depth <= depth for selection in alone)
    counted = 0
    for selection, (_, ending) in zip(alone, offers, strict=True):
        counted = 0 if selection.parent is None else counted
        counted += ending == "failed"
        assert counted <= per_root


def test_best_first_takes_the_reflection_of_the_highest_score() -> None:
    frontier = BestFirstFrontier(max_depth=4, attempts_per_root=9)
    root = ask(frontier, 0)
    assert frontier.ask(1) is None, "the next choice depends on this attempt"
    tell(frontier, 0, root, [experience(0, "low"), experience(1, "low too")], scores=(0.1, 0.2))
    low = ask(frontier, 1)
    assert (low.parent, low.experience) == (0, experience(0, "low"))
    tell(frontier, 1, low, [experience(1, "high")], scores=(0.9,))
    assert ask(frontier, 2).experience == experience(1, "high"), "before the older, lower one"


def test_best_first_samples_the_best_state_again_where_no_reflection_is_left() -> None:
    frontier = BestFirstFrontier(max_depth=4, attempts_per_root=9)
    tell(frontier, 0, ask(frontier, 0), [], scores=(0.5, 0.7, 0.1))
    again = ask(frontier, 1)
    assert (again.parent, again.start, again.experience) == (0, 2, None)
    tell(frontier, 1, again, [], scores=(0.2,))
    assert ask(frontier, 2) == again
    tell(frontier, 2, again, [], scores=(0.2,))
    assert ask(frontier, 3) == Selection(), "then a new root"


def branch(**fields: Any) -> Branch:
    return Branch(id=0, **fields)


def test_a_branch_knows_its_start_without_an_experience() -> None:
    assert branch().start == 0
    assert branch(experience=experience(3)).start == 3
    assert branch(experience=experience(3), restart=True).start == 0
    assert branch(parent=None, start=2).start == 2
