"""Training of the learners that share one pass over the training data."""

from __future__ import annotations

from collections.abc import Sequence

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
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if taught and len(following) == len(modes) > 1:
            states = dict(train_on_curriculum(following, network, split, taught))
            return [states[position] for position in range(len(modes))]
        return [mode(network, dataset, split, taught, seed=seed) for mode in modes]
