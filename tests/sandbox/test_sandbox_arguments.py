"""Arguments of the wrong type or range: a `UsageError` that names them, and nothing is harmed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leafe_gym.errors import LeafeError, SandboxUnavailable, UsageError
from leafe_gym.sandbox.base import (
    SANDBOXES,
    Sandbox,
    SandboxLimits,
    SandboxSnapshot,
    make_sandbox,
)

NAN, INF = float("nan"), float("inf")
KINDS = ("embedded", "unsandboxed")


def created(kind: str, **options: Any) -> Sandbox:
    return make_sandbox(kind, allow_unsandboxed=kind == "unsandboxed", **options)


@pytest.fixture(scope="module", params=KINDS)
def box(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    made = created(request.param)
    made.start()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"limits": 3}, "limits=3"),
        ({"limits": {"call_s": 1.0}}, "limits="),
        ({"limits": SandboxLimits}, "limits="),
        ({"kind": 3}, "kind=3"),
        ({"kind": None}, "kind=None"),
        ({"kind": "embeded"}, "did you mean: embedded"),
        ({"kind": "unsandboxed"}, "allow_unsandboxed=True"),
        ({"allow_unsandboxed": "yes"}, "allow_unsandboxed='yes'"),
        ({"imge": "x"}, "imge"),
        ({"files": "best"}, "files='best'"),
        ({"readable": "/usr"}, "readable='/usr'"),
        ({"readable": [3]}, "readable="),
    ],
)
def test_make_sandbox(arguments: dict[str, Any], names: str) -> None:
    with pytest.raises(UsageError, match=names):
        make_sandbox(**arguments)


@pytest.mark.parametrize("field", sorted(SandboxLimits.model_fields))
@pytest.mark.parametrize("value", [-1, 0, NAN, INF, "1", [1], True, -0.5])
def test_limits(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=field):
        SandboxLimits(**{field: value})


def test_limits_that_do_not_exist() -> None:
    with pytest.raises(UsageError, match="did you mean: memory_mb"):
        SandboxLimits(memory=3)  # type: ignore[call-arg]
    assert SandboxLimits(call_s=1, cpu_s=None).call_s == 1.0


WRONG: list[tuple[Callable[[Any], Any], str]] = [
    (lambda box: box.run_cell(3), "code=3"),
    (lambda box: box.run_cell(b"1"), "code="),
    (lambda box: box.run_cell("1", timeout=0), "timeout=0"),
    (lambda box: box.run_cell("1", timeout=-1.0), "timeout=-1.0"),
    (lambda box: box.run_cell("1", timeout=NAN), "timeout=nan"),
    (lambda box: box.run_cell("1", timeout="1"), "timeout='1'"),
    (lambda box: box.run_program("ls"), "argv='ls'"),
    (lambda box: box.run_program([]), "argv is empty"),
    (lambda box: box.run_program(["ls", 3]), "argv="),
    (lambda box: box.run_program(["ls\0"]), "null character"),
    (lambda box: box.run_program(["cat"], stdin=b"x"), "stdin="),
    (lambda box: box.run_program(["cat"], stdin="\ud800"), "stdin cannot be encoded"),
    (lambda box: box.run_program(["cat"], limits=3), "limits=3"),
    (lambda box: box.run_program(["cat"], limits=0), "limits=0"),
    (lambda box: box.write_file(3, b""), "path=3"),
    (lambda box: box.write_file("", b""), "path=''"),
    (lambda box: box.write_file("a\0b", b""), "path="),
    (lambda box: box.write_file("\ud800", b""), "path cannot be encoded"),
    (lambda box: box.write_file("f", "text"), "data is a str"),
    (lambda box: box.read_file(None), "path=None"),
    (lambda box: box.read_file("f", -1), "limit=-1"),
    (lambda box: box.read_file("f", 1.5), "limit=1.5"),
    (lambda box: box.restore(3), "snapshot=3"),
    (lambda box: box.branch(None), "snapshot=None"),
    (lambda box: box.drop("s"), "snapshot='s'"),
    (lambda box: box.restore(SandboxSnapshot(kind="other", token=3)), "'other'"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_calls(box: Sandbox, number: int) -> None:
    call, names = WRONG[number]
    box.run_cell("n = 1")
    with pytest.raises(UsageError, match=names):
        call(box)
    assert box.run_cell("n").stdout == "1\n"


def test_a_program_that_cannot_be_started_is_a_result(box: Sandbox) -> None:
    missing = box.run_program(["no-such-program"])
    assert (missing.exit_code, "no-such-program" in missing.stderr) == (127, True)
    box.write_file("plain", b"text")
    assert box.run_program(["./plain"]).exit_code == 126


ANY = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5),
    st.binary(max_size=5), st.lists(st.one_of(st.integers(), st.text()), max_size=2),
    st.dictionaries(st.text(), st.none()),
)  # fmt: skip
CALLS = ("run_cell", "run_program", "write_file", "read_file", "restore", "branch", "drop")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(CALLS), data=st.data())
def test_only_our_errors_come_out(box: Sandbox, name: str, data: st.DataObject) -> None:
    method = getattr(box, name)
    arguments = {}
    for parameter in inspect.signature(method).parameters.values():
        if parameter.default is inspect.Parameter.empty or data.draw(st.booleans()):
            arguments[parameter.name] = data.draw(ANY)
    with suppress(LeafeError, FileNotFoundError):
        method(**arguments)


@settings(max_examples=60)
@given(
    kind=st.one_of(ANY, st.sampled_from(["embedded", "unsandboxed"])),
    limits=ANY,
    allow=ANY,
    options=st.dictionaries(st.sampled_from(["files", "readable", "image"]), ANY),
)
def test_only_our_errors_come_out_of_make_sandbox(
    kind: Any, limits: Any, allow: Any, options: dict[str, Any]
) -> None:
    with suppress(UsageError, SandboxUnavailable):
        make_sandbox(kind, limits=limits, allow_unsandboxed=allow, **options)


def test_another_packages_sandbox_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Other:
        kind = "other"

        def __init__(self, limits: SandboxLimits, color: str = "red") -> None:
            made.append((limits, color))

    monkeypatch.setitem(SANDBOXES._own, "other", Other)
    assert make_sandbox("other", color="blue").kind == "other"
    assert made == [(SandboxLimits(), "blue")]
    with pytest.raises(UsageError, match="colour"):
        make_sandbox("other", colour="blue")
    monkeypatch.setitem(SANDBOXES._own, "other", 3)
    with pytest.raises(UsageError, match="cannot be created"):
        make_sandbox("other")
