"""The tasks of a run: meta-train a teacher, train learners, evaluate clean images, evaluate a sweep.

Each task takes a `Context` and stores its results under the keys that it is given. Tasks run in any process, in any
order that respects their inputs.
"""

from __future__ import annotations

import functools
import hashlib
import traceback
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from gtn_bench.certification import UnsupportedLayerError
from gtn_bench.checks import doctor
from gtn_bench.checks.attacks.batches import batch_coupling
from gtn_bench.checks.attacks.table import PROBES, SUBSAMPLE, Situation
from gtn_bench.config.description import Precision
from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset, Split, SplitName
from gtn_bench.evaluation import evaluate as evaluation
from gtn_bench.evaluation.timing import seconds_when_done
from gtn_bench.execution.accelerator import reproducible
from gtn_bench.execution.memory import release_gpu_memory, release_memory, reuse_memory
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.random_classifier import RandomClassifier
from gtn_bench.modes.training import train
from gtn_bench.perturbations.base import MinimalPerturbation
from gtn_bench.planning.cells import Cell, Certification, Learner, TaughtBy
from gtn_bench.reference.batch_classifier import BatchClassifier
from gtn_bench.store.cache import Context
from gtn_bench.teaching.history import History, Monitor
from gtn_bench.teaching.teaching_set import TeachingSet


@functools.lru_cache(maxsize=2)
def splits(dataset: Dataset, device: str) -> dict[SplitName, Split]:
    """Return the splits of a data set, loaded once per process.

    Args:
        dataset: The data set.
        device: The device of the images.
    """
    return {name: split.to(device) for name, split in dataset().items()}


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

    monitor = Monitor(checkpoint=checkpoint, progress=report)
    with reproducible(context.device):
        taught = taught_by.teacher(dataset, splits(dataset, context.device), device=context.device, monitor=monitor)
    taught.save(context.store.path("teachers", key))
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
        taught = TeachingSet.load(context.store.path("teachers", teacher_key)).to(context.device)
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


