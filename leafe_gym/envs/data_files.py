"""Data files of environments: the argument `data=` and the folder `LEAFE_DATA`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from importlib import resources
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

from leafe_gym.errors import UsageError

_LOGGER = getLogger(__name__)

VARIABLE = "LEAFE_DATA"
"""Environment variable with the folder in which relative paths are looked up as well."""


class OfficialFile(NamedTuple):
    """A file or folder of official data that `LEAFE_DATA` may hold.

    Attributes:
        name: its name there.
        source: where it is to be had.
        environments: ids -> what they use without `data=`.
        pattern: of the files in the folder, one of which is given as `data=`; "" for all of it.
    """

    name: str
    source: str
    environments: dict[str, str]
    pattern: str = ""

    def argument(self, root: Path) -> str | None:
        """What to pass as `data=`, relative to `root`; None if it is not there."""
        place = root / self.name
        if not self.pattern or not place.is_dir():
            return self.name if place.exists() else None
        first = min(place.glob(self.pattern), default=None)
        return None if first is None else first.relative_to(root).as_posix()


OFFICIAL = (
    OfficialFile(
        "mbpp.jsonl",
        "github.com/google-research/google-research/tree/master/mbpp",
        {"leafe/MBPP-v0": "12 shipped problems"},
    ),
    OfficialFile(
        "HumanEval.jsonl.gz",
        "github.com/openai/human-eval/tree/master/data",
        {"leafe/MBPP-v0": "12 shipped problems"},
    ),
    OfficialFile(
        "boxoban",
        "github.com/google-deepmind/boxoban-levels",
        {"leafe/Sokoban-v0": "generated levels"},
        "**/*.txt",
    ),
    OfficialFile(
        "webshop",
        "github.com/princeton-nlp/WebShop (setup.sh)",
        {"leafe/WebShop-v0": "400 shipped products"},
    ),
    OfficialFile(
        "code_contests",
        "huggingface.co/datasets/deepmind/code_contests",
        {"leafe/CodeContests-v0": "20 shipped problems"},
        "**/*.parquet",
    ),
)
_ALIASES = ("data", "levels", "problems", "games", "game", "trial")
_noted: set[str] = set()


def note_unused_data(env_id: str, kwargs: Mapping[str, Any]) -> None:
    """Log, once a process, that `LEAFE_DATA` holds official data that is not used.

    Args:
        env_id: of the environment whose tasks are listed.
        kwargs: its arguments.
    """
    root = os.environ.get(VARIABLE)
    if not root or env_id in _noted or any(kwargs.get(name) is not None for name in _ALIASES):
        return
    ours = [one for one in OFFICIAL if env_id in one.environments]
    found = [name for one in ours if (name := one.argument(Path(root))) is not None]
    if found:
        _noted.add(env_id)
        _LOGGER.warning(
            "%s uses its %s, not the official data in %s: pass data=%r for that (--data)",
            env_id,
            ours[0].environments[env_id],
            root,
            found[0],
        )


def data_argument(data: Any, alias: str = "data", value: Any = None) -> str | None:
    """The path given as `data=` or under an older name of the argument.

    Args:
        data: the value of `data=`.
        alias: the older name.
        value: the value given under that name.

    Raises:
        UsageError: if both are given, or the value is not a path.
    """
    if data is not None and value is not None:
        raise UsageError(f"data={data!r} and {alias}={value!r} are the same argument: give one")
    name, given = ("data", data) if value is None else (alias, value)
    if given is None:
        return None
    if not isinstance(given, str | os.PathLike) or not os.fspath(given):
        raise UsageError(f"{name}={given!r}: give the path of a file or folder")
    return os.fsdecode(given)


def take_data(kwargs: dict[str, Any], alias: str = "data") -> str | None:
    """Remove `data` and its older name from arguments; returns the path that they give.

    Args:
        kwargs: arguments of an environment; changed.
        alias: the older name.

    Raises:
        UsageError: see `data_argument`.
    """
    older = kwargs.pop(alias, None) if alias != "data" else None
    return data_argument(kwargs.pop("data", None), alias, older)


def find_data(
    path: str | os.PathLike[str], advice: str = "", accept: Callable[[Path], bool] = Path.exists
) -> Path:
    """The absolute path of a file or folder.

    Args:
        path: absolute, or relative to the current folder or to `LEAFE_DATA`.
        advice: where to get the file, for the message.
        accept: whether what is found there can be used.

    Raises:
        UsageError: if it exists in none of these places; names them.
    """
    found = search_data(path, accept)
    if found is None:
        looked = " or ".join(map(str, _places(Path(path).expanduser())))
        raise UsageError(f"data={str(path)!r}: there is no {looked}. {advice}".rstrip())
    return found


def packaged_json(package: str, name: str) -> Any:
    """The content of a JSON file that comes with a subpackage of environments.

    Args:
        package: the subpackage, such as "webshop".
        name: of the file.
    """
    place = resources.files(f"leafe_gym.envs.{package}") / name
    return json.loads(place.read_text("utf-8"))


def search_data(
    path: str | os.PathLike[str], accept: Callable[[Path], bool] = Path.exists
) -> Path | None:
    """As `find_data`, for the first place that `accept` takes; None if there is none."""
    for place in _places(Path(path).expanduser()):
        if accept(place):
            return place.resolve()
    return None


def _places(path: Path) -> list[Path]:
    root = os.environ.get(VARIABLE)
    return [path, Path(root) / path] if root and not path.is_absolute() else [path]
