"""Instances of every perturbation of the table, for tests of what holds for all of them."""

from __future__ import annotations

from gtn_bench.data import Dataset
from gtn_bench.perturbations import PERTURBATIONS, Perturbation

EXAMPLES: list[Perturbation] = [
    PERTURBATIONS["fgsm"](beta=0.02, steps=3),
    PERTURBATIONS["fgsm"](beta=0.02, steps=3, epsilon=0.05, random_start=True, loss="margin"),
    PERTURBATIONS["pgd"](beta=0.05, steps=3),
    PERTURBATIONS["pgd"](beta=0.5, steps=3, norm="l2", loss="dlr"),
    PERTURBATIONS["pgd"](beta=0.05, steps=3, keep="best"),
    PERTURBATIONS["apgd"](beta=0.05, steps=4),
    PERTURBATIONS["apgd"](beta=0.3, steps=4, norm="l2", loss="dlr", targets=2),
    PERTURBATIONS["square"](beta=0.1, queries=20),
    PERTURBATIONS["square"](beta=0.5, queries=20, norm="l2"),
    PERTURBATIONS["strong"](beta=0.1, runs=3, steps=3, queries=20),
    PERTURBATIONS["strong"](beta=0.5, runs=4, steps=2, queries=20, norm="l2"),
    PERTURBATIONS["lbfgs"](beta=1.5),
    PERTURBATIONS["lbfgs"](beta=3.0, target="next"),
    PERTURBATIONS["lbfgs-penalty"](beta=1.0, steps=3),
    PERTURBATIONS["lbfgs-penalty"](beta=1.0, steps=3, step="gradient"),
    PERTURBATIONS["lbfgs-penalty"](beta=1.0, steps=3, penalty="batch"),
    PERTURBATIONS["lbfgs-penalty"](beta=1.0, steps=3, beta_parameter="weight"),
    PERTURBATIONS["noise"](beta=0.3),
    PERTURBATIONS["noise"](beta=0.3, distribution="uniform"),
    PERTURBATIONS["blur"](beta=1.0),
    PERTURBATIONS["brightness"](beta=0.2),
    PERTURBATIONS["brightness"](beta=0.2, towards="black"),
    PERTURBATIONS["contrast"](beta=0.5),
    PERTURBATIONS["translation"](beta=1.5),
    PERTURBATIONS["rotation"](beta=20.0),
    PERTURBATIONS["salt-and-pepper"](beta=0.1),
    PERTURBATIONS["quantization"](beta=2.0),
    PERTURBATIONS["occlusion"](beta=2.5),
    PERTURBATIONS["art"](
        attack="BasicIterativeMethod", beta_parameter="eps", beta=0.1, params={"eps_step": 0.05, "max_iter": 3}
    ),
    PERTURBATIONS["foolbox"](attack="LinfPGD", beta_parameter="epsilon", beta=0.1, params={"steps": 3}),
    PERTURBATIONS["torchattacks"](attack="PGD", beta_parameter="eps", beta=0.1, params={"alpha": 0.05, "steps": 3}),
]


def check_and_try(attack: Perturbation, dataset: Dataset) -> None:
    """Check an attack as the planner does, then try it as a run does."""
    attack.check(dataset)
    attack.try_out(dataset)
