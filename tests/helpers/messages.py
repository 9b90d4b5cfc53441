"""Ends of messages that many tests expect."""

from __future__ import annotations

# Behind an unknown name for which there is a suggestion, by kind.
OWN = {
    kind: f" If it is your own, name its file with --plugin FILE.py, or in Python {remedy}"
    for kind, remedy in {
        "architecture": "register it with @gtn_bench.architecture",
        "perturbation": "register it with @gtn_bench.perturbation",
        "mode": "add its class to gtn_bench.modes.MODES",
        "dataset": "add its class to gtn_bench.data.DATASETS",
    }.items()
}
