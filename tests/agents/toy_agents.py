"""A small puzzle and a player to script, for the tests of agents."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Any, ClassVar

import gymnasium as gym

import leafe_gym as lg
from leafe_gym.agents.agent import Agent
from leafe_gym.budget import Spend, TokenMeter, measure
from leafe_gym.seeds import derive_rng
from leafe_gym.store.records import tree_json
from leafe_gym.tree import Tree
from leafe_gym.types import Completion, Message, Reflection, Sampling, Step, Usage


class Lock(gym.Env[str, str]):
    """Opens if the letters played are the code; over after as many letters as it has."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012
    drift: ClassVar[str] = ""
    """What this world has changed into; what was seen before is not seen again."""

    def __init__(
        self, code: str = "aba", bad_resets: Sequence[int] = (), score: Any = None
    ) -> None:
        self.observation_space = lg.TextSpace()
        self.action_space = lg.TextSpace()
        self.code, self.bad_resets = code, bad_resets
        # Not in JSON, so a task cannot hold them.
        self.score = float(score) if score in ("nan", "inf") else score
        self.resets = 0
        self.trail = ""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.resets += 1
        if self.resets in self.bad_resets:
            raise RuntimeError("the lock is jammed")
        self.trail = ""
        return "trail=", {"instruction": "Open the lock."}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if action == "crash":
            raise RuntimeError("the lock broke")
        wanted = self.code[len(self.trail)]
        self.trail += action
        over, won = len(self.trail) == len(self.code), self.trail == self.code
        feedback = "" if action == wanted else f"play {wanted}"
        info = {"won": won, "feedback": feedback, "score": self.score}
        return f"trail={self.trail}{self.drift}", float(won), over, False, info

    def get_state(self) -> str:
        return self.trail

    def set_state(self, state: str) -> None:
        self.trail = state


def register(name: str, entry_point: Callable[..., Any]) -> None:
    gym.register(f"toy/{name}-v0", entry_point)


register("Lock", Lock)


def lock(code: str = "aba", backend: str = "native", **kwargs: Any) -> lg.RollbackWrapper:
    env = gym.make("toy/Lock-v0", code=code, disable_env_checker=True, **kwargs)
    return lg.RollbackWrapper(env, backend=backend, probe_actions=["a", "b"])


@dataclass(frozen=True)
class View:
    """What a player sees: the last turn, parsed, and the sampling."""

    messages: Sequence[Message]
    sampling: Sampling

    @property
    def last(self) -> str:
        return self.messages[-1]["content"]

    @property
    def reflects(self) -> bool:
        return "JSON object" in self.last

    @property
    def number(self) -> int:
        """Number of the next action."""
        users = [one["content"] for one in self.messages if one["role"] == "user"]
        return sum("could not be used" not in text for text in users[1:])

    @property
    def trail(self) -> str:
        return str(re.findall(r"trail=(\w*)", "".join(m["content"] for m in self.messages))[-1])

    @property
    def experiences(self) -> list[str]:
        """All experiences in the chat, oldest first."""
        whole = "\n".join(m["content"] for m in self.messages)
        return re.findall(r"an earlier attempt that failed:\n(.+)", whole)

    @property
    def comments(self) -> list[tuple[int, str]]:
        return [(int(n), c) for n, c in re.findall(r"- action (\d+) \(\w*\): (.+)", self.last)]


def follow(view: View) -> str:
    """Play what a experience in the last turn says, else a."""
    said = re.findall(r"earlier attempt that failed:\nplay (\w+)", view.last)
    return said[-1] if said else "a"


def blame(view: View) -> str:
    """Blame the first action that the lock complains about."""
    if not view.comments:
        return answer(None)
    step, text = view.comments[0]
    return answer(step, text)


def answer(step: int | None, text: str = "") -> str:
    return json.dumps({"step": step, "experience": text})


@dataclass
class Player:
    """A policy made of two functions; remembers what it was asked.

    `act` gives an action, or None for a reply without one; `reflect` gives the whole reply.
    """

    act: Callable[[View], str | None] = follow
    reflect: Callable[[View], str] = blame
    delay: float = 0.0
    usage: Usage = field(default_factory=Usage)
    name: str = "player"
    seen: list[View] = field(default_factory=list)

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        if self.delay:
            await asyncio.sleep(SystemRandom().random() * self.delay)
        view = View(messages, sampling)
        self.seen.append(view)
        if view.reflects:
            return Completion(text=self.reflect(view), usage=self.usage)
        action = self.act(view)
        return Completion(text="hm" if action is None else f"Action: {action}", usage=self.usage)

    @property
    def reflections(self) -> list[View]:
        return [view for view in self.seen if view.reflects]


