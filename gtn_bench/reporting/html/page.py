"""The page report.html of a run: its context, its template, and its file."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import jinja2
import pandas as pd

from gtn_bench.analysis.acceptance import acceptance, pooled_or_all
from gtn_bench.analysis.curves import Bands
from gtn_bench.analysis.manifest import FIGURES
from gtn_bench.analysis.results import Results
from gtn_bench.config.labels import ACCEPTED
from gtn_bench.config.suite import Suite, load
from gtn_bench.reference.curves import SOURCE
from gtn_bench.reporting import tables
from gtn_bench.reporting.drawing import figure_files
from gtn_bench.reporting.findings import has_no_reasons
from gtn_bench.reporting.html import page_tables
from gtn_bench.reporting.html.clean import clean_points, with_clean
from gtn_bench.reporting.html.curve_data import with_fooled
from gtn_bench.reporting.html.embedding import asset, content_hash, figure_uri, json_for_script
from gtn_bench.reporting.html.forest import forest
from gtn_bench.reporting.html.header import cited, grades, header, unbroken
from gtn_bench.reporting.html.page_data import page_data
from gtn_bench.reporting.html.samples import read_samples
from gtn_bench.reporting.html.tables import table
from gtn_bench.reporting.names import parts_of
from gtn_bench.reporting.proofs import certificate_errors
from gtn_bench.store.files import write_atomically

NAME = "report.html"
_PAGES = 3  # figures of a perturbation for readers without JavaScript
_SCRIPTS = ("dom.js", "numbers.js", "scale.js", "chart.js", "reading.js", "curves.js", "tables.js", "viewer.js")
_STYLES = ("page.css", "charts.css")


class Headlines(Protocol):
    """Sentences about what a run has found, plain text without a full stop."""

    @property
    def shown(self) -> Sequence[str]:
        """The most important ones."""

    @property
    def folded(self) -> Sequence[str]:
        """The others."""


def write(
    results: Results,
    stage: Path,
    *,
    bands: Bands,
    published: pd.DataFrame | None,
    headlines: Headlines,
) -> Path:
    """Write report.html.

    Args:
        results: The results of a run.
        stage: The folder of the page. Its figures are looked up here first, then in the output folder.
        bands: The bands that are shown at first.
        published: Points of the reference study beside the curves; None if the suite does not show them.
        headlines: Sentences for the top of the page.

    Returns:
        Path of the page.
    """
    page, suite = stage / NAME, load(results.folder / "suite.yaml")
    context = _context(results, suite, stage, bands, published) | {"headlines": headlines}
    write_atomically(page, render("report.html.j2", context).encode())
    return page


def render(template: str, context: dict[str, Any]) -> str:
    """Return a page with the style sheet and the script of this package.

    Args:
        template: Name of a template of this package.
        context: Its variables; `data` is embedded for the script.
    """
    folder = files("gtn_bench.reporting.html")
    loader = jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8"))
    environment = jinja2.Environment(
        autoescape=True, loader=loader, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["unbroken"] = unbroken
    script = asset(("start.js", *_SCRIPTS, "page.js"))
    shared = {"script": script, "script_hash": content_hash(script), "style": asset(_STYLES)}
    embedded = {"data": json_for_script(context["data"])} if "data" in context else {}
    return environment.get_template(template).render({**context, **shared, **embedded})


def _context(
    results: Results, suite: Suite, stage: Path, bands: Bands, published: pd.DataFrame | None
) -> dict[str, Any]:
    samples = read_samples(results)
    summary = results.summary
    clean = clean_points(results, samples)
    learners = results.pooled
    points = with_fooled(with_clean(results, clean), learners, samples)
    data = page_data(results, suite, points, learners, samples, bands, published)
    evaluated = bool((summary["status"] == "done").any())
    failed = summary[summary["status"] == "error"]
    return {
        **header(results, suite),
        "data": data,
        "teachers": data["teachers"],
        "sections": _sections(results, data["perturbations"], points, clean, stage),
        "distances": _distances(stage, results),
        "evaluated": evaluated,
        "areas": page_tables.areas(results, points) if evaluated else None,
        "measures": table(tables.measures_table(results), "Measures", heads=_HEADS) if evaluated else None,
        "published": _published(results, published),
        "source": SOURCE,
        "forest": forest(results),
        "acceptance": table(
            tables.acceptance_table(results),
            "Mean clean accuracy by architecture and mode",
            heads=("teacher", "architecture"),
        ),
        "threshold": results.rule.threshold,
        "none_accepted": not acceptance(summary, results.rule)[ACCEPTED].any(),
        "pooled": bool((pooled_or_all(results.curves)["architecture"] == ACCEPTED).any()),
        "costs": page_tables.costs(results, suite) if evaluated else None,
        "leaderboard": table(tables.leaderboard_table(results), "Metrics of the BEARD leaderboard", heads=_HEADS)
        if evaluated and (summary["forwards"] > 0).any()
        else None,
        "grades": grades(summary),
        "suspects": page_tables.suspects(results),
        **_evidence(results),
        "failed": table(tables.cells_table(results, failed), "Failed cells", heads=_HEADS) if len(failed) else None,
        "errors": list(dict.fromkeys(error["error"] for error in results.errors)),
        "has_examples": bool(data["viewer"]),
        "has_samples": samples is not None,
        "suite_text": suite.to_yaml(),
        "data_classes": data["classes"],
        "classes_table": page_tables.classes(data["classes"]) if data["classes"] else None,
        **cited(results, suite),
    }


_HEADS = ("teacher", "architecture", "mode", "perturbation")


def _evidence(results: Results) -> dict[str, Any]:
    """Return the tables about what is missing for the grade `reliable`, and about certificates."""
    missing, settled = tables.missing_table(results), tables.proofs_table(results)
    certificates = tables.certificates_tables(results)
    return {
        "missing": table(missing, "What is missing for the grade reliable") if len(missing) else None,
        "no_reasons": has_no_reasons(results),
        "proofs": table(settled, "Settled images", heads=_HEADS) if len(settled) else None,
        "certificates": [
            table(found, f"Certified accuracy at each radius in {norm}") for norm, found in certificates.items()
        ],
        "certificate_errors": certificate_errors(results),
    }


def _sections(
    results: Results, perturbations: list[dict[str, Any]], points: pd.DataFrame, clean: pd.DataFrame, stage: Path
) -> list[dict[str, Any]]:
    """Return what the section of each perturbation needs."""
    names = figure_files(results)
    folders = (stage / FIGURES, results.folder / FIGURES)
    return [
        {
            **entry,
            "figures": _pages(names[entry["label"]], folders),
            "examples": figure_uri(f"{names[entry['label']]}-examples", folders),
            "accuracies": page_tables.accuracies(results, entry["label"], clean),
            "points": page_tables.points(results, entry["label"], points),
        }
        for entry in perturbations
    ]


def _distances(stage: Path, results: Results) -> list[tuple[str, str]]:
    """Return the static figures of accuracy over distance, with what they show."""
    folders = (stage / FIGURES, results.folder / FIGURES)
    shown = {"over-l2": "Accuracy over the mean L2 distance", "over-linf": "Accuracy over the mean L-infinity distance"}
    return [(text, uri) for name, text in shown.items() for uri in _pages(name, folders)]


def _pages(name: str, folders: Sequence[Path]) -> list[str]:
    """Return the first figures with the same content."""
    return [uri for part in parts_of(name, folders)[:_PAGES] if (uri := figure_uri(part, folders))]


def _published(results: Results, published: pd.DataFrame | None) -> Any:
    if published is None or not len(published):
        return None
    return table(tables.published_table(results, published), "Distance from the published curves", heads=_HEADS)
