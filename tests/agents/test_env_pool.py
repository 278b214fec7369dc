"""Environments never hold up the event loop: threads of their own, deadlines, replacement."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import gymnasium as gym
import pytest
from toy_agents import Lock, Player, View, register

import leafe_gym as lg
from leafe_gym.agents.env_pool import EnvPool, make_env
from leafe_gym.agents.env_thread import EnvThread
from leafe_gym.errors import EnvironmentTimeout, UsageError
from leafe_gym.types import Task


class Slow(Lock):
    """A lock that can block in any of its calls, until the test lets it go on."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012
    go_on = threading.Event()
    armed = False
    """Set where the environment itself plays, not the instances that a proof plays."""
    threads: set[str] = set()  # noqa: RUF012

    def __init__(self, blocks: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.blocks = blocks
        self._enter("make")

    def _enter(self, call: str) -> None:
        Slow.threads.add(threading.current_thread().name)
        if call == self.blocks and Slow.armed:
            Slow.go_on.wait(600)

    def reset(self, **kwargs: Any) -> Any:
        self._enter("reset")
        observation, info = super().reset(**kwargs)
        return observation, {**info, "admissible_commands": ["a", "b"]}

    def step(self, action: str) -> Any:
        self._enter(f"step {action}")
        *outcome, info = super().step(action)
        return (*outcome, {**info, "admissible_commands": ["a", "b"]})

    def get_state(self) -> Any:
        self._enter("snapshot")
        return super().get_state()

    def close(self) -> None:
        self._enter("close")


register("Slow", Slow)


@pytest.fixture(autouse=True)
def released() -> Any:
    Slow.go_on.clear()
    Slow.threads.clear()
    Slow.armed = False
    yield
    Slow.armed = False
    Slow.go_on.set()


def explore(tmp_path: Any, blocks: str, act: Callable[[Any], str], **config: Any) -> Any:
    tasks = [Task(id="t", env_id="toy/Slow-v0", kwargs={"code": "bb", "blocks": blocks})]

    def armed(view: View) -> str:
        Slow.armed = True
        return act(view)

    agent = lg.ReflectiveTreeAgent(Player(act=armed), lg.AgentConfig(reflect_every=None))
    warm = make_env(tasks[0], "native")  # what follows is about time: verified before
    warm.reset(seed=0)
    Slow.threads.clear()
    Slow.armed = blocks in ("make", "reset")
    options = lg.ExploreConfig(backend="native", **{"env_timeout": 3.0, **config})
    return lg.explore(agent, tasks, budget=lg.Budget(interactions=30), out=tmp_path, config=options)


def test_a_step_that_hangs_ends_its_attempt_and_the_instance_is_replaced(tmp_path: Any) -> None:
    acts = iter(["a", "z"])
    with explore(tmp_path, "step z", lambda view: next(acts, "a")) as run:
        tree = run.tree(0)
    assert tree.branches[0].ending == "env_error"
    assert "did not return within 3 s" in tree.branches[0].reason
    assert len(tree.branches[0].steps) == 1
    assert {b.ending for b in tree.branches[1:]} <= {"failed", "budget"}
    assert len(tree.branches) > 2


@pytest.mark.parametrize("blocks", ["make", "reset"])
def test_a_start_that_hangs_leaves_the_task_open(tmp_path: Any, blocks: str) -> None:
    with pytest.raises(UsageError, match="did not return within 3 s"):
        explore(tmp_path, blocks, lambda view: "a")
    with lg.RunReader(tmp_path) as run:
        assert "did not return" in run.failures()[0]


def test_a_close_that_hangs_does_not_keep_the_run_from_ending(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leafe_gym.agents.env_pool.CLOSE_SECONDS", 0.2)
    with explore(tmp_path, "close", lambda view: "a") as run:
        assert run.tree(0).stopped == "budget"


def test_an_environment_lives_in_one_thread_and_not_in_the_loops(tmp_path: Any) -> None:
    earlier = {thread.name for thread in threading.enumerate()}  # of tests where something hung
    explore(tmp_path, "", lambda view: "a", env_timeout=None).close()
    own = {name for name in Slow.threads - earlier if name.startswith("leafe-env")}
    assert len(own) == 1
    assert threading.current_thread().name not in Slow.threads or own


async def test_the_loop_goes_on_while_an_environment_blocks() -> None:
    task = Task(id="t", env_id="toy/Slow-v0", kwargs={"code": "bb", "blocks": "step a"})
    pool = EnvPool(partial(make_env, task, "native"))
    slot = await pool.take()
    await slot.call(partial(slot.env.reset, seed=0))
    Slow.armed = True
    running = asyncio.create_task(slot.call(slot.env.step, "a"))
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert not running.done(), "the step still blocks, and the loop has gone round"
    Slow.go_on.set()
    assert (await running)[0] == "trail=a"
    pool.give(slot)
    await pool.close()


class Inline(Slow):
    metadata = {"render_modes": [], "inline_steps": True}  # noqa: RUF012


register("Inline", Inline)


async def test_an_environment_that_says_so_runs_on_the_event_loop() -> None:
    pool = EnvPool(partial(make_env, Task(id="t", env_id="toy/Inline-v0", kwargs={"code": "b"})))
    first = await pool.take()
    earlier = {thread.name for thread in threading.enumerate()} - {threading.current_thread().name}
    Slow.threads.clear()
    await first.call(partial(first.env.reset, seed=0))
    second = await pool.take()
    await second.call(partial(second.env.reset, seed=0))
    assert Slow.threads - earlier == {threading.current_thread().name}
    pool.give(first)
    pool.give(second)
    await pool.close()


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit("no"), KeyboardInterrupt("no"), StopIteration("no")]
)
async def test_what_a_call_raises_is_raised_where_it_is_awaited(error: BaseException) -> None:
    def call() -> None:
        raise error

    thread = EnvThread()
    expected = RuntimeError if isinstance(error, StopIteration) else type(error)
    with pytest.raises(expected, match="no"):
        await thread.run(call, None)
    assert await thread.run(lambda: 5, 10.0) == 5, "the thread goes on"
    thread.stop()


