"""Data sets: labeled images in [0, 1] with fixed train, validation and test splits."""

from gtn_bench.data.base import Dataset, Split, SplitName
from gtn_bench.data.digits import Digits
from gtn_bench.data.files import Files
from gtn_bench.data.torchvision import (
    CIFAR10,
    KMNIST,
    MNIST,
    QMNIST,
    USPS,
    EMNISTDigits,
    FashionMNIST,
    TorchvisionDataset,
)

DATASETS: dict[str, type[Dataset]] = {
    cls.name: cls for cls in (Digits, MNIST, FashionMNIST, KMNIST, EMNISTDigits, QMNIST, USPS, CIFAR10, Files)
}

__all__ = ["DATASETS", "Dataset", "Files", "Split", "SplitName", "TorchvisionDataset"]
