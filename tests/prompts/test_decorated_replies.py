"""Replies that models write around an action: remarks, lists, earlier actions, other marks."""

from __future__ import annotations

import time

import gymnasium as gym
import pytest

from leafe_gym.envs.code.extract import extract_code
from leafe_gym.errors import BadReply
from leafe_gym.prompts.base import prompt_set
from leafe_gym.prompts.thinking import split_thinking
from leafe_gym.types import Completion

MOVES = ["up", "down", "left", "right"]
TEXT = ["look", "open door", "go to desk 1"]
SHOP = ["click[blue]", "click[buy now]", "click[next >]"]
F = "def f(x):\n    return x + 1"


def read(name: str, text: str, admissible: list[str]) -> str | None:
    try:
        return prompt_set(name).parse_action(Completion(text=text), admissible)
    except BadReply:
        return None


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Action: right (pushes the box)", "right"),
        ("Action: right - pushes the box", "right"),
        ("Action: right \u2014 pushes the box", "right"),
        ("Action: right, because the box is there.", "right"),
        ("Action: right because the box is there", "right"),
        ("Action: `right` to push the box", "right"),
        ("**Action: right** (pushes the box)", "right"),
        ("**`Action: right`**", "right"),
        ("Action: right. It pushes the box.", "right. It pushes the box"),
        ("Action: 1. right", "right"),
        ("Action:\n- right", "right"),
        ("Action: > right", "right"),
        ("Action: \\boxed{right}", "right"),
        ("**Final answer**\n$\\boxed{right}$", "right"),
        ("We push the box. **Action:** right", "right"),
        ("We push the box. **Action: right**", "right"),
        ("We push the box. `Action: right`", "right"),
        ("Let me go. (Action: right)", "right"),
        ("We push. Action: right.\nThis wins.", "right"),
        ("I go left; action: up", "up"),
        ("Answer: Action: up", "up"),
        ("My next move: Action: right", "right"),
        ("I go. Action: [up]", "up"),
        ("I go. Action: (up)", "up"),
        ('{"thought": "I tried the action: up. It failed.", "action": "left"}', "left"),
        ("I gave the action: up, but no.\n<action>left</action>", "left"),
        ('The form is:\n"Action: down"\n\nup', "up"),
        ("Next move: **right**", "right"),
        ("Answer: right", "right"),
        ("The next action is: right", "right"),
        ("Action:\nAction: right", "right"),
        ("Action: right\n\nAction:", "right"),
        ("Action: <the action>\nAction: right", "right"),
        ('"Action: " right', "right"),
        ("'Action:' right", "right"),
        ("\u201cAction:\u201d right.", "right"),
        ('I push it.\n"Action: " right', "right"),
        ('"Action: " "right"', None),
        ("Action: right, it is free", "right, it is free"),
        ("Action: up - actually no, wait here", "up - actually no, wait here"),
        ("Action: up (three times in a row)", "up (three times in a row)"),
        ('I go.\n```json\n{"Action": "right"}\n```', "right"),
        ("Action: right, not left", "right, not left"),
        # Several commands, or one that is denied.
        ("Action:\nup\nup\nleft", None),
        ("Action: up\nup\nleft", None),
        ("Action:\n1. up\n2. left", None),
        ("Action:\n- up\n- left", None),
        ("Action: up, up, left", None),
        ("Action: up or left", None),
        ("Action: up, down, left, or right", None),
        ("Action: up -> left", None),
        ("Action: up, up", None),
        ("I will not repeat the action: up", None),
        ("There is no action: up", None),
        ("I cannot take the action: up", None),
        ("If I chose the action: up, the box would be stuck.", None),
        ("You wrote: Action: up. That failed.", None),
        ("Consider this. Action: up\nThat is bad, left is better.", None),
        ("Invalid move: up", None),
        ("For example, action: up", None),
        ("An action, e.g. action: up", None),
        ("One possible move: up.\nBut left is better.", None),
        ("Opponent's move: up", None),
        ("Option A - move: up\nOption B - left\nI pick B.", None),
        ('You said:\n"Action: up"\nand it failed.', None),
        ('The form {"action": "up"} was refused.', None),
        ('{"action": "up", "Action": "left"}', None),
        ("My last action: up\nwas blocked.", None),
        ("I can't take the action: up", None),
        ("Action: \u200b", None),
        ('Action: ""', None),
        ('Action: "the next action"', None),
        ("Action: <next command here>", None),
        ("Action: up\n" * 200, None),
    ],
)
@pytest.mark.parametrize("name", ["chat", "react"])
def test_moves(name: str, text: str, action: str | None) -> None:
    assert read(name, text, MOVES) == action


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("My previous action: look\nThat told me nothing.\n\nopen door", "open door"),
        ("Action:\n```\nopen door\nlook\n```", None),
        ("Then: action: look\nopen door", "open door"),
        ("Action: open door - it may be locked, look", "open door - it may be locked, look"),
        ("Action: go to desk 1 - it may hold the key", "go to desk 1"),
        ("Action: look, then open door", None),
        ("Action: look (before I open door)", "look (before I open door)"),
        ("Action: take and look", "take and look"),
    ],
)
def test_commands_of_several_words(text: str, action: str | None) -> None:
    assert read("react", text, TEXT) == action


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ('Action: "open door"', "open door"),
        ("Action: 'open door'.", "open door"),
        ("Action: \u201copen door\u201d", "open door"),
        ('Action: say "open" "door"', 'say "open" "door"'),
        ('Action: "open" or "close"', '"open" or "close"'),
        ("Action: the next action.", None),
        ("Action: your next action", None),
        ("I open it. Action: open door", None),
        ('My last reply was:\n"Action: open door"\nThat did not work.', None),
        ("_Action: take key_1", "take key_1"),
        ("*Action: set dial to 2*3*", "set dial to 2*3"),
    ],
)
def test_without_a_list_quotes_are_no_part_of_an_action(text: str, action: str | None) -> None:
    assert read("chat", text, []) == action


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("I could click[buy now], but the size is missing.\nAction: blue", "click[blue]"),
        ("I have done click[blue].\nAction: Buy Now", "click[buy now]"),
        ('I could click[buy now] later.\nAction: click("blue")', "click[blue]"),
        ("I could click[buy now].\nAction: search(blue shirt)", "search[blue shirt]"),
        ("I have done click[blue].\nBuy Now", None),
        ('Action: click["blue"]', "click[blue]"),
        ("Action: click Buy Now", "click[buy now]"),
        ('Action: "Buy Now"', "click[buy now]"),
        ("Action: [Buy Now]", "click[buy now]"),
        ("Buy Now", "click[buy now]"),
        ("I buy it.\n\nBuy Now.", "click[buy now]"),
        ("Action: search for blue shirts", "search[blue shirts]"),
        ("Action: search[...]", None),
        ("Action: click[...]", None),
        ("search[]", None),
        ("I consider click[...].\nbuy now", "click[buy now]"),
        ("Use search[...] or click[...].\nAction: search[shirt]", "search[shirt]"),
        ("Action: blue\nAction: Buy Now", None),
        ("Action: Click the Buy Now button.\nclick[Buy Now]", "click[buy now]"),
        ("Action: Search for the product\nsearch[red shoes]", "search[red shoes]"),
        ("I'll click[Buy Now].\nAction: done", "click[buy now]"),
        ("Action: Search again with fewer words", "search again with fewer words"),
        ("Action: search bar", "search bar"),
        (
            "Action: search for shoes, then click the first result",
            "search for shoes, then click the first result",
        ),
    ],
)
def test_the_shops_label_decides(text: str, action: str | None) -> None:
    said = read("shop", text, SHOP)
    assert (said and said.casefold()) == action


