"""The three kinds of work a plan consists of: meta-train a teacher, train a learner, measure a sweep.

Each takes a `Site` and leaves its result in the store under the key it is given. They run in any
process and in any order that respects what builds on what.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import traceback
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gtn_bench.cache import Site
from gtn_bench.cells import Cell, Learner, TaughtBy
from gtn_bench.classifiers import Classifier
from gtn_bench.datasets import Dataset, Split, SplitName
from gtn_bench.description import Precision
from gtn_bench.modes import GTN, follow
from gtn_bench.perturbations import MinimalPerturbation
from gtn_bench.perturbations.referee import EXAMPLES, MEASURED, Clean, Outcome, judge, judge_sweep, predict, vanished
from gtn_bench.reference.batch_classifier import BatchClassifier
from gtn_bench.teaching.meta_training import History, Watch
from gtn_bench.teaching.teaching_set import TeachingSet


def reuse_memory() -> None:
    """Keep freed memory in the process: glibc otherwise returns every large tensor to the system,
    and asking for it again costs a third of a meta-step. Elsewhere nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for option, size in ((_M_MMAP_THRESHOLD, 2**30), (_M_TRIM_THRESHOLD, 2**31 - 1)):
            libc.mallopt(option, size)


def release_memory() -> None:
    """Give back what `reuse_memory` kept."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # malloc.h


@functools.lru_cache(maxsize=2)
def splits(dataset: Dataset, device: str) -> dict[SplitName, Split]:
    """The data set's splits on the device, loaded once in each process."""
    return {name: split.to(device) for name, split in dataset().items()}


def meta_train(site: Site, key: str, taught_by: TaughtBy, progress: Callable[[int], None]) -> None:
    """Leave the teaching set. An interrupted meta-training continues from its checkpoint."""
    if site.device == "cpu":
        reuse_memory()
    dataset = taught_by.dataset
    checkpoint = site.store.path("checkpoints", key)

    def tell(history: History) -> None:
        progress(len(history.losses))

    watch = Watch(checkpoint=checkpoint, progress=tell)
    taught = taught_by.teacher(dataset, splits(dataset, site.device), device=site.device, watch=watch)
    taught.save(site.store.path("teachers", key))
    checkpoint.unlink(missing_ok=True)
    release_memory()


def train(site: Site, learners: Mapping[str, Learner], teacher_key: str | None) -> dict[str, str]:
    """Leave the state dicts of the learners (by key) of one trajectory, trained in one pass.

    Returns what went wrong with those that have diverged, by their keys; they are not kept.
    """
    first = next(iter(learners.values()))
    network = first.architecture(first.dataset, first.initial_seed).to(site.device).train()
    split = splits(first.dataset, site.device)["train"]
    taught = None
    if teacher_key:
        taught = TeachingSet.load(site.store.path("teachers", teacher_key)).to(site.device)
    modes = [learner.mode for learner in learners.values() if isinstance(learner.mode, GTN)]
    with torch.random.fork_rng():
        torch.manual_seed(first.training_seed)  # of layers that draw, as dropout does
        if taught and len(modes) == len(learners) > 1:
            states = dict(follow(modes, network, split, taught))
        else:
            states = {0: first.mode(network, first.dataset, split, taught, seed=first.training_seed)}
    failures = {}
    for position, (key, learner) in enumerate(learners.items()):
        if not all(bool(tensor.isfinite().all()) for tensor in states[position].values()):
            failures[key] = "Failure: the learner has diverged, its tensors are no longer finite"
            continue
        about = {
            "dataset": learner.dataset.identity(),
            "teacher": learner.taught_by.teacher.identity() if learner.taught_by else None,
            "architecture": learner.architecture.identity(),
            "mode": learner.mode.identity(),
            "seed": learner.seed,
        }
        site.store.save("learners", key, states[position], about)
    return failures


def look(site: Site, key: str, learner_key: str, cell: Cell) -> None:
    """Leave which of the cell's test images its learner classifies correctly as they are."""
    _, y = splits(cell.learner.dataset, site.device)["test"][: cell.samples]
    prediction = _clean_prediction(site, learner_key, cell.learner, cell.samples, cell.in_training_mode)
    site.store.save("clean", key, {"correct": prediction == y}, {})


def measure(site: Site, learner_key: str, cells: Mapping[str, Cell]) -> dict[str, str]:
    """Leave what happened to each test image in each of the cells (by key): a sweep of one perturbation.

    Returns the traceback of every cell that failed, by its key; the others are not touched by it.
    """
    first = next(iter(cells.values()))
    learner, samples, perturbation = first.learner, first.samples, first.perturbation
    classifier = _classifier(site, learner_key, learner, "float32", first.in_training_mode)
    attacked = _classifier(site, learner_key, learner, first.precision, first.in_training_mode)
    x, y = splits(learner.dataset, site.device)["test"][:samples]
    prediction = _clean_prediction(site, learner_key, learner, samples, first.in_training_mode)
    no_slope = torch.zeros_like(prediction, dtype=torch.bool)
    if perturbation.uses_gradient:
        no_slope = vanished(attacked, x, y, batch=perturbation.batch)
    clean = Clean(prediction, no_slope)
    seeds = first.noise_seed + torch.arange(samples)

    def leave(key: str, outcome: Outcome) -> None:
        tensors = {name: getattr(outcome, name) for name in (*MEASURED, "examples")} | {"clean": x[:EXAMPLES]}
        about = {name: getattr(outcome, name) for name in ("flags", "forwards", "backwards", "seconds")}
        site.store.save("cells", key, tensors, about)

    searches = [cell.perturbation for cell in cells.values() if isinstance(cell.perturbation, MinimalPerturbation)]
    if searches:  # one search answers for all of them, or fails for all of them
        for key, outcome in zip(cells, judge_sweep(searches, classifier, clean, x, y, seeds), strict=True):
            leave(key, outcome)
        return {}
    failures = {}
    for key, cell in cells.items():
        try:
            leave(key, judge(cell.perturbation, classifier, clean, x, y, seeds, attacked=attacked))
        except Exception:
            failures[key] = traceback.format_exc()
    return failures


# What the sweeps of a learner share, if one process measures them one after the other.


@functools.lru_cache(maxsize=2)
def _classifier(
    site: Site, learner_key: str, learner: Learner, precision: Precision, in_training_mode: bool
) -> Classifier:
    network = learner.architecture(learner.dataset, learner.initial_seed).to(site.device)
    network.load_state_dict(site.store.load("learners", learner_key)[0])
    kind = BatchClassifier if in_training_mode else Classifier
    return kind(network, learner.dataset.input_shape, learner.dataset.num_classes, precision)


@functools.lru_cache(maxsize=2)
def _clean_prediction(site: Site, learner_key: str, learner: Learner, samples: int, in_training_mode: bool) -> Tensor:
    x, _ = splits(learner.dataset, site.device)["test"][:samples]
    return predict(_classifier(site, learner_key, learner, "float32", in_training_mode), x)
