"""Names that users define in files of their own: what is known about those that cannot be used."""

from __future__ import annotations

# Why something that a plug-in file defines is in no table, by kind and name.
UNREGISTERED: dict[tuple[str, str], str] = {}

# The plug-in files that are loaded, by absolute path.
LOADED: list[str] = []

DECORATORS = {"architecture": "@gtn_bench.architecture", "perturbation": "@gtn_bench.perturbation"}
_TABLES = {"mode": "gtn_bench.modes.MODES", "dataset": "gtn_bench.data.DATASETS"}


def how_to_register(kind: str, name: str, suggestion: str) -> str:
    """Return the end of a message about an unknown name: how a name of the user's own becomes known.

    Args:
        kind: The kind of description, such as "perturbation".
        name: The unknown name.
        suggestion: The text before it, such as ``"; did you mean 'x'?"``.

    Returns:
        The text; empty if a plug-in file is loaded, for a name of a library, and for other kinds.
    """
    if LOADED or "." in name or not (kind in DECORATORS or kind in _TABLES):
        return ""
    in_python = f"register it with {DECORATORS[kind]}" if kind in DECORATORS else f"add its class to {_TABLES[kind]}"
    start = " If" if suggestion.endswith("?") else "; if"
    return f"{start} it is your own, name its file with --plugin FILE.py, or in Python {in_python}"
