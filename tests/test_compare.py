"""Comparisons of runs: what differs, differences of areas against the samples, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.runs import run
from scipy import stats

import gtn_bench
from gtn_bench.analysis.contrasts import of_model_and_learners
from gtn_bench.analysis.run_comparison import compare_runs, with_verdicts
from gtn_bench.analysis.statistics import variances
from gtn_bench.analysis.suite_differences import FieldDifference, same_test_images, suite_differences
from gtn_bench.analysis.unpaired import of_groups
from gtn_bench.config.errors import ConfigError
from gtn_bench.data.digits import Digits
from gtn_bench.store.hashing import digest

SUITE = """
name: compared
dataset: digits
architectures: [linear]
modes:
  - {name: vanilla, steps: 20}
  - {name: vanilla, label: short, steps: 5}
seeds: [0, 1, 2, 3, 4, 5, 6, 7, 8]
acceptance: 0.0
checks: none
perturbations:
  - {name: fgsm, steps: 3, samples: 40, beta: [0, 0.02, 0.05]}
  - {name: noise, samples: 40, beta: [0.2]}
"""
WEAKER = SUITE.replace("steps: 3,", "steps: 1,")
Make = Callable[..., gtn_bench.Results]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache that all runs share."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Make:
    """Return a function that runs a suite with some texts replaced; equal suites once."""
    known: dict[str, gtn_bench.Results] = {}

    def made(*replacements: tuple[str, str], suite: str = SUITE) -> gtn_bench.Results:
        for old, new in replacements:
            assert old in suite
            suite = suite.replace(old, new)
        if suite not in known:
            known[suite] = run(suite, tmp_path_factory.mktemp("run"), store)
        return known[suite]

    return made


def message(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Statistics


def test_other_seeds_on_the_same_images_are_a_model_and_learners_if_one_is_single() -> None:
    draw = np.random.default_rng(0)
    model, learners = draw.integers(0, 2, (1, 50)).astype(float), draw.integers(0, 2, (6, 50)).astype(float)
    found = of_groups(model, learners, same_images=True)
    expected = of_model_and_learners(model - learners)
    assert found.over == expected.over == "learners"
    assert found[1:] == pytest.approx(expected[1:], rel=1e-6)


def test_two_models_on_other_images_are_compared_by_the_adjusted_wald_interval() -> None:
    """A. Agresti, B. Caffo (2000): one success and one failure more for each, and the quantile of Student's t."""
    first, second = np.repeat([1.0, 0.0], [60, 40])[None], np.repeat([1.0, 0.0], [40, 80])[None]
    found = of_groups(first, second, same_images=False)
    p, q = 61 / 102, 41 / 122
    error = np.sqrt(p * (1 - p) / 101 + q * (1 - q) / 121)
    quantile = (p * (1 - p) / 101 * stats.t(101).ppf(0.975) + q * (1 - q) / 121 * stats.t(121).ppf(0.975)) / error**2
    assert found.difference == pytest.approx(0.6 - 40 / 120) and found.over == "images"
    assert (found.low, found.high) == pytest.approx((p - q - quantile * error, p - q + quantile * error), rel=1e-9)
    assert 2 * stats.t(121).sf((p - q) / error) < found.p < 2 * stats.t(101).sf((p - q) / error)


def test_learners_on_other_images_have_the_variances_of_both_groups() -> None:
    draw = np.random.default_rng(1)
    first, second = draw.random((4, 30)), draw.random((5, 40))
    found = of_groups(first, second, same_images=False)
    more = [np.hstack([values, np.tile([1.0, 0.0], (len(values), 1))]) for values in (first, second)]
    total = sum(variances(values).total for values in more)
    assert found.difference == pytest.approx(first.mean() - second.mean())
    width = (found.high - found.low) / 2 / np.sqrt(total)
    assert stats.t(41).ppf(0.975) < width < stats.t(3).ppf(0.975)


@pytest.mark.parametrize("same_images", [True, False])
def test_one_image_has_no_interval(same_images: bool) -> None:
    found = of_groups(np.ones((3, 1)), np.zeros((2, 1)), same_images=same_images)
    assert found.difference == 1 and np.isnan(found.low) and found.p == 1


