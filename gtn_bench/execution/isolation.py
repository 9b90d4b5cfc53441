"""Isolation of tasks in one process: what one changes globally does not reach the next."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from gtn_bench.config.errors import listed
from gtn_bench.execution import patches
from gtn_bench.execution.process_settings import process_settings
from gtn_bench.execution.torch_settings import Setting, random_states, torch_settings

_UNREADABLE = object()
_REPLACED = "a task replaced code of PyTorch or NumPy, which was put back so that no other task uses it"


@contextlib.contextmanager
def isolated_settings() -> Iterator[None]:
    """Restore all global settings afterwards: those of PyTorch, NumPy, warnings, random generators and the process.

    Functions and methods that were replaced in PyTorch and NumPy are put back, with a warning. What code changes in
    other modules and classes stays.
    """
    settings, generators = (*process_settings(), *torch_settings()), random_states()
    held = patches.snapshot()
    replaced: list[str] = []
    try:
        with warnings.catch_warnings():
            before = [_read(setting) for setting in settings]
            states = [setting.read() for setting in generators]
            try:
                yield
            finally:
                replaced = patches.restore(held)  # first, because settings are read and set with functions
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # versions of PyTorch recommend one of two interfaces
                    _restore(settings, before)
                    for setting, state in zip(generators, states, strict=True):
                        setting.write(state)
    finally:
        if replaced:
            warnings.warn(f"{_REPLACED}: {listed(replaced, str)}", RuntimeWarning, stacklevel=3)


def _read(setting: Setting) -> Any:
    try:
        return setting.read()
    except RuntimeError:  # an interface of PyTorch that cannot say what was set by another one
        return _UNREADABLE


def _restore(settings: Sequence[Setting], before: Sequence[Any]) -> None:
    for setting, value in zip(settings, before, strict=True):
        if value is not _UNREADABLE and _read(setting) != value:
            setting.write(value)
