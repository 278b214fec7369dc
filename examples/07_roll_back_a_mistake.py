"""A coding agent that rolls back to before its mistake, including files and variables.

python examples/07_roll_back_a_mistake.py [--unsandboxed]

The agent is scripted: it takes all letters from an inbox, which is possible only once, into a
variable and then discards the variable. Nothing in the session can undo this, and a new session
would lose all work. A rollback restores the interpreter's memory and the files.
"""

import sys

import gymnasium as gym

import leafe_gym as lg

PLAN = (  # the cells that the agent runs; the second is the mistake
    "letters = [inbox.take() for _ in range(len(inbox))]; len(letters)",
    "open('notes.txt', 'w').write(f'{len(letters)} letters read'); letters = []",
    """import json
sums = {}
for name, number in letters:
    sums[name] = sums.get(name, 0) + number
with open('report.json', 'w') as file:
    json.dump(sums, file)
print(len(sums), len(inbox), open('notes.txt').read())""",
)
EXPERIENCE = "keep the letters: they cannot be taken twice"
REVISED = "open('notes.txt', 'w').write(f'{len(letters)} letters kept')"


def main(*options: str) -> None:
    """Make the mistake, roll back to before it, and take the revised action."""
    extra = {}
    if "--unsandboxed" in options:
        extra = {"sandbox": "unsandboxed", "allow_unsandboxed": True}
    env = lg.RollbackWrapper(gym.make("leafe/PythonREPL-v0", kind="inbox", goal=1, **extra))
    _, info = env.reset(seed=0)
    print(info["instruction"], "\n")
    for cell in PLAN:
        won = play(env, cell)
    print(f"\nwon: {won}. Reflection: the mistake is action 1; {EXPERIENCE}.")

    env.rollback(to=1)
    print("rolled back to before action 1: the variable exists again, the file does not")
    for cell in (REVISED, PLAN[2]):
        won = play(env, cell)
    print(f"\nwon: {won}")
    print(env.backend_report)
    env.close()


def play(env: lg.RollbackWrapper, cell: str) -> bool:
    """Run a cell and show its output."""
    number = env.steps
    observation, _, _, _, info = env.step(cell)
    print(f"[{number}] {cell}\n    {observation}")
    return bool(info["won"])


if __name__ == "__main__":
    main(*sys.argv[1:])
