"""The prompt set `program`: a program is revised without the failed ones before it in sight."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import pytest

import leafe_gym as lg
from leafe_gym.errors import BadReply
from leafe_gym.prompts.base import prompt_set
from leafe_gym.prompts.fitting import extends
from leafe_gym.types import Completion, Experience, Message, PromptFit, Sampling, Start, Step, Task

TASK, START = Task(id="t", env_id="e"), Start(observation="Begin.", instruction="Add numbers.")
PROGRAM = prompt_set("program")


def turn(number: int, over: bool = False) -> Step:
    return Step(
        action=f"program{number}",
        reply=f"```python\nprogram{number}\n```",
        observation=f"result{number}",
        terminated=over,
        info={"feedback": f"feedback{number}"},
    )


def unusable(text: str) -> Step:
    return Step(action=None, reply=text, observation="Your reply could not be used.")


HISTORY = [turn(0), unusable("no code"), turn(1), turn(2), turn(3, over=True)]


def text(messages: Sequence[Message]) -> str:
    return "\n".join(one["content"] for one in messages)


@pytest.mark.parametrize("tau", [1, 2, 3])
def test_a_program_is_revised_from_the_last_result_and_the_experience(tau: int) -> None:
    before = HISTORY[: tau if tau == 1 else tau + 1]
    asked = text(PROGRAM.render(TASK, START, before, [Experience(step=tau, text="Use a loop.")]))
    assert "program0" not in asked
    assert "no code" not in asked
    assert f"program{tau - 1}" not in asked
    assert f"result{tau - 1}" in asked
    assert asked.index("Add numbers.") < asked.index(f"result{tau - 1}")
    assert asked.endswith("Use a loop.")
    assert "feedback" not in asked


def test_without_an_experience_every_program_is_shown() -> None:
    code = prompt_set("code")
    for count in range(len(HISTORY) + 1):
        assert PROGRAM.render(TASK, START, HISTORY[:count]) == code.render(
            TASK, START, HISTORY[:count]
        )


def test_an_experience_at_the_start_hides_nothing() -> None:
    shown = text(PROGRAM.render(TASK, START, HISTORY[:3], [Experience(step=0, text="Use a loop.")]))
    assert "program0" in shown
    assert "program1" in shown


@pytest.mark.parametrize("tau", [0, 1, 2])
def test_later_turns_continue_the_prompt_of_the_revised_one(tau: int) -> None:
    experience = [Experience(step=tau, text="Use a loop.")]
    path = [turn(number) for number in range(tau)]
    for number, new in enumerate([unusable("again none"), turn(7), turn(8)]):
        before = PROGRAM.render(TASK, START, path, experience)
        path.append(new)
        after = PROGRAM.render(TASK, START, path, experience)
        if number:  # an unusable reply moves the experience into the newest turn
            assert after == before + PROGRAM.render_step(new, tau + number)  # type: ignore[attr-defined]
        assert new.reply in text(after)
        assert text(after).count("Use a loop.") == 1


def test_a_cut_counts_the_turns_that_are_left_out() -> None:
    path = [turn(0), turn(1), turn(2), turn(3)]
    asked = PROGRAM.render(
        TASK, START, path, [Experience(step=2, text="e")], fit=PromptFit(shortened=3, dropped=3)
    )  # type: ignore[call-arg]
    assert "program2" not in text(asked)
    assert "The first turn is not shown" in text(asked)
    assert "program3" in text(asked)


@pytest.mark.parametrize("actions", [1, 2, 4])
def test_after_a_failure_the_last_program_is_the_one_to_replace(actions: int) -> None:
    schema = PROGRAM.reflection_schema(actions, True)
    assert isinstance(schema, dict)
    assert schema["required"] == ["reason", "experience"]
    path = [turn(number, number == actions - 1) for number in range(actions)]
    assert '"step"' not in text(PROGRAM.render_reflection(TASK, START, path))
    reply = Completion(text='{"reason": "r", "experience": "Use a loop."}')
    assert PROGRAM.parse_reflection(reply, actions).step == actions - 1


def test_before_a_failure_a_step_is_named() -> None:
    assert '"step"' in text(PROGRAM.render_reflection(TASK, START, HISTORY[:3]))
    reply = Completion(text='{"reason": "r", "step": 1, "experience": "Use a loop."}')
    assert PROGRAM.parse_reflection(reply, 3).step == 1
    with pytest.raises(BadReply, match="was not taken"):
        PROGRAM.parse_reflection(Completion(text=reply.text.replace("1", "3")), 3)
    none = Completion(text='{"reason": "no mistake", "step": null, "experience": ""}')
    assert PROGRAM.parse_reflection(none, 3).step is None


async def copying(messages: Sequence[Message], sampling: Sampling) -> str:
    """Repeats a program that it sees, and follows advice only where it sees none."""
    if sampling.purpose == "reflect":
        step = '"step": 2, ' if '"step"' in messages[-1]["content"] else ""
        return f'{{"reason": "it adds", {step}"experience": "Divide by the number of items."}}'
    for one in reversed(messages):
        if one["role"] == "assistant":
            return one["content"]
    divided = " / len(numbers)" if "Divide by" in messages[-1]["content"] else ""
    return f"```python\ndef mean(numbers):\n    return sum(numbers){divided}\n```"


@pytest.mark.parametrize(("prompts", "wins"), [("program", 1), ("code", 0), (None, 1)])
def test_a_model_that_repeats_what_it_sees_is_helped_by_a_rollback(
    prompts: str | None, wins: int
) -> None:
    env = lg.RollbackWrapper(gym.make("leafe/MBPP-v0", problem="6"))
    agent = lg.ReflectiveTreeAgent(
        lg.policy(copying), lg.AgentConfig(prompts=prompts, attempts_per_root=3, max_attempts=3)
    )
    tree = agent.run(env, budget=lg.Budget(interactions=24), seed=0)
    assert [branch.ending for branch in tree.branches][:1] == ["failed"]
    assert sum(branch.won for branch in tree.branches) == wins
    if wins:
        revised = tree.branches[1]
        assert (revised.start, len(revised.steps)) == (3, 1)
        assert tree.spent.interactions == 11  # four programs, one reflection, one program


FRESH = prompt_set("fresh")


@pytest.mark.parametrize("count", range(len(HISTORY)))
def test_fresh_prompts_show_no_program(count: int) -> None:
    for experiences in ([], [Experience(step=0, text="Use a loop.")]):
        messages = FRESH.render(TASK, START, HISTORY[:count], experiences)
        asked = text(messages)
        assert "```python\nprogram" not in asked
        assert "no code" not in asked
        assert "Add numbers." in asked
        assert ("Use a loop." in asked) == bool(experiences)
        assert [one["role"] for one in messages][-1] == "user"
    acted = [step for step in HISTORY[:count] if step.action is not None]
    shown = [f"result{number}" for number in range(4) if f"result{number}" in asked]
    assert shown == ([f"result{len(acted) - 1}"] if acted else [])


def test_fresh_prompts_place_experiences_of_any_step_and_are_rendered_anew() -> None:
    late = FRESH.render(TASK, START, HISTORY[:4], [Experience(step=2, text="Use a loop.")])
    early = FRESH.render(TASK, START, HISTORY[:4], [Experience(step=0, text="Use a loop.")])
    assert late == early
    assert not extends(FRESH)
    assert extends(PROGRAM)


def test_fresh_reflections_show_the_programs() -> None:
    assert "program3" in text(FRESH.render_reflection(TASK, START, HISTORY, ()))
    assert FRESH.name != PROGRAM.name  # name and hash identify a set together
