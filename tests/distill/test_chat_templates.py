"""Rows through the chat templates that TRL ships: the policy's prompt, and loss on the target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from row_toys import needs
from template_tokenizers import ENDS, NAMES, family, tokenizer_for

from leafe_gym.distill.data.row_types import Row
from leafe_gym.distill.data.tokens import Encoder
from leafe_gym.errors import UsageError
from leafe_gym.policies.transformers import TransformersPolicy
from leafe_gym.prompts.chat_template import DATE
from leafe_gym.types import Message

pytestmark = needs("trl", "transformers", "tokenizers", "torch")

MODES: dict[str, dict[str, bool]] = {
    "absent": {}, "on": {"enable_thinking": True}, "off": {"enable_thinking": False},
}  # fmt: skip
REFUSED = {"idefics3", "llava_next", "smolvlm"}
"""Templates for lists of parts: they leave out or refuse plain text."""

THOUGHT, ANSWER = "Is up free?\nYes.", "Action: up"
_TAGS = ("<think>\n", "\n</think>\n\n")
_OPENED = ("", "\n</think>\n\n")
_CHANNEL = ("<|channel>thought\n", "\n<channel|>")
_FINAL = "<|start|>assistant<|channel|>final<|message|>"
THINKING: dict[str, tuple[tuple[str, str], str, str]] = {
    # what the model writes around its thinking, an empty block, modes with thinking
    "deepseek_r1_distill": (_OPENED, "\n</think>\n\n", "absent on off"),
    "deepseekv3": (_OPENED, "\n</think>\n\n", "absent on off"),
    "diffusion_gemma": (_CHANNEL, "", "absent on off"),
    "gemma4": (_CHANNEL, "", "absent on off"),
    "glm4moe": (("\n<think>", "</think>\n"), "\n<think></think>\n", "absent on"),
    "gptoss": (
        ("<|channel|>analysis<|message|>", f"<|end|>{_FINAL}"),
        "<|channel|>final<|message|>",
        "absent on off",
    ),
    "lfm2_2_5": (("<think>", "</think>"), "", "absent on off"),
    "muse_glimmer": (
        (" to=self<|message|>", "<|eom|><|start|>assistant to=user<|message|>"),
        " to=user<|message|>",
        "absent on off",
    ),
    "nemotron_3_nano": (("", "\n</think>\n"), "\n</think>\n", "absent on"),
    "nemotron_3_super": (("", "\n</think>\n"), "\n</think>\n", "absent on"),
    "nemotron_3_ultra": (("", "</think>"), "</think>", "absent on"),
    "nemotron_3_5_lightning": (("", "</think>"), "</think>", "absent on"),
    "qwen3": (_TAGS, "<think>\n\n</think>\n\n", "absent on"),
    "qwen3_instruct": (_TAGS, "", ""),
    "qwen3_vl": (_TAGS, "", ""),
    "qwen3_5_nothink": (_OPENED, "\n</think>\n\n", "on"),
    "qwen3_5_think": (_OPENED, "\n</think>\n\n", "absent on"),
    "qwen3_6": (_OPENED, "\n</think>\n\n", "absent on"),
    "qwen3_8": (_OPENED, "\n</think>\n\n", "absent on"),
}
CLOSED_REST = {"glm4moe": "\n"}
"""With thinking off, what the template writes between the prompt and an answer."""
PROMPT: tuple[Message, ...] = (
    {"role": "system", "content": "Act."},
    {"role": "user", "content": " door\n"},
    {"role": "assistant", "content": "Action: a \n"},
    {"role": "user", "content": "wall"},
)


class Network:
    """What a policy reads of a model."""

    config = generation_config = None

    def eval(self) -> Network:
        return self

    def parameters(self) -> list[Any]:
        return []


def prompt_ids(name: str, tok: Any, arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """The prompt of the policy; the same as a server's, which renders the chat as it comes."""
    prompt = prompt_ids_at(tok, arguments)
    if not name.startswith(("gptoss", "gemma_training")) and name != "gemma":
        server = tok.apply_chat_template(
            list(PROMPT), add_generation_prompt=True, date_string=DATE, **arguments
        )
        assert prompt == tuple(server["input_ids"])
    return prompt


