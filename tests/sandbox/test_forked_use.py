"""Sandboxes after a fork: use in the child raises, and the parent's sandbox is not disturbed."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_docker import ID, FakeDocker
from forking import in_child

from leafe_gym.errors import ForkedUse
from leafe_gym.sandbox.base import Sandbox, SandboxSnapshot, make_sandbox

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
KINDS = ["embedded", "unsandboxed", pytest.param("docker-commit", marks=pytest.mark.engine)]
CALLS: dict[str, Callable[[Sandbox, SandboxSnapshot], Any]] = {
    "run_cell": lambda box, _: box.run_cell("n"),
    "run_program": lambda box, _: box.run_program(["true"]),
    "write_file": lambda box, _: box.write_file("f", b"child"),
    "read_file": lambda box, _: box.read_file("f"),
    "snapshot": lambda box, _: box.snapshot(),
    "restore": lambda box, saved: box.restore(saved),
    "branch": lambda box, saved: box.branch(saved),
    "start": lambda box, _: box.start(),
}


def started(kind: str) -> Sandbox:
    box = make_sandbox(kind, allow_unsandboxed=kind == "unsandboxed")
    box.start()
    box.run_cell("n = 1; open('f', 'w').write('one')")
    return box


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "docker-commit":
        request.getfixturevalue("engine")
    return str(request.param)


@pytest.fixture
def box(kind: str) -> Iterator[Sandbox]:
    made = started(kind)
    yield made
    made.close()


def assert_undisturbed(box: Sandbox) -> None:
    assert box.run_cell("print(n, open('f').read())").stdout == "1 one\n"


def test_every_use_in_a_child_raises(box: Sandbox) -> None:
    saved = box.snapshot()
    calls = [lambda call=call: call(box, saved) for call in CALLS.values()]
    assert in_child(*calls) == ["ForkedUse"] * len(CALLS)
    assert_undisturbed(box)
    box.restore(saved)
    assert_undisturbed(box)


def test_the_error_names_both_processes(box: Sandbox) -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            box.run_cell("n")
        except ForkedUse as error:
            os.write(write, str(error).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    assert str(os.getpid()) in said
    assert str(pid) in said
    assert "new one in this process" in said


def test_two_children_and_the_parent_never_share_results(box: Sandbox) -> None:
    """Interleaved use through one connection would hand results to the wrong process."""
    pids = []
    reports = [os.pipe() for _ in range(2)]
    for number, (_, write) in enumerate(reports):
        pid = os.fork()
        if pid == 0:
            wrong = 0
            for turn in range(20):
                try:
                    wrong += box.run_cell(f"{number} * 100 + {turn}").stdout != "never"
                except ForkedUse:
                    continue
            os.write(write, str(wrong).encode())
            os._exit(0)
        os.close(write)
        pids.append(pid)
    shown = [box.run_cell(f"print({turn})").stdout for turn in range(20)]
    for pid in pids:
        os.waitpid(pid, 0)
    assert shown == [f"{turn}\n" for turn in range(20)]
    for read, _ in reports:
        with os.fdopen(read) as pipe:
            assert pipe.read() == "0"
    assert_undisturbed(box)


def test_closing_dropping_and_exiting_in_a_child_leave_the_parent_alone(box: Sandbox) -> None:
    saved = box.snapshot()
    done = in_child(
        lambda: box.drop(saved), box.close, box.close, gc.collect, run_exit_handlers=True
    )
    assert done[:3] == ["None"] * 3
    assert_undisturbed(box)
    box.run_cell("n = 2")
    box.restore(saved)
    assert_undisturbed(box)


def test_a_child_that_forgets_it_leaves_the_parent_alone(kind: str) -> None:
    boxes = [started(kind)]
    saved = [boxes[0].snapshot()]

    def forget() -> None:
        boxes.clear()
        saved.clear()
        gc.collect()

    assert in_child(forget) == ["None"]
    assert_undisturbed(boxes[0])
    boxes[0].restore(saved[0])
    boxes[0].close()


def test_a_snapshot_from_before_the_fork_is_refused_by_the_childs_own_sandbox(
    box: Sandbox, kind: str
) -> None:
    saved = box.snapshot()

    def branch_in_child() -> None:
        own = started(kind)
        try:
            own.branch(saved)
        finally:
            own.close()

    assert in_child(branch_in_child) == ["ForkedUse"]
    box.restore(saved)
    assert_undisturbed(box)


def test_a_sandbox_that_was_only_created_is_refused_too(kind: str) -> None:
    box = make_sandbox(kind, allow_unsandboxed=kind == "unsandboxed")
    assert in_child(box.start) == ["ForkedUse"]
    box.start()
    assert box.run_cell("1 + 1").stdout == "2\n"
    box.close()


def _report(box: Sandbox, results: Any) -> None:
    try:
        results.put(box.run_cell("n").stdout)
    except ForkedUse:
        results.put("ForkedUse")
    finally:
        box.close()


def test_multiprocessing_with_fork(box: Sandbox) -> None:
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    children = [context.Process(target=_report, args=(box, results)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [results.get() for _ in children] == ["ForkedUse"] * 3
    assert_undisturbed(box)


def test_a_child_can_make_its_own(box: Sandbox, kind: str) -> None:
    def own() -> str:
        made = started(kind)
        try:
            made.run_cell("n = 5")
            return made.run_cell("print(n)").stdout.strip()
        finally:
            made.close()

    assert in_child(own) == ["5"]
    assert_undisturbed(box)


def test_a_childs_exit_removes_no_container(tmp_path: Path, monkeypatch: Any) -> None:
    """The fake engine would record requests of the child."""
    pytest.importorskip("docker", reason="pip install 'leafe-gym[docker]'")
    fake = FakeDocker(tmp_path)
    monkeypatch.setenv("LEAFE_DOCKER_HOST", fake.host)
    box = make_sandbox("docker-commit")
    box.start()
    before = len(fake.asked)
    child = in_child(
        lambda: box.run_cell("1"), box.snapshot, box.close, gc.collect, run_exit_handlers=True
    )
    assert child[:3] == ["ForkedUse", "ForkedUse", "None"]
    assert fake.asked[before:] == []
    box.close()
    assert f"DELETE /containers/{ID}" in {one.partition("?")[0] for one in fake.asked}
    fake.close()
