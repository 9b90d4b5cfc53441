from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from gtn_bench.config.errors import ConfigError
from gtn_bench.data import DATASETS
from gtn_bench.data.digits import Digits
from gtn_bench.data.torchvision import TorchvisionDataset, data_folder

TORCHVISION = {name: cls for name, cls in DATASETS.items() if issubclass(cls, TorchvisionDataset)}


def test_digits_are_those_of_scikit_learn_each_in_one_split() -> None:
    splits = Digits()()
    assert tuple(len(split) for split in splits.values()) == Digits.sizes
    ours = [torch.cat([split[:][part] for split in splits.values()]).numpy() for part in (0, 1)]
    theirs = load_digits()
    pixels = ours[0].reshape(1797, 64) * 16
    order, expected = np.lexsort(pixels.T), np.lexsort(theirs.data.T)
    assert np.array_equal(pixels[order], theirs.data[expected])
    assert np.array_equal(ours[1][order], theirs.target[expected])


def test_digits_are_deterministic_and_in_the_unit_interval() -> None:
    one, two = Digits()(), Digits()()
    x, y = one["test"][:]
    assert torch.equal(x, two["test"][:][0]) and x.min() == 0 and x.max() == 1
    assert x.shape == (360, 1, 8, 8) and x.dtype == torch.float32 and y.dtype == torch.int64
    assert sorted(y.unique().tolist()) == list(range(10))


def test_mean_and_std_are_those_of_the_training_pixels() -> None:
    x, _ = Digits()()["train"][:]
    assert (x.mean().item(), x.std().item()) == pytest.approx((Digits.mean[0], Digits.std[0]), abs=1e-3)


def test_every_torchvision_data_set_reports_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision fails in its own way without files, then without a network."""
    import torchvision

    monkeypatch.setenv("GTN_BENCH_DATA", str(tmp_path))
    for name, dataset in TORCHVISION.items():
        real = getattr(torchvision.datasets, dataset.loader)

        def offline(root: str, download: bool, real: Callable[..., Any] = real, **options: Any) -> Any:
            if download:
                raise OSError("no network")
            return real(root, download=False, **options)

        monkeypatch.setattr(torchvision.datasets, dataset.loader, offline)
        expected = (
            rf"^data set '{name}' is not in {tmp_path} and could not be downloaded \(OSError\); .* GTN_BENCH_DATA"
        )
        with pytest.raises(ConfigError, match=expected):
            dataset()()


def test_data_folder_is_gtn_bench_data_or_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTN_BENCH_DATA", "/somewhere")
    assert data_folder() == Path("/somewhere")
    monkeypatch.delenv("GTN_BENCH_DATA")
    assert data_folder().name == "data"


class Fake:
    """A tiny stand-in for a class of torchvision.datasets, in the layout that torchvision returns."""

    shape: tuple[int, ...] = (28, 28)
    targets_kind = "tensor"

    def __init__(self, root: str, download: bool, **options: object) -> None:
        train = options.get("train", options.get("what") == "train")
        count = 12 if train else 5
        values = np.random.default_rng(int(bool(train))).integers(0, 256, (count, *self.shape), dtype=np.uint8)
        self.data = torch.from_numpy(values) if self.targets_kind == "tensor" else values
        labels = [index % 10 for index in range(count)]
        self.targets = {"tensor": torch.tensor(labels), "list": labels, "rows": torch.tensor([[v, 7] for v in labels])}[
            self.targets_kind if self.targets_kind != "tensor" or len(self.shape) == 2 else "list"
        ]


KINDS = {"cifar10": ((32, 32, 3), "list"), "usps": ((16, 16), "list"), "qmnist": ((28, 28), "rows")}


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_layouts_become_images_in_the_unit_interval(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    dataset = TORCHVISION[name]
    shape, kind = KINDS.get(name, ((28, 28), "tensor"))
    monkeypatch.setattr(dataset, "sizes", (8, 4, 5))
    fake = type("FakeData", (Fake,), {"shape": shape, "targets_kind": kind})
    monkeypatch.setattr(torchvision.datasets, dataset.loader, fake)
    splits = dataset()()
    x, y = splits["train"][:]
    assert x.shape == (8, *dataset.input_shape) and 0 <= x.min() < x.max() <= 1
    assert y.tolist() == list(range(8)) and len(splits["validation"]) == 4 and len(splits["test"]) == 5
    first = torch.as_tensor(fake("", False, train=True, what="train").data[0]).float() / 255
    image = x[0].permute(1, 2, 0).squeeze(2) if len(shape) == 3 else x[0, 0]
    assert torch.equal(image, first.T if name == "emnist-digits" else first)
