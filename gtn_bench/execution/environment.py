"""The machine that computes: device, processor, versions."""

from __future__ import annotations

import os
import platform
from ctypes.util import find_library
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from gtn_bench.analysis.tables import SCHEMA_VERSION
from gtn_bench.config.errors import ConfigError, shown
from gtn_bench.execution.accelerator import gpu_facts
from gtn_bench.planning.cells import Plan
from gtn_bench.reference.protocol import NOTE
from gtn_bench.store.keys import installed
from gtn_bench.store.origin import processor

Device = Literal["auto", "cpu", "cuda"]

# Linux on NVIDIA GPUs, also where the library is not in its path; the subsystem for Linux; AMD GPUs.
_DRIVERS = "/dev/nvidiactl", "/dev/dxg", "/dev/kfd"
_LIBRARIES = {"Linux": ("cuda",), "Windows": ("nvcuda", "amdhip64")}


def choose_device(device: Device) -> str:
    """Return `cpu` or `cuda`.

    Args:
        device: "auto" for a GPU if there is one.

    Raises:
        ConfigError: If the device is another one, or a GPU is requested and there is none.
    """
    if device not in get_args(Device):
        raise ConfigError(f"device expects one of {', '.join(get_args(Device))}, got {shown(device)}")
    if device == "cpu" or (device == "auto" and not has_driver()):  # torch takes seconds to import
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise ConfigError("device 'cuda' is not available here; use 'cpu' or 'auto'")
    return "cpu"


def has_driver() -> bool:
    """Return whether there is a driver of NVIDIA or AMD GPUs, as far as that can be seen without torch."""
    if any(Path(file).exists() for file in _DRIVERS):
        return True
    return any(find_library(name) is not None for name in _LIBRARIES.get(platform.system(), ()))


def default_workers(device: str) -> int:
    """Return the number of processes that a run starts: one per core, or one per GPU.

    Args:
        device: "cpu" or "cuda".
    """
    if device == "cpu":
        return os.cpu_count() or 1
    import torch

    return torch.cuda.device_count()


def machine(device: str) -> dict[str, Any]:
    """Describe the hardware, and on a GPU what else its numbers depend on.

    Results are bitwise reproducible on identical hardware and versions.

    Args:
        device: The device that computes.
    """
    name, instructions = processor()
    return {
        "system": platform.system(),
        "processor": name,
        "instructions": list(instructions),
        "cores": os.cpu_count(),
        "device": _device_name(device),
        **({} if device == "cpu" else {"accelerator": gpu_facts()}),
    }


def provenance(plan: Plan, device: str) -> dict[str, Any]:
    """Describe the origin of results: the plan, versions, hardware, and the meaning of every beta.

    Args:
        plan: The plan of the run.
        device: The device.
    """
    packages = ("gtn-bench", "torch", "torchvision", "numpy", "scipy", *plan.packages)
    return {
        "schema_version": SCHEMA_VERSION,
        "suite": plan.suite.name,
        "cells": len(plan.cells),
        "acceptance": plan.suite.acceptance,
        "controls": [control.title for control in plan.suite.controls],
        "protocol": plan.suite.protocol,
        "classes": list(plan.dataset.classes),
        "note": NOTE if plan.suite.protocol == "published" else "",
        "versions": {"python": platform.python_version(), **{name: installed(name) for name in packages}},
        "machine": machine(device),
        "perturbations": plan.axes,
        "details": plan.details,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _device_name(device: str) -> str:
    if device == "cpu":
        return "cpu"
    import torch

    return torch.cuda.get_device_name()
