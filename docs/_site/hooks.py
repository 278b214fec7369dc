"""Generated parts of the documentation site: command line, facts of environments, coverage.

MkDocs calls `on_files` and `on_page_markdown`; a `PluginError` ends the build.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import typer
from gymnasium.envs.registration import load_env_creator
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import leafe_gym
from leafe_gym import distill, testing
from leafe_gym.cli.app import VERBS, build
from leafe_gym.envs import BUILTIN
from leafe_gym.envs.space import TextSpace

DOCS = Path(__file__).parents[1]
RESULTS = DOCS.parent / "benchmarks" / "results"
API = {"leafe_gym": leafe_gym, "leafe_gym.distill": distill, "leafe_gym.testing": testing}
"""Packages whose public names all have an entry in the reference."""

FACTS = re.compile(r"<!-- facts: (\S+) -->")
TRANSCRIPT = re.compile(r"<!-- transcript: (\S+) -->")
PLACEHOLDER = re.compile(r"^::: (\S+)", re.MULTILINE)

_NEEDS = {
    "ReasoningGym": ("[reasoning-gym]", "Apache-2"),
    "Tau2": ("[tau2], in an environment of its own", "MIT, Apache-2; its packages their own"),
    "TextArena": ("[textarena]", "MIT"),
    "TextWorldExpress": ("[textworld-express]; Java 8 or newer", "Apache-2; py4j BSD"),
    "Gem": ("[gem]", "Apache-2"),
    "TextWorld": ("[textworld]; gcc and make", "MIT; Jericho GPL-2"),
    "Jericho": ("[jericho]; gcc and make; a story file", "GPL-2; the story's own"),
    "ALFWorld": ("[alfworld]; gcc and make", "MIT; the planner GPL-3"),
    "ScienceWorld": ("[scienceworld]; Java 8 or newer", "Apache-2; py4j BSD"),
    "WebShop": ("[webshop]", "MIT, BSD, Apache-2; official products their own"),
    "CodeContests": ("nothing; parquet files: [code]", "problem files their own"),
    "MBPP": ("nothing", "problem files their own"),
    "PythonREPL": ("nothing", "MIT"),
}
"""Environment -> what to install, licence; absent: nothing, MIT."""

_COSTS = {
    "Sokoban": ("sokoban", "snapshot_bytes", 0.001, "microseconds.wrapped_restore_at_100", 0.001),
    "TextWorld": ("restore", "textworld_snapshot_kb", 1, "textworld_restore_ms", 1),
    "ALFWorld": ("restore", "alfworld_snapshot_kb", 1, "alfworld_restore_ms", 1),
    "ScienceWorld": ("restore", "scienceworld_snapshot_kb", 1, "scienceworld_fast_ms", 1),
    "WebShop": ("restore", "webshop_snapshot_kb", 1, "webshop_wrapper_restore_ms", 1),
}
"""Environment -> result file, key of the snapshot's size, factor to kB, key of a restore, factor to
ms."""


_NEW = ("ReasoningGym", "Tau2", "TextWorldExpress")
"""Environments that 0.1 had not."""

_SUBSTITUTES = {
    "Sokoban": "generated levels",
    "TextWorld": "a generated game",
    "ALFWorld": "a generated game, not an official one",
    "WebShop": "the built-in, generated catalogue, not WebShop's",
    "CodeContests": "a built-in problem, written for this package",
    "MBPP": "a built-in problem, written for this package",
    "PythonREPL": "a generated task",
}
"""Environment -> what its transcript and figures come from, where it is no official data."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated page; end the build if a public name or an environment has no entry."""
    documented = {
        name
        for path in (DOCS / "reference").glob("*.md")
        for name in PLACEHOLDER.findall(path.read_text("utf-8"))
    }
    missing = sorted(set(public_names()) - documented)
    if missing:
        raise PluginError(f"not in the reference: {', '.join(missing)}")
    undocumented = [name for name, value in public_names().items() if not inspect.getdoc(value)]
    if undocumented:
        raise PluginError(f"without a docstring: {', '.join(undocumented)}")
    described = "".join(p.read_text("utf-8") for p in (DOCS / "environments").glob("*.md"))
    absent = sorted(set(BUILTIN) - set(FACTS.findall(described)))
    if absent:
        raise PluginError(f"environments without a page: {', '.join(absent)}")
    files.append(File.generated(config, "reference/cli.md", content=command_line()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the table of facts where a page names its environment."""
    if page.file.src_uri.startswith("design/"):  # dated decisions do not answer what holds now
        page.meta["search"] = {"exclude": True}
    markdown = FACTS.sub(lambda found: environment_facts(found[1]), markdown)
    return TRANSCRIPT.sub(lambda found: transcript(found[1]), markdown)


def transcript(env_id: str) -> str:
    """The first turns of an episode, as `transcripts.py` recorded them."""
    episodes = json.loads(Path(__file__).with_name("transcripts.json").read_text("utf-8"))
    label = _SUBSTITUTES.get(short_name(env_id))
    told = f" ({label})" if label else ""
    return f"The first turns of an episode{told}:\n\n```text\n{episodes[env_id]}\n```"


def short_name(env_id: str) -> str:
    """An id without its namespace and version."""
    return env_id.removeprefix("leafe/").rpartition("-v")[0]


def public_names() -> dict[str, Any]:
    """Full name -> public object, of all packages in `API`."""
    return {
        f"{package}.{name}": getattr(module, name)
        for package, module in API.items()
        for name in module.__all__
    }


def command_line() -> str:
    """The page of all verbs with their arguments and options."""
    group: Any = typer.main.get_command(build())
    lines = [
        "# Command line",
        "",
        "Exit codes: 0 done, 1 failed, 2 bad input, 130 and 143 interrupted.",
    ]
    for verb in VERBS:
        lines += ["", f"## leafe {verb}", "", *_verb(group.commands[verb], f"leafe {verb}")]
    return "\n".join(lines) + "\n"


def _verb(command: Any, path: str) -> list[str]:
    context = typer.Context(command, info_name=path)
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [inspect.cleandoc(command.help or ""), "", "```", f"{path} {usage}", "```", ""]
    rows = [record for p in command.get_params(context) if (record := p.get_help_record(context))]
    if not rows:
        return lines
    lines += ["| option | meaning |", "| --- | --- |"]
    return lines + [f"| `{cell(flag)}` | {cell(text, prose=True)} |" for flag, text in rows]


def cell(text: str, *, prose: bool = False) -> str:
    """Text for a cell of a table; in prose only code spans keep their meaning."""
    text = " ".join(text.split()).replace("|", "&#124;" if prose else "/")
    if not prose:
        return text
    return re.sub(r"[<>*_]", lambda found: f"&#{ord(found[0])};", text)


def environment_facts(env_id: str) -> str:
    """A table about one environment, and its arguments; from the registry and result files."""
    name = short_name(env_id)
    kind = load_env_creator(gym.spec(env_id).entry_point)
    signature = inspect.signature(kind)
    needs, licence = _NEEDS.get(name, ("nothing", "MIT"))
    steps = next((signature.parameters[p].default for p in ("max_steps", "max_attempts")
                  if p in signature.parameters), None)  # fmt: skip
    tasks = "a list of its own, no task in two splits" if hasattr(kind, "tasks") else "seeds"
    rows = {
        "id": f"`{env_id}`",
        "needs": needs,
        "licence of what it needs": licence,
        "observation space, action space": f"`{TextSpace()}`, `{TextSpace()}`",
        "longest episode": f"{steps} actions by default" if steps else "the game's own limit",
        "tasks": f"{tasks} (`lg.tasks({env_id!r}, split)`)",
        "prompt set": f"`{kind.metadata.get('prompts', 'chat')}`",
        **_costs(name),
        "versions": f"v0: the first; from leafe-gym {'0.2.0' if name in _NEW else '0.1.0'} on",
    }
    lines = [
        "| property | value |",
        "| --- | --- |",
        *(f"| {key} | {value} |" for key, value in rows.items()),
    ]
    return "\n".join([*lines, "", *_arguments(kind, signature)])


def _costs(name: str) -> dict[str, str]:
    if name not in _COSTS:
        return {}
    file, size, to_kb, time, to_ms = _COSTS[name]
    figures = json.loads((RESULTS / f"{file}.json").read_text("utf-8"))
    source = "; ".join(
        [f"`benchmarks/results/{file}.json`", *filter(None, [_SUBSTITUTES.get(name)])]
    )
    return {
        "snapshot": f"{float(figures[size]) * to_kb:.2g} kB ({source})",
        "restore": f"{float(_at(figures, time)) * to_ms:.2g} ms ({source})",
    }


def _at(figures: Any, key: str) -> Any:
    for part in key.split("."):
        figures = figures[part]
    return figures


def _arguments(kind: Any, signature: inspect.Signature) -> list[str]:
    text = inspect.getdoc(kind) or ""
    block = re.search(r"^Args:\n((?: .*\n|\n)+)", text + "\n", re.MULTILINE)
    told = (
        dict(re.findall(r"^    \**(\w+): ((?:.*\n?)(?:     +.*\n?)*)", block[1], re.MULTILINE))
        if block
        else {}
    )
    lines = ["| argument | default | meaning |", "| --- | --- | --- |"]
    for name, parameter in signature.parameters.items():
        default = "" if parameter.default is parameter.empty else f"`{parameter.default!r}`"
        lines.append(f"| `{name}` | {default} | {cell(told.get(name, ''), prose=True)} |")
    return ["", "**Arguments of `gym.make`**", "", *lines, ""]
