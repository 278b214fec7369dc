"""What policies in this process make of sampled tokens: thinking, ids, faults, threads, windows."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import leafe_gym as lg
from leafe_gym._weights import weights_digest
from leafe_gym.distill.data.byte_tokenizer import byte_tokenizer
from leafe_gym.distill.data.row_types import Row
from leafe_gym.distill.data.tokens import Encoder
from leafe_gym.errors import PolicyError, PolicyUnavailable, UsageError
from leafe_gym.policies import torch_threads
from leafe_gym.policies.chat_tokenizer import ChatTokenizer, context_window
from leafe_gym.policies.token_sampling import draw, logprob
from leafe_gym.policies.transformers import TransformersPolicy

CHAT: list[lg.Message] = [{"role": "user", "content": "s0 ---- -@$. ----"}]
GREEDY = lg.Sampling(temperature=0, max_tokens=4)


@pytest.fixture(scope="module")
def policy(servable: Path) -> TransformersPolicy:
    return TransformersPolicy.load(servable, device="cpu")


def asked(policy: TransformersPolicy, sampling: lg.Sampling = GREEDY) -> lg.Completion:
    return asyncio.run(policy.complete(CHAT, sampling))


# --- thinking -------------------------------------------------------------------------------------


def byte_chat(name: str, **arguments: Any) -> ChatTokenizer:
    from template_tokenizers import tokenizer_for

    return ChatTokenizer(tokenizer_for(name), name, arguments, [], None)


@pytest.mark.parametrize(
    ("template", "arguments", "said"),
    [
        ("qwen3", {}, "<think>\nup?\n</think>\n\nAction: up"),
        ("qwen3", {"enable_thinking": False}, "Action: up"),
        ("qwen3_6", {}, "up?\n</think>\n\nAction: up"),
        ("deepseek_r1_distill", {}, "up?\n</think>\n\nAction: up"),
        ("gptoss", {}, "<|channel|>analysis<|message|>up?<|end|><|start|>assistant<|channel|>final"
                       "<|message|>Action: up"),
        ("gemma4", {}, "<|channel>thought\nup?\n<channel|>Action: up"),
    ],
)  # fmt: skip
def test_thinking_of_real_templates(template: str, arguments: dict[str, Any], said: str) -> None:
    pytest.importorskip("trl")
    chat = byte_chat(template, **arguments)
    ids, opened = chat.prompt([{"role": "user", "content": "?"}])
    reply = chat.tokenizer(said, add_special_tokens=False)["input_ids"]
    done = chat.completion(ids, [*reply, chat.ends[0]], opened=opened, ended=True)
    assert done.text == "Action: up"
    assert done.reasoning == ("" if arguments else "up?")
    assert done.usage == lg.Usage(prompt_tokens=len(ids), completion_tokens=len(reply) + 1)


def test_marks_that_are_special_tokens_do_not_vanish(servable: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(servable)
    marks = {"additional_special_tokens": ["[THINK]", "[/THINK]", "<|eot|>"]}
    tokenizer.add_special_tokens(marks)
    chat = ChatTokenizer(tokenizer, "m", None, [], None)
    said = "[THINK] -@$. [/THINK] ---- <|eot|>"
    ids = tokenizer(said, add_special_tokens=False)["input_ids"]
    done = chat.completion([1], ids, opened=False, ended=True)
    assert (done.reasoning.split(), done.text.split()) == (["-@$."], ["----"])


PLAIN = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
NO_BLANKS = (
    "{% for m in messages %}{% if not m['content'] | trim %}"
    "{{ raise_exception('empty content') }}{% endif %}{% endfor %}" + PLAIN
)


@pytest.mark.parametrize(
    ("template", "arguments", "said"),
    [
        ("{{ raise_exception('told so') }}", {}, "told so"),
        ("{% for %}", {}, "TemplateSyntaxError"),
        ("{{ bos_token.x.y }}" + PLAIN, {}, "refuses the chat"),
        (PLAIN.replace("m['content']", "m['content'][0]['text']"), {}, "refuses the chat|plain te"),
        (PLAIN.replace("{{ m['content'] }}", ""), {}, "wants a list of parts"),
        (PLAIN, {"tokenize": True}, "tokenize"),
        (PLAIN, {"add_generation_prompt": False}, "add_generation_prompt"),
    ],
)
def test_a_template_that_no_chat_can_be_rendered_with_is_refused_at_once(
    template: str, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=f"^m: .*({said})"):
        ChatTokenizer(byte_tokenizer(template), "m", arguments, [], None)


@pytest.mark.parametrize("reply", ["", " \n", "Action: up"])
def test_a_template_that_refuses_messages_without_text_gets_some_in_rows_too(reply: str) -> None:
    tokenizer = byte_tokenizer(NO_BLANKS)
    turns: tuple[lg.Message, ...] = (
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": reply},
        {"role": "user", "content": "!"},
    )
    ids, _ = ChatTokenizer(tokenizer, "m", None, [], None).prompt(turns)
    shown = reply if reply.strip() else "(empty)"
    turn = "<{}>{}<|im_end|>".format
    wanted = turn("user", "?") + turn("assistant", shown) + turn("user", "!") + "<assistant>"
    assert tokenizer.decode(ids) == wanted
    row = Row(
        kind="rehearsal",
        task="t",
        split="train",
        branch=0,
        step=1,
        prompt=turns,
        target="Action: a",
    )
    encoded = Encoder(tokenizer).encode(row)
    assert encoded is not None
    assert list(encoded.ids[: encoded.target_start]) == ids


# --- sampling -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "possible"),
    [({"top_k": 1}, {3}), ({"top_k": 2}, {3, 1}), ({"top_p": 0.5}, {3}),
     ({"top_p": 0.75}, {3, 1}), ({"top_k": 3, "top_p": 0.95}, {3, 1, 0}),
     ({"top_k": 9}, {0, 1, 2, 3})],
)  # fmt: skip
def test_top_k_and_top_p_keep_the_likely_tokens(limits: dict[str, Any], possible: set[int]) -> None:
    chances = torch.tensor([0.1, 0.25, 0.05, 0.6])
    sampling = lg.Sampling(**limits)
    points = [at / 997 for at in range(997)]
    logits = chances.log().expand(len(points), -1)
    counted = Counter(draw(logits, [sampling] * len(points), points).tolist())
    assert set(counted) == possible
    total = sum(float(chances[token]) for token in possible)
    for token in possible:
        assert counted[token] / 997 == pytest.approx(float(chances[token]) / total, abs=0.003)
    greedy = lg.Sampling(temperature=0, **limits)
    assert draw(logits[:1], [greedy], [0.99]).tolist() == [3]


def test_ids_and_logprobs_on_request(policy: TransformersPolicy) -> None:
    assert asked(policy).sampled is None
    sampling = lg.Sampling(temperature=1.5, max_tokens=5, seed=3, return_ids=True)
    done = asked(policy, sampling)
    assert done.sampled is not None
    prompt, ids = list(done.sampled.prompt_ids), list(done.sampled.ids)
    assert len(prompt) == policy.count_tokens(CHAT) == done.usage.prompt_tokens
    assert len(ids) == done.usage.completion_tokens
    with torch.inference_mode():
        logits = policy.network(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
    wanted = [logprob(row, token) for row, token in zip(logits, ids, strict=True)]
    assert done.sampled.logprobs == pytest.approx(wanted, abs=1e-4)


# --- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_not_finite_are_an_error(
    servable: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    policy = TransformersPolicy.load(servable, device="cpu")
    wanted = asked(policy)
    forward = policy.network.forward

    def broken(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        out.logits[:] = value
        return out

    with monkeypatch.context() as patch:
        patch.setattr(policy.network, "forward", broken)
        for sampling in (GREEDY, lg.Sampling(max_tokens=4)):
            with pytest.raises(PolicyError, match=r"not finite \(NaN\) after 0 tokens"):
                asked(policy, sampling)
    assert asked(policy) == wanted


@pytest.mark.parametrize("error", [RuntimeError("kernel"), SystemExit(3), KeyError("x")])
def test_an_exception_in_decoding_ends_its_calls_only(
    servable: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    policy = TransformersPolicy.load(servable, device="cpu")
    wanted = asked(policy)

    def broken(*_: Any, **__: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(policy.network, "forward", broken)
        with pytest.raises(PolicyError, match=type(error).__name__):
            asked(policy)
    assert asked(policy) == wanted


def test_event_loops_at_the_same_time(policy: TransformersPolicy) -> None:
    wanted = asked(policy)
    found: list[lg.Completion] = []
    threads = [threading.Thread(target=lambda: found.append(asked(policy))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 8


def test_max_tokens_that_leave_no_room_are_an_outage(policy: TransformersPolicy) -> None:
    assert policy.context_window == 512
    with pytest.raises(PolicyUnavailable, match="max_tokens=512 leaves no room"):
        asked(policy, lg.Sampling(max_tokens=512))


@pytest.mark.parametrize(
    ("config", "window"),
    [
        (SimpleNamespace(max_position_embeddings=77), 77),
        (SimpleNamespace(text_config=SimpleNamespace(max_position_embeddings=78)), 78),
        (SimpleNamespace(get_text_config=lambda decoder: SimpleNamespace(n_positions=79)), 79),
        (SimpleNamespace(max_position_embeddings=None), None),
        (None, None),
    ],
)
def test_windows_of_plain_and_composite_configurations(config: Any, window: int | None) -> None:
    assert context_window(config) == window


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_an_adapter_on_top_and_another_after_it(servable: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    plain = TransformersPolicy.load(servable, device="cpu")
    sampling = lg.Sampling(temperature=0, max_tokens=3, return_ids=True)
    found = [asked(plain, sampling)]
    names = [plain.name]
    for seed in (1, 2):
        base = TransformersPolicy.load(servable, device="cpu").network
        torch.manual_seed(seed)
        config = peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
        peft.get_peft_model(base, config).save_pretrained(tmp_path / str(seed))
    changing = TransformersPolicy.load(servable, device="cpu", adapter=tmp_path / "1")
    for seed in (1, 2):
        changing.use_adapter(tmp_path / str(seed))
        fresh = TransformersPolicy.load(servable, device="cpu", adapter=tmp_path / str(seed))
        assert changing.name == fresh.name
        found.append(asked(changing, sampling))
        assert found[-1] == asked(fresh, sampling)
        names.append(changing.name)
    assert len(set(names)) == 3
    assert len({one.sampled.logprobs for one in found if one.sampled}) == 3
    with pytest.raises(PolicyUnavailable, match="cannot load the adapter"):
        changing.use_adapter(tmp_path / "absent")
    assert asked(changing, sampling).text == found[-1].text


# --- threads, weights -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "cores", "load", "environ", "wanted"),
    [
        (2, 2, 1.9, {}, 1), (2, 2, 0.0, {}, 1), (8, 8, 0.2, {}, 7), (8, 8, 5.0, {}, 2),
        (8, 8, 30.0, {}, 1), (8, 2, 0.0, {}, 1), (8, 8, 9.0, {"OMP_NUM_THREADS": "8"}, 8),
        (3, 8, 9.0, {}, 3),
    ],
)  # fmt: skip
def test_threads_leave_room_for_others(
    monkeypatch: pytest.MonkeyPatch, current: int, cores: int, load: float,
    environ: dict[str, str], wanted: int,
) -> None:  # fmt: skip
    for name in torch_threads.SET_BY_USER:
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    chosen = [current]
    monkeypatch.setattr(torch, "get_num_threads", lambda: current)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(torch_threads, "cores", lambda: cores)
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(torch_threads, "_defaults", lambda: {8, 4, 2})
    assert torch_threads.limit_threads() == wanted
    assert chosen[-1] == wanted
    assert torch_threads.limit_threads(5) == chosen[-1] == 5


def test_weights_are_told_apart_by_any_tensor(servable: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(servable / "model.safetensors")
    names = {weights_digest(servable)}
    for name in list(weights)[::9]:
        changed = {**weights, name: weights[name] * 1.001 + 1e-4}
        (tmp_path / name).mkdir()
        save_file(changed, tmp_path / name / "model.safetensors")
        names.add(weights_digest(tmp_path / name))
    assert len(names) == 1 + len(list(weights)[::9])
