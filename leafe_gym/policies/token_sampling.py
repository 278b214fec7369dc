"""Drawing the next token of each request from a batch of logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from leafe_gym.types import Sampling


def draw(
    logits: torch.Tensor, samplings: Sequence[Sampling], uniform: Sequence[float]
) -> torch.Tensor:
    """The next token of each request.

    Temperature, then top_k, then top_p. What is left is drawn in the order of the vocabulary, so
    that a token depends on its logits and its number alone.

    Args:
        logits: [requests, vocabulary].
        samplings: of each request.
        uniform: a number in [0, 1) for each request.

    Returns:
        Token ids; [requests].
    """
    best: torch.Tensor = logits.argmax(dim=-1)
    device = logits.device
    temperature = torch.tensor([one.temperature for one in samplings], device=device)
    if not bool((temperature > 0).any()):
        return best
    # Double precision: over a large vocabulary a sum in single precision loses the rare tokens.
    scaled = logits.double() / temperature.clamp(min=1e-6).double()[:, None]
    for row, sampling in enumerate(samplings):
        if sampling.temperature > 0 and (sampling.top_k is not None or sampling.top_p < 1):
            scaled[row] = _truncated(scaled[row], sampling)
    cumulative = torch.softmax(scaled, dim=-1).cumsum(dim=-1)
    point = torch.tensor(list(uniform), dtype=torch.float64, device=device)[:, None]
    at = torch.searchsorted(cumulative, point * cumulative[:, -1:], right=True)
    at = at.squeeze(1).clamp(max=logits.shape[-1] - 1)
    return torch.where(temperature > 0, at, best)


def logprob(logits: torch.Tensor, token: int) -> float:
    """Natural logarithm of a token's probability at temperature 1, nothing truncated.

    Args:
        logits: [vocabulary].
        token: its id.
    """
    wide = logits.double()
    return float(wide[token] - torch.logsumexp(wide, dim=-1))


def _truncated(scaled: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Logits with -inf for all tokens outside top_k and top_p; [vocabulary]."""
    count = len(scaled) if sampling.top_k is None else min(sampling.top_k, len(scaled))
    values, order = (
        torch.topk(scaled, count)
        if count < len(scaled)
        else scaled.sort(descending=True, stable=True)
    )
    likely = torch.softmax(values, dim=-1)
    # A token stays if those before it have less than top_p together; the first always does.
    before = likely.cumsum(dim=-1) - likely
    kept = order[before < sampling.top_p]
    found = torch.full_like(scaled, -torch.inf)
    found[kept] = scaled[kept]
    return found
