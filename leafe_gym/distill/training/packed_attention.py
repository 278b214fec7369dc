"""The inputs of a packed sequence: attention to ancestors only, positions by depth.

On a CPU the mask is dense under SDPA or eager attention. On a GPU FlexAttention takes the same rule
as a function and skips blocks that no pair of nodes needs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from leafe_gym.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, dtype
    from transformers import PreTrainedModel

FLEX_BLOCK = 128
"""FlexAttention's block; packed sequences are padded to a multiple of it there."""


def ancestor_mask(end: Tensor) -> Tensor:
    """True where node `i` (row) attends to node `j` (column), [1, 1, length, length].

    Args:
        end: one past the last node of each node's subtree, [length].
    """
    import torch

    node = torch.arange(len(end), device=end.device)
    return ((node <= node[:, None]) & (node[:, None] < end))[None, None]


def additive_mask(end: Tensor, kind: dtype) -> Tensor:
    """The same as 0 and the lowest number of a float type, for eager attention."""
    import torch

    allowed = ancestor_mask(end)
    return torch.zeros(allowed.shape, dtype=kind, device=end.device).masked_fill_(
        ~allowed, torch.finfo(kind).min
    )


def ancestor_rule(end: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The same as FlexAttention's `mask_mod`."""

    def rule(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < end[key])

    return rule


def block_mask(end: Tensor) -> Any:
    """The same as FlexAttention's block mask; `length` should be a multiple of `FLEX_BLOCK`."""
    from torch.nn.attention.flex_attention import create_block_mask

    size = len(end)
    return create_block_mask(ancestor_rule(end), 1, None, size, size, device=str(end.device))


def mask_for(attention: str, end: Tensor, kind: dtype) -> Any:
    """The mask in the form that an attention implementation takes.

    Raises:
        UsageError: for an implementation that takes no such mask.
    """
    if attention == "sdpa":
        return ancestor_mask(end)
    if attention == "eager":
        return additive_mask(end, kind)
    if attention == "flex_attention":
        return block_mask(end)
    raise UsageError(
        f"tree packing cannot use {attention!r} attention: load the model with attention "
        "'sdpa', 'eager' or 'flex_attention', or train with packing='none'"
    )


def check_packable(config: Any, forward: Callable[..., Any], attention: str, longest: int) -> None:
    """Refuse models for which a packed sequence is not the same as its rows.

    Args:
        config: of the model, for its text part.
        forward: of the model.
        attention: implementation the model was loaded with.
        longest: tokens of the longest row.

    Raises:
        UsageError: with the reason.
    """
    why = ""
    layers = set(getattr(config, "layer_types", None) or ())
    window = getattr(config, "sliding_window", None)
    if "position_ids" not in inspect.signature(forward).parameters:
        why = "takes no position_ids"
    elif getattr(config, "alibi", False):
        why = "derives positions from the mask (ALiBi)"
    elif layers - {"full_attention", "sliding_attention"}:
        why = f"has layers of another kind ({', '.join(sorted(layers - {'full_attention'}))})"
    elif window and window < longest and (not layers or "sliding_attention" in layers):
        why = f"attends to the last {window} tokens only and the longest row has {longest}"
    elif attention not in ("sdpa", "eager", "flex_attention"):
        why = f"uses {attention!r} attention, which takes no mask of that form"
    if why:
        raise UsageError(
            f"tree packing is not exact for this model: it {why}; train with packing='none' "
            "(--packing none)"
        )


def verify_packable(model: PreTrainedModel, attention: str) -> None:
    """Compare a small packed forest with its rows, on this model, before packing is used.

    FlexAttention needs a GPU, and the model may not be on one yet; so SDPA is
    used, which verifies the same property of the architecture: that it attends as the mask says,
    at the given positions.

    Raises:
        UsageError: if the logits differ.
    """
    import torch

    rows = torch.tensor([[1, 2, 3, 1], [1, 2, 2, 3]]) % model.config.get_text_config().vocab_size
    # Depth first: 1 2 (3 1) (2 3), as `packing.pack` lays it out.
    ids = torch.cat([rows[0], rows[1, 2:]])
    packed = {
        "input_ids": ids[None],
        "position_ids": torch.tensor([[0, 1, 2, 3, 2, 3]]),
        "end": torch.tensor([6, 6, 4, 4, 6, 6]),
    }
    used = "sdpa" if attention == "flex_attention" else attention
    training, weight = model.training, next(model.parameters())
    model.eval()
    if used != attention:
        model.set_attn_implementation(used)
    try:
        with torch.no_grad():
            wanted = model(input_ids=rows.to(weight.device), use_cache=False).logits
            micro = {name: one.to(weight.device) for name, one in packed.items()}
            got = model(**forward_inputs(micro, used, weight.dtype)).logits[0]
    finally:
        model.train(training)
        if used != attention:
            model.set_attn_implementation(attention)
    error = (torch.stack([got[:4], got[[0, 1, 4, 5]]]) - wanted).abs().max().item()
    scale = wanted.abs().max().item()
    if not error <= 1e-3 * scale:
        raise UsageError(
            f"tree packing is not exact for this model: logits of a packed sequence differ by "
            f"{error:.2g} (largest {scale:.2g}); train with packing='none' (--packing none)"
        )


def forward_inputs(micro: Mapping[str, Tensor], attention: str, kind: dtype) -> dict[str, Any]:
    """Keyword arguments of a model's forward pass for a micro-batch of `collate`."""
    inputs: dict[str, Any] = {
        "input_ids": micro["input_ids"],
        "position_ids": micro["position_ids"],
        "use_cache": False,
    }
    if "end" in micro:
        inputs["attention_mask"] = mask_for(attention, micro["end"], kind)
    else:
        inputs["attention_mask"] = micro["attention_mask"]
    if "keep" in micro:
        inputs["logits_to_keep"] = micro["keep"]
    return inputs
