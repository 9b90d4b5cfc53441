"""Isolation of global random generators while a library's attack runs."""

from __future__ import annotations

import contextlib
import functools
import io
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@contextlib.contextmanager
def isolated(seeds: Tensor, *, quiet: bool = True) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python from the first seed, and restore them afterwards.

    Generators that NumPy would seed from the operating system are seeded from its global generator.

    Args:
        seeds: Seeds (N,) int64.
        quiet: Whether output to the terminal is suppressed.
    """
    import numpy as np
    import torch

    seed = int(seeds[0])
    python, numpy, entropic = random.getstate(), np.random.get_state(), np.random.RandomState
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        np.random.RandomState = _seeded(entropic)  # type: ignore[misc]
        try:
            with _silence() if quiet else contextlib.nullcontext():
                yield
        finally:
            np.random.RandomState = entropic  # type: ignore[misc]
            random.setstate(python)
            np.random.set_state(numpy)


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
