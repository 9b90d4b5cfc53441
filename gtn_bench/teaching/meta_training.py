"""Meta-training: gradient descent on a curriculum, by the loss of freshly initialized learners on real images.

All random draws of meta-step n depend on the seed and on n alone. An interrupted meta-training continues from its
checkpoint with bit-identical results.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gtn_bench.config.errors import ConfigError, DivergenceError
from gtn_bench.data.base import Split, SplitName
from gtn_bench.models.layers import differentiable_statistics, estimate_statistics
from gtn_bench.store.files import read_tensors, write_tensors
from gtn_bench.store.hashing import seed_for
from gtn_bench.store.keys import code_digest, installed
from gtn_bench.teaching.curricula import CurriculumModule
from gtn_bench.teaching.history import FEW_STEPS, History, Monitor, ValidationPoint
from gtn_bench.teaching.inner_loop import MetaBatch, meta_gradient, trajectory
from gtn_bench.teaching.meta_optimizer import meta_optimizer
from gtn_bench.teaching.optimizers import InnerOptimizer
from gtn_bench.teaching.teaching_set import TeachingSet

LARGEST_RATE = 10.0  # no inner loop is stable at a larger learning rate


class MetaTraining(NamedTuple):
    """The parameters of a meta-training.

    Attributes:
        name: Name of the teacher, for messages.
        sample_learner: Returns a freshly initialized network for a seed and a factor on its widths.
        optimizer: The inner optimizer.
        inner_steps: Inner steps of the curriculum.
        horizon: Returns the number of inner steps of a meta-step; the first meta-step is 0.
        width: Returns the factor on the widths of the learners of a meta-step.
        meta_steps: Number of meta-steps.
        learners: Learners per meta-step.
        meta_batch_size: Real images per inner step on which a learner is evaluated.
        meta_loss_every: Inner steps per evaluation.
        meta_losses: Largest number of evaluations: the last ones remain. None for no limit.
        statistics: Batch-norm statistics of that evaluation: of the real batch, or of the last teaching batch.
        generator_optimizer: Optimizer of the generator.
        lr: Learning rate of the generator.
        curriculum_lr: Learning rate of everything else.
        block_size: Inner steps held as a graph at a time; None for the square root of their number.
        precision: Type of images and activations; None for float32.
    """

    name: str
    sample_learner: Callable[[int, float], nn.Module]
    optimizer: InnerOptimizer
    inner_steps: int
    horizon: Callable[[int], int]
    width: Callable[[int], float]
    meta_steps: int
    learners: int
    meta_batch_size: int
    meta_loss_every: int
    meta_losses: int | None
    statistics: Literal["real", "teaching"]
    generator_optimizer: Literal["adam", "muon"]
    lr: float
    curriculum_lr: float
    block_size: int | None
    precision: torch.dtype | None


def meta_train(
    training: MetaTraining,
    module: CurriculumModule,
    splits: dict[SplitName, Split],
    *,
    seed: int,
    metadata: dict[str, Any],
    monitor: Monitor,
) -> TeachingSet:
    """Meta-train a curriculum.

    In a group of processes each one unrolls its share of the learners of a meta-step, and the gradients are summed.
    The first process writes the checkpoint, which all of them read.

    Args:
        training: The parameters.
        module: The freshly initialized curriculum, on its device.
        splits: The data set, on the same device.
        seed: Seed of all random draws.
        metadata: Data set and teacher as plain data; identifies the checkpoint.
        monitor: Checkpoints, validation, processes.

    Returns:
        The teaching set after all meta-steps.

    Raises:
        DivergenceError: With the meta-step. The last checkpoint stays.
        ConfigError: If the checkpoint belongs to another teacher, or the processes cannot share the learners evenly.
    """
    if training.learners % monitor.ranks:
        raise ConfigError(
            f"teacher '{training.name}': {monitor.ranks} processes cannot share {training.learners} learners per "
            f"meta-step evenly; set learners to a multiple of {monitor.ranks}"
        )
    optimizer = meta_optimizer(
        module, training.generator_optimizer, lr=training.lr, curriculum_lr=training.curriculum_lr
    )
    history = _resume(monitor, metadata, module, optimizer)
    _agree(len(history.losses), monitor, module.log_lr.device)
    if not history.losses:
        module.prepare(torch.Generator().manual_seed(seed_for("begin", seed)))
        if monitor.ranks > 1:  # processes round differently; from here on they share gradients
            for tensor in module.state_dict().values():
                torch.distributed.broadcast(tensor, 0)

    for step in range(len(history.losses), training.meta_steps):
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * (0.1 + 0.45 * (1 + math.cos(math.pi * step / training.meta_steps)))
        loss = backward(training, module, splits["train"], seed, step, monitor.rank, monitor.ranks)
        _check_finite(training, module, loss, step, monitor)
        optimizer.step()
        _check_rates(training, module, step, monitor)
        history.losses.append(loss)
        done = step + 1
        if monitor.check_every and (done % monitor.check_every == 0 or done == training.meta_steps):
            accuracy = validate_learner(training, module, splits, seed_for("check", seed, done))
            history.checks.append(ValidationPoint(done, accuracy))
        last = done == training.meta_steps
        if monitor.checkpoint and monitor.rank == 0 and (done % monitor.checkpoint_every == 0 or last):
            _save_checkpoint(monitor.checkpoint, monitor.checkpoint_key, metadata, module, optimizer, history)
        monitor.progress(history)

    module.redraw(torch.Generator().manual_seed(seed_for("export", seed)))
    with torch.no_grad():
        return TeachingSet(module(slice(None)), training.optimizer, {**metadata, "history": history.to_dict()})


def backward(
    training: MetaTraining, module: CurriculumModule, train: Split, seed: int, step: int, rank: int, ranks: int
) -> float:
    """Compute the meta-gradient of one meta-step and store it in the parameters of the curriculum.

    Args:
        training: The parameters.
        module: The curriculum.
        train: The real training images.
        seed: Seed of the meta-training.
        step: The meta-step, from 0.
        rank: Rank of this process.
        ranks: Number of processes.

    Returns:
        The meta-loss: the mean over the learners of the meta-step.
    """
    horizon = training.horizon(step)
    device = module.log_lr.device
    total = torch.zeros((), device=device)
    sums = [torch.zeros_like(value) for value in module.parameters()]
    for number in range(rank, training.learners, ranks):
        module.redraw(torch.Generator().manual_seed(seed_for("curriculum", seed, step, number)))
        fresh = seed_for("fresh learner", seed, step, number)
        learner = training.sample_learner(fresh, training.width(step)).to(device).train()
        evaluated = learner
        if training.statistics == "teaching":
            evaluated = copy.deepcopy(differentiable_statistics(learner)).eval()
        generator = torch.Generator().manual_seed(seed_for("meta batch", seed, step, number))
        loss, gradient = meta_gradient(
            module,
            learner,
            evaluated,
            training.optimizer,
            draw_meta_batch(train, (horizon, training.meta_batch_size), generator),
            block_size=training.block_size or math.ceil(math.sqrt(horizon)),
            meta_loss_every=training.meta_loss_every,
            meta_losses=training.meta_losses,
            precision=training.precision,
        )
        total += loss / training.learners
        for added, part in zip(sums, gradient, strict=True):
            added += part / training.learners
    if ranks > 1:
        for value in (total, *sums):
            torch.distributed.all_reduce(value)
    for parameter, grad in zip(module.parameters(), sums, strict=True):
        parameter.grad = grad
    return total.item()


def draw_meta_batch(train: Split, shape: tuple[int, int], generator: torch.Generator) -> MetaBatch:
    """Draw real batches with replacement.

    Args:
        train: The real training images.
        shape: Number of inner steps and images per step (T, B).
        generator: Source of the random draws.
    """
    index = torch.randint(len(train), shape, generator=generator)
    images, labels = train[index.flatten().to(train.labels.device)]
    return MetaBatch(images.unflatten(0, shape), labels.unflatten(0, shape))


def validate_learner(
    training: MetaTraining,
    module: CurriculumModule,
    splits: dict[SplitName, Split],
    seed: int,
    samples: int = 2000,
) -> dict[int, float]:
    """Train one fresh learner on the curriculum and measure its validation accuracy.

    Args:
        training: The parameters; `statistics` selects the batch-norm statistics of the learner.
        module: The curriculum.
        splits: The data set.
        seed: Seed of the learner.
        samples: At most this many images for the statistics and for the accuracy.

    Returns:
        Accuracy after ten inner steps and after all of them, by the number of inner steps.
    """
    network = training.sample_learner(seed, 1.0).to(module.log_lr.device).train()
    module.redraw(torch.Generator().manual_seed(seed))
    with torch.no_grad():
        curriculum = module(slice(None))
    accuracy = {}
    for step, state in enumerate(trajectory(network, training.optimizer, curriculum), start=1):
        if step in (FEW_STEPS, training.inner_steps):
            tensors = state.params | state.buffers
            if training.statistics == "real":
                tensors |= estimate_statistics(network, tensors, splits["train"], samples)
            accuracy[step] = _accuracy(network, tensors, splits["validation"], samples)
            network.train()
    return accuracy


@torch.no_grad()
def _accuracy(network: nn.Module, tensors: dict[str, Tensor], split: Split, samples: int) -> float:
    """Return the accuracy of a network in evaluation mode on the first images of a split."""
    network.eval()
    correct = torch.zeros((), dtype=torch.int64, device=split.labels.device)
    total = min(samples, len(split))
    for index in torch.arange(total, device=split.labels.device).split(500):
        x, y = split[index]
        correct += (functional_call(network, tensors, (x,)).argmax(1) == y).sum()
    return int(correct) / total


def _check_finite(training: MetaTraining, module: CurriculumModule, loss: float, step: int, monitor: Monitor) -> None:
    """Raise `DivergenceError` if the meta-loss or the meta-gradient is not finite."""
    where = f"at meta-step {step}{_last_checkpoint(monitor)}"
    if not math.isfinite(loss):
        raise DivergenceError(f"teacher '{training.name}': the meta-loss is {loss} {where}")
    finite = [value.grad.isfinite().all() for value in module.parameters() if value.grad is not None]
    if not torch.stack(finite).all():  # one answer of the device, not one per parameter
        raise DivergenceError(f"teacher '{training.name}': the meta-gradient is not finite {where}")


def _check_rates(training: MetaTraining, module: CurriculumModule, step: int, monitor: Monitor) -> None:
    """Raise `DivergenceError` if a learned rate or momentum left its valid range."""
    where = f"at meta-step {step}{_last_checkpoint(monitor)}"
    rates = torch.stack([module.log_lr.detach().exp().max(), module.log_momentum.detach().exp().max()])
    rate, momentum = rates.tolist()
    if not rate < LARGEST_RATE:
        raise DivergenceError(f"teacher '{training.name}': a learning rate is {rate:g} {where}")
    optimizer = training.optimizer
    if not momentum < optimizer.momentum_below:
        what = f"a momentum of {optimizer.name} is {momentum:g}, not below {optimizer.momentum_below:g}"
        raise DivergenceError(f"teacher '{training.name}': {what}, {where}")


def _last_checkpoint(monitor: Monitor) -> str:
    path = monitor.checkpoint
    return f"; the last checkpoint is {path}" if path and path.exists() else ""


def _save_checkpoint(
    path: Path,
    key: str,
    metadata: dict[str, Any],
    module: CurriculumModule,
    optimizer: torch.optim.Adam,
    history: History,
) -> None:
    """Write everything that the next meta-step depends on to one file, atomically."""
    tensors = {f"curriculum.{name}": value for name, value in module.state_dict().items()}
    for name, parameter in module.named_parameters():
        tensors |= {f"adam.{what}.{name}": value for what, value in optimizer.state[parameter].items()}
    write_tensors(path, tensors, {**metadata, "history": history.to_dict()}, key=key)


def _resume(
    monitor: Monitor, metadata: dict[str, Any], module: CurriculumModule, optimizer: torch.optim.Adam
) -> History:
    """Load a checkpoint into the curriculum and the optimizer, if there is one; return the history so far."""
    made_by = {name: installed(name) for name in ("gtn-bench", "torch")}
    made_by |= {"code": code_digest("gtn_bench.teaching.meta_training")}
    path = monitor.checkpoint
    if not path or not path.exists():
        return History(made_by=[made_by])
    try:
        tensors, found = read_tensors(path, framework="pt", key=monitor.checkpoint_key)
        history = History.from_dict(found.pop("history"))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is not a checkpoint ({type(error).__name__}); remove it to start over") from None
    if found != metadata:
        raise ConfigError(f"{path} is the checkpoint of another teacher; remove it, or choose another folder")
    prefix = "curriculum."
    module.load_state_dict({name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)})
    orthogonal = {weight for group in optimizer.param_groups if group["orthogonal"] for weight in group["params"]}
    for name, parameter in module.named_parameters():
        for what in ("exp_avg",) if parameter in orthogonal else ("step", "exp_avg", "exp_avg_sq"):
            value = tensors[f"adam.{what}.{name}"]
            optimizer.state[parameter][what] = value if what == "step" else value.to(parameter.device)
    if made_by not in history.made_by:
        history.made_by.append(made_by)
    return history


def _agree(steps: int, monitor: Monitor, device: torch.device) -> None:
    """Raise `ConfigError` unless all processes start at the same meta-step."""
    if monitor.ranks > 1:
        both = torch.tensor([steps, -steps], device=device)
        torch.distributed.all_reduce(both, torch.distributed.ReduceOp.MAX)
        if both[0] != -both[1]:
            raise ConfigError(f"{monitor.checkpoint} differs between processes; all processes need a common folder")
