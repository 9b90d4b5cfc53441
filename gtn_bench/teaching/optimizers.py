"""Inner optimizers: update rules of learners as pure functions, differentiable with respect to all arguments.

Each takes the learning rate and the momentum of the inner step, which a teacher may learn. The memory of an optimizer
is a dictionary of tensors with names such as ``velocity.<parameter>``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from gtn_bench.config.description import Description, PositiveFloat

if TYPE_CHECKING:
    from torch import Tensor

    Tensors = dict[str, Tensor]

Decay = Annotated[float, Field(ge=0, lt=1)]

# Added under each square root, so that the derivative exists where a gradient is zero.
_ROOT = 1e-20


class InnerOptimizer(Description):
    """Update rule of one inner step.

    Attributes:
        momentum_below: Upper bound, excluded, of the momenta for which the rule is defined.
    """

    momentum_below: ClassVar[float] = float("inf")

    def start(self, params: Tensors) -> Tensors:
        """Return the memory before the first inner step.

        Args:
            params: Parameters by name.
        """
        raise NotImplementedError

    def __call__(
        self, params: Tensors, memory: Tensors, grads: Tensors, lr: Tensor, momentum: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Return the parameters and the memory after one inner step.

        Args:
            params: Parameters by name.
            memory: The memory before the step.
            grads: Gradients by name.
            lr: Learning rate, a scalar.
            momentum: Momentum, a scalar.
        """
        raise NotImplementedError


class SGD(InnerOptimizer):
    """Gradient descent with momentum: ``v = momentum * v + g; p = p - lr * v``."""

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
    """RMSProp: ``s = alpha * s + (1 - alpha) * g^2``, then SGD on ``g / (sqrt(s) + eps)``.

    Attributes:
        alpha: Decay of the mean of squared gradients.
        eps: Added to the root of that mean.
    """

    name = "rmsprop"
    source = "torch.optim.RMSprop"
    alpha: Decay = 0.99
    eps: PositiveFloat = 1e-8

    def start(self, params: Tensors) -> Tensors:
        return _zeros("square", params) | _zeros("velocity", params)

    def __call__(
        self, params: Tensors, memory: Tensors, grads: Tensors, lr: Tensor, momentum: Tensor
    ) -> tuple[Tensors, Tensors]:
        new_params: Tensors = {}
        new_memory: Tensors = {}
        for name, value in params.items():
            square = self.alpha * memory[f"square.{name}"] + (1 - self.alpha) * grads[name] ** 2
            velocity = momentum * memory[f"velocity.{name}"] + grads[name] / ((square + _ROOT).sqrt() + self.eps)
            new_memory |= {f"square.{name}": square, f"velocity.{name}": velocity}
            new_params[name] = value - lr * velocity
        return new_params, new_memory


class Adam(InnerOptimizer):
    """Adam, with the momentum of the inner step as beta1.

    Attributes:
        beta2: Decay of the mean of squared gradients.
        eps: Added to the root of that mean.
    """

    name = "adam"
    source = "https://arxiv.org/abs/1412.6980"
    momentum_below: ClassVar[float] = 1.0
    beta2: Decay = 0.999
    eps: PositiveFloat = 1e-8

    def start(self, params: Tensors) -> Tensors:
        one = next(iter(params.values())).new_ones(())
        remaining = {"remaining.first": one, "remaining.second": one.clone()}  # beta^t, for the bias correction
        return remaining | _zeros("first", params) | _zeros("second", params)

    def __call__(
        self, params: Tensors, memory: Tensors, grads: Tensors, lr: Tensor, momentum: Tensor
    ) -> tuple[Tensors, Tensors]:
        new_memory = {
            "remaining.first": memory["remaining.first"] * momentum,
            "remaining.second": memory["remaining.second"] * self.beta2,
        }
        new_params: Tensors = {}
        for name, value in params.items():
            first = momentum * memory[f"first.{name}"] + (1 - momentum) * grads[name]
            second = self.beta2 * memory[f"second.{name}"] + (1 - self.beta2) * grads[name] ** 2
            new_memory |= {f"first.{name}": first, f"second.{name}": second}
            root = (second / (1 - new_memory["remaining.second"]) + _ROOT).sqrt()
            new_params[name] = value - lr * first / (1 - new_memory["remaining.first"]) / (root + self.eps)
        return new_params, new_memory


class Muon(Adam):
    """Muon: orthogonalized momentum for weights, Adam for gains and biases.

    The update of a weight matrix has equal singular values, so that directions with small gradients are learned as fast
    as others. A learner with global average pooling depends on such directions. The update of a weight with M outputs
    and N inputs, pixels of the kernel included, has a spectral norm of about ``lr * sqrt(max(1, M / N))``. Relative to
    the initial weights it is about ``lr / sqrt(2)`` for every layer, so that one learning rate fits many architectures.

    Attributes:
        adam_factor: Learning rate of gains and biases, relative to that of weights.
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
        new_params, new_memory = super().__call__(others, memory, grads, self.adam_factor * lr, momentum)
        for name, value in weights.items():
            first = momentum * memory[f"first.{name}"] + (1 - momentum) * grads[name]
            nesterov = momentum * first + (1 - momentum) * grads[name]
            direction = orthogonal(nesterov.flatten(1))
            rows, columns = direction.shape
            new_memory[f"first.{name}"] = first
            new_params[name] = value - lr * max(1, rows / columns) ** 0.5 * direction.view_as(value)
        return {name: new_params[name] for name in params}, new_memory


def orthogonal(matrix: Tensor) -> Tensor:
    """Return an approximation of ``U @ V.T`` for a matrix with the singular value decomposition ``U @ S @ V.T``.

    Five Newton-Schulz iterations ``X = (a * I + b * X @ X.T + c * (X @ X.T)^2) @ X`` with the coefficients of Muon,
    computed on the smaller of the two Gram matrices.

    Args:
        matrix: The matrix (m, n).

    Returns:
        A matrix (m, n). Singular values above 1 % of the norm of the input become values between 0.7 and 1.2.
    """
    x = matrix / ((matrix**2).sum() + _ROOT).sqrt()
    if len(x) > x.shape[1]:
        x = x.T
    gram = x @ x.T
    product = identity = matrix.new_ones(len(x)).diag()
    for _ in range(5):
        factor = 3.4445 * identity - 4.7750 * gram + 2.0315 * gram @ gram
        gram, product = factor @ gram @ factor, factor @ product
    x = product @ x
    return x if x.shape == matrix.shape else x.T


OPTIMIZERS: dict[str, type[InnerOptimizer]] = {cls.name: cls for cls in (SGD, RMSProp, Adam, Muon)}


def _by_dimension(params: Tensors) -> tuple[Tensors, Tensors]:
    """Split parameters into weights, with at least two dimensions, and gains and biases."""
    weights = {name: value for name, value in params.items() if value.ndim > 1}
    return weights, {name: value for name, value in params.items() if name not in weights}


def _zeros(prefix: str, params: Tensors) -> Tensors:
    return {f"{prefix}.{name}": value.new_zeros(value.shape) for name, value in params.items()}
