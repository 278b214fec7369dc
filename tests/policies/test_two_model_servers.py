"""Two servers with the small model, each a process of its own; one is killed in mid-run."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from served_models import serving_model
from small_runs import grown, shape

import leafe_gym as lg
from leafe_gym.policies.http import transport
from leafe_gym.policies.http.servers import Servers
from leafe_gym.policies.openai import OpenAIPolicy


@pytest.mark.server
def test_the_trees_of_one_process(
    servable: Path,
    counts: Callable[[int, int], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.05)
    count = counts(6, 60)
    here = grown(lg.policy("tiny"), count, tmp_path / "here")
    with ExitStack() as stack:
        both = dict(stack.enter_context(serving_model(servable)) for _ in range(2))
        ids = [tree.task.id for tree in here]
        victim = both[Servers([*both]).choose(ids[-1]).url]  # needed to the end
        finished = list[str]()

        def progress(task: lg.Task, _: object) -> None:
            finished.append(task.id)
            if len(finished) == 2:
                victim.send_signal(signal.SIGKILL)

        policy = OpenAIPolicy(
            str(servable), [*both], prompts="tiny", deadline=900, tries=3, concurrency=8
        )
        there = grown(policy, count, tmp_path / "there", concurrency=3, progress=progress)
        assert victim.wait(60) == -signal.SIGKILL
    assert len(finished) == count, "every task is finished"
    assert shape(there) == shape(here)
    assert [tree.solved for tree in there] == [tree.solved for tree in here]
