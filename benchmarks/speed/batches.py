"""Batches from the memory at hand: what a gradient costs in batches of several sizes, and the memory it needs.

    python benchmarks/speed/batches.py
    python benchmarks/speed/batches.py --architecture base_larger4 --sizes 64 256 1024

Milliseconds for each image are medians over rounds in which the sizes take turns. `reckoned` is what the package
expects of memory before it hands a batch over, `needed` by how much the process (on a GPU, PyTorch's allocator)
really grew; each size was measured in a process of its own.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import os
import re
import statistics
import time
from pathlib import Path

import torch

from gtn_bench.classifiers import Classifier
from gtn_bench.datasets import DATASETS
from gtn_bench.learners import LEARNERS
from gtn_bench.perturbations.batching import batch_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist", choices=list(DATASETS))
    parser.add_argument("--architecture", default="base_larger", choices=list(LEARNERS))
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 32, 64, 128, 256, 512, 1024])
    parser.add_argument("--images", type=int, default=1024, help="how many are worked on in each size")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    classifier = prepared(options)
    images = torch.rand(options.images, *classifier.input_shape, device=options.device)
    print(f"{options.architecture}, {options.precision}, {options.device}, {options.threads} threads")
    chosen = batch_size(classifier, images, "any")
    print(f"chosen here: {chosen} images; for each {sum(classifier.kept_per_image)} bytes are kept", end="")
    print(f", the largest tensor has {classifier.largest_per_image}")
    seconds: dict[int, list[float]] = {size: [] for size in options.sizes}
    for _ in range(options.rounds):
        for size in options.sizes:
            start = time.perf_counter()
            for batch in images.split(size):
                gradient(classifier, batch)
            seconds[size].append(time.perf_counter() - start)
    print(f"{'images':>6}{'ms for each':>13}{'reckoned MB':>13}{'needed MB':>11}")
    for size in options.sizes:
        milliseconds = 1000 * statistics.median(seconds[size]) / options.images
        with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            needed = alone.submit(grown, options, size).result() / 1e6
        print(f"{size:6}{milliseconds:13.3f}{size * classifier.needed_per_image / 1e6:13.0f}{needed:11.0f}")


def prepared(options: argparse.Namespace) -> Classifier:
    """A learner as it is attacked. It is not trained: its arithmetic is the same."""
    dataset = DATASETS[options.dataset]()
    network = LEARNERS[options.architecture]()(dataset, seed=0).eval().to(options.device)
    return Classifier(network, dataset.input_shape, dataset.num_classes, options.precision)


def gradient(classifier: Classifier, images: torch.Tensor) -> None:
    classifier.loss_gradient(images, torch.zeros(len(images), dtype=torch.int64, device=images.device))
    if images.device.type == "cuda":
        torch.cuda.synchronize()


def grown(options: argparse.Namespace, size: int) -> int:
    """Bytes by which this process grows with a gradient of so many images, after one of few."""
    torch.set_num_threads(options.threads)
    classifier = prepared(options)
    images = torch.rand(size, *classifier.input_shape, device=options.device)
    gradient(classifier, images[:2])
    before = peak(options.device)
    gradient(classifier, images)
    return peak(options.device) - before


def peak(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text()  # on Linux; `ru_maxrss` begins with that of the parent process
    return 1000 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])


if __name__ == "__main__":
    main()
