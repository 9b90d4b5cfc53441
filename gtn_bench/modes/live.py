"""Networks in memory, identified by their content, so that they can be part of a description."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from gtn_bench.config.errors import ConfigError, shown
from gtn_bench.config.functions import by_value
from gtn_bench.store.keys import is_installed

if TYPE_CHECKING:
    from torch import Tensor, nn


class LiveNetwork:
    """A network in memory. Two are equal if their tensors, attributes and code are.

    Args:
        network: A module, or a function from images (N, C, H, W) to logits (N, K). Its present content counts.

    Attributes:
        module: The network as a module.
        digest: Hash of its tensors and attributes, and of classes that no file defines.

    Raises:
        ConfigError: If the network is neither a module nor a function, or cannot be copied to other processes.
    """

    def __init__(self, network: nn.Module | Callable[[Tensor], Tensor]) -> None:
        self.module = as_module(network)
        self.digest, self._homes = _digest(self.module)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LiveNetwork) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"LiveNetwork({type(self.module).__name__}, {self.digest[:8]})"

    @property
    def own_modules(self) -> set[str]:
        """Full names of the Python modules, outside of installed packages, that define the network's classes."""
        return {name for name in self._homes if name not in ("__main__", "builtins") and not _is_installed(name)}

    @property
    def packages(self) -> set[str]:
        """Names of the installed packages that define its classes."""
        from importlib.metadata import packages_distributions

        tops = {name.partition(".")[0] for name in self._homes if _is_installed(name)} - {"torch", "cloudpickle"}
        known = packages_distributions() if tops else {}
        return {package for top in tops for package in known.get(top, ())}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        serialization = core_schema.plain_serializer_function_ser_schema(lambda value: value.digest)
        return core_schema.no_info_plain_validator_function(_validate, serialization=serialization)


def as_module(network: Any) -> nn.Module:
    """Return a network as a module.

    Args:
        network: A module, or a function from images to logits.

    Raises:
        ConfigError: If it is neither.
    """
    from torch import nn

    from gtn_bench.models.function import FunctionModule

    if isinstance(network, nn.Module):
        return network
    if isinstance(network, type) or not callable(network):
        hint = "; pass an instance of the class" if isinstance(network, type) else ""
        raise ConfigError(f"expects a torch.nn.Module or a function from images to logits, got {shown(network)}{hint}")
    return FunctionModule(network)


def _validate(value: object) -> LiveNetwork:
    return value if isinstance(value, LiveNetwork) else LiveNetwork(value)  # type: ignore[arg-type]


def _is_installed(module: str) -> bool:
    """Check that a Python module belongs to the standard library or to an installed package other than this one."""
    if module.partition(".")[0] == "gtn_bench":
        return False
    file = getattr(sys.modules.get(module.partition(".")[0]), "__file__", None)
    if file is None:
        return module.partition(".")[0] in sys.stdlib_module_names
    return is_installed(Path(file))


def _digest(module: nn.Module) -> tuple[str, set[str]]:
    """Return a hash of everything that a module holds, and the names of the Python modules that define its classes.

    Tensors count by their content, other attributes and the code of classes that no file defines by their pickle.
    """
    import cloudpickle
    import torch

    homes: set[str] = set()

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def persistent_id(self, value: Any) -> Any:
            return _tensor_digest(value) if isinstance(value, torch.Tensor) else None

        def reducer_override(self, value: Any) -> Any:
            homes.add(str(getattr(value if callable(value) else type(value), "__module__", "")))
            return super().reducer_override(value)

    def dump() -> bytes:
        stream = io.BytesIO()
        Pickler(stream, protocol=5).dump(module)
        return stream.getvalue()

    try:
        content = dump()
        own = {name for name in homes if name in sys.modules and not _is_installed(name)}
        content += by_value(dump, own)  # with the values that the code of own modules refers to
    except Exception as error:  # any object can be an attribute
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            f"network {type(module).__name__} cannot be copied ({reason}); remove the attribute that holds it"
        ) from None
    return hashlib.sha256(content).hexdigest(), homes - {""}


def _tensor_digest(tensor: Tensor) -> str:
    import torch

    plain = tensor.detach().cpu().contiguous()
    kind = f"{plain.dtype} {tuple(plain.shape)} {tensor.requires_grad}"
    return hashlib.sha256(kind.encode() + plain.flatten().view(torch.uint8).numpy().tobytes()).hexdigest()
