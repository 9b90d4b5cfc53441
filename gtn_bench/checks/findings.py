"""Findings about a network, as plain data and as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gtn_bench.checks.table import CHECKS, Severity

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class Finding(NamedTuple):
    """A failed check.

    Attributes:
        name: Name of the check.
        severity: `error`, `warning` or `note`.
        measured: The measured number.
        sentence: What was found and what to do about it, in one sentence.
    """

    name: str
    severity: Severity
    measured: float
    sentence: str


def finding(name: str, measured: float, **details: object) -> Finding:
    """Return the finding of a failed check.

    Args:
        name: Name of the check.
        measured: The measured number.
        details: Values of the placeholders in the text and the fix.
    """
    check = CHECKS[name]
    sentence = f"{check.text}; {check.fix}".format(measured=measured, **details)
    return Finding(name, check.severity, float(measured), sentence)


def describe(findings: Iterable[Finding]) -> list[str]:
    """Return one line for each finding, errors first: ``"error: The network ..."``.

    Args:
        findings: The findings.
    """
    ordered = sorted(findings, key=lambda found: SEVERITIES.index(found.severity))
    return [f"{found.severity}: {found.sentence}" for found in ordered]
