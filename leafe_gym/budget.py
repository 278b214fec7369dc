"""What an exploration may spend (`Budget`), what it has spent (`Spend`), who counts (`Meter`).

Units, per task:

* `calls`: environment steps chosen by the policy + model calls (acting 1, reflecting 1).
* `tokens_total`: prompt + completion tokens.
* `tokens_uncached`: the total minus, per prompt, its longest prefix shared with an earlier prompt
  (taken together with its completion) of the same task and method.

A rollback costs nothing, whatever the backend; with `Budget(replay_cost=True)` it costs tau calls,
whatever the backend. Steps that were really replayed, failed tries and discarded speculative work
stand in `overhead_*` and outside the budget.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from leafe_gym.errors import BudgetExceeded, UsageError
from leafe_gym.types import Message, Usage

UNITS = ("calls", "tokens_total", "tokens_uncached")
BYTES_PER_TOKEN = 4
"""Where a policy reports no token counts, one token stands for this many UTF-8 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of one task; at least one must be set.

    Attributes:
        calls: most environment steps + model calls, >= 1.
        tokens_total: most prompt + completion tokens; the call that crosses it is the last.
        tokens_uncached: likewise for tokens that no earlier prompt of the task shares.
        replay_cost: charge tau calls for every rollback, as if each were a reset and replay.

    Raises:
        UsageError: if no limit is set or one is not a positive whole number.
    """

    calls: int | None = None
    tokens_total: int | None = None
    tokens_uncached: int | None = None
    replay_cost: bool = False

    def __post_init__(self) -> None:
        if all(getattr(self, unit) is None for unit in UNITS):
            raise UsageError(f"a Budget needs at least one limit: {', '.join(UNITS)}")
        for unit in UNITS:
            limit = getattr(self, unit)
            if limit is not None and (type(limit) is not int or limit < 1):
                raise UsageError(f"Budget {unit}={limit!r}: expected a whole number >= 1")


@dataclass(slots=True, kw_only=True)
class Spend:
    """A ledger line: counts only, all >= 0.

    `overhead_calls` are model calls whose outcome is in no tree (speculative work that was
    discarded), `overhead_retries` failed tries of calls that later succeeded,
    `overhead_attempts` attempts begun again after a crash of the process, `replayed_steps`
    environment steps re-done to come back to an earlier state.
    """

    steps: int = 0
    act_calls: int = 0
    reflect_calls: int = 0
    rollback_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    shared_tokens: int = 0
    attempts: int = 0
    rollbacks: int = 0
    dropped: int = 0
    overhead_calls: int = 0
    overhead_retries: int = 0
    overhead_attempts: int = 0
    replayed_steps: int = 0

    @property
    def calls(self) -> int:
        """Environment steps + model calls (+ tau a rollback under `replay_cost`)."""
        return self.steps + self.act_calls + self.reflect_calls + self.rollback_calls

    @property
    def tokens_total(self) -> int:
        """Prompt + completion tokens."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def tokens_uncached(self) -> int:
        """Tokens that no earlier prompt of the task holds."""
        return self.tokens_total - self.shared_tokens

    def __add__(self, other: Spend) -> Spend:
        return Spend(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )

    def as_dict(self) -> dict[str, int]:
        """All counts and the three budget units, for JSON."""
        return {unit: getattr(self, unit) for unit in UNITS} | asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, int]) -> Spend:
        """The inverse of `as_dict`; derived units are ignored."""
        return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})


class Tokenizer(Protocol):
    """The part of a policy that turns a chat into token ids, where it can."""

    def __call__(self, messages: Sequence[Message], completion: str) -> tuple[list[int], int]:
        """Ids of the prompt followed by the completion, and how many of them are the prompt."""
        ...


def chatml(messages: Sequence[Message]) -> bytes:
    """The chat as ChatML up to where the assistant begins: the measure of a prompt's bytes."""
    turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return f"{turns}<|im_start|>assistant\n".encode("utf-8", "surrogatepass")


