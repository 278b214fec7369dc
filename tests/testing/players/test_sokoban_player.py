"""The scripted Sokoban player: reads what any model reads, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leafe_gym.errors import PolicyError
from leafe_gym.prompts.chat import ChatPrompts
from leafe_gym.testing.players.sokoban import MOVES, SokobanPlayer
from leafe_gym.types import Experience, Message, Sampling, Start, Step, Task

Purpose = Literal["act", "reflect", "refine"]
PROMPTS = ChatPrompts()
TASK = Task(id="t", env_id="leafe/Sokoban-v0")
ROOM = "#####\n#@--#\n#-$.#\n#---#\n#####"
BETWEEN = "#######\n#-----#\n#--$--#\n#-.@$-#\n#-----#\n#######"
"""Two boxes to push, and neither push is a good one."""
START = Start(observation=ROOM, instruction="Push every box onto a target.")


async def reply(
    chat: list[Message], seed: int = 0, noise: float = 0.0, purpose: Purpose = "act"
) -> str:
    sampling = Sampling(seed=seed, purpose=purpose)
    return (await SokobanPlayer(noise).complete(chat, sampling)).text


async def test_it_plays_the_same_for_the_same_seed() -> None:
    chat = PROMPTS.render(TASK, Start(observation=BETWEEN), [])
    texts = [await reply(chat, seed, noise=1.0) for seed in range(30)]
    assert texts == [await reply(chat, seed, noise=1.0) for seed in range(30)]
    assert set(texts) == {"Action: up", "Action: right"}


async def test_it_walks_to_the_near_push() -> None:
    chat = PROMPTS.render(TASK, START, [])
    assert await reply(chat) == "Action: down"
    beside = START.observation.replace("@", "-").replace("#-$", "#@$")
    assert await reply(PROMPTS.render(TASK, Start(observation=beside), [])) == "Action: right"


async def test_temperature_zero_is_without_noise() -> None:
    chat = PROMPTS.render(TASK, Start(observation=BETWEEN), [])
    noisy, greedy = SokobanPlayer(noise=1.0), SokobanPlayer(noise=0.0)
    for seed in range(20):
        cold = Sampling(seed=seed, temperature=0)
        warm = Sampling(seed=seed, temperature=1)
        assert await noisy.complete(chat, cold) == await greedy.complete(chat, warm)
        assert await noisy.complete(chat, warm) != await greedy.complete(chat, warm)


@pytest.mark.parametrize("avoid", ["down", "right"])
async def test_it_follows_an_experience(avoid: str) -> None:
    experience = Experience(step=0, text=f"That was wrong: here, not {avoid}.")
    chat = PROMPTS.render(TASK, START, [], [experience])
    for seed in range(10):
        assert await reply(chat, seed, noise=0.5) != f"Action: {avoid}"


async def test_an_experience_of_an_earlier_turn_is_not_followed() -> None:
    up = Step(action="up", reply="Action: up", observation=ROOM)
    chat = PROMPTS.render(TASK, START, [up], [Experience(step=0, text="not down")])
    assert await reply(chat) == "Action: down"


def commented(comment: str) -> list[Step]:
    first = Step(action="down", reply="Action: down", observation=ROOM, info={"feedback": "Fine."})
    last = replace(first, action="right", reply="Action: right", info={"feedback": comment})
    return [first, replace(last, truncated=True)]


async def test_it_reads_the_comments_of_the_environment() -> None:
    steps = commented("The box is stuck: the level is lost.")
    answer = json.loads(
        await reply(PROMPTS.render_reflection(TASK, START, steps), purpose="reflect")
    )
    assert answer["step"] == 1
    assert answer["experience"].endswith("here, not right.")
    refined = json.loads(
        await reply(PROMPTS.render_refinement(TASK, START, steps), purpose="refine")
    )
    assert refined == {"experience": answer["experience"]}


async def test_it_sees_no_mistake_while_time_is_left() -> None:
    steps = [Step(action="down", reply="Action: down", observation=ROOM)]
    answer = json.loads(
        await reply(PROMPTS.render_reflection(TASK, START, steps), purpose="reflect")
    )
    assert answer == {"step": None, "experience": ""}


async def test_when_time_runs_out_it_doubts_a_push_it_made() -> None:
    moved = ROOM.replace("@", "-").replace("$.", "@*")
    steps = [
        Step(action="up", reply="Action: up", observation=ROOM),
        Step(action="right", reply="Action: right", observation=moved),
        Step(action="up", reply="Action: up", observation=moved, truncated=True),
    ]
    for seed in range(5):
        chat = PROMPTS.render_reflection(TASK, START, steps)
        verdict = PROMPTS.parse_reflection(
            await SokobanPlayer().complete(chat, Sampling(seed=seed, purpose="reflect")), 3
        )
        assert verdict.step == 1
        assert "not right" in verdict.text


@pytest.mark.parametrize("text", ["", "You are in a kitchen.", "####\n#--#\n####", "###\n#@#"])
async def test_without_a_board_it_gives_up_as_a_policy(text: str) -> None:
    chat = PROMPTS.render(TASK, Start(observation=text), [])
    with pytest.raises(PolicyError, match=r"found no (board|player)"):
        await reply(chat)


cells: st.SearchStrategy[Any] = st.lists(
    st.text("#-.$*", min_size=5, max_size=5), min_size=4, max_size=4
)


@given(cells, st.integers(0, 99))
async def test_on_any_board_it_names_a_move(rows: list[str], seed: int) -> None:
    rows = ["#####", *rows[:1], "#@---", *rows[1:]]
    chat = PROMPTS.render(TASK, Start(observation="\n".join(rows)), [])
    completion = await SokobanPlayer(0.3).complete(chat, Sampling(seed=seed))
    assert PROMPTS.parse_action(completion) in MOVES
