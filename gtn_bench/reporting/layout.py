"""The layout of figures: the width of a column or a page, and room for everything around the panels.

The layout engines of matplotlib divide a given figure. Here the width is given, panels share what labels leave of it,
and the height grows with labels, legends and notes: nothing is cut, and nothing overlaps.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from gtn_bench.reporting.names import FORMATS
from gtn_bench.reporting.text import text_width, wrap
from gtn_bench.reporting.theme import SIZE, SMALL, WARNING, theme

COLUMN, PAGE = 3.25, 6.75  # inches: the width of a column of text in a paper, and of both columns

_WIDEST = 4.2  # inches of a panel
_GAP = 0.08  # inches between neighbors
_KEY = 0.5  # inches of a line in a legend, with the space around it
_DPI = 200  # of PNG files
_SCREEN = 96  # pixels per inch of a screen


class InlineFigure(Figure):
    """A figure that a notebook shows inline, whichever backend of matplotlib is active, or none."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return the figure as PNG at twice the resolution of a page, and its size on the page in pixels."""
        stream = io.BytesIO()
        with theme():
            self.savefig(stream, format="png", dpi=2 * _SCREEN, metadata={"Software": None})
        width, height = (round(_SCREEN * inches) for inches in self.get_size_inches())
        return stream.getvalue(), {"width": width, "height": height}


class Panels(NamedTuple):
    """A figure with a grid of panels.

    Attributes:
        figure: The figure.
        axes: The panels, an array (rows, columns).
        width, height: Size of a panel in inches, without labels.
        total: Width of the figure in inches; 0 for the one that the panels need.
    """

    figure: InlineFigure
    axes: np.ndarray[Any, Any]
    width: float
    height: float
    total: float = 0.0


def grid(rows: int, columns: int, width: float, height: float, **sharing: Any) -> Panels:
    """Return a figure with a grid of panels of a given size, without pyplot. The figure is as wide as they need.

    Args:
        rows, columns: Number of panels.
        width, height: Size of a panel in inches, without labels.
        sharing: `sharex` and `sharey` of `Figure.subplots`.
    """
    figure = InlineFigure(figsize=(columns * width, rows * height))
    FigureCanvasAgg(figure)
    whole = {"left": 0, "right": 1, "bottom": 0, "top": 1, "wspace": 0, "hspace": 0}
    return Panels(figure, figure.subplots(rows, columns, squeeze=False, gridspec_kw=whole, **sharing), width, height)


def shared_grid(total: float, rows: int, columns: int, height: float, **sharing: Any) -> Panels:
    """Return a figure of a given width with a grid of panels that share it.

    Args:
        total: Width of the figure in inches.
        rows, columns: Number of panels.
        height: Height of a panel in inches, without labels.
        sharing: `sharex` and `sharey` of `Figure.subplots`.
    """
    return grid(rows, columns, panel_width(total, columns), height, **sharing)._replace(total=total)


def panel_width(total: float, columns: int) -> float:
    """Return the width in inches that a panel has beside its labels, or a little more.

    Args:
        total: Width of the figure in inches.
        columns: Panels in a row.
    """
    return min(_WIDEST, (total - 4 * _GAP) / columns - 3 * _GAP)


