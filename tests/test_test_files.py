"""What tests share is in modules of its own, so a file can be read and run by itself."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parent


def imports_of_tests(path: Path) -> set[str]:
    """Names of test files, and of a `conftest`, that a file imports, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.rpartition(".")[2].startswith(("test_", "conftest"))}


def test_no_test_imports_another_test() -> None:
    """Nor a `conftest`: which of the several is found depends on what was collected before."""
    wrong = {
        path.relative_to(TESTS.parent).as_posix()
        for path in TESTS.rglob("*.py")
        if imports_of_tests(path)
    }
    assert wrong == set()


def test_imports_of_tests_are_found(tmp_path: Path) -> None:
    path = tmp_path / "test_a.py"
    path.write_text(
        "import json\ndef f():\n    from test_b import x\n    import pkg.test_c, os\n"
        "from conftest import y\n"
    )
    assert imports_of_tests(path) == {"test_b", "pkg.test_c", "conftest"}
    path.write_text("from leafe_gym.testing import players\n")
    assert imports_of_tests(path) == set()
