"""How many passes a run could have made, and how many it made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import gtn_bench

SUITE = {
    "name": "passes",
    "dataset": "digits",
    "architectures": ["base"],
    "modes": [{"name": "vanilla", "epochs": 2}],
    "seeds": [0],
    "acceptance": 0,
    "checks": "none",
}


def _run(perturbations: list[dict[str, Any]], folder: Path) -> gtn_bench.Results:
    plan = gtn_bench.plan(gtn_bench.load({**SUITE, "perturbations": perturbations}))
    return gtn_bench.run(plan, folder, workers=1, device="cpu", cache=folder / "cache")


def test_saved_passes_are_counted_and_reported(tmp_path: Path) -> None:
    attack = {"name": "pgd", "steps": 10, "samples": 20, "beta": [0.02, 0.3]}
    results = _run([{**attack, "keep": "best"}, {"name": "noise", "samples": 50, "beta": [0.1]}], tmp_path)
    made = (results.summary["forwards"] + results.summary["backwards"]).where(results.summary["perturbation"] == "pgd")
    passes = results.provenance["passes"]
    assert passes == {"declared": 2 * 20 * 20, "made": round(20 * float(made.sum()))}
    assert 0 < passes["made"] < passes["declared"]
    percent = f"{100 * passes['made'] / passes['declared']:.0f} %"
    gtn_bench.report(results.folder)
    assert f"of at most 800 passes through the networks ({percent})" in (results.folder / "report.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("perturbation", [{"name": "noise", "beta": [0.1]}, {"name": "pgd", "steps": 1, "beta": [0.1]}])
def test_no_sentence_if_nothing_is_saved(perturbation: dict[str, Any], tmp_path: Path) -> None:
    results = _run([{**perturbation, "samples": 20}], tmp_path)
    passes = results.provenance["passes"]
    assert passes["made"] == passes["declared"] == (40 if perturbation["name"] == "pgd" else 0)
    gtn_bench.report(results.folder)
    assert "of at most" not in (results.folder / "report.md").read_text()


@pytest.mark.slow
def test_example_images_are_named_whether_passes_are_saved_or_not(tmp_path: Path) -> None:
    suite = {**SUITE, "modes": [{"name": "vanilla", "steps": 2}], "seeds": [0, 1]}
    for attack, saves in (({"name": "noise"}, False), ({"name": "pgd", "steps": 10, "keep": "best"}, True)):
        plan = gtn_bench.plan(gtn_bench.load({**suite, "perturbations": [{**attack, "samples": 5, "beta": [0.3]}]}))
        folder = tmp_path / str(attack["name"])
        gtn_bench.run(plan, folder, workers=1, device="cpu", cache=tmp_path / "cache")
        page = gtn_bench.report(folder).read_text()
        assert "Example images: learners of `base`, seed 0." in page and ("of at most" in page) is saves
