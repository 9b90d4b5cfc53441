"""Minimal-norm attacks of the libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import SerializeAsAny

from gtn_bench.config.threat import Threat
from gtn_bench.perturbations.base import Nearest, clip, lp_norm
from gtn_bench.perturbations.libraries.base import LibraryAttack
from gtn_bench.perturbations.searches import SearchWith

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier


class Radius(SearchWith):
    """The result of a minimal-norm attack: an image counts as adversarial if its distance is at most beta.

    Attributes:
        of: The attack.
    """

    name = "radius"
    beta_meaning = "radius"
    expected_to_succeed = True
    of: SerializeAsAny[LibraryAttack]

    @property
    def threat_model(self) -> Threat | None:
        return Threat(self.of.norm, self.beta) if self.of.norm else None

    @property
    def search_region(self) -> Threat | None:
        return None if self.of.targeted else self.threat_model

    def nearest(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Nearest:
        import torch

        assert self.of.norm is not None
        label = self.of.labels(classifier, x, y, seeds)
        x_adv = clip(self.of.run(classifier, x.clone(), label, seeds).detach().to(x))
        broken = x_adv.isnan().flatten(1).any(dim=1)
        is_adv, is_adv_clean = ((classifier.predict(images) == label) == self.of.targeted for images in (x_adv, x))
        x_adv = x_adv.where(((is_adv & ~is_adv_clean) | broken).view(-1, 1, 1, 1), x)
        strength = lp_norm(x_adv - x, self.of.norm)
        return Nearest(x_adv, strength.where(is_adv | is_adv_clean, torch.inf))
