"""The records that travel between the layers: frozen values without logic.

A *turn* is one model reply and its outcome; a `Step` records it. An *action index* counts from
0 the steps that reached the environment, absolute from the start of the episode; `tau` is the
index of the action to replace (the paper's tau minus 1). `Snapshot.step` counts actions taken,
0 to t.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, get_args

from leafe_gym._pickling import pickled_by_slots
from leafe_gym.errors import UsageError

Json = Any
"""A value that `json.dumps` writes without help: None, bool, int, float, str, list, dict."""

Info = dict[str, Any]
Scope = Literal["instance", "process", "portable"]
Ending = Literal[
    "won",
    "failed",
    "unparsable",
    "context",
    "budget",
    "env_error",
    "backend_error",
    "policy_error",
]
"""How an attempt ended. "failed", "unparsable" and "context" (the prompt no longer fits the model's
window) are failures and are reflected on; "budget" and the errors are not."""

FAILURES: frozenset[Ending] = frozenset({"failed", "unparsable", "context"})
ERRORS: frozenset[Ending] = frozenset({"env_error", "backend_error", "policy_error"})
"""Endings of attempts that do not count: the environment, a restore or a model call failed."""

MOST_COUNTED = 2**40
"""Largest number of tokens or tries of a call; more is an error of whoever counted, and their sum
over a task would not fit into a run's file."""
INFO_KEYS = ("won", "score", "feedback", "admissible_commands")
"""What of a step's `info` is kept in trees; all of it plain JSON."""


class Message(TypedDict):
    """One message of a chat, as OpenAI's interface has it.

    Attributes:
        role: "system" (first, at most once), then "user" and "assistant" in turn.
        content: the text.
    """

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One problem: the unit of exploring, splitting, resuming and Pass@k.

    Attributes:
        id: unique among tasks, stable over versions of the package.
        env_id: Gymnasium id, as given to `gymnasium.make`.
        kwargs: keyword arguments of `gymnasium.make`; plain JSON.
        split: "train", "val" or "test"; "" where an environment was handed over directly.
        seed: seed of `env.reset`.
        instruction: what the environment asks for; "" until the environment was reset.

    Raises:
        UsageError: for a value of another type; names it.

    Example:
        >>> task = Task(id="door:3", env_id="me/Door-v0", kwargs={"doors": 2}, seed=3)
        >>> task.seed, task.kwargs
        (3, {'doors': 2})
    """

    id: str
    env_id: str
    kwargs: Mapping[str, Json] = field(default_factory=dict)
    split: str = ""
    seed: int = 0
    instruction: str = ""

    def __post_init__(self) -> None:
        for name in ("id", "env_id", "split", "instruction"):
            value = getattr(self, name)
            if not isinstance(value, str) or not _encodable(value):
                raise UsageError(f"Task {name}={value!r}: expected text")
        if not _is_count(self.seed):
            raise UsageError(f"Task seed={self.seed!r}: expected a whole number >= 0")
        if not isinstance(self.kwargs, Mapping):
            raise UsageError(f"Task kwargs={self.kwargs!r}: expected a dict")
        try:
            json.dumps(dict(self.kwargs), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UsageError(f"Task kwargs={self.kwargs!r}: expected plain JSON: {error}") from None


@pickled_by_slots
@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one model call, 0 to `MOST_COUNTED`; None where the policy does not report them.

    The ledger then estimates them.

    Raises:
        UsageError: for anything but such a whole number or None.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "completion_tokens"):
            count = getattr(self, name)
            if count is not None and not is_call_count(count):
                raise UsageError(
                    f"Usage {name}={count!r}: expected a whole number from 0 to {MOST_COUNTED}, or "
                    "None where it is not known"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """The tokens of one reply, where a policy exposes them.

    Attributes:
        prompt_ids: token ids of the rendered prompt.
        ids: token ids of the reply, its thinking and its end of turn included.
        logprobs: natural logarithm of each reply token's probability; as long as `ids`, or empty.

    Raises:
        UsageError: if the lengths differ.
    """

    prompt_ids: tuple[int, ...] = ()
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("prompt_ids", "ids", "logprobs"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.logprobs and len(self.logprobs) != len(self.ids):
            raise UsageError(
                f"Sampled logprobs: expected one for each of {len(self.ids)} ids, got "
                f"{len(self.logprobs)}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFit:
    """How a history was cut to fit a prompt into the model's window; zeros: shown in full.

    Attributes:
        shortened: number of the oldest observations that are shown shortened, >= 0.
        dropped: number of the oldest turns (reply and observation) that are not shown, >= 0.
    """

    shortened: int = 0
    dropped: int = 0

    def __post_init__(self) -> None:
        for name in ("shortened", "dropped"):
            if not _is_count(getattr(self, name)):
                raise UsageError(
                    f"PromptFit {name}={getattr(self, name)!r}: expected a whole number >= 0"
                )


@pickled_by_slots
@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a policy answers.

    Attributes:
        text: the reply, exactly as sampled; without the thinking where that is separated.
        reasoning: the model's thinking, where the policy separates it; "" otherwise.
        sampled: the reply's tokens, where asked for (`Sampling.return_ids`) and known.
        finish_reason: "stop" if the model ended the reply; "length" if it was cut. A reply that
            was cut is never taken as a decision.
        usage: token counts, where known.
        retries: failed tries before this reply, >= 0; outside the budget.

    Raises:
        UsageError: for a value of another type or range.

    Example:
        >>> tokens = Usage(prompt_tokens=90, completion_tokens=4)
        >>> reply = Completion(text="Action: up", usage=tokens)
        >>> reply.finish_reason, reply.usage.prompt_tokens
        ('stop', 90)
    """

    text: str
    finish_reason: Literal["stop", "length"] = "stop"
    usage: Usage = field(default_factory=Usage)
    retries: int = 0
    reasoning: str = ""
    sampled: Sampled | None = None

    def __post_init__(self) -> None:
        for name in ("text", "reasoning"):
            if not isinstance(getattr(self, name), str):
                raise UsageError(f"Completion {name}={getattr(self, name)!r}: expected a str")
        if self.sampled is not None and not isinstance(self.sampled, Sampled):
            raise UsageError(f"Completion sampled={self.sampled!r}: expected a Sampled or None")
        if not _is_one_of(self.finish_reason, ("stop", "length")):
            raise UsageError(
                f"Completion finish_reason={self.finish_reason!r}: expected 'stop' or 'length'"
            )
        if not isinstance(self.usage, Usage):
            raise UsageError(f"Completion usage={self.usage!r}: expected a Usage")
        if not is_call_count(self.retries):
            raise UsageError(
                f"Completion retries={self.retries!r}: expected a whole number from 0 to "
                f"{MOST_COUNTED}"
            )


