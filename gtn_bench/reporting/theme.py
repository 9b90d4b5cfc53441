"""The appearance of figures: fonts and lines, and a color, a marker and a dash pattern per mode."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal, NamedTuple

import matplotlib
import matplotlib.font_manager
import matplotlib.style
import seaborn as sns

SIZE, SMALL = 8.0, 7.0  # font sizes in points: titles and axis labels; ticks, legends and notes
FONT = "DejaVu Sans"  # it comes with matplotlib: figures look the same on every machine
INK, WARNING = "#262626", "#b22222"

Dashes = Literal["solid"] | tuple[float, tuple[float, ...]]

_THEME: dict[str, Any] = {
    "font.family": [FONT],
    "font.size": SIZE,
    "axes.titlesize": SIZE,
    "axes.labelsize": SIZE,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SIZE,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.titlepad": 4.0,
    "axes.labelpad": 3.0,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.minor.size": 1.5,
    "xtick.minor.width": 0.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 4.5,
    "lines.markeredgewidth": 0.6,
    "hatch.linewidth": 0.5,
}
_FIXED: dict[str, Any] = {  # whatever the style is
    "image.composite_image": False,  # compositing many small images takes longer than drawing them
    "svg.fonttype": "none",  # text stays text
    "pdf.fonttype": 42,
    "pdf.compression": 6,
    "svg.hashsalt": "gtn-bench",  # the same figure has the same bytes
}
_LOCK = threading.RLock()  # rcParams belong to the process, not to a thread
_OPEN: list[None] = []  # one entry for each theme that is active, of the thread that holds the lock

# Fonts of other scripts, used where they are installed and a name needs them.
_MORE_FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Source Han Sans", "WenQuanYi Micro Hei", "IPAGothic"),
    *("Droid Sans Fallback", "Noto Sans", "Noto Sans Symbols2", "Noto Sans Devanagari", "Noto Sans Thai"),
)

# The first eight stay distinct under protanopia, deuteranopia and tritanopia, simulated as in Machado et al. 2009: the
# smallest distance in CIELAB is 16. All 32 are at least 20 apart in normal vision.
_COLORS = (
    *("#0173b2", "#de8f05", "#029e73", "#111111", "#9900ff", "#663300", "#bbbbdd", "#001199"),
    *("#770066", "#bbcc77", "#ff55ff", "#dd1144", "#886688", "#cc4411", "#882244", "#2255bb"),
    *("#aaccbb", "#220033", "#556633", "#44dd44", "#0099bb", "#330066", "#aa44ee", "#ddaaff"),
    *("#ff6688", "#332200", "#0000cc", "#dd7744", "#664488", "#eebb99", "#666666", "#6688dd"),
)
_MARKERS = "osD^vPX<>phd"
_DASHES: tuple[Dashes, ...] = ("solid", (0, (1, 1.2)), (0, (5, 1, 1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (7, 1.5)))


class LineStyle(NamedTuple):
    """The line of a mode in figures.

    Attributes:
        color: The color, as hexadecimal RGB.
        marker: A marker of matplotlib.
        dashes: A line style of matplotlib. Dashed curves of the reference study use another one.
    """

    color: str
    marker: str
    dashes: Dashes


def style(modes: Sequence[str]) -> dict[str, LineStyle]:
    """Return the line style of each mode, the same in every figure of a report.

    Args:
        modes: Labels of the modes. The first eight have colors that color-blind readers can distinguish.
    """
    return {
        mode: LineStyle(
            _COLORS[place % len(_COLORS)], _MARKERS[place % len(_MARKERS)], _DASHES[place // 8 % len(_DASHES)]
        )
        for place, mode in enumerate(modes)
    }


@contextmanager
def theme(settings: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Draw with the appearance of gtn-bench, and restore the rcParams of the caller afterwards.

    Settings of the caller, such as ``text.usetex``, do not change a figure. Threads draw one after the other. Inside
    another theme, this one changes nothing.

    Args:
        settings: Further rcParams.
    """
    with _LOCK:
        if _OPEN:
            yield
            return
        _OPEN.append(None)
        try:
            with matplotlib.rc_context(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from font")
                appearance = ["default", sns.axes_style("ticks"), sns.plotting_context("paper"), _THEME]
                matplotlib.style.use([*appearance, dict(settings or {}), _FIXED])
                yield
        finally:
            _OPEN.pop()


def fonts_for(texts: Iterable[str]) -> dict[str, Any]:
    """Return the setting of fonts for texts with characters that the font of figures lacks; empty if it has all.

    Args:
        texts: The texts.
    """
    if not {ord(character) for text in texts for character in text} - _known_characters():
        return {}
    installed = set(matplotlib.font_manager.get_font_names())
    return {"font.family": [FONT, *(name for name in _MORE_FONTS if name in installed)]}


@cache
def _known_characters() -> frozenset[int]:
    path = matplotlib.font_manager.findfont(FONT)
    return frozenset(matplotlib.font_manager.get_font(path).get_charmap())
