"""ALFWorld: a restore by operators at depth 50 against the library's reset and replay."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium as gym
from _harness import Report, alternate, median, per_call, ratio
from _worlds import held_kb, replay, wander

import leafe_gym as lg
from leafe_gym.envs.alfworld.game_file import load_planner

ENV, SEED, DEPTH, NUMBER, ROUNDS = "leafe/ALFWorld-v0", 3, 50, 50, 5


def measure() -> Report:
    """Both at the same state, `DEPTH` random commands into an episode."""
    env = lg.RollbackWrapper(gym.make(ENV, games="generated", max_steps=None), "native")
    env.reset(seed=SEED)
    ours = env.unwrapped
    commands = wander(env, SEED, DEPTH, not_this=ours.walkthrough()[-1])
    mark, state = env.snapshot(), ours.get_state()
    theirs = library(ours.game.as_json())
    replay(theirs.reset, theirs.step, commands)
    assert theirs.state.feedback.strip() == state.shown
    assert theirs.state.admissible_commands == ours.actions()
    begin = partial(ours.reset, seed=SEED)
    samples = alternate(
        {
            "restore": lambda: per_call(lambda: ours.set_state(state), NUMBER),
            "save": lambda: per_call(ours.get_state, NUMBER),
            "wrapper": lambda: per_call(lambda: env.restore(mark), NUMBER),
            "own_replay": lambda: per_call(lambda: replay(begin, ours.step, commands), 1),
            "replay": lambda: per_call(lambda: replay(theirs.reset, theirs.step, commands), 1),
        },
        ROUNDS,
    )
    return Report(
        figures={
            "alfworld_vs_replay": ratio(samples["restore"], samples["replay"]),
            "alfworld_wrapper_vs_replay": ratio(samples["wrapper"], samples["replay"]),
            "alfworld_own_replay_vs_replay": ratio(samples["own_replay"], samples["replay"]),
            "alfworld_restore_ms": 1e3 * median(samples["restore"]),
            "alfworld_save_ms": 1e3 * median(samples["save"]),
            "alfworld_replay_ms": 1e3 * median(samples["replay"]),
            "alfworld_snapshot_kb": held_kb(env, SEED, commands),
        },
        goals={"alfworld_vs_replay": ("<=", 1 / 1000)},
        meta={"alfworld": {"depth": DEPTH, "calls": NUMBER, "replay_rounds": ROUNDS}},
    )


def library(game: dict[str, Any]) -> Any:
    """TextWorld's environment with the names that ALFWorld gives."""
    module = load_planner()
    from leafe_gym.envs.alfworld.text_names import text_names

    env = module.PddlEnv(module.EnvInfos(admissible_commands=True, won=True))
    env.load(game)
    names = text_names({name: info.type for name, info in env._entity_infos.items()})
    for name, info in env._entity_infos.items():
        info.name = names[name].name
    return env
