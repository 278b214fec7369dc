"""Rows for `objective="kl"`: the teacher's prompt, the gain, and both in every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from row_toys import CHAT, last, needs, rows_of, step, toy_run, toy_task, toy_tree

from leafe_gym import distill
from leafe_gym.distill.data.select import gain
from leafe_gym.errors import NoRows
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Experience, Start

E1 = "Turn the rusty key twice, then pull hard."


def test_teacher_reads_what_the_policy_read(tmp_path: Path) -> None:
    tree = toy_tree()
    run = toy_run(tmp_path, [tree])
    found = list(rows_of(run, keep="improved", teacher=True, rehearsal=1.0))
    cf = [row for row in found if row.kind == "counterfactual"]
    assert [(row.branch, row.gain) for row in cf] == [(1, 1.0)]
    experience = tree.branches[1].experience
    assert experience is not None
    told = CHAT.render(tree.task, tree.start, tree.history(0, before=1), (experience,))
    assert list(cf[0].teacher) == told
    assert E1 in cf[0].teacher[-1]["content"]
    assert cf[0].teacher[:-1] == cf[0].prompt[:-1]
    assert not any(E1 in turn["content"] for row in found for turn in row.prompt)
    assert not any(row.teacher for row in found if row.kind == "rehearsal")
    assert not any(row.teacher for row in rows_of(run, keep="all"))
    assert distill.RowConfig.verified() == distill.RowConfig(keep="improved", teacher=True)


def branched(parent: dict[str, Any], child: dict[str, Any]) -> Tree:
    tree = Tree(task=toy_task(), start=Start(observation="o", instruction="i"))
    tree.add(Branch(id=0, **parent))
    tree.add(Branch(id=1, parent=0, experience=Experience(step=0, text="Go."), **child))
    return tree


LOST: dict[str, Any] = {"steps": (last("a", False),)}
WON: dict[str, Any] = {"steps": (last("b", True),), "ending": "won"}


def scored(score: float, reward: float = 0.0) -> dict[str, Any]:
    return {"steps": (step("x", info={"score": score}, reward=reward),)}


@pytest.mark.parametrize(
    ("parent", "child", "wanted"),
    [
        (LOST, WON, 1.0),
        (WON, LOST, 0.0),
        (WON, WON, 0.0),
        (LOST, LOST, 0.0),
        (scored(10), scored(40), 30.0),
        (scored(40), scored(10), 0.0),
        (scored(5, reward=9), scored(6, reward=1), 1.0),
        (LOST, {"steps": (step("x", reward=0.25),)}, 0.25),
        (scored(40), {**scored(10), "ending": "won"}, 1.0),
    ],
)
def test_gain(parent: dict[str, Any], child: dict[str, Any], wanted: float) -> None:
    tree = branched(parent, child)
    assert gain(tree, tree.branches[1]) == wanted


def stepped(rewards: list[float], ending: str = "failed") -> dict[str, Any]:
    """An attempt with a reward at each step, and no score."""
    return {"steps": tuple(step("x", reward=one) for one in rewards), "ending": ending}


@pytest.mark.parametrize(
    ("parent", "child", "wanted"),
    [
        # A penalty for each step: who is cut off early loses least.
        (stepped([-0.1] * 9), stepped([-0.1] * 2, "unparsable"), 0.0),
        (stepped([-0.1] * 9), stepped([-0.1] * 2, "budget"), 0.0),
        (stepped([-0.1] * 9), stepped([-0.1] * 2, "context"), 0.0),
        (stepped([-0.1] * 9), stepped([-0.1] * 2, "policy_error"), 0.0),
        (stepped([-0.1] * 9), stepped([-0.1] * 2), 0.7),
        (stepped([0.1], "budget"), stepped([0.1] * 3), 0.0),
        (stepped([0.1], "env_error"), stepped([0.1] * 3), 0.0),
        (stepped([0.1], "budget"), stepped([0.1] * 3, "won"), 0.2),
        # A score says how far it is, also where it was cut off.
        (scored(10), {**scored(40), "ending": "budget"}, 30.0),
        (scored(10), {**scored(40), "ending": "unparsable"}, 30.0),
        (scored(10), {**scored(40), "ending": "backend_error"}, 0.0),
        (
            {"steps": (*scored(50)["steps"], *scored(10)["steps"])},
            {**scored(40), "ending": "budget"},
            0.0,
        ),
        ({"steps": (*scored(50)["steps"], *scored(10)["steps"])}, scored(40), 30.0),
    ],
)
def test_an_attempt_that_was_cut_off_has_no_final_result(
    parent: dict[str, Any], child: dict[str, Any], wanted: float
) -> None:
    tree = branched(parent, child)
    assert gain(tree, tree.branches[1]) == pytest.approx(wanted)


@needs("datasets", "transformers")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("form", ["trl", "jsonl", "shards"])
def test_every_format_keeps_the_teacher(tmp_path: Path, form: str) -> None:
    from leafe_gym.distill.data.byte_tokenizer import byte_tokenizer
    from leafe_gym.distill.training.encoded_rows import open_rows

    tokenizer = byte_tokenizer()
    model = tmp_path / "model"
    tokenizer.save_pretrained(str(model))
    rows = rows_of(toy_run(tmp_path / "run", [toy_tree()]), teacher=True, rehearsal=1.0)
    wanted = [distill.encode(row, tokenizer) for row in rows]
    data = tmp_path / "data"
    if form == "trl":
        rows.to_trl().save_to_disk(str(data))
    elif form == "jsonl":
        data.mkdir()
        rows.to_jsonl(data / "rows.jsonl")
    else:
        rows.to_shards(data, tokenizer)
    found, _ = open_rows(data, model)
    assert list(found) == wanted
    one = wanted[0]
    assert one is not None
    assert E1 in tokenizer.decode(list(one.teacher))
    assert one.taught[len(one.teacher) :] == one.ids[one.target_start :]
    assert tokenizer.decode(list(one.teacher)).endswith("<|im_start|>assistant\n")


@needs("transformers", "accelerate")
@pytest.mark.parametrize(
    ("keep", "improved", "plain"), [("all", 1, 3), ("successful", 1, 2), ("improved", 1, 1)]
)
def test_mixed_rows_leave_out_what_the_objective_refuses(
    tmp_path: Path, keep: Any, improved: int, plain: int
) -> None:
    """Branch 5 won where its parent had won, branch 3 lost."""
    from leafe_gym.distill.data.byte_tokenizer import byte_tokenizer
    from leafe_gym.distill.training.mixed_rows import mixed_rows

    byte_tokenizer().save_pretrained(str(tmp_path / "model"))
    run, model = toy_run(tmp_path / "run", [toy_tree()]), str(tmp_path / "model")
    config = distill.RowConfig(keep=keep, teacher=True, per_task=None, rehearsal=0.0)
    assert len(mixed_rows([run], config, model)) == plain
    found = mixed_rows([run], config, model, only_improved=True)
    assert len(found) == improved
    assert all(row.gain > 0 for row in found)
    assert found.manifest["runs"][0]["new_rows"] == improved
    if keep == "improved":
        lost = Tree(task=toy_task(1), start=Start(observation="o", instruction="i"))
        lost.add(Branch(id=0, **LOST))
        lost.add(Branch(id=1, parent=0, experience=Experience(step=0, text="Go."), **scored(0)))
        other = toy_run(tmp_path / "other", [lost])
        with pytest.raises(NoRows, match="no branch did better than its parent"):
            mixed_rows([other], config.replace(keep="all"), model, only_improved=True)


def test_rows_longer_with_their_teacher_are_left_out(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from leafe_gym.distill.data.byte_tokenizer import byte_tokenizer
    from leafe_gym.distill.data.tokens import Encoder

    rows = rows_of(toy_run(tmp_path / "run", [toy_tree()]), teacher=True, rehearsal=0.0)
    row = next(iter(rows))
    one = Encoder(byte_tokenizer()).encode(row)
    assert one is not None
    assert len(one.taught) > len(one.ids)
    encoder = Encoder(byte_tokenizer(), max_length=len(one.ids))
    assert encoder.encode(row) is None
    assert (encoder.too_long, encoder.longest) == (1, len(one.taught))
