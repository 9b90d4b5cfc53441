"""Check of a GPU: the numbers of the CPU, repeatability, waits of the host, and times. At most 8 minutes.

    python benchmarks/speed/accelerator.py --json accelerator.json
    python benchmarks/speed/accelerator.py --device cpu --quick      # tiny sizes, to see that nothing fails

Tables, in this order:

- `native perturbations`: each on the same images, on the CPU and on the device. In float64 an image agrees if no pixel
  differs by more than 1e-6, or for those that start from random normal numbers or search a boundary, 1e-3; at least
  90 % of the images must agree. In float32, where rounding changes the sign of small gradients, at least 90 % of the
  predictions must agree. A second run on the device must give the same bits.
- `waits`: how often the host waits for the device, per step and per image: values and shapes that it reads, masks as
  indices, copies. On a GPU, also what CUDA itself reports.
- `libraries`: one attack of each library.
- `meta-step`: one in float32 and one in bfloat16: time, memory, whether a second one gives the same bits, and the
  cosine similarity with the gradient of the CPU in float32.
- `published protocol`: the protocol of the reference study for one architecture, teacher included.

What the time limit leaves out is reported as such.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerator_checks import Setting, library_row, meta_step_rows, native_names, native_row, wait_rows
from machine import matmul_rate

import gtn_bench
from gtn_bench.data import DATASETS
from gtn_bench.execution.accelerator import gpu_facts, reproducible
from gtn_bench.execution.environment import machine

LIMIT = 7.5 * 60  # seconds
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--dataset", default="digits", choices=["digits", "mnist"])
    parser.add_argument("--architecture", default="base_larger")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no GPU here; use --device cpu --quick to see that nothing fails")
    started = time.perf_counter()
    print(describe(options.device))
    with reproducible(options.device):
        tables = measure(options, started)
    if options.json:
        content = {"machine": machine(options.device), "torch": torch.__version__, "tables": tables}
        options.json.write_text(json.dumps(content, indent=2))
    failed = [row["name"] for rows in tables.values() for row in rows if row.get("passed") is False]
    print(f"\n{time.perf_counter() - started:.0f} s; " + (f"FAILED: {', '.join(failed)}" if failed else "all passed"))
    sys.exit(1 if failed else 0)


def describe(device: str) -> str:
    """Return the device, the versions, and the rates of matrix products, in one line."""
    facts = ", ".join(f"{name} {value}" for name, value in gpu_facts().items()) if device == "cuda" else "cpu"
    size = 2048 if device == "cuda" else 256
    rates = [f"{str(kind)[6:]} {matmul_rate(kind, device, size):.0f}" for kind in (torch.float32, torch.bfloat16)]
    return f"{facts}; torch {torch.__version__}; matrix products in GFLOP/s: {', '.join(rates)}"


def measure(options: argparse.Namespace, started: float) -> dict[str, list[Row]]:
    """Return the tables, by name, and print each as it is finished."""
    images = 4 if options.quick else options.images
    setting = Setting.prepare(DATASETS[options.dataset](), options.architecture, options.device, images)
    inner_steps, batch_size = (4, 10) if options.quick else (32, 128)
    stages: dict[str, list[Callable[[], list[Row]]]] = {
        "native perturbations": [lambda name=name: [native_row(setting, name)] for name in native_names()],  # type: ignore[misc]
        "waits": [lambda: wait_rows(setting)],
        "libraries": [
            lambda library=library: [library_row(setting, library)]  # type: ignore[misc]
            for library in ("art", "foolbox", "torchattacks")
        ],
        "meta-step": [lambda: meta_step_rows(setting, inner_steps, batch_size)],
        "published protocol": [lambda: protocol_rows(options)],
    }
    tables: dict[str, list[Row]] = {}
    for title, parts in stages.items():
        rows: list[Row] = []
        for part in parts:
            if time.perf_counter() - started < LIMIT:
                rows += part()
            else:
                rows.append({"name": "not run: the time is used up"})
                break
        tables[title] = rows
        show(title, rows)
    return tables


def protocol_rows(options: argparse.Namespace) -> list[Row]:
    """Return seconds and mean accuracy of the published protocol for one architecture and seed."""
    samples = 1000 if not options.quick else 40
    teacher = {"inner_steps": 32, "batch_size": 64, "meta_batch_size": 32, "latent_size": 64, "meta_steps": 20}
    if options.quick:
        teacher |= {"inner_steps": 10, "batch_size": 10, "meta_batch_size": 10, "latent_size": 8, "meta_steps": 1}
    published = {"protocol": "published", "units": "normalized", "attack": "all"}
    suite = {
        **{"name": "accelerator", "dataset": options.dataset, **published},
        "teachers": [
            {"name": "cgtn", "label": "t", "architecture": options.architecture, **teacher, "inner_momentum": 0.7}
        ],
        "architectures": [options.architecture],
        "modes": ["10_gtn", "gtn", {"name": "vanilla", "epochs": 1 if options.quick else 3}],
        "seeds": [0],
        "perturbations": [
            {"name": "noise", "beta": {"linspace": [0, 1.6, 10]}},
            {"name": "blur", "beta": {"linspace": [0.01, 5, 10]}},
            {"name": "fgsm", "steps": 30, "samples": samples, "beta": {"linspace": [0.001, 0.02, 6]}},
            {
                **{"name": "lbfgs-penalty", "penalty": "batch", "samples": samples},
                "beta": [20, 50, 100, 200, 500, 1000, 2000],
            },
        ],
    }
    if options.quick:
        for perturbation in suite["perturbations"]:
            perturbation["samples"] = samples
            perturbation["beta"] = [0.5] if perturbation["name"] != "fgsm" else [0.01]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        planned = gtn_bench.plan(gtn_bench.load(suite))
        workers = 1 if options.device == "cuda" else 2
        results = gtn_bench.run(
            planned, Path(folder) / "out", device=options.device, workers=workers, cache=Path(folder) / "cache"
        )
        seconds = time.perf_counter() - started
        summary = results.summary
    accuracy = summary.groupby(["mode", "perturbation"], sort=False)["accuracy"].mean()
    rows = [{"name": f"{mode}, {attack}", "mean accuracy": float(mean)} for (mode, attack), mean in accuracy.items()]
    done = int((summary["status"] == "done").sum())
    return [*rows, {"name": "all", "cells": len(summary), "seconds": seconds, "passed": done == len(summary)}]


def show(title: str, rows: list[Row]) -> None:
    """Print a table with the columns of all of its rows."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[_text(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(column), *(len(line[number]) for line in cells)) for number, column in enumerate(columns)]
    print(f"\n{title}")
    for line in [columns, *cells]:
        first, *others = (
            text.ljust(width) if not number else text.rjust(width)
            for number, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join([first, *others]), flush=True)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
