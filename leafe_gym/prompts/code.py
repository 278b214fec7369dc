"""The prompt set `code`: the conversation of `chat`, where an action is a piece of code.

Which fence of a reply counts is said in `leafe_gym.prompts.programs.find_code`. A request to
reflect repeats the last code with its result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from leafe_gym.prompts import parse
from leafe_gym.prompts.chat import ChatPrompts, one_line
from leafe_gym.prompts.programs import find_code
from leafe_gym.types import Completion, Step

SYSTEM = """You solve tasks by writing Python code. Every reply holds the code in one fence that \
starts with ```python. Write nothing after it: no example output, no explanation."""

FIRST = """$instruction

$observation"""

TURN = """$observation

Reply with your next code, complete and corrected, in one fence that starts with ```python."""

REFLECT = """

Stop here and write no program now. $outcome
What became of each piece of code, by number:
$actions

Number $last was:
```python
$action
```
Its result:
$result

Compare the code with the result: which line is wrong, and what should it do? Name the first \
piece of code that was a mistake. $form"""

REFINE = REFLECT.replace(
    "Name the first piece of code that was a mistake.",
    "The task will be tried again from the beginning.",
)


class CodePrompts(ChatPrompts):
    """Chats about code; see the module."""

    name = "code"
    reminder: ClassVar[str] = "Reply with the code in one fence that starts with ```python."
    templates: ClassVar[Mapping[str, str]] = {
        "system": SYSTEM,
        "first": FIRST,
        "turn": TURN,
        "over": "$observation",
        "reflect": REFLECT,
        "refine": REFINE,
        "reason": "the concrete defect: what the code computes and what it should compute",
        "advice": "how to write the code so that the test passes, in one or two sentences",
    }

    def parse_action(self, completion: Completion, admissible: Sequence[str] = ()) -> str:
        """See `PromptSet.parse_action`; the code of a fence, see `find_code`."""
        return find_code(parse.answer_text(completion))

    def _line(self, number: int, step: Step) -> str:
        return f"- action {number}: {step.info.get('feedback') or one_line(step.observation)}"
