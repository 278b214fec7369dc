"""Calls of the policy "openai" against a real HTTP server: requests, retries, limits, identity."""

from __future__ import annotations

import asyncio
import gc
import pickle
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from model_server import Behaviour, ModelServer, Reply, chat, serving

import leafe_gym as lg
from leafe_gym.errors import PolicyError, PolicyUnavailable, UsageError
from leafe_gym.policies.http import transport
from leafe_gym.policies.http.schema import strict_schema
from leafe_gym.policies.openai import OpenAIPolicy
from leafe_gym.types import Message

HELLO: list[Message] = [{"role": "user", "content": "trail="}]
SAMPLING = lg.Sampling(temperature=0.5, max_tokens=9, seed=7)
GOOD = lg.Completion(text="Action: a", usage=lg.Usage(prompt_tokens=5, completion_tokens=2))


@pytest.fixture(scope="module")
def running() -> Iterator[ModelServer]:
    with serving(ModelServer()) as server:
        yield server


@pytest.fixture
def server(running: ModelServer, monkeypatch: pytest.MonkeyPatch) -> ModelServer:
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.02)
    running.reset()
    return running


def ask(server: ModelServer, sampling: lg.Sampling = SAMPLING, **options: Any) -> lg.Completion:
    policy = OpenAIPolicy("m", server.url, **{"deadline": 20.0, **options})
    return asyncio.run(policy.complete(HELLO, sampling))


def many(policy: OpenAIPolicy, count: int) -> list[lg.Completion]:
    async def calls() -> list[lg.Completion]:
        return await asyncio.gather(*[policy.complete(HELLO, SAMPLING) for _ in range(count)])

    return asyncio.run(calls())


def failing(count: int, status: int, **headers: str) -> Behaviour:
    reply = Reply(status, {"error": {"message": "told so"}}, headers)
    return lambda asked, number: reply if number <= count else None


def test_sends_what_it_is_told(server: ModelServer) -> None:
    sampling = lg.Sampling(temperature=0.5, max_tokens=9, seed=7, top_p=0.5, top_k=3, session="t/ü")
    assert ask(server, sampling, extra={"min_p": 0.1, "seed": None}) == GOOD
    assert ask(server) == GOOD
    first, second = server.asked
    assert first == {
        "model": "m", "messages": HELLO, "temperature": 0.5, "max_tokens": 9, "top_p": 0.5,
        "top_k": 3, "min_p": 0.1,
    }  # fmt: skip
    assert second == {
        "model": "m", "messages": HELLO, "temperature": 0.5, "max_tokens": 9, "seed": 7,
    }  # fmt: skip
    assert server.headers[0]["x-session-id"] == "t/%C3%BC"
    assert "x-session-id" not in server.headers[1]


def test_waits_as_long_as_the_server_says(server: ModelServer) -> None:
    server.behaviour = failing(1, 429, **{"retry-after": "1.5"})
    assert ask(server).retries == 1
    assert server.at[1] - server.at[0] >= 1.5


@pytest.mark.parametrize("named", ["0", "-3", "nan", "soon"])
def test_a_useless_pause_does_not_use_up_the_tries_at_once(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.2)
    server.behaviour = failing(2, 429, **{"retry-after": named})
    assert ask(server).retries == 2
    assert server.at[2] - server.at[0] >= 0.1 + 0.2  # at least half of .2 s and of .4 s


@pytest.mark.parametrize("reply", [Reply(drips=True), Reply(seconds=30)], ids=["drips", "hangs"])
def test_one_deadline_for_the_whole_call(server: ModelServer, reply: Reply) -> None:
    server.behaviour = lambda asked, number: reply
    began = time.monotonic()
    with pytest.raises(PolicyError, match=r"no reply within 0.7 s, \d tries"):
        ask(server, deadline=0.7)
    assert time.monotonic() - began < 25


def test_waiting_for_a_slot_does_not_count_towards_the_deadline(server: ModelServer) -> None:
    server.behaviour = lambda asked, number: Reply(body=chat("hi"), seconds=0.5)
    policy = OpenAIPolicy("m", server.url, concurrency=1, deadline=3.0)
    assert len(many(policy, 7)) == 7


