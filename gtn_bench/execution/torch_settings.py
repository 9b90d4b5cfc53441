"""Global settings of PyTorch and NumPy that can change numbers or the speed of other code."""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from gtn_bench.execution.accelerator import precision_switches

# Pairs of functions `_get_<name>` and `_set_<name>`, as far as a version of PyTorch has them.
_FLAGS = (
    *("cudnn_enabled", "cudnn_benchmark", "cudnn_deterministic", "mkldnn_enabled", "mkldnn_deterministic"),
    *("nnpack_enabled", "deterministic_fill_uninitialized_memory", "warnAlways", "cudnn_sdp_enabled"),
    *("flash_sdp_enabled", "mem_efficient_sdp_enabled", "math_sdp_enabled", "math_sdp_allow_fp16_bf16_reduction"),
    *("cublas_allow_fp16_reduced_precision_reduction", "cublas_allow_bf16_reduced_precision_reduction"),
    *("cublas_allow_fp16_accumulation", "cpu_allow_fp16_reduced_precision_reduction"),
)
_SMALLEST = sys.float_info.min  # half of it is a denormal number


class Setting(NamedTuple):
    """A global setting.

    Attributes:
        read: Return its value.
        write: Set it to a value that was read before.
    """

    read: Callable[[], Any]
    write: Callable[[Any], object]


@functools.cache
def torch_settings() -> tuple[Setting, ...]:
    """Return the settings, in the order in which they are restored: first those that later ones depend on."""
    return (
        Setting(torch.is_inference_mode_enabled, _set_inference_mode),
        Setting(lambda: torch._C._len_torch_function_stack(), _drop_function_modes),
        Setting(_default_device, torch.set_default_device),
        Setting(torch.get_default_dtype, torch.set_default_dtype),
        Setting(torch.is_grad_enabled, torch._C._set_grad_enabled),
        Setting(lambda: torch._C._is_multithreading_enabled(), torch._C._set_multithreading_enabled),
        Setting(_anomaly, lambda value: torch.set_anomaly_enabled(*value)),
        Setting(torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
        *(Setting(*_autocast(device)) for device in ("cpu", "cuda")),
        Setting(torch.get_num_threads, torch.set_num_threads),
        Setting(_deterministic, lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1])),
        Setting(lambda: _SMALLEST / 2 == 0, torch.set_flush_denormal),
        *_flags(),
        *(Setting(switch.read, switch.write) for switch in precision_switches()),
        Setting(_global_hooks, _set_global_hooks),
        Setting(np.geterr, lambda value: np.seterr(**value)),
    )


def random_states() -> list[Setting]:
    """Return the states of the global random generators. They are restored without a comparison."""
    states = [
        Setting(torch.random.get_rng_state, torch.random.set_rng_state),
        Setting(np.random.get_state, np.random.set_state),
        Setting(random.getstate, random.setstate),
    ]
    if torch.cuda.is_initialized():
        device = torch.cuda.current_device()
        read, write = torch.cuda.get_rng_state, torch.cuda.set_rng_state
        states += [
            Setting(torch.cuda.current_device, torch.cuda.set_device),
            Setting(functools.partial(read, device), functools.partial(write, device=device)),
        ]
    return states


def _flags() -> Iterator[Setting]:
    for name in _FLAGS:
        read, write = getattr(torch._C, f"_get_{name}", None), getattr(torch._C, f"_set_{name}", None)
        if read is not None and write is not None:
            yield Setting(read, write)
    write_sdp = getattr(torch._C, "_set_sdp_use_flash", None)  # its older name
    if write_sdp is not None:
        names = {"flash": "flash", "mem_efficient": "mem_efficient", "math": "math", "cudnn": "cudnn"}
        for name in names:
            read, write = getattr(torch._C, f"_get_{name}_sdp_enabled", None), getattr(torch._C, f"_set_sdp_use_{name}")
            if read is not None:
                yield Setting(read, write)


def _autocast(device: str) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    def read() -> tuple[bool, torch.dtype]:
        return torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)

    def write(value: tuple[bool, torch.dtype]) -> None:
        torch.set_autocast_enabled(device, value[0])
        torch.set_autocast_dtype(device, value[1])
        torch.clear_autocast_cache()

    return read, write


def _default_device() -> torch.device | None:
    """Return the default device; None if none was set, so that restoring it costs later calls nothing."""
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device


def _anomaly() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


_guards: list[Any] = []


def _set_inference_mode(enabled: bool) -> None:
    """Set the inference mode for good. It ends with the life of its guard, so that the guard is kept."""
    _guards.append(torch._C._InferenceMode(enabled))


def _drop_function_modes(length: int) -> None:
    """Remove modes that override the functions of PyTorch, down to those that were there before."""
    while torch._C._len_torch_function_stack() > length:
        torch._C._pop_torch_function_stack()


def _global_hooks() -> dict[str, list[tuple[Any, Any]]]:
    """Return the hooks of all modules, which `register_module_forward_hook` and its like add."""
    module = torch.nn.modules.module
    return {
        name: list(value.items())
        for name, value in vars(module).items()
        if name.startswith("_global_") and isinstance(value, dict)
    }


def _set_global_hooks(before: dict[str, list[tuple[Any, Any]]]) -> None:
    for name, items in before.items():
        hooks = getattr(torch.nn.modules.module, name)
        hooks.clear()
        hooks.update(items)
