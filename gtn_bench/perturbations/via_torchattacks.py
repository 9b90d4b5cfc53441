"""Attacks of torchattacks, as `torchattacks.<Class>`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gtn_bench.description import Mistake
from gtn_bench.perturbations.library import RADIUS, Known, LibraryAttack

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
    handled = ("model", "n_classes", "seed", "verbose")  # without a seed AutoAttack would take the time of day
    known = {
        "APGD": Known("eps", "linf"),
        "APGDT": Known("eps", "linf"),
        "AutoAttack": Known("eps", "linf"),
        "BIM": Known("eps", "linf"),
        "CW": Known(RADIUS, "l2"),
        "DIFGSM": Known("eps", "linf"),
        "DeepFool": Known(RADIUS, "l2"),
        "EADEN": Known(RADIUS, "l1"),
        "EADL1": Known(RADIUS, "l1"),
        "EOTPGD": Known("eps", "linf"),
        "FAB": Known("eps", "linf"),
        "FFGSM": Known("eps", "linf"),
        "FGSM": Known("eps", "linf"),
        "GN": Known("std", None, "none"),
        "JSMA": Known("gamma"),
        "Jitter": Known("eps", "linf"),
        "MIFGSM": Known("eps", "linf"),
        "NIFGSM": Known("eps", "linf"),
        "OnePixel": Known("pixels", None, "black", ("steps", "popsize")),
        "PGD": Known("eps", "linf"),
        "PGDL2": Known("eps", "l2"),
        "PGDRS": Known("eps", "linf"),
        "PGDRSL2": Known("eps", "l2"),
        "PIFGSM": Known("max_epsilon", "linf", channels=3),
        "PIFGSMPP": Known("max_epsilon", "linf", channels=3),
        "Pixle": Known("restarts", None, "black", ("restarts", "max_iterations")),
        "RFGSM": Known("eps", "linf"),
        "SINIFGSM": Known("eps", "linf"),
        "SPSA": Known("eps", "linf", "black", ("nb_iter", "nb_sample")),
        "SparseFool": Known(RADIUS, "l1"),
        "Square": Known("eps", "linf", "black", ("n_queries",)),
        "TIFGSM": Known("eps", "linf", channels=3),
        "TPGD": Known("eps", "linf"),
        "UPGD": Known("eps", "linf"),
        "VMIFGSM": Known("eps", "linf"),
        "VNIFGSM": Known("eps", "linf"),
    }
    others = {
        "Attack": "it is the base class of the others",
        "LGV": "it trains the classifier on, to attack another one",
        "MultiAttack": "it is a list of other attacks",
        "VANILA": "it returns the images as they are",
    }

    def make(self, classifier: Classifier, seed: int) -> Any:
        from gtn_bench.classifiers import as_torchattacks

        here = {"n_classes": classifier.num_classes, "seed": seed % 2**32, "verbose": False}
        handed = {key: value for key, value in here.items() if key in self._signature()}
        attack = self.attack_class()(as_torchattacks(classifier), **self.settings(), **handed)
        if self.target != "any":
            if "targeted" not in attack.supported_mode:
                raise Mistake(f"attack '{self.title}' cannot aim at a class; leave target out")
            attack.set_mode_targeted_by_label(quiet=True)
        return attack

    def generate(self, made: Any, classifier: Classifier, x: Tensor, aim: Tensor) -> Tensor:
        found: Tensor = made(x, aim)
        return found
