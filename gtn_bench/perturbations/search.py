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


class Search(SearchWith):
    """The smallest beta at which a perturbation succeeds, per image: on a grid first, then by bisection.

    The grid is searched from its smallest strength, so that a success that a larger strength undoes is found too, if
    the grid contains it. Bisection between the last failure and the first success follows. An image that is
    misclassified without a perturbation has strength zero.

    Attributes:
        grid: Strengths in ascending order.
        binary_search_steps: Number of bisection steps.
    """

    name = "search"
    source = "the bisection of https://arxiv.org/abs/1712.04248 over strengths"
    beta_meaning = "smallest strength"

    grid: tuple[float, ...]
    binary_search_steps: PositiveInt = 6

    @model_validator(mode="after")
    def _searchable(self) -> Self:
        if self.of.batch == "all":
            raise ConfigError(
                f"search requires a perturbation of independent images, '{self.of.name}' perturbs a whole batch"
            )
        if self.of.integer_beta:
            raise ConfigError(f"search requires a continuous beta; '{self.of.title}' takes an integer; leave it out")
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
    def passes(self) -> float | None:
        attempts = len(self.grid) + self.binary_search_steps
        return None if self.of.passes is None else 1 + attempts * (self.of.passes + 1)

    def balls(self) -> tuple[Threat | None, ...]:
        return tuple(self._at(beta).threat_model for beta in (self.beta, *self.grid))

    def in_pixels(self, std: float) -> Self:
        scale = std if "beta" in self.of.pixel_fields else 1.0
        grid = tuple(beta * scale for beta in self.grid)
        return self.model_copy(update={"of": self.of.in_pixels(std), "grid": grid, "beta": self.beta * scale})

    def nearest(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Nearest:
        import torch

        wrong = classifier.predict(x) != y
        low, high = x.new_zeros(len(x)), x.new_zeros(len(x)).where(wrong, torch.inf)
        best, broken = x.clone(), torch.zeros_like(wrong)

        def attempt(beta: float, rows: Tensor) -> None:
            """Perturb the images of these rows with one strength and record the successes."""
            x_adv = clip(self._at(beta)(classifier, x[rows].clone(), y[rows].clone(), seeds[rows.cpu()].clone()))
            broken[rows] |= x_adv.isnan().flatten(1).any(dim=1)
            is_adv = classifier.predict(x_adv) != y[rows]
            best[rows[is_adv]] = x_adv[is_adv].to(best)
            high[rows[is_adv]] = beta
            low[rows[~is_adv]] = beta

        for beta in self.grid:
            rows = high.isinf().nonzero().squeeze(1)
            if len(rows):
                attempt(beta, rows)
        for _ in range(self.binary_search_steps):
            middle = (low + high) / 2
            bracketed = (high.isfinite() & (high > 0)).nonzero().squeeze(1)
            for beta in middle[bracketed].unique().tolist():
                attempt(beta, bracketed[middle[bracketed] == beta])
        best[broken] = torch.nan  # a failure at one strength is a failure of the search
        return Nearest(best, high)

    def _at(self, beta: float) -> Perturbation:
        return self.of.model_copy(update={"beta": beta})
