"""The ordinary user of the attack tests finds Python and the project wherever root keeps them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from ordinary import USER

import leafe_gym

pytestmark = pytest.mark.root
SHOW = """
import json, os, sys, leafe_gym
print(json.dumps([os.getuid(), leafe_gym.__file__, sys.prefix]))
"""


def virtual_environment(folder: Path) -> Path:
    """Its interpreter; it has the packages of this one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    packages = sysconfig.get_path("purelib")
    # Not the folder alone: its .pth files start coverage, for example.
    (site / "same.pth").write_text(f"import site; site.addsitedir({packages!r})")
    return folder / "bin" / "python"


@pytest.mark.parametrize(
    "where",
    [
        {"clone": "closed"},
        {"venv": "closed/deep"},
        {"clone": "closed", "venv": "closed/clone"},
        {"clone": "closed/one", "venv": "closed/two"},
    ],
)
def test_folders_that_only_root_may_enter(where: dict[str, str], tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root")
    (tmp_path / "closed").mkdir(mode=0o700)
    python, source = Path(sys.executable), Path(leafe_gym.__file__).parents[1]
    if "clone" in where:
        source = tmp_path / where["clone"] / "clone"
        shutil.copytree(leafe_gym.__path__[0], source / "leafe_gym")
        shutil.copytree(Path(__file__).parent, source / "tests")
    if "venv" in where:
        python = virtual_environment(tmp_path / where["venv"] / "venv")
    script = source / "tests" if "clone" in where else Path(__file__).parent
    measured = tmp_path / "closed" / "coverage.ini"  # what this user cannot read, nor write beside
    measured.write_text(f"[run]\nparallel = true\ndata_file = {measured.with_name('data')}\n")
    environ = {key: value for key, value in os.environ.items() if "COVERAGE" not in key}
    environ |= {"PYTHONPATH": str(source), "COVERAGE_PROCESS_START": str(measured)}
    command = [python, script / "ordinary.py", "-c", SHOW]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    uid, package, prefix = json.loads(done.stdout)
    assert uid == USER
    assert Path(package) == source / "leafe_gym" / "__init__.py"
    assert Path(prefix) == Path(python).parents[1]
