"""The report of a run: report.md and report.html, with their tables and figures."""

from __future__ import annotations

import os
from concurrent.futures import Executor
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from gtn_bench.analysis.acceptance import acceptance, pooled_or_all
from gtn_bench.analysis.consistency import check_consistency
from gtn_bench.analysis.curves import Bands
from gtn_bench.analysis.manifest import FIGURES, PAGES
from gtn_bench.analysis.reading import RERUN
from gtn_bench.analysis.results import Results
from gtn_bench.config.errors import ConfigError, RunError
from gtn_bench.config.keywords import names_keywords
from gtn_bench.config.labels import ACCEPTED
from gtn_bench.config.suite import Suite, load
from gtn_bench.reference.curves import SOURCE
from gtn_bench.reporting import html, markdown, tables
from gtn_bench.reporting.accuracies import marks_of
from gtn_bench.reporting.drawing import Drawing, all_files, draw, figure_files, strips_in
from gtn_bench.reporting.findings import action, grade_counts, has_no_reasons
from gtn_bench.reporting.grading import split_flags
from gtn_bench.reporting.learners import data_set, duplicates, findings, learner_count, single_learners
from gtn_bench.reporting.names import TABLES, parts_of
from gtn_bench.reporting.pages import check_pages, publish_pages
from gtn_bench.reporting.paper import write_tables
from gtn_bench.reporting.paper_style import FigureStyle, figure_style
from gtn_bench.reporting.paper_tables import clean_accuracies
from gtn_bench.reporting.proofs import certificate_errors
from gtn_bench.reporting.sentences import differences, headlines, pairs_of_learners
from gtn_bench.reporting.training import training_differences
from gtn_bench.store.files import write_atomically
from gtn_bench.store.one_writer import one_writer
from gtn_bench.store.publishing import staged
from gtn_bench.store.records import read_record
from gtn_bench.store.storing import storing


@names_keywords
def report(
    folder: str | Path,
    *,
    bands: Bands = "pointwise",
    accept_changes: bool = False,
    style: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
) -> Path:
    """Write `figures/`, `tables/`, `report.md` and `report.html` into the output folder of a run.

    Reads the tables, the suite and the example images in the folder, and compares them with the digests that the run
    has recorded. Leaves the state of matplotlib as it is.

    Args:
        folder: The output folder.
        bands: "pointwise" for bands that cover each point with 95 %, "simultaneous" for bands that cover all points of
            a curve at once.
        accept_changes: Whether files that were changed after the run or the last report are accepted. The page names
            changed tables.
        style: A style file of matplotlib (.mplstyle) for the figures, or the name of a built-in style. Only settings of
            the appearance count; the size of figures, and the color, marker and dashes of each mode, stay.
        executor: Processes that draw the figures meanwhile, such as a `ProcessPoolExecutor`; by default this one.

    Returns:
        Path of the report.

    Raises:
        ConfigError: If the folder holds no complete results, or changed ones, or cannot be written to, or if there is
            no such style.
        StorageError: If the disk is full.
    """
    look = figure_style(style)
    found = Results(folder, accept_changes=accept_changes).folder
    with one_writer(found), staged(found) as stage:
        results = Results(found, accept_changes=accept_changes)
        results.check()
        unverified = results.files.record is None or bool(results.files.changed)
        try:
            with storing(found):
                if unverified:
                    check_consistency(results)
                check_pages(results.folder, all_files(results), accept_changes=accept_changes)
                return _report(results, stage, bands, look, executor)
        except (ConfigError, RunError):
            raise
        except Exception as error:
            if not unverified:
                raise
            reason = next(iter(str(error).splitlines()), "")
            raise ConfigError(
                f"{found}: its changed files cannot be reported ({type(error).__name__}: {reason}); {RERUN}"
            ) from None


