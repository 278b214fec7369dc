"""Trees and ledgers of random configurations do not depend on concurrency."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from random_configurations import draw
from toy_agents import canonical, ledger, recount

import leafe_gym as lg


def test_random_configurations_give_one_tree_and_ledger_at_any_concurrency(
    counts: Callable[[int, int], int],
) -> None:
    endings: set[str] = set()
    for number in range(counts(100, 2000)):
        grow = draw(Random(number))
        alone = grow(1)
        assert ledger(alone).interactions == recount_interactions(alone), number
        for concurrency in (3, 17) if counts(0, 1) else ((3, 17)[number % 2],):
            assert canonical(grow(concurrency)) == canonical(alone), (number, concurrency)
        endings |= {branch.ending for branch in alone.branches}
    assert endings == {
        "won", "failed", "unparsable", "context", "budget", "env_error", "policy_error",
    }, "the draws cover every ending that does not need a broken backend"  # fmt: skip


def recount_interactions(tree: lg.Tree) -> int:
    replayed = tree.spent.rollback_steps
    return recount(tree).interactions + replayed
