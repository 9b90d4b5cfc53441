"""The data that the script of a page draws from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from gtn_bench.analysis.curves import Bands
from gtn_bench.analysis.results import Results
from gtn_bench.config.labels import ACCEPTED, NO_TEACHER
from gtn_bench.config.suite import Suite
from gtn_bench.reporting.html.classes import class_data
from gtn_bench.reporting.html.colors import on_dark
from gtn_bench.reporting.html.curve_data import curve_data, published_data, seed_data
from gtn_bench.reporting.html.samples import SampleFacts
from gtn_bench.reporting.html.viewer import viewer_data
from gtn_bench.reporting.theme import LineStyle, style

_CLASSIC = 4  # architectures that are shown at first, if there is no pooled curve


def page_data(
    results: Results,
    suite: Suite,
    points: pd.DataFrame,
    learners: pd.DataFrame,
    samples: SampleFacts | None,
    bands: Bands,
    published: pd.DataFrame | None,
) -> dict[str, Any]:
    """Return the data of a page.

    Args:
        results: The results of a run.
        suite: Its suite.
        points: Points of its curves, with the clean ones and the columns of `with_fooled`.
        learners: Rows of `gtn_bench.analysis.pooling.pooled`.
        samples: Its samples.
        bands: The bands that are shown at first.
        published: Points of the reference study; None if the suite does not show them.
    """
    summary = results.summary
    styles = style([str(mode) for mode in summary["mode"].unique()])
    architectures = [str(name) for name in summary["architecture"].unique()]
    pooled = bool((points["architecture"] == ACCEPTED).any()) and len(architectures) > 1
    teachers = [str(name) for name in summary["teacher"].unique() if name != NO_TEACHER]
    return {
        "modes": [_mode(mode, line) for mode, line in styles.items()],
        "teachers": teachers or [NO_TEACHER],
        "none": NO_TEACHER,
        "architectures": [*([ACCEPTED] if pooled else []), *architectures],
        "shownArchitectures": [ACCEPTED] if pooled else architectures[:_CLASSIC],
        "pooled": ACCEPTED,
        "seeds": [int(seed) for seed in summary["seed"].unique()],
        "perturbations": _perturbations(results, suite),
        "curves": curve_data(points),
        "learners": seed_data(learners),
        "published": published_data(published),
        "bands": bands,
        "viewer": viewer_data(results, samples),
        "classes": class_data(learners, samples, results.provenance.get("classes", ())),
    }


def _mode(mode: str, line: LineStyle) -> Mapping[str, Any]:
    dashes = [] if isinstance(line.dashes, str) else list(line.dashes[1])
    return {"name": mode, "color": line.color, "dark": on_dark(line.color), "marker": line.marker, "dashes": dashes}


def _perturbations(results: Results, suite: Suite) -> list[dict[str, Any]]:
    samples = {entry.title: entry.samples for entry in suite.perturbations}
    found = []
    for label in map(str, results.curves["perturbation"].unique()):
        betas = results.curves.loc[results.curves["perturbation"] == label, "beta"]
        logarithmic = bool(betas.min() > 0 and betas.max() / betas.min() >= 50)
        axis = results.provenance["perturbations"].get(label, "")
        names = {"label": label, "name": results.display_name(label), "axis": axis}
        found.append(
            {**names, "logarithmic": logarithmic, "smallest": float(betas.min()), "samples": samples.get(label)}
        )
    return found
