"""Files that ship with the package: suites and specifications of teachers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from gtn_bench.config.errors import ConfigError, did_you_mean, shown
from gtn_bench.config.paths import user_path


def suites() -> dict[str, Path]:
    """Return name and file of every suite that ships with the package."""
    return _yaml_files("suites")


def teacher_specs() -> dict[str, Path]:
    """Return name and file of every teacher specification that ships with the package."""
    return _yaml_files("teachers")


def find(source: str | os.PathLike[str], kind: str, shipped: Mapping[str, Path]) -> Path:
    """Find a file by its path or by the name under which it ships with the package.

    Args:
        source: A path or a shipped name.
        kind: The kind of file for messages, such as "suite".
        shipped: The shipped files by name.

    Returns:
        The path of an existing file.

    Raises:
        ConfigError: If there is no such file; the message suggests the most similar shipped name.
    """
    expected = f"expects a file or the name of a {kind}"
    if not isinstance(source, str | os.PathLike):
        raise ConfigError(f"{expected}, got {shown(source)}")
    if "\n" in os.fspath(source):
        raise ConfigError(f"{expected}, got {len(str(source).splitlines())} lines of text; write them to a file")
    path = user_path(source)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as error:
        raise ConfigError(f"{str(source)[:40]}: {expected} ({error.strerror})") from None
    if is_file:
        return path
    if str(source) in shipped:
        return shipped[str(source)]
    if is_folder:
        raise ConfigError(f"{source}: expects a file, got a folder")
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise ConfigError(f"{source}: no such file")
    raise ConfigError(f"unknown {kind} {shown(str(source))}{did_you_mean(source, shipped)}")


def _yaml_files(folder: str) -> dict[str, Path]:
    package = Path(str(files("gtn_bench")))
    installed, checkout = package / "shipped" / folder, package.parent / "benchmarks" / folder
    home = installed if installed.is_dir() else checkout
    return {path.stem: path for path in sorted(home.glob("*.yaml"))}
