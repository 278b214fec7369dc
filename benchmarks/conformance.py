"""Which rollback backend is right for public environments: a table made by one command.

Each environment is checked as `leafe check` does. Every backend found right is then put to 30
independent triples (random prefix, rollback, continuation) against an untouched environment; one
that differs is counted as `silent_wrong`. Each environment runs in a process of its own with a time
limit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _harness import ROOT, Peer, Report, main
from _public_envs import MODULES, PUBLIC, PublicEnv

TRIPLES = 30
SECONDS = 600
BACKENDS = ("native", "pickle", "deepcopy", "fork", "replay")
TABLE = ROOT / "docs" / "conformance-table.md"
PUBLIC_PACKAGES = Peer(
    "public",
    (
        "gymnasium[box2d,mujoco,toy-text,classic-control]==1.4.0",
        "minigrid==3.2.0",
        "ale-py==0.12.1",
        "textarena==0.7.4",
        "gem-llm==0.1.0",
        "textworld-express==1.1.0",
    ),
)


def measure() -> Report:
    """Check all environments and write the table."""
    chosen = os.environ.get("ENVS", "")
    rows = [_checked(env) for env in PUBLIC if chosen in env.name]
    checked = [row for row in rows if "verdicts" in row]
    wrong = sum(count for row in checked for count in row["triples"].values())
    if not chosen:
        TABLE.write_text(_table(rows), "utf-8")
    return Report(
        figures={
            "environments": len(checked),
            "not_run": len(rows) - len(checked),
            "right_somehow": sum("right" in row["verdicts"].values() for row in checked),
            "backends_right": sum(len(row["triples"]) for row in checked),
            "silent_wrong": wrong,
            "rows": {row["name"]: row for row in rows},
        },
        goals={"environments": (">=", 60), "silent_wrong": ("<=", 0)},
        meta={"triples_a_backend": TRIPLES, "limit_seconds": SECONDS},
    )


def _checked(env: PublicEnv) -> dict[str, Any]:
    """What was found, or why the environment could not be run."""
    head = {"name": env.name, "package": env.package, "version": version(env.package)}
    number = str(PUBLIC.index(env))
    try:
        done = subprocess.run(
            [sys.executable, __file__, "--one", number],
            capture_output=True, text=True, timeout=SECONDS, cwd=Path(__file__).parent, check=True,
        )  # fmt: skip
        return head | json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return head | {"problem": f"longer than {SECONDS} s"}
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines()
        return head | {"problem": lines[-1][:200] if lines else f"exit code {error.returncode}"}


def _one(env: PublicEnv) -> dict[str, Any]:
    import gymnasium as gym

    import leafe_gym as lg
    from leafe_gym.errors import LeafeError
    from leafe_gym.testing.triples import draw_sample, triples

    if env.package in MODULES:
        module = import_module(MODULES[env.package])
        if hasattr(gym, "register_envs"):
            gym.register_envs(module)
    report = lg.check_rollback(
        env.id, backends=None, actions=list(env.actions) or None, make_kwargs=env.kwargs
    )
    verdicts = {one.backend: one.outcome for one in report.verdicts}
    make = partial(gym.make, env.id, **env.kwargs)
    space = make().action_space
    draw: Any = (lambda rng, _: rng.choice(env.actions)) if env.actions else draw_sample(space)
    found: dict[str, int] = {}
    for backend in (name for name, outcome in verdicts.items() if outcome == "right"):
        try:
            found[backend] = len(triples(make, TRIPLES, backend=backend, draw=draw))
        except LeafeError as error:
            found[backend] = 0
            verdicts[backend] = f"raises: {type(error).__name__}"
    seed = "honoured" if report.seed.honoured else "not honoured"
    return {"verdicts": verdicts, "triples": found, "seed": seed}


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# Conformance table",
        "",
        "Made by `make bench NAME=conformance`: each environment is checked as `leafe check` does,",
        f"and every backend found right is put to {TRIPLES} further random triples against an",
        "untouched environment. `?`: no action of the trial changed anything. `-`: not tried,",
        "because a cheaper way is right.",
        "",
        "| environment | package | " + " | ".join(BACKENDS) + " | seed |",
        "| --- | --- | " + "--- | " * len(BACKENDS) + "--- |",
    ]
    for row in rows:
        head = f"| `{row['name']}` | {row['package']} {row['version']} | "
        if "problem" in row:
            lines.append(
                head + " | ".join([""] * len(BACKENDS)) + f" | not run: {row['problem']} |"
            )
            continue
        cells = [_cell(row, backend) for backend in BACKENDS]
        lines.append(head + " | ".join(cells) + f" | {row['seed']} |")
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, Any], backend: str) -> str:
    outcome = row["verdicts"].get(backend, "not tried")
    if row["triples"].get(backend):
        return f"SILENTLY WRONG ({row['triples'][backend]} of {TRIPLES})"
    return {"not tried": "-", "unproved": "?"}.get(outcome, outcome)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(_one(PUBLIC[int(sys.argv[2])])))
    else:
        main(measure, peer=PUBLIC_PACKAGES)
