"""Sentences about comparisons and curves: what they claim, in which order, and how many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.runs import run

import gtn_bench
from gtn_bench.analysis.acceptance import pooled_or_all
from gtn_bench.analysis.results import Results
from gtn_bench.analysis.significance import holm, pairs_needed, permutation_test
from gtn_bench.reporting.answer import answer, suspect_curves
from gtn_bench.reporting.curve_sentences import about
from gtn_bench.reporting.grading import curve_grades
from gtn_bench.reporting.markdown import escape
from gtn_bench.reporting.ranking import ranked
from gtn_bench.reporting.sentences import PUBLISHED, SHOWN, Family, differences, headlines, sentence

REPORTS = Path(__file__).parents[1] / "reports"
DEMO = REPORTS / "demo"
ONE_MODE = """
name: one
dataset: digits
architectures: [linear]
modes: [{name: vanilla, epochs: 2}]
seeds: [0, 1]
checks: none
perturbations:
  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.02, 0.05, 0.3]}
  - {name: noise, samples: 20, beta: [0.1]}
"""

ROW: dict[str, Any] = {"mode": "gtn", "other": "vanilla", "perturbation": "fgsm", "area": 0.265, "other_area": 0.532}
ROW |= {"difference": -0.267, "ci_low": -0.296, "ci_high": -0.24, "p": 0.031, "p_holm": 0.38, "n_images": 100}
ROW |= {"minimum_detectable_effect": 0.03, "over": "learners", "n_seeds": 3, "other_n_seeds": 3, "n_pairs": 6}
FOUND = "area 0.265 vs. 0.532, difference -0.267 [-0.296, -0.240]"


@pytest.mark.parametrize(
    "more, family, expected",
    [
        (
            {},
            Family(12, 12),
            f"gtn is less robust than vanilla under fgsm: {FOUND}, p = 0.38 after Holm correction (12 comparisons, "
            "6 pairs): not significant; at least 9 pairs (5 seeds of two architectures) are needed",
        ),
        (
            {"n_seeds": 4, "other_n_seeds": 4, "n_pairs": 4, "p_holm": 0.5},
            Family(4, 4),
            f"gtn is less robust than vanilla under fgsm: {FOUND}, p = 0.50 after Holm correction (4 comparisons, "
            "4 pairs): not significant; at least 8 pairs (8 seeds) are needed",
        ),
        (
            {"n_pairs": 25, "n_seeds": 5, "p_holm": 0.2},
            Family(12, 3),
            f"gtn is less robust than vanilla under fgsm: {FOUND}, p = 0.20 after Holm correction (12 comparisons, "
            "25 pairs): not significant",
        ),
        (
            {"n_pairs": 10, "n_seeds": 5, "p_holm": 0.0235},
            Family(12, 0),
            f"gtn is less robust than vanilla under fgsm: {FOUND}, p = 0.024 after Holm correction (12 comparisons, "
            "10 pairs)",
        ),
        (
            {"difference": 0.267, "ci_low": 0.24, "ci_high": 0.296, "p_holm": 0.05, "n_pairs": 9},
            Family(1, 0),
            "gtn is more robust than vanilla under fgsm: area 0.265 vs. 0.532, difference +0.267 [+0.240, +0.296], "
            "p = 0.050 after Holm correction (1 comparison, 9 pairs)",
        ),
        (
            {"ci_high": 0.02, "p_holm": 1.0},
            Family(12, 12),
            "no difference seen between gtn and vanilla under fgsm: area 0.265 vs. 0.532, difference -0.267 "
            "[-0.296, +0.020], p = 1.00 after Holm correction (12 comparisons, 6 pairs), minimum detectable effect "
            "0.030",
        ),
        (
            {"ci_low": np.nan},
            Family(12, 12),
            "gtn and vanilla under fgsm: area 0.265 vs. 0.532; no confidence interval with one image",
        ),
    ],
)
def test_sentence_of_a_comparison(more: dict[str, Any], family: Family, expected: str) -> None:
    assert sentence({**ROW, **more}, family) == expected


@pytest.mark.parametrize("comparisons", [1, 2, 3, 12, 24, 84])
def test_the_needed_pairs_are_the_fewest_with_which_the_tests_can_reject(comparisons: int) -> None:
    needed = pairs_needed(comparisons)
    corrected = {
        pairs: holm(np.full(comparisons, permutation_test(np.arange(1.0, 1 + pairs)))).min()
        for pairs in (needed - 1, needed)
    }
    assert corrected[needed] <= 0.05 < corrected[needed - 1]


def row(name: str, mode: str, difference: float, p: float, *, low: float | None = None) -> dict[str, Any]:
    """Return a comparison with an interval that excludes 0 unless it is given."""
    ends = {"ci_low": difference - 0.01 if low is None else low, "ci_high": difference + 0.01}
    return {**ROW, "perturbation": name, "mode": mode, "difference": difference, "p_holm": p, **ends}


def test_significant_differences_come_first_and_perturbations_take_turns() -> None:
    rows = [
        row("noise", "a", 0.02, 0.9, low=-0.1),
        row("fgsm", "a", -0.3, 0.2),
        row("fgsm", "b", -0.1, 0.01),
        row("fgsm", "c", -0.2, 0.02),
        row("blur", "b", -0.05, 0.04),
        row("blur", "c", 0.5, 0.06),
    ]
    found = [(each["perturbation"], each["mode"]) for each in ranked(rows)]
    assert found == [("fgsm", "c"), ("blur", "b"), ("fgsm", "b"), ("blur", "c"), ("fgsm", "a"), ("noise", "a")]


def test_at_most_five_sentences_are_shown_and_none_is_lost() -> None:
    results = Results(DEMO)
    found = headlines(results)
    assert len(found.shown) == SHOWN
    assert set(differences(results)) <= {*found.shown, *found.folded}
    assert len({*found.shown, *found.folded}) == len(found.shown) + len(found.folded)
    texts = [text.split()[0] for text in found.shown]
    assert texts.count("Suspect,") == texts.count("Clean") == 1
    assert "\\" not in "".join(found.shown)


def test_names_can_be_escaped() -> None:
    shown = headlines(Results(DEMO), lambda name: f"<{escape(name)}>").shown
    assert "<vanilla>" in shown[0] and "<lbfgs-penalty>" in shown[0]


def test_one_mode_has_its_accuracies_at_the_telling_strengths(tmp_path: Path) -> None:
    results = run(ONE_MODE, tmp_path / "out", tmp_path / "store")
    found = headlines(results)
    curve = results.curves.query("perturbation == 'fgsm' and beta > 0").sort_values("beta")
    first = next(text for text in found.shown if text.startswith("vanilla under fgsm, 2 steps: accuracy "))
    for beta, accuracy in ((0.02, curve["accuracy"].iloc[0]), (0.3, curve["accuracy"].iloc[-1])):
        assert f"{accuracy:.3f} [" in first and f"] at beta {beta}" in first
    assert f"(clean {results.curves.query('beta == 0')['accuracy'].iloc[0]:.3f})" in first
    assert first.endswith("; grade: unknown")
    assert any(text.startswith("vanilla under noise: accuracy ") for text in found.shown)
    assert not found.folded and not differences(results)


def test_the_answer_has_the_numbers_of_the_tables() -> None:
    results = Results(DEMO)
    found = answer(results)
    assert found["cells"] == len(results.summary) and found["failed"] == 0
    assert sum(found["grades"].values()) == (results.summary["status"] == "done").sum()
    (curve,) = (
        each for each in found["curves"] if (each["mode"], each["perturbation"]) == ("gtn", "fgsm") and each["points"]
    )
    known = results.measures.query("architecture == 'accepted' and mode == 'gtn' and perturbation == 'fgsm'").iloc[0]
    assert (curve["area"], curve["ci_low"]) == (known["area"], known["ci_low"])
    assert [point["beta"] for point in curve["points"]] == [0, 0.004, 0.008, 0.012, 0.016, 0.02]
    assert curve["grade"] == "suspect" and "other_loss" in curve["failed_checks"]
    assert len(found["comparisons"]) == len(differences(results))
    assert any(text.startswith("gtn under fgsm, 10 steps (") for text in suspect_curves(results))


def test_sentences_have_the_grades_of_their_curves() -> None:
    results = Results(DEMO)
    table = curve_grades(results).set_index(["mode", "perturbation"])["grade"]
    lines = [line for part in headlines(results) for line in part if " vs. " in line]
    assert len(lines) == 12
    for row, line in zip(ranked(list(_comparisons(results))), lines, strict=True):
        one, other = (table[row[mode], row["perturbation"]] for mode in ("mode", "other"))
        if one == other == "n/a":
            assert "grade" not in line
        elif one == other:
            assert line.endswith(f"; grade: {one}")
        else:
            assert line.endswith(f"; grades: {row['mode']} {one}, {row['other']} {other}")
    assert sum("; grades: " in line for line in lines) == 2


def _comparisons(results: Results) -> list[dict[str, Any]]:
    records = pooled_or_all(results.comparisons).to_dict("records")
    return [{str(column): value for column, value in record.items()} for record in records]


def test_a_comparison_in_python_has_the_sentences_of_the_report() -> None:
    results = gtn_bench.open(REPORTS / "mnist-study" / "penalty")
    sentences = results.compare("gtn", "vanilla").sentences
    assert set(sentences) <= set(differences(results)) and len(set(sentences)) == 2
    assert [text.split(":")[0] for text in sentences] == ["teacher base_larger", "teacher base_larger3"]
    assert all("; grade" in text for text in sentences)


def test_findings_of_the_published_protocol_compare_no_modes() -> None:
    results = gtn_bench.open(REPORTS / "mnist-study" / "published")
    found = headlines(results)
    assert len(found.shown) == SHOWN
    assert not any(word in text for text in found.shown for word in (" robust", " vs. ", "Clean accuracy differs"))
    compared = [text for text in found.folded if " vs. " in text]
    assert len(compared) == len(differences(results)) == 24
    assert all(f"; {PUBLISHED}" in text for text in (*compared, *results.compare("gtn", "vanilla").sentences))
    assert not any(PUBLISHED in text for text in differences(Results(DEMO)))


def test_sentences_name_teachers_and_architectures() -> None:
    assert about(None, "accepted") == about(None, None) == ""
    assert about("t", "accepted") == "teacher t" and about(None, "linear") == "architecture linear"
    assert about("a*b", "c", escape) == r"teacher a\*b, architecture c"
