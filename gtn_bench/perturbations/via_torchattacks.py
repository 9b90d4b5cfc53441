"""Attacks of torchattacks, as `torchattacks.<Class>`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtn_bench.perturbations.library import LibraryAttack, seeded

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.classifiers import Classifier


class ViaTorchattacks(LibraryAttack):
    """Any attack of torchattacks."""

    name = "torchattacks"
    source = "https://github.com/Harry24k/adversarial-attacks-pytorch"
    packages = ("torchattacks",)
    namespace = "torchattacks"
    base_class = "torchattacks.attack:Attack"
    handled = ("model",)

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        from gtn_bench.classifiers import as_torchattacks

        with seeded(seeds):
            attack = self.attack_class()(as_torchattacks(classifier), **self.params, **{self.drives: self.beta})
            found: Tensor = attack(x, y)
        return found
