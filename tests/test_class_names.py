"""One name, one class: readers and searches never meet two public classes of one name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import leafe_gym

PACKAGE = Path(leafe_gym.__file__).parent


def shared_names(package: Path) -> dict[str, list[str]]:
    """Names of public top-level classes that several modules define -> these modules."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for file in sorted(package.rglob("*.py")):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(file.relative_to(package)))
    return {name: files for name, files in found.items() if len(files) > 1}


def test_no_two_public_classes_share_a_name() -> None:
    assert shared_names(PACKAGE) == {}


def test_a_shared_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("class A: ...\nclass _B: ...\nclass C: ...\n")
    (tmp_path / "two.py").write_text("class A: ...\nclass _B: ...\n")
    assert shared_names(tmp_path) == {"A": ["one.py", "two.py"]}
