"""The pages of docs/: code runs, figures are those of the result files, links lead somewhere."""

from __future__ import annotations

import doctest
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import gymnasium as gym
import pytest
from doc_pages import code_blocks, load_script, run_block

import leafe_gym as lg
from leafe_gym import errors
from leafe_gym.budget import UNITS
from leafe_gym.registry import REGISTRIES
from leafe_gym.types import Ending

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if "design" not in path.parts]


def name_of(page: Path) -> str:
    return page.relative_to(DOCS).with_suffix("").as_posix()


ELSEWHERE = {"start/chain", "code", "sandbox"} | {
    f"environments/{name}"
    for name in (
        "alfworld",
        "jericho",
        "reasoning-gym",
        "scienceworld",
        "textworld",
        "textworld-express",
        "webshop",
    )
}
"""Pages whose code takes long or needs extras: test_readme.py, test_docs_environments.py."""
RUN_HERE = [
    name for page in PAGES if code_blocks(page) and (name := name_of(page)) not in ELSEWHERE
]
EXPECTED = {
    "ConfigMismatch": ["budget.interactions=30, now it is 40", "agent.policy="],
    "PolicyUnavailable": ["connection refused: start the server\n3 tasks finished"],
    "check_rollback": ["right"],
}
"""Word in a block -> what it must print."""


