"""Records to JSON text and back. Non-finite numbers are refused: JSON has none."""

from __future__ import annotations

import hashlib
import json
import zlib
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from leafe_gym.budget import Spend
from leafe_gym.errors import StoreCorrupt
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import (
    Experience,
    Json,
    PromptFit,
    Reflection,
    Sampled,
    Start,
    Step,
    Task,
    Usage,
)


def dump(value: Json) -> str:
    """Canonical JSON: sorted keys, no spaces, ASCII only (lone surrogates survive).

    Raises:
        ValueError: for NaN and infinities.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def checksum(text: str) -> str:
    """Eight bytes of BLAKE2b in hex, to detect damaged rows."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def pack(text: str) -> tuple[bytes, str]:
    """A text compressed, and the checksum of the compressed bytes.

    The lowest level takes a few milliseconds for a branch of hundreds of steps and finds what
    repeats from step to step, such as the admissible commands.
    """
    data = zlib.compress(text.encode(), 1)
    return data, hashlib.blake2b(data, digest_size=8).hexdigest()


def unpack(data: bytes, total: str, what: str) -> str:
    """The inverse of `pack`.

    Raises:
        StoreCorrupt: if the checksum does not hold.
    """
    if isinstance(data, bytes):
        with suppress(zlib.error, UnicodeDecodeError):
            if hashlib.blake2b(data, digest_size=8).hexdigest() == total:
                return zlib.decompress(data).decode()
    raise StoreCorrupt(f"a {what} row of the run is damaged: its checksum does not hold")


class Checksum:
    """`checksum` of a text that comes in pieces, too long to be held."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=8)

    def add(self, text: str) -> None:
        """Go on with `text`."""
        self._hash.update(text.encode())

    def hex(self) -> str:
        """What `checksum` says of all pieces together."""
        return self._hash.hexdigest()


def task_json(task: Task) -> Json:
    """A task as JSON."""
    return asdict(task)


def read_task(data: Json) -> Task:
    """The inverse of `task_json`."""
    return Task(**data)


def start_json(start: Start) -> Json:
    """A start as JSON."""
    return asdict(start)


def read_start(data: Json) -> Start:
    """The inverse of `start_json`."""
    return Start(**data)


def branch_json(branch: Branch) -> Json:
    """A branch as JSON; values at their defaults are left out of its steps."""
    return {
        "id": branch.id,
        "parent": branch.parent,
        "start": branch.start,
        "experience": asdict(branch.experience) if branch.experience else None,
        "steps": [_step_json(step) for step in branch.steps],
        "restart": branch.restart,
        "ending": branch.ending,
        "reason": branch.reason,
        "reflections": [asdict(reflection) for reflection in branch.reflections],
    }


def read_branch(data: Json) -> Branch:
    """The inverse of `branch_json`."""
    return Branch(
        **data
        | {
            "experience": _read_experience(data["experience"]),
            "steps": tuple(_read_step(step) for step in data["steps"]),
            "reflections": tuple(_read_reflection(r) for r in data["reflections"]),
        }
    )


def tree_json(tree: Tree) -> Json:
    """A whole tree as JSON, as it stands in an exported line."""
    return {
        "task": task_json(tree.task),
        "start": start_json(tree.start),
        "branches": [branch_json(branch) for branch in tree.branches],
        "spent": tree.spent.as_dict(),
        "solved_at": tree.solved_at.as_dict() if tree.solved_at else None,
        "stopped": tree.stopped,
        "token_source": tree.token_source,
    }


def read_tree(data: Json) -> Tree:
    """The inverse of `tree_json`.

    Raises:
        StoreCorrupt: if the data is no tree.
    """
    try:
        tree = Tree(
            task=read_task(data["task"]),
            start=read_start(data["start"]),
            spent=Spend.from_dict(data["spent"]),
            solved_at=Spend.from_dict(data["solved_at"]) if data["solved_at"] else None,
            stopped=data["stopped"],
            token_source=data["token_source"],
        )
        for branch in data["branches"]:
            tree.add(read_branch(branch))
    except (TypeError, KeyError, ValueError) as error:
        raise StoreCorrupt(f"not a tree: {type(error).__name__}: {error}") from error
    return tree


def _step_json(step: Step) -> Json:
    """By hand: `asdict` copies every part and takes fifty times as long."""
    data: dict[str, Any] = {
        "action": step.action,
        "reply": step.reply,
        "observation": step.observation,
    }
    if step.reward:
        data["reward"] = step.reward
    if step.terminated:
        data["terminated"] = True
    if step.truncated:
        data["truncated"] = True
    if step.info:
        data["info"] = step.info
    if step.experiences:
        data["experiences"] = step.experiences
    if step.reasoning:
        data["reasoning"] = step.reasoning
    if step.sampled is not None:
        data["sampled"] = {
            name: getattr(step.sampled, name) for name in ("prompt_ids", "ids", "logprobs")
        }
    for name, record in (("usage", _usage_json(step.usage)), ("fit", _fit_json(step.fit))):
        if record:
            data[name] = record
    return data


def _usage_json(usage: Usage) -> Json:
    counts = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
    return {name: count for name, count in counts.items() if count is not None}


def _fit_json(fit: PromptFit) -> Json:
    if not (fit.shortened or fit.dropped):
        return None
    return {name: value for name, value in asdict(fit).items() if value}


def _read_step(data: Json) -> Step:
    sampled = data.get("sampled")
    return Step(
        **data
        | {
            "usage": Usage(**data.get("usage", {})),
            "fit": PromptFit(**data.get("fit", {})),
            "sampled": Sampled(**sampled) if sampled is not None else None,
            "experiences": tuple(data.get("experiences", ())),
        }
    )


def _read_experience(data: Json) -> Experience | None:
    return Experience(**data) if data is not None else None


def _read_reflection(data: Json) -> Reflection:
    return Reflection(
        **data
        | {
            "experience": _read_experience(data["experience"]),
            "usage": Usage(**data["usage"]),
            "fit": PromptFit(**data["fit"]),
        }
    )
