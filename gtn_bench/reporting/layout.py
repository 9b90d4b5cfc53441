"""The layout of figures: panels of a fixed size, and room for everything around them.

The layout engines of matplotlib divide a given figure. Here the panels are given, and the figure grows with labels,
legends and notes: nothing is cut, and nothing overlaps.
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

from gtn_bench.reporting.text import text_width, wrap
from gtn_bench.reporting.theme import SIZE, SMALL, WARNING, theme

_NARROWEST = 3.4  # inches; captions and notes have at least this width
_GAP = 0.1  # inches between neighbors
_KEY = 0.65  # inches of a line in a legend, with the space around it
_PAGE = 96  # pixels per inch of a page


class InlineFigure(Figure):
    """A figure that a notebook shows inline, whichever backend of matplotlib is active, or none."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return the figure as PNG at twice the resolution of a page, and its size on the page in pixels."""
        stream = io.BytesIO()
        with theme():
            self.savefig(stream, format="png", dpi=2 * _PAGE, metadata={"Software": None})
        width, height = (round(_PAGE * inches) for inches in self.get_size_inches())
        return stream.getvalue(), {"width": width, "height": height}


class Panels(NamedTuple):
    """A figure with a grid of panels.

    Attributes:
        figure: The figure.
        axes: The panels, an array (rows, columns).
        width, height: Size of a panel in inches, without labels.
    """

    figure: InlineFigure
    axes: np.ndarray[Any, Any]
    width: float
    height: float


def grid(rows: int, columns: int, width: float, height: float, **sharing: Any) -> Panels:
    """Return a figure with a grid of panels, without pyplot.

    Args:
        rows, columns: Number of panels.
        width, height: Size of a panel in inches, without labels.
        sharing: `sharex` and `sharey` of `Figure.subplots`.
    """
    figure = InlineFigure(figsize=(columns * width, rows * height))
    FigureCanvasAgg(figure)
    whole = {"left": 0, "right": 1, "bottom": 0, "top": 1, "wspace": 0, "hspace": 0}
    return Panels(figure, figure.subplots(rows, columns, squeeze=False, gridspec_kw=whole, **sharing), width, height)


def finish(
    panels: Panels, *, xlabel: str = "", ylabel: str = "", note: str = "", legend: Mapping[str, Artist] | None = None
) -> InlineFigure:
    """Put labels around the panels, and give the figure the size that all of them need.

    The legend is right of the panels if it is not higher than they are, else below them in columns.

    Args:
        panels: The figure and its panels, all drawn.
        xlabel: Caption below all panels.
        ylabel: Label left of all panels.
        note: Warning above all panels.
        legend: An artist for each mode.

    Returns:
        The figure.
    """
    figure = panels.figure
    rooms = {where: _room(panel) for where, panel in np.ndenumerate(panels.axes) if panel.get_visible()}
    lefts, width = _places(panels, rooms, panels.width, axis=0)
    tops, height = _places(panels, rooms, panels.height, axis=1)
    wide = max(width, _NARROWEST)
    below: list[Text | Legend] = [_text(figure, wrap(xlabel, wide, SIZE), fontsize=SIZE)] if xlabel else []
    right: list[Text | Legend] = []
    if legend:
        labels = [wrap(mode, _NARROWEST - _KEY, SMALL) for mode in legend]
        lines = 2 + sum(1.5 + label.count("\n") for label in labels)
        fits = 1.25 * lines * SMALL / 72 <= height
        widest = max(text_width(line, SMALL) for label in labels for line in label.split("\n"))
        columns = 1 if fits else max(1, int(wide // (widest + _KEY)))
        (right if fits else below).append(_legend(figure, legend.values(), labels, columns))
    beside = [_text(figure, ylabel, fontsize=SIZE, rotation="vertical")] if ylabel else []
    above = [_text(figure, wrap(note, wide, SMALL), fontsize=SMALL, color=WARNING)] if note else []
    wide = max(wide, *(_size(artist)[0] for artist in (*below, *above)), 0)  # lines can be a pixel wider than expected

    # Positions are in inches from the lower left corner. The figure grows from there to the right and to the top.
    left = _GAP + sum(_size(artist)[0] + _GAP for artist in beside)
    middle, bottom = left + wide / 2, _GAP
    for artist in reversed(below):
        bottom = _put(artist, middle, bottom)
    for artist in beside:
        _put(artist, middle - width / 2 - _GAP - _size(artist)[0] / 2, bottom + (height - _size(artist)[1]) / 2)
    end = left + wide + _GAP
    for artist in right:
        _put(artist, end + _size(artist)[0] / 2, bottom + height - _size(artist)[1])
        end += _size(artist)[0] + _GAP
    top = bottom + height + _GAP
    for artist in above:
        top = _put(artist, middle, top)
    figure.set_size_inches(end, top)
    for (row, column), panel in np.ndenumerate(panels.axes):
        x, y = middle - width / 2 + lefts[column], bottom + height - tops[row] - panels.height
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


def _legend(figure: Figure, handles: Iterable[Artist], labels: Sequence[str], columns: int) -> Legend:
    """Return a legend of the modes."""
    legend = figure.legend(
        list(handles),
        [str(place) for place in range(len(labels))],  # a label with a leading underscore would be left out
        title="mode",
        ncols=columns,
        loc="center",
        bbox_transform=figure.dpi_scale_trans,
        borderaxespad=0,
        borderpad=0,
        frameon=False,
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
    """Write a figure as PNG and SVG. The same figure has the same bytes.

    Args:
        figure: The figure.
        path: The files without their endings.
    """
    figure.savefig(path.with_name(f"{path.name}.png"), dpi=160, metadata={"Software": None})
    figure.savefig(path.with_name(f"{path.name}.svg"), dpi=160, metadata={"Date": None})
