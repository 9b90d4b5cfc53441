"""The outer loop: Adam on the lessons, by the loss of fresh learners on real images.

Every random draw of meta-step n comes from the teacher's seed and n alone, so that a run that was
interrupted continues from its checkpoint bit for bit.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.func import functional_call

from gtn_bench.cache import digest, fingerprint, installed, read_tensors, seed_for, write_tensors
from gtn_bench.datasets import Dataset, Split
from gtn_bench.description import Failure, Mistake
from gtn_bench.learners.layers import differentiable_statistics, estimate_statistics
from gtn_bench.teaching.inner_loop import Exam, meta_gradient, trajectory
from gtn_bench.teaching.teachers import FEW_STEPS
from gtn_bench.teaching.teaching_set import TeachingSet

if TYPE_CHECKING:
    from gtn_bench.teaching.lessons import Lessons
    from gtn_bench.teaching.teachers import MetaTrained

EXPLODED = 10.0  # a learning rate that no inner loop survives


class Diverged(Failure):
    """The meta-loss or its gradient is no longer finite, or a learned rate or momentum has left where it means one."""


class Check(NamedTuple):
    """How well a fresh learner does on validation images, by the number of inner steps it was taught."""

    meta_step: int
    accuracy: dict[int, float]


@dataclass
class History:
    """What has happened so far: the meta-loss of every step, the checks in between, the code that did it."""

    losses: list[float] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    made_by: list[dict[str, str]] = field(default_factory=list)  # more than one if it was continued by other code

    def plain(self) -> dict[str, Any]:
        checks = [{"meta_step": step, "accuracy": accuracy} for step, accuracy in self.checks]
        return {"losses": self.losses, "checks": checks, "made_by": self.made_by}

    @staticmethod
    def of(plain: dict[str, Any]) -> History:
        checks = [
            Check(check["meta_step"], {int(steps): value for steps, value in check["accuracy"].items()})
            for check in plain["checks"]
        ]
        return History(list(plain["losses"]), checks, list(plain["made_by"]))


class Watch(NamedTuple):
    """What is done beside the meta-training, and by how many processes; it changes nothing in the teacher."""

    checkpoint: Path | None = None  # file to continue from and to write
    checkpoint_every: int = 10  # meta-steps
    check_every: int = 0  # meta-steps; 0: never
    progress: Callable[[History], None] = lambda _: None
    rank: int = 0  # of this process
    ranks: int = 1  # processes that share the learners of a meta-step


def meta_train(spec: MetaTrained, dataset: Dataset, splits: dict[Any, Split], device: str, watch: Watch) -> TeachingSet:
    """The teaching set of a teacher after all its meta-steps.

    In a group of processes every one unrolls its share of the learners of a meta-step, and their
    gradients are added up; the first one writes the checkpoint, which all of them read.

    Raises:
        Diverged: with the meta-step. The last checkpoint stays.
        Mistake: if the checkpoint is another teacher's, or the learners cannot be shared evenly.
    """
    if spec.learners % watch.ranks:
        raise Mistake(
            f"teacher '{spec.name}': {watch.ranks} processes cannot share {spec.learners} learners per meta-step "
            f"evenly; set learners to a multiple of {watch.ranks}"
        )
    seed = seed_for("teacher", dataset.identity(), spec.content())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        lessons = spec.lessons(dataset, splits["train"]).to(device)
    adam = _adam(spec, lessons)
    about = {"dataset": dataset.identity(), "teacher": spec.content()}
    history = _resume(watch.checkpoint, about, lessons, adam)
    _agree(len(history.losses), watch, device)
    if not history.losses:
        lessons.begin(torch.Generator().manual_seed(seed_for("begin", seed)))
        if watch.ranks > 1:  # which may round differently on their way, and share gradients from here on
            for tensor in lessons.state_dict().values():
                torch.distributed.broadcast(tensor, 0)

    for step in range(len(history.losses), spec.meta_steps):
        for group in adam.param_groups:
            group["lr"] = group["base_lr"] * (0.1 + 0.45 * (1 + math.cos(math.pi * step / spec.meta_steps)))
        loss = backward(spec, lessons, dataset, splits["train"], seed, step, watch.rank, watch.ranks)
        if not math.isfinite(loss):
            raise Diverged(f"teacher '{spec.name}': the meta-loss is {loss} at meta-step {step}{_kept(watch)}")
        if not all(bool(value.grad.isfinite().all()) for value in lessons.parameters() if value.grad is not None):
            raise Diverged(f"teacher '{spec.name}': the meta-gradient is not finite at meta-step {step}{_kept(watch)}")
        adam.step()
        rate = lessons.log_lr.detach().exp().max().item()
        if not rate < EXPLODED:
            raise Diverged(f"teacher '{spec.name}': a learning rate is {rate:g} at meta-step {step}{_kept(watch)}")
        momentum = lessons.log_momentum.detach().exp().max().item()
        if not momentum < spec.inner_optimizer.momentum_below:
            limit = f"not below {spec.inner_optimizer.momentum_below:g}"
            what = f"a momentum of {spec.inner_optimizer.name} is {momentum:g}, {limit}, at meta-step {step}"
            raise Diverged(f"teacher '{spec.name}': {what}{_kept(watch)}")
        history.losses.append(loss)
        done = step + 1
        if watch.check_every and (done % watch.check_every == 0 or done == spec.meta_steps):
            history.checks.append(Check(done, examine(spec, lessons, dataset, splits, seed_for("check", seed, done))))
        if watch.checkpoint and watch.rank == 0 and (done % watch.checkpoint_every == 0 or done == spec.meta_steps):
            _keep(watch.checkpoint, about, lessons, adam, history)
        watch.progress(history)

    lessons.redraw(torch.Generator().manual_seed(seed_for("export", seed)))
    with torch.no_grad():
        return TeachingSet(lessons(slice(None)), spec.inner_optimizer, {**about, "history": history.plain()})


def backward(
    spec: MetaTrained, lessons: Lessons, dataset: Dataset, train: Split, seed: int, step: int, rank: int, ranks: int
) -> float:
    """The meta-loss of one meta-step, a mean over its learners; the gradient is left with the parameters."""
    horizon = spec.horizon(step)
    device = lessons.log_lr.device
    total = torch.zeros((), device=device)
    sums = [torch.zeros_like(value) for value in lessons.parameters()]
    for number in range(rank, spec.learners, ranks):
        lessons.redraw(torch.Generator().manual_seed(seed_for("lessons", seed, step, number)))
        learner = fresh_learner(spec, dataset, seed_for("fresh learner", seed, step, number)).to(device).train()
        examinee = learner
        if spec.statistics == "teaching":
            examinee = copy.deepcopy(differentiable_statistics(learner)).eval()
        draw = torch.Generator().manual_seed(seed_for("exam", seed, step, number))
        exam = draw_exam(train, (horizon, spec.exam_size), draw)
        loss, gradient = meta_gradient(
            lessons,
            learner,
            examinee,
            spec.inner_optimizer,
            exam,
            block_size=spec.block_size or math.ceil(math.sqrt(horizon)),
            precision=None if spec.precision == "float32" else torch.bfloat16,
        )
        total += loss / spec.learners
        for added, part in zip(sums, gradient, strict=True):
            added += part / spec.learners
    if ranks > 1:
        for value in (total, *sums):
            torch.distributed.all_reduce(value)
    for parameter, grad in zip(lessons.parameters(), sums, strict=True):
        parameter.grad = grad
    return total.item()


def fresh_learner(spec: MetaTrained, dataset: Dataset, seed: int) -> nn.Module:
    """A network of one of the teacher's architectures and widths, drawn from the seed."""
    draw = random.Random(seed)
    architecture = draw.choice(spec.architecture)
    if spec.widths:
        architecture = architecture.widened(math.exp(draw.uniform(*map(math.log, spec.widths))))
    return architecture(dataset, seed)


