"""Attacks of the Adversarial Robustness Toolbox, as `art.<Class>`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from gtn_bench.perturbations.library import LibraryAttack, seeded

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.classifiers import Classifier


class ViaART(LibraryAttack):
    """Any evasion attack of the Adversarial Robustness Toolbox on a classifier with gradients."""

    name = "art"
    source = "https://github.com/Trusted-AI/adversarial-robustness-toolbox"
    packages = ("adversarial-robustness-toolbox",)
    namespace = "art.attacks.evasion"
    base_class = "art.attacks.attack:EvasionAttack"
    handled = ("estimator", "classifier", "verbose", "summary_writer", "targeted", "batch_size")

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        import torch
        from torch.nn import functional as F

        from gtn_bench.classifiers import as_art

        attack = self.attack_class()
        here = {"verbose": False, "targeted": False, "batch_size": self.batch_size}
        known = inspect.signature(attack.__init__).parameters
        settings = {key: value for key, value in here.items() if key in known}
        with seeded(seeds):
            made = attack(as_art(classifier), **self.params, **{self.drives: self.beta}, **settings)
            found = made.generate(x.cpu().numpy(), F.one_hot(y, classifier.num_classes).cpu().numpy())
        return torch.from_numpy(found).to(x)
