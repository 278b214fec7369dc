"""Models on the command line: every form of name on every verb, wrong combinations, two models."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from typer.testing import CliRunner

import leafe_gym as lg
from leafe_gym.cli.app import build
from leafe_gym.registry import REGISTRIES
from leafe_gym.store.reader import RunReader
from leafe_gym.tiny.policy import SHIPPED
from leafe_gym.tiny.words import World
from leafe_gym.types import Json

TWO, SOKOBAN = "cli/Two-v0", "leafe/Sokoban-v0"
ROOMS = [
    part for key, value in World().levels.items() for part in ("-s", f"{key}={json.dumps(value)}")
]
APP = build(("explore", "bench", "eval", "play", "doctor"))


class Two(gym.Env[str, str]):
    """Won with "a", then "b"."""

    observation_space = action_space = lg.TextSpace()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.trail = ""
        return "trail=", {"instruction": "Open the lock."}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.trail += action[:1]
        won = self.trail == "ab"
        return f"trail={self.trail}", float(won), len(self.trail) > 1, False, {"won": won}

    def get_state(self) -> str:
        return self.trail

    def set_state(self, state: str) -> None:
        self.trail = state


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    gym.register(TWO, Two)  # type: ignore[arg-type]
    yield
    del gym.registry[TWO]
    REGISTRIES["policy"]._own.clear()


class Served:
    """A chat server that advises to play "b" at 1, and plays "a" unless it is advised to."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                card = {"id": "m", "owned_by": "vllm", "max_model_len": 4096}
                known = {"/v1/models": {"data": [card, {"id": "critic"}]}, "/health": {}}
                self._send(known.get(self.path))

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.asked.append(asked)
                self._send(outer.reply(asked))

            def _send(self, body: Json) -> None:
                raw = json.dumps(body).encode()
                self.send_response(404 if body is None else 200)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def reply(self, asked: dict[str, Any]) -> Json:
        said = "\n".join(str(message["content"]) for message in asked["messages"])
        if "response_format" in asked:
            reason = {"reason": "a lost"} if '"reason"' in said else {}
            text = json.dumps({**reason, "step": 1, "experience": "play b"})
        else:
            text = f"Action: {'b' if 'play b' in said else 'a'}"
        message = {"role": "assistant", "content": text}
        return {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 3},
        }


@pytest.fixture
def served() -> Iterator[Served]:
    server = Served()
    yield server
    server.server.shutdown()
    server.server.server_close()


