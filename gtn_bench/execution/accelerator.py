"""The GPU of a process: which one it uses, how exactly it computes, and what identifies its numbers."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from gtn_bench.config.errors import ConfigError
from gtn_bench.store.origin import numba_version, processor

# Operations whose float32 PyTorch may replace by types with shorter mantissas, by backend.
_OPERATIONS = tuple((backend, op) for backend in ("cuda", "mkldnn") for op in ("matmul", "conv", "rnn"))
_EXACT = ("ieee", "none")  # "none" is what no setting has changed
_WORKSPACE = ":4096:8"  # with it, cuBLAS adds in the same order in every call


class Switch(NamedTuple):
    """A global setting of PyTorch that decides about the precision of float32."""

    read: Callable[[], Any]
    write: Callable[[Any], object]
    exact: tuple[Any, ...]  # its values for full precision, the first of which is written


def device_key(device: str, strict: bool = False) -> str:
    """Return what of a device can change numbers: part of the keys of results.

    Args:
        device: "cpu" or "cuda".
        strict: Whether the processor counts, too: its name and instructions, the threads of a cell (1) and of
            meta-training, and numba. Then results of other machines are never used.
    """
    key = "cpu" if device == "cpu" else ", ".join(f"{name} {value}" for name, value in gpu_facts().items())
    if not strict:
        return key
    import torch

    name, instructions = processor()
    threads = f"threads 1, teachers {torch.get_num_threads()}"
    return f"{key}, processor {name}, instructions {' '.join(instructions)}, {threads}, numba {numba_version()}"


@functools.cache
def gpu_facts() -> dict[str, str]:
    """Return models of the GPUs, versions of CUDA or ROCm and of cuDNN, and the precision of float32."""
    import torch

    names = sorted({torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())})
    return {
        "gpu": " and ".join(names),
        "hip" if torch.version.hip else "cuda": str(torch.version.hip or torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
        "float32": "full",
    }


def check_bfloat16(device: str, who: str) -> None:
    """Check that a GPU computes in bfloat16, and does not emulate it.

    Args:
        device: "cpu", or a GPU.
        who: What asks for it, such as "suite 'quick'".

    Raises:
        ConfigError: If it does not.
    """
    if device == "cpu":
        return
    import torch

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    if not torch.version.hip and properties.major < 8:
        raise ConfigError(
            f"{who}: 'precision: bfloat16' requires a GPU of compute capability 8.0 or later, got {properties.name} "
            f"with {properties.major}.{properties.minor}; set precision: float32, or device: cpu"
        )


def select_gpu(device: str, workers: int) -> None:
    """Select the GPU of a worker process and its share of the memory. Processes take GPUs in turn.

    The main process keeps the current GPU and all of its memory.

    Args:
        device: "cpu" or "cuda".
        workers: Number of worker processes.
    """
    number = None if device == "cpu" else _worker_number()
    if number is None:
        return
    import torch

    gpus = torch.cuda.device_count()
    torch.cuda.set_device(number % gpus)
    torch.cuda.set_per_process_memory_fraction(1 / -(-workers // gpus))


def _worker_number() -> int | None:
    """Return the number of this worker process among those of this machine; None in the main process."""
    named = re.fullmatch(r"LokyProcess-(\d+)", multiprocessing.current_process().name)
    if named is not None:
        return int(named[1])
    if "distributed" not in sys.modules:
        return None
    try:
        name = sys.modules["distributed"].get_worker().name
    except ValueError:  # this is no worker
        return None
    return name if isinstance(name, int) else 0  # a cluster started here counts; others assign GPUs to their workers


@contextlib.contextmanager
def reproducible(device: str) -> Iterator[None]:
    """Compute in full float32 and, on a GPU, with deterministic algorithms; restore all settings afterwards.

    An operation without a deterministic algorithm warns. On a CPU all are deterministic.

    Args:
        device: "cpu", or a GPU.
    """
    with contextlib.ExitStack() as settings:
        settings.enter_context(_full_precision())
        if device != "cpu":
            settings.enter_context(_deterministic())
        yield


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Turn off TF32 on GPUs, and the bfloat16 and TF32 that oneDNN may use in place of float32 on CPUs."""
    changed: list[tuple[Switch, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # versions of PyTorch recommend one of the two interfaces
        for switch in precision_switches():
            try:
                before = switch.read()
            except RuntimeError:  # the old interface cannot say what was set by the new one, which follows
                continue
            if before not in switch.exact:
                switch.write(switch.exact[0])
                changed.append((switch, before))
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            for switch, before in reversed(changed):
                switch.write(before)


def precision_switches() -> Iterator[Switch]:
    """Yield the global settings that decide about the precision of float32.

    Those of the interface with `allow_tf32` come first, then those of `fp32_precision`, from PyTorch 2.9 on. Written
    in this order, both interfaces agree afterwards, so that code that reads either of them works.
    """
    import torch

    cudnn = torch.backends.cudnn
    yield Switch(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, ("highest",))
    yield Switch(lambda: cudnn.allow_tf32, lambda value: setattr(cudnn, "allow_tf32", value), (False,))
    read = getattr(torch._C, "_get_fp32_precision_getter", None)
    if read is not None:
        write = torch._C._set_fp32_precision_setter
        for place in _OPERATIONS:
            yield Switch(functools.partial(read, *place), functools.partial(write, *place), _EXACT)


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    """Use deterministic algorithms where there are any, and choose none by a measurement."""
    import torch

    deterministic: Any = torch.utils.deterministic
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", _WORKSPACE)  # read once, before the first matrix product
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fills, benchmark = deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=warn_only if enabled else True)
    deterministic.fill_uninitialized_memory = torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark = fills, benchmark
