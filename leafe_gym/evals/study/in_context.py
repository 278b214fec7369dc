"""Arms that train nothing and keep experiences in the prompt at test time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from leafe_gym.envs.sokoban.rules import ACTIONS
from leafe_gym.errors import BadReply
from leafe_gym.evals.reproduce.exact import PolicyChain
from leafe_gym.evals.reproduce.levels import LevelSet, StatePool, recovery_pool
from leafe_gym.evals.reproduce.protocol import AGENT
from leafe_gym.evals.study.measure import Levels
from leafe_gym.evals.study.methods import MethodContext
from leafe_gym.evals.study.settings import Setting
from leafe_gym.prompts.base import ReflectionVerdict
from leafe_gym.prompts.tiny import TinyPrompts
from leafe_gym.seeds import derive_rng, derive_seed
from leafe_gym.store.reader import RunReader
from leafe_gym.tiny.corpus import Ids, act_prompts
from leafe_gym.tiny.policy import TinyPolicy
from leafe_gym.tiny.words import EXPERIENCE, vocabulary
from leafe_gym.types import Completion, Json, Message, Sampling

PLAYBOOK = 8
"""Experiences in a playbook: as many as the model has seen in one prompt."""
_TRIES = 16
"""Rollouts among which one that failed is looked for on each level."""
_Told = tuple[int, str]
"""Step and text of an experience."""


def in_context(context: MethodContext, levels: Levels) -> Json:
    """The base with its own experience on each test level in its prompt, at step tau.

    The experience comes from a failed rollout on the same test level: the arm needs an attempt and
    a reflection more than the others, and is an upper bound of what experience in the prompt gives.
    A level on which no rollout failed, or the reflection cannot be used, is played without. States
    of the recovery pool were reached otherwise, so the experience says nothing about them.
    """
    test = levels.test
    policy = TinyPolicy.load(context.base)
    told = asyncio.run(_reflections(policy, test, context.seed))
    calls = int(test.world.steps * 2 + 1) * len(test.tasks)
    pool = recovery_pool(test, policy.network, context.seed)
    chains = {one: told_chain(test, policy, [one]) for one in sorted(set(told.values()))}
    plain = test.chain(policy.network)
    found = plain.success()
    for level, one in told.items():
        found[level] = chains[one].success(test.graph.starts[[level]])[0]
    return {
        "costs": {"interactions": calls, "experiences": len(told)},
        "success": found.round(9).tolist(),
        "pool": pool.level.tolist(),
        "recovery": None,
        "elsewhere": {},
    }


def playbook(context: MethodContext, levels: Levels) -> Json:
    """The base with the most frequent successful experiences of training levels in its prompt.

    In the manner of ACE (the paper's training-free baseline): one playbook for all levels, grown on
    the training levels, here from the branches of the tree that won.
    """
    run = context.collect("tree", Setting())
    counts: Counter[_Told] = Counter()
    with RunReader(run.folder) as reader:
        for tree in reader.trees():
            for branch in tree.branches:
                if branch.won and branch.experience is not None:
                    counts[branch.experience.step, branch.experience.text] += 1
    told = [one for one, _ in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))[:PLAYBOOK]]
    policy = TinyPolicy.load(context.base)
    pool: StatePool = recovery_pool(levels.test, policy.network, context.seed)

    def chances(on: LevelSet, at: StatePool | None = None) -> list[float]:
        chain = told_chain(on, policy, told, always=True)
        won = chain.success() if at is None else chain.success(at.states, at.steps)
        return [float(one) for one in won.round(9)]

    return {
        "costs": run.notes | {"experiences": len(told)},
        "success": chances(levels.test),
        "pool": pool.level.tolist(),
        "recovery": chances(levels.test, pool),
        "elsewhere": {title: chances(other) for title, other in levels.elsewhere.items()},
    }


def told_chain(
    levels: LevelSet, policy: TinyPolicy, told: Sequence[_Told], *, always: bool = False
) -> PolicyChain:
    """The policy with experiences in its prompt: at their own step only, or at every step."""
    words = vocabulary()

    def chances(states: NDArray[np.int64], step: int) -> NDArray[np.float64]:
        prompts = act_prompts(levels.rows[states], np.full(len(states), words[f"s{step}"]))
        shown = [one for one in told if always or one[0] == step]
        lines = [word for one in shown for word in _line(one, words)]
        before: Ids = np.tile(np.array(lines, dtype=np.int64), (len(states), 1))
        return policy.chances(np.concatenate([prompts[:, :1], before, prompts[:, 1:]], axis=1))

    return PolicyChain(levels.graph, chances, levels.world.steps)


def _line(told: _Told, words: Mapping[str, int]) -> list[int]:
    step, text = told
    return [words[EXPERIENCE], words[f"s{step}"], *(words[word] for word in text.split())]


async def _reflections(policy: TinyPolicy, levels: LevelSet, seed: int) -> dict[int, _Told]:
    """The usable reflection on the first failed rollout of each level."""
    graph = levels.graph
    starts = np.repeat(graph.starts, _TRIES)
    episodes = levels.chain(policy.network).sample(starts, derive_rng(seed, "in context"))
    lost = (~episodes.won).reshape(-1, _TRIES)
    prompts = TinyPrompts()

    async def reflect(level: int) -> tuple[int, ReflectionVerdict | None]:
        number = level * _TRIES + int(lost[level].argmax())
        acted = np.flatnonzero(episodes.acted[number])
        lines: list[str] = []
        for step in acted:
            lines += [f"s{step}", *_rows(levels, episodes.states[number, step])]
            lines.append(ACTIONS[episodes.actions[number, step]])
        last = episodes.states[number, len(acted)]
        asked: list[Message] = [
            {"role": "user", "content": " ".join([*lines, f"s{len(acted)}", *_rows(levels, last)])
             + " failed"}
        ]  # fmt: skip
        sampling = Sampling(
            temperature=AGENT.reflect_temperature,
            max_tokens=AGENT.max_reflect_tokens,
            seed=derive_seed(seed, "in context", level),
        )
        reply: Completion = await policy.complete(asked, sampling)
        try:
            return level, prompts.parse_reflection(reply, len(acted))
        except BadReply:
            return level, None

    tried = await asyncio.gather(*(reflect(int(one)) for one in np.flatnonzero(lost.any(axis=1))))
    return {
        level: (verdict.step, verdict.text)
        for level, verdict in tried
        if verdict is not None and verdict.step is not None
    }


def _rows(levels: LevelSet, state: int) -> list[str]:
    from leafe_gym.prompts.tiny import inside

    return inside(levels.graph.boards[state])
