"""Model folders are data: none of their code is run, and no pickle of theirs is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from leafe_gym._files import read_json
from leafe_gym.errors import UsageError

DATA_ONLY: dict[str, Any] = {"trust_remote_code": False, "use_safetensors": True}
"""Arguments of every `from_pretrained` that loads weights."""
MERGED_FROM = "merged_from.json"
"""In the folder of a merged base: what it was made of."""
_ADAPTER = "adapter_model.safetensors"


def refuse_code(model: str | Path) -> None:
    """Refuse a folder whose configuration names code to download.

    Raises:
        UsageError: if it names an attention kernel from the hub.
    """
    try:
        config = read_json(Path(model) / "config.json")
    except (OSError, ValueError):
        return  # the library says what is wrong with it
    if not isinstance(config, dict):
        return
    for name in ("attn_implementation", "_attn_implementation"):
        if "/" in str(config.get(name) or ""):
            raise UsageError(
                f"{model}: its config.json names code to run ({name}={config[name]!r}); remove "
                "that entry if you trust the weights"
            )


def refuse_pickled_adapter(adapter: str | Path) -> None:
    """Refuse the folder of an adapter whose weights are a pickle.

    Raises:
        UsageError: if it has other weights than `adapter_model.safetensors`.
    """
    folder = Path(adapter)
    if not (folder / _ADAPTER).is_file() and any(folder.glob("adapter_model.*")):
        raise UsageError(
            f"{adapter}: its weights are not in the format safetensors, and others can run code "
            f"when they are read; convert them to {_ADAPTER}"
        )


def of_training(folder: Path) -> Path:
    """The model or adapter in the folder of a training (`model/`); any other folder as it is."""
    inner = folder / "model"
    return inner if _holds_model(inner) and not _holds_model(folder) else folder


def moved_base(adapter: Path, named: str) -> str:
    """The base model that an adapter names, also where it was moved together with the adapter.

    A training that merges an earlier adapter saves the base of its own as `base/`, beside it.
    """
    beside = adapter.resolve().parent / "base"
    gone = Path(named).is_absolute() and Path(named).name == "base" and not Path(named).exists()
    return str(beside) if gone and (beside / MERGED_FROM).is_file() else named


def _holds_model(folder: Path) -> bool:
    try:
        return any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))
    except OSError:  # a name too long for one
        return False