def _report(results: Results, stage: Path, bands: Bands, look: FigureStyle, executor: Executor | None) -> Path:
    """Write a report of results, which can be such that nobody has verified."""
    suite = load(results.folder / "suite.yaml")
    published = tables.published_beside(results.curves) if suite.overlay else None
    before = read_record(results.folder / PAGES) if (results.folder / PAGES).is_file() else None
    figures = stage / FIGURES
    drawing = Drawing("", frozenset())
    if (results.summary["status"] == "done").any():
        drawing = draw(results, figures, before, bands, published, look, executor)
    try:  # tables and sentences, while other processes draw
        write_tables(results, suite, stage / TABLES)
        context, sentences = _context(results, suite, bands, published), headlines(results)
        drawing.wait()
    finally:
        drawing.stop()
    strips = strips_in(results, drawing.keep.union(f"{FIGURES}/{path.name}" for path in figures.glob("*")))
    samples = {entry.title: entry.samples for entry in suite.perturbations}
    context |= {
        "sections": _sections(results, samples, strips, stage),
        "over_distance": {
            "L2": parts_of("over-l2", _figure_folders(results, stage)),
            "L-infinity": parts_of("over-linf", _figure_folders(results, stage)),
        },
    }
    write_page(stage, "report.md.j2", context)
    html.write(results, stage, bands=bands, published=published, headlines=sentences)
    return publish_pages(stage, results.folder, {"drawn_from": drawing.drawn_from}, drawing.keep)


def _context(results: Results, suite: Suite, bands: Bands, published: pd.DataFrame | None) -> dict[str, Any]:
    """Return the variables of the page that do not depend on the files of figures."""
    summary, curves = results.summary, results.curves
    done = summary[summary["status"] == "done"]
    alone = pooled_or_all(curves)
    one_mode, one_architecture = (summary[name].nunique() == 1 for name in ("mode", "architecture"))
    none_accepted = not acceptance(summary, results.rule)[ACCEPTED].any()
    decides = suite.acceptance > 0 or not one_architecture or none_accepted
    failed, flagged = summary[summary["status"] == "error"], summary[summary["flags"] != ""]
    table = markdown.markdown_table
    distances = ""
    if published is not None and len(published):
        distances = table(tables.published_table(results, published))
    return {
        "suite": suite,
        "data_set": data_set(suite),
        "learners": learner_count(suite, summary),
        "duplicates": duplicates(summary),
        "training": training_differences(suite),
        "singles": single_learners(alone),
        "findings": findings(results.provenance.get("models", ())),
        "warned": any(
            not sentence.startswith("note: ")
            for model in results.provenance.get("models", ())
            for sentence in model["findings"]
        ),
        "one_mode": one_mode,
        "seeds": summary["seed"].nunique(),
        "one_architecture": one_architecture,
        "kinds": _kinds(results),
        "bands": bands,
        "distances": distances,
        "source": SOURCE,
        "measures": table(tables.measures_table(results)) if len(done) else "",
        "leaderboard": table(tables.leaderboard_table(results)) if len(done) and (done["forwards"] > 0).any() else "",
        "rejected": sorted(set(summary.loc[summary["status"] == "rejected", "architecture"])),
        "provenance": results.provenance,
        "none_accepted": none_accepted,
        "overview": table(tables.overview_table(results)) if len(done) else "",
        "pooled": (curves["architecture"] == ACCEPTED).any(),
        "out_of_reach": _out_of_reach(results),
        "alone": sorted(set(alone.loc[alone["architecture"] != ACCEPTED, "teacher"])),
        "acceptance": table(tables.acceptance_table(results)) if decides and len(failed) < len(summary) else "",
        "headlines": headlines(results, markdown.escape),
        "differences": differences(results, markdown.escape),
        "changed": results.files.changed,
        "absent": results.files.absent,
        "cells": len(summary),
        "checked": int(summary["missed_adversarial"].count()),
        "failed": table(tables.cells_table(results, failed)) if len(failed) else "",
        "failed_count": len(failed),
        "flagged_count": len(flagged),
        **_checks(results),
        "errors": _last_lines(results.provenance["errors"]),
    }


