"""Worker processes: they end with the process that started them, and leave Ctrl-C to it."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress

_INTERVAL = 0.5  # seconds
_GROWTH = 1_000_000_000  # bytes: what libraries and kernels that are first needed later take, and much more for a leak


def prepare_worker(parent: int) -> None:
    """Let this process end soon after its parent, and ignore Ctrl-C: the parent ends its workers itself.

    Loky replaces it once its memory has grown by 1 GB since its first task, instead of by 300 MB.

    Args:
        parent: Identifier of the parent, which may have ended already.
    """
    from joblib.externals.loky import process_executor

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process_executor._MAX_MEMORY_LEAK_SIZE = _GROWTH
    with suppress(ImportError):
        from tqdm import tqdm

        tqdm.set_lock(threading.RLock())  # by default a semaphore, which a worker that is killed leaves behind
    threading.Thread(target=_end_with, args=(parent,), name="end with the parent", daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process, also while it computes, once another process has taken the place of its parent."""
    while os.getppid() == parent:
        time.sleep(_INTERVAL)
    os._exit(1)
