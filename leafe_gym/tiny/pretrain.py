"""Pretraining of the small model, in minutes on one core."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from itertools import count, islice, repeat
from multiprocessing import get_context
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy, log_softmax
from transformers import Qwen2Config, Qwen2ForCausalLM

from leafe_gym.envs.sokoban.graph import StateGraph
from leafe_gym.envs.sokoban.layouts import boards
from leafe_gym.envs.sokoban.rules import ACTIONS
from leafe_gym.tiny.corpus import IGNORE, ActingBatch, Corpus, ReflectionBatch
from leafe_gym.tiny.demonstrator import (
    WEAKNESSES,
    Weakness,
    WeaknessKind,
    demonstrator,
    expert,
)
from leafe_gym.tiny.transcripts import Conversations, TranscriptCorpus
from leafe_gym.tiny.words import END, SMALL, World, vocabulary
from leafe_gym.types import Json

EXPERIENCES = (1, 1, 1, 1, 2, 2, 3, 5, 8)
"""Numbers of experiences in an advised example; drawn evenly."""
AHEAD = 4
"""Sets of fresh levels generated ahead of their use, by processes on half the cores."""
AUXILIARY = 0.5
"""Weight of classifying each action of a failed episode as optimal or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a base is trained.

    Attributes:
        kind: the demonstrator's weakness.
        world: its rooms.
        seed: of weights, levels and examples.
        levels: training levels; the levels of tasks start at seed 0, these from `first_level`.
        fresh: steps after which other levels take their place, made meanwhile by a process beside
            this one; None for never.
        steps: optimizer steps.
        acting: acting examples a step.
        advised: examples with experiences a step.
        reflecting: failed episodes a step.
        width: of the model.
        layers: of the model.
        lr: peak learning rate.
        memory: read and act in whole conversations; else one prompt a step.
        transcripts: whole episodes a step, in place of the three kinds of examples, with memory.
        blind: weight of a blind push, in place of that of the kind "blind".
        by_layout: only levels whose layout is of the training split
            (`leafe_gym.envs.sokoban.layouts`).
        short: fewest and most actions of the shortest solution of the levels that acting examples
            come from, in place of the world's.
    """

    kind: WeaknessKind = "blind"
    world: World = SMALL
    seed: int = 0
    levels: int = 3000
    fresh: int | None = None
    first_level: int = 5000
    steps: int = 1400
    acting: int = 128
    advised: int = 64
    reflecting: int = 16
    width: int = 64
    layers: int = 3
    lr: float = 3e-3
    memory: bool = False
    transcripts: int = 44
    blind: float | None = None
    by_layout: bool = False
    short: tuple[int, int] | None = None

    @classmethod
    def of(cls, written: Json) -> Recipe | None:
        """A recipe from its fields, those that were not yet there at their defaults; else None."""
        names = {one.name for one in fields(cls)}
        if not isinstance(written, dict) or not set(written) <= names:
            return None
        short = written.get("short")
        plain = written | {"world": World.read(written.get("world"))}
        return cls(**plain | {"short": tuple(short) if short else None})

    @property
    def weakness(self) -> Weakness:
        """Of the demonstrator."""
        known = WEAKNESSES[self.kind]
        return known if self.blind is None else replace(known, blind=self.blind)


NATURAL = Recipe(kind="natural", by_layout=True, short=(3, 5), steps=140)
"""A base without a designed weakness: trained a tenth as long, on short solutions."""
Losses = dict[str, torch.Tensor]
PretrainProgress = Callable[[int, dict[str, float]], None]


def make_model(recipe: Recipe) -> Any:
    """The untrained model."""
    torch.manual_seed(recipe.seed)
    world = recipe.world
    config = Qwen2Config(
        vocab_size=len(world.words),
        hidden_size=recipe.width,
        intermediate_size=4 * recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512 if world == SMALL else 2048,
        tie_word_embeddings=True,
        # The usual 0.02 is for models a hundred times as wide: with it nothing is learned here.
        initializer_range=recipe.width**-0.5,
        bos_token_id=None,
        eos_token_id=vocabulary()[END],
        pad_token_id=0,
        use_cache=True,
    )
    if world != SMALL:
        config.update({"world": asdict(world)})
    if recipe.memory:
        config.update({"prompts": "tiny-multiturn"})  # saved with it, and what the policy reads
    return Qwen2ForCausalLM(config)


def make_levels(
    split: str, seeds: Sequence[int], world: World = SMALL, **changes: Json
) -> StateGraph:
    """The levels of a split by seed, as the environment draws them."""
    env = gym.make(
        "leafe/Sokoban-v0", disable_env_checker=True, split=split, **{**world.levels, **changes}
    )
    boards = []
    for seed in seeds:
        env.reset(seed=seed)
        boards.append(env.unwrapped.board)  # type: ignore[attr-defined]
    return StateGraph.of(boards)


def graphs(recipe: Recipe) -> Iterator[StateGraph]:
    """The levels to train on, again and again: always the same, or others each time."""

    def seeds(number: int) -> range:
        first = recipe.first_level + number * recipe.levels
        return range(first, first + recipe.levels)

    if recipe.by_layout:
        yield from repeat(_of_training_layouts(recipe, {}))
    if recipe.fresh is None:
        yield from repeat(make_levels("train", seeds(0), recipe.world))
        return
    processes = max(1, min(AHEAD, (os.cpu_count() or 1) // 2))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as makers:
        coming = deque(
            makers.submit(make_levels, "train", seeds(number), recipe.world)
            for number in range(AHEAD)
        )
        for number in count(AHEAD):
            made = coming.popleft().result()
            coming.append(makers.submit(make_levels, "train", seeds(number), recipe.world))
            yield made


def _of_training_layouts(recipe: Recipe, changes: dict[str, Json]) -> StateGraph:
    """Levels of training layouts; `changes` override the arguments of the environment."""
    arguments = {**recipe.world.levels, **changes}
    found = boards("train", arguments, count(recipe.first_level))
    return StateGraph.of([board for _, board in islice(found, recipe.levels)])


def pretrain(recipe: Recipe, progress: PretrainProgress | None = None, device: str = "cpu") -> Any:
    """A base model.

    A blind or natural base learns from its demonstrator throughout. A noisy one learns from the
    solver first and learns the noise in the last fifth: from noise alone a model this small learns
    neither to plan nor to follow experiences. Failed episodes are the weak demonstrator's in all.

    Args:
        recipe: what to train.
        progress: called with (step, figures) every 50 steps.
        device: where to.
    """
    rng = np.random.default_rng(recipe.seed)
    supply = graphs(recipe)
    corpora = _corpora(recipe, next(supply), rng)
    model = make_model(recipe).to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: _rate(n, recipe.steps))
    began = time.process_time()
    for step in range(recipe.steps):
        if recipe.fresh is not None and step and step % recipe.fresh == 0:
            corpora = _corpora(recipe, next(supply), rng)
        corpus = corpora.early if step < 0.8 * recipe.steps else corpora.weak
        if isinstance(corpus, TranscriptCorpus):
            losses = conversation_losses(model, corpus.transcripts(recipe.transcripts))
        else:
            act = acting_loss(model, (corpora.short or corpus).acting(recipe.acting))
            experience = acting_loss(
                model, corpus.advised(recipe.advised, int(rng.choice(EXPERIENCES)))
            )
            reflection, verdict = reflection_loss(model, corpora.weak.reflecting(recipe.reflecting))
            losses = {
                "act": act,
                "experience": experience,
                "reflection": reflection,
                "verdict": verdict,
            }
        loss = losses["act"] + losses["experience"] + losses["reflection"]
        loss = loss + AUXILIARY * losses["verdict"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if progress is not None and (step % 50 == 49 or step + 1 == recipe.steps):
            figures = {name: float(value.detach()) for name, value in losses.items()}
            progress(step + 1, figures | {"cpu": time.process_time() - began})
    return model.eval()


class _Corpora(NamedTuple):
    """The corpora of the first four fifths of the steps, of the last fifth and of failed episodes.

    Attributes:
        early: of the first four fifths.
        weak: of the last fifth, and of failed episodes.
        short: acting examples, where they come from other levels.
    """

    early: Corpus
    weak: Corpus
    short: Corpus | None


def _corpora(recipe: Recipe, graph: StateGraph, rng: np.random.Generator) -> _Corpora:
    kind = TranscriptCorpus if recipe.memory else Corpus
    weak = kind(graph, demonstrator(graph, recipe.weakness), recipe.world, rng)
    early = kind(graph, expert(graph), recipe.world, rng) if recipe.kind == "noisy" else weak
    if recipe.short is None:
        return _Corpora(early, weak, None)
    easy = _of_training_layouts(recipe, {"solution": list(recipe.short)})
    return _Corpora(early, weak, kind(easy, demonstrator(easy, recipe.weakness), recipe.world, rng))


def _rate(step: int, steps: int) -> float:
    """Warm up over 50 steps, stay, fall to nothing over the last two fifths."""
    left = (steps - step) / (0.4 * steps)
    return min(1.0, (step + 1) / 50, max(left, 0.0))


def acting_loss(model: Any, batch: ActingBatch) -> torch.Tensor:
    """Cross-entropy to the chances of each action, and of ending the reply after it."""
    chances = torch.from_numpy(batch.chances).to(model.device)
    words = torch.tensor([vocabulary()[action] for action in ACTIONS], device=model.device)
    said = words[torch.multinomial(chances, 1).squeeze(1)]
    ids = torch.cat([torch.from_numpy(batch.ids).to(model.device), said[:, None]], dim=1)
    logits = model.lm_head(model.model(ids, use_cache=False).last_hidden_state[:, -2:])
    first = log_softmax(logits[:, 0], dim=-1)[:, words]
    end = torch.full((len(ids),), vocabulary()[END], device=model.device)
    return -(chances * first).sum(dim=1).mean() + cross_entropy(logits[:, 1], end)


def reflection_loss(model: Any, batch: ReflectionBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of the answers, and of the verdict on each action."""
    ids = torch.from_numpy(batch.ids).to(model.device)
    hidden = model.model(ids, use_cache=False).last_hidden_state
    return _known(model, hidden, batch.labels), _known(model, hidden, batch.verdicts)


