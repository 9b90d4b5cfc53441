"""Processes that meta-train together, started by torchrun."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from gtn_bench.config.errors import ConfigError, RunError


class ProcessGroup(NamedTuple):
    """A group of processes, as one of them sees it.

    Attributes:
        device: Device of this process.
        rank: Rank of this process.
        ranks: Number of processes.
    """

    device: str
    rank: int = 0
    ranks: int = 1

    def run_first(self, task: Callable[[], object]) -> bool:
        """Run a task in the first process while the others wait.

        Args:
            task: The task.

        Returns:
            The truth value of the task's result, in every process.

        Raises:
            ConfigError, RunError: In every process, if the task raises it.
        """
        if self.ranks == 1:
            return bool(task())
        from torch import distributed

        shared: list[bool | Exception] = [False]
        if self.rank == 0:
            try:
                shared = [bool(task())]
            except (ConfigError, RunError) as error:
                shared = [error]
        distributed.broadcast_object_list(shared)
        if isinstance(shared[0], Exception):
            raise shared[0]
        return shared[0]


def is_first_process() -> bool:
    """Check that this is the process that writes, among those that torchrun has started."""
    return int(os.environ.get("RANK", 0)) == 0


@contextmanager
def process_group(device: str) -> Iterator[ProcessGroup]:
    """Join the group of processes that torchrun has started, if it has.

    Args:
        device: "cpu" or "cuda"; with "cuda" every process takes its own GPU.

    Raises:
        ConfigError: If there are more processes than GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield ProcessGroup(device)
        return
    import torch
    from torch import distributed

    if device == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise ConfigError(f"{local + 1} processes need as many GPUs here, there are {torch.cuda.device_count()}")
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    distributed.init_process_group("gloo" if device == "cpu" else "nccl")
    try:
        yield ProcessGroup(device, distributed.get_rank(), distributed.get_world_size())
        distributed.barrier()  # a process that leaves early closes the connections of the others
        # Gloo's thread releases its work a moment after `barrier` has returned. If the group is destroyed in
        # between, the process can abort when it ends (compare pytorch/pytorch#190489).
        time.sleep(0.2)
    finally:
        distributed.destroy_process_group()
