"""The records that travel between the layers: frozen values without logic.

Counting: a step's *action number* counts from 0 and only steps that reached the environment have
one; `tau` is the number of the action to replace (the paper's tau minus 1). `Snapshot.step` counts
actions taken, 0 to t.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

Json = Any
"""A value that `json.dumps` writes without help: None, bool, int, float, str, list, dict."""

Info = dict[str, Any]
Scope = Literal["instance", "process", "portable"]
Ending = Literal[
    "won",
    "failed",
    "unparsable",
    "budget",
    "env_error",
    "backend_error",
    "policy_error",
]
"""How an attempt ended. "failed" and "unparsable" are failures and are reflected on; "budget" and
the errors are not."""

INFO_KEYS = ("won", "score", "feedback", "admissible_commands")
"""What of a step's `info` is kept in trees; all of it plain JSON."""


class Message(TypedDict):
    """One turn of a chat."""

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
    """

    id: str
    env_id: str
    kwargs: Mapping[str, Json] = field(default_factory=dict)
    split: str = ""
    seed: int = 0
    instruction: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one model call. None: the policy did not say, and the meter estimates."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a policy answers.

    Attributes:
        text: the reply, exactly as sampled.
        finish_reason: "stop" when the model ended by itself; "length" when it was cut. A reply
            that was cut is never taken as a decision.
        usage: token counts, where known.
        retries: failed tries before this reply; outside the budget.
    """

    text: str
    finish_reason: Literal["stop", "length"] = "stop"
    usage: Usage = field(default_factory=Usage)
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a policy is to sample one reply.

    Attributes:
        temperature: >= 0; 0 is greedy.
        max_tokens: longest reply, in tokens.
        seed: 0 to 2**63 - 1; the same messages with the same seed give the same reply wherever
            the policy can promise it.
        json_schema: a JSON schema that the reply should satisfy, for servers that can enforce it.
        purpose: what the reply is for: an action, a reflection on the attempt so far (paper: tau
            and e), or a refinement (an experience for a new attempt from the start).
    """

    temperature: float = 1.0
    max_tokens: int = 512
    seed: int = 0
    json_schema: Mapping[str, Json] | None = None
    purpose: Literal["act", "reflect", "refine"] = "act"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What an episode begins with."""

    observation: str
    instruction: str = ""
    info: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One round: a reply and what came of it.

    Attributes:
        action: what was given to `env.step`, or None for a reply that held no action.
        reply: the model's exact text.
        observation: what came back; for action None the note that the reply was unusable.
        reward: finite; 0.0 for action None.
        terminated: the task is over, won or lost.
        truncated: the episode was cut (time limit).
        info: the JSON subset `INFO_KEYS` of the environment's info.
        experiences: ids of the branches whose experience was in the prompt that gave `reply`.
        usage: tokens of the call.
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

    @property
    def over(self) -> bool:
        """Whether the episode ended with this step."""
        return self.terminated or self.truncated


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """Where an attempt went wrong and what to do there (paper: tau and e).

    Attributes:
        step: tau, the number of the action to replace, absolute from the episode's start.
        text: e, the diagnosis and fix. Enters prompts only, never a loss.
    """

    step: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reflection:
    """One reflection (or refinement) call and what was read from it.

    Attributes:
        after: own steps of the branch that had been taken when it was asked for; >= 1.
        reply: the model's exact text.
        verdict: "branch" opens a branch with `experience`; "no_mistake", "repeat" (this tau and e
            were tried from the same history before) and "bad" open none.
        experience: set for "branch" only.
        reason: why the reply was bad; "" otherwise.
        repaired: the JSON had to be repaired before it could be read.
        usage: tokens of the call.
    """

    after: int
    reply: str
    verdict: Literal["branch", "no_mistake", "repeat", "bad"]
    experience: Experience | None = None
    reason: str = ""
    repaired: bool = False
    usage: Usage = field(default_factory=Usage)


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
    """

    kind: str
    step: int
    digest: str
    payload: Any = field(repr=False, compare=False)
    scope: Scope = "process"
    nbytes: int = 0
