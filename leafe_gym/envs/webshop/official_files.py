"""Locations of WebShop's official files, and their records as streams.

The full file has 1.18 million products; one record is in memory at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from leafe_gym._optional import require
from leafe_gym.envs.data_files import find_data
from leafe_gym.envs.webshop.word_lists import EXTRA
from leafe_gym.errors import BadRecord, UsageError
from leafe_gym.types import Json

SOURCE = "They come with github.com/princeton-nlp/WebShop (its setup.sh downloads them)."
_PRODUCTS = "items_shuffle"


class DataFiles(NamedTuple):
    """Files of one shop.

    Attributes:
        products: `items_shuffle.json` or `items_shuffle_1000.json`.
        attributes: `items_ins_v2.json` or `items_ins_v2_1000.json`.
        human: `items_human_ins.json`, if it exists.
        reviews: `reviews.json`, if it exists.
    """

    products: Path
    attributes: Path
    human: Path | None
    reviews: Path | None


def find_files(data: str | os.PathLike[str]) -> DataFiles:
    """The files below `data`.

    Args:
        data: a folder with the official files, or the file of products in it; a relative path is
            also looked up in `LEAFE_DATA`. The full file takes precedence over a partial one.

    Raises:
        UsageError: if a file is missing; says which, and where to get it.
    """
    products = _products(find_data(data, SOURCE))
    suffix = products.stem.removeprefix(_PRODUCTS)
    folder = products.parent
    attributes = folder / f"items_ins_v2{suffix}.json"
    if not attributes.is_file():
        raise UsageError(f"{attributes} is missing; it belongs to {products.name}. {SOURCE}")
    human, reviews = folder / "items_human_ins.json", folder / "reviews.json"
    return DataFiles(
        products,
        attributes,
        human if human.is_file() else None,
        reviews if reviews.is_file() else None,
    )


def _products(place: Path) -> Path:
    if place.is_file():
        if not place.name.startswith(_PRODUCTS) or place.suffix != ".json":
            raise UsageError(
                f"{place}: a file of products is called {_PRODUCTS}.json or {_PRODUCTS}_1000.json; "
                "name that file or its folder"
            )
        return place
    found = sorted(place.glob(f"{_PRODUCTS}*.json"))
    if not found:
        raise UsageError(f"{place} has no {_PRODUCTS}*.json. {SOURCE}")
    full = place / f"{_PRODUCTS}.json"
    if full not in found and len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UsageError(f"{place} has {names}; name one of them as data=")
    return full if full in found else found[0]


def stream_list(path: Path) -> Iterator[tuple[str, Json]]:
    """(file and record number from 1, record) of each record of a JSON array.

    Raises:
        BadRecord: if the file is not a JSON array.
        UsageError: if it cannot be read.
    """
    yield from _stream(
        path, b"[", lambda file: require("ijson", *EXTRA).items(file, "item", use_float=True)
    )


def stream_dict(path: Path) -> Iterator[tuple[str, tuple[str, Json]]]:
    """As `stream_list`, (key, value) of each entry of a JSON object."""
    yield from _stream(
        path, b"{", lambda file: require("ijson", *EXTRA).kvitems(file, "", use_float=True)
    )


def _stream(path: Path, opens: bytes, parse: Any) -> Iterator[tuple[str, Any]]:
    ijson = require("ijson", *EXTRA)
    number = 0
    try:
        with path.open("rb") as file:
            _check_first(path, file, opens)
            for number, record in enumerate(parse(file), 1):
                yield f"{path}, record {number}", record
    except (ijson.JSONError, UnicodeDecodeError) as error:
        why = str(error).partition("\n")[0]
        raise BadRecord(
            f"{path}, record {number + 1}: not JSON: {why}; download the file again"
        ) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def _check_first(path: Path, file: IO[bytes], opens: bytes) -> None:
    first = file.read(1024).lstrip()[:1]
    if first != opens:
        raise BadRecord(
            f"{path} does not start with {opens.decode()!r}; download the file again. {SOURCE}"
        )
    file.seek(0)
