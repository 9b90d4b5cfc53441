"""Reader of weights that other code has saved. No code in a file is executed."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gtn_bench.config.errors import ConfigError, listed
from gtn_bench.models.weights.foreign_files import explain, is_numpy_archive, is_safetensors, refusal
from gtn_bench.models.weights.stand_ins import STAND_INS, Array

# The names under which training code saves the state dict of the model beside other things. One under another name,
# such as that of averaged weights, is read only if there is none under these.
PLAIN_NAMES = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params")

_DEPTH = 4  # of containers within containers


def read_state(path: Path, who: str = "") -> dict[str, Tensor]:
    """Read the weights in a file, on the CPU.

    Accepted are safetensors, what `torch.save` writes, and NumPy archives of one array per weight. A state dict may lie
    in mappings and lists, beside optimizers, numbers and options. Where there are several, the one under a usual name
    of the model, such as ``model`` or ``state_dict``, is preferred to averaged weights, such as ``model_ema``.

    Args:
        path: The file.
        who: Name of the file in messages; by default its path.

    Returns:
        Tensors by name, as in the file. None of them requires a gradient.

    Raises:
        ConfigError: If the file holds no weights, holds them in a form that only other code can read, or holds several
            state dicts; if a weight is not finite in float32. The message says how to convert the file.
    """
    who = who or str(path)
    try:
        reason = "is a folder, expects a file" if path.is_dir() else refusal(path)
    except OSError as error:
        raise ConfigError(f"{who}: cannot be read ({error.strerror})") from None
    if reason:
        raise ConfigError(f"{who} {reason}")
    content = _content(path, who)
    found = _state_dicts(content, "", set())
    if not found:
        raise ConfigError(f"{who} holds no state dict, but {_kind(content)}")
    state = {name: _plain(value, name, who) for name, value in _chosen(found, who).items()}
    for name, value in state.items():
        check_finite(value, f"{who}: {name}")
    return state


def check_finite(value: Tensor, who: str) -> None:
    """Check that all values of a weight are finite in float32.

    Args:
        value: The weight. One on the meta device has no values to check.
        who: Its name in the message.

    Raises:
        ConfigError: If some are not.
    """
    if value.is_floating_point() and not value.is_meta:
        wrong = value.numel() - int(value.to(torch.float32).isfinite().sum())
        if wrong:
            raise ConfigError(f"{who} has {wrong} of {value.numel()} values that are not finite in float32")


def _content(path: Path, who: str) -> Any:
    """Return the content of a file."""
    with path.open("rb") as file:
        head = file.read(9)
    if is_safetensors(head):
        try:
            with safe_open(path, framework="pt", device="cpu") as tensors:
                return {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118, it is no mapping
        except SafetensorError as error:
            raise ConfigError(f"{who} is truncated or damaged ({error}); copy or download it again") from None
    if is_numpy_archive(path):
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except Exception as error:  # the file is not under the control of this package
            raise ConfigError(f"{who} is no archive of numbers ({' '.join(str(error).split())})") from None
    try:
        with torch.serialization.safe_globals(list(STAND_INS)), warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the file is not under the control of this package
        raise ConfigError(f"{who} {explain(path, error)}") from None


def _state_dicts(content: Any, place: str, seen: set[int], depth: int = 0) -> dict[str, dict[str, Tensor]]:
    """Return the state dicts in a container, by place; those under a usual name of the model alone if there are any.

    Optimizers are skipped, and so is what has been seen under another name.
    """
    if depth > _DEPTH or id(content) in seen or (isinstance(content, Mapping) and "param_groups" in content):
        return {}
    seen.add(id(content))
    inside = {name: _state_dicts(value, f"{place}[{name!r}]", seen, depth + 1) for name, value in _containers(content)}
    if preferred := [found for name, found in inside.items() if name in PLAIN_NAMES and found]:
        return _union(preferred)
    found, weights = _union(inside.values()), _weights(content)
    # Beside a state dict, a matrix without a dot in its name is something else, such as a confusion matrix.
    is_state_dict = any(tensor.ndim > 1 and ("." in name or not found) for name, tensor in weights.items())
    return {place: weights, **found} if is_state_dict else found


def _union(parts: Iterable[Mapping[str, dict[str, Tensor]]]) -> dict[str, dict[str, Tensor]]:
    return {place: state for part in parts for place, state in part.items()}


def _weights(content: Any) -> dict[str, Tensor]:
    """Return the tensors and arrays in a mapping, by name."""
    pairs = content.items() if isinstance(content, Mapping) else ()
    tensors = {name: _tensor(value) for name, value in pairs if isinstance(name, str)}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _containers(content: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the containers in a container, by key or index."""
    pairs: Any = ()
    if isinstance(content, Mapping):
        pairs = content.items()
    elif isinstance(content, list | tuple):
        pairs = enumerate(content)
    return ((name, value) for name, value in pairs if isinstance(value, Mapping | list | tuple))


def _tensor(value: Any) -> Tensor | None:
    """Return a tensor or an array as a tensor, or None if it is something else."""
    if isinstance(value, Array):
        value = value.numbers()
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.dtype.itemsize <= 8:
        value = torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))  # a copy that is writable
    return value if isinstance(value, Tensor) else None


def _chosen(found: dict[str, dict[str, Tensor]], who: str) -> dict[str, Tensor]:
    """Return the only state dict in a file.

    Raises:
        ConfigError: If there are several.
    """
    if len(found) > 1:
        places = [f"checkpoint{place}" for place in found]
        all_places = listed(places, str)
        raise ConfigError(f"{who} holds several state dicts: {all_places}; save one: torch.save({places[0]}, FILE)")
    return next(iter(found.values()))


def _plain(tensor: Tensor, name: str, who: str) -> Tensor:
    """Return a dense tensor that does not require a gradient.

    Raises:
        ConfigError: If the tensor is of another kind.
    """
    if tensor.is_meta:
        raise ConfigError(f"{who}: {name} has no values; it was saved from the meta device")
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise ConfigError(f"{who}: {name} is sparse or quantized; save its to_dense() or dequantize()")
    return tensor.detach()


def _kind(content: Any) -> str:
    """Return what the content of a file is, for messages."""
    if isinstance(content, Mapping):
        return f"a mapping with the keys {listed(list(content))}" if content else "an empty mapping"
    if isinstance(content, Tensor):
        return f"one tensor of shape {tuple(content.shape)}"
    kind = type(content).__name__
    return f"a {kind} of {len(content)} entries" if isinstance(content, list | tuple) else f"an object of type {kind}"
