"""Instances of all architectures."""

from __future__ import annotations

from typing import Any

import pytest

from gtn_bench.models import ARCHITECTURES, Architecture
from gtn_bench.models.libraries.base import LibraryArchitecture, is_installed

FIELDS: dict[str, dict[str, Any]] = {
    "torchvision": {"model": "resnet18", "width": 0.25, "stem": "cifar"},
    "timm": {"model": "resnet18"},
    "robustbench": {"model": "Wong2020Fast"},
}


def missing(name: str) -> str:
    """Return the package that an architecture needs and that is not installed; an empty string if there is none."""
    cls = ARCHITECTURES[name]
    if not issubclass(cls, LibraryArchitecture):
        return ""
    return next((package for package in cls.packages if not is_installed(package)), "")


AVAILABLE = [name for name in ARCHITECTURES if not missing(name)]


def instance(name: str) -> Architecture:
    """Return an architecture, a small one if it needs fields. Skip the test if its package is not installed."""
    if package := missing(name):
        pytest.skip(f"{package} is not installed")
    return ARCHITECTURES[name](**FIELDS.get(name, {}))
