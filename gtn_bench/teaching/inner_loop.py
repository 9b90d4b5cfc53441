"""The inner loop: the training of a learner as a pure, differentiable function of its curriculum."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from gtn_bench.teaching.curricula import Curriculum, CurriculumModule
from gtn_bench.teaching.optimizers import InnerOptimizer

Tensors = dict[str, Tensor]


class State(NamedTuple):
    """State of a learner in training. All tensors are stored by name.

    Attributes:
        params: Parameters.
        memory: State of the inner optimizer.
        buffers: Constants and batch-norm statistics. Every step replaces the statistics without reading them.
    """

    params: Tensors
    memory: Tensors
    buffers: Tensors

    def leaves(self) -> State:
        """Return the state detached from the autograd graph. Parameters and memory require gradients."""
        params, memory = ({name: _leaf(value) for name, value in part.items()} for part in self[:2])
        return State(params, memory, {name: value.detach() for name, value in self.buffers.items()})

    def tensors(self) -> list[Tensor]:
        """Return the tensors that the next step depends on: parameters and memory."""
        return [*self.params.values(), *self.memory.values()]


class MetaBatch(NamedTuple):
    """Real images on which the loss of the learner is computed, one batch after each of T inner steps.

    Attributes:
        images: Images (T, B, C, H, W) in [0, 1].
        labels: Labels (T, B) int64.
    """

    images: Tensor
    labels: Tensor


def initial_state(learner: nn.Module, optimizer: InnerOptimizer) -> State:
    """Return the state of a learner before its first inner step.

    Args:
        learner: The learner. Its parameters and buffers are the initial ones.
        optimizer: The inner optimizer.
    """
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
    """Return the state after one step of training.

    Args:
        learner: The learner, in train mode. Its own parameters and buffers are not used.
        optimizer: The inner optimizer.
        state: The state before the step. It is not modified.
        images: Images (B, C, H, W).
        labels: Label probabilities (B, K).
        lr: Learning rate, a scalar.
        momentum: Momentum, a scalar.
        create_graph: Whether the step is differentiable.
    """
    params = {name: value if value.requires_grad else _leaf(value) for name, value in state.params.items()}
    tensors = {**params, **{name: value.clone() for name, value in state.buffers.items()}}  # torch's layers write them
    loss = cross_entropy(functional_call(learner, tensors, (images,)), labels)
    grads = torch.autograd.grad(loss, list(params.values()), create_graph=create_graph)
    buffers = {name: tensors[name] for name in state.buffers}  # functional_call stores new statistics here
    params, memory = optimizer(params, state.memory, dict(zip(params, grads, strict=True)), lr, momentum)
    return State(params, memory, buffers)


def trajectory(learner: nn.Module, optimizer: InnerOptimizer, curriculum: Curriculum) -> Iterator[State]:
    """Yield the state after each inner step of a curriculum, without an autograd graph.

    Args:
        learner: The learner, in train mode.
        optimizer: The inner optimizer.
        curriculum: The training data of T inner steps.
    """
    state = initial_state(learner, optimizer)
    for step in zip(*curriculum, strict=True):
        state = inner_step(learner, optimizer, state, *step, create_graph=False).leaves()
        yield state


def unroll(
    learner: nn.Module,
    evaluated: nn.Module,
    optimizer: InnerOptimizer,
    state: State,
    curriculum: Curriculum,
    meta_batch: MetaBatch,
    *,
    create_graph: bool,
    after: Container[int] | None = None,
) -> tuple[State, Tensor]:
    """Train a learner on a curriculum, and compute its loss on real images after inner steps.

    Args:
        learner: The learner, in train mode.
        evaluated: The same network for the real images. In train mode its batch norms use the statistics of the real
            batch. In evaluation mode they use those of the last teaching batch.
        optimizer: The inner optimizer.
        state: The state before the first step. It is not modified.
        curriculum: The training data of T inner steps.
        meta_batch: The real images of T inner steps.
        create_graph: Whether state and losses are differentiable.
        after: Inner steps after which to compute the loss, the first one being 0; None for all of them.

    Returns:
        The last state, and the sum of the losses, a scalar.
    """
    losses = []
    steps = zip(zip(*curriculum, strict=True), *meta_batch, strict=True)
    for number, (step, real_images, real_labels) in enumerate(steps):
        state = inner_step(learner, optimizer, state, *step, create_graph=create_graph)
        if after is None or number in after:
            logits = functional_call(evaluated, {**state.params, **state.buffers}, (real_images,))
            losses.append(cross_entropy(logits, real_labels))
    return state, torch.stack(losses).sum() if losses else curriculum.lr.new_zeros(())


def meta_gradient(
    module: CurriculumModule,
    learner: nn.Module,
    evaluated: nn.Module,
    optimizer: InnerOptimizer,
    meta_batch: MetaBatch,
    *,
    block_size: int,
    meta_loss_every: int = 1,
    meta_losses: int | None = None,
    precision: torch.dtype | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Return the mean loss on real images over the inner loop, and its gradient for every parameter of the curriculum.

    Only one block of inner steps has an autograd graph at a time. A first pass stores the states at the starts of the
    blocks. A second pass visits the blocks in reverse order and backpropagates through each. One block is the plain
    unroll. With sqrt(T) blocks, memory grows as sqrt(T), at the cost of one more forward pass. The gradient does not
    depend on the block size.

    Args:
        module: The curriculum. It has at least as many inner steps as the meta-batch.
        learner: The learner, in train mode.
        evaluated: The same network for the real images. See `unroll`.
        optimizer: The inner optimizer.
        meta_batch: The real images of T inner steps.
        block_size: Inner steps per block.
        meta_loss_every: Compute the loss after every so many inner steps, counted from the last one.
        meta_losses: Largest number of losses: the last ones remain. None for no limit.
        precision: Type of images and activations; None for that of the parameters. Parameters, updates, losses and
            gradients keep theirs.

    Returns:
        The loss, a scalar, and a gradient for each of ``module.parameters()``.
    """
    parameters = list(module.parameters())
    total = len(meta_batch.labels)
    after = range((total - 1) % meta_loss_every, total, meta_loss_every)[-(meta_losses or total) :]
    blocks = [slice(start, min(start + block_size, total)) for start in range(0, total, block_size)]
    if precision:
        meta_batch = MetaBatch(meta_batch.images.to(precision), meta_batch.labels)

    states = [initial_state(learner, optimizer)]
    for block in blocks[:-1]:
        with torch.no_grad():
            curriculum = module(block, precision)
        state = states[-1]
        for step in zip(*curriculum, strict=True):
            state = inner_step(learner, optimizer, state, *step, create_graph=False).leaves()
        states.append(state)

    loss = module.log_lr.new_zeros(())
    gradient = [torch.zeros_like(value) for value in parameters]
    cotangents: Sequence[Tensor] | None = None
    for block, start in zip(reversed(blocks), reversed(states), strict=True):
        start = start.leaves()
        curriculum, block_batch = module(block, precision), MetaBatch(*(part[block] for part in meta_batch))
        end, losses = unroll(
            *(learner, evaluated, optimizer, start, curriculum, block_batch),
            create_graph=True,
            after=[step - block.start for step in after],
        )
        loss = loss + losses.detach() / len(after)
        # The gradient of this scalar is the vector-Jacobian product of the block.
        scalar = losses / len(after)
        for out, cotangent in zip(end.tensors(), cotangents, strict=True) if cotangents else ():
            scalar = scalar + (out * cotangent).sum()
        grads = torch.autograd.grad(scalar, [*parameters, *start.tensors()], allow_unused=True, materialize_grads=True)
        gradient = [old + new for old, new in zip(gradient, grads[: len(parameters)], strict=True)]
        cotangents = grads[len(parameters) :]
    return loss, gradient


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy, computed in float32 or a wider type.

    Args:
        logits: Logits (B, K).
        labels: Classes (B,) or class probabilities (B, K).

    Returns:
        The loss, a scalar.
    """
    return F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels)


def _leaf(value: Tensor) -> Tensor:
    return value.detach().requires_grad_()