def test_verdicts_follow_from_interval_and_corrected_p() -> None:
    rows = [
        (-0.3, -0.4, -0.2, 0.001, "worse"),
        (0.3, 0.2, 0.4, 0.001, "better"),
        (-0.3, -0.4, -0.2, 0.03, "not significant"),  # 0.06 after correction
        (-0.1, -0.3, 0.1, 0.4, "no difference seen"),
        (-0.1, np.nan, np.nan, 1.0, "no interval"),
    ]
    table = pd.DataFrame(rows, columns=["difference", "ci_low", "ci_high", "p", "expected"])
    found = with_verdicts(table.assign(p_beyond=table["p"]), 0.0)
    assert found["verdict"].tolist() == table["expected"].tolist()
    assert found["beyond"].tolist() == [True, False, False, False, False]
    assert found["p_holm"].tolist() == pytest.approx([0.005, 0.005, 0.09, 0.8, 1.0])
    assert with_verdicts(table.assign(p_beyond=table["p"]), 0.25)["beyond"].sum() == 0  # the interval reaches -0.2


# Suites


def test_fields_are_compared_by_label_and_files_by_checksum() -> None:
    digest, other = "a" * 64, "b" * 64
    first = {
        "name": "s",
        "dataset": {"name": "files", "test": f"/here/x.npz#sha256={digest}", "validation": 0.1},
        "perturbations": [{"name": "fgsm", "steps": 1}, {"name": "noise"}],
    }
    moved = {**first, "dataset": {**first["dataset"], "test": f"/there/x.npz#sha256={digest}", "validation": 0.2}}  # type: ignore[dict-item]
    assert suite_differences(first, moved) == [FieldDifference("dataset.validation", 0.1, 0.2)]
    assert same_test_images(first, moved)
    changed = {**first, "dataset": {"name": "files", "test": f"/here/x.npz#sha256={other}", "validation": 0.1}}
    assert not same_test_images(first, changed)
    reordered = {**first, "perturbations": [{"name": "pgd", "label": "new"}, {"name": "fgsm", "steps": 2}]}
    assert suite_differences(first, reordered) == [
        FieldDifference("perturbations[fgsm].steps", 1, 2),
        FieldDifference("perturbations[noise]", "present", "absent"),
        FieldDifference("perturbations[new]", "absent", "present"),
    ]


# Runs


def test_a_run_does_not_differ_from_itself(make: Make) -> None:
    results = make()
    comparison = gtn_bench.compare(results.folder, results)
    assert set(comparison.table["verdict"]) == {"no difference seen"} and comparison.worse == []
    assert (comparison.table["difference"] == 0).all() and (comparison.table["p_holm"] == 1).all()
    suite, cells, provenance = comparison.differences
    assert suite == provenance == () and (cells.only_first, cells.only_second, cells.statuses) == (0, 0, {})
    assert comparison.notes == comparison.lost == () and comparison.pairs_needed == 0
    assert comparison.sentences[0].endswith("no difference seen on 4 of 4 curves")


def test_differences_are_those_of_the_samples(make: Make) -> None:
    strong, weak = make(), make(suite=WEAKER)
    comparison = gtn_bench.compare(weak, strong)
    areas = []
    for results in (strong, weak):
        samples = results.select(perturbation="fgsm", mode="short")
        right = samples.assign(right=samples["label"] == samples["prediction"])
        cube = right.pivot(index=["seed", "sample"], columns="beta", values="right").to_numpy(dtype=float)
        areas.append(np.trapezoid(cube, [0, 0.02, 0.05], axis=1).reshape(9, 40) / 0.05)
    differences = areas[0] - areas[1]
    row = comparison.table.query("perturbation == 'fgsm' and mode == 'short'").iloc[0]
    assert row["area"] == pytest.approx(areas[0].mean()) and row["baseline_area"] == pytest.approx(areas[1].mean())
    assert row["difference"] == pytest.approx(differences.mean())
    assert row["p"] == 2 / 2**9 and row["p_holm"] == pytest.approx(4 * 2 / 2**9)  # all seeds are worse; four curves
    assert row["ci_low"] < differences.mean() < row["ci_high"] < 0
    assert (row["verdict"], row["n_pairs"], row["n_images"], row["pairing"]) == ("worse", 9, 40, "seeds and images")
    assert [each["perturbation"] for each in comparison.worse] == ["fgsm", "fgsm"]
    assert set(gtn_bench.compare(strong, weak).table.query("perturbation == 'fgsm'")["verdict"]) == {"better"}
    assert comparison.differences.suite == (FieldDifference("perturbations[fgsm].steps", 1, 3),)
    (note,) = comparison.notes
    assert note.startswith("fgsm: the perturbation itself differs (steps)")
    assert set(comparison.table.query("perturbation == 'noise'")["verdict"]) == {"no difference seen"}


