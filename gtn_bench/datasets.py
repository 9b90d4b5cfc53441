"""Data sets: images in [0, 1], integer labels, fixed train / validation / test splits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import platformdirs

from gtn_bench.description import Description, Mistake

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class Split:
    """Images kept as bytes and handed out as floats: `split[index] -> x (N, C, H, W) in [0, 1], y (N,)`."""

    levels: Tensor  # (N, C, H, W) uint8, 0 .. white
    labels: Tensor  # (N,) int64
    white: int  # the level that means 1.0

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> tuple[Tensor, Tensor]:
        return self.levels[index].float() / self.white, self.labels[index]

    def to(self, device: torch.device | str) -> Split:
        return Split(self.levels.to(device), self.labels.to(device), self.white)


class Dataset(Description):
    """A labelled image classification task. Calling it loads the three splits.

    The class attributes are facts that a plan needs before anything is loaded: `input_shape` is
    (channels, height, width); `sizes` are those of the train, validation and test split; `mean`
    and `std` are those of the training pixels, one for each channel.
    """

    input_shape: ClassVar[tuple[int, int, int]]
    sizes: ClassVar[tuple[int, int, int]]
    num_classes: ClassVar[int] = 10
    mean: ClassVar[tuple[float, ...]]
    std: ClassVar[tuple[float, ...]]

    def __call__(self) -> dict[SplitName, Split]:
        raise NotImplementedError


class Digits(Dataset):
    """Handwritten digits, 1797 images of 8x8 in 17 grey levels; they come with the package.

    The test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, UCI,
    CC BY 4.0), as scikit-learn's `load_digits` has it; shuffled once, then split.
    """

    name = "digits"
    source = "https://archive.ics.uci.edu/dataset/80"
    input_shape = (1, 8, 8)
    sizes = (1197, 240, 360)
    mean, std = (0.3053,), (0.3761,)

    def __call__(self) -> dict[SplitName, Split]:
        import numpy as np
        import torch

        with np.load(Path(__file__).parent / "digits.npz") as digits:
            order = np.random.default_rng(0).permutation(len(digits["labels"]))
            levels = torch.from_numpy(digits["images"][order]).unsqueeze(1)
            labels = torch.from_numpy(digits["labels"][order]).long()
        return _split(levels, labels, self.sizes, white=16)


class TorchvisionDataset(Dataset):
    """A data set that torchvision knows, from `GTN_BENCH_DATA` or the cache, downloaded when missing."""

    loader: ClassVar[str]  # class in torchvision.datasets
    train_options: ClassVar[dict[str, Any]] = {"train": True}
    test_options: ClassVar[dict[str, Any]] = {"train": False}
    sizes = (50_000, 10_000, 10_000)  # validation: the last training images

    def __call__(self) -> dict[SplitName, Split]:
        import torch

        train = self._load(self.train_options)
        test = self._load(self.test_options)
        levels = torch.cat([train[0], test[0]])
        labels = torch.cat([train[1], test[1]])
        return _split(levels, labels, self.sizes, white=255)

    def _load(self, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
        import torch
        import torchvision

        folder = data_folder()
        load = getattr(torchvision.datasets, self.loader)
        try:
            data = load(str(folder), **options, download=False)
        except (RuntimeError, OSError):  # torchvision's ways of saying that the files are not there
            try:
                data = load(str(folder), **options, download=True)
            except Exception as error:
                raise Mistake(
                    f"data set '{self.name}' is not in {folder} and could not be downloaded "
                    f"({type(error).__name__}); put torchvision's files there, or set GTN_BENCH_DATA to their folder"
                ) from error
        levels = self._images(torch.as_tensor(data.data))
        return levels, torch.as_tensor(data.targets).reshape(len(levels), -1)[:, 0].long()

    def _images(self, data: Tensor) -> Tensor:
        """(N, H, W) or (N, H, W, C) bytes as (N, C, H, W)."""
        return data.unsqueeze(1) if data.ndim == 3 else data.permute(0, 3, 1, 2).contiguous()


class MNIST(TorchvisionDataset):
    """Handwritten digits, 70 000 images of 28x28."""

    name, loader = "mnist", "MNIST"
    source = "http://yann.lecun.com/exdb/mnist"
    input_shape = (1, 28, 28)
    mean, std = (0.1307,), (0.3081,)


class FashionMNIST(TorchvisionDataset):
    """Articles of clothing, 70 000 images of 28x28."""

    name, loader = "fashion-mnist", "FashionMNIST"
    source = "https://arxiv.org/abs/1708.07747"
    input_shape = (1, 28, 28)
    mean, std = (0.2860,), (0.3530,)


class KMNIST(TorchvisionDataset):
    """Cursive Japanese characters, 70 000 images of 28x28."""

    name, loader = "kmnist", "KMNIST"
    source = "https://arxiv.org/abs/1812.01718"
    input_shape = (1, 28, 28)
    mean, std = (0.1918,), (0.3483,)


class EMNISTDigits(TorchvisionDataset):
    """Handwritten digits of NIST's census, 280 000 images of 28x28."""

    name, loader = "emnist-digits", "EMNIST"
    source = "https://arxiv.org/abs/1702.05373"
    input_shape = (1, 28, 28)
    sizes = (230_000, 10_000, 40_000)
    mean, std = (0.1733,), (0.3317,)
    train_options: ClassVar[dict[str, Any]] = {"split": "digits", "train": True}
    test_options: ClassVar[dict[str, Any]] = {"split": "digits", "train": False}

    def _images(self, data: Tensor) -> Tensor:
        return super()._images(data).transpose(2, 3).contiguous()  # its files hold columns first


class QMNIST(TorchvisionDataset):
    """MNIST rebuilt, with all 60 000 test images."""

    name, loader = "qmnist", "QMNIST"
    source = "https://arxiv.org/abs/1905.10498"
    input_shape = (1, 28, 28)
    sizes = (50_000, 10_000, 60_000)
    mean, std = (0.1307,), (0.3081,)
    train_options: ClassVar[dict[str, Any]] = {"what": "train"}
    test_options: ClassVar[dict[str, Any]] = {"what": "test"}


class USPS(TorchvisionDataset):
    """Handwritten digits of the US Postal Service, 9298 images of 16x16."""

    name, loader = "usps", "USPS"
    source = "https://doi.org/10.1109/34.291440"
    input_shape = (1, 16, 16)
    sizes = (6_291, 1_000, 2_007)
    mean, std = (0.2469,), (0.2989,)


class CIFAR10(TorchvisionDataset):
    """Photographs of ten kinds of things, 60 000 colour images of 32x32."""

    name, loader = "cifar10", "CIFAR10"
    source = "https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf"
    input_shape = (3, 32, 32)
    sizes = (40_000, 10_000, 10_000)
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


DATASETS: dict[str, type[Dataset]] = {
    cls.name: cls for cls in (Digits, MNIST, FashionMNIST, KMNIST, EMNISTDigits, QMNIST, USPS, CIFAR10)
}


def data_folder() -> Path:
    """Where torchvision's files lie: `GTN_BENCH_DATA`, else the user's cache folder."""
    folder = os.environ.get("GTN_BENCH_DATA")
    return Path(folder).expanduser() if folder else platformdirs.user_cache_path("gtn-bench") / "data"


def _split(levels: Tensor, labels: Tensor, sizes: tuple[int, int, int], white: int) -> dict[SplitName, Split]:
    parts = zip(levels.split(sizes), labels.split(sizes), strict=True)
    train, validation, test = (Split(x.contiguous(), y.contiguous(), white) for x, y in parts)
    return {"train": train, "validation": validation, "test": test}
