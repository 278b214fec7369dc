"""LoRA adapters: new ones, and further training of an earlier result."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from leafe_gym._models import MERGED_FROM, moved_base, refuse_pickled_adapter
from leafe_gym.errors import UsageError
from leafe_gym.types import Json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
RANK = 16
"""Rank of a new adapter, by default."""
_PLAIN: dict[str, Json] = {
    "peft_type": "LORA",
    "use_dora": False,
    "bias": "none",
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
}
"""Settings of adapters that can be stacked; others count too where they are absent or empty."""


def is_adapter(model: str | Path | PreTrainedModel) -> bool:
    """Whether this is a folder with an adapter instead of a whole model."""
    return isinstance(model, (str, Path)) and (Path(model) / CONFIG).is_file()


def base_of(adapter: str | Path) -> str:
    """The model that an adapter was trained on.

    Raises:
        UsageError: if its file does not say, or that model is an adapter itself.
    """
    base = _settings(Path(adapter)).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise UsageError(
            f"{adapter}: {CONFIG} does not name the model that this adapter was trained on "
            "(base_model_name_or_path): add its folder or name there"
        )
    base = moved_base(Path(adapter), base)
    if is_adapter(base):
        raise UsageError(
            f"{adapter}: was trained on {base}, which is an adapter itself: merge that into its "
            "own base, and name the merged model in the file"
        )
    return base


def add_lora(model: PreTrainedModel, rank: int | None) -> PreTrainedModel:
    """New adapters on all linear layers; alpha is twice the rank, None for `RANK`."""
    from peft import LoraConfig, get_peft_model

    rank = rank or RANK
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with _without_renaming_warning():
        return _named(get_peft_model(model, config))


def continue_lora(base: PreTrainedModel, adapter: Path, rank: int | None) -> PreTrainedModel:
    """The adapter on its base, to be trained further.

    Raises:
        UsageError: if `rank` is given and the adapter has another, or it does not fit the base.
    """
    own = _settings(adapter).get("r")
    if rank is not None and rank != own:
        raise UsageError(
            f"lora_rank={rank}: the adapter {adapter} has rank {own} and is trained further; leave "
            "lora_rank out, or train a new one (earlier_adapter='merge' or 'stack')"
        )
    return _named(_attached(base, adapter, trainable=True))


def merged(base: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """The base with the adapter added to its weights, all of which can be trained.

    Raises:
        UsageError: if the adapter does not fit the base.
    """
    whole: PreTrainedModel = _attached(base, adapter, trainable=False).merge_and_unload()
    return whole.requires_grad_(True)


def check_stackable(adapter: Path) -> None:
    """Check that an adapter can be joined with another one.

    Raises:
        UsageError: if not; names the setting.
    """
    settings = _settings(adapter)
    for name, plain in _PLAIN.items():
        if (settings.get(name) or plain) != plain:
            raise UsageError(
                f"{adapter}: an adapter with {name}={settings[name]!r} cannot be stacked; use "
                "earlier_adapter='merge'"
            )


def stack(earlier: Path, folder: Path) -> None:
    """Join an earlier adapter into the one in `folder`: their sum, in one adapter.

    Its rank is the sum of theirs; its scale is 1, theirs are multiplied into the weights.
    """
    from safetensors.torch import load_file, save_file

    settings, new = _settings(earlier), _settings(folder)
    before, after = load_file(earlier / WEIGHTS), load_file(folder / WEIGHTS)
    ranks = settings["r"], new["r"]
    joined = {}
    for name in {**before, **after}:
        parts = [
            _part(own, other, name, rank, _scale(about))
            for own, other, rank, about in (
                (before, after, ranks[0], settings),
                (after, before, ranks[1], new),
            )
        ]
        joined[name] = _cat(parts, dim=0 if ".lora_A." in name else 1)
    save_file(joined, folder / WEIGHTS, metadata={"format": "pt"})
    targets = sorted({*settings["target_modules"], *new["target_modules"]})
    new |= {"r": sum(ranks), "lora_alpha": sum(ranks), "use_rslora": False}
    new |= {"target_modules": targets, "base_model_name_or_path": base_of(earlier)}
    (folder / CONFIG).write_text(json.dumps(new, indent=2) + "\n", encoding="utf-8")


def make_merged_base(adapter: Path, whole: PreTrainedModel, folder: Path, dtype: str) -> None:
    """Save a merged model that a new adapter is trained on; the folder appears when complete."""
    from leafe_gym.distill.training.saving import save_as

    partial = folder.with_name(folder.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    whole.save_pretrained(partial)
    save_as(partial, dtype)
    (partial / MERGED_FROM).write_text(
        json.dumps({"base": base_of(adapter), "adapter": str(adapter.resolve())}) + "\n", "utf-8"
    )
    partial.rename(folder)


def _part(own: Any, other: Any, name: str, rank: int, scale: float) -> Any:
    """The tensor of one adapter, scaled; zeros where it has none for the layer."""
    import torch

    if name in own:
        return own[name] * (scale if ".lora_B." in name else 1.0)
    size = list(other[name].shape)
    size[0 if ".lora_A." in name else 1] = rank
    return torch.zeros(size, dtype=other[name].dtype)


def _cat(parts: list[Any], dim: int) -> Any:
    import torch

    return torch.cat(parts, dim=dim).contiguous()


def _scale(settings: Json) -> float:
    """What an adapter's product is multiplied by."""
    root = 0.5 if settings.get("use_rslora") else 1.0
    scale: float = settings["lora_alpha"] / settings["r"] ** root
    return scale


def _settings(adapter: Path) -> dict[str, Json]:
    try:
        found: dict[str, Json] = json.loads((adapter / CONFIG).read_text("utf-8"))
        found.get("")
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{adapter / CONFIG}: cannot be read: {error}") from None
    return found


def _attached(base: PreTrainedModel, adapter: Path, *, trainable: bool) -> Any:
    from peft import PeftModel

    refuse_pickled_adapter(adapter)
    try:
        with _without_renaming_warning():
            found: Any = PeftModel.from_pretrained(base, str(adapter), is_trainable=trainable)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise UsageError(
            f"the adapter {adapter} does not fit its base {base_of(adapter)}: {reason}"
        ) from error
    for config in found.peft_config.values():
        config.base_model_name_or_path = base_of(adapter)  # where it is now
    return found


@contextmanager
def _without_renaming_warning() -> Iterator[None]:
    """Within it no warning of an attribute that peft reads and transformers has renamed."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*is_gradient_checkpointing", category=FutureWarning
        )
        yield


def _named(model: Any) -> PreTrainedModel:
    """The model, whose adapter names its base by an absolute path where it is a folder."""
    for config in model.peft_config.values():
        base = config.base_model_name_or_path
        if base and Path(base).exists():
            config.base_model_name_or_path = str(Path(base).resolve())
    return cast("PreTrainedModel", model)
