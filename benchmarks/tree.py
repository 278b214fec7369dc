"""What a branch costs beside model and environment: frontier, prompts, ledger, tree, store.

Synthetic attempts of one step, each reflected on once, in the agent's default shape (depth 4, 16
attempts per root); `wide` is one single root with two reflections per attempt.
"""

from __future__ import annotations

import itertools
import pickle
import tempfile
import time
from collections import deque
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from _harness import ROUNDS, Report, alternate, main, median, ratio
from _peers import TREEQUEST

from leafe_gym.agents.accounting import Accounting
from leafe_gym.agents.config import AgentConfig
from leafe_gym.agents.frontier import BreadthFirstFrontier
from leafe_gym.agents.plan import AttemptPlan, Selection, make_plan
from leafe_gym.agents.rollout import AttemptCost
from leafe_gym.budget import Budget, TokenMeter
from leafe_gym.prompts.base import prompt_set
from leafe_gym.store.reader import RunReader
from leafe_gym.store.writer import RunWriter
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Experience, Reflection, Start, Step, Task

T = TypeVar("T")
SIZES = (100, 1_000, 10_000)
NODES = 400
TREES = 5
CHAIN = 5_000
STORED = 2_000
BATCH = 100
TASK = Task(id="bench:0", env_id="bench/Synthetic-v0", instruction="Push the box onto the target.")
START = Start(
    observation="#######\n#--@--#\n#--$--#\n#--.--#\n#######", instruction=TASK.instruction
)


def measure() -> Report:
    """Time branches at several sizes, against treequest, and in the store."""
    cases = {str(size): lambda size=size: _per_branch(size) for size in SIZES}
    ours = alternate(cases, 5)
    wide = alternate({"wide": lambda: _per_branch(SIZES[-1], wide=True)}, 5)["wide"]
    rivals = alternate({"ours": lambda: _per_branch(NODES), "treequest": _treequest}, ROUNDS)
    stored = alternate({"store": _store}, 5)["store"]
    figures: dict[str, Any] = {f"branch_us_{size}": 1e6 * median(ours[str(size)]) for size in SIZES}
    return Report(
        figures={
            **figures,
            "branch_flat": ratio(ours[str(SIZES[-1])], ours[str(SIZES[0])]),
            "branch_us_10000_wide": 1e6 * median(wide),
            "vs_treequest": ratio(rivals["ours"], rivals["treequest"]),
            "treequest_us": 1e6 * median(rivals["treequest"]),
            "store_us": 1e6 * median(stored),
            "chain_of_5000_survives": _chain_survives(),
        },
        goals={
            f"branch_us_{SIZES[-1]}": ("<=", 150),
            "branch_flat": ("<=", 1.5),
            "vs_treequest": ("<=", 1),
        },
        meta={
            "samples": 5,
            "samples_vs_treequest": ROUNDS,
            "branch": "one step and one reflection: planned, two prompts rendered and charged",
            "treequest": f"StandardMCTS, inplace=True, {NODES} nodes, the same records as states",
            "store": f"{STORED} branches in transactions of {BATCH}",
        },
    )


def _branch(number: int, selection: Selection, reflections: int = 1) -> Branch:
    """An attempt that fails after one step and is reflected on."""
    step = Step(
        action="down",
        reply=f"The box is below me, attempt {number}.\nAction: down",
        observation="#######\n#-----#\n#--@--#\n#--$--#\n#######",
        reward=-0.1,
        terminated=True,
        info={"won": False, "score": 0.0, "admissible_commands": ["up", "down", "left", "right"]},
    )
    opened = [
        Experience(step=0, text=f"Pushing down blocks the box ({number}.{n}); go left first.")
        for n in range(reflections)
    ]
    return Branch(
        id=number,
        parent=selection.parent,
        experience=selection.experience,
        steps=(step,),
        reflections=tuple(
            Reflection(after=1, reply=f'{{"step": 0, "experience": "{e.text}"}}', verdict="branch",
                       experience=e)
            for e in opened
        ),
    )  # fmt: skip


