"""The tasks that check the attacks of a run by further attacks."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch

from gtn_bench.checks.attacks.batches import batch_coupling
from gtn_bench.checks.attacks.table import PROBES, SUBSAMPLE, Situation
from gtn_bench.execution.loading import classifier_of, splits
from gtn_bench.execution.parts import run_part
from gtn_bench.planning.cells import Cell, Learner
from gtn_bench.store.cache import Context


def probe(
    context: Context,
    learner_key: str,
    cell_key: str,
    cell: Cell,
    probes: Mapping[str, str],
    others: Mapping[str, Learner],
) -> dict[str, str]:
    """Store what probes find about the attack of a cell, on its first images.

    Args:
        context: Cache and device.
        learner_key: Key of the learner.
        cell_key: Key of the cell's result.
        cell: The cell.
        probes: Names of the probes, by key.
        others: Other learners whose adversarial examples are transferred, by key.

    Returns:
        The traceback of each probe that failed, by key.
    """
    failures = {}
    situation = _situation(context, learner_key, cell_key, cell, others)

    def run_probe(key: str, name: str) -> None:
        found = PROBES[name].run(situation)
        context.store.save("probes", key, {}, {check: outcome._asdict() for check, outcome in found.items()})

    for key, name in probes.items():
        if error := run_part([key], functools.partial(run_probe, key, name)):
            failures[key] = error
            classifier_of.cache_clear()  # the attack may have changed the network
            situation = _situation(context, learner_key, cell_key, cell, others)
    return failures


def _situation(
    context: Context, learner_key: str, cell_key: str, cell: Cell, others: Mapping[str, Learner]
) -> Situation:
    learner, samples, region = cell.learner, min(cell.samples, SUBSAMPLE), cell.search_region
    assert region is not None  # only attacks that search a ball are probed
    x, y = splits(learner.dataset, context.device)["test"][:samples]
    tensors, _ = context.store.load("cells", cell_key)
    return Situation(
        classifier=classifier_of(context, learner_key, learner, "float32", cell.in_train_mode),
        perturbation=cell.perturbation,
        region=region,
        x=x,
        y=y,
        seeds=cell.noise_seed + torch.arange(samples),
        prediction=tensors["prediction"][:samples].to(y),
        eight_bit=cell.eight_bit,
        others=[classifier_of(context, key, other, "float32", False) for key, other in others.items()],
    )


def probe_batches(context: Context, key: str, learner_key: str, cell: Cell) -> None:
    """Store how many images have logits that depend on the other images of the batch.

    Args:
        context: Cache and device.
        key: Key of the finding.
        learner_key: Key of the learner.
        cell: A cell of the learner.
    """
    x, _ = splits(cell.learner.dataset, context.device)["test"][: min(cell.samples, SUBSAMPLE)]
    classifier = classifier_of(context, learner_key, cell.learner, "float32", cell.in_train_mode)
    found = batch_coupling(classifier, x)
    context.store.save("probes", key, {}, {"batch_coupling": found._asdict()})
