"""Evaluation of existing networks: from Python and from the command line."""

from __future__ import annotations

import inspect
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gtn_bench
from gtn_bench import cli
from gtn_bench.config.errors import ConfigError, ModelWarning
from gtn_bench.data import Digits
from gtn_bench.models import ARCHITECTURES
from gtn_bench.planning import plugins
from gtn_bench.store.files import read_tensors

pytestmark = pytest.mark.filterwarnings("ignore::gtn_bench.config.errors.ModelWarning")

X, Y = Digits()()["test"][:60]
MEAN, STD = 0.3053, 0.3761
SUITE: dict[str, Any] = {
    "perturbations": [
        {"name": "fgsm", "steps": 1, "beta": [0, "8/255", 0.1]},
        {"name": "noise", "beta": [0.1]},
    ]
}


def trained(seed: int, *, normalizes: bool = False, width: int = 32, outputs: int = 10) -> nn.Sequential:
    """Return a small network that classifies digits; it expects normalized images if it does not normalize itself."""
    torch.manual_seed(seed)
    x, y = Digits()()["train"][:]
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, outputs))
    adam = torch.optim.Adam(network.parameters(), lr=1e-2)
    inputs = (x - MEAN) / STD if normalizes else x
    for _ in range(60):
        adam.zero_grad()
        nn.functional.cross_entropy(network(inputs), y).backward()
        adam.step()
    return network.eval()


@pytest.fixture(scope="module")
def networks() -> list[nn.Sequential]:
    return [trained(seed) for seed in range(3)]


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return {"cache": tmp_path / "cache", "workers": 1, "device": "cpu"}


def accuracy(network: nn.Module, x: Tensor = X) -> float:
    return float((network(x).argmax(1) == Y).float().mean())


@pytest.mark.slow
def test_one_network_has_curves_of_its_own_accuracies(networks: list[nn.Sequential], options: dict[str, Any]) -> None:
    network = networks[0]
    results = gtn_bench.evaluate(network, (X, Y), SUITE, **options)
    points = results.summary.set_index(["perturbation", "beta"])["accuracy"]
    x = X.clone().requires_grad_()
    (grad,) = torch.autograd.grad(nn.functional.cross_entropy(network(x), Y, reduction="sum"), x)
    for beta in (0.0, 8 / 255, 0.1):
        assert points["fgsm", beta] == pytest.approx(accuracy(network, (X + beta * grad.sign()).clamp(0, 1)))
    assert results.summary["mode"].unique().tolist() == ["model"]
    assert (results.folder / "report.md").is_file() and results.curves["ci_low"].notna().all()


@pytest.mark.slow
def test_two_networks_are_compared_over_images(networks: list[nn.Sequential], options: dict[str, Any]) -> None:
    results = gtn_bench.evaluate({"a": networks[0], "b": networks[1]}, (X, Y), SUITE, **options)
    assert results.comparisons["over"].unique().tolist() == ["images"]
    assert results.comparisons["ci_low"].notna().all()
    assert "these two models" in (results.folder / "report.md").read_text()


@pytest.mark.slow
def test_several_networks_per_mode_are_seeds(networks: list[nn.Sequential], options: dict[str, Any]) -> None:
    results = gtn_bench.evaluate({"a": networks[:2], "b": networks[2]}, (X, Y), SUITE, **options)
    learners = results.summary[["mode", "seed"]].drop_duplicates().to_numpy().tolist()
    assert learners == [["a", 0], ["a", 1], ["b", 0]]


@pytest.mark.slow
def test_identical_networks_count_once(networks: list[nn.Sequential], options: dict[str, Any]) -> None:
    copies = [networks[0]] * 8
    results = gtn_bench.evaluate({"copies": copies, "others": networks}, (X, Y), SUITE, **options)
    rows = results.summary[results.summary["mode"] == "copies"]
    assert rows.loc[rows["status"] == "duplicate", "duplicate_of"].eq(0).all()
    assert (rows["status"] == "duplicate").sum() == 7 * 4 and (rows["status"] == "done").sum() == 4
    assert results.curves.query("mode == 'copies'")["n_seeds"].eq(1).all()
    originals = rows[rows["status"] == "done"]["clean_accuracy"].unique()
    assert rows["clean_accuracy"].unique().tolist() == originals.tolist()