@pytest.fixture
def _unregistered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a page registers is gone afterwards."""
    for registry in REGISTRIES.values():
        monkeypatch.setattr(registry, "_own", dict(registry._own))
    known = set(gym.registry)
    yield
    for added in set(gym.registry) - known:
        del gym.registry[added]


@pytest.mark.usefixtures("_unregistered")
@pytest.mark.parametrize("page", RUN_HERE)
def test_the_code_runs(
    page: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "docs"}
    for number, code in enumerate(code_blocks(DOCS / f"{page}.md")):
        run_block(code, names, f"{page} {number}")
        shown = capsys.readouterr().out.strip()
        assert shown or "print" not in code, code
        for word, parts in EXPECTED.items():
            assert word not in code or all(part in shown for part in parts), shown


def test_most_pages_with_code_run_here() -> None:
    assert {"agents", "policies", "runs", "concepts/evaluation", "howto/backend"} <= set(RUN_HERE)
    assert len(RUN_HERE) >= 12
    assert {name_of(page) for page in PAGES} >= ELSEWHERE


def test_the_page_on_agents_names_every_field_ending_unit_and_method() -> None:
    text = (DOCS / "agents.md").read_text("utf-8")
    rows = {
        name
        for line in text.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([\w-]+)`", line.split("|")[1])
    }
    assert set(lg.AgentConfig.model_fields) <= rows
    assert set(get_args(Ending)) <= rows
    assert set(UNITS) <= rows
    assert {"is", "ir", "tree", "best-first"} <= rows


MOST_USED = [
    "RollbackWrapper", "Snapshot", "check_rollback", "Task", "tasks", "make_env", "policy",
    "Completion", "ReflectiveTreeAgent", "AgentConfig", "Budget", "Tree", "explore", "RunReader",
    "evaluate", "distill.rows", "distill.RowConfig", "distill.TrainConfig",
]  # fmt: skip


@pytest.mark.parametrize("name", MOST_USED)
def test_the_most_used_names_have_an_example_and_say_what_they_raise(name: str) -> None:
    from leafe_gym import distill  # noqa: F401  (makes lg.distill known)

    value: Any = lg
    for part in name.split("."):
        value = getattr(value, part)
    text = inspect.getdoc(value) or ""
    assert doctest.DocTestParser().get_examples(text), "runs with --doctest-modules"
    records = {"Snapshot", "Tree", "ReflectiveTreeAgent"}  # the latter's errors are those of Agent
    assert name in records or "Raises:" in text


def error_names() -> set[str]:
    return {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.LeafeError)
    }


def test_the_tree_of_errors_shows_every_class_below_its_base() -> None:
    shown, path = {}, [""] * 9
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([|` -]*)([A-Z]\w+)", line):
            depth = len(found[1]) // 4
            path[depth] = found[2]
            shown[found[2]] = path[depth - 1] if depth else "Exception"
    classes = [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, errors.LeafeError)
    ]
    assert shown == {one.__name__: one.__base__.__name__ for one in classes}


def test_the_faq_says_of_every_error_what_to_do() -> None:
    text = (DOCS / "faq.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| .+ \| (.*) \|$", text, re.MULTILINE))
    assert set(rows) == error_names()
    assert all(len(advice.split()) > 2 for advice in rows.values())
    assert len(rows) > 20


def test_the_glossary_is_sorted_and_has_each_word_once() -> None:
    text = (DOCS / "glossary.md").read_text("utf-8")
    words = re.findall(r"^\| ([a-zA-Z@-][^|]*?) \|", text, re.MULTILINE)[1:]
    assert [word.lower() for word in words] == sorted({word.lower() for word in words})
    assert {"experience", "tau", "rollback", "interaction", "counterfactual row"} <= set(words)


figures = load_script(DOCS / "_site" / "figures.py")


def shown_figures() -> list[tuple[str, str, str, str]]:
    """(page, figure as written, result file, key) of every figure that names its source."""
    return [
        (page.name, written, file, key)
        for page in figures.pages()
        for written, _, file, key in figures.FIGURE.findall(page.read_text("utf-8"))
    ]


@pytest.mark.parametrize(("page", "written", "file", "key"), shown_figures())
def test_figures_are_those_of_the_result_files(
    page: str, written: str, file: str, key: str
) -> None:
    right = figures.shown(written, file, key)
    assert written == right, f"{page}, {key}: python docs/_site/figures.py"


def test_figures_with_a_source_were_found() -> None:
    assert len(shown_figures()) > 30
    assert "README.md" in {page for page, *_ in shown_figures()}


def test_the_table_of_orderings_has_the_verdicts_of_the_result_file() -> None:
    found = json.loads((figures.RESULTS / "reproduce.json").read_text("utf-8"))["orderings"]
    text = (DOCS / "results.md").read_text("utf-8")
    rows = re.findall(r"<!-- reproduce:orderings\.(\w+)\.high -->\] \| (\w+)(.*) \|", text)
    assert {name: verdict for name, verdict, _ in rows} == {
        name: one["verdict"] for name, one in found.items()
    }
    for name, _, more in rows:
        other_sign = found[name]["high"] < -found[name]["margin"]
        assert more == (", the other sign" if other_sign else ""), name


COMMENT = re.compile(r"<!-- (.*?) -->", re.DOTALL)
KNOWN_COMMENT = re.compile(
    r"not run by the tests: .+|(facts|transcript): leafe/\S+|\w+:[\w.-]+", re.DOTALL
)


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=str)
def test_every_comment_on_a_page_is_one_that_something_reads(path: Path) -> None:
    # A reader sees nothing where a figure's comment is misspelt.
    unknown = [
        c for c in COMMENT.findall(path.read_text("utf-8")) if not KNOWN_COMMENT.fullmatch(c)
    ]
    assert not unknown


@pytest.mark.parametrize("text", ["figure: fidelity cases", "fact: leafe/X-v0", "TODO", "a:b c"])
def test_other_comments_are_found(text: str) -> None:
    assert not KNOWN_COMMENT.fullmatch(text)


NOT_OUR_WORDS = re.compile(
    r"\b(tips?|hints?|look(s|ed|ing)? back|come back|way back|shelf|lanes?|twins?|luck)\b", re.I
)
"""Words of version 0.1 for experience, reflection, rollback, cache, thread, variant and chance."""


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=str)
def test_pages_use_the_words_of_the_glossary(path: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", path.read_text("utf-8"), flags=re.DOTALL)
    assert not NOT_OUR_WORDS.search(text)


@pytest.mark.parametrize("text", ["The tip is shown.", "It looks back.", "two\nlanes", "A Shelf"])
def test_such_words_are_found(text: str) -> None:
    assert NOT_OUR_WORDS.search(text)


LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#]*)(#[^)]*)?\)")
LINKING = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]


@pytest.mark.parametrize("path", LINKING, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    for file, anchor in LINK.findall(text):
        target = (path.parent / file) if file else path
        if target == DOCS / "reference" / "cli.md":
            continue  # generated
        assert target.exists(), file
        if anchor and target.suffix == ".md" and target.parent.name != "reference":
            headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings}
            assert anchor[1:] in slugs, f"{path.name}: {file}{anchor}"
