"""The log of a run: one line for each finished task."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

from gtn_bench.config.errors import ConfigError

FILE = "events.jsonl"
_BEGIN = b'{"time": "'  # of every line


class Event(NamedTuple):
    """A finished task.

    Attributes:
        stage: The stage of the run, such as "learners" or "cells".
        what: What was computed, for readers.
        keys: Keys of the stored results.
        status: "done", "error" or "retried".
        seconds: Duration.
        memory: Peak memory of the process in bytes.
        host: Name of the machine.
        process: The process id.
        message: The error, in one line; empty if there is none.
    """

    stage: str
    what: str
    keys: tuple[str, ...]
    status: str
    seconds: float
    memory: int
    host: str
    process: int
    message: str = ""


class EventLog:
    """Appends events to `events.jsonl` in an output folder. Runs into the same folder continue the file.

    A context manager, callable with an event. Lines that cannot be written are lost: the log must not end a run, whose
    own files tell whether the disk is full.

    Args:
        folder: The output folder, which exists.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._file: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __call__(self, event: Event) -> None:
        """Append an event.

        Args:
            event: The event.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, **event._asdict()}) + "\n"
        with suppress(OSError):
            if self._file is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
                self._file = os.open(self._path, flags, 0o644)
            os.write(self._file, line.encode())  # in one piece, so that lines of two processes do not mix


def read_events(path: Path) -> list[Event]:
    """Read a log. Lines that are damaged are left out.

    Args:
        path: The file; a missing one has no events.

    Raises:
        ConfigError: If it cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    return [event for line in lines if (event := _parse(line)) is not None]


def is_event_log(path: Path) -> bool:
    """Return whether a file is a log of runs, as far as its beginning tells.

    Args:
        path: The file.
    """
    with path.open("rb") as file:
        begin = file.read(len(_BEGIN))
    return _BEGIN.startswith(begin)  # also if it is empty, or its first line was cut off


def _parse(line: bytes) -> Event | None:
    """Return the event of a line; None if the line is damaged."""
    try:
        fields: dict[str, Any] = json.loads(line)
        return Event(
            stage=str(fields["stage"]),
            what=str(fields["what"]),
            keys=tuple(map(str, fields["keys"])),
            status=str(fields["status"]),
            seconds=float(fields["seconds"]),
            memory=int(fields["memory"]),
            host=str(fields["host"]),
            process=int(fields["process"]),
            message=str(fields["message"]),
        )
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None
