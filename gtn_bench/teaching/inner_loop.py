"""The inner loop: a learner's training as a pure, differentiable function of its lesson."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from gtn_bench.teaching.generator import Curriculum, Lesson

Tensors = dict[str, Tensor]


class State(NamedTuple):
    """All that changes while a learner trains."""

    params: Tensors
    velocity: Tensors
    buffers: Tensors  # batch-norm statistics among them

    def leaves(self) -> State:
        """The same numbers cut from their history, as leaves that collect gradients."""
        return State(*({name: _leaf(value) for name, value in part.items()} for part in self))

    def tensors(self) -> list[Tensor]:
        return [value for part in self for value in part.values()]


class Exam(NamedTuple):
    """Real batches that the learner is judged on, one after each inner step."""

    images: Tensor  # (T, B, C, H, W)
    labels: Tensor  # (T, B) int64


def initial_state(learner: nn.Module) -> State:
    """The learner as it stands, at rest."""
    params = {name: value.detach() for name, value in learner.named_parameters()}
    buffers = {name: value.detach() for name, value in learner.named_buffers()}
    return State(params, {name: torch.zeros_like(value) for name, value in params.items()}, buffers)


def sgd_step(
    params: Tensors, velocity: Tensors, grads: Tensors, lr: Tensor, momentum: Tensor
) -> tuple[Tensors, Tensors]:
    """v <- momentum v + g; p <- p - lr v. `torch.optim.SGD`, differentiable in everything."""
    velocity = {name: momentum * velocity[name] + grads[name] for name in params}
    return {name: params[name] - lr * velocity[name] for name in params}, velocity


def inner_step(
    learner: nn.Module,
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
    loss = F.cross_entropy(functional_call(learner, tensors, (images,)), labels)
    grads = torch.autograd.grad(loss, list(params.values()), create_graph=create_graph)
    buffers = {name: tensors[name] for name in state.buffers}  # functional_call leaves the new statistics here
    params, velocity = sgd_step(params, state.velocity, dict(zip(params, grads, strict=True)), lr, momentum)
    return State(params, velocity, buffers)


def train(learner: nn.Module, lesson: Lesson) -> State:
    """The learner after the whole lesson. No graph is kept."""
    state = initial_state(learner)
    for images, labels, lr, momentum in zip(*lesson, strict=True):
        state = inner_step(learner, state, images, labels, lr, momentum, create_graph=False).leaves()
    return state


def unroll(
    learner: nn.Module, examinee: nn.Module, state: State, lesson: Lesson, exam: Exam, *, create_graph: bool
) -> tuple[State, Tensor]:
    """Train over the lesson, examining after every step; the last state and the sum of the exam losses.

    `learner` trains in training mode. `examinee` is the same network as it is judged: in training
    mode the real batch's own statistics are used, in evaluation mode those of the last teaching batch.
    """
    losses = []
    for step, real_images, real_labels in zip(zip(*lesson, strict=True), *exam, strict=True):
        state = inner_step(learner, state, *step, create_graph=create_graph)
        logits = functional_call(examinee, {**state.params, **state.buffers}, (real_images,))
        losses.append(F.cross_entropy(logits, real_labels))
    return state, torch.stack(losses).sum()


def meta_gradient(
    curriculum: Curriculum, learner: nn.Module, examinee: nn.Module, exam: Exam, block_size: int
) -> tuple[Tensor, list[Tensor]]:
    """Mean exam loss over the inner loop, and its gradient for every parameter of the curriculum.

    Only one block of inner steps, lessons included, is held as a graph at a time: a first pass
    keeps the states at the block boundaries, a second goes through the blocks backwards and
    pulls the gradient through each. With one block this is the plain unroll; with sqrt(T) blocks
    memory grows as sqrt(T), for one more forward pass. All block sizes give the same gradient.
    """
    teachers = list(curriculum.parameters())
    total = len(exam.labels)
    blocks = [slice(start, min(start + block_size, total)) for start in range(0, total, block_size)]

    states = [initial_state(learner)]
    for block in blocks[:-1]:
        with torch.no_grad():
            lesson = curriculum(block)
        state = states[-1]
        for step in zip(*lesson, strict=True):
            state = inner_step(learner, state, *step, create_graph=False).leaves()
        states.append(state)

    loss = exam.images.new_zeros(())
    gradient = [torch.zeros_like(value) for value in teachers]
    cotangents: Sequence[Tensor] | None = None
    for block, start in zip(reversed(blocks), reversed(states), strict=True):
        start = start.leaves()
        end, losses = unroll(
            learner, examinee, start, curriculum(block), Exam(*(part[block] for part in exam)), create_graph=True
        )
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


def _leaf(value: Tensor) -> Tensor:
    return value.detach().requires_grad_()