def test_a_margin_tolerates_smaller_differences(make: Make) -> None:
    strong, weak = make(), make(suite=WEAKER)
    smallest = -gtn_bench.compare(weak, strong).table.query("perturbation == 'fgsm'")["ci_high"].min()
    assert len(gtn_bench.compare(weak, strong, margin=0.02).worse) == 2
    assert gtn_bench.compare(weak, strong, margin=min(smallest + 0.1, 0.99)).worse == []
    assert message(gtn_bench.compare, weak, strong, margin=1.5) == "margin expects a number from 0 to 1, got 1.5"
    assert message(gtn_bench.compare, weak, strong, margin="x") == "margin expects a number from 0 to 1, got 'x'"


def test_shared_seeds_images_and_strengths_count(make: Make) -> None:
    other = make(
        ("[0, 1, 2, 3, 4, 5, 6, 7, 8]", "[7, 8, 20]"), ("samples: 40, beta: [0, 0.02", "samples: 30, beta: [0")
    )
    comparison = gtn_bench.compare(make(), other)
    row = comparison.table.query("perturbation == 'fgsm'").iloc[0]
    assert (row["n_pairs"], row["n_seeds"], row["n_images"], row["n_strengths"]) == (2, 2, 30, 2)
    assert row["difference"] == 0  # the learners of seeds 7 and 8 are the same
    cells = comparison.differences.cells
    assert cells.shared == 2 * 2 * (2 + 1) and cells.only_first == 72 - 12 and cells.only_second == 2 * 3
    assert FieldDifference("seed", [0, 1, 2, 3, 4, 5, 6], [20]) in cells.labels
    assert comparison.notes == (
        "fgsm: compared on the first 30 images, which both runs have (40 and 30)",
        "fgsm: areas are over the strengths that both runs have: 0, 0.05",
    )
    assert comparison.pairs_needed == 8


def test_other_seeds_are_not_paired_and_single_models_are_compared_over_images(make: Make) -> None:
    others = gtn_bench.compare(make(), make(("[0, 1, 2, 3, 4, 5, 6, 7, 8]", "[20, 21, 22]")))
    assert set(others.table["pairing"]) == {"images"} and set(others.table["n_pairs"]) == {0}
    assert others.notes == ("vanilla, short: the runs share no seed, so learners are not paired, only images are",)
    single = gtn_bench.compare(
        make(("[0, 1, 2, 3, 4, 5, 6, 7, 8]", "[0]"), suite=WEAKER), make(("[0, 1, 2, 3, 4, 5, 6, 7, 8]", "[0]"))
    )
    row = single.table.query("perturbation == 'fgsm' and mode == 'vanilla'").iloc[0]
    assert (row["over"], row["pairing"], row["verdict"]) == ("images", "images", "worse")
    assert any(text.endswith("this concerns these two models, not how they were trained") for text in single.sentences)


