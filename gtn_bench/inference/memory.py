"""Sizes of the tensors that a network computes, from which batch sizes follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode


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
            if isinstance(network, fx.GraphModule):
                _Recording(network, sizes).run(x)
            else:
                network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return sizes


class _Recording(fx.Interpreter):
    """Runs a graph, whose functions are no layers, and records the size in bytes of each tensor.

    Args:
        graph: The graph.
        sizes: The list to extend.
    """

    def __init__(self, graph: fx.GraphModule, sizes: list[int]) -> None:
        super().__init__(graph)
        self.sizes = sizes

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.sizes.extend(tensor.nbytes for tensor in _tensors(value) if n.op != "get_attr")
        return value


def operation_sizes(network: nn.Module, x: Tensor) -> list[int]:
    """Return the size in bytes of each tensor that an operation of a network returns, in the order of the calls.

    On a GPU each of them takes memory. On a CPU some layers compute a few images at a time.

    Args:
        network: The network.
        x: Images (N, C, H, W).
    """
    with torch.no_grad(), _Sizes() as recorded:
        network(x)
    return recorded.sizes


class _Sizes(TorchDispatchMode):
    """Context that records the size in bytes of each tensor that an operation returns."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        self.sizes.extend(tensor.nbytes for tensor in _tensors(outputs))
        return outputs


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
