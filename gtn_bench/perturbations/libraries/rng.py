"""Isolation of global random generators while a library's attack runs."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@contextlib.contextmanager
def isolated(seeds: Tensor, device: torch.device | None = None, *, quiet: bool = True) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python from the first seed, and restore them afterwards.

    Generators that NumPy would seed from the operating system are seeded from its global generator. Of several GPUs,
    only the generator of the one that computes is seeded, and of none if the CPU computes.

    Args:
        seeds: Seeds (N,) int64.
        device: The device that computes; None for the CPU.
        quiet: Whether output to the terminal is suppressed.
    """
    import numpy as np
    import torch

    from gtn_bench.inference.draws import seeded

    entropic = np.random.RandomState
    with seeded(int(seeds[0]), device or torch.device("cpu")):
        np.random.RandomState = _seeded(entropic)  # type: ignore[misc]
        try:
            with _silence() if quiet else contextlib.nullcontext():
                yield
        finally:
            np.random.RandomState = entropic  # type: ignore[misc]


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress the progress bars that no parameter of a library disables."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        yield


@functools.cache
def _seeded(random_state: Any) -> Any:
    """Return a subclass of `numpy.random.RandomState` whose default seed is the global generator's next number."""
    import numpy as np

    class Kind(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, random_state)

    class RandomState(random_state, metaclass=Kind):  # type: ignore[misc]
        def __init__(self, seed: Any = None) -> None:
            super().__init__(np.random.randint(2**32, dtype=np.uint64) if seed is None else seed)

    return RandomState
