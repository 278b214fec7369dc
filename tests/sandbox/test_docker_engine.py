"""Container sandboxes against a fake engine: failures and their messages."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_docker import ID, FakeDocker

from leafe_gym.errors import MissingExtra, SandboxError, SandboxUnavailable, SnapshotLost
from leafe_gym.sandbox.base import SandboxLimits, make_sandbox
from leafe_gym.sandbox.docker import container as container_module
from leafe_gym.sandbox.docker import docker_client, ownership
from leafe_gym.sandbox.docker.container import Container, ContainerSpec
from leafe_gym.sandbox.docker.docker_client import ContentExists, DockerClient
from leafe_gym.sandbox.docker.ownership import OWNER, SANDBOX, OwnedResources, sweep

pytest.importorskip("docker", reason="pip install 'leafe-gym[docker]'")
KINDS = ("docker", "docker-commit")
CLASH = (500, {"message": "content sha256:12: already exists"})


@pytest.fixture
def fake(tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDocker]:
    made = FakeDocker(tmp_path_factory.mktemp("e"))
    monkeypatch.setenv("LEAFE_DOCKER_HOST", made.host)
    monkeypatch.setattr(docker_client, "TIMEOUT_S", 1.0)
    monkeypatch.setattr(docker_client, "PATIENCE_S", 0.0)
    monkeypatch.setattr(container_module, "remount_root_read_only", lambda pid: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    yield made
    made.close()


@pytest.fixture
def box(fake: FakeDocker) -> Iterator[Container]:
    resources = OwnedResources(DockerClient())
    made = Container(ContainerSpec("image", 20001, SandboxLimits()), resources)
    yield made
    made.disconnect()
    resources.remove_all()


def begun(box: Container, fake: FakeDocker, name: str = "c1") -> Path:
    """Start the container; returns the folder of a prepared checkpoint."""
    box.start()
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
    assert docker_client.docker_host() == "unix:///var/run/docker.sock"
    monkeypatch.setenv("DOCKER_HOST", "unix:///one")
    assert docker_client.docker_host() == "unix:///one"
    monkeypatch.setenv("LEAFE_DOCKER_HOST", "unix:///two")
    assert docker_client.docker_host() == "unix:///two"


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
    fake: FakeDocker, request_: str, answer: Any, says: str
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
def test_an_engine_that_fails_in_mid_request(fake: FakeDocker, answer: Any, says: str) -> None:
    sandbox = make_sandbox("docker-commit")
    fake.tell("POST /containers/create", answer)
    began = time.monotonic()
    with pytest.raises(SandboxError, match=says) as caught:
        sandbox.start()
    assert time.monotonic() - began < 60
    assert fake.host in str(caught.value)
    sandbox.close()


@pytest.mark.parametrize("answer", ["die", "hang"])
def test_a_first_process_that_is_gone(box: Container, fake: FakeDocker, answer: str) -> None:
    fake.tell(r"POST /containers/\w+/attach", answer)
    with pytest.raises(SandboxError):
        box.start()


def test_a_hostile_first_process_is_bounded(box: Container, fake: FakeDocker) -> None:
    box.start()
    with pytest.raises(SandboxError, match="a message of"):
        box.client.ask("hostile")
    with pytest.raises(SandboxError, match="gone"):
        box.client.ask("exchange_token")


def test_a_checkpoint_of_the_same_content_is_tried_again(box: Container, fake: FakeDocker) -> None:
    begun(box, fake)
    saving = r"POST /containers/\w+/checkpoints"
    fake.tell(saving, CLASH, (201, None))
    name, token, _ = box.checkpoint()
    tries = [one for one in fake.bodies if one and "CheckpointID" in one]
    assert len({one["CheckpointID"] for one in tries}) == 2
    assert tries[-1] == {"CheckpointID": name, "Exit": False}
    assert fake.token == token
    fake.tell(saving, CLASH)
    with pytest.raises(ContentExists):
        box.checkpoint()


def test_coming_back(box: Container, fake: FakeDocker) -> None:
    folder = begun(box, fake)
    starting = r"POST /containers/\w+/start"
    fake.tell(starting, CLASH, (204, None))
    fake.token = "right"
    box.restore("c1", "right")
    assert len((folder / "nonce").read_text()) == 32
    assert fake.asked.count(f"POST /containers/{ID}/start?checkpoint=c1") == 2
    assert any("/stop" in one for one in fake.asked)


@pytest.mark.parametrize("token", ["", "another", None])
def test_an_engine_that_starts_another_container_is_found_out(
    box: Container, fake: FakeDocker, token: str | None
) -> None:
    """A new container has no token, or its interpreter waits for other data and ends."""
    begun(box, fake)
    fake.token = token
    with pytest.raises(SnapshotLost):
        box.restore("c1", "right")


def test_a_checkpoint_that_was_removed(box: Container, fake: FakeDocker) -> None:
    begun(box, fake)
    with pytest.raises(SnapshotLost, match="gone"):
        box.restore("c2", "right")


def test_newer_engines_get_a_container_that_holds_the_network(fake: FakeDocker) -> None:
    fake.tell("GET /version", (200, {"ApiVersion": "1.48", "Version": "28.5.2"}))
    ids = ["a" * 64, "b" * 64]
    fake.tell("POST /containers/create", *((201, {"Id": one}) for one in ids))
    resources = OwnedResources(DockerClient())
    box = Container(ContainerSpec("image", 20001, SandboxLimits()), resources)
    box.start()
    box.disconnect()
    networks = [one["HostConfig"]["NetworkMode"] for one in fake.bodies if one and "Image" in one]
    assert networks == ["none", f"container:{ids[0]}"]
    resources.remove_all()
    assert {f"DELETE /containers/{one}" for one in ids} <= {
        one.partition("?")[0] for one in fake.asked
    }


def test_a_container_may_do_nothing(box: Container, fake: FakeDocker) -> None:
    box.start()
    config = next(one for one in fake.bodies if one and "Image" in one)
    host = config["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True
    assert host["Memory"] == host["MemorySwap"]
    assert host["PidsLimit"] <= SandboxLimits().processes + 4
    assert config["User"] == "20001:20001"
    assert config["Labels"].keys() == {SANDBOX, OWNER}
    assert "Binds" not in host


def test_the_sweep_takes_what_is_nobodys(fake: FakeDocker, monkeypatch: Any) -> None:
    engine, me = DockerClient(), ownership._owner_id()
    mine = OwnedResources(engine)
    machine, boot, space, _, _ = me.split("/")
    parent = os.getppid()
    owners = {
        "open": (me, mine.id),
        "given-up": (me, "other"),
        "dead": (f"{machine}/{boot}/{space}/999999999/5", "x"),
        "recycled": (f"{machine}/{boot}/{space}/{parent}/1", "x"),
        "alive": (f"{machine}/{boot}/{space}/{parent}/{ownership._start_time(parent)}", "x"),
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
    mine.remove_all()


def test_an_engine_that_comes_back_is_waited_for(
    fake: FakeDocker, tmp_path_factory: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(docker_client, "PATIENCE_S", 5.0)
    DockerClient()
    fake.tell("GET /version", "die", "die", *fake.answers["GET /version"])
    assert DockerClient().major == 20
