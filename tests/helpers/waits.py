"""The counter of waits for a GPU, from the speed benchmarks."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_FILE = Path(__file__).parents[2] / "benchmarks" / "speed" / "machine.py"
_specification = importlib.util.spec_from_file_location("machine", _FILE)
assert _specification and _specification.loader
_machine = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(_machine)
Waits = _machine.Waits
