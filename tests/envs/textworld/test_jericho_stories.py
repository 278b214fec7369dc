"""Stories of our own for Jericho: single keys, escape characters, broken code."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import leafe_gym as lg
from leafe_gym.envs.textworld import story_trial
from leafe_gym.envs.textworld.commands import OUTSIDE, outside
from leafe_gym.envs.textworld.game_text import clean
from leafe_gym.envs.textworld.jericho_warnings import no_unknown_story_warning
from leafe_gym.errors import ResetNeeded, UsageError

if find_spec("textworld") is None or find_spec("jericho") is None:
    pytest.skip("pip install 'leafe-gym[textworld,jericho]'", allow_module_level=True)

STORY = "leafe/Jericho-v0"
Counts = Callable[[int, int], int]
SOURCE = """
Array line -> 62;
Array parse -> 62;
[ Main key n;
  print "Start.^";
  OPENING
  for (::) {
    print "Line:^";
    line->0 = 60; line->1 = 0; parse->0 = 6;
    @aread line 0 -> key;
    print "Line of ", line->1, ".^";
    if (line->2 == 'm') {
      for (n = 0 : n < 5 : n++) {
        print "Key ", n, ":^";
        @read_char 1 -> key;
        print "Pressed ", key, ".^";
        if (key == 'q') break;
      }
    }
  }
];
"""
"""A line that begins with m opens a menu of five single keys; q leaves it."""
OPENING = 'for (n = 0 : n < 3 : n++) { @read_char 1 -> key; print "Pressed ", key, ".^"; }'
"""Three keys before the first line."""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("story"), "")


def compiled(folder: Path, opening: str) -> Path:
    """`SOURCE`, compiled by the compiler that comes with TextWorld."""
    import textworld

    (folder / "keys.inf").write_text(SOURCE.replace("OPENING", opening))
    compiler = next(Path(textworld.__file__).parent.glob("thirdparty/*/share/*/Compilers/inform6"))
    argv = [str(compiler), "-v5", "keys.inf", "keys.z5"]
    subprocess.run(argv, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder / "keys.z5"


def texts(env: Any, commands: list[str]) -> list[str]:
    return [str(env.step(command)[0]) for command in commands]


# Single keys


@pytest.mark.parametrize(
    "commands",
    [
        ["hello", "menu", "abc", "x", "y", "z", "hello"],  # b and c are read instead of x and y
        ["menu", "abcdefgh", "x", "x", "x", "x", "menu", "y"],  # f, g, h are discarded by a line
        ["menu", "aq", "x", "hello", "menu", "b"],
        ["menu", "a", "b", "c", "d", "e", "hello"],
    ],
)
def test_keys_are_read_as_by_jericho(story: Path, commands: list[str]) -> None:
    import jericho

    env = gym.make(STORY, data=str(story))
    env.reset(seed=1)
    with no_unknown_story_warning():
        game = jericho.FrotzEnv(str(story), 1)
    game.reset()
    assert texts(env, commands) == [clean(game.step(command)[0]) for command in commands]


@pytest.mark.parametrize("backend", ["native", "replay"])
def test_pending_keys_belong_to_the_state(story: Path, counts: Counts, backend: str) -> None:
    """Snapshot, go on, restore, go on: as an episode that was never restored."""
    env = lg.RollbackWrapper(gym.make(STORY, data=str(story)), backend)
    untouched = gym.make(STORY, data=str(story))
    rng = random.Random(0)
    words = ["menu", "menu", "menu", "abc", "xyzxyz", "aq", "k", "hello"]
    pending = 0
    for _ in range(counts(15, 400)):
        env.reset(seed=0)
        prefix = rng.choices(words, k=rng.randint(1, 6))
        texts(env, prefix)
        pending += bool(env.unwrapped._keys)  # type: ignore[attr-defined]
        snapshot = env.snapshot()
        texts(env, rng.choices(words, k=rng.randint(0, 4)))
        env.restore(snapshot)
        untouched.reset(seed=0)
        texts(untouched, prefix)
        rest = rng.choices(words, k=6)
        assert texts(env, rest) == texts(untouched, rest)
    assert pending > 2


def test_pending_keys_go_to_other_instances(story: Path) -> None:
    one, other = (gym.make(STORY, data=str(story)).unwrapped for _ in range(2))
    one.reset(seed=0)
    texts(one, ["menu", "abc"])
    other.set_state(one.get_state())  # type: ignore[attr-defined]
    assert texts(other, ["x", "y", "z"]) == texts(one, ["x", "y", "z"])
    assert "Pressed 122." in texts(one, ["z"])[0]


@pytest.mark.parametrize("left", [["abc"], ["abc", "x"], ["a", "bcd"], ["a", "b", "c", "menu"]])
def test_pending_keys_end_with_the_episode(tmp_path: Path, left: list[str]) -> None:
    env = gym.make(STORY, data=str(compiled(tmp_path, OPENING)))
    env.reset(seed=0)
    texts(env, left)
    env.reset(seed=0)
    assert texts(env, ["x", "y"]) == ["Pressed 120.", "Pressed 121."]


def test_a_key_may_be_a_word_of_the_interpreter(story: Path) -> None:
    env = gym.make(STORY, data=str(story))
    env.reset(seed=0)
    assert texts(env, ["q"]) == [OUTSIDE]
    assert texts(env, ["menu", "q"])[1].startswith("Pressed 113.")
    assert texts(env, ["menu", "quit"])[1] == OUTSIDE


@pytest.mark.parametrize("command", ["\\help", "\\w", "\\Rx", "\\", "look \\s", "\\\\"])
def test_the_escape_character_does_not_reach_the_interpreter(
    story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """`\\help` would never return, and `\\Rx` would write the file x."""
    monkeypatch.chdir(tmp_path)
    assert outside(command), "TextWorld's games are played by the same interpreter"
    env = gym.make(STORY, data=str(story))
    env.reset(seed=0)
    assert texts(env, [command, "menu", command, "x"])[::2] == [OUTSIDE, OUTSIDE]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("before", [[], ["hello"], ["menu", "abc"], ["menu", "a", "q"]])
def test_a_restore_works_after_the_interpreter_has_stopped(story: Path, before: list[str]) -> None:
    """A line that is too long for this story's buffer stops it with an error."""
    env, untouched = (gym.make(STORY, data=str(story)).unwrapped for _ in range(2))
    for one in (env, untouched):
        one.reset(seed=0)
        texts(one, before)
    state = env.get_state()  # type: ignore[attr-defined]
    while not env.step("x" * 198)[2]:
        pass
    stopped = env.get_state()  # type: ignore[attr-defined]
    env.set_state(state)  # type: ignore[attr-defined]
    rest = ["hello", "menu", "xy", "z", "q", "hello"]
    assert texts(env, rest) == texts(untouched, rest)
    env.set_state(stopped)  # type: ignore[attr-defined]
    with pytest.raises(ResetNeeded):
        env.step("hello")
    env.reset(seed=0)
    untouched.reset(seed=0)
    assert texts(env, rest) == texts(untouched, rest)


