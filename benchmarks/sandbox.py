"""The embedded sandbox: time and exactness of snapshots and restores.

The baseline is a bare fork: a session with the same worker and messages, whose snapshots are forked
processes without namespaces, files or filter. Both hold 50 MB of data in the session; the time is
that of a snapshot, a restore and the first reply after it. For containers see `_sandbox_docker`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from _harness import Report, alternate, main, median, ratio
from _sandbox_bare import BareFork
from _sandbox_docker import measure_docker

from leafe_gym.sandbox.base import Sandbox, SandboxLimits
from leafe_gym.sandbox.embedded.sandbox import EmbeddedSandbox

FILES = 1000
STATE = f"""
import os
data = [os.urandom(1000) for _ in range(10_000)]
for n in range({FILES}):
    with open(f"file{{n}}", "w") as file: file.write(str(n) * 100)
"""
"""10 MB of small objects in the session's memory, 1,000 files."""

LARGE = "import os; data = [os.urandom(1000) for _ in range(50_000)]"
SAMPLES = 60
ROUNDS = 30
SNAPSHOTS, RESTORES = 30, 60
LIMITS = SandboxLimits(memory_mb=512)


def measure() -> Report:
    """Measure times, compare with the baseline, and count wrong restores."""
    box = started(STATE)
    saves, backs, replies = zip(*(once(box) for _ in range(SAMPLES)), strict=True)
    starts = [_ms(lambda: started("1").close()) for _ in range(9)]
    against = compare()
    docker, reason = measure_docker(lambda: sum(once(box)[:2]))
    box.close()
    return Report(
        figures={
            "snapshot_ms": median(saves),
            "restore_ms": median(backs),
            "first_reply_ms": median(replies),
            "cell_ms": cell_ms(),
            "start_ms": median(starts),
            "vs_bare_fork": ratio(against["embedded"], against["bare"]),
            "embedded_50mb_ms": median(against["embedded"]),
            "bare_50mb_ms": median(against["bare"]),
            "wrong_restores": wrong_restores(),
            "restores": RESTORES,
            **docker,
        },
        goals={
            "snapshot_ms": ("<=", 5),
            "restore_ms": ("<=", 5),
            "vs_bare_fork": ("<=", 1.5),
            "vs_commit_run": ("<=", 0.05),
            "wrong_restores": ("<=", 0),
        },
        meta={
            "samples": SAMPLES,
            "rounds": ROUNDS,
            "state": f"10 MB in 10,000 objects, {FILES} files; against a bare fork 50 MB",
            "start_ms": "a sandbox, its first cell, its end",
        },
        skipped={key: reason for key, value in docker.items() if value is None},
    )


def started(code: str) -> EmbeddedSandbox:
    """A sandbox in which a cell was run."""
    box = EmbeddedSandbox(LIMITS)
    box.start()
    result = box.run_cell(code, timeout=60.0)
    assert not result.error, result.error
    return box


def once(box: Sandbox) -> tuple[float, float, float]:
    """Milliseconds of a snapshot, of a restore after a cell, and of the cell after it."""
    snapshots: list[Any] = []
    saving = _ms(lambda: snapshots.append(box.snapshot()))
    box.run_cell("data[0] = b'x'; open('file0', 'w').write('changed')")
    restoring = _ms(lambda: box.restore(snapshots[0]))
    replying = _ms(lambda: box.run_cell("1"))
    box.drop(snapshots[0])
    return saving, restoring, replying


def cell_ms() -> float:
    """Milliseconds of an empty cell, without snapshots around it."""
    box = started("1")
    times = [_ms(lambda: box.run_cell("1")) for _ in range(SAMPLES)]
    box.close()
    return median(times)


def compare() -> dict[str, list[float]]:
    """Snapshot, restore and first reply with 50 MB, alternating."""
    box, bare = started(LARGE), BareFork()
    assert not bare.run_cell(LARGE)

    def case(one: Any) -> Callable[[], float]:
        def run() -> float:
            snapshots: list[Any] = []
            total = _ms(lambda: snapshots.append(one.snapshot()))
            one.run_cell("data[0] = b'x'")
            total += _ms(lambda: (one.restore(snapshots[0]), one.run_cell("1")))
            one.drop(snapshots[0])
            return total

        return run

    samples = alternate({"embedded": case(box), "bare": case(bare)}, ROUNDS)
    box.close()
    bare.close()
    return samples


def wrong_restores() -> int:
    """Number of restores, in random order, after which variables or files differ."""
    look = (
        "import os; n, sorted(os.listdir('.')), [open(p).read() for p in sorted(os.listdir('.'))]"
    )
    rng = random.Random(0)
    box = started("import os; n = 0")
    snapshots = []
    for number in range(SNAPSHOTS):
        gone = f"os.path.exists('f{number // 2}') and os.unlink('f{number // 2}')"
        box.run_cell(f"n += 1; open(f'f{{n}}', 'w').write(str(n)); {gone}; None")
        snapshots.append((box.snapshot(), box.run_cell(look).stdout))
    wrong = 0
    for _ in range(RESTORES):
        snapshot, seen = rng.choice(snapshots)
        box.restore(snapshot)
        wrong += box.run_cell(look).stdout != seen
        box.run_cell("n = -1; open('f0', 'w').write('x')")
    box.close()
    return wrong


def _ms(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - began)


if __name__ == "__main__":
    main(measure)