def test_no_server() -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    policy = OpenAIPolicy("m", f"http://127.0.0.1:{port}/v1", tries=2)
    refused = rf"no connection in 2 tries: .*127.0.0.1:{port}.*start the server, or check the base"
    began = time.monotonic()
    for count in (1, 200):
        with pytest.raises(PolicyUnavailable, match=refused):
            many(policy, count)
    assert time.monotonic() - began < 100, "all calls at the same time wait for one attempt"


def test_a_server_that_comes_up_a_little_later_is_waited_for() -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    policy = OpenAIPolicy("m", f"http://127.0.0.1:{port}/v1", tries=12)

    async def call_then_serve() -> list[lg.Completion]:
        calls = [asyncio.create_task(policy.complete(HELLO, SAMPLING)) for _ in range(3)]
        await asyncio.sleep(0.3)
        with serving(ModelServer(), port) as late:
            late.gets["/v1/models"] = Reply(body={"data": [{"id": "m", "max_model_len": 77}]})
            return await asyncio.gather(*calls)

    assert asyncio.run(call_then_serve()) == [GOOD] * 3
    assert policy.context_window == 77


def test_never_more_at_once_than_allowed_and_again_in_another_loop(server: ModelServer) -> None:
    server.behaviour = lambda asked, number: Reply(body=chat("hi"), seconds=0.02)
    policy = OpenAIPolicy("m", server.url, concurrency=3)
    for _ in range(2):
        assert len(many(policy, 24)) == 24
        assert 2 <= server.most <= 3


def test_a_third_of_the_requests_failing_changes_no_result(server: ModelServer) -> None:
    server.behaviour = lambda asked, number: (
        (Reply(429), Reply(body="{", claims=9), Reply(500))[number % 9 // 3]
        if number % 3 == 0
        else None
    )
    policy = OpenAIPolicy("m", server.url, concurrency=4, tries=12)
    assert {done.text for done in many(policy, 60)} == {"Action: a"}


@pytest.mark.parametrize(
    ("message", "reason", "text", "finish"),
    [
        ({"content": "so lo"}, "length", "so lo", "length"),
        ({"content": "so lo"}, "MAX_TOKENS", "so lo", "length"),
        ({"content": None, "reasoning_content": "hm"}, "length", "", "length"),
        ({"content": None}, "stop", "", "stop"),
        ({"content": []}, "stop", "", "stop"),
        ({"content": None, "refusal": "I will not."}, "stop", "I will not.", "stop"),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "stop", "No.", "stop"),
        ({"content": "a\ud800b"}, "stop", "a?b", "stop"),
        ({"content": "one two"}, None, "one two", "length"),
    ],
)
def test_contents_that_are_a_reply(
    server: ModelServer, message: dict[str, Any], reason: str, text: str, finish: str
) -> None:
    """The last has no finish_reason and as many tokens as were asked for: it was cut."""
    server.behaviour = lambda asked, number: Reply(
        body=chat(message["content"], reason, **{k: v for k, v in message.items() if k[0] == "r"})
    )
    done = ask(server, lg.Sampling(max_tokens=2))
    assert (done.text, done.finish_reason) == (text, finish)


def refuse_greedy(asked: dict[str, Any], number: int) -> Reply | None:
    """As text-generation-inference does."""
    said = "`temperature` must be strictly positive"
    return Reply(422, {"error": said}) if asked["temperature"] == 0 else None


def test_a_server_without_temperature_0_gets_almost_that(server: ModelServer) -> None:
    server.behaviour = refuse_greedy
    policy = OpenAIPolicy("m", server.url)
    for temperature in (0, 0.7, 0):
        sampling = lg.Sampling(temperature=temperature)
        asyncio.run(policy.complete(HELLO, sampling))
    assert [asked["temperature"] for asked in server.asked] == [0, 0.01, 0.7, 0.01]