def _book(*, wide: bool) -> Accounting:
    shape = (10**9, 10**9) if wide else (4, 16)
    return Accounting(
        Tree(task=TASK, start=START),
        Budget(interactions=10**9),
        BreadthFirstFrontier(max_depth=shape[0], attempts_per_root=shape[1]),
        prompt_set("chat"),
        AgentConfig(reflections=2 if wide else 1),
        TokenMeter(),
    )


def _grow(book: Accounting, size: int) -> Iterator[Branch]:
    for number in range(size):
        selection = book.frontier.ask(number)
        assert selection is not None
        plan = _plan(book, number, selection)
        branch = _branch(number, selection, book.config.reflections)
        committed = _result(book.commit(plan, branch, AttemptCost()))
        assert committed is not None
        yield committed


def _result(call: Coroutine[Any, Any, T]) -> T:
    """The value of a coroutine that waits for nothing but its next turn of the event loop."""
    while True:
        try:
            call.send(None)
        except StopIteration as done:
            value: T = done.value
            return value


def _plan(book: Accounting, number: int, selection: Selection) -> AttemptPlan:
    return make_plan(
        number,
        selection,
        book.tree,
        book.config,
        reflection="reflect",
        capacity=book.frontier.capacity(number, selection),
        limits=book.limits_of(selection),
        seed=0,
    )


def _per_branch(size: int, *, wide: bool = False) -> float:
    """Seconds a branch, over as many trees as make a few thousand branches."""
    trees = max(1, 3_000 // size)
    books = [_book(wide=wide) for _ in range(trees)]
    began = time.perf_counter()
    for book in books:
        deque(_grow(book, size), maxlen=0)
    return (time.perf_counter() - began) / (size * trees)


def _treequest() -> float:
    """Seconds a node, over several trees."""
    from treequest import StandardMCTS

    algorithm: Any = StandardMCTS()
    states = [algorithm.init_tree() for _ in range(TREES)]
    numbers = itertools.count()

    def generate(parent: Branch | None) -> tuple[Branch, float]:
        number = next(numbers)
        root = None if parent is None else parent.id
        fix = None if parent is None else parent.reflections[0].experience
        return _branch(number, Selection(parent=root, experience=fix)), 0.5

    began = time.perf_counter()
    for state in states:
        for _ in range(NODES):
            algorithm.step(state, {"act": generate}, inplace=True)
    return (time.perf_counter() - began) / (NODES * TREES)


def _store() -> float:
    """Seconds a branch that is written, in batches."""
    branches = list(_grow(_book(wide=False), STORED))
    with tempfile.TemporaryDirectory() as folder, RunWriter(folder, {}, [TASK]) as run:
        run.record_opened(0, START)
        began = time.perf_counter()
        for first in range(0, STORED, BATCH):
            with run.batch():
                for branch in branches[first : first + BATCH]:
                    run.record_committed(0, branch)
        return (time.perf_counter() - began) / STORED


def _chain_survives() -> bool:
    """Whether 5,000 branches, each the child of the one before, pickle and go through the store."""
    tree = Tree(task=TASK, start=START)
    fix = None
    for number in range(CHAIN):
        parent = number - 1 if number else None
        branch = _branch(number, Selection(parent=parent, experience=fix))
        fix = branch.reflections[0].experience
        tree.add(branch)
    copy = pickle.loads(pickle.dumps(tree))
    with tempfile.TemporaryDirectory() as folder:
        with RunWriter(folder, {}, [TASK]) as run:
            run.record_opened(0, START)
            with run.batch():
                for branch in tree.branches:
                    run.record_committed(0, branch)
            run.record_finished(0, tree)
        with RunReader(Path(folder)) as run:
            stored = run.tree(0)
    history = tree.history(CHAIN - 1)
    return bool(
        copy.branches == tree.branches == stored.branches
        and stored.history(CHAIN - 1) == history
        and tree.depth(CHAIN - 1) == CHAIN - 1
    )


if __name__ == "__main__":
    main(measure, peer=TREEQUEST)
