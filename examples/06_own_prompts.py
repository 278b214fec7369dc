"""A prompt set of your own: other words, the same form, and a run that is distilled with it.

python examples/06_own_prompts.py [FOLDER]     the same command resumes
"""

import sys
import tempfile

import leafe_gym as lg
from leafe_gym import distill
from leafe_gym.prompts.chat import ChatPrompts


class GuidePrompts(ChatPrompts):
    """Shows the board under a heading; an experience is introduced as advice."""

    name = "guide"
    templates = {  # noqa: RUF012 - what is not named here stays as in `chat`
        "turn": "The board now:\n$observation",
        "experience": "\n\nAdvice from an earlier attempt: $text",
    }


def main(folder: str | None = None) -> None:
    """Explore with the set, then make rows with it."""
    folder = folder or tempfile.mkdtemp(prefix="leafe-run-")
    agent = lg.ReflectiveTreeAgent(lg.policy("scripted"), lg.AgentConfig(prompts=GuidePrompts))
    tasks = lg.tasks("leafe/Sokoban-v0", split="train", boxes=2, max_steps=40)[:8]
    lg.explore(agent, tasks, budget=lg.Budget(interactions=200), out=f"{folder}/run").close()
    lg.register("prompts", "guide", GuidePrompts)  # a main program cannot be imported: name it
    rows = list(distill.rows(f"{folder}/run"))
    print(f"{len(rows)} rows; the last turn of the first:\n{rows[0].prompt[-1]['content']}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