def estimate_tokens(text: bytes) -> int:
    """Tokens that `text` stands for where nobody counts them: one per 4 bytes, rounded up."""
    return -(-len(text) // BYTES_PER_TOKEN)


class PrefixIndex:
    """Longest prefix shared with anything added before.

    Kept sorted: the longest shared prefix of a new key is with one of its two neighbours, so a
    look-up costs O(log n) comparisons, not n.
    """

    def __init__(self) -> None:
        self._keys: list[Any] = []

    def shared(self, key: Any) -> int:
        """Length of the longest prefix of `key` (bytes or tuple of ids) that was added before."""
        at = bisect_left(self._keys, key)
        return max(
            (_common(key, other) for other in self._keys[max(0, at - 1) : at + 1]), default=0
        )

    def add(self, key: Any) -> None:
        """Remember `key`."""
        self._keys.insert(bisect_left(self._keys, key), key)


def _common(a: Any, b: Any) -> int:
    """Length of the common prefix, by halving: slices compare at memcmp speed."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class Meter:
    """Counts one task's spending against its budget, in the tree's canonical order.

    Args:
        budget: the limits.
        tokenizer: the policy's own; without one, prefixes are measured in bytes of the chat
            rendered as ChatML, scaled by the reported prompt tokens where there are any, else one
            token stands for 4 bytes, rounded up.
    """

    def __init__(self, budget: Budget, tokenizer: Tokenizer | None = None) -> None:
        self.budget = budget
        self.spent = Spend()
        self.token_source = "tokenizer" if tokenizer else "bytes/4"
        self._tokenizer = tokenizer
        self._seen = PrefixIndex()

    def fits(self, calls: int) -> bool:
        """Whether `calls` more calls fit and no token limit has been reached."""
        budget, spent = self.budget, self.spent
        return (
            (budget.calls is None or spent.calls + calls <= budget.calls)
            and (budget.tokens_total is None or spent.tokens_total < budget.tokens_total)
            and (budget.tokens_uncached is None or spent.tokens_uncached < budget.tokens_uncached)
        )

    def charge_act(
        self, messages: Sequence[Message], reply: str, usage: Usage, *, stepped: bool
    ) -> None:
        """Charge one acting call, and the environment step it led to if there was one.

        Raises:
            BudgetExceeded: if it does not fit; nothing is charged then.
        """
        self._require(1 + stepped)
        self.spent.act_calls += 1
        self.spent.steps += stepped
        self._charge_tokens(messages, reply, usage)

    def charge_reflect(self, messages: Sequence[Message], reply: str, usage: Usage) -> None:
        """Charge one reflecting or refining call.

        Raises:
            BudgetExceeded: if it does not fit; nothing is charged then.
        """
        self._require(1)
        self.spent.reflect_calls += 1
        self._charge_tokens(messages, reply, usage)

    def rollback_cost(self, tau: int) -> int:
        """Calls that coming back to before action `tau` costs."""
        return tau if self.budget.replay_cost else 0

    def charge_rollback(self, tau: int) -> None:
        """Charge one rollback to before action `tau`.

        Raises:
            BudgetExceeded: if it does not fit; nothing is charged then.
        """
        cost = self.rollback_cost(tau)
        self._require(cost)
        self.spent.rollbacks += 1
        self.spent.rollback_calls += cost

    def _require(self, calls: int) -> None:
        limit, wanted = self.budget.calls, self.spent.calls + calls
        if limit is not None and wanted > limit:
            raise BudgetExceeded("calls", limit, wanted)

    def _charge_tokens(self, messages: Sequence[Message], reply: str, usage: Usage) -> None:
        measure = self._by_ids if self._tokenizer is not None else self._by_bytes
        prompt, completion, shared = measure(messages, reply, usage)
        self.spent.prompt_tokens += prompt
        # The end of an empty reply is a token too; without it a budget might never be used up.
        self.spent.completion_tokens += max(1, completion)
        self.spent.shared_tokens += shared

    def _by_ids(
        self, messages: Sequence[Message], reply: str, usage: Usage
    ) -> tuple[int, int, int]:
        assert self._tokenizer is not None
        ids, prompt = self._tokenizer(messages, reply)
        key = tuple(ids)
        shared = self._seen.shared(key[:prompt])
        self._seen.add(key)
        return prompt, usage.completion_tokens or len(ids) - prompt, shared

    def _by_bytes(
        self, messages: Sequence[Message], reply: str, usage: Usage
    ) -> tuple[int, int, int]:
        head, tail = chatml(messages), reply.encode("utf-8", "surrogatepass")
        prompt = usage.prompt_tokens or estimate_tokens(head)
        shared = prompt * self._seen.shared(head) // len(head)
        self._seen.add(head + tail + b"<|im_end|>\n")
        if usage.prompt_tokens:
            self.token_source = "server, prefixes by bytes"
        return prompt, usage.completion_tokens or estimate_tokens(tail), shared
