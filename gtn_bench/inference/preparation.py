"""Preparation of any network for attacks: a faster network with the same logits and gradients.

A network of this package's own layers in order is folded (`gtn_bench.inference.folding`). Any other network becomes a
graph of its layers, where its code allows that: batch norms are folded, and layers are replaced by faster ones. The
result is compared with the original, in float64. Where anything prevents this, the network is a copy of the original.
"""

from __future__ import annotations

import copy
import logging

import torch
from torch import Tensor, fx, nn

from gtn_bench.config.description import Precision
from gtn_bench.inference.acceleration import accelerate
from gtn_bench.inference.bfloat16 import in_bfloat16
from gtn_bench.inference.copying import independent_copy
from gtn_bench.inference.equality import difference, draws_numbers, sample_images
from gtn_bench.inference.folding import fold, is_foldable
from gtn_bench.inference.simplification import simplify, simplify_leaves, simplify_parts
from gtn_bench.inference.tracing import UntraceableError, is_layer, traced
from gtn_bench.models.function import FunctionModule
from gtn_bench.models.layers import Conv2d, Linear

log = logging.getLogger("gtn_bench.inference")


def prepared(network: nn.Module, input_shape: tuple[int, int, int], precision: Precision) -> nn.Module:
    """Return a network that computes the logits of a given one in evaluation mode.

    Args:
        network: The network. It does not change.
        input_shape: Channels, height, width of the images.
        precision: Precision of the computation.
    """
    if _is_of_package(network):
        return fold(network) if precision == "float32" else in_bfloat16(fold(network))
    faster = _faster(network, input_shape, kernels=precision == "float32")
    if precision == "float32":
        return fold(network) if faster is None else faster
    return in_bfloat16(fold(network) if faster is None else faster)


def _is_of_package(network: nn.Module) -> bool:
    """Return whether a network consists of layers in order, with weight-normalized ones of this package."""
    return is_foldable(network) and any(type(layer) in (Conv2d, Linear) for layer in network.children())


def _faster(network: nn.Module, shape: tuple[int, int, int], *, kernels: bool) -> nn.Module | None:
    """Return a faster network with the same logits and gradients; None, with the reason in the log, if there is none.

    Args:
        network: The network.
        shape: Channels, height, width of the images.
        kernels: Whether layers may be replaced by faster ones, in the channels-last layout.
    """
    name = type(network).__name__
    reason = _obstacle(network)
    if reason:
        log.debug("%s runs as it is: %s", name, reason)
        return None
    try:
        original = independent_copy(network).eval().requires_grad_(False)
        if any(module.training for module in original.modules()):
            log.info("%s runs as it is: a module of it stays in train mode", name)
            return None
        x = sample_images(shape, next(original.parameters()))
        if draws_numbers(original, x):
            log.info("%s runs as it is: it draws random numbers, or changes from call to call", name)
            return None
        faster, changes = _changed(original, x, kernels=kernels)
        if not changes:
            log.debug("%s runs as it is: no layer of it becomes faster", name)
            return None
        reason = _difference(faster, original, x, kernels=kernels)
    except Exception as error:  # any code may be part of a network
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    if reason:
        log.info("%s runs as it is, because a faster one could not be built: %s", name, reason)
        return None
    log.debug("%s is prepared: %s", name, ", ".join(changes))
    return faster


def _obstacle(network: nn.Module) -> str:
    """Return why a network is not to be changed; an empty string if it may be."""
    if any(isinstance(module, FunctionModule) for module in network.modules()):
        return "it calls a function"
    if is_layer(network):
        return "it is a single layer"
    dtypes = {parameter.dtype for parameter in network.parameters()}
    if dtypes not in ({torch.float32}, {torch.float64}):
        return "its parameters are not all in float32 or all in float64"
    return ""


def _difference(faster: nn.Module, original: nn.Module, x: Tensor, *, kernels: bool) -> str:
    """Return how a changed network differs from the original; an empty string if it does not.

    The same changes of the network in float64, where nothing but rounding hides an error, are compared, too.
    """
    reason = difference(faster, original, x)
    if reason or x.dtype == torch.float64:
        return reason
    exact = copy.deepcopy(original).double()
    try:
        in_double = exact(x.double()).dtype == torch.float64
    except Exception:  # the code of the network computes in float32
        in_double = False
    return difference(_changed(exact, x.double(), kernels=kernels)[0], exact, x.double()) if in_double else ""


def _changed(original: nn.Module, x: Tensor, *, kernels: bool) -> tuple[nn.Module, list[str]]:
    """Return a changed copy of a network, and descriptions of the changes."""
    network = copy.deepcopy(original)
    try:
        graph: fx.GraphModule = traced(network)
    except UntraceableError as error:
        log.info("%s has no graph (%s); its parts are prepared one by one", type(network).__name__, error)
        folded = simplify_parts(network)
        return network, [f"{folded} layers folded"] if folded else []
    folded = simplify(graph) + simplify_leaves(graph)
    changes = [f"{folded} layers folded"] if folded else []
    if kernels:
        changes += accelerate(graph, x)
    return graph.eval(), changes