DOC = 'def f(x):\n    """Add.\n\n    ```\n    f(1)\n    ```\n    """\n    return x + 1'
NESTED = (
    "def main():\n    n = int(input())\n    def dfs(u):\n        return u + 1\n"
    "    print(dfs(n))\nmain()"
)
INNER = (
    "def main():\n    import sys\n    try:\n        print(sys.stdin)\n"
    "    except OSError as e:\n        print(e)\nmain()"
)
ROWS = "import csv\nrows = list(csv.reader(open('a.csv')))"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (DOC, DOC),
        (
            "```python\ndef test_twice(a):\n    return a\n```\n"
            "So:\n```python\nprint(test_twice(1))\n```",
            "def test_twice(a):\n    return a\n\n\nprint(test_twice(1))",
        ),
        (
            f"```python\n{F}\n```\n```python\nn = int(input())\nprint(f(n))\n```",
            f"{F}\n\n\nn = int(input())\nprint(f(n))",
        ),
        (
            f"```python\n{F}\n```\n```python\ndef check():\n    assert f(1) == 2\n```",
            f"{F}\n\n\ndef check():\n    assert f(1) == 2",
        ),
        (
            "```python\nprint(sum(map(int, open(0).read().split())))\n```\n"
            "For example:\n```python\nprint(1 + 2)\n```",
            "print(sum(map(int, open(0).read().split())))",
        ),
        (
            "```python\nimport math\n```\n```python\ndef g(x):\n    return math.sqrt(x)\n```",
            "import math\n\n\ndef g(x):\n    return math.sqrt(x)",
        ),
        (f"```python\n{ROWS}\n```\nThen:\n```python\nprint(len(rows))\n```", "print(len(rows))"),
        (
            "```python\nfrom typing import List\ndef f(x):\n    return 0\nassert f(1) == 1\n```\n"
            "Better:\n```python\ndef f(x: List[int]):\n    return 1\n```",
            "from typing import List\n\n\ndef f(x: List[int]):\n    return 1",
        ),
        (
            "```python\ndef dfs(u):\n    return u\nn = 1\nprint(dfs(n))\n```\n"
            f"```python\n{NESTED}\n```",
            NESTED,
        ),
        (f"```python\nimport sys\nprint(sys)\n```\n```python\n{INNER}\n```", INNER),
        (
            "```python\nimport math\ndef g(x):\n    return math.sqrt(x)\nprint(g(1))\n```\n"
            "```python\ndef f(x):\n    return g(x)\n```",
            "import math\n\n\ndef g(x):\n    return math.sqrt(x)\n\n\ndef f(x):\n    return g(x)",
        ),
        ("Cell:\n```\ntotal = 5\n```\nNow:\n```python\nprint(total)\n```", "print(total)"),
        (
            "```python\n@cache\ndef test_h(x):\n    return x\n```\n"
            "```python\nprint(test_h(1))\n```",
            "@cache\ndef test_h(x):\n    return x\n\n\nprint(test_h(1))",
        ),
        (f"```python\ndef f(x):\n    return g(x)\n```\n```python\n{F}\n```", F),
        (f"```python\nx = 1\nprint(x)\n```\n```python\n{F}\n```", F),
        ("```python import math\nprint(math.pi)\n```", "import math\nprint(math.pi)"),
        ("```python def f(x):\n    return x + 1\n```", F),
        ("```python import math\nprint(math.pi)", "import math\nprint(math.pi)"),
        ("```python import math\nprint(math.pi)```", "import math\nprint(math.pi)"),
        ("```python def f(x):\n    return x + 1\n```.", F),
        (f'```python title="f.py"\n{F}\n```', F),
        (f"```python def f(x): adds one\n{F}\n```", F),
        (f"```python class solution\n{F}\n```", F),
        (f"~~~python\n{F}", F),
        (f"[BEGIN]\nx = 1\n[DONE]\nBetter:\n[BEGIN]\n{F}\n[DONE]", F),
        (f"[PYTHON]\nx = 1\n[/PYTHON]\nBetter:\n```python\n{F}\n```", F),
        ("```python\ns = '''\n[BEGIN]\nx = 1\n[DONE]\n'''\nprint(s)\n```",
         "s = '''\n[BEGIN]\nx = 1\n[DONE]\n'''\nprint(s)"),
        ("Answer = 42\n```json\n{}\n```", None),
        ("import os\n```bash\nls\n```", None),
        (f"python\n{F}", F),
        (f"[BEGIN]\n{F}\n[DONE]", F),
        (f"Here:\n[PYTHON]\n{F}\n[/PYTHON]\nIt adds one.", F),
        (f"```tool_code\n{F}\n```", F),
        (f"```language-python\n{F}\n```", F),
        ("```python print(1)```", "print(1)"),
        ("`print(1)`", "print(1)"),
        (f"```python\n{F}\n```.\nDone.", F),
        (f"````markdown\nSo:\n```python\n{F}\n```\n````", F),
        (f"{F}\n```\nIt adds one.", F),
        ("```python\n>>> x = 1\n>>> for i in range(x):\n...     print(i)\n...\n0\n```",
         "x = 1\nfor i in range(x):\n    print(i)"),
        (f"The code in one fence that starts with ```python.\n\n```python\n{F}\n```", F),
        ("Answer: 42", None),
        ("Output: [1, 2]", None),
        ("pass", None),
        ("```python\n[your complete code]\n```", None),
        ("```python\nyour code\n```", None),
    ],
)  # fmt: skip
def test_code(text: str, code: str | None) -> None:
    assert read("code", text, []) == code
    if code is not None:
        assert extract_code(code).strip("\n") == code


