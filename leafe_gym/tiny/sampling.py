"""Sampling many categories at once by inverting their cumulative distribution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def inverse_cdf(edges: NDArray[np.float64], uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
    """The category of each uniform number.

    Args:
        edges: cumulative weights, [n, categories].
        uniforms: between 0 and the total weight of their row, [n].

    Returns:
        Indices, [n]; `categories` where a number is not below the last edge, so that weights may
        sum to less than 1 and the rest means "none".

    Example:
        >>> inverse_cdf(np.array([[0.2, 0.7], [0.2, 0.7]]), np.array([0.5, 0.9])).tolist()
        [1, 2]
    """
    found: NDArray[np.int64] = (edges <= uniforms[:, None]).sum(axis=1)
    return found