Purpose = Literal["act", "reflect", "refine"]


@pickled_by_slots
@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a policy is to sample one reply.

    Attributes:
        purpose: what is asked for: the next action ("act"), a reflection on the attempt so far
            ("reflect"), or advice for a new attempt from step 0 ("refine").
        temperature: >= 0; 0 is greedy.
        top_p: above 0 up to 1: only the most probable tokens that together reach it are sampled.
        top_k: only so many of the most probable tokens are sampled, >= 1; None for no limit.
        return_ids: whether `Completion.sampled` is wanted.
        session: the task's id; calls of one session share prefixes, so that a policy with several
            servers keeps them on one. No reply depends on it.
        max_tokens: longest reply, in tokens.
        seed: 0 to 2**63 - 1; the same messages with the same seed give the same reply wherever
            the policy can promise it.
        json_schema: a JSON schema that the reply should satisfy, for servers that can enforce it.

    Raises:
        UsageError: for a value of another type or range.

    Example:
        >>> Sampling(purpose="act", temperature=0.7, max_tokens=64, seed=3).top_p
        1.0
    """

    purpose: Purpose = "act"
    temperature: float = 1.0
    max_tokens: int = 512
    seed: int = 0
    json_schema: Mapping[str, Json] | None = None
    top_p: float = 1.0
    top_k: int | None = None
    return_ids: bool = False
    session: str = ""

    def __post_init__(self) -> None:
        heat = self.temperature
        number = isinstance(heat, int | float) and not isinstance(heat, bool)
        if not number or not 0 <= heat < float("inf"):
            raise UsageError(f"Sampling temperature={heat!r}: expected a finite number >= 0")
        share = self.top_p
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 < share <= 1:
            raise UsageError(f"Sampling top_p={share!r}: expected a number above 0 up to 1")
        if self.top_k is not None and (not _is_count(self.top_k) or self.top_k < 1):
            raise UsageError(
                f"Sampling top_k={self.top_k!r}: expected a whole number >= 1, or None"
            )
        if not isinstance(self.session, str) or not _encodable(self.session):
            raise UsageError(f"Sampling session={self.session!r}: expected text")
        if type(self.return_ids) is not bool:
            raise UsageError(f"Sampling return_ids={self.return_ids!r}: expected True or False")
        if not _is_count(self.max_tokens) or self.max_tokens < 1:
            raise UsageError(
                f"Sampling max_tokens={self.max_tokens!r}: expected a whole number >= 1"
            )
        if not _is_count(self.seed) or self.seed >= 2**63:
            raise UsageError(f"Sampling seed={self.seed!r}: expected 0 to 2**63 - 1")
        if self.json_schema is not None and not isinstance(self.json_schema, Mapping):
            raise UsageError(f"Sampling json_schema={self.json_schema!r}: expected a dict or None")
        if not _is_one_of(self.purpose, get_args(Purpose)):
            raise UsageError(
                f"Sampling purpose={self.purpose!r}: expected one of {', '.join(get_args(Purpose))}"
            )


def _is_one_of(value: object, choices: tuple[str, ...]) -> bool:
    return isinstance(value, str) and value in choices


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_call_count(value: object) -> bool:
    """Whether `value` is a whole number from 0 to `MOST_COUNTED`."""
    return type(value) is int and 0 <= value <= MOST_COUNTED


def _is_count(value: object) -> bool:
    """Whether `value` is a whole number >= 0; True and False are none."""
    return type(value) is int and value >= 0


@pickled_by_slots
@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What an episode begins with.

    Attributes:
        observation: what `env.reset` returned.
        instruction: `info["instruction"]` of the reset; "" where there is none.
        info: the JSON subset `INFO_KEYS` of the reset's info.
    """

    observation: str
    instruction: str = ""
    info: Mapping[str, Json] = field(default_factory=dict)


@pickled_by_slots
@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One turn: a reply and its outcome.

    Attributes:
        action: what was given to `env.step`, or None for a reply that held no action.
        reply: the model's exact text, without the thinking where that was separated.
        observation: what came back; for action None the note that the reply was unusable.
        reward: finite; 0.0 for action None.
        terminated: the task is over, won or lost.
        truncated: the episode was cut (time limit).
        info: the JSON subset `INFO_KEYS` of the environment's info.
        experiences: ids of the branches whose experience was in the prompt that gave `reply`.
        usage: tokens of the call.
        reasoning: the model's thinking before `reply`, where it was separated.
        fit: how the history was cut in the prompt that gave `reply`.
        sampled: the reply's tokens, where they were asked for.

    Example:
        >>> step = Step(action="up", reply="Action: up", observation="A wall.", reward=-0.1)
        >>> step.action, step.over
        ('up', False)
        >>> Step(action=None, reply="Hm.", observation="No action was found.").action is None
        True
    """

    action: str | None
    reply: str
    observation: str
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    info: Mapping[str, Json] = field(default_factory=dict)
    experiences: tuple[int, ...] = ()
    usage: Usage = field(default_factory=Usage)
    reasoning: str = ""
    fit: PromptFit = PromptFit()
    sampled: Sampled | None = None

    @property
    def over(self) -> bool:
        """Whether the episode ended with this step."""
        return self.terminated or self.truncated


@pickled_by_slots
@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """Where an attempt went wrong and what to do there (paper: tau and e).

    Attributes:
        step: tau, the index of the action to replace, absolute from the episode's start.
        text: e, the diagnosis and the fix. Enters prompts only, never a loss.

    Example:
        >>> Experience(step=3, text="The door opens to the left.").step
        3
    """

    step: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reflection:
    """One reflection (or refinement) call and what was read from it.

    Attributes:
        after: own steps of the branch that had been taken when it was asked for; >= 1.
        reply: the model's exact text.
        verdict: "branch" opens a branch with `experience`; "no_mistake", "repeat" (this tau and
            this experience were tried from the same history before), "bad" (the reply could not be
            used) and "error" (the call failed; not charged) open none.
        experience: set for "branch" only.
        reason: for "bad" and "error" what was wrong; "" otherwise.
        repaired: the JSON had to be repaired before it could be read.
        usage: tokens of the call.
        reasoning: the model's thinking before `reply`, where it was separated.
        fit: how the history was cut in the prompt.
    """

    after: int
    reply: str
    verdict: Literal["branch", "no_mistake", "repeat", "bad", "error"]
    experience: Experience | None = None
    reason: str = ""
    repaired: bool = False
    usage: Usage = field(default_factory=Usage)
    reasoning: str = ""
    fit: PromptFit = PromptFit()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A state of one environment, restorable any number of times until it is released.

    Attributes:
        kind: name of the backend that made it.
        step: actions taken when it was made; 0 to t.
        digest: hash of the episode so far (seed, options, actions and outcomes).
        payload: the backend's own data; opaque.
        scope: where it can be restored: in the same environment instance, in any instance of the
            same process, or in another process too ("portable").
        nbytes: size of the payload in bytes; 0 where the backend holds none.

    Example:
        >>> import gymnasium as gym, leafe_gym as lg
        >>> env = lg.RollbackWrapper(gym.make("leafe/Sokoban-v0", size=6, boxes=1), "native")
        >>> _ = env.reset(seed=7)
        >>> saved = env.snapshot()
        >>> saved.kind, saved.step
        ('native', 0)
    """

    kind: str
    step: int
    digest: str
    payload: Any = field(repr=False, compare=False)
    scope: Scope = "process"
    nbytes: int = 0
