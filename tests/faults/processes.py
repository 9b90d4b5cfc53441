"""Processes of a command: those that it started, directly or through others, also after it has ended.

A command is started in a session of its own. Its processes stay in the session when their parent dies.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psutil


def members(session: int) -> list[psutil.Process]:
    """Return the running processes of a session.

    Args:
        session: Identifier of the process that opened it.
    """
    return [process for process in psutil.process_iter() if _is_member(process, session)]


def _is_member(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.Error):
        return False


def workers(session: int) -> list[psutil.Process]:
    """Return the processes of a session that compute tasks: those of `loky`.

    Args:
        session: Identifier of the process that opened it.
    """
    return [process for process in members(session) if "popen_loky" in " ".join(_command(process))]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def wait_until(condition: Callable[[], bool], seconds: float, every: float = 0.02) -> bool:
    """Wait until a condition holds; return whether it does.

    Args:
        condition: The condition.
        seconds: The longest time to wait.
        every: Time between two looks, in seconds.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True


def survivors(session: int, seconds: float = 5.0) -> int:
    """Return how many processes of a session still run after a time, and end them.

    Args:
        session: Identifier of the process that opened it.
        seconds: The time that they have to end.
    """
    wait_until(lambda: not members(session), seconds, every=0.1)
    left = members(session)
    for process in left:
        kill(process.pid)
    return len(left)


def kill(process: int) -> None:
    """Send SIGKILL to a process, which may have ended.

    Args:
        process: Its identifier.
    """
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
