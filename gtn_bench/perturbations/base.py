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

    @property
    def promise(self) -> tuple[str, float] | None:
        """The norm (`linf` or `l2`) and radius of the ball that no change leaves, if there is one."""
        return None

    def in_pixels(self, std: float) -> Self:
        """The same perturbation, its lengths read as multiples of `std` pixel values."""
        lengths = {field: getattr(self, field) for field in self.lengths}
        return self.model_copy(update={field: value * std for field, value in lengths.items() if value is not None})

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


class MinimalNorm(Perturbation):
    """A search for the nearest misclassified image: beta is the radius within which it counts.

    One search answers for every radius, so a sweep costs as much as a single strength.
    """

    norm = "l2"
    meaning = "L2 radius, pixel value"
    lengths = ("beta",)

    @property
    def promise(self) -> tuple[str, float]:
        return self.norm, self.beta

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return self.within(x, self.closest(classifier, x, y, seeds))

    def closest(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        """The nearest misclassified images found (N, C, H, W); x where none was. It does not depend on beta."""
        raise NotImplementedError

    def within(self, x: Tensor, nearest: Tensor) -> Tensor:
        """The nearest misclassified image where its distance is at most beta, else the image itself."""
        delta = (nearest - x).flatten(1)
        distance = delta.abs().amax(dim=1) if self.norm == "linf" else delta.norm(dim=1)
        return nearest.where((distance <= self.beta).view(-1, 1, 1, 1), x)


def normal_like(x: Tensor, seeds: Tensor) -> Tensor:
    """Standard normal numbers in the shape of x (N, ...), row i from `seeds[i]` alone; the same on every device."""
    return _drawn(x, seeds, "normal_")


def uniform_like(x: Tensor, seeds: Tensor) -> Tensor:
    """Likewise numbers uniform in [0, 1)."""
    return _drawn(x, seeds, "uniform_")


def _drawn(x: Tensor, seeds: Tensor, distribution: str) -> Tensor:
    import torch

    drawn = torch.empty(x.shape, dtype=x.dtype)
    generator = torch.Generator()
    for row, seed in zip(drawn, seeds.tolist(), strict=True):
        getattr(row, distribution)(generator=generator.manual_seed(seed))
    return drawn.to(x.device)
