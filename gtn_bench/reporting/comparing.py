"""Comparisons as Python and notebooks show them."""

from __future__ import annotations

import os
from html import escape

from gtn_bench.analysis.run_comparison import RunComparison, compare_runs
from gtn_bench.config.keywords import names_keywords
from gtn_bench.reporting.notebook import Results, open
from gtn_bench.reporting.run_comparison_text import as_text, curves_table, remarks
from gtn_bench.reporting.run_sentences import curve_sentences, headline


class Comparison(RunComparison):
    """A run compared with a baseline. Printed it is a text, in a notebook a table."""

    @property
    def sentences(self) -> list[str]:
        """One sentence about all curves, then one about each curve."""
        return [headline(self), *curve_sentences(self)]

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        table = curves_table(self).to_html(index=False, border=0)
        notes = "".join(f"<li>{escape(note)}</li>" for note in remarks(self))
        return f"<p><b>{escape(headline(self))}</b></p>{table}" + (f"<ul>{notes}</ul>" if notes else "")


@names_keywords
def compare(
    baseline: str | os.PathLike[str] | Results, results: str | os.PathLike[str] | Results, *, margin: float = 0.0
) -> Comparison:
    """Compare a run with a baseline: what differs, and the difference of the area under each curve.

    Args:
        baseline: The baseline: its output folder, or its opened results.
        results: The run that is compared with it.
        margin: Difference of areas that is tolerated, from 0 to 1: `worse` lists the curves that are significantly
            worse by more than it.

    Returns:
        The comparison: `table`, `sentences`, `differences`, `notes`, `worse`.

    Raises:
        ConfigError: If a folder holds no results, or the runs have other data sets, no curve or no strength in common.
    """
    opened = [each if isinstance(each, Results) else open(each) for each in (baseline, results)]
    return Comparison(*compare_runs(opened[0], opened[1], margin))
