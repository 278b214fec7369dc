"""Packages of this program's environment that code in the embedded sandbox may import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from leafe_gym.envs.code.functions import FunctionJudge, FunctionProblem
from leafe_gym.envs.code.program_runner import ProgramRunner
from leafe_gym.errors import UsageError
from leafe_gym.sandbox.base import Sandbox, SandboxLimits, make_sandbox
from leafe_gym.sandbox.embedded import sandbox as embedded
from leafe_gym.sandbox.embedded.host_client import RESERVED
from leafe_gym.sandbox.embedded.packages import package_paths

NAME, MODULE = "typing-inspection", "typing_inspection"
"""A small package in Python that pydantic requires."""

PYTHON = ("python3", "-s", "-P", "-c")

elsewhere = pytest.mark.skipif(
    Path(sys.prefix).resolve().parts[1] in RESERVED,
    reason="sandboxes have a /tmp of their own: clone the project elsewhere",
)
"""Needs an environment whose packages can be shared."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    one = make_sandbox("embedded", packages=[NAME])
    one.start()
    yield one
    one.close()


@elsewhere
def test_programs_and_cells_import_a_package(sandbox: Sandbox) -> None:
    where = str(distribution(NAME).locate_file(MODULE))
    shown = sandbox.run_program([*PYTHON, f"import {MODULE} as m; print(m.__path__[0])"]).stdout
    assert shown.strip() == where
    assert sandbox.run_cell(f"import {MODULE} as m; m.__path__[0] == {where!r}").stdout == "True\n"
    snapshot = sandbox.snapshot()
    other = sandbox.branch(snapshot)
    assert other.run_cell("m.__path__[0]").stdout == f"{where!r}\n"
    other.close()
    told = sandbox.run_program([*PYTHON, f"open({where!r} + '/x', 'w')"])
    assert "Read-only" in told.stderr or "denied" in told.stderr


@elsewhere
def test_other_packages_of_the_environment_are_not_shared(sandbox: Sandbox) -> None:
    root = str(distribution("pydantic").locate_file(""))
    shown = sandbox.run_program([*PYTHON, f"import os; print(*os.listdir({root!r}))"]).stdout
    assert MODULE in shown.split()
    assert "pydantic" not in shown.split()


@elsewhere
@pytest.mark.parametrize(
    "call", ["(a @ a).sum()", "np.linalg.inv(a)[0, 0]", "np.random.default_rng(0).random()"]
)
def test_a_session_with_numpy_has_no_threads_and_is_saved(call: str) -> None:
    """Its linear algebra starts one for each processor, unless the environment says otherwise."""
    box = make_sandbox("embedded", limits=SandboxLimits(call_s=120.0), packages=["numpy"])
    box.start()
    assert not box.run_cell("import numpy as np; a = np.random.rand(300, 300)").error
    snapshot = box.snapshot()
    seen = box.run_cell(f"float({call})").stdout
    box.run_cell("a[:] = 0")
    box.restore(snapshot)
    assert box.run_cell(f"float({call})").stdout == seen
    assert float(seen) != 0
    box.close()


def test_cells_and_programs_have_the_same_environment() -> None:
    box = make_sandbox("embedded")
    box.start()
    look = "import os; print(sorted(os.environ.items()))"
    cell, program = box.run_cell(look).stdout, box.run_program([*PYTHON, look]).stdout
    assert eval(program) == [one for one in eval(cell) if one[0] != "PYTHONDONTWRITEBYTECODE"]
    assert "/home/box/work" in program
    box.close()


@elsewhere
def test_judged_functions_import_a_package() -> None:
    code = f"import {MODULE}\ndef f(): return {MODULE}.__name__"
    tests = (f"import {MODULE}\nassert f() == {MODULE}.__name__",)
    problem = FunctionProblem(name="p", text="", entry="f", code=code, tests=tests)
    runners = [ProgramRunner("embedded", options={"packages": [NAME]}) for _ in range(2)]
    assert FunctionJudge(*runners).judge(problem, code).accepted
    for runner in runners:
        runner.close()


def test_what_a_package_requires_is_shared_too() -> None:
    shared, searched = package_paths(["pydantic"])
    names = {one.rpartition("/")[2] for one in shared}
    assert {"pydantic", "pydantic_core", "annotated_types", MODULE} <= names
    assert not any(one.endswith((".dist-info", ".pth")) for one in names)
    assert len(searched) == 1


@pytest.mark.parametrize(
    ("packages", "says"),
    [
        ("numpy", "expected a sequence"),
        (3, "expected a sequence"),
        ([3], "not the name of a package"),
        (["../x"], "not the name of a package"),
        ([""], "not the name of a package"),
        (["no-such-package-here"], "pip install no-such-package-here"),
    ],
)
def test_packages_that_cannot_be_shared(packages: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make_sandbox("embedded", packages=packages)


def test_packages_below_tmp_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ([str(tmp_path / "numpy")], [str(tmp_path)])
    monkeypatch.setattr(embedded, "package_paths", lambda names: found)
    monkeypatch.setattr(
        "leafe_gym.sandbox.embedded.host_client.RESERVED", (tmp_path.resolve().parts[1],)
    )
    with pytest.raises(
        UsageError, match=r"\['numpy'\] cannot be used from .*environment elsewhere"
    ):
        make_sandbox("embedded", packages=["numpy"])