@pytest.mark.slow
def test_a_model_under_two_names_is_pointed_out(networks: list[nn.Sequential], options: dict[str, Any]) -> None:
    suite = {"perturbations": [{"name": "noise", "beta": [0]}]}
    with pytest.warns(ModelWarning, match="model 'b', seed 0: warning: The weights are those of mode 'a', seed 0"):
        gtn_bench.evaluate({"a": networks[0], "b": networks[0]}, (X, Y), suite, **options)


def test_findings_about_a_model_are_warnings(options: dict[str, Any]) -> None:
    shuffled = Y[torch.randperm(len(Y), generator=torch.Generator().manual_seed(0))]
    with pytest.warns(ModelWarning, match="accuracy"):
        gtn_bench.evaluate(trained(0), (X, shuffled), {"perturbations": [{"name": "noise", "beta": [0]}]}, **options)


def test_normalization_outside_of_the_network_is_applied(options: dict[str, Any]) -> None:
    network = trained(0, normalizes=True)
    suite = {"perturbations": [{"name": "noise", "beta": [0]}]}
    results = gtn_bench.evaluate(network, (X, Y), suite, mean=MEAN, std=STD, **options)
    assert results.summary["accuracy"].item() == pytest.approx(accuracy(network, (X - MEAN) / STD))


@pytest.mark.slow
def test_attributes_and_code_of_a_network_are_part_of_the_key(options: dict[str, Any]) -> None:
    class Scaled(nn.Module):
        def __init__(self, network: nn.Module, scale: float) -> None:
            super().__init__()
            self.network, self.scale = network, scale

        def forward(self, x: Tensor) -> Tensor:
            return self.network(self.scale * x)

    suite = {"perturbations": [{"name": "noise", "beta": [0]}]}
    network = trained(0)
    for scale in (1.0, 0.05):
        results = gtn_bench.evaluate(Scaled(network, scale), (X, Y), suite, **options)
        assert results.summary["accuracy"].item() == pytest.approx(accuracy(network, scale * X))


@pytest.mark.slow
def test_the_network_is_neither_changed_nor_needed_in_evaluation_mode(options: dict[str, Any]) -> None:
    network = nn.Sequential(trained(0), nn.Dropout(0.5))
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    results = gtn_bench.evaluate(network, (X, Y), SUITE, **options)
    assert network.training and all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert results.summary["clean_accuracy"].iloc[0] == pytest.approx(accuracy(network.eval()))
    assert "are in train mode; the evaluation uses a copy" in str(results.provenance["models"])


@pytest.mark.slow
def test_eight_bit_images_are_multiples_of_a_level(networks: list[nn.Sequential], options: dict[str, Any]) -> None:
    suite = {"perturbations": [{"name": "noise", "beta": [0.1]}]}
    kept = {}
    for rounded in (False, True):
        results = gtn_bench.evaluate(
            networks[0], (X, Y), suite, eight_bit=rounded, save_adversarial=True, out=f"out-{rounded}", **options
        )
        (file,) = (results.folder / "adversarial").iterdir()
        tensors, metadata = read_tensors(file)
        assert metadata["perturbation"] == "noise" and np.array_equal(tensors["label"], Y.numpy())
        assert np.array_equal(tensors["clean"], X.numpy())
        kept[rounded] = tensors["0.1"]
        predicted = networks[0](torch.from_numpy(kept[rounded])).argmax(1)
        assert results.summary["accuracy"].item() == pytest.approx(float((predicted == Y).float().mean()))
    assert kept[True].shape == X.shape
    np.testing.assert_allclose(kept[True], np.round(kept[False] * 255) / 255, atol=1e-6)
    assert np.abs(kept[False] * 255 - np.round(kept[False] * 255)).max() > 0.1


