"""Batch sizes: as many images as are fast and fit into the available memory."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import TypeVar

import psutil
import torch
from torch import Tensor

from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations.base import Batch

T = TypeVar("T")

LARGEST = {"cpu": 256, "cuda": 4096}  # images; larger batches are not faster
SHARE = 0.5  # share of the available memory; the rest is for gradients and the tensors of the attack
REUSED = 2**24  # bytes; C libraries return larger tensors to the system and request them again for each gradient


def in_batches(task: Callable[..., T], classifier: Classifier, batch: Batch, *tensors: Tensor) -> list[T]:
    """Run a task on batches of the rows of tensors.

    If memory runs out and the batch size does not influence the result, the batch size is halved.

    Args:
        task: The task, called with a batch of every tensor.
        classifier: The classifier that the task queries.
        batch: Images per call that the task requires: "any" number, "all" or this many.
        tensors: Tensors (N, ...).

    Returns:
        The results of the batches, in order.

    Raises:
        torch.OutOfMemoryError: If the memory is too small and the batch size cannot shrink.
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
    """Return the number of images per batch.

    If any number is allowed, it is the fastest power of two that fits into the available memory
    (`benchmarks/speed/batches.py`). Other numbers change results only by rounding. A classifier whose logits depend on
    the other images of the batch determines the number.

    Args:
        classifier: The classifier.
        x: Images (N, C, H, W).
        batch: Images per call that the task requires: "any" number, "all" or this many.
    """
    if classifier.batch:
        return classifier.batch
    if batch != "any":
        return len(x) if batch == "all" else batch
    largest = min(LARGEST.get(x.device.type, 256), SHARE * available_memory(x.device) / classifier.needed_per_image)
    if x.device.type == "cpu":
        largest = min(largest, REUSED / classifier.largest_per_image)
    return 2 ** int(math.log2(max(1, largest)))


def available_memory(device: torch.device) -> int:
    """Return the memory in bytes that this process may use.

    Args:
        device: The device. On a CPU, the share of the machine's available memory is that of the process's threads.
    """
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    return psutil.virtual_memory().available * torch.get_num_threads() // (os.cpu_count() or 1)
