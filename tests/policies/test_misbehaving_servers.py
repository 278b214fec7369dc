"""A real HTTP server misbehaves in one way at a time, through a whole exploration.

Whatever it does, the exploration ends without a traceback of another library, nothing of an outage
is committed, and the same call goes on with a server that behaves, to the undisturbed run.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from model_server import REFLECT_TOKENS, Behaviour, ModelServer, Reply, chat, serving, text_for
from toy_lock import SECRET, explore

import leafe_gym as lg
from leafe_gym.errors import PolicyUnavailable, RunIncomplete, UsageError
from leafe_gym.policies.http import transport
from leafe_gym.policies.openai import OpenAIPolicy


@pytest.fixture(scope="module")
def running() -> Iterator[ModelServer]:
    with serving(ModelServer()) as server:
        yield server


@pytest.fixture
def server(running: ModelServer, monkeypatch: pytest.MonkeyPatch) -> ModelServer:
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.02)
    running.reset()
    return running


@pytest.fixture(scope="module")
def undisturbed(running: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    running.reset()
    with explore(running.url, tmp_path_factory.mktemp("run")) as run:
        assert all(tree.solved and len(tree.branches) > 1 for tree in run.trees())
        return run.fingerprint()


def error(status: int, message: Any, **headers: str) -> Reply:
    return Reply(status, {"error": {"message": message}}, headers)


def first(reply: Reply, count: int = 1) -> Behaviour:
    """`reply` to the first requests, then good ones."""
    return lambda asked, number: reply if number <= count else None


def always(reply: Reply) -> Behaviour:
    return lambda asked, number: reply


def refuses(name: str, reply: Reply) -> Behaviour:
    """`reply` to requests with a field of this name."""
    return lambda asked, number: reply if name in asked else None


def said(text: str, reason: Any = "stop", **message: Any) -> Reply:
    return Reply(body=chat(text, reason, **message))


def instead(**message: Any) -> Behaviour:
    """The right text, in another place of the message."""

    def behave(asked: dict[str, Any], number: int) -> Reply:
        placed = {k: v(text_for(asked)) if callable(v) else v for k, v in message.items()}
        return Reply(body=chat(placed.pop("content"), placed.pop("reason", "stop"), **placed))

    return behave


def no_system(status: int, message: str) -> Behaviour:
    """A chat template that takes no system message."""
    return lambda asked, number: (
        error(status, message) if asked["messages"][0]["role"] == "system" else None
    )


def pydantic(name: str) -> Reply:
    """FastAPI's refusal of a field, which repeats the request."""
    found = {
        "type": "extra_forbidden",
        "loc": ["body", name],
        "msg": "Extra inputs are not permitted",
    }
    return Reply(422, {"detail": [{**found, "input": {"seed": 1, "top_p": 1}}]})


def usage(**counts: Any) -> Behaviour:
    return lambda asked, number: Reply(body={**chat(text_for(asked)), "usage": counts})


HTML = "<html><style>b{}</style><body><h1>502 Bad Gateway</h1></body></html>"
CALLS = [{"id": "1", "type": "function", "function": {"name": "go", "arguments": "{}"}}]

MENDED: dict[str, tuple[Behaviour, set[str]]] = {
    # misbehaviour -> (behaviour, fields that no later request holds)
    "seed-refused": (refuses("seed", error(400, "Unrecognized request argument: seed")), {"seed"}),
    "seed-refused-by-pydantic": (refuses("seed", pydantic("seed")), {"seed"}),
    "seed-not-31-bits": (
        lambda a, n: error(400, "seed must be less than 2147483648") if a["seed"] >> 31 else None,
        set(),
    ),
    "seed-overflows-500": (
        lambda a, n: (
            error(500, "Python int too large to convert to C long") if a["seed"] >> 31 else None
        ),
        set(),
    ),
    "max_tokens-renamed": (
        refuses(
            "max_tokens",
            error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
        ),
        {"max_tokens"},
    ),
    "temperature-fixed": (
        refuses("temperature", error(400, "Unsupported value: only temperature 1 is supported")),
        {"temperature"},
    ),
    "top_p-refused": (refuses("top_p", error(400, "top_p and temperature: one only")), {"top_p"}),
    "top_k-refused": (
        refuses("top_k", error(400, "Unrecognized request argument supplied: top_k")),
        {"top_k"},
    ),
    "schema-unsupported": (
        refuses("response_format", error(400, "response_format json_schema is not supported")),
        {"response_format"},
    ),
    "schema-refused-without-reason": (
        refuses("response_format", Reply(400, "Bad Request")),
        {"response_format"},
    ),
    "grammar-too-large": (
        refuses("response_format", error(400, "Grammar exceeds limits")),
        {"response_format"},
    ),
    "grammar-error-500": (
        refuses("response_format", error(500, "Grammar error: failed to compile")),
        {"response_format"},
    ),
    "system-role-refused": (no_system(400, "System role not supported"), set()),
    "system-role-refused-500": (
        no_system(500, "Jinja Exception: System role not supported"),
        set(),
    ),
    "system-role-refused-openai": (
        no_system(400, "Unsupported value: 'messages[0].role' does not support 'system' here"),
        set(),
    ),
    "system-role-refused-gemini": (
        no_system(400, "Developer instruction is not enabled for models/gemma"),
        set(),
    ),
    "system-turn-breaks-alternation": (
        no_system(400, "Conversation roles must alternate user/assistant/user/..."),
        set(),
    ),
    "four-fields-refused": (
        lambda a, n: next(
            (pydantic(f) for f in ("seed", "top_k", "response_format", "top_p") if f in a), None
        ),
        {"seed", "top_k", "response_format", "top_p"},
    ),
    "content-in-parts": (
        instead(content=lambda text: [{"type": "text", "text": text[:3]}, {"text": text[3:]}]),
        set(),
    ),
    "tool-calls-empty": (instead(content=str, tool_calls=[], reason="tool_calls"), set()),
    "finish_reason-null": (instead(content=str, reason=None), set()),
    "finish_reason-unknown": (instead(content=str, reason="eos_token"), set()),
    "201-created": (lambda a, n: Reply(201, chat(text_for(a))), set()),
    "203-by-a-proxy": (lambda a, n: Reply(203, chat(text_for(a))), set()),
    "206-partial": (lambda a, n: Reply(206, chat(text_for(a))), set()),
    "200-empty-once": (first(Reply(200, "")), set()),
    "long-header": (
        lambda a, n: Reply(body=chat(text_for(a)), headers={"x-policy": "z" * 30_000}),
        set(),
    ),
    "202-once": (first(Reply(202, {"status": "pending"})), set()),
    "500-once": (first(error(500, "oops")), set()),
    "503-loading-once": (first(error(503, "Loading model")), set()),
    "408-once": (first(error(408, "slow")), set()),
    "429-retry-after-0": (first(error(429, "busy", **{"retry-after": "0"})), set()),
    "429-retry-after-date": (
        first(error(429, "busy", **{"retry-after": formatdate(usegmt=True)})),
        set(),
    ),
    "error-inside-200": (first(Reply(body={"error": {"message": "x", "code": 502}})), set()),
    "finish_reason-abort-once": (first(said("", "abort")), set()),
    "finish_reason-error-once": (first(said("half", "error")), set()),
    "empty-without-finish-once": (first(said("", None)), set()),
    "no-choices-once": (first(Reply(body={"choices": []})), set()),
    "not-an-object-once": (first(Reply(body=[1])), set()),
    "message-missing-once": (first(Reply(body={"choices": [{"index": 0}]})), set()),
    "half-json-once": (first(Reply(body='{"id": "1", "choi')), set()),
    "not-utf8-once": (first(Reply(body=b"\xff\xfe{}")), set()),
    "deep-json-once": (first(Reply(body="[" * 10**5)), set()),
    "loc-a-number-once": (first(Reply(500, {"detail": [{"loc": 7, "msg": "x"}]})), set()),
    "loc-true-once": (first(Reply(503, [{"detail": [{"loc": True, "msg": ["x"]}]}])), set()),
    "429-retry-after-no-date": (
        first(error(429, "busy", **{"retry-after": f"1 Jan {'9' * 20} 00:00:00"})),
        set(),
    ),
    "cut-connection-once": (first(Reply(body='{"id":', claims=900)), set()),
    "wrong-encoding-once": (first(Reply(body="{}", headers={"content-encoding": "gzip"})), set()),
}


@pytest.mark.parametrize("fault", MENDED)
def test_mended(fault: str, server: ModelServer, undisturbed: str, tmp_path: Path) -> None:
    server.behaviour, gone = MENDED[fault]
    with explore(server.url, tmp_path) as run:
        assert run.fingerprint() == undisturbed
    assert not gone & server.asked[-1].keys()
    assert all(not gone & asked.keys() for asked in server.asked[-2:])


USAGES = {
    "usage-missing": {},
    "usage-in-words": {"prompt_tokens": "5", "completion_tokens": "two"},
    "usage-negative": {"prompt_tokens": -5, "completion_tokens": 2.5},
    "usage-of-64-bits": {"prompt_tokens": 2**62, "completion_tokens": 2**63},
    "usage-without-end": {"prompt_tokens": 10**30, "completion_tokens": 2**40 + 1},
}


