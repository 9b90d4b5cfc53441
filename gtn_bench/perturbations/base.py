"""The interface of perturbations: frozen descriptions that map images to images, with a strength `beta`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import PositiveInt, SerializeAsAny, ValidationError

from gtn_bench.config.description import Beta, Description
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.threat import Norm, Threat
from gtn_bench.data.base import Dataset

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier
    from gtn_bench.inference.losses import LossName

Access = Literal["white", "black", "none"]
Batch = PositiveInt | Literal["any", "all"]


class Size(NamedTuple):
    """A length in the maximum norm, in the units of the suite.

    Attributes:
        what: Its meaning, such as "linf radius".
        value: Its value.
    """

    what: str
    value: float


class Perturbation(Description):
    """A map from images to perturbed images. One instance has one strength; a sweep makes several instances.

    Attributes:
        beta_meaning: The quantity that beta is. If beta is a pixel field, its unit is added; else the text includes it.
        norms: Norms in which the perturbation can be bounded, for the catalog.
        uses_gradient: Whether it follows the gradient of the classifier's loss.
        supports_bfloat16: Whether it may see the classifier in lower precision. False if it searches for a boundary.
        pixel_fields: Fields in pixel values, which a suite in normalized units scales.
        changes_every_image: Whether returning an image unchanged means that the perturbation failed.
        expected_to_succeed: Whether finding no adversarial example means that a search failed.
        beta: The strength.
    """

    beta_meaning: ClassVar[str]
    norms: ClassVar[tuple[Norm, ...]] = ()
    uses_gradient: ClassVar[bool] = False
    supports_bfloat16: ClassVar[bool] = False
    pixel_fields: ClassVar[tuple[str, ...]] = ()
    changes_every_image: ClassVar[bool] = False
    expected_to_succeed: ClassVar[bool] = False

    beta: Beta

    @property
    def title(self) -> str:
        """Name of the perturbation in messages."""
        return self.name

    @property
    def detail(self) -> str:
        """A parameter that figures and tables show beside the label, because the label alone is ambiguous."""
        return ""

    def axis_label(self, unit: str = "pixel value") -> str:
        """Return the label of the beta axis of a figure.

        Args:
            unit: The unit of pixel fields.
        """
        return f"{self.beta_meaning}, {unit}" if "beta" in self.pixel_fields else self.beta_meaning

    @property
    def batch(self) -> Batch:
        """Images per call: "any" number if each is perturbed independently, "all" of them, or this many."""
        return "any"

    @property
    def threat_model(self) -> Threat | None:
        """The ball that bounds every perturbed image, if there is one."""
        return None

    @property
    def search_region(self) -> Threat | None:
        """The ball in which the perturbation searches for any misclassified image, if there is one."""
        return self.threat_model

    @property
    def linf_sizes(self) -> Mapping[str, Size]:
        """Radii and step sizes in the maximum norm, by field. In pixel values, none of them can usefully exceed 1."""
        return {"beta": Size("linf radius", self.beta)} if self.threat_model == Threat("linf", self.beta) else {}

    @property
    def access(self) -> Access:
        """Kind of access to the classifier: `white` for gradients, `black` for outputs, `none` for neither."""
        return "white" if self.uses_gradient else "black"

    @property
    def passes(self) -> float | None:
        """Forward and backward passes per image, at most; None if the number is unknown without a run."""
        return None

    @property
    def needs_gradient(self) -> bool:
        """True if the perturbation cannot progress where all logits have a zero gradient."""
        return self.uses_gradient

    @property
    def needs_ce_gradient(self) -> bool:
        """True if the perturbation cannot progress where the cross-entropy has a zero gradient."""
        return False

    @property
    def integer_beta(self) -> bool:
        """True if beta must be an integer."""
        return False

    @property
    def weaker_with_beta(self) -> bool:
        """True if a larger beta is a weaker perturbation."""
        return False

    def check(self, dataset: Dataset) -> None:
        """Check that the perturbation applies to a data set.

        Args:
            dataset: The data set.

        Raises:
            ConfigError: If it does not.
        """

    def is_attacked(self, y: Tensor) -> Tensor:
        """Return which images the perturbation attacks. The evaluation leaves the others as they are.

        Args:
            y: True labels (N,).

        Returns:
            Mask (N,).
        """
        import torch

        return torch.ones_like(y, dtype=torch.bool)

    def in_pixels(self, std: float) -> Self:
        """Return the perturbation with its pixel fields converted from standard deviations to pixel values.

        Args:
            std: Standard deviation of the training pixels, in pixel values.
        """
        fields = {field: getattr(self, field) for field in self.pixel_fields}
        return self.model_copy(update={field: value * std for field, value in fields.items() if value is not None})

    def rng_identity(self) -> dict[str, Any]:
        """Return what random draws depend on, as plain JSON. Beta is not part of it: a sweep scales one draw."""
        content = self.content()
        del content["beta"]
        return content

    def with_steps(self, factor: int) -> Self | None:
        """Return the perturbation with more steps in the same ball.

        Args:
            factor: Factor on the number of steps, queries or iterations.

        Returns:
            The perturbation; None if it has no steps.
        """
        return None

    def with_step_size(self, factor: float) -> Self | None:
        """Return the perturbation with another step size in the same ball.

        Args:
            factor: Factor on the step size.

        Returns:
            The perturbation; None if it has no step size.
        """
        return None

    def with_loss(self, loss: LossName) -> Self | None:
        """Return the perturbation with another loss.

        Args:
            loss: Name of the loss.

        Returns:
            The perturbation; None if it cannot follow this loss.
        """
        return None

    def with_restart(self) -> Self | None:
        """Return the perturbation with a random start, which other seeds change.

        Returns:
            The perturbation, the same one if its start is random already; None if it cannot start at random.
        """
        return None

    def variant(self, **fields: Any) -> Self | None:
        """Return the perturbation with other values of fields, validated.

        Args:
            **fields: Values by the names of fields.

        Returns:
            The perturbation; None if the values are invalid.
        """
        try:
            return type(self)(**{**dict(self), **fields})
        except (ValidationError, ConfigError):
            return None

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        """Perturb images.

        Args:
            classifier: The classifier under attack; its weights and mode must not change.
            x: Images (N, C, H, W) in [0, 1].
            y: True labels (N,) int64.
            seeds: One seed per image (N,) int64, the source of all randomness. The perturbation of an image must not
                depend on the other images of the batch.

        Returns:
            Images (N, C, H, W). The evaluation clips them to [0, 1], predicts again and measures distances.
        """
        raise NotImplementedError


class Corruption(Perturbation):
    """A perturbation that ignores the classifier."""

    @property
    def access(self) -> Access:
        return "none"

    @property
    def passes(self) -> float:
        return 0


class Nearest(NamedTuple):
    """The result of a search for the smallest strength that fools, for N images.

    Attributes:
        x_adv: Misclassified images (N, C, H, W); the clean image where the search failed.
        strength: Smallest successful beta (N,); infinite where the search failed.
    """

    x_adv: Tensor
    strength: Tensor


class MinimalPerturbation(Perturbation):
    """A search for the smallest strength that fools. One search answers for every beta of a sweep."""

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return self.within(x, self.nearest(classifier, x, y, seeds))

    def nearest(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Nearest:
        """Search the smallest successful strength of each image. Beta has no influence.

        Args and shapes are those of `__call__`.
        """
        raise NotImplementedError

    def within(self, x: Tensor, nearest: Nearest) -> Tensor:
        """Return the found images whose strength is at most beta, and the clean images elsewhere.

        Args:
            x: Clean images (N, C, H, W).
            nearest: The result of the search on them.
        """
        return nearest.x_adv.where((nearest.strength <= self.beta).view(-1, 1, 1, 1), x)


class SearchWith(MinimalPerturbation):
    """A search that calls another perturbation.

    Attributes:
        of: The other perturbation.
    """

    of: SerializeAsAny[Perturbation]

    @property
    def title(self) -> str:
        return self.of.title

    @property
    def detail(self) -> str:
        return self.of.detail

    def axis_label(self, unit: str = "pixel value") -> str:
        return self.of.axis_label(unit)

    @property
    def uses_gradient(self) -> bool:  # type: ignore[override]
        """True if the other perturbation follows the gradient of the classifier's loss."""
        return self.of.uses_gradient

    @property
    def access(self) -> Access:
        return self.of.access

    @property
    def linf_sizes(self) -> Mapping[str, Size]:
        return self.of.linf_sizes

    @property
    def needs_gradient(self) -> bool:
        return self.of.needs_gradient

    @property
    def needs_ce_gradient(self) -> bool:
        return self.of.needs_ce_gradient

    @property
    def packages(self) -> tuple[str, ...]:  # type: ignore[override]
        """Packages of the other perturbation."""
        return self.of.packages

    @property
    def batch(self) -> Batch:
        return self.of.batch

    def check(self, dataset: Dataset) -> None:
        self.of.check(dataset)

    def is_attacked(self, y: Tensor) -> Tensor:
        return self.of.is_attacked(y)

    def parts(self) -> tuple[Perturbation]:
        return (self.of,)

    def with_steps(self, factor: int) -> Self | None:
        return self._around(self.of.with_steps(factor))

    def with_step_size(self, factor: float) -> Self | None:
        return self._around(self.of.with_step_size(factor))

    def with_loss(self, loss: LossName) -> Self | None:
        return self._around(self.of.with_loss(loss))

    def with_restart(self) -> Self | None:
        return self._around(self.of.with_restart())

    def _around(self, of: Perturbation | None) -> Self | None:
        """Return the search with another perturbation; None without one, or if its ball is another one."""
        searched = self.variant(of=of) if of else None
        return searched if searched and searched.balls() == self.balls() else None

    def balls(self) -> tuple[Threat | None, ...]:
        """Return the balls of all strengths that the search may try first."""
        return (self.threat_model,)

    def rng_identity(self) -> dict[str, Any]:
        return self.of.rng_identity()