async def test_a_call_that_outlives_its_deadline_is_told_from_a_later_one() -> None:
    thread, gate = EnvThread(), threading.Event()
    with pytest.raises(EnvironmentTimeout, match=r"within 0\.05 s"):
        await thread.run(lambda: gate.wait(60), 0.05)
    gate.set()
    assert await thread.run(lambda: "second", 30.0) == "second"
    thread.stop()


class Foreign(Lock):
    """Raises what no environment should."""

    def __init__(self, raises: str, where: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.raises, self.where = raises, where

    def _maybe(self, where: str) -> None:
        kinds = {"cancel": asyncio.CancelledError, "exit": SystemExit, "stop": StopIteration}
        if where == self.where:
            raise kinds[self.raises]("foreign")

    def reset(self, **kwargs: Any) -> Any:
        if self.resets:
            self._maybe("reset")
        return super().reset(**kwargs)

    def step(self, action: str) -> Any:
        self._maybe("step")
        return super().step(action)


register("Foreign", Foreign)


@pytest.mark.parametrize("raises", ["cancel", "exit", "stop"])
@pytest.mark.parametrize("where", ["reset", "step"])
@pytest.mark.parametrize("own", [False, True])
def test_foreign_exceptions_of_an_environment_end_the_attempt_only(
    raises: str, where: str, own: bool, tmp_path: Any
) -> None:
    kwargs = {"raises": raises, "where": where, "code": "bb"}
    agent = lg.IndependentSamplingAgent(Player())
    if own:
        env = lg.RollbackWrapper(gym.make("toy/Foreign-v0", disable_env_checker=True, **kwargs))
        tree = agent.run(env, budget=lg.Budget(interactions=20), stop="budget")
        branches = tree.branches
    else:
        task = Task(id="t", env_id="toy/Foreign-v0", kwargs=kwargs)
        with suppress(UsageError):  # no attempt can act where every step raises
            lg.explore(agent, [task], budget=lg.Budget(interactions=20), out=tmp_path)
        with lg.RunReader(tmp_path) as run:
            branches = run.branches(0)
    errors = [b for b in branches if b.ending == "env_error"]
    assert errors
    assert all("foreign" in b.reason for b in errors)


def test_many_slow_environments_overlap(tmp_path: Any) -> None:
    lock, inside, most = threading.Lock(), 0, 0

    class Waits(Lock):
        def step(self, action: str) -> Any:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.05)
            with lock:
                inside -= 1
            return super().step(action)

    gym.register("toy/Waits-v0", Waits)
    try:
        tasks = [Task(id=str(n), env_id="toy/Waits-v0", kwargs={"code": "bbbb"}) for n in range(16)]
        lg.explore(
            lg.IndependentSamplingAgent(Player(), lg.AgentConfig(max_attempts=2)),
            tasks, budget=lg.Budget(interactions=99), out=tmp_path, concurrency=16,
            config=lg.ExploreConfig(backend="native"),
        ).close()  # fmt: skip
    finally:
        gym.registry.pop("toy/Waits-v0")
    assert 4 <= most <= 16
