"""The tasks of a run: meta-train a teacher, train learners, evaluate clean images, evaluate a sweep.

Each task takes a `Context` and stores its results under the keys that it is given. Tasks run in any process, in any
order that respects their inputs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import torch

from gtn_bench.certification import UnsupportedLayerError
from gtn_bench.checks import doctor
from gtn_bench.config.description import Precision
from gtn_bench.config.errors import ConfigError
from gtn_bench.evaluation import evaluate as evaluation
from gtn_bench.evaluation.timing import seconds_when_done
from gtn_bench.execution.accelerator import reproducible
from gtn_bench.execution.loading import classifier_of, clean_prediction, network_of, splits, weights_digest
from gtn_bench.execution.memory import release_gpu_memory, release_memory, reuse_memory
from gtn_bench.execution.parts import run_part
from gtn_bench.execution.probe_tasks import probe as probe
from gtn_bench.execution.probe_tasks import probe_batches as probe_batches
from gtn_bench.inference.classifier import Classifier
from gtn_bench.modes.training import train
from gtn_bench.perturbations.base import MinimalPerturbation
from gtn_bench.planning.cells import Cell, Certification, Learner, TaughtBy
from gtn_bench.store.cache import Context
from gtn_bench.teaching.history import History, Monitor
from gtn_bench.teaching.teaching_set import TeachingSet


def meta_train(context: Context, key: str, taught_by: TaughtBy, progress: Callable[[int], None]) -> None:
    """Store a teaching set. An interrupted meta-training continues from its checkpoint.

    Args:
        context: Cache and device.
        key: Key of the teaching set.
        taught_by: The teacher and its data set.
        progress: Called with the number of meta-steps done.
    """
    if context.device == "cpu":
        reuse_memory()
    dataset = taught_by.dataset
    checkpoint = context.store.path("checkpoints", key)

    def report(history: History) -> None:
        progress(len(history.losses))

    context.store.holds("checkpoints", key)  # sets a damaged one aside
    monitor = Monitor(checkpoint=checkpoint, progress=report, checkpoint_key=f"checkpoints/{key}")
    with reproducible(context.device):
        taught = taught_by.teacher(dataset, splits(dataset, context.device), device=context.device, monitor=monitor)
    context.store.save("teachers", key, *taught.to_tensors())
    checkpoint.unlink(missing_ok=True)
    release_memory()
    release_gpu_memory(context.device)


def train_learners(context: Context, learners: Mapping[str, Learner], teacher_key: str | None) -> dict[str, str]:
    """Store the state dicts of the learners of one trajectory, trained in one pass.

    Args:
        context: Cache and device.
        learners: The learners, by key.
        teacher_key: Key of the teaching set, if they need one.

    Returns:
        The error of each learner that diverged, by key. Such a learner is not stored.
    """
    first = next(iter(learners.values()))
    network = first.network().to(context.device)
    split = splits(first.dataset, context.device)["train"]
    taught = None
    if teacher_key:
        taught = TeachingSet.from_tensors(*context.store.load("teachers", teacher_key)).to(context.device)
    modes = [learner.mode for learner in learners.values()]
    states = train(modes, network, first.dataset, split, taught, seed=first.training_seed)
    failures = {}
    for (key, learner), state in zip(learners.items(), states, strict=True):
        broken = [name for name, tensor in state.items() if not bool(tensor.isfinite().all())]
        if broken and not learner.mode.trains:
            raise ConfigError(
                f"model '{learner.mode_label}': the tensor '{broken[0]}' holds numbers that are not finite"
            )
        if broken:
            failures[key] = "DivergenceError: the learner has diverged, its tensors are not finite"
            continue
        metadata = {
            "dataset": learner.dataset.identity(),
            "teacher": learner.taught_by.teacher.identity() if learner.taught_by else None,
            "architecture": learner.architecture.identity(),
            "mode": learner.mode.identity(),
            "seed": learner.seed,
            "weights": weights_digest(network, state),
        }
        context.store.save("learners", key, state, metadata)
    return failures


def examine(context: Context, key: str, learner_key: str, learner: Learner) -> None:
    """Store what the checks of a model find in a learner.

    Args:
        context: Cache and device.
        key: Key of the findings.
        learner_key: Key of the learner.
        learner: The learner.
    """
    dataset, network = learner.dataset, network_of(context, learner_key, learner)
    found = doctor.examine(
        network,
        splits(dataset, context.device)["test"],
        num_classes=dataset.num_classes,
        classes=dataset.classes,
        mean=dataset.mean,
        std=dataset.std,
        forward_samples=learner.mode.forward_samples,
    )
    context.store.save("examinations", key, {}, {"findings": [finding._asdict() for finding in found]})


def certify(context: Context, key: str, learner_key: str, certification: Certification) -> dict[str, str]:
    """Store which images a certifier proves robust in each ball.

    Args:
        context: Cache and device.
        key: Key of the proofs.
        learner_key: Key of the learner.
        certification: The learner, the certifier and the balls.

    Returns:
        The error, by key, if there are no bounds for a layer of the network.
    """
    learner, samples = certification.learner, certification.samples
    network = network_of(context, learner_key, learner).eval()
    x, y = splits(learner.dataset, context.device)["test"][:samples]
    seeds = certification.seed + torch.arange(samples)
    start = seconds_when_done(x.device)
    try:
        masks = certification.certifier(network, x, y, certification.balls, seeds)
    except UnsupportedLayerError as error:
        return {key: f"UnsupportedLayerError: {error}"}
    seconds = seconds_when_done(x.device) - start
    tensors = {str(place): mask.cpu() for place, mask in enumerate(masks)}
    context.store.save("certificates", key, tensors, {"seconds": seconds})
    return {}


def evaluate_clean(context: Context, key: str, learner_key: str, cell: Cell) -> None:
    """Store the mask of clean test images that the learner of a cell classifies correctly.

    Args:
        context: Cache and device.
        key: Key of the mask.
        learner_key: Key of the learner.
        cell: The cell, which sets the number of images.
    """
    _, y = splits(cell.learner.dataset, context.device)["test"][: cell.samples]
    prediction = clean_prediction(context, learner_key, cell.learner, cell.samples, cell.in_train_mode)
    context.store.save("clean", key, {"correct": prediction == y}, {})


def evaluate_sweep(context: Context, learner_key: str, cells: Mapping[str, Cell]) -> dict[str, str]:
    """Store the results of the cells of a sweep: one perturbation of one learner.

    Args:
        context: Cache and device.
        learner_key: Key of the learner.
        cells: The cells, by key.

    Returns:
        The traceback of each cell that failed, by key. The others are not affected.
    """
    first = next(iter(cells.values()))
    learner, samples = first.learner, first.samples
    x, y = splits(learner.dataset, context.device)["test"][:samples]
    seeds = first.noise_seed + torch.arange(samples)
    keep = samples if first.keeps_images else evaluation.EXAMPLES

    def save_result(key: str) -> None:
        result = results.pop(key)
        tensors = {name: getattr(result, name) for name in (*evaluation.MEASURED, "examples")}
        tensors["clean"] = x[:keep]
        cost = {name: getattr(result, name) for name in evaluation.Cost._fields}
        metadata = {"shares": result.shares, "cost": cost, "attack_error": result.attack_error}
        context.store.save("cells", key, tensors, metadata)

    def classifier(precision: Precision) -> Classifier:
        return classifier_of(context, learner_key, learner, precision, first.in_train_mode)

    def prepare() -> None:
        prediction = clean_prediction(context, learner_key, learner, samples, first.in_train_mode)
        zero_gradient = torch.zeros_like(prediction, dtype=torch.bool)
        if first.perturbation.uses_gradient:
            attacked = classifier(first.precision)
            zero_gradient = evaluation.zero_gradient(attacked, x, y, batch=first.perturbation.batch)
        clean.append(evaluation.CleanResult(prediction, zero_gradient))

    results: dict[str, evaluation.AttackResult] = {}

    def search(searches: list[MinimalPerturbation]) -> None:
        found = evaluation.evaluate_sweep(
            searches, classifier("float32"), clean[0], x, y, seeds, eight_bit=first.eight_bit, keep=keep
        )
        results.update(zip(cells, found, strict=True))

    def attack(key: str, cell: Cell) -> None:
        results[key] = evaluation.evaluate(
            cell.perturbation,
            classifier("float32"),
            clean[0],
            x,
            y,
            seeds,
            attacked=classifier(first.precision),
            eight_bit=first.eight_bit,
            keep=keep,
        )

    clean: list[evaluation.CleanResult] = []
    if error := run_part(list(cells), prepare):
        return dict.fromkeys(cells, error)
    searches = [cell.perturbation for cell in cells.values() if isinstance(cell.perturbation, MinimalPerturbation)]
    parts: dict[tuple[str, ...], Callable[[], None]] = {
        (key,): functools.partial(attack, key, cell) for key, cell in cells.items()
    }
    if searches:  # one search answers for all cells, or fails for all of them
        parts = {tuple(cells): functools.partial(search, searches)}
    failures: dict[str, str] = {}
    for keys, part in parts.items():
        if error := run_part(keys, part):
            failures |= dict.fromkeys(keys, error)
            classifier_of.cache_clear()  # the perturbation may have changed the network
            continue
        for key in keys:  # with the settings that the perturbation may have changed, files could not be written
            if error := run_part([key], functools.partial(save_result, key), limited=False):
                failures[key] = error
    return failures
