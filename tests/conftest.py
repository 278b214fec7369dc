"""Options and fixtures of the whole suite."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from chromium import Chromium, find_chromium
from hypothesis import HealthCheck, settings
from not_tested import summary
from xdist.scheduler import LoadScopeScheduling

from leafe_gym.wrappers.backends import fork_client
from leafe_gym.wrappers.verification import process

# Models in the tests are so small that a second thread only waits for the first, and for long
# where anything else runs on the machine. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile(
    "leafe", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("leafe")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full-counts",
        action="store_true",
        help="run every repeated check as often as the published counts say (make soak)",
    )


SLOW = frozenset(Path(__file__).with_name("slow.txt").read_text().split())
"""Files whose tests take longest: `make test` leaves them out; `make soak` and CI run them."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests of slow files, and put them first: with `-n` none is left to the end."""
    for name in SLOW:
        assert (Path(__file__).parent.parent / name).is_file(), (
            f"tests/slow.txt names no file: {name}"
        )
    for item in items:
        if item.nodeid.partition("::")[0] in SLOW:
            item.add_marker("slow")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


class HostTogether(LoadScopeScheduling):
    """With `-n`, tests of a file share a process; one process has all that look at the host.

    Files are begun in the order of the collection, not by their numbers of tests.
    """

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return "host" if "sandbox" in path or "docker" in path else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> HostTogether:
    """Which tests go where; the marker `xdist_group` (3.8) does nothing in pytest 9."""
    return HostTogether(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """After the tests: what was not tested on this machine, and how to get it."""
    reports = terminalreporter.stats.get("skipped", [])
    skipped = [(one.nodeid, one.longrepr[2].removeprefix("Skipped: ")) for one in reports]
    lines = summary(skipped)
    deselected = terminalreporter.stats.get("deselected", [])
    if slow := [item for item in deselected if item.get_closest_marker("slow")]:
        lines.append(f"{len(slow):5}  tests of slow files: make soak")
    if lines:
        terminalreporter.section("not tested here")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def counts(pytestconfig: pytest.Config) -> Callable[[int, int], int]:
    """`counts(fast, full)`: how often to repeat a check in this run."""
    full = bool(pytestconfig.getoption("--full-counts"))
    return lambda fast, published: published if full else fast


@pytest.fixture(scope="session", autouse=True)
def libraries_of_tests() -> Iterator[None]:
    """The verification process imports once what each of its jobs imports with a test file."""
    start = process.start_interpreter

    def with_libraries(module: str) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fork_client, "_START", "import hypothesis, pytest; " + fork_client._START)
            return start(module)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "start_interpreter", with_libraries)
        yield


@pytest.fixture(autouse=True)
def own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that earlier tests left behind, where something hung, do not count in a test."""
    earlier = set(threading.enumerate()) - {threading.current_thread()}
    count = lambda: len(set(threading.enumerate()) - earlier)  # noqa: E731
    monkeypatch.setattr(threading, "active_count", count)


@pytest.fixture(scope="session")
def engine() -> str:
    """Where a container engine for tests answers; its absence fails them where CI starts one."""
    host = os.environ.get("LEAFE_DOCKER_HOST", "")
    with closing(socket.socket(socket.AF_UNIX)) as door:
        try:
            door.connect(host.removeprefix("unix://"))
        except OSError:
            why = f"no container engine: LEAFE_DOCKER_HOST={host!r} does not answer"
            if os.environ.get("CI") == "true" and os.geteuid() == 0:
                pytest.fail(why)
            pytest.skip(why)
    return host


@pytest.fixture(scope="session")
def router() -> str:
    """vLLM's router, which is a program; a part of the development packages on Linux."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if (found := shutil.which("vllm-router", path=beside)) is None:
        pytest.skip("vllm-router is not installed: pip install vllm-router")
    return found


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with real levels and problems, which is not part of the project."""
    root = os.environ.get("LEAFE_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("real data absent: set LEAFE_DATA to the folder that holds boxoban/")
    return Path(root)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One browser for all tests of a process."""
    program = find_chromium()
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("the test run needs Chromium: apt-get install chromium")
        pytest.skip("needs Chromium: apt-get install chromium")
    with Chromium(program, tmp_path_factory.mktemp("chromium")) as started:
        yield started
