"""Styles of figures: what a style file of matplotlib, or a built-in style, may change."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from gtn_bench.config.errors import ConfigError, did_you_mean, shown
from gtn_bench.config.paths import user_path

_SUFFIX = ".mplstyle"
_LARGEST = 100_000  # bytes of a style file
_LINE = re.compile(r'\s*(?P<key>[^#:]*?)\s*:(?P<value>(?:[^"#]|"[^"]*")*)(?:#.*)?')

# What a style may change: the appearance of lines, axes and text. None of these settings names a program or a file, or
# is evaluated. The width of figures, the sizes of text, the formats and the colors of modes are those of gtn-bench.
_GROUPS = (
    *("lines.", "patch.", "hatch.", "axes.", "xtick.", "ytick.", "grid.", "legend.", "font.", "text.color"),
    *("figure.facecolor", "figure.edgecolor", "savefig.facecolor", "savefig.edgecolor", "mathtext.fontset"),
)
_OWN = re.compile(r"axes\.prop_cycle|.*size|axes\.formatter\..*|legend\.(loc|ncols?|title_.*)|axes\.titlelocation")
_TICKS = re.compile(r"[xy]tick\.(major|minor)\.size")


class FigureStyle(NamedTuple):
    """The style of figures.

    Attributes:
        name: Name of the file, or of the built-in style; empty for that of gtn-bench.
        settings: The rcParams that it changes.
        without_effect: Its settings that change nothing.
    """

    name: str
    settings: Mapping[str, Any]
    without_effect: tuple[str, ...]


PLAIN = FigureStyle("", {}, ())


def figure_style(style: str | os.PathLike[str] | None) -> FigureStyle:
    """Return the style of figures from a style file, or a built-in style of matplotlib.

    Only settings of the appearance count. Nothing in the file is evaluated.

    Args:
        style: Path of a file whose name ends in .mplstyle, or the name of a built-in style; None for neither.

    Raises:
        ConfigError: If there is no such style, or the file holds something else than settings of matplotlib.
    """
    if style is None:
        return PLAIN
    import matplotlib.style

    text = os.fspath(style)
    if not isinstance(text, str):
        raise ConfigError(f"style: expects the path of a style file as text, got {shown(text)}")
    if text.endswith(_SUFFIX):
        path = user_path(text)
        return _allowed(path.name, _validated(_read(path), str(path)))
    if text not in matplotlib.style.available:
        near = did_you_mean(text, matplotlib.style.available)
        raise ConfigError(
            f"style {shown(text)}: expects a file whose name ends in {_SUFFIX}, or a built-in style of matplotlib{near}"
        )
    return _allowed(text, dict(cast(Mapping[str, Any], matplotlib.style.library[text])))


def _read(path: Path) -> dict[str, str]:
    """Return the settings in a style file as text."""
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigError(f"{path}: expects a style file of at most {_LARGEST // 1000} kB")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expects a text file in UTF-8") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or not match["key"]:
            raise ConfigError(f"{path}, line {number}: expects 'key: value', got {shown(line.strip())}")
        if match["key"] in found:
            raise ConfigError(f"{path}, line {number}: sets {match['key']} a second time")
        found[match["key"]] = match["value"].strip().removeprefix('"').removesuffix('"')
    return found


def _validated(found: Mapping[str, str], where: str) -> dict[str, Any]:
    """Return settings as matplotlib understands them. Those that have no effect stay text."""
    import matplotlib

    values: dict[str, Any] = {}
    for key, text in found.items():
        if key not in matplotlib.rcParamsDefault:
            near = did_you_mean(key, list(matplotlib.rcParamsDefault))
            raise ConfigError(f"{where}: matplotlib has no setting {shown(key)}{near}")
        if not _has_effect(key):
            values[key] = text
            continue
        try:
            values[key] = cast(Mapping[str, Any], matplotlib.RcParams({key: text}))[key]
        except (ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"{where}: {key} cannot be {shown(text)} ({reason})") from None
    return values


def _has_effect(key: str) -> bool:
    """Return whether a style may change a setting."""
    return key.startswith(_GROUPS) and (_TICKS.fullmatch(key) is not None or not _OWN.fullmatch(key))


def _allowed(name: str, settings: Mapping[str, Any]) -> FigureStyle:
    kept = {key: value for key, value in sorted(settings.items()) if _has_effect(key)}
    return FigureStyle(name, kept, tuple(sorted(set(settings) - set(kept))))
