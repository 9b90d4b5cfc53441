"""Paths that users give: on the command line, in Python, in environment variables."""

from __future__ import annotations

import os
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
