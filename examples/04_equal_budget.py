"""Compare the tree with independent sampling and iterative refinement at one budget.

python examples/04_equal_budget.py [TASKS]
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import leafe_gym as lg
from leafe_gym.evals.bench import INTERACTIONS, TITLES, run_bench


def main(count: int = 40) -> None:
    """Print who solves how much with 400 interactions a level, and the lead of the tree."""
    options = {"boxes": 3, "inner_walls": [0, 0], "max_steps": 60}
    tasks = lg.tasks("leafe/Sokoban-v0", split="val", **options)[:count]
    bench = asyncio.run(
        run_bench(
            lg.policy("scripted"),
            tasks,
            methods=["is", "ir", "tree"],
            interactions=400,
            out=Path(tempfile.mkdtemp(prefix="leafe-bench-")),
        )
    )
    for name, outcome in bench.outcomes.items():
        solved = outcome.fraction(INTERACTIONS, bench.interactions)
        tokens = outcome.ledger.tokens_uncached
        print(f"{TITLES[name]:22} solved {solved}   uncached tokens {tokens:,}")
    print(f"tree - independent sampling, paired by level: {bench.difference('tree', 'is')}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
