"""Reports of folders whose tables somebody has changed: one line, or a page that says so."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pandas as pd
import pytest
from helpers.output_folders import FILES, SMALL, TABLES, copied, message
from helpers.runs import run

import gtn_bench
from gtn_bench.analysis.results import Results
from gtn_bench.config.errors import ConfigError


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run with a report."""
    folder = run(SMALL, tmp_path_factory.mktemp("old"), tmp_path_factory.mktemp("store")).folder
    gtn_bench.report(folder)
    return folder


def test_absent_files_are_named(old: Path, tmp_path: Path) -> None:
    folder = copied(old, tmp_path / "copy")
    (folder / "curves.csv").unlink()
    (folder / "measures.csv").unlink()
    assert "expects curves.csv, measures.csv, found none; run the suite again" in message(gtn_bench.report, folder)
    assert "curves.csv: cannot be read (No such file" in message(gtn_bench.report, folder, accept_changes=True)


def test_a_report_of_accepted_changes_says_so(old: Path, tmp_path: Path) -> None:
    folder = copied(old, tmp_path / "copy")
    table = pd.read_csv(folder / "summary.csv", keep_default_na=False)
    table.assign(seconds=1.0).to_csv(folder / "summary.csv", index=False)
    assert "not as the run has written it: summary.csv" in message(gtn_bench.report, folder)
    assert "> **Changed after the run**: `summary.csv`." in gtn_bench.report(folder, accept_changes=True).read_text()
    assert "not as the run has written it: summary.csv" in message(lambda: Results(folder).summary)
    assert set(Results(folder, accept_changes=True).summary["seconds"]) == {1.0}


def without_a_column(table: pd.DataFrame, column: str) -> pd.DataFrame:
    return table.drop(columns=column)


def renamed(table: pd.DataFrame, column: str) -> pd.DataFrame:
    return table.rename(columns={column: f"{column}s"})


def twice(table: pd.DataFrame, column: str) -> pd.DataFrame:
    return pd.concat([table, table[[column]]], axis=1)


def text(table: pd.DataFrame, column: str) -> pd.DataFrame:
    return table.astype(object).assign(**{column: ["?", *table[column][1:]]})


def empty(table: pd.DataFrame, column: str) -> pd.DataFrame:
    return table.assign(**{column: ""})


def other_number(table: pd.DataFrame, column: str) -> pd.DataFrame:
    changed = table.astype(object)
    changed.loc[0, column] = 0.123456
    return changed


def huge(table: pd.DataFrame, column: str) -> pd.DataFrame:
    return table.astype(object).assign(**{column: [1e400, *table[column][1:]]})


def shorter(table: pd.DataFrame, column: str) -> pd.DataFrame:
    return table[:-1]


def repeated(table: pd.DataFrame, column: str) -> pd.DataFrame:
    return pd.concat([table, table[:1]])


def in_other_order(table: pd.DataFrame, column: str) -> pd.DataFrame:
    return table[::-1]


OF_THE_WHOLE = (without_a_column, renamed, twice, shorter, repeated, in_other_order)
OF_A_COLUMN = (text, empty, other_number, huge)
# Columns whose first number follows from others, or cannot be 0.123456.
FOLLOWING = {
    "summary.csv": {"accuracy", "clean_accuracy", "mean_l2", "beta", "seed"},
    "curves.csv": {"accuracy", "std", "n_seeds", "beta", "mean_linf"},
    "measures.csv": {"area", "n_seeds"},
    "comparisons.csv": {"area", "other_area", "difference", "n_seeds"},
}


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES[:5])
def test_edited_tables_are_one_line_or_a_page(
    table: str, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With accepted changes, and in the folder of an earlier version, whose files nothing can be compared with."""
    monkeypatch.setattr("gtn_bench.reporting.drawing.draw_all", lambda *_: None)
    folder = copied(old, tmp_path / "copy")
    provenance = (folder / "provenance.json").read_text()
    earlier = {
        key: value for key, value in json.loads(provenance).items() if key not in ("manifest", "complete", "checksum")
    }
    whole = pd.read_csv(folder / table, keep_default_na=False)
    columns = sorted({"mode", "beta", "n", "grade", *FOLLOWING.get(table, ())} & set(whole))
    edits = [(edit, "mode") for edit in OF_THE_WHOLE] + list(itertools.product(OF_A_COLUMN, columns))
    pages = 0
    for number, (edit, column) in enumerate(edits):
        edit(whole, column).to_csv(folder / table, index=False)
        (folder / "provenance.json").write_text(provenance)
        if number % 5 == 0:
            assert table in message(gtn_bench.report, folder)
        for accept_changes, content in ((True, provenance), (False, json.dumps(earlier))):
            (folder / "provenance.json").write_text(content)
            try:
                page = gtn_bench.report(folder, accept_changes=accept_changes).read_text()
            except ConfigError as error:
                assert "\n" not in str(error) and "cannot be reported" not in str(error), (edit, column)
            else:
                pages += 1
                assert edit in (other_number, empty, huge, shorter, in_other_order), (edit, column)
                assert edit is not other_number or column not in FOLLOWING.get(table, ()), column
                assert ("Changed after the run" in page) == accept_changes
    assert pages or table in ("summary.csv", "curves.csv")


@pytest.mark.slow
@pytest.mark.parametrize("cut", [0.0, 0.3, 0.9, 0.99])
@pytest.mark.parametrize("name", [*FILES, "provenance.json"])
def test_truncated_files_are_one_line_or_a_page(
    name: str, cut: float, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gtn_bench.reporting.drawing.draw_all", lambda *_: None)
    folder = copied(old, tmp_path / "copy")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(cut * len(content))])
    assert name in message(gtn_bench.report, folder)
    try:
        assert "Changed after the run" in gtn_bench.report(folder, accept_changes=True).read_text()
    except ConfigError as error:
        assert "\n" not in str(error)
