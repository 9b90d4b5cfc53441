"""Paths that users give: on the command line, in Python, in environment variables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from gtn_bench.config.errors import ConfigError, shown


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return a path that a user gives. A leading ``~`` is expanded once; nothing is read as a URL.

    Args:
        path: A path, such as ``"~/results"``. ``"./~"`` is a folder of that name.

    Raises:
        ConfigError: If it is no path, is empty, or is in the home of an unknown user.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigError(f"expects a path, got {shown(path)}")
    expanded = os.path.expanduser(text)
    if text.startswith("~") and expanded == text:
        user = Path(text).parts[0]
        raise ConfigError(f"{text}: there is no user '{user[1:]}'; a folder of that name is ./{user}")
    found = Path(expanded)
    # As a Path, "./~" is "~", which would be expanded the next time.
    return found.absolute() if str(found).startswith("~") else found


_folder: ContextVar[Path | None] = ContextVar("folder", default=None)


@contextmanager
def relative_to(folder: Path | None) -> Iterator[None]:
    """Let relative paths of files start at a folder, in the block.

    Args:
        folder: The folder, such as that of a suite; None for the working folder.
    """
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def find_path(path: str | os.PathLike[str], *, folders: bool = False, template: bool = False) -> Path:
    """Return the absolute path of an existing file that a suite names.

    A relative path starts at the folder of the suite (see `relative_to`), then at `GTN_BENCH_DATA`.

    Args:
        path: The path.
        folders: Whether a folder is accepted, too.
        template: Whether the path is a template, which need not exist.

    Raises:
        ConfigError: If there is no such file.
    """
    given = user_path(path)
    start = _folder.get() or Path.cwd()
    data = os.environ.get("GTN_BENCH_DATA")
    places = [start / given, *([user_path(data).absolute() / given] if data else [])]
    try:
        if template:
            found = next((place for place in places if place.parent.is_dir()), places[0])
            found.is_file()  # raises for a name that no file can have
            return found
        for place in places:
            if place.is_file() or (folders and place.is_dir()):
                return place
        is_folder = places[0].is_dir()
        elsewhere = Path.cwd() / given
        hint = f"; did you mean {elsewhere}?" if elsewhere.is_file() else ""
    except OSError as error:
        raise ConfigError(f"{os.fspath(path)[:40]}: expects the path of a file ({error.strerror})") from None
    if is_folder:
        raise ConfigError(f"{path}: expects a file, got a folder")
    if given.is_absolute():
        raise ConfigError(f"{path}: no such file")
    raise ConfigError(f"{path}: no such file in {start}{f' or {data}' if data else ''}{hint}")
