"""Searches that call another perturbation: what both have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import SerializeAsAny

from gtn_bench.config.threat import Threat
from gtn_bench.data.base import Dataset
from gtn_bench.perturbations.base import Access, Batch, MinimalPerturbation, Perturbation, Size

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.losses import LossName


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
    def pixel_sizes(self) -> Mapping[str, Size]:
        return self.of.pixel_sizes

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

    @property
    def refills(self) -> bool:  # type: ignore[override]
        """True if the other perturbation refills its batches."""
        return self.of.refills

    def check(self, dataset: Dataset) -> None:
        self.of.check(dataset)

    def try_out(self, dataset: Dataset) -> None:
        self.of.try_out(dataset)

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

    def once(self) -> Self:
        return self._around(self.of.once()) or self

    def _around(self, of: Perturbation | None) -> Self | None:
        """Return the search with another perturbation; None without one, or if its ball is another one."""
        searched = self.variant(of=of) if of else None
        return searched if searched and searched.balls() == self.balls() else None

    def balls(self) -> tuple[Threat | None, ...]:
        """Return the balls of all strengths that the search may try first."""
        return (self.threat_model,)

    def rng_identity(self) -> dict[str, Any]:
        return self.of.rng_identity()
