"""The time limit of a cell: an exception first, and where code ignores it, the end of the process."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import IO

GRACE = 3.0  # seconds that code has to react to the exception before the process ends
REPEAT = 0.5  # seconds between exceptions; code may catch one and go on


class TimeLimitError(BaseException):
    """A part exceeded its time limit. It is no `Exception`: code that catches those and goes on must not catch it."""


@contextlib.contextmanager
def time_limit(seconds: float | None, report: IO[bytes] | None = None) -> Iterator[None]:
    """Raise `TimeLimitError` in this thread after some time.

    In the main thread the exception interrupts system calls such as sleeping. In other threads Python code alone.

    Args:
        seconds: The limit in seconds; None for none.
        report: File to which the stack is written before the process ends, if it does not react to the exception, as
            native code that never returns. None: the process never ends.
    """
    if seconds is None:
        yield
        return
    if report is not None:
        # A thread of C code, which does not wait for the interpreter. It ends the process with exit code 1.
        faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=report)
    in_main_thread = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    try:
        with _alarm(seconds) if in_main_thread else _exception_from_outside(seconds):
            yield
    finally:
        if report is not None:
            faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise the exception by a signal."""
    active = True

    def handle(number: int, frame: FrameType | None) -> None:
        if active:
            raise TimeLimitError

    before = signal.signal(signal.SIGALRM, handle)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT)
            yield
        finally:
            active = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _exception_from_outside(seconds: float) -> Iterator[None]:
    """Raise the exception from another thread."""
    thread = ctypes.c_ulong(threading.get_ident())
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    done, lock = threading.Event(), threading.Lock()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            with lock:
                if not done.is_set():
                    raise_in(thread, ctypes.py_object(TimeLimitError))
            wait = REPEAT

    threading.Thread(target=watch, name="time limit", daemon=True).start()
    try:
        yield
    finally:
        with lock:
            done.set()
            raise_in(thread, None)  # one that is not raised yet


def exceeded(seconds: float) -> str:
    """Return the error of a part that exceeded its time limit.

    Args:
        seconds: The limit in seconds.
    """
    return f"exceeded the time limit of {seconds:g} s"
