"""Time of a meta-training until fresh learners reach an accuracy.

    python benchmarks/speed/time_to_quality.py mnist-base_larger other.yaml --precision float32

Each specification is meta-trained until its learners reach `--goal` after all inner steps: the mean accuracy over
`--learners` fresh learners on all test images, with batch-norm statistics of real training images. The accuracy is
measured every `--every` meta-steps from `--first` on. A meta-training ends at the first measurement that reaches the
goal.

Printed for every measurement: meta-steps, inner steps, and seconds of wall time and of CPU time, without the time of
the measurements themselves.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from models import cpuinfo, processor

from gtn_bench.data.base import Dataset, Split, SplitName
from gtn_bench.execution.memory import reuse_memory
from gtn_bench.execution.teach import TeacherSpec, load_teacher
from gtn_bench.store.files import read_tensors
from gtn_bench.store.hashing import seed_for
from gtn_bench.teaching import MetaTrained
from gtn_bench.teaching.history import History, Monitor
from gtn_bench.teaching.meta_training import validate_learner


class Reached(Exception):
    """Ends a meta-training whose learners are good enough."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", nargs="+", help="specifications of teachers: names, or YAML files")
    parser.add_argument("--goal", type=float, default=0.98)
    parser.add_argument("--learners", type=int, default=5)
    parser.add_argument("--first", type=int, default=10, help="meta-steps before the first measurement")
    parser.add_argument("--every", type=int, default=10, help="meta-steps between measurements")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="instead of that of the specifications")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    reuse_memory()  # as `gtn-bench teach` does
    print(f"{processor()}, {'AMX' if 'amx' in cpuinfo() else 'no AMX'}, {options.threads} threads")
    rows: list[dict[str, Any]] = []
    for source in options.specs:
        spec = load_teacher(source)
        if options.precision:
            spec = spec.model_copy(update={"teacher": spec.teacher.model_copy(update={"precision": options.precision})})
        rows += meta_train(spec, options)
    if options.json:
        settings = {key: value for key, value in vars(options).items() if not isinstance(value, Path)}
        options.json.write_text(json.dumps({**settings, "processor": processor(), "rows": rows}, indent=2))


def meta_train(spec: TeacherSpec, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Meta-train a teacher until its learners reach the goal; print and return a row for each measurement."""
    teacher, dataset = spec.teacher, spec.dataset
    splits = dataset()
    print(f"\n{spec.name}, {teacher.precision}, batches of {teacher.batch_size}, {teacher.inner_steps} inner steps")
    print(f"{'meta-steps':>10}{'inner steps':>13}{'seconds':>9}{'CPU':>8}{'accuracy':>10}{'lowest':>9}", flush=True)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint.safetensors"
        wall, cpu = time.perf_counter(), time.process_time()

        def measure(history: History) -> None:
            nonlocal wall, cpu
            done = len(history.losses)
            if done < teacher.meta_steps and (done < options.first or done % options.every):
                return
            seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
            found = accuracies(teacher, dataset, splits, checkpoint, options.learners)
            row = {
                "teacher": spec.name,
                "meta_steps": done,
                "inner_steps": sum(map(teacher.horizon, range(done))) * teacher.learners,
                "seconds": seconds,
                "cpu_seconds": cpu_seconds,
                "accuracies": found,
            }
            rows.append(row)
            print(f"{done:10}{row['inner_steps']:13}{seconds:9.0f}{cpu_seconds:8.0f}", end="")
            print(f"{statistics.mean(found):10.4f}{min(found):9.4f}", flush=True)
            if statistics.mean(found) >= options.goal:
                raise Reached
            wall, cpu = time.perf_counter() - seconds, time.process_time() - cpu_seconds

        try:
            monitor = Monitor(checkpoint, checkpoint_every=options.every, progress=measure)
            teacher(dataset, splits, device="cpu", monitor=monitor)
        except Reached:
            pass
        else:
            print(f"not reached after {teacher.meta_steps} meta-steps")
    return rows


def accuracies(
    teacher: MetaTrained, dataset: Dataset, splits: dict[SplitName, Split], checkpoint: Path, learners: int
) -> list[float]:
    """Return the accuracy on all test images of fresh learners from a checkpoint, after all inner steps.

    The learners have the full widths of the architecture, even if those of the meta-training are scaled.
    """
    tensors, _ = read_tensors(checkpoint, framework="pt")
    module = teacher.curriculum_module(dataset, splits["train"])
    module.load_state_dict({name: tensors[f"curriculum.{name}"] for name in module.state_dict()})
    images: dict[SplitName, Split] = {**splits, "validation": splits["test"]}
    training = teacher.model_copy(update={"widths": None}).training(dataset)
    found = []
    for number in range(learners):
        seed = seed_for("time to quality", number)
        accuracy = validate_learner(training, module, images, seed, samples=len(splits["test"]))
        found.append(accuracy[teacher.inner_steps])
    return found


if __name__ == "__main__":
    main()
