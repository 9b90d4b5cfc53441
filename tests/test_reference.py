from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.suites import TINY
from torch import Tensor
from torch.nn import functional as F

import gtn_bench
from gtn_bench.config import suite
from gtn_bench.config.errors import ConfigError
from gtn_bench.data.digits import Digits
from gtn_bench.evaluation.evaluate import evaluate, evaluate_clean
from gtn_bench.models import ARCHITECTURES
from gtn_bench.models.architectures import ConvNet
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.reference import curves, protocol
from gtn_bench.reference.batch_classifier import BatchClassifier

PUBLISHED = (
    TINY.replace("acceptance: 0.0", "acceptance: 0.0\nprotocol: published")
    .replace("name: lbfgs-penalty,", "name: lbfgs-penalty, penalty: batch,")
    .replace("{name: gtn, label: 2_gtn, inner_steps: 2}", "{name: 10_gtn, inner_steps: 2}")
)


@pytest.mark.parametrize("name", [name for name, cls in ARCHITECTURES.items() if issubclass(cls, ConvNet)])
def test_batch_classifier_equals_the_network_in_train_mode(name: str, digits: tuple[Tensor, Tensor]) -> None:
    """Logits and gradients of the batch's loss agree to 1e-9 in float64."""
    network = ARCHITECTURES[name]()(Digits(), 0).double().train()
    x, y = torch.rand(16, 1, 8, 8, dtype=torch.float64), digits[1][:16]  # no ties in max pooling
    classifier = BatchClassifier(network, Digits.input_shape, 10)
    ours = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(F.cross_entropy(network(ours), y, reduction="sum"), ours)
    assert torch.allclose(classifier(x), network(x), atol=1e-9)
    assert torch.allclose(classifier.loss_gradient(x, y), expected, atol=1e-9)
    assert not torch.allclose(classifier(x)[:8], classifier(x[:8]), atol=1e-3)  # an image depends on the others


def test_batch_classifier_has_the_batch_size_of_the_protocol() -> None:
    assert BatchClassifier.batch == protocol.BATCH


def test_batch_classifier_always_receives_whole_batches(
    digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BatchClassifier, "batch", 40)
    classifier = BatchClassifier(ARCHITECTURES["linear"]()(Digits(), 0), Digits.input_shape, 10)
    sizes: set[int] = set()
    classifier.network.register_forward_hook(lambda module, inputs, output: sizes.add(len(inputs[0])))
    x, y = digits
    for perturbation in (
        PERTURBATIONS["fgsm"](beta=0.1, steps=2),
        PERTURBATIONS["lbfgs-penalty"](beta=1.0, steps=2, penalty="batch"),
        PERTURBATIONS["noise"](beta=0.1),
    ):
        evaluate(perturbation, classifier, evaluate_clean(classifier, x, y), x, y, torch.arange(60))
    assert sizes == {40, 20}


def test_fgsm_ascends_the_mean_loss_of_the_batch(digits: tuple[Tensor, Tensor]) -> None:
    """The result is that of the study's loop, written out."""
    network = ARCHITECTURES["base_larger"]()(Digits(), 0).train()
    x, y = digits
    x_adv = x.clone()
    for _ in range(5):
        x_adv.requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(network(x_adv), y), x_adv)
        x_adv = (x_adv.detach() + 0.02 * grad.sign()).clamp(0, 1)
    classifier = BatchClassifier(network, Digits.input_shape, 10)
    ours = PERTURBATIONS["fgsm"](beta=0.02, steps=5)(classifier, x, y, torch.arange(60))
    assert ((ours - x_adv).abs() > 1e-4).float().mean() < 0.01  # signs of gradients that are nearly 0


@pytest.fixture(scope="module")
def published_run(tmp_path_factory: pytest.TempPathFactory) -> gtn_bench.Results:
    plan = gtn_bench.plan(suite.parse(PUBLISHED))
    folder = tmp_path_factory.mktemp("published")
    return gtn_bench.run(plan, folder / "out", cache=folder / "cache", workers=1)


def test_published_protocol_changes_only_modes_in_train_mode(published_run: gtn_bench.Results, tmp_path: Path) -> None:
    """Learners of `10_gtn` and `vanilla` are in train mode; those of `gtn` give the same numbers as a fair run."""
    fair = gtn_bench.run(gtn_bench.plan(suite.parse(PUBLISHED.replace("protocol: published", ""))), tmp_path / "out",
                         cache=published_run.folder.parent / "cache", workers=1)  # fmt: skip
    accuracy = ["clean_accuracy", "accuracy"]
    for mode, equal in (("gtn", True), ("10_gtn", False), ("vanilla", False)):
        ours, theirs = (
            results.summary.loc[results.summary["mode"] == mode, accuracy] for results in (published_run, fair)
        )
        assert ours.equals(theirs) is equal


@pytest.mark.slow
def test_report_and_figures_state_the_published_protocol(published_run: gtn_bench.Results) -> None:
    page = gtn_bench.report(published_run.folder).read_text()
    assert "Measured with the published protocol" in page
    figures = list((published_run.folder / "figures").glob("*.svg"))
    assert len(figures) == 16
    assert all("published protocol:" in path.read_text() for path in figures)


