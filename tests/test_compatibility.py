"""Run the attacks of the three libraries: a sample in every test run, all of them on demand.

``pytest -m long tests/test_compatibility.py`` runs every attack of the installed libraries and writes
`reports/compatibility.md`.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from helpers.flags import flags
from helpers.perturbations import check_and_try
from torch import Tensor, nn

from gtn_bench.data import DATASETS
from gtn_bench.evaluation.evaluate import AttackResult, evaluate, evaluate_clean, evaluate_sweep
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations import PERTURBATIONS, LibraryAttack
from gtn_bench.perturbations.libraries.minimal import Radius
from gtn_bench.perturbations.libraries.named import attack_classes

LIBRARIES: tuple[type[LibraryAttack], ...] = tuple(
    cls for cls in PERTURBATIONS.values() if issubclass(cls, LibraryAttack)
)
IMAGES = 16

# Strength and parameters of the attacks that have no effect at the default strength with a budget of 20.
EXAMPLES: dict[str, tuple[float, dict[str, Any]]] = {
    "art.AutoAttack": (0.2, {}),
    "art.BoundaryAttack": (2.0, {"max_iter": 50}),
    "art.CarliniL0Method": (60.0, {"max_iter": 20, "learning_rate": 0.1, "binary_search_steps": 5}),
    "art.CarliniL2Method": (2.0, {"max_iter": 20, "learning_rate": 0.1, "binary_search_steps": 5}),
    "art.CarliniLInfMethod": (0.5, {"max_iter": 20, "learning_rate": 0.1}),
    "art.ElasticNet": (8.0, {"max_iter": 30, "binary_search_steps": 5, "learning_rate": 0.1}),
    "art.GeoDA": (2.0, {"max_iter": 1000, "sub_dim": 8}),
    "art.HopSkipJump": (2.0, {"max_iter": 5, "max_eval": 500}),
    "art.PixelAttack": (5, {"max_iter": 5}),
    "art.SignOPTAttack": (2.0, {"query_limit": 1000, "max_iter": 20, "k": 20, "num_trial": 20}),
    "art.SimBA": (0.2, {"max_iter": 200}),
    "art.SaliencyMapMethod": (1.0, {"theta": 0.5}),
    "art.SpatialTransformation": (30.0, {"num_rotations": 7}),
    "art.ThresholdAttack": (64, {"max_iter": 5}),
    "art.UniversalPerturbation": (0.3, {"max_iter": 5}),
    "art.VirtualAdversarialMethod": (3.0, {}),
    "art.Wasserstein": (2.0, {"max_iter": 20, "regularization": 1.0}),
    "art.ZooAttack": (
        2.0,
        {
            "max_iter": 60,
            "use_resize": False,
            "use_importance": False,
            "nb_parallel": 32,
            "learning_rate": 0.1,
            "initial_const": 1.0,
        },
    ),
    "foolbox.BoundaryAttack": (2.0, {"steps": 200}),
    "foolbox.DatasetAttack": (6.0, {}),
    "foolbox.EADAttack": (5.0, {"steps": 100, "binary_search_steps": 4}),
    "foolbox.GaussianBlurAttack": (4.0, {"steps": 50}),
    "foolbox.GenAttack": (0.5, {"steps": 50}),
    "foolbox.HopSkipJumpAttack": (2.0, {"steps": 5, "max_gradient_eval_steps": 200}),
    "foolbox.InversionAttack": (8.0, {}),
    "foolbox.L2CarliniWagnerAttack": (2.0, {"steps": 100, "binary_search_steps": 4}),
    "foolbox.LinfAdditiveUniformNoiseAttack": (0.6, {}),
    "foolbox.SaltAndPepperNoiseAttack": (4.0, {"steps": 50}),
    "foolbox.SpatialAttack": (30, {"num_rotations": 5}),
    "foolbox.VirtualAdversarialAttack": (1.0, {"steps": 5}),
    "torchattacks.EADEN": (5.0, {"binary_search_steps": 4, "lr": 0.1}),
    "torchattacks.EADL1": (5.0, {"binary_search_steps": 4, "lr": 0.1}),
    "torchattacks.OnePixel": (3, {"steps": 5}),
    "torchattacks.PGDRS": (0.4, {"alpha": 0.05}),
    "torchattacks.Pixle": (5, {"x_dimensions": [1, 3], "y_dimensions": [1, 3]}),
    "torchattacks.Square": (0.2, {"n_queries": 200}),
    "torchattacks.JSMA": (0.3, {}),
}
for _norm in ("L0", "L1", "L2", "Linfinity"):
    EXAMPLES[f"foolbox.{_norm}BrendelBethgeAttack"] = (5.0 if _norm != "L0" else 20.0, {"steps": 30})
STRENGTH = {"l0": 30.0, "l1": 8.0, "l2": 1.5, "linf": 0.2, None: 0.2}


def example(library: type[LibraryAttack], attack: str) -> LibraryAttack:
    """Return an attack with a strength at which it has an effect and a small budget."""
    known = library.known[attack]
    budget = {name: 20 for name in known.budget[:1] if name != known.beta_parameter}
    beta, params = EXAMPLES.get(f"{library.name}.{attack}", (STRENGTH[known.norm], {}))
    return library(attack=attack, beta=beta, params={**budget, **params})


def run(attack: LibraryAttack, classifier: Classifier, x: Tensor, y: Tensor) -> AttackResult:
    """Check an attack as the planner does, and evaluate it on images (N, C, H, W) with labels (N,)."""
    clean, seeds = evaluate_clean(classifier, x, y), torch.arange(len(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_and_try(attack, DATASETS["digits" if x.shape[1] == 1 else "cifar10"]())
        if attack.minimal_norm:
            return evaluate_sweep([Radius(of=attack, beta=attack.beta)], classifier, clean, x, y, seeds)[0]
        return evaluate(attack, classifier, clean, x, y, seeds)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_every_attack_class_is_in_exactly_one_table(library: type[LibraryAttack]) -> None:
    installed = set(attack_classes(library))
    assert not set(library.known) & set(library.others)
    assert installed <= set(library.known) | set(library.others)
    assert {*library.known, *library.others} - installed <= {"Attack", "BrendelBethgeAttack"}  # abstract, and optional
    for attack in installed & set(library.known):
        assert set(library.known[attack].budget) <= set(example(library, attack).parameters())


@pytest.mark.parametrize(
    "name",
    [
        "art.FastGradientMethod",
        "art.DeepFool",
        "art.SquareAttack",
        "foolbox.L2DeepFoolAttack",
        "foolbox.DDNAttack",
        "foolbox.L2ContrastReductionAttack",
        "foolbox.InversionAttack",
        "torchattacks.APGD",
        "torchattacks.PGDL2",
        "torchattacks.CW",
        "torchattacks.Square",
    ],
)
def test_attack_reduces_accuracy_and_passes_all_checks(
    name: str, classifier: Classifier, digits: tuple[Tensor, Tensor]
) -> None:
    library, _, attack = name.partition(".")
    x, y = (part[:IMAGES] for part in digits)
    result = run(example(PERTURBATIONS[library], attack), classifier, x, y)  # type: ignore[arg-type]
    assert flags(result) == []
    assert (result.prediction == y).float().mean() < (result.clean_prediction == y).float().mean()


class Gray(nn.Module):
    """Network for grayscale images, applied to the mean of three channels."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x.mean(dim=1, keepdim=True))
        return out


