"""Data sets that torchvision loads."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import platformdirs

from gtn_bench.config.errors import ConfigError
from gtn_bench.config.paths import user_path
from gtn_bench.data.base import Dataset, Split, SplitName, split_images
from gtn_bench.data.stored_files import Check, archive_check, checksum_check, idx_check

if TYPE_CHECKING:
    from torch import Tensor


class TorchvisionDataset(Dataset):
    """A data set of torchvision, from `GTN_BENCH_DATA` or the cache. Missing files are downloaded.

    Attributes:
        loader: Name of the class in torchvision.datasets.
        train_options: Its arguments for the training images.
        test_options: Its arguments for the test images.
        archives: Paths in the data folder of the archives that torchvision downloads and extracts.
    """

    loader: ClassVar[str]
    train_options: ClassVar[dict[str, Any]] = {"train": True}
    test_options: ClassVar[dict[str, Any]] = {"train": False}
    archives: ClassVar[tuple[str, ...]] = ()
    sizes = (50_000, 10_000, 10_000)  # validation: the last training images

    @classmethod
    def files(cls) -> Mapping[str, Check]:
        """Return the files in the data folder that torchvision reads, each with a check of its content."""
        return {}

    def __call__(self) -> dict[SplitName, Split]:
        import torch

        train, validation, test = self.sizes
        parts = [self._load(self.train_options, train + validation), self._load(self.test_options, test)]
        levels, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return split_images(levels, labels, self.sizes, white=255)

    def _load(self, options: dict[str, Any], count: int) -> tuple[Tensor, Tensor]:
        """Return images (N, C, H, W) uint8 and labels (N,) int64 of one part, which has `count` images."""
        import torch
        import torchvision

        folder = data_folder()
        load = getattr(torchvision.datasets, self.loader)
        try:
            data = load(str(folder), **options, download=False)
        except Exception as error:  # torchvision raises many types, for missing and for damaged files alike
            self._check_files(folder)
            self._check_missing(folder, error)
            data = self._download(load, folder, options)
        return self._checked(folder, self._images(torch.as_tensor(data.data)), torch.as_tensor(data.targets), count)

    def _images(self, data: Tensor) -> Tensor:
        """Return bytes (N, H, W) or (N, H, W, C) as (N, C, H, W)."""
        return data.unsqueeze(1) if data.ndim == 3 else data.permute(0, 3, 1, 2).contiguous()

    def _checked(self, folder: Path, levels: Tensor, targets: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return images and labels; raise `ConfigError` if there are not `count` of them, as the data set has."""
        found = f"{levels.dtype} {tuple(levels.shape)} and {len(targets)} labels"
        if found != f"torch.uint8 {(count, *self.input_shape)} and {count} labels":
            self._check_files(folder)  # names the file if it can
            expected = f"{count} images {self.input_shape} of bytes with labels"
            raise ConfigError(f"data set '{self.name}' in {folder} is damaged: expects {expected}, got {found}")
        labels = targets.reshape(count, -1)[:, 0].long()
        if labels.min() < 0 or labels.max() >= self.num_classes:
            found = f"{int(labels.min())} to {int(labels.max())}"
            expected = f"labels from 0 to {self.num_classes - 1}"
            raise ConfigError(f"data set '{self.name}' in {folder} is damaged: expects {expected}, got {found}")
        return levels, labels

    def _check_files(self, folder: Path) -> None:
        """Raise `ConfigError` if a file in the data folder is damaged or cannot be read."""
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"GTN_BENCH_DATA expects a folder, got {folder}")
        for place, check in {**self.files(), **dict.fromkeys(self.archives, archive_check)}.items():
            path = folder / place
            try:
                problem = check(path) if os.path.lexists(path) else None
            except OSError as error:
                raise ConfigError(
                    f"data set '{self.name}': {path} cannot be read ({error.strerror}); make it a readable file"
                ) from None
            if problem:
                raise ConfigError(
                    f"data set '{self.name}' is damaged: {path} {problem}; "
                    "replace the file, or delete it so that it is downloaded again"
                )

    def _check_missing(self, folder: Path, error: Exception) -> None:
        """Raise `ConfigError` unless torchvision failed because files are missing from the right folder."""
        files = self.files()
        complete = bool(files) and all(os.path.lexists(folder / place) for place in files)
        if complete or not isinstance(error, RuntimeError | OSError):
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ConfigError(f"data set '{self.name}' in {folder} cannot be read ({reason})") from error
        for place in files:
            if root := _other_level(folder, place):
                held = place.rpartition("/")[0] or place
                raise ConfigError(
                    f"data set '{self.name}': GTN_BENCH_DATA expects the folder that holds {held}, which is {root}; "
                    f"got {folder}"
                )

    def _download(self, load: Callable[..., Any], folder: Path, options: dict[str, Any]) -> Any:
        """Return what torchvision downloads. A download that fails leaves no damaged files and no empty folders."""
        files = self.files()
        missing = [place for place in files if not os.path.lexists(folder / place)]
        with _removing_damaged(folder, {**files, **dict.fromkeys(self.archives, archive_check)}):
            try:
                with redirect_stdout(sys.stderr):  # torchvision prints
                    return load(str(folder), **options, download=True)
            except Exception as error:
                reason = f"could not be downloaded ({type(error).__name__}); put"
                if 0 < len(missing) < len(files):
                    what = f"data set '{self.name}' has no {missing[0]} in {folder}, which {reason} it there"
                else:
                    names = f" ({missing[0]}, ...)" if missing else ""
                    what = f"data set '{self.name}' is not in {folder} and {reason} torchvision's files{names} there"
                raise ConfigError(f"{what}, or set GTN_BENCH_DATA to their folder") from error


