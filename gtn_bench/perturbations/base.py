"""What a perturbation is: a frozen description that maps images to images, with a strength `beta`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import PositiveInt, SerializeAsAny

from gtn_bench.datasets import Dataset
from gtn_bench.description import Beta, Description

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.classifiers import Classifier

Norm = Literal["l0", "l1", "l2", "linf"]
Target = Literal["any", "next"]
Batch = PositiveInt | Literal["any", "all"]


class Perturbation(Description):
    """A map from images to perturbed images. One instance has one strength; a sweep makes several.

    meaning: what beta is, with its unit, as an axis label says it.
    norm: the norm in which a ball is promised, if one is.
    uses_gradient: whether it follows the gradient of the classifier's loss.
    tolerates_bfloat16: whether it may see the classifier in lower precision. Not if it looks for a boundary.
    lengths: fields measured in pixel values, which a suite in normalised units scales.
    packages: installed packages whose version can change the numbers.
    """

    meaning: ClassVar[str]
    norm: ClassVar[str] = "-"
    uses_gradient: ClassVar[bool] = False
    tolerates_bfloat16: ClassVar[bool] = False
    lengths: ClassVar[tuple[str, ...]] = ()
    packages: ClassVar[tuple[str, ...]] = ()

    beta: Beta

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.name

    @property
    def axis(self) -> str:
        """What beta means, as the label of an axis."""
        return self.meaning

    @property
    def batch(self) -> Batch:
        """Images handed over together: `any` number, if each is perturbed by itself; `all`; or as many as said here."""
        return "any"

    @property
    def promise(self) -> tuple[Norm, float] | None:
        """The norm and radius of the ball that no change leaves, if there is one."""
        return None

    @property
    def claim(self) -> tuple[Norm, float] | None:
        """The ball in which it looks for any image that fools, if there is one."""
        return self.promise

    @property
    def needs_slope(self) -> bool:
        """Whether it gets nowhere if the cross-entropy has no slope."""
        return False

    @property
    def counts(self) -> bool:
        """Whether beta is a number of something, and so whole."""
        return False

    @property
    def weakens(self) -> bool:
        """Whether a larger beta is a weaker perturbation."""
        return False

    def check(self, dataset: Dataset) -> None:
        """Raise `Mistake` if the perturbation cannot be applied to this data set."""

    def in_pixels(self, std: float) -> Self:
        """The same perturbation, its lengths read as multiples of `std` pixel values."""
        lengths = {field: getattr(self, field) for field in self.lengths}
        return self.model_copy(update={field: value * std for field, value in lengths.items() if value is not None})

    def draws(self) -> dict[str, Any]:
        """What the random draws depend on, as plain JSON: not beta, so that a sweep scales one draw."""
        content = self.identity()
        del content["beta"]
        return content

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


class Nearest(NamedTuple):
    """What a search for the weakest success found for each of N images."""

    x_adv: Tensor  # (N, C, H, W) misclassified; the image itself where nothing was found
    strength: Tensor  # (N,) the beta from which on it counts; infinite where nothing was found


class MinimalPerturbation(Perturbation):
    """A search for the weakest success: one answers for every beta, so a sweep costs what one strength does."""

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return self.within(x, self.nearest(classifier, x, y, seeds))

    def nearest(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Nearest:
        """The weakest success for each image; it does not depend on beta. Arguments as in `__call__`."""
        raise NotImplementedError

    def within(self, x: Tensor, nearest: Nearest) -> Tensor:
        """What was found where beta is enough for it, else the image itself."""
        return nearest.x_adv.where((nearest.strength <= self.beta).view(-1, 1, 1, 1), x)


class SearchWith(MinimalPerturbation):
    """A search that is made with another perturbation."""

    of: SerializeAsAny[Perturbation]

    @property
    def title(self) -> str:
        return self.of.title

    @property
    def axis(self) -> str:
        return self.of.axis

    @property
    def uses_gradient(self) -> bool:  # type: ignore[override]
        return self.of.uses_gradient

    @property
    def needs_slope(self) -> bool:
        return self.of.needs_slope

    @property
    def packages(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.of.packages

    @property
    def batch(self) -> Batch:
        return self.of.batch

    def check(self, dataset: Dataset) -> None:
        self.of.check(dataset)

    def parts(self) -> tuple[Perturbation]:
        return (self.of,)

    def draws(self) -> dict[str, Any]:
        return self.of.draws()


def aims(y: Tensor, num_classes: int, target: Target) -> Tensor:
    """The class (N,) that an attack leads away from, or, with a target, to: the `next` one after each label."""
    return y if target == "any" else (y + 1) % num_classes


def length(delta: Tensor, norm: Norm) -> Tensor:
    """Sizes (N,) of changes (N, ...): the number of changed values, or a sum, root of squares or maximum."""
    rows = delta.flatten(1)
    order = {"l0": 0, "l1": 1, "l2": 2, "linf": math.inf}[norm]
    return rows.norm(p=order, dim=1)


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