def test_a_template_without_system_role_gets_the_text_in_the_first_user_turn(
    server: ModelServer,
) -> None:
    server.behaviour = lambda asked, number: (
        Reply(400, "System role not supported")
        if asked["messages"][0]["role"] == "system"
        else None
    )
    policy = OpenAIPolicy("m", server.url)
    system: list[Message] = [{"role": "system", "content": "You play."}, *HELLO]
    for messages in (system, system, HELLO):
        asyncio.run(policy.complete(messages, SAMPLING))
    merged = [{"role": "user", "content": "You play.\n\ntrail="}]
    assert [asked["messages"] for asked in server.asked] == [system, merged, merged, HELLO]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "messages: text content blocks must be non-empty"),
        (422, "messages.1.content must contain non-whitespace text"),
        (400, "Assistant message must have a string or a list of chunks in content"),
        (500, "Jinja Exception: empty content"),
    ],
)
def test_a_server_that_refuses_messages_without_text_gets_some(
    server: ModelServer, status: int, said: str
) -> None:
    def refuse(asked: dict[str, Any], number: int) -> Reply | None:
        blank = any(not one["content"].strip() for one in asked["messages"])
        return Reply(status, {"error": {"message": said}}) if blank else None

    server.behaviour = refuse
    policy = OpenAIPolicy("m", server.url)
    for reply in ("", " \n", "Action: a"):
        chat: list[Message] = [*HELLO, {"role": "assistant", "content": reply}, *HELLO]
        assert asyncio.run(policy.complete(chat, SAMPLING)) == GOOD
    sent = [asked["messages"][1]["content"] for asked in server.asked]
    assert sent == ["", "(empty)", "(empty)", "Action: a"]


def test_a_large_seed_that_is_refused_is_sent_in_31_bits_and_small_ones_as_they_are(
    server: ModelServer,
) -> None:
    server.behaviour = lambda asked, number: (
        Reply(400, {"detail": "seed out of range"}) if asked["seed"] >= 2**31 else None
    )
    policy = OpenAIPolicy("m", server.url)
    for seed in (2**40 + 5, 77):
        asyncio.run(policy.complete(HELLO, lg.Sampling(seed=seed)))
    assert [asked["seed"] for asked in server.asked] == [2**40 + 5, 5, 77]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"chat_template_kwargs": {"enable_thinking": False}}, "refuses `chat_template_kwargs`"),
        ({"extra": {"min_p": 0.1}}, "remove 'min_p' from `extra`"),
    ],
)
def test_a_setting_of_the_user_is_never_left_out(
    server: ModelServer, options: dict[str, Any], said: str
) -> None:
    server.behaviour = lambda asked, number: Reply(
        400, {"error": {"message": f"unknown fields: {sorted(asked)}"}}
    )
    with pytest.raises(PolicyUnavailable, match=said):
        ask(server, **options)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500, "Grammar error: too many states"),
        Reply(400, {"error": {"message": "The schema has a regex feature that is not supported"}}),
        Reply(422, {"detail": "response_format: unsupported keyword 'pattern'"}),
        Reply(400, ""),
    ],
    ids=["grammar", "regex", "keyword", "no reason"],
)
def test_a_refused_schema_leaves_other_schemas_alone(server: ModelServer, reply: Reply) -> None:
    def behave(asked: dict[str, Any], number: int) -> Reply | None:
        return reply if "large" in str(asked.get("response_format")) else None

    server.behaviour = behave
    policy = OpenAIPolicy("m", server.url)
    for name in ("large", "small", "large", "small"):
        schema = {"type": "object", "properties": {name: {"type": "string"}}}
        asyncio.run(policy.complete(HELLO, lg.Sampling(json_schema=schema)))
    shown = ["response_format" in asked for asked in server.asked]
    assert shown == [True, False, True, False, True]


@pytest.mark.parametrize(
    "said",
    [
        "Invalid schema for response_format 'reply': In context=('properties', 'a'), 'maxLength' "
        "is not permitted.",
        "json_schema: unsupported keyword",
        "",
    ],
)
def test_lengths_in_schemas_are_left_out_before_schemas_are(server: ModelServer, said: str) -> None:
    def behave(asked: dict[str, Any], number: int) -> Reply | None:
        return Reply(400, {"error": {"message": said}}) if "axLength" in str(asked) else None

    server.behaviour = behave
    policy = OpenAIPolicy("m", server.url)
    for name in ("a", "b"):
        schema = {"type": "object", "properties": {name: {"type": "string", "maxLength": 300}}}
        asyncio.run(policy.complete(HELLO, lg.Sampling(json_schema=schema)))
    sent = [asked["response_format"]["json_schema"]["schema"] for asked in server.asked]
    assert ["maxLength" in str(one) for one in sent] == [True, False, False]
    assert [list(one["properties"]) for one in sent] == [["a"], ["a"], ["b"]]


