"""What one process spends on a turn, an attempt and a run, whatever the model and environment.

One file for each part (`_turns_<name>.py`) with a function `measure() -> Report`.
"""

from __future__ import annotations

from importlib import import_module

from _harness import Report, main

PARTS = ("_turns_rollout", "_turns_store")


def measure() -> Report:
    """All parts together; their keys do not overlap."""
    report = Report()
    for name in PARTS:
        part: Report = import_module(name).measure()
        report.figures.update(part.figures)
        report.goals.update(part.goals)
        report.meta.update(part.meta)
        report.skipped.update(part.skipped)
    return report


if __name__ == "__main__":
    main(measure)
