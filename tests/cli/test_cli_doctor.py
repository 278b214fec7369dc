"""`leafe doctor`: what works is tried, what does not says why, and the exit code tells."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from leafe_gym.cli import main
from leafe_gym.errors import SandboxUnavailable
from leafe_gym.sandbox import base
from leafe_gym.sandbox.unsandboxed import UnsandboxedSandbox


class Refused(UnsandboxedSandbox):
    def start(self) -> None:
        raise SandboxUnavailable("this host refuses user namespaces: allow them")


class Forgetful(UnsandboxedSandbox):
    def restore(self, snapshot: Any) -> None:
        """Brings nothing back."""


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> Any:
    """(exit code, part -> name -> finding, printed) where `embedded` may be another class.

    There is no container engine unless the test names one afterwards.
    """
    monkeypatch.setenv("LEAFE_DOCKER_HOST", f"unix://{tmp_path}/none.sock")

    def run(embedded: type | None = None) -> tuple[int, dict[str, dict[str, Any]], str]:
        if embedded:
            monkeypatch.setitem(base.SANDBOXES._own, "embedded", embedded)
        path = tmp_path / "doctor.json"
        monkeypatch.setattr(sys, "argv", ["leafe", "doctor", "--json", str(path)])
        with pytest.raises(SystemExit) as stop:
            main()
        data = json.loads(path.read_text())
        assert data["ok"] == (stop.value.code == 0)
        assert data["meta"]["versions"]["python"]
        parts: dict[str, dict[str, Any]] = {}
        for one in data["findings"]:
            parts.setdefault(one["part"], {})[one["name"]] = one
        return int(stop.value.code or 0), parts, capsys.readouterr().out

    return run


def test_what_works(report: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LEAFE_DATA", str(tmp_path))
    (tmp_path / "mbpp.jsonl").write_text("{}")
    code, parts, printed = report()
    assert code == 0
    assert set(parts) == {"python", "package", "extra", "sandbox", "gpu", "engine", "data"}
    assert parts["sandbox"]["embedded"]["state"] == "ok"
    assert "memory: saved" in parts["sandbox"]["embedded"]["detail"]
    assert "memory: replayed" in parts["sandbox"]["unsandboxed"]["detail"]
    assert parts["extra"]["dev"]["state"] == "ok"
    assert parts["data"]["mbpp.jsonl"]["state"] == "ok"
    assert "github.com/openai" in parts["data"]["HumanEval.jsonl.gz"]["detail"]
    assert "unsandboxed" in printed


@pytest.mark.parametrize(
    ("sandbox", "says"),
    [(Refused, "refuses user namespaces"), (Forgetful, "a restored session shows '2 two")],
)
def test_a_sandbox_that_does_not_hold(report: Any, sandbox: type, says: str) -> None:
    code, parts, _ = report(sandbox)
    found = parts["sandbox"]["embedded"]
    assert (code, found["state"]) == (1, "broken")
    assert says in found["detail"]
    assert parts["sandbox"]["unsandboxed"]["state"] == "ok"


def test_a_missing_extra_says_what_to_install(report: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=2", "no-such-package>=1; extra == 'train'"]
    monkeypatch.setattr("leafe_gym.cli.doctor.requires", lambda _: lines)
    code, parts, _ = report()
    assert code == 0
    assert parts["extra"]["train"]["state"] == "absent"
    assert "pip install 'leafe-gym[train]'" in parts["extra"]["train"]["detail"]
    monkeypatch.setattr("leafe_gym.cli.doctor.requires", lambda _: ["no-such-package"])
    code, parts, _ = report()
    assert (code, parts["package"]["leafe-gym"]["state"]) == (1, "broken")


def test_a_gpu_is_named_and_torch_is_asked(
    report: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho A Big One, 80 GiB\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    (tmp_path / "torch.py").write_text(
        "__version__ = '9'\nclass cuda:\n    is_available = staticmethod(lambda: False)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = report()[1]["gpu"]["cuda"]
    assert found["state"] == "absent"
    assert found["detail"] == "A Big One, 80 GiB; torch cannot use it (9 False)"


def test_an_engine_is_asked_over_its_socket(
    report: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    where = tmp_path / "engine.sock"
    monkeypatch.setenv("LEAFE_DOCKER_HOST", f"unix://{where}")
    monkeypatch.setattr(base.SANDBOXES, "names", lambda: ["embedded"])  # others ask it for more
    found = report()[1]["engine"]["docker"]
    assert found["state"] == "absent"
    assert "LEAFE_DOCKER_HOST" in found["detail"]
    body = b'{"Version": "26.1.5", "Experimental": true}'
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            assert connection.recv(4096).startswith(b"GET /version")
            connection.sendall(head + body)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(where))
        listening.listen(1)
        thread = threading.Thread(target=serve)
        thread.start()
        found = report()[1]["engine"]["docker"]
        thread.join()
    assert (found["state"], found["detail"]) == (
        "ok",
        f"26.1.5 at unix://{where}, with checkpoints",
    )
