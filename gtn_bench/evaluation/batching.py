"""Batch sizes: as many images as are fast and fit into the available memory."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import TypeVar

import psutil
import torch
from torch import Tensor

from gtn_bench.evaluation.memory import DoesNotFitError, is_out_of_memory
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations.base import Batch

T = TypeVar("T")

LARGEST = {"cpu": 256, "cuda": 4096}  # images; larger batches are not faster
SHARE = 0.5  # share of the available memory; the rest is for gradients and the tensors of the attack
REUSED = 2**24  # bytes; C libraries return larger tensors to the system and request them again for each gradient


def in_batches(
    task: Callable[..., T], classifier: Classifier, batch: Batch, *tensors: Tensor, refills: bool = False
) -> list[T]:
    """Run a task on batches of the rows of tensors.

    If memory runs out and the batch size does not influence the result, the batch size is halved.

    Args:
        task: The task, called with a batch of every tensor.
        classifier: The classifier that the task queries.
        batch: Images per call that the task requires: "any" number, "all" or this many.
        tensors: Tensors (N, ...).
        refills: Whether images leave a batch before its last query. On a CPU the task is then given more images than
            pass through the classifier at once, so that the passes stay full.

    Returns:
        The results of the batches, in order.

    Raises:
        DoesNotFitError: If the memory is too small and the batch size cannot shrink.
    """
    total = len(tensors[0])
    may_shrink = batch == "any" and classifier.batch is None
    at_once = max(1, min(total, batch_size(classifier, tensors[0], batch)))
    held = 0
    if refills and may_shrink and not classifier.in_order and tensors[0].device.type == "cpu":
        held = min(LARGEST["cpu"], REUSED * total // max(1, tensors[0].nbytes))
    results: list[T] = []
    start, before = 0, classifier.pass_size
    try:
        while start < total:
            size, classifier.pass_size = max(held, at_once), at_once if held else before
            counts = classifier.forwards, classifier.backwards
            try:
                results.append(task(*(tensor[start : start + size] for tensor in tensors)))
            except Exception as error:
                if not is_out_of_memory(error) or isinstance(error, DoesNotFitError):
                    raise
                if at_once == 1 or not may_shrink:
                    raise DoesNotFitError(_what_does_not_fit(at_once, batch, classifier)) from error
            else:
                start += size
                continue
            # Here the exception, which holds the tensors of the failed attempt, is gone.
            at_once //= 2
            classifier.forwards, classifier.backwards = counts  # passes that gave no result do not count
            if tensors[0].device.type == "cuda":
                torch.cuda.empty_cache()  # what is free but in pieces
    finally:
        classifier.pass_size = before
    return results


def _what_does_not_fit(size: int, batch: Batch, classifier: Classifier) -> str:
    """Return the message about a batch that must not be smaller."""
    if size == 1:
        return "a single image does not fit into memory"
    if classifier.batch is not None:
        return f"a batch of {size} images does not fit into memory; the learner uses the statistics of the batch"
    return f"a batch of {size} images does not fit into memory; the perturbation works in batches of a fixed size"


def batch_size(classifier: Classifier, x: Tensor, batch: Batch) -> int:
    """Return the number of images per batch.

    If any number is allowed, it is the fastest power of two that fits into the available memory
    (`benchmarks/speed/batches.py`). Other numbers change results only by rounding. On a GPU the number follows from its
    whole memory and the number of processes, not from what is free, so that it is the same in every run. A classifier
    whose logits depend on the other images of the batch determines the number.

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
        device: The device. On a CPU, the share of the machine's available memory is that of the process's threads. On a
            GPU it is the share of the whole memory that the process may allocate.
    """
    if device.type == "cuda":
        whole = torch.cuda.get_device_properties(device).total_memory
        # Before PyTorch 2.8 the share cannot be read. A batch that exceeds it is tried again in halves.
        share = getattr(torch.cuda, "get_per_process_memory_fraction", lambda device: 1.0)
        return int(whole * share(device))
    return psutil.virtual_memory().available * torch.get_num_threads() // (os.cpu_count() or 1)
