"""Grades of whole runs: probes within a budget, proofs, and what they add to the tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import gtn_bench
from gtn_bench.analysis.tables import SCHEMA_VERSION, VERSION_COLUMN
from gtn_bench.config.errors import ConfigError, ModelWarning
from gtn_bench.data.arrays import from_arrays
from gtn_bench.execution.probing import BASIC_SHARE
from gtn_bench.planning.adapting import entry, suite_for
from gtn_bench.store.files import read_tensors

PGD = {"name": "pgd", "steps": 20, "samples": 128, "beta": [0, 0.02, 0.05]}
NOISE = {"name": "noise", "samples": 100, "beta": [0.1]}


def suite(*perturbations: dict[str, Any], **keys: Any) -> dict[str, Any]:
    described = {"name": "graded", "dataset": "digits", "architectures": ["linear"], "seeds": [0], "acceptance": 0}
    return {**described, "modes": [{"name": "vanilla", "epochs": 8}], "perturbations": list(perturbations), **keys}


def run(content: dict[str, Any], folder: Path, cache: Path, **options: Any) -> gtn_bench.Results:
    planned = gtn_bench.plan(gtn_bench.load(content))
    return gtn_bench.run(planned, folder, cache=cache, device="cpu", **{"workers": 1, **options})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def grades(results: gtn_bench.Results) -> dict[tuple[str, float], str]:
    rows = results.summary[["perturbation", "beta", "grade"]].itertuples(index=False)
    return {(name, beta): grade for name, beta, grade in rows}


def passes(cache: Path) -> float:
    """Return the passes that all probes in a cache took."""
    total = 0
    for path in (cache / "probes").rglob("*.safetensors"):
        for outcome in read_tensors(path)[1].values():
            total += outcome["forwards"] + outcome["backwards"]
    return total


def test_without_checks_nothing_is_graded_reliable(tmp_path: Path) -> None:
    results = run(suite(PGD, NOISE, checks="none"), tmp_path / "out", tmp_path / "cache")
    assert grades(results) == {
        ("pgd", 0.0): "n/a",
        ("pgd", 0.02): "unknown",
        ("pgd", 0.05): "unknown",
        ("noise", 0.1): "n/a",
    }
    assert not (tmp_path / "cache" / "probes").exists()


def test_all_checks_can_earn_the_grade_reliable(cache: Path, tmp_path: Path) -> None:
    apgd = {"name": "apgd", "samples": 128, "beta": [0, 0.02, 0.05]}
    results = run(suite(apgd, NOISE, checks="full"), tmp_path / "out", cache)
    assert grades(results) == {
        ("apgd", 0.0): "n/a",
        ("apgd", 0.02): "reliable",
        ("apgd", 0.05): "reliable",
        ("noise", 0.1): "n/a",
    }
    required = {"more_steps", "second_attack", "gradient_free", "binarization"}
    attacked = results.checks[results.checks["beta"] > 0.01]
    assert required <= set(attacked[attacked["outcome"] == "passed"]["check"])
    again = run(suite(apgd, NOISE, checks="full"), tmp_path / "again", cache, workers=2)
    pd.testing.assert_frame_equal(results.checks, again.checks)


@pytest.mark.slow
def test_the_curve_has_the_grade_of_its_points(cache: Path, tmp_path: Path) -> None:
    weak = {**PGD, "steps": 2, "random_start": False, "beta": [0.02, 0.1]}
    results = run(suite(weak, checks="full"), tmp_path / "out", cache)
    assert set(results.curves[results.curves["beta"] == 0.1]["grade"]) == {"suspect"}
    assert "more_steps" in results.summary.set_index("beta").loc[0.1, "flags"]
    page = (gtn_bench.report(results.folder)).read_text()
    assert "newly fooled by twice as many steps" in page


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [
        {"name": "pgd", "steps": 10},
        {"name": "pgd", "steps": 100},
        {"name": "foolbox.LinfPGD", "params": {"steps": 40}},
        {"name": "torchattacks.PGD", "params": {"steps": 40}},
        {"name": "lbfgs"},
    ],
)
def test_basic_checks_take_a_quarter_of_the_passes(attack: dict[str, Any], tmp_path: Path) -> None:
    content = suite({**attack, "samples": 360, "beta": [0.02, 0.05, 0.1]}, checks="basic")
    results = run(content, tmp_path / "out", tmp_path / "cache")
    own = ((results.summary["forwards"] + results.summary["backwards"]) * results.summary["n"]).sum()
    spent = passes(tmp_path / "cache")
    assert 0 < spent <= BASIC_SHARE * own
    skipped = results.checks[results.checks["outcome"] == "not run"]
    assert skipped["text"].str.contains("budget").any()  # and says so


def test_other_learners_lend_their_adversarial_examples(cache: Path, tmp_path: Path) -> None:
    both = suite({**PGD, "beta": [0.05]}, checks="full", seeds=[0, 1])
    results = run(both, tmp_path / "out", cache)
    transfer = results.checks[results.checks["check"] == "transfer"]
    assert list(transfer["n"]) == [128, 128] and set(transfer["outcome"]) == {"passed"}


def test_a_probe_that_fails_costs_nothing_else(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gtn_bench.checks.attacks import table

    def fails(situation: object) -> dict[str, Any]:
        raise ValueError("no luck")

    monkeypatch.setitem(table.PROBES, "other_loss", table.PROBES["other_loss"]._replace(run=fails))
    results = run(suite({**PGD, "beta": [0.03]}, checks="full"), tmp_path / "out", cache)
    checks = results.checks.set_index("check")
    assert checks.loc["other_loss", "outcome"] == "not run"
    assert "no luck" in checks.loc["other_loss", "text"]
    assert checks.loc["more_steps", "n"] == 128 and not results.errors


def test_the_published_protocol_is_suspect_whatever_the_checks(tmp_path: Path) -> None:
    fgsm = {"name": "fgsm", "steps": 30, "samples": 200, "beta": [0.01]}
    content = suite(fgsm, checks="none", protocol="published", architectures=["base"])
    results = run(content, tmp_path / "out", tmp_path / "cache")
    assert list(results.summary["flags"]) == ["batch_coupling"]
    assert list(results.summary["grade"]) == ["suspect"]


@pytest.mark.slow
def test_warnings_about_a_model_make_its_cells_suspect(tmp_path: Path) -> None:
    import torch

    from gtn_bench.data import Digits

    class Permuted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.network(x).roll(1, dims=1)

    torch.manual_seed(0)
    model, (x, y) = Permuted(), Digits()()["train"][:]
    adam = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(100):
        adam.zero_grad()
        torch.nn.functional.cross_entropy(model.network(x), y).backward()
        adam.step()
    with pytest.warns(ModelWarning, match="permuted"):
        results = gtn_bench.evaluate(
            model, Digits(), {"perturbations": [PGD]}, tmp_path / "out", cache=tmp_path / "cache", workers=1
        )
    assert set(results.summary["flags"]) == {"permuted_labels"} and set(results.summary["grade"]) == {"suspect"}


# Proofs.


def test_proofs_are_lower_bounds_of_every_accuracy(cache: Path, tmp_path: Path) -> None:
    """For a linear network the bounds are exact, and so is the accuracy that the strongest attack leaves."""
    apgd = {"name": "apgd", "targets": 9, "loss": "margin", "samples": 128, "beta": [0.01, 0.05, 0.3]}
    content = suite({**PGD, "beta": [0.01, 0.05, 0.3]}, apgd, NOISE, certify=["interval", "crown"], checks="none")
    content |= {"architectures": [{"name": "linear", "hidden": []}]}
    results = run(content, tmp_path / "out", cache)
    rows = results.summary[results.summary["perturbation"] != "noise"]
    assert (rows["certified_accuracy"] <= rows["accuracy"]).all()
    strong = rows[rows["perturbation"] == "apgd"].set_index("beta")
    assert strong["proven"].all() and strong.loc[0.05, "certified_accuracy"] > 0.5
    assert (strong["certified_accuracy"] == strong["accuracy"]).all()
    assert results.summary.set_index("perturbation").loc[["noise"], "certified_accuracy"].isna().all()
    certificates = results.certificates
    assert set(certificates["certifier"]) == {"interval", "crown"} and set(certificates["about"]) == {"model"}
    assert sorted(set(certificates["epsilon"])) == [0.01, 0.05, 0.3]
    assert certificates["error"].isna().all()
    assert (pd.read_csv(results.folder / "certificates.csv")[VERSION_COLUMN] == SCHEMA_VERSION).all()
    assert set(results.curves[results.curves["perturbation"] == "apgd"]["proven"]) == {True}


def test_a_network_without_bounds_is_named_and_costs_nothing_else(cache: Path, tmp_path: Path) -> None:
    content = suite({**PGD, "beta": [0.05]}, certify=["crown"], checks="none")
    content |= {"architectures": [{"name": "convnet", "width": 4, "depth": 1}]}
    results = run(content, tmp_path / "out", cache)
    assert "GroupNorm" in results.certificates["error"].iloc[0]
    assert results.summary["certified_accuracy"].isna().all() and list(results.summary["status"]) == ["done"]


def test_smoothing_is_about_another_model(cache: Path, tmp_path: Path) -> None:
    pgd = {"name": "pgd", "norm": "l2", "steps": 5, "samples": 20, "beta": [0.1]}
    content = suite(pgd, certify=[{"name": "smoothing", "sigma": 0.25, "n": 100, "samples": 10}], checks="none")
    results = run(content, tmp_path / "out", cache)
    (row,) = results.certificates.to_dict("records")
    assert row["about"] == "smoothed model" and row["n"] == 10 and 0 <= row["certified_accuracy"] <= 1
    assert results.summary["certified_accuracy"].isna().all() and not results.summary["proven"].any()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"checks": "ful"}, "checks: expects one of none, basic, full, got 'ful'; did you mean 'full'?"),
        ({"certify": ["crwn"]}, "certify[0].name: unknown certifier 'crwn'; did you mean 'crown'?"),
        (
            {"certify": ["crown"], "perturbations": [NOISE]},
            "certify[0]: certifier 'crown' needs an untargeted attack in an linf or l2 ball, got none",
        ),
        ({"certify": ["crown", "crown"]}, "certify[1]: duplicate label 'crown'; give one of them another label"),
        (
            {"certify": [{"name": "crown", "sample": 3}]},
            "certify[0].sample: 'crown' does not know this key; did you mean",
        ),
    ],
)
def test_wrong_keys_are_refused_in_one_line(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        gtn_bench.plan(gtn_bench.load(suite(PGD) | keys))
    assert str(caught.value).startswith(f"graded: {message}") and "\n" not in str(caught.value)


def test_the_schema_knows_checks_and_certifiers() -> None:
    from gtn_bench.planning.schema import suite_schema

    schema = json.dumps(suite_schema())
    assert "certifiers.crown" in schema and '"basic"' in schema


def test_the_shipped_suites_apply_to_two_classes(tmp_path: Path) -> None:
    import torch

    x, y = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 2))
    for name in ("quick", "standard", "strong"):
        plan = suite_for(name, from_arrays((x, y)), {"m": entry({"name": "given", "networks": (network,)}, "m")}, 1)
        assert len(gtn_bench.plan(plan).cells) > 10
