"""Where stored numbers came from: what results record, how different origins are named, and strict keys."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from helpers.runs import run
from helpers.suites import TINY

from gtn_bench.config.suite import parse
from gtn_bench.execution import accelerator
from gtn_bench.execution.accelerator import device_key
from gtn_bench.execution.environment import machine
from gtn_bench.execution.finished import Finished
from gtn_bench.execution.used import origins_of
from gtn_bench.planning.keys import keys_of
from gtn_bench.planning.planner import plan
from gtn_bench.store import origin
from gtn_bench.store.cache import Context, Store
from gtn_bench.store.files import read_header
from gtn_bench.store.listing import stored_files
from gtn_bench.store.origin import Origin, current_origin, kinds_of_origin, origins, origins_to_plain

AMD = Origin("AMD EPYC", ("x86_64", "avx2"), 1, "absent", (("python", "3.11.7"), ("torch", "2.9.0")))
INTEL = AMD._replace(processor="Intel Xeon", instructions=("x86_64", "avx2", "avx512f"))
KEYS = [f"{number}" * 32 for number in range(3)]


def test_current_origin_is_that_of_this_process() -> None:
    found = current_origin()
    facts = machine("cpu")
    assert (found.processor, list(found.instructions)) == (facts["processor"], facts["instructions"])
    assert found.threads == torch.get_num_threads() == 1
    assert dict(found.versions).keys() == {"python", "gtn-bench", "torch", "numpy", "torchvision", "scipy"}
    assert dict(found.versions)["python"] == ".".join(map(str, sys.version_info[:3]))
    assert Origin.from_plain(json.loads(json.dumps(found.to_plain()))) == found


def test_current_origin_imports_nothing() -> None:
    code = "import sys; from gtn_bench.store.origin import current_origin as c; c(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_numba_can_be_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "_installed", lambda package: "0.60")
    for value, expected in ((None, "0.60"), ("0", "0.60"), ("1", "disabled")):
        monkeypatch.delenv("NUMBA_DISABLE_JIT", raising=False)
        if value:
            monkeypatch.setenv("NUMBA_DISABLE_JIT", value)
        assert origin.numba_version() == expected
    monkeypatch.setattr(origin, "_installed", lambda package: "absent")
    assert origin.numba_version() == "absent"


def test_every_result_of_a_run_records_its_origin(tmp_path: Path) -> None:
    text = TINY.partition("perturbations:")[0] + "perturbations: [{name: fgsm, steps: 2, samples: 20, beta: [0.05]}]"
    run(text, tmp_path / "out", tmp_path / "store")
    store = Store(tmp_path / "store")
    files = [file for file in stored_files(store.folder) if file.kind not in ("data", "memo", "downloads")]
    assert {file.kind for file in files} >= {"teachers", "learners", "examinations", "cells"}
    here = current_origin()
    for file in files:
        assert Origin.from_plain(read_header(file.path).origin) == here
    found = origins(store, [(file.kind, file.path.stem) for file in files])
    assert found == {here: Counter(file.kind for file in files)} and kinds_of_origin(found, here) == []
    keys = keys_of(plan(parse(text)), "cpu")
    expected = Counter(teachers=1, learners=6, cells=6)
    assert origins_of(keys, Finished(), store) == {here: expected}
    Path(store.path("teachers", keys.teachers["t"])).unlink()
    assert origins_of(keys, Finished(), store) == {here: expected - Counter(teachers=1)}


def test_origins_count_results_by_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    for kind, key, one in (("cells", KEYS[0], AMD), ("cells", KEYS[1], INTEL), ("learners", KEYS[0], AMD)):
        with monkeypatch.context() as patched:
            patched.setattr("gtn_bench.store.cache.current_origin", lambda one=one: one)
            store.save(kind, key, {}, {})
    pairs = [("cells", KEYS[0]), ("cells", KEYS[0]), ("cells", KEYS[1]), ("cells", KEYS[2]), ("learners", KEYS[0])]
    found = origins(store, pairs)
    assert found == {AMD: Counter(cells=1, learners=1), INTEL: Counter(cells=1)}
    assert origins_to_plain(found) == [
        {
            "processor": "AMD EPYC",
            "instructions": ["x86_64", "avx2"],
            "threads": 1,
            "numba": "absent",
            "versions": {"python": "3.11.7", "torch": "2.9.0"},
            "results": {"cells": 1, "learners": 1},
        },
        {
            "processor": "Intel Xeon",
            "instructions": ["x86_64", "avx2", "avx512f"],
            "threads": 1,
            "numba": "absent",
            "versions": {"python": "3.11.7", "torch": "2.9.0"},
            "results": {"cells": 1},
        },
    ]


@pytest.mark.parametrize(
    ("found", "here", "expected"),
    [
        ({}, AMD, []),
        ({AMD: {"cells": 3}}, AMD, []),
        ({AMD: {"cells": 3}, AMD._replace(versions=()): {"cells": 1}}, AMD, []),
        ({AMD: {"cells": 3}, AMD._replace(threads=2): {"teachers": 1}}, AMD, []),
        (
            {AMD: {"cells": 3}, INTEL: {"cells": 1, "learners": 4}},
            AMD,
            [
                "computed on 2 kinds of processors: Intel Xeon (x86_64 avx2 avx512f): 5 results, "
                "AMD EPYC (x86_64 avx2): 3 results"
            ],
        ),
        (
            {AMD: {"cells": 3}},
            INTEL,
            ["computed on another kind of processor, AMD EPYC (x86_64 avx2); this is Intel Xeon (x86_64 avx2 avx512f)"],
        ),
        (
            {AMD: {"cells": 3}, AMD._replace(numba="0.60"): {"cells": 2}, AMD._replace(numba="disabled"): {"cells": 1}},
            AMD,
            ["computed without numba: 4 results, with numba 0.60: 2 results"],
        ),
        (
            {AMD._replace(threads=threads): {"teachers": 1} for threads in (16, 2)},
            AMD,
            ["teachers computed with 2 and 16 threads"],
        ),
    ],
    ids=["nothing", "alike", "versions", "kinds with own threads", "processors", "another machine", "numba", "threads"],
)
def test_differences_are_named(found: dict[Origin, dict[str, int]], here: Origin, expected: list[str]) -> None:
    assert kinds_of_origin({one: Counter(counts) for one, counts in found.items()}, here) == expected


def test_strict_keys_cover_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_key("cpu") == "cpu"
    own = device_key("cpu", strict=True)
    name, instructions = origin.processor()
    assert own == (
        f"cpu, processor {name}, instructions {' '.join(instructions)}, threads 1, teachers 1, "
        f"numba {origin.numba_version()}"
    )
    monkeypatch.setattr(accelerator, "processor", lambda: ("Another", ("x86_64",)))
    assert device_key("cpu", strict=True) != own and device_key("cpu") == "cpu"
    monkeypatch.setattr(accelerator, "gpu_facts", lambda: {"gpu": "NVIDIA A100"})
    assert device_key("cuda", strict=True).startswith("gpu NVIDIA A100, processor Another, instructions x86_64, ")
    planned = plan(parse(TINY))
    one, two = keys_of(planned, "cpu"), keys_of(planned, device_key("cpu", strict=True))
    assert not {*one.cells} & {*two.cells} and not {*one.teachers.values()} & {*two.teachers.values()}


def test_keys_of_a_context_are_those_of_a_cpu_by_default(tmp_path: Path) -> None:
    assert Context(Store(tmp_path), "cpu").key_device == device_key("cpu")
