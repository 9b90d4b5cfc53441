"""What is known about cells beside their own results: probes, proofs, and the checks of their models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from gtn_bench.analysis.checks import Array, Evidence
from gtn_bench.analysis.statistics import binomial_interval
from gtn_bench.analysis.tables import CERTIFICATE_COLUMNS, LEARNER
from gtn_bench.config.threat import Threat
from gtn_bench.execution.finished import Finished, learner_identity
from gtn_bench.planning.cells import Cell, Certification, Learner
from gtn_bench.planning.keys import Keys
from gtn_bench.store.cache import Store

# Warnings about a model that say nothing of its attacks, or whose effect on each attack is measured.
_NOT_OF_CELLS = ("identical", "zero_gradient", "saturated_loss", "no_gradient")
# A network that is trained here sees the same images in training and in evaluation, whatever its accuracy.
_NOT_OF_TRAINED = ("not_normalized", "normalized_twice", "channel_order", "layout", "pixel_range")


def evidence_of(cell: Cell, cell_key: str, finished: Finished, store: Store) -> dict[str, Evidence]:
    """Return what probes found about the attack of a cell, by name of the check.

    Args:
        cell: The cell.
        cell_key: Its key.
        finished: The outcome of the tasks of a plan.
        store: The cache.
    """
    found: dict[str, Evidence] = {}
    if cell.in_train_mode and (key := finished.batch_probes.get(cell.learner)):
        found |= _stored(key, ("batch_coupling",), finished, store)
    if probing := finished.probings.get(cell_key):
        for key, name in probing.probes.items():
            found |= _stored(key, probing.checks[name], finished, store)
        for name, reason in probing.skipped.items():
            found |= {check: Evidence(0, 0, reason) for check in probing.checks[name]}
    return found


def _stored(key: str, checks: tuple[str, ...], finished: Finished, store: Store) -> dict[str, Evidence]:
    if error := finished.failures.get(key):
        reason = f"failed: {error.strip().splitlines()[-1].strip()}"
        return {check: Evidence(0, 0, reason) for check in checks}
    outcomes: Mapping[str, Any] = store.metadata("probes", key)
    return {
        check: Evidence(each["count"], each["n"], each["note"]) for check in checks if (each := outcomes.get(check))
    }


def model_flags(learner: Learner, cell: Cell, finished: Finished) -> tuple[str, ...]:
    """Return the warnings about the model of a cell that make its accuracy doubtful.

    Of trained learners, the first seed of each teacher, architecture and mode is examined.

    Args:
        learner: The learner.
        cell: The cell.
        finished: The outcome of the tasks of a plan.
    """
    examined = finished.findings.get(learner)
    if examined is None:
        same = (found for other, found in finished.findings.items() if _alike(other, learner))
        examined = next(same, [])
    names = [each["name"] for each in examined if each["severity"] == "warning" and each["name"] not in _NOT_OF_CELLS]
    if learner.mode.trains:
        names = [name for name in names if name not in _NOT_OF_TRAINED]
    if not cell.perturbation.uses_gradient:
        names = [name for name in names if name != "gradient_fails"]
    return tuple(names)


def _alike(one: Learner, other: Learner) -> bool:
    return one.mode.trains and (one.taught_by, one.architecture_label, one.mode_label) == (
        other.taught_by,
        other.architecture_label,
        other.mode_label,
    )


def proofs(keys: Keys, finished: Finished, store: Store) -> dict[tuple[Learner, Threat], Array]:
    """Return the images that are proven robust in each ball of each learner, by any certifier of the model itself.

    Args:
        keys: The content keys of the plan.
        finished: The outcome of its tasks.
        store: The cache.

    Returns:
        Masks (n,) of the first n test images.
    """
    found: dict[tuple[Learner, Threat], Array] = {}
    for certification, certification_keys in keys.certifications.items():
        if certification.certifier.about != "model" or not store.holds("certificates", certification_keys[0]):
            continue
        for ball, mask in _masks(certification, certification_keys[0], store).items():
            known = found.setdefault((certification.learner, ball), mask)
            size = max(len(known), len(mask))
            found[certification.learner, ball] = _padded(known, size) | _padded(mask, size)
    return found


def certified(masks: Mapping[tuple[Learner, Threat], Array], cell: Cell) -> Array | None:
    """Return the images of a cell that are proven robust in its ball (n,); None if nothing is proven about the ball.

    Args:
        masks: The proofs of the run.
        cell: The cell.
    """
    region = cell.search_region
    mask = masks.get((cell.learner, region)) if region else None
    return None if mask is None else _padded(mask[: cell.samples], cell.samples)


def _padded(mask: Array, size: int) -> Array:
    """Return a mask with more images, of which nothing is proven."""
    return np.concatenate([mask, np.zeros(max(0, size - len(mask)), dtype=bool)])


def _masks(certification: Certification, key: str, store: Store) -> dict[Threat, Array]:
    tensors, _ = store.load("certificates", key, "np")
    return {ball: tensors[str(place)] for place, ball in enumerate(certification.balls)}


def certificates(keys: Keys, finished: Finished, store: Store) -> pd.DataFrame:
    """Return the table of certified accuracies, columns `CERTIFICATE_COLUMNS`.

    Args:
        keys: The content keys of the plan.
        finished: The outcome of its tasks.
        store: The cache.
    """
    rows: list[dict[str, Any]] = []
    for certification, certification_keys in keys.certifications.items():
        row = {
            **dict(zip(LEARNER, learner_identity(certification.learner), strict=True)),
            "certifier": certification.label,
            "about": certification.certifier.about,
            "n": certification.samples,
        }
        if error := finished.failure(certification_keys):
            reason = error.strip().splitlines()[-1].strip()
            rows += [
                {**row, "norm": ball.norm, "epsilon": ball.epsilon, "error": reason} for ball in certification.balls
            ]
        elif store.holds("certificates", certification_keys[0]):
            for ball, mask in _masks(certification, certification_keys[0], store).items():
                low, high = binomial_interval(int(mask.sum()), len(mask))
                accuracy = {"certified_accuracy": mask.mean(), "ci_low": low, "ci_high": high}
                rows.append({**row, "norm": ball.norm, "epsilon": ball.epsilon, **accuracy})
    return pd.DataFrame(rows, columns=CERTIFICATE_COLUMNS)
