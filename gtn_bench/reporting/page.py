"""The page: report.md with its tables and figures, from an output folder."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from gtn_bench import analysis, suite
from gtn_bench.analysis import Bands
from gtn_bench.cache import digest, file_digest, fingerprint, make_folder, write_atomically
from gtn_bench.leaderboard import leaderboard
from gtn_bench.reference.curves import SOURCE, distances
from gtn_bench.reference.protocol import NOTE
from gtn_bench.reporting.tables import acceptance_table, markdown_table, measures_table, published_beside
from gtn_bench.results import FLAGS, Results

_WHERE = ["teacher", "architecture", "mode", "seed", "perturbation", "beta"]


def report(folder: str | Path, *, bands: Bands = "pointwise") -> Path:
    """Write `figures/` and `report.md` into the output folder of a run; the path of the page.

    Reads the tables, the resolved suite and the example images in the folder and nothing else. The bands of the
    curves cover each point with 95 %, or all points of a curve at once (`simultaneous`).
    """
    results = Results(Path(folder))
    for needed in (results.folder, results.folder / "figures"):
        make_folder(needed)
    results.check()
    resolved = suite.load(results.folder / "suite.yaml")
    summary, curves = results.summary, results.curves
    done = summary[summary["status"] == "done"]
    published = published_beside(curves) if resolved.overlay else None
    if len(done):
        _draw(results, bands, published, NOTE if resolved.protocol == "published" else "")
    alone = analysis.pooled_or_all(curves)
    failed, flagged = summary[summary["status"] == "error"], summary[summary["flags"] != ""]
    context = {
        "suite": resolved,
        "bands": bands,
        "samples": {entry.title: entry.samples for entry in resolved.perturbations},
        "distances": markdown_table(distances(published)) if published is not None and len(published) else "",
        "source": SOURCE,
        "measures": markdown_table(measures_table(results)) if len(done) else "",
        "leaderboard": markdown_table(leaderboard(summary)) if len(done) and (done["forwards"] > 0).any() else "",
        "rejected": sorted(set(summary.loc[summary["status"] == "rejected", "architecture"])),
        "provenance": results.provenance,
        "none_accepted": not analysis.acceptance(summary, results.rule)[suite.ACCEPTED].any(),
        "overview": markdown_table(analysis.overview(summary, results.rule)) if len(done) else "",
        "pooled": (curves["architecture"] == suite.ACCEPTED).any(),
        "out_of_reach": _out_of_reach(results),
        "alone": sorted(set(alone.loc[alone["architecture"] != suite.ACCEPTED, "teacher"])),
        "acceptance": markdown_table(acceptance_table(results)) if len(failed) < len(summary) else "",
        "differences": _differences(results),
        "axes": {name: results.provenance["perturbations"][name] for name in curves["perturbation"].unique()},
        "examples": _with_strips(results),
        "cells": len(summary),
        "checked": int(summary["missed"].count()),
        "failed": markdown_table(_listed(failed, _WHERE)) if len(failed) else "",
        "flagged": markdown_table(_listed(flagged, [*_WHERE, "flags"])) if len(flagged) else "",
        "reasons": {name: reason for name, reason in FLAGS.items() if any(name in flags for flags in flagged["flags"])},
        "errors": _last_lines(results.provenance["errors"]),
    }
    return write_page(results.folder, "report.md.j2", context)


def _listed(cells: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Those columns, with strengths as the suite has them, however small."""
    return cells.assign(beta=cells["beta"].map("{:g}".format))[columns]


def _out_of_reach(results: Results) -> bool:
    """Whether no comparison could have been carried by the test, with so few pairs and so many comparisons."""
    found = results.comparisons
    shown = analysis.pooled_or_all(found)
    if results.rule.controls or shown["ci_low"].isna().all():
        return False
    families = found.groupby("architecture").size()
    return bool((2.0 ** (1 - shown["n_pairs"]) * shown["architecture"].map(families) > 0.05).all())


def _differences(results: Results) -> list[str]:
    """A sentence for each comparison, of a teacher's accepted architectures together or else of each."""
    found = analysis.pooled_or_all(results.comparisons)
    several = found["teacher"].nunique() > 1
    lines = []
    for row in found.to_dict("records"):
        where = [row["teacher"]] if several else []
        where += [] if row["architecture"] == suite.ACCEPTED else [row["architecture"]]
        said = analysis.sentence({str(column): value for column, value in row.items()})
        lines.append(f"{', '.join(where)}: {said}" if where else said)
    return lines


