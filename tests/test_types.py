"""Records refuse values of another type or range and name them, and travel whole."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from leafe_gym.errors import UsageError
from leafe_gym.types import Completion, Experience, Sampling, Step, Usage


@pytest.mark.parametrize(
    ("record", "field", "value"),
    [
        (Usage, "prompt_tokens", "9"),
        (Usage, "prompt_tokens", -50),
        (Usage, "completion_tokens", 1.5),
        (Usage, "completion_tokens", True),
        (Completion, "text", None),
        (Completion, "text", b"up"),
        (Completion, "finish_reason", "eos"),
        (Completion, "finish_reason", None),
        (Completion, "finish_reason", ["stop"]),
        (Completion, "usage", None),
        (Completion, "usage", {"prompt_tokens": 1}),
        (Completion, "retries", -1),
        (Completion, "retries", None),
        (Completion, "retries", 2**63),
        (Usage, "prompt_tokens", 2**62),
        (Usage, "completion_tokens", 10**30),
        (Usage, "completion_tokens", 2**40 + 1),
        (Sampling, "temperature", -0.1),
        (Sampling, "temperature", float("nan")),
        (Sampling, "temperature", float("inf")),
        (Sampling, "temperature", "1"),
        (Sampling, "temperature", True),
        (Sampling, "max_tokens", 0),
        (Sampling, "max_tokens", 2.0),
        (Sampling, "seed", -1),
        (Sampling, "seed", 2**63),
        (Sampling, "seed", None),
        (Sampling, "json_schema", "{}"),
        (Sampling, "purpose", "acting"),
        (Sampling, "purpose", None),
        (Sampling, "purpose", []),
    ],
)
def test_wrong_values_are_named(record: Any, field: str, value: Any) -> None:
    given = {"text": ""} if record is Completion else {}
    with pytest.raises(UsageError, match=f"^{record.__name__} {field}="):
        record(**{**given, field: value})


def test_edges_are_allowed() -> None:
    assert Usage(prompt_tokens=0).prompt_tokens == 0
    assert Sampling(temperature=0, seed=2**63 - 1, purpose="refine", json_schema={}).seed > 0
    assert Completion(text="", finish_reason="length", retries=3).retries == 3


@pytest.mark.parametrize(
    "record",
    [
        Sampling(seed=3, purpose="reflect", json_schema={"type": "object"}),
        Completion(text="Action: on", usage=Usage(prompt_tokens=3, completion_tokens=2)),
        Step(action="on", reply="Action: on", observation="", info={"won": True}),
        Experience(step=2, text="push left first"),
    ],
    ids=lambda record: type(record).__name__,
)
def test_records_cross_to_other_processes_as_they_are(record: Any) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(record, protocol)) == record
    assert copy.copy(record) == record == copy.deepcopy(record)
