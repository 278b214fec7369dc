"""Text environments of verifiers (https://github.com/PrimeIntellect-ai/verifiers, 0.4).

An episode is verifiers' own: its `Env.run` plays the task, its interception server records the
trace, its rewards score it. In the place of the model stands the caller of `step`. Such an episode
cannot be copied; it is brought back by replay, where `check_rollback` finds that it is right.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from itertools import islice
from typing import Any

from leafe_gym._optional import require
from leafe_gym.arguments import whole_number
from leafe_gym.envs.adapters.base import GlobalRandomGame
from leafe_gym.envs.adapters.stepped import SteppedProgram, Turn
from leafe_gym.envs.text_env import Opening, StepOutcome
from leafe_gym.errors import EnvironmentFailure, UsageError
from leafe_gym.types import Json

OVER = "The episode is over."


class VerifiersEnv(GlobalRandomGame):
    """Tasks of a verifiers taskset; an action is a model's whole reply.

    The seed selects the task: its remainder by the number of tasks. The reward comes with the
    last step and is that of the episode's last trace. Tools, containers and environments with
    several seats are not supported.

    Args:
        taskset: verifiers' id of an installed taskset.
        config: fields of the taskset's config.
        env: further fields of the environment's config, such as `{"id": "best-of-n"}`.
        limit: most tasks that are used, >= 1.
        won_from: least reward that counts as won.
        max_steps: see `TextEnv`.
        render_mode: see `TextEnv`.

    Raises:
        MissingExtra: if verifiers is not installed.
        UsageError: if there is no such taskset, it does not take a field, or it is not supported.
    """

    metadata: dict[str, Any] = {**GlobalRandomGame.metadata, "prompts": "chat"}  # noqa: RUF012

    def __init__(
        self,
        taskset: str = "textarena",
        config: Mapping[str, Json] | None = None,
        env: Mapping[str, Json] | None = None,
        limit: int = 1000,
        won_from: float = 1.0,
        max_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(max_steps, render_mode)
        whole_number("limit", limit, 1)
        vf = require("verifiers.v1", "verifiers", "an environment of verifiers")
        settings = {**(env or {}), "taskset": {**(config or {}), "id": taskset}}
        try:
            made = vf.resolve_env_config(settings)
            seats = {name: one for name, one in made if isinstance(one, vf.AgentConfig)}
            local = {"runtime": vf.SubprocessConfig()}  # the default one rents a machine
            here = {name: one.model_copy(update=local) for name, one in seats.items()}
            self._env = vf.load_environment(made.model_copy(update=here))
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise UsageError(f"taskset={taskset!r}: {error}") from error
        if len(seats) != 1 or self._env.taskset.toolsets(self._env.taskset.config):
            raise UsageError(f"taskset={taskset!r}: only one seat without tools is supported")
        self.won_from, self._limit = won_from, limit
        self._tasks: list[Any] = []
        self._program: SteppedProgram | None = None
        self._server: Any = None
        self._known: list[tuple[str, str]] = []

    def close(self) -> None:
        """End the episode and its servers."""
        program, self._program, self._server = self._program, None, None
        if program is not None:
            program.close()
        super().close()

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> Opening:
        """See `TextEnv.begin`."""
        number = self._seed_global_rng(seed)
        self._tasks = self._tasks or list(islice(self._env.taskset, self._limit))
        self._program = self._program or SteppedProgram(self._episode, "verifiers")
        self._known = []
        turn = self._program.begin(self._tasks[number % len(self._tasks)])
        if not turn.messages:
            raise EnvironmentFailure(f"the episode ended without a turn: {_reason(turn)}")
        rules = [text for role, text in turn.messages if role == "system"]
        return Opening(self._news(turn.messages), "\n\n".join(rules))

    def play(self, action: str) -> StepOutcome:
        """See `TextEnv.play`."""
        assert self._program is not None
        self._known.append(("assistant", action))
        turn = self._program.answer(action)
        if turn.messages:
            return StepOutcome(self._news(turn.messages))
        if turn.error is not None or not turn.result or not turn.result[-1].ok:
            raise EnvironmentFailure(f"verifiers: {_reason(turn)}") from turn.error
        trace = turn.result[-1]
        reward = float(trace.reward)
        won = reward >= self.won_from
        cut = bool(trace.is_truncated or trace.is_timeout) and not won
        scores = {name: one.value for name, one in trace.rewards.items() if one is not None}
        return StepOutcome(
            OVER,
            reward=reward,
            terminated=not cut,
            truncated=cut,
            won=won,
            score=min(1.0, max(0.0, reward)),
            feedback=", ".join(f"{name} {value:g}" for name, value in scores.items()),
        )

    def _news(self, messages: list[tuple[str, str]]) -> str:
        """The texts since the last turn; all but the rules where another conversation begins."""
        known, self._known = self._known, list(messages)
        same = [(role, text.strip()) for role, text in messages[: len(known)]]
        begun = same == [(role, text.strip()) for role, text in known]
        new = messages[len(known) :] if begun else messages
        return "\n\n".join(text for role, text in new if role != "system")

    async def _episode(self, task: Any, url: str, stack: AsyncExitStack) -> list[Any]:
        """An episode in verifiers' order of hooks; returns its traces."""
        agent, harness, vf = _classes()
        if self._server is None:
            server = require("verifiers.v1.interception", "verifiers").InterceptionServer()
            self._server = await stack.enter_async_context(server)
            await stack.enter_async_context(self._env.serving())
        about = {"type": type(task).__name__, "key": task.key, "hash": task.hash}
        episode = vf.Episode(task=vf.TraceTask(data=task.data, **about))
        null = vf.harness_config_type("null")(id="null")
        client = vf.EvalClientConfig(base_url=url, api_key_var="LEAFE_NO_KEY")
        model = {"model": "leafe", "client": client, "harness": null}

        def seat(name: str, spec: Any) -> Any:
            made = agent(spec.model_copy(update=model), interception=self._server)
            made.harness, made.traces = harness(null), episode.traces
            return made

        agents = vf.Agents(self._env.config, seat)
        await self._env.setup(agents)
        await self._env.run(task, agents)
        await self._env.finalize(task, episode)
        traces: list[Any] = episode.traces
        return traces


