"""What a perturbation is: a frozen description that maps images to images, with a strength `beta`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from gtn_bench.description import Beta, Description

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.classifiers import Classifier


class Perturbation(Description):
    """A map from images to perturbed images. One instance has one strength; a sweep makes several.

    meaning: what beta is, with its unit, as an axis label says it.
    norm: the norm in which a ball is promised, if one is.
    uses_gradient: whether it follows the gradient of the classifier's loss.
    lengths: fields measured in pixel values, which a suite in normalised units scales.
    packages: installed packages whose version can change the numbers.
    """

    meaning: ClassVar[str]
    norm: ClassVar[str] = "-"
    uses_gradient: ClassVar[bool] = False
    lengths: ClassVar[tuple[str, ...]] = ()
    packages: ClassVar[tuple[str, ...]] = ()

    beta: Beta

    @property
    def axis(self) -> str:
        """What beta means, as the label of an axis."""
        return self.meaning

    @property
    def chunk(self) -> int | None:
        """Images handed over at a time; None is all of them."""
        return 256

    def in_pixels(self, std: float) -> Self:
        """The same perturbation, its lengths read as multiples of `std` pixel values."""
        return self.model_copy(update={field: getattr(self, field) * std for field in self.lengths})

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        """Perturbed images.

        Args:
            classifier: what is to be fooled; its weights and mode stay as they are.
            x: images (N, C, H, W) in [0, 1].
            y: true labels (N,).
            seeds: one seed for each image (N,) int64: all randomness, so that an image's
                perturbation does not depend on the images beside it.

        Returns:
            (N, C, H, W), wherever they lie: the referee clips and judges.
        """
        raise NotImplementedError


def normal_like(x: Tensor, seeds: Tensor) -> Tensor:
    """Standard normal numbers in the shape of x (N, ...), row i from `seeds[i]` alone; the same on every device."""
    import torch

    noise = torch.empty(x.shape, dtype=x.dtype)
    draw = torch.Generator()
    for row, seed in zip(noise, seeds.tolist(), strict=True):
        row.normal_(generator=draw.manual_seed(seed))
    return noise.to(x.device)
