"""How many images are handed over together: as many as are fast and fit into the memory at hand."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import TypeVar

import psutil
import torch
from torch import Tensor

from gtn_bench.classifiers import Classifier
from gtn_bench.perturbations.base import Batch

T = TypeVar("T")

LARGEST = {"cpu": 256, "cuda": 4096}  # of which a processor makes use
SHARE = 0.5  # of the memory at hand: gradients and the attack's own tensors need some, too
REUSED = 2**24  # bytes of a tensor on a CPU: C libraries give larger ones back, and fetch them anew for each gradient


def in_batches(task: Callable[..., T], classifier: Classifier, batch: Batch, *tensors: Tensor) -> list[T]:
    """The task's results for the rows of tensors (N, ...), a batch of all of them at a time.

    If memory runs out although it seemed enough, and any number will do, the batches become smaller.
    """
    size = min(len(tensors[0]), batch_size(classifier, tensors[0], batch))
    may_shrink = batch == "any" and classifier.batch is None
    results: list[T] = []
    start = 0
    while start < len(tensors[0]):
        try:
            results.append(task(*(tensor[start : start + size] for tensor in tensors)))
        except torch.OutOfMemoryError:
            if size == 1 or not may_shrink:
                raise
            size //= 2
        else:
            start += size
    return results


def batch_size(classifier: Classifier, x: Tensor, batch: Batch) -> int:
    """How many of the images x (N, C, H, W) the classifier is shown together.

    Where any number will do, it is the power of two that is fastest (`benchmarks/speed/batches.py`) and
    fits into the memory at hand; another number changes results in their last bits alone. A classifier
    whose logits depend on the images beside an image has a number of its own.
    """
    if classifier.batch:
        return classifier.batch
    if batch != "any":
        return len(x) if batch == "all" else batch
    most = min(LARGEST.get(x.device.type, 256), SHARE * memory_at_hand(x.device) / classifier.needed_per_image)
    if x.device.type == "cpu":
        most = min(most, REUSED / classifier.largest_per_image)
    return 2 ** int(math.log2(max(1, most)))


def memory_at_hand(device: torch.device) -> int:
    """Bytes that this process may fill: what a GPU has left, or of the machine's the share of its threads."""
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held
    return psutil.virtual_memory().available * torch.get_num_threads() // (os.cpu_count() or 1)
