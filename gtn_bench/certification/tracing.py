"""Networks as graphs of operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from gtn_bench.certification.building import Measured, build, on_device
from gtn_bench.certification.errors import UnsupportedLayerError
from gtn_bench.certification.graph import Graph, evaluate
from gtn_bench.certification.translation import TRANSLATIONS, described
from gtn_bench.inference.copying import independent_copy
from gtn_bench.models.normalized import Normalized

TOLERANCE = 1e-3  # between the logits of a network and those of its graph, relative to the largest logit
IMAGES = 3  # on which the shapes of all values are measured


def trace(network: nn.Module, x: Tensor) -> Graph:
    """Return a network in evaluation mode as a graph of operations in float64.

    Args:
        network: The network. It does not change.
        x: Images (N, C, H, W) in [0, 1], for the shapes of all layers and for a comparison of the logits.

    Raises:
        UnsupportedLayerError: If there are no bounds for one of its layers, or if it does more than call its layers.
    """
    copied = independent_copy(network).cpu().eval()
    _refuse_hooks(copied)
    root = nn.Sequential(copied).eval()
    few = x[torch.arange(IMAGES, device=x.device) % len(x)].cpu()
    few = few.to(next((tensor.dtype for tensor in copied.parameters()), torch.float32))
    who = described("", network)
    try:
        traced = _Tracer().trace(root)
        run = _Run(fx.GraphModule(root, traced))
        with torch.no_grad():
            run.run(few)
    except Exception as error:  # whatever the network does with a value that is unknown
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UnsupportedLayerError(f"{who} cannot be traced for certified bounds ({reason})") from None
    with torch.no_grad():
        graph = build(traced, dict(root.named_modules()), run.measured, who)
        logits, expected = evaluate(graph, few.double()), copied(few).double()
    if logits.shape != expected.shape or logits.ndim != 2:
        raise UnsupportedLayerError(f"{who} returns the shape {tuple(expected.shape)}, expected (images, classes)")
    if not expected.isfinite().all():
        raise UnsupportedLayerError(f"{who} has no certified bounds: its logits are not finite")
    if not (logits - expected).abs().max() <= TOLERANCE * max(1.0, float(expected.abs().max())):
        raise UnsupportedLayerError(f"{who} has no certified bounds: it computes something other than its layers")
    return on_device(graph, x.device)


def _refuse_hooks(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            raise UnsupportedLayerError(f"{described(name, module)} has no certified bounds with hooks")
        if "forward" in vars(module):
            raise UnsupportedLayerError(f"{described(name, module)} has no certified bounds with a replaced forward")


class _Tracer(fx.Tracer):
    """Records the calls of layers, and looks into all other modules."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in TRANSLATIONS or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if type(m) is not Normalized:
            return super().call_module(m, forward, args, kwargs)
        normalized = self.create_proxy("call_module", self.path_of_module(m), args, kwargs)
        return m.network(normalized)  # its own forward depends on the type of the images


class _Run(fx.Interpreter):
    """Runs a traced network, and keeps the shapes of all values and all constants."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.measured = Measured({}, {})

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "get_attr":
            self.measured.constants[n] = result
        elif isinstance(result, Tensor):
            self.measured.shapes[n] = tuple(result.shape)
        return result

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module = self.fetch_attr(target)
        if type(module) is Normalized:
            return ((args[0] - module.mean) / module.std).to(args[0].dtype)
        return super().call_module(target, args, kwargs)
