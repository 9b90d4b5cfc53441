"""Networks as graphs of layers, where their code can be recorded without changing what it does."""

from __future__ import annotations

import dis
from collections.abc import Callable
from types import CodeType
from typing import Any

import torch
from torch import fx, nn

from gtn_bench.inference.folding import KNOWN, is_altered
from gtn_bench.models.layers import Normalize
from gtn_bench.models.normalized import Normalized

_WRITES = ("STORE_ATTR", "STORE_GLOBAL", "STORE_DEREF", "STORE_SUBSCR", "DELETE_ATTR", "DELETE_SUBSCR")
_UNRECORDED = {  # what code asks for, or switches, without a trace in the graph
    *("no_grad", "enable_grad", "inference_mode", "set_grad_enabled", "is_grad_enabled", "autocast", "checkpoint"),
    *("random", "numpy", "np", "time", "globals", "print", "backward", "register_hook", "set_rng_state", "data_ptr"),
    *("rand", "randn", "randint", "randperm", "manual_seed", "Generator", "default_rng"),
}
_HELD = "_modules", "_parameters", "_buffers"  # by a module
_CONTAINERS = nn.Sequential, nn.ModuleList, nn.ModuleDict


def traced(network: nn.Module) -> fx.GraphModule:
    """Return a network as a graph of layers.

    Layers of PyTorch and of this package are nodes. So are modules with hooks, and modules whose code changes anything,
    depends on the values of its input, or uses what a graph does not record.

    Args:
        network: The network in evaluation mode. The graph shares its modules.

    Raises:
        UntraceableError: If the network as a whole is such a module.
    """
    root = nn.Sequential(network).eval() if type(network) is Normalized else network
    problem = "it has hooks" if is_altered(network) else unrecorded(root)
    if problem:
        raise UntraceableError(problem)
    try:
        graphs, states = [], []
        for gradients in (False, True):
            with torch.set_grad_enabled(gradients):
                graphs.append(_Tracer().trace(root))
            states.append(_state(network))
        graph = fx.GraphModule(root, graphs[1])
    except Exception as error:  # whatever the network does with a value that is unknown
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UntraceableError(reason[:200]) from None
    if str(graphs[0]) != str(graphs[1]):
        raise UntraceableError("its code depends on whether gradients are enabled")
    if states[0] != states[1]:
        raise UntraceableError("its code stores values")
    return graph


class UntraceableError(RuntimeError):
    """A network has no graph."""


def is_layer(module: nn.Module) -> bool:
    """Return whether a module is a layer of PyTorch or of this package, and no container.

    Args:
        module: The module.
    """
    return type(module).__module__.startswith(KNOWN) and not isinstance(module, _CONTAINERS)


def unrecorded(module: nn.Module) -> str:
    """Return what the code of a module does that a graph would not do; an empty string if there is nothing.

    Args:
        module: The module.
    """
    code = getattr(type(module).forward, "__code__", None)
    if code is None:
        return "its forward is no function"
    if type(module).__call__ is not nn.Module.__call__:
        return "it has its own __call__"
    for each in _codes(code):
        if any(instruction.opname in _WRITES for instruction in dis.get_instructions(each)):
            return "its forward stores values"
        found = sorted(_UNRECORDED.intersection(each.co_names))
        if found:
            return f"its forward uses {found[0]}"
    return ""


def _state(network: nn.Module) -> list[tuple[Any, ...]]:
    """Return what shows whether code has changed an attribute of a network."""
    found: list[tuple[Any, ...]] = []
    for module in network.modules():
        for name, value in vars(module).items():
            if name not in _HELD:
                found.append((name, id(value), len(value) if isinstance(value, list | dict | set) else 0))
    tensors = [*network.parameters(), *network.buffers()]
    return [*found, *((id(tensor), tensor._version) for tensor in tensors)]


def _codes(code: CodeType) -> list[CodeType]:
    """Return a code object and those of the functions that it defines."""
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return [code, *(each for function in inner for each in _codes(function))]


class _Tracer(fx.Tracer):
    """Records the calls of layers, and looks into other modules where it can."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_layer(m) or is_altered(m) or bool(unrecorded(m))

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if type(m) is Normalized and not is_altered(m) and len(args) == 1 and not kwargs:
            name = self.path_of_module(m)
            if "normalize" not in m._modules:
                normalize = Normalize((0.0,), (1.0,)).eval()
                normalize.mean, normalize.std = m.mean, m.std
                m.add_module("normalize", normalize)
            x = self.create_proxy("call_module", f"{name}.normalize", args, {})
            return m.network(x)  # its own forward depends on the type of the images
        known = len(self.graph.nodes)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:  # whatever the module does with a value that is unknown
            for node in reversed(list(self.graph.nodes)[known:]):
                self.graph.erase_node(node)
            return self.create_proxy("call_module", self.path_of_module(m), args, kwargs)
