"""Handwritten digits that ship with the package."""

from __future__ import annotations

from pathlib import Path

from gtn_bench.data.base import Dataset, Split, SplitName, split_images


class Digits(Dataset):
    """Handwritten digits, 1797 images of 8x8 in 17 gray levels. They ship with the package.

    The images are the test set of "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, UCI, CC BY 4.0),
    as in scikit-learn's `load_digits`, shuffled once and then split.
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
        return split_images(levels, labels, self.sizes, white=16)
