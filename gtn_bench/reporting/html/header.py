"""The head of a page: the question, where the results come from, how far they can be relied on, and how to cite."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from gtn_bench.analysis.results import Results
from gtn_bench.config.suite import Suite
from gtn_bench.reference.curves import SOURCE
from gtn_bench.reporting.learners import data_set, duplicates, findings, learner_count, single_learners
from gtn_bench.reporting.training import training_differences

_GRADES = ("reliable", "unknown", "suspect", "n/a")


def header(results: Results, suite: Suite) -> dict[str, Any]:
    """Return what the head of a page shows.

    Args:
        results: The results of a run.
        suite: Its suite.
    """
    summary, provenance = results.summary, results.provenance
    flagged, failed = int((summary["flags"] != "").sum()), int((summary["status"] == "error").sum())
    models = findings(provenance.get("models", ()))
    violated = summary["flags"].str.contains("certificate_violated", regex=False).any()
    return {
        "name": suite.name,
        "question": suite.description or f"Robustness of {summary['mode'].nunique()} modes: {suite.name}",
        "about": plain(f"{data_set(suite)}, {learner_count(suite, summary)}."),
        "training": plain(training_differences(suite)),
        "duplicates": [plain(text) for text in duplicates(summary)],
        "units": suite.units,
        "published_protocol": suite.protocol == "published",
        "note": provenance.get("note", ""),
        "provenance": _provenance(results),
        "cells": len(summary),
        "failed_count": failed,
        "flagged_count": flagged,
        "violated": bool(violated),
        "models": [plain(text) for text in models],
        "changed": results.files.changed,
        "absent": results.files.absent,
        "single": plain(single_learners(results.curves)),
    }


def _provenance(results: Results) -> str:
    """Return in one line where the results come from."""
    known = results.provenance
    versions, machine = known.get("versions", {}), known.get("machine", {})
    names = {"gtn-bench": "gtn-bench", "torch": "torch", "python": "Python"}
    parts = [f"{shown} {versions[name]}" for name, shown in names.items() if name in versions]
    processor = f" ({machine['processor']})" if machine.get("processor") else ""
    parts.append(f"{machine.get('cores', '?')} cores{processor}, {machine.get('device', 'cpu')}")
    parts += [f"{known['seconds']:.0f} s"] if "seconds" in known else []
    parts += [str(known["made"])[:10]] if "made" in known else []
    parts += [f"stored results {known['hardware']}"] if known.get("hardware") else []
    return " · ".join(parts)


def grades(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Return how many finished cells have which grade, and where its bar starts and ends in percent.

    Args:
        summary: The summary of a run.
    """
    counts = summary.loc[summary["status"] == "done", "grade"].value_counts()
    total, found, start = int(counts.sum()), [], 0.0
    for grade in _GRADES:
        if count := int(counts.get(grade, 0)):
            width = 100 * count / total
            known = {"grade": grade, "key": grade.replace("/", ""), "count": count}
            found.append({**known, "start": round(start, 3), "width": round(width, 3)})
            start += width
    return found


def cited(results: Results, suite: Suite) -> dict[str, Any]:
    """Return how to cite the run.

    Args:
        results: The results of a run.
        suite: Its suite.
    """
    version = results.provenance.get("versions", {}).get("gtn-bench", "")
    year = str(results.provenance.get("made", ""))[:4]
    lines = ["@software{gtn_bench,", "  title = {gtn-bench},", "  author = {{gtn-bench contributors}},"]
    lines += [f"  version = {{{version}}},"] if version else []
    lines += [f"  year = {{{year}}},"] if year else []
    lines += ["  url = {https://github.com/gtn-bench/gtn-bench}", "}"]
    also = SOURCE if suite.overlay or suite.protocol == "published" else ""
    return {"bibtex": "\n".join(lines), "also": also}


def plain(markdown: str) -> str:
    r"""Return Markdown as plain text: without the backticks of code and the backslashes of escapes.

    Args:
        markdown: Markdown with code spans and escapes as `gtn_bench.reporting.markdown` writes them.
    """
    parts = re.split(r"(?<!\\)(`+)(?!`)\s?(.*?)\s?\1(?!`)", markdown)
    texts = []
    for place in range(0, len(parts), 3):
        texts.append(_unescaped(parts[place]))
        texts.append(parts[place + 2] if place + 2 < len(parts) else "")
    return "".join(texts)


def _unescaped(text: str) -> str:
    shown = re.sub(r"\\([^0-9A-Za-z\s])", r"\1", text)
    return shown.replace("&lt;", "<").replace("&amp;", "&")


def unbroken(text: str) -> str:
    """Return a sentence in which no line ends inside an interval or a p-value.

    Args:
        text: The sentence.
    """
    return re.sub(r"\[[-+\d.e]+, [-+\d.e]+\]|\bp [=<] \d", lambda found: found[0].replace(" ", "\u00a0"), text)