# Broken code


def broken(story: Path, to: Path, code: bytes, at: int | None = None) -> Path:
    """A story with other bytes at its first instruction, or at `at`, and their checksum."""
    content = bytearray(story.read_bytes())
    at = int.from_bytes(content[6:8], "big") if at is None else at
    content[at : at + len(code)] = code
    length = 4 * int.from_bytes(content[0x1A:0x1C], "big")
    content[0x1C:0x1E] = (sum(content[64:length]) % 2**16).to_bytes(2, "big")
    to.write_bytes(content)
    return to


@pytest.mark.parametrize(
    ("code", "at", "said"),
    [
        (b"\x8c\xff\xff", None, "does not ask for a command within 0.3 s of CPU"),  # jump to itself
        (b"\xb7", None, "does not ask for a command within 0.3 s of CPU"),  # restart
        (b"\x18\x01\x00\x00", None, r"crashes the interpreter \(SIGFPE\)"),  # 1 mod 0
        (b"\xbe\xff\xff\xff", None, "stops before it asks"),  # no instruction
        (b"\xba", None, "stops before it asks"),  # quit
        (b"\xff\xff", 0x0E, r"the interpreter ends \(Fatal error: Story file read error\)"),
    ],
)
def test_broken_code_does_not_take_the_process_with_it(
    story: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: bytes,
    at: int | None,
    said: str,
) -> None:
    monkeypatch.setattr(story_trial, "CPU_SECONDS", 0.3)
    path = broken(story, tmp_path / "broken.z5", code, at)
    with pytest.raises(UsageError, match=said):
        gym.make(STORY, data=str(path))
    gym.make(STORY, data=str(story)).reset(seed=0)


def test_a_story_is_tried_once(story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gym.make(STORY, data=str(story)).close()
    monkeypatch.setattr(story_trial, "_failure", lambda path: "tried again")
    gym.make(STORY, data=str(story)).close()
    with pytest.raises(UsageError, match="tried again"):
        story_trial.try_story(str(broken(story, story.with_name("other.z5"), b"\xba")))