def leafe(*arguments: object) -> tuple[int, str]:
    """Exit code and all that was printed, white space folded."""
    done = CliRunner().invoke(APP, [str(one) for one in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join(done.output.split())


def policy_of(folder: Path) -> str:
    with RunReader(folder) as run:
        return str(run.config["agent"]["policy"])


def command(verb: str, out: Path, env_id: str = TWO) -> list[object]:
    common: list[object] = [verb, env_id]
    more: dict[str, list[object]] = {
        "explore": ["-n", 1, "--out", out, "--interactions", 20],
        "bench": ["-n", 1, "--out", out, "--interactions", 20, "--methods", "is,tree"],
        "eval": ["-n", 1, "--out", out, "--samples", 2, "--k", 1],
        "play": ["--watch"],
    }
    return [*common, *more[verb]]


@pytest.mark.parametrize("verb", ["explore", "bench", "eval", "play"])
def test_a_served_model_on_every_verb(verb: str, served: Served, tmp_path: Path) -> None:
    code, said = leafe(
        *command(verb, tmp_path), "--model", "m", "--base-url", served.url, "--temperature", 0.25,
        "--top-p", 0.9, "--max-tokens", 33, "--policy", 'extra={"min_p": 0.5}',
    )  # fmt: skip
    assert code == 0, said
    acting = [asked for asked in served.asked if "response_format" not in asked]
    assert {asked["model"] for asked in served.asked} == {"m"}
    assert {asked["temperature"] for asked in acting} == {0.25}
    assert {(a["top_p"], a["max_tokens"], a["min_p"]) for a in acting} == {(0.9, 33, 0.5)}
    assert len(acting) >= 2


@pytest.mark.parametrize(
    ("verb", "form"),
    [("explore", "scripted"), ("play", "scripted"), ("explore", "tiny"), ("eval", "tiny"),
     *((verb, "folder") for verb in ("explore", "bench", "eval", "play"))],
)  # fmt: skip
def test_models_without_a_server(verb: str, form: str, tmp_path: Path) -> None:
    name = str(SHIPPED / "blind") if form == "folder" else form
    code, said = leafe(*command(verb, tmp_path / "out", SOKOBAN), *ROOMS, "--model", name)
    assert code == 0, said
    if verb == "explore":
        kind = "scripted-sokoban" if form == "scripted" else "tiny:"
        assert policy_of(tmp_path / "out").startswith(kind)


def test_a_run_goes_on_with_another_server_and_not_with_other_sampling(
    served: Served, tmp_path: Path
) -> None:
    def explore(server: Served, *more: object) -> tuple[int, str]:
        base = command("explore", tmp_path / "run")
        return leafe(*base, "--model", "m", "--base-url", server.url, *more)

    assert explore(served)[0] == 0
    other = Served()
    try:
        assert explore(other, "-n", 2)[0] == 0
    finally:
        other.server.shutdown()
        other.server.server_close()
    assert other.asked, "the second task"
    code, said = explore(served, "--temperature", 0.5)
    assert code == 2
    assert "agent.temperature=1.0, now it is 0.5" in said
    code, said = explore(served, "--policy", 'extra={"min_p": 0.5}')
    assert (code, "agent.policy=" in said) == (2, True)


def test_another_model_reflects(served: Served, tmp_path: Path) -> None:
    code, said = leafe(
        *command("explore", tmp_path / "run"), "--model", "m", "--base-url", served.url,
        "--reflect-model", "critic", "--reflect-base-url", served.url,
    )  # fmt: skip
    assert code == 0, said
    asked = {(one["model"], "response_format" in one) for one in served.asked}
    assert asked == {("m", False), ("critic", True)}
    with RunReader(tmp_path / "run") as run:
        assert run.config["agent"]["reflect_policy"].startswith("openai:critic")
        tree = run.tree(0)
    assert tree.solved
    assert tree.spent.reflect_prompt_tokens == 11 * tree.spent.reflect_calls > 0
    served.asked.clear()
    base = [*command("bench", tmp_path / "bench"), "--model", "m", "--base-url", served.url]
    assert leafe(*base, "--reflect-model", "critic", "--reflect-base-url", served.url)[0] == 0
    assert {one["model"] for one in served.asked if "response_format" in one} == {"critic"}


def test_engine_and_options_reach_the_policy(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def engine(
        model: str, adapter: str | None = None, chat_template_kwargs: Json = None, rank: int = 0
    ) -> Any:
        seen.append({"model": model, "adapter": adapter, "c": chat_template_kwargs, "rank": rank})
        return lg.policy("scripted")

    lg.register("policy", "vllm", engine)
    lg.register("policy", "transformers", engine)
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    for name in (folder, "Owner/Model-7B"):
        code, said = leafe(
            *command("explore", tmp_path / str(len(seen)), SOKOBAN), *ROOMS, "--model", name,
            "--engine", "vllm", "--adapter", "a", "--policy", "rank=4",
            "--chat-template-kwargs", '{"enable_thinking": false}',
        )  # fmt: skip
        assert code == 0, said
        wanted = {"model": str(name), "adapter": "a", "c": {"enable_thinking": False}, "rank": 4}
        assert seen[-1] == wanted
    adapter = tmp_path / "trained" / "model"
    adapter.mkdir(parents=True)
    about = {"base_model_name_or_path": str(folder)}
    (adapter / "adapter_config.json").write_text(json.dumps(about))
    base = command("eval", tmp_path / "eval", SOKOBAN)
    assert leafe(*base, *ROOMS, "--model", tmp_path / "trained")[0] == 0
    assert (seen[-1]["model"], seen[-1]["adapter"]) == (str(folder), str(adapter))


URL = "http://127.0.0.1:9/v1"
WRONG = [
    (["--model", "tiny", "--base-url", URL], "--model tiny: policy tiny: it does not take --base"),
    (["--model", "scripted", "--adapter", "x"], "it does not take --adapter"),
    (["--model", "scripted", "--policy", "nois=1"], "it does not take --policy nois"),
    (["--model", "scripted", "--engine", "vllm"], "it does not take --engine"),
    (["--model", "scripted", "--chat-template-kwargs", "{}"], "take --chat-template-kwargs"),
    (["--chat-template-kwargs", "[]"], "--chat-template-kwargs []: expected a JSON object"),
    (["--engine", "tgi"], "--engine tgi: expected one of transformers, vllm"),
    (["--model", "m", "--base-url", "localhost"], "--base-url"),
    (["--model", "m", "--base-url", URL, "--engine", "vllm"], "--engine 'vllm'"),
    (["--model", "openai"], "--model openai: name the model itself, --model NAME --base-url URL"),
    (["--model", "transformers"], "--model transformers: name the model itself"),
    (["--model", "scriptd"], "did you mean: scripted"),
    (["--model", "scripted/coder"], "did you mean: scripted-coder"),
    (["--model", "./absent"], "there is no folder ./absent"),
    (["--model", "a/b/c"], "there is no folder a/b/c"),
    (["--model", "EMPTY"], "holds no config.json"),
    (["--model", "EMPTY/absent"], "there is no folder"),
    (["--policy", "noise"], "--policy noise: expected KEY=VALUE"),
    (["--model", "m", "--base-url", URL, "--policy", "base_url=x"], "give it as --base-url"),
    (["--reflect-base-url", URL], "--reflect-base-url: name the model, too: --reflect-model"),
    (["--reflect-policy", "a=1"], "--reflect-policy: name the model, too"),
    (["--reflect-model", "openai"], "--reflect-model NAME --reflect-base-url URL"),
    (["--reflect-model", "tiny", "--reflect-base-url", URL], "it does not take --reflect-base-url"),
    (["--temperature", "-1"], "--temperature -1"),
    (["--model", str(SHIPPED / "blind"), "--engine", "vllm"], "--engine 'vllm'"),
    (["--model", "m", "--base-url", URL, "--policy", "concurency=5"], "it takes: model, base_url"),
    (["--model", "owner/name", "--policy", "max_bach=5"], "it does not take --policy max_bach"),
    (["--model", "owner/name", "--policy", "lable=x"], "prefix_cache_gib"),
    (["--model", "m", "--base-url", URL, "--policy", "model=n"], "the model is 'm' already"),
    (
        ["--model", "owner/name", "--policy", "model=n"],
        "--policy model 'n': the model is 'owner/na",
    ),
    (["--model", str(SHIPPED / "blind"), "--policy", "model=n"], "already"),
    (["--model", URL], "is a URL: name the model"),
    (["--chat-template-kwargs", "[" * 50_000], "expected a JSON object"),
    (["--chat-template-kwargs", '{"a":' * 20_000], "expected a JSON object"),
    (["--model", "m", "--base-url", URL, "--policy", f"deadline={'[' * 50_000}"], "number of sec"),
]


@pytest.mark.parametrize(("options", "said"), WRONG)
def test_wrong_combinations_name_the_option(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    code, output = leafe(*command("explore", tmp_path / "run"), *options)
    assert code == 2, output
    assert said in output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", ["bench", "eval", "play"])
def test_other_verbs_refuse_them_too(verb: str, tmp_path: Path) -> None:
    code, output = leafe(*command(verb, tmp_path / "run"), "--model", "tiny", "--base-url", URL)
    assert (code, "--base-url" in output) == (2, True), output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "expected a JSON object"),
        ("{}", "does not name its base model"),
        ('{"base_model_name_or_path": "gone"}', "its base model 'gone' is not there"),
        ('{"base_model_name_or_path": "/gone/base"}', "there is no folder /gone/base"),
    ],
)
def test_adapters_that_cannot_be_used(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(text)
    code, output = leafe(*command("explore", tmp_path / "run"), "--model", tmp_path)
    assert code == 2
    assert said in output


def test_options_of_a_model_are_for_watching(served: Served) -> None:
    for options in (["--model", "tiny"], ["--temperature", "0"]):
        code, output = leafe("play", TWO, *options)
        assert (code, f"{options[0]}: it is for --watch" in output) == (2, True)
    code, output = leafe("play", TWO, "--watch", "--model", "m", "--base-url", served.url)
    assert code == 0
    for part in ("Open the lock.", "trail=a", "Action: a", "failed after 2 turns"):
        assert part in output
    assert output.count("Open the lock.") == 1, "only the new part of each prompt"


def test_doctor_asks_servers(served: Served) -> None:
    code, output = leafe("doctor", "--base-url", served.url)
    assert code == 0
    for part in ("vLLM", "models: m, critic", "4,096 tokens"):
        assert part in output
    assert leafe("doctor", "--base-url", served.url, "--model", "critic")[0] == 0
    code, output = leafe("doctor", "--base-url", served.url, "--model", "other")
    assert (code, "does not serve the model 'other'" in output) == (1, True)
    code, output = leafe("doctor", "--base-url", URL)
    assert (code, "does not answer" in output) == (1, True)
    assert leafe("doctor", "--model", "m")[0] == 2


def test_doctor_says_that_a_base_url_is_none(served: Served) -> None:
    root = served.url.removesuffix("/v1")
    for url in (root, f"{root}/"):
        code, output = leafe("doctor", "--base-url", url, "--model", "m")
        assert (code, f"use {served.url} as the base URL" in output) == (1, True)
    for path, why in (("/v2", "HTTP 404"), ("/health", "HTTP 404")):
        code, output = leafe("doctor", "--base-url", root + path, "--json", "-")
        finding = json.loads(output)["findings"][0]
        assert (code, finding["state"]) == (0, "absent")
        assert f"/models ({why}): check the base URL" in finding["detail"]


@pytest.mark.parametrize("verb", ["explore", "eval", "bench"])
def test_a_command_without_a_model_says_what_acts(verb: str, tmp_path: Path) -> None:
    few = {"explore": ["--interactions", 4], "eval": ["--samples", 1]}.get(verb)
    few = few or ["--interactions", 4, "--methods", "is"]
    code, shown = leafe(verb, SOKOBAN, "-n", 1, *few, *ROOMS, "--out", tmp_path)
    assert code == 0, shown
    assert "No --model: the policy 'scripted' acts, a program that plays Sokoban" in shown
    code, shown = leafe(
        verb, SOKOBAN, "-n", 1, *few, *ROOMS, "--out", tmp_path / "named", "--model", "scripted"
    )
    assert code == 0, shown
    assert "No --model" not in shown


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--base-url", "http://localhost:1/v1"),
        ("--engine", "vllm"),
        ("--adapter", "models/a"),
        ("--chat-template-kwargs", "{}"),
    ],
)
def test_an_option_about_a_model_needs_its_name(flag: str, value: str, tmp_path: Path) -> None:
    for verb in ("explore", "eval"):
        code, shown = leafe(verb, SOKOBAN, "--out", tmp_path / verb, flag, value)
        assert code == 2
        assert f"{flag}: name the model, too: --model NAME" in shown
