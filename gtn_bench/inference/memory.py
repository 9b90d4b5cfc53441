"""Sizes of the tensors that a network computes, from which batch sizes follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn


def saved_sizes(forward: Callable[[Tensor], Any], x: Tensor) -> list[int]:
    """Return the size in bytes of each tensor that is saved for the gradient of a forward pass.

    Args:
        forward: The forward pass.
        x: Images (N, C, H, W).
    """
    sizes = {}

    def record(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    x = x.detach().requires_grad_()
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        outputs = forward(x)  # holding the graph keeps addresses unique
    del outputs
    return list(sizes.values())


def output_sizes(network: nn.Module, x: Tensor) -> list[int]:
    """Return the size in bytes of each tensor that a layer of a network returns, in the order of the calls.

    Args:
        network: The network.
        x: Images (N, C, H, W).
    """
    sizes: list[int] = []

    def record(layer: nn.Module, inputs: Any, outputs: Any) -> None:
        sizes.extend(tensor.nbytes for tensor in _tensors(outputs))

    hooks = [layer.register_forward_hook(record) for layer in network.modules()]
    try:
        with torch.no_grad():
            network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return sizes


def per_image(fewer: list[int], more: list[int]) -> list[int]:
    """Return the sizes in bytes per image, from the sizes for two numbers of images that differ by one.

    Tensors whose size does not depend on the number of images have size zero.

    Args:
        fewer: Sizes for the smaller number.
        more: Sizes for the larger number.
    """
    return [larger - smaller for smaller, larger in zip(fewer, more, strict=False)]


def _tensors(outputs: Any) -> Iterator[Tensor]:
    """Return the tensors in the outputs of a layer: a tensor, or nested sequences and mappings of them."""
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, dict | list | tuple):
        for part in outputs.values() if isinstance(outputs, dict) else outputs:
            yield from _tensors(part)
