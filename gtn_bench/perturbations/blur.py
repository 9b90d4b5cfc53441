"""Gaussian blur."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gtn_bench.config.description import PositiveFloat
from gtn_bench.perturbations.base import Corruption

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier


class Blur(Corruption):
    """Gaussian filter with a standard deviation of beta pixels.

    The filter is linear and separable. SciPy's filter of two identity matrices therefore yields the matrices A and B
    that blur every image of a batch: ``A @ x @ B.T``.

    Attributes:
        truncate: Radius of the filter, in standard deviations.
        padding: Extension of the image beyond its border, as in SciPy.
    """

    name = "blur"
    source = "https://docs.scipy.org/doc/scipy/reference/generated/scipy.ndimage.gaussian_filter.html"
    beta_meaning = "standard deviation, pixels"
    packages = ("scipy",)

    truncate: PositiveFloat = 3.5
    padding: Literal["reflect", "mirror", "nearest", "wrap", "constant"] = "reflect"

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        if self.beta == 0:
            return x
        rows, columns = (self._matrix(size).to(x) for size in x.shape[2:])
        return rows @ x @ columns.T

    def _matrix(self, size: int) -> Tensor:
        """Return the matrix (size, size) that filters a column of pixels."""
        import numpy as np
        import torch
        from scipy.ndimage import gaussian_filter1d

        identity = np.eye(size)
        return torch.from_numpy(
            gaussian_filter1d(identity, self.beta, axis=0, mode=self.padding, truncate=self.truncate)
        )
