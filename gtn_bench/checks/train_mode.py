"""Modules in train mode that compute something else in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from gtn_bench.checks.findings import Finding, finding
from gtn_bench.models.layers import BatchStatistics

_PLAIN = ("torch.nn.", "gtn_bench.")  # modules whose other layers compute the same in both modes
_WITH_MODES = (_DropoutNd, nn.RReLU, nn.MultiheadAttention, nn.RNNBase, BatchStatistics)


def check_train_mode(network: nn.Module, evaluated: nn.Module) -> list[Finding]:
    """Check that a network is in evaluation mode.

    Args:
        network: The network.
        evaluated: Its copy in evaluation mode. Modules that stay in train mode there are not counted.

    Returns:
        At most one finding.
    """
    training = len(names_in_train_mode(network, ())) - len(names_in_train_mode(evaluated, ()))
    modules = sum(map(has_modes, network.modules()))
    return [finding("train_mode", training, modules=modules)] if training > 0 else []


def has_modes(module: nn.Module) -> bool:
    """Return whether train mode can change what a module computes. It can in code outside of PyTorch.

    Args:
        module: The module. Its submodules do not count.
    """
    if isinstance(module, _NormBase):
        return module.track_running_stats or not isinstance(module, nn.modules.instancenorm._InstanceNorm)
    return isinstance(module, _WITH_MODES) or not type(module).__module__.startswith(_PLAIN)


def names_in_train_mode(network: nn.Module, called: Iterable[nn.Module]) -> list[str]:
    """Return the names of modules in train mode: ``"features.3 (Dropout)"``.

    Args:
        network: The network.
        called: Modules that are not registered in it.
    """
    named = {name: module for name, module in network.named_modules() if module.training and has_modes(module)}
    others = [type(module).__name__ for module in called if module.training and any(map(has_modes, module.modules()))]
    return [f"{name or 'the network'} ({type(module).__name__})" for name, module in named.items()] + others
