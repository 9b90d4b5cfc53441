"""Attacks of foolbox 3, as `foolbox.<Class>`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gtn_bench.perturbations.library import LibraryAttack, seeded

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.classifiers import Classifier


class ViaFoolbox(LibraryAttack):
    """Any attack of foolbox. `drives: epsilon` gives beta to the call, which foolbox's own constructors lack."""

    name = "foolbox"
    source = "https://github.com/bethgelab/foolbox"
    packages = ("foolbox",)
    namespace = "foolbox.attacks"
    base_class = "foolbox.attacks.base:Attack"
    handled = ()

    def _parameters(self) -> dict[str, Any]:
        return {**super()._parameters(), "epsilon": ...}

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        from gtn_bench.classifiers import as_foolbox

        settings: dict[str, Any] = {**self.params, self.drives: self.beta}
        epsilon = settings.pop("epsilon", None)
        with seeded(seeds):
            _, clipped, _ = self.attack_class()(**settings)(as_foolbox(classifier), x, y, epsilons=epsilon)
        found: Tensor = clipped
        return found
