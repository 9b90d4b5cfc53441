"""Inner optimisers: how a learner moves, as pure functions that are differentiable in everything.

Each takes the learning rate and the momentum of its inner step, which a teacher may learn, and
hands its memory on as tensors `<what>.<parameter>`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from gtn_bench.description import Description, PositiveFloat

if TYPE_CHECKING:
    from torch import Tensor

    Tensors = dict[str, Tensor]

Decay = Annotated[float, Field(ge=0, lt=1)]

# Under each root, so that its derivative exists where a gradient is zero.
_ROOT = 1e-20


class InnerOptimizer(Description):
    """A rule for one training step. Calling it returns the new parameters and the new memory."""

    momentum_below: ClassVar[float] = float("inf")  # where the rule is no longer one, if a teacher learns to get there

    def start(self, params: Tensors) -> Tensors:
        """The memory of a learner at rest."""
        raise NotImplementedError

    def __call__(
        self, params: Tensors, memory: Tensors, grads: Tensors, lr: Tensor, momentum: Tensor
    ) -> tuple[Tensors, Tensors]:
        raise NotImplementedError


class SGD(InnerOptimizer):
    """Gradient descent with momentum: v <- momentum v + g; p <- p - lr v."""

    name = "sgd"
    source = "torch.optim.SGD"

    def start(self, params: Tensors) -> Tensors:
        return _zeros("velocity", params)

    def __call__(
        self, params: Tensors, memory: Tensors, grads: Tensors, lr: Tensor, momentum: Tensor
    ) -> tuple[Tensors, Tensors]:
        velocity = {f"velocity.{name}": momentum * memory[f"velocity.{name}"] + grads[name] for name in params}
        return {name: value - lr * velocity[f"velocity.{name}"] for name, value in params.items()}, velocity


class RMSProp(InnerOptimizer):
    """Gradients over the root of their mean square: s <- alpha s + (1 - alpha) g^2; then SGD on g / sqrt(s)."""

    name = "rmsprop"
    source = "torch.optim.RMSprop"
    alpha: Decay = 0.99
    eps: PositiveFloat = 1e-8

    def start(self, params: Tensors) -> Tensors:
        return _zeros("square", params) | _zeros("velocity", params)

    def __call__(
        self, params: Tensors, memory: Tensors, grads: Tensors, lr: Tensor, momentum: Tensor
    ) -> tuple[Tensors, Tensors]:
        moved: Tensors = {}
        kept: Tensors = {}
        for name, value in params.items():
            square = self.alpha * memory[f"square.{name}"] + (1 - self.alpha) * grads[name] ** 2
            velocity = momentum * memory[f"velocity.{name}"] + grads[name] / ((square + _ROOT).sqrt() + self.eps)
            kept |= {f"square.{name}": square, f"velocity.{name}": velocity}
            moved[name] = value - lr * velocity
        return moved, kept


class Adam(InnerOptimizer):
    """Adam, its first decay being the momentum of the inner step."""

    name = "adam"
    source = "https://arxiv.org/abs/1412.6980"
    momentum_below: ClassVar[float] = 1.0  # a share in a mean
    beta2: Decay = 0.999
    eps: PositiveFloat = 1e-8

    def start(self, params: Tensors) -> Tensors:
        one = next(iter(params.values())).new_ones(())
        remaining = {"remaining.first": one, "remaining.second": one.clone()}  # products of the decays so far
        return remaining | _zeros("first", params) | _zeros("second", params)

    def __call__(
        self, params: Tensors, memory: Tensors, grads: Tensors, lr: Tensor, momentum: Tensor
    ) -> tuple[Tensors, Tensors]:
        kept = {
            "remaining.first": memory["remaining.first"] * momentum,
            "remaining.second": memory["remaining.second"] * self.beta2,
        }
        moved: Tensors = {}
        for name, value in params.items():
            first = momentum * memory[f"first.{name}"] + (1 - momentum) * grads[name]
            second = self.beta2 * memory[f"second.{name}"] + (1 - self.beta2) * grads[name] ** 2
            kept |= {f"first.{name}": first, f"second.{name}": second}
            root = (second / (1 - kept["remaining.second"]) + _ROOT).sqrt()
            moved[name] = value - lr * first / (1 - kept["remaining.first"]) / (root + self.eps)
        return moved, kept


class Muon(Adam):
    """Weights along their momentum made orthogonal, as far in every direction; gains and biases by Adam.

    Directions in which a layer's inputs hardly differ, and its gradients are small, are learned as fast as others: a
    learner whose features are averaged over all positions has little else. The step of a weight (out, ...) of n inputs,
    a kernel's pixels among them, is lr sqrt(max(1, out / n)), about lr / sqrt(2) of the size it was drawn with,
    whatever the layer; so one rate serves many architectures. `adam_factor` is the rate of gains and biases as a share
    of it.
    """

    name = "muon"
    source = "https://kellerjordan.github.io/posts/muon"
    adam_factor: PositiveFloat = 0.1

    def start(self, params: Tensors) -> Tensors:
        memory = super().start(params)
        for name in _by_dimension(params)[0]:
            del memory[f"second.{name}"]
        return memory

    def __call__(
        self, params: Tensors, memory: Tensors, grads: Tensors, lr: Tensor, momentum: Tensor
    ) -> tuple[Tensors, Tensors]:
        weights, others = _by_dimension(params)
        moved, kept = super().__call__(others, memory, grads, self.adam_factor * lr, momentum)
        for name, value in weights.items():
            first = momentum * memory[f"first.{name}"] + (1 - momentum) * grads[name]
            ahead = momentum * first + (1 - momentum) * grads[name]  # Nesterov's
            direction = orthogonal(ahead.flatten(1))
            rows, columns = direction.shape
            kept[f"first.{name}"] = first
            moved[name] = value - lr * max(1, rows / columns) ** 0.5 * direction.view_as(value)
        return {name: moved[name] for name in params}, kept


def orthogonal(matrix: Tensor) -> Tensor:
    """U V^T of a matrix U S V^T (m, n), roughly: singular values above 1 % of its norm end between 0.7 and 1.2.

    Five Newton-Schulz steps X <- (a + b X X^T + c (X X^T)^2) X with Muon's coefficients, worked out for the smaller
    of the two Gram matrices.
    """
    x = matrix / ((matrix**2).sum() + _ROOT).sqrt()
    if len(x) > x.shape[1]:
        x = x.T
    gram = x @ x.T
    whole = one = matrix.new_ones(len(x)).diag()
    for _ in range(5):
        factor = 3.4445 * one - 4.7750 * gram + 2.0315 * gram @ gram
        gram, whole = factor @ gram @ factor, factor @ whole
    x = whole @ x
    return x if x.shape == matrix.shape else x.T


OPTIMIZERS: dict[str, type[InnerOptimizer]] = {cls.name: cls for cls in (SGD, RMSProp, Adam, Muon)}


def _by_dimension(params: Tensors) -> tuple[Tensors, Tensors]:
    """Weights, which have more than one; gains and biases."""
    weights = {name: value for name, value in params.items() if value.ndim > 1}
    return weights, {name: value for name, value in params.items() if name not in weights}


def _zeros(what: str, params: Tensors) -> Tensors:
    return {f"{what}.{name}": value.new_zeros(value.shape) for name, value in params.items()}
