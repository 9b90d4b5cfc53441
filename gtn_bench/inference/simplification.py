"""Less arithmetic for the same function: batch norms join the layers before them, inactive layers disappear."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from gtn_bench.inference.first_block import FirstConv2d
from gtn_bench.inference.folding import affine, is_altered, without_normalization
from gtn_bench.inference.tracing import UntraceableError, is_layer, traced
from gtn_bench.models.layers import BatchStatistics, Conv2d, FullBatchNorm, Linear, MeanBatchNorm

_INACTIVE = nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout
_WEIGHTED = nn.Conv2d, nn.Linear, FirstConv2d
_NORMS = nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm2d


class Affine(nn.Module):
    """A factor and a shift for each channel: a batch norm in evaluation mode that is not behind a convolution.

    Args:
        scale: Factors (C,).
        shift: Shifts (C,).

    Shape:
        Input and output: (B, C, H, W).
    """

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.scale, self.shift = (nn.Parameter(value.view(-1, 1, 1), requires_grad=False) for value in (scale, shift))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, x, self.scale)


def layer_of(graph: fx.GraphModule, node: object) -> nn.Module | None:
    """Return the layer that a node calls with one tensor, unless it has hooks; None if there is none.

    Args:
        graph: The graph.
        node: The node, or another argument of one.
    """
    if not isinstance(node, fx.Node) or node.op != "call_module" or len(node.args) != 1 or node.kwargs:
        return None
    module = graph.get_submodule(str(node.target))
    return module if is_layer(module) and not is_altered(module) and isinstance(node.args[0], fx.Node) else None


def replace(graph: fx.GraphModule, node: fx.Node, layer: nn.Module, source: fx.Node) -> None:
    """Let a node call a new layer.

    Args:
        graph: The graph. It is modified in place.
        node: The node.
        layer: The layer.
        source: The node whose output is the input of the layer.
    """
    name = f"{node.name}_prepared"
    graph.add_module(name, layer)
    node.op, node.target, node.args, node.kwargs = "call_module", name, (source,), {}


def skip(graph: fx.GraphModule, node: fx.Node) -> None:
    """Remove a node that returns its first argument.

    Args:
        graph: The graph. It is modified in place.
        node: The node.
    """
    node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
    graph.graph.erase_node(node)


@torch.no_grad()
def simplify(graph: fx.GraphModule) -> int:
    """Fold batch norms and normalized weights of a graph, and remove layers that do nothing.

    Args:
        graph: The graph, with modules in evaluation mode. It is modified in place; the modules that it shares are not.

    Returns:
        Number of layers that are folded.
    """
    folded = 0
    for node in list(graph.graph.nodes):
        layer = layer_of(graph, node)
        if (layer is not None and type(layer) in _INACTIVE and not layer.training) or _is_inactive(node):
            skip(graph, node)
        elif type(layer) in (Conv2d, Linear):
            assert isinstance(layer, Conv2d | Linear)
            replace(graph, node, without_normalization(layer), node.args[0])
            folded += 1
        elif (constants := _constants(layer)) is not None:
            source = node.args[0]
            weighted = layer_of(graph, source)
            if type(weighted) in _WEIGHTED and len(source.users) == 1:
                assert isinstance(weighted, nn.Conv2d | nn.Linear)
                replace(graph, source, _scaled(weighted, *constants), source.args[0])
                skip(graph, node)
            elif isinstance(layer, nn.BatchNorm2d | nn.InstanceNorm2d):
                dtype = next((tensor.dtype for tensor in layer.state_dict().values()), torch.float32)
                replace(graph, node, Affine(*(value.to(dtype) for value in constants)), source)
            else:
                continue
            folded += 1
    graph.delete_all_unused_submodules()
    graph.recompile()
    return folded


def simplify_parts(network: nn.Module) -> int:
    """Simplify the modules inside a network that itself has no graph, and those inside of these.

    Args:
        network: The network in evaluation mode. It is modified in place.

    Returns:
        Number of layers that are folded.
    """
    folded = 0
    for name, part in list(network.named_children()):
        if is_layer(part):
            continue
        try:
            graph = traced(part)
        except UntraceableError:
            folded += simplify_parts(part)
            continue
        count = simplify(graph) + simplify_leaves(graph)
        if count:
            setattr(network, name, graph.eval())
        folded += count
    return folded


def simplify_leaves(graph: fx.GraphModule) -> int:
    """Simplify the modules inside those that a graph calls without knowing what they do.

    Args:
        graph: The graph.

    Returns:
        Number of layers that are folded.
    """
    targets = {str(node.target) for node in graph.graph.nodes if node.op == "call_module"}
    modules = [graph.get_submodule(target) for target in targets]
    return sum(simplify_parts(module) for module in modules if not is_layer(module))


def _is_inactive(node: fx.Node) -> bool:
    """Return whether a node is a dropout function that is not active."""
    if node.op != "call_function" or node.target not in (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d):
        return False
    training = node.kwargs.get("training", node.args[2] if len(node.args) > 2 else True)
    return training is False and len(node.args) > 0


def _constants(layer: nn.Module | None) -> tuple[Tensor, Tensor] | None:
    """Return the factor and the shift (C,) in float64 of a norm that uses stored statistics; None for other layers."""
    if layer is None or layer.training:
        return None
    if type(layer) in (MeanBatchNorm, FullBatchNorm):
        assert isinstance(layer, BatchStatistics)
        scale, shift = affine(copy.deepcopy(layer).double())
        return scale, shift
    if type(layer) not in _NORMS:
        return None
    assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.InstanceNorm2d)
    if layer.running_mean is None or layer.running_var is None or not layer.track_running_stats:
        return None
    scale = (layer.running_var.double() + layer.eps).rsqrt()
    if layer.weight is not None:
        scale = scale * layer.weight.double()
    shift = -layer.running_mean.double() * scale
    return scale, shift if layer.bias is None else shift + layer.bias.double()


def _scaled(layer: nn.Conv2d | nn.Linear, scale: Tensor, shift: Tensor) -> nn.Conv2d | nn.Linear:
    """Return a layer whose outputs are multiplied by factors (K,) and shifted (K,)."""
    scaled, weight = copy.deepcopy(layer), layer.weight
    bias = scale * 0 if layer.bias is None else layer.bias.double() * scale
    factors = scale.view(-1, *[1] * (weight.ndim - 1))
    scaled.weight = nn.Parameter((weight.double() * factors).to(weight.dtype), requires_grad=False)
    scaled.bias = nn.Parameter((bias + shift).to(weight.dtype), requires_grad=False)
    return scaled