def test_a_program_whose_docstring_shows_an_example_is_judged_whole() -> None:
    env = gym.make("leafe/MBPP-v0", problem="6").unwrapped
    env.reset(seed=0)
    code = (
        'def mean(numbers):\n    """Mean.\n\n    Example:\n    ```\n    mean([1, 3])\n    ```\n'
        '    """\n    return sum(numbers) / len(numbers)'
    )
    assert env.step(code)[1] == 1.0
    env.close()


REFLECTION = '{{"reason": "a", "step": {}, "experience": "x y"}}'


@pytest.mark.parametrize(
    ("text", "step"),
    [
        (REFLECTION.format("1"), 1),
        ('{"reason": "a", "step": 1, // the second\n"experience": "x y"}', 1),
        ("{reason: 'a', step: 1, experience: 'x y'}", 1),
        ('{"reason": "a" "step": 1 "experience": "x y"}', 1),
        (REFLECTION.format("1 or 2"), None),
        (REFLECTION.format("1, 2"), None),
        (REFLECTION.format("1 2"), None),
        (REFLECTION.format("1 (the second action)"), 1),
        ('{"reason": "I moved, step: 0 was wrong", "step": 1, "experience": "x y",}', 1),
        (REFLECTION.format("1-2"), None),
        ('{reason: "a", step: 1, step: 2, experience: "x y"}', None),
        (
            '<|channel|>analysis<|message|>{"step": 0}<|end|><|start|>assistant'
            f"<|channel|>final<|message|>{REFLECTION.format(1)}",
            1,
        ),
        ('<|channel|>analysis<|message|>{"step": 0, "experience": "x y"}', None),
        (f'<thinking>{{"step": 0}}</thinking>\n{REFLECTION.format(1)}', 1),
    ],
)
def test_a_reflection_names_one_step(text: str, step: int | None) -> None:
    try:
        found = prompt_set("chat").parse_reflection(Completion(text=text), 3).step
    except BadReply:
        found = None
    assert found == step