def clip(x_adv: Tensor) -> Tensor:
    """Clip images to [0, 1]. A non-finite pixel becomes NaN, so that it is found later.

    Args:
        x_adv: Images (N, C, H, W).
    """
    return x_adv.clamp(0, 1).where(x_adv.isfinite(), float("nan"))


def lp_norm(delta: Tensor, norm: Norm) -> Tensor:
    """Return the norm of each change.

    Args:
        delta: Changes (N, ...).
        norm: `l0` counts changed values, `l1` sums their magnitudes, `l2` is Euclidean, `linf` is the maximum.

    Returns:
        Norms (N,).
    """
    rows = delta.flatten(1)
    order = {"l0": 0, "l1": 1, "l2": 2, "linf": math.inf}[norm]
    return rows.norm(p=order, dim=1)


def normal_like(x: Tensor, seeds: Tensor) -> Tensor:
    """Return standard normal numbers in the shape of `x` (N, ...), the same on every device.

    Args:
        x: A tensor whose shape, type and device the result has.
        seeds: Seeds (N,); row i depends on ``seeds[i]`` alone.
    """
    import torch

    return _sample_rows(x, seeds, torch.Tensor.normal_)


def uniform_like(x: Tensor, seeds: Tensor) -> Tensor:
    """Return uniform numbers in [0, 1) in the shape of `x` (N, ...), the same on every device.

    Args:
        x: A tensor whose shape, type and device the result has.
        seeds: Seeds (N,); row i depends on ``seeds[i]`` alone.
    """
    import torch

    return _sample_rows(x, seeds, torch.Tensor.uniform_)


def _sample_rows(x: Tensor, seeds: Tensor, fill: Any) -> Tensor:
    import torch

    samples = torch.empty(x.shape, dtype=x.dtype)
    generator = torch.Generator()
    for row, seed in zip(samples, seeds.tolist(), strict=True):
        fill(row, generator=generator.manual_seed(seed))
    return samples.to(x.device)
