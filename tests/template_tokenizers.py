"""Tokenizers of bytes with the chat templates that TRL ships, and with their control tokens."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leafe_gym.distill.data.byte_tokenizer import byte_tokenizer

_SPEC = importlib.util.find_spec("trl")
FOLDER = Path(_SPEC.origin).parent / "chat_templates" if _SPEC and _SPEC.origin else Path("absent")
NAMES = sorted(path.stem for path in FOLDER.glob("*.jinja"))
ENDS = {
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "cohere2": "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
    "deepseek": "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "diffusion_gemma": "<turn|>\n",
    "gemma": "<end_of_turn>\n",
    "gemma4": "<turn|>\n",
    "glm4": "<|user|>",
    "gptoss": "<|return|>",
    "llama3": "<|eot_id|>",
    "muse": "<|eot|>",
    "phi3": "<|end|>\n<|endoftext|>",
}
BEGIN = "<|begin|>"
_MARK = re.compile(
    r"<\|[^|<> ]+\|>|<\uff5c[^\uff5c<>]+\uff5c>|</?[a-z_]+>|<\|[a-z]+>|<[a-z]+\|>|\[/?[A-Z_]+\]"
)


def family(name: str, table: Mapping[str, Any]) -> Any:
    """The entry of the longest key that the template's name begins with."""
    key = max((key for key in table if name.startswith(key)), key=len, default=None)
    return None if key is None else table[key]


def tokenizer_for(name: str) -> Any:
    """Bytes, and the control tokens that the template names."""
    source = (FOLDER / f"{name}.jinja").read_text("utf-8")
    made = byte_tokenizer(source)
    marks = set(_MARK.findall(source + str(family(name, ENDS) or "")))
    plain = {mark for mark in marks if "think" in mark.lower() and "|" not in mark}
    made.add_special_tokens({"additional_special_tokens": sorted((marks - plain) | {BEGIN})})
    made.add_tokens(sorted(plain))
    end = str(family(name, ENDS) or "<|im_end|>\n")
    made.eos_token = _MARK.findall(end)[-1]
    made.bos_token = BEGIN
    return made
