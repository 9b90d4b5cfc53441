"""Faster layers for the same function: compiled kernels, the channels-last layout, activations in place.

What is replaced follows from the layers alone, never from a measurement of time, so that the numbers of a network are
the same in every run. The rules come from measurements: see `docs/performance-notes.md`.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn

from gtn_bench.inference.dense import Dense
from gtn_bench.inference.first_block import is_in_place
from gtn_bench.inference.folding import FlattenChannelsLast, is_altered
from gtn_bench.inference.norm_block import NormBlock
from gtn_bench.inference.patch_convolution import PatchConv2d
from gtn_bench.inference.patterns import ADDS_IN_PLACE, Shapes, is_fresh, is_pool, is_relu, only_user, slope_of
from gtn_bench.inference.pooled_convolution import PooledConv2d
from gtn_bench.inference.relu_pool import ReluPool
from gtn_bench.inference.simplification import layer_of, replace
from gtn_bench.inference.tracing import is_layer
from gtn_bench.inference.winograd import WinogradConv2d
from gtn_bench.models.layers import MaxPool2d
from gtn_bench.models.pooling import COMPILED, LAYOUT

_FLATTENS = {torch.flatten, torch.reshape, "flatten", "reshape", "view"}
_SMOOTH = {  # names of functions and methods of PyTorch and of operators that select no value among several
    *("add", "sub", "mul", "div", "truediv", "neg", "pow", "sqrt", "rsqrt", "exp", "log", "mean", "sum"),
    *("relu", "relu_", "leaky_relu", "elu", "gelu", "silu", "hardswish", "sigmoid", "tanh", "softplus", "softmax"),
    *("log_softmax", "dropout", "linear", "matmul", "avg_pool2d", "adaptive_avg_pool2d", "batch_norm", "group_norm"),
    *("flatten", "reshape", "view", "permute", "transpose", "unsqueeze", "squeeze", "contiguous"),
    *("cat", "stack", "chunk", "split", "expand", "pad"),
    *("getattr", "getitem", "size", "float", "to"),
}
_BOUNDS = {"clamp", "clamp_min", "clamp_max"}  # smooth if the bounds are numbers
MOST_TRANSFORMED = 2**31  # bytes of transformed weights of a network


@torch.no_grad()
def accelerate(graph: fx.GraphModule, x: Tensor) -> list[str]:
    """Replace layers of a graph by faster ones.

    Args:
        graph: The graph, simplified. It is modified in place; the modules that it shares are not.
        x: Two images (2, C, H, W), for the shapes of all values.

    Returns:
        A description of each replacement; none for a graph without convolutions.
    """
    shapes = _Shapes(graph)
    shapes.run(x)
    done: list[str] = []
    if not any(isinstance(layer_of(graph, node), nn.Conv2d) for node in graph.graph.nodes):
        return done
    if count := _winograd(graph, shapes.measured):
        done.append(f"{count} Winograd convolutions")
    for node in list(graph.graph.nodes):
        for rule in (_pooled, _patches, _norm_block, _relu_pool, _max_pool, _relu_in_place, _flatten, _dense):
            if not node._erased and (text := rule(graph, node, shapes.measured)):
                done.append(text)
    _lay_out(graph)
    done.append("channels-last layout")
    graph.graph.lint()
    graph.delete_all_unused_submodules()
    graph.recompile()
    return done


class _Shapes(fx.Interpreter):
    """Runs a graph and keeps the shapes of its values.

    Attributes:
        measured: Shape by node, of nodes with one tensor.
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.measured: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.measured[n] = tuple(value.shape)
        return value


def _winograd(graph: fx.GraphModule, shapes: Shapes) -> int:
    """Replace convolutions of 3x3 pixels, from the last to the first, and return their number.

    Where a later node selects the largest of several values, equal values have to stay equal, as in the background of a
    digit. Rounding would select one of them.
    """
    count, size = 0, 0
    selected: set[fx.Node] = set()
    known: dict[int, WinogradConv2d | None] = {}  # by the convolution, which the graph can call more than once
    for node in reversed(graph.graph.nodes):
        if any(user in selected or _selects(graph, user, shapes) for user in node.users):
            selected.add(node)
            continue
        layer, shape = layer_of(graph, node), shapes.get(node, ())
        if type(layer) is not nn.Conv2d or len(shape) != 4:
            continue
        if id(layer) not in known:
            faster = WinogradConv2d.of(layer, (shape[2], shape[3]))
            fits = faster is not None and size + faster.transformed_size <= MOST_TRANSFORMED
            known[id(layer)] = faster if fits else None
            size += faster.transformed_size if faster is not None and fits else 0
        if (chosen := known[id(layer)]) is not None:
            replace(graph, node, chosen, node.args[0])
            count += 1
    return count


def _selects(graph: fx.GraphModule, node: fx.Node, shapes: Shapes) -> bool:
    """Return whether a node selects one of several values, or may do so: it is unknown, or changes a value in place."""
    if node.op == "output":
        return False
    if node.op == "call_module":
        layer = layer_of(graph, node)
        return layer is None or "Max" in type(layer).__name__
    name = str(getattr(node.target, "__name__", node.target))
    module = getattr(node.target, "__module__", None) if node.op == "call_function" else None
    if str(module or "torch").partition(".")[0] not in ("torch", "_operator", "builtins"):
        return True
    if name in _BOUNDS:
        return any(isinstance(value, fx.Node) for value in (*node.args[1:], *node.kwargs.values()))
    if node.target in ADDS_IN_PLACE:
        return not is_fresh(graph, node.args[0], shapes)
    return name not in _SMOOTH or "out" in node.kwargs


def _norm_block(graph: fx.GraphModule, node: fx.Node, shapes: Shapes) -> str:
    """Fuse a norm over pixels, the ReLU and the pooling behind it."""
    norm = layer_of(graph, node)
    if type(norm) not in (nn.GroupNorm, nn.InstanceNorm2d) or len(shapes.get(node, ())) != 4:
        return ""
    assert isinstance(norm, nn.GroupNorm | nn.InstanceNorm2d)
    if isinstance(norm, nn.InstanceNorm2d) and (norm.track_running_stats or norm.training):
        return ""
    channels = shapes[node][1]
    groups = norm.num_groups if isinstance(norm, nn.GroupNorm) else channels
    like = next(iter(norm.parameters()), torch.ones(1))
    weight = like.new_ones(channels) if norm.weight is None else norm.weight
    bias = like.new_zeros(channels) if norm.bias is None else norm.bias
    chain, relu, pool = [node], False, False
    following = only_user(node)
    if following is not None and is_relu(graph, following):
        relu = True
        chain.append(following)
        following = only_user(following)
    if following is not None and is_pool(graph, following, nn.AvgPool2d):
        pool = True
        chain.append(following)
    replace(graph, chain.pop(), NormBlock(groups, weight, bias, norm.eps, relu=relu, pool=pool), node.args[0])  # type: ignore[arg-type]
    _remove(graph, chain)
    return "norm block"


def _relu_pool(graph: fx.GraphModule, node: fx.Node, shapes: Shapes) -> str:
    """Fuse a ReLU and the max pooling behind it."""
    pool = only_user(node)
    if not is_relu(graph, node) or pool is None or not is_pool(graph, pool, nn.MaxPool2d):
        return ""
    if not is_fresh(graph, node.args[0], shapes):  # an activation in place is visible elsewhere
        return ""
    replace(graph, pool, ReluPool(), node.args[0])  # type: ignore[arg-type]
    _remove(graph, [node])
    return "ReLU and pooling"


def _max_pool(graph: fx.GraphModule, node: fx.Node, shapes: Shapes) -> str:
    """Replace a max pooling that has a compiled kernel. Values and gradients are bitwise the same."""
    layer: Any = layer_of(graph, node)
    if type(layer) is not nn.MaxPool2d or layer.ceil_mode or layer.return_indices or layer.dilation not in (1, (1, 1)):
        return ""
    window = tuple(value[0] if value in ((3, 3), (2, 2), (1, 1)) else value for value in _window(layer))
    if window != COMPILED or len(shapes.get(node, ())) != 4:
        return ""
    replace(graph, node, MaxPool2d(*window), node.args[0])  # type: ignore[arg-type]
    return "pooling"


def _window(layer: Any) -> tuple[Any, Any, Any]:
    return layer.kernel_size, layer.stride, layer.padding


def _relu_in_place(graph: fx.GraphModule, node: fx.Node, shapes: Shapes) -> str:
    """Let a ReLU overwrite its input where nothing else reads it, in neither pass."""
    slope = slope_of(graph, node)
    source = node.args[0] if slope is not None else None
    if slope is None or not isinstance(source, fx.Node) or not is_fresh(graph, source, shapes):
        return ""
    if is_in_place(layer_of(graph, node)):
        return ""
    replace(graph, node, nn.ReLU(inplace=True) if slope == 0 else nn.LeakyReLU(slope, inplace=True), source)
    return "activation in place"


def _flatten(graph: fx.GraphModule, node: fx.Node, shapes: Shapes) -> str:
    """Order the weights behind a flattening as channels-last images are, which are then not copied."""
    linear = layer_of(graph, only_user(node))
    is_flatten = type(layer_of(graph, node)) is nn.Flatten or (node.op.startswith("call") and node.target in _FLATTENS)
    source = node.args[0] if is_flatten and node.args else None
    if type(linear) is not nn.Linear or not isinstance(source, fx.Node):
        return ""
    assert isinstance(linear, nn.Linear)
    before, after = shapes.get(source, ()), shapes.get(node, ())
    if len(before) != 4 or len(after) != 2 or after[1] != before[1] * before[2] * before[3] or before[2:] == (1, 1):
        return ""
    user = only_user(node)
    assert user is not None
    permuted = copy.deepcopy(linear)
    weight = linear.weight.unflatten(1, (before[1], -1)).transpose(1, 2).flatten(1)
    permuted.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    replace(graph, user, permuted, node)
    replace(graph, node, FlattenChannelsLast(), source)
    return "flattening"


def _dense(graph: fx.GraphModule, node: fx.Node, shapes: Shapes) -> str:
    """Replace a linear layer with many weights."""
    layer = layer_of(graph, node)
    if type(layer) is not nn.Linear or len(shapes.get(node, ())) != 2 or (faster := Dense.of(layer)) is None:
        return ""
    replace(graph, node, faster, node.args[0])  # type: ignore[arg-type]
    return "linear layer"


def _pooled(graph: fx.GraphModule, node: fx.Node, shapes: Shapes) -> str:
    """Fuse a convolution, the ReLU and the max pooling behind it."""
    layer, relu = layer_of(graph, node), only_user(node)
    pool = only_user(relu)
    if type(layer) is not nn.Conv2d or relu is None or pool is None or (faster := PooledConv2d.sharing(layer)) is None:
        return ""
    if not is_relu(graph, relu) or not is_pool(graph, pool, nn.MaxPool2d):
        return ""
    replace(graph, pool, faster, node.args[0])  # type: ignore[arg-type]
    _remove(graph, [node, relu])
    return "convolution, ReLU and pooling"


def _patches(graph: fx.GraphModule, node: fx.Node, shapes: Shapes) -> str:
    """Replace a convolution with few input channels, and fuse the ReLU behind it."""
    layer = layer_of(graph, node)
    if type(layer) is not nn.Conv2d or (faster := PatchConv2d.of(layer)) is None:
        return ""
    relu = only_user(node)
    if relu is None or not is_relu(graph, relu):
        replace(graph, node, faster, node.args[0])  # type: ignore[arg-type]
        return "gradient by patches"
    faster.relu = True
    replace(graph, relu, faster, node.args[0])  # type: ignore[arg-type]
    _remove(graph, [node])
    return "gradient by patches, with ReLU"


def _lay_out(graph: fx.GraphModule) -> None:
    """Set the weights of convolutions channels-last, and give other code contiguous tensors."""
    copies: dict[int, nn.Module] = {}  # by the convolution, which the graph can call more than once
    for node in list(graph.graph.nodes):
        layer = layer_of(graph, node)
        if isinstance(layer, nn.Conv2d) and layer.weight.ndim == 4:
            if id(layer) not in copies:
                copies[id(layer)] = copy.deepcopy(layer).to(memory_format=LAYOUT)
            replace(graph, node, copies[id(layer)], node.args[0])
    for node in list(graph.graph.nodes):
        if node.op == "call_method" and node.target == "view" and not any(_is_dtype(arg) for arg in node.args[1:]):
            node.target = "reshape"  # a view of a channels-last tensor can be impossible
        elif node.op == "call_module" and _is_unknown(graph.get_submodule(str(node.target))):
            with graph.graph.inserting_before(node):
                for source in list(node.all_input_nodes):
                    node.replace_input_with(source, graph.graph.call_function(_contiguous, (source,)))


def _contiguous(value: Any) -> Any:
    """Return a tensor in the layout that code of other people may rely on; other values as they are."""
    return value.contiguous() if isinstance(value, Tensor) else value


def _is_unknown(module: nn.Module) -> bool:
    return not is_layer(module) or is_altered(module)


def _is_dtype(value: object) -> bool:
    return isinstance(value, torch.dtype) or (isinstance(value, fx.Node) and value.target is getattr)


def _remove(graph: fx.GraphModule, chain: list[fx.Node]) -> None:
    """Erase nodes, each of which had the next one as its only user."""
    for node in reversed(chain):
        graph.graph.erase_node(node)
