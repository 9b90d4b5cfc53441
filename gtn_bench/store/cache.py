"""The cache: one safetensors file per teacher, learner and cell, named by its content key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import platformdirs
from safetensors import SafetensorError, safe_open

from gtn_bench.config.paths import user_path
from gtn_bench.store.files import metadata_of, read_tensors, write_tensors

if TYPE_CHECKING:
    from torch import Tensor


def cache_folder() -> Path:
    """Return `GTN_BENCH_CACHE`, or else the user's cache folder."""
    folder = os.environ.get("GTN_BENCH_CACHE")
    return user_path(folder) if folder else platformdirs.user_cache_path("gtn-bench")


@dataclass(frozen=True)
class Store:
    """Files ``<folder>/<kind>/<key>.safetensors``: named tensors with metadata, complete or absent."""

    folder: Path

    def path(self, kind: str, key: str) -> Path:
        """Return the path of a file, whether it exists or not.

        Args:
            kind: The kind of result, such as "learners".
            key: Its content key.
        """
        return self.folder / kind / key[:2] / f"{key}.safetensors"

    def holds(self, kind: str, key: str) -> bool:
        """Check that a file exists and is complete. A truncated file, as a full disk leaves it, is removed.

        Args:
            kind: The kind of result.
            key: Its content key.
        """
        path = self.path(kind, key)
        try:
            with safe_open(path, framework="np"):  # compares the file's length with its header
                return True
        except FileNotFoundError:
            return False
        except SafetensorError:
            path.unlink(missing_ok=True)
            return False

    def save(self, kind: str, key: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
        """Save a result.

        Args:
            kind: The kind of result.
            key: Its content key.
            tensors: Tensors by name.
            metadata: Plain data to store beside them.
        """
        write_tensors(self.path(kind, key), tensors, metadata)

    def load(self, kind: str, key: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Load a result that `save` has stored.

        Args:
            kind: The kind of result.
            key: Its content key.

        Returns:
            Tensors on the CPU by name, and the metadata.
        """
        return read_tensors(self.path(kind, key), framework="pt")

    def metadata(self, kind: str, key: str) -> dict[str, Any]:
        """Return the metadata of a result that `save` has stored.

        Args:
            kind: The kind of result.
            key: Its content key.
        """
        with safe_open(self.path(kind, key), framework="np") as file:
            return metadata_of(file)


class Context(NamedTuple):
    """The settings of a run that its tasks need.

    Attributes:
        store: The cache that they read and write.
        device: The device that they compute on.
        plugins: Files whose descriptions they may have to know.
        workers: Number of processes that share the devices.
    """

    store: Store
    device: str
    plugins: tuple[str, ...] = ()
    workers: int = 1
