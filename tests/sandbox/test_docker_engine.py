"""Container sandboxes against an invented engine: what fails, and how it is said."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_engine import ID, FakeEngine

from leafe_gym.errors import MissingExtra, SandboxError, SandboxUnavailable, SnapshotLost
from leafe_gym.sandbox.base import Limits, make_sandbox
from leafe_gym.sandbox.docker import box as box_module
from leafe_gym.sandbox.docker import engine as engine_module
from leafe_gym.sandbox.docker import owner
from leafe_gym.sandbox.docker.box import Box, Kind
from leafe_gym.sandbox.docker.engine import Clash, Engine
from leafe_gym.sandbox.docker.owner import OWNER, SANDBOX, Belongings, sweep

pytest.importorskip("docker", reason="pip install 'leafe-gym[docker]'")
KINDS = ("docker", "docker-commit")
CLASH = (500, {"message": "content sha256:12: already exists"})


@pytest.fixture
def fake(tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    made = FakeEngine(tmp_path_factory.mktemp("e"))
    monkeypatch.setenv("LEAFE_DOCKER_HOST", made.host)
    monkeypatch.setattr(engine_module, "TIMEOUT_S", 1.0)
    monkeypatch.setattr(engine_module, "PATIENCE_S", 0.0)
    monkeypatch.setattr(box_module, "close_root", lambda pid: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    yield made
    made.close()


@pytest.fixture
def box(fake: FakeEngine) -> Iterator[Box]:
    belongings = Belongings(Engine())
    made = Box(Kind("image", 20001, Limits()), belongings)
    yield made
    made.hang_up()
    belongings.remove()


def begun(box: Box, fake: FakeEngine, name: str = "c1") -> Path:
    """Start it; the folder of a checkpoint that it is given."""
    box.begin()
    root = Path(fake.host.removeprefix("unix://")).parent
    folder = root / "containers" / ID / "checkpoints" / name
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_without_an_engine_it_says_what_to_do(kind: str, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("LEAFE_DOCKER_HOST", f"unix://{tmp_path}/none")
    with pytest.raises(SandboxUnavailable, match="LEAFE_DOCKER_HOST"):
        make_sandbox(kind)
    assert make_sandbox(kind, allow_unsandboxed=True).kind == "unsandboxed"


def test_the_engine_is_where_the_environment_says(monkeypatch: Any) -> None:
    for name in ("LEAFE_DOCKER_HOST", "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)
    assert engine_module.engine_host() == "unix:///var/run/docker.sock"
    monkeypatch.setenv("DOCKER_HOST", "unix:///one")
    assert engine_module.engine_host() == "unix:///one"
    monkeypatch.setenv("LEAFE_DOCKER_HOST", "unix:///two")
    assert engine_module.engine_host() == "unix:///two"


def test_a_missing_sdk_is_one_line(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    with pytest.raises(MissingExtra, match=r"pip install 'leafe-gym\[docker\]'") as caught:
        make_sandbox("docker-commit")
    assert "\n" not in str(caught.value)


def test_nothing_loads_the_sdk_before_it_is_needed() -> None:
    code = (
        "import sys, leafe_gym, leafe_gym.sandbox.docker.sandbox\n"
        "assert not {'docker', 'requests'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("request_", "answer", "says"),
    [
        (
            r"GET /images/\S+/json",
            (404, {"message": "No such image"}),
            "has no image .*docker pull",
        ),
        (r"GET /info", (200, {"ExperimentalBuild": False}), 'experimental": true.*docker-commit'),
        (
            r"GET /info",
            (200, {"ExperimentalBuild": True, "DockerRootDir": "/nowhere"}),
            "takes root.*docker-commit",
        ),
        (r"POST /containers/create", (500, {"message": "disk full"}), "disk full.*criu check"),
    ],
)
def test_what_an_engine_lacks_is_named(
    fake: FakeEngine, request_: str, answer: Any, says: str
) -> None:
    fake.tell(request_, answer)
    with pytest.raises(SandboxUnavailable, match=says):
        make_sandbox("docker")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("die", "does not answer"),
        ("hang", "does not answer"),
        ("garbage", "does not answer"),
        ((500, {"message": "no space left"}), "no space left"),
        ((201, {"Warnings": []}), "does not answer"),
    ],
)
def test_an_engine_that_fails_in_mid_request(fake: FakeEngine, answer: Any, says: str) -> None:
    sandbox = make_sandbox("docker-commit")
    fake.tell("POST /containers/create", answer)
    began = time.monotonic()
    with pytest.raises(SandboxError, match=says) as caught:
        sandbox.start()
    assert time.monotonic() - began < 4
    assert fake.host in str(caught.value)
    sandbox.close()


@pytest.mark.parametrize("answer", ["die", "hang"])
def test_a_first_process_that_is_gone(box: Box, fake: FakeEngine, answer: str) -> None:
    fake.tell(r"POST /containers/\w+/attach", answer)
    with pytest.raises(SandboxError):
        box.begin()


def test_a_hostile_first_process_is_bounded(box: Box, fake: FakeEngine) -> None:
    box.begin()
    with pytest.raises(SandboxError, match="a message of"):
        box.line.ask("hostile")
    with pytest.raises(SandboxError, match="gone"):
        box.line.ask("token")


def test_a_checkpoint_of_the_same_content_is_tried_again(box: Box, fake: FakeEngine) -> None:
    begun(box, fake)
    saving = r"POST /containers/\w+/checkpoints"
    fake.tell(saving, CLASH, (201, None))
    name, word, _ = box.save()
    tries = [one for one in fake.bodies if one and "CheckpointID" in one]
    assert len({one["CheckpointID"] for one in tries}) == 2
    assert tries[-1] == {"CheckpointID": name, "Exit": False}
    assert fake.word == word
    fake.tell(saving, CLASH)
    with pytest.raises(Clash):
        box.save()


def test_coming_back(box: Box, fake: FakeEngine) -> None:
    folder = begun(box, fake)
    starting = r"POST /containers/\w+/start"
    fake.tell(starting, CLASH, (204, None))
    fake.word = "right"
    box.come_back("c1", "right")
    assert len((folder / "nonce").read_text()) == 32
    assert fake.asked.count(f"POST /containers/{ID}/start?checkpoint=c1") == 2
    assert any("/stop" in one for one in fake.asked)


@pytest.mark.parametrize("word", ["", "another", None])
def test_an_engine_that_starts_another_container_is_found_out(
    box: Box, fake: FakeEngine, word: str | None
) -> None:
    """A fresh one has no word, or its interpreter waits for something else and ends."""
    begun(box, fake)
    fake.word = word
    with pytest.raises(SnapshotLost):
        box.come_back("c1", "right")


def test_a_checkpoint_that_was_removed(box: Box, fake: FakeEngine) -> None:
    begun(box, fake)
    with pytest.raises(SnapshotLost, match="gone"):
        box.come_back("c2", "right")


def test_newer_engines_get_a_container_that_holds_the_network(fake: FakeEngine) -> None:
    fake.tell("GET /version", (200, {"ApiVersion": "1.48", "Version": "28.5.2"}))
    ids = ["a" * 64, "b" * 64]
    fake.tell("POST /containers/create", *((201, {"Id": one}) for one in ids))
    belongings = Belongings(Engine())
    box = Box(Kind("image", 20001, Limits()), belongings)
    box.begin()
    box.hang_up()
    networks = [one["HostConfig"]["NetworkMode"] for one in fake.bodies if one and "Image" in one]
    assert networks == ["none", f"container:{ids[0]}"]
    belongings.remove()
    assert {f"DELETE /containers/{one}" for one in ids} <= {
        one.partition("?")[0] for one in fake.asked
    }


def test_a_container_may_do_nothing(box: Box, fake: FakeEngine) -> None:
    box.begin()
    config = next(one for one in fake.bodies if one and "Image" in one)
    host = config["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True
    assert host["Memory"] == host["MemorySwap"]
    assert host["PidsLimit"] <= Limits().processes + 4
    assert config["User"] == "20001:20001"
    assert config["Labels"].keys() == {SANDBOX, OWNER}
    assert "Binds" not in host


def test_the_sweep_takes_what_is_nobodys(fake: FakeEngine, monkeypatch: Any) -> None:
    engine, me = Engine(), owner._me()
    mine = Belongings(engine)
    machine, boot, space, _, _ = me.split("/")
    parent = os.getppid()
    owners = {
        "open": (me, mine.id),
        "given-up": (me, "other"),
        "dead": (f"{machine}/{boot}/{space}/999999999/5", "x"),
        "recycled": (f"{machine}/{boot}/{space}/{parent}/1", "x"),
        "alive": (f"{machine}/{boot}/{space}/{parent}/{owner._start_of(parent)}", "x"),
        "before-the-boot": (f"{machine}/0/{space}/{os.getpid()}/5", "x"),
        "elsewhere": (f"other/{boot}/{space}/999999999/5", "x"),
        "other-namespace": (f"{machine}/{boot}/1/999999999/5", "x"),
        "nonsense": ("?", "x"),
    }
    told = [{"Id": key, "Labels": {OWNER: who, SANDBOX: of}} for key, (who, of) in owners.items()]
    fake.tell(r"GET /containers/json", (200, told))
    assert sweep(engine) == 4
    gone = {one.split("?")[0].rpartition("/")[2] for one in fake.asked if "DELETE" in one}
    assert gone == {"given-up", "dead", "recycled", "before-the-boot"}
    mine.remove()


def test_an_engine_that_comes_back_is_waited_for(
    fake: FakeEngine, tmp_path_factory: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(engine_module, "PATIENCE_S", 5.0)
    Engine()
    fake.tell("GET /version", "die", "die", *fake.answers["GET /version"])
    assert Engine().major == 20
