"""Seeded random draws of networks with random outputs."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python, and restore them afterwards.

    Args:
        seed: The seed.
        device: Device of the network. The generators of other accelerators are not seeded.
    """
    cuda = [device] if device.type == "cuda" else []
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        for used in cuda:
            with torch.cuda.device(used):
                torch.cuda.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def draw_seed(sequence: str, draw: int) -> int:
    """Return the seed of one random draw.

    Args:
        sequence: Name of the sequence of draws.
        draw: Number of the draw in the sequence.

    Returns:
        A hash of both, from 0 to 2**63 - 1.
    """
    digest = hashlib.blake2b(f"{sequence}/{draw}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