@pytest.mark.parametrize("fault", USAGES)
def test_token_counts_of_another_form(fault: str, server: ModelServer, tmp_path: Path) -> None:
    server.behaviour = usage(**USAGES[fault])
    with explore(server.url, tmp_path) as run:
        steps = [step for tree in run.trees() for b in tree.branches for step in b.steps]
    assert {step.usage for step in steps} == {lg.Usage()}


OUTAGES: dict[str, tuple[Behaviour, str]] = {
    "401": (always(error(401, "no")), "HTTP 401: no: check the API key"),
    "401-repeats-the-key": (always(error(401, f"Incorrect key {SECRET}")), r"Incorrect key \*\*\*"),
    "402": (always(Reply(402, {"detail": "pay first"})), "pay first: check the account's quota"),
    "403-html": (always(Reply(403, HTML)), "502 Bad Gateway: check the API key"),
    "400-bad-key": (always(error(400, "API key not valid")), "check the API key"),
    "404": (always(Reply(404, {"detail": "Not Found"})), "check the model's name and the base URL"),
    "404-model": (always(error(404, "The model `m` does not exist.")), "does not exist"),
    "407": (always(Reply(407, "")), "check the proxy"),
    "400-no-template": (
        always(error(400, "you must provide a chat template if the tokenizer has none")),
        "use an instruction-tuned model",
    ),
    "500-no-template": (
        always(error(500, "tokenizer.chat_template is not set and no template was passed")),
        "use an instruction-tuned model",
    ),
    "204": (always(Reply(204, "")), "HTTP 204: No Content: check the base URL"),
    "205": (always(Reply(205, "")), "HTTP 205: Reset Content: check the base URL"),
    "405": (always(Reply(405, "")), "Method Not Allowed: check the base URL"),
    "307-redirect": (always(Reply(307, "", {"location": "/"})), "check the base URL"),
    "200-html": (always(Reply(200, HTML)), "the response is HTML: 502 Bad Gateway"),
    "429-for-ever": (always(error(429, "busy")), "busy .*use a smaller `concurrency`"),
    "429-an-hour": (always(error(429, "busy", **{"retry-after": "3600"})), "in 1 tries"),
    "429-quota": (
        always(Reply(429, {"error": {"message": "x", "code": "insufficient_quota"}})),
        "check the account's quota",
    ),
    "500-for-ever": (always(Reply(500, "Internal Server Error")), "HTTP 500: Internal Server"),
    "502-html": (always(Reply(502, HTML)), "HTTP 502: 502 Bad Gateway"),
    "503-empty": (always(Reply(503, "")), "HTTP 503: Service Unavailable"),
    "no-system-role": (always(error(400, "System role not supported")), "another prompt set"),
    "roles-alternate-500": (
        always(error(500, "Conversation roles must alternate user/assistant")),
        "another prompt set",
    ),
    "max_tokens-above-limit": (
        always(error(400, "max_tokens is too large: 40. At most 9 completion tokens.")),
        "use a max_tokens smaller than 40",
    ),
    "max_tokens-above-window": (
        always(error(400, "This model's maximum context length is 32 tokens, you asked for 40")),
        "use a max_tokens smaller than 40",
    ),
    "outage-in-mid-run": (lambda a, n: error(503, "gone") if n > 4 else None, "HTTP 503: gone"),
}


@pytest.mark.parametrize("fault", OUTAGES)
def test_outage(fault: str, server: ModelServer, undisturbed: str, tmp_path: Path) -> None:
    server.behaviour, match = OUTAGES[fault]
    with pytest.raises(PolicyUnavailable, match=match) as caught:
        explore(server.url, tmp_path)
    assert SECRET not in str(caught.value)
    with lg.RunReader(tmp_path) as run:
        committed = [b for n in range(2) for b in run.branches(n)]
    assert not any(b.ending == "policy_error" for b in committed)
    server.reset()
    with explore(server.url, tmp_path) as run:
        assert run.fingerprint() == undisturbed


