"""The words of the small model and its tokenizer.

One word per board row, so a 4x4 room is four tokens, and acting takes one forward pass over less
than ten.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

from leafe_gym.prompts.tiny import ACTIONS

WIDTH = 4
MOST_STEPS = 32
"""Step numbers that have a word."""

PAD, USER, ASSISTANT, END = "<pad>", "<user>", "<assistant>", "<end>"
CONTROL = (PAD, USER, ASSISTANT, END)
VERDICTS = ("bad", "good")
"""Said of each action in training only; see `pretrain`."""

TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ '<assistant> ' }}{% generation %}{{ message['content'] + ' <end>' }}{% endgeneration %}"
    "{{ ' ' }}"
    "{% else %}{{ '<user> ' + message['content'] + ' ' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant> ' }}{% endif %}"
)


@cache
def vocabulary() -> dict[str, int]:
    """Word -> token id."""
    words = [
        *CONTROL,
        *ACTIONS,
        *VERDICTS,
        "tip",
        "not",
        "but",
        "failed",
        "none",
        *(f"s{number}" for number in range(MOST_STEPS)),
        *_rows(),
    ]
    return {word: number for number, word in enumerate(words)}


def _rows() -> list[str]:
    """All rows of a room with one box and one target."""
    rows = ("".join(cells) for cells in product("#-.$*@+", repeat=WIDTH))
    return [
        row
        for row in rows
        if sum(map(row.count, "@+")) <= 1
        and sum(map(row.count, "$*")) <= 1
        and sum(map(row.count, ".*+")) <= 1
    ]


def make_tokenizer() -> Any:
    """The tokenizer, as transformers loads and saves it."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    model = Tokenizer(WordLevel(vocabulary(), unk_token=PAD))
    model.pre_tokenizer = WhitespaceSplit()
    model.add_special_tokens([AddedToken(word, normalized=False) for word in CONTROL])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=model,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer
