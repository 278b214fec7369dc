"""Rows whose action states what its prompt does not hold."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from row_toys import CHAT, last, rows_of, step, toy_run

from leafe_gym import distill
from leafe_gym.distill.data.hidden import own_words
from leafe_gym.errors import UsageError
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Experience, Start, Task

PROGRAM = "def solve(n, a):\n    total = sum(a)\n    if n > total or not a:\n        return None"


def lock_tree(number: int, code: str, guess: str, *, fix: str, advice: str) -> Tree:
    """A guess that fails and shows the code; a branch that acts on the advice and wins."""
    task = Task(id=f"lock:{number}", env_id="toy/Lock-v0", split="train", seed=number)
    start = Start(observation=f"Box {number}. A note lies here.", instruction="Open the box.")
    tree = Tree(task=task, start=start)
    wrong = last(f"enter {guess}", False, observation=f"Wrong. It was {code}.")
    tree.add(Branch(id=0, steps=(wrong,)))
    steps = [step(fix, shown=[1], observation="Done.")]
    if fix == "read the note":
        steps = [step(fix, shown=[1], observation=f"The note says {code}.")]
        steps.append(last(f"enter {code}", True, shown=[1]))
    else:
        steps = [last(fix, True, shown=[1])]
    tree.add(
        Branch(
            id=1, parent=0, experience=Experience(step=0, text=advice), steps=tuple(steps),
            ending="won",
        )
    )  # fmt: skip
    return tree


def told(number: int, code: str = "4711", guess: str = "0815") -> Tree:
    return lock_tree(
        number, code, guess, fix=f"enter {code}", advice=f"The code is {code}, so enter that."
    )


def shown_how(number: int, code: str = "3209", guess: str = "1234") -> Tree:
    return lock_tree(
        number, code, guess, fix="read the note", advice="Do not guess: first read the note."
    )


def made(folder: Path, trees: list[Tree], **options: Any) -> distill.Rows:
    return rows_of(toy_run(folder, trees), **{"rehearsal": 1.0, "per_task": None} | options)


def targets(rows: distill.Rows) -> list[tuple[str, str, float]]:
    return [(row.kind[0], row.target, row.weight) for row in rows]


def test_codes_are_dropped_and_advice_stays(tmp_path: Path) -> None:
    rows = made(tmp_path, [told(0), shown_how(1)])
    assert targets(rows) == [
        ("c", "Action: read the note", 1.0),
        ("r", "Action: read the note", 1.0),
        ("r", "Action: enter 3209", 1.0),  # after the note was read
    ]
    counts = rows.counts
    assert counts["hidden knowledge: counterfactual left out"] == 1
    assert counts["hidden knowledge: rehearsal left out"] == 1


def test_weighed_down_or_kept_and_counted_all_the_same(tmp_path: Path) -> None:
    weighed = made(tmp_path / "a", [told(0)], hidden="weigh", rehearsal=0.0)
    assert targets(weighed) == [("c", "Action: enter 4711", 0.1)]
    assert weighed.counts["hidden knowledge: counterfactual weighed down"] == 1
    kept = made(tmp_path / "b", [told(0)], hidden="keep", rehearsal=0.0)
    assert targets(kept) == [("c", "Action: enter 4711", 1.0)]
    assert kept.counts["hidden knowledge: counterfactual kept"] == 1


def test_nothing_is_left_of_a_run_of_codes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="hidden knowledge"):
        list(made(tmp_path, [told(0)]))


@pytest.mark.parametrize(
    ("action", "advice", "found"),
    [
        ("say Mirabel", "The password is Mirabel.", True),
        ("read the note", "Read the note.", False),  # as in other tasks
        ("dial 3 1 4", "Dial 3-1-4 on the lock.", True),
        ("press B7", "Panel b7 opens it", True),
        ("open the box", "You should open the box at once.", False),
        ("guess 0815", "0815 was nearly right.", False),  # said before by the policy itself
        ("say Ophelia", "Speak up.", False),  # not from the experience
        (f"{PROGRAM}\n    return nlargest(n, a)", "Use nlargest.", False),  # advice, not a secret
        (f"{PROGRAM}\n    return 8128", "The expected output was 8128.", True),
    ],
)
def test_what_counts(tmp_path: Path, action: str, advice: str, found: bool) -> None:
    trees = [lock_tree(0, "x", "0815", fix=action, advice=advice)]
    trees += [shown_how(n, code=f"{n}777") for n in range(1, 20)]
    rows = made(tmp_path, trees, hidden="keep", rehearsal=0.0, keep="all")
    assert ("hidden knowledge: counterfactual kept" in rows.counts) is found


def test_few_tasks_have_no_vocabulary(tmp_path: Path) -> None:
    """A word alone says nothing there; a number does."""
    walk = lock_tree(0, "x", "1", fix="go north", advice="Instead go north here.")
    assert [row.target for row in made(tmp_path, [walk, told(1)], rehearsal=0.0)] == [
        "Action: go north"
    ]


def test_guesses_in_other_tasks_do_not_excuse_a_code(tmp_path: Path) -> None:
    trees = [told(0), told(1, code="8888", guess="4711")]
    assert "4711" in own_words(trees[1])
    trees += [shown_how(n, code=f"{n}555") for n in range(2, 24)]
    rows = made(tmp_path, trees, rehearsal=0.0)
    assert {row.target for row in rows} == {"Action: read the note"}, "2 of 24 tasks"


def test_what_was_read_is_not_said_by_oneself() -> None:
    tree = shown_how(0)
    tree.branches[0] = Branch(
        id=0,
        steps=(step("read the note", observation="It says 3209."), last("enter 3209", False)),
    )
    assert "3209" not in own_words(tree)
    assert {"enter"} <= own_words(tree)


def test_likelihoods_decide_where_there_are_any(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def score(chance: float) -> Any:
        def f(chat: Any, reply: str) -> float:
            asked.append((chat[-1]["content"], reply))
            return math.log(0.9 if "The code is" in chat[-1]["content"] else chance)

        return f

    run = toy_run(tmp_path, [told(0), shown_how(1)])

    def weights(chance: float, **options: Any) -> dict[str, float]:
        config = distill.RowConfig(rehearsal=0.0, per_task=None, **options)
        found = distill.rows(run, config, prompts=CHAT, score=score(chance))
        return {row.target: row.weight for row in found}

    assert "Action: enter 4711" not in weights(1e-4)
    assert weights(0.2)["Action: enter 4711"] == 1, "reached by the policy itself"
    assert weights(1e-4, hidden="weigh")["Action: enter 4711"] == pytest.approx(1e-4 / 0.9)
    assert {reply for _, reply in asked} == {"Action: enter 4711"}, "asked for candidates only"


@pytest.mark.parametrize(
    ("without", "told_", "weight"),
    [
        (-math.inf, -math.inf, 0.1),
        (math.nan, -1.0, 0.1),
        (-1.0, math.nan, 0.1),
        (-math.inf, -1.0, 1e-6),
        (-1e4, -1.0, 1e-6),
    ],
)
def test_likelihoods_that_say_nothing_do_not_excuse_a_row(
    tmp_path: Path, without: float, told_: float, weight: float
) -> None:
    run = toy_run(tmp_path, [told(0), shown_how(1)])

    def score(chat: Any, reply: str) -> float:
        return told_ if "The code is" in chat[-1]["content"] else without

    def found(hidden: Any) -> dict[str, float]:
        config = distill.RowConfig(rehearsal=0.0, per_task=None, hidden=hidden)
        return {r.target: r.weight for r in distill.rows(run, config, prompts=CHAT, score=score)}

    assert "Action: enter 4711" not in found("drop")
    assert found("weigh")["Action: enter 4711"] == weight


def test_likelihood_of_a_reply(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    import torch
    from distill_toys import toy_model

    from leafe_gym.distill.data.byte_tokenizer import byte_tokenizer
    from leafe_gym.distill.training.likelihood import ReplyLikelihood

    tokenizer = byte_tokenizer()
    model = toy_model(0)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(str(tmp_path))
    chat: Any = [{"role": "user", "content": "a"}]
    found = ReplyLikelihood(tmp_path)(chat, "up")
    head = tokenizer("<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
    whole = torch.tensor([head + tokenizer("up<|im_end|>\n")["input_ids"]])
    logs = model(input_ids=whole).logits[0].log_softmax(-1)
    wanted = sum(logs[at - 1, whole[0, at]].item() for at in range(len(head), whole.shape[1]))
    assert found == pytest.approx(wanted, rel=1e-4)