def noisy(*, delay: float = 0.0) -> Player:
    """Acts and looks back by chance, in every way there is; the same for the same seed."""

    def act(view: View) -> str | None:
        letters: list[str | None] = [*"aaabbb", None]
        return letters[int(derive_rng(view.sampling.seed).integers(7))]

    def reflect(view: View) -> str:
        rng = derive_rng(view.sampling.seed)
        taken = sum(m["content"].startswith("Action") for m in view.messages)
        step = int(rng.integers(taken))
        if '"step"' not in view.last:
            return str(rng.choice(['{"experience": "play b"}', '{"experience": "no"}', "nonsense"]))
        choices = [answer(step, f"play {rng.choice(['a', 'b'])}")] * 4
        return str(rng.choice([*choices, answer(None), "nonsense", answer(taken, "too late")]))

    return Player(act, reflect, delay)


def refine(view: View) -> str:
    """What to play, all letters that were complained about, as one experience."""
    return json.dumps({"experience": "play " + " ".join(f"{n}{c[-1]}" for n, c in view.comments)})


def recount(tree: Tree, *, replay_cost: bool = False) -> Spend:
    """What the ledger must say, counted from the branches alone."""
    back = [b for b in tree.branches if b.parent is not None and not b.restart]
    return Spend(
        steps=sum(s.action is not None for b in tree.branches for s in b.steps),
        act_calls=sum(len(b.steps) for b in tree.branches),
        reflect_calls=sum(r.verdict != "error" for b in tree.branches for r in b.reflections),
        rollbacks=len(back),
        rollback_steps=sum(b.start for b in back) if replay_cost else 0,
        attempts=len(tree.branches),
    )


def ledger(tree: Tree) -> Spend:
    """The fields of the tree's ledger that `recount` fills in."""
    spent = tree.spent
    return Spend(
        steps=spent.steps,
        act_calls=spent.act_calls,
        reflect_calls=spent.reflect_calls,
        rollbacks=spent.rollbacks,
        rollback_steps=spent.rollback_steps,
        attempts=spent.attempts,
    )


def recharge(tree: Tree, agent: Agent) -> tuple[Spend, Spend]:
    """The tokens before and after the tree's last call, by rendering all its prompts again.

    For `until="tau"` and refinement.
    """
    meter, spent, before = TokenMeter(), Spend(), Spend()
    prompts = agent.prompts_for(tree.task.env_id)

    def charge(chat: list[Message], call: Step | Reflection) -> None:
        nonlocal before
        before = spent + Spend()
        size = measure(chat, call.reply, call.usage, None)
        spent.prompt_tokens += size.prompt_tokens
        spent.completion_tokens += size.completion_tokens
        spent.shared_tokens += meter.shared(size)

    for branch in tree.branches:
        back = branch.parent is not None and not branch.restart
        path = tree.history(branch.parent, branch.start) if back else []  # type: ignore[arg-type]
        experience = [branch.experience] if branch.experience else []
        for turns, step in enumerate(branch.steps, start=1):
            shown = experience if step.experiences else []
            charge(prompts.render(tree.task, tree.start, path, shown), step)
            path.append(step)
            for reflection in branch.reflections:
                if reflection.after == turns:
                    look = (
                        prompts.render_refinement(tree.task, tree.start, path, experience)
                        if agent.method == "ir"
                        else prompts.render_reflection(tree.task, tree.start, path)
                    )
                    charge(look, reflection)
    return before, spent


def canonical(tree: Tree) -> Any:
    """All of a tree that must not depend on timing: overhead and replays are left out."""
    data = tree_json(tree)
    for spend in (data["spent"], data["solved_at"] or {}):
        for key in [key for key in spend if key.startswith("overhead_") or key == "replayed_steps"]:
            del spend[key]
    return data


def actions(tree: Tree, branch: int) -> str:
    """The letters of a whole path; ? for replies without an action."""
    return "".join(step.action or "?" for step in tree.history(branch))
