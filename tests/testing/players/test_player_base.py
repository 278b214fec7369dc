"""The base of scripted players: purposes, replies, pickling, arguments."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest

import leafe_gym as lg
from leafe_gym.errors import UsageError
from leafe_gym.testing.players.base import FoundMistake, ScriptedPlayer
from leafe_gym.testing.players.coder import Coder
from leafe_gym.testing.players.follower import Follower
from leafe_gym.testing.players.shopper import Shopper
from leafe_gym.testing.players.sokoban import SokobanPlayer
from leafe_gym.types import Message, Sampling

CHAT: list[Message] = [{"role": "user", "content": "Answer with one JSON object."}]


def act(_: Sequence[Message], sampling: Sampling) -> str:
    return f"Action: {sampling.seed}"


def ask(
    player: ScriptedPlayer, purpose: Literal["act", "reflect", "refine"], chat: list[Message] = CHAT
) -> str:
    return asyncio.run(player.complete(chat, Sampling(seed=4, purpose=purpose))).text


@pytest.mark.parametrize(
    ("mistake", "reflected", "refined"),
    [
        (FoundMistake(2, "not so"), {"step": 2, "experience": "not so"}, {"experience": "not so"}),
        (FoundMistake(0, "x"), {"step": 0, "experience": "x"}, {"experience": "x"}),
        (None, {"step": None, "experience": ""}, {"experience": "Go on as before."}),
    ],
)
def test_the_purpose_decides_and_not_the_words_of_the_prompt(
    mistake: FoundMistake | None, reflected: Any, refined: Any
) -> None:
    player = ScriptedPlayer(act, lambda *_: mistake, name="p")
    assert ask(player, "act") == "Action: 4"
    assert json.loads(ask(player, "reflect")) == reflected
    assert json.loads(ask(player, "refine")) == refined


@pytest.mark.parametrize(
    "player", [SokobanPlayer(0.3), Shopper(0.2), Follower({"a": ["b"]}), Coder({"t": {}})]
)
def test_players_can_be_sent_to_another_process(player: ScriptedPlayer) -> None:
    copy = pickle.loads(pickle.dumps(player))
    assert (type(copy), copy.name) == (type(player), player.name)


BAD: list[Callable[[], Any]] = [
    lambda: SokobanPlayer(1.5),
    lambda: SokobanPlayer("0.5"),  # type: ignore[arg-type]
    lambda: Shopper(float("nan")),
    lambda: Shopper(True),
    lambda: Coder({}, fails=-1),
    lambda: Follower(["go"]),  # type: ignore[arg-type]
    lambda: Follower({}, wrong="look"),
    lambda: Follower({}, wrong=[]),
]


@pytest.mark.parametrize("make", BAD)
def test_wrong_arguments_are_named(make: Callable[[], Any]) -> None:
    with pytest.raises(UsageError, match=r"\w+="):
        make()


def test_the_names_of_the_command_line() -> None:
    assert lg.policy("scripted").name == SokobanPlayer().name
    assert lg.policy("scripted-shopper", noise=0.1).name == Shopper(0.1).name
    follower = lg.policy("scripted-follower", walkthroughs={"gold": ["go in"]})
    assert isinstance(follower, Follower)