def _reason(turn: Turn) -> str:
    """Why an episode ended without a result."""
    errors = [one.last_error.message for one in turn.result or () if one.last_error is not None]
    return str(turn.error or (errors[-1] if errors else "no reason given"))


@cache
def _classes() -> Any:
    """Subclasses of verifiers' classes; made here, so that this module loads without verifiers."""
    vf = require("verifiers.v1", "verifiers")
    http = require("aiohttp", "verifiers")
    wire = require("verifiers.v1.dialects.chat", "verifiers").message_to_wire

    class OneCall(vf.Harness[vf.HarnessConfig]):  # type: ignore[misc, name-defined]
        """One model call per turn, made in this process instead of by a program."""

        APPENDS_SYSTEM_PROMPT = SUPPORTS_RESUME = True
        EXECUTES_CODE = NEEDS_CONTAINER = False

        async def launch(
            self, ctx: Any, trace: Any, runtime: Any, endpoint: str, secret: str,
            mcp_urls: Any, data: Any,
        ) -> Any:  # fmt: skip
            system, prompt = self.resolve_prompt(data)
            chat = [{"role": "system", "content": system}] if system else []
            given = [vf.UserMessage(content=prompt)] if isinstance(prompt, str) else prompt or []
            body = {"model": ctx.model, "messages": [*chat, *map(wire, given)]}
            head = {"Authorization": f"Bearer {secret}"}
            async with (
                http.ClientSession(timeout=http.ClientTimeout(None), headers=head) as session,
                session.post(f"{endpoint}/chat/completions", json=body) as answer,
            ):
                return vf.ProgramResult(int(not answer.ok), "", await answer.text())

    class Seat(vf.Agent):  # type: ignore[misc, name-defined]
        """verifiers' agent, which also hands on its traces."""

        async def run(self, task: Any, **more: Any) -> Any:
            self.traces.append(await super().run(task, **more))
            return self.traces[-1]

        @asynccontextmanager
        async def interaction(self, task: Any, **more: Any) -> AsyncIterator[Any]:
            async with super().interaction(task, **more) as talk:
                yield talk
            self.traces.append(talk.trace)

    return Seat, OneCall, vf