REFUSED: dict[str, tuple[Behaviour, str]] = {
    "400": (always(error(400, "told so")), "HTTP 400: told so"),
    "413": (always(Reply(413, "<b>told so</b>")), "HTTP 413: told so"),
    "418-text": (always(Reply(418, {"error": "told so"})), "HTTP 418: told so"),
    "422-detail": (always(Reply(422, {"detail": [{"loc": ["body"], "msg": "so"}]})), "422: .*: so"),
    "filtered": (always(said("", "content_filter")), "content filter"),
    "tool-call": (always(said(None, "tool_calls", tool_calls=CALLS)), "without a tool-call parser"),
    "reasoning-alone": (always(said(None, reasoning_content="hm")), "the server's reasoning parse"),
    "content-a-number": (always(said(7)), "the reply's content is '7'"),
    "aborted-for-ever": (always(said("", "abort")), "broke the reply off"),
    "half-json-for-ever": (always(Reply(body='{"id')), "not JSON"),
    "slow": (always(Reply(body=chat("x"), seconds=0.9)), r"within 0.3 s"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_refused(fault: str, server: ModelServer, undisturbed: str, tmp_path: Path) -> None:
    server.behaviour, match = REFUSED[fault]
    with pytest.raises((UsageError, RunIncomplete), match=match):
        explore(server.url, tmp_path, **({"deadline": 0.3} if fault == "slow" else {}))
    with lg.RunReader(tmp_path) as run:
        committed = [b for n in range(2) for b in run.branches(n)]
    assert all(b.ending == "policy_error" and not b.steps for b in committed)


FULL = {
    "vllm": error(
        400,
        "This model's maximum context length is 4096 tokens. However, your request has 9000 input "
        "tokens. Please reduce the length of the input messages.",
    ),
    "vllm-prompt": error(
        400, "The decoder prompt (length 9000) is longer than the maximum model length of 4096."
    ),
    "sglang": Reply(
        400, {"message": "The input (9000 tokens) is longer than the model's context length (4096)"}
    ),
    "llama.cpp": error(400, "the request exceeds the available context size, try increasing it"),
    "llama.cpp-500": error(500, "context size exceeded"),
    "tgi": Reply(422, {"error": "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 9000"}),
    "code-alone": Reply(400, {"error": {"message": "too much", "code": "context_length_exceeded"}}),
    "anthropic": error(400, "prompt is too long: 201000 tokens > 200000 maximum"),
}


@pytest.mark.parametrize("fault", FULL)
def test_full_window_ends_the_attempt_as_a_failure(
    fault: str, server: ModelServer, tmp_path: Path
) -> None:
    """From the second turn of the first attempt on; the reflection fits and opens a branch."""
    server.behaviour = lambda asked, number: (
        FULL[fault] if len(asked["messages"]) == 4 and "play b" not in str(asked) else None
    )
    with explore(server.url, tmp_path) as run:
        trees = list(run.trees())
    assert {b.ending for tree in trees for b in tree.branches} >= {"context"}
    assert not any(b.ending == "policy_error" for tree in trees for b in tree.branches)
    with_schema = [a for a in server.asked if limit_is_reflection(a)]
    assert all("response_format" in asked for asked in with_schema), "no refusal of schemas"


def limit_is_reflection(asked: dict[str, Any]) -> bool:
    return bool(asked["max_tokens"] == REFLECT_TOKENS)


def test_thinking_beside_the_answer_is_kept_apart(server: ModelServer, tmp_path: Path) -> None:
    for number, placed in enumerate(
        [
            {"content": str, "reasoning_content": "hm"},
            {"content": str, "reasoning": "hm"},
            {"content": lambda t: [{"type": "thinking", "thinking": [{"text": "hm"}]}, t]},
        ]
    ):
        server.behaviour = instead(**placed)
        with explore(server.url, tmp_path / str(number)) as run:
            steps = [step for tree in run.trees() for b in tree.branches for step in b.steps]
        assert {(step.reasoning, step.reply[:7]) for step in steps} == {("hm", "Action:")}


def test_what_was_learned_is_said_once_and_holds_for_many_calls(
    server: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.behaviour, _ = MENDED["four-fields-refused"]
    policy = OpenAIPolicy("m", server.url)
    sampling = lg.Sampling(seed=2**40, top_p=0.5, top_k=3, json_schema={"type": "object"})
    messages = [{"role": "user", "content": "trail="}]

    async def many(count: int) -> set[str]:
        calls = [policy.complete(messages, sampling) for _ in range(count)]  # type: ignore[arg-type]
        return {done.text for done in await asyncio.gather(*calls)}

    with caplog.at_level(logging.WARNING, "leafe_gym"):
        assert asyncio.run(many(256)) == {"Action: a"}
    assert len(caplog.records) == 4
    before = len(server.asked)
    assert asyncio.run(many(50)) == {"Action: a"}
    assert len(server.asked) - before == 50, "nothing is refused again"


def test_a_pause_that_ends_after_the_deadline_is_not_waited_for(
    server: ModelServer, tmp_path: Path
) -> None:
    server.behaviour, _ = OUTAGES["429-an-hour"]
    began = time.monotonic()
    with pytest.raises(PolicyUnavailable):
        explore(server.url, tmp_path)
    assert time.monotonic() - began < 300


def test_a_server_that_accepts_connections_and_never_answers_is_an_outage(tmp_path: Path) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(100)
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/v1"
        with pytest.raises(PolicyUnavailable, match="the server hangs"):
            explore(url, tmp_path, deadline=0.3)