def test_only_lengths_that_every_grammar_takes_are_sent() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "minLength": 1, "maxLength": 1999},
            "b": {"type": "string", "maxLength": 2000},
            "maxLength": {"type": "integer"},
        },
    }
    sent: Any = strict_schema(schema, lengths=True)
    assert sent["properties"] == {
        "a": {"type": "string", "minLength": 1, "maxLength": 1999},
        "b": {"type": "string"},
        "maxLength": {"type": "integer"},
    }
    assert "1999" not in str(strict_schema(schema))


def test_a_policy_that_is_dropped_while_its_loop_runs_leaves_nothing_open(
    server: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def one_after_the_other() -> None:
        for _ in range(3):
            await OpenAIPolicy("m", server.url).complete(HELLO, SAMPLING)
            gc.collect()

    asyncio.run(one_after_the_other())
    gc.collect()
    assert not caplog.records


def test_schemas_are_what_strict_servers_accept() -> None:
    schema = {
        "title": "Reply", "type": "object", "$defs": {"Step": {"oneOf": [{"const": 1}]}},
        "properties": {
            "step": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 9}, {"type": "null"}]},
            "title": {"type": "string", "maxLength": 4000, "default": "", "title": "Title"},
            "inner": {"type": "object", "properties": {"a": {"enum": ["maxLength"]}}},
        },
        "required": ["step"],
    }  # fmt: skip
    assert strict_schema(schema) == {
        "type": "object", "$defs": {"Step": {"anyOf": [{"enum": [1]}]}},
        "properties": {
            "step": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 9}, {"type": "null"}]},
            "title": {"type": "string"},
            "inner": {
                "type": "object", "properties": {"a": {"enum": ["maxLength"]}}, "required": ["a"],
                "additionalProperties": False,
            },
        },
        "required": ["step", "title", "inner"], "additionalProperties": False,
    }  # fmt: skip


def with_ids(ids: Any = (4, 5), logprobs: Any = (-0.5, -1.0), prompt: Any = (1, 2)) -> Behaviour:
    """Replies as vLLM gives them with `return_token_ids`."""

    def behave(asked: dict[str, Any], number: int) -> Reply:
        body = chat("up")
        body["prompt_token_ids"] = prompt
        content = [{"token": "x", "logprob": one} for one in logprobs]
        body["choices"][0].update(token_ids=ids, logprobs={"content": content})
        return Reply(body=body)

    return behave


IDS = lg.Sampling(return_ids=True, max_tokens=9)


def test_token_ids_are_kept_where_the_server_returns_them(server: ModelServer) -> None:
    server.behaviour = with_ids()
    found = ask(server, IDS).sampled
    assert found is not None
    assert (found.prompt_ids, found.ids, found.logprobs) == ((1, 2), (4, 5), (-0.5, -1.0))
    assert server.asked[0]["return_token_ids"] is True
    ask(server, SAMPLING)
    assert "return_token_ids" not in server.asked[1]


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (with_ids(logprobs=[-0.5]), ()),
        (with_ids(logprobs=[-0.5, None]), ()),
        (with_ids(logprobs=[-0.5, float("-inf")]), ()),
        (with_ids(ids=None), None),
        (with_ids(ids=["4"]), None),
        (with_ids(ids=[10**30]), None),
        (with_ids(prompt=[2**31]), None),
        (with_ids(prompt=None), None),
    ],
)
def test_token_ids_of_another_form(
    server: ModelServer, behaviour: Behaviour, expected: tuple[float, ...] | None
) -> None:
    server.behaviour = behaviour
    found = ask(server, IDS).sampled
    assert (None if found is None else found.logprobs) == expected


def test_a_server_that_refuses_to_return_ids_is_asked_without(server: ModelServer) -> None:
    server.behaviour = lambda asked, number: (
        Reply(400, {"error": {"message": "unknown", "param": "return_token_ids"}})
        if "return_token_ids" in asked
        else Reply(400, "no")
        if "logprobs" in asked
        else None
    )
    done = ask(server, IDS)
    assert (done.text, done.sampled) == ("Action: a", None)


