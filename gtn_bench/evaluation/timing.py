"""Time on devices that compute while the host goes on."""

from __future__ import annotations

import time

import torch


def seconds_when_done(device: torch.device) -> float:
    """Return the time of a clock in seconds, once a device has finished all work that it was given.

    Args:
        device: The device.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
