"""A coding agent that goes back to before its mistake, files and variables included.

python examples/07_go_back_to_before_the_mistake.py [--unsandboxed]

The agent here is scripted: it empties an inbox whose letters can be taken only once, into a
variable that it then throws away. Starting over would cost the whole session; undoing is not
possible inside it. Going back brings the interpreter's memory and the files back as they were.
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
TIP = "keep the letters: they cannot be taken twice"
REVISED = "open('notes.txt', 'w').write(f'{len(letters)} letters kept')"


def main(*options: str) -> None:
    """Make the mistake, see that it cannot be undone, go back to before it, go on."""
    extra = {}
    if "--unsandboxed" in options:
        extra = {"sandbox": "unsandboxed", "allow_unsandboxed": True}
    env = lg.RollbackWrapper(gym.make("leafe/PythonREPL-v0", kind="inbox", goal=1, **extra))
    _, info = env.reset(seed=0)
    print(info["instruction"], "\n")
    for cell in PLAN:
        won = play(env, cell)
    print(f"\nwon: {won}. Looking back: the mistake is action 1; {TIP}.")

    env.rollback(to=1)
    print("back before action 1: the variable is there again, the file is not")
    for cell in (REVISED, PLAN[2]):
        won = play(env, cell)
    print(f"\nwon: {won}")
    print(env.backend_report)
    env.close()


def play(env: lg.RollbackWrapper, cell: str) -> bool:
    """Run a cell and show it."""
    number = env.steps
    observation, _, _, _, info = env.step(cell)
    print(f"[{number}] {cell}\n    {observation}")
    return bool(info["won"])


if __name__ == "__main__":
    main(*sys.argv[1:])
