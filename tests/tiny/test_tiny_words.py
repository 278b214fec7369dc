"""The tokenizer says what the policy says."""

from __future__ import annotations

from leafe_gym.distill.data.row_types import Row
from leafe_gym.distill.data.tokens import Encoder
from leafe_gym.tiny.corpus import act_prompts, state_rows
from leafe_gym.tiny.policy import SHIPPED, TinyPolicy
from leafe_gym.tiny.pretrain import make_levels
from leafe_gym.tiny.words import make_tokenizer, vocabulary
from leafe_gym.types import Message

PROMPT: list[Message] = [
    {"role": "user", "content": "tip s1 not up but left\ns1\n-@*-\n----\n-#--\n----"}
]


def test_chat_template_agrees_with_policy() -> None:
    tokenizer = make_tokenizer()
    ids = tokenizer.apply_chat_template(PROMPT, add_generation_prompt=True, tokenize=True)
    ids = ids if isinstance(ids, list) else ids["input_ids"]
    policy = TinyPolicy.load(SHIPPED / "blind")
    whole, start = policy.tokenize(PROMPT, "left")
    assert list(whole[:start]) == ids
    row = Row(
        kind="rehearsal",
        task="t",
        split="train",
        branch=0,
        step=0,
        prompt=tuple(PROMPT),
        target="left",
    )
    encoded = Encoder(tokenizer).encode(row)
    assert encoded is not None
    assert encoded.target_start == start
    assert encoded.ids[: start + 2] == tuple(whole)


def test_corpus_prompt_is_the_prompt_sets() -> None:
    graph = make_levels("val", range(3))
    words = list(vocabulary())
    state = int(graph.starts[2])
    (ids,) = act_prompts(state_rows(graph)[[state]], _step(5))
    rows = " ".join(row[1:-1] for row in graph.boards[state].split("\n")[1:-1])
    assert " ".join(words[i] for i in ids) == f"<user> s5 {rows} <assistant>"


def _step(number: int):  # type: ignore[no-untyped-def]
    import numpy as np

    return np.array([vocabulary()[f"s{number}"]])
