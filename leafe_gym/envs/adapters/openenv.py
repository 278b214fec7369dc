"""Environments of OpenEnv servers (https://github.com/huggingface/OpenEnv, package `openenv`).

A server that was started with `leafe serve` also has snapshots, so that a rollback there costs one
message; other servers are brought back by replay, where `check_rollback` finds that it is right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from http.client import HTTPException
from math import isfinite
from typing import Any, NamedTuple
from urllib.request import urlopen

from leafe_gym._optional import require
from leafe_gym.envs.text_env import Opening, StepOutcome, TextEnv
from leafe_gym.errors import EnvironmentFailure, SnapshotUnsupported, UsageError
from leafe_gym.types import Json

REFUSED = "The server refuses this action, and nothing happens."


class RemoteState(NamedTuple):
    """A state that the server holds: the snapshot's id, and what this side knew."""

    snapshot: str
    known: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """Bytes on this side, about."""
        return len(repr(self))


class OpenEnvEnv(TextEnv):
    """The environment of an OpenEnv server; an instance is one session.

    An observation is one field of the server's, or all as JSON; an action is the text of the
    server's one required field, or JSON with all fields; one that does not fit the server's schema
    is a step without effect. An episode is won if the server says so in `metadata["won"]`, else if
    it is done with a positive reward. A lost connection ends the episode with an error.

    Args:
        base_url: where the server is, such as "http://localhost:8000".
        observation: the field to show; None: the only one, else all as JSON.
        action: the field to fill; None: the only required one, else actions are JSON.
        reset: arguments of the server's `reset` besides the seed.
        timeout: seconds to wait for an answer, > 0.
        max_steps: see `TextEnv`.
        render_mode: see `TextEnv`.

    Raises:
        MissingExtra: if OpenEnv is not installed.
        UsageError: if there is no OpenEnv server at that address, or it has no such field.
    """

    def __init__(
        self,
        base_url: str = "http://localhost:8000",
        observation: str | None = None,
        action: str | None = None,
        reset: Mapping[str, Json] | None = None,
        timeout: float = 60.0,
        max_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(max_steps, render_mode)
        self._session: Any = None
        require("openenv", "openenv", "the environment of an OpenEnv server")
        if reset is not None and (not isinstance(reset, Mapping) or "seed" in reset):
            raise UsageError(f"reset={reset!r}: name the arguments besides the seed")
        self.base_url, self.timeout = base_url, timeout
        schema = _schema(base_url, timeout)
        fields = schema["action"].get("properties", {})
        self._fields = ", ".join(name for name in fields if name != "metadata")
        if action is not None and action not in fields:
            raise UsageError(f"action={action!r}: the server's actions have {sorted(fields)}")
        required = schema["action"].get("required", [])
        self._action = required[0] if action is None and len(required) == 1 else action
        self._observation = observation
        self._reset = dict(reset or {})
        self._commands: list[str] = []
        self.has_snapshots = "snapshots" in schema["state"].get("properties", {})

    def actions(self) -> list[str]:
        """The commands that the server lists."""
        return list(self._commands)

    def get_state(self) -> RemoteState:
        """Have the server save the state of this session.

        Raises:
            SnapshotUnsupported: if the server has no snapshots.
        """
        if not self.has_snapshots:
            raise SnapshotUnsupported(f"the server at {self.base_url} has no snapshots")
        answer = self._ask("snapshot")
        known = {name: getattr(self, name) for name in ("_steps", "_over", "_shown", "_commands")}
        return RemoteState(answer["metadata"]["snapshot"], known)

    def set_state(self, state: RemoteState) -> None:
        """Have the server restore it; another session of the same server may have saved it."""
        if self._session is None:
            self._answered(self._connected().begin, **self._reset)
        self._ask("restore", snapshot=state.snapshot)
        for name, value in state.known.items():
            setattr(self, name, value)

    def release_state(self, state: RemoteState) -> None:
        """Have the server forget it; a session that has ended has released it already."""
        if self._session is not None and not self._session.lost:
            self._ask("release", snapshot=state.snapshot)

    def close(self) -> None:
        """End the session."""
        session, self._session = self._session, None
        if session is not None:
            session.close()
        super().close()

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> Opening:
        """See `TextEnv.begin`."""
        number = int(self.np_random.integers(2**31)) if seed is None else seed
        seen = self._answered(self._connected().begin, seed=number, **self._reset)
        text = self._text(seen.observation)
        instruction = str(seen.observation.get("instruction") or "")
        return Opening(text, instruction, _about(seen)[2])

    def play(self, action: str) -> StepOutcome:
        """See `TextEnv.play`."""
        try:
            seen = self._answered(self._connected().step, self._payload(action))
        except EnvironmentFailure as error:
            if not str(error).endswith("(code: VALIDATION_ERROR)"):
                raise
            return StepOutcome(REFUSED, feedback=f"an action is JSON with {self._fields}")
        about, won, score = _about(seen)
        truncated = bool(seen.done and about.get("truncated"))
        return StepOutcome(
            observation=self._text(seen.observation),
            reward=float(seen.reward or 0.0),
            terminated=bool(seen.done) and not truncated,
            truncated=truncated,
            won=won,
            score=score,
            feedback=str(about.get("feedback") or ""),
        )

    def _payload(self, action: str) -> dict[str, Json]:
        """An action as the server wants it; text that is no JSON object goes to the one field."""
        if self._action is not None:
            return {self._action: action}
        try:
            given = json.loads(action)
        except (ValueError, RecursionError):
            given = None
        return given if isinstance(given, dict) else {"action": action}

    def _text(self, observation: Mapping[str, Json]) -> str:
        """What is shown of an observation; notes the commands that it lists."""
        listed = observation.get("admissible_commands")
        self._commands = [str(one) for one in listed] if isinstance(listed, list) else []
        fields = {key: value for key, value in observation.items() if key != "metadata"}
        if self._observation is not None:
            if self._observation not in fields:
                raise UsageError(
                    f"observation={self._observation!r}: the server's have {sorted(fields)}"
                )
            return str(fields[self._observation])
        if self.has_snapshots or len(fields) == 1:  # ours has the text first
            return str(next(iter(fields.values())))
        return json.dumps(fields, ensure_ascii=False)

    def _connected(self) -> Any:
        if self._session is None:
            client = _session_class()(base_url=self.base_url, message_timeout_s=self.timeout)
            self._session = client.sync()
        return self._session

    def _ask(self, kind: str, **data: Json) -> dict[str, Any]:
        return dict(self._answered(self._connected().ask, kind, data))

    def _answered(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        """A call to the server; what goes wrong becomes an `EnvironmentFailure`."""
        try:
            return call(*args, **kwargs)
        except (OSError, RuntimeError, TimeoutError) as error:
            said = str(error) or type(error).__name__
            raise EnvironmentFailure(f"OpenEnv server at {self.base_url}: {said}") from error


def _about(seen: Any) -> tuple[Mapping[str, Any], bool, float]:
    """Metadata of an answer; whether it is won; its score. Values of other types do not count."""
    about = seen.metadata or seen.observation.get("metadata") or {}
    won, score = about.get("won"), about.get("score")
    if not isinstance(won, bool):
        won = bool(seen.done) and float(seen.reward or 0.0) > 0
    if not (isinstance(score, int | float) and isfinite(score)):
        score = won
    return about, won, float(score)


def _schema(base_url: str, timeout: float) -> dict[str, dict[str, Any]]:
    try:
        with urlopen(f"{base_url.rstrip('/')}/schema", timeout=timeout) as answer:
            found: dict[str, dict[str, Any]] = json.load(answer)
        return {"action": dict(found["action"]), "state": dict(found["state"])}
    except (OSError, HTTPException, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(
            f"base_url={base_url!r}: no OpenEnv server answers there ({error}); start one with "
            "`leafe serve ID`"
        ) from error


@cache
def _session_class() -> Any:
    """The client of one session; made here, so that this module loads without OpenEnv."""
    core = require("openenv.core", "openenv")

    class Session(core.GenericEnvClient):  # type: ignore[misc, name-defined]
        """OpenEnv's client, except that it does not connect again in the middle of an episode.

        A new connection is a new session, whose environment may answer a step all the same.
        """

        playing = False

        @property
        def lost(self) -> bool:
            """Whether the connection of the episode is gone."""
            return self._ws is None or self._ws.state.name != "OPEN"

        async def _ensure_connected(self) -> None:
            if self.playing and self.lost:
                raise ConnectionError("the connection is lost, and the episode with it; reset")
            await super()._ensure_connected()

        async def begin(self, **data: Json) -> Any:
            """Begin an episode, with a new connection if there is none."""
            self.playing = False
            seen = await self._reset_async(**data)
            self.playing = True
            return seen

        async def ask(self, kind: str, data: Mapping[str, Json]) -> Any:
            """Send a message of `leafe serve`."""
            return (await self._send_and_receive({"type": kind, "data": dict(data)}))["data"]

    return Session