def finish(
    panels: Panels,
    *,
    xlabel: str = "",
    ylabel: str = "",
    note: str = "",
    legend: Mapping[str, Artist] | None = None,
    legend_title: str = "mode",
    width: float = 0.0,
) -> InlineFigure:
    """Put labels around the panels, and give the figure the size that all of them need.

    The legend is right of a single panel if it is not higher, else below the panels in columns.

    Args:
        panels: The figure and its panels, all drawn.
        xlabel: Caption below all panels.
        ylabel: Label left of all panels.
        note: Warning above all panels.
        legend: An artist for each mode.
        legend_title: Title of the legend.
        width: Smallest width of the figure in inches, if its panels have a given size.

    Returns:
        The figure.
    """
    figure = panels.figure
    beside = [_text(figure, ylabel, fontsize=SIZE, rotation="vertical")] if ylabel else []
    rooms = {where: _room(panel) for where, panel in np.ndenumerate(panels.axes) if panel.get_visible()}
    free = (panels.total or width) - 2 * _GAP - sum(_size(artist)[0] + _GAP for artist in beside)
    right: list[Text | Legend] = []
    if legend and panels.axes.size == 1 and panels.total:
        labels = [wrap(mode, panels.total / 4, SMALL) for mode in legend]
        legend_beside = _legend(figure, legend.values(), labels, 1, legend_title)
        across, high = _size(legend_beside)
        if high <= panels.height and free - across - _GAP >= 0.6 * panels.total:
            right, free = [legend_beside], free - across - _GAP
        else:
            legend_beside.remove()
    if panels.total:
        taken = _places(panels, rooms, 0.0, axis=0)[1]
        panels = panels._replace(width=min(_WIDEST, (free - taken) / panels.axes.shape[1]))
    lefts, block = _places(panels, rooms, panels.width, axis=0)
    tops, height = _places(panels, rooms, panels.height, axis=1)
    wide = max(block, free)
    below: list[Text | Legend] = [_text(figure, wrap(xlabel, wide, SIZE), fontsize=SIZE)] if xlabel else []
    if legend and not right:
        labels = [wrap(mode, wide - _KEY, SMALL) for mode in legend]
        widest = max(text_width(line, SMALL) for label in labels for line in label.split("\n"))
        columns = min(len(labels), max(1, int(wide // (widest + _KEY))))
        columns = -(-len(labels) // -(-len(labels) // columns))  # no column is nearly empty
        below.append(_legend(figure, legend.values(), labels, columns, legend_title))
    above = [_text(figure, wrap(note, wide, SMALL), fontsize=SMALL, color=WARNING)] if note else []
    wide = max(wide, *(_size(artist)[0] for artist in (*below, *above)), 0)  # lines can be a pixel wider than expected

    # Positions are in inches from the lower left corner. The figure grows from there to the right and to the top.
    left = _GAP + sum(_size(artist)[0] + _GAP for artist in beside)
    middle, bottom = left + wide / 2, _GAP
    for artist in reversed(below):
        bottom = _put(artist, middle, bottom)
    for artist in beside:
        _put(artist, middle - block / 2 - _GAP - _size(artist)[0] / 2, bottom + (height - _size(artist)[1]) / 2)
    end = left + wide + _GAP
    for artist in right:
        _put(artist, middle + block / 2 + _GAP + _size(artist)[0] / 2, bottom + height - _size(artist)[1])
        end += _size(artist)[0] + _GAP
    top = bottom + height + _GAP
    for artist in above:
        top = _put(artist, middle, top)
    figure.set_size_inches(end, top)
    for (row, column), panel in np.ndenumerate(panels.axes):
        x, y = middle - block / 2 + lefts[column], bottom + height - tops[row] - panels.height
        panel.set_position((x / end, y / top, panels.width / end, panels.height / top))
    return figure


def _room(panel: Axes) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the room in pixels of what is left and right of a panel, and of what is above and below it."""
    box, tight = panel.bbox, panel.get_tightbbox()
    assert tight is not None  # a visible panel has one
    return (box.x0 - tight.x0, tight.x1 - box.x1), (tight.y1 - box.y1, box.y0 - tight.y0)


def _places(
    panels: Panels, rooms: Mapping[tuple[int, ...], tuple[tuple[float, float], ...]], size: float, *, axis: int
) -> tuple[list[float], float]:
    """Return where the columns (axis 0) or the rows (axis 1) of panels begin, and the room that all of them take.

    Distances are in inches, from the left or from the top. Ticks, labels and titles outside of a panel have their own
    room.
    """
    before, behind = np.zeros(panels.axes.shape), np.zeros(panels.axes.shape)
    for where, room in rooms.items():
        before[where], behind[where] = np.maximum(room[axis], 0) / panels.figure.dpi
    places, end = [], -_GAP
    for room_before, room_behind in zip(before.max(axis), behind.max(axis), strict=True):
        places.append(end + _GAP + room_before)
        end = places[-1] + size + room_behind
    return places, end


def _legend(figure: Figure, handles: Iterable[Artist], labels: Sequence[str], columns: int, title: str) -> Legend:
    """Return a legend of the modes."""
    legend = figure.legend(
        list(handles),
        [str(place) for place in range(len(labels))],  # a label with a leading underscore would be left out
        title=title,
        ncols=columns,
        loc="center",
        bbox_transform=figure.dpi_scale_trans,
        borderaxespad=0,
        borderpad=0,
        frameon=False,
        labelspacing=0.35,
        handlelength=2.6,
        columnspacing=1.2,
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_parse_math(False)
        text.set_text(label)
    return legend


def _text(figure: Figure, text: str, **style: Any) -> Text:
    return figure.text(
        0, 0, text, transform=figure.dpi_scale_trans, parse_math=False, ha="center", va="center", **style
    )


def _size(artist: Artist) -> tuple[float, float]:
    """Return width and height of an artist in inches."""
    box = artist.get_window_extent()
    return box.width / artist.figure.dpi, box.height / artist.figure.dpi


def _put(artist: Text | Legend, x: float, y: float) -> float:
    """Center an artist above a point, in inches, and return where the next one above it begins."""
    height = _size(artist)[1]
    if isinstance(artist, Legend):
        artist.set_bbox_to_anchor((x, y + height / 2), transform=artist.figure.dpi_scale_trans)
    else:
        artist.set_position((x, y + height / 2))
    return y + height + _GAP


@theme()
def save(figure: Figure, path: Path) -> None:
    """Write a figure as PDF, PNG and SVG. The same figure has the same bytes.

    Args:
        figure: The figure.
        path: The files without their endings.
    """
    for kind in FORMATS:
        figure.savefig(path.with_name(f"{path.name}.{kind}"), dpi=_DPI, metadata=_NO_METADATA[kind])


_NO_METADATA: dict[str, dict[str, None]] = {
    "pdf": dict.fromkeys(("Creator", "Producer", "CreationDate")),
    "png": {"Software": None},
    "svg": dict.fromkeys(("Date", "Creator")),
}
