"""Attacks of torchattacks, as `torchattacks.<Class>`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset
from gtn_bench.perturbations.libraries.base import LibraryAttack
from gtn_bench.perturbations.libraries.constructors import Parameters
from gtn_bench.perturbations.libraries.known import RADIUS, Known
from gtn_bench.perturbations.libraries.signatures import Value

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier

_NORMS: dict[str, tuple[Value, ...]] = {"norm": ("Linf", "L2")}  # FAB also documents L1, but fails with it
_NOISES: dict[str, tuple[Value, ...]] = {"noise_type": ("guassian", "uniform")}
# The targeted mode of FAB takes the true labels. The others have none.
_UNTARGETED = ("APGD", "APGDT", "AutoAttack", "DeepFool", "FAB", "GN", "PIFGSM", "SparseFool", "TPGD")
_RATIO = {"dlr": 3}  # a loss of the three largest logits
_EAD = Known(RADIUS, "l1", loss="logits", returns_input_on_failure=True, steps="max_iterations")
_PATCHWISE = Known("max_epsilon", "linf", channels=3, steps="num_iter_set")


class ViaTorchattacks(LibraryAttack):
    """Any attack of torchattacks."""

    name = "torchattacks"
    source = "https://github.com/Harry24k/adversarial-attacks-pytorch"
    packages = ("torchattacks",)
    namespace = "torchattacks"
    base_class = "torchattacks.attack:Attack"
    handled = ("model", "n_classes", "seed", "verbose")  # without a seed AutoAttack would use the time of day
    known = {
        "APGD": Known(
            *("eps", "linf"),
            loss_if={"dlr": "logits"},
            returns_input_on_failure=True,
            choices=_NORMS | {"loss": ("ce", "dlr")},
            losses={"cross-entropy": "ce", "dlr": "dlr"},
            min_classes_if=_RATIO,
        ),
        "APGDT": Known("eps", "linf", loss="logits", returns_input_on_failure=True, choices=_NORMS, min_classes=4),
        "AutoAttack": Known(
            *("eps", "linf"),
            loss=None,  # all versions but this one contain Square
            loss_if={"rand": "logits"},
            returns_input_on_failure=True,
            choices=_NORMS | {"version": ("standard", "plus", "rand")},
            min_classes_if={"standard": 4, "plus": 4, "rand": 3},
        ),
        "BIM": Known("eps", "linf"),
        "CW": Known(RADIUS, "l2", loss="logits", returns_input_on_failure=True),
        "DIFGSM": Known("eps", "linf", square=True),
        "DeepFool": Known(RADIUS, "l2", loss="logits"),
        "EADEN": _EAD,
        "EADL1": _EAD,
        "EOTPGD": Known("eps", "linf"),
        "FAB": Known("eps", "linf", loss="logits", returns_input_on_failure=True, choices=_NORMS),
        "FFGSM": Known("eps", "linf"),
        "FGSM": Known("eps", "linf"),
        "GN": Known("std", None, "none"),
        "JSMA": Known("gamma", loss="logits", min_classes_if={"untargeted": 10}),  # its target is (label + 1) % 10
        "Jitter": Known("eps", "linf", loss="logits"),  # of which it takes the softmax after a normalization
        "MIFGSM": Known("eps", "linf"),
        "NIFGSM": Known("eps", "linf"),
        "OnePixel": Known("pixels", None, "black", ("steps", "popsize")),
        "PGD": Known("eps", "linf"),
        "PGDL2": Known("eps", "l2"),
        # They average probabilities over noise, which seldom saturate all.
        "PGDRS": Known("eps", "linf", loss="logits", choices=_NOISES),
        "PGDRSL2": Known("eps", "l2", loss="logits", choices=_NOISES),
        "PIFGSM": _PATCHWISE,
        "PIFGSMPP": _PATCHWISE,
        "Pixle": Known(
            *("restarts", None, "black", ("restarts", "max_iterations")),
            choices={
                "pixel_mapping": ("random", "similarity", "similarity_random", "distance", "distance_random"),
            },
            square=True,
            steps="max_iterations",
        ),
        "RFGSM": Known("eps", "linf"),
        "SINIFGSM": Known("eps", "linf"),
        "SPSA": Known("eps", "linf", "black", ("nb_iter", "nb_sample"), steps="nb_iter"),
        "SparseFool": Known(RADIUS, "l1", loss="logits"),
        "Square": Known(
            *("eps", "linf", "black", ("n_queries",)),
            returns_input_on_failure=True,
            choices=_NORMS | {"loss": ("margin", "ce")},
            steps="n_queries",
            losses={"cross-entropy": "ce", "margin": "margin"},
        ),
        "TIFGSM": Known(
            "eps", "linf", choices={"kernel_name": ("gaussian", "linear", "uniform")}, channels=3, square=True
        ),
        "TPGD": Known("eps", "linf"),
        "UPGD": Known(
            *("eps", "linf"),
            loss_if={"margin": "logits", "dlr": "logits"},
            choices={"loss": ("ce", "margin", "dlr")},
            losses={"cross-entropy": "ce", "margin": "margin", "dlr": "dlr"},
            min_classes_if=_RATIO,
        ),
        "VMIFGSM": Known("eps", "linf"),
        "VNIFGSM": Known("eps", "linf"),
    }
    others = {
        "Attack": "it is the base class of the others",
        "LGV": "it trains the classifier further, to attack another one",
        "MultiAttack": "it is a list of other attacks",
        "VANILA": "it returns the images as they are",
    }

    trial_budget = {
        **{"steps": 2, "n_restarts": 1, "eot_iter": 2, "binary_search_steps": 2, "n_queries": 10, "restarts": 2},
        **{"nb_iter": 2, "num_iter_set": 2, "N": 2, "m": 2, "n_target_classes": 2},
        "max_iterations": 10,  # EADEN and EADL1 require as many
        "max_patches": 2,  # max_iterations of Pixle
        "gamma": 0.001,  # share of the pixels that JSMA changes
    }

    def check(self, dataset: Dataset) -> None:
        super().check(dataset)
        if self.targeted and self.attack in _UNTARGETED:
            raise ConfigError(f"attack '{self.title}' has no targeted mode; leave target out")

    def make(self, classifier: Classifier, seed: int) -> Any:
        from gtn_bench.inference.views import as_torchattacks

        own = {"n_classes": classifier.num_classes, "seed": seed % 2**32, "verbose": False}
        own = {key: value for key, value in own.items() if key in self._signature()}
        attack = self.attack_class()(as_torchattacks(classifier), **self.settings(), **own)
        if self.target != "untargeted":
            if "targeted" not in attack.supported_mode:
                raise ConfigError(f"attack '{self.title}' has no targeted mode; leave target out")
            attack.set_mode_targeted_by_label(quiet=True)
        return attack

    def inner_attacks(self, made: Any) -> Iterable[Any]:
        return made._autoattack.attacks if self.attack == "AutoAttack" else ()

    def generate(self, made: Any, classifier: Classifier, x: Tensor, label: Tensor) -> Tensor:
        found: Tensor = made(x, label)
        return found

    @classmethod
    def read_constructor(cls, attack_class: type) -> Parameters:
        """Return the parameters of a constructor, with types from the docstring: ``steps (int): number of steps``.

        Args:
            attack_class: The attack class.
        """
        types = dict(re.findall(r"^\s*(\w+) ?\(([^)]*)\) ?:", attack_class.__doc__ or "", re.MULTILINE))
        return {
            name: parameter.replace(annotation=types[name])
            if name in types and type(parameter.default) in (int, tuple)  # other defaults tell the type
            else parameter
            for name, parameter in super().read_constructor(attack_class).items()
        }
