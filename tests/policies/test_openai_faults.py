"""What a server gets wrong: mended by another try, or a `PolicyError` that says what happened."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import leafe_gym as lg
from leafe_gym.errors import PolicyError, PolicyUnavailable, UsageError
from leafe_gym.policies.openai import OpenAIPolicy

Fault = Callable[[BaseHTTPRequestHandler], None]
HELLO: list[lg.Message] = [{"role": "user", "content": "hello"}]
SAMPLING = lg.Sampling(temperature=0.5, max_tokens=9, seed=7)


def reply(**changes: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "hi"}
    whole = {
        "id": "1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }  # fmt: skip
    return {**whole, **changes}


def send(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, kind: str = "application/json",
    **headers: str,
) -> None:  # fmt: skip
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def good(handler: BaseHTTPRequestHandler, **changes: Any) -> None:
    send(handler, 200, json.dumps(reply(**changes)).encode())


def status(code: int, **headers: str) -> Fault:
    return lambda handler: send(handler, code, b'{"error": {"message": "told so"}}', **headers)


def cut(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"id":')
    handler.close_connection = True


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Never silent for long, never done."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(6000):
        try:
            handler.wfile.write(b" ")
            handler.wfile.flush()
        except OSError:
            return
        time.sleep(0.05)


def slow(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(0.05)
    good(handler)


@dataclass(slots=True)
class Script:
    """What the server does with each request in turn; good replies after the last."""

    url: str
    faults: list[Fault] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    now: int = 0
    most: int = 0


@pytest.fixture
def script() -> Iterator[Script]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                told.asked.append(body)
                told.at.append(time.monotonic())
                told.now += 1
                told.most = max(told.most, told.now)
                fault = told.faults.pop(0) if told.faults else good
            try:
                fault(self)
            finally:
                with lock:
                    told.now -= 1

        def log_message(self, format: str, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    told = Script(f"http://127.0.0.1:{httpd.server_port}/v1")
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield told
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def ask(script: Script, sampling: lg.Sampling = SAMPLING, **options: Any) -> lg.Completion:
    policy = OpenAIPolicy("m", script.url, **{"deadline": 20.0, **options})
    return asyncio.run(policy.complete(HELLO, sampling))


def test_asks_for_what_it_was_told_and_counts_as_the_server_does(script: Script) -> None:
    done = ask(script, extra={"top_k": 20})
    assert done == lg.Completion(text="hi", usage=lg.Usage(prompt_tokens=5, completion_tokens=2))
    (asked,) = script.asked
    assert asked == {
        "model": "m", "messages": HELLO, "temperature": 0.5, "max_tokens": 9, "seed": 7,
        "top_k": 20,
    }  # fmt: skip


@pytest.mark.parametrize(
    "fault",
    [
        status(500),
        status(503),
        status(408),
        cut,
        lambda h: send(h, 200, b'{"id": "1", "choi'),
        lambda h: send(h, 200, b"<html>busy</html>", "text/html"),
        lambda h: good(h, choices=[]),
        lambda h: good(h, choices=None),
        lambda h: send(h, 200, b"[]"),
    ],
    ids=["500", "503", "408", "cut", "half", "html", "empty", "none", "list"],
)
def test_another_try_mends_it(script: Script, fault: Fault) -> None:
    script.faults = [fault]
    done = ask(script)
    assert (done.text, done.retries, len(script.asked)) == ("hi", 1, 2)


def test_waits_as_long_as_the_server_says(script: Script) -> None:
    script.faults = [status(429, Retry_After="1.5")]
    assert ask(script).retries == 1
    assert script.at[1] - script.at[0] >= 1.5


@pytest.mark.parametrize("code", [500, 503, 429, 408])
def test_failures_of_the_server_after_all_tries_are_an_outage(script: Script, code: int) -> None:
    script.faults = [status(code)] * 9
    with pytest.raises(PolicyUnavailable, match=rf"no reply in 2 tries; the last: HTTP {code}"):
        ask(script, tries=2)
    assert len(script.asked) == 2


def body(code: int, data: Any) -> Fault:
    text = data if isinstance(data, str) else json.dumps(data)
    return lambda handler: send(handler, code, text.encode(), "text/plain")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (status(401), "HTTP 401: told so: check the API key"),
        (status(403), "HTTP 403: told so: check the API key and its permissions"),
        (status(404), "HTTP 404: told so: check the model's name"),
        (body(402, {"detail": "pay first"}), "HTTP 402: pay first: check the account's quota"),
        (body(429, {"error": {"message": "x", "code": "insufficient_quota"}}), "check the account"),
        (body(429, {"error": {"message": "You exceeded your current quota"}}), "quota and billing"),
        (body(400, {"detail": "System role not supported"}), "chat template refuses"),
        (body(400, {"error": "Conversation roles must alternate user/assistant"}), "template"),
    ],
    ids=["401", "403", "404", "402", "quota", "quota text", "no system role", "roles alternate"],
)
def test_what_every_request_would_meet_is_an_outage(
    script: Script, fault: Fault, said: str
) -> None:
    script.faults = [fault] * 3
    with pytest.raises(PolicyUnavailable, match=said):
        ask(script)
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    "fault",
    [
        status(400),
        status(422),
        body(400, {"detail": [{"loc": ["body", "messages"], "msg": "told so"}]}),
        body(413, "<html><b>told so</b></html>"),
        body(400, "told so"),
        body(400, {"message": "told so"}),
        body(418, {"error": "told so"}),
    ],
    ids=["400", "422", "detail list", "html", "text", "message", "error text"],
)
def test_what_one_request_meets_is_no_outage_and_is_quoted(script: Script, fault: Fault) -> None:
    script.faults = [fault]
    with pytest.raises(PolicyError, match="told so") as caught:
        ask(script)
    assert not isinstance(caught.value, PolicyUnavailable)
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    "fault",
    [lambda h: send(h, 200, b"<html>busy</html>", "text/html"), lambda h: good(h, choices=[])],
    ids=["html", "no choice"],
)
def test_malformed_responses_to_all_tries_are_no_outage(script: Script, fault: Fault) -> None:
    script.faults = [fault] * 3
    with pytest.raises(PolicyError, match="no reply in 2 tries") as caught:
        ask(script, tries=2)
    assert not isinstance(caught.value, PolicyUnavailable)


def test_a_pause_of_zero_does_not_use_up_the_tries_at_once(script: Script) -> None:
    script.faults = [status(429, Retry_After="0")] * 2
    assert ask(script).retries == 2
    assert script.at[2] - script.at[0] >= 0.25 + 0.5  # at least half of .5 s and of 1 s


@pytest.mark.parametrize("fault", [drip, lambda h: time.sleep(300)], ids=["drips", "hangs"])
def test_one_deadline_for_the_whole_call(script: Script, fault: Fault) -> None:
    script.faults = [fault] * 5
    began = time.monotonic()
    with pytest.raises(PolicyError, match=r"no reply within 0.7 s, \d tries"):
        ask(script, deadline=0.7)
    assert time.monotonic() - began < 60


def test_no_server() -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    policy = OpenAIPolicy("m", f"http://127.0.0.1:{port}/v1", tries=2)
    with pytest.raises(
        PolicyUnavailable, match=r"no reply in 2 tries; the last: ClientConnectorError"
    ):
        asyncio.run(policy.complete(HELLO, SAMPLING))


def test_cut_and_filtered_replies_are_told_apart(script: Script) -> None:
    def ended(reason: str, content: str | None) -> Fault:
        message = {"role": "assistant", "content": content}
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return lambda handler: good(handler, choices=[choice], usage=None)

    script.faults = [ended("length", "so lo"), ended("stop", None), ended("content_filter", "")]
    assert ask(script) == lg.Completion(text="so lo", finish_reason="length")
    assert ask(script) == lg.Completion(text="")
    with pytest.raises(PolicyError, match="content filter"):
        ask(script)


def answered(message: dict[str, Any], reason: str | None = "stop") -> Fault:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    return lambda handler: good(handler, choices=[choice])


@pytest.mark.parametrize(
    ("message", "reason", "text"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "stop", "ab"),
        ({"content": []}, "stop", ""),
        ({"content": None, "refusal": "I will not."}, "stop", "I will not."),
        ({"content": "up", "tool_calls": []}, "tool_calls", "up"),
        ({"content": None, "reasoning_content": "hm"}, "length", ""),
    ],
)
def test_contents_that_are_a_reply(
    script: Script, message: dict[str, Any], reason: str, text: str
) -> None:
    script.faults = [answered(message, reason)]
    assert ask(script).text == text


CALL = {"id": "1", "type": "function", "function": {"name": "go", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"content": None, "tool_calls": [CALL]}, "a tool call without text"),
        ({"content": None, "reasoning_content": "hm"}, "holds reasoning_content and no answer"),
        ({"content": "", "reasoning": "hm"}, "holds reasoning and no answer"),
        ({"content": {"text": "up"}}, "the reply's content is"),
    ],
)
def test_contents_that_are_none(script: Script, message: dict[str, Any], said: str) -> None:
    script.faults = [answered(message)]
    with pytest.raises(PolicyError, match=said):
        ask(script)


@pytest.mark.parametrize("reason", ["error", "abort"])
def test_a_reply_that_the_server_broke_off_is_tried_again(script: Script, reason: str) -> None:
    script.faults = [answered({"content": ""}, reason)]
    assert ask(script).retries == 1


@pytest.mark.parametrize("count", ["9", -5, 2.5, True, None, [1]])
def test_token_counts_of_another_form_count_as_unknown(script: Script, count: Any) -> None:
    script.faults = [lambda h: good(h, usage={"prompt_tokens": count, "completion_tokens": 2})]
    assert ask(script).usage == lg.Usage(prompt_tokens=None, completion_tokens=2)


def test_waiting_for_a_slot_does_not_count_towards_the_deadline(script: Script) -> None:
    def second(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(1)
        good(handler)

    script.faults = [second] * 4
    policy = OpenAIPolicy("m", script.url, concurrency=1, deadline=3.5)

    async def many() -> list[lg.Completion]:
        return await asyncio.gather(*[policy.complete(HELLO, SAMPLING) for _ in range(4)])

    assert len(asyncio.run(many())) == 4


def test_schema_is_asked_for_until_the_server_refuses(script: Script) -> None:
    schema = {"type": "object", "properties": {"step": {"type": "integer"}}}
    sampling = lg.Sampling(json_schema=schema)
    policy = OpenAIPolicy("m", script.url)

    async def thrice() -> list[lg.Completion]:
        first = await policy.complete(HELLO, sampling)
        script.faults = [status(400)]
        return [first, *[await policy.complete(HELLO, sampling) for _ in range(2)]]

    assert [done.retries for done in asyncio.run(thrice())] == [0, 0, 0]
    formats = [asked.get("response_format") for asked in script.asked]
    wanted = {"name": "reply", "strict": True, "schema": schema}
    assert formats == [{"type": "json_schema", "json_schema": wanted}] * 2 + [None] * 2


def test_never_more_at_once_than_allowed(script: Script) -> None:
    script.faults = [slow] * 24
    policy = OpenAIPolicy("m", script.url, concurrency=3)

    async def many() -> list[lg.Completion]:
        return await asyncio.gather(*[policy.complete(HELLO, SAMPLING) for _ in range(24)])

    assert len(asyncio.run(many())) == 24
    assert 2 <= script.most <= 3
    assert asyncio.run(many())[0].text == "hi", "and again in another event loop"


def test_a_third_of_the_requests_failing_changes_no_result(script: Script) -> None:
    script.faults = [status(429, Retry_After="0.01"), good, good, cut, good, good] * 8
    policy = OpenAIPolicy("m", script.url, concurrency=4)

    async def many() -> list[lg.Completion]:
        return await asyncio.gather(*[policy.complete(HELLO, SAMPLING) for _ in range(30)])

    assert {done.text for done in asyncio.run(many())} == {"hi"}


def test_the_key_is_in_no_name_and_no_error(script: Script) -> None:
    script.faults = [status(401)]
    policy = OpenAIPolicy("m", script.url, api_key="sk-secret")
    assert "secret" not in policy.name
    with pytest.raises(PolicyError) as caught:
        asyncio.run(policy.complete(HELLO, SAMPLING))
    assert "secret" not in str(caught.value)
    assert OpenAIPolicy("m", script.url, extra={"top_k": 1}).name != policy.name


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"concurrency": 0}, "concurrency=0"),
        ({"concurrency": 2.5}, "concurrency=2.5"),
        ({"tries": True}, "tries=True"),
        ({"deadline": 0}, "deadline=0"),
        ({"deadline": float("nan")}, "deadline=nan"),
        ({"deadline": "9"}, "deadline='9'"),
        ({"extra": [1]}, "extra="),
        ({"model": ""}, "model=''"),
        ({"base_url": "127.0.0.1:9"}, "expected a URL such as"),
        ({"base_url": None}, "base_url=None"),
        ({"api_key": "a\nb"}, "api_key: expected printable"),
        ({"api_key": "schlüssel"}, "api_key: expected printable"),
        ({"api_key": 3}, "api_key: expected printable"),
    ],
)
def test_arguments_are_checked(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        OpenAIPolicy(**{"model": "m", "base_url": "http://127.0.0.1:9/v1", **options})
    assert "schl" not in str(caught.value)


def test_a_key_with_a_newline_at_its_end_works(script: Script) -> None:
    assert ask(script, api_key="sk-1\n").text == "hi"