class Row(NamedTuple):
    """A row of the report: one attack class."""

    attack: str
    access: str
    beta: str
    verdict: str
    flags: str
    accuracy: str
    seconds: str


@pytest.mark.long
def test_most_attacks_of_the_libraries_work(
    network: nn.Module, classifier: Classifier, digits: tuple[Tensor, Tensor]
) -> None:
    x, y = (part[:IMAGES] for part in digits)
    clean = (classifier.predict(x) == y).float().mean().item()
    color = Classifier(Gray(network), (3, 8, 8), 10)
    rows = []
    for library in LIBRARIES:
        for name in attack_classes(library):
            title = f"{library.name}.{name}"
            if name in library.others:
                rows.append(Row(title, "", "", f"does not apply: {library.others[name]}", "", "", ""))
                continue
            known, started = library.known[name], time.perf_counter()
            attack = example(library, name)
            try:
                if known.channels == 3:
                    result = run(attack, color, x.expand(-1, 3, -1, -1), y)
                else:
                    result = run(attack, classifier, x, y)
            except Exception as error:
                text = " ".join(str(error).split())[:160]
                verdict, failed, accuracy = f"broken: {type(error).__name__}: {text}", "", ""
            else:
                value = (result.prediction == y).float().mean().item()
                idle = value == clean or {"outside_ball", "attack_failed"} & set(flags(result))
                verdict, failed = "idle" if idle else "works", ", ".join(flags(result))
                accuracy = f"{value:.2f}"
            seconds = f"{time.perf_counter() - started:.1f}"
            norm = f", {attack.norm}" if attack.norm else ""
            beta = f"{known.beta_parameter} {attack.beta:g}{norm}"
            rows.append(Row(title, known.access, beta, verdict, failed, accuracy, seconds))
            print(*rows[-1], flush=True)
    applicable = [row for row in rows if not row.verdict.startswith("does not apply")]
    write_report(rows, clean)
    assert sum(row.verdict == "works" for row in applicable) >= 0.9 * len(applicable)


def write_report(rows: list[Row], clean: float) -> None:
    """Write the rows and the clean accuracy to `reports/compatibility.md`."""
    packages = {"art": "adversarial-robustness-toolbox", "foolbox": "foolbox", "torchattacks": "torchattacks"}
    lines = [
        "# Library attacks through gtn-bench",
        "",
        "The table lists every attack class of the installed versions of ART, foolbox and torchattacks. "
        f"Each attacks `base_larger`, trained for two epochs on `digits`: {IMAGES} images, clean accuracy {clean:.2f}, "
        "small budgets, one thread. The table shows whether an attack runs, not how strong it is. "
        "To regenerate this page, run `pytest -m long tests/test_compatibility.py`.",
        "",
        "- **works**: the attack ran, returned finite images within its ball, and some of them are adversarial.",
        "- **idle**: the attack ran, but found no adversarial example or left its ball.",
        "- **broken**: the library raised the error shown.",
        "- **does not apply**: not an attack on image classifiers. A suite that names it is refused with the reason "
        "shown.",
        "- *flags*: the sanity checks that fail. `unchanged` means that more than half of the images that are not "
        "adversarial were returned unchanged. Many black-box attacks do this when they give up.",
        "",
        "| library | version | works | idle | broken | does not apply |",
        "|---|---|---|---|---|---|",
    ]
    for library, package in packages.items():
        count = Counter(row.verdict.split(":")[0] for row in rows if row.attack.startswith(library + "."))
        numbers = [count[verdict] for verdict in ("works", "idle", "broken", "does not apply")]
        lines.append(f"| {library} | {version(package)} | {' | '.join(map(str, numbers))} |")
    lines += ["", f"| {' | '.join(Row._fields)} |", "|---" * len(Row._fields) + "|"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    page = Path(__file__).parent.parent / "reports" / "compatibility.md"
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
