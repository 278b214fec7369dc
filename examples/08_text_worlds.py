"""Text worlds: one episode by a walkthrough, and one tree by a player that makes mistakes.

python examples/08_text_worlds.py [textworld | alfworld | scienceworld | webshop]

Needs the extra of that name: pip install 'leafe-gym[alfworld]'
"""

import sys

import gymnasium as gym

import leafe_gym as lg
from leafe_gym.testing.players.follower import Follower

TASKS = {
    "textworld": (
        "leafe/TextWorld-v0",
        {"rooms": 4, "objects": 8, "quest_length": 4, "max_steps": 12},
    ),
    "alfworld": ("leafe/ALFWorld-v0", {"games": "generated", "max_steps": 15}),
    "scienceworld": (
        "leafe/ScienceWorld-v0",
        {"task": "find-plant", "max_steps": 10, "admissible": False},
    ),
    "webshop": ("leafe/WebShop-v0", {"max_steps": 8}),
}


def main(name: str = "alfworld") -> None:
    """Win once by the walkthrough; then fail, roll back and win."""
    env_id, kwargs = TASKS[name]
    task = lg.tasks(env_id, "train", **kwargs)[3]
    env = lg.RollbackWrapper(gym.make(task.env_id, **task.kwargs))
    observation, info = env.reset(seed=task.seed)
    print(info["instruction"], observation, sep="\n\n")
    walkthrough = env.unwrapped.walkthrough()
    for command in walkthrough:
        observation, reward, *_ = env.step(command)
        print(f"> {command}\n{observation}")
    print(f"reward {reward}\n")

    player = Follower({info["instruction"].splitlines()[0]: walkthrough}, noise=0.4)
    tree = lg.ReflectiveTreeAgent(player).run(
        env, budget=lg.Budget(interactions=300), seed=task.seed
    )
    print(f"tree: {'solved' if tree.solved else 'open'}, {len(tree.branches)} attempts")
    print(f"rollback backend: {env.backend_report.chosen}")
    for branch in tree.branches:
        if branch.experience:
            print(f"  rolled back to action {branch.experience.step}: {branch.experience.text}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