@pytest.mark.parametrize(
    ("text", "action"),
    [
        (
            "<|channel|>analysis<|message|>Maybe\nAction: up\nNo.<|end|><|start|>assistant"
            "<|channel|>final<|message|>Action: left",
            "left",
        ),
        ("<|channel|>analysis<|message|>Action: up", None),
        ("<thinking>\nAction: up would be blocked.\n</thinking>\nAction: left", "left"),
        ("<reasoning>\nAction: up\n</reasoning>\nI go on.", None),
    ],
)
def test_what_was_only_thought_is_no_action(text: str, action: str | None) -> None:
    assert read("chat", text, MOVES) == action


@pytest.mark.parametrize(
    "text",
    [
        '{"reason": "' + '{"a": [1,' * 7000 + '", "step": 1, "experience": "x y"}',
        '{"step": 1, "reason": ' + "[x]" * 20000 + "}",
        "{" + "(" * 65000 + "}",
        "- ok so\n" * 8000,
        "a\n" * 32500,
        "Action: look around, then\n" * 2500,
        "look, " * 10000,
        "Action: " + "look - " * 9000,
        "answer " * 9000,
        "[BEGIN]\n" * 8000,
        "[BEGIN]\n" + "\n" * 64000,
        "`" + " " * 60000 + "x",
        "```python" + " " * 60000 + "x",
        ("Action: x" + " " * 640 + "y\n") * 99,
        ("Action: take object 1 - " + "word " * 120 + "\n") * 99,
        "```python\n" + "x = y\n```\n```python\n" * 2500,
        "```python import x\n" + "``` " * 16000 + "x\n```",
        "```python import x\n" + "`" * 64000 + "x\n```",
        "```python import x\n```" + "." * 64000 + "x\n",
    ],
)
def test_long_replies_are_read_at_once(text: str) -> None:
    commands = [f"take object {number}" for number in range(2000)]
    begun = time.thread_time()
    for name in ("chat", "react", "shop", "code"):
        read(name, text, commands)
    with pytest.raises(BadReply):
        prompt_set("chat").parse_reflection(Completion(text=text), 3)
    split_thinking(("<|channel|>a" * 6000)[:64000])
    assert time.thread_time() - begun < 20


SIZES = ["small", "small (4-6)", "navy", "navy - white", "10", "10 wide", "5", "7"]


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Action: small (4-6)", "small (4-6)"),
        ("Action: small (4-6), as asked", "small (4-6), as asked"),
        ("I choose. Action: small (4-6)", "small (4-6)"),
        ("Action: navy - white, as asked", "navy - white, as asked"),
        ("Action: 10 (the wide one please)", "10 (the wide one please)"),
        ("Action: 5. 7", "5. 7"),
        ("Action: 7 (it is the last one)", "7"),
    ],
)
def test_a_remark_is_no_part_of_a_longer_command(text: str, action: str) -> None:
    assert read("chat", text, SIZES) == action


def test_an_empty_command_is_none() -> None:
    assert read("chat", "Action:", ["", "up"]) is None