class IDXDataset(TorchvisionDataset):
    """A data set of images (N, H, W) and labels in IDX files, the format of MNIST.

    Attributes:
        prefixes: Start of the names of the training files and of the test files.
        labels_suffix: End of the names of the files of labels.
        label_columns: Numbers per image in a file of labels, if there are several.
    """

    prefixes: ClassVar[tuple[str, str]] = ("train", "t10k")
    labels_suffix: ClassVar[str] = "labels-idx1-ubyte"
    label_columns: ClassVar[tuple[int, ...]] = ()

    @classmethod
    def files(cls) -> Mapping[str, Check]:
        train, validation, test = cls.sizes
        found = {}
        for prefix, count in zip(cls.prefixes, (train + validation, test), strict=True):
            start = f"{cls.loader}/raw/{prefix}"
            found[f"{start}-images-idx3-ubyte"] = idx_check((count, *cls.input_shape[1:]))
            labels = (count, *cls.label_columns)
            found[f"{start}-{cls.labels_suffix}"] = idx_check(labels, 0x0C if cls.label_columns else 0x08)
        return found


def _gz(folder: str, *prefixes: str, labels: str = "labels-idx1-ubyte") -> tuple[str, ...]:
    return tuple(f"{folder}/raw/{prefix}-{end}.gz" for prefix in prefixes for end in ("images-idx3-ubyte", labels))


class MNIST(IDXDataset):
    """Handwritten digits, 70 000 images of 28x28."""

    name, loader = "mnist", "MNIST"
    source = "http://yann.lecun.com/exdb/mnist"
    input_shape = (1, 28, 28)
    mean, std = (0.1307,), (0.3081,)
    archives = _gz("MNIST", "train", "t10k")


class FashionMNIST(IDXDataset):
    """Articles of clothing, 70 000 images of 28x28."""

    name, loader = "fashion-mnist", "FashionMNIST"
    source = "https://arxiv.org/abs/1708.07747"
    input_shape = (1, 28, 28)
    mean, std = (0.2860,), (0.3530,)
    archives = _gz("FashionMNIST", "train", "t10k")


class KMNIST(IDXDataset):
    """Cursive Japanese characters, 70 000 images of 28x28."""

    name, loader = "kmnist", "KMNIST"
    source = "https://arxiv.org/abs/1812.01718"
    input_shape = (1, 28, 28)
    mean, std = (0.1918,), (0.3483,)
    archives = _gz("KMNIST", "train", "t10k")


