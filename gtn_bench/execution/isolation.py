"""Isolation of tasks in one process: what one changes globally does not reach the next."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from gtn_bench.execution.process_settings import process_settings
from gtn_bench.execution.torch_settings import Setting, random_states, torch_settings

_UNREADABLE = object()


@contextlib.contextmanager
def isolated_settings() -> Iterator[None]:
    """Restore all global settings afterwards: those of PyTorch, NumPy, warnings, random generators and the process.

    What code changes in modules and classes of others stays.
    """
    settings, generators = (*process_settings(), *torch_settings()), random_states()
    with warnings.catch_warnings():
        before = [_read(setting) for setting in settings]
        states = [setting.read() for setting in generators]
        try:
            yield
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # versions of PyTorch recommend one of two interfaces
                _restore(settings, before)
                for setting, state in zip(generators, states, strict=True):
                    setting.write(state)


def _read(setting: Setting) -> Any:
    try:
        return setting.read()
    except RuntimeError:  # an interface of PyTorch that cannot say what was set by another one
        return _UNREADABLE


def _restore(settings: Sequence[Setting], before: Sequence[Any]) -> None:
    for setting, value in zip(settings, before, strict=True):
        if value is not _UNREADABLE and _read(setting) != value:
            setting.write(value)
