"""Stand-ins for harmless classes that training code saves beside weights, such as those of NumPy.

`torch.load` restores them in place of the classes. NumPy's own functions trust the content of a pickle and can be made
to read arbitrary memory; the stand-ins only keep their arguments.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np


class Ignored:
    """A value that no weight depends on: a number, a path, the options of a training script."""

    def __init__(self, *ignored: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class Dtype:
    """A type of numbers as NumPy pickles it.

    Args:
        code: Kind and number of bytes, such as ``"f4"``.
        ignored: Further arguments of `numpy.dtype`.
    """

    def __init__(self, code: Any = "", *ignored: Any) -> None:
        self.code = code
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


class Array:
    """An array as NumPy pickles it.

    Args:
        ignored: Arguments of NumPy's function that creates the array.
    """

    def __init__(self, *ignored: Any) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def numbers(self) -> np.ndarray[Any, Any] | None:
        """Return the array, or None if it does not hold real numbers."""
        if len(self.state) != 5:
            return None
        _, shape, dtype, is_fortran, content = self.state
        if not isinstance(dtype, Dtype) or not isinstance(content, bytes):
            return None
        if not re.fullmatch(r"[fiu][1248]|b1", str(dtype.code)) or dtype.order not in ("<", ">", "=", "|"):
            return None
        try:
            flat = np.frombuffer(content, np.dtype(f"{dtype.order}{dtype.code}"))
            return flat.reshape(shape, order="F" if is_fortran else "C")
        except (TypeError, ValueError):  # of a damaged file
            return None


def empty_dict(*ignored: Any) -> dict[Any, Any]:
    """Return an empty dictionary in place of one of another class.

    Args:
        ignored: Arguments of the class.
    """
    return {}


def no_bytes(*ignored: Any) -> bytes:
    """Return the content of an empty array.

    Args:
        ignored: Arguments of `bytes`.
    """
    return b""


STAND_INS: tuple[tuple[Callable[..., Any], str], ...] = (
    *((Ignored, f"{module}.multiarray.scalar") for module in ("numpy.core", "numpy._core")),
    *((Array, f"{module}.multiarray._reconstruct") for module in ("numpy.core", "numpy._core")),
    (Array, "numpy.ndarray"),
    (Dtype, "numpy.dtype"),
    (no_bytes, "builtins.bytes"),
    (empty_dict, "collections.defaultdict"),
    *((Ignored, f"builtins.{name}") for name in ("bool", "dict", "float", "int", "list", "str", "tuple")),
    (Ignored, "argparse.Namespace"),
    *((Ignored, f"pathlib.{name}") for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
    *((Ignored, f"pathlib._local.{name}") for name in ("PosixPath", "WindowsPath")),
)
