"""Global settings of the process that user code can change: environment, folders, limits, signal handlers."""

from __future__ import annotations

import functools
import gc
import locale
import os
import signal
import sys
import threading
from typing import Any

from gtn_bench.execution.torch_settings import Setting

_SIGNALS = "SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGCHLD", "SIGPIPE", "SIGUSR1", "SIGUSR2", "SIGFPE", "SIGSEGV"
_LIMITS = "AS", "CPU", "DATA", "FSIZE", "NOFILE", "STACK"


@functools.cache
def process_settings() -> tuple[Setting, ...]:
    """Return the settings, in the order in which they are restored."""
    return (
        *_limits(),
        Setting(_folder, _change_folder),
        Setting(lambda: dict(os.environ), _set_environment),
        Setting(lambda: list(sys.path), lambda value: sys.path.__setitem__(slice(None), value)),
        Setting(lambda: locale.setlocale(locale.LC_ALL), lambda value: locale.setlocale(locale.LC_ALL, value)),
        Setting(sys.getrecursionlimit, sys.setrecursionlimit),
        Setting(gc.isenabled, lambda value: gc.enable() if value else gc.disable()),
        Setting(lambda: (sys.stdout, sys.stderr), _set_streams),
        Setting(_handlers, _set_handlers),
    )


def _limits() -> list[Setting]:
    """Return the limits on resources. User code may have lowered one for the whole process."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    kinds = [getattr(resource, f"RLIMIT_{name}") for name in _LIMITS]
    return [Setting(functools.partial(resource.getrlimit, kind), functools.partial(_set_limit, kind)) for kind in kinds]


def _set_limit(kind: int, value: tuple[int, int]) -> None:
    """Set a limit back, as far as the system allows it: nobody may raise the second number again."""
    import resource

    most = resource.getrlimit(kind)[1]
    soft = value[0] if most == resource.RLIM_INFINITY else min(value[0], most)
    resource.setrlimit(kind, (most if soft == resource.RLIM_INFINITY else soft, most))


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _change_folder(value: str | None) -> None:
    if value is not None:
        os.chdir(value)


def _set_environment(value: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(value)


def _set_streams(value: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = value


def _handlers() -> dict[int, Any]:
    """Return the handlers of signals. Only the main thread may set them."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    numbers = (getattr(signal, name) for name in _SIGNALS if hasattr(signal, name))
    return {number: signal.getsignal(number) for number in numbers}


def _set_handlers(value: dict[int, Any]) -> None:
    for number, handler in value.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)
