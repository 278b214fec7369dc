"""The orders of attempts, asked and told by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leafe_gym.agents.frontier import (
    ChainFrontier,
    Frontier,
    IndependentFrontier,
    Job,
    TreeFrontier,
)
from leafe_gym.types import Experience


def tip(step: int, text: str = "e") -> Experience:
    return Experience(step=step, text=text)


def ask(frontier: Frontier) -> Job:
    job = frontier.ask()
    assert job is not None
    return job


def test_independent_attempts_are_all_roots() -> None:
    frontier = IndependentFrontier()
    for number in range(5):
        job = ask(frontier)
        assert job == Job(id=number, root=number)
        assert not frontier.room(job, 0)
    assert frontier.look_back == "none"


def test_a_chain_waits_for_each_attempt_and_starts_at_step_0() -> None:
    frontier = ChainFrontier()
    first = ask(frontier)
    assert frontier.ask() is None
    assert frontier.room(first, 0)
    assert not frontier.room(first, 1)
    frontier.tell(first, [tip(0, "one")])
    second = ask(frontier)
    assert second == Job(id=1, root=0, depth=1, parent=0, experience=tip(0, "one"), restart=True)
    frontier.tell(second, [tip(0, "two")])
    third = ask(frontier)
    assert (third.parent, third.experience) == (1, tip(0, "two"))
    frontier.tell(third, [])
    assert ask(frontier) == Job(id=3, root=3)


def test_a_tree_is_first_in_first_out() -> None:
    frontier = TreeFrontier(max_depth=9, attempts=99)
    root = ask(frontier)
    frontier.tell(root, [tip(1), tip(2)])
    one, two = ask(frontier), ask(frontier)
    assert (one.parent, one.experience, two.experience) == (0, tip(1), tip(2))
    frontier.tell(one, [tip(3)])
    frontier.tell(two, [tip(4)])
    three, four = ask(frontier), ask(frontier)
    assert [(j.id, j.parent, j.depth, j.root) for j in (three, four)] == [
        (3, one.id, 2, 0),
        (4, two.id, 2, 0),
    ]


def test_a_tree_waits_while_a_branch_may_still_come() -> None:
    frontier = TreeFrontier(max_depth=9, attempts=99)
    root = ask(frontier)
    assert frontier.ask() is None
    frontier.tell(root, [tip(0)])
    branch = ask(frontier)
    assert frontier.ask() is None
    frontier.tell(branch, [])
    assert ask(frontier) == Job(id=2, root=2), "the queue is empty: a new root"


def test_depth_is_limited() -> None:
    frontier = TreeFrontier(max_depth=1, attempts=99)
    root = ask(frontier)
    assert frontier.room(root, 5)
    frontier.tell(root, [tip(0)])
    assert not frontier.room(ask(frontier), 0)
    flat = TreeFrontier(max_depth=0, attempts=99)
    assert not flat.room(ask(flat), 0)


def test_attempts_of_a_root_are_limited_and_counted_anew() -> None:
    frontier = TreeFrontier(max_depth=9, attempts=3)
    for number in (0, 3):
        root = ask(frontier)
        assert root == Job(id=number, root=number)
        assert frontier.room(root, 1)
        assert not frontier.room(root, 2)
        frontier.tell(root, [tip(0), tip(1)])
        for _ in range(2):
            branch = ask(frontier)
            assert branch.root == number
            assert not frontier.room(branch, 0)
            frontier.tell(branch, [])


lists = st.lists(st.integers(0, 3), min_size=1, max_size=40)


@given(lists, st.integers(0, 3), st.integers(1, 6), st.integers(1, 5))
def test_asking_ahead_gives_the_same_jobs(
    offers: list[int], depth: int, attempts: int, ahead: int
) -> None:
    """`offers[n]`: how many branches attempt n would open if there were room."""

    def grow(width: int) -> list[Job]:
        frontier = TreeFrontier(max_depth=depth, attempts=attempts)
        told: list[Job] = []
        flying: list[Job] = []
        while len(told) < len(offers):
            while len(flying) < width and (job := frontier.ask()) is not None:
                flying.append(job)
            job = flying.pop(0)
            found: list[Experience] = []
            for number in range(offers[len(told)]):
                if frontier.room(job, len(found)):
                    found.append(tip(number, str(job.id)))
            frontier.tell(job, found)
            told.append(job)
        return told

    alone = grow(1)
    assert grow(ahead) == alone
    assert [job.id for job in alone] == [*range(len(alone))]
    assert all(job.depth <= depth for job in alone)
    roots = [job.root for job in alone]
    assert max(roots.count(root) for root in roots) <= attempts
