"""Begins an episode, says which Java process plays it, and ends in the way it is told."""

from __future__ import annotations

import os
import signal
import sys
import time

import gymnasium as gym

import leafe_gym as lg  # noqa: F401 - registers the environments
from leafe_gym.errors import EnvironmentFailure


def main(how: str) -> None:
    """The process, on a line of its own, and then the end."""
    env = gym.make("leafe/ScienceWorld-v0", task="melt", variation=0, admissible=False)
    env.reset(seed=0)
    java = env.unwrapped._handle.pool().jvm.pid  # type: ignore[attr-defined]
    sys.stdout.write(f"{java}\n")
    sys.stdout.flush()
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "killed with a fork alive":
        if os.fork() == 0:
            os.close(1)
            time.sleep(20)
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "forgotten":
        del env
    elif how == "forked":
        child = os.fork()
        if child == 0:
            os._exit(_child(env, java))
        assert os.waitpid(child, 0)[1] == 0
        env.step("open cupboard")  # the child did not disturb it
        env.close()
    else:
        env.close()
        env.close()


def _child(env: gym.Env[str, str], java: int) -> int:
    """In a fork: the parent's is not touched, and a reset goes on in a process of its own."""
    try:
        env.step("open cupboard")
    except EnvironmentFailure as error:
        told = "forked from; reset() or restore()" in str(error)
    env.reset(seed=0)
    own = env.unwrapped._handle.pool().jvm.pid  # type: ignore[attr-defined]
    env.step("open cupboard")
    env.close()
    return 0 if told and own != java and not os.path.exists(f"/proc/{own}") else 1


if __name__ == "__main__":
    main(sys.argv[1])
