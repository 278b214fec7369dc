"""Add rollback to any Gymnasium text environment.

python examples/01_wrap_and_roll_back.py
"""

import gymnasium as gym

import leafe_gym as lg


def main() -> None:
    """Play a few moves, restore an earlier state, try other moves."""
    env = lg.RollbackWrapper(gym.make("leafe/Sokoban-v0", size=6, boxes=1))
    board, info = env.reset(seed=7)
    print(info["instruction"], board, sep="\n\n")

    snapshot = env.snapshot()
    for action in ("up", "left", "down"):
        board, *_ = env.step(action)
    print(f"\nafter {env.steps} actions:\n{board}")

    board, _ = env.restore(snapshot)
    print(f"\nrestored, after {env.steps} actions:\n{board}")

    env.step("right")
    other = env.fork()  # an independent environment in the same state
    env.step("up")
    other.step("down")
    print(f"\nforked: here {env.transitions[-1].action}, there {other.transitions[-1].action}")
    print(f"\n{env.backend_report}")


if __name__ == "__main__":
    main()
