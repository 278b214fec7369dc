"""Products, goals and ranking of a shop; read-only, shared by all environments of a process."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Sequence
from functools import cache, lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from leafe_gym._optional import require
from leafe_gym.envs.tasks import check_split, split_by_hash
from leafe_gym.envs.webshop import builtin_catalogue
from leafe_gym.envs.webshop.build_cache import cached_folder, fingerprint
from leafe_gym.envs.webshop.goals import KINDS, ShoppingGoal, official_split, splits_officially
from leafe_gym.envs.webshop.official_files import DataFiles, find_files
from leafe_gym.envs.webshop.products import Product
from leafe_gym.envs.webshop.ranking import Ranking
from leafe_gym.envs.webshop.record_file import RecordReader
from leafe_gym.envs.webshop.shop_builder import GOALS, ORDER, PRODUCTS, VERSION, Streams, build
from leafe_gym.envs.webshop.taggers import find_tagger
from leafe_gym.envs.webshop.word_lists import EXTRA
from leafe_gym.errors import UsageError

_KEPT = 1024
_OPENING = threading.Lock()


class Shop:
    """Products, goals and ranking of a folder that `build` wrote.

    Copying returns the same object and pickling stores its arguments, because it has no episode
    state.
    """

    def __init__(
        self, folder: Path, data: str | None, kind: str, tagger: str | None = None
    ) -> None:
        self._made_from = data, kind, tagger
        self.tagger = find_tagger(tagger)
        self._products, self._goals = RecordReader(folder, PRODUCTS), RecordReader(folder, GOALS)
        self._order = np.load(folder / ORDER, mmap_mode="r", allow_pickle=False)
        self._ranking = Ranking(folder)
        self.product = lru_cache(_KEPT)(self._read_product)
        self.search = lru_cache(_KEPT)(self._ranking.search)

    def __deepcopy__(self, memo: Any) -> Shop:
        return self

    def __reduce__(self) -> tuple[Any, tuple[str | None, str, str | None]]:
        return open_shop, self._made_from

    @property
    def goals(self) -> int:
        """Number of goals."""
        return len(self._goals)

    def goal(self, number: int) -> ShoppingGoal:
        """A goal by its index in WebShop's shuffled order.

        Raises:
            UsageError: if there is none.
        """
        if type(number) is not int or not 0 <= number < self.goals:
            raise UsageError(f"goal={number!r}: this shop has 0 to {self.goals - 1}")
        return ShoppingGoal.from_json(self._goals.read(int(self._order[number])))

    def split(self, split: str | None) -> Sequence[int]:
        """Indices of the goals of a split; all for None.

        With more than 1500 goals this is WebShop's own split. Otherwise the asin's hash decides,
        so that all goals of a product are in one split.

        Raises:
            UsageError: if there is no such split, or it is empty.
        """
        if split is None:
            return range(self.goals)
        check_split(split)
        if splits_officially(self.goals):
            return official_split(self.goals, split)
        found = self._by_asin(split)
        if not found:
            raise UsageError(f"none of the {self.goals} goals is in split {split!r}; use another")
        return found

    def _by_asin(self, split: str) -> tuple[int, ...]:
        def digest(number: int) -> bytes:
            asin = self.product(self.goal(number).product).asin
            return blake2b(asin.encode("utf-8", "replace"), digest_size=8).digest()

        numbers = range(self.goals)
        return tuple(number for number in numbers if split_by_hash(digest(number)) == split)

    def _read_product(self, number: int) -> Product:
        return Product.from_json(self._products.read(number))


def check_packages() -> None:
    """Check that the packages of the extra `webshop` are installed.

    Raises:
        MissingExtra: if one is not.
    """
    for package in ("bm25s", "ijson", "rapidfuzz", "Stemmer"):
        require(package, *EXTRA)


def open_shop(data: str | None, kind: str, tagger: str | None = None) -> Shop:
    """The shop of a data folder, opened once per process; None for the built-in catalogue.

    Official files are converted into a cache folder first, once per content.

    Args:
        data: see `find_files`.
        kind: kind of goals, see `KINDS`.
        tagger: see `find_tagger`.

    Raises:
        MissingExtra: if a package of the extra is not installed.
        UsageError: if the files or the tagger cannot be used.
    """
    if kind not in KINDS:
        raise UsageError(f"goals={kind!r}: use one of {', '.join(KINDS)}")
    find_tagger(tagger)  # an error before the long work
    files = None if data is None else find_files(data)
    if files is not None and kind == "human" and files.human is None:
        raise UsageError(
            f"{files.products.parent} has no items_human_ins.json; download it, or use "
            "goals='synthetic'"
        )
    times = tuple(path.stat().st_mtime_ns for path in files or () if path)
    with _OPENING:
        return _opened(files, times, kind, tagger)


@cache
def _opened(files: DataFiles | None, times: tuple[int, ...], kind: str, tagger: str | None) -> Shop:
    if files is None:
        # Open files stay readable after they are unlinked, so the folder can be removed at once.
        with tempfile.TemporaryDirectory(prefix="leafe-webshop-") as name:
            folder = Path(name)
            build(folder, builtin_catalogue.streams(), kind, "the built-in catalogue")
            return Shop(folder, None, kind, tagger)
    prints = [(path.name, fingerprint(path)) for path in files if path]
    text = json.dumps([VERSION, kind, times, prints])
    key = blake2b(text.encode(), digest_size=12).hexdigest()
    name = str(files.products)
    folder = cached_folder(key, lambda new: build(new, Streams.of(files), kind, name))
    return Shop(folder, name, kind, tagger)
