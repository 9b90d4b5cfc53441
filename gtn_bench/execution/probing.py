"""The choice of probes: which attacks of a run are checked by extra attacks, within a budget of passes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from gtn_bench.analysis.grades import EXHAUSTED
from gtn_bench.checks.attacks.table import PROBES, SUBSAMPLE, Probe
from gtn_bench.config.threat import Threat
from gtn_bench.execution.finished import Finished, Probing
from gtn_bench.planning.cells import Cell, Learner, Plan
from gtn_bench.planning.keys import Keys
from gtn_bench.store.cache import Store
from gtn_bench.store.keys import key_for

BASIC_SHARE = 0.25  # of the passes of a learner's own cells
OTHERS = 2  # learners whose adversarial examples are transferred
_EXCEEDED = "not run: the budget of passes is used up; set checks: full"


class _Attacked(NamedTuple):
    """A finished cell, as far as the choice depends on it."""

    cell: Cell
    keys: tuple[str, ...]
    accuracy: float
    clean_accuracy: float
    images: int  # of the sub-sample
    survivors: int  # of which the attack leaves correctly classified
    passes: float  # of all images


def probings(
    plan: Plan, keys: Keys, finished: Finished, store: Store, device: str, mine: frozenset[Learner] | None = None
) -> Iterator[Probing]:
    """Yield the probes of a run: those of the strongest attack in each ball of each learner.

    With ``checks: basic``, the passes that the probes of a learner are expected to take stay below a share of those
    that its cells took. Balls in which about half of the images are robust come first, because weak attacks show there.

    Args:
        plan: The plan.
        keys: Its content keys.
        finished: The outcome of its tasks.
        store: The cache.
        device: Type of the device.
        mine: The learners whose attacks are checked; None for all. Their examples are transferred from others, too, if
            these are trained.
    """
    of_learner: dict[Learner, list[_Attacked]] = {}
    for cell, cell_keys in zip(plan.cells, keys.cells, strict=True):
        learner = cell.learner
        if learner in finished.rejected or learner in finished.duplicates or finished.failure(cell_keys):
            continue
        if mine is None or learner in mine:
            of_learner.setdefault(learner, []).append(_attacked(cell, cell_keys, store))
        elif learner in of_learner or store.holds("learners", keys.learners[learner][0]):
            of_learner.setdefault(learner, [])
    others_of = others_among(of_learner)
    for learner, cells in of_learner.items():
        others = {keys.learners[other][0]: other for other in others_of(learner)}
        budget = math.inf if plan.suite.checks == "full" else BASIC_SHARE * sum(each.passes for each in cells)
        left = [each for each in _strongest(cells) if each.accuracy > EXHAUSTED]
        for attacked in sorted(left, key=_distance_from_half):
            probing = Probing(attacked.cell, attacked.keys[0], attacked.keys[1], others)
            for name, probe in PROBES.items():
                if not probe.applies(attacked.cell.perturbation, learner.dataset):
                    continue
                probing.checks[name] = probe.checks
                passes = _expected_passes(probe, attacked)
                if passes > budget:
                    probing.skipped[name] = _EXCEEDED
                    continue
                budget -= passes
                probing.probes[_key(probing, name, device)] = name
            yield probing


def batch_probes(keys: Keys, finished: Finished, device: str) -> dict[Cell, tuple[str, str]]:
    """Return the probes of learners whose batch norms use the statistics of the evaluated batch.

    Args:
        keys: The content keys of the plan.
        finished: The outcome of its tasks.
        device: Type of the device.

    Returns:
        For the widest cell of each such learner the key of the probe and that of the learner.
    """
    found = {}
    for learner, (_, cell) in keys.clean.items():
        skipped = learner in finished.rejected or learner in finished.duplicates
        if cell.in_train_mode and not skipped and not finished.failure(keys.learners[learner]):
            learner_key = keys.learners[learner][0]
            content = {"learner": learner_key, "probe": "batch_coupling", "images": min(cell.samples, SUBSAMPLE)}
            found[cell] = key_for(content, code={"gtn_bench.checks.attacks.table"}, device=device), learner_key
    return found


def _attacked(cell: Cell, cell_keys: tuple[str, ...], store: Store) -> _Attacked:
    tensors, metadata = store.load("cells", cell_keys[0], "np")
    correct = tensors["prediction"] == tensors["label"]
    clean = tensors["clean_prediction"] == tensors["label"]
    passes = (metadata["cost"]["forwards"] + metadata["cost"]["backwards"]) * len(correct)
    images = min(len(correct), SUBSAMPLE)
    return _Attacked(cell, cell_keys, correct.mean(), clean.mean(), images, int(correct[:images].sum()), passes)


def _expected_passes(probe: Probe, attacked: _Attacked) -> float:
    """Return an upper estimate of the passes of a probe. Attacks in fixed batches see all images of the sub-sample."""
    perturbation = attacked.cell.perturbation
    in_fixed_batches = perturbation.batch != "any"
    images = attacked.images if probe.images == "all" or in_fixed_batches else attacked.survivors
    return probe.passes(perturbation) * images * attacked.cell.learner.mode.forward_samples


def _strongest(cells: list[_Attacked]) -> list[_Attacked]:
    """Return the strongest white-box attack in each ball, or the strongest attack if there is no white-box attack."""
    balls: dict[Threat, list[_Attacked]] = {}
    for each in cells:
        region = each.cell.search_region
        if region and region.epsilon > 0:
            balls.setdefault(region, []).append(each)
    found = []
    for group in balls.values():
        white = [each for each in group if each.cell.perturbation.access == "white"]
        found.append(min(white or group, key=lambda each: each.accuracy))
    return found


def _distance_from_half(attacked: _Attacked) -> float:
    return abs(attacked.accuracy - attacked.clean_accuracy / 2)


def others_among(learners: Iterable[Learner]) -> Callable[[Learner], list[Learner]]:
    """Return a function that returns the learners whose adversarial examples are transferred to a learner.

    They are the first ones of the same seed and architecture; then those that share one of both; then any.

    Args:
        learners: All learners, each once.
    """
    alike: dict[tuple[int | None, str | None], list[tuple[int, Learner]]] = defaultdict(list)
    for place, each in enumerate(learners):
        for seed in (each.seed, None):
            for architecture in (each.architecture_label, None):
                group = alike[seed, architecture]
                if len(group) <= OTHERS:  # no later one is chosen, even if the learner itself is in the group
                    group.append((place, each))

    def others_of(learner: Learner) -> list[Learner]:
        seed, architecture = learner.seed, learner.architecture_label
        pairs = (seed, architecture), (seed, None), (None, architecture), (None, None)
        candidates = dict(each for pair in pairs for each in alike[pair])

        def order(place: int) -> tuple[int, int]:
            other = candidates[place]
            return (other.seed != seed) + (other.architecture_label != architecture), place

        return [candidates[place] for place in sorted(candidates, key=order) if candidates[place] != learner][:OTHERS]

    return others_of


def _key(probing: Probing, name: str, device: str) -> str:
    content = {"cell": probing.cell_key, "probe": name, "images": SUBSAMPLE}
    if name == "transfer":
        content["others"] = list(probing.others)
    return key_for(content, code={"gtn_bench.checks.attacks.table"}, device=device)
