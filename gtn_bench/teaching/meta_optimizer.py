"""The optimizer of a curriculum: Adam, or Muon for the weights of the generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, overload

import torch
from torch import Tensor, nn

from gtn_bench.teaching.optimizers import orthogonal

ADAM_FACTOR = 0.1  # learning rate of gains and biases of the generator, relative to that of its weights, with Muon


def meta_optimizer(
    module: nn.Module, generator_optimizer: Literal["adam", "muon"], *, lr: float, curriculum_lr: float
) -> torch.optim.Adam:
    """Return the optimizer of a curriculum. Each of its groups has its initial learning rate as `base_lr`.

    Args:
        module: The curriculum. The names of the parameters of its generator begin with ``generator.``.
        generator_optimizer: Optimizer of the generator.
        lr: Learning rate of the generator.
        curriculum_lr: Learning rate of everything else, which Adam learns.
    """
    generator = [value for name, value in module.named_parameters() if name.startswith("generator.")]
    others = [value for name, value in module.named_parameters() if not name.startswith("generator.")]
    if generator_optimizer == "adam":
        rates = [(generator, lr, False)]
    else:
        weights = [value for value in generator if value.ndim > 1]
        small = [value for value in generator if value.ndim <= 1]
        rates = [(weights, lr, True), (small, ADAM_FACTOR * lr, False)]
    groups = [
        {"params": params, "lr": rate, "base_lr": rate, "orthogonal": is_orthogonal}
        for params, rate, is_orthogonal in [*rates, (others, curriculum_lr, False)]
        if params
    ]
    kind = Muon if generator_optimizer == "muon" else torch.optim.Adam
    return kind(groups, betas=(0.9, 0.999), eps=1e-8)


class Muon(torch.optim.Adam):
    """Muon for the groups that are `orthogonal`, Adam for the others.

    The update of a weight with M outputs and N inputs, pixels of the kernel included, has a spectral norm of about
    ``lr * sqrt(max(1, M / N))``, as that of `gtn_bench.teaching.optimizers.Muon`.

    Source: https://kellerjordan.github.io/posts/muon
    """

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update all parameters by their gradients.

        Args:
            closure: As that of `torch.optim.Adam`.
        """
        for group in self.param_groups:
            for weight in group["params"] if group["orthogonal"] else ():
                if weight.grad is not None:
                    self._update(weight, weight.grad, group["lr"], group["betas"][0])
                    weight.grad = None  # Adam leaves it as it is
        return super().step(closure)

    def _update(self, weight: Tensor, grad: Tensor, lr: float, momentum: float) -> None:
        first = self.state[weight].setdefault("exp_avg", torch.zeros_like(weight))
        first.lerp_(grad, 1 - momentum)
        direction = orthogonal(torch.lerp(grad, first, momentum).flatten(1))
        rows, columns = direction.shape
        weight.sub_(direction.view_as(weight), alpha=lr * max(1, rows / columns) ** 0.5)
