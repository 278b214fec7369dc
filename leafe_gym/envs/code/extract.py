"""The program in an action: a code fence where there is one, the whole text otherwise."""

from __future__ import annotations

from leafe_gym.envs.code.language import PYTHON, Language
from leafe_gym.prompts.code import fences

MAX_CODE = 64 * 1024
"""Longest program, in characters."""


def extract_code(text: str, language: Language = PYTHON) -> str:
    r"""The program in `text`; "" where there is none.

    The last fence of the language counts, then the last one without a language: a reply may show
    a draft before its answer. Text without any fence is a program itself.

    Example:
        >>> extract_code("I see.\n```python\nprint(1)\n```\nDone.")
        'print(1)\n'
        >>> extract_code("print(1)")
        'print(1)'
        >>> extract_code("```text\nno program\n```")
        ''
    """
    found = fences(text)
    own = [body for kind, body in found if kind in (language.name, *language.fences)]
    plain = [body for kind, body in found if not kind]
    if own or plain:
        return (own or plain)[-1]
    return "" if found else text.replace("\r\n", "\n")
