"""BM25 over the texts of products, with the library `bm25s` and WebShop's parameters.

The index files are memory-mapped. Words are stored as sorted 8-byte hashes, so a search does not
need a table of all words in memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from leafe_gym._optional import require
from leafe_gym.envs.webshop.word_lists import EXTRA, search_term, split_words

K1, B = 0.9, 0.4
"""Default BM25 parameters of WebShop's search library (Pyserini)."""

HITS = 50
"""Most products that a search returns, as in WebShop."""

_HASHES, _IDS, _TERMS = "hashes.npy", "ids.npy", "terms.bin"


class _Numbers(dict[str, int]):
    """Word -> index of its term, -1 for a stop word; computed once per word."""

    def __init__(self) -> None:
        super().__init__()
        self.vocabulary: dict[str, int] = {}

    def __missing__(self, word: str) -> int:
        term = search_term(word)
        number = self.vocabulary.setdefault(term, len(self.vocabulary)) if term else -1
        self[word] = number
        return number


class IndexWriter:
    """Builds the index from texts, one at a time; term indices are buffered in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = (folder / _TERMS).open("wb")
        self._numbers = _Numbers()
        self._starts = array("q", [0])

    def add(self, text: str) -> None:
        """Add the text of the next product."""
        numbers = map(self._numbers.__getitem__, split_words(text))
        terms = array("i", (number for number in numbers if number >= 0))
        terms.tofile(self._file)
        self._starts.append(self._starts[-1] + len(terms))

    def discard(self) -> None:
        """Close the file without finishing the index."""
        self._file.close()

    def close(self) -> None:
        """Build the index and write its files."""
        vocabulary = self._numbers.vocabulary
        self._numbers = _Numbers()
        if not vocabulary:  # an index needs at least one word
            vocabulary[" "] = 0
            self._file.write(array("i", [0]).tobytes())
            self._starts[-1] += 1
        self.discard()
        terms = _Terms(np.memmap(self._folder / _TERMS, dtype=np.intc, mode="r"), self._starts)
        index = require("bm25s", *EXTRA).BM25(k1=K1, b=B, method="lucene")
        index.index(_Corpus(terms, vocabulary), create_empty_token=False, show_progress=False)
        index.vocab_dict = {}  # stored below as hashes
        index.save(self._folder, show_progress=False)
        hashes = np.array([_hash(term) for term in vocabulary], dtype=np.uint64)
        order = np.argsort(hashes)
        np.save(self._folder / _HASHES, hashes[order], allow_pickle=False)
        np.save(self._folder / _IDS, order.astype(np.int32), allow_pickle=False)
        (self._folder / _TERMS).unlink()


class _Corpus(NamedTuple):
    """The corpus format of `bm25s`."""

    ids: Sequence[list[int]]
    vocab: dict[str, int]


class _Terms(Sequence[list[int]]):
    """The term indices of each text, read from the file on access."""

    def __init__(self, terms: npt.NDArray[np.intc], starts: Sequence[int]) -> None:
        self._terms, self._starts = terms, starts

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, at: Any) -> Any:
        found: list[int] = self._terms[self._starts[at] : self._starts[at + 1]].tolist()
        return found

    def __iter__(self) -> Iterator[list[int]]:
        return (self[number] for number in range(len(self)))


class Ranking:
    """Searches the index that an `IndexWriter` wrote."""

    def __init__(self, folder: Path) -> None:
        self._index = require("bm25s", *EXTRA).BM25.load(folder, mmap=True, load_vocab=False)
        self._hashes = np.load(folder / _HASHES, mmap_mode="r", allow_pickle=False)
        self._ids = np.load(folder / _IDS, mmap_mode="r", allow_pickle=False)

    def search(self, query: str) -> tuple[int, ...]:
        """Indices of at most `HITS` products that contain a word of `query`, best first.

        Ties are in file order.
        """
        terms = [term for term in map(self._term, split_words(query)) if term is not None]
        if not terms:
            return ()
        scores = self._index.get_scores_from_ids(terms)
        hits = np.flatnonzero(scores > 0)
        if len(hits) > HITS:
            least = np.partition(scores[hits], -HITS)[-HITS]
            hits = hits[scores[hits] >= least]
        best = hits[np.lexsort((hits, -scores[hits]))][:HITS]
        return tuple(map(int, best))

    def _term(self, word: str) -> int | None:
        wanted = np.uint64(_hash(search_term(word)))
        at = int(np.searchsorted(self._hashes, wanted))
        here = at < len(self._hashes) and self._hashes[at] == wanted
        return int(self._ids[at]) if here else None


def _hash(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=8).digest(), "big")
