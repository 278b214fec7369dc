"""Give any Gymnasium text environment a way back.

python examples/01_wrap_and_roll_back.py
"""

import gymnasium as gym

import leafe_gym as lg


def main() -> None:
    """Play a few moves, go back, try others."""
    env = lg.RollbackWrapper(gym.make("leafe/Sokoban-v0", size=6, boxes=1))
    board, info = env.reset(seed=7)
    print(info["instruction"], board, sep="\n\n")

    mark = env.snapshot()
    for action in ("up", "left", "down"):
        board, *_ = env.step(action)
    print(f"\nafter {env.steps} actions:\n{board}")

    board, _ = env.restore(mark)
    print(f"\nback at action {env.steps}:\n{board}")

    env.step("right")
    twin = env.fork()  # a second environment in the same state; the two go on independently
    env.step("up")
    twin.step("down")
    print(f"\nforked: here {env.transitions[-1].action}, there {twin.transitions[-1].action}")
    print(f"\n{env.backend_report}")


if __name__ == "__main__":
    main()