def weights_digest(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Return a hash of the weights and the structure of a network, by which identical learners are found.

    Args:
        network: The network.
        state: Its state dict.
    """
    content = hashlib.sha256(repr(network).encode())
    for name, value in sorted(state.items()):
        content.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        content.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()[:32]


def examine(context: Context, key: str, learner_key: str, learner: Learner) -> None:
    """Store what the checks of a model find in a learner.

    Args:
        context: Cache and device.
        key: Key of the findings.
        learner_key: Key of the learner.
        learner: The learner.
    """
    dataset, network = learner.dataset, _network(context, learner_key, learner)
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
    network = _network(context, learner_key, learner).eval()
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
    for key, name in probes.items():
        try:
            found = PROBES[name].run(situation)
            context.store.save("probes", key, {}, {check: outcome._asdict() for check, outcome in found.items()})
        except Exception:
            failures[key] = traceback.format_exc()
            _classifier.cache_clear()  # the attack may have changed the network
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
        classifier=_classifier(context, learner_key, learner, "float32", cell.in_train_mode),
        perturbation=cell.perturbation,
        region=region,
        x=x,
        y=y,
        seeds=cell.noise_seed + torch.arange(samples),
        prediction=tensors["prediction"][:samples].to(y),
        eight_bit=cell.eight_bit,
        others=[_classifier(context, key, other, "float32", False) for key, other in others.items()],
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
    classifier = _classifier(context, learner_key, cell.learner, "float32", cell.in_train_mode)
    found = batch_coupling(classifier, x)
    context.store.save("probes", key, {}, {"batch_coupling": found._asdict()})


def evaluate_clean(context: Context, key: str, learner_key: str, cell: Cell) -> None:
    """Store the mask of clean test images that the learner of a cell classifies correctly.

    Args:
        context: Cache and device.
        key: Key of the mask.
        learner_key: Key of the learner.
        cell: The cell, which sets the number of images.
    """
    _, y = splits(cell.learner.dataset, context.device)["test"][: cell.samples]
    prediction = _clean_prediction(context, learner_key, cell.learner, cell.samples, cell.in_train_mode)
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
    learner, samples, perturbation = first.learner, first.samples, first.perturbation
    classifier = _classifier(context, learner_key, learner, "float32", first.in_train_mode)
    attacked = _classifier(context, learner_key, learner, first.precision, first.in_train_mode)
    x, y = splits(learner.dataset, context.device)["test"][:samples]
    prediction = _clean_prediction(context, learner_key, learner, samples, first.in_train_mode)
    zero_gradient = torch.zeros_like(prediction, dtype=torch.bool)
    if perturbation.uses_gradient:
        zero_gradient = evaluation.zero_gradient(attacked, x, y, batch=perturbation.batch)
    clean = evaluation.CleanResult(prediction, zero_gradient)
    seeds = first.noise_seed + torch.arange(samples)

    keep = samples if first.keeps_images else evaluation.EXAMPLES

    def save_result(key: str, result: evaluation.AttackResult) -> None:
        tensors = {name: getattr(result, name) for name in (*evaluation.MEASURED, "examples")}
        tensors["clean"] = x[:keep]
        cost = {name: getattr(result, name) for name in evaluation.Cost._fields}
        metadata = {"shares": result.shares, "cost": cost, "attack_error": result.attack_error}
        context.store.save("cells", key, tensors, metadata)

    searches = [cell.perturbation for cell in cells.values() if isinstance(cell.perturbation, MinimalPerturbation)]
    if searches:  # one search answers for all cells, or fails for all of them
        try:
            results = evaluation.evaluate_sweep(
                searches, classifier, clean, x, y, seeds, eight_bit=first.eight_bit, keep=keep
            )
        except Exception:
            _classifier.cache_clear()  # the perturbation may have changed the network
            raise
        for key, result in zip(cells, results, strict=True):
            save_result(key, result)
        return {}
    failures = {}
    for key, cell in cells.items():
        try:
            result = evaluation.evaluate(
                cell.perturbation,
                classifier,
                clean,
                x,
                y,
                seeds,
                attacked=attacked,
                eight_bit=first.eight_bit,
                keep=keep,
            )
            save_result(key, result)
        except Exception:
            failures[key] = traceback.format_exc()
            _classifier.cache_clear()  # the perturbation may have changed the network
            classifier = _classifier(context, learner_key, learner, "float32", first.in_train_mode)
            attacked = _classifier(context, learner_key, learner, first.precision, first.in_train_mode)
    return failures


# Sweeps of one learner that run in the same process share these.


@functools.lru_cache(maxsize=2)
def _classifier(
    context: Context, learner_key: str, learner: Learner, precision: Precision, in_train_mode: bool
) -> Classifier:
    network = _network(context, learner_key, learner)
    shape, num_classes = learner.dataset.input_shape, learner.dataset.num_classes
    if in_train_mode:
        return BatchClassifier(network, shape, num_classes, precision)
    if learner.mode.forward_samples > 1:
        return RandomClassifier(network, shape, num_classes, precision, samples=learner.mode.forward_samples)
    return Classifier(network, shape, num_classes, precision)


def _network(context: Context, learner_key: str, learner: Learner) -> nn.Module:
    """Return the network of a learner, with its weights."""
    network = learner.network().to(context.device)
    network.load_state_dict(context.store.load("learners", learner_key)[0])
    return network if learner.mode.keeps_train_mode else network.eval()


@functools.lru_cache(maxsize=2)
def _clean_prediction(
    context: Context, learner_key: str, learner: Learner, samples: int, in_train_mode: bool
) -> Tensor:
    x, _ = splits(learner.dataset, context.device)["test"][:samples]
    return evaluation.predict(_classifier(context, learner_key, learner, "float32", in_train_mode), x)