def conversation_losses(model: Any, batch: Conversations) -> Losses:
    """The four losses of the memoryless model, all from one pass over whole conversations."""
    ids = torch.from_numpy(batch.ids).to(model.device)
    hidden = model.model(ids, use_cache=False).last_hidden_state
    rows, steps = np.nonzero(batch.at >= 0)
    places = batch.at[rows, steps]
    chances = torch.from_numpy(batch.chances[rows, steps]).to(model.device)
    words = torch.tensor([vocabulary()[action] for action in ACTIONS], device=model.device)
    said = log_softmax(model.lm_head(hidden[rows, places]), dim=-1)[:, words]
    lost = -(chances * said).sum(dim=1)
    end = torch.full((len(rows),), vocabulary()[END], device=model.device)
    advised = torch.from_numpy(batch.advised[rows, steps]).to(model.device)
    return {
        "act": lost[~advised].mean() + cross_entropy(model.lm_head(hidden[rows, places + 1]), end),
        "experience": lost[advised].mean() if advised.any() else lost.sum() * 0,
        "reflection": _known(model, hidden, batch.labels),
        "verdict": _known(model, hidden, batch.verdicts),
    }


def _known(model: Any, hidden: torch.Tensor, labels: NDArray[np.int64]) -> torch.Tensor:
    """Cross-entropy over the places with a label; 0 without one."""
    wanted = torch.from_numpy(labels).to(model.device)
    known = wanted != IGNORE
    if not known.any():
        return hidden.sum() * 0
    return cross_entropy(model.lm_head(hidden[known]), wanted[known])
