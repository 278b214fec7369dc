"""Many records in one file, read one at a time from any thread or forked process.

Reading needs no lock and no file position, so it is safe after a fork.
"""

from __future__ import annotations

import json
import os
import weakref
import zlib
from array import array
from pathlib import Path

import numpy as np

from leafe_gym.errors import EnvironmentFailure
from leafe_gym.types import Json


class RecordWriter:
    """Writes `<name>.bin`, and `<name>.npy` with the offset of each record, into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = (folder / f"{name}.bin").open("wb")
        self._index = folder / f"{name}.npy"
        self._starts = array("q", [0])

    def __len__(self) -> int:
        return len(self._starts) - 1

    def append(self, record: Json) -> None:
        """Add a record of plain JSON."""
        text = json.dumps(record, separators=(",", ":"), ensure_ascii=True)
        size = self._file.write(zlib.compress(text.encode("ascii"), 1))
        self._starts.append(self._starts[-1] + size)

    def discard(self) -> None:
        """Close the file without writing the offsets."""
        self._file.close()

    def close(self) -> None:
        """Close the file and write the offsets."""
        self.discard()
        np.save(self._index, np.frombuffer(self._starts, dtype=np.int64), allow_pickle=False)


class RecordReader:
    """Reads the files of a `RecordWriter`; they may be unlinked after opening."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}.bin"
        self._starts = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def read(self, number: int) -> Json:
        """The record with an index.

        Raises:
            EnvironmentFailure: if the file was changed since it was opened.
        """
        begin, end = int(self._starts[number]), int(self._starts[number + 1])
        try:
            return json.loads(zlib.decompress(os.pread(self._file, end - begin, begin)))
        except (zlib.error, ValueError) as error:
            raise EnvironmentFailure(
                f"{self._path}: record {number} is damaged ({error}); remove its folder and start "
                "again: it is rebuilt"
            ) from error
