"""TextWorld: a restore in place against `env.copy()`, on a compiled game with infos requested."""

from __future__ import annotations

import gymnasium as gym
from _harness import Report, alternate, median, per_call, ratio
from _worlds import held_kb, replay, wander

import leafe_gym as lg
from leafe_gym.envs.textworld.game_spec import load_textworld
from leafe_gym.envs.textworld.jericho_warnings import no_unknown_story_warning

ENV, SEED, DEPTH, NUMBER = "leafe/TextWorld-v0", 3, 20, 20


def measure() -> Report:
    """Both at the same state, `DEPTH` random commands into an episode."""
    env = lg.RollbackWrapper(gym.make(ENV, max_steps=None), "native")
    env.reset(seed=SEED)
    ours = env.unwrapped
    commands = wander(env, SEED, DEPTH, not_this=ours.walkthrough()[-1])
    with no_unknown_story_warning():
        infos = load_textworld().EnvInfos(admissible_commands=True, score=True, max_score=True)
        theirs = load_textworld().start(ours.path, infos)
    replay(theirs.reset, theirs.step, commands)
    assert list(ours.actions()) == theirs.state.admissible_commands
    mark, state = env.snapshot(), ours.get_state()
    with no_unknown_story_warning():
        samples = alternate(
            {
                "restore": lambda: per_call(lambda: ours.set_state(state), NUMBER),
                "save": lambda: per_call(ours.get_state, NUMBER),
                "wrapper": lambda: per_call(lambda: env.restore(mark), NUMBER),
                "copy": lambda: per_call(theirs.copy, 3),
            }
        )
    return Report(
        figures={
            "textworld_vs_copy": ratio(samples["restore"], samples["copy"]),
            "textworld_wrapper_vs_copy": ratio(samples["wrapper"], samples["copy"]),
            "textworld_restore_ms": 1e3 * median(samples["restore"]),
            "textworld_save_ms": 1e3 * median(samples["save"]),
            "textworld_copy_ms": 1e3 * median(samples["copy"]),
            "textworld_snapshot_kb": held_kb(env, SEED, commands),
        },
        goals={"textworld_vs_copy": ("<=", 1 / 50)},
        meta={
            "textworld": {"depth": DEPTH, "calls": NUMBER, "version": load_textworld().__version__}
        },
    )
