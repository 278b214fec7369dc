"""The prompt set `code`: the conversation of `chat`, where an action is a piece of code.

A reply's action is what stands in its last code fence; a reply without any fence is one if it is
a program as a whole. Comments of the environment name actions by their number alone.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Sequence

from leafe_gym.errors import BadReply
from leafe_gym.prompts import parse
from leafe_gym.prompts.chat import ChatPrompts
from leafe_gym.types import Completion, Experience, Message, Start, Step, Task

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

    def __init__(self) -> None:
        super().__init__()
        self.hash = hashlib.blake2b(f"{self.hash}\0{SYSTEM}".encode(), digest_size=8).hexdigest()

    def render(
        self,
        task: Task,
        start: Start,
        steps: Sequence[Step],
        experiences: Sequence[Experience] = (),
    ) -> list[Message]:
        """See `PromptSet.render`; shows the full history."""
        _, *turns = super().render(task, start, steps, experiences)
        return [{"role": "system", "content": SYSTEM}, *turns]

    def parse_action(self, completion: Completion) -> str:
        """See `PromptSet.parse_action`; the last code fence, or a reply that is a program."""
        text = parse.visible_text(completion)
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
    """Whether `text` is Python and more than a word or two that happen to be."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    plain = (ast.Name, ast.Constant, ast.Tuple)
    return any(not (isinstance(one, ast.Expr) and isinstance(one.value, plain)) for one in body)
