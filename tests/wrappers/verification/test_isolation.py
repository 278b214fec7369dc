"""Verification touches neither the user's environment, nor windows, files or the terminal."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import drawing_envs as drawing
import gymnasium as gym
import pytest
import toy_envs as toys
from toy_envs import make, register

import leafe_gym as lg
from leafe_gym.wrappers.verification import process, selection

PROBE = ["draw", "add", "double"]


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def proved(env: Any, **kwargs: Any) -> lg.RollbackWrapper:
    wrapped = lg.RollbackWrapper(env, probe_actions=PROBE, **kwargs)
    wrapped.reset(seed=0)
    assert wrapped.backend_report.proved, str(wrapped.backend_report)
    return wrapped


@pytest.mark.parametrize("mode", ["human", "rgb_array"])
@pytest.mark.parametrize("cls", [drawing.Drawn, drawing.DrawnNative])
def test_windows_go_on_working(cls: Any, mode: str) -> None:
    drawing.OPENED.clear()
    env = proved(gym.make(register(cls), render_mode=mode))
    assert drawing.OPENED == []  # nothing was shown in this process
    first = [env.step("draw")[0], env.step("add")[0]]
    env.render()
    surface = env.unwrapped.surface  # type: ignore[attr-defined]
    saved = env.snapshot()
    third = env.step("draw")[0]
    env.render()
    env.restore(saved)
    assert env.step("draw")[0] == third
    assert env.rollback(1)[0] == first[0]
    env.render()
    assert drawing.OPENED == ["opened"]
    assert env.unwrapped.surface is surface  # type: ignore[attr-defined]
    assert surface.frames[-1] == env.unwrapped.value  # type: ignore[attr-defined]


def test_a_replay_does_not_draw_each_step() -> None:
    env = proved(gym.make(register(drawing.Drawn), render_mode="human"))
    for _ in range(5):
        env.step("draw")
    surface = env.unwrapped.surface  # type: ignore[attr-defined]
    env.rollback(4)
    assert len(surface.frames) == 5 + 1
    assert env.render_mode == "human"


def test_a_wrapper_that_holds_a_surface() -> None:
    env = proved(drawing.DrawnByWrapper(gym.make(register(drawing.Drawn), render_mode="rgb_array")))
    env.render()
    env.step("add")
    saved = env.snapshot()
    text = env.step("draw")[0]
    env.render()
    env.restore(saved)
    assert env.step("draw")[0] == text


@pytest.mark.parametrize("mode", ["human", "rgb_array"])
@pytest.mark.parametrize("env_id", ["FrozenLake-v1", "CartPole-v1", "Taxi-v4"])
def test_windows_of_pygame(env_id: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pygame = pytest.importorskip("pygame", reason="pygame is not installed")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = lg.RollbackWrapper(gym.make(env_id, render_mode=mode))
    env.unwrapped.metadata["render_fps"] = 10_000
    env.reset(seed=0)
    env.render()
    assert pygame.display.get_init()
    for action in (0, 1):
        env.step(action)
    saved = env.snapshot()
    after = env.step(0)
    env.render()
    env.restore(saved)
    assert str(env.step(0)[:4]) == str(after[:4])
    frame = env.render()
    assert (frame is None) == (mode == "human")
    assert env.backend_report.proved
    env.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of the user with some files."""
    (tmp_path / "here" / "logs").mkdir(parents=True)
    (tmp_path / "here" / "number.txt").write_text("7")
    (tmp_path / "here" / "logs" / "old.txt").write_text("old\n")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.mark.parametrize("mode", ["a", "w", "r+"])
@pytest.mark.parametrize("path", ["number.txt", "new.txt", "logs/old.txt", "new/new.txt", "/abs"])
def test_files_of_a_wrapper(path: str, mode: str, folder: Path) -> None:
    if path == "/abs":
        path = str(folder / "there" / "log.txt")
    if mode == "r+" and not Path(path).exists():
        pytest.skip("only files that exist can be opened this way")
    env = drawing.WritesLines(make(toys.Native), path, mode)
    before = contents(folder)
    wrapped = proved(env)
    assert contents(folder) == before
    wrapped.step("draw")
    assert contents(folder) != before


def test_a_file_that_must_not_be_removed(folder: Path) -> None:
    path = folder / "here" / "number.txt"
    env = lg.RollbackWrapper(make(drawing.RemovesFile, path=str(path)))
    kept = path.read_text()
    seen = []
    base: Any = env.unwrapped
    original = base.reset

    def reset(**kwargs: Any) -> Any:
        seen.append(path.read_text())  # still there when the user's own reset begins
        return original(**kwargs)

    base.reset = reset
    env.reset(seed=0)
    assert seen == [kept]
    assert "must not change" in env.backend_report.note


def test_relative_paths_can_be_read(folder: Path) -> None:
    env = proved(make(drawing.ReadsFile, name="number.txt"))
    assert env.backend_report.chosen in ("pickle", "replay")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("absolute", [True, False])