class EMNISTDigits(IDXDataset):
    """Handwritten digits from forms of NIST, 280 000 images of 28x28."""

    name, loader = "emnist-digits", "EMNIST"
    source = "https://arxiv.org/abs/1702.05373"
    input_shape = (1, 28, 28)
    sizes = (230_000, 10_000, 40_000)
    mean, std = (0.1733,), (0.3317,)
    train_options: ClassVar[dict[str, Any]] = {"split": "digits", "train": True}
    test_options: ClassVar[dict[str, Any]] = {"split": "digits", "train": False}
    prefixes = ("emnist-digits-train", "emnist-digits-test")
    archives = ("EMNIST/raw/gzip.zip",)

    def _images(self, data: Tensor) -> Tensor:
        return super()._images(data).transpose(2, 3).contiguous()  # its files store images column by column


class QMNIST(IDXDataset):
    """MNIST rebuilt, with all 60 000 test images."""

    name, loader = "qmnist", "QMNIST"
    source = "https://arxiv.org/abs/1905.10498"
    input_shape = (1, 28, 28)
    sizes = (50_000, 10_000, 60_000)
    mean, std = (0.1307,), (0.3081,)
    train_options: ClassVar[dict[str, Any]] = {"what": "train"}
    test_options: ClassVar[dict[str, Any]] = {"what": "test"}
    prefixes = ("qmnist-train", "qmnist-test")
    labels_suffix = "labels-idx2-int"
    label_columns = (8,)
    archives = _gz("QMNIST", "qmnist-train", "qmnist-test", labels="labels-idx2-int")


class USPS(TorchvisionDataset):
    """Handwritten digits of the US Postal Service, 9298 images of 16x16."""

    name, loader = "usps", "USPS"
    source = "https://doi.org/10.1109/34.291440"
    input_shape = (1, 16, 16)
    sizes = (6_291, 1_000, 2_007)
    mean, std = (0.2469,), (0.2989,)

    @classmethod
    def files(cls) -> Mapping[str, Check]:
        return {
            "usps.bz2": checksum_check("ec16c51db3855ca6c91edd34d0e9b197"),
            "usps.t.bz2": checksum_check("8ea070ee2aca1ac39742fdd1ef5ed118"),
        }


class CIFAR10(TorchvisionDataset):
    """Photographs of ten kinds of things, 60 000 color images of 32x32."""

    name, loader = "cifar10", "CIFAR10"
    source = "https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf"
    input_shape = (3, 32, 32)
    sizes = (40_000, 10_000, 10_000)
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    archives = ("cifar-10-python.tar.gz",)
    checksums: ClassVar[Mapping[str, str]] = {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    }

    @classmethod
    def files(cls) -> Mapping[str, Check]:
        return {f"cifar-10-batches-py/{file}": checksum_check(md5) for file, md5 in cls.checksums.items()}


def data_folder() -> Path:
    """Return the folder of torchvision's files: `GTN_BENCH_DATA`, or else the user's cache folder.

    Raises:
        ConfigError: If `GTN_BENCH_DATA` is no path.
    """
    folder = os.environ.get("GTN_BENCH_DATA")
    return user_path(folder) if folder else platformdirs.user_cache_path("gtn-bench") / "data"


def _other_level(folder: Path, place: str) -> Path | None:
    """Return the data folder that contains a file, if a folder above the given one or inside it does; else None."""
    for here in (folder.absolute(), folder.resolve()):
        for above in here.parents:
            if (above / place).is_relative_to(here) and (above / place).is_file():
                return above
    with suppress(OSError):
        return next((inside for inside in sorted(folder.iterdir()) if (inside / place).is_file()), None)
    return None


@contextmanager
def _removing_damaged(folder: Path, checks: Mapping[str, Check]) -> Iterator[None]:
    """Remove damaged files and empty folders that the block creates, if it fails."""
    paths = {folder / place: check for place, check in checks.items() if not os.path.lexists(folder / place)}
    folders = {parent for path in paths for parent in path.parents if not parent.exists()}
    try:
        yield
    except BaseException:
        for path, check in paths.items():
            with suppress(OSError):
                if path.is_file() and check(path):
                    path.unlink()
        for parent in sorted(folders, key=lambda path: len(path.parts), reverse=True):
            with suppress(OSError):  # not empty, or never created
                parent.rmdir()
        raise