def test_a_name_says_what_answers_and_not_where() -> None:
    url, other = "http://127.0.0.1:1/v1", ["http://127.0.0.1:2/v1", "http://h:3/v1?key=hidden"]
    name = OpenAIPolicy("m", url, api_key="sk-secret").name
    assert name == OpenAIPolicy("m", other, concurrency=1, deadline=9, tries=1).name == "openai:m"
    names = {name}
    for options in (
        {"chat_template_kwargs": {"a": 1}}, {"extra": {"min_p": 1}}, {"revision": "abc"},
        {"structured": False}, {"adapter": "runs/a/lora"}, {"adapter": "runs/b/lora"},
    ):  # fmt: skip
        made: Any = options
        names.add(OpenAIPolicy("m", url, **made).name)
    assert len(names) == 7


@pytest.mark.parametrize("given", [" sk-0123456789 \n", None])
def test_keys_with_white_space_work_and_one_of_the_environment_is_not_pickled(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789\n")
    policy = OpenAIPolicy("m", server.url, api_key=given)
    many(policy, 1)
    stored = pickle.dumps(policy)
    assert b"sk-0123456789" not in stored
    again = pickle.loads(stored)
    assert many(again, 1) == [GOOD]
    assert again.name == policy.name
    assert [h["authorization"] for h in server.headers] == ["Bearer sk-0123456789"] * 2


@pytest.mark.parametrize(("count", "each"), [(1, 8), (3, 2), (8, 1)])
def test_processes_share_the_bound_on_requests(server: ModelServer, count: int, each: int) -> None:
    server.behaviour = lambda asked, number: Reply(body=chat("hi"), seconds=0.05)
    policy = OpenAIPolicy("m", server.url, concurrency=8)
    assert len(many(policy.shared_by(count), 16)) == 16
    assert server.most <= each
    server.most = 0
    many(policy, 16)
    assert server.most > each or each == 8


@pytest.mark.parametrize(("limit", "count"), [(1, 2), (8, 9), (8, 20)])
def test_more_processes_than_requests_are_refused(limit: int, count: int) -> None:
    policy = OpenAIPolicy("m", "http://127.0.0.1:9/v1", concurrency=limit)
    with pytest.raises(UsageError, match=f"concurrency={limit} is less .* {count} workers"):
        policy.shared_by(count)


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
        ({"extra": {"stream": True}}, "extra: 'stream' cannot be set"),
        ({"extra": {"messages": []}}, "extra: 'messages' cannot be set"),
        ({"extra": {"min_p": 0.1, "model": "n"}}, "extra: 'model' cannot be set"),
        ({"chat_template_kwargs": "x"}, "chat_template_kwargs='x'"),
        ({"chat_template_kwargs": {"x": object()}}, "chat_template_kwargs: expected plain JSON"),
        ({"adapter": 3}, "adapter=3"),
        ({"revision": None}, "revision=None"),
        ({"model": ""}, "model=''"),
        ({"base_url": "127.0.0.1:9"}, "expected a URL such as"),
        ({"base_url": "http://"}, "expected a URL such as"),
        ({"base_url": "http://h:99999/v1"}, "expected a URL such as"),
        ({"base_url": "http://h /v1"}, "expected a URL such as"),
        ({"base_url": None}, "base_url=None"),
        ({"base_url": []}, "at least one URL"),
        ({"base_url": ["http://a/v1", 3]}, "base_url=3"),
        ({"base_url": ["http://a/v1"] * 2}, "none twice"),
        ({"base_url": "http://me:schl@h/v1"}, "use api_key"),
        ({"api_key": "a\nb"}, "api_key: expected a text of printable"),
        ({"api_key": "schlüssel"}, "api_key: expected a text of printable"),
        ({"api_key": 3}, "api_key: expected a text of printable"),
    ],
)
def test_arguments_are_checked(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        OpenAIPolicy(**{"model": "m", "base_url": "http://127.0.0.1:9/v1", **options})
    assert "schl" not in str(caught.value)
