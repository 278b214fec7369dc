"""Run by a test in a process of its own: the unmodified `alfworld` on the folder it is given.

Prints, for each split, how many games were found and how many the planner's expert has won.
"""

from __future__ import annotations

import json

import textworld
from alfworld.agents.environment import get_environment
from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredExpert, AlfredInfos

DATA = "$ALFWORLD_DATA/json_2.1.1"
CONFIG = {
    "env": {"goal_desc_human_anns_prob": 0, "task_types": [1, 2, 3, 4, 5, 6]},
    "dataset": {
        "data_path": f"{DATA}/train",
        "eval_id_data_path": f"{DATA}/valid_seen",
        "eval_ood_data_path": f"{DATA}/valid_unseen",
        "num_train_games": -1,
        "num_eval_games": -1,
    },
}


def wins(game_file: str) -> bool:
    """Whether the planner's expert wins a game within 30 steps, in ALFWorld's own wrappers."""
    infos = textworld.EnvInfos(won=True, admissible_commands=True, extras=["expert_plan"])
    wrappers = [AlfredDemangler(shuffle=False), AlfredInfos, AlfredExpert(expert_type="planner")]
    env = textworld.start(game_file, infos, wrappers)
    state = env.reset()
    for _ in range(30):
        state, _, done = env.step(state["extra.expert_plan"][0])
        if done:
            return bool(state["won"])
    return False


def main() -> None:
    """Find all, play one split."""
    told = {}
    for name in ("eval_out_of_distribution", "eval_in_distribution", "train"):
        games = get_environment("AlfredTWEnv")(CONFIG, train_eval=name).game_files
        played = games if name == "eval_out_of_distribution" else []
        told[name] = {"found": len(games), "won": sum(map(wins, played))}
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main()