def draw_exam(train: Split, shape: tuple[int, int], draw: torch.Generator) -> Exam:
    """Real batches (T, B), drawn with replacement."""
    index = torch.randint(len(train), shape, generator=draw)
    images, labels = train[index.flatten().to(train.labels.device)]
    return Exam(images.unflatten(0, shape), labels.unflatten(0, shape))


def examine(
    spec: MetaTrained, lessons: Lessons, dataset: Dataset, splits: dict[Any, Split], seed: int, samples: int = 2000
) -> dict[int, float]:
    """Validation accuracy of one fresh learner after ten inner steps and after all of them.

    Its statistics are the teacher's: re-estimated on real images, or those of the last teaching batch.
    """
    network = fresh_learner(spec, dataset, seed).to(lessons.log_lr.device).train()
    lessons.redraw(torch.Generator().manual_seed(seed))
    with torch.no_grad():
        lesson = lessons(slice(None))
    accuracy = {}
    for step, state in enumerate(trajectory(network, spec.inner_optimizer, lesson), start=1):
        if step in (FEW_STEPS, spec.inner_steps):
            tensors = state.params | state.buffers
            if spec.statistics == "real":
                tensors |= estimate_statistics(network, tensors, splits["train"], samples)
            accuracy[step] = _accuracy(network, tensors, splits["validation"], samples)
            network.train()
    return accuracy


