"""A reply depends on prompt and seed alone: batches, stop strings, memory, errors."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import leafe_gym as lg
from leafe_gym.errors import ContextFull, PolicyError, PolicyUnavailable, UsageError
from leafe_gym.policies.transformers import TransformersPolicy

ROWS = ("----", "-@$.", "--.-", "-$--", "#-@-", "-#-.", "*--@", "@---")
prompts = st.lists(st.sampled_from(ROWS), min_size=1, max_size=14)
asked = st.tuples(prompts, st.sampled_from([0.0, 0.7, 1.0]), st.integers(1, 9), st.integers(0, 99))


@pytest.fixture(scope="module")
def policy(servable: Path) -> TransformersPolicy:
    return TransformersPolicy.load(servable, device="cpu", max_batch=4)


def chat(rows: list[str]) -> list[lg.Message]:
    return [{"role": "user", "content": "s0 " + " ".join(rows)}]


def sampling(one: tuple[list[str], float, int, int]) -> lg.Sampling:
    return lg.Sampling(temperature=one[1], max_tokens=one[2], seed=one[3])


def together(policy: TransformersPolicy, many: list[Any]) -> list[lg.Completion]:
    async def ask() -> list[lg.Completion]:
        calls = (policy.complete(chat(one[0]), sampling(one)) for one in many)
        return await asyncio.gather(*calls)

    return asyncio.run(ask())


@settings(max_examples=25)
@given(st.lists(asked, min_size=1, max_size=9))
def test_the_same_reply_in_any_company(policy: TransformersPolicy, many: list[Any]) -> None:
    alone = [together(policy, [one])[0] for one in many]
    assert together(policy, many) == alone
    assert together(policy, many[::-1]) == alone[::-1]


def test_greedy_replies_are_those_of_generate(policy: TransformersPolicy, servable: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(servable)
    for rows in (["-@$.", "----"], ["----", "-$--", "--.@", "#---"]):
        (done,) = together(policy, [(rows, 0.0, 8, 0)])
        text = tokenizer.apply_chat_template(
            [dict(m) for m in chat(rows)], add_generation_prompt=True, tokenize=False
        )
        ids = tokenizer(text, return_tensors="pt")
        out = policy.network.generate(**ids, max_new_tokens=8, do_sample=False)
        said = out[0, ids["input_ids"].shape[1] :]
        assert done.text == tokenizer.decode(said, skip_special_tokens=True)
        assert done.usage.prompt_tokens == ids["input_ids"].shape[1]
        assert done.usage.completion_tokens == len(said)
        assert done.finish_reason == ("stop" if said[-1] == tokenizer.eos_token_id else "length")


def test_temperature_spreads_replies_and_seeds_repeat_them(policy: TransformersPolicy) -> None:
    many = [(["----", "-@--", "-$--", "--.-"], 1.0, 1, seed) for seed in range(64)]
    replies = together(policy, many)
    assert len({reply.text for reply in replies}) > 1
    assert replies == together(policy, many)


def test_stop_strings_end_a_reply_and_are_not_part_of_it(servable: Path) -> None:
    plain = TransformersPolicy.load(servable, device="cpu")
    long = [(["----"] * 9, 9.0, 12, seed) for seed in range(40)]
    replies = together(plain, long)
    word = next(r.text.split()[1] for r in replies if len(r.text.split()) > 2)
    stopping = TransformersPolicy.load(servable, device="cpu", stop=[word])
    assert stopping.name != plain.name
    for before, after in zip(replies, together(stopping, long), strict=True):
        assert after.text == before.text.partition(word)[0]
        if word in before.text:
            assert after.finish_reason == "stop"
            assert (after.usage.completion_tokens or 0) <= (before.usage.completion_tokens or 0)


def test_batches_that_do_not_fit_are_halved(
    servable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = TransformersPolicy.load(servable, device="cpu", max_batch=16)
    many = [(["-@$."], 1.0, 3, seed) for seed in range(16)]
    wanted = together(policy, many)
    forward = policy.network.forward
    sizes: list[int] = []

    def tight(*args: Any, **kwargs: Any) -> Any:
        sizes.append(len(kwargs["input_ids"]))
        if sizes[-1] > 3:  # the prompt, which all share, is read alone
            raise torch.OutOfMemoryError("no room")
        return forward(*args, **kwargs)

    monkeypatch.setattr(policy.network, "forward", tight)
    assert together(policy, many) == wanted
    # How many requests have arrived when decoding begins depends on the machine.
    too_large = [size for size in sizes if size > 3]
    assert too_large
    assert all(after <= before // 2 for before, after in itertools.pairwise(too_large))
    assert max(sizes[-4:]) <= 3


def test_out_of_memory_with_one_request_says_so(
    servable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = TransformersPolicy.load(servable, device="cpu")

    def never(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(policy.network, "forward", never)
    with pytest.raises(PolicyError, match="out of memory with a single request"):
        together(policy, [(["----"], 0.0, 2, 0), (["-@$."], 0.0, 2, 0)])


def test_a_prompt_too_long_names_the_lengths(policy: TransformersPolicy) -> None:
    with pytest.raises(ContextFull, match=r"a prompt of 6\d\d tokens .* context of 512"):
        together(policy, [(["----"] * 600, 0.0, 4, 0)])


def test_a_cancelled_request_holds_up_nobody(policy: TransformersPolicy) -> None:
    async def ask() -> lg.Completion:
        first, second = (
            asyncio.create_task(
                policy.complete(chat(["-@$."]), lg.Sampling(seed=seed, max_tokens=4))
            )
            for seed in (1, 2)
        )
        await asyncio.sleep(0)
        first.cancel()
        return await second

    alone = policy.complete(chat(["-@$."]), lg.Sampling(seed=2, max_tokens=4))
    assert asyncio.run(ask()).text == asyncio.run(alone).text


def test_what_cannot_be_loaded(tmp_path: Path, servable: Path) -> None:
    with pytest.raises(PolicyUnavailable, match="cannot load the model"):
        TransformersPolicy.load(tmp_path, device="cpu")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(PolicyUnavailable, match="cannot load the model"):
        TransformersPolicy.load(tmp_path, device="cpu")
    shutil.copytree(servable, tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").write_bytes(b"\0" * 9)
    with pytest.raises(PolicyUnavailable, match="cannot load the model"):
        TransformersPolicy.load(tmp_path / "cut", device="cpu")
    options: list[dict[str, Any]] = [
        {"max_batch": 0}, {"max_batch": 1.5}, {"stop": "x"}, {"stop": [""]},
        {"chat_template_kwargs": 3}, {"prefix_cache_gib": -1}, {"threads": 0},
    ]  # fmt: skip
    for option in options:
        with pytest.raises(UsageError, match=f"^{next(iter(option))}="):
            TransformersPolicy.load(servable, device="cpu", **option)
    with pytest.raises(UsageError, match="model=None"):
        TransformersPolicy.load(None)  # type: ignore[arg-type]


def with_template(servable: Path, template: str, **options: Any) -> TransformersPolicy:
    """The small model with another chat template."""
    plain = TransformersPolicy.load(servable, device="cpu")
    plain._chat.tokenizer.chat_template = template
    return TransformersPolicy(plain.network, plain._chat.tokenizer, **options)


def test_a_template_that_refuses_every_longer_chat_is_an_outage(servable: Path) -> None:
    asked = lg.Sampling(max_tokens=4)
    turns: list[lg.Message] = [{"role": "user", "content": "-"}] * 3
    for refusal, kind in (
        ("Conversation roles must alternate user/assistant", PolicyUnavailable),
        ("System role not supported", PolicyUnavailable),
        ("no such role", PolicyError),
    ):
        refuse = (
            f"{{% if messages|length > 2 %}}{{{{ raise_exception('{refusal}') }}}}{{% endif %}}"
        )
        policy = with_template(servable, refuse + "{{ messages[0]['content'] }}")
        with pytest.raises(PolicyError, match=refusal) as caught:
            asyncio.run(policy.complete(turns, asked))
        assert type(caught.value) is kind


def test_an_exception_after_decoding_is_an_error_and_not_a_hang(
    servable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = TransformersPolicy.load(servable, device="cpu")
    wanted = together(policy, [(["-@$."], 0.0, 2, 0)])

    def refuses(*_: Any, **__: Any) -> str:
        raise OverflowError("out of range")

    with monkeypatch.context() as patch:
        patch.setattr(policy._chat.tokenizer, "decode", refuses)
        with pytest.raises(PolicyError, match="OverflowError: out of range"):
            together(policy, [(["-@$."], 0.0, 2, 0), (["----"], 0.0, 2, 0)])
    assert together(policy, [(["-@$."], 0.0, 2, 0)]) == wanted


def test_decoding_ends_when_its_callers_are_cancelled(
    servable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = TransformersPolicy.load(servable, device="cpu", stop=["never said"])
    forward = policy.network.forward
    passes: list[int] = []

    def slow(*args: Any, **kwargs: Any) -> Any:
        passes.append(1)
        time.sleep(0.05)
        return forward(*args, **kwargs)

    monkeypatch.setattr(policy.network, "forward", slow)

    async def ask() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.4):
                await policy.complete(chat(["-@$."]), lg.Sampling(max_tokens=400, seed=3))

    monkeypatch.setattr(policy, "_append", lambda request, token: request.tokens.append(token))
    asyncio.run(ask())  # waits for the thread; 400 passes would take 20 s
    assert len(passes) < 200


def test_other_weights_have_another_name(servable: Path) -> None:
    one = TransformersPolicy.load(servable, device="cpu")
    other = TransformersPolicy.load(servable, device="cpu")
    assert one.name == other.name
    with torch.no_grad():
        other.network.lm_head.weight.mul_(1.01)
    again = TransformersPolicy(other.network, other._chat.tokenizer, label=servable.name)
    assert again.name != one.name
