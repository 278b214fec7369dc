"""The code in the README runs; only sizes are made smaller."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from typer.main import get_command

from leafe_gym.cli.app import build
from leafe_gym.distill.data.byte_tokenizer import byte_tokenizer

README = Path(__file__).parents[1] / "README.md"
SMALLER = {
    "[:200]": "[:12]",
    "[:100]": "[:4]",
    "interactions=600": "interactions=300",
    "concurrency=64": "concurrency=8",
    "samples=512": "samples=6",
    "pass_at(1, 128)": "pass_at(1, 6)",
    "epochs=2": "epochs=1",
}


def readme_code() -> str:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 1
    code: str = blocks[0]
    for size, small in SMALLER.items():
        assert size in code, f"the README no longer says {size}"
        code = code.replace(size, small)
    return code


def make_model(folder: Path) -> None:
    """A language model of some thousand parameters, with a tokenizer of bytes."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=300, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=2**17,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)


def test_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("torch", "transformers", "datasets", "accelerate"):
        pytest.importorskip(package, reason="needs pip install 'leafe-gym[train]'")
    monkeypatch.chdir(tmp_path)
    make_model(tmp_path / "models" / "base")
    names: dict[str, Any] = {"__name__": "readme"}
    try:
        exec(compile(readme_code(), str(README), "exec"), names)
    finally:
        gym.registry.pop("me/Shop-v0", None)
    assert len(names["rows"].counts) > 0
    assert names["tree"].spent.interactions <= 300
    assert (tmp_path / "runs" / "a" / "run.sqlite").is_file()
    assert (tmp_path / "data" / "a" / "dataset_info.json").is_file()
    assert (tmp_path / "models" / "a" / "model" / "model.safetensors").is_file()
    assert names["result"].samples.tolist() == [6] * 4
    assert "native" in str(names["env"].backend_report)


def test_the_readme_tree_names_what_is_there() -> None:
    text = README.read_text("utf-8").partition("## Where things are")[2].partition("```\n")[2]
    for line in text.partition("```")[0].splitlines()[1:]:
        if line.startswith("  "):
            folder = README.parent / "leafe_gym"
            names = re.findall(r"[a-z_]+(?:/|\.py)", line[: line.find("   ", 4)])
        else:
            folder, names = README.parent, re.findall(r"^[a-z_/]+/", line)
        for name in names:
            assert (folder / name).exists(), f"the README names {name}, which is not there"


FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(leafe [^`\n]+)`")


def commands(path: Path) -> list[tuple[str, str]]:
    """(page, command line) of every command line on a page."""
    text = path.read_text("utf-8")
    fenced = [body for language, body in FENCE.findall(text) if not language]
    lines = [line for body in fenced for line in body.replace("\\\n", " ").splitlines()]
    lines += INLINE.findall(FENCE.sub("", text))
    return [(path.name, line) for line in lines if line.startswith("leafe ")]


COMMANDS = [
    found
    for path in [README, *sorted((README.parent / "docs").glob("*.md"))]
    for found in commands(path)
]


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_every_command_line_exists(page: str, line: str) -> None:
    group: Any = get_command(build())
    verb, *words = line.partition(" #")[0].split()[1:]
    assert verb in group.commands, f"{page}: {line}"
    params = group.commands[verb].params
    known = {"--help", *(one for p in params for one in (*p.opts, *p.secondary_opts))}
    used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert used <= known, f"{page}: {line}: {used - known}"


def test_the_command_lines_were_found() -> None:
    assert len(COMMANDS) > 20
    assert {"demo", "explore", "train"} <= {line.split()[1] for _, line in COMMANDS}
