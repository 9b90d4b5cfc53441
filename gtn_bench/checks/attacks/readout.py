"""The readout of a network: its last linear layer, which a test can replace."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gtn_bench.inference.classifier import Classifier


class UnassignedQueryError(RuntimeError):
    """An attack queries images that cannot be assigned to the images of its batch."""


def find_readout(classifier: Classifier, x: Tensor) -> nn.Linear | None:
    """Return the last linear layer, which computes the logits or is followed by what computes them.

    Args:
        classifier: The classifier.
        x: At least two images (n, C, H, W).

    Returns:
        The last layer that a forward pass calls, if it is linear, is called once for all images, and has one output for
        each class; None if there is no such layer. What the network does with its outputs stays part of the network.
    """
    called: list[nn.Linear] = []
    valid: list[bool] = []

    def note(module: nn.Linear, inputs: tuple[Any, ...], output: Any) -> None:
        called.append(module)
        shape = (len(x), classifier.num_classes)
        valid.append(isinstance(output, Tensor) and output.shape == shape and inputs[0].ndim == 2)

    modules = {id(each): each for root in (classifier.network, *classifier.called) for each in root.modules()}
    handles = [each.register_forward_hook(note) for each in modules.values() if isinstance(each, nn.Linear)]
    try:
        probe = _twin(classifier)
        probe.restart()
        with torch.no_grad():
            probe.compute(x.to(probe.parameter_dtype))
    finally:
        for handle in handles:
            handle.remove()
    if not called or not valid[-1] or sum(each is called[-1] for each in called) > 1:
        return None
    return called[-1]


def features_of(classifier: Classifier, readout: nn.Linear, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inputs and the outputs of a readout; their means if several passes are averaged.

    Args:
        classifier: The classifier.
        readout: Its readout.
        x: Images (n, C, H, W).

    Returns:
        Features (n, F) and outputs (n, K).
    """
    features: list[Tensor] = []
    outputs: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        features.append(inputs[0].detach())
        outputs.append(output.detach())

    handle = readout.register_forward_hook(note)
    try:
        classifier.restart()
        with torch.no_grad():
            classifier(x)
    finally:
        handle.remove()
    return torch.stack(features).mean(dim=0), torch.stack(outputs).mean(dim=0)


@contextmanager
def replaced(
    classifier: Classifier, readout: nn.Linear, outputs: Callable[[Tensor, Tensor], Tensor]
) -> Iterator[Classifier]:
    """Replace the outputs of a readout.

    Args:
        classifier: The classifier. It is as before afterwards.
        readout: Its readout.
        outputs: Maps the queried images (m, C, H, W) and the features (m, F) to new outputs (m, K).

    Yields:
        A classifier with the new readout, and with its own counts of passes.
    """
    changed, queried = _twin(classifier), list[Tensor]()
    changed.recorded = True

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        queried[:] = [inputs[0].detach()]

    def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return outputs(queried[0], inputs[0]).to(output.dtype)

    handles = [changed.register_forward_pre_hook(before), readout.register_forward_hook(after)]
    try:
        yield changed
    finally:
        for handle in handles:
            handle.remove()


def _twin(classifier: Classifier) -> Classifier:
    """Return a classifier that shares the network, but not the counts, cached gradients and hooks."""
    twin = copy.copy(classifier)
    twin.forwards = twin.backwards = 0
    twin._gradient_cache = []
    twin._forward_hooks, twin._forward_pre_hooks = twin._forward_hooks.copy(), twin._forward_pre_hooks.copy()
    return twin