@pytest.mark.slow
def test_report_shows_the_distance_from_the_published_curves(published_run: gtn_bench.Results, tmp_path: Path) -> None:
    """The teacher has the label of the study; the run's two strengths enclose three published ones."""
    folder = tmp_path / "out"
    shutil.copytree(published_run.folder, folder)
    text = (folder / "suite.yaml").read_text()
    (folder / "suite.yaml").write_text(text.replace("overlay: null", "overlay: published"))
    for name in ("summary", "curves", "measures", "comparisons", "checks"):
        table = pd.read_csv(folder / f"{name}.csv", keep_default_na=False, dtype=str)
        table["teacher"] = table["teacher"].replace("t", "base_larger")
        table.to_csv(folder / f"{name}.csv", index=False)
    for name in ("samples.parquet", "examples.safetensors"):  # they have the other label
        (folder / name).unlink()
    page = gtn_bench.report(folder, accept_changes=True).read_text()
    assert "### Comparison with the published curves" in page
    compared = page[page.index("### Comparison with the published curves") :].splitlines()
    rows = [line for line in compared if line.startswith("| base_larger | noise | 10_gtn |")]
    near = pd.read_csv(folder / "curves.csv").query("perturbation == 'noise' and mode == '10_gtn'")
    ours = near[near["architecture"] == "accepted"].set_index("beta")["accuracy"]
    theirs = curves.published_curves().query(
        "teacher == 'base_larger' and perturbation == 'noise' and mode == '10_gtn'"
    )
    theirs = theirs[theirs["beta"] <= 0.5]
    gap = np.abs(np.interp(theirs["beta"], ours.index, ours) - theirs["accuracy"])
    assert f"| {gap.mean():.3f} | {gap.max():.3f} |" in rows[0]
    assert "published" in (folder / "figures" / "noise.svg").read_text()


@pytest.mark.parametrize(
    "changes, message",
    [
        ([("{name: vanilla, epochs: 2}", "{name: adversarial}")],
         "modes[2]: protocol 'published' knows the modes 10_gtn, gtn, vanilla, got 'adversarial'"),
        ([("penalty: batch,", "")], "expects penalty: batch of 'lbfgs-penalty', got sample"),
        ([("fgsm, steps: 2,", "fgsm, steps: 2, epsilon: 0.1,")],
         "perturbations[0]: protocol 'published' expects epsilon: None of 'fgsm', got 0.1"),
        ([("steps: 2, samples: 20, beta: [1]", "steps: 2, samples: 20, beta: [1], step: gradient")],
         "expects step: sign of 'lbfgs-penalty', got gradient"),
        ([("name: noise,", "name: contrast,")],
         "protocol 'published' knows the perturbations noise, blur, fgsm, lbfgs-penalty, got 'contrast'"),
        ([("samples: 100, beta: [0, 1]", "search: minimal, beta: [0, 1]")],
         "protocol 'published' has no 'search', got one for 'blur'"),
        ([("protocol: published", "protocol: published\nprecision: bfloat16")],
         "precision: protocol 'published' computes in float32, got 'bfloat16'"),
        ([("protocol: published", "protocol: publishd")],
         "protocol: expects one of evaluation, published, got 'publishd'"),
        ([("protocol: published", "overlay: published")],
         "overlay: the published curves are of mnist in normalized units, got digits in pixel units"),
    ],
)  # fmt: skip
def test_published_protocol_refuses_other_modes_and_perturbations(changes: list[tuple[str, str]], message: str) -> None:
    text = PUBLISHED
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    with pytest.raises(ConfigError) as caught:
        gtn_bench.plan(suite.parse(text))
    assert message in str(caught.value)


def test_published_curves_are_complete() -> None:
    table = curves.published_curves()
    assert len(table) == 198 and set(table["teacher"]) == set(curves.TEACHERS)
    assert set(table["mode"]) == set(protocol.TRAIN_MODE)
    assert table["accuracy"].between(0, 1).all()
    sweeps = table.groupby(["teacher", "mode", "perturbation"]).size().unstack()
    assert sweeps.to_numpy().tolist() == [[10, 6, 7, 10]] * 6


def ours(**more: Any) -> pd.DataFrame:
    """Return the published curves as those of a run, with some columns replaced."""
    return curves.published_curves().assign(**more)


def test_distances_from_the_published_curves() -> None:
    assert curves.distances(curves.beside(ours()))["largest"].max() == pytest.approx(0)
    table = ours()
    moved = (table["mode"] == "gtn") & (table["perturbation"] == "fgsm") & np.isclose(table["beta"], 0.0124)
    table.loc[moved, "accuracy"] += 0.3
    found = curves.distances(curves.beside(table)).set_index(["teacher", "perturbation", "mode"])
    far = found.loc[("base_larger", "fgsm", "gtn")]
    assert far["largest"] == pytest.approx(0.3) and far["mean distance"] == pytest.approx(0.05)
    assert far["at beta"] == pytest.approx(0.0124)
    assert (found["largest"] > 1e-9).sum() == 2  # of both teachers
    part = table[table["beta"] <= 0.01]  # only points within the sweep are compared
    assert curves.beside(part)["beta"].max() <= 0.01
