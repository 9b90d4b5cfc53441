"""The interface of perturbations: frozen descriptions that map images to images, with a strength `beta`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import PositiveInt, ValidationError

from gtn_bench.config.description import Beta, Description
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.threat import Norm, Threat
from gtn_bench.data.base import Dataset
from gtn_bench.perturbations.draws import normal_like as normal_like  # plug-ins import both from here
from gtn_bench.perturbations.draws import uniform_like as uniform_like

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier
    from gtn_bench.inference.losses import LossName

Access = Literal["white", "black", "none"]
Batch = PositiveInt | Literal["any", "all"]


class Size(NamedTuple):
    """A length in pixel values, in the units of the suite.

    Attributes:
        what: Its meaning, such as "linf radius".
        value: Its value.
        norm: The norm in which it is a length; `linf` also for what is added to each pixel.
    """

    what: str
    value: float
    norm: Norm = "linf"

    def limit(self, values: int) -> float:
        """Return the largest useful value, the distance between a black and a white image.

        Args:
            values: Number of values of an image.
        """
        return {"l0": values, "l1": values, "l2": math.sqrt(values), "linf": 1}[self.norm]


class Perturbation(Description):
    """A map from images to perturbed images. One instance has one strength; a sweep makes several instances.

    Attributes:
        beta_meaning: The quantity that beta is. If beta is a pixel field, its unit is added; else the text includes it.
        norms: Norms in which the perturbation can be bounded, for the catalog.
        uses_gradient: Whether it follows the gradient of the classifier's loss.
        supports_bfloat16: Whether it may see the classifier in lower precision. False if it searches for a boundary.
        pixel_fields: Fields in pixel values, which a suite in normalized units scales.
        refills: Whether images leave a batch before its last query. More images than pass at once then keep the passes
            full.
        changes_every_image: Whether returning an image unchanged means that the perturbation failed.
        expected_to_succeed: Whether finding no adversarial example means that a search failed.
        beta: The strength.
    """

    beta_meaning: ClassVar[str]
    norms: ClassVar[tuple[Norm, ...]] = ()
    uses_gradient: ClassVar[bool] = False
    supports_bfloat16: ClassVar[bool] = False
    pixel_fields: ClassVar[tuple[str, ...]] = ()
    refills: ClassVar[bool] = False
    changes_every_image: ClassVar[bool] = False
    expected_to_succeed: ClassVar[bool] = False

    beta: Beta

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keep a base class's `at_each` from standing in for another `__call__`."""
        super().__init_subclass__(**kwargs)
        if "__call__" in vars(cls) and "at_each" not in vars(cls):
            cls.at_each = Perturbation.at_each  # type: ignore[method-assign]

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
    def pixel_sizes(self) -> Mapping[str, Size]:
        """Radii, step sizes and other lengths in pixel values, by field. None can usefully exceed its limit."""
        ball = self.threat_model
        if ball is not None and ball.epsilon == self.beta:
            return {"beta": Size(f"{ball.norm} radius", self.beta, ball.norm)}
        return {"beta": Size(self.beta_meaning, self.beta)} if "beta" in self.pixel_fields else {}

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

    def try_out(self, dataset: Dataset) -> None:
        """Run the perturbation on two images, if only its code can tell whether it works. A run calls it first.

        Args:
            dataset: The data set.

        Raises:
            ConfigError: If the perturbation fails.
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

    def once(self) -> Self:
        """Return the perturbation with one random start, if it tries several."""
        return self

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

    def at_each(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor, strengths: Tensor) -> Tensor:
        """Perturb each image with its own strength. Beta has no influence.

        One call perturbs all images of one strength. A perturbation that needs no call per strength overrides this
        method. A subclass with a `__call__` of its own does not inherit such an override.

        Args:
            classifier: As for `__call__`; also `x`, `y` and `seeds`.
            x: Images (N, C, H, W) in [0, 1].
            y: True labels (N,) int64.
            seeds: Seeds (N,) int64.
            strengths: Strengths (N,) float64 on the CPU.

        Returns:
            Images (N, C, H, W).
        """
        import torch

        groups = [(strengths == strength).nonzero().squeeze(1) for strength in strengths.unique()]
        perturbed = []
        for rows in groups:
            one, here = self.model_copy(update={"beta": strengths[rows[0]].item()}), rows.to(x.device)
            perturbed.append(one(classifier, x[here], y[here], seeds[rows]))
        return torch.cat(perturbed)[torch.cat(groups).argsort().to(x.device)]


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
