"""What `gtn_bench.open` offers beside the tables: a pivot of accuracies, comparisons of modes, plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.runs import run
from helpers.suites import TINY

import gtn_bench
from gtn_bench.config.errors import ConfigError
from gtn_bench.reporting.numbers import with_interval


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> gtn_bench.Results:
    """Return the results of a suite with three modes and four perturbations."""
    folder = tmp_path_factory.mktemp("study")
    return gtn_bench.open(run(TINY, folder / "out", folder / "cache").folder)


def message(call: Any, *arguments: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_pivot_has_the_accuracies_and_intervals_of_the_curves(study: gtn_bench.Results) -> None:
    table = study.table("fgsm")
    assert list(table.index) == ["2_gtn", "gtn", "vanilla"] and list(table.columns) == [0.0, 0.05]
    points = study.curves.query(
        "perturbation == 'fgsm' and architecture == 'accepted' and mode == 'gtn' and beta == 0.05"
    )
    (point,) = points.to_dict("records")
    assert table.loc["gtn", 0.05] == with_interval(point["accuracy"], point["ci_low"], point["ci_high"])
    everything = study.table()
    assert [str(label) for label in everything.columns.get_level_values(0).unique()] == [
        *("fgsm", "lbfgs-penalty", "noise", "blur")
    ]
    pd.testing.assert_frame_equal(everything["fgsm"], table)
    assert everything.shape == (3, 2 + 1 + 2 + 2)


def test_two_modes_are_compared_in_either_order(study: gtn_bench.Results) -> None:
    found, turned = study.compare("gtn", "vanilla"), study.compare("vanilla", "gtn")
    assert found.table["perturbation"].tolist() == ["fgsm", "lbfgs-penalty", "noise", "blur"]
    assert set(found.table["mode"]) == {"gtn"} == set(turned.table["other"])
    stored = study.comparisons.query("architecture == 'accepted' and mode == 'gtn' and other == 'vanilla'")
    pd.testing.assert_frame_equal(found.table, stored.reset_index(drop=True))
    assert turned.table["difference"].tolist() == (-found.table["difference"]).tolist()
    assert turned.table["ci_low"].tolist() == (-found.table["ci_high"]).tolist()
    assert turned.table["area"].tolist() == found.table["other_area"].tolist()
    assert len(found.sentences) == 4 and "under fgsm, 2 steps" in found.sentences[0]
    assert str(found).splitlines() == list(found.sentences)
    shown = found._repr_html_()
    assert "<th>gtn</th>" in shown and "<th>vanilla</th>" in shown and shown.count("<li>") == 4


def test_names_that_do_not_exist_are_refused_with_the_nearest(study: gtn_bench.Results) -> None:
    folder = study.folder
    assert message(study.compare, "gtn", "vanila") == (f"{folder}: no mode is called 'vanila'; did you mean 'vanilla'?")
    assert message(study.compare, "gtn", "gtn") == f"{folder}: compare expects two different modes, got 'gtn' twice"
    expected = f"{folder}: no perturbation is called 'fgms'; did you mean 'fgsm'?"
    assert message(study.table, "fgms") == message(study.plot, "fgms") == expected


def test_markup_in_a_sentence_is_text(study: gtn_bench.Results) -> None:
    found = study.compare("gtn", "vanilla")
    shown = found._replace(sentences=("</li><script>",))._repr_html_()
    assert "<script>" not in shown and "&lt;/li&gt;&lt;script&gt;" in shown


def test_there_is_one_name_for_a_figure(study: gtn_bench.Results) -> None:
    assert not hasattr(study, "figure") and study.plot("noise")._repr_png_()[0].startswith(b"\x89PNG")
    assert Path(study.folder).name == "out"
