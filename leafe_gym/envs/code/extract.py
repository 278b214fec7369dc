"""Extracts the program from an action: a code fence if there is one, else the whole text."""

from __future__ import annotations

from leafe_gym.envs.code.language import PYTHON, Language
from leafe_gym.prompts.fences import fences
from leafe_gym.prompts.programs import is_program

MAX_CODE = 64 * 1024
"""Longest program, in characters."""


def extract_code(text: str, language: Language = PYTHON) -> str:
    r"""The program in `text`; "" if there is none.

    The last fence of the language is used, else the last fence without a language, as a reply may
    show a draft before its answer. Text without any fence is a program as a whole, and so is a
    Python program whose own texts hold fences.

    Example:
        >>> extract_code("I see.\n```python\nprint(1)\n```\nDone.")
        'print(1)\n'
        >>> extract_code("print(1)")
        'print(1)'
        >>> extract_code("```text\nno program\n```")
        ''
    """
    if language.name == PYTHON.name and is_program(text):
        return text.replace("\r\n", "\n")
    found = fences(text)
    names = (language.name, *language.fences)
    own = [one.content for one in found if one.language in names]
    plain = [one.content for one in found if not one.language]
    if own or plain:
        return (own or plain)[-1]
    return "" if found else text.replace("\r\n", "\n")
