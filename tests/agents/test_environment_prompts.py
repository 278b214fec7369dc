"""Which prompt set an environment is played with: configuration, policy, environment, "chat"."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from toy_agents import Lock, Player

import leafe_gym as lg
from leafe_gym import distill
from leafe_gym.agents.agent import resolve_prompts
from leafe_gym.budget import Budget
from leafe_gym.envs.prompts import named_prompts, registered_prompts
from leafe_gym.errors import ConfigMismatch, UsageError
from leafe_gym.evals.bench import METHODS, ControlInputs
from leafe_gym.policies.base import as_policy
from leafe_gym.prompts.chat import ChatPrompts
from leafe_gym.prompts.code import CodePrompts
from leafe_gym.prompts.react import ReactPrompts
from leafe_gym.store.reader import RunReader
from leafe_gym.types import Completion, Message, Sampling, Task


class ByMetadata(Lock):
    metadata: dict[str, Any] = {"render_modes": [], "prompts": "code"}  # noqa: RUF012


class Text(Lock):
    metadata: dict[str, Any] = {"render_modes": [], "prompts": "react"}  # noqa: RUF012


class ByAttribute(Lock):
    prompts = "code"


class Silent(Lock):
    prompts = ["How are you?"]  # noqa: RUF012 - something of its own


class Wrong(Lock):
    metadata: dict[str, Any] = {"render_modes": [], "prompts": "chatt"}  # noqa: RUF012


class Own(ChatPrompts):
    name = "own"


class ByObject(Lock):
    prompts = Own()


def factory(**kwargs: Any) -> gym.Env[str, str]:
    return ByMetadata(**kwargs)


factory.prompts = "code"  # type: ignore[attr-defined]

for kind in (ByMetadata, Text, ByAttribute, Silent, Wrong, ByObject):
    gym.register(f"toy/{kind.__name__}-v0", kind)
gym.register("toy/Factory-v0", factory)


class Made(Player):
    """Made for one prompt set."""

    prompts = "tiny"


NAMED = [
    ("toy/ByMetadata-v0", "code"),
    ("toy/ByAttribute-v0", "code"),
    ("toy/ByObject-v0", "own"),
    ("toy/Factory-v0", "code"),
    ("toy/Silent-v0", "chat"),
    ("toy/Lock-v0", "chat"),
    ("toy/Absent-v0", "chat"),
]


@pytest.mark.parametrize(("env_id", "name"), NAMED)
def test_the_first_that_names_one_decides(env_id: str, name: str) -> None:
    plain, chosen = lg.AgentConfig(), lg.AgentConfig(prompts="tiny-multiturn")
    assert resolve_prompts(Player(), plain, env_id).name == name
    assert resolve_prompts(Made(), plain, env_id).name == "tiny", "before the environment's"
    assert resolve_prompts(Made(), chosen, env_id).name == "tiny-multiturn", "before all others"
    assert lg.ReflectiveTreeAgent(Player()).prompts_for(env_id).name == name


def test_a_name_that_is_not_there_names_the_environment() -> None:
    with pytest.raises(UsageError, match=r"toy/Wrong-v0 names its prompt set: .*'chatt'.*chat"):
        lg.ReflectiveTreeAgent(Player()).prompts_for("toy/Wrong-v0")
    assert lg.ReflectiveTreeAgent(Made()).prompts_for("toy/Wrong-v0").name == "tiny", "not asked"


def test_a_module_in_the_id_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_world.py").write_text(
        "import gymnasium as gym\n\n\nclass World(gym.Env):\n    prompts = 'code'\n\n\n"
        "gym.register('own/World-v0', World)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registered_prompts("own_world:own/World-v0") == "code"
    assert registered_prompts("no_such_module:own/World-v0") is None


def test_run_asks_the_class_of_an_environment_that_is_not_registered() -> None:
    player = Player()
    env = lg.RollbackWrapper(ByMetadata("ab"), backend="native", probe_actions=["a", "b"])
    lg.IndependentSamplingAgent(player).run(env, budget=Budget(interactions=6))
    code = CodePrompts().render(
        Task(id="x", env_id="x", instruction="Open the lock."),
        lg.Start(observation="trail=", instruction="Open the lock."),
        [],
    )
    assert list(player.seen[0].messages) == code
    assert named_prompts(env.unwrapped) == "code"


def tasks(*kinds: str) -> list[Task]:
    kwargs = {"code": "bb", "disable_env_checker": True}
    return [Task(id=k, env_id=f"toy/{k}-v0", kwargs=kwargs, seed=0, split="train") for k in kinds]


class Acting:
    """Answers in the form of either prompt set: b where an experience says so, else a."""

    name = "acting"

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        last = messages[-1]["content"]
        if sampling.purpose == "reflect":
            return Completion(text='{"step": 0, "experience": "play b"}')
        letter = "b" if "b" in last.partition("play")[2] or "trail=b" in last else "a"
        code = "```" in str(messages)
        return Completion(text=f"```\n{letter}\n```" if code else f"Action: {letter}")


def explore(out: Path, found: list[Task], **config: Any) -> RunReader:
    agent = lg.ReflectiveTreeAgent(as_policy(Acting()), lg.AgentConfig(**config))
    settings = lg.ExploreConfig(backend="native")
    return lg.explore(agent, found, budget=Budget(interactions=30), out=out, config=settings)


def test_a_run_holds_the_set_of_each_environment(tmp_path: Path) -> None:
    with explore(tmp_path, tasks("Lock", "ByMetadata")) as run:
        stored = run.prompt_sets()
        assert {env_id: one["name"] for env_id, one in stored.items()} == {
            "toy/Lock-v0": "chat",
            "toy/ByMetadata-v0": "code",
        }
        assert run.prompts("toy/ByMetadata-v0").hash == CodePrompts().hash
        with pytest.raises(UsageError, match="with which prompts toy/Other-v0"):
            run.prompts("toy/Other-v0")
    explore(tmp_path, tasks("Lock")).close()  # fewer tasks
    explore(tmp_path, tasks("Lock", "ByMetadata", "ByAttribute")).close()  # another environment
    with pytest.raises(ConfigMismatch, match=r"toy/ByMetadata-v0 was explored with the prompts c"):
        explore(tmp_path, tasks("Lock", "ByMetadata"), prompts="chat")


def test_rows_are_rendered_with_the_set_of_their_own_environment(tmp_path: Path) -> None:
    explore(tmp_path, tasks("Lock", "Text")).close()
    rows = distill.rows(tmp_path, distill.RowConfig(keep="all"))
    systems = {row.task: row.prompt[0]["content"] for row in rows}
    assert set(systems) == {"Lock", "Text"}
    start = lg.Start(observation="trail=", instruction="Open the lock.")
    for made, name in ((ChatPrompts(), "Lock"), (ReactPrompts(), "Text")):
        task = tasks(name)[0]
        assert systems[name] == made.render(task, start, [])[0]["content"]
    assert systems["Lock"] != systems["Text"]
    assert {env: one["name"] for env, one in rows.manifest()["prompts"].items()} == {
        "toy/Lock-v0": "chat",
        "toy/Text-v0": "react",
    }


def test_controls_wrap_the_set_of_each_environment() -> None:
    agent = METHODS["tree-no-experience"].agent(Player(), lg.AgentConfig(), ControlInputs())
    assert agent.prompts_for("toy/ByMetadata-v0").name == "code+no-experience"
    assert agent.prompts_for("toy/Lock-v0").name == "chat+no-experience"
    both = METHODS["tree-random-tau-no-experience"].agent(Made(), lg.AgentConfig(), ControlInputs())
    assert both.prompts_for("toy/ByMetadata-v0").name == "tiny+random-tau+no-experience"
