"""One step from each of many hand-made positions; every expected value is written out."""

from __future__ import annotations

import pytest

from leafe_gym.envs.sokoban.env import SokobanEnv

# name, board, action, board after, reward, won, what the feedback says ("" for nothing)
STEPS = [
    # moves
    ("up", "####/#-$#/#@.#/####", "up", "####/#@$#/#-.#/####", -0.1, False, ""),
    ("down", "####/#@$#/#-.#/####", "down", "####/#-$#/#@.#/####", -0.1, False, ""),
    ("left", "#####/#-@$#/##.##/#####", "left", "#####/#@-$#/##.##/#####", -0.1, False, ""),
    ("right", "#####/#@-.#/#$--#/#####", "right", "#####/#-@.#/#$--#/#####", -0.1, False, ""),
    ("onto target", "#####/#@.-#/#$--#/#####", "right", "#####/#-+-#/#$--#/#####", -0.1, False, ""),
    ("off target", "#####/#-+-#/#$--#/#####", "left", "#####/#@.-#/#$--#/#####", -0.1, False, ""),
    (
        "target to target",
        "#####/#+.-#/#$$-#/#####",
        "right",
        "#####/#.+-#/#$$-#/#####",
        -0.1,
        False,
        "",
    ),
    (
        "away from a box",
        "######/#-@$.#/######",
        "left",
        "######/#@-$.#/######",
        -0.1,
        False,
        "",
    ),
    # walls
    ("wall up", "####/#@$#/#-.#/####", "up", "####/#@$#/#-.#/####", -0.1, False, "up: a wall"),
    (
        "wall left",
        "####/#@$#/#-.#/####",
        "left",
        "####/#@$#/#-.#/####",
        -0.1,
        False,
        "left: a wall",
    ),
    (
        "wall down",
        "#####/#$+-#/#####",
        "down",
        "#####/#$+-#/#####",
        -0.1,
        False,
        "down: a wall",
    ),
    (
        "wall right",
        "#####/#$-+#/#####",
        "right",
        "#####/#$-+#/#####",
        -0.1,
        False,
        "right: a wall",
    ),
    # pushes over floor
    (
        "push right",
        "#######/#@$-.-#/#######",
        "right",
        "#######/#-@$.-#/#######",
        -0.1,
        False,
        "",
    ),
    (
        "push left",
        "#######/#.--$@#/#######",
        "left",
        "#######/#.-$@-#/#######",
        -0.1,
        False,
        "",
    ),
    (
        "push up",
        "###/#.#/#-#/#$#/#@#/###",
        "up",
        "###/#.#/#$#/#@#/#-#/###",
        -0.1,
        False,
        "",
    ),
    (
        "push down",
        "###/#@#/#$#/#-#/#.#/###",
        "down",
        "###/#-#/#@#/#$#/#.#/###",
        -0.1,
        False,
        "",
    ),
    (
        "push from on target",
        "######/#+$--#/######",
        "right",
        "######/#.@$-#/######",
        -0.1,
        False,
        "",
    ),
    # pushes on and off targets
    (
        "one of two boxes on",
        "#######/#@$.--#/#-$.--#/#######",
        "right",
        "#######/#-@*--#/#-$.--#/#######",
        0.9,
        False,
        "",
    ),
    (
        "off its target",
        "#######/#@*---#/#-$.--#/#######",
        "right",
        "#######/#-+$--#/#-$.--#/#######",
        -1.1,
        False,
        "",
    ),
    (
        "off a target, player from a target",
        "#######/#+*---#/#-$---#/#-$---#/#-.---#/#######",
        "right",
        "#######/#.+$--#/#-$---#/#-$---#/#-.---#/#######",
        -1.1,
        False,
        "",
    ),
    (
        "from target to target",
        "#######/#@*.--#/#-$---#/#######",
        "right",
        "#######/#-+*--#/#-$---#/#######",
        -0.1,
        False,
        "",
    ),
    (
        "from target to target, upwards",
        "#####/#---#/#-.$#/#-*-#/#-@-#/#####",
        "up",
        "#####/#---#/#-*$#/#-+-#/#---#/#####",
        -0.1,
        False,
        "",
    ),
    # blocked pushes
    (
        "box at a wall",
        "#####/#@$##/#-.-#/#####",
        "right",
        "#####/#@$##/#-.-#/#####",
        -0.1,
        False,
        "right: the box cannot be pushed because a wall",
    ),
    (
        "box on target at a wall",
        "#####/#-@*#/#.$-#/#####",
        "right",
        "#####/#-@*#/#.$-#/#####",
        -0.1,
        False,
        "because a wall",
    ),
    (
        "box at a box",
        "#######/#@$$..#/#######",
        "right",
        "#######/#@$$..#/#######",
        -0.1,
        False,
        "because another box",
    ),
    (
        "box at a box on a target",
        "#######/#@$*-.#/#######",
        "right",
        "#######/#@$*-.#/#######",
        -0.1,
        False,
        "because another box",
    ),
    (
        "box on target at a box, upwards",
        "####/#-.#/#-$#/#-*#/#-@#/####",
        "up",
        "####/#-.#/#-$#/#-*#/#-@#/####",
        -0.1,
        False,
        "up: the box cannot be pushed because another box",
    ),
    # wins
    ("win", "#####/#@$.#/#####", "right", "#####/#-@*#/#####", 10.9, True, ""),
    (
        "win with the last of two",
        "#####/#*--#/#.$@#/#####",
        "left",
        "#####/#*--#/#*@-#/#####",
        10.9,
        True,
        "",
    ),
    (
        "box at a box, player on a target",
        "######/#$*+-#/#----#/######",
        "left",
        "######/#$*+-#/#----#/######",
        -0.1,
        False,
        "left: the box cannot be pushed because another box",
    ),
    # lost levels
    (
        "into a corner",
        "######/#-$@-#/#----#/#-.--#/######",
        "left",
        "######/#$@--#/#----#/#-.--#/######",
        -0.1,
        False,
        "in a corner",
    ),
    (
        "into a corner that is a target",
        "######/#.$@-#/#-$--#/#-.--#/######",
        "left",
        "######/#*@--#/#-$--#/#-.--#/######",
        0.9,
        False,
        "",
    ),
    (
        "to a wall without target",
        "######/#----#/#-$--#/#-@--#/#-.--#/######",
        "up",
        "######/#-$--#/#-@--#/#----#/#-.--#/######",
        -0.1,
        False,
        "against a wall",
    ),
    (
        "to a wall with a target",
        "######/#---.#/#-$--#/#-@--#/#----#/######",
        "up",
        "######/#-$-.#/#-@--#/#----#/#----#/######",
        -0.1,
        False,
        "",
    ),
    (
        "four boxes in a block",
        "#######/#-----#/#-$$--#/#--$$-#/#-@---#/#....-#/#######",
        "up",
        "#######/#-----#/#-$$--#/#-@$$-#/#-----#/#....-#/#######",
        -0.1,
        False,
        "",
    ),
    (
        "two boxes against a wall",
        "#######/#--$-.#/#-$---#/#-@-.-#/#######",
        "up",
        "#######/#-$$-.#/#-@---#/#---.-#/#######",
        -0.1,
        False,
        "in a block",
    ),
    # actions as words
    ("capitals", "####/#-$#/#@.#/####", " UP\n", "####/#@$#/#-.#/####", -0.1, False, ""),
    ("no word", "####/#-$#/#@.#/####", "", "####/#-$#/#@.#/####", -0.1, False, "unknown action ''"),
    (
        "two words",
        "####/#-$#/#@.#/####",
        "up up",
        "####/#-$#/#@.#/####",
        -0.1,
        False,
        "unknown action 'up up', so nothing moved; the actions are up, down, left, right",
    ),
    (
        "another language",
        "####/#-$#/#@.#/####",
        "höher",
        "####/#-$#/#@.#/####",
        -0.1,
        False,
        "unknown action 'höher'",
    ),
    (
        "a very long word",
        "####/#-$#/#@.#/####",
        "u" * 1000,
        "####/#-$#/#@.#/####",
        -0.1,
        False,
        "unknown action 'uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu...'",
    ),
]

