"""WebShop with as many products as its full file has: loading, memory, searches.

As the WebShop part of `restore.py`, on a made-up file of 1.18 million products. Takes a quarter of
an hour, 5 GB of memory and as much disk.
"""

from __future__ import annotations

from _harness import Report, main
from _restore_webshop import loads

PRODUCTS = 1_180_000


def measure() -> Report:
    """See `_restore_webshop.loads`."""
    return loads(PRODUCTS)


if __name__ == "__main__":
    main(measure)
