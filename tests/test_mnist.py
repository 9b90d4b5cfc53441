"""The smoke suite on MNIST. It takes minutes, and is skipped where the data set is missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from helpers.agreement import CASES, agree
from torch import Tensor, nn

import gtn_bench
from gtn_bench.data.base import Split
from gtn_bench.data.torchvision import MNIST, data_folder
from gtn_bench.inference.classifier import Classifier
from gtn_bench.models import ARCHITECTURES
from gtn_bench.modes.real_data import Vanilla
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.perturbations.libraries.minimal import Radius

RAW = data_folder() / "MNIST" / "raw"
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not RAW.is_dir(), reason=f"MNIST is not in {data_folder()}; set GTN_BENCH_DATA to its folder"),
]


def test_mnist_smoke_suite_runs_and_curves_fall(tmp_path: Path) -> None:
    plan = gtn_bench.plan(gtn_bench.load("mnist-smoke"))
    results = gtn_bench.run(plan, tmp_path / "out", cache=os.environ.get("GTN_BENCH_CACHE", tmp_path / "cache"))
    assert (results.summary["status"] == "done").all() and len(results.summary) == len(plan.cells)
    clean = results.summary[results.summary["architecture"] == "base_larger"].groupby("mode")["clean_accuracy"].mean()
    assert clean["vanilla"] > 0.95 and clean["gtn"] > 0.5
    vanilla = results.curves[results.curves["mode"] == "vanilla"]
    for perturbation in ("fgsm", "noise", "blur"):
        curve = vanilla[(vanilla["perturbation"] == perturbation) & (vanilla["architecture"] == "base_larger")]
        assert curve["accuracy"].iloc[-1] < curve["accuracy"].iloc[0] - 0.2
    assert gtn_bench.report(tmp_path / "out").is_file()


def test_mean_and_std_are_those_of_the_training_pixels() -> None:
    x, _ = MNIST()()["train"][:]
    assert tuple(len(split) for split in MNIST()().values()) == MNIST.sizes
    assert (x.mean().item(), x.std().item()) == pytest.approx((MNIST.mean[0], MNIST.std[0]), abs=1e-3)


@pytest.fixture(scope="module")
def learner() -> tuple[nn.Module, Tensor, Tensor]:
    """Return `base_larger` trained on 10 000 images, and the first 64 test images with their labels."""
    dataset, splits = MNIST(), MNIST()()
    network = ARCHITECTURES["base_larger"]()(dataset, seed=0).train()
    whole = splits["train"]
    train = Split(whole.levels[:10000], whole.labels[:10000], whole.white)
    network.load_state_dict(Vanilla(epochs=1)(network, dataset, train, None, seed=0))
    return network.eval(), *splits["test"][:64]


@pytest.mark.parametrize("library", ["art", "foolbox", "torchattacks"])
@pytest.mark.parametrize("case", list(CASES))
def test_attacks_agree_with_libraries_in_float64(
    case: str,
    library: str,
    learner: tuple[nn.Module, Tensor, Tensor],
    art_in_float64: None,
) -> None:
    """Dithered images agree exactly. In original ones, equal pixels are ties in max pooling, which rounding decides."""
    network, x, y = learner
    dither = 0.01 * torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    agree(network, (1, 28, 28), 0.35 + 0.3 * x[:20].double() + dither, y[:20], case, library, undecided=0.0)
    agree(network, (1, 28, 28), x[:10], y[:10], case, library, undecided=1.0)


def test_lbfgs_perturbations_are_no_larger_than_those_of_ddn_and_carlini_wagner(
    learner: tuple[nn.Module, Tensor, Tensor],
) -> None:
    network, x, y = learner[0], learner[1][:32], learner[2][:32]
    classifier, seeds = Classifier(network, (1, 28, 28), 10), torch.arange(len(x))
    correct = classifier.predict(x) == y
    ours = PERTURBATIONS["lbfgs"](beta=9.0).nearest(classifier, x, y, seeds)
    assert ours.strength.isfinite().all()
    for attack, params in (
        ("DDNAttack", {"steps": 200}),
        ("L2CarliniWagnerAttack", {"steps": 200, "binary_search_steps": 6, "stepsize": 0.02}),
    ):
        search = PERTURBATIONS["foolbox"](attack=attack, beta=9.0, params=params)
        theirs = Radius(of=search, beta=9.0).nearest(classifier, x, y, seeds)
        both = correct & theirs.strength.isfinite()
        means = ours.strength[both].mean().item(), theirs.strength[both].mean().item()
        print(f"mean L2 distance on {int(both.sum())} images: lbfgs {means[0]:.4f}, {attack} {means[1]:.4f}")
        assert both.float().mean() > 0.9 and means[0] <= means[1]
