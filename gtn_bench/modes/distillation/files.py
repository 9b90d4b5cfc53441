"""Reader of files of tensors that dataset-distillation code publishes. No code in a file is executed."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gtn_bench.models.weights.stand_ins import STAND_INS, Array, Dtype

CONVERT = "torch.save({'images': images, 'labels': labels}, 'set.pt')"


class Scalar(Array):
    """A number as NumPy pickles it.

    Args:
        dtype: Its type.
        content: Its bytes.
    """

    def __init__(self, dtype: Dtype, content: bytes = b"") -> None:
        self.state = (1, (), dtype, False, content)


_SAFE = [
    *((stand_in, name) for stand_in, name in STAND_INS if not name.endswith(".scalar")),
    *((Scalar, f"{module}.multiarray.scalar") for module in ("numpy.core", "numpy._core")),
]


def load_plain(path: Path) -> Any:
    """Read a file of `torch.save`, safetensors, or arrays of NumPy.

    Args:
        path: The file. Its suffix selects the format; other suffixes than ``.npz``, ``.npy`` and ``.safetensors`` are
            read with PyTorch.

    Returns:
        Tensors on the CPU, numbers, texts, and lists, tuples and mappings of them. Arrays of NumPy are tensors, other
        harmless objects are None.

    Raises:
        ValueError: If the file has another format or holds other objects. The message is the end of a sentence that
            starts with the name of the file.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            return _plain(_loaded(path))
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = "is no file that PyTorch reads as data"
        if refused:
            reason = f"holds '{refused[1].removeprefix('builtins.')}', which is no tensor"
    except PermissionError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    except Exception:  # the file is not under the control of this package
        reason = "is no file of tensors, or is damaged"
    raise ValueError(f"{reason}; where its code is: {CONVERT}")


def _loaded(path: Path) -> Any:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    with torch.serialization.safe_globals(_SAFE):  # type: ignore[arg-type]
        return torch.load(path, map_location="cpu", weights_only=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Array):
        value = value.numbers()
    if isinstance(value, np.ndarray):
        return _from_numpy(value)
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str) else None


def _from_numpy(array: np.ndarray[Any, Any]) -> Tensor | None:
    if array.dtype.kind not in "biuf":
        return None
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # PyTorch computes with bytes and signed integers
        array = array.astype(np.int64)
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))


def is_array(value: Any) -> bool:
    """Check that a value of `load_plain` is a tensor, or a list of numbers.

    Args:
        value: The value.
    """
    return isinstance(value, Tensor) or (
        isinstance(value, Sequence) and len(value) > 0 and all(isinstance(item, int | float) for item in value)
    )


def tensor(value: Any, what: str) -> Tensor:
    """Return a value of `load_plain` as one dense tensor. A list of tensors becomes a batch.

    Args:
        value: A tensor, a number, or a list of tensors of one shape or of numbers.
        what: What it is, such as "images", for messages.

    Raises:
        ValueError: If it is anything else.
    """
    if isinstance(value, Sequence) and value and all(isinstance(item, Tensor) for item in value):
        if len({item.shape[1:] for item in value}) > 1 or len({item.ndim for item in value}) > 1:
            raise ValueError(f"holds {what} of several shapes in a list")
        # Images (C, H, W) and numbers are stacked; batches of images, and lists of labels, are concatenated.
        stacked = (what == "images" and value[0].ndim <= 3) or value[0].ndim == 0
        value = torch.stack(list(value)) if stacked else torch.cat(list(value))
    elif isinstance(value, int | float) or is_array(value):
        value = torch.as_tensor(value)
    if not isinstance(value, Tensor):
        raise ValueError(f"holds {type(value).__name__} as {what}, expected a tensor")
    if value.layout != torch.strided or value.is_quantized or value.is_meta or value.is_complex():
        raise ValueError(f"holds {what} as a tensor of an unusual kind; where its code is: {CONVERT}")
    return value.float() if value.is_floating_point() and value.element_size() < 4 else value
