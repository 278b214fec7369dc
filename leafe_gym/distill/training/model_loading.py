"""Models to train: a checkpoint, or a fresh model from a config."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from leafe_gym.errors import UsageError
from leafe_gym.store.records import checksum, dump
from leafe_gym.types import Json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZER = ("tokenizer*.json", "vocab.*", "*.model", "*.tiktoken")


def load_model(model: str | Path | PreTrainedModel, attention: str, seed: int) -> PreTrainedModel:
    """A causal language model with 32-bit weights.

    The weights stay in 32 bits also where `bf16` computes in 16: at the paper's learning rate of
    1e-6 an update is far below the spacing of 16-bit numbers and would be lost.

    Args:
        model: a folder or name of a checkpoint; a folder or file with a `config.json` and no
            weights, for a fresh model; or a model, which is taken as it is.
        attention: implementation to load it with.
        seed: of a fresh model's weights.

    Raises:
        UsageError: if it cannot be loaded.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, set_seed

    if isinstance(model, PreTrainedModel):
        if not is_peft(model):
            model.set_attn_implementation(attention)
        return model
    path = Path(model)
    try:
        if is_config(path):
            set_seed(seed)
            config = AutoConfig.from_pretrained(path)
            config.dtype = torch.float32
            fresh: PreTrainedModel = AutoModelForCausalLM.from_config(
                config, attn_implementation=attention, dtype=torch.float32
            )
            return fresh
        loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            str(model), attn_implementation=attention, dtype=torch.float32
        )
        return loaded
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise UsageError(f"cannot load the model {model}: {reason}") from error


def is_config(path: Path) -> bool:
    """Whether this is a config without weights."""
    if path.is_file():
        return path.suffix == ".json"
    return (path / "config.json").is_file() and not any(
        any(path.glob(pattern)) for pattern in WEIGHTS
    )


def is_peft(model: Any) -> bool:
    """Whether a model has adapters already."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def takes(model: PreTrainedModel, argument: str) -> bool:
    """Whether the forward pass has an argument, such as "logits_to_keep"."""
    return argument in inspect.signature(model.forward).parameters


def context_length(config: Any) -> int | None:
    """Longest sequence of a model; None if its config does not state it."""
    length = getattr(config, "max_position_embeddings", None) or getattr(
        config, "n_positions", None
    )
    return int(length) if length else None


def add_lora(model: PreTrainedModel, rank: int) -> PreTrainedModel:
    """Adapters on all linear layers; alpha is twice the rank.

    Raises:
        UsageError: if the model has none, or `rank` is below 1.
    """
    from peft import LoraConfig, get_peft_model

    if rank < 1:
        raise UsageError(f"lora_rank={rank}: expected a whole number >= 1")
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with warnings.catch_warnings():  # peft asks for a name that transformers has renamed
        warnings.filterwarnings(
            "ignore", message=".*is_gradient_checkpointing", category=FutureWarning
        )
        adapted: Any = get_peft_model(model, config)
    return cast("PreTrainedModel", adapted)


def own_tokenizer(model: str | Path | PreTrainedModel) -> Any:
    """The tokenizer of a checkpoint; None without one."""
    from transformers import AutoTokenizer

    if not isinstance(model, (str, Path)):
        return None
    source = Path(model).parent if Path(model).is_file() else Path(model)
    if source.is_dir() and not any(any(source.glob(name)) for name in TOKENIZER):
        return None  # the library would make an empty one up
    try:
        return AutoTokenizer.from_pretrained(str(source if source.is_dir() else model))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_tokenizer(tokenizer: Any, manifest: Json) -> None:
    """Check that the rows were encoded with the tokenizer of the model.

    Args:
        tokenizer: of the model, or None.
        manifest: of the rows, with their tokenizer; {} without one.

    Raises:
        UsageError: if both are known and differ.
    """
    encoded = manifest.get("tokenizer") or {}
    wanted = encoded.get("vocabulary_hash")
    if tokenizer is None or not wanted:
        return
    if checksum(dump(tokenizer.get_vocab())) != wanted:
        raise UsageError(
            f"the rows were encoded with the tokenizer {encoded.get('name') or 'of another model'}"
            f" ({encoded.get('size')} tokens), whose vocabulary is not this model's: write the "
            "shards again with the tokenizer of this model (leafe distill --tokenizer)"
        )
