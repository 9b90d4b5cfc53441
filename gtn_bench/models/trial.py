"""Trials of networks before training, to find errors that only their code reveals."""

from __future__ import annotations

import functools
import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from gtn_bench.data.base import Dataset

Shape = tuple[int, int, int]  # channels, height, width

META, CPU = torch.device("meta"), torch.device("cpu")
_SIDES = (16, 24, 28, 32, 48, 64, 75, 96, 128, 160, 192, 224, 240, 256, 384, 448, 512)  # that a suggestion tries


class _Buildable(Protocol):
    """The part of an architecture that a trial of its shapes uses."""

    def build(self, shape: Shape, classes: int) -> nn.Module:
        """Return the network with initial weights."""

    def __hash__(self) -> int: ...


class _Bare(Protocol):
    """The part of an architecture that a trial of its training uses."""

    def bare(self, dataset: Dataset, seed: int) -> nn.Module:
        """Return the network with initial weights."""

    def __hash__(self) -> int: ...


@functools.cache
def shape_problem(architecture: _Buildable, shape: Shape, classes: int) -> str:
    """Return why an architecture fails on images of a shape, in one line; an empty string if it does not.

    The trial runs on torch's meta device, which computes shapes but no numbers and takes a fraction of a second.

    Args:
        architecture: The architecture.
        shape: Channels, height and width of the images.
        classes: Number of classes.
    """
    if _failure(architecture, shape, classes, META) is None:
        return ""
    failure = _failure(architecture, shape, classes, CPU)  # the meta device does not support everything
    if failure is None:
        return ""
    sides = [side for side in _SIDES if side >= min(shape[1:]) and (side, side) != shape[1:]]
    works = (side for side in sides if _failure(architecture, (shape[0], side, side), classes, META) is None)
    side = next(works, None)
    return failure + (f"; it works on {side} x {side} images" if side else "")


@functools.cache
def meta_training_problem(architecture: _Bare, dataset: Dataset, teaching_statistics: bool) -> str:
    """Return why meta-training cannot differentiate the training of a network; an empty string if it can.

    The trial computes logits twice and a second derivative once, for two images.

    Args:
        architecture: The architecture.
        dataset: The data set.
        teaching_statistics: Whether learners are evaluated with the batch-norm statistics of the last teaching batch.
    """
    try:
        with _quiet():
            network = architecture.bare(dataset, seed=0).train()
            params = [value for value in network.parameters() if value.requires_grad]
            x, y = torch.rand(2, *dataset.input_shape), torch.zeros(2, dtype=torch.int64)
            logits = network(x)
            grads = torch.autograd.grad(F.cross_entropy(logits, y), params, create_graph=True)
            square = torch.stack([grad.square().sum() for grad in grads]).sum()
            if square.requires_grad:
                torch.autograd.grad(square, params, allow_unused=True)
            if not torch.equal(network(x), logits):  # meta-training repeats the inner loop
                return "it draws random numbers in train mode, as dropout does"
    except Exception as error:  # any code of a library
        return describe(error)
    averages = (module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    if teaching_statistics and any(module.track_running_stats for module in averages):
        return "it keeps running averages, not the batch-norm statistics of the last batch; write statistics: real"
    return ""


@functools.cache
def single_image_problem(architecture: _Bare, dataset: Dataset) -> str:
    """Return why a network cannot train on a batch of one image; an empty string if it can.

    Args:
        architecture: The architecture.
        dataset: The data set.
    """
    problem = ""
    for device in (META, CPU):  # the meta device does not support everything
        try:
            with _quiet(), torch.no_grad():
                network = _on_device(lambda: architecture.bare(dataset, seed=0), device).train()
                network(torch.zeros(1, *dataset.input_shape, device=device))
            return ""
        except Exception as error:  # any code of a library
            problem = describe(error)
    return problem


def describe(error: Exception) -> str:
    """Return type and message of an exception in one line. If it has no message, the code that raised it is shown.

    Args:
        error: The exception.
    """
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())[:200]  # without the colors of terminals
    if not text:
        text = f"in '{traceback.extract_tb(error.__traceback__)[-1].line}'"
    return f"{type(error).__name__}: {text}"


def _failure(architecture: _Buildable, shape: Shape, classes: int, device: torch.device) -> str | None:
    """Build a network and apply it to two images, in train mode and in evaluation mode; return what goes wrong."""
    try:
        with _quiet(), torch.no_grad():
            network = _on_device(lambda: architecture.build(shape, classes), device)
            for mode in (True, False):
                logits: object = network.train(mode)(torch.zeros(2, *shape, device=device))
                if not isinstance(logits, Tensor):
                    return f"it returns {type(logits).__name__}, not a tensor of logits"
                if logits.shape != (2, classes):
                    return f"it returns the shape {tuple(logits.shape)}, not {(2, classes)}"
    except Exception as error:  # any code of a library
        return describe(error)
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Ignore warnings and keep the state of the random generator."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _on_device(build: Callable[[], nn.Module], device: torch.device) -> nn.Module:
    if device == META:
        with suppress(NotImplementedError), device:  # some models compute their sizes with tensors
            return build()
    return _undrawn(build).to(device)


class _Undrawn(TorchFunctionMode):
    """Leaves tensors as they are instead of drawing random numbers, which is slow for large networks."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _undrawn(build: Callable[[], nn.Module]) -> nn.Module:
    with _Undrawn():
        return build()
