"""Files of distilled images as published code writes them, and what is wrong with others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.distilled import LOGITS, Colors, X, Y, Z
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import gtn_bench
from gtn_bench.config.description import build
from gtn_bench.data.base import Dataset
from gtn_bench.data.digits import Digits
from gtn_bench.modes.distillation.sets import DistilledSet, File, read
from gtn_bench.modes.distilled import Distilled


def load(path: Path, dataset: Dataset | None = None, **options: Any) -> DistilledSet:
    defaults = {"run": None, "images_per_class": None, "soften": None, "any_numbers": False, "temperature": 1.0}
    files = [File(options.pop(key), key) if key in options else None for key in ("labels", "rates")]
    return read(File(path, "set"), *files, dataset or Digits(), **defaults | options)


# What each project writes: its call, the options with which it is read, and the targets.
Save = Callable[[Path], Any]
ONE_HOT = torch.eye(10)[Y]
accuracies = {"ConvNet": [np.float64(0.9), np.float32(0.5), np.int64(3)], "MLP": []}
WRITTEN: dict[str, tuple[Save, dict[str, Any], Tensor]] = {
    "DC, DSA and DM": (lambda p: torch.save({"data": [[Z, Y]], "accs_all_exps": accuracies}, p), {}, ONE_HOT),
    "the second of several runs": (
        lambda p: torch.save({"data": [[Z * 0, Y], [Z, Y]], "accs_all_exps": accuracies}, p),
        {"run": 1},
        ONE_HOT,
    ),
    "the first of several runs": (
        lambda p: torch.save({"data": [[Z, Y], [Z * 0, Y]], "accs_all_exps": {}}, p),
        {},
        ONE_HOT,
    ),
    "IDC": (lambda p: torch.save([Z.detach().cpu(), Y.cpu()], p), {}, ONE_HOT),
    "a tuple": (lambda p: torch.save((Z, Y), p), {}, ONE_HOT),
    "probabilities": (lambda p: torch.save({"x": Z, "y": LOGITS.softmax(1)}, p), {}, LOGITS.softmax(1)),
    "logits": (lambda p: torch.save({"image_syn": Z, "label_syn": LOGITS}, p), {"soften": True}, LOGITS.softmax(1)),
    "logits at a temperature": (
        lambda p: torch.save([Z, LOGITS], p),
        {"soften": True, "temperature": 4.0},
        (LOGITS / 4).softmax(1),
    ),
    "numbers as they are": (
        lambda p: torch.save([Z, LOGITS], p),
        {"soften": False, "any_numbers": True},
        LOGITS,
    ),
    "one-hot integers": (lambda p: torch.save([Z, torch.eye(10).long()[Y]], p), {}, ONE_HOT),
    "one-hot booleans": (lambda p: torch.save([Z, torch.eye(10).bool()[Y]], p), {}, ONE_HOT),
    "labels (N, 1)": (lambda p: torch.save([Z, Y.view(-1, 1)], p), {}, ONE_HOT),
    "classes as floats": (lambda p: torch.save([Z, Y.float()], p), {}, ONE_HOT),
    "classes as floats (N, 1)": (lambda p: torch.save([Z, Y.double().view(-1, 1)], p), {}, ONE_HOT),
    "classes as bytes": (lambda p: torch.save([Z, Y.byte()], p), {}, ONE_HOT),
    "classes in a list": (lambda p: torch.save({"images": Z, "labels": Y.tolist()}, p), {}, ONE_HOT),
    "a list of images": (lambda p: torch.save({"images": list(Z), "labels": list(Y)}, p), {}, ONE_HOT),
    "a list of batches": (lambda p: torch.save([list(Z.split(7)), list(Y.split(7))], p), {}, ONE_HOT),
    "parameters": (lambda p: torch.save({"images": nn.Parameter(Z), "labels": Y}, p), {}, ONE_HOT),
    "results of operations": (lambda p: torch.save([(Z.clone().requires_grad_() * 1), Y], p), {}, ONE_HOT),
    "arrays of NumPy": (lambda p: torch.save({"images": Z.numpy(), "labels": Y.numpy()}, p), {}, ONE_HOT),
    "half precision": (lambda p: torch.save([Z.half(), Y], p), {}, ONE_HOT),
    "double precision": (lambda p: torch.save([Z.double(), Y], p), {}, ONE_HOT),
    "channels last": (lambda p: torch.save([Z.permute(0, 2, 3, 1), Y], p), {}, ONE_HOT),
    "no channels": (lambda p: torch.save([Z[:, 0], Y], p), {}, ONE_HOT),
    "the format of PyTorch before 1.6": (
        lambda p: torch.save([Z, Y], p, _use_new_zipfile_serialization=False),
        {},
        ONE_HOT,
    ),
    "images alone": (lambda p: torch.save(Z, p), {"images_per_class": 2}, ONE_HOT),
    "images alone in a mapping": (lambda p: torch.save({"data": Z}, p), {"images_per_class": 2}, ONE_HOT),
}


@pytest.mark.parametrize("project", WRITTEN)
def test_what_published_code_writes_is_read(project: str, tmp_path: Path) -> None:
    save, options, targets = WRITTEN[project]
    save(tmp_path / "set.pt")
    found = load(tmp_path / "set.pt", **options)
    assert not found.in_steps and found.rates is None
    ((images, labels),) = found.sets
    assert not images.requires_grad and images.dtype == labels.dtype == torch.float32
    assert torch.allclose(images, Z, atol=2e-3 if "half" in project else 1e-6)
    assert torch.allclose(labels, targets, atol=1e-6)


def test_tensors_of_a_gpu_are_read_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    torch.save({"data": [[Z, Y]], "accs_all_exps": {}}, tmp_path / "set.pt")
    assert b"cuda:0" in (tmp_path / "set.pt").read_bytes()
    assert torch.equal(load(tmp_path / "set.pt").images, Z)


def test_trajectory_matching_writes_images_labels_and_rate_to_separate_files(tmp_path: Path) -> None:
    torch.save(Z, tmp_path / "images_best.pt")
    torch.save(Y, tmp_path / "labels_best.pt")
    torch.save(torch.tensor(0.02, requires_grad=True), tmp_path / "lr_best.pt")
    names = {"labels": tmp_path / "labels_best.pt", "rates": tmp_path / "lr_best.pt"}
    found = load(tmp_path / "images_best.pt", **names)
    assert torch.equal(found.images, Z) and torch.equal(found.sets[0][1], ONE_HOT)
    assert found.rates is not None and found.rates.tolist() == pytest.approx([0.02])
    torch.save(LOGITS.requires_grad_(), tmp_path / "labels_best.pt")  # DATM learns logits
    found = load(tmp_path / "images_best.pt", **names, soften=True)
    assert torch.allclose(found.sets[0][1], LOGITS.detach().softmax(1))


@pytest.mark.parametrize("rates", [0.02, np.float64(0.02), [0.02], torch.tensor([[0.02]]), {"lr": torch.tensor(0.02)}])
def test_a_learning_rate_is_read_in_any_form(rates: Any, tmp_path: Path) -> None:
    torch.save([Z, Y], tmp_path / "set.pt")
    torch.save(rates, tmp_path / "lr.pt")
    found = load(tmp_path / "set.pt", rates=tmp_path / "lr.pt").rates
    assert found is not None and found.shape == (1,) and found.item() == pytest.approx(0.02)


def test_dataset_distillation_writes_steps_of_images_labels_and_rate(tmp_path: Path) -> None:
    raw = torch.tensor([[0.1], [0.2], [0.3]], requires_grad=True)
    rates = torch.nn.functional.softplus(raw).unbind()
    steps = [(Z[:10].detach().cpu(), Y[:10], rates[0]), (Z[10:], Y[10:], rates[1]), (Z[:10], Y[:10], rates[2])]
    torch.save(steps, tmp_path / "results.pth")
    found = load(tmp_path / "results.pth")
    assert found.in_steps and len(found.sets) == 3
    for (images, labels), (x, y, _) in zip(found.sets, steps, strict=True):
        assert torch.equal(images, x) and torch.equal(labels.argmax(1), y)
    assert found.rates is not None and torch.allclose(found.rates.float(), torch.cat(rates).detach())
    soft = [(x, LOGITS[: len(x)], rate) for x, _, rate in steps]  # soft-label distillation learns any numbers
    torch.save(soft, tmp_path / "results.pth")
    found = load(tmp_path / "results.pth", soften=False, any_numbers=True)
    assert torch.equal(found.sets[0][1], LOGITS[:10])


@pytest.mark.parametrize("names", [("image", "label"), ("images", "labels")], ids=["FRePo", "KIP"])
def test_kernel_methods_write_numpy_archives_with_channels_last(names: tuple[str, str], tmp_path: Path) -> None:
    x = torch.randn(8, 3, 4, 6)
    y = torch.eye(4).repeat(2, 1) - 0.25
    np.savez(tmp_path / "set.npz", **dict(zip(names, (x.permute(0, 2, 3, 1).numpy(), y.numpy()), strict=True)))
    found = load(tmp_path / "set.npz", Colors(), any_numbers=True)
    assert torch.equal(found.images, x) and torch.equal(found.sets[0][1], y)


def test_arrays_of_numpy_and_safetensors_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", Z.numpy())
    for kind in (np.uint8, np.uint16, np.int32, np.uint64, ">i4"):
        np.save(tmp_path / "labels.npy", Y.numpy().astype(kind))
        found = load(tmp_path / "images.npy", labels=tmp_path / "labels.npy")
        assert torch.equal(found.images, Z) and torch.equal(found.sets[0][1], ONE_HOT)
    save_file({"images": Z, "labels": Y}, tmp_path / "set.safetensors")
    assert torch.equal(load(tmp_path / "set.safetensors").images, Z)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["00000", "00001", "00002", "00003"], [0, 1, 2, 3]),  # RDED
        (["new000", "new001", "new002", "new003"], [0, 1, 2, 3]),  # SRe2L
        (["red", "green", "blue", "gray"], [0, 1, 2, 3]),  # names of the data set, in its order
        (["a", "d", "c", "b"], [0, 3, 2, 1]),
        (["2", "10", "1", "11"], [1, 2, 0, 3]),
    ],
)
def test_a_folder_of_images_is_read(names: list[str], order: list[int], tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (4, 2, 4, 6, 3), dtype=np.uint8)
    for label, name in enumerate(names):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(levels[label, number]).save(tmp_path / "set" / name / f"class{label}_id{number}.png")
    ((images, labels),) = load(tmp_path / "set", Colors()).sets
    assert images.shape == (8, 3, 4, 6) and not images.is_floating_point()
    for label, number in np.ndindex(4, 2):
        place = torch.nonzero((images == torch.from_numpy(levels[label, number]).permute(2, 0, 1)).all((1, 2, 3)))
        assert int(labels[place.item()].argmax()) == order[label]
    Distilled(file=tmp_path / "set").check(Colors(), None)


def test_the_key_covers_the_content_of_the_files_and_not_their_paths(tmp_path: Path) -> None:
    for folder, images in {"a": Z, "b": Z, "c": Z + 1e-3}.items():
        (tmp_path / folder).mkdir()
        torch.save(images, tmp_path / folder / "images_best.pt")
        torch.save(Y, tmp_path / folder / "labels_best.pt")
    one, same, other = (
        Distilled(file=tmp_path / folder / "images_best.pt", labels=tmp_path / folder / "labels_best.pt").content()
        for folder in ("a", "b", "c")
    )
    assert one == same and one != other and str(tmp_path) not in str(one)


@pytest.mark.parametrize("kind", ["images", "steps", "rates", "levels", "epochs"])
def test_a_resolved_description_says_how_it_trains_and_has_the_same_key(kind: str, tmp_path: Path) -> None:
    steps = [(Z, Y, torch.tensor([0.1]))] * 3
    images = (X * 255).byte() if kind == "levels" else Z
    torch.save(steps if kind == "steps" else [images, Y], tmp_path / "set.pt")
    torch.save(torch.tensor(0.1), tmp_path / "lr.pt")
    fields: dict[str, Any] = {"rates": {"lr_file": str(tmp_path / "lr.pt")}, "epochs": {"epochs": 3}}.get(kind, {})
    mode = build(Distilled, {"file": str(tmp_path / "set.pt"), **fields}, "")
    written = mode.identity()
    condensation = {"steps": 1000, "batch_size": 256, "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
    expected = {
        "images": condensation,
        "levels": condensation,
        "rates": condensation | {"lr": None},
        "epochs": condensation | {"steps": None, "epochs": 3},
        "steps": {"steps": 3, "batch_size": None, "lr": None, "momentum": 0.0, "weight_decay": 0.0},
    }[kind]
    expected |= {"units": "levels" if kind == "levels" else "normalized"}
    assert {key: written[key] for key in expected} == expected
    again = build(Distilled, {key: value for key, value in written.items() if key != "name"}, "")
    assert again.content() == mode.content() and again == mode
    again.check(Digits(), None)


def test_relative_paths_start_at_the_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "study").mkdir()
    torch.save({"images": Z, "labels": Y}, tmp_path / "study" / "set.pt")
    (tmp_path / "study" / "suite.yaml").write_text(
        "{name: x, dataset: digits, architectures: [linear], seeds: [0], modes: [{name: distilled, file: set.pt}], "
        "perturbations: [{name: fgsm, steps: 1, beta: [0.1]}]}"
    )
    monkeypatch.chdir(tmp_path)
    plan = gtn_bench.plan(gtn_bench.load("study/suite.yaml"))
    mode = plan.cells[0].learner.mode
    assert isinstance(mode, Distilled) and mode.file == Distilled(file=tmp_path / "study" / "set.pt").file