def shapes(name: str, mode: str) -> list[tuple[str, str, str, str]]:
    """(target, reasoning, text before the loss, text with loss without the end of turn)."""
    known = family(name, THINKING)
    thinks = known is not None and mode in known[2].split()
    before, between = known[0] if thinks else ("", "")
    empty = known[1] if thinks else family(name, CLOSED_REST) or ""
    found = [(f" {ANSWER} \n", "", empty, f" {ANSWER} \n"), (ANSWER, "", empty, ANSWER)]
    if thinks:
        found.append((ANSWER, THOUGHT, "", before + THOUGHT + between + ANSWER))
        found.append((f"\n\n{ANSWER}", f"\n{THOUGHT}\n", "", _apart(before, between)))
        if "think>" in between:
            whole = before + THOUGHT + between + ANSWER
            found.append((whole, "", "", whole))
    return found


def _apart(before: str, between: str) -> str:
    """A parser's pieces, whose line breaks double those of the template where it has them."""
    thought = THOUGHT if before.endswith("\n") or not before else f"\n{THOUGHT}"
    thought += "" if between.startswith("\n") else "\n"
    return before + thought + between + ("" if between.endswith("\n") else "\n\n") + ANSWER


@pytest.mark.parametrize("name", NAMES)
def test_the_policy_s_prompt_and_loss_on_the_target_alone(name: str) -> None:
    tok = tokenizer_for(name)
    if family(name, dict.fromkeys(REFUSED, True)):
        with pytest.raises(UsageError, match=r"chat template (does not write what a user|refuses)"):
            Encoder(tok).encode(row(ANSWER, "", {}))
        return
    end = family(name, ENDS) or "<|im_end|>\n"
    for mode, arguments in MODES.items():
        prompt = prompt_ids(name, tok, arguments)
        encoder = Encoder(tok)
        for target, reasoning, before, learned in shapes(name, mode):
            made = encoder.encode(row(target, reasoning, arguments))
            assert made is not None
            assert made.ids[: len(prompt)] == prompt
            rest = made.ids[len(prompt) : made.target_start]
            told = tok.decode(rest), tok.decode(made.ids[made.target_start :])
            assert told == (before, learned + end), (mode, target, reasoning)
        assert encoder.separate == 0


@pytest.mark.parametrize("name", ["llama3_1", "llama3_2", "gptoss", "gptoss_training"])
def test_the_date_of_the_run_is_the_date_of_its_rows(name: str) -> None:
    tok, dated = tokenizer_for(name), {"date_string": "1 May 2030"}
    for arguments, date in (({}, DATE), (dated, "1 May 2030")):
        prompt = prompt_ids_at(tok, arguments)
        made = Encoder(tok).encode(row(ANSWER, "", arguments))
        assert made is not None
        assert made.ids[: len(prompt)] == prompt
        assert date in tok.decode(prompt)


def prompt_ids_at(tok: Any, arguments: Mapping[str, Any]) -> tuple[int, ...]:
    policy = TransformersPolicy(Network(), tok, chat_template_kwargs=arguments)
    ids, length = policy.tokenize(PROMPT, "")
    return tuple(ids[:length])


@pytest.mark.parametrize("name", ["gemma", "gemma_training"])
def test_a_template_without_system_role_shows_the_system_message(name: str) -> None:
    tok = tokenizer_for(name)
    text = tok.decode(prompt_ids(name, tok, {}))
    assert text == (
        "<|begin|><start_of_turn>user\nAct.\n\n door<end_of_turn>\n<start_of_turn>model\n"
        "Action: a<end_of_turn>\n<start_of_turn>user\nwall<end_of_turn>\n<start_of_turn>model\n"
    )


def row(target: str, reasoning: str, arguments: Mapping[str, Any]) -> Row:
    return Row(
        kind="rehearsal", task="t", split="train", branch=0, step=1, prompt=PROMPT, target=target,
        reasoning=reasoning, chat_template_kwargs=arguments,
    )  # fmt: skip


def test_all_of_trl_s_templates_are_there() -> None:
    assert len([name for name in NAMES if not name.endswith("_training")]) >= 37


@pytest.mark.parametrize("name", ["qwen3", "qwen2_5", "llama3_1", "nemotron_3_nano"])
def test_thinking_without_a_place_for_it_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="holds thinking, and the tokenizer's chat template"):
        Encoder(tokenizer_for(name)).encode(row(ANSWER, THOUGHT, {"enable_thinking": False}))
