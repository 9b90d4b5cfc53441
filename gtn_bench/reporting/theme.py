"""The appearance of figures: fonts and lines, and a color, a marker and a dash pattern per mode."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import matplotlib
import matplotlib.style
import seaborn as sns

SIZE, SMALL = 10.0, 9.0  # font sizes in points: titles and axis labels; ticks, legends and notes
INK, WARNING = "#262626", "#b22222"

Dashes = Literal["solid"] | tuple[float, tuple[float, ...]]

_THEME: dict[str, Any] = {
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
    "lines.linewidth": 1.2,
    "lines.markersize": 5.5,
    "lines.markeredgewidth": 0.75,
    "image.composite_image": False,  # compositing many small images takes longer than drawing them
    "svg.fonttype": "none",
    "svg.hashsalt": "gtn-bench",  # the same figure has the same bytes
}
_LOCK = threading.RLock()  # rcParams belong to the process, not to a thread

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
def theme() -> Iterator[None]:
    """Draw with the appearance of gtn-bench, and restore the rcParams of the caller afterwards.

    Settings of the caller, such as ``text.usetex``, do not change a figure. Threads draw one after the other.
    """
    with _LOCK, matplotlib.rc_context():
        matplotlib.style.use(["default", sns.axes_style("ticks"), sns.plotting_context("paper"), _THEME])
        yield
