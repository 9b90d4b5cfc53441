"""The inner loop: a learner's training as a pure, differentiable function of its lesson."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from gtn_bench.teaching.lessons import Lesson, Lessons
from gtn_bench.teaching.optimizers import InnerOptimizer

Tensors = dict[str, Tensor]


class State(NamedTuple):
    """All that changes while a learner trains."""

    params: Tensors
    memory: Tensors  # of the inner optimiser
    buffers: Tensors  # constants, and batch-norm statistics, which every step replaces without reading them

    def leaves(self) -> State:
        """The same numbers cut from their history; parameters and memory collect gradients from here on."""
        params, memory = ({name: _leaf(value) for name, value in part.items()} for part in self[:2])
        return State(params, memory, {name: value.detach() for name, value in self.buffers.items()})

    def tensors(self) -> list[Tensor]:
        """What the next step depends on."""
        return [*self.params.values(), *self.memory.values()]


class Exam(NamedTuple):
    """Real batches that the learner is judged on, one after each inner step."""

    images: Tensor  # (T, B, C, H, W)
    labels: Tensor  # (T, B) int64


def initial_state(learner: nn.Module, optimizer: InnerOptimizer) -> State:
    """The learner as it stands, at rest."""
    params = {name: value.detach() for name, value in learner.named_parameters()}
    buffers = {name: value.detach().clone() for name, value in learner.named_buffers()}
    return State(params, optimizer.start(params), buffers)


def inner_step(
    learner: nn.Module,
    optimizer: InnerOptimizer,
    state: State,
    images: Tensor,
    labels: Tensor,
    lr: Tensor,
    momentum: Tensor,
    *,
    create_graph: bool,
) -> State:
    """One step of training on images (B, C, H, W) and label probabilities (B, K)."""
    params = {name: value if value.requires_grad else _leaf(value) for name, value in state.params.items()}
    tensors = {**params, **state.buffers}
    loss = cross_entropy(functional_call(learner, tensors, (images,)), labels)
    grads = torch.autograd.grad(loss, list(params.values()), create_graph=create_graph)
    buffers = {name: tensors[name] for name in state.buffers}  # functional_call leaves the new statistics here
    params, memory = optimizer(params, state.memory, dict(zip(params, grads, strict=True)), lr, momentum)
    return State(params, memory, buffers)


def trajectory(learner: nn.Module, optimizer: InnerOptimizer, lesson: Lesson) -> Iterator[State]:
    """The learner after every inner step of the lesson. No graph is kept."""
    state = initial_state(learner, optimizer)
    for step in zip(*lesson, strict=True):
        state = inner_step(learner, optimizer, state, *step, create_graph=False).leaves()
        yield state


def unroll(
    learner: nn.Module,
    examinee: nn.Module,
    optimizer: InnerOptimizer,
    state: State,
    lesson: Lesson,
    exam: Exam,
    *,
    create_graph: bool,
) -> tuple[State, Tensor]:
    """Train over the lesson, examining after every step; the last state and the sum of the exam losses.

    `learner` trains in training mode. `examinee` is the same network as it is judged: in training
    mode the real batch's own statistics are used, in evaluation mode those of the last teaching batch.
    """
    losses = []
    for step, real_images, real_labels in zip(zip(*lesson, strict=True), *exam, strict=True):
        state = inner_step(learner, optimizer, state, *step, create_graph=create_graph)
        logits = functional_call(examinee, {**state.params, **state.buffers}, (real_images,))
        losses.append(cross_entropy(logits, real_labels))
    return state, torch.stack(losses).sum()


def meta_gradient(
    lessons: Lessons,
    learner: nn.Module,
    examinee: nn.Module,
    optimizer: InnerOptimizer,
    exam: Exam,
    *,
    block_size: int,
    precision: torch.dtype | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Mean exam loss over the inner loop, and its gradient for every parameter of the lessons.

    The loop is as long as the exam. Only one block of inner steps, lessons included, is held as a
    graph at a time: a first pass keeps the states at the block boundaries, a second goes through
    the blocks backwards and pulls the gradient through each. With one block this is the plain
    unroll; with sqrt(T) blocks memory grows as sqrt(T), for one more forward pass. All block sizes
    give the same gradient. With bfloat16 as `precision` images and activations are kept in it;
    parameters, updates, losses and gradients stay as they are.
    """
    teachers = list(lessons.parameters())
    total = len(exam.labels)
    blocks = [slice(start, min(start + block_size, total)) for start in range(0, total, block_size)]
    if precision:
        exam = Exam(exam.images.to(precision), exam.labels)

    states = [initial_state(learner, optimizer)]
    for block in blocks[:-1]:
        with torch.no_grad():
            lesson = lessons(block, precision)
        state = states[-1]
        for step in zip(*lesson, strict=True):
            state = inner_step(learner, optimizer, state, *step, create_graph=False).leaves()
        states.append(state)

    loss = lessons.log_lr.new_zeros(())
    gradient = [torch.zeros_like(value) for value in teachers]
    cotangents: Sequence[Tensor] | None = None
    for block, start in zip(reversed(blocks), reversed(states), strict=True):
        start = start.leaves()
        lesson, block_exam = lessons(block, precision), Exam(*(part[block] for part in exam))
        end, losses = unroll(learner, examinee, optimizer, start, lesson, block_exam, create_graph=True)
        loss = loss + losses.detach() / total
        # A scalar whose gradient is the block's vector-Jacobian product.
        pulled_back = losses / total
        for out, cotangent in zip(end.tensors(), cotangents, strict=True) if cotangents else ():
            pulled_back = pulled_back + (out * cotangent).sum()
        pulled = torch.autograd.grad(
            pulled_back, [*teachers, *start.tensors()], allow_unused=True, materialize_grads=True
        )
        gradient = [old + new for old, new in zip(gradient, pulled[: len(teachers)], strict=True)]
        cotangents = pulled[len(teachers) :]
    return loss, gradient


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy, in float32 at least."""
    return F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels)


def _leaf(value: Tensor) -> Tensor:
    return value.detach().requires_grad_()