# name, board, step limit, actions, last reward, terminated, truncated
LIMITS = [
    ("before the limit", "#######/#@-$.-#/#######", 2, ["right"], -0.1, False, False),
    ("at the limit", "#######/#@-$.-#/#######", 1, ["right"], -0.1, False, True),
    ("win at the limit", "#######/#@-$.-#/#######", 2, ["right", "right"], 10.9, True, False),
    ("win at limit 1", "#####/#@$.#/#####", 1, ["right"], 10.9, True, False),
    ("unknown actions count", "#####/#@$.#/#####", 2, ["?", "?"], -0.1, False, True),
    ("blocked moves count", "#####/#@$.#/#####", 2, ["up", "left"], -0.1, False, True),
    ("a box on at the limit", "######/#@$.-#/#-$.-#/######", 1, ["right"], 0.9, False, True),
]


def _rows(board: str) -> str:
    return board.replace("/", "\n")


@pytest.mark.parametrize("row", STEPS, ids=[row[0] for row in STEPS])
def test_step(row: tuple[str, str, str, str, float, bool, str]) -> None:
    _, board, action, after, reward, won, says = row
    env = SokobanEnv()
    first, start = env.reset(options={"board": _rows(board)})
    assert first == _rows(board)
    assert start["won"] is False
    observation, got, terminated, truncated, info = env.step(action)
    assert observation == _rows(after)
    assert (got, terminated, truncated) == (reward, won, False)
    assert type(got) is float
    assert info["won"] is won
    assert info["score"] == after.count("*") / board.replace("*", "$").count("$")
    assert info["admissible_commands"] == ["up", "down", "left", "right"]
    assert says in info["feedback"]
    assert bool(says) == bool(info["feedback"])


@pytest.mark.parametrize("row", LIMITS, ids=[row[0] for row in LIMITS])
def test_limit(row: tuple[str, str, int, list[str], float, bool, bool]) -> None:
    _, board, max_steps, actions, reward, terminated, truncated = row
    env = SokobanEnv(max_steps=max_steps)
    env.reset(options={"board": _rows(board)})
    *before, last = [env.step(action) for action in actions]
    assert not any(step[2] or step[3] for step in before)
    assert last[1:4] == (reward, terminated, truncated)
    assert last[4]["won"] is terminated
