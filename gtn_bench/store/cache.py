"""The cache: one safetensors file per teacher, learner and cell, named by its content key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import platformdirs

from gtn_bench.config.errors import ConfigError
from gtn_bench.config.paths import user_path
from gtn_bench.store.files import (
    DamagedFileError,
    OlderFileError,
    make_folder,
    read_header,
    read_tensors,
    write_tensors,
)
from gtn_bench.store.format import Header
from gtn_bench.store.intact import is_intact, known_origin, set_aside
from gtn_bench.store.origin import Origin, current_origin

if TYPE_CHECKING:
    from torch import Tensor

RESULTS = ("teachers", "checkpoints", "learners", "examinations", "clean", "cells", "certificates", "probes")


def cache_folder() -> Path:
    """Return `GTN_BENCH_CACHE`, or else the user's cache folder."""
    folder = os.environ.get("GTN_BENCH_CACHE")
    return user_path(folder) if folder else platformdirs.user_cache_path("gtn-bench")


@dataclass(frozen=True)
class Store:
    """Files ``<folder>/<kind>/<key>.safetensors``: named tensors with metadata, complete or absent.

    Every file holds its kind and key, checksums of all its bytes, and the origin of its numbers.
    """

    folder: Path

    def path(self, kind: str, key: str) -> Path:
        """Return the path of a file, whether it exists or not.

        Args:
            kind: The kind of result, such as "learners".
            key: Its content key.
        """
        return self.folder / kind / key[:2] / f"{key}.safetensors"

    def open(self) -> None:
        """Create the folder unless it exists. A folder that cannot be written to is enough where nothing is missing.

        Raises:
            ConfigError: If there is no such folder and it cannot be created.
        """
        try:
            exists = self.folder.is_dir()
        except OSError as error:
            raise ConfigError(f"{self.folder}: expects a folder that can be read ({error.strerror})") from None
        if not exists:
            make_folder(self.folder)

    def holds(self, kind: str, key: str) -> bool:
        """Check that a file exists and holds what was saved.

        A damaged file is renamed, with a warning; in a folder that cannot be written to, it counts as missing.

        Args:
            kind: The kind of result.
            key: Its content key.
        """
        return is_intact(self.path(kind, key), f"{kind}/{key}")

    def save(self, kind: str, key: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
        """Save a result, with the hardware and versions that computed it.

        Args:
            kind: The kind of result.
            key: Its content key.
            tensors: Tensors by name.
            metadata: Plain data to store beside them.

        Raises:
            StorageError: If the file cannot be written.
        """
        origin = current_origin().to_plain()
        write_tensors(self.path(kind, key), tensors, metadata, key=f"{kind}/{key}", origin=origin)

    def load(self, kind: str, key: str, framework: Literal["np", "pt"] = "pt") -> tuple[dict[str, Any], dict[str, Any]]:
        """Load a result that `save` has stored.

        Args:
            kind: The kind of result.
            key: Its content key.
            framework: "np" for NumPy arrays, "pt" for tensors on the CPU.

        Returns:
            Arrays or tensors by name, and the metadata.

        Raises:
            FileNotFoundError: If there is no such result.
            DamagedFileError: If the file is damaged.
        """
        path = self.path(kind, key)
        try:
            return read_tensors(path, framework, key=f"{kind}/{key}")
        except DamagedFileError as error:
            raise _final(error, path) from None

    def metadata(self, kind: str, key: str) -> dict[str, Any]:
        """Return the metadata of a result that `save` has stored.

        Args:
            kind: The kind of result.
            key: Its content key.

        Raises:
            FileNotFoundError: If there is no such result.
            DamagedFileError: If the file is damaged.
        """
        return self._header(kind, key).about

    def digest(self, kind: str, key: str) -> str:
        """Return a hash of the numbers of a result: the names, types, shapes and values of its tensors.

        Args:
            kind: The kind of result.
            key: Its content key.

        Raises:
            FileNotFoundError: If there is no such result.
            DamagedFileError: If the file is damaged.
        """
        return self._header(kind, key).digest

    def origin(self, kind: str, key: str) -> Origin | None:
        """Return where the numbers of a result came from; None if the cache does not hold it.

        Args:
            kind: The kind of result.
            key: Its content key.
        """
        path = self.path(kind, key)
        known = known_origin(path, f"{kind}/{key}")
        if known is None:
            try:
                known = read_header(path, key=f"{kind}/{key}").origin
            except (OSError, DamagedFileError):
                return None
        return Origin.from_plain(known) if known else None

    def _header(self, kind: str, key: str) -> Header:
        path = self.path(kind, key)
        try:
            return read_header(path, key=f"{kind}/{key}")
        except DamagedFileError as error:
            raise _final(error, path) from None


def _final(error: DamagedFileError, path: Path) -> DamagedFileError:
    """Set a file aside that was damaged after it was verified; return the error that ends the run."""
    if isinstance(error, OlderFileError):
        return error
    return DamagedFileError(path, f"{error.reason}; {set_aside(path)}; run the command again, which recomputes it")


class Context(NamedTuple):
    """The settings of a run that its tasks need.

    Attributes:
        store: The cache that they read and write.
        device: The device that they compute on.
        plugins: Files whose descriptions they may have to know.
        workers: Number of processes that share the devices.
        key_device: What of the device belongs into the keys of results.
    """

    store: Store
    device: str
    plugins: tuple[str, ...] = ()
    workers: int = 1
    key_device: str = "cpu"
