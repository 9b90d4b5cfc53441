"""What is wrong with files of distilled images, and with the fields of the mode."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.distilled import LOGITS, Colors, X, Y, Z
from PIL import Image
from torch import nn

from gtn_bench.config.description import build
from gtn_bench.config.errors import ConfigError
from gtn_bench.data.digits import Digits
from gtn_bench.modes.distilled import Distilled


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("executed",))


def steps(**changes: Any) -> list[tuple[Any, ...]]:
    step = {"images": Z, "labels": Y, "lr": torch.tensor([0.1])} | changes
    return [tuple(step.values())] * 2


SAVE = "torch.save({'images': images, 'labels': labels}, 'set.pt')"
NOT_DATA = f"is no file that PyTorch reads as data; where its code is: {SAVE}"
ZERO_TO_ONE = f"holds numbers from 0 to 1 with the mean {X.mean():.3g}"
LEVELS = f"holds numbers from 0 to 255 with the mean {255 * X.mean():.3g}"
NORMALIZED = f"holds numbers from {Z.min():.3g} to {Z.max():.3g} with the mean {Z.mean():.3g}"
# Content of the file, fields of the mode, message.
REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    # Containers
    (
        {"images": Malicious(), "labels": 0},
        {},
        f"FILE holds 'print', which is no tensor; where its code is: {SAVE}",
    ),
    (
        nn.Linear(2, 2),
        {},
        f"FILE holds 'torch.nn.modules.linear.Linear', which is no tensor; where its code is: {SAVE}",
    ),
    (pickle.dumps({"images": 1}), {}, f"FILE {NOT_DATA}"),
    (b"text", {}, f"FILE is no file of tensors, or is damaged; where its code is: {SAVE}"),
    ("text", {}, f"FILE holds str, expected images and labels: {SAVE}"),
    (3, {}, f"FILE holds int, expected images and labels: {SAVE}"),
    ([], {}, "FILE holds an empty list"),
    ({"a": Z, "labels": Y}, {}, "FILE has the keys 'a', 'labels', expected 'images' and 'labels'"),
    (
        nn.Linear(2, 2).state_dict(),
        {},
        "FILE has the keys 'weight', 'bias', expected 'images' and 'labels'; the weights of a network are the mode "
        "'checkpoint'",
    ),
    ([[Z, Y], [Z, Y, torch.tensor(0.1)]], {}, f"FILE holds a list of mixed items, expected images and labels: {SAVE}"),
    ({"images": [Z, Z[:, :, 1:]], "labels": Y}, {}, "FILE holds images of several shapes in a list"),
    ({"images": Z, "labels": "cat"}, {}, "FILE holds str as labels, expected a tensor"),
    (
        [Z.to_sparse(), Y],
        {},
        f"FILE holds images as a tensor of an unusual kind; where its code is: {SAVE}",
    ),
    # Images
    ([torch.rand(0, 1, 8, 8), Y[:0]], {}, "FILE holds no images"),
    (
        [torch.rand(5, 3, 8, 8), Y[:5]],
        {},
        "FILE holds images of shape (5, 3, 8, 8), the data set needs (N, 1, 8, 8)",
    ),
    ([Z.flatten(1), Y], {}, "FILE holds images of shape (20, 64), the data set needs (N, 1, 8, 8)"),
    ([Z / 0, Y], {}, "FILE holds images with 1280 of 1280 values that are not finite"),
    # Labels
    (
        Z,
        {},
        "FILE holds images without labels; name their file, as in 'labels: labels.pt', or say 'images_per_class: 2' "
        "if the images are sorted by class",
    ),
    (Z, {"images_per_class": 3}, "FILE holds 20 images, 'images_per_class: 3' needs 30 for 10 classes"),
    ([Z, Y], {"images_per_class": 2}, "FILE holds labels, so that 'images_per_class' has no effect; leave it out"),
    ([Z, Y], {"labels": "same"}, "FILE holds labels itself; leave 'labels' out"),
    ([Z, Y[:4]], {}, "FILE holds labels of shape (4,), expected (20,) classes or (20, 10) numbers"),
    ([Z, LOGITS[:, :9]], {}, "FILE holds labels of shape (20, 9), expected (20,) classes or (20, 10) numbers"),
    ([Z, Y + 1], {}, "FILE holds classes from 1 to 10, expected 0 to 9"),
    ([Z, Y - 0.5], {}, "FILE holds one label per image that is no class, such as -0.5"),
    ([Z, LOGITS / 0], {}, "FILE holds labels that are not finite"),
    (
        [Z, torch.arange(200).view(20, 10) / 10 - 5],
        {},
        "FILE holds labels that are no probabilities: from -5 to 14.9, with sums from -45.5 to 144; say 'soften: true' "
        "if they are logits, 'loss: mse' if they are targets of a regression, or 'soften: false' to use them as they "
        "are",
    ),
    ([Z, LOGITS.softmax(1)], {"soften": True}, "FILE holds labels that are probabilities already; leave 'soften' out"),
    ([Z, Y], {"soften": True}, "FILE holds classes, and 'soften' applies to one number per class; leave it out"),
    ([Z, Y], {"soften": False}, "FILE holds classes, and 'soften' applies to one number per class; leave it out"),
    # Runs, steps and rates
    ([Z, Y], {"run": 0}, "FILE holds one set of images, and 'run' selects one of several; leave 'run' out"),
    ({"data": [[Z, Y], [Z, Y]]}, {"run": 3}, "FILE holds 2 sets of images, 'run' is one from 0 to 1"),
    (steps(), {"run": 0}, "FILE holds one set of images, and 'run' selects one of several; leave 'run' out"),
    (steps(), {"lr": 0.1}, "FILE holds learning rates, so that 'lr' has no effect; leave 'lr' out"),
    *(
        (
            steps(),
            {field: value},
            "FILE holds 2 training steps, each with its images and learning rate, so that "
            f"'{field}' has no effect; leave it out",
        )
        for field, value in {"batch_size": 10, "epochs": 3, "lr_drop": 0.5}.items()
    ),
    (steps(lr=torch.rand(3)), {}, "FILE holds training steps with several learning rates each, expected one"),
    (steps(lr=torch.tensor([-0.1])), {}, "FILE holds the learning rates -0.1, expected positive numbers"),
    (
        {"images": Z, "labels": Y, "lr": 0.1},
        {"lr_file": "same"},
        "FILE holds learning rates itself; leave 'lr_file' out",
    ),
    ([Z, Y], {"lr_file": "same"}, "FILE holds learning rates of several shapes in a list"),
    # Units
    (
        [X, Y],
        {},
        f"FILE {ZERO_TO_ONE}, which are not 'normalized'; did you mean 'units: pixel'?",
    ),
    (
        [X * 255, Y],
        {"units": "pixel"},
        f"FILE {LEVELS}, which are not 'pixel'; did you mean 'units: levels'?",
    ),
    (
        [X * 255, Y],
        {},
        f"FILE {LEVELS}, which are not 'normalized'; did you mean 'units: levels'?",
    ),
    (
        [Z, Y],
        {"units": "pixel"},
        f"FILE {NORMALIZED}, which are not 'pixel'; did you mean 'units: normalized'?",
    ),
    (
        [X, Y],
        {"units": "levels"},
        f"FILE {ZERO_TO_ONE}, which are not 'levels'; did you mean 'units: pixel'?",
    ),
    (
        [X, Y],
        {"units": "zca"},
        f"FILE {ZERO_TO_ONE}, which are not 'zca'; did you mean 'units: pixel'?",
    ),
    (
        [(X * 255).byte(), Y],
        {"units": "normalized"},
        "FILE holds integers from 0 to 255, and 'units: normalized' needs other numbers; did you mean 'units: levels'?",
    ),
    ([(X * 300).int(), Y], {}, "FILE holds integers from 0 to 300 as images, expected levels from 0 to 255"),
    (
        [(X * 255).byte(), Y],
        {"std": [0.2]},
        "FILE holds integers, which are levels from 0 to 255; leave 'mean' and 'std' out",
    ),
    (
        [255 * X, LOGITS],
        {},
        f"FILE holds labels that are no probabilities: from {LOGITS.min():.3g} to {LOGITS.max():.3g}, with sums "
        f"from {LOGITS.sum(1).min():.3g} to {LOGITS.sum(1).max():.3g}; say 'soften: true' if they are logits, "
        "'loss: mse' if they are targets of a regression, or 'soften: false' to use them as they are\n"
        f"FILE {LEVELS}, which are not 'normalized'; did you mean 'units: levels'?",
    ),
    ([Z, Y], {"mean": [0.1, 0.2]}, "'mean' expects one number per channel, 1, got 2"),
    ([Z, Y], {"std": [0.1, 0.2]}, "'std' expects one number per channel, 1, got 2"),
]


@pytest.mark.parametrize(("content", "fields", "message"), REFUSED, ids=[message[:60] for *_, message in REFUSED])
def test_files_that_do_not_fit_are_refused_in_one_line_and_not_executed(
    content: Any, fields: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "set.pt"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    fields = {key: str(file) if value == "same" else value for key, value in fields.items()}
    with pytest.raises(ConfigError) as caught:
        build(Distilled, {"file": str(file), **fields}, "").check(Digits(), None)
    assert str(caught.value) == message.replace("FILE", str(file))
    assert "executed" not in capsys.readouterr().out


SET = "set.pt"  # made by the test
FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"file": "nothing.pt"}, "file: nothing.pt: no such file in FOLDER"),
    (
        {"file": f"{SET}#sha256={'0' * 64}"},
        f"file: expects the sha256 {'0' * 64} of set.pt, got CHECKSUM",
    ),
    (
        {"file": SET, "sha256": "0" * 64},
        "'sha256' is now written behind the path: 'file: set.pt#sha256=<64 hexadecimal digits>'",
    ),
    ({"file": SET, "labels": "."}, "labels: .: expects a file, got a folder"),
    (
        {"file": SET, "units": "pixels"},
        "units: 'distilled' expects one of normalized, pixel, levels, zca, got 'pixels'; did you mean 'pixel'?",
    ),
    (
        {"file": SET, "augment": "all"},
        "augment: expects 'dsa' or a list of color, crop, cutout, flip, scale, rotate, got "
        "'all'; did you mean 'scale'?",
    ),
    (
        {"file": SET, "augment": ["crop", "rotat"]},
        "augment: expects 'dsa' or a list of color, crop, cutout, flip, scale, "
        "rotate, got 'rotat'; did you mean 'rotate'?",
    ),
    ({"file": SET, "std": [0.0]}, "std[0]: 'distilled' expects a number greater than 0, got 0.0"),
    ({"file": SET, "lr_drop": 1.0}, "lr_drop: 'distilled' expects a number less than 1, got 1.0"),
    ({"file": SET, "steps": 2, "epochs": 3}, "'distilled' takes epochs or steps, not both: got 3 and 2"),
    (
        {"file": SET, "loss": "kl", "soften": False},
        "'loss: kl' needs probabilities, or logits and 'soften: true'; leave 'soften: false' out",
    ),
    (
        {"file": SET, "units": "pixel", "std": [0.2]},
        "'distilled' does not use 'std': images in 'units: pixel' are not normalized; leave it out",
    ),
    (
        {"file": SET, "units": "zca", "mean": [0.2]},
        "'distilled' does not use 'mean': the whitening subtracts the mean of the training images; leave it out",
    ),
    (
        {"file": SET, "zca_epsilon": 0.2},
        "'distilled' does not use 'zca_epsilon': only images in 'units: zca' are whitened; leave it out",
    ),
    (
        {"file": SET, "loss": "mse", "soften": True},
        "'distilled' does not use 'soften': 'loss: mse' compares logits with labels as they are; leave it out",
    ),
    (
        {"file": SET, "loss": "mse", "temperature": 2.0},
        "'distilled' does not use 'temperature': 'loss: mse' compares logits with labels as they are; leave it out",
    ),
    (
        {"file": SET, "labels": SET, "images_per_class": 2},
        "'distilled' does not use 'images_per_class': 'labels' names a file with the classes; leave it out",
    ),
    (
        {"file": SET, "lr_file": SET, "lr": 0.2},
        "'distilled' does not use 'lr': 'lr_file' names a file with the learning rates; leave it out",
    ),
]


@pytest.mark.parametrize(("fields", "message"), FIELDS, ids=[message[:60] for _, message in FIELDS])
def test_fields_that_do_not_fit_are_refused_in_one_line(
    fields: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GTN_BENCH_DATA", raising=False)
    torch.save([Z, Y], SET)
    checksum = Distilled(file=SET).file.sha256
    with pytest.raises(ConfigError) as caught:
        build(Distilled, fields, "")
    assert str(caught.value) == message.replace("FOLDER", str(tmp_path)).replace("CHECKSUM", checksum)


def test_a_whitening_of_large_images_is_refused(tmp_path: Path) -> None:
    class Large(Colors):
        name = "large"
        input_shape = (3, 65, 65)

    torch.save([Z, Y], tmp_path / SET)
    with pytest.raises(
        ConfigError, match="'units: zca' whitens images of at most 12288 values, data set 'large' has 12675"
    ):
        Distilled(file=tmp_path / SET, units="zca").check(Large(), None)


def test_a_folder_of_other_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set" / "one").mkdir(parents=True)
    Image.new("RGB", (6, 4)).save(tmp_path / "set" / "one" / "0.png")
    with pytest.raises(ConfigError, match=r"set has 1 folders of classes, data set 'colors' has 4"):
        Distilled(file=tmp_path / "set").check(Colors(), None)
