"""Inner optimisers: how a learner moves, as pure functions that are differentiable in everything.

Each takes the learning rate and the momentum of its inner step, which a teacher may learn, and
hands its memory on as tensors `<what>.<parameter>`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from gtn_bench.description import Description, PositiveFloat

if TYPE_CHECKING:
    from torch import Tensor

    Tensors = dict[str, Tensor]

Decay = Annotated[float, Field(ge=0, lt=1)]

# Under each root, so that its derivative exists where a gradient is zero. Far below the epsilon beside it.
_ROOT = 1e-20


class InnerOptimizer(Description):
    """A rule for one training step. Calling it returns the new parameters and the new memory."""

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


OPTIMIZERS: dict[str, type[InnerOptimizer]] = {cls.name: cls for cls in (SGD, RMSProp, Adam)}


def _zeros(what: str, params: Tensors) -> Tensors:
    return {f"{what}.{name}": value.new_zeros(value.shape) for name, value in params.items()}