@torch.no_grad()
def _accuracy(network: nn.Module, tensors: dict[str, Tensor], split: Split, samples: int) -> float:
    """Of the network in evaluation mode, on the first so many images."""
    network.eval()
    right = 0
    total = min(samples, len(split))
    for index in torch.arange(total, device=split.labels.device).split(500):
        x, y = split[index]
        right += int((functional_call(network, tensors, (x,)).argmax(1) == y).sum())
    return right / total


def _adam(spec: MetaTrained, lessons: Lessons) -> torch.optim.Adam:
    """The generator's weights at one rate, all else at another."""
    weights = [value for name, value in lessons.named_parameters() if name.startswith("generator.")]
    others = [value for name, value in lessons.named_parameters() if not name.startswith("generator.")]
    rates = ((weights, spec.lr), (others, spec.curriculum_lr))
    groups = [{"params": params, "lr": lr, "base_lr": lr} for params, lr in rates if params]
    return torch.optim.Adam(groups, betas=(0.9, 0.999), eps=1e-8)


def _keep(path: Path, about: dict[str, Any], lessons: Lessons, adam: torch.optim.Adam, history: History) -> None:
    """Everything that the next meta-step depends on, in one file that appears whole or not at all."""
    tensors = {f"lessons.{name}": value for name, value in lessons.state_dict().items()}
    for name, parameter in lessons.named_parameters():
        tensors |= {f"adam.{what}.{name}": value for what, value in adam.state[parameter].items()}
    write_tensors(path, tensors, {**about, "history": history.plain()})


def _resume(path: Path | None, about: dict[str, Any], lessons: Lessons, adam: torch.optim.Adam) -> History:
    """Take up what `_keep` left, if it left anything."""
    made_by = {name: installed(name) for name in ("gtn-bench", "torch")}
    made_by |= {"code": digest([fingerprint(f"gtn_bench.{part}") for part in ("learners", "teaching")])}
    if not path or not path.exists():
        return History(made_by=[made_by])
    try:
        tensors, found = read_tensors(path, framework="pt")
        history = History.of(found.pop("history"))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise Mistake(f"{path} is not a checkpoint ({type(error).__name__}); remove it to begin again") from None
    if found != about:
        raise Mistake(f"{path} is the checkpoint of another teacher; remove it, or choose another folder")
    lessons.load_state_dict({name[8:]: value for name, value in tensors.items() if name.startswith("lessons.")})
    for name, parameter in lessons.named_parameters():
        for what in ("step", "exp_avg", "exp_avg_sq"):
            value = tensors[f"adam.{what}.{name}"]
            adam.state[parameter][what] = value if what == "step" else value.to(parameter.device)
    if made_by not in history.made_by:
        history.made_by.append(made_by)
    return history


def _agree(steps: int, watch: Watch, device: str) -> None:
    """Raise `Mistake` unless all processes begin at the same meta-step."""
    if watch.ranks > 1:
        both = torch.tensor([steps, -steps], device=device)
        torch.distributed.all_reduce(both, torch.distributed.ReduceOp.MAX)
        if both[0] != -both[1]:
            raise Mistake(f"{watch.checkpoint} is not the same file for all processes; they need a common folder")


def _kept(watch: Watch) -> str:
    return f"; the last checkpoint is {watch.checkpoint}" if watch.checkpoint and watch.checkpoint.exists() else ""
