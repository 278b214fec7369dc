"""A run of the tests ends with what it left out and how to get it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from not_tested import explain, summary

TESTS = Path(__file__).parent
SKIPS = """
import pytest
@pytest.mark.parametrize("number", range(3))
def test_engine(number): pytest.skip("no container engine: LEAFE_DOCKER_HOST='' does not answer")
@pytest.mark.skip(reason="needs Chromium: apt-get install chromium")
def test_page(): ...
def test_absent(): pytest.importorskip("no_such_module")
def test_runs(): ...
"""


@pytest.mark.parametrize(
    ("reason", "how"),
    [
        ("no container engine: LEAFE_DOCKER_HOST='' does not answer", "set LEAFE_DOCKER_HOST"),
        ("needs Chromium: apt-get install chromium", "apt-get install chromium"),
        ("ScienceWorld needs a Java runtime (8 or newer)", "default-jre-headless"),
        ("real data absent: boxoban/medium", "set LEAFE_DATA"),
        ("torch absent: pip install 'leafe-gym[train]'", "make clean test"),
        ("could not import 'peft': No module named 'peft'", "make clean test"),
        ("moviepy is not installed", "make clean test"),
        ("checkpoints need root", "run as root"),
        ("--full-counts runs it", "make soak"),
        ("every call starts processes: make soak", "make soak"),
    ],
)
def test_each_missing_part_can_be_got(reason: str, how: str) -> None:
    assert how in explain(reason)


def test_other_reasons_are_shown_as_they_are() -> None:
    assert explain("the class itself calls such values equal") == (
        "the class itself calls such values equal"
    )


def test_reasons_of_one_part_count_together_and_each_test_once() -> None:
    browser = [("a", "needs Chromium: x"), ("b", "needs Chromium"), ("a", "needs Chromium: x")]
    assert summary([("c", "other"), *browser]) == [
        "    2  no Chromium: apt-get install chromium",
        "    1  other",
    ]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_block_at_the_end(workers: str, tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(SKIPS)
    (tmp_path / "pytest.ini").write_text("[pytest]")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-n", workers]
    environ = {key: value for key, value in os.environ.items() if "XDIST" not in key}
    environ["PYTHONPATH"] = str(TESTS)
    done = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 5 skipped" in done.stdout
    lines = done.stdout.partition("not tested here")[2].splitlines()[1:4]
    assert [line.split()[:3] for line in lines] == [
        ["3", "no", "container"],
        ["1", "could", "not"],
        ["1", "no", "Chromium:"],
    ]
