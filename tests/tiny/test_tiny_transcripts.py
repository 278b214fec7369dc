"""What the corpus of conversations teaches is what the prompts show and the solver says."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np

from leafe_gym.envs.sokoban.rules import ACTIONS
from leafe_gym.prompts.base import prompt_set
from leafe_gym.tiny.corpus import FOLLOW, IGNORE
from leafe_gym.tiny.demonstrator import WEAKNESSES, demonstrator
from leafe_gym.tiny.make_base import CURVE, build
from leafe_gym.tiny.policy import SHIPPED, TinyPolicy
from leafe_gym.tiny.pretrain import Recipe, make_levels
from leafe_gym.tiny.transcripts import Conversations, TranscriptCorpus
from leafe_gym.tiny.words import SMALL, vocabulary
from leafe_gym.types import Experience, Start, Step, Task

GRAPH = make_levels("train", range(40))
WEAK = demonstrator(GRAPH, WEAKNESSES["blind"])
WORDS = list(vocabulary())
STATE = {board: number for number, board in enumerate(GRAPH.boards)}
CONFIGURED = json.loads((SHIPPED / "multiturn" / "config.json").read_text())


def batch(count: int = 80) -> Conversations:
    return TranscriptCorpus(GRAPH, WEAK, SMALL, np.random.default_rng(0)).transcripts(count)


def read(ids: np.ndarray) -> list[tuple[int, list[tuple[int, str, str]], str]]:
    """(state, tips as (step, bad, good), action or answer) of every turn."""
    turns = []
    text = " ".join(WORDS[i] for i in ids if i)
    for turn in text.split("<user> ")[1:]:
        asked, _, said = turn.partition(" <assistant> ")
        _, *lines = asked.split(" tip ")
        board = "\n".join(["######", *(f"#{row}#" for row in asked.split()[1:5]), "######"])
        tips = [line.removesuffix(" failed").split() for line in lines]
        found = [(int(tip[0][1:]), tip[2], tip[4]) for tip in tips]
        turns.append((STATE[board], found, said.strip().removesuffix(" <end>")))
    return turns


def test_conversations_are_what_the_prompt_set_shows() -> None:
    talk = prompt_set("tiny-multiturn")
    policy = TinyPolicy.load(SHIPPED / "multiturn")
    task = Task(id="t", env_id="leafe/Sokoban-v0")
    data = batch()
    failed = 0
    for ids, labels in zip(data.ids, data.labels, strict=True):
        turns = read(ids)
        start = Start(observation=GRAPH.boards[turns[0][0]])
        steps = [
            Step(action=said, reply=said, observation=GRAPH.boards[after])
            for (_, _, said), (after, _, _) in pairwise(turns)
        ]
        tips = [
            Experience(
                step=now,
                text=f"not {bad} but {good}" if now == at else f"s{at} not {bad} but {good}",
            )
            for now, (_, shown, _) in enumerate(turns)
            for at, bad, good in shown
        ]
        render = talk.render
        if (labels != IGNORE).any():
            failed += 1
            assert len(steps) == SMALL.steps
            render = talk.render_reflection
        tokens, prompt = policy.tokenize(render(task, start, steps, tips), turns[-1][2])
        assert list(tokens) == [i for i in ids if i]
        if (labels != IGNORE).any():
            assert (labels != IGNORE).argmax() == prompt - 1
    assert failed == 60, "three in four"


def test_experiences_for_this_step_are_followed_wherever_they_stand() -> None:
    data = batch(200)
    here = elsewhere = 0
    for ids, at, chances, advised in zip(
        data.ids, data.at, data.chances, data.advised, strict=True
    ):
        turns = read(ids)
        told = {step: good for _, tips, _ in turns for step, _, good in tips}
        for step in np.flatnonzero(at >= 0):
            assert WORDS[ids[at[step]]] == "<assistant>"
            state = turns[step][0]
            assert advised[step] == (step in told)
            if step in told:
                here += 1
                elsewhere += not turns[step][1]
                assert chances[step, ACTIONS.index(told[step])] >= FOLLOW - 1e-6
            else:
                assert np.allclose(chances[step], WEAK[state], atol=1e-6)
    assert here > 100
    assert elsewhere > 30


def test_answers_name_the_first_mistake_and_verdicts_are_the_solvers() -> None:
    data = batch()
    for ids, labels, verdicts in zip(data.ids, data.labels, data.verdicts, strict=True):
        turns = read(ids)
        said = [WORDS[i] for i in verdicts[verdicts != IGNORE]]
        acted = [(s, a) for s, _, a in turns if a in ACTIONS]
        assert said == ["good" if GRAPH.optimal[s, ACTIONS.index(a)] else "bad" for s, a in acted]
        if (labels != IGNORE).any():
            answer = [WORDS[i] for i in labels[labels != IGNORE]]
            first = said.index("bad")
            state, action = acted[first]
            assert answer[0] == f"s{first}"
            assert "\n".join(f"#{row}#" for row in answer[1:5]) in GRAPH.boards[state]
            assert answer[5:8] == ["not", action, "but"]
            assert GRAPH.optimal[state, ACTIONS.index(answer[8])]


def test_smaller_model_with_a_history_learns(tmp_path: Path) -> None:
    recipe = Recipe(levels=150, steps=100, width=32, layers=2, transcripts=12, memory=True)
    build(recipe, tmp_path)
    curve = json.loads((tmp_path / CURVE).read_text())["curve"]
    assert curve[-1]["experience"] < 0.9 * curve[0]["experience"]
    assert curve[-1]["reflection"] < 0.8 * curve[0]["reflection"]
    assert TinyPolicy.load(tmp_path).prompts == "tiny-multiturn"


def test_bases_of_before_are_still_known(tmp_path: Path) -> None:
    older = {k: v for k, v in asdict(Recipe()).items() if k not in ("memory", "transcripts")}
    (tmp_path / CURVE).write_text(json.dumps({"recipe": older, "levels": SMALL.levels}))
    assert build(Recipe(), tmp_path) == tmp_path


def test_shipped_model_is_small_and_says_what_it_reads() -> None:
    folder = SHIPPED / "multiturn"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    assert CONFIGURED["prompts"] == "tiny-multiturn"
    assert Recipe.of(json.loads((folder / CURVE).read_text())["recipe"]) == Recipe(memory=True)
