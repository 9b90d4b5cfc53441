"""Changes of global state that a perturbation may leave behind."""

from __future__ import annotations

import gc
import locale
import os
import random
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

KEPT: list[Any] = []  # what has to live on, as the module of a user keeps it


def entered(context: Any) -> None:
    """Enter a context and never leave it.

    Args:
        context: the context manager.
    """
    KEPT.append(context)
    context.__enter__()


class Halving(TorchFunctionMode):
    """A mode that halves what `torch.clamp` returns."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        return result / 2 if function is torch.Tensor.clamp else result


def lower_limit() -> None:
    """Allow this process no larger files than one byte."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


CHANGES: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "default-dtype": lambda: torch.set_default_dtype(torch.float64),
    "default-device": lambda: torch.set_default_device("meta"),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 3),
    "deterministic": lambda: torch.use_deterministic_algorithms(True),
    "gradients": lambda: torch.set_grad_enabled(False),
    "no-gradients": lambda: entered(torch.no_grad()),
    "inference-mode": lambda: entered(torch.inference_mode()),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "autocast": lambda: entered(torch.autocast("cpu", torch.bfloat16)),
    "matmul-precision": lambda: torch.set_float32_matmul_precision("medium"),
    "cudnn": lambda: setattr(torch.backends.cudnn, "enabled", False),
    "mkldnn": lambda: torch._C._set_mkldnn_enabled(False),
    "denormal": lambda: torch.set_flush_denormal(True),
    "function-mode": lambda: entered(Halving()),
    "hook-of-all-modules": lambda: nn.modules.module.register_module_forward_hook(lambda *given: given[2] * 0.5),
    "seed-of-torch": lambda: torch.manual_seed(3),
    "seed-of-numpy": lambda: np.random.seed(3),
    "seed-of-python": lambda: random.seed(3),
    "warnings": lambda: warnings.simplefilter("error"),
    "numpy-errors": lambda: np.seterr(all="raise"),
    "environment": lambda: os.environ.update(GTN_BENCH_CACHE="/nowhere", HOME="/nowhere"),
    "folder": lambda: os.chdir("/"),
    "import-path": sys.path.clear,
    "locale": lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8"),
    "signals": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "alarm": lambda: signal.signal(signal.SIGALRM, signal.SIG_DFL),
    "recursion": lambda: sys.setrecursionlimit(120),
    "garbage": gc.disable,
    "file-size": lower_limit,
    "output": lambda: setattr(sys, "stderr", None),
}
