"""Training of the learners that share one pass over the training data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from gtn_bench.data.base import Dataset, Split
from gtn_bench.modes.base import Mode
from gtn_bench.modes.gtn import GTN, train_on_curriculum
from gtn_bench.teaching.teaching_set import TeachingSet


def train(
    modes: Sequence[Mode], network: nn.Module, dataset: Dataset, split: Split, taught: TeachingSet | None, *, seed: int
) -> list[dict[str, Tensor]]:
    """Train one learner per mode from the same freshly initialized network.

    Args:
        modes: A single mode, or several `GTN` modes that differ only in the number of inner steps.
        network: The freshly initialized network, on its device.
        dataset: The data set.
        split: The real training images, on the same device.
        taught: The teaching set, if the modes need a teacher.
        seed: Seed of all random draws, those of random layers such as dropout included.

    Returns:
        The state dicts of the learners, in the order of `modes`.
    """
    network.train()
    following = [mode for mode in modes if isinstance(mode, GTN)]
    with _seeded(seed, split.labels.device):
        if taught and len(following) == len(modes) > 1:
            states = dict(train_on_curriculum(following, network, split, taught))
            return [states[position] for position in range(len(modes))]
        return [mode(network, dataset, split, taught, seed=seed) for mode in modes]


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators of the CPU and of one device, and restore them; leave other devices alone."""
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield
