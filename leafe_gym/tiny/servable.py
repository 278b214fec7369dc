"""The small model in a form that inference servers load.

Servers find a tokenizer by the architecture, and for Qwen2 they take Qwen2's own whatever the
folder says. Llama's architecture computes the same function where its output projection's bias is
zero, and with it the folder's own tokenizer is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from leafe_gym.tiny.policy import TinyPolicy
from leafe_gym.tiny.words import make_tokenizer

SAME = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "max_position_embeddings", "tie_word_embeddings", "rms_norm_eps",
    "hidden_act", "rope_parameters", "bos_token_id", "eos_token_id", "pad_token_id",
)  # fmt: skip


def save_servable(source: str | Path, folder: str | Path) -> Path:
    """Write the small model in `source` to `folder` for `vllm serve` or `transformers serve`.

    Raises:
        PolicyError: if there is no small model in `source`.
    """
    network = TinyPolicy.load(source).network
    network_as_llama(network).save_pretrained(str(folder))
    make_tokenizer().save_pretrained(str(folder))
    return Path(folder)


def network_as_llama(network: Any) -> Any:
    """The same function as `network`, a Qwen2 model, in Llama's architecture."""
    same = {name: getattr(network.config, name) for name in SAME}
    llama = LlamaForCausalLM(LlamaConfig(**same, attention_bias=True)).eval()
    weights = dict(network.state_dict())
    for name, value in llama.state_dict().items():
        if name.endswith("o_proj.bias"):
            weights[name] = torch.zeros_like(value)
    llama.load_state_dict(weights)
    return llama
