"""Interruptions by the user, told apart from exceptions that user code raises."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_SIGNALS = signal.SIGINT, signal.SIGTERM
_received: list[int] = []  # signals since the outermost `noticing_interrupts` began


def interrupted() -> bool:
    """Return whether this process has received a signal to stop. False outside of `noticing_interrupts`."""
    return bool(_received)


def ignore_interrupts() -> None:
    """Ignore signals to stop from now on, when all work is done and the process ends.

    Python takes seconds to finalize PyTorch. Meanwhile it restores the default action of each signal that has a
    handler, which would end the process without its exit code. Signals that are ignored stay so.
    """
    for stop in _SIGNALS:
        signal.signal(stop, signal.SIG_IGN)
    # If an interruption came while Python evaluated a string, `python -m` would end by SIGINT, although it was handled.
    # The next evaluation clears the flag.
    eval("None")


@contextlib.contextmanager
def noticing_interrupts() -> Iterator[None]:
    """Note signals to stop, and handle them as before.

    Outside of the main thread nothing changes: signals are handled in the main thread alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}
    _received.clear()
    try:
        for stop in _SIGNALS:
            handler = signal.getsignal(stop)
            if callable(handler):
                before[stop] = handler
                signal.signal(stop, _noting(handler))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.clear()


def _noting(handler: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, frame: FrameType | None) -> None:
        _received.append(number)
        handler(number, frame)

    return handle
