"""Worker processes: they end with the process that started them, and leave Ctrl-C to it."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress

_INTERVAL = 0.5  # seconds


def prepare_worker(parent: int) -> None:
    """Let this process end soon after its parent, and ignore Ctrl-C: the parent ends its workers itself.

    Args:
        parent: Identifier of the parent, which may have ended already.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(ImportError):
        from tqdm import tqdm

        tqdm.set_lock(threading.RLock())  # by default a semaphore, which a worker that is killed leaves behind
    threading.Thread(target=_end_with, args=(parent,), name="end with the parent", daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process, also while it computes, once another process has taken the place of its parent."""
    while os.getppid() == parent:
        time.sleep(_INTERVAL)
    os._exit(1)
