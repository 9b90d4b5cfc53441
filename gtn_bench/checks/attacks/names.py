"""The checks that probes measure."""

from __future__ import annotations

from gtn_bench.checks.attacks.table import PROBES


def measured_by(probe: str) -> tuple[str, ...]:
    """Return the names of the checks that a probe measures.

    Args:
        probe: Name of the probe. One that is not in the table measures the check of the same name.
    """
    return PROBES[probe].checks if probe in PROBES else (probe,)
