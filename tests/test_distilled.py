from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gtn_bench.config.errors import ConfigError
from gtn_bench.data.digits import Digits
from gtn_bench.models import ARCHITECTURES
from gtn_bench.modes.distilled import Distilled
from gtn_bench.modes.distilled_files import read


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    """Return twenty real digits of each class in place of distilled images."""
    x, y = Digits()()["train"][:]
    chosen = torch.cat([torch.nonzero(y == label)[:20, 0] for label in range(10)])
    return x[chosen], y[chosen]


def normalized(x: Tensor) -> Tensor:
    return (x - Digits.mean[0]) / Digits.std[0]


SHAPES: dict[str, Any] = {
    "mapping": lambda x, y: {"images": x, "labels": y},
    "pair": lambda x, y: [x, y],
    "x and y": lambda x, y: {"x": x, "y": y},
    "condensation": lambda x, y: {"data": [[x * 0, y], [x, y]], "accs_all_exps": {}},
    "without channels": lambda x, y: {"images": x[:, 0], "labels": y},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_published_formats_are_read(shape: str, images: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    x, y = images
    torch.save(SHAPES[shape](normalized(x), y), tmp_path / "set.pt")
    found, labels = read(tmp_path / "set.pt", Digits(), normalized=True, soften=False, run=1)
    assert torch.allclose(found, x, atol=1e-6) and torch.equal(labels.argmax(1), y) and labels.shape == (200, 10)


def test_soft_labels_and_logits_are_read_from_numpy_archives(images: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    x, _ = images
    logits = torch.randn(200, 10)
    for name, labels in {"logits": logits, "probabilities": logits.softmax(1)}.items():
        np.savez(tmp_path / f"{name}.npz", images=x.numpy(), labels=labels.numpy())
        found, soft = read(tmp_path / f"{name}.npz", Digits(), normalized=False, soften=name == "logits", run=0)
        assert torch.equal(found, x) and torch.allclose(soft, logits.softmax(1), atol=1e-6)


def test_labels_of_any_integer_type_are_read(images: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    x, y = images
    for kind in (np.uint8, np.uint16, np.int32, np.uint64):
        np.savez(tmp_path / "set.npz", images=x.numpy(), labels=y.numpy().astype(kind))
        _, hard = read(tmp_path / "set.npz", Digits(), normalized=False, soften=False, run=0)
        assert torch.equal(hard.argmax(1), y)


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": torch.rand(5, 1, 8, 8)}, r"it has the keys \['images'\], expected 'images' and 'labels'"),
        (torch.rand(5, 1, 8, 8), "it is Tensor, expected a mapping or a pair"),
        ([torch.rand(5, 3, 8, 8), torch.zeros(5).long()], r"images of shape \(5, 3, 8, 8\), data set 'digits' needs"),
        ([torch.zeros(5, 1, 8, 8).byte(), torch.zeros(5).long()], "holds torch.uint8 images"),
        ([torch.rand(5, 1, 8, 8), torch.zeros(4).long()], r"torch.int64 labels of shape \(4,\), expected 5 integers"),
        ([torch.rand(5, 1, 8, 8), torch.full((5,), 10)], "has classes 10 to 10, expected 0 to 9"),
        ([torch.rand(5, 1, 8, 8), torch.randn(5, 10)], "labels that are no probabilities; if they are logits, say"),
        ([torch.rand(0, 1, 8, 8), torch.zeros(0).long()], "holds no distilled images: it is empty"),
        ([torch.full((5, 1, 8, 8), torch.nan), torch.zeros(5).long()], "holds images or labels that are not finite"),
        ({"data": [[torch.rand(5, 1, 8, 8), torch.zeros(5).long()]]}, "it has 1 runs, got run 3"),
        ([torch.tensor(0.5), torch.zeros(5).long()], "holds no distilled images: it holds a number"),
        ([torch.rand(5, 1, 8, 8).to_sparse(), torch.zeros(5).long()], "holds no distilled images: "),
        ({"images": Malicious(), "labels": 0}, "holds no distilled images: it is no file of tensors"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_invalid_files_raise_one_line_and_are_not_executed(
    content: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(content, tmp_path / "set.pt")
    with pytest.raises(ConfigError, match=message) as caught:
        Distilled(file=str(tmp_path / "set.pt"), run=3).check(Digits(), None)
    assert len(str(caught.value).splitlines()) == 1
    assert "executed" not in capsys.readouterr().out


def test_missing_changed_or_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mode 'distilled': nothing.pt: no such file"):
        Distilled(file="nothing.pt")
    (tmp_path / "set.pt").write_bytes(b"text")
    with pytest.raises(ValueError, match="expects the sha256 0000"):
        Distilled(file=str(tmp_path / "set.pt"), sha256="0" * 64)
    with pytest.raises(ConfigError, match="holds no distilled images"):
        Distilled(file=str(tmp_path / "set.pt")).check(Digits(), None)


def test_learners_from_distilled_images_are_deterministic_and_accurate(
    images: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    x, y = images
    torch.save({"images": normalized(x), "labels": y}, tmp_path / "set.pt")
    mode = Distilled(file=str(tmp_path / "set.pt"), steps=60, batch_size=50, lr=0.05)
    splits = Digits()()
    states = []
    for _ in range(2):
        network = ARCHITECTURES["linear"]()(Digits(), 0).train()
        states.append(mode(network, Digits(), splits["train"], None, seed=1))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    network.load_state_dict(states[0])
    test_x, test_y = splits["test"][:]
    assert (network.eval()(test_x).argmax(1) == test_y).float().mean() > 0.75
    assert mode.content()["sha256"] and "file" not in mode.content()