@pytest.mark.slow
def test_a_target_reaches_every_attack_that_can_have_one(
    networks: list[nn.Sequential], options: dict[str, Any]
) -> None:
    suite = {"perturbations": [{"name": "pgd", "steps": 20, "beta": [0.8]}, {"name": "noise", "beta": [0.1]}]}
    results = gtn_bench.evaluate(networks[0], (X, Y), suite, target=3, **options)
    samples = results.select(perturbation="pgd").query("label != 3")
    assert (samples["prediction"] == 3).mean() > 0.9
    assert "target: 3" in (results.folder / "suite.yaml").read_text()


@pytest.mark.slow
def test_the_default_folder_belongs_to_models_data_and_suite(
    networks: list[nn.Sequential], options: dict[str, Any]
) -> None:
    folders = [
        gtn_bench.evaluate(network, (x, Y[: len(x)]), suite, **options).folder
        for network, x, suite in (
            (networks[0], X, SUITE),
            (networks[0], X, SUITE),
            (networks[1], X, SUITE),
            (networks[0], X[:50], SUITE),
            (networks[0], X, {"perturbations": SUITE["perturbations"][:1]}),
        )
    ]
    assert folders[0] == folders[1] and len(set(folders)) == 4
    assert all(re.fullmatch(r"results/evaluation-[0-9a-f]{8}", str(folder)) for folder in folders)


@pytest.mark.slow
def test_no_folder_of_another_evaluation_is_overwritten(networks: list[nn.Sequential], options: dict[str, Any]) -> None:
    suite = {"perturbations": [{"name": "noise", "beta": [0]}]}
    for _ in range(2):  # the same evaluation updates its folder
        gtn_bench.evaluate(networks[0], (X, Y), suite, "mine", **options)
    with pytest.raises(ConfigError, match="mine holds the results of other models, data or suites"):
        gtn_bench.evaluate(networks[1], (X, Y), suite, "mine", **options)


def test_evaluate_runs_as_run_does() -> None:
    """Networks in memory have no shards: `merge` reads the suite of its output folder."""
    ran, evaluated = (inspect.signature(function).parameters for function in (gtn_bench.run, gtn_bench.evaluate))
    shared = {name: (each.default, each.annotation) for name, each in ran.items() if each.kind is each.KEYWORD_ONLY}
    del shared["shard"], shared["progress"]
    assert {name: (evaluated[name].default, evaluated[name].annotation) for name in shared} == shared


