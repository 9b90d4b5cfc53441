"""Injected faults: killed processes, damaged files, full disks, hostile suites and perturbations.

`python tests/faults/table.py --write` injects all of them and writes reports/reliability.md.
"""
