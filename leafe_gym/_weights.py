"""Hashes of model weights and LoRA adapters in folders, without loading them."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

from leafe_gym.errors import UsageError

PIECES = 64
"""Pieces that are read of each tensor."""
_PIECE = 64


def weights_digest(folder: str | Path) -> str:
    """Hash of the safetensors files in a folder: of each tensor's name, form and 64 pieces.

    Whole files of up to 64 MiB are hashed, adapters among them.

    Raises:
        UsageError: if there are none, or one cannot be read.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise UsageError(f"{folder}: no weights (*.safetensors)")
    digest = hashlib.blake2b(digest_size=6)
    try:
        for path in files:
            if path.stat().st_size <= 2**26:
                digest.update(path.read_bytes())
            else:
                _add_pieces(digest, path)
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise UsageError(f"{folder}: its weights cannot be read: {error}") from error
    return digest.hexdigest()


def _add_pieces(digest: hashlib.blake2b, path: Path) -> None:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        for name, tensor in sorted(header.items()):
            if name == "__metadata__":
                continue
            start, stop = tensor["data_offsets"]
            digest.update(repr((name, tensor["dtype"], tensor["shape"])).encode())
            for at in range(start, stop, max(_PIECE, (stop - start) // PIECES)):
                file.seek(8 + length + at)
                digest.update(file.read(min(_PIECE, stop - at)))


def adapter_rank(folder: str | Path) -> int:
    """The rank of a LoRA adapter that PEFT saved.

    Raises:
        UsageError: if there is none.
    """
    try:
        settings = json.loads((Path(folder) / "adapter_config.json").read_text())
        ranks = [settings["r"], *settings.get("rank_pattern", {}).values()]
        return max(int(rank) for rank in ranks)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"adapter={str(folder)!r}: expected the folder of a LoRA adapter: {error}"
        ) from error
