"""The `meta` of a published figure: machine and versions."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from leafe_gym.types import Json

_PACKAGES = ("leafe-gym", "gymnasium", "numpy", "torch", "transformers", "trl")


def machine_meta(**more: Json) -> dict[str, Json]:
    """Machine and versions, for the `meta` of a JSON report; `skipped` names figures not taken."""
    versions: dict[str, Json] = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": versions,
        "skipped": {},
        **more,
    }
