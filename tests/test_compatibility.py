"""Attacks of the three libraries as suites name them: a sample in every run, all of them on demand.

    pytest -m long tests/test_compatibility.py

runs every attack that the installed libraries have and writes `reports/compatibility.md`.
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
from torch import Tensor, nn

from gtn_bench.classifiers import Classifier
from gtn_bench.datasets import DATASETS
from gtn_bench.perturbations import PERTURBATIONS, LibraryAttack
from gtn_bench.perturbations.library import RADIUS, Radius, library_attacks
from gtn_bench.perturbations.referee import Outcome, judge, judge_sweep, look_at

LIBRARIES: tuple[type[LibraryAttack], ...] = tuple(
    cls for cls in PERTURBATIONS.values() if issubclass(cls, LibraryAttack)
)
IMAGES = 16

# Where an example needs more than a budget of 20: the strength, and parameters.
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
    """An attack with a strength at which it should do something, and a budget that costs little."""
    known = library.known[attack]
    budget = {name: 20 for name in known.budget[:1] if name != known.drives}
    beta, params = EXAMPLES.get(f"{library.name}.{attack}", (STRENGTH[known.norm], {}))
    return library(attack=attack, beta=beta, params={**budget, **params})


def run(attack: LibraryAttack, classifier: Classifier, x: Tensor, y: Tensor) -> Outcome:
    clean, seeds = look_at(classifier, x, y), torch.arange(len(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attack.check(DATASETS["digits" if x.shape[1] == 1 else "cifar10"]())
        if attack.drives == RADIUS:
            return judge_sweep([Radius(of=attack, beta=attack.beta)], classifier, clean, x, y, seeds)[0]
        return judge(attack, classifier, clean, x, y, seeds)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_every_attack_of_the_library_is_in_one_of_the_two_tables(library: type[LibraryAttack]) -> None:
    there = set(library_attacks(library))
    assert not set(library.known) & set(library.others)
    assert there <= set(library.known) | set(library.others)
    assert {*library.known, *library.others} - there <= {"Attack", "BrendelBethgeAttack"}  # abstract, and optional
    for attack in there & set(library.known):
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
def test_a_sample_of_all_attacks(name: str, classifier: Classifier, digits: tuple[Tensor, Tensor]) -> None:
    library, _, attack = name.partition(".")
    x, y = (part[:IMAGES] for part in digits)
    outcome = run(example(PERTURBATIONS[library], attack), classifier, x, y)  # type: ignore[arg-type]
    assert outcome.flags == ()
    assert (outcome.prediction == y).float().mean() < (outcome.clean_prediction == y).float().mean()


class Grey(nn.Module):
    """A network for grey images, on the mean of three channels."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x.mean(dim=1, keepdim=True))
        return out


class Row(NamedTuple):
    attack: str
    access: str
    beta: str
    verdict: str
    flags: str
    accuracy: str
    seconds: str


@pytest.mark.long
def test_all_attacks(network: nn.Module, classifier: Classifier, digits: tuple[Tensor, Tensor]) -> None:
    x, y = (part[:IMAGES] for part in digits)
    clean = (classifier.predict(x) == y).float().mean().item()
    colour = Classifier(Grey(network), (3, 8, 8), 10)
    rows = []
    for library in LIBRARIES:
        for name in library_attacks(library):
            title = f"{library.name}.{name}"
            if name in library.others:
                rows.append(Row(title, "", "", f"does not apply: {library.others[name]}", "", "", ""))
                continue
            known, started = library.known[name], time.perf_counter()
            attack = example(library, name)
            try:
                if known.channels == 3:
                    outcome = run(attack, colour, x.expand(-1, 3, -1, -1), y)
                else:
                    outcome = run(attack, classifier, x, y)
            except Exception as error:
                text = " ".join(str(error).split())[:160]
                verdict, flags, accuracy = f"broken: {type(error).__name__}: {text}", "", ""
            else:
                value = (outcome.prediction == y).float().mean().item()
                idle = value == clean or {"left its ball", "found nothing"} & {*outcome.flags}
                verdict, flags = "idle" if idle else "works", ", ".join(outcome.flags)
                accuracy = f"{value:.2f}"
            seconds = f"{time.perf_counter() - started:.1f}"
            norm = f", {attack.ball}" if attack.ball else ""
            beta = f"{known.drives} {attack.beta:g}{norm}"
            rows.append(Row(title, known.access, beta, verdict, flags, accuracy, seconds))
            print(*rows[-1], flush=True)
    applicable = [row for row in rows if not row.verdict.startswith("does not apply")]
    write_report(rows, clean)
    assert sum(row.verdict == "works" for row in applicable) >= 0.9 * len(applicable)


def write_report(rows: list[Row], clean: float) -> None:
    packages = {"art": "adversarial-robustness-toolbox", "foolbox": "foolbox", "torchattacks": "torchattacks"}
    lines = [
        "# Attacks of the libraries through gtn-bench",
        "",
        f"Every attack class of the three installed libraries, on `base_larger` trained for two epochs on `digits`: "
        f"{IMAGES} images, clean accuracy {clean:.2f}, small budgets, one thread. It shows what runs, not how strong "
        "an attack is. `pytest -m long tests/test_compatibility.py` makes this page.",
        "",
        "- **works**: ran, gave finite images in its ball, and fooled the learner on some of them.",
        "- **idle**: ran, and fooled it on none, or left its ball.",
        "- **broken**: the library raised the error.",
        "- **does not apply**: not an attack on image classifiers; a suite that names it is refused with the reason.",
        "- *flags* are those that results carry: `unchanged` says that of the images that did not fool the learner "
        "more than half came back as they were, which is how many black-box attacks give up.",
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
