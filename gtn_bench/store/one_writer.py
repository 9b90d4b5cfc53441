"""One writer at a time: the lock of a folder."""

from __future__ import annotations

import errno
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from gtn_bench.config.errors import ConfigError
from gtn_bench.store.files import make_folder
from gtn_bench.store.storing import storing

HIDDEN = ".gtn-bench"  # the folder, inside the output folder, of all that is no result
_held: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())  # by the code that runs now
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}  # of file systems without locks


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes in the block. Blocks for one folder may be nested.

    The lock is a courtesy: it tells the second process at once that it comes too late. File systems without working
    locks let both in. What they write stays distinguishable, because files are renamed into place and recorded; see
    `gtn_bench.store.publishing`.

    Args:
        folder: The folder. It is created; if the block writes nothing into it, it is removed again.

    Raises:
        ConfigError: If another process writes to the folder, or nobody can.
    """
    place = Path(os.path.realpath(folder))
    if place in _held.get():
        yield
        return
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    make_folder(folder)
    hidden = folder / HIDDEN
    is_new = not os.path.lexists(hidden)
    _make_hidden(hidden)
    lock = FileLock(hidden / "lock")
    _acquire(lock, folder)
    token = _held.set(_held.get() | {place})
    try:
        _say_who(hidden / "writer.json")
        yield
    finally:
        _held.reset(token)
        with suppress(OSError):  # somebody has removed the folder
            (hidden / "writer.json").unlink(missing_ok=True)
            if is_new and {path.name for path in hidden.iterdir()} == {"lock"}:
                _remove(hidden, missing)
        lock.release()


def _make_hidden(hidden: Path) -> None:
    """Create the hidden folder; raise `ConfigError` if something else has its name, or that of its lock."""
    for path, expected in ((hidden, "a folder"), (hidden / "lock", "a file")):
        if path.is_symlink():
            raise ConfigError(f"{path}: expects {expected}, got a symbolic link; remove it")
    try:
        hidden.mkdir(exist_ok=True)
    except FileExistsError:
        raise ConfigError(f"{hidden}: expects a folder, got a file; remove it") from None
    make_folder(hidden)


def _acquire(lock: FileLock, folder: Path) -> None:
    try:
        lock.acquire(blocking=False)
    except (Timeout, RuntimeError):  # the latter if this thread holds the lock already
        raise ConfigError(
            f"{folder}: {_writer(folder)} is writing there; wait for it, or choose another folder"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise ConfigError(f"{lock.lock_file}: expects a file that can be locked ({error.strerror})") from None
    except NotImplementedError:
        return  # no locks here


def _say_who(path: Path) -> None:
    """Write which process holds the lock. A killed one can have left its own name."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    known = {"process": os.getpid(), "host": platform.node(), "since": since}
    with storing(path):
        path.unlink(missing_ok=True)
        with path.open("x", encoding="utf-8") as file:  # follows no link
            json.dump(known, file)


def _writer(folder: Path) -> str:
    """Return who holds the lock of a folder, as far as it is known."""
    try:
        known = json.loads((folder / HIDDEN / "writer.json").read_text(encoding="utf-8"))
        return f"process {int(known['process'])} on {str(known['host'])[:100]!r}"
    except (OSError, ValueError, LookupError, TypeError):  # it has not said so yet
        return "another process"


def _remove(hidden: Path, created: list[Path]) -> None:
    """Remove the hidden folder, which nothing was written into, and the folders that were created to hold it."""
    (hidden / "lock").unlink()  # Windows refuses: the file is open
    hidden.rmdir()
    for path in created:
        path.rmdir()  # raises if it is not empty
