"""The smallest strength at which a perturbation fools the classifier, per image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from gtn_bench.config.description import PositiveInt
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.threat import Threat
from gtn_bench.perturbations.base import MinimalPerturbation, Nearest, Perturbation, clip
from gtn_bench.perturbations.searches import SearchWith

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier


class GridSearch(SearchWith):
    """A search for the smallest beta at which a perturbation succeeds, per image, that starts from given strengths.

    An image that is misclassified without a perturbation has strength zero.

    Attributes:
        grid: Strengths in ascending order.
    """

    beta_meaning = "smallest strength"

    grid: tuple[float, ...]

    @model_validator(mode="after")
    def _searchable(self) -> Self:
        if self.of.batch == "all":
            raise ConfigError(
                f"search requires a perturbation of independent images, '{self.of.name}' perturbs a whole batch"
            )
        if self.of.weaker_with_beta:
            raise ConfigError(f"search requires a larger beta to be stronger; that of '{self.of.name}' is weaker")
        if isinstance(self.of, MinimalPerturbation):
            raise ConfigError(f"search: '{self.of.title}' finds the smallest strength by itself; leave 'search' out")
        return self

    @property
    def threat_model(self) -> Threat | None:
        return self._at(self.beta).threat_model

    @property
    def search_region(self) -> Threat | None:
        return self._at(self.beta).search_region

    @property
    def attempts(self) -> int:
        """Number of strengths that the search tries per image, at most."""
        raise NotImplementedError

    @property
    def passes(self) -> float | None:
        return None if self.of.passes is None else 1 + self.attempts * (self.of.passes + 1)

    def balls(self) -> tuple[Threat | None, ...]:
        return tuple(self._at(beta).threat_model for beta in (self.beta, *self.grid))

    def in_pixels(self, std: float) -> Self:
        scale = std if "beta" in self.of.pixel_fields else 1.0
        grid = tuple(beta * scale for beta in self.grid)
        return self.model_copy(update={"of": self.of.in_pixels(std), "grid": grid, "beta": self.beta * scale})

    def nearest(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Nearest:
        brackets = Brackets(self.of, classifier, x, y, seeds)
        self.narrow(brackets)
        return brackets.result()

    def narrow(self, brackets: Brackets) -> None:
        """Try strengths until the brackets are as narrow as the search makes them.

        Args:
            brackets: The brackets of the images.
        """
        raise NotImplementedError

    def _at(self, beta: float) -> Perturbation:
        return self.of.model_copy(update={"beta": beta})


class Search(GridSearch):
    """The smallest beta at which a perturbation succeeds, per image: on a grid first, then by bisection.

    The grid is searched from its smallest strength, so that a success that a larger strength undoes is found too, if
    the grid contains it. Bisection between the last failure and the first success follows.

    Attributes:
        binary_search_steps: Number of bisection steps.
    """

    name = "search"
    source = "the bisection of https://arxiv.org/abs/1712.04248 over strengths"

    binary_search_steps: PositiveInt = 6

    @model_validator(mode="after")
    def _continuous(self) -> Self:
        if self.of.integer_beta:
            raise ConfigError(
                f"search: minimal requires a continuous beta; '{self.of.title}' takes an integer; use search: bisection"
            )
        return self

    @property
    def attempts(self) -> int:
        return len(self.grid) + self.binary_search_steps

    def narrow(self, brackets: Brackets) -> None:
        for beta in self.grid:
            brackets.attempt(brackets.high.isinf(), beta)
        for _ in range(self.binary_search_steps):
            bracketed = brackets.high.isfinite() & (brackets.high > 0)
            brackets.attempt(bracketed, (brackets.low + brackets.high) / 2)


class Bisection(GridSearch):
    """The smallest beta of a grid at which a perturbation succeeds, per image, by bisection of the grid.

    The search assumes that a perturbation that fools at one strength also fools at every larger one of the grid. Where
    this does not hold, it may miss a smaller successful strength.
    """

    name = "bisection"
    source = "the bisection of https://arxiv.org/abs/1712.04248 over the strengths of a sweep"

    @property
    def attempts(self) -> int:
        return len(self.grid).bit_length()

    def narrow(self, brackets: Brackets) -> None:
        import torch

        grid = torch.tensor([*self.grid, torch.inf], dtype=torch.float64, device=brackets.high.device)
        first = torch.zeros_like(brackets.high, dtype=torch.long)  # of the places that may be the smallest successful
        last = first.new_full(first.shape, len(self.grid)).where(brackets.high > 0, first)
        while (open_ := first < last).any():
            middle = (first + last) // 2
            fooled = brackets.attempt(open_, grid[middle])
            first, last = (middle + 1).where(open_ & ~fooled, first), middle.where(fooled, last)


class Brackets:
    """The largest strength that failed and the smallest that succeeded, for each image of a batch.

    Args:
        perturbation: The perturbation to try.
        classifier: The classifier under attack.
        x: Images (N, C, H, W) in [0, 1].
        y: True labels (N,).
        seeds: One seed per image (N,).

    Attributes:
        low: Largest strength that failed (N,); zero if there is none.
        high: Smallest strength that succeeded (N,); infinite if there is none, zero for misclassified clean images.
    """

    def __init__(self, perturbation: Perturbation, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> None:
        import torch

        self._perturbation, self._classifier, self._x, self._y, self._seeds = perturbation, classifier, x, y, seeds
        wrong = classifier.predict(x) != y
        self.low, self.high = x.new_zeros(len(x)), x.new_zeros(len(x)).where(wrong, torch.inf)
        self._best, self._broken = x.clone(), torch.zeros_like(wrong)

    def attempt(self, mask: Tensor, strengths: Tensor | float) -> Tensor:
        """Perturb images and record the successes.

        Args:
            mask: Which images (N,).
            strengths: The strength, or one for each image (N,).

        Returns:
            Mask (N,) of the images that are fooled.
        """
        import torch

        fooled, rows = torch.zeros_like(mask), mask.nonzero().squeeze(1)
        if not len(rows):
            return fooled
        tried = torch.as_tensor(strengths, dtype=torch.float64, device=mask.device).expand(len(mask))[rows]
        x, y, seeds = self._x[rows], self._y[rows], self._seeds[rows.cpu()]
        x_adv = clip(self._perturbation.at_each(self._classifier, x, y.clone(), seeds, tried.cpu()))
        self._broken[rows] |= x_adv.isnan().flatten(1).any(dim=1)
        is_adv = self._classifier.predict(x_adv) != y
        self._best[rows[is_adv]] = x_adv[is_adv].to(self._best)
        self.high[rows[is_adv]] = tried[is_adv].to(self.high)
        self.low[rows[~is_adv]] = tried[~is_adv].to(self.low)
        fooled[rows] = is_adv
        return fooled

    def result(self) -> Nearest:
        """Return the images and strengths that were found. A failure at one strength is a failure of the search."""
        import torch

        self._best[self._broken] = torch.nan
        return Nearest(self._best, self.high)
