"""What of a reply a row trains, and how thinking and template arguments travel."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from row_toys import last, needs, rows_of, toy_run, toy_tree
from template_tokenizers import NAMES, tokenizer_for

from leafe_gym import distill
from leafe_gym.distill.data.tokens import Encoder
from leafe_gym.errors import UsageError
from leafe_gym.tree import Tree

THOUGHT = "A door: d opens it."
INLINE = f"<think>\n{THOUGHT}\n</think>\n\nSo:\nAction: d"
APART = "So:\nAction: d"
OFF = {"enable_thinking": False}


def thinking_tree(reply: str, reasoning: str = "") -> Tree:
    """The toy tree; the last step of branch 1 has another reply."""
    tree = toy_tree()
    steps = (tree.branches[1].steps[0], last("d", True, reply=reply, reasoning=reasoning))
    tree.branches[1] = replace(tree.branches[1], steps=steps)
    return tree


def run_of(folder: Path, tree: Tree, **arguments: Any) -> Path:
    agent = {"chat_template_kwargs": arguments} if arguments else {}
    return toy_run(folder, [tree], agent=agent)


def the_row(folder: Path, target: str) -> distill.Row:
    rows = rows_of(folder, keep="all", rehearsal=1.0, target=target)
    return next(row for row in rows if (row.kind, row.branch, row.step) == ("rehearsal", 1, 1))


@pytest.mark.parametrize(
    ("reply", "reasoning", "target", "text", "thought"),
    [
        (APART, THOUGHT, "reply", APART, ""),
        (APART, THOUGHT, "answer", APART, ""),
        (APART, THOUGHT, "action", "Action: d", ""),
        (APART, THOUGHT, "reasoning+answer", APART, THOUGHT),
        (INLINE, "", "reply", INLINE, ""),
        (INLINE, "", "answer", APART, ""),
        (INLINE, "", "action", "Action: d", ""),
        (INLINE, "", "reasoning+answer", INLINE, ""),
        (APART, "", "reply", APART, ""),
        (APART, "", "answer", APART, ""),
        (APART, "", "reasoning+answer", APART, ""),
    ],
)
def test_the_parts_of_a_reply(
    tmp_path: Path, reply: str, reasoning: str, target: str, text: str, thought: str
) -> None:
    row = the_row(run_of(tmp_path / "run", thinking_tree(reply, reasoning)), target)
    assert (row.target, row.reasoning) == (text, thought)


def test_other_targets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="target='thinking': input should be 'reply', 'answer'"):
        distill.RowConfig(target="thinking")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("thought", "leaks"),
    [
        ("I turn the rusty key twice, then pull hard.", True),
        ("As the advice says, d.", True),
        ("The door has no lock.", False),
    ],
)
def test_thinking_is_searched_for_leaks_where_it_is_learned(
    tmp_path: Path, thought: str, leaks: bool
) -> None:
    folder = run_of(tmp_path / "run", thinking_tree(APART, thought))
    for target, counted in (("reasoning+answer", leaks), ("reply", False)):
        rows = rows_of(folder, keep="all", rehearsal=1.0, target=target)
        found = [row for row in rows if (row.branch, row.step) == (1, 1)]
        assert len(found) == (0 if counted else 1)
        assert any("in target" in name for name in rows.counts) is counted


@pytest.mark.skipif(not NAMES, reason="trl absent: pip install 'leafe-gym[train]'")
@pytest.mark.parametrize("arguments", [{}, OFF, {"x": [1, None], "enable_thinking": True}])
def test_template_arguments_go_from_the_run_to_rows_files_and_results(
    tmp_path: Path, arguments: dict[str, Any]
) -> None:
    folder = run_of(tmp_path / "run", thinking_tree(APART, THOUGHT), **arguments)
    rows = rows_of(folder, keep="all", rehearsal=1.0)
    assert rows.chat_template_kwargs == rows.manifest()["chat_template_kwargs"] == arguments
    assert all(row.chat_template_kwargs == arguments for row in rows)
    tok = tokenizer_for("qwen3")
    encoder = Encoder(tok)
    encoded = [encoder.encode(row) for row in rows]
    for row in encoded:
        assert row is not None
        whole = tok.decode(row.ids[: row.target_start])
        assert whole.endswith("assistant\n<think>\n\n</think>\n\n")
    made = rows.to_shards(tmp_path / "shards", tok)
    assert made["source"]["chat_template_kwargs"] == arguments
    assert list(distill.ShardSet(tmp_path / "shards")) == encoded
    assert rows.longest(tok) == made["longest"] == max(len(row.ids) for row in encoded if row)
    rows.to_jsonl(tmp_path / "jsonl" / "rows.jsonl")
    first = json.loads((tmp_path / "jsonl" / "rows.jsonl").read_text("utf-8").splitlines()[0])
    assert first.get("chat_template_kwargs", {}) == arguments


@needs("torch", "transformers", "datasets", "trl")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("form", ["trl", "jsonl", "shards", "rows"])
def test_a_result_names_the_arguments_to_evaluate_with(tmp_path: Path, form: str) -> None:
    from distill_toys import toy_config as model_config
    from distill_toys import train

    tok = tokenizer_for("qwen3")
    tok.save_pretrained(tmp_path / "config")
    model_config(vocab_size=400).save_pretrained(tmp_path / "config")
    folder = run_of(tmp_path / "run", thinking_tree(APART, THOUGHT), **OFF)
    rows = rows_of(folder, keep="all", rehearsal=1.0)
    data: Any = tmp_path / form
    if form == "rows":
        data = rows
    elif form == "shards":
        rows.to_shards(data, tok)
    elif form == "jsonl":
        rows.to_jsonl(data / "rows.jsonl")
    else:
        rows.to_trl().save_to_disk(str(data))
    fields: dict[str, Any] = {"lr": 1e-3, "batch": 8, "epochs": 1}
    one = train(data, tmp_path / "config", tmp_path / "one", **fields)
    again = train(data, tmp_path / "config", tmp_path / "one", **fields)
    for result in (one, again):
        assert result.chat_template_kwargs["enable_thinking"] is False


@needs("datasets", "trl")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "name",
    ["qwen3", "qwen3_5_think", "qwen3_8", "nemotron_3_nano", "lfm2_2_5", "gptoss", "muse_glimmer"],
)
def test_trl_renders_thinking_as_the_rows_have_it(tmp_path: Path, name: str) -> None:
    """TRL's rendering: prompt and completion through the template with the row's arguments."""
    tree = thinking_tree(APART, THOUGHT)
    tok = tokenizer_for(name)
    rows = rows_of(
        run_of(tmp_path / "run", tree, date_string="1 May 2030"),
        keep="all", rehearsal=1.0, target="reasoning+answer",
    )  # fmt: skip
    encoder = Encoder(tok)
    seen = 0
    for line, row in zip(rows.to_trl(), rows, strict=True):
        if not row.reasoning:
            continue  # other rows have an empty string, of which templates make what they like
        seen += 1
        ours = encoder.encode(row)
        assert ours is not None
        theirs = tok.apply_chat_template(
            line["prompt"] + line["completion"], tokenize=False, **line["chat_template_kwargs"]
        )
        told = tok.decode(ours.ids)
        if name == "gptoss":  # its template reads the clock, which TRL leaves to it
            theirs, told = theirs[-200:], told[-200:]
        assert theirs == told
    assert seen == 1


@needs("datasets")
@pytest.mark.filterwarnings("default")
def test_preference_pairs_are_of_branches_that_improved(tmp_path: Path) -> None:
    rows = rows_of(toy_run(tmp_path / "run", [losing_tree()]), keep="all", per_task=None)
    assert [(row.branch, row.improved) for row in rows if row.kind == "counterfactual"] == [
        (1, True), (2, False), (3, True), (4, False),
    ]  # fmt: skip
    assert [line["branch"] for line in rows.to_preference()] == [1, 3]
    assert [line["branch"] for line in rows.to_preference(every_branch=True)] == [1, 2, 3, 4]
    lost = losing_tree()
    lost.branches[1:] = [replace(lost.branches[2], id=1)]
    none = rows_of(toy_run(tmp_path / "lost", [lost]), keep="all")
    with pytest.raises(UsageError, match="every_branch=True"):
        none.to_preference()


def losing_tree() -> Tree:
    """A lost root; branches that won, lost, lost with a higher score, lost with a lower one."""
    tree = toy_tree()
    root = replace(tree.branches[0], steps=(last("a", False, reply="Action: a"),))
    scores: list[tuple[bool, float | None]] = [(True, 1), (False, 0), (False, 0.5), (False, -1)]
    tree.branches[:] = [root]
    for number, (won, score) in enumerate(scores, 1):
        step = replace(last(f"x{number}", won), info={"won": won, "score": score})
        branch = toy_tree().branches[1]
        experience = replace(branch.experience, step=0) if branch.experience else None
        tree.add(
            replace(
                branch, id=number, start=0, steps=(step,), experience=experience,
                ending="won" if won else "failed",
            )
        )  # fmt: skip
    lost = replace(tree.branches[0].steps[0], info={"won": False, "score": 0})
    tree.branches[0] = replace(tree.branches[0], steps=(lost,))
    return tree