def test_recorded_videos(absolute: bool, folder: Path) -> None:
    pytest.importorskip("moviepy", reason="moviepy is not installed")
    pytest.importorskip("pygame", reason="pygame is not installed")
    place = str(folder / "videos") if absolute else "videos"

    def record(wrap: bool) -> dict[str, bytes | None]:
        env: Any = gym.wrappers.RecordVideo(
            gym.make("CartPole-v1", render_mode="rgb_array"), place, episode_trigger=lambda _: True
        )
        env = lg.RollbackWrapper(env) if wrap else env
        for seed in (0, 1):
            env.reset(seed=seed)
            if wrap:
                env.snapshot()
            for number in range(5):
                env.step(number % 2)
        env.close()
        return {name: data for name, data in contents(folder).items() if name.endswith(".mp4")}

    expected = record(wrap=False)
    assert len(expected) == 2
    assert record(wrap=True) == expected


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    proved(make(drawing.Prints))
    assert capfd.readouterr() == ("", "")


def test_the_surroundings_stay(folder: Path) -> None:
    before = dict(os.environ), os.getcwd(), list(sys.path), sys.dont_write_bytecode
    proved(make(toys.Counter))
    assert before == (dict(os.environ), os.getcwd(), list(sys.path), sys.dont_write_bytecode)
    assert "SDL_VIDEODRIVER" not in before[0]


@pytest.mark.parametrize("how", ["abort", "exit", "hang"])
def test_what_ends_the_process_that_verifies(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "hang":
        monkeypatch.setattr(process, "_JOB_SECONDS", 3.0)
    env = lg.RollbackWrapper(make(drawing.Aborts, how=how, spared=os.getpid()))
    env.reset(seed=0)
    said = "did not finish" if how == "hang" else "ended"
    assert said in env.backend_report.note
    monkeypatch.undo()
    env.step("draw")
    saved = env.snapshot()
    assert (saved.kind, env.backend_report.proved) == ("replay", False)
    after = env.step("draw")
    env.restore(saved)
    assert env.step("draw") == after
    proved(make(toys.Counter))  # the next job finds it working


PROGRAM = """
import sys; sys.path.insert(0, {path!r})
import gymnasium as gym, leafe_gym as lg, toy_envs, threading
def sealed():
    lock = threading.Lock()
    class Local(toy_envs.Native): pass
    return lambda: (lock, Local())[1]
class Mine(toy_envs.Native):
    'Exists in this program only.'
gym.register("me/Mine-v0", Mine, max_episode_steps=20)
class Nested(toy_envs.Native):
    def __init__(self):
        super().__init__()
        self.inner = gym.make("me/Mine-v0")
make = {make}
env = lg.RollbackWrapper(make(), factory={factory})
env.reset(seed=0)
print(env.backend_report.proved, env.snapshot().kind, env.backend_report.note)
"""


@pytest.mark.parametrize(
    ("make", "factory"),
    [
        ('lambda: gym.make("me/Mine-v0")', "None"),
        ("Mine", "None"),
        ("Mine", "Mine"),
        ("Nested", "Nested"),
        ("sealed()", "make"),
    ],
)
def test_classes_of_the_users_program(make: str, factory: str) -> None:
    path = str(Path(toys.__file__).parent)
    program = PROGRAM.format(path=path, make=make, factory=factory)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True native \n", "")


def test_a_module_outside_of_the_path(tmp_path: Path) -> None:
    source = tmp_path / "hidden_module.py"
    source.write_text("import toy_envs\nclass Hidden(toy_envs.Native): pass\n")
    spec = importlib.util.spec_from_file_location("hidden_module", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["hidden_module"] = module
    spec.loader.exec_module(module)
    try:
        assert proved(module.Hidden(), factory=module.Hidden).snapshot().kind == "native"
    finally:
        del sys.modules["hidden_module"]


def test_a_fork_of_the_program_has_a_process_of_its_own() -> None:
    proved(make(toys.Counter))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            env = lg.RollbackWrapper(make(toys.Native, goal=41), probe_actions=["add", "draw"])
            env.reset(seed=0)
            os.write(write, env.backend_report.chosen.encode())
            running = process.start_verification_process()
            assert running is not None
            running.stop()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == "native"
    proved(make(toys.Counter))


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The requests that go to the process that verifies."""
    made: list[Any] = []
    run = selection.run_job

    def counted(function: Any, request: Any) -> Any:
        made.append(request)
        return run(function, request)

    monkeypatch.setattr(selection, "run_job", counted)
    return made


class Task(toys.Native):
    """Configured anew for each task."""

    def __init__(self, goal: int = 40, word: str = "", careless: bool = False) -> None:
        super().__init__(goal)
        self.word, self.careless = word, careless

    def set_state(self, state: Any) -> None:
        super().set_state((0, state[1]) if self.careless else state)


@pytest.mark.parametrize("name", ["goal", "word"])
def test_many_tasks_are_verified_a_few_times(name: str, jobs: list[Any]) -> None:
    for number in range(12):
        value: Any = number if name == "goal" else f"word {number}"
        env = lg.RollbackWrapper(make(Task, **{name: value}), probe_actions=[*PROBE, name])
        env.reset(seed=number)
        assert env.snapshot().kind == "native"
    assert len(jobs) == 3
    assert "3 other configurations" in env.backend_report.note


def test_a_switch_is_verified_for_itself(jobs: list[Any]) -> None:
    kinds = []
    for number in range(12):
        env = lg.RollbackWrapper(
            make(Task, goal=number, careless=number % 2 == 1), probe_actions=PROBE
        )
        env.reset(seed=0)
        kinds.append(env.snapshot().kind)
    assert kinds[::2] == ["native"] * 6
    assert set(kinds[1::2]) <= {"pickle", "replay"}
    # Three each; more of the careless where which of both is cheaper came out differently.
    assert 6 <= len(jobs) <= 9
