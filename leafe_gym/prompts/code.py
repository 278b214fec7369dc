"""The prompt set `code`: the conversation of `chat`, where an action is a piece of code.

The action of a reply is the content of its last code fence; a reply without a fence is an action if
all of it is a program. Comments of the environment name actions by their number alone.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import ClassVar

from leafe_gym.errors import BadReply
from leafe_gym.prompts import parse
from leafe_gym.prompts.chat import ChatPrompts
from leafe_gym.types import Completion, Step

SYSTEM = """You solve a task by writing Python code, one piece at a time.
Think as briefly as you can, then end your reply with the code in a fence:
```python
<the code>
```"""

_FENCE = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n`]*\n(.*?)^[ \t]*\1[ \t]*$",
    re.MULTILINE | re.DOTALL,
)


def fences(text: str) -> list[tuple[str, str]]:
    r"""(language in lower case, content) of every code fence.

    Example:
        >>> fences("So:\n```Python\nprint(1)\n```\n")
        [('python', 'print(1)\n')]
    """
    found = _FENCE.findall(text.replace("\r\n", "\n"))
    return [(language.lower(), content) for _, language, content in found]


class CodePrompts(ChatPrompts):
    """Chats about code; see the module."""

    name = "code"
    templates: ClassVar[Mapping[str, str]] = {"system": SYSTEM}

    def parse_action(self, completion: Completion) -> str:
        """See `PromptSet.parse_action`; the last code fence, or a reply that is a program."""
        text = parse.answer_text(completion)
        found = fences(text)
        if found:
            code = found[-1][1]
        elif _is_program(text):
            code = text
        else:
            raise BadReply("it holds no code fence")
        if not code.strip():
            raise BadReply("its code is empty")
        return code.strip("\n")

    def _named(self, number: int, step: Step) -> str:
        return f"action {number}"


def _is_program(text: str) -> bool:
    """Whether `text` is Python and more than a word or two."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    plain = (ast.Name, ast.Constant, ast.Tuple)
    return any(not (isinstance(one, ast.Expr) and isinstance(one.value, plain)) for one in body)
