"""A tokenizer of bytes with a ChatML template: built here, downloaded from nowhere."""

from __future__ import annotations

from typing import Any

from leafe_gym._optional import require

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def byte_tokenizer(template: str | None = CHATML) -> Any:
    """One token per byte of UTF-8, and `<|im_start|>`, `<|im_end|>`, `<|endoftext|>`: 259 tokens.

    A `transformers.PreTrainedTokenizerFast`, for tests and for models too small for a vocabulary.
    Decoding restores every text exactly.

    Args:
        template: the chat template; None for a tokenizer without one.

    Raises:
        MissingExtra: if transformers is not installed.
    """
    tokenizers = require("tokenizers", "train", "a tokenizer")
    transformers = require("transformers", "train", "a tokenizer")
    level = tokenizers.pre_tokenizers.ByteLevel
    vocab = {letter: number for number, letter in enumerate(sorted(level.alphabet()))}
    core = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[]))
    core.pre_tokenizer = level(add_prefix_space=False, use_regex=False)
    core.decoder = tokenizers.decoders.ByteLevel()
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        clean_up_tokenization_spaces=False,
    )
    if template is not None:
        made.chat_template = template
    return made