@pytest.mark.parametrize(
    "wrong, message",
    [
        (
            {"scheduler": "tcp"},
            "scheduler expects one of processes, local-cluster, or an address as tcp://host:8786, got",
        ),
        ({"cell_timeout": 0}, "cell_timeout expects a number of seconds above 0, got 0"),
        ({"cell_timeout": "1 s"}, "cell_timeout expects a number of seconds above 0, got '1 s'"),
        ({"workers": 0}, "workers expects at least one process, got 0"),
        ({"cell_timout": 1}, "evaluate has no parameter 'cell_timout'; did you mean 'cell_timeout'?"),
    ],
)
def test_wrong_options_of_the_run_are_refused(
    wrong: dict[str, Any], message: str, networks: list[nn.Sequential], options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as refused:
        gtn_bench.evaluate(networks[0], (X, Y), SUITE, "out", **{**options, **wrong})
    assert str(refused.value).startswith(message) and not Path("out").exists()


@pytest.mark.slow
def test_a_cell_that_exceeds_its_time_is_an_error(networks: list[nn.Sequential], options: dict[str, Any]) -> None:
    class Slow(nn.Module):
        """A network whose gradient takes its time."""

        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            if len(x) == 7 and torch.is_grad_enabled():
                time.sleep(60)
            return self.network(x)

    slow = {"name": "fgsm", "steps": 1, "samples": 7, "beta": [0.1]}
    suite = {"checks": "none", "perturbations": [slow, {"name": "noise", "beta": [0.1]}]}
    with pytest.warns(RuntimeWarning, match="1 of 2 cells failed"):
        results = gtn_bench.evaluate(Slow(networks[0]), (X, Y), suite, cell_timeout=2, **options)
    assert results.summary.set_index("perturbation")["status"].to_dict() == {"fgsm": "error", "noise": "done"}


@pytest.mark.slow
def test_changed_files_are_replaced_if_that_is_accepted(networks: list[nn.Sequential], options: dict[str, Any]) -> None:
    suite = {"perturbations": [{"name": "noise", "beta": [0]}]}
    folder = gtn_bench.evaluate(networks[0], (X, Y), suite, "mine", **options).folder
    for name in ("report.md", "summary.csv"):
        before = (folder / name).read_bytes()
        (folder / name).write_text("mine")
        with pytest.raises(ConfigError, match=rf"mine holds files that changed after they had been written: {name}"):
            gtn_bench.evaluate(networks[0], (X, Y), suite, "mine", **options)
        gtn_bench.evaluate(networks[0], (X, Y), suite, "mine", accept_changes=True, **options)
        assert len((folder / name).read_bytes()) == pytest.approx(len(before), rel=0.2)


@pytest.mark.slow
def test_a_reopened_run_has_the_same_tables(networks: list[nn.Sequential], options: dict[str, Any]) -> None:
    results = gtn_bench.evaluate(networks[0], (X, Y), SUITE, **options)
    assert gtn_bench.open(results.folder).curves.equals(results.curves)


@pytest.mark.slow
def test_color_images_of_five_classes_in_nhwc(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, 40)
    x = rng.integers(0, 255, (40, 12, 10, 3)).astype(np.uint8)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    results = gtn_bench.evaluate(network, (x, y), SUITE, classes=["a", "b", "c", "d", "e"], **options)
    expected = network(torch.from_numpy(x).permute(0, 3, 1, 2) / 255).argmax(1).numpy()
    assert results.summary["clean_accuracy"].iloc[0] == pytest.approx((expected == y).mean())
    assert results.provenance["classes"] == ["a", "b", "c", "d", "e"]


class AlwaysOn(nn.Module):
    """Dropout that ignores evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.3, training=True)


def broken(layer: nn.Linear) -> nn.Linear:
    """Return a layer with a weight that is not a number."""
    with torch.no_grad():
        layer.weight[0, 0] = float("nan")
    return layer


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "probabilities": ({"models": nn.Sequential(trained(0), nn.Softmax(1))}, "The outputs are probabilities"),
    "too many outputs": ({"models": trained(0, outputs=12)}, "returns 12 outputs for 10 classes"),
    "a random network": (
        {"models": nn.Sequential(trained(0), AlwaysOn())},
        "The network is random",
    ),
    "a class": ({"models": nn.Linear}, "pass an instance of the class"),
    "no network": ({"models": 3}, "expects a torch.nn.Module or a function from images to logits, got 3"),
    "no networks": ({"models": {}}, "evaluate expects at least one model"),
    "an invalid label": ({"models": {"my model": trained(0)}}, "model 'my model'"),
    "mean alone": ({"mean": 0.5}, "evaluate expects both mean and std, or neither; got mean alone"),
    "an unknown suite": ({"suite": "quik"}, "unknown suite 'quik'; did you mean 'quick'?"),
    "an unknown perturbation": (
        {"suite": {"perturbations": [{"name": "fgms", "beta": [0.1]}]}},
        "perturbations[0].name: unknown perturbation 'fgms'; did you mean 'fgsm'?",
    ),
    "a radius in levels": (
        {"suite": {"perturbations": [{"name": "pgd", "beta": [8]}]}},
        "did you mean 8/255?",
    ),
    "a target that is no class": ({"target": 12}, "12"),
    "an unknown target": ({"target": "nxt"}, "target: expects one of untargeted, next, least-likely, random"),
    "a path in place of a network": ({"models": "a.pt"}, "got the path 'a.pt'; load its weights into a network"),
    "a state dict": ({"models": trained(0).state_dict()}, "got a state dict; load it into a network"),
    "few images of sorted data": (
        {"data": (X[Y.argsort()], Y.sort().values), "limit": 5},
        "the test images are sorted by class, and the first 5 are not of all classes",
    ),
    "weights that are not finite": (
        {"models": {"mine": nn.Sequential(nn.Flatten(), broken(nn.Linear(64, 10)))}},
        "model 'mine': the tensor '1.weight' holds numbers that are not finite",
    ),
    "a layout in lower case": (
        {"layout": "nchw"},
        "layout expects one of NCHW, NHWC, got 'nchw'; did you mean 'NCHW'?",
    ),
    "a target that no perturbation can have": (
        {"suite": {"perturbations": [{"name": "noise", "beta": [0.1]}]}, "target": 3},
        "target: no perturbation of the suite can have one",
    ),
    "an unknown device": ({"device": "tpu"}, "tpu"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_refused_in_words(
    arguments: dict[str, Any], message: str, networks: list[nn.Sequential], options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as error:
        gtn_bench.evaluate(
            **{"models": networks[0], "data": (X, Y), "suite": SUITE, **options, **arguments},  # type: ignore[arg-type]
        )
    assert message in str(error.value)
    assert not (Path.cwd() / "results").exists()


# The command line.


@pytest.fixture
def files(
    tmp_path: Path, networks: list[nn.Sequential], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Mapping[str, str]]:
    """Write weights, images, a suite and a plug-in to the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path / "cache"))
    for position, network in enumerate(networks):
        torch.save(network.state_dict(), tmp_path / f"{position}.pt")
    np.savez(tmp_path / "test.npz", images=X.numpy(), labels=Y.numpy())
    (tmp_path / "digits_models.py").write_text(
        "import gtn_bench\nfrom torch import nn\n\n\n@gtn_bench.architecture\ndef small(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, num_classes))\n"
    )
    (tmp_path / "two.yaml").write_text(
        "name: two\ndataset: digits\narchitectures: [linear]\nmodes: [vanilla]\nseeds: [0]\n"
        "perturbations: [{name: fgsm, steps: 1, beta: [0, 8/255]}]\n"
    )
    yield {"plugin": "digits_models.py"}
    sys.modules.pop("digits_models", None)
    ARCHITECTURES.pop("small", None)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["gtn-bench", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


MODEL = ("--plugin", "digits_models.py", "--architecture", "small", "--data", "test.npz")


@pytest.mark.slow
def test_evaluate_command(
    files: Mapping[str, str], networks: list[nn.Sequential], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    arguments = ("--weights", "a=0.pt", "--weights", "b=1.pt", "--weights", "b=2.pt", "--suite", "two.yaml")
    assert call(monkeypatch, "evaluate", *MODEL, *arguments, "--workers", "1", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    results = gtn_bench.open(printed["folder"])
    clean = results.summary.groupby(["mode", "seed"])["clean_accuracy"].first()
    expected = {("a", 0): networks[0], ("b", 0): networks[1], ("b", 1): networks[2]}
    for learner, network in expected.items():
        assert clean[learner] == pytest.approx(accuracy(network))


def test_doctor_command(files: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert call(monkeypatch, "doctor", *MODEL, "--weights", "0.pt", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["findings"] == []
    assert call(monkeypatch, "doctor", *MODEL, "--weights", "0.pt", "--num-classes", "12") == 2
    assert "does not fit architecture 'small'" in capsys.readouterr().err


@pytest.mark.slow
def test_relative_paths_of_a_suite_start_at_its_folder(
    files: Mapping[str, str],
    networks: list[nn.Sequential],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    """Overwriting a file changes the results."""
    text = (tmp_path / "two.yaml").read_text().replace("linear", "small")
    text = text.replace("digits", "{name: files, test: test.npz}")
    (tmp_path / "inner").mkdir()
    for name in ("test.npz", "0.pt", "1.pt"):
        (tmp_path / name).rename(tmp_path / "inner" / name)
    (tmp_path / "inner" / "mine.yaml").write_text(text.replace("vanilla", "{name: checkpoint, files: 0.pt}"))
    command = ("run", "inner/mine.yaml", "--plugin", "digits_models.py", "--workers", "1", "--json")
    for network in networks[:2]:
        torch.save(network.state_dict(), tmp_path / "inner" / "0.pt")
        assert call(monkeypatch, *command) == 0
        folder = json.loads(capsys.readouterr().out)["folder"]
        assert gtn_bench.open(folder).summary["clean_accuracy"].iloc[0] == pytest.approx(accuracy(network))


# Modes with architectures of their own.


@pytest.mark.slow
def test_checkpoints_of_different_architectures_and_normalizations_are_compared(
    files: Mapping[str, str], networks: list[nn.Sequential], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """One command compares them. The numbers equal those of the networks in memory."""
    other = trained(0, normalizes=True, width=16)
    torch.save(other.state_dict(), "other.pt")
    Path("digits_models.py").write_text(
        Path("digits_models.py").read_text() + "\n\n@gtn_bench.architecture\ndef narrow(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, num_classes))\n"
    )
    arguments = ["--plugin", "digits_models.py", "--data", "test.npz", "--weights", "a=0.pt", "--weights", "b=other.pt"]
    arguments += ["--architecture", "small", "--architecture", "b=narrow", "--mean", f"b={MEAN}", "--std", f"b={STD}"]
    try:
        assert call(monkeypatch, "evaluate", *arguments, "--suite", "two.yaml", "--workers", "1", "--json") == 0
        results = gtn_bench.open(json.loads(capsys.readouterr().out)["folder"])
        assert call(monkeypatch, "doctor", *arguments, "--json") == 0
    finally:
        ARCHITECTURES.pop("narrow", None)
    assert [model["findings"] for model in json.loads(capsys.readouterr().out)] == [[], []]
    assert set(results.summary["architecture"]) == {"model"}
    clean = results.summary.groupby("mode")["clean_accuracy"].first()
    assert clean["a"] == pytest.approx(accuracy(networks[0]))
    assert clean["b"] == pytest.approx(accuracy(other, (X - MEAN) / STD)) and clean["b"] > 0.8
    assert len(results.comparisons) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--architecture", "a=small"], "--architecture: expects one for the weights 'b': b=NAME"),
        (
            ["--architecture", "small", "--architecture", "c=linear"],
            "--architecture: no weights have the label 'c'; known: a, b",
        ),
        (
            ["--architecture", "small", "--architecture", "linear"],
            "--architecture: expects one value without a label, got 'small' and 'linear'",
        ),
        (
            ["--architecture", "small", "--mean", "b=0.5", "--mean", "b=0.4"],
            "--mean: expects one value for the weights 'b', got '0.5' and '0.4'",
        ),
        (
            ["--architecture", "small", "--mean", "b=0.5"],
            "--weights b: mode 'checkpoint' needs both mean and std, or neither: got mean without std",
        ),
        (
            ["--architecture", "a=small", "--architecture", "b=smal"],
            "--weights b.architecture: unknown architecture 'smal'; did you mean 'small'?",
        ),
        (["--architecture", "a=small", "--architecture", "b=linear"], "--weights b: "),
        (
            ["--architecture", "small", "--weights", "2.pt"],
            "--weights: expects LABEL=FILE for all files or for none, got '2.pt'",
        ),
        (
            ["--architecture", "small", "--weights", "=2.pt"],
            "--weights: expects FILE or LABEL=FILE, with a label of letters, digits and '._+-', got '=2.pt'",
        ),
        (
            ["--architecture", "picky"],
            "architecture 'picky' cannot be built for data set 'files', 10 classes of images (1, 8, 8): "
            "AssertionError: color only",
        ),
    ],
)
def test_options_of_one_mode_are_checked(
    files: Mapping[str, str],
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    Path("digits_models.py").write_text(
        Path("digits_models.py").read_text() + "\n\n@gtn_bench.architecture\ndef picky(in_channels):\n"
        "    assert in_channels == 3, 'color only'\n"
    )
    weights = ("--plugin", "digits_models.py", "--data", "test.npz", "--weights", "a=0.pt", "--weights", "b=1.pt")
    assert call(monkeypatch, "evaluate", *weights, *options, "--suite", "two.yaml") == 2
    ARCHITECTURES.pop("picky", None)
    (line,) = capsys.readouterr().err.replace("\n", " ").strip().split("error: ")[1:]
    assert message in " ".join(line.split())
