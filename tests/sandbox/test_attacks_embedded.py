"""The attacks against the embedded sandbox, as root and as an ordinary user, one test each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from attacks import ATTACKS, KINDS
from besiege import PARTS, Host, besieged

HERE = Path(__file__).parent
USERS = [pytest.param("root", marks=pytest.mark.root), "ordinary"]
MODES = ("run", "exec", "prepared")
AFTER = "after it"


Take = Callable[[int, int], int]


@cache
def siege(user: str, full: bool) -> dict[str, list[dict[str, Any]]]:
    """Results of the attacks by name, run in a subprocess: as program, cell and prepared program.

    In full, each attack runs in all modes by both users; else in one mode by one user.
    """
    if user == "root" and os.geteuid() != 0:
        pytest.skip("not root")
    drop = [] if user == "root" else [str(HERE / "ordinary.py")]
    command = [sys.executable, *drop, str(HERE / "besiege.py"), "embedded", *MODES]
    part = [] if full else ["--part", str(int(user == "root"))]
    done = subprocess.run(
        [*command, *part], capture_output=True, text=True, timeout=3000, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in done.stdout.splitlines():
        one = json.loads(line)
        found[one["name"]].append(one)
    return found


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("kind", KINDS)
def test_contained(user: str, kind: str, counts: Take) -> None:
    full = bool(counts(0, 1))
    found = siege(user, full)
    findings = [one for name in KINDS[kind] for one in found[name]]
    expected = len(KINDS[kind]) * len(MODES)
    assert abs(len(findings) - (expected if full else expected / PARTS)) < (1 if full else 3)
    assert not [one for one in findings if one["complaints"]]


@pytest.mark.parametrize("user", USERS)
def test_the_host_is_as_before(user: str, counts: Take) -> None:
    """Processes, memory, descriptors and disk."""
    assert [one["complaints"] for one in siege(user, bool(counts(0, 1)))[AFTER]] == [[]]


@pytest.mark.parametrize(
    "name",
    [
        "connect to the host's loopback",
        "the host's abstract socket",
        "read a file of the host",
        "signal the host's process",
    ],
)
def test_the_list_has_teeth(name: str, tmp_path: Path) -> None:
    """Read-only attacks succeed without isolation, so the list detects breaches."""
    secret = tmp_path / "host"
    secret.mkdir()
    host = Host(secret)
    command = [sys.executable, "-c", host.fill(ATTACKS[name])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "BREACH" in done.stdout
    host.close()


def test_programs_for_real_run_only_where_something_holds_them() -> None:
    with pytest.raises(AssertionError), besieged("unsandboxed", allow_unsandboxed=True):
        raise RuntimeError("it was begun")


def test_there_are_enough() -> None:
    """Each runs as a program and as a cell; one kind is against the session that runs cells."""
    assert len(ATTACKS) >= 150
    assert len(KINDS) >= 6
