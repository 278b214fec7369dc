"""Seeds derived from names: the same in every process, on every machine, in any order of asking.

Python's `hash` of a string is salted per process and must never feed a seed.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(*parts: int | str) -> int:
    """A seed in 0..2**63-1 from a run's seed and what it is for.

    Example:
        >>> derive_seed(0, "task", 3) == derive_seed(0, "task", 3) != derive_seed(0, "task", 4)
        True
    """
    # Lengths stand before the parts, so that no text in one can pass for the next.
    text = "".join(f"{type(part).__name__}{len(str(part))}:{part}" for part in parts)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def derive_rng(*parts: int | str) -> np.random.Generator:
    """A generator seeded by `derive_seed`."""
    return np.random.default_rng(derive_seed(*parts))
