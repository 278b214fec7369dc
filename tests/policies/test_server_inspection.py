"""What servers say of themselves: models, window, health, adapters."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from model_server import ModelServer, Reply, serving
from toy_lock import CONFIG, explore

import leafe_gym as lg
from leafe_gym.errors import PolicyUnavailable, UsageError
from leafe_gym.policies.http import transport
from leafe_gym.policies.openai import OpenAIPolicy
from leafe_gym.types import Message

HELLO: list[Message] = [{"role": "user", "content": "trail="}]
SAMPLING = lg.Sampling(max_tokens=9)


@pytest.fixture(scope="module")
def running() -> Iterator[ModelServer]:
    with serving(ModelServer()) as server:
        yield server


class VLLM:
    """Answers questions as vLLM does, adapters included."""

    def __init__(self, server: ModelServer) -> None:
        server.reset()
        self.server, self.adapters = server, dict[str, str]()
        self.server.gets = {"/health": Reply(body=""), "/version": Reply(body={"version": "0.32"})}
        self.server.posts = {
            "/v1/load_lora_adapter": self.load,
            "/v1/unload_lora_adapter": self.drop,
        }
        self.server.behaviour = self.behave
        self.list()

    def list(self) -> None:
        card = {"object": "model", "owned_by": "vllm"}
        cards = [{**card, "id": "m", "root": "/models/m", "max_model_len": 4096}]
        cards += [{**card, "id": k, "root": v, "parent": "m"} for k, v in self.adapters.items()]
        self.server.gets["/v1/models"] = Reply(body={"object": "list", "data": cards})

    def load(self, asked: dict[str, Any], number: int) -> Reply:
        name, path = asked["lora_name"], asked["lora_path"]
        if name in self.adapters:
            return Reply(400, {"error": {"message": f"'{name}' has already been loaded."}})
        if "missing" in path:
            return Reply(404, {"error": {"message": f"No adapter found for {path}"}})
        self.adapters[name] = path
        self.list()
        return Reply(body=f"Success: LoRA adapter '{name}' added successfully.")

    def drop(self, asked: dict[str, Any], number: int) -> Reply:
        if asked["lora_name"] not in self.adapters:
            return Reply(404, {"error": {"message": "The lora adapter cannot be found."}})
        del self.adapters[asked["lora_name"]]
        self.list()
        return Reply(body="Success")

    def behave(self, asked: dict[str, Any], number: int) -> Reply | None:
        if asked["model"] in ("m", *self.adapters):
            return None
        said = f"The model `{asked['model']}` does not exist."
        return Reply(404, {"error": {"message": said, "code": 404}})


@pytest.fixture
def vllm(running: ModelServer, monkeypatch: pytest.MonkeyPatch) -> VLLM:
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.02)
    return VLLM(running)


def policy(vllm: VLLM, model: str = "m", **options: Any) -> OpenAIPolicy:
    return OpenAIPolicy(model, vllm.server.url, **{"tries": 2, **options})


def models(vllm: VLLM) -> list[str]:
    return [asked["model"] for asked in vllm.server.asked]


def test_kind_version_models_and_window(vllm: VLLM) -> None:
    asked = policy(vllm)
    assert asked.context_window is None
    (report,) = asyncio.run(asked.inspect())
    assert (report.answers, report.healthy, report.kind, report.version, report.models) == (
        True, True, "vLLM", "0.32", ("m",),
    )  # fmt: skip
    assert report.problem == ""
    asyncio.run(asked.prepare())
    assert asked.context_window == 4096


@pytest.mark.parametrize(
    "models",
    [
        Reply(404, {"detail": "Not Found"}),
        Reply(401, {"detail": "key"}),
        Reply(200, "<html></html>"),
        Reply(200, {"data": "none"}),
        Reply(200, {"data": [3, {"id": 4}, {"id": "other", "owned_by": ["x"]}]}),
        Reply(200, [{"id": "m", "max_model_len": "long"}]),
        Reply(500, "oops"),
        Reply(200, '{"data": [', claims=9),
    ],
)
def test_servers_that_answer_none_of_the_questions_are_used(vllm: VLLM, models: Reply) -> None:
    vllm.server.gets = {"/v1/models": models}
    asked = policy(vllm)
    assert asyncio.run(asked.complete(HELLO, SAMPLING)).text == "Action: a"
    assert asked.context_window is None


@pytest.mark.parametrize(
    ("card", "window"),
    [
        ({"id": "m", "owned_by": "sglang", "max_model_len": 2048}, 2048),
        ({"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx": 512, "n_ctx_train": 9999}}, 512),
        ({"id": "m:latest", "owned_by": "library"}, None),
        ({"id": "models/m", "context_length": 100}, 100),
        ({"id": "other", "max_model_len": 2048}, None),
    ],
)
def test_windows_of_other_servers(vllm: VLLM, card: dict[str, Any], window: int | None) -> None:
    vllm.server.gets = {"/v1/models": Reply(body={"data": [card]})}
    asked = policy(vllm)
    asyncio.run(asked.prepare())
    assert asked.context_window == window


def test_a_model_that_is_not_served_ends_the_run_and_names_those_that_are(
    vllm: VLLM, tmp_path: Path
) -> None:
    wrong = policy(vllm, "qwen")
    with pytest.raises(PolicyUnavailable, match=r"does not serve the model 'qwen'; .* has: m"):
        asyncio.run(wrong.complete(HELLO, SAMPLING))
    assert not vllm.server.asked
    del vllm.server.gets["/version"]
    vllm.server.gets["/v1/models"] = Reply(body={"data": [{"id": "a"}, {"id": "b"}]})
    with pytest.raises(PolicyUnavailable, match=r"does not exist.*the server has: a, b"):
        asyncio.run(policy(vllm, "qwen").complete(HELLO, SAMPLING))


def test_a_run_with_a_model_that_is_not_served_begins_nothing(vllm: VLLM, tmp_path: Path) -> None:
    vllm.server.gets["/v1/models"] = Reply(body={"data": [{"id": "other", "owned_by": "vllm"}]})
    with pytest.raises(PolicyUnavailable, match="the server has: other"):
        explore(vllm.server.url, tmp_path)
    assert not vllm.server.asked
    vllm.list()
    with explore(vllm.server.url, tmp_path) as run:
        assert all(tree.solved for tree in run.trees())


def test_the_window_is_known_before_the_first_prompt(vllm: VLLM) -> None:
    class Noting(OpenAIPolicy):
        windows: list[int | None] = []  # noqa: RUF012

        async def complete(self, *asked: Any) -> lg.Completion:
            self.windows.append(self.context_window)
            return await super().complete(*asked)

    env = lg.RollbackWrapper(gym.make("http/Two-v0", disable_env_checker=True))
    for both in (False, True):
        actor = OpenAIPolicy("m", vllm.server.url) if both else Noting("m", vllm.server.url)
        reflector = Noting("m", vllm.server.url) if both else None
        agent = lg.ReflectiveTreeAgent(actor, CONFIG, reflect_policy=reflector)
        assert agent.run(env, budget=lg.Budget(interactions=12)).solved
    assert set(Noting.windows) == {4096}


def test_max_tokens_that_fill_the_window_end_the_run(vllm: VLLM) -> None:
    with pytest.raises(PolicyUnavailable, match="max_tokens=4096 leaves no room"):
        asyncio.run(policy(vllm).complete(HELLO, lg.Sampling(max_tokens=4096)))


def test_the_report_of_a_server_that_is_not_there_and_of_one_that_wants_a_key(vllm: VLLM) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{found.getsockname()[1]}/v1"
    vllm.server.gets["/v1/models"] = Reply(401, {"error": "Unauthorized sk-secret-123"})
    asked = OpenAIPolicy("m", [gone, vllm.server.url], api_key="sk-secret-123")
    first, second = asyncio.run(asked.inspect())
    assert not first.answers
    assert "connect" in first.problem.lower()
    assert second.problem == "HTTP 401: Unauthorized ***: check the API key"


def test_adapters_change_between_rounds_without_a_restart(vllm: VLLM) -> None:
    asked = policy(vllm)

    async def rounds() -> list[str]:
        names = []
        for path in ("runs/1/lora", "runs/2/lora"):
            await asked.complete(HELLO, SAMPLING)
            names.append(asked.name)
            await asked.load_adapter(path)
        await asked.complete(HELLO, SAMPLING)
        await asked.load_adapter("runs/2/lora", "two")
        await asked.complete(HELLO, SAMPLING)
        await asked.unload_adapter()
        await asked.complete(HELLO, SAMPLING)
        return [*names, asked.name]

    names = asyncio.run(rounds())
    used = models(vllm)
    assert (used[0], used[3], used[4]) == ("m", "two", "m")
    assert used[1].startswith("lora-")
    assert used[2].startswith("lora-")
    assert len(set(used[:4])) == 4
    assert names[0] == names[2] == "openai:m" != names[1]
    assert set(vllm.adapters.values()) == {"runs/1/lora", "runs/2/lora"}


def test_an_adapter_that_is_there_or_gone_already_is_no_error(vllm: VLLM) -> None:
    asked = policy(vllm)

    async def twice() -> None:
        await asked.load_adapter("runs/1/lora", "one")
        await asked.load_adapter("runs/1/lora", "one")
        vllm.adapters.clear()
        await asked.unload_adapter()

    asyncio.run(twice())
    assert asked.name == "openai:m"


def test_an_adapter_is_known_by_its_weights(vllm: VLLM, tmp_path: Path) -> None:
    names = set()
    for number, weights in enumerate((b"one", b"two", b"one")):
        folder = tmp_path / str(number) / "lora"
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(weights)
        names.add(policy(vllm, adapter=folder).name)
    assert len(names) == 2


@pytest.mark.parametrize(
    ("given", "sent"),
    [("here/lora", "{}/here/lora"), ("./here/lora/", "{}/here/lora"), ("there/lora", "there/lora"),
     ("/srv/lora", "/srv/lora")],
)  # fmt: skip
def test_a_folder_that_is_here_is_named_to_the_server_by_its_absolute_path(
    vllm: VLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, sent: str
) -> None:
    (tmp_path / "here" / "lora").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    asyncio.run(policy(vllm, adapter=given).complete(HELLO, SAMPLING))
    assert list(vllm.adapters.values()) == [sent.format(tmp_path)]


def test_an_adapter_given_at_the_start_is_loaded_once_and_again_after_a_restart(
    vllm: VLLM, tmp_path: Path
) -> None:
    asked = policy(vllm, adapter="runs/1/lora")
    for _ in range(2):
        asyncio.run(asked.complete(HELLO, SAMPLING))
    assert vllm.server.paths.count("/v1/load_lora_adapter") == 1
    vllm.adapters.clear()
    vllm.list()
    assert asyncio.run(asked.complete(HELLO, SAMPLING)).text == "Action: a"
    assert list(vllm.adapters.values()) == ["runs/1/lora"]
    assert set(models(vllm)) == set(vllm.adapters)
    with explore(vllm.server.url, tmp_path / "run", adapter="runs/1/lora") as run:
        assert all(tree.solved for tree in run.trees())


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("missing/lora", None, "No adapter found .*must be able to read"),
        ("runs/1/lora", 404, "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
        ("runs/1/lora", 500, "HTTP 500: oops"),
    ],
)
def test_an_adapter_that_cannot_be_loaded(
    vllm: VLLM, path: str, status: int | None, said: str
) -> None:
    if status is not None:
        reply = Reply(status, {"detail": "oops" if status == 500 else "Not Found"})
        vllm.server.posts = {"/v1/load_lora_adapter": lambda asked, number: reply}
    with pytest.raises(PolicyUnavailable, match=said):
        asyncio.run(policy(vllm, adapter=path).complete(HELLO, SAMPLING))


@pytest.mark.parametrize("name", ["", "two words", 3])
def test_names_of_adapters_are_checked(vllm: VLLM, name: Any) -> None:
    with pytest.raises(UsageError, match="adapter name="):
        asyncio.run(policy(vllm).load_adapter("runs/1/lora", name))