def write_page(folder: Path, template: str, context: dict[str, Any]) -> Path:
    """Write the report.md of a folder.

    Args:
        folder: The folder.
        template: Name of a template of this package. Its filters `text`, `alt` and `code` show a value as it is.
        context: Variables of the template.

    Returns:
        Path of the report.
    """
    text = files("gtn_bench.reporting").joinpath(template).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"text": markdown.escape, "alt": markdown.alt, "code": markdown.code}
    page = folder / "report.md"
    write_atomically(page, environment.from_string(text).render(context).encode())
    return page


def _figure_folders(results: Results, stage: Path) -> tuple[Path, Path]:
    """Return the folders of the figures that were drawn now, and of those that are kept."""
    return stage / FIGURES, results.folder / FIGURES


def _sections(results: Results, samples: dict[str, int | None], strips: set[str], stage: Path) -> list[dict[str, Any]]:
    """Return what the section of each perturbation needs: names, files, meaning of beta, number of images."""
    names, clean = figure_files(results), clean_accuracies(results)
    return [
        {
            "name": results.display_name(label),
            "file": names[label],
            "parts": parts_of(names[label], _figure_folders(results, stage)),
            "axis": results.provenance["perturbations"][label],
            "samples": samples[label],
            "accuracies": markdown.markdown_table(tables.accuracies_table(results, label, clean)),
            "examples": label in strips,
        }
        for label in map(str, results.curves["perturbation"].unique())
    ]


def _checks(results: Results) -> dict[str, Any]:
    """Return what the section about checks needs."""
    summary, table = results.summary, markdown.markdown_table
    names = dict.fromkeys(name for text in summary["flags"] for name in split_flags(text))
    missing, proofs = tables.missing_table(results), tables.proofs_table(results)
    return {
        "grades": grade_counts(summary),
        "marks": marks_of(results),
        "violated": "certificate_violated" in names,
        "suspects": table(tables.suspects_table(results)) if names else "",
        "actions": {name: action(name) for name in names},
        "attack_errors": list(dict.fromkeys(row["error"] for row in results.provenance.get("attack_errors", ()))),
        "missing": table(missing) if len(missing) else "",
        "no_reasons": has_no_reasons(results),
        "proofs": table(proofs) if len(proofs) else "",
        "certificates": {norm: table(found) for norm, found in tables.certificates_tables(results).items()},
        "smoothed": results.certificates["about"].eq("smoothed model").any(),
        "certificate_errors": certificate_errors(results),
    }


def _kinds(results: Results) -> dict[str, bool]:
    """Return which kinds of comparisons there are, and whether there are several kinds."""
    records = pooled_or_all(results.comparisons).to_dict("records")
    shown: list[dict[str, Any]] = [{str(name): value for name, value in row.items()} for row in records]
    pairs = [row for row in shown if pairs_of_learners(row)]
    models = [row for row in shown if row["over"] == "images"]
    kinds = {"pairs": bool(pairs), "models": bool(models), "mixed": len(pairs) + len(models) < len(shown)}
    return {**kinds, "several": sum(kinds.values()) > 1}


def _out_of_reach(results: Results) -> bool:
    """Return True if no comparison can be significant, with so few pairs and so many comparisons."""
    found = results.comparisons
    shown = pooled_or_all(found)
    if results.rule.controls or shown["ci_low"].isna().all() or _kinds(results)["mixed"] or _kinds(results)["models"]:
        return False
    families = found.groupby("architecture").size()
    return bool((2.0 ** (1 - shown["n_pairs"]) * shown["architecture"].map(families) > 0.05).all())


def _last_lines(errors: list[dict[str, Any]]) -> list[str]:
    """Return the last line of each different traceback."""
    lines = [error["traceback"].strip().splitlines()[-1].strip() for error in errors]
    return list(dict.fromkeys(lines))
