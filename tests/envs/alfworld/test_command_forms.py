"""The instruction names the commands of the game's own grammar."""

from __future__ import annotations

import time
from importlib.util import find_spec

import pytest

from leafe_gym.envs.alfworld.command_forms import command_forms

OLD = """
action GotoLocation { template :: "go to [{r.name | receptacleatlocation(r:receptacle)}]"; }
action PutObject {
    template :: "put {o} in/on {r}";
}
action PutObjectInReceptacleObject { template :: "put {o} into {outero}"; }
action SliceObject { template :: "slice {co} with {ko}"; }
action look { template :: "look"; feedback :: "#look#"; }
"""


def test_an_older_grammar() -> None:
    assert command_forms(OLD) == (
        "Commands: look, go to (place), put (thing) in/on (place), slice (thing) with (thing). "
        "Things and places have numbers: mug 1, cabinet 2."
    )


@pytest.mark.skipif(find_spec("alfworld") is None, reason="pip install 'leafe-gym[alfworld]'")
def test_the_installed_grammar() -> None:
    from leafe_gym.envs.alfworld.game_file import _packaged

    assert command_forms(_packaged("alfred.twl2")) == (
        "Commands: look, inventory, go to (place), open (place), close (place), take (thing) from "
        "(place), move (thing) to (place), examine (thing or place), use (thing), heat (thing) "
        "with (place), clean (thing) with (place), cool (thing) with (place), slice (thing) with "
        "(thing). Things and places have numbers: mug 1, cabinet 2."
    )


@pytest.mark.parametrize("grammar", ["", "action look {", 'action x { template :: "{o}"; }'])
def test_a_grammar_of_its_own_has_no_line(grammar: str) -> None:
    assert command_forms(grammar) == ""


@pytest.mark.parametrize(
    "grammar", ["action " * 20_000, 'action look { template :: "' * 5_000, "{" * 90_000]
)
def test_a_hostile_grammar_takes_no_time(grammar: str) -> None:
    began = time.process_time()
    command_forms(grammar)
    assert time.process_time() - began < 20
