"""The small model as servers load it computes the same function."""

from __future__ import annotations

import pytest
import torch

from leafe_gym.tiny.policy import SHIPPED, TinyPolicy
from leafe_gym.tiny.servable import WIDTH, network_as_llama


@pytest.mark.parametrize("kind", ["blind", "multiturn"])
def test_the_same_logits_with_wider_heads(kind: str) -> None:
    network = TinyPolicy.load(SHIPPED / kind).network
    llama = network_as_llama(network)
    assert llama.config.head_dim >= WIDTH
    ids = torch.randint(4, network.config.vocab_size, (3, 200), generator=torch.manual_seed(5))
    with torch.inference_mode():
        torch.testing.assert_close(llama(ids).logits, network(ids).logits, rtol=1e-4, atol=1e-4)
        for row in ids:  # in words, too: the best next word at every position
            best = llama(row[None]).logits.argmax(dim=-1)
            assert torch.equal(best, network(row[None]).logits.argmax(dim=-1))
