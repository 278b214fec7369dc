"""How much of a prompt an earlier prompt already holds, with roots of 60 actions.

`ideal_fraction`: of the content (system text, instruction, observations, replies) that was already
sent or generated at the same place of the same history, the part that lies within the longest
prefix a prompt shares with an earlier prompt and its completion, as rendered. A renderer that never
moves or rewrites anything reaches 1. The same for a renderer that puts the experience and a step
counter first. `shared_prompt_fraction`: shared / all prompt tokens of the ledger.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import gymnasium as gym
from _harness import Report, main

import leafe_gym as lg
from leafe_gym.prefixes import PrefixTrie, chatml
from leafe_gym.prompts.chat import ChatPrompts
from leafe_gym.tree import Tree
from leafe_gym.types import Experience, Message, Start, Step, Task

ACTIONS = 60
TASKS = 4
INTERACTIONS = 1_500
END = b"<|im_end|>\n"


@dataclass(frozen=True)
class Call:
    """One model call: what it was asked after, and what it answered."""

    task: Task
    start: Start
    steps: tuple[Step, ...]
    experiences: tuple[Experience, ...]
    reflects: bool
    reply: str


class ExperienceFirst(ChatPrompts):
    """For comparison: experience and step counter before everything else."""

    def render(
        self,
        task: Task,
        start: Start,
        steps: Sequence[Step],
        experiences: Sequence[Experience] = (),
    ) -> list[Message]:
        """See `PromptSet.render`."""
        system, *turns = super().render(task, start, steps)
        shown = "".join(f"Experience: {one.text}\n" for one in experiences)
        head = f"This is step {len(steps)}.\n{shown}{system['content']}"
        return [{"role": "system", "content": head}, *turns]


@dataclass
class Recorder(ChatPrompts):
    """The set `chat`, which records the arguments of the last prompt."""

    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def render(
        self,
        task: Task,
        start: Start,
        steps: Sequence[Step],
        experiences: Sequence[Experience] = (),
    ) -> list[Message]:
        """See `PromptSet.render`."""
        self._last = (task, start, tuple(steps), tuple(experiences))
        return super().render(task, start, steps, experiences)

    def answered(self, reply: str, *, reflects: bool) -> None:
        """Keep the call whose prompt was rendered last."""
        self.calls.append(Call(*self._last, reflects=reflects, reply=reply))


def measure() -> Report:
    """Explore with a policy that acts and reflects at random, and read the prompts."""
    prompt_tokens = shared_tokens = 0
    good, bad = Share(), Share()
    lengths: list[int] = []
    for seed in range(TASKS):
        recorder, tree = _explore(seed)
        prompt_tokens += tree.spent.prompt_tokens
        shared_tokens += tree.spent.shared_tokens
        lengths += [len(tree.branches[root].steps) for root in tree.roots()]
        good.add(recorder.calls, ChatPrompts())
        bad.add(recorder.calls, ExperienceFirst())
    return Report(
        figures={
            "ideal_fraction": good.fraction,
            "ideal_fraction_bad": bad.fraction,
            "shared_prompt_fraction": shared_tokens / prompt_tokens,
        },
        goals={
            "ideal_fraction": (">=", 0.99),
            "ideal_fraction_bad": ("<=", 0.5),
            "shared_prompt_fraction": (">=", 0.95),
        },
        meta={
            "samples": good.prompts,
            "tasks": TASKS,
            "interactions_a_task": INTERACTIONS,
            "longest_root": max(lengths),
            "prompt_set": "chat",
            "measure": "UTF-8 bytes of the chat as ChatML",
        },
    )


def _explore(seed: int) -> tuple[Recorder, Tree]:
    """One task: the calls in canonical order, and the tree."""
    recorder, dice = Recorder(), random.Random(seed)

    def policy(messages: list[Message]) -> str:
        reflects = "JSON object" in messages[-1]["content"]
        reply = _reply(dice, recorder, reflects=reflects)
        recorder.answered(reply, reflects=reflects)
        return reply

    made = gym.make("leafe/Sokoban-v0", boxes=3, size=8, max_steps=ACTIONS)
    agent = lg.ReflectiveTreeAgent(policy)
    agent.prompts = recorder
    env, budget = lg.RollbackWrapper(made), lg.Budget(interactions=INTERACTIONS)
    return recorder, agent.run(env, budget=budget, seed=seed, stop="budget")


def _reply(dice: random.Random, recorder: Recorder, *, reflects: bool) -> str:
    if not reflects:
        word = dice.choice(("up", "down", "left", "right"))
        return f"Thought {dice.randrange(1000)}: I try this way.\nAction: {word}"
    taken = sum(step.action is not None for step in recorder._last[2])
    step = dice.randrange(taken)
    return f'{{"step": {step}, "experience": "Go another way, see {dice.randrange(10**6)}."}}'


@dataclass
class Share:
    """Content that prompts share with earlier ones, and could have shared, in bytes."""

    shared: int = 0
    ideal: int = 0
    prompts: int = 0

    @property
    def fraction(self) -> float:
        """The part that is shared of what could be."""
        return self.shared / self.ideal

    def add(self, calls: Sequence[Call], prompts: ChatPrompts) -> None:
        """Take in the calls of one task, in order, as `prompts` renders them."""
        trie, known = PrefixTrie(), {()}
        for call in calls:
            render = prompts.render_reflection if call.reflects else prompts.render
            text = chatml(render(call.task, call.start, call.steps, call.experiences))
            pieces = _pieces(call)
            prefixes = [tuple(pieces[:end]) for end in range(1, len(pieces) + 1)]
            ideal = sum(1 for prefix in prefixes if prefix in known)
            within = trie.add(text)
            self.prompts += 1
            self.ideal += sum(len(piece) for piece in pieces[:ideal])
            self.shared += _covered(text, pieces[:ideal], within)
            trie.add(text + call.reply.encode() + END)
            known.update(prefixes)
            if not call.reflects:
                known.add((*pieces, call.reply.encode()))


def _pieces(call: Call) -> list[bytes]:
    """The content of a prompt in order: the parts that every rendering contains."""
    system = ChatPrompts().render(call.task, call.start, ())[0]["content"]
    pieces = [system, call.start.instruction, call.start.observation]
    for step in call.steps:
        pieces += [step.reply, step.observation]
    return [piece.encode() for piece in pieces]


def _covered(text: bytes, pieces: Sequence[bytes], within: int) -> int:
    """Bytes of the pieces that lie before `within` in `text`."""
    covered = place = 0
    for piece in pieces:
        place = text.index(piece, place)
        covered += max(0, min(len(piece), within - place))
        place += len(piece)
    return covered


if __name__ == "__main__":
    main(measure)