def write_page(folder: Path, template: str, context: dict[str, Any]) -> Path:
    """Fill one of the package's templates into the folder's report.md."""
    text = files("gtn_bench.reporting").joinpath(template).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    page = folder / "report.md"
    write_atomically(page, environment.from_string(text).render(context).encode())
    return page


def _draw(results: Results, bands: Bands, published: pd.DataFrame | None, note: str) -> None:
    """Draw all figures, unless they were drawn from the same tables by the same code already."""
    folder = results.folder / "figures"
    tables = [results.folder / name for name in ("curves.csv", "samples.parquet", "examples.safetensors")]
    tables = [path for path in tables if path.is_file()]  # shared without its large files, a run has its curves
    about = {key: results.provenance[key] for key in ("perturbations", "examples")}
    code = [fingerprint(f"gtn_bench.{module}") for module in ("reporting", "analysis", "reference.curves")]
    how = [bands, note, published.to_csv() if published is not None else ""]
    drawn_from = digest([code, about, how, *(file_digest(table) for table in tables)])
    stamp, there = folder / ".drawn-from", {path.name for path in folder.glob("*.[ps][nv]g")}
    before, *drawn = stamp.read_text().splitlines() if stamp.is_file() else [""]
    wanted = {f"{name}.{kind}" for name in _figures(results) for kind in ("png", "svg")}
    for name in (there & {*drawn}) - wanted if results.examples else ():  # of a suite that was another one then
        (folder / name).unlink()
    if wanted <= there and before == drawn_from:
        return
    from gtn_bench.reporting import figures

    write_atomically(stamp, "\n".join(["", *sorted(wanted.union(drawn))]).encode())  # until all of them are drawn
    colours = figures.style(list(results.summary["mode"].unique()))
    strips = _strips(results)
    for perturbation, part in results.curves.groupby("perturbation", sort=False):
        name, axis = str(perturbation), about["perturbations"][perturbation]
        theirs = None
        if published is not None:
            theirs = published[published["perturbation"] == name].assign(accuracy=lambda table: table["published"])
        figure = figures.curves_figure(part, axis, colours, bands=bands, published=theirs, note=note)
        figures.save(figure, folder / name)
        if name in strips:
            figures.save(figures.strip_figure(**strips[name], axis=axis, note=note), folder / f"{name}-examples")
    for norm in figures.NORMS:
        figures.save(figures.achieved_figure(results.curves, norm, colours, note=note), folder / f"over-{norm}")
    write_atomically(stamp, "\n".join([drawn_from, *sorted(wanted)]).encode())


def _figures(results: Results) -> set[str]:
    """Names of all figures: the curves of each perturbation, its examples, all over one axis."""
    with_examples = {key.split("/")[0] for key in results.examples if key != "clean"}
    curves = {*results.curves["perturbation"].unique(), "over-l2", "over-linf"}
    return curves | {f"{name}-examples" for name in with_examples}


def _with_strips(results: Results) -> set[str]:
    """The perturbations of which perturbed images were drawn, now or before the large files were left out."""
    drawn = (results.folder / "figures").glob("*-examples.png")
    return {path.stem.removesuffix("-examples") for path in drawn}


def _strips(results: Results) -> dict[str, dict[str, Any]]:
    """For each perturbation the first test image at every strength, as the learners of the examples see it."""
    if not results.examples:
        return {}
    about = results.provenance["examples"]
    seen = results.select(architecture=about["architecture"], seed=about["seed"], sample=0)
    seen = seen[seen["teacher"].isin(about["teachers"])]
    images: dict[str, dict[str, dict[float, Any]]] = {}
    for key, value in results.examples.items():
        if key != "clean":
            perturbation, mode, beta = key.split("/")
            images.setdefault(perturbation, {}).setdefault(mode, {})[float(beta)] = value[0]
    return {
        perturbation: {
            "clean": results.examples["clean"][0],
            "perturbed": perturbed,
            "predictions": seen[seen["perturbation"] == perturbation],
            "label": int(seen["label"].iloc[0]),
        }
        for perturbation, perturbed in images.items()
    }


def _last_lines(errors: list[dict[str, Any]]) -> list[str]:
    """Each different error once, in one line."""
    lines = [error["traceback"].strip().splitlines()[-1].strip() for error in errors]
    return list(dict.fromkeys(lines))
