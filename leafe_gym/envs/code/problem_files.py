"""Reads problem files: JSON lines, plain or gzip."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from leafe_gym.errors import BadRecord, UsageError


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, record) for every line that is not blank.

    Raises:
        BadRecord: if a line is not a JSON object; names the line.
        UsageError: if the file cannot be read.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, parse_line(path, number, line)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def parse_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    """The record in a line.

    Raises:
        BadRecord: if the line is not a JSON object; names it.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRecord(f"{path}, line {number}: no JSON: {error}") from error
    if not isinstance(record, dict):
        raise BadRecord(f"{path}, line {number}: a {type(record).__name__}, not an object")
    return record