def test_runs_with_nothing_in_common_are_refused(make: Make) -> None:
    base = make()
    other = make(
        ("name: vanilla, label: short", "name: vanilla, label: long"),
        ("{name: vanilla, steps: 20}", "{name: vanilla, label: x, steps: 20}"),
    )
    a, b = base.folder, other.folder
    assert (
        message(compare_runs, base, other) == f"{a} and {b} have no curve in common: modes vanilla, short and x, long"
    )
    other = make(("beta: [0, 0.02, 0.05]", "beta: [0.01]"))
    assert message(compare_runs, base, other) == (
        f"'fgsm' has no strength that both runs share: 0, 0.02, 0.05 in {a}, 0.01 in {other.folder}; "
        "use equal strengths"
    )
    other = make(("{name: fgsm, steps: 3,", "{name: blur, label: fgsm,"))
    expected = f"strengths of 'fgsm' cannot be compared: step size, pixel value in {a}, standard deviation, pixels in"
    assert message(compare_runs, base, other).startswith(expected)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with test images of the digits: the first 40 as `a` and `copy`, others as `b`."""
    folder = tmp_path_factory.mktemp("files")
    split = Digits()()["test"]
    images, labels = (split.levels.numpy() * (255 // split.white)).astype(np.uint8), split.labels.numpy()
    for name, part in (("a", slice(0, 40)), ("copy", slice(0, 40)), ("b", slice(40, 80))):
        np.savez(folder / f"{name}.npz", images=images[part], labels=labels[part])
    return folder


def of_files(files: Path, name: str) -> str:
    dataset = f"{{name: files, test: '{files / name}.npz', train: '{files / 'b'}.npz', num_classes: 10}}"
    return SUITE.replace("dataset: digits", f"dataset: {dataset}").replace("[0, 1, 2, 3, 4, 5, 6, 7, 8]", "[0, 1, 2]")


def test_other_images_are_not_paired_and_copies_of_files_are(make: Make, files: Path) -> None:
    first, copy, other = (make(suite=of_files(files, name)) for name in ("a", "copy", "b"))
    same = gtn_bench.compare(first, copy)
    assert set(same.table["pairing"]) == {"seeds and images"} and same.differences.suite == ()
    comparison = gtn_bench.compare(first, other)
    assert (
        set(comparison.table["pairing"]) == {"none"}
        and (comparison.table["ci_low"] < comparison.table["ci_high"]).all()
    )
    assert comparison.notes[0].startswith("fgsm, noise: the runs have different test images, so nothing is paired")
    assert [each.field for each in comparison.differences.suite] == ["dataset.test"]
    message_ = message(compare_runs, first, make())
    assert message_.startswith(f"{first.folder} and {make().folder} have different data sets, files and digits;")


def altered(results: gtn_bench.Results, folder: Path, change: Callable[[Path], None]) -> gtn_bench.Results:
    """Return a copy of results with a change."""
    shutil.copytree(results.folder, folder)
    change(folder)
    return gtn_bench.open(folder, accept_changes=True)


def test_labels_prove_that_images_differ(make: Make, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        samples = pd.read_parquet(folder / "samples.parquet")
        samples["label"] = (samples["label"] + (samples["sample"] == 3)) % 10
        samples.to_parquet(folder / "samples.parquet")

    other = altered(make(), tmp_path / "other", change)
    assert set(gtn_bench.compare(make(), other).table["pairing"]) == {"none"}


def test_missing_or_foreign_samples_are_named(make: Make, tmp_path: Path) -> None:
    without = altered(make(), tmp_path / "without", lambda folder: (folder / "samples.parquet").unlink())
    expected = f"{tmp_path / 'without' / 'samples.parquet'}: no such file; a comparison of runs needs the results of"
    assert message(compare_runs, make(), without).startswith(expected)

    def shuffle(folder: Path) -> None:
        pd.read_parquet(folder / "samples.parquet").iloc[::-1].to_parquet(folder / "samples.parquet")

    other = altered(make(), tmp_path / "other", shuffle)
    assert "samples.parquet: does not follow from summary.csv (rows)" in message(compare_runs, make(), other)
    assert message(gtn_bench.compare, make(), tmp_path / "nowhere").startswith(f"{tmp_path / 'nowhere'}: expects the")
    with pytest.raises(ConfigError, match="has no parameter 'tolerance'"):
        gtn_bench.compare(make(), make(), tolerance=0.1)  # type: ignore[call-arg]


def test_versions_processor_and_code_are_compared(make: Make, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        content = json.loads((folder / "provenance.json").read_text())
        content["versions"]["torch"], content["machine"]["processor"] = "9.9", "abacus"
        content["machine"]["cores"] = 1000  # which changes no number
        del content["code"]
        (folder / "provenance.json").write_text(json.dumps(content))

    found = gtn_bench.compare(make(), altered(make(), tmp_path / "other", change)).differences.provenance
    assert [(each.field, each.second) for each in found] == [
        ("versions.torch", "9.9"),
        ("machine.processor", "abacus"),
        ("code", "not recorded"),
    ]


def test_code_is_compared_of_the_modules_that_both_runs_use(make: Make, tmp_path: Path) -> None:
    other = make(("{name: noise, samples: 40, beta: [0.2]}", "{name: pgd, steps: 1, samples: 40, beta: [0.2]}"))
    codes = [results.provenance["code"] for results in (make(), other)]
    assert len(set(codes[0]) ^ set(codes[1])) > 1 and "gtn_bench.modes.training" in codes[0]
    assert gtn_bench.compare(make(), other).differences.provenance == ()

    def with_code(name: str, code: object) -> gtn_bench.Results:
        def change(folder: Path) -> None:
            content = json.loads((folder / "provenance.json").read_text())
            (folder / "provenance.json").write_text(json.dumps({**content, "code": code}))

        return altered(make(), tmp_path / name, change)

    changed = with_code("changed", {**codes[0], "gtn_bench.modes.training": "0", "gtn_bench.models": "1"})
    comparison = gtn_bench.compare(make(), changed)
    assert [each.field for each in comparison.differences.provenance] == [
        *("code.gtn_bench.models" for _ in range("gtn_bench.models" in codes[0])),
        "code.gtn_bench.modes.training",
    ]
    assert "gtn_bench.modes.training" in str(comparison) and "  code: " in str(comparison)

    # Earlier versions recorded one digest. Two of the same modules can be compared.
    same, different = with_code("same", digest(codes[0])), with_code("different", "0" * 32)
    assert gtn_bench.compare(make(), same).differences.provenance == ()
    assert [each.field for each in gtn_bench.compare(make(), different).differences.provenance] == ["code"]
    assert [each.field for each in gtn_bench.compare(same, different).differences.provenance] == ["code"]
    assert gtn_bench.compare(other, different).differences.provenance == ()


def test_a_suspect_strength_counts_where_both_runs_have_it(make: Make, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        summary = pd.read_csv(folder / "summary.csv", keep_default_na=False)
        summary.loc[(summary["mode"] == "short") & (summary["beta"] == 0.05), "grade"] = "suspect"
        summary.to_csv(folder / "summary.csv", index=False)

    suspect = altered(make(), tmp_path / "other", change)
    columns = ["grade", "baseline_grade"]
    table = gtn_bench.compare(suspect, make()).table.set_index(["mode", "perturbation"])[columns]
    assert tuple(table.loc["short", "fgsm"]) == ("unknown", "suspect")
    assert tuple(table.loc["vanilla", "fgsm"]) == ("unknown", "unknown")
    assert tuple(table.loc["short", "noise"]) == ("n/a", "n/a")
    fewer = gtn_bench.compare(suspect, make(("beta: [0, 0.02, 0.05]", "beta: [0, 0.02]"))).table
    assert "suspect" not in fewer[columns].to_numpy()


def test_what_the_run_lacks_is_lost(make: Make, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        summary = pd.read_csv(folder / "summary.csv")
        gone = (summary["mode"] == "short") & (summary["perturbation"] == "noise")
        summary.loc[gone, "status"] = "error"
        summary.to_csv(folder / "summary.csv", index=False)
        samples = pd.read_parquet(folder / "samples.parquet")
        samples[~((samples["mode"] == "short") & (samples["perturbation"] == "noise"))].to_parquet(
            folder / "samples.parquet"
        )

    comparison = gtn_bench.compare(make(), altered(make(), tmp_path / "other", change))
    assert len(comparison.table) == 3 and comparison.differences.cells.statuses == {("done", "error"): 9}
    assert comparison.lost == ("short of linear under noise has no complete curve (9 error of 9 cells)",)


def test_a_perturbation_whose_cells_all_failed_is_lost(make: Make, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        summary = pd.read_csv(folder / "summary.csv")
        summary.loc[summary["perturbation"] == "noise", "status"] = "error"
        summary.to_csv(folder / "summary.csv", index=False)
        samples = pd.read_parquet(folder / "samples.parquet")
        samples[samples["perturbation"] != "noise"].to_parquet(folder / "samples.parquet")

    comparison = gtn_bench.compare(make(), altered(make(), tmp_path / "other", change))
    assert set(comparison.table["perturbation"]) == {"fgsm"}
    assert comparison.lost == tuple(
        f"{mode} of linear under noise has no complete curve (9 error of 9 cells)" for mode in ("vanilla", "short")
    )
