"""Tables for papers, as LaTeX and as Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from gtn_bench.analysis.results import Results
from gtn_bench.config.suite import Suite
from gtn_bench.reporting import paper_tables
from gtn_bench.reporting.latex import latex_table
from gtn_bench.reporting.markdown import escape, markdown_table
from gtn_bench.reporting.names import file_names, table_name
from gtn_bench.reporting.paper_settings import LONG, SUCCESS_NOTE, settings, targeted

_ACROSS = 6  # columns of numbers in a block
_BOOKTABS = r"Needs \usepackage{booktabs}; \usepackage{amssymb} for check marks and squares."


class PaperTable(NamedTuple):
    """A table for papers.

    Attributes:
        caption: What it shows, without markup.
        table: The table, all of text.
        heads: How many of the first columns identify a row.
        long: Title of a column of long text; empty for none.
    """

    caption: str
    table: pd.DataFrame
    heads: int
    long: str = ""


def write_tables(results: Results, suite: Suite, folder: Path) -> None:
    """Write the tables of a run for papers, each as LaTeX and as Markdown. A table without rows has no files.

    Args:
        results: The results of a run.
        suite: Its suite.
        folder: A folder that does not exist.
    """
    folder.mkdir()
    for name, each in paper_tables_of(results, suite).items():
        if not len(each.table):
            continue
        caption = f"{each.caption}\n{_about(results, suite)}"
        blocks = _blocks(each)
        texts = {
            "tex": latex_table(f"{caption}\n{_BOOKTABS}", blocks, each.heads, each.long),
            "md": f"{escape(caption)}\n\n{markdown_table(each.table)}\n",
        }
        for kind, text in texts.items():
            (folder / f"{name}.{kind}").write_bytes(text.encode())


def paper_tables_of(results: Results, suite: Suite) -> dict[str, PaperTable]:
    """Return the tables of a run for papers, by name of the file.

    Args:
        results: The results of a run.
        suite: Its suite.
    """
    settings_table = PaperTable("Settings of each perturbation.", settings(results, suite), 1, LONG)
    if not (results.summary["status"] == "done").any():
        return {"settings": settings_table}
    labels = [str(label) for label in results.curves["perturbation"].unique()]
    files = file_names(str(label) for label in results.summary["perturbation"].unique())
    found: dict[str, PaperTable] = {}
    clean = paper_tables.clean_accuracies(results)
    for label in labels:
        table = paper_tables.accuracies(results, label, clean)
        caption = (
            f"Accuracy under {results.display_name(label)} at each strength beta "
            f"({results.provenance['perturbations'][label]}) with 95 % confidence intervals, "
            f"{paper_tables.images(results, label)} test images.{paper_tables.marks(table)}"
        )
        found[table_name(files[label])] = _heads(PaperTable(caption, table, 0))
    found["areas"] = _heads(PaperTable(paper_tables.AREAS, paper_tables.areas(results), 0))
    found["comparisons"] = _heads(PaperTable(paper_tables.COMPARISONS, paper_tables.comparisons(results), 0))
    accepted = f"Mean clean accuracy over seeds. Accepted: above {suite.acceptance:g} in every mode but controls."
    found["acceptance"] = _heads(PaperTable(accepted, paper_tables.accepted(results), 0))
    found["grades"] = _heads(PaperTable(paper_tables.GRADES, paper_tables.grades(results), 0, "grade"))
    found["settings"] = settings_table
    found["targeted"] = _heads(PaperTable(SUCCESS_NOTE, targeted(results, suite), 0))
    return found


def _heads(table: PaperTable) -> PaperTable:
    """Return a table with the number of its columns of names."""
    names = [name for name in paper_tables.HEADS if name in table.table]
    return table._replace(heads=len(names))


def _blocks(each: PaperTable) -> list[pd.DataFrame]:
    """Return parts of a table with so few columns that a page has room for them."""
    table, columns = each.table, list(each.table.columns)
    numbers = columns[each.heads :]
    if len(numbers) <= _ACROSS + 1:
        return [table]
    parts = [numbers[start : start + _ACROSS] for start in range(0, len(numbers), _ACROSS)]
    return [table[[*columns[: each.heads], *part]] for part in parts]


def _about(results: Results, suite: Suite) -> str:
    """Return the suite, its data set and its seeds."""
    seeds = results.summary["seed"].nunique()
    count = f"{seeds} seeds" if seeds > 1 else "one seed"
    note = results.provenance.get("note", "")
    return f"Suite {suite.name}, data set {suite.dataset.name}, {count}." + (f" {note}" if note else "")
