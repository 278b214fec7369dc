"""What the name of a model stands for: a registered policy, a server, a folder or a hub name.

| name | base URL | policy |
| --- | --- | --- |
| a registered name, such as "scripted" or "tiny" | none | that policy |
| anything | given | "openai": the model of that name behind the server |
| an existing folder with config.json | none | "transformers" or "vllm" in this process, or "tiny" |
| an existing folder with adapter_config.json | none | its base model, with the adapter |
| "owner/name" | none | "transformers" or "vllm": that model of the Hugging Face hub |

A wrong name must not be taken for a model that would have to be downloaded: a name on the hub has
exactly one "/", no folder here goes by its first part, and no registered name is like it.
"""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any

from leafe_gym._models import moved_base, of_training
from leafe_gym._registry import import_object
from leafe_gym.errors import UsageError
from leafe_gym.registry import REGISTRIES
from leafe_gym.types import Json

POLICIES = REGISTRIES["policy"]
ENGINES = ("transformers", "vllm")
"""What runs a model in this process; the first is the default."""
POSSIBLE = (
    "a registered name, module:attribute, a folder with config.json or adapter_config.json, a name "
    "on the hub (owner/name), or a served model's name with its base URL"
)
_HUB = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_LIKE = 0.75
"""Similarity to a registered name from which a hub name is taken for a typing error."""


def find_model(name: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The registered policy, or "module:attribute", that runs a model, and its options.

    Args:
        name: see the module.
        options: of the policy; `engine` is taken out of those of a model.

    Raises:
        UsageError: if nothing has this name, or an option does not apply to it.
    """
    engine, adapter = options.get("engine"), options.get("adapter")
    if isinstance(adapter, str | Path) and str(adapter):
        options = {**options, "adapter": str(of_training(Path(adapter).expanduser()))}
    if name in POLICIES:
        return name, options
    if options.get("base_url") is not None:
        if engine is not None:
            raise UsageError(
                f"engine={engine!r}: runs a model in this process, and base_url names a server"
            )
        return "openai", _named(name, options)
    options = {key: value for key, value in options.items() if key != "base_url"}
    if _is_folder(Path(name).expanduser()):
        return _in_folder(Path(name).expanduser(), options)
    if "://" in name:
        raise UsageError(f"{name} is a URL: name the model, and give the URL as base_url")
    if ":" in name:
        return name, options
    _require_hub_name(name)
    return _in_process(name, options)


def find_weights(name: str) -> str:
    """The folder, file or hub name of the weights that a name stands for.

    Args:
        name: "tiny", a path that exists, or a name on the hub.

    Raises:
        UsageError: if it is none of these.
    """
    if name == "tiny":
        return str(import_object("leafe_gym.tiny.policy:SHIPPED") / "blind")
    path = Path(name).expanduser()
    if _is_there(path):
        return str(of_training(path))
    if not _HUB.fullmatch(name) or name.startswith(".") or _is_folder(Path(name.split("/")[0])):
        raise UsageError(
            f"there are no weights {name!r}: expected a folder, a name on the hub (owner/name), or "
            "tiny"
        )
    return name


def _in_process(model: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    engine = options.pop("engine", None) or ENGINES[0]
    if engine not in ENGINES:
        raise UsageError(f"engine={engine!r}: expected one of {', '.join(ENGINES)}")
    return engine, _named(model, options)


def _named(model: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options with the model that a name stands for.

    Raises:
        UsageError: if they name another one.
    """
    if options.get("model", model) != model:
        raise UsageError(f"model={options['model']!r}: the model is {model!r} already")
    return {**options, "model": model}


def _in_folder(folder: Path, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A model or adapter that is saved in a folder, or in `model/` of a training's folder."""
    folder = of_training(folder)
    adapter = _read(folder / "adapter_config.json")
    if adapter is not None:
        if options.get("adapter") is not None:
            raise UsageError(f"{folder} is an adapter itself, and adapter= names another one")
        base = adapter.get("base_model_name_or_path")
        if not isinstance(base, str) or not base:
            raise UsageError(f"{folder}: adapter_config.json does not name its base model")
        base = moved_base(folder, base)
        if not _is_folder(Path(base)):
            _require_hub_name(base, f"{folder}: its base model {base!r} is not there: ")
        return find_model(base, {**options, "adapter": str(folder)})
    config = _read(folder / "config.json")
    if config is None:
        raise UsageError(f"{folder}: holds no config.json, so it is not a model")
    if not _is_tiny(config):
        return _in_process(str(folder), options)
    if options.get("engine") is not None:
        raise UsageError(
            f"engine={options['engine']!r}: {folder} is a small model, which needs none"
        )
    return "tiny", _named(str(folder), {k: v for k, v in options.items() if k != "engine"})


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for one
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long for one
        return False


def _read(path: Path) -> dict[str, Json] | None:
    """A JSON object in a file; None if there is no file.

    Raises:
        UsageError: if it holds something else.
    """
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path}: expected a JSON object")
    return found


def _is_tiny(config: dict[str, Json]) -> bool:
    """Whether it belongs to the package's small model, which has a vocabulary of its own."""
    if config.get("model_type") != "qwen2":
        return False
    try:
        words = import_object("leafe_gym.tiny.words:World").read(config.get("world")).words
    except (TypeError, ValueError):
        return False
    return config.get("vocab_size") == len(words)


def _require_hub_name(name: str, prefix: str = "") -> None:
    """Raise a `UsageError` unless `name` can only be meant as one on the hub."""
    first, slash, rest = name.partition("/")
    if not slash:
        raise UsageError(f"{prefix}{POLICIES.unknown(name)}; expected {POSSIBLE}")
    if not _HUB.fullmatch(name) or first in (".", "..", "~"):
        raise UsageError(f"{prefix}there is no folder {name}; expected {POSSIBLE}")
    near = difflib.get_close_matches(name, POLICIES.names(), n=3, cutoff=_LIKE)
    if near:
        raise UsageError(
            f"{prefix}no policy is called {name!r}; did you mean: {', '.join(near)}? "
            f"It could be {POSSIBLE}"
        )
    if _is_folder(Path(first)):
        raise UsageError(
            f"{prefix}there is no folder {rest} in {first}. For the model of that name on the hub, "
            f"use the policy 'transformers' with model={name!r}"
        )
