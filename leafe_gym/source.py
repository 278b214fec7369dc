"""A hash of the code of a function or class, so that a run notices when it was edited."""

from __future__ import annotations

import hashlib
import inspect
from types import CodeType
from typing import Any


def source_hash(thing: Any) -> str:
    """Eight bytes of BLAKE2b, in hex, of what defines `thing`.

    The source text where there is one, else the compiled code; values that a function closes over
    are not part of it.
    """
    target = thing if inspect.isroutine(thing) or inspect.isclass(thing) else type(thing)
    try:
        text = inspect.getsource(inspect.unwrap(target)).encode("utf-8", "surrogatepass")
    except (OSError, TypeError):
        text = _compiled(target)
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def _compiled(target: Any) -> bytes:
    code = getattr(target, "__code__", None)
    if isinstance(code, CodeType):
        names = " ".join((*code.co_names, *map(repr, _plain(code.co_consts))))
        return code.co_code + names.encode("utf-8", "surrogatepass")
    return f"{target.__module__}.{target.__qualname__}".encode()


def _plain(values: tuple[Any, ...]) -> list[Any]:
    """Constants whose repr is the same in every process."""
    return [value for value in values if not isinstance(value, CodeType)]
